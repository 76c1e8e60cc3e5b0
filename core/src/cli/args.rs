//! Arguments of the binary, by clap.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::top::View;

/// A vector packet dataplane for Linux that hosts plugins.
#[derive(Debug, Parser)]
#[command(
    name = "raddle",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 success, 1 a command failed, 2 wrong usage or configuration, 3 a required plugin is \
                  missing or unusable, 4 daemon not reachable."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the dataplane in the foreground.
    Run(RunArguments),
    /// Talk to a running dataplane.
    #[command(after_help = CTL_HELP)]
    Ctl(CtlArguments),
    /// Watch a running dataplane: interfaces, nodes, plugins, drops, threads.
    Top(TopArguments),
    /// Check configuration files, without root and without starting anything.
    #[command(subcommand, arg_required_else_help = true)]
    Config(ConfigCommand),
    /// Judge, describe and sign plugin files, without a daemon.
    #[command(subcommand, arg_required_else_help = true)]
    Plugin(PluginCommand),
    /// Measure what a packet costs, on the real graph, from an in-memory generator.
    Bench(BenchArguments),
}

const CTL_HELP: &str = "\
Without COMMAND it is an interactive shell with history and completion; from a pipe it carries out line by line.

Examples:
  raddle ctl                           open the shell
  raddle ctl show interface            run one command
  raddle ctl --json show interface     … and print its data as JSON
  echo 'show runtime' | raddle ctl     run the lines of a file or pipe";

/// Arguments of `raddle run`.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// Configuration file; without one all settings have their defaults.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Arguments of `raddle bench`.
#[derive(Debug, Args)]
pub(super) struct BenchArguments {
    /// Cases to run; all, if none is named.
    #[arg(value_name = "CASE")]
    pub cases: Vec<String>,
    /// Write the results to a file as JSON too.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Numbers of workers to run each case with [default: 1,2; with --packets none].
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: Vec<u32>,
    /// Packets of a full frame, at most: sizes to compare.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [256],
        value_parser = clap::value_parser!(u32).range(1..=256))]
    pub vector_sizes: Vec<u32>,
    /// Length of a window, in seconds.
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub seconds: f64,
    /// Windows of each case, of which the best counts.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub windows: u32,
    /// Directory of the plugins that some cases need [default: `plugins` beside this program].
    #[arg(long, value_name = "DIRECTORY")]
    pub plugins: Option<PathBuf>,
    /// Measure how cost grows: CASE names curves then, such as `routes`.
    #[arg(long, conflicts_with_all = ["workers", "vector_sizes", "packets"])]
    pub curves: bool,
    /// Have N packets of one case pass, print how many they were, and measure nothing: for tools that watch from
    /// outside.
    #[arg(long, value_name = "N", conflicts_with_all = ["json", "vector_sizes", "seconds", "windows"])]
    pub packets: Option<u64>,
}

/// Arguments of `raddle ctl`.
#[derive(Debug, Args)]
pub(super) struct CtlArguments {
    /// Control socket of the daemon [default: /run/raddle/raddle.sock, or $XDG_RUNTIME_DIR/raddle.sock when not root].
    #[arg(short, long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print the data of commands as JSON.
    #[arg(short, long)]
    pub json: bool,
    /// Print the JSON Schemas of the control protocol, and exit.
    #[arg(long, conflicts_with = "command")]
    pub schema: bool,
    /// The command to carry out; `help` lists all.
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// Arguments of `raddle top`.
#[derive(Debug, Args)]
pub(super) struct TopArguments {
    /// Control socket of the daemon [default: /run/raddle/raddle.sock, or $XDG_RUNTIME_DIR/raddle.sock when not root].
    #[arg(short, long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print one screen as text, and exit.
    #[arg(long)]
    pub once: bool,
    /// Seconds from one sample to the next.
    #[arg(short, long, value_name = "S", default_value_t = 1.0, value_parser = interval)]
    pub interval: f64,
    /// What to show first.
    #[arg(value_enum, value_name = "VIEW", default_value = "all")]
    pub view: View,
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    if (0.1..=3600.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("expected 0.1 to 3600 seconds".to_owned())
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Report everything that is wrong with configuration files.
    Check {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of the configuration file.
    Schema,
}

#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// Say whether files are plugins that this binary can load, and what is in them; if not, why.
    Check {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Judge signatures too, by `plugins.trusted-keys` of this configuration.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print verdicts and descriptors as JSON.
        #[arg(short, long)]
        json: bool,
    },
    /// Make a key that signs plugins: the private one goes into FILE, the public one is printed, for
    /// `plugins.trusted-keys`.
    Keygen {
        /// The file, which must not be there yet.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Sign plugins: the signature of FILE goes into FILE.sig.
    Sign {
        /// File of the private key.
        #[arg(short, long, value_name = "KEY-FILE")]
        key: PathBuf,
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn words_after_a_command_belong_to_the_command() {
        let arguments = Arguments::parse_from(["raddle", "ctl", "--json", "show", "x", "--json", "-1"]);
        let Command::Ctl(ctl) = arguments.command else { panic!("not ctl") };
        assert!(ctl.json);
        assert_eq!(ctl.command, ["show", "x", "--json", "-1"]);
    }
}
