//! What rules have matched: each thread counts for itself, the reader sums.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Their bytes, from the IP header on.
    pub bytes: u64,
}

#[derive(Default)]
struct Cell {
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// Counts of the rules of one list.
pub struct Hits {
    cells: Box<[Cell]>,
    rules: usize,
    /// Added to what the threads have counted: what an earlier form of the list had, less what was cleared.
    offsets: Mutex<Box<[Amount]>>,
}

impl Hits {
    /// All zero.
    pub fn new(threads: usize, rules: usize) -> Self {
        let cells = (0..threads * rules).map(|_| Cell::default()).collect();
        Self { cells, rules, offsets: Mutex::new(vec![Amount::default(); rules].into()) }
    }

    /// Counts packets of a rule, on a thread that is the calling one.
    #[inline(always)]
    pub fn add(&self, thread: usize, rule: usize, packets: u64, bytes: u64) {
        if let Some(cell) = self.cells.get(thread * self.rules + rule) {
            // Only this thread writes here, so that reading and writing apart loses nothing.
            cell.packets.store(cell.packets.load(Ordering::Relaxed).wrapping_add(packets), Ordering::Relaxed);
            cell.bytes.store(cell.bytes.load(Ordering::Relaxed).wrapping_add(bytes), Ordering::Relaxed);
        }
    }

    /// What a rule has matched.
    pub fn of(&self, rule: usize) -> Amount {
        let offset = self.offsets().get(rule).copied().unwrap_or_default();
        let counted = self.counted(rule);
        Amount {
            packets: counted.packets.wrapping_add(offset.packets),
            bytes: counted.bytes.wrapping_add(offset.bytes),
        }
    }

    /// Has a rule begin with what another had.
    pub fn begin_with(&self, rule: usize, amount: Amount) {
        if let Some(offset) = self.offsets().get_mut(rule) {
            *offset = amount;
        }
    }

    /// Begins to count at zero again.
    pub fn clear(&self) {
        for (rule, offset) in self.offsets().iter_mut().enumerate() {
            let counted = self.counted(rule);
            *offset = Amount { packets: counted.packets.wrapping_neg(), bytes: counted.bytes.wrapping_neg() };
        }
    }

    fn offsets(&self) -> MutexGuard<'_, Box<[Amount]>> {
        // Nothing in here panics half-way.
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self, rule: usize) -> Amount {
        let cells = self.cells.iter().skip(rule).step_by(self.rules.max(1));
        cells.fold(Amount::default(), |sum, cell| Amount {
            packets: sum.packets.wrapping_add(cell.packets.load(Ordering::Relaxed)),
            bytes: sum.bytes.wrapping_add(cell.bytes.load(Ordering::Relaxed)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_summed_and_clearing_begins_at_zero() {
        let hits = Hits::new(2, 3);
        hits.add(0, 1, 1, 100);
        hits.add(1, 1, 1, 50);
        hits.add(1, 2, 1, 1);
        hits.add(2, 9, 1, 1);
        assert_eq!(hits.of(1), Amount { packets: 2, bytes: 150 });
        hits.clear();
        hits.add(0, 1, 1, 7);
        assert_eq!((hits.of(1), hits.of(2)), (Amount { packets: 1, bytes: 7 }, Amount::default()));
        hits.begin_with(0, Amount { packets: 3, bytes: 4 });
        assert_eq!(hits.of(0), Amount { packets: 3, bytes: 4 });
    }
}
