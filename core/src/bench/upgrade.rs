//! What an upgrade of a real plugin costs the packets on their way through it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use raddle_plugin_api::abi::NodeKind;

use super::cases::cases;
use super::measure::BenchOptions;
use super::parts::PartResult;
use super::stage::Stage;
use crate::graph::MAX_NODES;
use crate::host::Engine;
use crate::plugin::Trust;
use crate::runtime::Clock;

/// Upgrades that are measured.
const UPGRADES: usize = 40;
/// From one to the next.
const BETWEEN: Duration = Duration::from_millis(20);
/// What has come in and what was lost, up to a moment.
#[derive(Clone, Copy)]
struct Traffic {
    at_ns: u64,
    offered: u64,
    lost: u64,
}

impl Traffic {
    fn read(engine: &Engine) -> Self {
        let (kinds, totals) = (engine.node_kinds(), engine.node_totals(MAX_NODES));
        let input = kinds.iter().zip(&totals).filter(|((_, kind), _)| *kind == NodeKind::INPUT);
        let offered = input.map(|(_, totals)| totals.packets).sum();
        Self { at_ns: Clock.now_ns(), offered, lost: engine.dropped() }
    }

    fn since(self, before: Self) -> Self {
        let (at_ns, offered) = (self.at_ns - before.at_ns, self.offered - before.offered);
        Self { at_ns, offered, lost: self.lost - before.lost }
    }
}

/// Puts a plugin into its own place over and over, by the traffic of a case: how long the workers stand, and for how long
/// packets were lost, as packets lost by packets offered in a second.
///
/// # Errors
/// The plugin is not there, or is refused.
pub(super) fn run(options: &BenchOptions, part: &str, case: &str) -> anyhow::Result<Vec<PartResult>> {
    let all = cases();
    let case = all.iter().find(|known| known.name == case).context("the part names a case")?;
    let plugin = case.plugins.first().context("the case names a plugin")?;
    // A worker for each core but the main thread's: a worker that waits at the barrier on the main thread's core would have
    // the hold last as long as its slice of time.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = cores.saturating_sub(1).max(1);
    let stage = Stage::set(case, workers, options.plugins.as_deref())?;
    let engine = &stage.engine;
    engine.run_until(Duration::from_millis(300), || false);
    // As long without an upgrade as with them: what is lost anyway is not theirs.
    let start = Traffic::read(engine);
    engine.run_until(BETWEEN * UPGRADES as u32, || false);
    let quiet = Traffic::read(engine).since(start);
    let (mut held, mut waited, mut took) = (Vec::new(), Vec::new(), Vec::new());
    let start = Traffic::read(engine);
    for _ in 0..UPGRADES {
        let began = Instant::now();
        crate::daemon::upgrade(engine, plugin, &Trust::default())
            .map_err(|failure| anyhow::anyhow!("{failure}"))?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        let hold = engine.last_hold();
        held.push(hold.held.as_secs_f64() * 1e6);
        waited.push(hold.waited.as_secs_f64() * 1e6);
        engine.run_until(BETWEEN, || false);
    }
    let busy = Traffic::read(engine).since(start);
    if busy.offered == 0 {
        bail!("the generator sent nothing");
    }
    let lost = busy.lost.saturating_sub(quiet.lost * busy.at_ns / quiet.at_ns.max(1));
    let offered_per_us = busy.offered as f64 * 1e3 / busy.at_ns as f64;
    for figures in [&mut held, &mut waited, &mut took] {
        figures.sort_by(f64::total_cmp);
    }
    let result = |figure, unit: &str, what: String| PartResult {
        case: part.to_owned(),
        what,
        figure,
        unit: unit.to_owned(),
    };
    let (median, longest) = (UPGRADES / 2, UPGRADES - 1);
    Ok(vec![
        result(
            held[median],
            "us",
            format!(
                "median hold while `{plugin}` is upgraded, {workers} workers, traffic of {}; longest {:.1}",
                case.name, held[longest]
            ),
        ),
        result(
            waited[median],
            "us",
            format!("median wait for the workers to finish their pass; longest {:.1}", waited[longest]),
        ),
        result(
            lost as f64 / offered_per_us / UPGRADES as f64,
            "us",
            format!(
                "blocked, an upgrade: {lost} of {} packets lost, {offered_per_us:.1} Mpps offered",
                busy.offered
            ),
        ),
        result(
            took[median],
            "ms",
            format!("median of the whole upgrade on the main thread; longest {:.1}", took[longest]),
        ),
    ])
}
