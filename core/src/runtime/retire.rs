//! What is out of use waits here until no worker can have it in its hands.

use std::ffi::c_void;

use super::barrier::{Barrier, Snapshot};

struct Entry {
    state: *mut c_void,
    run: unsafe extern "C" fn(*mut c_void),
}

/// Main thread: functions to run once every worker has passed a quiescent point, in two batches: one that waits for its
/// snapshot, and one that fills meanwhile.
#[derive(Default)]
pub struct RetireList {
    filling: Vec<Entry>,
    waiting: Vec<Entry>,
    snapshot: Snapshot,
}

impl RetireList {
    /// Adds `run(state)`.
    pub fn push(&mut self, state: *mut c_void, run: unsafe extern "C" fn(*mut c_void)) {
        self.filling.push(Entry { state, run });
    }

    /// Whether something waits.
    pub fn is_empty(&self) -> bool {
        self.filling.is_empty() && self.waiting.is_empty()
    }

    /// Takes what may run now: the caller runs it, since it may come back with more.
    pub fn take_ready(&mut self, barrier: &Barrier) -> Vec<impl FnOnce() + use<>> {
        if self.waiting.is_empty() {
            if self.filling.is_empty() {
                return Vec::new();
            }
            std::mem::swap(&mut self.filling, &mut self.waiting);
            self.snapshot = barrier.snapshot();
        }
        if !barrier.has_passed(&self.snapshot) {
            return Vec::new();
        }
        let ready = std::mem::take(&mut self.waiting);
        // SAFETY: whoever pushed the entry vouches that `run(state)` may be called once, after a quiescent point.
        ready.into_iter().map(|entry| move || unsafe { (entry.run)(entry.state) }).collect()
    }
}
