//! A program that runs beside the test, with all it writes kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::command::{exit_within, shown};
use crate::wait::wait_for;

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Process {
    line: String,
    child: Child,
    log: PathBuf,
    _directory: TempDir,
}

impl Process {
    /// Starts `command` with both its output streams going to [`Process::log`] and an empty standard input.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let line = shown(command);
        let directory = crate::scratch::directory()?;
        let log = directory.path().join("log");
        let file = fs::File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stderr(file.try_clone()?)
            .stdout(file)
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        Ok(Self { line, child, log, _directory: directory })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it has written until now.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Its exit status if it has ended.
    ///
    /// # Errors
    /// When the system refuses to tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until `ready` holds; `what` names it in the error.
    ///
    /// # Errors
    /// When the program ends before that or `timeout` passes; with what it wrote.
    pub fn wait_until(&mut self, what: &str, timeout: Duration, ready: impl Fn(&Self) -> bool) -> Result<()> {
        let outcome = wait_for(what, timeout, || {
            if ready(self) {
                return Ok(Some(()));
            }
            match self.child.try_wait()? {
                Some(status) => bail!("`{}` ended early ({status})", self.line),
                None => Ok(None),
            }
        });
        outcome.with_context(|| format!("it wrote:\n{}", self.log()))
    }

    /// Waits until it listens on a TCP `port`, in whatever namespace it is.
    ///
    /// # Errors
    /// As [`Process::wait_until`].
    pub fn wait_until_listening(&mut self, port: u16) -> Result<()> {
        self.wait_until(&format!("a listener on port {port}"), Duration::from_secs(30), |process| {
            listens(Path::new(&format!("/proc/{}/net", process.pid())), port)
        })
    }

    /// Sends `signal`.
    ///
    /// # Errors
    /// When it has ended and was waited for.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).with_context(|| format!("cannot signal `{}`", self.line))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`; with what it wrote.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        match exit_within(&mut self.child, limit)? {
            Some(status) => Ok(status),
            None => bail!("`{}` still runs after {limit:?}; it wrote:\n{}", self.line, self.log()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a TCP socket listens on `port`, as told by the tables below `/proc/<pid>/net` (proc_net_tcp(5)).
fn listens(tables: &Path, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    ["tcp", "tcp6"].iter().filter_map(|table| fs::read_to_string(tables.join(table)).ok()).any(|table| {
        table.lines().skip(1).any(|line| {
            let mut columns = line.split_whitespace().skip(1);
            columns.next().is_some_and(|local| local.ends_with(&suffix)) && columns.nth(1) == Some(LISTEN)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::words;

    #[test]
    fn keeps_what_the_program_wrote_and_tells_its_exit() {
        let mut process = Process::start(words("sh -c").arg("echo out; echo err >&2; exit 3")).unwrap();
        assert_eq!(process.wait(Duration::from_secs(30)).unwrap().code(), Some(3));
        assert_eq!(process.log(), "out\nerr\n");
    }

    #[test]
    fn reports_an_early_end_with_its_words() {
        let mut process = Process::start(words("sh -c").arg("echo no such device")).unwrap();
        let error = process.wait_until("readiness", Duration::from_secs(30), |_| false).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("ended early") && error.contains("no such device"), "{error}");
    }

    #[test]
    fn sees_a_listener_of_either_family() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            assert!(listens(Path::new("/proc/self/net"), port), "{address}");
            drop(listener);
            assert!(!listens(Path::new("/proc/self/net"), port), "{address}");
        }
    }
}
