//! BIRD, a routing daemon.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::command::{LIMIT, finish};
use crate::wait::wait_for;
use crate::{Namespace, Process};

/// Time that sessions may take to come up.
const UP: Duration = Duration::from_secs(60);

/// A running BIRD; killed when dropped.
#[derive(Debug)]
pub struct Bird<'a> {
    namespace: &'a Namespace,
    process: Process,
    directory: TempDir,
}

impl<'a> Bird<'a> {
    /// Starts BIRD in `namespace` with this configuration and waits until it answers its client.
    ///
    /// # Errors
    /// When it ends early, as with a wrong configuration; with what it wrote.
    pub fn start(namespace: &'a Namespace, config: &str) -> Result<Self> {
        let directory = crate::scratch::directory()?;
        fs::write(directory.path().join("bird.conf"), config)?;
        let process = run(namespace, &directory, &[])?;
        let mut bird = Self { namespace, process, directory };
        bird.await_answer()?;
        Ok(bird)
    }

    /// What its client prints for a command.
    ///
    /// # Errors
    /// When BIRD is gone.
    pub fn ctl(&self, command: &str) -> Result<String> {
        let mut client = self.namespace.command("/usr/sbin/birdc");
        client.arg("-s").arg(self.socket()).args(command.split_whitespace());
        let finished = finish(&mut client, LIMIT)?;
        ensure!(finished.code == Some(0), "birdc {command}: {}{}", finished.stdout, finished.stderr);
        Ok(finished.stdout)
    }

    /// Waits until what its client prints for a command has each of these parts.
    ///
    /// # Errors
    /// When it has not in time; with what it printed and logged.
    pub fn wait_until(&self, command: &str, parts: &[&str]) -> Result<()> {
        let has = || {
            Ok(self.ctl(command).is_ok_and(|text| parts.iter().all(|part| text.contains(part))).then_some(()))
        };
        wait_for(&format!("{parts:?} of `{command}`"), UP, has)
            .with_context(|| format!("{}\n{}", self.ctl(command).unwrap_or_default(), self.process.log()))
    }

    /// Has it end as for a restart: it tells its neighbours, who keep to its routes, and leaves the kernel's alone. Then starts it
    /// again.
    ///
    /// # Errors
    /// When it does not end, or does not come up.
    pub fn restart(&mut self) -> Result<()> {
        self.ctl("graceful restart")?;
        self.process.wait(Duration::from_secs(30))?;
        self.process = run(self.namespace, &self.directory, &["-R"])?;
        self.await_answer()
    }

    /// Kills it: nobody is told.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(Duration::from_secs(10)).map(drop)
    }

    fn await_answer(&mut self) -> Result<()> {
        let (namespace, socket) = (self.namespace, self.socket());
        self.process.wait_until("BIRD to answer", Duration::from_secs(30), |_| {
            let mut client = namespace.command("/usr/sbin/birdc");
            client.arg("-s").arg(&socket).args(["show", "status"]);
            finish(&mut client, LIMIT).is_ok_and(|finished| finished.code == Some(0))
        })
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("bird.ctl")
    }
}

fn run(namespace: &Namespace, directory: &TempDir, arguments: &[&str]) -> Result<Process> {
    let mut command = namespace.command("/usr/sbin/bird");
    command.arg("-f").arg("-c").arg(directory.path().join("bird.conf"));
    command.arg("-s").arg(directory.path().join("bird.ctl")).args(arguments);
    Process::start(&mut command)
}
