//! Identifications of the IPv6 packets that are cut up here: none comes again soon, and none can be foretold (RFC 7739).
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use raddle_plugin_api::prelude::*;

init! { "fragment", start }

/// Numbers of one thread before they come again.
const PER_THREAD: u32 = 1 << 24;
const ROUNDS: u16 = 4;

fn start(control: &mut Control<'_>) -> Result<(), Failure> {
    control.provide(Arc::new(IdentificationKey(RandomState::new())))
}

/// What all threads scramble their numbers with. A resource of the core.
pub struct IdentificationKey(RandomState);

impl IdentificationKey {
    /// Each number of 32 bits as another one: a Feistel network, so that no two become the same.
    fn scramble(&self, number: u32) -> u32 {
        let (mut left, mut right) = ((number >> 16) as u16, number as u16);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.0.hash_one((round, right)) as u16);
        }
        u32::from(left) << 16 | u32::from(right)
    }
}

/// A thread's identifications.
pub struct Identifications {
    key: Arc<IdentificationKey>,
    thread: u32,
    next: u32,
}

impl Identifications {
    /// Those of a thread.
    pub fn new(key: Arc<IdentificationKey>, thread: u32) -> Self {
        Self { key, thread, next: 0 }
    }

    /// The next one.
    pub fn take(&mut self) -> u32 {
        let number = self.thread.wrapping_mul(PER_THREAD) | self.next;
        self.next = (self.next + 1) % PER_THREAD;
        self.key.scramble(number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    // RFC 8200 §4.5: different from that of any other packet fragmented recently.
    #[test]
    fn no_identification_comes_twice_on_any_thread() {
        let key = Arc::new(IdentificationKey(RandomState::new()));
        let mut seen = HashSet::new();
        for thread in 0..4 {
            let mut identifications = Identifications::new(Arc::clone(&key), thread);
            assert!((0..5000).all(|_| seen.insert(identifications.take())));
        }
    }

    // RFC 7739 §3: neither a counter nor the same after a restart.
    #[test]
    fn identifications_do_not_tell_the_next_one() {
        let of_one_start = || {
            let key = Arc::new(IdentificationKey(RandomState::new()));
            let mut identifications = Identifications::new(key, 0);
            [identifications.take(), identifications.take(), identifications.take()]
        };
        let [a, b, c] = of_one_start();
        assert!(b.wrapping_sub(a) != c.wrapping_sub(b) || a.wrapping_add(1) != b);
        assert_ne!([a, b, c], of_one_start());
    }
}
