//! A shortcut into IPv6 tries: from the first 32 bits of an address straight to what is below them.
//!
//! Nearly all IPv6 prefixes are longer than 32 bits, and the way through the strata above is the same for all prefixes of one
//! allocation. So the nodes at bit 32 are found by a hash of the bits above them too. The shortcut knows nodes only, never
//! leaves: what is painted above bit 32 changes leaves, in the trie alone. And it need not know all nodes: who does not find an
//! address here goes down the trie. So a full bucket leaves a node out, and growing in place needs no second table.

use super::block::{AtomicU32, AtomicU64, Ordering};
use super::entry::Entry;

/// Bits of an address that the shortcut skips.
pub(super) const STEM_BITS: u8 = 32;

const BUCKET_SLOTS: usize = 2;
#[cfg(not(loom))]
const MAX_BUCKETS: usize = 1 << 18;
#[cfg(loom)]
const MAX_BUCKETS: usize = 2;
const MIN_BUCKETS: usize = if MAX_BUCKETS < 64 { MAX_BUCKETS } else { 64 };

/// A quarter of a cache line. Each slot holds a stem, in the upper half, and the node below it, or 0.
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[repr(C, align(16))]
struct Bucket([AtomicU64; BUCKET_SLOTS]);

/// The table, which one thread writes and all read. A slot changes as a whole.
pub(super) struct Stems {
    /// None in a table without shortcut, else [`MAX_BUCKETS`]; memory is taken as they are used.
    buckets: Vec<Bucket>,
    /// 64 less the logarithm of the number of buckets in use.
    shift: AtomicU32,
    /// Slots in use; the writer's.
    used: AtomicU32,
}

impl Stems {
    /// A table that is empty, or one that stays so.
    ///
    /// # Errors
    /// The process has no address space for it.
    pub(super) fn new(is_used: bool) -> std::io::Result<Self> {
        Ok(Self {
            buckets: if is_used { zeroed(MAX_BUCKETS)? } else { Vec::new() },
            shift: AtomicU32::new(shift_of(MIN_BUCKETS)),
            used: AtomicU32::new(0),
        })
    }

    /// The node below a stem; [`Entry::EMPTY`] if it is not known here.
    #[inline(always)]
    pub(super) fn find(&self, stem: u32) -> Entry {
        let Some(Bucket(slots)) = self.buckets.get(self.bucket_of(stem)) else { return Entry::EMPTY };
        let key = u64::from(stem) << 32;
        let mut found = 0;
        for slot in slots {
            let other = slot.load(Ordering::Acquire) ^ key;
            // What is left of the slot of this stem is its node.
            found = core::hint::select_unpredictable(other >> 32 == 0, other as u32, found);
        }
        Entry(found)
    }

    /// Has the cache line fetched that [`Self::find`] reads.
    #[inline(always)]
    pub(super) fn prefetch(&self, stem: u32) {
        if let Some(bucket) = self.buckets.get(self.bucket_of(stem)) {
            raddle_plugin_api::prefetch_read(bucket);
        }
    }

    /// Sets the node below a stem, or forgets it if `node` is none. The one writer.
    pub(super) fn set(&self, stem: u32, node: Entry) {
        if self.buckets.is_empty() {
            return;
        }
        let key = u64::from(stem) << 32;
        let word = if node.is_node() { key | u64::from(node.0) } else { 0 };
        let slots = &self.buckets[self.bucket_of(stem)].0;
        let known = slots.iter().find(|slot| {
            let word = slot.load(Ordering::Relaxed);
            word != 0 && (word ^ key) >> 32 == 0
        });
        let used = self.used.load(Ordering::Relaxed);
        match known {
            Some(slot) => {
                slot.store(word, Ordering::Release);
                self.used.store(used - u32::from(word == 0), Ordering::Relaxed);
            }
            None if word == 0 => {}
            None => self.insert(stem, word),
        }
    }

    /// Puts in a stem that is not there, or leaves it out.
    fn insert(&self, stem: u32, word: u64) {
        loop {
            let used = self.used.load(Ordering::Relaxed);
            let buckets = 1 << (u64::BITS - self.shift.load(Ordering::Relaxed));
            let bucket = &self.buckets[self.bucket_of(stem)].0;
            let free = bucket.iter().find(|slot| slot.load(Ordering::Relaxed) == 0);
            // At most a quarter of the slots is taken, less where a bucket is full: so that few stems are left out.
            let slots = buckets * BUCKET_SLOTS;
            let most = if free.is_some() { slots / 4 } else { slots * 3 / 16 };
            if used as usize >= most && buckets < MAX_BUCKETS {
                self.grow(buckets);
                continue;
            }
            if let Some(slot) = free {
                slot.store(word, Ordering::Release);
                self.used.store(used + 1, Ordering::Relaxed);
            }
            return;
        }
    }

    /// Twice as many buckets. A reader that comes in between misses what has moved, and goes down the trie.
    fn grow(&self, buckets: usize) {
        let shift = shift_of(2 * buckets);
        // What is in a bucket belongs to the two of twice its number, which are empty when the last are moved first.
        for position in (0..buckets).rev() {
            for slot in 0..BUCKET_SLOTS {
                let from = &self.buckets[position].0[slot];
                let word = from.load(Ordering::Relaxed);
                let place = place((word >> 32) as u32, shift);
                if word != 0 && place != position {
                    self.buckets[place].0[slot].store(word, Ordering::Release);
                    from.store(0, Ordering::Release);
                }
            }
        }
        self.shift.store(shift, Ordering::Release);
    }

    #[inline(always)]
    fn bucket_of(&self, stem: u32) -> usize {
        place(stem, self.shift.load(Ordering::Acquire))
    }
}

fn shift_of(buckets: usize) -> u32 {
    u64::BITS - buckets.ilog2()
}

/// A stem's bucket: the upper bits of a product (Fibonacci hashing), which spread neighbouring stems evenly.
#[inline(always)]
fn place(stem: u32, shift: u32) -> usize {
    (u64::from(stem).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (shift & 63)) as usize
}

/// Buckets of zero, in memory that is taken only as they are written.
#[cfg(not(loom))]
fn zeroed(count: usize) -> std::io::Result<Vec<Bucket>> {
    use zerocopy::FromZeros as _;
    Bucket::new_vec_zeroed(count).map_err(|_| std::io::ErrorKind::OutOfMemory.into())
}

#[cfg(loom)]
fn zeroed(count: usize) -> std::io::Result<Vec<Bucket>> {
    Ok((0..count).map(|_| Bucket([AtomicU64::new(0), AtomicU64::new(0)])).collect())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::HashMap;

    use super::super::entry::kind;
    use super::*;
    use proptest::prelude::*;

    fn node(unit: usize) -> Entry {
        Entry::node(kind::SPARSE, unit)
    }

    #[test]
    fn a_table_without_shortcut_finds_nothing() {
        let stems = Stems::new(false).unwrap();
        stems.set(1, node(1));
        assert_eq!(stems.find(1), Entry::EMPTY);
    }

    #[test]
    fn most_stems_are_found_after_growth() {
        let stems = Stems::new(true).unwrap();
        for stem in 0..50_000_u32 {
            stems.set(0x2a00_0000 | stem << 3, node(stem as usize));
        }
        let found = (0..50_000_u32)
            .filter(|stem| match stems.find(0x2a00_0000 | stem << 3) {
                Entry::EMPTY => false,
                found => {
                    assert_eq!(found, node(*stem as usize));
                    true
                }
            })
            .count();
        assert!(found > 47_500, "{found} of 50000");
    }

    #[test]
    fn readers_find_a_stems_own_node_or_nothing_while_the_table_grows() {
        const STEMS: u32 = 4000;
        // A node tells its stem, so that a reader can judge it.
        let node_of = |stem: u32, round: u32| node((stem << 8 | round) as usize);
        let stems = Stems::new(true).unwrap();
        let stop = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut found = 0_u64;
                    while stop.load(Ordering::Relaxed) == 0 || found == 0 {
                        for stem in 0..STEMS {
                            let entry = stems.find(stem);
                            if entry != Entry::EMPTY {
                                assert_eq!(entry.unit() as u32 >> 8, stem, "the node of another stem");
                                found += 1;
                            }
                        }
                    }
                });
            }
            for round in 0..40 {
                // More stems each time, so that the table grows between; some are forgotten on the way.
                for stem in 0..STEMS / 40 * (round + 1) {
                    let gone = (stem + round) % 7 == 0;
                    stems.set(stem, if gone { Entry::EMPTY } else { node_of(stem, round) });
                }
            }
            stop.store(1, Ordering::Relaxed);
        });
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_was_set_last(
            changes in prop::collection::vec((0_u32..600, prop::option::of(0_usize..1000)), 0..2000),
        ) {
            let stems = Stems::new(true).unwrap();
            let mut model = HashMap::new();
            for (stem, unit) in changes {
                let stem = stem.wrapping_mul(0x0101_0101);
                match unit {
                    Some(unit) => {
                        stems.set(stem, node(unit));
                        model.insert(stem, node(unit));
                    }
                    None => {
                        stems.set(stem, Entry::EMPTY);
                        model.remove(&stem);
                    }
                }
                let found = stems.find(stem);
                prop_assert!(found == Entry::EMPTY || Some(&found) == model.get(&stem));
            }
            for stem in (0..600_u32).map(|stem| stem.wrapping_mul(0x0101_0101)) {
                let found = stems.find(stem);
                prop_assert!(found == Entry::EMPTY || Some(&found) == model.get(&stem));
            }
        }
    }
}
