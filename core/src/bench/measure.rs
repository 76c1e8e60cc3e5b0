//! Running a case, in windows.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use raddle_plugin_api::abi::NodeKind;

use super::cases::{Case, cases};
use super::machine::MachineState;
use super::report::{CaseResult, NodeCost, table};
use crate::control::config::{Config, Document, Owners};
use crate::graph::MAX_NODES;
use crate::host::{Engine, EngineConfig};
use crate::runtime::{Clock, NodeTotals, WorkerConfig};

/// What is asked of the bench.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Names of cases; all, if there are none.
    pub cases: Vec<String>,
    /// Numbers of workers.
    pub workers: Vec<usize>,
    /// Length of a window.
    pub window: Duration,
    /// Windows a case, of which the best counts.
    pub windows: usize,
    /// Where the results go as JSON.
    pub json: Option<PathBuf>,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self {
            cases: Vec::new(),
            workers: vec![1, 2],
            window: Duration::from_secs(1),
            windows: 5,
            json: None,
        }
    }
}

/// Runs the cases and prints what they cost.
///
/// # Errors
/// An unknown case, or one that does not run.
pub fn run(options: &BenchOptions) -> anyhow::Result<()> {
    let all = cases();
    if let Some(unknown) = options.cases.iter().find(|name| all.iter().all(|case| case.name != name.as_str()))
    {
        let names: Vec<_> = all.iter().map(|case| case.name).collect();
        bail!("there is no case `{unknown}`; there are: {}", names.join(", "));
    }
    println!("{}", MachineState::look());
    let mut results = Vec::new();
    for case in
        all.iter().filter(|case| options.cases.is_empty() || options.cases.iter().any(|n| n == case.name))
    {
        for &workers in &options.workers {
            let result = run_case(case, workers, options)
                .with_context(|| format!("case {} with {workers} workers", case.name))?;
            results.push(result);
        }
    }
    print!("{}", table(&results));
    println!("{}", MachineState::look());
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&results)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn run_case(case: &Case, workers: usize, options: &BenchOptions) -> anyhow::Result<CaseResult> {
    let text = case.configuration(workers);
    let document = Document::parse(case.name, text.as_str())?;
    let mut owners = Owners::new();
    owners.accept_unknown();
    let config = Config::load(&document, &owners)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let config_of = |worker: usize| WorkerConfig { core: Some((cores - 1).saturating_sub(worker) % cores) };
    let engine = Engine::create(EngineConfig {
        workers: (0..workers).map(config_of).collect(),
        buffers: 4096 * workers.max(1),
        config_text: text,
        ..EngineConfig::default()
    })?;
    engine.start_workers()?;
    if let Some(failure) = crate::daemon::apply(&engine, &config).first() {
        bail!("{failure}");
    }
    let mut best: Option<CaseResult> = None;
    engine.run_until(Duration::from_millis(200), || false);
    for _ in 0..options.windows.max(1) {
        let before = Window::read(&engine);
        engine.run_until(options.window, || false);
        let result = Window::read(&engine).since(&before).result(&engine, case, workers)?;
        if best.as_ref().is_none_or(|best| result.clocks_per_packet < best.clocks_per_packet) {
            best = Some(result);
        }
    }
    best.context("no window was measured")
}

/// What the counters say at one time.
struct Window {
    at_ns: u64,
    nodes: Vec<NodeTotals>,
    dropped: u64,
}

impl Window {
    fn read(engine: &Engine) -> Self {
        Self { at_ns: Clock.now_ns(), nodes: engine.node_totals(MAX_NODES), dropped: engine.dropped() }
    }

    fn since(&self, before: &Self) -> Self {
        let nodes = self.nodes.iter().zip(&before.nodes).map(|(now, then)| NodeTotals {
            calls: now.calls - then.calls,
            packets: now.packets - then.packets,
            clocks: now.clocks - then.clocks,
            largest: now.largest,
        });
        let (at_ns, dropped) = (self.at_ns - before.at_ns, self.dropped - before.dropped);
        Self { at_ns, nodes: nodes.collect(), dropped }
    }

    fn result(&self, engine: &Engine, case: &Case, workers: usize) -> anyhow::Result<CaseResult> {
        let names = engine.node_kinds();
        let (mut generated, mut calls, mut vectors, mut nodes) = (0, 0, 0, Vec::new());
        for ((name, kind), totals) in names.iter().zip(&self.nodes).filter(|(_, totals)| totals.packets > 0) {
            if *kind == NodeKind::INPUT {
                generated += totals.packets;
                continue;
            }
            calls += totals.calls;
            vectors += totals.packets;
            nodes.push((name.clone(), totals.clocks));
        }
        if generated == 0 {
            bail!("the generator sent nothing");
        }
        let per_packet = |clocks: u64| clocks as f64 / generated as f64;
        let clocks_per_packet = per_packet(nodes.iter().map(|(_, clocks)| clocks).sum());
        Ok(CaseResult {
            case: case.name.to_owned(),
            workers,
            frame_bytes: case.frame_bytes,
            packets_per_second: generated as f64 * 1e9 / self.at_ns as f64,
            vectors_per_call: vectors as f64 / calls.max(1) as f64,
            clocks_per_packet,
            nodes: nodes
                .into_iter()
                .map(|(name, clocks)| NodeCost { name, clocks_per_packet: per_packet(clocks) })
                .collect(),
            budget: case.budget,
            dropped: self.dropped,
        })
    }
}
