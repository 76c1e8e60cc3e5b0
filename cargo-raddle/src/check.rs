//! `cargo raddle check`: whether raddle can load the plugin.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::project::{self, BuildArguments, DaemonArguments};

/// Arguments of `cargo raddle check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    build: BuildArguments,
    #[command(flatten)]
    daemon: DaemonArguments,
}

/// Builds the plugin and has raddle judge it.
///
/// # Errors
/// It does not build, or there is no raddle.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let built = project::build(arguments.build.release)?;
    let mut check = arguments.daemon.command(["plugin", "check"]);
    let status = check.arg(&built.library).status().with_context(|| arguments.daemon.missing())?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
