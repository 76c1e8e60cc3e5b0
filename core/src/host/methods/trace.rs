//! Methods on traces.

use raddle_plugin_api::{Failure, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::runtime::thread_name;
use super::table::typed;
use crate::filter::Filter;
use crate::graph::DROP_NODE;
use crate::host::Engine;
use crate::runtime::{Goal, PacketTrace, Pursuit, TraceEntry};

/// What `show trace` shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TraceReport {
    /// Packets that were traced.
    pub traced: usize,
    /// The first of them, in the order in which they came.
    pub packets: Vec<PacketReport>,
}

/// A packet's way.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PacketReport {
    /// Its number among those that were traced, from 1.
    pub packet: usize,
    /// When its trace began, in ns since the start of raddle.
    pub time_ns: u64,
    /// The thread.
    pub thread: u32,
    /// Name of the thread.
    pub thread_name: String,
    /// Its stays at nodes, in order.
    pub nodes: Vec<StayReport>,
}

/// A packet's stay at a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StayReport {
    /// The node.
    pub node: String,
    /// The node that it went to from there; `null` if it went nowhere (yet).
    pub next: Option<String>,
    /// What the node noted.
    pub records: Vec<Value>,
    /// The same for people.
    pub texts: Vec<String>,
    /// Why the packet was dropped, if this is `drop`.
    pub error: Option<DropReport>,
}

/// Why a packet was dropped.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DropReport {
    /// The node that sent it to `drop`.
    pub node: String,
    /// The reason.
    pub reason: String,
    /// What it means.
    pub text: String,
}

#[derive(Deserialize)]
struct Wanted {
    /// `None`: packets that end in `drop`.
    node: Option<String>,
    count: u32,
    filter: Option<Filter>,
}

#[derive(Deserialize)]
struct Query {
    max: usize,
}

impl Engine {
    pub(super) fn add_trace_methods(&self) {
        self.add_method("trace.add", |engine, arguments| {
            engine.want_traces(typed(arguments)?)?;
            Ok(Value::Null)
        });
        self.add_method("trace.list", |engine, arguments| {
            Ok(serde_json::to_value(engine.trace_report(typed::<Query>(arguments)?.max))?)
        });
        self.add_method("trace.clear", |engine, _| {
            engine.threads.borrow().all_shared().for_each(|shared| shared.trace.clear());
            Ok(Value::Null)
        });
    }

    fn want_traces(&self, wanted: Wanted) -> Result<(), Failure> {
        let Wanted { node, count, filter } = wanted;
        let node = node.map(|node| self.find_node(&node)).transpose()?;
        let threads = self.threads.borrow();
        if let (Some(node), None) = (node, &filter) {
            threads.all_shared().for_each(|shared| shared.trace.want(usize::from(node), count));
            return Ok(());
        }
        // Filters are held against packets as they come in; those that pass are followed from there on.
        let goal = match node {
            None | Some(DROP_NODE) => Goal::Drop,
            Some(node) => Goal::Node(node),
        };
        if !threads.all_shared().all(|shared| shared.trace.has_room_to_pursue()) {
            bail!("too many traces are waiting for packets; `clear trace` ends them");
        }
        let pursuit = Pursuit { goal, filter, left: count };
        threads.all_shared().for_each(|shared| shared.trace.pursue(pursuit.clone()));
        Ok(())
    }

    fn trace_report(&self, max: usize) -> TraceReport {
        let (threads, start_ns) = (self.threads.borrow(), self.baselines.borrow().start_ns());
        let of_thread = |thread: usize| {
            threads.shared(thread).trace.traces().into_iter().map(move |trace| (thread, trace))
        };
        let mut traces: Vec<(usize, PacketTrace)> = (0..threads.count()).flat_map(of_thread).collect();
        // Stable: packets of one pass stay in their order.
        traces.sort_by_key(|(_, trace)| trace.start_ns);
        let packet = |(index, (thread, trace)): (usize, &(usize, PacketTrace))| PacketReport {
            packet: index + 1,
            time_ns: trace.start_ns.saturating_sub(start_ns),
            thread: *thread as u32,
            thread_name: thread_name(*thread),
            nodes: trace.entries.iter().map(|entry| self.stay_report(entry)).collect(),
        };
        TraceReport {
            traced: traces.len(),
            packets: traces.iter().enumerate().take(max).map(packet).collect(),
        }
    }

    fn stay_report(&self, entry: &TraceEntry) -> StayReport {
        let graph = self.graph.borrow();
        let error = entry.error.map(|error| {
            let errors = graph.errors();
            let error = errors.get(usize::from(error)).unwrap_or(&errors[0]);
            DropReport { node: error.node.clone(), reason: error.name.clone(), text: error.text.clone() }
        });
        let parsed = |json: &str| serde_json::from_str(json).unwrap_or_else(|_| Value::from(json));
        StayReport {
            node: graph.name(entry.node).to_owned(),
            next: entry.next.map(|next| graph.name(next).to_owned()),
            records: entry.records.iter().map(|(json, _)| parsed(json)).collect(),
            texts: entry.records.iter().map(|(_, text)| text.clone()).collect(),
            error,
        }
    }
}
