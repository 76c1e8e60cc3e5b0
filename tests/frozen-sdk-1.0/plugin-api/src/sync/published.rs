//! What the main thread replaces at any time: read-copy-update.

use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::abi::HostTable;
use crate::{Control, Worker};

/// A value that workers read without waiting and the main thread replaces as a whole. The old value is dropped, on the
/// main thread, once every thread has passed a quiescent point.
pub struct Published<T: Send + Sync + 'static> {
    current: AtomicPtr<T>,
    host: *const HostTable,
}

// SAFETY: the value is shared (`Sync`) and dropped on another thread than it was made on (`Send`).
unsafe impl<T: Send + Sync> Sync for Published<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for Published<T> {}

impl<T: Send + Sync + 'static> Published<T> {
    /// Publishes `value` to the workers of the host that `control` speaks to.
    pub fn new(control: &Control<'_>, value: T) -> Self {
        Self { current: AtomicPtr::new(Box::into_raw(Box::new(value))), host: control.host() }
    }

    /// The value at present, which stays for as long as the worker's token is borrowed.
    ///
    /// # Panics
    /// The worker is another host's.
    #[inline(always)]
    pub fn read<'w>(&'w self, worker: &'w Worker<'_>) -> &'w T {
        assert!(
            std::ptr::eq(self.host, worker.host()),
            "a published value is read by workers of its own host"
        );
        // SAFETY: the pointer is a boxed value that is dropped only after each thread of the host has passed a
        // quiescent point since its replacement; the worker's token lives between two such points.
        unsafe { &*self.current.load(Ordering::Acquire) }
    }

    /// The value at present, on the main thread, which is the only one that replaces it.
    pub fn get<'c>(&'c self, control: &'c Control<'_>) -> &'c T {
        assert!(
            std::ptr::eq(self.host, control.host()),
            "a published value is read on the main thread of its own host"
        );
        // SAFETY: `Control` lives between two passes of the main thread's loop, and retired values are dropped there
        // only at the end of such a pass.
        unsafe { &*self.current.load(Ordering::Acquire) }
    }

    /// Replaces the value for all readers that come from now on.
    pub fn publish(&self, control: &Control<'_>, value: T) {
        assert!(
            std::ptr::eq(self.host, control.host()),
            "a published value is replaced through its own host"
        );
        unsafe extern "C" fn drop_value<T>(value: *mut c_void) {
            // SAFETY: made by `Box::into_raw` of a `T` and handed over once; see `publish`.
            let drop_it = || drop(unsafe { Box::from_raw(value.cast::<T>()) });
            // A panicking destructor must not cross the ABI; there is nobody to tell.
            let _ = crate::guard::guard(drop_it);
        }
        let old = self.current.swap(Box::into_raw(Box::new(value)), Ordering::AcqRel);
        let host = control.host();
        // SAFETY: `old` is no longer reachable for new readers; the host runs `drop_value` when the others are gone.
        unsafe { (host.retire)(host.data, old.cast(), drop_value::<T>) };
    }
}

impl<T: Send + Sync + 'static> Drop for Published<T> {
    fn drop(&mut self) {
        // SAFETY: nobody can read through `self` any more; the value was boxed by `new` or `publish`.
        drop(unsafe { Box::from_raw(*self.current.get_mut()) });
    }
}
