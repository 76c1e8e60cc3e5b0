//! An author's way, from a fresh directory: each template builds, passes its tests and clippy, and is packaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A command in `directory`; the plugins share a build directory with the examples.
fn command(directory: &Path, program: impl AsRef<std::ffi::OsStr>, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../examples");
    command.args(words).current_dir(directory).env("CARGO_TARGET_DIR", target);
    // The crates are those of the workspace's own lock file, fetched when this test was built.
    command.env("CARGO_NET_OFFLINE", "true").env("RADDLE_SDK", root().join("plugin-api"));
    command
}

fn raddle(directory: &Path, words: &[&str]) -> Command {
    command(directory, env!("CARGO_BIN_EXE_cargo-raddle"), words)
}

fn cargo(directory: &Path, words: &[&str]) -> Command {
    command(directory, std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), words)
}

/// What a command prints, which must succeed.
#[track_caller]
fn succeed(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    assert!(status.success(), "{command:?} ended with {status}:\n{text}{}", String::from_utf8_lossy(&stderr));
    text
}

/// Makes a plugin from a template and runs its tests and lints.
fn try_template(folder: &Path, name: &str, template: &str) -> PathBuf {
    succeed(raddle(folder, &["new", name, "--template", template]));
    let directory = folder.join(name);
    // The crates that were fetched for this repository, not newer ones.
    fs::copy(root().join("examples/flow-count/Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    let tests = succeed(raddle(&directory, &["test"]));
    let passed = tests.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count();
    assert!(passed >= 3, "{tests}");
    succeed(cargo(&directory, &["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"]));
    succeed(cargo(&directory, &["fmt", "--check"]));
    directory
}

#[test]
fn every_template_passes_its_tests_and_lints() {
    let folder = tempfile::tempdir().unwrap();
    for (name, template) in [("my-guard", "feature"), ("my-echo", "node"), ("my-wire", "driver")] {
        try_template(folder.path(), name, template);
    }
}
