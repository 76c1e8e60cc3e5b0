//! The prefixes of a table with the candidates of each, in order.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::address::{Address, Prefix};
use super::path::Source;

/// Index of an interned set of paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SetId(pub(super) u32);

/// One source's route to a prefix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) source: Source,
    pub(super) set: SetId,
}

/// The routes to one prefix: the best, and the others if there are any, in order of preference.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) best: Candidate,
    #[expect(clippy::box_collection, reason = "eight bytes a route, as few prefixes have a second source")]
    others: Option<Box<Vec<Candidate>>>,
}

impl Route {
    pub(super) fn others(&self) -> &[Candidate] {
        self.others.as_ref().map_or(&[], |others| others.as_slice())
    }

    pub(super) fn of_source(&self, source: Source) -> Option<Candidate> {
        std::iter::once(&self.best).chain(self.others()).find(|candidate| candidate.source == source).copied()
    }

    /// Adds a candidate in its place, instead of the one of the same source if there is one.
    pub(super) fn put(&mut self, candidate: Candidate) {
        if candidate.source == self.best.source {
            self.best = candidate;
            return;
        }
        let (better, worse) =
            if candidate.source < self.best.source { (candidate, self.best) } else { (self.best, candidate) };
        self.best = better;
        let others = self.others.get_or_insert_default();
        others.retain(|other| other.source != candidate.source && other.source != worse.source);
        let place = others.partition_point(|other| other.source < worse.source);
        others.insert(place, worse);
    }

    /// Takes a source's candidate out. False when it was the only one, which then stays.
    pub(super) fn take(&mut self, source: Source) -> bool {
        let Some(others) = &mut self.others else { return false };
        if self.best.source == source {
            self.best = others.remove(0);
        } else {
            others.retain(|other| other.source != source);
        }
        if others.is_empty() {
            self.others = None;
        }
        true
    }
}

/// All prefixes of a table.
pub(super) struct Routes<A> {
    tree: BTreeMap<Prefix<A>, Route>,
    /// Number of prefixes of each length.
    lengths: Box<[u32; 129]>,
}

impl<A: Address> Routes<A> {
    pub(super) fn new() -> Self {
        Self { tree: BTreeMap::new(), lengths: Box::new([0; 129]) }
    }

    pub(super) fn len(&self) -> usize {
        self.tree.len()
    }

    pub(super) fn find(&self, prefix: Prefix<A>) -> Option<&Route> {
        self.tree.get(&prefix)
    }

    pub(super) fn put(&mut self, prefix: Prefix<A>, candidate: Candidate) {
        match self.tree.entry(prefix) {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                self.lengths[usize::from(prefix.len())] += 1;
                vacant.insert(Route { best: candidate, others: None });
            }
            std::collections::btree_map::Entry::Occupied(mut occupied) => occupied.get_mut().put(candidate),
        }
    }

    pub(super) fn take(&mut self, prefix: Prefix<A>, source: Source) {
        if let std::collections::btree_map::Entry::Occupied(mut occupied) = self.tree.entry(prefix)
            && !occupied.get_mut().take(source)
        {
            occupied.remove();
            self.lengths[usize::from(prefix.len())] -= 1;
        }
    }

    /// Prefixes and their routes in order, those after `cursor` if it is given.
    pub(super) fn after(&self, cursor: Option<Prefix<A>>) -> impl Iterator<Item = (Prefix<A>, &Route)> {
        let start = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.tree.range((start, Bound::Unbounded)).map(|(prefix, route)| (*prefix, route))
    }

    /// The longest prefix of at most `len` bits that `address` lies in.
    pub(super) fn longest(&self, address: A, len: u8) -> Option<(Prefix<A>, &Route)> {
        let mut limit = self.present_length(len)?;
        loop {
            let key = Prefix::containing(address, limit);
            let (prefix, route) = self.tree.range(..=key).next_back()?;
            if prefix.covers(key) {
                return Some((*prefix, route));
            }
            // What covers the key comes before `prefix` and so covers both: it is no longer than what they share.
            limit = self.present_length(prefix.address().common_bits(key.address()))?;
        }
    }

    /// The greatest length of at most `len` that some prefix has.
    fn present_length(&self, len: u8) -> Option<u8> {
        (0..=len).rev().find(|len| self.lengths[usize::from(*len)] > 0)
    }
}
