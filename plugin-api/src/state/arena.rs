//! Where the tables of one thread find their places in the host's memory.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::table::{Array, Kept, Plain};

/// Arrays begin at a multiple of this.
const LINE: usize = 64;
/// Of FNV-1a (64 bit).
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x100_0000_01b3;
/// Raised when what the SDK's own tables keep of themselves changes its meaning.
const FORMAT: u64 = 1;

/// Hands out one thread's part of the host's memory, piece by piece: what asks for the same pieces in the same order finds them
/// again. Made by [`crate::state::KeptPerThread`] only.
pub struct Arena<'m> {
    /// `None`: it is only to be known what is asked for.
    part: Option<Part>,
    /// Bytes up to the end of the last piece; `None`: more than there can be.
    used: Option<usize>,
    /// What all pieces are multiples of.
    align: usize,
    fingerprint: u64,
    is_adopted: bool,
    loan: PhantomData<Kept<'m>>,
}

#[derive(Clone, Copy)]
struct Part {
    base: NonNull<u8>,
    bytes: usize,
}

/// What memory pieces need all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) bytes: usize,
    pub(super) align: usize,
    /// Of the sizes and alignments of all that stands there.
    pub(super) fingerprint: u64,
}

impl<'m> Arena<'m> {
    /// One that hands out nothing, to learn what is asked for. The pieces begin behind `header` bytes.
    pub(super) fn measure(header: usize) -> Self {
        let mut arena = Self {
            part: None,
            used: Some(header),
            align: LINE,
            fingerprint: FNV_OFFSET,
            is_adopted: false,
            loan: PhantomData,
        };
        arena.mix(FORMAT);
        arena
    }

    /// # Safety
    /// `layout.bytes` bytes at `base`, which is a multiple of `layout.align`, are for the arrays of this arena alone for as
    /// long as one of them is used; each byte was written at least once, by zeros if by nothing else.
    pub(super) unsafe fn of_part(base: NonNull<u8>, header: usize, layout: Layout, is_adopted: bool) -> Self {
        let part = Part { base, bytes: layout.bytes };
        Self { part: Some(part), is_adopted, ..Self::measure(header) }
    }

    /// What was asked for; `None`: more than there can be.
    pub(super) fn layout(&self) -> Option<Layout> {
        let (align, fingerprint) = (self.align, self.fingerprint);
        self.used.map(|bytes| Layout { bytes, align, fingerprint })
    }

    /// Whether another version of the plugin has left something here. What follows from it, and is kept elsewhere, is to be
    /// made anew then.
    pub fn is_adopted(&self) -> bool {
        self.is_adopted
    }

    /// An array of `length` entries: zeros, or what another version left there.
    ///
    /// # Panics
    /// More is asked for than the first time.
    pub fn array<T: Plain>(&mut self, length: usize) -> Array<T, Kept<'m>> {
        // SAFETY: any bytes are a `T`, which has no other parts.
        unsafe { self.array_of(length, &[[size_of::<T>(), align_of::<T>()]]) }
    }

    /// As [`Self::array`], of entries that have further parts.
    ///
    /// # Safety
    /// Any bytes are valid for a `T`; where sizes and alignments are equal as `parts` has them, bytes between its fields are
    /// at the same places.
    pub(crate) unsafe fn array_of<T>(&mut self, length: usize, parts: &[[usize; 2]]) -> Array<T, Kept<'m>> {
        let (size, align) = (size_of::<T>(), align_of::<T>().max(LINE));
        for &number in parts.as_flattened().iter().chain(&[size, align_of::<T>(), length]) {
            self.mix(number as u64);
        }
        self.align = self.align.max(align);
        let start = self.used.and_then(|used| used.checked_next_multiple_of(align));
        let end = start.and_then(|start| size.checked_mul(length)?.checked_add(start));
        self.used = end;
        let Some(part) = self.part else {
            // SAFETY: no entry is at the place.
            return unsafe { Array::from_raw(NonNull::dangling(), 0, ()) };
        };
        let (Some(start), Some(_)) = (start, end.filter(|&end| end <= part.bytes)) else {
            panic!("the places of kept tables are asked for as they were at first, in number and size");
        };
        // SAFETY: `start..end` lies in the part, behind all that was handed out before, aligned as the part and `start`
        // are; the caller vouches for the entries.
        unsafe { Array::from_raw(part.base.add(start).cast(), length, ()) }
    }

    fn mix(&mut self, number: u64) {
        for byte in number.to_le_bytes() {
            self.fingerprint = (self.fingerprint ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(ask: impl FnOnce(&mut Arena<'_>)) -> Layout {
        let mut arena = Arena::measure(16);
        ask(&mut arena);
        arena.layout().unwrap()
    }

    fn ask<A: Plain, B: Plain>(arena: &mut Arena<'_>, [first, second]: [usize; 2]) {
        arena.array::<A>(first);
        arena.array::<B>(second);
    }

    #[test]
    fn pieces_stand_on_lines_one_behind_the_other() {
        let layout = measured(|arena| {
            assert!(arena.array::<u32>(3).is_empty(), "nothing is handed out yet");
            arena.array::<[u64; 2]>(5);
        });
        assert_eq!((layout.bytes, layout.align), (128 + 80, 64));
        let mut memory: Array<u64> = Array::zeroed(26).unwrap();
        let base = NonNull::from(&mut memory[..]).cast();
        // SAFETY: 208 bytes of zeros on a line, which nothing else uses from here on.
        let mut arena = unsafe { Arena::of_part(base, 16, layout, false) };
        let mut first = arena.array::<u32>(3);
        let mut second = arena.array::<[u64; 2]>(5);
        first.fill(1);
        second.fill([2, 3]);
        assert_eq!((&first[..], second[4]), (&[1; 3][..], [2, 3]));
        assert_eq!(second.as_ptr().addr() - first.as_ptr().addr(), 64);
    }

    #[test]
    fn other_sizes_lengths_or_orders_are_another_layout() {
        let layout = measured(|arena| ask::<u32, u64>(arena, [4, 2]));
        for other in [
            measured(|arena| ask::<u32, u64>(arena, [4, 3])),
            measured(|arena| ask::<u64, u32>(arena, [2, 4])),
            measured(|arena| ask::<u32, [u32; 4]>(arena, [4, 1])),
            measured(|arena| {
                arena.array::<u32>(4);
            }),
        ] {
            assert_ne!(layout.fingerprint, other.fingerprint);
        }
        assert_eq!(layout, measured(|arena| ask::<i32, u64>(arena, [4, 2])));
    }

    #[test]
    fn more_than_there_can_be_is_noticed() {
        let mut arena = Arena::measure(0);
        arena.array::<u64>(usize::MAX);
        arena.array::<u64>(1);
        assert_eq!(arena.layout(), None);
    }

    #[test]
    #[should_panic(expected = "as they were at first")]
    fn more_than_the_first_time_is_a_mistake() {
        let mut memory: Array<u64> = Array::zeroed(16).unwrap();
        let layout = measured(|arena| {
            arena.array::<u64>(8);
        });
        // SAFETY: 128 bytes of zeros on a line.
        let mut arena = unsafe { Arena::of_part(NonNull::from(&mut memory[..]).cast(), 16, layout, false) };
        arena.array::<u64>(9);
    }
}
