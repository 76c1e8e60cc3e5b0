//! What the runtime's own parts cost: a pass of the loop, a node call, a trace point, a packet from thread to thread, a
//! hold of the barrier, an upgrade.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::cases::cases;
use super::measure::BenchOptions;
use super::nodes::{Target, bench_image, image, node_named, send};
use super::stage::{Stage, pinned};
use crate::control::config::{Config, Document, Owners};
use crate::graph::MAX_NODES;
use crate::host::{Engine, EngineConfig};
use crate::runtime::{Clock, NodeTotals};

/// Names of the cases.
pub const PART_CASES: [&str; 12] = [
    "loop-empty",
    "node-call-1",
    "node-call-8",
    "node-call-64",
    "node-call-256",
    "trace-off",
    "handoff",
    "sessions",
    "splice",
    "upgrade-acl",
    "upgrade-nat64",
    "start",
];

/// Images that `splice` brings in.
const SPLICES: usize = 30;
/// Nodes of each.
const SPLICED_NODES: usize = 6;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct PartResult {
    /// Name of the case.
    pub case: String,
    /// What the figure is.
    pub what: String,
    /// The figure.
    pub figure: f64,
    /// Its unit.
    pub unit: String,
}

/// Runs the cases of these names, or all.
///
/// # Errors
/// A case does not run.
pub fn run(options: &BenchOptions) -> anyhow::Result<Vec<PartResult>> {
    let mut results = Vec::new();
    for case in PART_CASES.into_iter().filter(|case| options.wants(case)) {
        let part = match case {
            "loop-empty" => loop_empty(options),
            "trace-off" => trace_off(options),
            "handoff" => handoff(options),
            "sessions" => super::sessions::run(options),
            "splice" => splice(),
            "start" => super::start::run(options),
            "upgrade-acl" => super::upgrade::run(options, case, "acl-reflect-10k"),
            "upgrade-nat64" => super::upgrade::run(options, case, "nat64-10k"),
            call => node_call(options, call),
        };
        results.extend(part.with_context(|| format!("case {case}"))?);
    }
    Ok(results)
}

/// The results as a table.
pub fn table(results: &[PartResult]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "{:<14} {:>12} {:<14} what", "case", "figure", "unit");
    for PartResult { case, what, figure, unit } in results {
        let _ = writeln!(text, "{case:<14} {figure:>12.1} {unit:<14} {what}");
    }
    text
}

pub(super) fn result(case: &str, figure: f64, unit: &str, what: &str) -> PartResult {
    PartResult { case: case.to_owned(), what: what.to_owned(), figure, unit: unit.to_owned() }
}

/// An engine whose first worker polls, with the bench's nodes in its graph.
fn polling_engine(workers: usize) -> anyhow::Result<Box<Engine>> {
    let text = "[interface.in]\ndriver = \"packet-generator\"\nrx-mode = \"polling\"\n";
    let document = Document::parse("bench", text)?;
    let mut owners = Owners::new();
    owners.accept_unknown();
    let config = Config::load(&document, &owners)?;
    let engine =
        Engine::create(EngineConfig { workers: pinned(workers), buffers: 8192, ..EngineConfig::default() })?;
    engine.start_workers()?;
    if let Some(failure) = crate::daemon::apply(&engine, &config).first() {
        bail!("{failure}");
    }
    for (name, outcome) in engine.add_images(vec![bench_image()]) {
        outcome.map_err(|failure| anyhow::anyhow!("{name}: {failure}"))?;
    }
    Ok(engine)
}

/// The best window's figure: the least.
fn least(options: &BenchOptions, engine: &Engine, mut read: impl FnMut() -> (u64, u64)) -> f64 {
    let mut best = f64::INFINITY;
    engine.run_until(Duration::from_millis(50), || false);
    for _ in 0..options.windows.max(1) {
        let before = read();
        engine.run_until(options.window, || false);
        let after = read();
        let figure = (after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64;
        best = best.min(figure);
    }
    best
}

fn loop_empty(options: &BenchOptions) -> anyhow::Result<Vec<PartResult>> {
    send(Target::Plain, 0);
    let engine = polling_engine(1)?;
    let clocks = least(options, &engine, || (Clock::ticks(), engine.passes(1)));
    Ok(vec![result("loop-empty", clocks, "clocks/pass", "a pass that polls one empty queue")])
}

/// Clocks of a node, and its calls.
fn totals(engine: &Engine, name: &str) -> NodeTotals {
    let kinds = engine.node_kinds();
    let found = kinds.iter().position(|(known, _)| known == name);
    found.map(|index| engine.node_totals(MAX_NODES)[index]).unwrap_or_default()
}

fn clocks_per_call(options: &BenchOptions, engine: &Engine, target: Target, name: &str, size: u32) -> f64 {
    send(target, size);
    let figure = least(options, engine, || {
        let NodeTotals { clocks, calls, .. } = totals(engine, name);
        (clocks, calls)
    });
    send(target, 0);
    figure
}

fn node_call(options: &BenchOptions, case: &str) -> anyhow::Result<Vec<PartResult>> {
    let size: u32 = case.trim_start_matches("node-call-").parse()?;
    let engine = polling_engine(1)?;
    let clocks = clocks_per_call(options, &engine, Target::Plain, "bench-plain", size);
    let what = format!("a node that sends a frame of {size} on, {:.1} a packet", clocks / f64::from(size));
    Ok(vec![result(case, clocks, "clocks/call", &what)])
}

fn trace_off(options: &BenchOptions) -> anyhow::Result<Vec<PartResult>> {
    let engine = polling_engine(1)?;
    let figure = |target, name| clocks_per_call(options, &engine, target, name, 256) / 256.0;
    // In turn, so that both see the same machine.
    let (mut plain, mut traced) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..3 {
        plain = plain.min(figure(Target::Plain, "bench-plain"));
        traced = traced.min(figure(Target::Traced, "bench-traced"));
    }
    let what = format!("a trace point that is off: {traced:.2} with it, {plain:.2} without");
    Ok(vec![result("trace-off", traced - plain, "clocks/packet", &what)])
}

fn handoff(options: &BenchOptions) -> anyhow::Result<Vec<PartResult>> {
    let engine = polling_engine(2)?;
    send(Target::Give, 64);
    let clocks = least(options, &engine, || {
        let NodeTotals { clocks, packets, .. } = totals(&engine, "bench-give");
        (clocks, packets)
    });
    let (at_ns, before) = (Clock.now_ns(), engine.handed_over());
    engine.run_until(options.window, || false);
    let (packets, congested) = engine.handed_over();
    let rate = (packets - before.0) as f64 * 1e3 / (Clock.now_ns() - at_ns) as f64;
    let refused = (congested - before.1) as f64 / (packets + congested - before.0 - before.1).max(1) as f64;
    send(Target::Give, 0);
    Ok(vec![
        result("handoff", clocks, "clocks/packet", "what a packet costs the thread that gives it"),
        result(
            "handoff",
            rate,
            "Mpps",
            &format!("from one worker to the other; {:.0} % refused", refused * 100.0),
        ),
    ])
}

fn splice() -> anyhow::Result<Vec<PartResult>> {
    let case = cases().into_iter().find(|case| case.name == "ip4-1m").context("there is a case ip4-1m")?;
    let stage = Stage::set(&case, 1, None)?;
    let engine = &stage.engine;
    engine.run_until(Duration::from_millis(200), || false);
    let before = engine.node_totals(MAX_NODES).iter().map(|totals| totals.packets).sum::<u64>();
    let (mut held, mut waited) = (Vec::new(), Vec::new());
    for round in 0..SPLICES {
        let nodes = (0..SPLICED_NODES).map(|node| {
            let name: &'static str = format!("bench-spliced-{round}-{node}").leak();
            node_named(name)
        });
        for (name, outcome) in engine.add_images(vec![image(&format!("spliced-{round}"), nodes.collect())]) {
            outcome.map_err(|failure| anyhow::anyhow!("{name}: {failure}"))?;
        }
        let hold = engine.last_hold();
        held.push(hold.held.as_nanos() as f64 / 1e3);
        waited.push(hold.waited.as_nanos() as f64 / 1e3);
        engine.run_until(Duration::from_millis(20), || false);
    }
    let forwarded = engine.node_totals(MAX_NODES).iter().map(|totals| totals.packets).sum::<u64>() - before;
    if forwarded == 0 {
        bail!("nothing was forwarded");
    }
    for figures in [&mut held, &mut waited] {
        figures.sort_by(f64::total_cmp);
    }
    let (median, longest) = (SPLICES / 2, SPLICES - 1);
    Ok(vec![
        result(
            "splice",
            held[median],
            "us",
            &format!(
                "median hold while {SPLICED_NODES} nodes come in, by a million routes and full traffic; longest {:.1}",
                held[longest]
            ),
        ),
        result(
            "splice",
            waited[median],
            "us",
            &format!("median wait for the worker to finish its pass; longest {:.1}", waited[longest]),
        ),
    ])
}
