//! Ports that came back and are nobody's for a while (RFC 6888 REQ-8): who outside still sends to one of them shall not reach somebody
//! else inside.
//!
//! There is no timer and no list. Two bitmaps take turns: what comes back is noted in the young one; that becomes the old one when it is
//! old enough, and with the next turn it is forgotten. So a port waits as long as is asked for, and at most twice as long.

use raddle_plugin_api::wire::Ip4Address;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::pool::{WORD, WORDS};
use super::session::Protocol;
use super::shard::Ticks;

/// How ports come into use again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// How long they wait; 0: they do not.
    pub after: Ticks,
    /// How many of an address and a protocol wait at most; others are free at once.
    pub most: u32,
}

impl Reuse {
    /// At once.
    pub const AT_ONCE: Self = Self { after: 0, most: 0 };
}

/// A port that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct WantedPort {
    /// The pool address.
    pub address: Ip4Address,
    /// The protocol.
    pub protocol: Protocol,
    /// The host's own port.
    pub port: u16,
}

/// Ports of a pool address and a protocol that wait. Plain, as versions of the plugin share it.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct HeldPorts {
    young: [u64; WORDS],
    old: [u64; WORDS],
    /// Since when the young ones come.
    began: Ticks,
    young_count: u32,
    old_count: u32,
    reserved: u32,
}

impl HeldPorts {
    /// None yet.
    pub(super) fn new(now: Ticks) -> Self {
        let (young, old) = ([0; WORDS], [0; WORDS]);
        Self { young, old, began: now, young_count: 0, old_count: 0, reserved: 0 }
    }

    /// Lets go of those that have waited long enough.
    pub(super) fn turn(&mut self, now: Ticks, reuse: Reuse) {
        let age = now.wrapping_sub(self.began);
        if age < reuse.after {
            return;
        }
        // Each bitmap is 8 KiB: it is left alone where there is nothing in it.
        if age < reuse.after.saturating_mul(2) && self.young_count != 0 {
            (self.old, self.old_count) = (self.young, self.young_count);
        } else if self.old_count != 0 {
            (self.old, self.old_count) = ([0; WORDS], 0);
        }
        if self.young_count != 0 {
            (self.young, self.young_count) = ([0; WORDS], 0);
        }
        self.began = now;
    }

    /// Has a port wait, unless there are as many as may.
    pub(super) fn add(&mut self, port: u16, reuse: Reuse) {
        let (word, bit) = (usize::from(port) / WORD, 1 << (usize::from(port) % WORD));
        if self.count() < reuse.most && self.word(word) & bit == 0 {
            self.young[word] |= bit;
            self.young_count += 1;
        }
    }

    /// Those of a word of ports, a bit each.
    pub(super) fn word(&self, word: usize) -> u64 {
        self.young[word] | self.old[word]
    }

    /// How many there are.
    fn count(&self) -> u32 {
        self.young_count + self.old_count
    }

    /// How many there would be after a turn: those of which nobody asks have waited long enough, too.
    pub(super) fn count_at(&self, now: Ticks, reuse: Reuse) -> u32 {
        match now.wrapping_sub(self.began) {
            age if age < reuse.after => self.count(),
            age if age < reuse.after.saturating_mul(2) => self.young_count,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REUSE: Reuse = Reuse { after: 480, most: 3 };

    fn has(held: &HeldPorts, port: u16) -> bool {
        held.word(usize::from(port) / WORD) >> (usize::from(port) % WORD) & 1 != 0
    }

    #[test]
    fn no_more_wait_than_may() {
        let mut held = HeldPorts::new(0);
        for port in [5, 70, 5, 9000, 9001] {
            held.add(port, REUSE);
        }
        assert_eq!((held.count(), has(&held, 9000), has(&held, 9001)), (3, true, false));
        held.turn(480, REUSE);
        assert_eq!((held.count(), has(&held, 5)), (3, true), "they are the old ones now");
        held.turn(960, REUSE);
        assert_eq!((held.count(), has(&held, 5)), (0, false));
        held.add(5, REUSE);
        held.turn(961, Reuse::AT_ONCE);
        assert_eq!((held.count(), has(&held, 5)), (0, false), "the operator has them wait no more");
    }

    proptest! {
        /// A port waits for the time, and for twice as long at most once anybody asks.
        #[test]
        fn ports_wait_as_long_as_they_should(steps in prop::collection::vec((0..8_u16, 0..700_u32), 1..60)) {
            let reuse = Reuse { after: 480, most: 100 };
            let (mut held, mut now) = (HeldPorts::new(0), 0);
            let mut since = std::collections::HashMap::new();
            for (port, wait) in steps {
                now += wait;
                let expected = held.count_at(now, reuse);
                held.turn(now, reuse);
                prop_assert_eq!(held.count(), expected);
                for (&port, &added) in &since {
                    let age = now - added;
                    prop_assert!(age >= 480 || has(&held, port), "{port} waits for {age} only");
                }
                if !has(&held, port) {
                    held.add(port, reuse);
                    since.insert(port, now);
                }
                let bits: u32 = (0..WORDS).map(|word| held.word(word).count_ones()).sum();
                prop_assert_eq!(bits, held.count());
            }
            held.turn(now + 480, reuse);
            held.turn(now + 960, reuse);
            prop_assert_eq!(held.count(), 0);
        }
    }
}
