//! `raddle run`: from the configuration to the engine.

use std::path::Path;
use std::process::ExitCode;

use super::config::load;
use super::exit::Exit;
use crate::control::config::{Config, Document, Owners, sections::PluginsConfig};

/// What the command line needs of the engine.
pub trait Engine {
    /// The owners of sections and the drivers: those that are built in, and those of the plugins that the configuration
    /// wants. It needs no root, starts nothing, and is silent on plugins that cannot be used.
    fn owners(&self, plugins: &PluginsConfig) -> Owners;

    /// Runs the dataplane until it is told to end, and returns the exit code.
    fn run(&self, document: Document, config: Config) -> ExitCode;

    /// Describes a plugin in a few words, or says in one sentence why it cannot be used.
    ///
    /// # Errors
    /// That sentence.
    fn check_plugin(&self, file: &Path) -> Result<String, String>;
}

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
