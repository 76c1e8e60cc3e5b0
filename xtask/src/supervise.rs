//! Running a step as a child process in a group of its own, so that after a failure, a signal or a crash all of it is
//! ended and what it made is removed.

use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use raddle_tests::command::shown;
use raddle_tests::sweep;
use raddle_tests::wait::wait_until;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use std::os::unix::process::CommandExt;

/// How long processes may take to end after SIGTERM before they are killed.
const GRACE: Duration = Duration::from_secs(10);

/// Runs commands one after the other and cleans up behind each.
pub(crate) struct Supervisor {
    events: Receiver<Event>,
    announce: std::sync::mpsc::Sender<Event>,
}

enum Event {
    Ended(std::io::Result<ExitStatus>),
    Signal(i32),
}

/// How a supervised command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// By itself.
    Ended(ExitStatus),
    /// Because this process received the signal.
    Interrupted(i32),
}

impl Outcome {
    /// The exit code to end with, as a shell would.
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Ended(status) if status.success() => ExitCode::SUCCESS,
            Self::Ended(_) => ExitCode::FAILURE,
            Self::Interrupted(signal) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        }
    }
}

impl Supervisor {
    /// From now on SIGINT, SIGTERM and SIGHUP end the command that runs instead of this process.
    ///
    /// # Errors
    /// When signals cannot be handled.
    pub(crate) fn new() -> Result<Self> {
        let (announce, events) = channel();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot handle signals")?;
        let sender = announce.clone();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                if sender.send(Event::Signal(signal)).is_err() {
                    break;
                }
            }
        });
        Ok(Self { events, announce })
    }

    /// Runs `command` to its end or until a signal, then ends what it started and sweeps what it made.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn run(&self, command: &mut Command) -> Result<Outcome> {
        let child = command.process_group(0).spawn();
        let mut child: Child = child.with_context(|| format!("cannot start `{}`", shown(command)))?;
        let group = Pid::from_child(&child);
        let announce = self.announce.clone();
        std::thread::spawn(move || announce.send(Event::Ended(child.wait())));
        let outcome = match self.next()? {
            Event::Ended(status) => Outcome::Ended(status?),
            Event::Signal(signal) => Outcome::Interrupted(signal),
        };
        end_group(group);
        if matches!(outcome, Outcome::Interrupted(_)) {
            // Its end was announced when the group ended.
            while !matches!(self.next()?, Event::Ended(_)) {}
        }
        if let Err(error) = sweep::sweep() {
            eprintln!("could not remove what was left: {error:#}");
        }
        Ok(outcome)
    }

    fn next(&self) -> Result<Event> {
        self.events.recv().context("the threads that watch have ended")
    }
}

/// Ends all processes of a group, by force if asking does not do.
fn end_group(group: Pid) {
    let is_gone = || test_kill_process_group(group).is_err();
    for signal in [Signal::TERM, Signal::KILL] {
        if is_gone() || kill_process_group(group, signal).is_err() {
            return;
        }
        // The next signal is the answer to a timeout.
        let _ = wait_until("processes to end", GRACE, is_gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raddle_tests::command::words;

    #[test]
    fn tells_the_exit_and_ends_what_the_command_left_running() {
        let supervisor = Supervisor::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; exit 3", file.display());
        let outcome = supervisor.run(words("sh -c").arg(script)).unwrap();
        assert!(matches!(outcome, Outcome::Ended(status) if status.code() == Some(3)), "{outcome:?}");
        let pid = std::fs::read_to_string(file).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z"), "{stat}");
    }
}
