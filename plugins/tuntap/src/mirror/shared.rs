//! A mirror's table for the two threads that work on it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::MirrorTable;

/// How long the monitor lets another thread go first.
const WAY: Duration = Duration::from_micros(20);

/// The table, with a lock that each holds for a moment only. The main thread, which may be forwarding, goes first.
#[derive(Default)]
pub struct SharedTable {
    table: Mutex<MirrorTable>,
    waiting: AtomicUsize,
}

impl SharedTable {
    /// A table for sharing.
    pub fn new(table: MirrorTable) -> Self {
        Self { table: Mutex::new(table), waiting: AtomicUsize::new(0) }
    }

    /// The table, to be let go of at once.
    pub fn lock(&self) -> MutexGuard<'_, MirrorTable> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let guard = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        guard
    }

    /// The table, if nobody else has it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, MirrorTable>> {
        match self.table.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Lets those go first who wait. For the monitor, between two pieces of long work, without the table.
    pub fn give_way(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            std::thread::sleep(WAY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_table_at_a_time_and_who_waits_is_let_in() {
        let shared = SharedTable::default();
        std::thread::scope(|scope| {
            let held = shared.lock();
            assert!(shared.try_lock().is_none());
            let waiter = scope.spawn(|| drop(shared.lock()));
            while shared.waiting.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            drop(held);
            // Whoever works in pieces lets the other one in.
            while !waiter.is_finished() {
                drop(shared.lock());
                shared.give_way();
            }
        });
        assert!(shared.try_lock().is_some());
    }
}
