//! Directories that vanish with the test.

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Makes an empty directory named after this process, removed when dropped and by [`crate::sweep`] otherwise.
///
/// # Errors
/// When the system's temporary directory cannot be written.
pub fn directory() -> Result<TempDir> {
    let prefix = format!("{}{}-", crate::sweep::PREFIX, std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir().context("cannot make a temporary directory")
}
