//! Counters: each thread counts for itself, the reader sums.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Worker;
use crate::abi::CounterMemory;

/// A set of counters of one name. Cheap to copy; the memory is the host's and stays.
#[derive(Clone, Copy)]
pub struct Counters {
    memory: CounterMemory,
}

// SAFETY: the memory is the host's for good and reached through atomics only.
unsafe impl Send for Counters {}
// SAFETY: as above.
unsafe impl Sync for Counters {}

impl Counters {
    pub(crate) fn from_memory(memory: CounterMemory) -> Option<Self> {
        (!memory.base.is_null() && memory.length <= memory.stride).then_some(Self { memory })
    }

    /// Number of counters per thread.
    #[inline]
    pub fn len(&self) -> usize {
        self.memory.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.memory.length == 0
    }

    #[inline(always)]
    fn cell(&self, thread: usize, index: usize) -> Option<&AtomicU64> {
        if index >= self.memory.length || thread >= self.memory.threads {
            return None;
        }
        // SAFETY: within the host's memory, which holds `threads * stride` counters and is never freed.
        Some(unsafe { &*self.memory.base.add(thread * self.memory.stride + index).cast::<AtomicU64>() })
    }

    /// Adds to counter `index` of the worker's thread; an index beyond the set counts nothing.
    #[inline(always)]
    pub fn add(&self, worker: &Worker<'_>, index: usize, amount: u64) {
        if let Some(cell) = self.cell(worker.thread_index() as usize, index) {
            // Only this thread writes here, so that reading and writing apart loses nothing.
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
        }
    }

    /// Counter `index`, summed over the threads. Any thread may read.
    pub fn sum(&self, index: usize) -> u64 {
        (0..self.memory.threads)
            .filter_map(|thread| self.cell(thread, index))
            .fold(0, |sum, cell| sum.wrapping_add(cell.load(Ordering::Relaxed)))
    }

    /// Counter `index` of one thread.
    pub fn of_thread(&self, thread: u32, index: usize) -> u64 {
        self.cell(thread as usize, index).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}
