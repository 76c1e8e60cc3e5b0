//! A ring of descriptors in memory that is shared with the kernel: one side produces, the other consumes.
//!
//! The indices run on over the size, which is a power of two. What the kernel writes is checked: an index that would have more
//! entries in the ring than it has places is not followed.

use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::xdp::XdpRingOffset;

/// The kernel wants to be told when there is something for it (`XDP_RING_NEED_WAKEUP`).
const NEEDS_WAKEUP: u32 = 1;

/// What a ring holds: plain data of which any bytes are a value.
///
/// # Safety
/// Any bytes are a value, and there is no room between the fields.
pub unsafe trait Entry: Copy + Default {}

// SAFETY: a number.
unsafe impl Entry for u64 {}

/// `xdp_desc`: a piece of a frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Where it is in the memory; the upper 16 bits are added to the lower 48.
    pub address: u64,
    /// Bytes.
    pub length: u32,
    /// `XDP_PKT_CONTD`: more pieces of the frame follow.
    pub options: u32,
}

const _: () = assert!(size_of::<Descriptor>() == 16 && align_of::<Descriptor>() == 8);

// SAFETY: three numbers without room between them, as asserted.
unsafe impl Entry for Descriptor {}

/// Memory of a ring: mapped from a socket, or of this process for tests.
struct Memory {
    base: NonNull<u8>,
    bytes: usize,
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, of this length, and nothing borrows it any more.
        let outcome = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert!(outcome.is_ok(), "a mapping of ours is unmapped");
    }
}

// SAFETY: a mapping that is not bound to a thread; who reads and writes what in it is the affair of those that have it.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// # Safety
    /// Four bytes at the offset, a multiple of four, are within the mapping, and both sides use them atomically.
    #[inline(always)]
    unsafe fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: as the caller vouches; the mapping is aligned to a page and lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }
}

/// Says how full a ring is, on any thread.
pub struct Gauge {
    memory: Arc<Memory>,
    producer: usize,
    consumer: usize,
    size: u32,
}

impl Gauge {
    /// Entries in the ring, and its places.
    pub fn read(&self) -> (u32, u32) {
        // SAFETY: the words of a ring, as `Ring::map` has checked.
        let (producer, consumer) = unsafe {
            (
                self.memory.word(self.producer).load(Ordering::Acquire),
                self.memory.word(self.consumer).load(Ordering::Acquire),
            )
        };
        // An index may move between the two looks.
        (producer.wrapping_sub(consumer).min(self.size), self.size)
    }
}

/// Either side of a ring.
struct Ring<T> {
    memory: Arc<Memory>,
    producer: usize,
    consumer: usize,
    flags: Option<usize>,
    entries: usize,
    size: u32,
    content: PhantomData<T>,
}

impl<T: Entry> Ring<T> {
    /// Maps the ring of `size` entries that is at `page_offset` of the socket.
    fn map(socket: BorrowedFd<'_>, page_offset: u64, at: &XdpRingOffset, size: u32) -> Result<Self, Errno> {
        let place = |offset: u64| usize::try_from(offset).map_err(|_| Errno::OVERFLOW);
        let (producer, consumer, entries) = (place(at.producer)?, place(at.consumer)?, place(at.desc)?);
        let flags = at.flags.map(place).transpose()?;
        let bytes = entries.checked_add(size as usize * size_of::<T>()).ok_or(Errno::OVERFLOW)?;
        // The kernel's own layout, of which all that is used from here on is certain. What is a multiple of four and below one
        // has four bytes up to that.
        let words = [Some(producer), Some(consumer), flags];
        let fits = words.iter().flatten().all(|word| word.is_multiple_of(4) && *word < entries);
        if !fits || !entries.is_multiple_of(align_of::<T>()) || !size.is_power_of_two() {
            return Err(Errno::PROTO);
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let mapping = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: the kernel chooses an address that is free.
        let memory = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), bytes, protection, mapping, socket, page_offset)
        }?;
        let base = NonNull::new(memory.cast()).ok_or(Errno::FAULT)?;
        Ok(Self {
            memory: Arc::new(Memory { base, bytes }),
            producer,
            consumer,
            flags,
            entries,
            size,
            content: PhantomData,
        })
    }

    #[inline(always)]
    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: `map` has checked that four bytes at the offset, a multiple of four, are within the mapping; both sides use the
        // word atomically.
        unsafe { self.memory.word(offset) }
    }

    fn gauge(&self) -> Gauge {
        let Self { producer, consumer, size, .. } = *self;
        Gauge { memory: Arc::clone(&self.memory), producer, consumer, size }
    }

    #[inline(always)]
    fn entry(&self, index: u32) -> *mut T {
        let place = (index & (self.size - 1)) as usize;
        // SAFETY: the mapping has room for `size` entries from `entries` on, and the place is below `size`.
        unsafe { self.memory.base.as_ptr().add(self.entries).cast::<T>().add(place) }
    }

    #[inline(always)]
    fn needs_wakeup(&self) -> bool {
        self.flags.is_some_and(|flags| self.word(flags).load(Ordering::Relaxed) & NEEDS_WAKEUP != 0)
    }

    /// Entries in the ring; `None` if the other side's index is impossible.
    fn fill(&self) -> Option<u32> {
        let producer = self.word(self.producer).load(Ordering::Acquire);
        let consumer = self.word(self.consumer).load(Ordering::Acquire);
        Some(producer.wrapping_sub(consumer)).filter(|&count| count <= self.size)
    }
}

/// A ring into which we put entries for the kernel: fill or transmit.
pub struct Producer<T> {
    ring: Ring<T>,
    /// Our index, up to what was put in.
    next: u32,
    /// Places that are free, as far as was looked.
    free: u32,
}

impl<T: Entry> Producer<T> {
    /// Maps the ring at `page_offset` of the socket, to which `size` entries were given.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub fn map(
        socket: BorrowedFd<'_>,
        page_offset: u64,
        at: &XdpRingOffset,
        size: u32,
    ) -> Result<Self, Errno> {
        let ring = Ring::map(socket, page_offset, at, size)?;
        let next = ring.word(ring.producer).load(Ordering::Relaxed);
        Ok(Self { ring, next, free: 0 })
    }

    /// Says how full it is.
    pub fn gauge(&self) -> Gauge {
        self.ring.gauge()
    }

    /// Places.
    pub fn size(&self) -> u32 {
        self.ring.size
    }

    /// Places that are free, at least `wanted` of them if there are so many.
    #[inline]
    pub fn room(&mut self, wanted: u32) -> u32 {
        if self.free < wanted {
            let consumer = self.ring.word(self.ring.consumer).load(Ordering::Acquire);
            let used = self.next.wrapping_sub(consumer);
            // An impossible index frees nothing.
            self.free = self.ring.size.saturating_sub(used);
        }
        self.free
    }

    /// Puts in an entry; `false` without room that [`Producer::room`] has found. The kernel sees it after [`Producer::submit`].
    #[inline]
    pub fn push(&mut self, entry: T) -> bool {
        if self.free == 0 {
            return false;
        }
        // SAFETY: the place is free: the kernel has consumed what was there, and reads it after `submit` only.
        unsafe { self.ring.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
        self.free -= 1;
        true
    }

    /// Shows the kernel what was put in.
    #[inline]
    pub fn submit(&mut self) {
        self.ring.word(self.ring.producer).store(self.next, Ordering::Release);
    }

    /// Entries that the kernel has not consumed yet, of those that it was shown.
    pub fn fill(&self) -> u32 {
        self.ring.fill().unwrap_or(self.ring.size)
    }

    /// Whether the kernel must be told of what was put in.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }
}

/// A ring out of which we take entries of the kernel: receive or completion.
pub struct Consumer<T> {
    ring: Ring<T>,
    /// Our index, up to what was taken.
    next: u32,
    /// Entries that there are, as far as was looked.
    ready: u32,
    /// How often the kernel's index was impossible.
    broken: u64,
}

impl<T: Entry> Consumer<T> {
    /// As [`Producer::map`].
    ///
    /// # Errors
    /// It cannot be mapped.
    pub fn map(
        socket: BorrowedFd<'_>,
        page_offset: u64,
        at: &XdpRingOffset,
        size: u32,
    ) -> Result<Self, Errno> {
        let ring = Ring::map(socket, page_offset, at, size)?;
        let next = ring.word(ring.consumer).load(Ordering::Relaxed);
        Ok(Self { ring, next, ready: 0, broken: 0 })
    }

    /// Says how full it is.
    pub fn gauge(&self) -> Gauge {
        self.ring.gauge()
    }

    /// Takes an entry. Its place is the kernel's again after [`Consumer::release`].
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.ready == 0 {
            let producer = self.ring.word(self.ring.producer).load(Ordering::Acquire);
            let ready = producer.wrapping_sub(self.next);
            if ready > self.ring.size {
                self.broken += 1;
                return None;
            }
            self.ready = ready;
        }
        self.ready = self.ready.checked_sub(1)?;
        // SAFETY: the kernel has put the entry in before it moved its index, and leaves it alone until `release`.
        let entry = unsafe { self.ring.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Gives the places of what was taken back to the kernel.
    #[inline]
    pub fn release(&mut self) {
        self.ring.word(self.ring.consumer).store(self.next, Ordering::Release);
    }

    /// How often the kernel's index was impossible.
    pub fn broken(&self) -> u64 {
        self.broken
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    const AT: XdpRingOffset = XdpRingOffset { producer: 0, consumer: 64, desc: 128, flags: Some(192 - 128) };

    /// Both sides of a ring of `size` entries, in a file of memory.
    pub fn pair<T: Entry>(size: u32) -> (Producer<T>, Consumer<T>) {
        let file = rustix::fs::memfd_create("ring", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, 1 << 16).unwrap();
        let at = XdpRingOffset { flags: Some(68), ..AT };
        (
            Producer::map(file.as_fd(), 0, &at, size).unwrap(),
            Consumer::map(file.as_fd(), 0, &at, size).unwrap(),
        )
    }

    #[test]
    fn entries_come_out_in_order_around_the_ring() {
        let (mut producer, mut consumer) = pair::<u64>(8);
        let (mut sent, mut seen) = (0, 0);
        for round in 0..50_u64 {
            for _ in 0..round % 9 {
                if producer.room(1) > 0 {
                    assert!(producer.push(sent));
                    sent += 1;
                }
            }
            producer.submit();
            for _ in 0..round % 7 {
                let Some(entry) = consumer.pop() else { break };
                assert_eq!(entry, seen);
                seen += 1;
            }
            consumer.release();
        }
        assert!(seen > 50);
    }

    #[test]
    fn nothing_is_seen_before_it_is_submitted_nor_free_before_it_is_released() {
        let (mut producer, mut consumer) = pair::<Descriptor>(4);
        assert!(!producer.push(Descriptor::default()), "nobody has looked for room");
        assert_eq!(producer.room(4), 4);
        for length in 0..4 {
            assert!(producer.push(Descriptor { address: 1 << 48, length, options: 1 }));
        }
        assert!(!producer.push(Descriptor::default()));
        assert_eq!(consumer.pop(), None);
        producer.submit();
        assert_eq!((producer.fill(), consumer.gauge().read().0), (4, 4));
        assert_eq!(consumer.pop(), Some(Descriptor { address: 1 << 48, length: 0, options: 1 }));
        assert_eq!(producer.room(1), 0);
        consumer.release();
        assert_eq!(producer.room(1), 1);
    }

    #[test]
    fn impossible_indices_of_the_other_side_are_not_followed() {
        let (mut producer, mut consumer) = pair::<u64>(8);
        for wrong in [9, 100, u32::MAX, 1 << 31] {
            consumer.ring.word(consumer.ring.producer).store(wrong, Ordering::Release);
            let before = consumer.broken();
            assert_eq!((consumer.pop(), consumer.broken()), (None, before + 1), "{wrong}");
        }
        producer.ring.word(producer.ring.producer).store(0, Ordering::Release);
        for wrong in [1, 100, u32::MAX - 9] {
            producer.ring.word(producer.ring.consumer).store(wrong, Ordering::Release);
            assert_eq!(producer.room(1), 0, "{wrong}");
            assert!(!producer.push(7));
        }
    }

    #[test]
    fn offsets_that_are_no_ring_are_refused() {
        let file = rustix::fs::memfd_create("ring", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        for at in [
            XdpRingOffset { producer: 2, ..AT },
            XdpRingOffset { consumer: 128, ..AT },
            XdpRingOffset { desc: 132, ..AT },
            XdpRingOffset { flags: Some(u64::MAX), ..AT },
            XdpRingOffset { producer: u64::MAX - 3, ..AT },
            XdpRingOffset { consumer: u64::MAX - 7, ..AT },
            XdpRingOffset { desc: u64::MAX - 7, ..AT },
        ] {
            assert!(Producer::<u64>::map(file.as_fd(), 0, &at, 8).is_err(), "{at:?}");
        }
        assert!(Producer::<u64>::map(file.as_fd(), 0, &AT, 7).is_err());
    }
}
