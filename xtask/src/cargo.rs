//! Running cargo, and where things are in the repository.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use raddle_tests::command::shown;
use serde_json::Value;

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    // This package is one level below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package inside the workspace")
}

/// The workspace's target directory, as cargo would choose it.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |path| root().join(path))
}

/// `cargo` with these words, run at the root. A build directory of its own keeps each kind of flags cached.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments)
}

/// As [`cargo`], by a program that is cargo or chooses one.
fn program(name: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    // What cargo told this program about itself is not meant for another cargo.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// `cargo` of the toolchain beside the default one, which is used where it is installed and never added.
pub(crate) fn nightly(arguments: &[&str]) -> Command {
    // Not by the program that runs this one, which knows no other toolchain.
    let mut command = program("cargo", &["+nightly"]);
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

/// Whether there is that toolchain.
pub(crate) fn has_nightly() -> bool {
    nightly(&["--version"]).output().is_ok_and(|output| output.status.success())
}

/// The host's target triple, as rustc names it.
///
/// # Errors
/// When rustc cannot run.
pub(crate) fn host_triple() -> Result<String> {
    let text = raddle_tests::command::run(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}

/// A file that cargo made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifact {
    /// The target's name.
    pub(crate) name: String,
    /// What kind of target it is: `bin`, `cdylib`, …
    pub(crate) kind: Kind,
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// The kinds of artifacts that are used by their path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A program.
    Program,
    /// A shared library with a C interface: a plugin.
    Cdylib,
}

/// Runs a `cargo build` command and returns the programs and shared libraries it made (or found fresh).
///
/// # Errors
/// When the build fails; its messages are on the terminal.
pub(crate) fn build(command: &mut Command) -> Result<Vec<Artifact>> {
    build_with(command, &[])
}

/// As [`build`], for a `cargo rustc` command with flags for the compiler.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_with(command: &mut Command, flags: &[&str]) -> Result<Vec<Artifact>> {
    command.args(["--message-format", "json-render-diagnostics"]).stdout(Stdio::piped());
    if !flags.is_empty() {
        command.arg("--").args(flags);
    }
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start `{}`", shown(command)))?;
    ensure!(output.status.success(), "`{}` failed ({})", shown(command), output.status);
    let text = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    text.lines().map(artifacts).collect::<Result<Vec<_>>>().map(|lists| lists.concat())
}

/// The artifacts told by one line of cargo's JSON messages.
fn artifacts(line: &str) -> Result<Vec<Artifact>> {
    let message: Value = serde_json::from_str(line).with_context(|| format!("cargo said {line:?}"))?;
    let target = &message["target"];
    let (Some("compiler-artifact"), Some(name)) = (message["reason"].as_str(), target["name"].as_str())
    else {
        return Ok(Vec::new());
    };
    let artifact = |kind, path: &str| Artifact { name: name.to_owned(), kind, path: path.into() };
    let mut found = Vec::new();
    if let Some(path) = message["executable"].as_str() {
        found.push(artifact(Kind::Program, path));
    }
    let is_cdylib = target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "cdylib"));
    if is_cdylib {
        let files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
        found.extend(files.filter(|file| file.ends_with(".so")).map(|file| artifact(Kind::Cdylib, file)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_programs_and_shared_libraries_from_cargos_messages() {
        let program = r#"{"reason":"compiler-artifact","target":{"name":"a","kind":["bin"]},"filenames":["/t/a"],
            "executable":"/t/a"}"#;
        let library = r#"{"reason":"compiler-artifact","target":{"name":"p","kind":["cdylib","rlib"]},
            "filenames":["/t/libp.so","/t/libp.rlib"],"executable":null}"#;
        let rlib = r#"{"reason":"compiler-artifact","target":{"name":"r","kind":["lib"]},"filenames":["/t/libr.rlib"],
            "executable":null}"#;
        let expected = Artifact { name: "a".into(), kind: Kind::Program, path: "/t/a".into() };
        assert_eq!(artifacts(program).unwrap(), [expected]);
        let expected = Artifact { name: "p".into(), kind: Kind::Cdylib, path: "/t/libp.so".into() };
        assert_eq!(artifacts(library).unwrap(), [expected]);
        assert_eq!(artifacts(rlib).unwrap(), []);
        assert_eq!(artifacts(r#"{"reason":"build-finished","success":true}"#).unwrap(), []);
        assert!(artifacts("not json").is_err());
    }
}
