//! `cargo xtask docs`: writes the book's reference pages from what the core registers.

use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::cargo::cargo;

/// Has the tests that compare the pages write them instead.
const WRITE: &str = "RADDLE_WRITE_REFERENCE";

/// There is nothing to choose.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Arguments {}

/// Writes `docs/reference/*.md`.
///
/// # Errors
/// When the build fails or a page cannot be written.
pub(crate) fn run(_: &Arguments) -> Result<ExitCode> {
    let status = cargo(&["test", "--package", "raddle", "--test", "reference"]).env(WRITE, "1").status()?;
    ensure!(status.success(), "the reference pages could not be written ({status})");
    println!("docs/reference is up to date");
    Ok(ExitCode::SUCCESS)
}
