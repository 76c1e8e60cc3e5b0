//! A running raddle.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::command::{Finished, LIMIT, finish};
use crate::{DaemonConfig, Namespace, Process};

/// Time it may take to answer the first command.
const START: Duration = Duration::from_secs(20);
/// Time it may take to end after SIGTERM.
const STOP: Duration = Duration::from_secs(60);

/// A daemon with its control socket answering. Dropped without [`Daemon::stop`], as when a test fails, it is killed and
/// its log printed.
#[derive(Debug)]
pub struct Daemon<'a> {
    process: Process,
    /// Where it runs and the interfaces there before it started, sorted; `None` beside this process.
    place: Option<(&'a Namespace, Vec<String>)>,
    socket: PathBuf,
    directory: TempDir,
    stopped: bool,
}

impl<'a> Daemon<'a> {
    /// Starts `raddle run` in `namespace` and waits until its socket answers.
    ///
    /// # Errors
    /// When it ends early or does not answer in time; with its log.
    pub fn start(namespace: &'a Namespace, config: &DaemonConfig) -> Result<Self> {
        Self::start_at(Some((namespace, namespace.interfaces()?)), config, &[])
    }

    /// As [`Daemon::start`], where there is no `/dev/net/tun`: an empty directory hides it from this daemon alone.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_without_tun(namespace: &'a Namespace, config: &DaemonConfig) -> Result<Self> {
        // `ip netns exec` has made a mount namespace for it.
        let hide = ["sh", "-c", "mount -t tmpfs none /dev/net && exec \"$@\"", "sh"];
        Self::start_at(Some((namespace, namespace.interfaces()?)), config, &hide)
    }

    /// As [`Daemon::start`], without a capability (`net_admin`) that root has.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_without_capability(
        namespace: &'a Namespace,
        config: &DaemonConfig,
        capability: &str,
    ) -> Result<Self> {
        let drop = ["setpriv", &format!("--bounding-set=-{capability}")];
        Self::start_at(Some((namespace, namespace.interfaces()?)), config, &drop)
    }

    /// Has it read its configuration anew, as `change` has made it.
    ///
    /// # Errors
    /// When the file cannot be written, or the daemon is gone.
    pub fn reload(&self, change: impl FnOnce(String) -> String) -> Result<()> {
        let text = fs::read_to_string(self.config_file())?;
        fs::write(self.config_file(), change(text))?;
        self.signal(Signal::HUP)
    }

    /// As [`Daemon::start`] beside this process, which needs no root: for configurations without devices.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_here(config: &DaemonConfig) -> Result<Self> {
        Self::start_at(None, config, &[])
    }

    /// `wrapper` is a program with its arguments that ends in running those behind it; none in a namespace of its own.
    fn start_at(
        place: Option<(&'a Namespace, Vec<String>)>,
        config: &DaemonConfig,
        wrapper: &[&str],
    ) -> Result<Self> {
        let directory = crate::scratch::directory()?;
        let socket = directory.path().join("raddle.sock");
        let file = directory.path().join("raddle.toml");
        fs::write(&file, config.render(&socket)).context("cannot write the configuration")?;
        let mut command = match (&place, wrapper) {
            (Some((namespace, _)), []) => namespace.command(&raddle().to_string_lossy()),
            (Some((namespace, _)), [program, arguments @ ..]) => {
                let mut command = namespace.command(program);
                command.args(arguments).arg(raddle());
                command
            }
            (None, _) => Command::new(raddle()),
        };
        command.args(["run", "-c"]).arg(&file);
        let process = Process::start(&mut command)?;
        let mut daemon = Self { process, place, socket, directory, stopped: false };
        let socket = daemon.socket.clone();
        daemon.process.wait_until("raddle to answer", START, |_| {
            socket.exists()
                && ctl_on(&socket, &["show", "plugins"]).is_ok_and(|finished| finished.code == Some(0))
        })?;
        Ok(daemon)
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The configuration file it was started with.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("raddle.toml")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// All it has logged until now.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Runs one command and returns its text.
    ///
    /// # Errors
    /// When the command fails or the daemon is gone; with the words of both.
    pub fn ctl(&self, command: &str) -> Result<String> {
        self.succeed(&command.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs one command and returns its data.
    ///
    /// # Errors
    /// As [`Daemon::ctl`], and when what it prints is not JSON.
    pub fn ctl_json(&self, command: &str) -> Result<Value> {
        let words: Vec<_> = std::iter::once("--json").chain(command.split_whitespace()).collect();
        let text = self.succeed(&words)?;
        serde_json::from_str(&text).with_context(|| format!("`{command}` gave no JSON but {text:?}"))
    }

    /// Runs one command that may fail.
    ///
    /// # Errors
    /// When `raddle ctl` itself cannot run.
    pub fn try_ctl(&self, command: &str) -> Result<Finished> {
        ctl_on(&self.socket, &command.split_whitespace().collect::<Vec<_>>())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Sends SIGTERM and checks a clean end: exit code 0, no socket, and the interfaces of the namespace as they were before.
    ///
    /// # Errors
    /// When any of that is not so.
    pub fn stop(self) -> Result<()> {
        let interfaces = self.place.as_ref().map(|(_, interfaces)| interfaces.clone());
        self.stop_leaving(&interfaces.unwrap_or_default())
    }

    /// As [`Daemon::stop`] for a test that itself changed the interfaces: `interfaces` (sorted) must be left.
    ///
    /// # Errors
    /// As [`Daemon::stop`].
    pub fn stop_leaving(mut self, interfaces: &[String]) -> Result<()> {
        ensure!(self.process.ended()?.is_none(), "raddle had ended before it was stopped");
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait(STOP)?;
        if status.code() != Some(0) {
            bail!("raddle ended with {status} after SIGTERM");
        }
        ensure!(!self.socket.exists(), "raddle left its socket {}", self.socket.display());
        if let Some((namespace, _)) = &self.place {
            let left = namespace.interfaces()?;
            ensure!(left == interfaces, "interfaces after raddle's end: {left:?}, expected {interfaces:?}");
        }
        self.stopped = true;
        Ok(())
    }

    /// Kills it as a crash would, without the checks of [`Daemon::stop`].
    ///
    /// # Errors
    /// When it had ended already.
    pub fn kill(mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(STOP)?;
        self.stopped = true;
        Ok(())
    }

    /// Sends SIGTERM twice and waits until it has ended, in order or not.
    ///
    /// # Errors
    /// When it does not end.
    pub fn end_at_once(mut self) -> Result<Option<i32>> {
        self.process.signal(Signal::TERM)?;
        self.process
            .wait_until("raddle to begin to end", STOP, |process| process.log().contains("raddle ends"))?;
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait(STOP)?;
        self.stopped = true;
        Ok(status.code())
    }

    /// Waits until it has ended by a signal, as a crash does, and cleans up as a service manager would.
    ///
    /// # Errors
    /// When it does not end in time, or ends otherwise.
    pub fn wait_for_crash(mut self, limit: Duration) -> Result<()> {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self.process.wait(limit)?;
        ensure!(status.signal().is_some(), "raddle ended with {status}, not by a signal");
        self.stopped = true;
        Ok(())
    }

    fn succeed(&self, words: &[&str]) -> Result<String> {
        let Finished { code, stdout, stderr } = ctl_on(&self.socket, words)?;
        if code != Some(0) {
            bail!("`{}` ended with {code:?}: {}{}", words.join(" "), stderr.trim(), stdout.trim());
        }
        Ok(stdout)
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if !self.stopped {
            let config = fs::read_to_string(self.config_file()).unwrap_or_default();
            eprintln!("── raddle.toml ──\n{config}── raddle's log ──\n{}──", self.process.log());
        }
    }
}

/// Runs `raddle ctl` on `socket`, whoever listens there.
///
/// # Errors
/// When it cannot be started or does not end.
pub fn ctl_on(socket: &Path, words: &[&str]) -> Result<Finished> {
    finish(Command::new(raddle()).arg("ctl").arg("--socket").arg(socket).args(words), LIMIT)
}

/// The daemon's program: `RADDLE`, or the one built beside this test.
#[must_use]
pub fn raddle() -> PathBuf {
    std::env::var_os("RADDLE").map_or_else(|| target_dir().join("raddle"), PathBuf::from)
}

/// The directory cargo built this program's profile into: `target/debug` or `target/release`.
///
/// # Panics
/// When the running program has no path, which Linux always gives.
#[must_use]
pub fn target_dir() -> PathBuf {
    let program = std::env::current_exe().expect("a path of the running program");
    let directory = program.parent().expect("a program is in a directory");
    // Test programs are one level deeper, in `deps`.
    let inner = directory.ends_with("deps").then(|| directory.parent()).flatten();
    inner.unwrap_or(directory).to_owned()
}
