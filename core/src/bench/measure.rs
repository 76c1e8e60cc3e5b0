//! Running a case, in windows.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use raddle_plugin_api::abi::{FRAME_SIZE, NodeKind};

use super::cases::{Case, Command, cases};
use super::machine::MachineState;
use super::parts::{self, PART_CASES, PartResult};
use super::report::{CaseResult, NodeCost, table};
use super::routes::{self, ROUTE_CASES, RouteResult};
use super::stage::Stage;
use crate::graph::MAX_NODES;
use crate::host::Engine;
use crate::runtime::{Clock, NodeTotals};

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
    /// Packets of a full frame, at most, that the cases are run with one after the other.
    pub vector_sizes: Vec<u32>,
    /// Where the results go as JSON.
    pub json: Option<PathBuf>,
    /// The directory of the plugins that cases name; by default `plugins` beside the program.
    pub plugins: Option<PathBuf>,
}

impl BenchOptions {
    /// Whether this one was asked for, or all.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|wanted| wanted == name)
    }
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self {
            cases: Vec::new(),
            workers: vec![1, 2],
            window: Duration::from_secs(1),
            windows: 5,
            vector_sizes: vec![FRAME_SIZE as u32],
            json: None,
            plugins: None,
        }
    }
}

/// Runs the cases and prints what they cost.
///
/// # Errors
/// An unknown case, or one that does not run.
pub fn run(options: &BenchOptions) -> anyhow::Result<()> {
    let all = cases();
    let names: Vec<_> =
        all.iter().map(|case| case.name.as_ref()).chain(ROUTE_CASES).chain(PART_CASES).collect();
    refuse_unknown("case", &options.cases, &names)?;
    println!("{}", MachineState::look());
    let mut results = Vec::new();
    for case in all.iter().filter(|case| options.wants(&case.name)) {
        for &workers in &options.workers {
            let all = run_case(case, workers, options)
                .with_context(|| format!("case {} with {workers} workers", case.name))?;
            results.extend(all);
        }
    }
    let routes = routes::run(&options.cases)?;
    let parts = parts::run(options)?;
    if !results.is_empty() {
        print!("{}", table(&results));
    }
    if !routes.is_empty() {
        print!("{}", routes::table(&routes));
    }
    if !parts.is_empty() {
        print!("{}", parts::table(&parts));
    }
    println!("{}", MachineState::look());
    if let Some(path) = &options.json {
        let packets = results.iter().map(Measured::Packets);
        let routes = routes.iter().map(Measured::Routes);
        let all: Vec<_> = packets.chain(routes).chain(parts.iter().map(Measured::Parts)).collect();
        write_json(path, &all)?;
    }
    Ok(())
}

/// Writes results to a file.
pub(super) fn write_json(path: &Path, results: &impl serde::Serialize) -> anyhow::Result<()> {
    std::fs::write(path, serde_json::to_string_pretty(results)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Demands that all that was asked for is among what there is.
pub(super) fn refuse_unknown(kind: &str, asked: &[String], known: &[&str]) -> anyhow::Result<()> {
    if let Some(unknown) = asked.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no {kind} `{unknown}`; there are: {}", known.join(", "));
    }
    Ok(())
}

/// The result of one case of any kind.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Measured<'r> {
    Packets(&'r CaseResult),
    Routes(&'r RouteResult),
    Parts(&'r PartResult),
}

/// Runs a case, with each size of vectors in turn.
pub(super) fn run_case(
    case: &Case,
    workers: usize,
    options: &BenchOptions,
) -> anyhow::Result<Vec<CaseResult>> {
    let stage = Stage::set(case, workers, options.plugins.as_deref())?;
    let engine = &stage.engine;
    let commands = case.commands.map(|make| make()).unwrap_or_default();
    let mut slowest = Duration::ZERO;
    let mut best: Vec<Option<CaseResult>> = vec![None; options.vector_sizes.len()];
    for _ in 0..options.windows.max(1) {
        // Sizes take turns, so that all see the same machine.
        for (best, &size) in best.iter_mut().zip(&options.vector_sizes) {
            engine.set_vector_size(size);
            for (usage, arguments) in case.before.map(|make| make()).unwrap_or_default() {
                let (time, answer) = run_to_end(engine, usage, &arguments)?;
                println!("{}: `{usage}` took {:.1} ms: {answer}", case.name, time.as_secs_f64() * 1e3);
            }
            engine.run_until(Duration::from_millis(200).min(options.window), || false);
            let before = Window::read(engine);
            slowest = slowest.max(run_window(engine, options.window, &commands)?);
            let result = Window::read(engine).since(&before).result(engine, case, workers, size)?;
            if best.as_ref().is_none_or(|best| result.clocks_per_packet < best.clocks_per_packet) {
                *best = Some(result);
            }
        }
    }
    if !commands.is_empty() {
        println!("{}: a command took {:.1} ms at most", case.name, slowest.as_secs_f64() * 1e3);
    }
    Ok(best.into_iter().flatten().collect())
}

/// Has packets flow for a window, with commands run one after the other meanwhile; returns how long the slowest took.
fn run_window(engine: &Engine, window: Duration, commands: &[Command]) -> anyhow::Result<Duration> {
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    for (usage, arguments) in commands.iter().cycle() {
        slowest = slowest.max(run_command(engine, usage, arguments)?);
        engine.run_until(BETWEEN_COMMANDS, || false);
        if began.elapsed() >= window {
            break;
        }
    }
    engine.run_until(window.saturating_sub(began.elapsed()), || false);
    Ok(slowest)
}

/// How long the main thread does all else between two commands.
const BETWEEN_COMMANDS: Duration = Duration::from_millis(20);

/// How long a command may take in all.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the command whose usage begins so; returns how long the main thread was at it.
fn run_command(engine: &Engine, usage: &str, arguments: &serde_json::Value) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let answer = begin_command(engine, usage, arguments)?;
    let time = began.elapsed();
    match answer.take() {
        Some(Ok(_)) => Ok(time),
        Some(Err(failure)) => bail!("{usage}: {failure}"),
        None => bail!("{usage}: it takes longer than one turn"),
    }
}

/// As [`run_command`], of one that may take many turns; returns how long it took, and its answer.
fn run_to_end(
    engine: &Engine,
    usage: &str,
    arguments: &serde_json::Value,
) -> anyhow::Result<(Duration, serde_json::Value)> {
    let began = Instant::now();
    let answer = begin_command(engine, usage, arguments)?;
    engine.run_until(PATIENCE, || answer.borrow().is_some());
    match answer.take() {
        Some(Ok(reply)) => Ok((began.elapsed(), reply)),
        Some(Err(failure)) => bail!("{usage}: {failure}"),
        None => bail!("{usage}: it takes longer than {PATIENCE:?}"),
    }
}

/// Where a command's answer comes.
type Answer = Rc<RefCell<Option<Result<serde_json::Value, String>>>>;

fn begin_command(engine: &Engine, usage: &str, arguments: &serde_json::Value) -> anyhow::Result<Answer> {
    let (_, commands) = engine.commands();
    let command = commands.iter().find(|command| {
        let rest = command.usage.strip_prefix(usage);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    });
    let command = command.with_context(|| format!("there is no command `{usage}`"))?;
    let answer = Answer::default();
    let into = Rc::clone(&answer);
    engine.run_command(
        command,
        arguments,
        Box::new(move |outcome| {
            let outcome = outcome.map(|reply| reply.data).map_err(|failure| failure.to_string());
            *into.borrow_mut() = Some(outcome);
        }),
    );
    Ok(answer)
}

/// What the counters say at one time.
struct Window {
    at_ns: u64,
    nodes: Vec<NodeTotals>,
    drops: Vec<(String, u64)>,
}

impl Window {
    fn read(engine: &Engine) -> Self {
        Self { at_ns: Clock.now_ns(), nodes: engine.node_totals(MAX_NODES), drops: engine.drops() }
    }

    fn since(&self, before: &Self) -> Self {
        let nodes = self.nodes.iter().zip(&before.nodes).map(|(now, then)| NodeTotals {
            calls: now.calls - then.calls,
            packets: now.packets - then.packets,
            clocks: now.clocks - then.clocks,
            largest: now.largest,
        });
        // Reasons are only ever added.
        let earlier = before.drops.iter().map(|(_, packets)| *packets).chain(std::iter::repeat(0));
        let drops = self.drops.iter().zip(earlier).map(|((why, now), then)| (why.clone(), now - then));
        let drops = drops.filter(|(_, packets)| *packets > 0).collect();
        Self { at_ns: self.at_ns - before.at_ns, nodes: nodes.collect(), drops }
    }

    fn result(
        &self,
        engine: &Engine,
        case: &Case,
        workers: usize,
        vector_size: u32,
    ) -> anyhow::Result<CaseResult> {
        let names = engine.node_kinds();
        let (mut generated, mut calls, mut vectors, mut nodes) = (0, 0, 0, Vec::new());
        // Input nodes of plugins bring no packets, but what they do, such as letting sessions age, is part of the price.
        let is_of_plugin =
            |name: &str| case.plugins.iter().any(|plugin| name.starts_with(&format!("{plugin}-")));
        for ((name, kind), totals) in names.iter().zip(&self.nodes) {
            if *kind == NodeKind::INPUT && is_of_plugin(name) && totals.calls > 0 {
                nodes.push((name.clone(), *totals));
                continue;
            }
            if totals.packets == 0 {
                continue;
            }
            if *kind == NodeKind::INPUT {
                generated += totals.packets;
                continue;
            }
            calls += totals.calls;
            vectors += totals.packets;
            nodes.push((name.clone(), *totals));
        }
        if generated == 0 {
            bail!("the generator sent nothing");
        }
        let per_packet = |clocks: u64| clocks as f64 / generated as f64;
        let clocks_per_packet = per_packet(nodes.iter().map(|(_, totals)| totals.clocks).sum());
        Ok(CaseResult {
            case: case.name.clone().into_owned(),
            workers,
            vector_size,
            frame_bytes: case.frame_bytes,
            packets_per_second: generated as f64 * 1e9 / self.at_ns as f64,
            vectors_per_call: vectors as f64 / calls.max(1) as f64,
            clocks_per_packet,
            nodes: nodes
                .into_iter()
                .map(|(name, totals)| NodeCost {
                    name,
                    clocks_per_packet: per_packet(totals.clocks),
                    share: totals.packets as f64 / generated as f64,
                    vectors_per_call: totals.packets as f64 / totals.calls.max(1) as f64,
                })
                .collect(),
            budget: case.budget,
            drops: self.drops.clone(),
        })
    }
}
