//! A thread's bell: others ring it when they have put something where the thread takes things, asleep or not.
//!
//! A thread that is awake looks at one word in each pass. For the one that lies down, both sides write what they have
//! (work; the wish to sleep), fence, and read what the other has: one of the two sees the other's, so either the sleeper
//! finds the work or the giver the sleeper.

use super::sync::{AtomicU32, Ordering, fence};

/// The bell of one thread.
#[derive(Default)]
pub struct Bell {
    rung: AtomicU32,
    asleep: AtomicU32,
}

impl Bell {
    /// Says that there is something to take, which was put there before. Returns whether the thread sleeps and must be
    /// woken. Any thread.
    #[must_use = "a thread that sleeps must be woken"]
    pub fn ring(&self) -> bool {
        // A swap, not a store: who hears this ring hears with it those of other threads that it covers.
        self.rung.swap(1, Ordering::Release);
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) != 0
    }

    /// Whether it was rung since the last time: what was put before is seen then. The thread itself.
    #[inline(always)]
    pub fn heard(&self) -> bool {
        // The swap reads the last ring there was, so nothing that rang before it is missed; one after it is heard next.
        self.rung.load(Ordering::Relaxed) != 0 && self.rung.swap(0, Ordering::AcqRel) != 0
    }

    /// Has the next [`Self::heard`] be true: something was left. The thread itself.
    pub fn again(&self) {
        self.rung.store(1, Ordering::Relaxed);
    }

    /// Says that the thread is about to sleep; returns whether it may: not if the bell was rung. The thread itself, which
    /// calls [`Self::awake`] afterwards in either case.
    pub fn may_sleep(&self) -> bool {
        self.asleep.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.rung.load(Ordering::Relaxed) == 0
    }

    /// Says that the thread is up.
    pub fn awake(&self) {
        self.asleep.store(0, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn bell_is_heard_once_and_wakes_only_sleepers() {
        let bell = Bell::default();
        assert!(!bell.heard());
        assert!(!bell.ring());
        assert!(!bell.may_sleep());
        bell.awake();
        assert!(bell.heard() && !bell.heard());
        assert!(bell.may_sleep());
        assert!(bell.ring());
        bell.awake();
        assert!(bell.heard());
        bell.again();
        assert!(bell.heard());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;

    use super::super::ring::Ring;
    use super::*;

    /// Two threads put a word each where a third takes them: it takes both, or is told of what it has not.
    #[test]
    fn nobody_sleeps_on_a_word() {
        loom::model(|| {
            let bell = Arc::new(Bell::default());
            let (mut receivers, mut givers) = (Vec::new(), Vec::new());
            for _ in 0..2 {
                let (mut sender, receiver) = Ring::with_capacity(2);
                receivers.push(receiver);
                let bell = Arc::clone(&bell);
                givers.push(loom::thread::spawn(move || {
                    sender.push(1);
                    sender.publish();
                    bell.ring()
                }));
            }
            let mut taken = 0;
            if bell.heard() {
                taken = receivers.iter_mut().map(|receiver| receiver.take(&mut [0; 2])).sum();
            }
            let sleeps = bell.may_sleep();
            let woken = givers.into_iter().fold(false, |woken, giver| giver.join().unwrap() || woken);
            assert!(taken == 2 || woken || !sleeps, "asleep, a word in a ring, and no alarm");
        });
    }
}
