//! `cargo xtask clean-up`: removes what killed runs left.

use std::process::ExitCode;

use anyhow::Result;
use raddle_tests::sweep;

/// What to remove.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Arguments {
    /// Also what processes that still run have made
    #[arg(long)]
    all: bool,
}

/// Removes and names it.
///
/// # Errors
/// When a namespace cannot be deleted.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut removed = sweep::sweep()?;
    if arguments.all {
        for name in sweep::namespaces() {
            sweep::destroy_namespace(&name)?;
            removed.push(name);
        }
    }
    if removed.is_empty() {
        println!("nothing was left");
    }
    for name in removed {
        println!("removed {name}");
    }
    Ok(ExitCode::SUCCESS)
}
