//! Sets of paths, one for all routes that say the same, and how those with recursive next hops hang together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::address::Address;
use super::entry::LeafIndex;
use super::path::{Action, Forwarding, Path, weigh};
use super::route::{Routes, SetId};

/// A shared set of paths.
#[derive(Debug)]
pub(super) struct PathSet {
    pub(super) action: Action,
    pub(super) forwarding: Forwarding,
    pub(super) leaf: LeafIndex,
    /// Routes that use the set.
    routes: usize,
    /// Sets that the recursive next hops are reached through now.
    through: Vec<SetId>,
    /// Sets that have this one in `through`.
    dependents: BTreeSet<SetId>,
}

/// What the next hops of a set come to at the moment.
#[derive(Debug)]
pub(super) struct Resolution {
    pub(super) forwarding: Forwarding,
    through: Vec<SetId>,
    /// A next hop was left out because it leads back to the set.
    looped: bool,
}

/// The sets of one table.
#[derive(Debug)]
pub(super) struct PathSets<A> {
    slots: Vec<Option<PathSet>>,
    free: Vec<SetId>,
    by_action: HashMap<Action, SetId>,
    /// For each recursive next hop, the sets that have it.
    next_hops: BTreeMap<A, BTreeSet<SetId>>,
    /// Sets with a next hop that was left out because of a loop.
    looped: BTreeSet<SetId>,
}

impl<A: Address> PathSets<A> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_action: HashMap::new(),
            next_hops: BTreeMap::new(),
            looped: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_action.len()
    }

    pub(super) fn find(&self, action: &Action) -> Option<SetId> {
        self.by_action.get(action).copied()
    }

    /// A set by the index that a route or another set holds.
    pub(super) fn set(&self, id: SetId) -> &PathSet {
        // Invariant: routes and sets hold indices of live sets only; `release` frees a slot with its last route.
        self.slots[id.0 as usize].as_ref().expect("a set in use is live")
    }

    fn set_mut(&mut self, id: SetId) -> &mut PathSet {
        // Invariant: as in `set`.
        self.slots[id.0 as usize].as_mut().expect("a set in use is live")
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PathSet> {
        self.slots.iter().flatten()
    }

    /// Adds a set without routes.
    pub(super) fn add(&mut self, action: Action, leaf: LeafIndex, resolution: Resolution) -> SetId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            SetId(self.slots.len() as u32 - 1)
        });
        for address in action.recursive().filter_map(A::from_ip) {
            self.next_hops.entry(address).or_default().insert(id);
        }
        self.by_action.insert(action.clone(), id);
        self.slots[id.0 as usize] = Some(PathSet {
            action,
            forwarding: Forwarding::Unreachable,
            leaf,
            routes: 0,
            through: Vec::new(),
            dependents: BTreeSet::new(),
        });
        self.update(id, resolution);
        id
    }

    pub(super) fn acquire(&mut self, id: SetId) {
        self.set_mut(id).routes += 1;
    }

    /// Takes one route from a set, and frees the set with its last one; its leaf is returned then.
    pub(super) fn release(&mut self, id: SetId) -> Option<LeafIndex> {
        let set = self.set_mut(id);
        set.routes -= 1;
        if set.routes > 0 { None } else { Some(self.free_unused(id)) }
    }

    /// Frees a set that no route uses.
    pub(super) fn free_unused(&mut self, id: SetId) -> LeafIndex {
        self.unlink(id);
        self.looped.remove(&id);
        // Invariant: as in `set`.
        let set = self.slots[id.0 as usize].take().expect("a set in use is live");
        for dependent in set.dependents {
            self.set_mut(dependent).through.retain(|through| *through != id);
        }
        for address in set.action.recursive().filter_map(A::from_ip) {
            if let Some(sets) = self.next_hops.get_mut(&address) {
                sets.remove(&id);
                if sets.is_empty() {
                    self.next_hops.remove(&address);
                }
            }
        }
        self.by_action.remove(&set.action);
        self.free.push(id);
        set.leaf
    }

    /// Sets with a recursive next hop between two addresses.
    pub(super) fn with_next_hop_in(&self, first: A, last: A) -> BTreeSet<SetId> {
        self.next_hops.range(first..=last).flat_map(|(_, sets)| sets.iter().copied()).collect()
    }

    pub(super) fn has_next_hop_in(&self, first: A, last: A) -> bool {
        self.next_hops.range(first..=last).next().is_some()
    }

    pub(super) fn has_looped(&self) -> bool {
        !self.looped.is_empty()
    }

    pub(super) fn looped(&self) -> BTreeSet<SetId> {
        self.looped.clone()
    }

    pub(super) fn dependents(&self, id: SetId) -> impl Iterator<Item = SetId> + '_ {
        self.set(id).dependents.iter().copied()
    }

    /// Whether the next hops of `from`, directly or by way of others, are reached through `to`.
    fn leads_to(&self, from: SetId, to: SetId) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut open = vec![from];
        while let Some(id) = open.pop() {
            if id == to {
                return true;
            }
            open.extend(self.set(id).through.iter().copied().filter(|through| seen.insert(*through)));
        }
        false
    }

    /// What `action` comes to with the routes as they are; `id` is its set, if it has one yet.
    pub(super) fn resolve(&self, action: &Action, id: Option<SetId>, routes: &Routes<A>) -> Resolution {
        let mut resolution =
            Resolution { forwarding: Forwarding::Unreachable, through: Vec::new(), looped: false };
        let next_hops = match action {
            Action::Via(next_hops) => next_hops,
            Action::Connected { interface } => {
                return resolution.with(Forwarding::Glean { interface: *interface });
            }
            Action::Local { interface } => {
                return resolution.with(Forwarding::Receive { interface: *interface });
            }
            Action::Blackhole => return resolution.with(Forwarding::Blackhole),
            Action::Unreachable => return resolution,
            Action::Prohibit => return resolution.with(Forwarding::Prohibit),
            Action::Table { table } => return resolution.with(Forwarding::Table { table: *table }),
            Action::Node { node, .. } => return resolution.with(Forwarding::Node { node: *node }),
        };
        let mut shares = Vec::with_capacity(next_hops.len());
        for next_hop in next_hops {
            let weight = u64::from(next_hop.weight);
            if let Some(interface) = next_hop.interface {
                shares.push((next_hop.address, interface, weight, 1));
                continue;
            }
            let Some(address) = next_hop.address.and_then(A::from_ip) else { continue };
            let Some((_, route)) = routes.longest(address, A::BITS) else { continue };
            let through = route.best.set;
            if id.is_some_and(|id| self.leads_to(through, id)) {
                resolution.looped = true;
                continue;
            }
            resolution.through.push(through);
            match &self.set(through).forwarding {
                Forwarding::Glean { interface } => shares.push((next_hop.address, *interface, weight, 1)),
                Forwarding::Paths(paths) => {
                    let whole: u64 = paths.iter().map(|path| u64::from(path.weight)).sum();
                    shares.extend(paths.iter().map(|path: &Path| {
                        let neighbor = path.address.or(next_hop.address);
                        (neighbor, path.interface, weight * u64::from(path.weight), whole)
                    }));
                }
                // An own address, a drop or another table is no way out for a next hop.
                _ => {}
            }
        }
        if shares.is_empty() { resolution } else { resolution.with(Forwarding::Paths(weigh(shares))) }
    }

    /// Puts a resolution into its set. True when the forwarding has changed.
    pub(super) fn update(&mut self, id: SetId, resolution: Resolution) -> bool {
        self.unlink(id);
        for through in &resolution.through {
            self.set_mut(*through).dependents.insert(id);
        }
        if resolution.looped {
            self.looped.insert(id);
        } else {
            self.looped.remove(&id);
        }
        let set = self.set_mut(id);
        set.through = resolution.through;
        let changed = set.forwarding != resolution.forwarding;
        set.forwarding = resolution.forwarding;
        changed
    }

    fn unlink(&mut self, id: SetId) {
        for through in std::mem::take(&mut self.set_mut(id).through) {
            self.set_mut(through).dependents.remove(&id);
        }
    }
}

impl Resolution {
    fn with(mut self, forwarding: Forwarding) -> Self {
        self.forwarding = forwarding;
        self
    }
}
