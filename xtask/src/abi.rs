//! `cargo xtask abi`: one plugin built in every way that must come to the same, for the test `tests/tests/abi.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use raddle_tests::command::shown;

use crate::cargo::{self, Kind, cargo};
use crate::packages::{self, Package};

/// There is nothing to choose.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Arguments {}

/// What the linker lld writes into the files it makes.
const LLD_MARK: &[u8] = b"Linker: LLD";

/// Flags of rustc for a linker other than its own choice.
const BFD: &[&str] = &["-Clinker-features=-lld", "-Clink-arg=-fuse-ld=bfd"];
const LLD: &[&str] = &["-Clink-arg=-fuse-ld=lld"];

/// Builds all and says where they are.
///
/// # Errors
/// As [`build`].
pub(crate) fn run(_: &Arguments) -> Result<ExitCode> {
    build()?;
    println!("plugins  {}", folder().display());
    Ok(ExitCode::SUCCESS)
}

/// Fills `target/debug/abi` with a folder for each way to build the plugin `ttl-guard`, the plugin in it.
///
/// # Errors
/// When a build fails, or a linker was not used that should have been.
pub(crate) fn build() -> Result<()> {
    let folder = folder();
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let minimal = cargo::root().join("examples/minimal/Cargo.toml");
    let target = crate::build::examples_target();
    let rust = |name: &str, profile: &[&str], flags: &[&str]| -> Result<PathBuf> {
        let mut command = cargo(&["rustc", "--locked", "--crate-type", "cdylib", "--manifest-path"]);
        command.arg(&minimal).args(profile).env("CARGO_TARGET_DIR", &target);
        keep(name, &library(&mut command, flags)?)
    };
    rust("rust-debug", &[], &[])?;
    rust("rust-release", &["--release"], &[])?;
    let linked_by_bfd = rust("linked-by-bfd", &[], BFD)?;
    ensure!(!is_linked_by_lld(&linked_by_bfd)?, "{} was linked by lld", linked_by_bfd.display());
    packages::ensure_installed(lld_package()?)?;
    let linked_by_lld = rust("linked-by-lld", &[], LLD)?;
    ensure!(is_linked_by_lld(&linked_by_lld)?, "{} was not linked by lld", linked_by_lld.display());
    second_toolchain(&minimal)?;

    let frozen = cargo::root().join("tests/frozen-sdk-1.0/Cargo.toml");
    let mut command = cargo(&["build", "--locked", "--manifest-path"]);
    keep("sdk-1.0", &library(command.arg(&frozen).env("CARGO_TARGET_DIR", &target), &[])?)?;

    c("c", "examples/c-guard/guard.c", &[])?;
    c("newer-minor", "tests/abi/newer.c", &["-DHOST_ABI=0x10000"])?;
    c("newer-minor-needed", "tests/abi/newer.c", &["-DHOST_ABI=0"])?;
    Ok(())
}

/// Where the plugins are.
fn folder() -> PathBuf {
    cargo::target().join("debug/abi")
}

/// By a second compiler, if there is one.
fn second_toolchain(manifest: &Path) -> Result<()> {
    if !cargo::has_nightly() {
        println!("by a second toolchain: not run, `cargo +nightly` does not work here");
        return Ok(());
    }
    let mut command = cargo::nightly(&["build", "--locked", "--manifest-path"]);
    command.arg(manifest).env("CARGO_TARGET_DIR", cargo::target().join("abi-second"));
    let made = keep("second-toolchain", &library(&mut command, &[])?)?;
    let text = fs::read(&made).with_context(|| format!("cannot read {}", made.display()))?;
    ensure!(contains(&text, b"-nightly "), "{} does not say what built it", made.display());
    Ok(())
}

/// A plugin in C.
fn c(name: &str, source: &str, definitions: &[&str]) -> Result<()> {
    const FLAGS: &[&str] = &["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O2", "-o"];
    let to = place(name)?;
    let root = cargo::root();
    let mut command = Command::new("cc");
    command.args(FLAGS).arg(&to).args(definitions);
    for include in ["plugin-api/include", "examples/c-guard"] {
        command.arg("-I").arg(root.join(include));
    }
    command.arg(root.join(source));
    let status = command.status().with_context(|| format!("cannot start `{}`", shown(&command)))?;
    ensure!(status.success(), "`{}` failed ({status})", shown(&command));
    Ok(())
}

/// The one plugin that a build makes.
fn library(command: &mut Command, flags: &[&str]) -> Result<PathBuf> {
    let artifacts = cargo::build_with(command, flags)?;
    let library = artifacts.into_iter().find(|artifact| artifact.kind == Kind::Cdylib);
    library.map(|artifact| artifact.path).with_context(|| format!("`{}` made no plugin", shown(command)))
}

/// Copies a plugin to where the test finds it; the next build writes to the same file.
fn keep(name: &str, library: &Path) -> Result<PathBuf> {
    let to = place(name)?;
    fs::copy(library, &to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(to)
}

fn place(name: &str) -> Result<PathBuf> {
    let folder = folder().join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.join("libguard.so"))
}

fn is_linked_by_lld(library: &Path) -> Result<bool> {
    let bytes = fs::read(library).with_context(|| format!("cannot read {}", library.display()))?;
    Ok(contains(&bytes, LLD_MARK))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Debian's lld, unless Rust brings its own.
fn lld_package() -> Result<&'static [Package]> {
    let sysroot = raddle_tests::command::run(Command::new("rustc").args(["--print", "sysroot"]))?;
    let own =
        Path::new(sysroot.trim()).join("lib/rustlib").join(cargo::host_triple()?).join("bin/gcc-ld/ld.lld");
    Ok(if own.exists() { &[] } else { &[packages::LLD] })
}
