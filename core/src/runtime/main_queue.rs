//! The way to the main thread: closures from any thread, without waiting.

use crossbeam_queue::SegQueue;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Poller;

/// A closure for the main thread.
pub type MainCall = Box<dyn FnOnce() + Send>;

/// Closures for the main thread, in order, and its alarm.
pub struct MainQueue {
    calls: SegQueue<MainCall>,
    rung: AtomicBool,
    alarm: Poller,
}

impl MainQueue {
    /// An empty queue; `alarm` wakes the main thread.
    pub fn new(alarm: Poller) -> Self {
        Self { calls: SegQueue::new(), rung: AtomicBool::new(false), alarm }
    }

    /// Adds a call and wakes the main thread. Any thread; never waits.
    pub fn push(&self, call: MainCall) {
        self.calls.push(call);
        self.ring();
    }

    /// Wakes the main thread.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.alarm.wake();
        }
    }

    /// The next call. Main thread.
    pub fn pop(&self) -> Option<MainCall> {
        self.rung.store(false, Ordering::Release);
        self.calls.pop()
    }

    /// Whether there is something to do.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// What the main thread sleeps on.
    pub fn poller(&self) -> &Poller {
        &self.alarm
    }
}
