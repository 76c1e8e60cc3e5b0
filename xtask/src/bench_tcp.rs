//! `cargo xtask bench tcp`: bulk TCP between two namespaces through raddle, beside the kernel's own forwarding.
//!
//! The ways take turns, so that each meets the same state of the machine; the best run of each counts. Needs root.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use raddle_tests::iperf::{Direction, Transfer};
use raddle_tests::wait::wait_for;
use raddle_tests::{Daemon, DaemonConfig, HostSpec, IperfServer, Topology, iperf, ping};
use serde_json::json;

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan<'a> {
    /// Length of each transfer.
    pub(crate) seconds: u32,
    /// Runs of each way.
    pub(crate) rounds: u32,
    /// Raddle's worker threads; 0: the main thread does it all.
    pub(crate) workers: u32,
    /// Where the figures go, too.
    pub(crate) json: Option<&'a Path>,
}

/// Who stands between the two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Kernel,
    AfPacket,
    Tap,
}

/// One transfer.
#[derive(Debug, Clone, Copy)]
struct Run {
    transfer: Transfer,
    /// Processor time of the daemon, in seconds.
    daemon_seconds: Option<f64>,
}

const WAYS: [Way; 3] = [Way::Kernel, Way::AfPacket, Way::Tap];

/// Measures all ways and prints a table.
///
/// # Errors
/// When a way does not work, or the file cannot be written.
pub(crate) fn measure(plan: &Plan<'_>) -> Result<()> {
    let mut runs: [Vec<Run>; 3] = Default::default();
    for round in 1..=plan.rounds {
        for (way, runs) in WAYS.iter().zip(&mut runs) {
            let run = way.run(plan).with_context(|| format!("{}, round {round}", way.name()))?;
            println!("round {round}: {}", way.line(&run));
            runs.push(run);
        }
    }
    let best = runs.map(|runs| {
        let rate = |run: &Run| run.transfer.gbit_per_second;
        runs.into_iter().max_by(|a, b| rate(a).total_cmp(&rate(b)))
    });
    let [Some(kernel), ..] = best else { bail!("no rounds were asked for") };
    println!("\nbest of {} runs of {} s, {} workers:", plan.rounds, plan.seconds, plan.workers);
    let mut figures = Vec::new();
    for (way, run) in WAYS.iter().zip(best.iter().flatten()) {
        let ratio = run.transfer.gbit_per_second / kernel.transfer.gbit_per_second;
        println!("{}  {:.0} % of the kernel's", way.line(run), ratio * 100.0);
        figures.push(json!({
            "way": way.name(), "gbit-per-second": run.transfer.gbit_per_second, "ratio": ratio,
            "retransmits": run.transfer.retransmits, "daemon-seconds-per-gigabyte": run.seconds_per_gigabyte(),
        }));
    }
    if let Some(file) = plan.json {
        let text = serde_json::to_string_pretty(&figures)?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

impl Run {
    fn seconds_per_gigabyte(&self) -> Option<f64> {
        Some(self.daemon_seconds? / (self.transfer.len_bytes as f64 / 1e9))
    }
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::AfPacket => "af-packet",
            Self::Tap => "tap",
        }
    }

    fn line(self, run: &Run) -> String {
        let cost = run
            .seconds_per_gigabyte()
            .map_or_else(String::new, |seconds| format!(", raddle {:.0} ms/GB", seconds * 1e3));
        let Transfer { gbit_per_second, retransmits, .. } = run.transfer;
        format!("{:<9} {gbit_per_second:6.2} Gbit/s, {retransmits:4} sent again{cost}", self.name())
    }

    fn run(self, plan: &Plan<'_>) -> Result<Run> {
        let host = |name, interface, number| {
            let spec = HostSpec::new(name, interface, number);
            if self == Self::Tap { spec.with_tap() } else { spec }
        };
        let topology = Topology::create([host("alice", "east", 1), host("bob", "west", 2)])?;
        if self == Self::Kernel {
            topology.forward_by_kernel()?;
            return Ok(Run { transfer: transfer(&topology, plan)?, daemon_seconds: None });
        }
        let config = DaemonConfig::routed(&topology).workers(plan.workers);
        let daemon = Daemon::start(&topology.router, &config)?;
        topology.await_taps()?;
        let before = processor_seconds(daemon.pid())?;
        let transfer = transfer(&topology, plan)?;
        let daemon_seconds = Some(processor_seconds(daemon.pid())? - before);
        daemon.stop()?;
        Ok(Run { transfer, daemon_seconds })
    }
}

fn transfer(topology: &Topology, plan: &Plan<'_>) -> Result<Transfer> {
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    wait_for("a way between the hosts", Duration::from_secs(30), || {
        Ok((ping(&alice.namespace, bob.spec.ipv4, 1)?.received > 0).then_some(()))
    })?;
    let _server = IperfServer::start(&bob.namespace)?;
    iperf(&alice.namespace, bob.spec.ipv4, Direction::Upload, plan.seconds)
}

/// Processor time that a process has used, in user and kernel mode.
fn processor_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // proc_pid_stat(5): the fields behind the name in parentheses, from the third on; 14 and 15 are the times.
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    let ticks = behind.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    let ticks: f64 =
        ticks.sum::<Result<f64, _>>().with_context(|| format!("the state of process {pid}: {stat}"))?;
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}
