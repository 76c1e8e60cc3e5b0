//! What each thread has for itself, shared by the nodes that run there.

use std::cell::RefCell;

use crate::abi::HostTable;
use crate::{Control, Worker};

/// A value for each thread of the graph, which the nodes of that thread share: the sessions that two nodes look into, say,
/// and a third lets age. No lock: a thread runs one node at a time.
pub struct PerThread<T> {
    cells: Box<[Line<T>]>,
    host: *const HostTable,
}

/// Keeps the values of two threads out of one cache line.
#[repr(align(128))]
struct Line<T>(RefCell<T>);

// SAFETY: cell *i* is borrowed only by means of a `Worker` of thread *i*, which exists on that thread alone, or under the
// barrier, while that thread stands between two passes and has no borrow; values are made and dropped on the main thread.
unsafe impl<T: Send> Sync for PerThread<T> {}
// SAFETY: as above; the pointer to the host only tells hosts apart.
unsafe impl<T: Send> Send for PerThread<T> {}

impl<T: Send> PerThread<T> {
    /// The values that `make` returns for each thread by its number, of the host that `control` speaks to.
    pub fn new(control: &Control<'_>, mut make: impl FnMut(u32) -> T) -> Self {
        let cells = (0..control.thread_count()).map(|thread| Line(RefCell::new(make(thread)))).collect();
        Self { cells, host: control.host() }
    }

    /// Lends the value of the worker's thread.
    ///
    /// # Panics
    /// The worker is another host's, or the value is lent already.
    #[inline(always)]
    pub fn with<R>(&self, worker: &Worker<'_>, use_it: impl FnOnce(&mut T) -> R) -> R {
        assert!(
            std::ptr::eq(self.host, worker.host()),
            "a thread's value is lent to workers of its own host"
        );
        use_it(&mut self.cells[worker.thread_index() as usize].0.borrow_mut())
    }

    /// Lends the values of all threads, in their order, while the workers stand.
    ///
    /// # Panics
    /// The guard is another host's.
    pub fn each(&self, guard: &mut super::BarrierGuard<'_>, mut use_it: impl FnMut(u32, &mut T) + Send) {
        assert!(guard.is_of(self.host), "threads' values are lent under the barrier of their own host");
        for (thread, cell) in self.cells.iter().enumerate() {
            use_it(thread as u32, &mut cell.0.borrow_mut());
        }
    }
}
