//! What the main thread changes only while the workers stand.

use std::cell::UnsafeCell;
use std::marker::PhantomData;

use crate::abi::{HostTable, Text};
use crate::{Control, Worker};

/// Proof that the workers stand between two passes of their loops, with no frame in flight; they go on when it is
/// dropped. Guards nest.
#[must_use = "the workers go on as soon as the guard is dropped"]
pub struct BarrierGuard<'a> {
    host: &'a HostTable,
    main_thread: PhantomData<*mut ()>,
}

impl<'a> BarrierGuard<'a> {
    pub(crate) fn acquire(host: &'a HostTable, cause: &str) -> Self {
        // SAFETY: the caller holds a `Control`, so this is the main thread; the text lives until the call returns.
        unsafe { (host.barrier_acquire)(host.data, Text::new(cause)) };
        Self { host, main_thread: PhantomData }
    }
}

impl Drop for BarrierGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: acquired by this guard, on this thread.
        unsafe { (self.host.barrier_release)(self.host.data) };
    }
}

/// Data that workers read plainly, and the main thread writes only while a [`BarrierGuard`] proves that they stand.
pub struct BarrierCell<T> {
    value: UnsafeCell<T>,
    host: *const HostTable,
}

// SAFETY: readers have `&T` on many threads, the writer moves values in from the main thread.
unsafe impl<T: Send + Sync> Sync for BarrierCell<T> {}
// SAFETY: the pointer to the host only tells hosts apart.
unsafe impl<T: Send> Send for BarrierCell<T> {}

impl<T> BarrierCell<T> {
    /// A cell with this value, for workers of the host that `control` speaks to.
    pub fn new(control: &Control<'_>, value: T) -> Self {
        Self { value: UnsafeCell::new(value), host: control.host() }
    }

    /// The value, on a worker.
    ///
    /// # Panics
    /// The worker is another host's than the cell's.
    #[inline(always)]
    pub fn read<'w>(&'w self, worker: &'w Worker<'_>) -> &'w T {
        assert!(std::ptr::eq(self.host, worker.host()), "a barrier cell is read by workers of its own host");
        // SAFETY: writing needs a `&mut BarrierGuard` of the same host, during which no worker is between two
        // quiescent points, and so no `Worker` that this borrow depends on is alive.
        unsafe { &*self.value.get() }
    }

    /// The value, on the main thread, which is the only one that writes.
    pub fn get<'c>(&'c self, control: &'c Control<'_>) -> &'c T {
        assert!(
            std::ptr::eq(self.host, control.host()),
            "a barrier cell is read on the main thread of its own host"
        );
        // SAFETY: a `&mut T` exists only within `write`, whose guard borrows the control side mutably.
        unsafe { &*self.value.get() }
    }

    /// Changes the value while the workers stand.
    ///
    /// # Panics
    /// The guard is another host's than the cell's.
    pub fn write<R>(&self, guard: &mut BarrierGuard<'_>, change: impl FnOnce(&mut T) -> R + Send) -> R
    where
        T: Send,
    {
        assert!(
            std::ptr::eq(self.host, guard.host),
            "a barrier cell is written under the barrier of its own host"
        );
        // SAFETY: the workers stand. On the main thread, `get` and `read` need a `Control` or `Worker`, which are not
        // `Send`, so that `change` cannot have brought one in.
        change(unsafe { &mut *self.value.get() })
    }
}
