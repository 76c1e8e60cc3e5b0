//! What each thread counts of its nodes and errors; read by others while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::graph::{MAX_ERRORS, MAX_NODES};

/// Adds to a counter that only this thread writes.
#[inline(always)]
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// One node on one thread.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct NodeCounters {
    calls: AtomicU64,
    packets: AtomicU64,
    clocks: AtomicU64,
    /// The most packets in one call.
    largest: AtomicU64,
}

/// What the counters of a node say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeTotals {
    /// How often the node was called.
    pub calls: u64,
    /// Packets that it dealt with.
    pub packets: u64,
    /// Clocks (TSC) that it took.
    pub clocks: u64,
    /// The most packets in one call.
    pub largest: u64,
}

impl NodeTotals {
    /// Adds what another thread, or another node, has done.
    pub fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.packets += other.packets;
        self.clocks += other.clocks;
        self.largest = self.largest.max(other.largest);
    }
}

/// All nodes on one thread.
pub struct NodeStats {
    nodes: Box<[NodeCounters]>,
}

impl Default for NodeStats {
    fn default() -> Self {
        Self { nodes: (0..MAX_NODES).map(|_| NodeCounters::default()).collect() }
    }
}

impl NodeStats {
    /// Notes a call. Only the thread itself.
    #[inline(always)]
    pub fn note(&self, node: usize, packets: u64, clocks: u64) {
        let counters = &self.nodes[node];
        add(&counters.calls, 1);
        add(&counters.packets, packets);
        add(&counters.clocks, clocks);
        if packets > counters.largest.load(Ordering::Relaxed) {
            counters.largest.store(packets, Ordering::Relaxed);
        }
    }

    /// Forgets the largest call of a node. Any thread: a call at the same moment may be missed.
    pub fn forget_largest(&self, node: usize) {
        self.nodes[node].largest.store(0, Ordering::Relaxed);
    }

    /// What the node's counters say now.
    pub fn totals(&self, node: usize) -> NodeTotals {
        let counters = &self.nodes[node];
        NodeTotals {
            calls: counters.calls.load(Ordering::Relaxed),
            packets: counters.packets.load(Ordering::Relaxed),
            clocks: counters.clocks.load(Ordering::Relaxed),
            largest: counters.largest.load(Ordering::Relaxed),
        }
    }
}

/// All errors on one thread, by index in the global list.
pub struct Errors {
    counts: Box<[AtomicU64]>,
}

impl Default for Errors {
    fn default() -> Self {
        Self { counts: (0..MAX_ERRORS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Errors {
    /// Counts a packet. Only the thread itself.
    #[inline]
    pub fn count(&self, error: u16) {
        // Error indices of plugins are checked: one beyond the list counts as "unspecified".
        add(self.counts.get(usize::from(error)).unwrap_or(&self.counts[0]), 1);
    }

    /// How many there were.
    pub fn total(&self, error: usize) -> u64 {
        self.counts.get(error).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}
