//! From a key's hash to the number of an entry that somebody else keeps.
//!
//! A bucket is one cache line: ten slots of a 15-bit tag and a number. An entry stands in the bucket that its hash says
//! or, where that is full, in a second one, which follows from the first and the tag, so that entries can be moved
//! without their keys. A bucket counts the entries that it sent away; while there are none, and up to three quarters of
//! the capacity there are few, a lookup that fails touches one line, as one that succeeds does.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::array::Array;
use super::memory::{Kept, Memory, Own};
use crate::prefetch_read;
use crate::state::Arena;

const SLOTS: usize = 10;
/// In a tag: the entry stands in its second bucket.
const MOVED: u16 = 1 << 15;

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C, align(64))]
struct Bucket {
    /// 0: the slot is empty.
    tags: [u16; SLOTS],
    /// Entries whose first bucket this is, and that stand in their second one.
    away: u16,
    reserved: u16,
    numbers: [u32; SLOTS],
}

/// No room for one more entry where its hash lets it stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the index is full")]
pub struct IndexFull;

/// A hash index for a fixed number of entries. Keys are the caller's: it says which of the numbers that a hash leads to is
/// meant.
pub struct HashIndex<M: Memory = Own> {
    buckets: Array<Bucket, M>,
    /// One number: the entries.
    length: Array<u64, M>,
}

/// Where an entry stands.
#[derive(Clone, Copy)]
struct Place {
    bucket: usize,
    slot: usize,
}

/// Buckets for so many entries, a power of two.
fn buckets(capacity: usize) -> usize {
    // At 85 % an entry still finds room by moving one other, as good as always.
    let buckets = capacity.div_ceil(SLOTS).saturating_mul(100).div_ceil(85).max(2);
    // What has no next power of two has no memory either.
    buckets.checked_next_power_of_two().unwrap_or(usize::MAX)
}

impl HashIndex {
    /// An index with room for `capacity` entries. Memory is taken as they come.
    ///
    /// # Errors
    /// The process has no address space for it.
    pub fn with_capacity(capacity: usize) -> Result<Self, IndexFull> {
        let buckets = Array::zeroed(buckets(capacity)).ok_or(IndexFull)?;
        Ok(Self { buckets, length: Array::zeroed(1).ok_or(IndexFull)? })
    }
}

impl<'m> HashIndex<Kept<'m>> {
    /// An index with room for `capacity` entries in the host's memory, with what another version left there.
    pub fn kept(arena: &mut Arena<'m>, capacity: usize) -> Self {
        Self { buckets: arena.array(buckets(capacity)), length: arena.array(1) }
    }
}

impl<M: Memory> HashIndex<M> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.length.first().map_or(0, |&length| length as usize)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the index when all of it has been used.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    /// Has the line fetched that a lookup of this hash reads first.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        prefetch_read(&self.buckets[self.first(hash)]);
    }

    /// The number that a lookup of this hash will most probably come to, so that its entry can be fetched; for a whole
    /// frame's hashes after their [`Self::prefetch`].
    #[inline(always)]
    pub fn likely(&self, hash: u64) -> Option<u32> {
        let bucket = &self.buckets[self.first(hash)];
        let matches = matches(bucket, tag(hash));
        (matches != 0).then(|| bucket.numbers[matches.trailing_zeros() as usize])
    }

    /// The number of the entry with this hash that `is_it` knows by its key.
    #[inline(always)]
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.place(hash, &mut is_it).map(|place| self.buckets[place.bucket].numbers[place.slot])
    }

    /// Adds an entry that is not there.
    ///
    /// # Errors
    /// There is no room where its hash lets it stand.
    pub fn insert(&mut self, hash: u64, number: u32) -> Result<(), IndexFull> {
        let (first, tag) = (self.first(hash), tag(hash));
        let second = self.other(first, tag);
        if !self.put(first, tag, number) {
            if !self.put(second, tag | MOVED, number) {
                self.make_room(first, second)?;
                let put = self.put(first, tag, number) || self.put_away(first, second, tag, number);
                debug_assert!(put, "one of the two has room now");
            } else {
                self.buckets[first].away = self.buckets[first].away.saturating_add(1);
            }
        }
        self.length[0] += 1;
        Ok(())
    }

    /// Removes the entry with this hash that `is_it` knows; returns its number.
    pub fn remove(&mut self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let Place { bucket, slot } = self.place(hash, &mut is_it)?;
        let was_moved = std::mem::take(&mut self.buckets[bucket].tags[slot]) & MOVED != 0;
        if was_moved {
            let first = self.first(hash);
            self.buckets[first].away = self.buckets[first].away.saturating_sub(1);
        }
        self.length[0] = self.length[0].saturating_sub(1);
        Some(self.buckets[bucket].numbers[slot])
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.buckets.zero();
        self.length[0] = 0;
    }

    #[inline(always)]
    fn first(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    /// The other bucket in which an entry of this tag may stand that may stand in `bucket`.
    #[inline(always)]
    fn other(&self, bucket: usize, tag: u16) -> usize {
        // Odd, so that the two differ.
        let distance = (usize::from(tag & !MOVED)).wrapping_mul(0x5bd1_e995) | 1;
        (bucket ^ distance) & (self.buckets.len() - 1)
    }

    #[inline(always)]
    fn place(&self, hash: u64, is_it: &mut impl FnMut(u32) -> bool) -> Option<Place> {
        let (first, tag) = (self.first(hash), tag(hash));
        if let Some(slot) = find_in(&self.buckets[first], tag, is_it) {
            return Some(Place { bucket: first, slot });
        }
        if self.buckets[first].away == 0 {
            return None;
        }
        let second = self.other(first, tag);
        find_in(&self.buckets[second], tag | MOVED, is_it).map(|slot| Place { bucket: second, slot })
    }

    fn put(&mut self, bucket: usize, tag: u16, number: u32) -> bool {
        let bucket = &mut self.buckets[bucket];
        let Some(slot) = bucket.tags.iter().position(|&tag| tag == 0) else { return false };
        (bucket.tags[slot], bucket.numbers[slot]) = (tag, number);
        true
    }

    fn put_away(&mut self, first: usize, second: usize, tag: u16, number: u32) -> bool {
        let put = self.put(second, tag | MOVED, number);
        self.buckets[first].away += u16::from(put);
        put
    }

    /// Moves an entry of one of two full buckets to its other bucket.
    fn make_room(&mut self, first: usize, second: usize) -> Result<(), IndexFull> {
        for bucket in [first, second] {
            for slot in 0..SLOTS {
                let (tag, number) = (self.buckets[bucket].tags[slot], self.buckets[bucket].numbers[slot]);
                let other = self.other(bucket, tag);
                if other == bucket || !self.put(other, tag ^ MOVED, number) {
                    continue;
                }
                self.buckets[bucket].tags[slot] = 0;
                if tag & MOVED == 0 {
                    self.buckets[bucket].away += 1;
                } else {
                    self.buckets[other].away = self.buckets[other].away.saturating_sub(1);
                }
                return Ok(());
            }
        }
        Err(IndexFull)
    }
}

/// The part of a hash that is kept beside the number: not the bits that choose the bucket, and never 0.
#[inline(always)]
fn tag(hash: u64) -> u16 {
    ((hash >> 49) as u16).max(1)
}

/// The slots with this tag, a bit each.
#[inline(always)]
fn matches(bucket: &Bucket, tag: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{
            __m128i, _mm_cmpeq_epi16, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16,
        };
        const { assert!(size_of::<Bucket>() >= 2 * size_of::<__m128i>() && SLOTS <= 16) };
        let first = std::ptr::from_ref(bucket).cast::<__m128i>();
        // SAFETY: the bucket has at least 32 bytes, all of them initialised, and its tags are the first of them; every
        // x86-64 processor has SSE2.
        let equal = unsafe {
            let tag = _mm_set1_epi16(tag as i16);
            let low = _mm_cmpeq_epi16(_mm_loadu_si128(first), tag);
            let high = _mm_cmpeq_epi16(_mm_loadu_si128(first.add(1)), tag);
            _mm_movemask_epi8(_mm_packs_epi16(low, high))
        };
        // What stands behind the tags counts for nothing.
        equal as u32 & ((1 << SLOTS) - 1)
    }
    #[cfg(not(target_arch = "x86_64"))]
    // Without a branch, so that it becomes a comparison of vectors.
    (0..SLOTS).fold(0, |matches, slot| matches | u32::from(bucket.tags[slot] == tag) << slot)
}

#[inline(always)]
fn find_in(bucket: &Bucket, tag: u16, is_it: &mut impl FnMut(u32) -> bool) -> Option<usize> {
    let mut matches = matches(bucket, tag);
    while matches != 0 {
        let slot = matches.trailing_zeros() as usize;
        if is_it(bucket.numbers[slot]) {
            return Some(slot);
        }
        matches &= matches - 1;
    }
    None
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
