//! `cargo xtask bench`: builds the optimised daemon and hands over to its own `bench`, or measures bulk TCP through it.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::against::{self, Comparison};
use crate::bench_tcp::{self, Plan};
use crate::supervise::Supervisor;
use crate::{bench_drivers, bench_tuntap};
use crate::{build, packages, plots};

/// The cases that are measured with real hosts.
const TCP: &str = "tcp";
const TUNTAP: &str = "tuntap";
const DRIVERS: &str = "drivers";

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Cases, such as l2-xconnect; all when none is named. `tcp`, by itself: bulk TCP through raddle's interfaces and
    /// through the kernel's forwarding; `tuntap`, by itself: packets to the host and back, routes of a mirror; `drivers`, by itself:
    /// packets sent and received by each driver (all three as root)
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Pinned worker threads; the case `tcp` has as many as there are processors by default
    #[arg(long, value_name = "N")]
    workers: Option<u32>,
    /// Packets of a full frame, at most: sizes to compare, such as 64,256
    #[arg(long, value_name = "N,…")]
    vector_sizes: Option<String>,
    /// Length of one window
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Windows of which the best counts
    #[arg(long, value_name = "N")]
    windows: Option<u32>,
    /// Measure how cost grows, and draw it into docs/plots; CASE names curves then
    #[arg(long, conflicts_with_all = ["json", "workers", "vector_sizes", "against"])]
    plots: bool,
    /// Draw the figures of this file, which `raddle bench --curves --json` wrote, instead of measuring
    #[arg(long, value_name = "FILE", requires = "plots")]
    from: Option<PathBuf>,
    /// Compare with this revision of the repository, in turns
    #[arg(long, value_name = "REV", conflicts_with = "json")]
    against: Option<String>,
    /// How often each side of a comparison is run
    #[arg(long, value_name = "N", default_value_t = 5, requires = "against")]
    rounds: u32,
    /// Measure itself: the stage was set
    #[arg(long, hide = true)]
    on_stage: bool,
}

/// Builds, then becomes `raddle bench`.
///
/// # Errors
/// When the build fails or the daemon cannot be started.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.on_stage {
        match arguments.cases.first().map(String::as_str) {
            Some(TUNTAP) => bench_tuntap::measure(&arguments.plan())?,
            Some(DRIVERS) => bench_drivers::measure(&arguments.plan())?,
            _ => bench_tcp::measure(&arguments.plan())?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(figures) = &arguments.from {
        plots::draw_figures(figures)?;
        return Ok(ExitCode::SUCCESS);
    }
    let built = build::build(true)?;
    if let Some(case) = arguments.cases.iter().find(|case| [TCP, TUNTAP, DRIVERS].contains(&case.as_str())) {
        return stage(case, arguments, &built);
    }
    let more = arguments.of_the_bench();
    if arguments.plots {
        plots::measure_and_draw(&built, &arguments.cases, &more)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(revision) = &arguments.against {
        let Arguments { cases, rounds, .. } = arguments;
        return against::run(&Comparison { revision, cases, more: &more, rounds: *rounds }, &built);
    }
    let mut command = Command::new(&built.raddle);
    command.arg("bench").args(&arguments.cases).args(more);
    if let Some(file) = &arguments.json {
        command.arg("--json").arg(file);
    }
    Err(command.exec()).with_context(|| format!("cannot start {}", built.raddle.display()))
}

/// Installs what is missing and measures in a supervised child, so that nothing is left however it ends.
fn stage(case: &str, arguments: &Arguments, built: &build::Built) -> Result<ExitCode> {
    ensure!(arguments.cases.len() == 1, "the case `{case}` is measured by itself");
    ensure!(packages::is_root(), "the case `{case}` needs root, for network namespaces");
    packages::ensure_installed(&[packages::IPROUTE2, packages::PING, packages::IPERF])?;
    let supervisor = Supervisor::new()?;
    let mut child = Command::new(std::env::current_exe().context("this program has no path")?);
    child.args(std::env::args_os().skip(1)).arg("--on-stage").env("RADDLE", &built.raddle);
    Ok(supervisor.run(&mut child)?.exit_code())
}

impl Arguments {
    /// The options that `raddle bench` has, too.
    fn of_the_bench(&self) -> Vec<String> {
        let options = [
            ("--workers", self.workers.map(|workers| workers.to_string())),
            ("--vector-sizes", self.vector_sizes.clone()),
            ("--seconds", self.seconds.map(|seconds| seconds.to_string())),
            ("--windows", self.windows.map(|windows| windows.to_string())),
        ];
        let given = options.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?]));
        given.flatten().collect()
    }

    fn plan(&self) -> Plan<'_> {
        Plan {
            // iperf3 counts whole seconds.
            seconds: self.seconds.map_or(3, |seconds| seconds.ceil().max(1.0) as u32),
            rounds: self.windows.unwrap_or(3).max(1),
            // The kernel forwards on every processor, too.
            workers: self.workers.unwrap_or_else(processors),
            json: self.json.as_deref(),
        }
    }
}

fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u32)
}
