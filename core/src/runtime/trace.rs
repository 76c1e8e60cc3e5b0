//! Traces of single packets through the graph.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::capture::Capture;
use super::pursuit::{Arrival, GENERATIONS, Goal, Pursuit, Trials};
use crate::filter::Link;
use crate::graph::MAX_NODES;

/// Traces that a thread keeps.
const MOST_TRACES: usize = 4096;
/// Bits of a handle that tell the trace.
const TRACE_BITS: u32 = MOST_TRACES.ilog2();
/// Bits that tell the thread on which it began.
const THREAD_BITS: u32 = 9;
/// The bit that tells a packet on trial; the bits above it tell the generation of its slot.
const TRIAL: u32 = 1 << (TRACE_BITS + THREAD_BITS);
const GENERATION_SHIFT: u32 = TRACE_BITS + THREAD_BITS + 1;
const _: () = assert!(GENERATION_SHIFT + GENERATIONS.ilog2() == u32::BITS);
/// Steps that a trace keeps.
const MOST_STEPS: usize = 128;

/// Packets are to be traced from some node on.
const WANTED: u32 = 1 << 0;
/// Packets are followed on trial.
const TRIALS: u32 = 1 << 1;
/// Packets are captured.
const CAPTURE: u32 = 1 << 2;

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

/// The traces of packets that came in on one thread, and what it still has to trace and to capture.
pub struct TraceStore {
    /// The thread, as it stands in handles.
    thread: u32,
    wanted: Box<[AtomicU32]>,
    /// Which of the following is asked for; 0: nothing, and nothing else is looked at.
    asked: AtomicU32,
    traces: Mutex<Vec<PacketTrace>>,
    trials: Mutex<Trials>,
    captures: Mutex<Arc<[Arc<Capture>]>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TraceStore {
    /// No traces yet, of packets that will come in on this thread.
    pub fn new(thread: usize) -> Self {
        let wanted = (0..MAX_NODES).map(|_| AtomicU32::new(0)).collect();
        Self {
            thread: (thread as u32 % (1 << THREAD_BITS)) << TRACE_BITS,
            wanted,
            asked: AtomicU32::new(0),
            traces: Mutex::default(),
            trials: Mutex::default(),
            captures: Mutex::default(),
        }
    }

    /// The thread on which the trace of this handle began.
    pub fn thread_of(handle: u32) -> usize {
        (handle >> TRACE_BITS) as usize % (1 << THREAD_BITS)
    }

    /// Has the next `count` packets that come to `node` traced. Main thread.
    pub fn want(&self, node: usize, count: u32) {
        self.wanted[node].fetch_add(count, Ordering::SeqCst);
        self.asked.fetch_or(WANTED, Ordering::SeqCst);
    }

    /// Whether packets can be pursued for one purpose more. Main thread.
    pub fn has_room_to_pursue(&self) -> bool {
        lock(&self.trials).has_room()
    }

    /// Has packets followed from the input on, and those kept that the pursuit wants. Main thread.
    pub fn pursue(&self, pursuit: Pursuit) {
        let mut trials = lock(&self.trials);
        trials.add(pursuit);
        // Under the lock, as it is taken back: see `close_trials`.
        self.asked.fetch_or(TRIALS, Ordering::Release);
    }

    /// Has packets captured by these, and by no others. Main thread.
    pub fn set_captures(&self, captures: Arc<[Arc<Capture>]>) {
        let is_on = !captures.is_empty();
        *lock(&self.captures) = captures;
        if is_on {
            self.asked.fetch_or(CAPTURE, Ordering::Release);
        } else {
            self.asked.fetch_and(!CAPTURE, Ordering::Relaxed);
        }
    }

    /// Whether packets are to be looked at for traces or captures. One load of a line that is read anyway.
    #[inline(always)]
    pub fn is_wanted(&self) -> bool {
        self.asked.load(Ordering::Relaxed) != 0
    }

    /// The captures that are on, if there are any.
    pub fn captures(&self) -> Option<Arc<[Arc<Capture>]>> {
        if self.asked.load(Ordering::Relaxed) & CAPTURE == 0 {
            return None;
        }
        Some(Arc::clone(&lock(&self.captures)))
    }

    /// Whether packets are followed on trial.
    pub fn has_trials(&self) -> bool {
        self.asked.load(Ordering::Acquire) & TRIALS != 0
    }

    /// Whether packets on trial may be kept at this node.
    pub fn is_goal(&self, goal: Goal) -> bool {
        self.has_trials() && lock(&self.trials).is_goal(goal)
    }

    /// Starts a trace if one is wanted at `node`; returns its handle. The thread itself.
    pub fn start(&self, node: usize, now_ns: u64) -> Option<u32> {
        let left = self.wanted.get(node)?;
        if left.load(Ordering::Relaxed) == 0 {
            return None;
        }
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
        let is_done = || self.wanted.iter().all(|left| left.load(Ordering::SeqCst) == 0);
        if is_done() {
            self.asked.fetch_and(!WANTED, Ordering::SeqCst);
            // More may have been wanted between the look and the taking back.
            if !is_done() {
                self.asked.fetch_or(WANTED, Ordering::Relaxed);
            }
        }
        self.keep(PacketTrace { start_ns: now_ns, entries: Vec::new() }).map(|number| self.thread | number)
    }

    /// Begins to follow a packet that was received, if some pursuit wants it; returns its handle. The thread itself.
    pub fn start_trial(&self, link: Link, bytes: &[u8], length: u32, now_ns: u64) -> Option<u32> {
        let (slot, generation) = lock(&self.trials).begin(link, bytes, length, now_ns)?;
        Some(generation << GENERATION_SHIFT | TRIAL | self.thread | slot)
    }

    /// Starts a trace of a packet that was not followed and comes to `drop`, if such ones are wanted. The thread itself.
    pub fn start_stray(&self, now_ns: u64) -> Option<u32> {
        let mut trials = lock(&self.trials);
        if !trials.take_stray() {
            return None;
        }
        self.close_trials(&trials);
        drop(trials);
        self.keep(PacketTrace { start_ns: now_ns, entries: Vec::new() }).map(|number| self.thread | number)
    }

    /// A packet has come to a goal: if it is on trial and wanted there, it is kept. Any thread that has the packet.
    pub fn arrive(&self, handle: u32, goal: Goal) {
        if handle & TRIAL == 0 {
            return;
        }
        let mut trials = lock(&self.trials);
        let (slot, generation) = (handle % MOST_TRACES as u32, handle >> GENERATION_SHIFT);
        if let Arrival::Keep(trace) = trials.arrive(slot, generation, goal)
            && let Some(number) = self.keep(trace)
        {
            trials.kept(slot, number);
            self.close_trials(&trials);
        }
    }

    /// Takes back that packets are followed, if none is wanted any more. The lock is held.
    fn close_trials(&self, trials: &Trials) {
        if !trials.is_open() {
            self.asked.fetch_and(!TRIALS, Ordering::Relaxed);
        }
    }

    fn keep(&self, trace: PacketTrace) -> Option<u32> {
        let mut traces = lock(&self.traces);
        if traces.len() >= MOST_TRACES {
            return None;
        }
        traces.push(trace);
        Some((traces.len() - 1) as u32)
    }

    /// Changes the entry of the packet at `node`, which is its last one or a new one. Any thread that has the packet.
    pub fn note(&self, handle: u32, node: u16, change: impl FnOnce(&mut TraceEntry)) {
        self.with(handle, |trace| {
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
        });
    }

    /// The nodes that a packet has come through.
    pub fn path(&self, handle: u32) -> Vec<u16> {
        self.with(handle, |trace| trace.entries.iter().map(|entry| entry.node).collect()).unwrap_or_default()
    }

    /// The trace behind a handle, if it is still there.
    fn with<R>(&self, handle: u32, call: impl FnOnce(&mut PacketTrace) -> R) -> Option<R> {
        let mut number = handle % MOST_TRACES as u32;
        if handle & TRIAL != 0 {
            let mut trials = lock(&self.trials);
            match trials.trace(number, handle >> GENERATION_SHIFT)? {
                Ok(kept) => number = kept,
                Err(trace) => return Some(call(trace)),
            }
        }
        lock(&self.traces).get_mut(number as usize).map(call)
    }

    /// All traces.
    pub fn traces(&self) -> Vec<PacketTrace> {
        lock(&self.traces).clone()
    }

    /// Forgets all traces, and what was still wanted.
    pub fn clear(&self) {
        for left in &self.wanted {
            left.store(0, Ordering::Relaxed);
        }
        self.asked.fetch_and(!(WANTED | TRIALS), Ordering::Relaxed);
        let mut trials = lock(&self.trials);
        trials.clear();
        lock(&self.traces).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drops(store: &TraceStore, left: u32) {
        store.pursue(Pursuit { goal: Goal::Drop, filter: None, left });
    }

    #[test]
    fn only_packets_that_are_dropped_stay_and_with_all_their_steps() {
        let store = TraceStore::new(3);
        drops(&store, 1);
        let handles: Vec<u32> =
            (0..2).map(|_| store.start_trial(Link::Ethernet, &[], 0, 5).expect("wanted")).collect();
        for handle in &handles {
            assert_eq!(TraceStore::thread_of(*handle), 3);
            store.note(*handle, 8, |entry| entry.next = Some(0));
        }
        store.arrive(handles[1], Goal::Drop);
        store.note(handles[1], 0, |entry| entry.error = Some(4));
        let traces = store.traces();
        assert_eq!(traces.len(), 1);
        let entries: Vec<_> = traces[0].entries.iter().map(|entry| (entry.node, entry.error)).collect();
        assert_eq!(entries, [(8, None), (0, Some(4))]);
        assert!(!store.is_wanted(), "one was asked for");
        assert_eq!(store.path(handles[0]), [8]);
    }

    #[test]
    fn a_capture_and_a_trace_are_asked_for_apart() {
        let store = TraceStore::new(0);
        store.want(2, 1);
        drops(&store, 9);
        store.set_captures(Arc::default());
        assert!(store.is_wanted() && store.start(2, 0).is_some() && store.start(2, 0).is_none());
        assert!(store.has_trials() && store.start_stray(1).is_some());
        store.clear();
        assert!(!store.is_wanted() && store.traces().is_empty());
    }
}
