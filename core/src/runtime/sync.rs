//! Atomics and waiting: the real ones, or loom's.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Waits until `word` is not `value` any more, or for a while: the caller looks again.
#[cfg(not(loom))]
pub(crate) fn wait_while(word: &AtomicU32, value: u32) {
    use rustix::thread::futex;
    let a_moment = rustix::time::Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    // Whatever the outcome (woken, changed already, interrupted, time over), the caller looks again.
    let _ = futex::wait(word, futex::Flags::PRIVATE, value, Some(&a_moment));
}

/// Wakes all that wait on `word`.
#[cfg(not(loom))]
pub(crate) fn wake_all(word: &AtomicU32) {
    let _ = rustix::thread::futex::wake(word, rustix::thread::futex::Flags::PRIVATE, i32::MAX as u32);
}

#[cfg(loom)]
pub(crate) fn wait_while(_: &AtomicU32, _: u32) {
    loom::thread::yield_now();
}

#[cfg(loom)]
pub(crate) fn wake_all(_: &AtomicU32) {}

/// A turn of a waiting loop.
pub(crate) fn spin() {
    #[cfg(not(loom))]
    std::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}
