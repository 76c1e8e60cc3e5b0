//! Building decision trees.
//!
//! A node looks at one window of bits and has a child for each value; a leaf is a few entries in their order. An entry that
//! leaves a window's bits open belongs to several children, so entries are first parted by what they name, see [`parts`]: a part
//! has a table of roots, of which a hash of what all of it name chooses one.

use super::entry::Entry;
use super::leaf::{Block, LANES};
use super::parts::{Part, entry_words, hash, parts};
use super::window::{Window, candidates};

/// Entries that are rather compared one after the other than told apart.
const LEAF: usize = 12;
/// Nodes from the root to a leaf, at most.
const DEPTH: usize = 12;
/// Bits of a window, at most.
const WIDEST: u8 = 10;
/// Entries by which windows are judged.
const SAMPLE: usize = 512;
/// Copies of entries in all leaves, for each entry, beyond which nodes become leaves.
const COPIES: usize = 24;

/// A node: a window, and where its children are; or a leaf, and where its entries are.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Node {
    /// First child, or first block of entries.
    pub(super) base: u32,
    /// The window's mask; of a leaf the number of blocks.
    pub(super) mask: u16,
    pub(super) word: u8,
    /// Of a leaf where its first rule is among all, in steps of [`Builder::step`].
    pub(super) shift: u8,
}

impl Node {
    /// In the place of a word: the node is a leaf.
    pub(super) const LEAF: u8 = u8::MAX;
    /// A leaf without entries.
    pub(super) const EMPTY: Self = Self { base: 0, mask: 0, word: Self::LEAF, shift: 0 };

    #[inline(always)]
    pub(super) const fn is_leaf(self) -> bool {
        self.word == Self::LEAF
    }
}

/// A tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree<const W: usize> {
    /// The first rule that is in it.
    pub(super) first_rule: u32,
    /// Where its root is, or where its roots begin.
    pub(super) base: u32,
    /// How far a packet's hash is shifted to be the number of its root; 64 if there is one root.
    pub(super) shift: u32,
    /// The bits of a packet that are hashed.
    pub(super) masks: [u32; W],
}

impl<const W: usize> Tree<W> {
    /// Where the root for a packet is among the nodes.
    #[inline(always)]
    pub(super) fn root_at(&self, words: &[u32; W]) -> usize {
        // In two steps, since a shift by all bits is none.
        (hash(words, &self.masks) >> 1 >> (self.shift - 1)) as usize + self.base as usize
    }
}

/// Trees under construction.
pub(super) struct Builder<'e, const W: usize> {
    entries: &'e [Entry<W>],
    pub(super) nodes: Vec<Node>,
    pub(super) leaves: Vec<Block<W>>,
    most_leaves: usize,
    /// Rules are told apart by leaves in such steps.
    pub(super) step: u32,
}

impl<'e, const W: usize> Builder<'e, W> {
    /// For entries in the order in which they are compared.
    pub(super) fn new(entries: &'e [Entry<W>]) -> Self {
        let most_leaves = (entries.len() * COPIES + 4096) / LANES;
        let step = entries.last().map_or(0, |entry| entry.rule) / (u32::from(u8::MAX) + 1) + 1;
        Self { entries, nodes: Vec::new(), leaves: Vec::new(), most_leaves, step }
    }

    /// Builds the trees, in the order of their first rules.
    pub(super) fn build(&mut self) -> Vec<Tree<W>> {
        let mut trees: Vec<_> = parts(self.entries).into_iter().map(|part| self.tree(part)).collect();
        trees.sort_by_key(|tree| tree.first_rule);
        trees
    }

    fn tree(&mut self, Part { masks, numbers }: Part<W>) -> Tree<W> {
        let words = |number: u32| entry_words(&self.entries[number as usize]);
        let mut by_place: Vec<(u64, u32)> =
            numbers.iter().map(|&number| (hash(&words(number), &masks), number)).collect();
        by_place.sort_unstable();
        let different = by_place.chunk_by(|one, other| one.0 == other.0).count();
        let bits = if different == 1 { 0 } else { (different * 2).next_power_of_two().trailing_zeros() };
        let base = self.nodes.len();
        let first_rule = numbers.first().map_or(0, |&number| self.entries[number as usize].rule);
        let tree = Tree { first_rule, base: base as u32, shift: u64::BITS - bits, masks };
        self.nodes.resize(base + (1 << bits), Node::EMPTY);
        let mut roots: Vec<(usize, u32)> =
            by_place.iter().map(|&(_, number)| (tree.root_at(&words(number)), number)).collect();
        roots.sort_unstable();
        for bucket in roots.chunk_by(|one, other| one.0 == other.0) {
            let node = self.node(bucket.iter().map(|(_, number)| *number).collect(), 0);
            self.nodes[bucket[0].0] = node;
        }
        tree
    }

    fn node(&mut self, mut numbers: Vec<u32>, depth: usize) -> Node {
        // Behind an entry that matches all packets none is reached.
        if let Some(end) = numbers.iter().position(|&number| self.entries[number as usize].is_all()) {
            numbers.truncate(end + 1);
        }
        if numbers.len() <= LEAF || depth >= DEPTH || self.leaves.len() > self.most_leaves {
            return self.leaf(&numbers);
        }
        let Some(window) = self.best_window(&numbers) else { return self.leaf(&numbers) };
        let children = window.mask() as usize + 1;
        let mut lists: Vec<Vec<u32>> = vec![Vec::new(); children];
        for &number in &numbers {
            let share = window.share(&self.entries[number as usize]);
            for step in 0..share.count {
                lists[((share.first + step) & window.mask()) as usize].push(number);
            }
        }
        drop(numbers);
        let base = self.nodes.len();
        self.nodes.resize(base + children, Node::EMPTY);
        let mut same: Option<(Vec<u32>, Node)> = None;
        for (child, list) in lists.into_iter().enumerate() {
            // Neighbours often have the same entries: they share what is below.
            let node = match &same {
                Some((entries, node)) if *entries == list => *node,
                _ => {
                    let node = self.node(list.clone(), depth + 1);
                    same = Some((list, node));
                    node
                }
            };
            self.nodes[base + child] = node;
        }
        Node { base: base as u32, mask: window.mask() as u16, word: window.word, shift: window.shift }
    }

    fn leaf(&mut self, numbers: &[u32]) -> Node {
        let Some(&first) = numbers.first() else { return Node::EMPTY };
        let base = self.leaves.len() as u32;
        // A leaf of more blocks than fit its count cannot be: rules do not become as many entries.
        for numbers in numbers.chunks(LANES) {
            self.leaves.push(Block::new(numbers.iter().map(|&number| self.entries[number as usize])));
        }
        let blocks = numbers.len().div_ceil(LANES).min(usize::from(u16::MAX)) as u16;
        let shift = (self.entries[first as usize].rule / self.step).min(u8::MAX.into()) as u8;
        Node { base, mask: blocks, word: Node::LEAF, shift }
    }

    /// The window whose children have the fewest entries, weighted by themselves; `None` if none helps.
    fn best_window(&self, numbers: &[u32]) -> Option<Window> {
        let stride = numbers.len().div_ceil(SAMPLE);
        let sample: Vec<u32> = numbers.iter().copied().step_by(stride).collect();
        let width =
            (usize::BITS - (numbers.len() / (LEAF / 2)).leading_zeros()).clamp(2, u32::from(WIDEST)) as u8;
        let mut best: Option<(f64, Window)> = None;
        let mut steps = vec![0_i32; (1 << WIDEST) + 1];
        for width in [width, width.div_ceil(2).max(2)] {
            for window in candidates::<W>(width) {
                let cost = self.cost(&sample, window, &mut steps);
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, window));
                }
            }
        }
        best.filter(|(cost, _)| *cost < 0.85 * sample.len() as f64).map(|(_, window)| window)
    }

    /// What a packet has to look at behind the window: half as if packets came evenly to all children, half as if they came
    /// to where entries are; and something for each copy.
    fn cost(&self, sample: &[u32], window: Window, steps: &mut [i32]) -> f64 {
        let children = window.mask() as usize + 1;
        steps[..=children].fill(0);
        let mut copies = 0;
        for &number in sample {
            let share = window.share(&self.entries[number as usize]);
            copies += share.count as usize;
            let (first, end) = (share.first as usize, (share.first + share.count) as usize);
            steps[first] += 1;
            if end <= children {
                steps[end] -= 1;
            } else {
                steps[children] -= 1;
                steps[0] += 1;
                steps[end - children] -= 1;
            }
        }
        let (mut here, mut squares) = (0_i64, 0_i64);
        for &step in &steps[..children] {
            here += i64::from(step);
            squares += here * here;
        }
        let (even, at_entries) = (copies as f64 / children as f64, squares as f64 / copies.max(1) as f64);
        let spread = copies as f64 / sample.len() as f64;
        (even + at_entries) / 2.0 + spread.min(16.0) * 0.02 * sample.len() as f64 / children as f64
    }
}
