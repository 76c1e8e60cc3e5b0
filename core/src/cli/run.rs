//! `raddle run`: from the configuration to the engine.

use std::path::Path;
use std::process::ExitCode;

use super::config::load;
use super::engine::Engine;
use super::exit::Exit;

/// Runs the dataplane as `file` says, or with all defaults.
pub(super) fn run(file: Option<&Path>, engine: &dyn Engine) -> ExitCode {
    match load(file, engine) {
        Ok((document, config)) => engine.run(document, config),
        Err(error) => {
            eprintln!("{error}");
            Exit::Usage.into()
        }
    }
}
