//! The buffer pool with its bookkeeping: who owns a buffer, and what was done that must not be.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::memory::BUFFER_STRIDE;
use crate::abi::{BUFFER_DATA_OFFSET, BufferArena, BufferFlags, BufferHeader};
use crate::packet::MAX_SEGMENTS;

/// Stands in freed buffers, so that who reads them sees nonsense.
const FREED: u8 = 0xdd;

/// Who owns a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The pool.
    Pool,
    /// A node, a task or a test that keeps it.
    Held,
    /// The node that runs: it is in its frame.
    Frame,
    /// The host: it was sent on.
    Sent,
}

pub(super) struct Pool {
    base: *mut u8,
    count: u32,
    books: Mutex<Books>,
}

struct Books {
    free: Vec<u32>,
    owners: Vec<Owner>,
    /// Buffers that nodes may still allocate.
    budget: Option<u32>,
    refused: u64,
    violations: Vec<String>,
}

impl Pool {
    /// A pool of the `count` buffers that stand from `base` on.
    pub(super) fn new(base: *mut u8, count: u32) -> Self {
        let books = Books {
            free: (0..count).rev().collect(),
            owners: vec![Owner::Pool; count as usize],
            budget: None,
            refused: 0,
            violations: Vec::new(),
        };
        Self { base, count, books: Mutex::new(books) }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the buffers are. No device can map them elsewhere.
    pub(super) fn arena(&self) -> BufferArena {
        BufferArena {
            size: size_of::<BufferArena>() as u32,
            stride: BUFFER_STRIDE as u32,
            count: self.count,
            fd: -1,
            base: self.base,
            length: self.count as usize * BUFFER_STRIDE,
            page_bytes: rustix::param::page_size(),
        }
    }

    /// A buffer for the harness itself, whatever the budget.
    pub(super) fn take(&self) -> Option<u32> {
        let mut books = self.books();
        let index = books.free.pop()?;
        books.owners[index as usize] = Owner::Held;
        drop(books);
        // SAFETY: the buffer is the caller's alone since it left the list.
        unsafe { self.header(index).write(BufferHeader::empty()) };
        Some(index)
    }

    /// A buffer for a node.
    pub(super) fn allocate(&self) -> Option<u32> {
        let mut books = self.books();
        let allowed = books.budget != Some(0);
        if !allowed || books.free.is_empty() {
            books.refused += 1;
            return None;
        }
        books.budget = books.budget.map(|left| left - 1);
        drop(books);
        self.take()
    }

    /// Lets nodes allocate `count` more buffers and then no more; `None` lifts the limit.
    pub(super) fn limit(&self, count: Option<u32>) {
        self.books().budget = count;
    }

    /// Allocations that were refused.
    pub(super) fn refused(&self) -> u64 {
        self.books().refused
    }

    /// Gives back a packet, its whole chain.
    pub(super) fn free(&self, first: u32, who: &str) {
        let mut next = Some(first);
        for _ in 0..=MAX_SEGMENTS {
            let Some(index) = next.take() else { return };
            if !self.owns(index, who) {
                return;
            }
            // SAFETY: the buffer is below `count` and allocated, and its owner gives it up by this call.
            let header = unsafe { &mut *self.header(index) };
            if header.flags & BufferFlags::CHAINED != 0 {
                next = Some(header.next_buffer);
            }
            let shared = header.flags & BufferFlags::SHARED != 0
                && header.references.fetch_sub(1, Ordering::AcqRel) > 1;
            if shared {
                continue;
            }
            *header = BufferHeader::empty();
            // SAFETY: the bytes behind the header, up to the stride, are the buffer's.
            unsafe {
                let bytes = self.header(index).cast::<u8>().add(size_of::<BufferHeader>());
                bytes.write_bytes(FREED, BUFFER_STRIDE - size_of::<BufferHeader>());
            }
            let mut books = self.books();
            books.owners[index as usize] = Owner::Pool;
            books.free.push(index);
        }
        self.complain(format!("{who} gave back packet {first}, whose chain has no end"));
    }

    fn owns(&self, index: u32, who: &str) -> bool {
        let owner = self.books().owners.get(index as usize).copied();
        match owner {
            None => self.complain(format!("{who} gave back buffer {index}, which does not exist")),
            Some(Owner::Pool) => {
                self.complain(format!("{who} gave back buffer {index} twice, or a packet that it had sent"));
            }
            Some(_) => return true,
        }
        false
    }

    /// Notes that packet `index` changes hands; complains, and says `false`, unless its owner is one of `from`.
    pub(super) fn pass(&self, index: u32, from: &[Owner], to: Owner, who: &str) -> bool {
        let mut books = self.books();
        let owner = books.owners.get(index as usize).copied();
        let allowed = owner.is_some_and(|owner| from.contains(&owner));
        if allowed {
            books.owners[index as usize] = to;
        } else {
            let state = match owner {
                None => "which does not exist",
                Some(Owner::Pool) => "which it had given back",
                Some(Owner::Sent) => "which it had sent already",
                Some(_) => "which is not its own",
            };
            books.violations.push(format!("{who} sent packet {index}, {state}"));
        }
        allowed
    }

    /// Who owns the packet.
    pub(super) fn owner(&self, index: u32) -> Option<Owner> {
        self.books().owners.get(index as usize).copied()
    }

    /// Buffers that are not in the pool.
    pub(super) fn outstanding(&self) -> Vec<u32> {
        let books = self.books();
        (0..self.count).filter(|&index| books.owners[index as usize] != Owner::Pool).collect()
    }

    /// Notes something that must not be done.
    pub(super) fn complain(&self, what: String) {
        self.books().violations.push(what);
    }

    /// What was done that must not be, since the last call.
    pub(super) fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.books().violations)
    }

    /// The header of buffer `index`, which is below the pool's count.
    pub(super) fn header(&self, index: u32) -> *mut BufferHeader {
        debug_assert!(index < self.count, "a buffer of the pool");
        self.base.wrapping_add(index as usize * BUFFER_STRIDE).cast()
    }

    /// The bytes of a buffer from its headroom on.
    pub(super) fn body(&self, index: u32) -> *mut u8 {
        self.header(index).cast::<u8>().wrapping_add(BUFFER_DATA_OFFSET - crate::abi::BUFFER_HEADROOM_BYTES)
    }
}
