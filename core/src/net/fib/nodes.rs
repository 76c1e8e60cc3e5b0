//! The writer's store of trie nodes: allocation, encoding, and reuse once no reader can see a node any more.

use std::io;
use std::sync::Arc;

use super::block::{Ordering, UNIT_WORDS, Words};
use super::entry::{Entry, MAX_UNITS, kind};
use super::limbo::Limbo;
use super::lookup::{RUN_ENTRIES, Shared};
use super::rank::{PACKED_STARTS, SPARSE_STARTS};
use super::runs::Runs;

/// Runs that a packed node holds.
pub(super) const PACKED_RUNS: usize = PACKED_STARTS + 1;
/// Runs that a sparse node holds.
pub(super) const SPARSE_RUNS: usize = SPARSE_STARTS + 1;

const FULL_SLOTS: usize = 256;
const FULL_UNITS: usize = FULL_SLOTS / UNIT_WORDS;

/// Units that one change may take at most: in each of eight strata a full node, or a sparse node split into a full
/// one and up to twelve packed ones, with their predecessors still in place.
const CHANGE_UNITS: usize = 8 * (2 * FULL_UNITS + 16);
/// Address space of a table's nodes: 4 GiB, of which only what is written takes memory.
const RESERVED_UNITS: usize = MAX_UNITS / 8;
const LEAST_UNITS: usize = 1 << 14;
/// Unit 0 is never a node, nor written: a reader that takes a step in vain reads there.
const FIRST_UNIT: usize = 1;

pub(super) struct Nodes {
    pub(super) shared: Arc<Shared>,
    /// For each unit where a stratum's first node starts: the leaf that covers the stratum from above.
    bases: Words,
    /// Units that were ever handed out.
    top: usize,
    free_small: Vec<u32>,
    free_full: Vec<u32>,
    limbo: Limbo<Entry>,
    used_units: usize,
}

impl Nodes {
    pub(super) fn reserve_words() -> io::Result<Words> {
        Words::reserve(RESERVED_UNITS * UNIT_WORDS, LEAST_UNITS * UNIT_WORDS)
    }

    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let units = (shared.nodes.reserved() / UNIT_WORDS).min(RESERVED_UNITS);
        let bases = Words::reserve(units, LEAST_UNITS)?;
        Ok(Self {
            shared,
            bases,
            top: FIRST_UNIT,
            free_small: Vec::new(),
            free_full: Vec::new(),
            limbo: Limbo::new(),
            used_units: 0,
        })
    }

    /// Makes sure that the allocations of one change cannot fail.
    pub(super) fn make_room(&mut self) -> io::Result<()> {
        let wanted = self.top + CHANGE_UNITS;
        let grown = self.shared.nodes.commit(wanted * UNIT_WORDS).and_then(|()| self.bases.commit(wanted));
        match grown {
            Err(_)
                if self.free_small.len() >= CHANGE_UNITS
                    && self.free_full.len() >= CHANGE_UNITS / FULL_UNITS =>
            {
                Ok(())
            }
            other => other,
        }
    }

    pub(super) fn set_epoch(&mut self, current: u64) {
        self.limbo.set_epoch(current);
    }

    /// Frees what was retired before `safe_epoch`.
    pub(super) fn reclaim(&mut self, safe_epoch: u64) {
        while let Some(node) = self.limbo.pop_safe(safe_epoch) {
            self.free(node);
        }
    }

    /// Bytes in nodes, retired ones included.
    pub(super) fn used_bytes(&self) -> usize {
        self.used_units * UNIT_WORDS * 4
    }

    /// Number of retired nodes that wait for their readers.
    pub(super) fn retired(&self) -> usize {
        self.limbo.len()
    }

    pub(super) fn base(&self, node: Entry) -> Entry {
        Entry(self.bases.at(node.unit()).load(Ordering::Relaxed))
    }

    pub(super) fn set_base(&mut self, node: Entry, base: Entry) {
        self.bases.at(node.unit()).store(base.0, Ordering::Relaxed);
    }

    /// Hands a node that no new reader can reach to the limbo.
    pub(super) fn retire(&mut self, node: Entry) {
        self.limbo.retire(node);
    }

    fn free(&mut self, node: Entry) {
        if node.kind() == kind::FULL {
            self.used_units -= FULL_UNITS;
            self.free_full.push(node.unit() as u32);
        } else {
            self.used_units -= 1;
            self.free_small.push(node.unit() as u32);
        }
    }

    fn allocate(&mut self, kind: u32) -> Entry {
        let (free, units) =
            if kind == kind::FULL { (&mut self.free_full, FULL_UNITS) } else { (&mut self.free_small, 1) };
        self.used_units += units;
        let unit = free.pop().map_or_else(
            || {
                let unit = self.top;
                self.top += units;
                unit
            },
            |unit| unit as usize,
        );
        Entry::node(kind, unit)
    }

    pub(super) fn slot(&self, full: Entry, slot: usize) -> Entry {
        Entry(self.shared.nodes.at(full.unit() * UNIT_WORDS + slot).load(Ordering::Relaxed))
    }

    pub(super) fn set_slot(&mut self, full: Entry, slot: usize, entry: Entry) {
        self.shared.nodes.at(full.unit() * UNIT_WORDS + slot).store(entry.0, Ordering::Release);
    }

    /// The runs of a packed or sparse node as they are, equal neighbours apart.
    pub(super) fn runs(&self, node: Entry) -> Runs {
        let word = |i: usize| self.shared.nodes.at(node.unit() * UNIT_WORDS + i).load(Ordering::Relaxed);
        let (starts, bits, greatest) =
            if node.kind() == kind::PACKED { (PACKED_STARTS, 8, 0xff) } else { (SPARSE_STARTS, 16, 0xffff) };
        let per_word = 32 / bits;
        let mut runs = Runs::new();
        runs.push_apart(0, Entry(word(RUN_ENTRIES)));
        for i in 0..starts {
            let start = ((word(i / per_word) >> (i % per_word * bits)) & greatest) as u16;
            let entry = Entry(word(RUN_ENTRIES + 1 + i));
            // Fillers start at the greatest slot and repeat the last run's start or entry.
            let (last, last_entry) = (runs.starts()[i], runs.entries()[i]);
            if start <= last || (start == greatest as u16 && entry == last_entry) {
                break;
            }
            runs.push_apart(start, entry);
        }
        runs
    }

    /// Writes the entries of `runs`, which starts as the node's runs start, into the node in place.
    pub(super) fn write_entries(&mut self, node: Entry, runs: &Runs) {
        let slots = if node.kind() == kind::PACKED { PACKED_RUNS } else { SPARSE_RUNS };
        let entries = runs.entries();
        for i in 0..slots {
            let entry = entries[i.min(entries.len() - 1)];
            let word = self.shared.nodes.at(node.unit() * UNIT_WORDS + RUN_ENTRIES + i);
            if word.load(Ordering::Relaxed) != entry.0 {
                word.store(entry.0, Ordering::Release);
            }
        }
    }

    /// A new packed node, or a full one when there are too many runs.
    pub(super) fn write_node8(&mut self, runs: &Runs) -> Entry {
        if runs.len() > PACKED_RUNS {
            let node = self.allocate(kind::FULL);
            for (first, last, entry) in runs.iter(0xff) {
                for slot in first..=last {
                    self.set_slot(node, usize::from(slot), entry);
                }
            }
            return node;
        }
        self.write_small(kind::PACKED, runs, 8)
    }

    /// A new sparse node; the runs must not be more than it holds.
    pub(super) fn write_sparse(&mut self, runs: &Runs) -> Entry {
        debug_assert!(runs.len() <= SPARSE_RUNS);
        self.write_small(kind::SPARSE, runs, 16)
    }

    fn write_small(&mut self, kind: u32, runs: &Runs, bits: u32) -> Entry {
        let node = self.allocate(kind);
        let mut head = u128::MAX;
        for (i, start) in runs.starts()[1..].iter().enumerate() {
            let shift = i as u32 * bits;
            let greatest = (1_u128 << bits) - 1;
            head = head & !(greatest << shift) | u128::from(*start) << shift;
        }
        for i in 0..RUN_ENTRIES {
            let word = (head >> (32 * i)) as u32;
            self.shared.nodes.at(node.unit() * UNIT_WORDS + i).store(word, Ordering::Relaxed);
        }
        self.write_entries(node, runs);
        node
    }

    /// A new node for 256 entries, packed if their runs fit.
    fn write_slots(&mut self, slots: &[Entry; FULL_SLOTS]) -> Entry {
        if let Some(runs) = runs_of_slots(slots.iter().copied(), PACKED_RUNS) {
            return self.write_node8(&runs);
        }
        let node = self.allocate(kind::FULL);
        for (slot, entry) in slots.iter().enumerate() {
            self.set_slot(node, slot, *entry);
        }
        node
    }

    /// A new pair of levels of 8 bits each for a stratum whose runs outgrew a sparse node.
    pub(super) fn split(&mut self, runs: &Runs) -> Entry {
        let mut slots = [Entry::EMPTY; FULL_SLOTS];
        let mut child = Runs::new();
        for (first, last, entry) in runs.iter(0xffff) {
            for byte in first >> 8..=last >> 8 {
                let from = first.max(byte << 8) & 0xff;
                let to = last.min(byte << 8 | 0xff) & 0xff;
                if from == 0 {
                    child = Runs::new();
                }
                child.push(from, entry);
                if to == 0xff {
                    slots[usize::from(byte)] = match child.single_leaf() {
                        Some(leaf) if leaf.depth() <= 8 => leaf,
                        _ => self.write_node8(&child),
                    };
                }
            }
        }
        self.write_slots(&slots)
    }

    /// The runs of a full node, if there are at most `most`.
    pub(super) fn runs_of_full(&self, full: Entry, most: usize) -> Option<Runs> {
        runs_of_slots((0..FULL_SLOTS).map(|slot| self.slot(full, slot)), most)
    }

    /// The runs of a whole stratum whose first node is packed with `runs`, if there are at most `most`.
    pub(super) fn joined(&self, runs: &Runs, most: usize) -> Option<Runs> {
        let mut all = Runs::new();
        for (first, _, entry) in runs.iter(0xff) {
            if !entry.is_node() {
                all.push(first << 8, entry);
            } else if entry.kind() == kind::PACKED {
                for (start, _, entry) in self.runs(entry).iter(0xff) {
                    if !all.has_room() {
                        return None;
                    }
                    all.push(first << 8 | start, entry);
                }
            } else {
                return None;
            }
            if all.len() > most {
                return None;
            }
        }
        Some(all)
    }
}

fn runs_of_slots(slots: impl Iterator<Item = Entry>, most: usize) -> Option<Runs> {
    let mut runs = Runs::new();
    for (slot, entry) in slots.enumerate() {
        if runs.len() < most {
            runs.push(slot as u16, entry);
        } else if runs.entries()[most - 1] != entry {
            return None;
        }
    }
    Some(runs)
}
