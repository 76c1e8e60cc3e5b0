//! `cargo xtask docs`: writes the book's reference pages from what the core registers, and the ABI's header for C.

use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::cargo::cargo;

/// Has the tests that compare the pages write them instead.
const WRITE: &str = "RADDLE_WRITE_REFERENCE";

/// There is nothing to choose.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Arguments {}

/// Writes `docs/reference/*.md` and `plugin-api/include/raddle_plugin.h`.
///
/// # Errors
/// When the build fails or a page cannot be written.
pub(crate) fn run(_: &Arguments) -> Result<ExitCode> {
    for (package, test) in [("raddle", "reference"), ("raddle-plugin-api", "c_header")] {
        let status = cargo(&["test", "--package", package, "--test", test]).env(WRITE, "1").status()?;
        ensure!(status.success(), "what {test} compares could not be written ({status})");
    }
    println!("docs/reference and the plugin header for C are up to date");
    Ok(ExitCode::SUCCESS)
}
