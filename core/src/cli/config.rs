//! `raddle config`, and how every subcommand reads a configuration.

use std::path::{Path, PathBuf};

use super::engine::Engine;
use super::exit::Exit;
use super::output::print;
use crate::control::config::{Config, ConfigError, Document, Owners, sections::PluginsConfig};

/// Reads a configuration file, or takes all defaults when there is none.
pub(super) fn load(file: Option<&Path>, engine: &dyn Engine) -> Result<(Document, Config), ConfigError> {
    let document = match file {
        Some(file) => Document::load(file)?,
        None => Document::default(),
    };
    let owners = match document.section::<PluginsConfig>("plugins") {
        Ok(plugins) => engine.owners(&plugins.unwrap_or_default()),
        // Which plugins are wanted is not known; the mistakes in [plugins] are reported with all others.
        Err(_) => {
            let mut owners = Owners::new();
            owners.accept_unknown();
            owners
        }
    };
    let config = Config::load(&document, &owners)?;
    Ok((document, config))
}

/// Reports what is wrong with files.
pub(super) fn check(files: &[PathBuf], engine: &dyn Engine) -> Exit {
    let mut exit = Exit::Success;
    for file in files {
        match load(Some(file), engine) {
            Ok(_) => exit = exit.max(print(&format!("{}: ok", file.display()))),
            Err(error) => {
                eprintln!("{error}");
                exit = exit.max(Exit::Usage);
            }
        }
    }
    exit
}
