//! The one place of the forwarding tables that needs `unsafe`: a reserved range of atomic words, and the prefetch
//! instruction.

/// Words in one unit of a [`Words`] range: one cache line of 64 bytes.
pub(super) const UNIT_WORDS: usize = 16;

#[cfg(not(loom))]
pub(super) use mapped::Words;
#[cfg(loom)]
pub(super) use modelled::Words;

#[cfg(not(loom))]
pub(super) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(loom)]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[cfg(not(loom))]
mod mapped {
    use core::ptr::NonNull;
    use std::io;

    use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};

    use super::super::rank::Head;
    use super::{AtomicU32, Ordering, UNIT_WORDS};
    use core::sync::atomic::AtomicUsize;

    const HUGE_PAGE_BYTES: usize = 2 << 20;

    /// A range of address space that holds atomic 32-bit words, zero at first and resident only where written.
    ///
    /// The range is reserved without access and made usable from its start by [`Words::commit`]; it never moves, so
    /// readers index it without any check that could race with growth. An access past the committed part faults.
    pub(in super::super) struct Words {
        base: NonNull<AtomicU32>,
        /// Number of reserved words less one; the number is a power of two.
        mask: usize,
        committed: AtomicUsize,
        mapping: NonNull<core::ffi::c_void>,
        mapping_bytes: usize,
    }

    // SAFETY: the range is shared memory of atomic words, unmapped only on drop, which needs exclusive access.
    unsafe impl Send for Words {}
    // SAFETY: as above; every write through `&Words` is atomic, and `commit` only widens access.
    unsafe impl Sync for Words {}

    impl Words {
        /// Reserves room for up to `words` words (a power of two), or for less, down to `least`, where the process may not
        /// have that much address space.
        ///
        /// # Errors
        /// What `mmap` said for the smallest size.
        pub(in super::super) fn reserve(words: usize, least: usize) -> io::Result<Self> {
            assert!(
                words.is_power_of_two() && least.is_power_of_two() && least <= words && least >= UNIT_WORDS
            );
            let mut words = words;
            loop {
                match Self::reserve_exactly(words) {
                    Err(_) if words > least => words /= 2,
                    other => return other,
                }
            }
        }

        fn reserve_exactly(words: usize) -> io::Result<Self> {
            let bytes = words * size_of::<AtomicU32>();
            // Large ranges start on a huge page boundary, for which one more page is reserved.
            let mapping_bytes = if bytes >= HUGE_PAGE_BYTES { bytes + HUGE_PAGE_BYTES } else { bytes };
            // SAFETY: a new private anonymous mapping at an address of the kernel's choice touches nothing that exists.
            let mapping = unsafe {
                rustix::mm::mmap_anonymous(
                    core::ptr::null_mut(),
                    mapping_bytes,
                    ProtFlags::empty(),
                    MapFlags::PRIVATE | MapFlags::NORESERVE,
                )
            }?;
            let offset = if bytes >= HUGE_PAGE_BYTES { mapping.align_offset(HUGE_PAGE_BYTES) } else { 0 };
            let start = mapping.cast::<u8>().wrapping_add(offset).cast::<AtomicU32>();
            // Invariant: a successful mmap without MAP_FIXED at zero never returns the null page.
            let (Some(base), Some(mapping)) = (NonNull::new(start), NonNull::new(mapping)) else {
                return Err(io::ErrorKind::OutOfMemory.into());
            };
            Ok(Self { base, mask: words - 1, committed: AtomicUsize::new(0), mapping, mapping_bytes })
        }

        /// Number of words that are reserved.
        pub(in super::super) fn reserved(&self) -> usize {
            self.mask + 1
        }

        /// Number of words that may be accessed.
        fn committed(&self) -> usize {
            self.committed.load(Ordering::Relaxed)
        }

        /// Makes at least the first `words` words accessible. One thread calls this at a time.
        ///
        /// # Errors
        /// `OutOfMemory` past the reservation, or what `mprotect` said.
        pub(in super::super) fn commit(&self, words: usize) -> io::Result<()> {
            let (have, reserved) = (self.committed(), self.reserved());
            if words <= have {
                return Ok(());
            }
            if words > reserved {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            // Steps grow with the range: few system calls, little charged to a host that does not overcommit.
            let step = (have / 4).clamp(64 << 10, 16 << 20);
            let align = if words * 4 > HUGE_PAGE_BYTES { HUGE_PAGE_BYTES / 4 } else { 1 << 10 };
            let target = words.max(have + step).next_multiple_of(align).min(reserved);
            // SAFETY: the bytes lie inside the mapping made in `reserve_exactly`, whose protection only widens here.
            unsafe {
                rustix::mm::mprotect(
                    self.base.as_ptr().wrapping_add(have).cast(),
                    (target - have) * 4,
                    MprotectFlags::READ | MprotectFlags::WRITE,
                )
            }?;
            if target * 4 > HUGE_PAGE_BYTES {
                let from = have.next_multiple_of(HUGE_PAGE_BYTES / 4).max(HUGE_PAGE_BYTES / 4);
                if from < target {
                    // SAFETY: inside the mapping; the advice changes page sizes only. A kernel without it is as well.
                    let _ = unsafe {
                        rustix::mm::madvise(
                            self.base.as_ptr().wrapping_add(from).cast(),
                            (target - from) * 4,
                            Advice::LinuxHugepage,
                        )
                    };
                }
            }
            self.committed.store(target, Ordering::Relaxed);
            Ok(())
        }

        /// The word at `index`, which is taken modulo the reservation.
        #[inline(always)]
        pub(in super::super) fn at(&self, index: usize) -> &AtomicU32 {
            // SAFETY: masked, the index lies in the reserved range, which lives as long as `self`; an access outside the
            // committed part faults (no access rights), it never reads or writes anything else.
            unsafe { self.base.add(index & self.mask).as_ref() }
        }

        /// The first 16 bytes of unit `unit`. They must not be written while a reader can reach the unit.
        #[inline(always)]
        pub(in super::super) fn head(&self, unit: usize) -> Head {
            let word = (unit * UNIT_WORDS) & self.mask;
            // SAFETY: a unit is 16 words, the reservation a multiple of that, so masked at a unit's first word all 16 bytes
            // lie in range, and the address is aligned to 64 bytes. No write races with this read: these bytes are written
            // before the unit's index is published with Release (the caller loaded it with Acquire) and again only
            // when the unit has been reclaimed, after all readers have passed a quiescent point.
            unsafe { self.base.add(word).cast::<Head>().read() }
        }

        /// Asks for the cache line of word `index` without waiting for it.
        #[inline(always)]
        pub(in super::super) fn prefetch(&self, index: usize) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a prefetch never faults and changes no state of the program; SSE is part of x86-64.
            unsafe {
                use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch(self.base.as_ptr().wrapping_add(index & self.mask).cast(), _MM_HINT_T0);
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = index;
        }
    }

    impl Drop for Words {
        fn drop(&mut self) {
            // SAFETY: the mapping made in `reserve_exactly`, unmapped once; borrows of its words ended with `self`.
            // A failure (impossible for a whole mapping) would leak address space only.
            let _ = unsafe { rustix::mm::munmap(self.mapping.as_ptr(), self.mapping_bytes) };
        }
    }
}

/// The same type for loom: few words, each a modelled atomic.
#[cfg(loom)]
mod modelled {
    use std::io;

    use super::super::rank::{Head, head_of};
    use super::{AtomicU32, Ordering, UNIT_WORDS};

    /// Words of a range under the model; indices are taken modulo this.
    const MODEL_WORDS: usize = 8 * UNIT_WORDS;

    pub(in super::super) struct Words {
        words: Vec<AtomicU32>,
    }

    impl Words {
        pub(in super::super) fn reserve(words: usize, _least: usize) -> io::Result<Self> {
            Ok(Self { words: (0..words.min(MODEL_WORDS)).map(|_| AtomicU32::new(0)).collect() })
        }

        pub(in super::super) fn reserved(&self) -> usize {
            usize::MAX
        }

        pub(in super::super) fn commit(&self, _words: usize) -> io::Result<()> {
            Ok(())
        }

        pub(in super::super) fn at(&self, index: usize) -> &AtomicU32 {
            &self.words[index % self.words.len()]
        }

        pub(in super::super) fn head(&self, unit: usize) -> Head {
            head_of((0..4).fold(0, |bytes, word| {
                let value = self.at(unit * UNIT_WORDS + word).load(Ordering::Relaxed);
                bytes | u128::from(value) << (32 * word)
            }))
        }

        pub(in super::super) fn prefetch(&self, _index: usize) {}
    }
}
