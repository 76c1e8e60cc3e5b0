//! `cargo xtask demo`: sets the stage, then tells the story in a supervised child, so that nothing is left however it ends.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::packages::{self, Package};
use crate::supervise::Supervisor;
use crate::{build, demo_generator, demo_story};

/// What the story with real hosts works with.
const PACKAGES: &[Package] = &[
    packages::IPROUTE2,
    packages::PING,
    packages::CURL,
    packages::IPERF,
    packages::PYTHON,
    packages::UNBOUND,
];

/// The demo takes no choices.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Arguments {
    /// Tell the story itself: the stage was set
    #[arg(long, hide = true)]
    on_stage: bool,
}

/// Builds, installs what is missing, and shows raddle at work.
///
/// # Errors
/// When the build fails, packages are missing, or anything in the story is not as told.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.on_stage {
        if packages::is_root() {
            demo_story::tell()?
        } else {
            demo_generator::tell()?
        }
        return Ok(ExitCode::SUCCESS);
    }
    let built = build::build(true)?;
    if packages::is_root() {
        packages::ensure_installed(PACKAGES)?;
    }
    let supervisor = Supervisor::new()?;
    let mut story = Command::new(std::env::current_exe().context("this program has no path")?);
    // The daemon as shipped, wherever the harness was built.
    story.args(["demo", "--on-stage"]).env("RADDLE", &built.raddle);
    Ok(supervisor.run(&mut story)?.exit_code())
}
