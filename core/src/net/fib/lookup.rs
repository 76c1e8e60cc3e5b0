//! The readers' side of a forwarding trie: longest prefix match without locks or allocation.
//!
//! The first 16 bits of an address index a table; from there each node consumes 8 or 16 bits until an entry is a leaf. Leaves are
//! pushed down, so the first leaf met is the answer, and entry 0 means the table's default route, which is kept
//! apart so that it never fills anything.

use super::address::Address;
use super::block::{AtomicU32, Ordering, UNIT_WORDS, Words};
use super::entry::{Entry, LeafIndex, kind};
use super::rank::{rank8, rank16};

/// First word of the entries in a packed or sparse node, behind its starts.
pub(super) const RUN_ENTRIES: usize = 4;

/// Number of entries in the first table.
pub(super) const ROOT_ENTRIES: usize = 1 << 16;

/// A window of 64 bits taken at bit 16 serves steps of 16 bits up to this bit.
const WINDOW_LAST: u32 = 64;

/// Bytes of nodes that stay in a core's own caches, more or less. Up to there a frame's lookups one after the other are
/// fastest: the processor overlaps short waits by itself, and has fewer instructions to do.
pub(super) const CACHED_BYTES: usize = 3 << 19;

/// Packets that one pass of [`Shared::lookup_frame`] has in flight.
const PASS: usize = 256;

/// What writer and readers share.
pub(super) struct Shared {
    /// The entries of the first 16 bits.
    pub(super) root: Words,
    /// Units of nodes.
    pub(super) nodes: Words,
    /// Leaf of the default route.
    pub(super) default: AtomicU32,
    /// 1 when the nodes have outgrown [`CACHED_BYTES`].
    pub(super) large: AtomicU32,
}

impl Shared {
    #[inline(always)]
    fn root_entry<A: Address>(&self, address: A) -> Entry {
        Entry(self.root.at(address.top16()).load(Ordering::Acquire))
    }

    /// One step down from `node` by the first bits of `rest`: the next entry, and how many bits were used.
    #[inline(always)]
    fn step(&self, node: Entry, rest: u64) -> (Entry, u32) {
        let (top8, top16) = ((rest >> 56) as usize, (rest >> 48) as usize);
        let unit = node.unit();
        let (word, bits) = match node.kind() {
            kind::FULL => (top8, 8),
            kind::PACKED => (RUN_ENTRIES + rank8(self.nodes.head(unit), top8), 8),
            _ => (RUN_ENTRIES + rank16(self.nodes.head(unit), top16), 16),
        };
        (Entry(self.nodes.at(unit * UNIT_WORDS + word).load(Ordering::Acquire)), bits)
    }

    #[inline(always)]
    fn or_default(&self, leaf: LeafIndex) -> LeafIndex {
        if leaf == 0 { self.default.load(Ordering::Acquire) } else { leaf }
    }

    #[inline(always)]
    pub(super) fn lookup<A: Address>(&self, address: A) -> LeafIndex {
        let mut entry = self.root_entry(address);
        let (mut rest, mut used) = (address.window(16), 16);
        while entry.is_node() {
            let (next, bits) = self.step(entry, rest);
            entry = next;
            rest <<= bits;
            used += bits;
            if A::BITS > 64 && used > WINDOW_LAST {
                rest = address.window(used);
            }
        }
        self.or_default(entry.leaf_index())
    }

    #[inline(always)]
    pub(super) fn prefetch<A: Address>(&self, address: A) {
        self.root.prefetch(address.top16());
    }

    /// Asks for the cache line that a step from `node` will read.
    #[inline(always)]
    fn prefetch_step(&self, node: Entry, rest: u64) {
        let slot = if node.kind() == kind::FULL { (rest >> 56) as usize } else { 0 };
        self.nodes.prefetch(node.unit() * UNIT_WORDS + slot);
    }

    pub(super) fn lookup_frame<A: Address>(&self, addresses: &[A], leaves: &mut [LeafIndex]) {
        assert_eq!(addresses.len(), leaves.len(), "a leaf for each address");
        if self.large.load(Ordering::Relaxed) != 0 {
            self.lookup_passes(addresses, leaves);
        } else {
            for (address, leaf) in addresses.iter().zip(leaves) {
                *leaf = self.lookup(*address);
            }
        }
    }

    /// Looks addresses up with their cache misses in flight together.
    pub(super) fn lookup_passes<A: Address>(&self, addresses: &[A], leaves: &mut [LeafIndex]) {
        for (addresses, leaves) in addresses.chunks(PASS).zip(leaves.chunks_mut(PASS)) {
            self.lookup_pass(addresses, leaves);
        }
    }

    /// Looks up to [`PASS`] addresses up, level by level: all loads of one level are in flight together.
    #[inline]
    fn lookup_pass<A: Address>(&self, addresses: &[A], leaves: &mut [LeafIndex]) {
        // Until the end, `leaves` holds entries; `pending` lists those which are nodes, `used` the bits consumed.
        let mut pending = [0_u8; PASS];
        let mut used = [16_u8; PASS];
        let mut rests = [0_u64; PASS];
        let mut count = 0_usize;
        for (i, (address, leaf)) in addresses.iter().zip(leaves.iter_mut()).enumerate() {
            let entry = self.root_entry(*address);
            *leaf = entry.0;
            let rest = address.window(16);
            rests[i & (PASS - 1)] = rest;
            pending[count & (PASS - 1)] = i as u8;
            count += usize::from(entry.is_node());
            if entry.is_node() {
                self.prefetch_step(entry, rest);
            }
        }
        while count > 0 {
            let mut left = 0_usize;
            for at in 0..count {
                let i = usize::from(pending[at & (PASS - 1)]);
                let mut rest = rests[i];
                let (entry, bits) = self.step(Entry(leaves[i]), rest);
                leaves[i] = entry.0;
                rest <<= bits;
                if A::BITS > 64 {
                    used[i] += bits as u8;
                    if u32::from(used[i]) > WINDOW_LAST {
                        rest = addresses[i].window(u32::from(used[i]));
                    }
                }
                rests[i] = rest;
                pending[left & (PASS - 1)] = i as u8;
                left += usize::from(entry.is_node());
                if entry.is_node() {
                    self.prefetch_step(entry, rest);
                }
            }
            count = left;
        }
        let default = self.default.load(Ordering::Acquire);
        for leaf in leaves {
            let found = Entry(*leaf).leaf_index();
            *leaf = if found == 0 { default } else { found };
        }
    }
}
