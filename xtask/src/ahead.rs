//! Builds of later layers, made at idle priority while earlier ones wait for one crate: a whole run is shorter
//! by minutes, and what the layers themselves do is the same.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{build, cargo, fuzz, test};

/// Another process of this program that builds; it and its compilers end when this is dropped.
pub(crate) struct Ahead(Child);

impl Ahead {
    /// Begins. What it says is in `target/ahead.log`: a build that fails fails again in its layer, and is told there.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start() -> Result<Self> {
        let program = std::env::current_exe().context("this program has no path")?;
        let log = File::create(cargo::target().join("ahead.log")).context("cannot write a log")?;
        // SCHED_IDLE (sched(7)): only what the layers leave of the processors.
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(program).arg("ahead").process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().map(Self).context("cannot start `chrt`")
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// What the process does.
///
/// # Errors
/// When a build fails.
pub(crate) fn run() -> Result<ExitCode> {
    cargo::build(&mut test::loom_build())?;
    build::build_for_counting()?;
    fuzz::build()?;
    Ok(ExitCode::SUCCESS)
}
