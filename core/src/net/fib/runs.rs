//! A node's content as a list of runs: the writer's view of packed and sparse nodes.

use super::entry::Entry;

/// Runs that a list can hold: a sparse or packed node's own and the two that one change may add.
const CAPACITY: usize = 16;

/// Consecutive ranges of slot values, each with one entry; the first starts at slot 0, the last ends at the node's end.
#[derive(Clone, Debug)]
pub(super) struct Runs {
    len: usize,
    start: [u16; CAPACITY],
    entry: [Entry; CAPACITY],
}

impl Runs {
    pub(super) fn new() -> Self {
        Self { len: 0, start: [0; CAPACITY], entry: [Entry::EMPTY; CAPACITY] }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Starts a run at `start` with `entry`, unless it continues the last one. Runs come in ascending order.
    ///
    /// Equal leaves join; nodes stay apart, as each of them stands for one slot.
    pub(super) fn push(&mut self, start: u16, entry: Entry) {
        if self.len > 0 && self.entry[self.len - 1] == entry && !entry.is_node() {
            return;
        }
        self.push_apart(start, entry);
    }

    /// Starts a run at `start` even if it continues the last one.
    pub(super) fn push_apart(&mut self, start: u16, entry: Entry) {
        debug_assert!(self.len == 0 || self.start[self.len - 1] < start);
        self.start[self.len] = start;
        self.entry[self.len] = entry;
        self.len += 1;
    }

    /// Replaces the entry of run `i`; boundaries stay, equal neighbours included.
    pub(super) fn set_entry(&mut self, i: usize, entry: Entry) {
        self.entry[i] = entry;
    }

    /// Whether one more run fits.
    pub(super) fn has_room(&self) -> bool {
        self.len < CAPACITY
    }

    pub(super) fn starts(&self) -> &[u16] {
        &self.start[..self.len]
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entry[..self.len]
    }

    /// First slot, last slot and entry of each run of a node whose last slot is `end`.
    pub(super) fn iter(&self, end: u16) -> impl Iterator<Item = (u16, u16, Entry)> + '_ {
        (0..self.len).map(move |i| {
            let last = if i + 1 < self.len { self.start[i + 1] - 1 } else { end };
            (self.start[i], last, self.entry[i])
        })
    }

    /// The leaf that fills the whole node, if there is one.
    pub(super) fn single_leaf(&self) -> Option<Entry> {
        (self.len == 1 && !self.entry[0].is_node()).then_some(self.entry[0])
    }

    /// The runs of `entry` everywhere but on `first..=last`, which holds `inside`.
    pub(super) fn punched(entry: Entry, first: u16, last: u16, inside: Entry, end: u16) -> Self {
        let mut runs = Self::new();
        if first > 0 {
            runs.push(0, entry);
        }
        runs.push(first, inside);
        if last < end {
            runs.push(last + 1, entry);
        }
        runs
    }
}
