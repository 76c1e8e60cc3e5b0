//! The way to the main thread: closures from any thread, without waiting.

use crossbeam_queue::SegQueue;

use super::Poller;
use super::sync::{AtomicU32, Ordering};

/// A closure for the main thread.
pub type MainCall = Box<dyn FnOnce() + Send>;

/// Closures for the main thread, in order, and its alarm.
pub struct MainQueue {
    calls: SegQueue<MainCall>,
    rung: Rung,
    alarm: Poller,
}

impl MainQueue {
    /// An empty queue; `alarm` wakes the main thread.
    pub fn new(alarm: Poller) -> Self {
        Self { calls: SegQueue::new(), rung: Rung::default(), alarm }
    }

    /// Adds a call and wakes the main thread. Any thread; never waits.
    pub fn push(&self, call: MainCall) {
        self.calls.push(call);
        self.ring();
    }

    /// Wakes the main thread.
    pub fn ring(&self) {
        if self.rung.set() {
            self.alarm.wake();
        }
    }

    /// The next call. Main thread.
    pub fn pop(&self) -> Option<MainCall> {
        self.rung.clear();
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

/// Whether the alarm was rung since the main thread last looked: many rings are one alarm.
#[derive(Default)]
struct Rung(AtomicU32);

impl Rung {
    /// After something was put where the main thread looks: whether the alarm is to be rung.
    fn set(&self) -> bool {
        self.0.swap(1, Ordering::AcqRel) == 0
    }

    /// Before the main thread looks: whoever did not ring from here on has put what it has before.
    fn clear(&self) {
        if self.0.load(Ordering::Relaxed) != 0 {
            // A swap, not a store: it sees what was put by those who found the alarm rung, and it is not overtaken by the look.
            self.0.swap(0, Ordering::AcqRel);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;

    use super::*;

    /// What was put while the alarm was rung already is found by the look that follows, or rings the alarm again.
    #[test]
    fn nothing_is_put_unseen_and_unheard() {
        loom::model(|| {
            let (rung, word) = (Arc::new(Rung::default()), Arc::new(AtomicU32::new(0)));
            assert!(rung.set(), "an earlier ring, of which the alarm is over");
            let giver = {
                let (rung, word) = (Arc::clone(&rung), Arc::clone(&word));
                loom::thread::spawn(move || {
                    word.store(1, Ordering::Release);
                    rung.set()
                })
            };
            rung.clear();
            let seen = word.load(Ordering::Acquire) == 1;
            let heard = giver.join().unwrap();
            assert!(seen || heard, "the main thread sleeps, and there is something to do");
        });
    }
}
