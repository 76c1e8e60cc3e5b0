//! The plugin in the current directory: built and tested by cargo.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Arguments of `cargo raddle test`.
#[derive(Debug, clap::Args)]
pub(crate) struct TestArguments {
    /// Arguments for `cargo test`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

/// Arguments that several commands take.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArguments {
    /// Build it optimised
    #[arg(long)]
    pub(crate) release: bool,
}

/// Which daemon is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct DaemonArguments {
    /// The daemon's program
    #[arg(long, env = "RADDLE", value_name = "PATH", default_value = "raddle")]
    raddle: PathBuf,
}

impl DaemonArguments {
    /// The daemon's program with these words.
    pub(crate) fn command(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(&self.raddle);
        command.args(words);
        command
    }

    /// What to do when the program does not start.
    pub(crate) fn missing(&self) -> String {
        let path = self.raddle.display();
        format!(
            "cannot start `{path}`: install raddle, or say where it is by --raddle or the variable RADDLE"
        )
    }
}

/// A built plugin.
#[derive(Debug)]
pub(crate) struct Built {
    /// The crate's name, which is the plugin's.
    pub(crate) name: String,
    /// The crate's version.
    pub(crate) version: String,
    /// What it is, in a line.
    pub(crate) description: String,
    /// The shared library.
    pub(crate) library: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
}

/// Runs the plugin's tests.
///
/// # Errors
/// Cargo cannot be started.
pub(crate) fn test(arguments: &TestArguments) -> Result<ExitCode> {
    let status = cargo(["test"]).args(&arguments.arguments).status().context("cannot start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the plugin.
///
/// # Errors
/// It does not build, or this directory has none.
pub(crate) fn build(release: bool) -> Result<Built> {
    let metadata = output(cargo(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_slice(&metadata).context("cargo's metadata is not JSON")?;
    let mut command = cargo(["build", "--message-format", "json-render-diagnostics"]);
    if release {
        command.arg("--release");
    }
    let messages = String::from_utf8(output(command)?).context("cargo's messages are not UTF-8")?;
    let mut libraries = messages.lines().filter_map(library);
    let (package, library) = libraries
        .next()
        .context("nothing here makes a shared library: `[lib] crate-type` lacks \"cdylib\"")?;
    ensure!(libraries.next().is_none(), "several plugins are built here; go to the directory of one");
    let packages = metadata["packages"].as_array();
    let package = packages
        .and_then(|packages| packages.iter().find(|candidate| candidate["id"] == package.as_str()))
        .context("cargo built a package that it does not know")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Built {
        name: text(&package["name"]),
        version: text(&package["version"]),
        description: text(&package["description"]),
        library,
        target: text(&metadata["target_directory"]).into(),
    })
}

/// The package and the shared library that a line of cargo's messages tells of.
fn library(line: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let kinds = message["target"]["kind"].as_array()?;
    kinds.iter().find(|kind| *kind == "cdylib")?;
    let mut files = message["filenames"].as_array()?.iter().filter_map(Value::as_str);
    Some((message["package_id"].as_str()?.to_owned(), files.find(|file| file.ends_with(".so"))?.into()))
}

fn cargo<const N: usize>(words: [&str; N]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words);
    command
}

/// What a command of cargo prints; what it has to say to people goes to the terminal.
fn output(mut command: Command) -> Result<Vec<u8>> {
    let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo failed ({})", output.status);
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_library_is_told_by_cargos_messages() {
        let line = r#"{"reason":"compiler-artifact","package_id":"x","target":{"kind":["cdylib","rlib"]},
            "filenames":["/t/libx.rlib","/t/libx.so"]}"#;
        assert_eq!(library(line), Some(("x".to_owned(), PathBuf::from("/t/libx.so"))));
        assert_eq!(library(&line.replace("cdylib", "lib")), None);
        assert_eq!(library(r#"{"reason":"build-finished"}"#), None);
        assert_eq!(library("warning"), None);
    }
}
