//! Why an interface of the host cannot be used, in a sentence each.

use raddle_af_xdp_sys::{BindError, BindMode, Step};
use rustix::io::Errno;

use crate::attachment::ProgramError;
use crate::links::LinkError;
use crate::options::OptionsError;

/// Why an interface of the host cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is none of this name.
    #[error("the host has no interface {device}{near}")]
    Missing {
        /// The name that was given.
        device: String,
        /// Names that there are.
        near: String,
    },
    /// It has no Ethernet header.
    #[error("the host's interface {0} is not an Ethernet device")]
    NotEthernet(String),
    /// It can no longer be used under this name.
    #[error("the host's interface {0} went away")]
    Gone(String),
    /// It has fewer queues.
    #[error("the host's interface {device} has {there} {}, not {wanted}", if *.there == 1 { "queue" } else { "queues" })]
    FewerQueues {
        /// The interface.
        device: String,
        /// Those that it has.
        there: u32,
        /// Those that were asked for.
        wanted: u32,
    },
    /// Its frames are too large.
    #[error(
        "the MTU {mtu} of the host's interface {device} is too large for AF_XDP on this kernel and driver, {most} is the most"
    )]
    Mtu {
        /// The interface.
        device: String,
        /// Its MTU.
        mtu: u32,
        /// The largest that can be used.
        most: u32,
    },
    /// The buffers lie on pages that are too small for a device.
    #[error(
        "mode = \"zero-copy\" needs the packet buffers on hugepages of at least 2 MiB: reserve some (vm.nr_hugepages), or say \
         mode = \"copy\""
    )]
    SmallPages,
    /// A socket cannot be had.
    #[error("{}", sentence(.device, *.queue, *.mode, .refusal))]
    Socket {
        /// The interface.
        device: String,
        /// The queue.
        queue: u32,
        /// How it was asked for.
        mode: BindMode,
        /// What failed.
        refusal: BindError,
    },
    /// The link does not take more frames.
    #[error("cannot {what} on the host's interface {device}: {error}")]
    Filtering {
        /// What was asked for.
        what: &'static str,
        /// The interface.
        device: String,
        /// What the host said.
        error: Errno,
    },
    /// The program cannot be put there.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The host's links cannot be asked.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The keys are wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
}

fn sentence(device: &str, queue: u32, mode: BindMode, BindError { step, error }: &BindError) -> String {
    match (step, *error) {
        (Step::Socket, Errno::AFNOSUPPORT) => "this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)".to_owned(),
        (_, Errno::PERM | Errno::ACCESS) => {
            format!("no permission for an AF_XDP socket on the host's interface {device}, CAP_NET_RAW and CAP_NET_ADMIN are needed")
        }
        (Step::Memory, Errno::NOBUFS) => {
            "the packet buffers may not be locked in memory for AF_XDP: raise the limit of locked memory (LimitMEMLOCK, ulimit -l), \
             or give CAP_IPC_LOCK"
                .to_owned()
        }
        (Step::Memory, error) => format!("cannot share the packet buffers with the kernel for AF_XDP: {error}"),
        (Step::Bind, Errno::BUSY) => {
            format!("queue {queue} of the host's interface {device} is used through AF_XDP by another program")
        }
        (Step::Bind, Errno::OPNOTSUPP) if mode == BindMode::ZeroCopy => {
            format!("the driver of the host's interface {device} cannot do without copies: say mode = \"copy\"")
        }
        (Step::Bind, Errno::NODEV | Errno::NXIO) => format!("the host's interface {device} went away"),
        (Step::BusyPoll, Errno::NOPROTOOPT) => "this kernel (before 5.11) knows no preferred busy polling".to_owned(),
        (step, error) => {
            let what = match step {
                Step::Socket => "open an AF_XDP socket",
                Step::Memory => "share the packet buffers",
                Step::Rings => "make the rings",
                Step::Bind => "bind an AF_XDP socket",
                Step::BusyPoll => "ask for busy polling",
            };
            format!("cannot {what} for queue {queue} of the host's interface {device}: {error}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_in_a_sentence() {
        for (step, error, part) in [
            (Step::Socket, Errno::AFNOSUPPORT, "this kernel has no AF_XDP"),
            (Step::Socket, Errno::PERM, "no permission for an AF_XDP socket on the host's interface e0"),
            (Step::Memory, Errno::NOBUFS, "the packet buffers may not be locked in memory"),
            (Step::Memory, Errno::INVAL, "cannot share the packet buffers with the kernel"),
            (
                Step::Bind,
                Errno::BUSY,
                "queue 3 of the host's interface e0 is used through AF_XDP by another program",
            ),
            (Step::Bind, Errno::OPNOTSUPP, "the driver of the host's interface e0 cannot do without copies"),
            (Step::Bind, Errno::NODEV, "the host's interface e0 went away"),
            (Step::BusyPoll, Errno::NOPROTOOPT, "this kernel (before 5.11) knows no preferred busy polling"),
            (
                Step::Rings,
                Errno::NOMEM,
                "cannot make the rings for queue 3 of the host's interface e0: Cannot allocate",
            ),
        ] {
            let text = sentence("e0", 3, BindMode::ZeroCopy, &BindError { step, error });
            assert!(text.starts_with(part), "{text}");
        }
        // Copies are all that was left.
        let refusal = BindError { step: Step::Bind, error: Errno::OPNOTSUPP };
        let text = sentence("e0", 3, BindMode::Copy, &refusal);
        assert!(text.starts_with("cannot bind an AF_XDP socket for queue 3 of"), "{text}");
    }
}
