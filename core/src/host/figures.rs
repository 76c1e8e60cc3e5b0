//! What the engine's counters say, summed over the threads.

use std::sync::atomic::Ordering;

use raddle_plugin_api::abi::NodeKind;

use super::engine::Engine;
use crate::graph::ErrorInfo;
use crate::runtime::{Hold, NodeTotals};

impl Engine {
    /// The counters of the first `count` nodes, summed over the threads.
    pub fn node_totals(&self, count: usize) -> Vec<NodeTotals> {
        (0..count).map(|node| self.node_total(node)).collect()
    }

    /// Totals over all threads of one node.
    pub fn node_total(&self, node: usize) -> NodeTotals {
        let mut sum = NodeTotals::default();
        self.threads.borrow().all_shared().for_each(|shared| sum.add(shared.stats.totals(node)));
        sum
    }

    /// Name and kind of each node, by index.
    pub fn node_kinds(&self) -> Vec<(String, NodeKind)> {
        self.graph.borrow().nodes().iter().map(|node| (node.name.clone(), node.kind)).collect()
    }

    /// Packets dropped so far, for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.drops().iter().map(|(_, packets)| packets).sum()
    }

    /// Packets dropped so far by each reason, named `node: reason`, in the order in which reasons were registered.
    pub fn drops(&self) -> Vec<(String, u64)> {
        let (threads, graph) = (self.threads.borrow(), self.graph.borrow());
        let total = |error| threads.all_shared().map(|shared| shared.errors.total(error)).sum();
        let named =
            |(index, error): (usize, &ErrorInfo)| (format!("{}: {}", error.node, error.name), total(index));
        graph.errors().iter().enumerate().map(named).collect()
    }

    /// Passes that a thread has made.
    pub fn passes(&self, thread: usize) -> u64 {
        self.threads.borrow().shared(thread).passes.load(Ordering::Relaxed)
    }

    /// Sets how many packets a receive queue brings at most in a pass.
    pub fn set_vector_size(&self, packets: u32) {
        let threads = self.threads.borrow();
        threads.all_shared().for_each(|shared| shared.vector_size.store(packets, Ordering::Relaxed));
    }

    /// Packets that went from thread to thread, and those that found no room.
    pub fn handed_over(&self) -> (u64, u64) {
        let threads = self.threads.borrow();
        threads
            .handoffs()
            .fold((0, 0), |(packets, congested), way| (packets + way.ring.sent, congested + way.ring.refused))
    }

    /// The last hold of the barrier.
    pub fn last_hold(&self) -> Hold {
        self.threads.borrow().barrier_stats().last
    }
}
