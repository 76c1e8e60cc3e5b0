//! `cargo raddle`: from an empty directory to a plugin in the packets' way.

#![forbid(unsafe_code)]

mod check;
mod deb;
mod new;
mod package;
mod project;
mod run;
mod tap_hosts;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Make, test, try and package plugins for raddle.
#[derive(Debug, Parser)]
#[command(name = "cargo raddle", bin_name = "cargo raddle", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
All but `new` work on the plugin in the current directory. The daemon is `raddle` in PATH, or what --raddle or the \
variable RADDLE says.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a plugin that builds and passes its tests, in a directory of its name
    New(new::Arguments),
    /// Run the plugin's tests, which need neither root nor the daemon
    Test(project::TestArguments),
    /// Build the plugin and say whether raddle can load it
    Check(check::Arguments),
    /// Build the plugin and run raddle with it between two hosts, each behind a tap in a network namespace (root)
    Run(run::Arguments),
    /// Build the plugin optimised, as a file to be shipped or as a Debian package
    Package(package::Arguments),
}

fn main() -> ExitCode {
    // Cargo runs `cargo-raddle raddle ARGUMENTS`.
    let mut words: Vec<_> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == "raddle") {
        words.remove(1);
    }
    let done = match Arguments::parse_from(words).command {
        Command::New(arguments) => new::run(&arguments),
        Command::Test(arguments) => project::test(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Package(arguments) => package::run(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definitions_are_consistent() {
        Arguments::command().debug_assert();
    }
}
