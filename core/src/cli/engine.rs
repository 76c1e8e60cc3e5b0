//! What the command line needs of the dataplane.

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use crate::control::config::{Config, Document, Owners, sections::PluginsConfig};

/// What the command line needs of the engine.
pub trait Engine {
    /// The owners of sections and the drivers: those that are built in, and those of the plugins that the configuration
    /// wants. It needs no root, starts nothing, and is silent on plugins that cannot be used.
    fn owners(&self, plugins: &PluginsConfig) -> Owners;

    /// Runs the dataplane until it is told to end, and returns the exit code.
    fn run(&self, document: Document, config: Config) -> ExitCode;

    /// Describes a plugin, as data and in a few words, or says in one sentence why it cannot be used. If there are keys,
    /// it must be signed with one of them.
    ///
    /// # Errors
    /// That sentence.
    fn check_plugin(&self, file: &Path, trusted_keys: &[String]) -> Result<(Value, String), String>;
}
