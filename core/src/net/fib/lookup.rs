//! The readers' side of a forwarding trie: longest prefix match without locks or allocation.
//!
//! The first 16 bits of an address index a table; from there each node consumes 8 or 16 bits until an entry is a leaf. Leaves are
//! pushed down, so the first leaf met is the answer, and entry 0 means the table's default route, which is kept
//! apart so that it never fills anything. IPv6 lookups begin at bit 32 where they can (see [`Stems`]).

use core::hint::select_unpredictable;

use super::address::Address;
use super::block::{AtomicU32, Ordering, UNIT_WORDS, Words};
use super::entry::{Entry, LeafIndex, kind};
use super::rank::{rank8, rank16};
use super::stems::{STEM_BITS, Stems};

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
    /// The nodes below the first 32 bits of IPv6 addresses.
    pub(super) stems: Stems,
}

/// Where a lookup is.
#[derive(Clone, Copy)]
struct Place {
    entry: Entry,
    /// The address from here on.
    rest: u64,
    /// Bits of the address that lie behind.
    used: u32,
}

impl Shared {
    #[inline(always)]
    fn root_entry<A: Address>(&self, address: A) -> Entry {
        Entry(self.root.at(address.top16()).load(Ordering::Acquire))
    }

    /// The first place of an address.
    #[inline(always)]
    fn start<A: Address>(&self, address: A) -> Place {
        if A::BITS > STEM_BITS {
            let below = self.stems.find(address.top32());
            // A branch, as nearly every packet goes the same way: choosing without one costs each a load and three moves.
            if below != Entry::EMPTY {
                return Place { entry: below, rest: address.window(32), used: 32 };
            }
        }
        Place { entry: self.root_entry(address), rest: address.window(16), used: 16 }
    }

    /// One step down from a node.
    #[inline(always)]
    fn step<A: Address>(&self, at: Place, address: A) -> Place {
        let (top8, top16) = ((at.rest >> 56) as usize, (at.rest >> 48) as usize);
        let unit = at.entry.unit();
        let (word, bits) = match at.entry.kind() {
            kind::FULL => (top8, 8),
            kind::PACKED => (RUN_ENTRIES + rank8(self.nodes.head(unit), top8), 8),
            _ => (RUN_ENTRIES + rank16(self.nodes.head(unit), top16), 16),
        };
        let entry = Entry(self.nodes.at(unit * UNIT_WORDS + word).load(Ordering::Acquire));
        let used = at.used + bits;
        if A::BITS > 64 && used > WINDOW_LAST {
            return Place { entry, rest: window(address, used), used };
        }
        Place { entry, rest: at.rest << bits, used }
    }

    /// A step down if the place is a packed node, without a branch; else the place as it is. Below a full node either is as
    /// likely, and a branch that the processor cannot foresee costs more than a step in vain, which is taken at unit 0.
    #[inline(always)]
    fn step_if_packed(&self, at: Place) -> Place {
        let is_packed = at.entry.kind() == kind::PACKED;
        let unit = select_unpredictable(is_packed, at.entry.unit(), 0);
        let word = unit * UNIT_WORDS + RUN_ENTRIES + rank8(self.nodes.head(unit), (at.rest >> 56) as usize);
        let entry = self.nodes.at(word).load(Ordering::Acquire);
        let bits = select_unpredictable(is_packed, 8, 0);
        Place {
            entry: Entry(select_unpredictable(is_packed, entry, at.entry.0)),
            rest: at.rest << bits,
            used: at.used + bits,
        }
    }

    /// Notes the node below the first 32 bits of an address. The one writer, after a change below them.
    pub(super) fn renew_stem<A: Address>(&self, address: A) {
        let mut at = Place { entry: self.root_entry(address), rest: address.window(16), used: 16 };
        while at.entry.is_node() && at.used < u32::from(STEM_BITS) {
            at = self.step(at, address);
        }
        self.stems.set(address.top32(), at.entry);
    }

    #[inline(always)]
    fn or_default(&self, leaf: LeafIndex) -> LeafIndex {
        if leaf == 0 { self.default.load(Ordering::Acquire) } else { leaf }
    }

    #[inline(always)]
    pub(super) fn lookup<A: Address>(&self, address: A) -> LeafIndex {
        self.or_default(self.lookup_specific(address))
    }

    /// As [`Self::lookup`], without the default route.
    #[inline(always)]
    pub(super) fn lookup_specific<A: Address>(&self, address: A) -> LeafIndex {
        let mut at = self.start(address);
        if at.entry.kind() == kind::FULL {
            at = self.step_if_packed(self.step(at, address));
        }
        while at.entry.is_node() {
            at = self.step(at, address);
        }
        at.entry.leaf_index()
    }

    #[inline(always)]
    pub(super) fn prefetch<A: Address>(&self, address: A) {
        self.root.prefetch(address.top16());
        if A::BITS > STEM_BITS {
            self.stems.prefetch(address.top32());
        }
    }

    /// Asks for the cache line that a step from a node will read.
    #[inline(always)]
    fn prefetch_step(&self, at: Place) {
        let slot = if at.entry.kind() == kind::FULL { (at.rest >> 56) as usize } else { 0 };
        self.nodes.prefetch(at.entry.unit() * UNIT_WORDS + slot);
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
        let mut used = [0_u8; PASS];
        let mut rests = [0_u64; PASS];
        let mut count = 0_usize;
        if A::BITS > STEM_BITS {
            for address in addresses {
                self.stems.prefetch(address.top32());
            }
        }
        for (i, (address, leaf)) in addresses.iter().zip(leaves.iter_mut()).enumerate() {
            let at = self.start(*address);
            *leaf = at.entry.0;
            rests[i & (PASS - 1)] = at.rest;
            used[i & (PASS - 1)] = at.used as u8;
            pending[count & (PASS - 1)] = i as u8;
            count += usize::from(at.entry.is_node());
            if at.entry.is_node() {
                self.prefetch_step(at);
            }
        }
        while count > 0 {
            let mut left = 0_usize;
            for at in 0..count {
                let i = usize::from(pending[at & (PASS - 1)]);
                let at = Place { entry: Entry(leaves[i]), rest: rests[i], used: u32::from(used[i]) };
                let at = self.step(at, addresses[i]);
                leaves[i] = at.entry.0;
                rests[i] = at.rest;
                used[i] = at.used as u8;
                pending[left & (PASS - 1)] = i as u8;
                left += usize::from(at.entry.is_node());
                if at.entry.is_node() {
                    self.prefetch_step(at);
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

/// [`Address::window`] out of the way: few prefixes are long enough for it, and the shift by any number of bits is slow.
#[cold]
#[inline(never)]
fn window<A: Address>(address: A, from: u32) -> u64 {
    address.window(from)
}
