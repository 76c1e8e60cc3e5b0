//! One word of a forwarding trie: a leaf or a reference to a node.

/// Index of a forwarding object (an adjacency or a set of paths), which its owner hands out. Zero means "no route".
pub type LeafIndex = u32;

/// The greatest [`LeafIndex`] that a table can hold.
pub const MAX_LEAF: LeafIndex = (1 << 24) - 1;

const LEAF_MASK: u32 = MAX_LEAF;
const DEPTH_SHIFT: u32 = 24;
const UNIT_MASK: u32 = (1 << 29) - 1;
const KIND_SHIFT: u32 = 29;

/// Number of units that a node reference can name.
pub(super) const MAX_UNITS: usize = 1 << 29;

/// Node kinds, as the top three bits of an entry.
pub(super) mod kind {
    /// 256 entries, one for each value of the next 8 bits (16 units).
    pub(in super::super) const FULL: u32 = 0b100;
    /// Up to 12 runs over the next 8 bits (one unit).
    pub(in super::super) const PACKED: u32 = 0b101;
    /// Up to 9 runs over the next 16 bits (one unit).
    pub(in super::super) const SPARSE: u32 = 0b110;
}

/// A word of the trie.
///
/// A leaf carries its prefix's length inside its stratum of 16 bits, 1 to 16, or 0 when it was inherited from a stratum above
/// (or is no route at all). The length is for the writer, which decides by it what a change may overwrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(pub(super) u32);

impl Entry {
    /// No route: falls through to the table's default.
    pub(super) const EMPTY: Self = Self(0);

    pub(super) fn leaf(leaf: LeafIndex, depth: u32) -> Self {
        debug_assert!(leaf <= MAX_LEAF && depth <= 16);
        Self(leaf | depth << DEPTH_SHIFT)
    }

    pub(super) fn node(kind: u32, unit: usize) -> Self {
        debug_assert!(unit < MAX_UNITS);
        Self(kind << KIND_SHIFT | unit as u32)
    }

    #[inline(always)]
    pub(super) fn is_node(self) -> bool {
        (self.0 as i32) < 0
    }

    #[inline(always)]
    pub(super) fn kind(self) -> u32 {
        self.0 >> KIND_SHIFT
    }

    #[inline(always)]
    pub(super) fn unit(self) -> usize {
        (self.0 & UNIT_MASK) as usize
    }

    #[inline(always)]
    pub(super) fn leaf_index(self) -> LeafIndex {
        self.0 & LEAF_MASK
    }

    pub(super) fn depth(self) -> u32 {
        (self.0 >> DEPTH_SHIFT) & 31
    }

    /// The same leaf as the stratum below sees it.
    pub(super) fn inherited(self) -> Self {
        Self(self.0 & LEAF_MASK)
    }
}
