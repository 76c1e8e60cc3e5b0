//! `cargo xtask fuzz`: builds the fuzz targets on stable Rust and runs each for a while.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::{self, Artifact, Kind, cargo};
use crate::packages;
use crate::supervise::{Outcome, Supervisor};

/// What cargo-fuzz passes on nightly, spelled out: coverage counters and compared values for libFuzzer.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions=yes",
    "-Coverflow-checks=yes",
    "--cfg",
    "fuzzing",
];

/// What to fuzz.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// Targets; all when none is named
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
    /// How long to run each
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(crate) seconds: u32,
}

/// Builds and runs; fails when any target finds something.
///
/// # Errors
/// When the build fails, a target is unknown, or one finds something.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let targets = chosen(build()?, &arguments.targets)?;
    let supervisor = Supervisor::new()?;
    let mut failures = Vec::new();
    for target in &targets {
        match fuzz_one(&supervisor, target, arguments.seconds)? {
            Outcome::Ended(status) if status.success() => {}
            Outcome::Ended(_) => failures.push(target.name.as_str()),
            interrupted @ Outcome::Interrupted(_) => return Ok(interrupted.exit_code()),
        }
    }
    ensure!(failures.is_empty(), "found something in: {}", failures.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// The manifest of the fuzz targets' workspace.
pub(crate) fn manifest() -> PathBuf {
    cargo::root().join("fuzz/Cargo.toml")
}

/// Where the inputs that break a target are kept.
fn artifacts_directory(target: &str) -> PathBuf {
    cargo::target().join("fuzz/artifacts").join(target)
}

/// Builds all targets.
///
/// # Errors
/// When the build fails.
pub(crate) fn build() -> Result<Vec<Artifact>> {
    packages::ensure_installed(&[packages::CXX])?;
    let mut command = cargo(&["build", "--release", "--manifest-path"]);
    command.arg(manifest());
    // Naming the target, even the host's own, keeps the flags away from build scripts and procedural macros.
    command.arg("--target").arg(cargo::host_triple()?).env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    command.env("CARGO_TARGET_DIR", cargo::target().join("fuzz"));
    let mut artifacts = cargo::build(&mut command)?;
    artifacts.retain(|artifact| artifact.kind == Kind::Program);
    artifacts.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(!artifacts.is_empty(), "fuzz/ has no targets");
    Ok(artifacts)
}

fn chosen(targets: Vec<Artifact>, names: &[String]) -> Result<Vec<Artifact>> {
    if names.is_empty() {
        return Ok(targets);
    }
    for name in names {
        if !targets.iter().any(|target| target.name == *name) {
            let known: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
            bail!("no fuzz target is called {name}; there are {}", known.join(", "));
        }
    }
    Ok(targets.into_iter().filter(|target| names.contains(&target.name)).collect())
}

fn fuzz_one(supervisor: &Supervisor, target: &Artifact, seconds: u32) -> Result<Outcome> {
    let name = &target.name;
    let work = raddle_tests::scratch::directory()?;
    let artifacts = artifacts_directory(name);
    fs::create_dir_all(&artifacts).with_context(|| format!("cannot make {}", artifacts.display()))?;
    let log = work.path().join("log");
    let output = fs::File::create(&log)?;
    let new_inputs = work.path().join("corpus");
    fs::create_dir(&new_inputs)?;
    let mut command = Command::new(&target.path);
    // libFuzzer writes new inputs to the first directory and only reads the others.
    command.arg(&new_inputs);
    let corpus = cargo::root().join("fuzz/corpus").join(name);
    if corpus.exists() {
        command.arg(&corpus);
    }
    command
        .args([format!("-max_total_time={seconds}"), format!("-artifact_prefix={}/", artifacts.display())])
        .args(["-timeout=10", "-rss_limit_mb=4096", "-print_final_stats=1"])
        .stderr(output.try_clone()?)
        .stdout(output);
    let outcome = supervisor.run(&mut command)?;
    let text = fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let passed = matches!(outcome, Outcome::Ended(status) if status.success());
    if passed {
        let count = |name: &str| statistic(&text, name).unwrap_or_else(|| "?".to_owned());
        println!("fuzz {name}: {} inputs in {seconds} s", count("number_of_executed_units"));
    } else {
        println!("{text}fuzz {name}: FAILED; the input is kept in {}", artifacts.display());
    }
    Ok(outcome)
}

/// A value of libFuzzer's final statistics: `stat::number_of_executed_units: 65536`.
fn statistic(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name))?;
    Some(line.trim_start_matches(':').trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Artifact {
        Artifact { name: name.into(), kind: Kind::Program, path: PathBuf::new() }
    }

    #[test]
    fn chooses_all_or_those_named_and_refuses_unknown_ones() {
        let all = || vec![target("arp"), target("ip4")];
        assert_eq!(chosen(all(), &[]).unwrap(), all());
        assert_eq!(chosen(all(), &["ip4".to_owned()]).unwrap(), [target("ip4")]);
        let error = chosen(all(), &["ip5".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("ip5") && error.contains("arp, ip4"), "{error}");
    }

    #[test]
    fn reads_libfuzzers_statistics() {
        let text = "#2 DONE\nstat::number_of_executed_units: 12\nstat::peak_rss_mb: 40\n";
        assert_eq!(statistic(text, "number_of_executed_units").as_deref(), Some("12"));
        assert_eq!(statistic(text, "absent"), None);
    }
}
