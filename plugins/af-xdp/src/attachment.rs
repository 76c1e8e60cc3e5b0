//! The XDP program on a link: put there, and taken off again, whatever became of one before it.

use std::os::fd::AsFd as _;

use raddle_af_xdp_sys::Queue;
use raddle_af_xdp_sys::bpf::{AttachMode, Attachment, Program, SocketMap};
use rustix::io::Errno;

use crate::filter::Rule;
use crate::links::{AttachedProgram, Link, LinkError, Links};
use crate::options::{Attach, AttachBy, Options};
use crate::program;

/// Why there is no program on a link.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The kernel makes no map from queues to sockets.
    #[error("cannot make a map of AF_XDP sockets: {}", reason(*.0))]
    Map(Errno),
    /// The kernel refuses the program.
    #[error("the kernel refuses the XDP program ({}){}", reason(*.error), verdict(.log))]
    Load {
        /// What the kernel said.
        error: Errno,
        /// What its verifier said.
        log: String,
    },
    /// Somebody else has a program there.
    #[error(
        "the host's interface {device} has an XDP program already, {name} (id {id}): take that off first"
    )]
    Taken {
        /// The interface.
        device: String,
        /// The program's name.
        name: String,
        /// Its number.
        id: u32,
    },
    /// Another raddle is there.
    #[error("the host's interface {0} is used by another raddle through AF_XDP")]
    OtherRaddle(String),
    /// The kernel does not attach it.
    #[error("cannot attach the XDP program to the host's interface {device}{how}: {}", reason(*.error))]
    Attach {
        /// The interface.
        device: String,
        /// Where it was to sit.
        how: &'static str,
        /// What the kernel said.
        error: Errno,
    },
    /// Its link cannot be asked.
    #[error(transparent)]
    Link(#[from] LinkError),
}

fn reason(error: Errno) -> String {
    match error {
        Errno::PERM | Errno::ACCESS => "no permission, CAP_BPF and CAP_NET_ADMIN are needed".to_owned(),
        Errno::OPNOTSUPP => "its driver knows no XDP there".to_owned(),
        Errno::RANGE => "its MTU, or that of its other end, is too large for XDP".to_owned(),
        Errno::NOSPC => "its other end sends by more queues than it receives by".to_owned(),
        other => other.to_string(),
    }
}

/// The verifier's last words.
fn verdict(log: &str) -> String {
    log.lines()
        .rev()
        .find(|line| !line.is_empty() && !line.starts_with("processed"))
        .map_or_else(String::new, |line| format!(": {line}"))
}

/// A program that is on a link.
pub struct OnLink {
    mode: AttachMode,
    program: Program,
    hold: Hold,
    /// The program's own; the kernel keeps it as long as the program.
    _map: SocketMap,
}

/// What holds a program on a link.
enum Hold {
    /// This process.
    Process(Attachment),
    /// The link itself, from which it is to be taken.
    Link(Box<Link>),
}

impl OnLink {
    /// Puts the program for these rules on the link: frames of each queue go to its socket. One of ours that was left there
    /// is replaced.
    ///
    /// # Errors
    /// Another program is there, or the kernel or the link's driver refuses.
    pub fn put(
        links: &mut Links,
        link: &Link,
        options: &Options,
        rules: &[Rule],
        queues: &[Queue],
    ) -> Result<Self, ProgramError> {
        let map = SocketMap::create("raddle_sockets", queues.len() as u32).map_err(ProgramError::Map)?;
        for (number, queue) in (0..).zip(queues) {
            map.set(number, queue.fd()).map_err(ProgramError::Map)?;
        }
        let in_pieces = queues.iter().all(Queue::takes_pieces);
        let instructions = program::build(rules, map.number());
        let program = Program::load(program::NAME, &instructions, in_pieces)
            .map_err(|(error, log)| ProgramError::Load { error, log })?;
        for there in &link.programs {
            take_off_stale(links, link, *there)?;
        }
        let (modes, how): (&[_], _) = match options.attach {
            Attach::Auto => (&[AttachMode::Native, AttachMode::Generic], ""),
            Attach::Native => (&[AttachMode::Native], " in its driver"),
            Attach::Generic => (&[AttachMode::Generic], " in the kernel"),
        };
        let mut refusal = Errno::OPNOTSUPP;
        for &mode in modes {
            match hold(links, link, options.attach_by, &program, mode) {
                Ok(hold) => return Ok(Self { mode, program, hold, _map: map }),
                Err(error @ Errno::OPNOTSUPP) => refusal = error,
                Err(error) => {
                    refusal = error;
                    break;
                }
            }
        }
        Err(ProgramError::Attach { device: link.name.clone(), how, error: refusal })
    }

    /// Where it sits.
    pub fn mode(&self) -> AttachMode {
        self.mode
    }

    /// Whether this process holds it, and not the link itself.
    pub fn is_held_by_process(&self) -> bool {
        matches!(self.hold, Hold::Process(_))
    }

    /// Whether it is still on the link, as that is now.
    pub fn is_on(&self, link: &Link) -> bool {
        match &self.hold {
            // A kernel that does not say has not taken it off either.
            Hold::Process(attachment) => attachment.link().map_or(true, |index| index == link.index),
            Hold::Link(own) => {
                own.index == link.index
                    && self
                        .program
                        .info()
                        .is_ok_and(|own| link.programs.iter().any(|there| there.id == own.id))
            }
        }
    }
}

impl Drop for OnLink {
    fn drop(&mut self) {
        if let Hold::Link(link) = &self.hold
            && let Ok(mut links) = Links::open()
        {
            // Nobody is left to tell; the next start would take it off.
            let _ = links.set_program(link, None, self.mode.flags(), Some(self.program.as_fd()));
        }
    }
}

fn hold(
    links: &mut Links,
    link: &Link,
    by: AttachBy,
    program: &Program,
    mode: AttachMode,
) -> Result<Hold, Errno> {
    if by != AttachBy::Link {
        match program.attach(link.index, mode) {
            Ok(attachment) => return Ok(Hold::Process(attachment)),
            // A kernel before 5.9.
            Err(Errno::INVAL) if by == AttachBy::Auto => {}
            Err(error) => return Err(error),
        }
    }
    match links.set_program(link, Some(program.as_fd()), mode.flags(), None) {
        Ok(()) => Ok(Hold::Link(Box::new(link.clone()))),
        Err(LinkError::Refused { source, .. } | LinkError::Socket(source)) => Err(source),
    }
}

/// Takes off a program that a raddle before this one has left; refuses to touch any other.
fn take_off_stale(links: &mut Links, link: &Link, there: AttachedProgram) -> Result<(), ProgramError> {
    let device = || link.name.clone();
    let taken = |name: String| ProgramError::Taken { device: device(), name, id: there.id };
    let Ok(stale) = Program::by_id(there.id) else {
        return Err(taken("of a name that cannot be read".to_owned()));
    };
    let name = stale.info().map(|info| info.name).unwrap_or_default();
    if name != program::NAME {
        return Err(taken(if name.is_empty() { "without a name".to_owned() } else { name }));
    }
    match links.set_program(link, None, there.place, Some(stale.as_fd())) {
        Ok(()) => Ok(()),
        // A process holds it, which is alive.
        Err(LinkError::Refused { source: Errno::BUSY, .. }) => Err(ProgramError::OtherRaddle(device())),
        Err(error) => Err(error.into()),
    }
}
