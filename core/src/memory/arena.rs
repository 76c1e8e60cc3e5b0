//! One stretch of memory for all buffers, from a memfd, on the largest pages that there are.

use std::ffi::c_void;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// Which pages the arena may stand on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HugePages {
    /// The largest that there are.
    #[default]
    Auto,
    /// Ordinary ones.
    Never,
    /// Huge ones, or none at all.
    Require,
}

/// Which pages the arena stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// Reserved pages of 1 GiB.
    Huge1G,
    /// Reserved pages of 2 MiB.
    Huge2M,
    /// Ordinary pages that the kernel was asked to join to 2 MiB.
    Transparent,
    /// Ordinary pages.
    Base,
}

impl PageKind {
    /// Bytes of a page that is certain to be one stretch of the machine's memory. The kernel joins ordinary pages when it
    /// likes, so those that it was asked to join are counted as ordinary ones.
    pub fn bytes(self) -> usize {
        match self {
            Self::Huge1G => GIB,
            Self::Huge2M => 2 * MIB,
            Self::Transparent | Self::Base => rustix::param::page_size(),
        }
    }
}

impl std::fmt::Display for PageKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Huge1G => "1 GiB hugepages",
            Self::Huge2M => "2 MiB hugepages",
            Self::Transparent => "transparent hugepages",
            Self::Base => "4 KiB pages",
        })
    }
}

/// Why there is no arena.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The system gave no memory.
    #[error("cannot map {bytes} bytes for packet buffers")]
    Map {
        /// Bytes asked for.
        bytes: usize,
        /// What the system said.
        #[source]
        source: Errno,
    },
    /// Hugepages are required, and there are not enough.
    #[error(
        "`buffers.hugepages` is \"require\", but {bytes} bytes of reserved hugepages are not free; reserve some \
         (vm.nr_hugepages) or set it to \"auto\""
    )]
    NoHugePages {
        /// Bytes asked for.
        bytes: usize,
    },
    /// More buffers than indices can name, or none.
    #[error("{count} packet buffers: must be between {least} and {most}")]
    Count {
        /// Buffers asked for.
        count: usize,
        /// Fewest that work.
        least: usize,
        /// Most that can be numbered.
        most: usize,
    },
}

/// A stretch of shared memory, zeroed, which other devices and processes can map by its descriptor.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<u8>,
    length: usize,
    file: OwnedFd,
    pages: PageKind,
}

// SAFETY: plain memory; who reads and writes what is the pool's affair.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

impl Arena {
    /// Maps at least `length` bytes.
    ///
    /// # Errors
    /// There is no memory, or no hugepages although they are required.
    pub fn create(length: usize, policy: HugePages) -> Result<Self, MemoryError> {
        let huge = [
            (MemfdFlags::HUGETLB | MemfdFlags::HUGE_1GB, GIB, PageKind::Huge1G),
            (MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB, 2 * MIB, PageKind::Huge2M),
        ];
        if policy != HugePages::Never {
            for (flags, page, pages) in huge {
                // A page of 1 GiB for a small pool would waste most of it.
                if page > 2 * MIB && length < page / 2 {
                    continue;
                }
                // Reserved pages are counted when they are mapped, so a mapping that succeeds has its pages.
                if let Ok(arena) = Self::map(length.next_multiple_of(page), flags, pages) {
                    return Ok(arena);
                }
            }
        }
        if policy == HugePages::Require {
            return Err(MemoryError::NoHugePages { bytes: length });
        }
        let length = length.next_multiple_of(2 * MIB);
        let mut arena = Self::map(length, MemfdFlags::empty(), PageKind::Base)
            .map_err(|source| MemoryError::Map { bytes: length, source })?;
        if policy == HugePages::Auto {
            // SAFETY: the range is this mapping; the advice changes nothing that can be read.
            let advised = unsafe { madvise(arena.base.as_ptr().cast(), length, Advice::LinuxHugepage) };
            if advised.is_ok() && transparent_pages_for_shared_memory() {
                arena.pages = PageKind::Transparent;
            }
        }
        Ok(arena)
    }

    fn map(length: usize, flags: MemfdFlags, pages: PageKind) -> Result<Self, Errno> {
        let file = memfd_create("raddle-buffers", flags | MemfdFlags::CLOEXEC)?;
        ftruncate(&file, length as u64)?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )?
        };
        let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
        Ok(Self { base, length, file, pages })
    }

    /// The first byte; aligned to a page.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Length in bytes.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The pages that it stands on.
    pub fn pages(&self) -> PageKind {
        self.pages
    }

    /// The descriptor by which others can map it.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: this mapping, which nobody uses any more: the arena is owned by the pool.
        let _ = unsafe { munmap(self.base.as_ptr().cast::<c_void>(), self.length) };
    }
}

/// Whether the kernel joins pages of shared memory when it is advised to.
fn transparent_pages_for_shared_memory() -> bool {
    std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").is_ok_and(|text| {
        ["[always]", "[within_size]", "[advise]", "[force]"].iter().any(|mode| text.contains(mode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_zeroed_writable_memory_without_hugepages() {
        let arena = Arena::create(3 * MIB, HugePages::Never).expect("memory");
        assert_eq!((arena.pages(), arena.length()), (PageKind::Base, 4 * MIB));
        // SAFETY: within the mapping.
        unsafe {
            assert_eq!(arena.base().add(4 * MIB - 1).read(), 0);
            arena.base().add(4 * MIB - 1).write(7);
            assert_eq!(arena.base().add(4 * MIB - 1).read(), 7);
        }
    }

    #[test]
    fn falls_back_where_no_hugepages_are_reserved() {
        assert!(Arena::create(MIB, HugePages::Auto).is_ok());
    }

    #[test]
    fn says_so_when_required_hugepages_are_missing() {
        let more_than_any_machine_has = 1 << 46;
        let error = Arena::create(more_than_any_machine_has, HugePages::Require).expect_err("not that many");
        assert!(error.to_string().contains("reserve some"), "{error}");
    }
}
