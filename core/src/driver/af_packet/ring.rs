//! A ring of slots in memory that is shared with the kernel. Each slot belongs to one of the two, as the status word at
//! its start says.

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

/// A ring is made of blocks of this size: contiguous memory that the kernel easily finds, in bytes.
const BLOCK_BYTES: u32 = 64 * 1024;
/// Slots begin at multiples of this, a cache line (the kernel asks for 16), in bytes.
const SLOT_ALIGNMENT: u32 = 64;

/// Sizes of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    slot_bytes: u32,
    slots_per_block: u32,
    blocks: u32,
}

impl Geometry {
    /// At least `slots` slots of at least `slot_bytes` bytes each. Slots do not reach over the end of a block, and their
    /// distance is no power of two, which would put all their headers into few sets of the cache.
    pub fn new(slot_bytes: u32, slots: u32) -> Self {
        let mut slot_bytes =
            slot_bytes.clamp(SLOT_ALIGNMENT * 3, BLOCK_BYTES / 2).next_multiple_of(SLOT_ALIGNMENT);
        if slot_bytes.is_power_of_two() && slot_bytes < BLOCK_BYTES / 2 {
            slot_bytes += SLOT_ALIGNMENT;
        }
        let slots_per_block = BLOCK_BYTES / slot_bytes;
        Self { slot_bytes, slots_per_block, blocks: slots.max(1).div_ceil(slots_per_block) }
    }

    /// Bytes of one slot.
    pub fn slot_bytes(&self) -> u32 {
        self.slot_bytes
    }

    /// Number of slots.
    pub fn slots(&self) -> u32 {
        self.slots_per_block * self.blocks
    }

    /// Bytes of the whole ring.
    pub fn bytes(&self) -> usize {
        BLOCK_BYTES as usize * self.blocks as usize
    }

    /// `tpacket_req`: size of a block, number of blocks, size of a slot, number of slots.
    pub fn request(&self) -> [u32; 4] {
        [BLOCK_BYTES, self.blocks, self.slot_bytes, self.slots()]
    }

    /// The slot behind `index`, around the ring.
    #[inline]
    pub fn after(&self, index: u32) -> u32 {
        if index + 1 >= self.slots() { 0 } else { index + 1 }
    }

    /// The slot in front of `index`, around the ring.
    #[inline]
    pub fn before(&self, index: u32) -> u32 {
        index.checked_sub(1).unwrap_or(self.slots() - 1)
    }

    /// Where slot `index` begins.
    #[inline]
    fn offset(&self, index: u32) -> usize {
        assert!(index < self.slots(), "a slot of the ring");
        (index / self.slots_per_block) as usize * BLOCK_BYTES as usize
            + (index % self.slots_per_block) as usize * self.slot_bytes as usize
    }
}

/// A ring, mapped.
///
/// Slots that the kernel owns must be left alone but for their status: read or write only those whose status says so.
pub struct Ring {
    memory: NonNull<u8>,
    geometry: Geometry,
}

// SAFETY: the mapping is owned by the ring and reached only through it; the memory is not bound to a thread.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the ring that `socket` was given by `PACKET_RX_RING` or `PACKET_TX_RING` with this geometry.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub fn map(socket: BorrowedFd<'_>, geometry: Geometry) -> Result<Self, Errno> {
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address that is free.
        let memory = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), geometry.bytes(), protection, flags, socket, 0)
        }?;
        let memory = NonNull::new(memory.cast()).ok_or(Errno::FAULT)?;
        Ok(Self { memory, geometry })
    }

    /// A ring that no kernel knows, all zero: for tests.
    #[cfg(test)]
    pub fn anonymous(geometry: Geometry) -> Self {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses an address that is free.
        let memory = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), geometry.bytes(), protection, MapFlags::PRIVATE)
        };
        Self { memory: NonNull::new(memory.unwrap().cast()).unwrap(), geometry }
    }

    /// The ring's sizes.
    #[inline]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    #[inline]
    fn status_word(&self, index: u32) -> &AtomicU32 {
        // SAFETY: `offset` is within the mapping, which has room for each slot and lives as long as `self`.
        let word = unsafe { self.memory.add(self.geometry.offset(index)) };
        // SAFETY: slots are aligned to 64 bytes in a mapping that is aligned to pages; both sides use the word
        // atomically, but for reads of the whole slot while it is ours, when nobody writes.
        unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) }
    }

    /// Status of slot `index`; what the kernel wrote into the slot before is visible after.
    #[inline]
    pub fn status(&self, index: u32) -> u32 {
        self.status_word(index).load(Ordering::Acquire)
    }

    /// Sets the status of slot `index`; what we wrote into the slot before is visible to the kernel after.
    #[inline]
    pub fn set_status(&mut self, index: u32, status: u32) {
        self.status_word(index).store(status, Ordering::Release);
    }

    /// The bytes of slot `index`, which the kernel has handed over.
    #[inline]
    pub fn slot(&self, index: u32) -> &[u8] {
        let length = self.geometry.slot_bytes as usize;
        // SAFETY: `offset` and the bytes of one slot from there are within the mapping.
        let start = unsafe { self.memory.add(self.geometry.offset(index)) };
        // SAFETY: the memory is mapped and initialised by the kernel, lives as long as `self`, and the kernel writes no
        // slot that it has handed over until its status changes, for which `self` must be borrowed mutably.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), length) }
    }

    /// The bytes of slot `index`, which the kernel has handed over, to be written. The status stands in the first four.
    #[inline]
    pub fn slot_mut(&mut self, index: u32) -> &mut [u8] {
        let length = self.geometry.slot_bytes as usize;
        // SAFETY: as in `slot`.
        let start = unsafe { self.memory.add(self.geometry.offset(index)) };
        // SAFETY: as in `slot`; `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping is this ring's, of this length, and nothing borrows it any more.
        let outcome = unsafe { rustix::mm::munmap(self.memory.as_ptr().cast(), self.geometry.bytes()) };
        debug_assert!(outcome.is_ok(), "a mapping of ours is unmapped");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slots_go_around() {
        let geometry = Geometry::new(2048, 64);
        let last = geometry.slots() - 1;
        assert_eq!((geometry.after(0), geometry.after(last)), (1, 0));
        assert_eq!((geometry.before(1), geometry.before(0)), (0, last));
    }

    #[test]
    fn distance_of_slots_is_no_power_of_two() {
        for bytes in [64, 1024, 2048, 4096, 8192, 16_384] {
            assert!(!Geometry::new(bytes, 64).slot_bytes().is_power_of_two(), "{bytes}");
        }
    }

    #[test]
    fn status_is_the_first_word_of_the_slot() {
        let mut ring = Ring::anonymous(Geometry::new(2048, 64));
        for index in [0, 30, 31, 63] {
            assert_eq!(ring.status(index), 0);
            ring.slot_mut(index)[..4].copy_from_slice(&(index + 1).to_ne_bytes());
            assert_eq!(ring.status(index), index + 1);
            ring.set_status(index, 0);
            assert_eq!(ring.slot(index)[..4], [0; 4]);
        }
    }

    #[test]
    #[should_panic(expected = "a slot of the ring")]
    fn there_is_no_slot_beyond_the_last() {
        let ring = Ring::anonymous(Geometry::new(2048, 64));
        ring.status(ring.geometry().slots());
    }

    proptest! {
        #[test]
        fn slots_lie_apart_and_within_the_ring(slot_bytes in 0..100_000_u32, slots in 0..3000_u32) {
            let geometry = Geometry::new(slot_bytes, slots);
            prop_assert!(geometry.slots() >= slots);
            let mut end = 0;
            for index in 0..geometry.slots() {
                let offset = geometry.offset(index);
                prop_assert!(offset >= end && offset.is_multiple_of(16));
                end = offset + geometry.slot_bytes() as usize;
                prop_assert_eq!(offset / BLOCK_BYTES as usize, (end - 1) / BLOCK_BYTES as usize);
            }
            prop_assert!(end <= geometry.bytes());
        }
    }
}
