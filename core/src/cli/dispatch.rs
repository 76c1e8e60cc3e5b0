//! Leads from the arguments to what does the work.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use super::args::{Arguments, Command, ConfigCommand, PluginCommand};
use super::engine::Engine;
use super::exit::Exit;
use super::output::{print, print_json};
use super::{config, ctl, run};

/// Runs the binary with these arguments (the first is its name) on an engine.
pub fn main(arguments: impl IntoIterator<Item = OsString>, engine: &dyn Engine) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing can be told when the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Success.into() };
        }
    };
    match arguments.command {
        Command::Run(arguments) => run::run(arguments.config.as_deref(), engine),
        Command::Ctl(arguments) => ctl::ctl(&arguments).into(),
        Command::Config(ConfigCommand::Check { files }) => config::check(&files, engine).into(),
        Command::Config(ConfigCommand::Schema) => print_json(&crate::control::config::schema()).into(),
        Command::Plugin(PluginCommand::Check { files }) => check_plugins(&files, engine).into(),
    }
}

fn check_plugins(files: &[PathBuf], engine: &dyn Engine) -> Exit {
    let mut exit = Exit::Success;
    for file in files {
        match engine.check_plugin(file) {
            Ok(description) => exit = exit.max(print(&format!("{}: ok, {description}", file.display()))),
            Err(reason) => {
                eprintln!("{}: {reason}", file.display());
                exit = Exit::Failure;
            }
        }
    }
    exit
}
