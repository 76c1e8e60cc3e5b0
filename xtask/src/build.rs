//! `cargo xtask build`: the daemon, the plugins, and the directories they are loaded from.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cargo::{self, Artifact, Kind, cargo};

/// What to build.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Arguments {
    /// Optimised, as shipped
    #[arg(long)]
    pub(crate) release: bool,
}

/// What was built.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    /// The daemon.
    pub(crate) raddle: PathBuf,
    /// The directory with every plugin.
    pub(crate) plugins: PathBuf,
}

/// Builds and says where things are.
///
/// # Errors
/// As [`build`].
pub(crate) fn run(arguments: &Arguments) -> Result<Built> {
    let built = build(arguments.release)?;
    println!("daemon   {}\nplugins  {}", built.raddle.display(), built.plugins.display());
    Ok(built)
}

/// Builds the workspace and every example plugin and copies all plugins into `target/<profile>/plugins`; those that only
/// the black-box tests load come into `target/<profile>/test-plugins`.
///
/// # Errors
/// When a build fails or the plugin directory cannot be written.
pub(crate) fn build(release: bool) -> Result<Built> {
    let profile: &[&str] = if release { &["--release"] } else { &[] };
    // This program itself runs: building it again would at best do nothing.
    let mut artifacts = cargo::build(cargo(&["build", "--workspace", "--exclude", "xtask"]).args(profile))?;
    artifacts.extend(build_outside(&example_manifests()?, profile)?);
    let built =
        Built { raddle: profile_directory(release).join("raddle"), plugins: plugins_directory(release) };
    fill(&built.plugins, &artifacts)?;
    let of_tests = build_outside(&test_plugin_manifests()?, profile)?;
    fill(&profile_directory(release).join("test-plugins"), &of_tests)?;
    Ok(built)
}

fn build_outside(manifests: &[PathBuf], profile: &[&str]) -> Result<Vec<Artifact>> {
    let mut artifacts = Vec::new();
    for manifest in manifests {
        let mut command = cargo(&["build", "--manifest-path"]);
        command.arg(manifest).args(profile).env("CARGO_TARGET_DIR", examples_target());
        artifacts.extend(cargo::build(&mut command)?);
    }
    Ok(artifacts)
}

/// The directory that holds every plugin of a profile, and nothing else.
pub(crate) fn plugins_directory(release: bool) -> PathBuf {
    profile_directory(release).join("plugins")
}

/// Where all examples are built, whose dependencies are mostly the same.
pub(crate) fn examples_target() -> PathBuf {
    cargo::target().join("examples")
}

/// The manifest of each example, sorted.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn example_manifests() -> Result<Vec<PathBuf>> {
    manifests_in("examples")
}

/// The manifest of each plugin of the black-box tests, sorted.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn test_plugin_manifests() -> Result<Vec<PathBuf>> {
    manifests_in("tests/plugins")
}

fn manifests_in(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = cargo::root().join(folder);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut manifests = Vec::new();
    for entry in entries {
        let manifest = entry?.path().join("Cargo.toml");
        if manifest.exists() {
            manifests.push(manifest);
        }
    }
    manifests.sort();
    Ok(manifests)
}

/// Builds the daemon and the plugins whose cases are counted, for counting instructions.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_for_counting() -> Result<Built> {
    let mut command = cargo(&["build", "--profile", COUNT, "--package", "raddle"]);
    command.args(COUNTED_PLUGINS.iter().flat_map(|package| ["--package", package]));
    let artifacts = cargo::build(&mut command)?;
    let directory = cargo::target().join(COUNT);
    let built = Built { raddle: directory.join("raddle"), plugins: directory.join("plugins") };
    fill(&built.plugins, &artifacts)?;
    Ok(built)
}

/// The profile of [`build_for_counting`].
const COUNT: &str = "count";
/// The plugins on record: others would only take time to build.
const COUNTED_PLUGINS: [&str; 2] = ["raddle-acl", "raddle-nat64"];

fn profile_directory(release: bool) -> PathBuf {
    cargo::target().join(if release { "release" } else { "debug" })
}

/// Makes `directory` hold exactly the shared libraries among `artifacts`.
fn fill(directory: &PathBuf, artifacts: &[Artifact]) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("cannot empty {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for artifact in artifacts.iter().filter(|artifact| artifact.kind == Kind::Cdylib) {
        let to = directory.join(artifact.path.file_name().context("a library without a name")?);
        fs::copy(&artifact.path, &to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}
