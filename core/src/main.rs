//! The raddle daemon and its tools.

use std::path::Path;
use std::process::ExitCode;

use raddle::cli::{Engine, Exit, main as run};
use raddle::control::config::{Config, Document, Owners, sections::PluginsConfig};

/// The command line without a dataplane: checks and talks, but runs nothing.
struct NoEngine;

impl Engine for NoEngine {
    fn owners(&self, _: &PluginsConfig) -> Owners {
        let mut owners = Owners::new();
        owners.accept_unknown();
        owners
    }

    fn run(&self, _: Document, _: Config) -> ExitCode {
        eprintln!("error: this build has no dataplane");
        Exit::Failure.into()
    }

    fn check_plugin(&self, _: &Path) -> Result<String, String> {
        Err("this build hosts no plugins".to_owned())
    }
}

fn main() -> ExitCode {
    run(std::env::args_os(), &NoEngine)
}
