//! The window that tells packets that came before (RFC 4303 §3.4.3, RFC 6479), used by all workers at once.
//!
//! RFC 6479 keeps a ring of blocks of bits, and clears those that the window moves over. Here each word of the ring says which block
//! it is of, in its upper half, beside 32 bits of it: a word of an older block is as good as a cleared one, and the packet that
//! meets it replaces it in one step. So no worker waits for another, and of two copies of a packet exactly one is taken, whichever
//! workers have them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of each word that stand for packets.
const BITS: u64 = 32;
/// The smallest window, in packets (RFC 4303 §3.4.3 has 32 as the least and 64 as what should be).
pub const LEAST_WINDOW: u32 = 64;
/// The largest window, in packets.
pub const MOST_WINDOW: u32 = 1 << 20;

/// A window over the sequence numbers of an SA.
#[derive(Debug)]
pub struct ReplayWindow {
    words: Box<[AtomicU64]>,
    /// Sequence numbers up to the highest that was taken, by which a packet may be late.
    size: u64,
    /// The highest that was taken.
    top: AtomicU64,
    /// The first that was taken; 0: none yet.
    first: AtomicU64,
}

/// The packet came before, or is older than the window tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed;

impl ReplayWindow {
    /// A window of so many packets, from [`LEAST_WINDOW`] to [`MOST_WINDOW`], that takes none with a sequence number up to `top`; 0: it
    /// takes all.
    pub fn new(size: u32, top: u64) -> Self {
        let size = u64::from(size.clamp(LEAST_WINDOW, MOST_WINDOW));
        // The window touches one block more than fits into it.
        let words = (size / BITS + 2).next_power_of_two();
        let newest = top / BITS;
        let word = |index: u64| {
            // The newest block that the word stands for; before the first one numbers go on below zero.
            let block = newest.wrapping_sub(newest.wrapping_sub(index) & (words - 1));
            let bits = if block == newest { (2 << (top % BITS)) - 1 } else { u64::from(u32::MAX) };
            AtomicU64::new(u64::from(block as u32) << 32 | bits)
        };
        Self {
            words: (0..words).map(word).collect(),
            size,
            top: AtomicU64::new(top),
            first: AtomicU64::new(0),
        }
    }

    /// Packets that it covers.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The highest sequence number that was taken.
    pub fn top(&self) -> u64 {
        self.top.load(Ordering::Relaxed)
    }

    /// Sequence numbers between the first and the highest that was taken which were not, of so many that were: packets that were lost, or
    /// are late.
    pub fn missing(&self, taken: u64) -> u64 {
        match self.first.load(Ordering::Relaxed) {
            0 => 0,
            first => (self.top() + 1).saturating_sub(first).saturating_sub(taken),
        }
    }

    /// The whole sequence number of a packet that has `low`, its lower half (RFC 4303 appendix A2.2).
    #[inline]
    pub fn extend(&self, low: u32) -> u64 {
        let top = self.top();
        let (top_high, top_low) = (top >> 32, top as u32);
        let bottom = top_low.wrapping_sub((self.size - 1) as u32);
        let high = if u64::from(top_low) >= self.size - 1 {
            // Case A: the window lies within one half.
            if low >= bottom { top_high } else { top_high.wrapping_add(1) }
        } else if low >= bottom && top_high > 0 {
            // Case B: it reaches into the half before.
            top_high - 1
        } else {
            top_high
        };
        // Beyond the last half there is none: such a packet fails its authentication.
        (high & u64::from(u32::MAX)) << 32 | u64::from(low)
    }

    /// Whether the packet may be new. Nothing is noted: that is for packets that proved authentic.
    #[inline]
    pub fn check(&self, sequence: u64) -> Result<(), Replayed> {
        let (block, bit, word) = self.place(sequence);
        if sequence == 0 || sequence.saturating_add(self.size) <= self.top() {
            return Err(Replayed);
        }
        let state = word.load(Ordering::Relaxed);
        match age(block, state) {
            Age::Same if state & bit != 0 => Err(Replayed),
            Age::Older => Err(Replayed),
            _ => Ok(()),
        }
    }

    /// Takes an authentic packet: exactly once, whoever asks at the same time.
    #[inline]
    pub fn take(&self, sequence: u64) -> Result<(), Replayed> {
        let (block, bit, word) = self.place(sequence);
        if sequence == 0 || sequence.saturating_add(self.size) <= self.top() {
            return Err(Replayed);
        }
        let mut state = word.load(Ordering::Relaxed);
        loop {
            let new = match age(block, state) {
                Age::Same if state & bit != 0 => return Err(Replayed),
                Age::Same => state | bit,
                Age::Newer => u64::from(block) << 32 | bit,
                Age::Older => return Err(Replayed),
            };
            match word.compare_exchange_weak(state, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(other) => state = other,
            }
        }
        self.top.fetch_max(sequence, Ordering::AcqRel);
        if self.first.load(Ordering::Relaxed) == 0 {
            self.first.store(sequence, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The packet's block (its lower 32 bits tell it from all that can be near), its bit, and the word.
    #[inline(always)]
    fn place(&self, sequence: u64) -> (u32, u64, &AtomicU64) {
        let block = sequence / BITS;
        let word = &self.words[block as usize & (self.words.len() - 1)];
        (block as u32, 1 << (sequence % BITS), word)
    }
}

enum Age {
    Same,
    /// The packet's block is newer than the word's.
    Newer,
    Older,
}

/// How a block stands to the one that a word is of. Blocks that meet in a word are less than 2^31 apart: a sequence number is taken
/// for one within 2^32 of the highest.
#[inline(always)]
fn age(block: u32, state: u64) -> Age {
    match block.wrapping_sub((state >> 32) as u32) as i32 {
        0 => Age::Same,
        1.. => Age::Newer,
        _ => Age::Older,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// The window as RFC 4303 says it, without any cleverness.
    struct Plain {
        seen: HashSet<u64>,
        top: u64,
        size: u64,
        /// Up to here all were seen before.
        floor: u64,
    }

    impl Plain {
        fn take(&mut self, sequence: u64) -> bool {
            if sequence <= self.floor || sequence + self.size <= self.top || !self.seen.insert(sequence) {
                return false;
            }
            self.top = self.top.max(sequence);
            true
        }
    }

    proptest! {
        #[test]
        fn does_what_the_plain_window_does(
            size in prop::sample::select(vec![64_u32, 65, 100, 128, 1024, 4096, 5000]),
            start in prop::sample::select(vec![1_u64, 4_000_000_000, (1 << 32) - 40, 77 << 32, (1 << 37) - 100]),
            steps in prop::collection::vec((0_u8..10, any::<u32>()), 1..400),
        ) {
            let window = ReplayWindow::new(size, start - 1);
            let (top, size) = (start - 1, u64::from(size));
            let mut plain = Plain { size, top, floor: top, seen: HashSet::new() };
            for (kind, amount) in steps {
                let sequence = match kind {
                    // On by a little, by up to two windows, far on; back within the window, beyond it; the same again.
                    0..4 => plain.top + u64::from(amount % 3),
                    4 => plain.top + u64::from(amount) % (2 * size),
                    5 => plain.top + u64::from(amount % 1_000_000),
                    6..8 => plain.top.saturating_sub(u64::from(amount) % size),
                    8 => plain.top.saturating_sub(u64::from(amount) % (4 * size)),
                    _ => plain.top,
                };
                let checked = window.check(sequence).is_ok();
                let taken = window.take(sequence).is_ok();
                prop_assert_eq!(checked, taken);
                prop_assert_eq!(taken, plain.take(sequence), "{}", sequence);
                prop_assert_eq!(window.top(), plain.top);
            }
        }

        #[test]
        fn the_upper_half_is_found_within_the_window(
            top in 1_u64..1 << 40, back in 0_u64..4096, on in 1_u64..1 << 31,
        ) {
            let window = ReplayWindow::new(4096, top - 1);
            window.take(top).unwrap();
            let late = top.saturating_sub(back).max(1);
            prop_assert_eq!(window.extend(late as u32), late);
            prop_assert_eq!(window.extend((top + on) as u32), top + on);
        }
    }

    #[test]
    fn missing_packets_are_counted() {
        let window = ReplayWindow::new(64, 0);
        assert_eq!(window.missing(0), 0);
        for sequence in [5, 6, 9] {
            window.take(sequence).unwrap();
        }
        assert_eq!(window.missing(3), 2);
        window.take(7).unwrap();
        assert_eq!(window.missing(4), 1);
    }

    #[test]
    fn of_copies_on_many_threads_one_is_taken() {
        let window = ReplayWindow::new(256, 0);
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for sequence in 1..20_000 {
                        if window.take(sequence).is_ok() {
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        // A thread that is late may find its number too old; none is taken twice, and the last is taken.
        let taken = taken.load(Ordering::Relaxed);
        assert!(taken <= 19_999, "{taken}");
        assert_eq!(window.top(), 19_999);
    }
}
