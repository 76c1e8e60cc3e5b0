//! Whose memory a table stands in.

use std::alloc::{Layout, dealloc};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::DerefMut;

use super::array::Array;

/// Whose memory a table stands in: [`Own`] or [`Kept`]. Nothing else is.
pub trait Memory: sealed::Memory {}

/// The plugin's own memory, which goes with the plugin.
#[derive(Debug)]
pub struct Own(());

/// Memory that the host owns and the plugin borrows, for as long as `'m`: see [`crate::state::KeptPerThread`].
///
/// The lifetime is that of one loan, and of no other: a table of one loan cannot be put aside, nor into the place of
/// another's.
#[derive(Debug)]
pub struct Kept<'m>(PhantomData<fn(&'m ()) -> &'m ()>);

impl Memory for Own {}
impl Memory for Kept<'_> {}

pub(crate) mod sealed {
    use super::*;

    /// What tables need of each kind of memory.
    pub trait Memory {
        /// Frees an array's memory when it is dropped, if somebody is to.
        type Allocation;
        /// Entries that become more.
        type List<T>: List<T>;
        /// Drops a slab's entries when it is dropped, if somebody is to.
        type Leftovers<T>;
    }

    impl Memory for Own {
        type Allocation = Option<Allocation>;
        type List<T> = Vec<T>;
        type Leftovers<T> = Leftovers<T>;
    }

    impl<'m> Memory for Kept<'m> {
        type Allocation = ();
        type List<T> = KeptList<'m, T>;
        type Leftovers<T> = PhantomData<T>;
    }

    /// Entries that become more.
    pub trait List<T>: DerefMut<Target = [T]> {
        /// Adds one; `false` if there is no room.
        fn add(&mut self, entry: T) -> bool;
    }
}

impl<T> sealed::List<T> for Vec<T> {
    fn add(&mut self, entry: T) -> bool {
        self.push(entry);
        true
    }
}

/// A list with a fixed room.
pub struct KeptList<'m, T> {
    room: Array<T, Kept<'m>>,
    /// One number: the entries in use.
    used: Array<u64, Kept<'m>>,
}

impl<'m, T> KeptList<'m, T> {
    pub(crate) fn new(room: Array<T, Kept<'m>>, used: Array<u64, Kept<'m>>) -> Self {
        Self { room, used }
    }

    fn used(&self) -> usize {
        self.used.first().map_or(0, |&used| used as usize).min(self.room.len())
    }
}

impl<T> std::ops::Deref for KeptList<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.room[..self.used()]
    }
}

impl<T> DerefMut for KeptList<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let used = self.used();
        &mut self.room[..used]
    }
}

impl<T> sealed::List<T> for KeptList<'_, T> {
    fn add(&mut self, entry: T) -> bool {
        let used = self.used();
        let Some(slot) = self.room.get_mut(used) else { return false };
        *slot = entry;
        self.used[0] = used as u64 + 1;
        true
    }
}

/// Memory from the allocator, given back on drop.
pub struct Allocation {
    pub(super) start: *mut u8,
    pub(super) layout: Layout,
}

// SAFETY: it is memory that nobody else frees, from an allocator that all threads share.
unsafe impl Send for Allocation {}
// SAFETY: shared, it does nothing.
unsafe impl Sync for Allocation {}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: `Array::zeroed` allocated it with this layout, and its array goes with it.
        unsafe { dealloc(self.start, self.layout) };
    }
}

/// Drops the entries of a slab that is dropped.
pub struct Leftovers<T> {
    /// Places of entries, and a bit for each that is in use: both of arrays of the same slab, which are dropped after this.
    pub(super) entries: *mut MaybeUninit<T>,
    pub(super) used: *const u64,
    pub(super) words: usize,
}

// SAFETY: the pointers are to arrays that go where this goes.
unsafe impl<T: Send> Send for Leftovers<T> {}
// SAFETY: shared, it does nothing.
unsafe impl<T: Sync> Sync for Leftovers<T> {}

impl<T> Drop for Leftovers<T> {
    fn drop(&mut self) {
        if !std::mem::needs_drop::<T>() {
            return;
        }
        for word in 0..self.words {
            // SAFETY: `words` words of the slab's bits, which are still there; nobody else has the slab.
            let mut used = unsafe { self.used.add(word).read() };
            while used != 0 {
                let number = word * 64 + used.trailing_zeros() as usize;
                used &= used - 1;
                // SAFETY: a slab sets the bit of an initialised entry only, below its length.
                unsafe { (*self.entries.add(number)).assume_init_drop() };
            }
        }
    }
}
