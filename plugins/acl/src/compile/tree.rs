//! Building decision trees.
//!
//! A node looks at one window of bits and has a child for each value; a leaf is a few entries in their order. An entry that
//! leaves a window's bits open belongs to several children, so entries are first parted by which addresses they name, and
//! each part has a tree of its own (as in EffiCuts, Vamanan et al., SIGCOMM 2010): within one all entries can be told
//! apart by the same bits.

use super::entry::Entry;
use super::window::{Window, candidates};

/// Entries that are rather compared one after the other than told apart.
const LEAF: usize = 6;
/// Nodes from the root to a leaf, at most.
const DEPTH: usize = 12;
/// Bits of a window, at most.
const WIDEST: u8 = 10;
/// Entries by which windows are judged.
const SAMPLE: usize = 512;
/// Parts of fewer entries than this are not worth a tree of their own.
const SMALL_PART: usize = 12;
/// Entries that no parting is worth it for.
const ONE_TREE: usize = 24;
/// Copies of entries in all leaves, for each entry, beyond which nodes become leaves.
const COPIES: usize = 24;

/// A node: a window, and where its children are; or a leaf, and where its entries are.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Node {
    /// First child, or first entry.
    pub(super) base: u32,
    /// The window's mask; of a leaf the number of entries.
    pub(super) mask: u16,
    pub(super) word: u8,
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

/// A tree: its root, and the first rule that is in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
    pub(super) root: Node,
    pub(super) first_rule: u32,
}

/// Trees under construction.
pub(super) struct Builder<'e, const W: usize> {
    entries: &'e [Entry<W>],
    pub(super) nodes: Vec<Node>,
    pub(super) leaves: Vec<Entry<W>>,
    most_leaves: usize,
}

impl<'e, const W: usize> Builder<'e, W> {
    /// For entries in the order in which they are compared.
    pub(super) fn new(entries: &'e [Entry<W>]) -> Self {
        let most_leaves = entries.len() * COPIES + 4096;
        Self { entries, nodes: Vec::new(), leaves: Vec::new(), most_leaves }
    }

    /// Builds the trees, in the order of their first rules.
    pub(super) fn build(&mut self) -> Vec<Tree> {
        let mut trees: Vec<Tree> = self
            .parts()
            .into_iter()
            .map(|part| Tree { first_rule: self.entries[part[0] as usize].rule, root: self.node(part, 0) })
            .collect();
        trees.sort_by_key(|tree| tree.first_rule);
        trees
    }

    /// The entries, parted by which addresses they name well enough.
    fn parts(&self) -> Vec<Vec<u32>> {
        let all = 0..self.entries.len() as u32;
        if self.entries.len() <= ONE_TREE {
            return if self.entries.is_empty() { Vec::new() } else { vec![all.collect()] };
        }
        let mut parts: [Vec<u32>; 4] = Default::default();
        for number in all {
            let masks = &self.entries[number as usize].masks;
            let named = |words: &[u32]| words.iter().map(|mask| mask.count_ones()).sum::<u32>() >= 12;
            let half = (W - 2) / 2;
            let part = usize::from(named(&masks[..half])) << 1 | usize::from(named(&masks[half..W - 2]));
            parts[part].push(number);
        }
        // Small parts go where they do least harm: those that name nothing last.
        let largest = (0..4).max_by_key(|&part| parts[part].len()).unwrap_or(0);
        let small = SMALL_PART.max(self.entries.len() / 64);
        for part in 0..4 {
            if part != largest && parts[part].len() < small {
                let moved = std::mem::take(&mut parts[part]);
                parts[largest].extend(moved);
            }
        }
        parts[largest].sort_unstable();
        parts.into_iter().filter(|part| !part.is_empty()).collect()
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
        let base = self.leaves.len() as u32;
        // A leaf of more entries than fit its count cannot be: `Classifier` refuses as many entries.
        self.leaves.extend(numbers.iter().map(|&number| self.entries[number as usize]));
        Node { base, mask: numbers.len().min(usize::from(u16::MAX)) as u16, word: Node::LEAF, shift: 0 }
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
