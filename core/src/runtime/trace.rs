//! Traces of single packets through the graph.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::graph::MAX_NODES;

/// Traces that a thread keeps.
const MOST_TRACES: usize = 4096;
/// Steps that a trace keeps.
const MOST_STEPS: usize = 128;

/// A packet's stay at a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceEntry {
    /// The node.
    pub node: u16,
    /// Where the packet went from there; `None` if it was not sent on (yet).
    pub next: Option<u16>,
    /// What the node noted: JSON, and text for people.
    pub records: Vec<(String, String)>,
    /// Why it was dropped, if the node is `drop`: index of the error.
    pub error: Option<u16>,
}

/// A packet's way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketTrace {
    /// Monotonic time of its start, in ns.
    pub start_ns: u64,
    /// Its stays, in order.
    pub entries: Vec<TraceEntry>,
}

/// The traces of one thread, and what it still has to trace.
pub struct TraceStore {
    wanted: Box<[AtomicU32]>,
    any_wanted: AtomicU32,
    traces: Mutex<Vec<PacketTrace>>,
}

impl Default for TraceStore {
    fn default() -> Self {
        let wanted = (0..MAX_NODES).map(|_| AtomicU32::new(0)).collect();
        Self { wanted, any_wanted: AtomicU32::new(0), traces: Mutex::default() }
    }
}

impl TraceStore {
    /// Has the next `count` packets that come to `node` traced. Main thread.
    pub fn want(&self, node: usize, count: u32) {
        self.wanted[node].fetch_add(count, Ordering::Relaxed);
        self.any_wanted.store(1, Ordering::Release);
    }

    /// Whether any packet is still to be traced.
    #[inline(always)]
    pub fn is_wanted(&self) -> bool {
        self.any_wanted.load(Ordering::Relaxed) != 0
    }

    /// Starts a trace if one is wanted at `node`; returns its handle. The thread itself.
    pub fn start(&self, node: usize, now_ns: u64) -> Option<u32> {
        let left = self.wanted.get(node)?;
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
        if self.wanted.iter().all(|left| left.load(Ordering::Relaxed) == 0) {
            self.any_wanted.store(0, Ordering::Relaxed);
        }
        let mut traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        if traces.len() >= MOST_TRACES {
            return None;
        }
        traces.push(PacketTrace { start_ns: now_ns, entries: Vec::new() });
        Some((traces.len() - 1) as u32)
    }

    /// Changes the entry of the packet at `node`, which is its last one or a new one.
    pub fn note(&self, handle: u32, node: u16, change: impl FnOnce(&mut TraceEntry)) {
        let mut traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(trace) = traces.get_mut(handle as usize) else { return };
        let open = trace.entries.last().is_some_and(|entry| entry.node == node && entry.next.is_none());
        if !open {
            if trace.entries.len() >= MOST_STEPS {
                return;
            }
            trace.entries.push(TraceEntry { node, ..TraceEntry::default() });
        }
        if let Some(entry) = trace.entries.last_mut() {
            change(entry);
        }
    }

    /// All traces.
    pub fn traces(&self) -> Vec<PacketTrace> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets all traces, and what was still wanted.
    pub fn clear(&self) {
        for left in &self.wanted {
            left.store(0, Ordering::Relaxed);
        }
        self.any_wanted.store(0, Ordering::Relaxed);
        self.traces.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
