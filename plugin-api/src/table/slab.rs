//! Entries by number, in memory that stays where it is.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::array::{Array, Plain};
use super::memory::{Kept, Leftovers, Memory, Own};
use crate::state::Arena;

/// Entries by number. A number is used again when its entry was removed; entries do not move, each begins a cache line
/// if it is as large as one, and memory is taken as they come, so that growing never stops a packet for long.
pub struct Slab<T, M: Memory = Own> {
    /// Before what it looks into, so that it is dropped first.
    _leftovers: M::Leftovers<T>,
    entries: Array<MaybeUninit<T>, M>,
    /// A bit for each entry that is there.
    used: Array<u64, M>,
    /// Numbers that are free again.
    free: Array<u32, M>,
    /// One of it.
    counts: Array<Counts, M>,
    most: u32,
}

#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Counts {
    /// Numbers from here on have never been used.
    untouched: u32,
    /// Numbers that are free again.
    free: u32,
}

impl<T> Slab<T> {
    /// A slab for `most` entries at a time.
    ///
    /// # Errors
    /// `None`: the process has no address space for them.
    pub fn try_with_capacity(most: u32) -> Option<Self> {
        let (length, words) = (most as usize, most.div_ceil(64) as usize);
        let (entries, used) = (Array::zeroed(length)?, Array::zeroed(words)?);
        let leftovers = Leftovers { entries: entries.base(), used: used.base(), words };
        let (free, counts) = (Array::zeroed(length)?, Array::zeroed(1)?);
        Some(Self { _leftovers: leftovers, entries, used, free, counts, most })
    }

    /// As [`Self::try_with_capacity`], where it is not to fail.
    ///
    /// # Panics
    /// The process has no address space for so many.
    #[track_caller]
    pub fn with_capacity(most: u32) -> Self {
        Self::try_with_capacity(most).unwrap_or_else(|| panic!("no memory for {most} entries"))
    }
}

impl<'m, T: Plain> Slab<T, Kept<'m>> {
    /// A slab for `most` entries at a time in the host's memory, with what another version left there.
    pub fn kept(arena: &mut Arena<'m>, most: u32) -> Self {
        // SAFETY: any bytes are a `T`, which has no other parts.
        unsafe { Self::kept_of(arena, most, &[[size_of::<T>(), align_of::<T>()]]) }
    }
}

impl<'m, T> Slab<T, Kept<'m>> {
    /// # Safety
    /// See [`Arena::array_of`].
    pub(super) unsafe fn kept_of(arena: &mut Arena<'m>, most: u32, parts: &[[usize; 2]]) -> Self {
        Self {
            _leftovers: PhantomData,
            // SAFETY: as the caller vouches; what stands beside the entries' bytes is nobody's.
            entries: unsafe { arena.array_of(most as usize, parts) },
            used: arena.array(most.div_ceil(64) as usize),
            free: arena.array(most as usize),
            counts: arena.array(1),
            most,
        }
    }
}

impl<T, M: Memory> Slab<T, M> {
    fn counts(&self) -> Counts {
        self.counts.first().copied().unwrap_or_default()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        let counts = self.counts();
        counts.untouched.saturating_sub(counts.free) as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries that it has room for.
    pub fn capacity(&self) -> usize {
        self.most as usize
    }

    #[inline(always)]
    fn is_used(&self, number: u32) -> bool {
        self.used.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 != 0)
    }

    /// Adds an entry; returns its number, or the entry where there are `most` already.
    pub fn insert(&mut self, entry: T) -> Result<u32, T> {
        let Some(counts) = self.counts.first_mut() else { return Err(entry) };
        let number = match counts.free.checked_sub(1) {
            Some(last) => {
                counts.free = last;
                self.free[last as usize]
            }
            None if counts.untouched < self.most => {
                counts.untouched += 1;
                counts.untouched - 1
            }
            None => return Err(entry),
        };
        self.entries[number as usize].write(entry);
        self.used[number as usize / 64] |= 1 << (number % 64);
        Ok(number)
    }

    /// The entry with this number.
    #[inline(always)]
    pub fn get(&self, number: u32) -> Option<&T> {
        let entry = self.entries.get(number as usize).filter(|_| self.is_used(number))?;
        // SAFETY: an entry whose bit is set was written and not taken since; where the memory is kept, by whichever
        // version, and any bytes are valid.
        Some(unsafe { entry.assume_init_ref() })
    }

    /// The entry with this number.
    #[inline(always)]
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let is_used = self.is_used(number);
        let entry = self.entries.get_mut(number as usize).filter(|_| is_used)?;
        // SAFETY: as in `get`.
        Some(unsafe { entry.assume_init_mut() })
    }

    /// Has the line fetched in which an entry starts.
    #[inline(always)]
    pub fn prefetch(&self, number: u32) {
        if let Some(entry) = self.entries.get(number as usize) {
            crate::prefetch_read(entry);
        }
    }

    /// All entries have numbers below this one.
    pub fn numbers(&self) -> u32 {
        self.counts().untouched.min(self.most)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, number: u32) -> Option<T> {
        if !self.is_used(number) {
            return None;
        }
        let entry = self.entries.get(number as usize)?;
        // SAFETY: as in `get`; the bit is cleared below, before anybody looks again.
        let entry = unsafe { entry.assume_init_read() };
        self.used[number as usize / 64] &= !(1 << (number % 64));
        let counts = &mut self.counts[0];
        self.free[counts.free as usize] = number;
        counts.free += 1;
        Some(entry)
    }

    /// All entries with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..self.numbers()).filter_map(|number| Some((number, self.get(number)?)))
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn numbers_are_used_again_and_no_more_than_allowed() {
        let mut slab = Slab::with_capacity(2);
        assert_eq!((slab.insert('a'), slab.insert('b'), slab.insert('c')), (Ok(0), Ok(1), Err('c')));
        assert_eq!(
            (slab.remove(0), slab.remove(0), slab.remove(9), slab.remove(5000)),
            (Some('a'), None, None, None)
        );
        assert_eq!((slab.insert('d'), slab.len()), (Ok(0), 2));
        assert_eq!(slab.iter().collect::<Vec<_>>(), [(0, &'d'), (1, &'b')]);
        *slab.get_mut(1).unwrap() = 'e';
        assert_eq!((slab.get(1), slab.get(2), slab.get(u32::MAX)), (Some(&'e'), None, None));
    }

    #[test]
    fn entries_stay_where_they_are_while_others_come() {
        let mut slab = Slab::with_capacity(20_000);
        slab.insert(0).unwrap();
        let first: *const u32 = slab.get(0).unwrap();
        (1..20_000).for_each(|entry| assert_eq!(slab.insert(entry), Ok(entry)));
        assert!(std::ptr::eq(first, slab.get(0).unwrap()));
        assert!((0..20_000).all(|number| slab.get(number) == Some(&number)));
    }

    #[test]
    fn entry_of_a_line_is_in_one_line() {
        let mut slab = Slab::with_capacity(100);
        (0..100_u64).for_each(|entry| assert!(slab.insert([entry; 8]).is_ok()));
        assert!(slab.iter().all(|(_, entry)| entry.as_ptr().addr().is_multiple_of(64)));
    }

    #[test]
    fn every_entry_is_dropped_once() {
        let value = Rc::new(());
        let mut slab = Slab::with_capacity(200);
        for _ in 0..150 {
            slab.insert(Rc::clone(&value)).unwrap();
        }
        assert_eq!((0..150).step_by(2).filter_map(|number| slab.remove(number)).count(), 75);
        assert_eq!(Rc::strong_count(&value), 76);
        drop(slab);
        assert_eq!(Rc::strong_count(&value), 1);
    }
}
