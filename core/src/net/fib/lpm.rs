//! Longest prefix match tables: one writer, any number of readers on other threads.

use std::io;
use std::sync::Arc;

use super::address::{Address, Prefix};
use super::block::{AtomicU32, Ordering, Words};
use super::entry::{Entry, LeafIndex, MAX_LEAF};
use super::lookup::{CACHED_BYTES, ROOT_ENTRIES, Shared};
use super::nodes::Nodes;
use super::stems::{STEM_BITS, Stems};
use super::trie::{Change, Paint};

/// The writer's handle of an IPv4 table.
pub type Lpm4 = Lpm<u32>;
/// The writer's handle of an IPv6 table.
pub type Lpm6 = Lpm<u128>;
/// A reader's handle of an IPv4 table.
pub type LpmReader4 = LpmReader<u32>;
/// A reader's handle of an IPv6 table.
pub type LpmReader6 = LpmReader<u128>;

/// Why a forwarding table cannot take a change.
#[derive(Debug, thiserror::Error)]
pub enum LpmError {
    /// the forwarding table cannot grow past {bytes} bytes of nodes: {source}
    #[error("the forwarding table cannot grow past {bytes} bytes of nodes: {source}")]
    Memory {
        /// Bytes in use.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
    /// leaf index {leaf} is not in 1..={MAX_LEAF}
    #[error("leaf index {leaf} is not in 1..={MAX_LEAF}")]
    Leaf {
        /// The index given.
        leaf: LeafIndex,
    },
}

/// A longest prefix match table, as its one writer holds it.
///
/// The table is a forwarding structure only: it does not know the set of its prefixes. Its owner tells it, on removal, which prefix
/// takes over; [`Fib`](super::Fib) does so. Changes are visible to readers at once: a lookup that runs beside a change
/// gives the leaf from before or from after it.
///
/// Memory that readers may still see is kept until [`Lpm::reclaim`]; without that call each change may use up 64 bytes
/// or more.
pub struct Lpm<A> {
    nodes: Nodes,
    reader: LpmReader<A>,
}

impl<A: Address> Lpm<A> {
    /// An empty table. It reserves address space, and takes memory only as prefixes come.
    ///
    /// # Errors
    /// When the process cannot reserve address space.
    pub fn new() -> io::Result<Self> {
        let root = Words::reserve(ROOT_ENTRIES, ROOT_ENTRIES)?;
        root.commit(ROOT_ENTRIES)?;
        let shared = Arc::new(Shared {
            root,
            nodes: Nodes::reserve_words()?,
            default: AtomicU32::new(0),
            large: AtomicU32::new(0),
            stems: Stems::new(A::BITS > STEM_BITS)?,
        });
        let reader = LpmReader { shared: Arc::clone(&shared), family: core::marker::PhantomData };
        Ok(Self { nodes: Nodes::new(shared)?, reader })
    }

    /// A handle for lookups on any thread.
    pub fn reader(&self) -> LpmReader<A> {
        self.reader.clone()
    }

    /// Adds `prefix`, or gives it another leaf.
    ///
    /// # Errors
    /// When the leaf is 0 or above [`MAX_LEAF`], or memory has run out; nothing has changed then.
    pub fn insert(&mut self, prefix: Prefix<A>, leaf: LeafIndex) -> Result<(), LpmError> {
        if leaf == 0 || leaf > MAX_LEAF {
            return Err(LpmError::Leaf { leaf });
        }
        self.change(prefix, |depth| Paint { exact: false, depth, value: Entry::leaf(leaf, depth) }, leaf)
    }

    /// Removes `prefix`, which is in the table. `cover` is the longest shorter prefix in the table that covers it, and that prefix's
    /// leaf.
    ///
    /// # Errors
    /// When memory has run out; nothing has changed then.
    pub fn remove(
        &mut self,
        prefix: Prefix<A>,
        cover: Option<(Prefix<A>, LeafIndex)>,
    ) -> Result<(), LpmError> {
        debug_assert!(cover.is_none_or(|(cover, _)| cover.len() < prefix.len() && cover.covers(prefix)));
        let stratum_start = (u32::from(prefix.len()).max(1) - 1) / 16 * 16;
        let value = match cover {
            Some((cover, leaf)) if cover.len() > 0 => {
                Entry::leaf(leaf, u32::from(cover.len()).saturating_sub(stratum_start))
            }
            // The default route stays outside the trie.
            _ => Entry::EMPTY,
        };
        self.change(prefix, |depth| Paint { exact: true, depth, value }, 0)
    }

    fn change(
        &mut self,
        prefix: Prefix<A>,
        paint: impl FnOnce(u32) -> Paint,
        default: LeafIndex,
    ) -> Result<(), LpmError> {
        let len = u32::from(prefix.len());
        if len == 0 {
            self.reader.shared.default.store(default, Ordering::Release);
            return Ok(());
        }
        let bytes = self.nodes.used_bytes();
        self.nodes.make_room().map_err(|source| LpmError::Memory { bytes, source })?;
        let paint = paint((len - 1) % 16 + 1);
        self.nodes.apply(Change { rest: prefix.address(), len, paint });
        if prefix.len() > STEM_BITS {
            self.reader.shared.renew_stem(prefix.address());
        }
        let large = u32::from(self.nodes.used_bytes() > CACHED_BYTES);
        if self.reader.shared.large.load(Ordering::Relaxed) != large {
            self.reader.shared.large.store(large, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Tells the number of the epoch that has begun. What is retired from now on carries it.
    pub fn set_epoch(&mut self, current: u64) {
        self.nodes.set_epoch(current);
    }

    /// Makes memory reusable that was retired in epochs before `safe_epoch`: every reader has passed a quiescent point since
    /// [`set_epoch`](Self::set_epoch) was called with `safe_epoch`.
    pub fn reclaim(&mut self, safe_epoch: u64) {
        self.nodes.reclaim(safe_epoch);
    }

    /// Bytes in nodes, those that wait for readers included. The first table, up to 256 KiB, is not counted.
    pub fn used_bytes(&self) -> usize {
        self.nodes.used_bytes()
    }

    /// Number of nodes that wait for readers.
    pub fn retired_nodes(&self) -> usize {
        self.nodes.retired()
    }
}

impl<A: Address> core::ops::Deref for Lpm<A> {
    type Target = LpmReader<A>;

    fn deref(&self) -> &LpmReader<A> {
        &self.reader
    }
}

/// A reader of a longest prefix match table. Lookups take no lock and allocate nothing.
///
/// A thread that reads while another writes must tell the writer's owner of its quiescent points (see [`Lpm::reclaim`]):
/// between two of them what a lookup follows is not reused.
pub struct LpmReader<A> {
    shared: Arc<Shared>,
    family: core::marker::PhantomData<fn(A)>,
}

impl<A> Clone for LpmReader<A> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), family: core::marker::PhantomData }
    }
}

impl<A: Address> LpmReader<A> {
    /// The leaf of the longest prefix that covers `address`, or 0 if none does.
    #[inline(always)]
    pub fn lookup(&self, address: A) -> LeafIndex {
        self.shared.lookup(address)
    }

    /// As [`Self::lookup`], without the default route.
    #[inline]
    pub fn lookup_specific(&self, address: A) -> LeafIndex {
        self.shared.lookup_specific(address)
    }

    /// Fetches what a lookup of `address` reads first into the cache.
    #[inline(always)]
    pub fn prefetch(&self, address: A) {
        self.shared.prefetch(address);
    }

    /// Looks each address up into the leaf at the same place, with the cache misses of the whole frame in flight together.
    ///
    /// # Panics
    /// When the slices differ in length.
    #[inline]
    pub fn lookup_frame(&self, addresses: &[A], leaves: &mut [LeafIndex]) {
        self.shared.lookup_frame(addresses, leaves);
    }
}

#[cfg(all(test, not(loom)))]
#[path = "lpm_tests.rs"]
mod tests;

#[cfg(all(test, not(loom)))]
#[path = "lpm_stress_tests.rs"]
mod stress_tests;
