//! The raddle daemon and its tools.

use std::process::ExitCode;

fn main() -> ExitCode {
    raddle::cli::main(std::env::args_os(), &raddle::daemon::Daemon)
}
