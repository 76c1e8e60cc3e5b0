//! `cargo xtask sanitize`: the tests of the unsafe code, under AddressSanitizer.
//!
//! It needs a nightly toolchain, which is used where there is one and never added. Data races are for loom
//! (`cargo xtask test loom`): ThreadSanitizer takes the standard library's synchronisation, which is not built with it, for races.

use std::process::ExitCode;

use anyhow::Result;

use crate::cargo;
use crate::supervise::{Outcome, Supervisor};

/// What must hold for each access and each block of memory. A report ends the test that made it.
const OPTIONS: &str =
    "detect_stack_use_after_return=1:detect_leaks=1:halt_on_error=1:abort_on_error=0:color=never";

/// Tests of the core whose code has unsafe parts: by modules, as test filters.
const CORE_MODULES: &[&str] = &[
    "memory::",
    "graph::",
    "runtime::",
    "process::",
    "feature::",
    "interface::",
    "driver::",
    "host::",
    "net::fib::",
    "net::l2::",
    "net::offload::",
    "net::reassembly::",
    "net::fragment::",
];

/// What to run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// Only tests whose names contain one of these words, of the SDK and of the core
    #[arg(value_name = "TEST")]
    pub(crate) tests: Vec<String>,
}

/// Runs them.
///
/// # Errors
/// When a build cannot be started.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !cargo::has_nightly() {
        println!("sanitize: not run: there is no nightly toolchain (`cargo +nightly` does not run)");
        return Ok(ExitCode::SUCCESS);
    }
    let supervisor = Supervisor::new()?;
    let modules: Vec<String> = CORE_MODULES.iter().map(|&module| module.to_owned()).collect();
    let core = if arguments.tests.is_empty() { &modules } else { &arguments.tests };
    let sdk = ["-p", "raddle-plugin-api", "--features", "proptest", "--lib", "--tests"];
    for (what, package, tests) in [
        ("the SDK", sdk.as_slice(), &arguments.tests),
        ("the core", ["-p", "raddle", "--lib"].as_slice(), core),
    ] {
        println!("sanitize: {what}");
        let mut command = cargo::nightly(&["test"]);
        // Naming the target, even the host's own, keeps the flags away from build scripts and procedural macros.
        command
            .args(package)
            .arg("--target")
            .arg(cargo::host_triple()?)
            .arg("--")
            .args(tests)
            .env("RUSTFLAGS", "-Zsanitizer=address -Cforce-frame-pointers=yes")
            .env("ASAN_OPTIONS", OPTIONS)
            .env("CARGO_TARGET_DIR", cargo::target().join("sanitize"));
        match supervisor.run(&mut command)? {
            Outcome::Ended(status) if status.success() => {}
            Outcome::Ended(_) => {
                println!("sanitize: {what}: FAILED");
                return Ok(ExitCode::FAILURE);
            }
            interrupted @ Outcome::Interrupted(_) => return Ok(interrupted.exit_code()),
        }
    }
    Ok(ExitCode::SUCCESS)
}
