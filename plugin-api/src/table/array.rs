//! Entries of a fixed number, of which memory is taken as they are used.

use std::alloc::{Layout, alloc_zeroed};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::memory::{Allocation, Memory, Own};

/// What two versions of a plugin can have in common: any bytes are a value of it, and it has no others than those of its
/// fields. Derive zerocopy's three traits for it; an enum is kept as the number that it is made from.
pub trait Plain: FromBytes + IntoBytes + Immutable + Send + 'static {}

impl<T: FromBytes + IntoBytes + Immutable + Send + 'static> Plain for T {}

/// Arrays begin at a multiple of this, so that an entry of a cache line's size is in one.
const LINE: usize = 64;

/// An allocator zeroes by writing where a larger alignment is asked for, so that all of the memory would be taken.
const SMALL_ALIGN: usize = 8;

/// A slice of a fixed length. Its entries begin as zeros, and memory is taken when they are first written.
pub struct Array<T, M: Memory = Own> {
    base: NonNull<T>,
    length: usize,
    /// Frees the memory, where it is own.
    _allocation: M::Allocation,
    content: PhantomData<(T, M)>,
}

// SAFETY: an array has its entries for itself, as a `Box<[T]>` has; kept ones are of one loan, which is one thread's.
unsafe impl<T: Send, M: Memory> Send for Array<T, M> {}
// SAFETY: as above.
unsafe impl<T: Sync, M: Memory> Sync for Array<T, M> {}

impl<T: FromZeros> Array<T> {
    /// An array of zeros; `None` if the process has no address space for it.
    pub fn zeroed(length: usize) -> Option<Self> {
        let align = align_of::<T>().max(LINE);
        let bytes = size_of::<T>().checked_mul(length)?;
        if bytes == 0 {
            let base = NonNull::dangling();
            return Some(Self { base, length, _allocation: None, content: PhantomData });
        }
        let layout = Layout::from_size_align(bytes.checked_add(align)?, SMALL_ALIGN).ok()?;
        // SAFETY: the layout has a size.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        // SAFETY: `align` bytes more were allocated than the entries need.
        let base = unsafe { start.add(start.align_offset(align)) }.cast();
        let allocation = Allocation { start: start.as_ptr(), layout };
        Some(Self { base, length, _allocation: Some(allocation), content: PhantomData })
    }
}

impl<T, M: Memory> Array<T, M> {
    /// # Safety
    /// `length` entries stand at `base`, each a valid `T`, for as long as the array is used; nobody else uses them meanwhile.
    pub(crate) unsafe fn from_raw(base: NonNull<T>, length: usize, allocation: M::Allocation) -> Self {
        Self { base, length, _allocation: allocation, content: PhantomData }
    }

    pub(super) fn base(&self) -> *mut T {
        self.base.as_ptr()
    }
}

impl<T, M: Memory> Deref for Array<T, M> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: as vouched for when it was made: `zeroed`, or `from_raw`'s caller.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.length) }
    }
}

impl<T, M: Memory> DerefMut for Array<T, M> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and the array is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.length) }
    }
}

impl<T: fmt::Debug, M: Memory> fmt::Debug for Array<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_begins_as_zeros_on_a_cache_line() {
        for length in [0, 1, 1000, 1 << 24] {
            let mut array: Array<u32> = Array::zeroed(length).unwrap();
            assert_eq!((array.len(), array.as_ptr().addr() % LINE * usize::from(length > 0)), (length, 0));
            if let [first, .., last] = &mut array[..] {
                assert_eq!((*first, *last), (0, 0));
                (*first, *last) = (1, 2);
                assert_eq!((array[0], array[length - 1]), (1, 2));
            }
        }
    }

    #[test]
    fn more_than_there_can_be_is_refused() {
        assert!(Array::<u64>::zeroed(usize::MAX).is_none());
        assert!(Array::<u64>::zeroed(1 << 60).is_none());
    }
}
