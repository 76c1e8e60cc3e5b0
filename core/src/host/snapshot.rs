//! Everything that the engine counts, as of one moment: what metrics and `raddle top` are made of.
//!
//! It is taken on the main thread by reading counters; no worker is stopped or asked. Figures are totals since the
//! start: no `clear` command touches them.

use std::collections::BTreeMap;

use super::engine::Engine;
use super::methods::{BarrierReport, HandoffReport, ProcessReport, ThreadReport};
use super::registered_metrics::MetricSample;
use super::{ImageState, InterfaceState};
use crate::graph::Owner;
use crate::runtime::NodeTotals;

/// What the engine counts.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Since the engine was made, in ns.
    pub uptime_ns: u64,
    /// Rate of the clock that nodes are measured by.
    pub clocks_per_second: f64,
    /// The interfaces; their counters as `show interface` has them, but never cleared.
    pub interfaces: Vec<InterfaceState>,
    /// The threads.
    pub threads: Vec<ThreadSample>,
    /// Nodes that are there.
    pub nodes: Vec<NodeSample>,
    /// Reasons to drop packets: node, reason, packets.
    pub drops: Vec<(String, String, u64)>,
    /// Packet buffers: all, those in the pool, bytes of all.
    pub buffers: (u64, u64, u64),
    /// Holds of the barrier.
    pub barrier: Option<BarrierReport>,
    /// Ways from thread to thread that were used.
    pub handoffs: Vec<HandoffReport>,
    /// Tasks of the main thread.
    pub processes: Vec<ProcessReport>,
    /// The plugins, the core first.
    pub plugins: Vec<PluginSample>,
    /// What the core and plugins registered or reported.
    pub registered: Vec<MetricSample>,
}

/// A thread.
#[derive(Clone, Debug)]
pub struct ThreadSample {
    /// As `show threads` has it; its passes were never cleared.
    pub report: ThreadReport,
    /// Packets that came in on it.
    pub packets: u64,
    /// Clocks of all its nodes.
    pub clocks: u64,
    /// Buffers in its cache.
    pub cached: u64,
    /// Buffers that it asked for in vain.
    pub exhausted: u64,
}

/// A node.
#[derive(Clone, Debug)]
pub struct NodeSample {
    /// Its name.
    pub name: String,
    /// Its plugin.
    pub plugin: String,
    /// By thread, where it ran.
    pub threads: Vec<(usize, NodeTotals)>,
}

/// A plugin.
#[derive(Clone, Debug)]
pub struct PluginSample {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `active`, `quarantined` or `refused`; those that are gone are not listed.
    pub state: &'static str,
    /// Sum of its nodes.
    pub totals: NodeTotals,
}

impl Engine {
    /// What the engine counts now. Main thread. Plugins hear of the event `metrics` first, so that they can report.
    pub fn snapshot(&self) -> Snapshot {
        self.registered_metrics.borrow_mut().begin();
        self.emit("metrics", &());
        let nodes = self.node_samples();
        let buffers = self.buffer_report();
        let pool = (buffers.total, buffers.free, buffers.bytes);
        Snapshot {
            uptime_ns: crate::runtime::Clock.now_ns().saturating_sub(self.baselines.borrow().start_ns()),
            clocks_per_second: self.baselines.borrow().clocks_per_second(),
            interfaces: self.interface_totals(),
            threads: self.thread_samples(buffers.threads.iter().map(|one| (one.cached, one.exhausted))),
            plugins: self.plugin_samples(),
            nodes,
            drops: self.drop_totals(),
            buffers: pool,
            barrier: Some(self.barrier_report()),
            handoffs: self.handoff_reports(),
            processes: self.process_reports(),
            registered: self.registered_metrics.borrow_mut().samples(&self.counters.borrow()),
        }
    }

    fn node_samples(&self) -> Vec<NodeSample> {
        let (threads, graph) = (self.threads.borrow(), self.graph.borrow());
        let alive = graph.nodes().iter().enumerate().filter(|(_, node)| node.alive);
        alive
            .map(|(index, node)| NodeSample {
                name: node.name.clone(),
                plugin: self.owner_name(node.owner),
                threads: (threads.all_shared().enumerate())
                    .map(|(thread, shared)| (thread, shared.stats.totals(index)))
                    .filter(|(_, totals)| totals.calls > 0)
                    .collect(),
            })
            .collect()
    }

    fn thread_samples(&self, buffers: impl Iterator<Item = (u64, u64)>) -> Vec<ThreadSample> {
        let (threads, graph) = (self.threads.borrow(), self.graph.borrow());
        let sample = |(report, (cached, exhausted)): (ThreadReport, (u64, u64))| {
            let shared = threads.shared(report.thread as usize);
            let (mut packets, mut clocks) = (0, 0);
            for (index, node) in graph.nodes().iter().enumerate() {
                let totals = shared.stats.totals(index);
                clocks += totals.clocks;
                if node.kind != raddle_plugin_api::abi::NodeKind::INTERNAL {
                    packets += totals.packets;
                }
            }
            ThreadSample { report, packets, clocks, cached, exhausted }
        };
        self.thread_reports().into_iter().zip(buffers).map(sample).collect()
    }

    fn drop_totals(&self) -> Vec<(String, String, u64)> {
        let graph = self.graph.borrow();
        let all = graph.errors().iter().enumerate();
        let all = all.map(|(index, error)| (error.node.clone(), error.name.clone(), self.error_total(index)));
        let mut totals = BTreeMap::new();
        // A plugin that was loaded again has its reasons twice.
        for (node, reason, count) in all {
            *totals.entry((node, reason)).or_insert(0) += count;
        }
        totals.into_iter().map(|((node, reason), count)| (node, reason, count)).collect()
    }

    /// What the nodes of each owner did, summed over all threads; `of` makes what counts of the totals of a node
    /// (thread, node, totals).
    pub(super) fn owner_totals(
        &self,
        of: impl Fn(usize, usize, NodeTotals) -> NodeTotals,
    ) -> Vec<(Owner, NodeTotals)> {
        let (threads, graph) = (self.threads.borrow(), self.graph.borrow());
        let mut by_owner: BTreeMap<Owner, NodeTotals> = BTreeMap::new();
        for (index, node) in graph.nodes().iter().enumerate() {
            let sum = by_owner.entry(node.owner).or_default();
            for (thread, shared) in threads.all_shared().enumerate() {
                sum.add(of(thread, index, shared.stats.totals(index)));
            }
        }
        by_owner.into_iter().collect()
    }

    fn plugin_samples(&self) -> Vec<PluginSample> {
        let totals = self.owner_totals(|_, _, totals| totals);
        let mut samples = Vec::new();
        self.for_each_image(|image| {
            let own = totals.iter().find(|(owner, _)| *owner == image.owner);
            if matches!(image.state, ImageState::Draining(_) | ImageState::Retired(_)) {
                return;
            }
            // One that was refused does not hide the one that is there.
            let known = samples.iter().position(|known: &PluginSample| known.name == image.parts.name);
            if let Some(known) = known {
                if !image.is_there() {
                    return;
                }
                samples.remove(known);
            }
            samples.push(PluginSample {
                name: image.parts.name.clone(),
                version: image.parts.version.clone(),
                state: image.state.word(),
                totals: own.map(|(_, totals)| *totals).unwrap_or_default(),
            });
        });
        samples
    }

    /// The interfaces with counters since they were made.
    fn interface_totals(&self) -> Vec<InterfaceState> {
        let mut states = self.interface_states(None, false);
        let baselines = self.baselines.borrow();
        for state in &mut states {
            let cleared = baselines.interfaces.get(&state.index).copied().unwrap_or_default();
            let counts = [
                &mut state.rx_packets,
                &mut state.rx_bytes,
                &mut state.rx_lost,
                &mut state.tx_packets,
                &mut state.tx_bytes,
                &mut state.tx_lost,
            ];
            // The counters in their own order: see `InterfaceCounter::ALL`.
            for (count, cleared) in counts.into_iter().zip(cleared) {
                *count += cleared;
            }
        }
        states
    }
}
