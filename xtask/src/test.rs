//! `cargo xtask test`: every layer of tests, each a step with its own set-up.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::ahead::Ahead;
use crate::cargo::{self, cargo};
use crate::packages::{self, Package};
use crate::report::{Report, Verdict};
use crate::supervise::{Outcome, Supervisor};
use crate::{build, fuzz};

/// Where the lock-free pieces live; each package must have a model.
const LOOM_PACKAGES: &[&str] = &["raddle"];

/// What is published for authors of plugins.
const SDK: &str = "raddle-plugin-api";

/// What the names (with their modules) of all models contain.
const LOOM_FILTER: &str = "loom";

/// How long each fuzz target runs.
const FUZZ_SECONDS: u32 = 5;

/// Black-box tests that may run at once. They mostly wait, each in namespaces of its own.
const BLACK_BOX_THREADS: u32 = 2;

/// What the tests of drivers and filters work with, as root: links, a sender on the host's side, the compiler of filters.
const UNIT_PACKAGES: &[Package] = &[packages::IPROUTE2, packages::PING, packages::LIBPCAP];

/// What the black-box tests work with.
const BLACK_BOX_PACKAGES: &[Package] = &[
    packages::IPROUTE2,
    packages::PING,
    packages::CURL,
    packages::IPERF,
    packages::ETHTOOL,
    packages::PYTHON,
    packages::SCAPY,
    packages::CRYPTOGRAPHY,
    packages::PROMETHEUS_CLIENT,
    packages::LIBPCAP,
    packages::TSHARK,
    packages::BIRD,
    packages::UNBOUND,
    packages::TAYGA,
];

/// Which layers to run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// Layers; all when none is named
    #[arg(value_enum, value_name = "LAYER")]
    layers: Vec<Layer>,
}

/// One kind of tests, in the order they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layer {
    /// Formatting of the workspace, the examples and the fuzz targets
    Fmt,
    /// Lints of the workspace, the examples and the fuzz targets
    Clippy,
    /// The workspace and the plugins
    Build,
    /// Unit, node, property and documentation tests
    Unit,
    /// The examples' own tests
    Examples,
    /// The SDK as it is published: packaged, and its documentation without a warning
    Sdk,
    /// One plugin by other profiles, linkers, toolchains, languages and ABI versions; the black-box tests load them
    Abi,
    /// The daemon between network namespaces (root)
    BlackBox,
    /// Models of the lock-free pieces
    Loom,
    /// Each fuzz target for a few seconds
    Fuzz,
    /// Instructions a packet, beside those on record
    Instructions,
}

/// These, which run beside the layers from `unit` on, have builds of their own, which share nothing with the others'.
const AHEAD: [Layer; 3] = [Layer::Loom, Layer::Fuzz, Layer::Instructions];

/// Runs the layers and prints a table of how they ended.
///
/// # Errors
/// When signals cannot be handled.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let supervisor = Supervisor::new()?;
    let mut run = Run { supervisor, interrupted: None };
    let mut report = Report::default();
    // What the build takes in where it is: tested where it can be had, and built without where not.
    if packages::is_root()
        && let Err(error) = packages::ensure_installed(&[packages::IPSEC_MB])
    {
        eprintln!("the IPsec plugin is built without Intel's engine: {error:#}");
    }
    let layers = chosen(&arguments.layers);
    let mut ahead = None;
    for &layer in &layers {
        match layer {
            Layer::Unit if AHEAD.iter().all(|layer| layers.contains(layer)) => {
                ahead =
                    Ahead::start().inspect_err(|error| eprintln!("nothing is built ahead: {error:#}")).ok();
            }
            // What waits for packets is not to wait for compilers: the rest is built in its layer.
            Layer::BlackBox => drop(ahead.take()),
            _ => {}
        }
        let built_from = [Layer::Build, Layer::Abi];
        if layer == Layer::BlackBox && built_from.iter().any(|layer| report.has_failed(layer.name())) {
            report.step(layer.name(), || Ok(Verdict::NotRun("the build failed".to_owned())));
            continue;
        }
        report.step(layer.name(), || run.layer(layer));
        if let Some(outcome) = run.interrupted {
            return Ok(outcome.exit_code());
        }
    }
    println!("\n{}", report.table());
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The layers to run, in order; the black-box tests bring the build they need.
fn chosen(named: &[Layer]) -> Vec<Layer> {
    let wanted = |layer: &Layer| {
        named.is_empty()
            || named.contains(layer)
            || (matches!(layer, Layer::Build | Layer::Abi) && named.contains(&Layer::BlackBox))
    };
    Layer::value_variants().iter().copied().filter(wanted).collect()
}

impl Layer {
    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Build => "build",
            Self::Unit => "unit",
            Self::Examples => "examples",
            Self::Sdk => "sdk",
            Self::Abi => "abi",
            Self::Loom => "loom",
            Self::Fuzz => "fuzz",
            Self::Instructions => "instructions",
            Self::BlackBox => "black-box",
        }
    }
}

/// What the steps share.
struct Run {
    supervisor: Supervisor,
    interrupted: Option<Outcome>,
}

impl Run {
    fn layer(&mut self, layer: Layer) -> Result<Verdict> {
        match layer {
            Layer::Fmt => self.fmt(),
            Layer::Clippy => self.clippy(),
            Layer::Build => self.build(),
            Layer::Unit => self.unit(),
            Layer::Examples => self.examples(),
            Layer::Sdk => self.sdk(),
            Layer::Abi => self.abi(),
            Layer::Loom => self.loom(),
            Layer::Fuzz => self.fuzz(),
            Layer::Instructions => self.instructions(),
            Layer::BlackBox => self.black_box(),
        }
    }

    fn fmt(&mut self) -> Result<Verdict> {
        self.succeed(&mut cargo(&["fmt", "--all", "--check"]))?;
        for manifest in outside_manifests()? {
            self.succeed(cargo(&["fmt", "--check", "--manifest-path"]).arg(manifest))?;
        }
        Ok(Verdict::Passed)
    }

    fn clippy(&mut self) -> Result<Verdict> {
        const DENY: [&str; 3] = ["--", "-D", "warnings"];
        // The fuzz targets' build script compiles libFuzzer.
        packages::ensure_installed(&[packages::CXX])?;
        self.succeed(cargo(&["clippy", "--workspace", "--all-targets"]).args(DENY))?;
        for manifest in outside_manifests()? {
            let mut command = cargo(&["clippy", "--all-targets", "--manifest-path"]);
            command.arg(manifest).args(DENY).env("CARGO_TARGET_DIR", build::examples_target());
            self.succeed(&mut command)?;
        }
        Ok(Verdict::Passed)
    }

    fn build(&mut self) -> Result<Verdict> {
        self.succeed(own_command()?.arg("build"))?;
        Ok(Verdict::Passed)
    }

    fn unit(&mut self) -> Result<Verdict> {
        if packages::is_root() {
            packages::ensure_installed(UNIT_PACKAGES)?;
        }
        let exclude = ["--exclude", "raddle-tests", "--no-fail-fast"];
        self.succeed(cargo(&["test", "--workspace"]).args(exclude))?;
        // The harness has tests of its own that need no daemon.
        self.succeed(&mut cargo(&["test", "--package", "raddle-tests", "--lib"]))?;
        Ok(Verdict::Passed)
    }

    fn examples(&mut self) -> Result<Verdict> {
        let manifests = build::example_manifests()?;
        ensure!(!manifests.is_empty(), "examples/ has no plugin");
        for manifest in manifests {
            let mut command = cargo(&["test", "--no-fail-fast", "--manifest-path"]);
            self.succeed(command.arg(manifest).env("CARGO_TARGET_DIR", build::examples_target()))?;
        }
        Ok(Verdict::Passed)
    }

    fn sdk(&mut self) -> Result<Verdict> {
        // Builds what would be published, from the package alone.
        self.succeed(&mut cargo(&["package", "--quiet", "--package", SDK, "--allow-dirty"]))?;
        let mut documentation = cargo(&["doc", "--no-deps", "--features", "proptest", "--package", SDK]);
        self.succeed(documentation.env("RUSTDOCFLAGS", "-D warnings"))?;
        Ok(Verdict::Passed)
    }

    fn abi(&mut self) -> Result<Verdict> {
        self.succeed(own_command()?.arg("abi"))?;
        Ok(Verdict::Passed)
    }

    fn loom(&mut self) -> Result<Verdict> {
        for program in cargo::build(&mut loom_build())? {
            // A filter that selects nothing passes too: the list shows that something runs.
            let list = raddle_tests::command::run(Command::new(&program.path).args([LOOM_FILTER, "--list"]))?;
            let has_models = list.lines().any(|line| line.ends_with(": test"));
            ensure!(has_models, "{} has no test with {LOOM_FILTER:?} in its name", program.name);
            self.succeed(Command::new(&program.path).arg(LOOM_FILTER))?;
        }
        Ok(Verdict::Passed)
    }

    fn fuzz(&mut self) -> Result<Verdict> {
        self.succeed(own_command()?.args(["fuzz", "--seconds", &FUZZ_SECONDS.to_string()]))?;
        Ok(Verdict::Passed)
    }

    fn instructions(&mut self) -> Result<Verdict> {
        self.succeed(own_command()?.arg("instructions"))?;
        Ok(Verdict::Passed)
    }

    fn black_box(&mut self) -> Result<Verdict> {
        if !packages::is_root() {
            let reason = "it needs root, to make network namespaces";
            ensure!(std::env::var_os("CI").is_none(), "{reason}");
            return Ok(Verdict::NotRun(reason.to_owned()));
        }
        packages::ensure_installed(BLACK_BOX_PACKAGES)?;
        let mut command = cargo(&["test", "--package", "raddle-tests", "--no-fail-fast", "--test", "*"]);
        command.args(["--", &format!("--test-threads={BLACK_BOX_THREADS}")]);
        // All has been set up: from here on a test that lacks something has failed.
        // What a failing test returns says enough without the path that error took.
        self.succeed(command.env("CI", "1").env("RUST_LIB_BACKTRACE", "0"))?;
        Ok(Verdict::Passed)
    }

    /// Runs a command that must succeed.
    fn succeed(&mut self, command: &mut Command) -> Result<()> {
        let line = raddle_tests::command::shown(command);
        let outcome = self.supervisor.run(command)?;
        match outcome {
            Outcome::Ended(status) => ensure!(status.success(), "`{line}` failed ({status})"),
            Outcome::Interrupted(signal) => {
                self.interrupted = Some(outcome);
                ensure!(false, "signal {signal}");
            }
        }
        Ok(())
    }
}

/// The build of the loom models, apart from others for its flag.
pub(crate) fn loom_build() -> Command {
    // Models of a few steps run soon enough without what optimising their dependencies takes.
    let mut command =
        cargo(&["test", "--lib", "--no-run", "--config", "profile.dev.package.\"*\".opt-level=0"]);
    command.args(LOOM_PACKAGES.iter().flat_map(|package| ["--package", package]));
    command.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", cargo::target().join("loom"));
    command
}

/// This program again, for a step that is also a command of its own.
fn own_command() -> Result<Command> {
    Ok(Command::new(std::env::current_exe().context("this program has no path")?))
}

/// The manifests of the workspaces besides the main one.
fn outside_manifests() -> Result<Vec<PathBuf>> {
    let mut manifests = build::example_manifests()?;
    manifests.extend(build::test_plugin_manifests()?);
    let fuzz = fuzz::manifest();
    if fuzz.exists() {
        manifests.push(fuzz);
    }
    Ok(manifests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_all_layers_in_order_unless_some_are_named() {
        assert_eq!(chosen(&[]), Layer::value_variants());
        assert_eq!(chosen(&[Layer::Loom, Layer::Fmt]), [Layer::Fmt, Layer::Loom]);
        assert_eq!(chosen(&[Layer::BlackBox]), [Layer::Build, Layer::Abi, Layer::BlackBox]);
    }
}
