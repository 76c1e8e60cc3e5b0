//! The compiled form of lists: the first rule that matches a packet.

use raddle_plugin_api::abi::FRAME_SIZE;
use raddle_plugin_api::prefetch_read;

use super::entry::{Entry, Key};
use super::tree::{Builder, Node, Tree};

/// No rule matches.
pub const NO_RULE: u32 = u32::MAX;

/// A table of rules in which a packet's first match is found by a few windows of its bits.
///
/// ```text
/// root ── window ─┬─ window ─┬─ leaf: entries in order
///                 │          └─ leaf
///                 └─ leaf
/// ```
#[derive(Debug)]
pub struct Classifier<const W: usize> {
    trees: Box<[Tree]>,
    nodes: Box<[Node]>,
    leaves: Box<[Entry<W>]>,
    entries: usize,
}

/// Where the packets of a frame are on their way down a tree.
pub struct Walk {
    /// The node that each packet has come to.
    nodes: [Node; FRAME_SIZE],
    /// Packets that have a way to go.
    active: [u16; FRAME_SIZE],
    /// Packets that are at a leaf.
    arrived: [u16; FRAME_SIZE],
}

impl Default for Walk {
    fn default() -> Self {
        Self { nodes: [Node::EMPTY; FRAME_SIZE], active: [0; FRAME_SIZE], arrived: [0; FRAME_SIZE] }
    }
}

impl<const W: usize> Classifier<W> {
    /// Compiles entries, which are in the order in which they are compared.
    pub fn new(entries: &[Entry<W>]) -> Self {
        let mut builder = Builder::new(entries);
        let trees = builder.build().into();
        Self { trees, nodes: builder.nodes.into(), leaves: builder.leaves.into(), entries: entries.len() }
    }

    /// The first rule that matches, or [`NO_RULE`].
    #[inline(always)]
    pub fn find(&self, key: &Key<W>) -> u32 {
        let mut found = NO_RULE;
        for tree in &self.trees {
            // In the order of their first rules: no later tree has an earlier rule than this one's first.
            if tree.first_rule > found {
                break;
            }
            found = found.min(self.find_in(tree, key));
        }
        found
    }

    /// [`Self::find`] for all packets of a frame at once, so that their cache misses overlap: they go down each tree together,
    /// a level at a time.
    pub fn find_frame(&self, keys: &[Key<W>], places: &mut [u32], walk: &mut Walk) {
        let count = keys.len().min(places.len()).min(FRAME_SIZE);
        let (keys, places) = (&keys[..count], &mut places[..count]);
        places.fill(NO_RULE);
        for tree in &self.trees {
            if tree.root.is_leaf() {
                let leaf = self.leaf(tree.root);
                for (key, place) in keys.iter().zip(places.iter_mut()) {
                    *place = (*place).min(first_match(leaf, key));
                }
                continue;
            }
            // No later tree has an earlier rule than this one's first.
            let mut active = 0;
            for (at, &place) in places.iter().enumerate() {
                walk.active[active % FRAME_SIZE] = at as u16;
                active += usize::from(tree.first_rule < place);
            }
            let arrived = self.descend(tree.root, keys, active, walk);
            for &at in &walk.arrived[..arrived] {
                let (at, leaf) = (usize::from(at), walk.nodes[usize::from(at) % FRAME_SIZE]);
                places[at] = places[at].min(first_match(self.leaf(leaf), &keys[at]));
            }
        }
    }

    /// Has the active packets go down from `root`, which is no leaf, to leaves that are not empty; returns how many got there.
    #[inline(always)]
    fn descend(&self, root: Node, keys: &[Key<W>], mut active: usize, walk: &mut Walk) -> usize {
        for &at in &walk.active[..active] {
            walk.nodes[usize::from(at) % FRAME_SIZE] = root;
        }
        let mut arrived = 0;
        while active > 0 {
            let mut left = 0;
            for step in 0..active {
                let at = walk.active[step % FRAME_SIZE];
                let node = &mut walk.nodes[usize::from(at) % FRAME_SIZE];
                *node = self.child(*node, &keys[usize::from(at)]);
                let is_leaf = node.is_leaf();
                if is_leaf && let Some(entry) = self.leaves.get(node.base as usize) {
                    prefetch_read(entry);
                }
                // Without a branch, since nobody can foresee who arrives.
                walk.active[left % FRAME_SIZE] = at;
                left += usize::from(!is_leaf);
                walk.arrived[arrived % FRAME_SIZE] = at;
                arrived += usize::from(is_leaf & (node.mask != 0));
            }
            active = left;
        }
        arrived
    }

    /// The child of a node that is no leaf, for a packet.
    #[inline(always)]
    fn child(&self, node: Node, key: &Key<W>) -> Node {
        let word = key.words[usize::from(node.word) % W];
        self.nodes[node.base as usize + (word >> (node.shift % 32) & u32::from(node.mask)) as usize]
    }

    #[inline(always)]
    fn leaf(&self, node: Node) -> &[Entry<W>] {
        let base = node.base as usize;
        &self.leaves[base..base + usize::from(node.mask)]
    }

    #[inline(always)]
    fn find_in(&self, tree: &Tree, key: &Key<W>) -> u32 {
        let mut node = tree.root;
        while !node.is_leaf() {
            node = self.child(node, key);
        }
        first_match(self.leaf(node), key)
    }

    /// Entries that were compiled.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.trees) + size_of_val(&*self.nodes) + size_of_val(&*self.leaves)
    }

    /// Trees that a packet may have to go through.
    pub fn trees(&self) -> usize {
        self.trees.len()
    }
}

/// The rule of the first entry that matches, or [`NO_RULE`].
#[inline(always)]
fn first_match<const W: usize>(entries: &[Entry<W>], key: &Key<W>) -> u32 {
    entries.iter().find(|entry| entry.matches(key)).map_or(NO_RULE, |entry| entry.rule)
}
