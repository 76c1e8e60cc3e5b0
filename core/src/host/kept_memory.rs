//! Memory that the host owns and plugins borrow: what outlives an upgrade.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeSet;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::graph::Owner;

/// Most bytes of one block.
const MOST_BYTES: usize = 1 << 40;
/// Smaller blocks come from the allocator; larger ones are mapped, so that only what is used of them is taken.
const LEAST_MAPPED: usize = 256 << 10;
const PAGE: usize = 4096;
/// Tables that are read at random all over want few TLB entries.
const HUGE_PAGE: usize = 2 << 20;

/// A block is known by the plugin that borrows it, its name there, and what the plugin says of its layout.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    plugin: String,
    name: String,
    layout: u64,
    bytes: usize,
    align: usize,
}

struct Block {
    key: Key,
    memory: Memory,
    users: BTreeSet<Owner>,
    /// A user was quarantined: nobody else gets it.
    is_forsaken: bool,
}

/// Memory of zeros, given back on drop.
enum Memory {
    Allocated(NonNull<u8>, Layout),
    Mapped { base: NonNull<u8>, mapping: NonNull<u8>, length: usize },
}

// SAFETY: the memory is plain, and the host touches nothing of it.
unsafe impl Send for Memory {}

impl Memory {
    fn zeroed(layout: Layout) -> Option<Self> {
        if layout.size() < LEAST_MAPPED || layout.align() > PAGE {
            // SAFETY: the layout has a size.
            let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
            return Some(Self::Allocated(base, layout));
        }
        let is_huge = layout.size() >= 2 * HUGE_PAGE;
        let length = layout.size().checked_add(if is_huge { HUGE_PAGE } else { 0 })?;
        let (protection, flags) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: a new private mapping at an address of the kernel's choice touches nothing that exists.
        let mapping = unsafe { mmap_anonymous(std::ptr::null_mut(), length, protection, flags) };
        let mapping = NonNull::new(mapping.ok()?.cast::<u8>())?;
        let offset = if is_huge { mapping.align_offset(HUGE_PAGE) } else { 0 };
        // SAFETY: the mapping has a huge page more than the block.
        let base = unsafe { mapping.add(offset) };
        if is_huge {
            // SAFETY: within the mapping; the advice changes page sizes only, and a kernel without it serves as well.
            let _ = unsafe { madvise(base.as_ptr().cast(), layout.size(), Advice::LinuxHugepage) };
        }
        Some(Self::Mapped { base, mapping, length })
    }

    fn base(&self) -> *mut u8 {
        match self {
            Self::Allocated(base, _) | Self::Mapped { base, .. } => base.as_ptr(),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        match self {
            // SAFETY: allocated with this layout, and no user is left.
            Self::Allocated(base, layout) => unsafe { dealloc(base.as_ptr(), *layout) },
            Self::Mapped { mapping, length, .. } => {
                // SAFETY: mapped with this length, and no user is left.
                let _ = unsafe { munmap(mapping.as_ptr().cast(), *length) };
            }
        }
    }
}

/// All blocks. Main thread.
#[derive(Default)]
pub struct KeptMemory {
    blocks: Vec<Block>,
}

impl KeptMemory {
    /// The block of a plugin with this name, layout and size, made of zeros where it is not there; null where it cannot be.
    pub fn find_or_make(
        &mut self,
        user: Owner,
        plugin: &str,
        name: &str,
        layout: u64,
        (bytes, align): (usize, usize),
    ) -> *mut u8 {
        if bytes == 0 || bytes > MOST_BYTES {
            return std::ptr::null_mut();
        }
        let Ok(memory) = Layout::from_size_align(bytes, align) else { return std::ptr::null_mut() };
        let key = Key { plugin: plugin.to_owned(), name: name.to_owned(), layout, bytes, align };
        if let Some(block) = self.blocks.iter_mut().find(|block| block.key == key && !block.is_forsaken) {
            block.users.insert(user);
            return block.memory.base();
        }
        let Some(memory) = Memory::zeroed(memory) else { return std::ptr::null_mut() };
        let base = memory.base();
        self.blocks.push(Block { key, memory, users: BTreeSet::from([user]), is_forsaken: false });
        base
    }

    /// A user was quarantined, maybe in the middle of a change: nobody else gets what it has borrowed.
    pub fn forsake(&mut self, user: Owner) {
        for block in self.blocks.iter_mut().filter(|block| block.users.contains(&user)) {
            block.is_forsaken = true;
        }
    }

    /// A user is gone, and with it the blocks that nobody else borrows.
    pub fn forget_user(&mut self, user: Owner) {
        self.blocks.retain_mut(|block| {
            block.users.remove(&user);
            !block.users.is_empty()
        });
    }

    /// Bytes that a user borrows.
    pub fn bytes_of(&self, user: Owner) -> u64 {
        let own = self.blocks.iter().filter(|block| block.users.contains(&user));
        own.map(|block| block.key.bytes as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Owner = Owner(1);
    const NEW: Owner = Owner(2);

    #[test]
    fn a_block_passes_to_the_next_user_of_its_name_and_layout() {
        let mut kept = KeptMemory::default();
        let size = (256, 128);
        let first = kept.find_or_make(OLD, "acl", "sessions", 7, size);
        assert!(!first.is_null() && first.addr().is_multiple_of(128));
        // SAFETY: the block is there and 256 bytes long.
        unsafe { first.write(42) };
        assert_eq!(kept.find_or_make(NEW, "acl", "sessions", 7, size), first);
        assert_ne!(
            kept.find_or_make(NEW, "acl", "sessions", 8, size),
            first,
            "another layout is another block"
        );
        assert_ne!(kept.find_or_make(NEW, "nat64", "sessions", 7, size), first, "another plugin's too");
        kept.forget_user(OLD);
        // SAFETY: as above: the new user has it still.
        assert_eq!(unsafe { first.read() }, 42);
        assert_eq!((kept.bytes_of(OLD), kept.bytes_of(NEW)), (0, 768));
        kept.forget_user(NEW);
        assert!(kept.blocks.is_empty());
    }

    #[test]
    fn what_a_quarantined_user_had_is_nobody_elses() {
        let mut kept = KeptMemory::default();
        let size = (1 << 20, 128);
        let first = kept.find_or_make(OLD, "acl", "sessions", 7, size);
        kept.forsake(OLD);
        let second = kept.find_or_make(NEW, "acl", "sessions", 7, size);
        assert_ne!(first, second);
        assert_eq!(kept.find_or_make(Owner(3), "acl", "sessions", 7, size), second);
        kept.forget_user(OLD);
        assert_eq!(kept.blocks.len(), 1);
    }

    #[test]
    fn large_blocks_are_zeros_to_their_last_byte() {
        let mut kept = KeptMemory::default();
        for (layout, bytes) in [LEAST_MAPPED, 2 * HUGE_PAGE, (5 << 20) + 1].into_iter().enumerate() {
            let base = kept.find_or_make(OLD, "acl", "sessions", layout as u64, (bytes, 128));
            // SAFETY: the block is there and that long.
            unsafe {
                assert_eq!((base.read(), base.add(bytes - 1).read()), (0, 0));
                base.add(bytes - 1).write(1);
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut kept = KeptMemory::default();
        for size in [(0, 8), (64, 3), (usize::MAX, 8), (64, 0)] {
            assert!(kept.find_or_make(OLD, "acl", "x", 0, size).is_null(), "{size:?}");
        }
    }
}
