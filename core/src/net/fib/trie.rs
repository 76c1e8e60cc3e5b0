//! The writer's side of a forwarding trie: adding and removing prefixes under concurrent readers.
//!
//! Strata of 16 bits follow each other; a prefix is painted over its range of slots in the stratum where it ends. What it
//! may overwrite follows from the length that each leaf carries (see [`Entry`]); leaves inherited from the stratum above have
//! length 0 and change with it. Full nodes change in place, one atomic entry after the other; packed and sparse nodes
//! change in place when their run boundaries stay, otherwise a new node is published and the old one retired.

use super::address::Address;
use super::block::Ordering;
use super::entry::{Entry, kind};
use super::nodes::{Nodes, PACKED_RUNS, SPARSE_RUNS};
use super::runs::Runs;

/// Runs at or below which a full node becomes packed again, and a split stratum sparse: well below what the smaller kind
/// holds, so that a route that comes and goes does not make a node change its kind each time.
const PACK_AT: usize = PACKED_RUNS / 2;
const JOIN_AT: usize = SPARSE_RUNS / 2 + 1;

/// What to write over leaves, and over which.
#[derive(Clone, Copy)]
pub(super) struct Paint {
    /// Overwrite leaves of exactly `depth` (a removal), else of at most `depth` (an addition).
    pub(super) exact: bool,
    pub(super) depth: u32,
    pub(super) value: Entry,
}

impl Paint {
    fn replaces(self, leaf: Entry) -> bool {
        if self.exact { leaf.depth() == self.depth } else { leaf.depth() <= self.depth }
    }

    fn over(self, leaf: Entry) -> Entry {
        if self.replaces(leaf) { self.value } else { leaf }
    }
}

/// A change on its way down: the address bits from the current stratum on, and how many of them count.
#[derive(Clone, Copy)]
pub(super) struct Change<A> {
    pub(super) rest: A,
    pub(super) len: u32,
    pub(super) paint: Paint,
}

impl<A: Address> Change<A> {
    /// First and last slot of the current stratum that the change touches.
    fn range(&self) -> (u16, u16) {
        let first = self.rest.top16() as u16;
        (first, first | 0xffff_u16.checked_shr(self.len).unwrap_or(0))
    }

    fn below(self) -> Self {
        Self { rest: self.rest.shifted_left(16), len: self.len - 16, paint: self.paint }
    }
}

impl Nodes {
    /// Applies a change of at least one bit's length to the table. [`Nodes::make_room`] has succeeded just before.
    pub(super) fn apply<A: Address>(&mut self, change: Change<A>) {
        let (first, last) = change.range();
        for slot in first..=last {
            let old = Entry(self.shared.root.at(usize::from(slot)).load(Ordering::Relaxed));
            let new = self.change_slot(old, change);
            if new != old {
                self.shared.root.at(usize::from(slot)).store(new.0, Ordering::Release);
            }
        }
    }

    /// Changes the entry of one slot of a stratum that lies in the change's range.
    fn change_slot<A: Address>(&mut self, entry: Entry, change: Change<A>) -> Entry {
        if change.len <= 16 {
            self.paint_slot(entry, change.paint)
        } else {
            self.change_below(entry, change.below())
        }
    }

    /// Paints over one slot of a stratum and what inherits from it further down.
    fn paint_slot(&mut self, entry: Entry, paint: Paint) -> Entry {
        if !entry.is_node() {
            return paint.over(entry);
        }
        let base = self.base(entry);
        if paint.replaces(base) {
            self.set_base(entry, paint.value);
            let inherit = Paint { exact: true, depth: 0, value: paint.value.inherited() };
            self.paint_node(entry, inherit, entry.kind() != kind::SPARSE);
        }
        entry
    }

    /// Paints over a whole node in place. `upper` tells that its slots are bytes of a stratum, not its last bits.
    fn paint_node(&mut self, node: Entry, paint: Paint, upper: bool) {
        if node.kind() == kind::FULL {
            for slot in 0..256 {
                let old = self.slot(node, slot);
                let new = self.paint_entry(old, paint, upper);
                if new != old {
                    self.set_slot(node, slot, new);
                }
            }
        } else {
            let mut runs = self.runs(node);
            for i in 0..runs.len() {
                let new = self.paint_entry(runs.entries()[i], paint, upper);
                runs.set_entry(i, new);
            }
            self.write_entries(node, &runs);
        }
    }

    fn paint_entry(&mut self, entry: Entry, paint: Paint, upper: bool) -> Entry {
        if upper && entry.is_node() {
            self.paint_node(entry, paint, false);
            entry
        } else {
            self.paint_slot(entry, paint)
        }
    }

    /// Changes the stratum below `entry`, making it or giving it up as needed; the change counts from that stratum.
    fn change_below<A: Address>(&mut self, entry: Entry, change: Change<A>) -> Entry {
        if entry.is_node() {
            let base = self.base(entry);
            let new = self.change_stratum(entry, change);
            if !new.is_node() {
                return base;
            }
            if new != entry {
                self.set_base(new, base);
            }
            return new;
        }
        let around = entry.inherited();
        let inside = self.change_slot(around, change);
        if inside == around {
            return entry;
        }
        let (first, last) = change.range();
        let node = self.write_sparse(&Runs::punched(around, first, last, inside, 0xffff));
        self.set_base(node, entry);
        node
    }

    /// Changes a stratum by its first node. Returns that node or its successor, or a leaf when nothing but what is inherited
    /// was left.
    fn change_stratum<A: Address>(&mut self, node: Entry, change: Change<A>) -> Entry {
        let (first, last) = change.range();
        match node.kind() {
            kind::SPARSE => {
                let old = self.runs(node);
                let new = self.change_runs(&old, (first, last, 0xffff), |nodes, entry| {
                    nodes.change_slot(entry, change)
                });
                self.replace_stratum(node, &old, &new, SPARSE_RUNS, |nodes, runs| nodes.write_sparse(runs))
            }
            kind::PACKED => {
                let old = self.runs(node);
                let new = self.change_runs(&old, (first >> 8, last >> 8, 0xff), |nodes, entry| {
                    nodes.change_byte(entry, change)
                });
                let joined = if change.paint.exact { self.joined(&new, JOIN_AT) } else { None };
                if let Some(joined) = joined {
                    for entry in new.entries() {
                        if entry.is_node() {
                            self.retire(*entry);
                        }
                    }
                    self.retire(node);
                    return match joined.single_leaf() {
                        Some(leaf) if leaf.depth() == 0 => leaf,
                        _ => self.write_sparse(&joined),
                    };
                }
                self.replace_stratum(node, &old, &new, usize::MAX, |nodes, runs| nodes.write_node8(runs))
            }
            _ => {
                for byte in first >> 8..=last >> 8 {
                    let old = self.slot(node, usize::from(byte));
                    let new = self.change_byte(old, change);
                    if new != old {
                        self.set_slot(node, usize::from(byte), new);
                    }
                }
                let packed = if change.paint.exact { self.runs_of_full(node, PACK_AT) } else { None };
                let Some(runs) = packed else { return node };
                self.retire(node);
                match runs.single_leaf() {
                    Some(leaf) if leaf.depth() == 0 => leaf,
                    _ => self.write_node8(&runs),
                }
            }
        }
    }

    /// Publishes a stratum's new runs: nothing, in place, by a node of the same kind, or split.
    fn replace_stratum(
        &mut self,
        node: Entry,
        old: &Runs,
        new: &Runs,
        most: usize,
        write: impl FnOnce(&mut Self, &Runs) -> Entry,
    ) -> Entry {
        if let Some(leaf) = new.single_leaf()
            && leaf.depth() == 0
        {
            self.retire(node);
            return leaf;
        }
        if new.starts() == old.starts() {
            self.write_entries(node, new);
            return node;
        }
        self.retire(node);
        if new.len() <= most { write(self, new) } else { self.split(new) }
    }

    /// Changes the entry of one byte in the first node of a split stratum.
    fn change_byte<A: Address>(&mut self, entry: Entry, change: Change<A>) -> Entry {
        if change.len <= 8 {
            return self.paint_entry(entry, change.paint, true);
        }
        let (first, last) = change.range();
        let (first, last) = (first & 0xff, last & 0xff);
        if !entry.is_node() {
            let inside = self.change_slot(entry, change);
            if inside == entry {
                return entry;
            }
            return self.write_node8(&Runs::punched(entry, first, last, inside, 0xff));
        }
        if entry.kind() == kind::PACKED {
            let old = self.runs(entry);
            let new =
                self.change_runs(&old, (first, last, 0xff), |nodes, entry| nodes.change_slot(entry, change));
            return match new.single_leaf() {
                Some(leaf) if leaf.depth() <= 8 => {
                    self.retire(entry);
                    leaf
                }
                _ if new.starts() == old.starts() => {
                    self.write_entries(entry, &new);
                    entry
                }
                _ => {
                    self.retire(entry);
                    self.write_node8(&new)
                }
            };
        }
        for slot in first..=last {
            let old = self.slot(entry, usize::from(slot));
            let new = self.change_slot(old, change);
            if new != old {
                self.set_slot(entry, usize::from(slot), new);
            }
        }
        let packed = if change.paint.exact { self.runs_of_full(entry, PACK_AT) } else { None };
        let Some(runs) = packed else { return entry };
        self.retire(entry);
        match runs.single_leaf() {
            Some(leaf) if leaf.depth() <= 8 => leaf,
            _ => self.write_node8(&runs),
        }
    }

    /// The runs with `change` applied between two slots (first, last, and the node's last slot).
    fn change_runs(
        &mut self,
        old: &Runs,
        (first, last, end): (u16, u16, u16),
        mut change: impl FnMut(&mut Self, Entry) -> Entry,
    ) -> Runs {
        let mut new = Runs::new();
        for (from, to, entry) in old.iter(end) {
            if from < first {
                new.push(from, entry);
            }
            if from <= last && to >= first {
                let changed = change(self, entry);
                new.push(from.max(first), changed);
            }
            if to > last {
                new.push(from.max(last + 1), entry);
            }
        }
        new
    }
}
