//! `cargo xtask bench`: builds the optimised daemon and hands over to its own `bench`.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::build;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Cases, such as l2-xconnect; all when none is named
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Pinned worker threads
    #[arg(long, value_name = "N")]
    workers: Option<u32>,
    /// Length of one window
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Windows of which the best counts
    #[arg(long, value_name = "N")]
    windows: Option<u32>,
}

/// Builds, then becomes `raddle bench`.
///
/// # Errors
/// When the build fails or the daemon cannot be started.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let built = build::build(true)?;
    let mut command = Command::new(&built.raddle);
    command.arg("bench").args(&arguments.cases);
    if let Some(file) = &arguments.json {
        command.arg("--json").arg(file);
    }
    if let Some(workers) = arguments.workers {
        command.arg("--workers").arg(workers.to_string());
    }
    if let Some(seconds) = arguments.seconds {
        command.arg("--seconds").arg(seconds.to_string());
    }
    if let Some(windows) = arguments.windows {
        command.arg("--windows").arg(windows.to_string());
    }
    Err(command.exec()).with_context(|| format!("cannot start {}", built.raddle.display()))
}
