//! Methods on what the threads did: nodes' figures, drops by reason.

use std::sync::atomic::Ordering;

use raddle_plugin_api::abi::NodeKind;
use raddle_plugin_api::{Failure, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::table::typed;
use crate::graph::{NodeInfo, Owner};
use crate::host::{Engine, ImageState};
use crate::runtime::{Clock, NodeTotals, RxState};

/// What `show runtime` shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RuntimeReport {
    /// Time since the figures were last cleared, in seconds.
    pub seconds: f64,
    /// Rate of the clock that nodes are measured by.
    pub clocks_per_second: u64,
    /// The threads.
    pub threads: Vec<ThreadRuntime>,
}

/// What a thread did.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ThreadRuntime {
    /// Its number: 0 is the main thread.
    pub thread: u32,
    /// Its name.
    pub name: String,
    /// Passes of its loop.
    pub passes: u64,
    /// Packets that its input nodes brought in.
    pub packets: u64,
    /// The same in a second.
    pub packets_per_second: f64,
    /// Clocks of all its nodes for each packet that came in; the input nodes' own are part of it.
    pub clocks_per_packet: Option<f64>,
    /// All nodes.
    pub nodes: Vec<NodeRuntime>,
}

/// What a node did on a thread.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeRuntime {
    /// Its name.
    pub name: String,
    /// `active`; for input nodes what they do at present: `polling`, `interrupt` (they wait for descriptors of their queues),
    /// `disabled`; `quarantined` or `gone` with its plugin.
    pub state: String,
    /// Calls.
    pub calls: u64,
    /// Packets.
    pub packets: u64,
    /// Clocks.
    pub clocks: u64,
    /// Packets a call.
    pub packets_per_call: Option<f64>,
    /// Clocks a packet.
    pub clocks_per_packet: Option<f64>,
    /// Clocks a call.
    pub clocks_per_call: Option<f64>,
    /// The most packets in one call.
    pub largest_call: u64,
}

/// A reason for which packets were dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ErrorRow {
    /// The node that dropped them.
    pub node: String,
    /// The reason.
    pub reason: String,
    /// Packets.
    pub count: u64,
    /// What the reason means.
    pub text: String,
}

#[derive(Deserialize)]
struct ThreadQuery {
    thread: Option<u32>,
}

/// Name of a thread, for people.
pub(in crate::host) fn thread_name(thread: usize) -> String {
    if thread == 0 { "main".to_owned() } else { format!("worker-{thread}") }
}

pub(super) fn ratio(amount: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| amount as f64 / of as f64)
}

impl Engine {
    pub(super) fn add_runtime_methods(&self) {
        self.add_method("runtime.show", |engine, arguments| {
            let report = engine.runtime_report(typed::<ThreadQuery>(arguments)?.thread)?;
            Ok(serde_json::to_value(report)?)
        });
        self.add_method("runtime.clear", |engine, _| {
            let (threads, graph) = (engine.threads.borrow(), engine.graph.borrow());
            let shared = threads.all_shared().map(|shared| &**shared);
            engine.baselines.borrow_mut().clear_runtime(shared, graph.nodes());
            Ok(Value::Null)
        });
        self.add_method("error.list", |engine, _| Ok(serde_json::to_value(engine.error_rows())?));
        self.add_method("error.clear", |engine, _| {
            let graph = engine.graph.borrow();
            engine.baselines.borrow_mut().clear_errors(|error| engine.error_total(error), graph.errors());
            Ok(Value::Null)
        });
    }

    fn runtime_report(&self, only: Option<u32>) -> Result<RuntimeReport, Failure> {
        let count = self.threads.borrow().count();
        if let Some(thread) = only.filter(|&thread| thread as usize >= count) {
            bail!("there is no thread {thread}; threads are 0 (main) to {}", count - 1);
        }
        let baselines = self.baselines.borrow();
        let seconds = (Clock.now_ns() - baselines.runtime_since_ns) as f64 / 1e9;
        let wanted = (0..count).filter(|&thread| only.is_none_or(|only| only as usize == thread));
        Ok(RuntimeReport {
            seconds,
            clocks_per_second: baselines.clocks_per_second() as u64,
            threads: wanted.map(|thread| self.thread_runtime(thread, seconds)).collect(),
        })
    }

    fn thread_runtime(&self, thread: usize, seconds: f64) -> ThreadRuntime {
        let (threads, graph, baselines) =
            (self.threads.borrow(), self.graph.borrow(), self.baselines.borrow());
        let shared = threads.shared(thread);
        let quarantined = self.quarantined_owners();
        let (mut packets, mut clocks) = (0, 0);
        let mut nodes = Vec::new();
        for (index, node) in graph.nodes().iter().enumerate() {
            let totals = baselines.node(thread, index, shared.stats.totals(index));
            if !node.alive && totals.calls == 0 {
                continue;
            }
            clocks += totals.clocks;
            if node.kind != NodeKind::INTERNAL {
                packets += totals.packets;
            }
            let state = self.node_state(thread, index as u16, node, &quarantined);
            nodes.push(NodeRuntime::new(node.name.clone(), state, totals));
        }
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        ThreadRuntime {
            thread: thread as u32,
            name: thread_name(thread),
            passes: baselines.passes(thread, shared.passes.load(Ordering::Relaxed)),
            packets,
            packets_per_second: packets as f64 / seconds.max(1e-9),
            clocks_per_packet: ratio(clocks, packets),
            nodes,
        }
    }

    fn quarantined_owners(&self) -> Vec<Owner> {
        let images = self.images.borrow();
        let quarantined = images.iter().filter(|image| matches!(image.state, ImageState::Quarantined(_)));
        quarantined.map(|image| image.owner).collect()
    }

    fn node_state(&self, thread: usize, index: u16, node: &NodeInfo, quarantined: &[Owner]) -> &'static str {
        if !node.alive {
            return "gone";
        }
        if quarantined.contains(&node.owner) {
            return "quarantined";
        }
        if node.kind == NodeKind::INTERNAL {
            return "active";
        }
        let drivers = self.drivers.borrow();
        let Some(driver) = drivers.iter().find(|driver| driver.input_node == index) else { return "polling" };
        let interfaces = self.interfaces.borrow();
        let receiving = interfaces.iter().map(|(_, interface)| interface).filter(|interface| {
            interface.driver == driver.name && interface.admin_up && interface.properties.link_up
        });
        let mut states = receiving
            .flat_map(|interface| interface.placement.iter().zip(&interface.rx_status))
            .filter(|(on, _)| **on == thread)
            .map(|(_, status)| status.state())
            .peekable();
        if states.peek().is_none() {
            "disabled"
        } else if states.any(|state| state == RxState::Polling) {
            "polling"
        } else {
            "interrupt"
        }
    }

    /// Packets dropped for this reason since the start, on all threads.
    pub(in crate::host) fn error_total(&self, error: usize) -> u64 {
        self.threads.borrow().all_shared().map(|shared| shared.errors.total(error)).sum()
    }

    fn error_rows(&self) -> Vec<ErrorRow> {
        let (graph, baselines) = (self.graph.borrow(), self.baselines.borrow());
        let mut rows: Vec<ErrorRow> = (graph.errors().iter().enumerate())
            .map(|(index, error)| ErrorRow {
                node: error.node.clone(),
                reason: error.name.clone(),
                count: baselines.error(index, self.error_total(index)),
                text: error.text.clone(),
            })
            .filter(|row| row.count > 0)
            .collect();
        rows.sort_by(|a, b| (&a.node, &a.reason).cmp(&(&b.node, &b.reason)));
        rows
    }
}

impl NodeRuntime {
    fn new(name: String, state: &str, totals: NodeTotals) -> Self {
        let NodeTotals { calls, packets, clocks, largest } = totals;
        Self {
            name,
            state: state.to_owned(),
            calls,
            packets,
            clocks,
            packets_per_call: ratio(packets, calls),
            clocks_per_packet: ratio(clocks, packets),
            clocks_per_call: ratio(clocks, calls),
            largest_call: largest,
        }
    }
}
