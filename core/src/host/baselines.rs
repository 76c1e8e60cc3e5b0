//! What the counters said when they were last cleared. Counters belong to the threads that count; what is shown is the
//! difference.

use std::collections::HashMap;

use crate::graph::{ErrorInfo, NodeInfo};
use crate::runtime::{Clock, InterfaceCounter, NodeTotals, Shared};

/// The counters' values when they were last cleared.
pub struct Baselines {
    /// When the engine was made: monotonic ns, and the processor's clock at that moment.
    start: (u64, u64),
    /// When `clear runtime` was last said, in ns.
    pub runtime_since_ns: u64,
    /// By thread, then by node.
    nodes: Vec<Vec<NodeTotals>>,
    /// Passes, by thread.
    passes: Vec<u64>,
    /// By error, over all threads.
    errors: Vec<u64>,
    /// By interface, over all threads.
    pub interfaces: HashMap<u32, [u64; InterfaceCounter::ALL.len()]>,
}

impl Default for Baselines {
    fn default() -> Self {
        let start = (Clock.now_ns(), Clock::ticks());
        Self {
            start,
            runtime_since_ns: start.0,
            nodes: Vec::new(),
            passes: Vec::new(),
            errors: Vec::new(),
            interfaces: HashMap::new(),
        }
    }
}

impl Baselines {
    /// When the engine was made, in ns.
    pub fn start_ns(&self) -> u64 {
        self.start.0
    }

    /// Rate of the clock that nodes are measured by, as seen since the engine was made.
    pub fn clocks_per_second(&self) -> f64 {
        let (nanos, ticks) = (Clock.now_ns() - self.start.0, Clock::ticks().wrapping_sub(self.start.1));
        ticks as f64 * 1e9 / nanos.max(1) as f64
    }

    /// What a node has done on a thread since the last clearing.
    pub fn node(&self, thread: usize, node: usize, now: NodeTotals) -> NodeTotals {
        let then = self.nodes.get(thread).and_then(|nodes| nodes.get(node)).copied().unwrap_or_default();
        NodeTotals {
            calls: now.calls.wrapping_sub(then.calls),
            packets: now.packets.wrapping_sub(then.packets),
            clocks: now.clocks.wrapping_sub(then.clocks),
            largest: now.largest,
        }
    }

    /// Passes of a thread since the last clearing.
    pub fn passes(&self, thread: usize, now: u64) -> u64 {
        now.wrapping_sub(self.passes.get(thread).copied().unwrap_or(0))
    }

    /// Packets dropped for this reason since the last clearing.
    pub fn error(&self, error: usize, now: u64) -> u64 {
        now.wrapping_sub(self.errors.get(error).copied().unwrap_or(0))
    }

    /// Has the nodes' figures begin anew.
    pub fn clear_runtime<'a>(&mut self, threads: impl Iterator<Item = &'a Shared>, nodes: &[NodeInfo]) {
        self.runtime_since_ns = Clock.now_ns();
        (self.nodes, self.passes) = (Vec::new(), Vec::new());
        for shared in threads {
            self.nodes.push((0..nodes.len()).map(|node| shared.stats.totals(node)).collect());
            self.passes.push(shared.passes.load(std::sync::atomic::Ordering::Relaxed));
            (0..nodes.len()).for_each(|node| shared.stats.forget_largest(node));
        }
    }

    /// Has the errors' counts begin anew.
    pub fn clear_errors(&mut self, counts: impl Fn(usize) -> u64, errors: &[ErrorInfo]) {
        self.errors = (0..errors.len()).map(counts).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_off_before_the_first_clearing() {
        let now = NodeTotals { calls: 2, packets: 5, clocks: 100, largest: 4 };
        let baselines = Baselines::default();
        assert_eq!(baselines.node(3, 7, now), now);
        assert_eq!((baselines.passes(0, 9), baselines.error(8, 1)), (9, 1));
    }

    #[test]
    fn what_was_counted_before_a_clearing_is_taken_off() {
        let mut baselines = Baselines { passes: vec![4], errors: vec![0, 6], ..Baselines::default() };
        baselines.nodes = vec![vec![NodeTotals { calls: 1, packets: 2, clocks: 30, largest: 2 }]];
        let now = NodeTotals { calls: 2, packets: 5, clocks: 100, largest: 3 };
        let since = NodeTotals { calls: 1, packets: 3, clocks: 70, largest: 3 };
        assert_eq!(baselines.node(0, 0, now), since);
        assert_eq!((baselines.passes(0, 9), baselines.error(1, 6)), (5, 0));
    }
}
