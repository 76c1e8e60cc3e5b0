//! What the engine's counters say, summed over the threads.

use raddle_plugin_api::abi::NodeKind;

use super::engine::Engine;
use crate::runtime::NodeTotals;

impl Engine {
    /// The counters of the first `count` nodes, summed over the threads.
    pub fn node_totals(&self, count: usize) -> Vec<NodeTotals> {
        let threads = self.threads.borrow();
        let total = |node: usize| {
            threads.all_shared().map(|shared| shared.stats.totals(node)).fold(
                NodeTotals::default(),
                |sum, one| NodeTotals {
                    calls: sum.calls + one.calls,
                    packets: sum.packets + one.packets,
                    clocks: sum.clocks + one.clocks,
                    largest: sum.largest.max(one.largest),
                },
            )
        };
        (0..count).map(total).collect()
    }

    /// Name and kind of each node, by index.
    pub fn node_kinds(&self) -> Vec<(String, NodeKind)> {
        self.graph.borrow().nodes().iter().map(|node| (node.name.clone(), node.kind)).collect()
    }

    /// Packets dropped so far, for whatever reason.
    pub fn dropped(&self) -> u64 {
        let (threads, errors) = (self.threads.borrow(), self.graph.borrow().errors().len());
        threads
            .all_shared()
            .map(|shared| (0..errors).map(|error| shared.errors.total(error)).sum::<u64>())
            .sum()
    }
}
