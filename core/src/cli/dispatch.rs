//! Leads from the arguments to what does the work.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use super::args::{Arguments, BenchArguments, Command, ConfigCommand, PluginCommand};
use super::engine::Engine;
use super::exit::Exit;
use super::output::{print, print_json};
use super::{config, ctl, run};
use crate::bench::BenchOptions;

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
        Command::Bench(arguments) => bench(arguments).into(),
    }
}

fn bench(arguments: BenchArguments) -> Exit {
    let seconds = arguments.seconds;
    if !(0.01..=3600.0).contains(&seconds) {
        eprintln!("error: a window of {seconds} s: it must last between 0.01 and 3600 seconds");
        return Exit::Usage;
    }
    let options = BenchOptions {
        cases: arguments.cases,
        workers: arguments.workers.iter().map(|&workers| workers as usize).collect(),
        window: Duration::from_secs_f64(seconds),
        windows: arguments.windows as usize,
        json: arguments.json,
    };
    match crate::bench::run(&options) {
        Ok(()) => Exit::Success,
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::Failure
        }
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
