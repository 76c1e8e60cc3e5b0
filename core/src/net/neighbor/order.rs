//! The orders in which neighbours are looked for: by deadline, by age while incomplete, by age while stale.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use raddle_plugin_api::InterfaceIndex;

use super::entry::{Entry, NeighborKey, NeighborState};

/// What is in which order. An entry is taken out before it changes and put in again after.
#[derive(Debug, Default)]
pub(super) struct Orders {
    deadlines: BTreeSet<(u64, NeighborKey)>,
    incomplete: HashMap<InterfaceIndex, Waiting>,
    stale: BTreeMap<u64, NeighborKey>,
}

/// The unresolved neighbours of one interface, oldest first.
#[derive(Debug, Default)]
struct Waiting {
    keys: BTreeMap<u64, NeighborKey>,
    queued: usize,
}

impl Orders {
    pub(super) fn insert<Q>(&mut self, key: NeighborKey, entry: &Entry<Q>) {
        if let Some(deadline) = entry.deadline_ns {
            self.deadlines.insert((deadline, key));
        }
        match entry.state {
            NeighborState::Incomplete => {
                let waiting = self.incomplete.entry(key.interface).or_default();
                waiting.keys.insert(entry.order, key);
                waiting.queued += entry.queue.len();
            }
            NeighborState::Stale => {
                self.stale.insert(entry.order, key);
            }
            _ => {}
        }
    }

    pub(super) fn remove<Q>(&mut self, key: NeighborKey, entry: &Entry<Q>) {
        if let Some(deadline) = entry.deadline_ns {
            self.deadlines.remove(&(deadline, key));
        }
        match entry.state {
            NeighborState::Incomplete => {
                if let Some(waiting) = self.incomplete.get_mut(&key.interface) {
                    waiting.keys.remove(&entry.order);
                    waiting.queued -= entry.queue.len();
                    if waiting.keys.is_empty() {
                        self.incomplete.remove(&key.interface);
                    }
                }
            }
            NeighborState::Stale => {
                self.stale.remove(&entry.order);
            }
            _ => {}
        }
    }

    /// The nearest deadline.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// An entry whose deadline is not after `now_ns`.
    pub(super) fn due(&self, now_ns: u64) -> Option<NeighborKey> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now_ns).map(|(_, key)| *key)
    }

    /// Unresolved neighbours of the interface, and the packets that wait for them.
    pub(super) fn waiting(&self, interface: InterfaceIndex) -> (usize, usize) {
        self.incomplete.get(&interface).map_or((0, 0), |waiting| (waiting.keys.len(), waiting.queued))
    }

    /// The neighbour on the interface that has been unresolved for longest.
    pub(super) fn oldest_incomplete(&self, interface: InterfaceIndex) -> Option<NeighborKey> {
        self.incomplete.get(&interface)?.keys.values().next().copied()
    }

    /// The entry that is best done without: the one stale for longest, or else one of those that nobody has answered for.
    pub(super) fn most_dispensable(&self) -> Option<NeighborKey> {
        self.stale.values().next().copied().or_else(|| {
            let oldest = self.incomplete.values().filter_map(|waiting| waiting.keys.iter().next());
            oldest.min_by_key(|(order, _)| **order).map(|(_, key)| *key)
        })
    }
}
