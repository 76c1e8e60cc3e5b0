//! The compiled form of lists: the first rule that matches a packet.

use raddle_plugin_api::abi::FRAME_SIZE;
use raddle_plugin_api::prefetch_read;

use super::entry::{Entry, Key};
use super::leaf::Block;
use super::tree::{Builder, Node, Tree};

/// No rule matches.
pub const NO_RULE: u32 = u32::MAX;

/// Tables of rules in which a packet's first match is found: in each table by a hash of some of its bits, and where many rules
/// share those by a few windows of others.
///
/// ```text
/// hash ─┬─ leaf: entries in order
///       └─ window ─┬─ window ─┬─ leaf
///                  │          └─ leaf
///                  └─ leaf
/// ```
#[derive(Debug)]
pub struct Classifier<const W: usize> {
    trees: Box<[Tree<W>]>,
    nodes: Box<[Node]>,
    leaves: Box<[Block<W>]>,
    entries: usize,
    /// In what steps leaves tell their first rules.
    step: u32,
}

/// Where the packets of a frame are on their way down a tree.
pub struct Walk {
    /// The root that each active packet begins at.
    roots: [u32; FRAME_SIZE],
    /// The node that each packet has come to.
    nodes: [Node; FRAME_SIZE],
    /// Packets that have a way to go.
    active: [u16; FRAME_SIZE],
    /// Packets that are at a leaf.
    arrived: [u16; FRAME_SIZE],
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            roots: [0; FRAME_SIZE],
            nodes: [Node::EMPTY; FRAME_SIZE],
            active: [0; FRAME_SIZE],
            arrived: [0; FRAME_SIZE],
        }
    }
}

impl<const W: usize> Classifier<W> {
    /// Compiles entries, which are in the order in which they are compared.
    pub fn new(entries: &[Entry<W>]) -> Self {
        let mut builder = Builder::new(entries);
        let trees = builder.build().into();
        let Builder { nodes, leaves, step, .. } = builder;
        Self { trees, nodes: nodes.into(), leaves: leaves.into(), entries: entries.len(), step }
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
            let mut node = self.nodes[tree.root_at(&key.words)];
            while !node.is_leaf() {
                node = self.child(node, key);
            }
            found = found.min(self.first_match(node, key));
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
            let (mut active, mut arrived) = (0, 0);
            let only = self.nodes.get(tree.base as usize).filter(|_| tree.shift == u64::BITS);
            if let Some(&root) = only.filter(|root| root.is_leaf()) {
                for (key, place) in keys.iter().zip(places.iter_mut()) {
                    *place = (*place).min(self.first_match(root, key));
                }
                continue;
            }
            for (at, (key, &place)) in keys.iter().zip(&*places).enumerate() {
                // No later tree has an earlier rule than this one's first.
                let root = tree.root_at(&key.words);
                walk.roots[active % FRAME_SIZE] = root as u32;
                walk.active[active % FRAME_SIZE] = at as u16;
                if let Some(root) = self.nodes.get(root) {
                    prefetch_read(root);
                }
                active += usize::from(tree.first_rule < place);
            }
            let mut left = 0;
            for step in 0..active.min(FRAME_SIZE) {
                let at = walk.active[step];
                let node = self.nodes[walk.roots[step] as usize];
                walk.nodes[usize::from(at) % FRAME_SIZE] = node;
                self.arrive(at, node, places[usize::from(at)], walk, (&mut left, &mut arrived));
            }
            self.descend(keys, places, left, &mut arrived, walk);
            for &at in &walk.arrived[..arrived.min(FRAME_SIZE)] {
                let (at, leaf) = (usize::from(at), walk.nodes[usize::from(at) % FRAME_SIZE]);
                places[at] = places[at].min(self.first_match(leaf, &keys[at]));
            }
        }
    }

    /// Notes that a packet has come to a node: that it is to go on, or that it is at a leaf that may have an earlier rule than
    /// the one found.
    #[inline(always)]
    fn arrive(
        &self,
        at: u16,
        node: Node,
        place: u32,
        walk: &mut Walk,
        (left, arrived): (&mut usize, &mut usize),
    ) {
        let is_leaf = node.is_leaf();
        if is_leaf && let Some(block) = self.leaves.get(node.base as usize) {
            prefetch_read(block);
        }
        // Without a branch, since nobody can foresee who arrives.
        walk.active[*left % FRAME_SIZE] = at;
        *left += usize::from(!is_leaf);
        walk.arrived[*arrived % FRAME_SIZE] = at;
        let may_be_earlier = u32::from(node.shift) * self.step < place;
        *arrived += usize::from(is_leaf & (node.mask != 0) & may_be_earlier);
    }

    /// Has the active packets go down to leaves.
    #[inline(always)]
    fn descend(
        &self,
        keys: &[Key<W>],
        places: &[u32],
        mut active: usize,
        arrived: &mut usize,
        walk: &mut Walk,
    ) {
        while active > 0 {
            let mut left = 0;
            for step in 0..active {
                let at = walk.active[step % FRAME_SIZE];
                let node = self.child(walk.nodes[usize::from(at) % FRAME_SIZE], &keys[usize::from(at)]);
                walk.nodes[usize::from(at) % FRAME_SIZE] = node;
                self.arrive(at, node, places[usize::from(at)], walk, (&mut left, arrived));
            }
            active = left;
        }
    }

    /// The child of a node that is no leaf, for a packet.
    #[inline(always)]
    fn child(&self, node: Node, key: &Key<W>) -> Node {
        let word = key.words[usize::from(node.word) % W];
        self.nodes[node.base as usize + (word >> (node.shift % 32) & u32::from(node.mask)) as usize]
    }

    /// The rule of the first entry of a leaf that matches, or [`NO_RULE`].
    #[inline(always)]
    fn first_match(&self, leaf: Node, key: &Key<W>) -> u32 {
        let base = leaf.base as usize;
        for block in &self.leaves[base..base + usize::from(leaf.mask)] {
            let found = block.find(key);
            if found != NO_RULE {
                return found;
            }
        }
        NO_RULE
    }

    /// Entries that were compiled.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.trees) + size_of_val(&*self.nodes) + size_of_val(&*self.leaves)
    }

    /// Tables that a packet may have to go through.
    pub fn trees(&self) -> usize {
        self.trees.len()
    }
}
