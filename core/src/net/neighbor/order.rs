//! The orders in which neighbours are looked for: by deadline, and on each interface by worth and age.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use raddle_plugin_api::InterfaceIndex;

use super::entry::{Entry, NeighborKey, NeighborState};

/// What an entry is worth when there is no room: the least is given up first, and of those the oldest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Worth {
    /// It named itself and was never heard again: a flood of forged requests is made of such.
    Unproven,
    /// Nobody has answered for it yet: a scan is made of such.
    Incomplete,
    /// It was confirmed once, and is not in use.
    Idle,
    /// It was confirmed lately, or is being checked because it is in use.
    Live,
}

impl Worth {
    /// `None`: it is never given up.
    fn of<Q>(entry: &Entry<Q>) -> Option<Self> {
        match entry.state {
            NeighborState::Incomplete => Some(Self::Incomplete),
            NeighborState::Stale if !entry.proven => Some(Self::Unproven),
            NeighborState::Stale => Some(Self::Idle),
            NeighborState::Reachable | NeighborState::Delay | NeighborState::Probe => Some(Self::Live),
            NeighborState::Static => None,
        }
    }
}

/// What is in which order. An entry is taken out before it changes and put in again after.
#[derive(Debug, Default)]
pub(super) struct Orders {
    deadlines: BTreeSet<(u64, NeighborKey)>,
    interfaces: HashMap<InterfaceIndex, OnInterface>,
}

/// The neighbours of one interface.
#[derive(Debug, Default)]
struct OnInterface {
    entries: usize,
    /// Incomplete ones.
    incomplete: usize,
    /// Packets that wait.
    queued: usize,
    /// Those that may be given up.
    dispensable: BTreeMap<(Worth, u64), NeighborKey>,
}

impl OnInterface {
    fn least(&self, most: Worth) -> Option<((Worth, u64), NeighborKey)> {
        let (rank, key) = self.dispensable.first_key_value()?;
        (rank.0 <= most).then_some((*rank, *key))
    }
}

impl Orders {
    pub(super) fn insert<Q>(&mut self, key: NeighborKey, entry: &Entry<Q>) {
        if let Some(deadline) = entry.deadline_ns {
            self.deadlines.insert((deadline, key));
        }
        let interface = self.interfaces.entry(key.interface).or_default();
        interface.entries += 1;
        interface.queued += entry.queue.len();
        interface.incomplete += usize::from(entry.state == NeighborState::Incomplete);
        if let Some(worth) = Worth::of(entry) {
            interface.dispensable.insert((worth, entry.order), key);
        }
    }

    pub(super) fn remove<Q>(&mut self, key: NeighborKey, entry: &Entry<Q>) {
        if let Some(deadline) = entry.deadline_ns {
            self.deadlines.remove(&(deadline, key));
        }
        let Some(interface) = self.interfaces.get_mut(&key.interface) else { return };
        interface.entries -= 1;
        interface.queued -= entry.queue.len();
        interface.incomplete -= usize::from(entry.state == NeighborState::Incomplete);
        if let Some(worth) = Worth::of(entry) {
            interface.dispensable.remove(&(worth, entry.order));
        }
        if interface.entries == 0 {
            self.interfaces.remove(&key.interface);
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

    /// Neighbours of the interface.
    pub(super) fn entries(&self, interface: InterfaceIndex) -> usize {
        self.interfaces.get(&interface).map_or(0, |interface| interface.entries)
    }

    /// Unresolved neighbours of the interface.
    pub(super) fn incomplete(&self, interface: InterfaceIndex) -> usize {
        self.interfaces.get(&interface).map_or(0, |interface| interface.incomplete)
    }

    /// Packets that wait for neighbours of the interface.
    pub(super) fn queued(&self, interface: InterfaceIndex) -> usize {
        self.interfaces.get(&interface).map_or(0, |interface| interface.queued)
    }

    /// The neighbour on the interface that has been unresolved for longest.
    pub(super) fn oldest_incomplete(&self, interface: InterfaceIndex) -> Option<NeighborKey> {
        let dispensable = &self.interfaces.get(&interface)?.dispensable;
        let first = dispensable.range((Worth::Incomplete, 0)..).next();
        first.filter(|((worth, _), _)| *worth == Worth::Incomplete).map(|(_, key)| *key)
    }

    /// The entry that is best done without, on one interface or on all, of those worth no more than `most`.
    pub(super) fn least(&self, interface: Option<InterfaceIndex>, most: Worth) -> Option<NeighborKey> {
        match interface {
            Some(interface) => self.interfaces.get(&interface)?.least(most).map(|(_, key)| key),
            None => {
                let each = self.interfaces.values().filter_map(|interface| interface.least(most));
                each.min_by_key(|(rank, _)| *rank).map(|(_, key)| key)
            }
        }
    }
}
