//! Leads from the arguments to what does the work.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use super::args::{Arguments, BenchArguments, Command, ConfigCommand, PluginCommand};
use super::engine::Engine;
use super::exit::Exit;
use super::output::print_json;
use super::{config, ctl, plugin, run, top};
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
        Command::Top(arguments) => top::top(&arguments).into(),
        Command::Config(ConfigCommand::Check { files }) => config::check(&files, engine).into(),
        Command::Config(ConfigCommand::Schema) => print_json(&crate::control::config::schema()).into(),
        Command::Plugin(PluginCommand::Check { files, config, json }) => {
            plugin::check(&files, config.as_deref(), json, engine).into()
        }
        Command::Plugin(PluginCommand::Keygen { file }) => plugin::keygen(&file).into(),
        Command::Plugin(PluginCommand::Sign { key, files }) => plugin::sign(&key, &files).into(),
        Command::Bench(arguments) => bench(arguments).into(),
    }
}

fn bench(arguments: BenchArguments) -> Exit {
    let seconds = arguments.seconds;
    if !(0.01..=3600.0).contains(&seconds) {
        eprintln!("error: a window of {seconds} s: it must last between 0.01 and 3600 seconds");
        return Exit::Usage;
    }
    let workers: Vec<_> = arguments.workers.iter().map(|&workers| workers as usize).collect();
    if let Some(packets) = arguments.packets {
        return pass(&arguments.cases, packets, &workers, arguments.plugins.as_deref());
    }
    let options = BenchOptions {
        cases: arguments.cases,
        workers: if workers.is_empty() { vec![1, 2] } else { workers },
        window: Duration::from_secs_f64(seconds),
        windows: arguments.windows as usize,
        vector_sizes: arguments.vector_sizes,
        json: arguments.json,
        plugins: arguments.plugins,
    };
    ended(if arguments.curves { crate::bench::run_curves(&options) } else { crate::bench::run(&options) })
}

/// Has packets of one case pass, and says how many.
fn pass(cases: &[String], packets: u64, workers: &[usize], plugins: Option<&Path>) -> Exit {
    let ([case], [] | [_]) = (cases, workers) else {
        eprintln!("error: --packets takes one case, and at most one number of workers");
        return Exit::Usage;
    };
    let workers = workers.first().copied().unwrap_or(0);
    ended(crate::bench::pass(case, packets, workers, plugins).map(|passed| println!("{passed}")))
}

fn ended(outcome: anyhow::Result<()>) -> Exit {
    match outcome {
        Ok(()) => Exit::Success,
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::Failure
        }
    }
}
