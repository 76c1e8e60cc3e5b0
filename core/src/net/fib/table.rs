//! The route table of one family: best sources, shared sets of paths, recursion, and the forwarding table kept in step.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::net::IpAddr;

use super::address::{Address, Prefix};
use super::entry::LeafIndex;
use super::limbo::Limbo;
use super::lpm::{Lpm, LpmError, LpmReader};
use super::path::{Action, Forwarding, MAX_NEXT_HOPS, NextHop, Source};
use super::path_set::PathSets;
use super::route::{Candidate, Route, Routes, SetId};

/// The owner of forwarding objects: it makes a leaf for each set of paths that a table uses.
pub trait Resolver {
    /// Makes a leaf with this content; it returns an index of 1 to [`MAX_LEAF`](super::MAX_LEAF). `instead_of` is the leaf whose place
    /// it takes at first, so that flows can keep their paths.
    ///
    /// # Errors
    /// When there is no room for it or an interface does not exist; the route is refused then.
    fn create(
        &mut self,
        forwarding: &Forwarding,
        instead_of: Option<LeafIndex>,
    ) -> Result<LeafIndex, Box<dyn Error + Send + Sync>>;

    /// Changes the content of a leaf whose index stays in the table. What cannot be made is to drop packets.
    fn update(&mut self, leaf: LeafIndex, forwarding: &Forwarding);

    /// Frees a leaf that no reader can meet any more.
    fn release(&mut self, leaf: LeafIndex);
}

/// Why a table refuses a change. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum FibError {
    /// route {prefix} has no next hop
    #[error("route {prefix} has no next hop")]
    NoNextHop {
        /// The route's prefix.
        prefix: String,
    },
    /// route {prefix} has {count} next hops, more than {MAX_NEXT_HOPS}
    #[error("route {prefix} has {count} next hops, more than {MAX_NEXT_HOPS}")]
    TooManyNextHops {
        /// The route's prefix.
        prefix: String,
        /// Next hops given.
        count: usize,
    },
    /// a next hop of {prefix} has neither an address nor an interface
    #[error("a next hop of {prefix} has neither an address nor an interface")]
    EmptyNextHop {
        /// The route's prefix.
        prefix: String,
    },
    /// a next hop of {prefix} has weight 0
    #[error("a next hop of {prefix} has weight 0")]
    Weight {
        /// The route's prefix.
        prefix: String,
    },
    /// next hop {address} of {prefix} is no host's address
    #[error("next hop {address} of {prefix} is no host's address")]
    NotAHost {
        /// The route's prefix.
        prefix: String,
        /// The next hop.
        address: IpAddr,
    },
    /// next hop {address} of {prefix} is of the other family and needs an interface
    #[error("next hop {address} of {prefix} is of the other family and needs an interface")]
    Family {
        /// The route's prefix.
        prefix: String,
        /// The next hop.
        address: IpAddr,
    },
    /// route {prefix} would be reached through itself: next hop {next_hop} resolves to it
    #[error("route {prefix} would be reached through itself: next hop {next_hop} resolves to it")]
    Loop {
        /// The route's prefix.
        prefix: String,
        /// The next hop that closes the loop.
        next_hop: IpAddr,
    },
    /// there is no route {prefix} from that source
    #[error("there is no route {prefix} from that source")]
    NoRoute {
        /// The prefix asked for.
        prefix: String,
    },
    /// route {prefix} cannot be resolved: {source}
    #[error("route {prefix} cannot be resolved: {source}")]
    Resolve {
        /// The route's prefix.
        prefix: String,
        /// What the resolver said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// the forwarding table refused the route
    #[error(transparent)]
    Lpm(#[from] LpmError),
}

/// A route table of one family, as the main thread holds it.
///
/// Workers look up in its [`reader`](Self::reader), which follows each change at once. The caller owns the forwarding objects
/// behind the leaves and passes itself as [`Resolver`] to each change. All routes that say the same share one leaf, so a
/// change of a recursive next hop costs one update per set of paths, however many routes use it.
pub struct Fib<A> {
    lpm: Lpm<A>,
    routes: Routes<A>,
    pub(super) sets: PathSets<A>,
    retired_leaves: Limbo<LeafIndex>,
}

/// How a new route would stand beside those to its prefix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    best: Option<Candidate>,
    /// The same source's route until now.
    replaced: Option<Candidate>,
    pub(super) becomes_best: bool,
}

/// One prefix's routes, as `show fib` gives them.
#[derive(Debug)]
pub struct RouteView<'a, A: Address> {
    /// The prefix.
    pub prefix: Prefix<A>,
    /// The source whose route is in use.
    pub source: Source,
    /// What that route says.
    pub action: &'a Action,
    /// What it comes to.
    pub forwarding: &'a Forwarding,
    /// Its leaf.
    pub leaf: LeafIndex,
    /// The other sources' routes, best first.
    pub others: Vec<(Source, &'a Action)>,
}

impl<A: Address> Fib<A> {
    /// An empty table.
    ///
    /// # Errors
    /// When address space for the forwarding table cannot be reserved.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            lpm: Lpm::new()?,
            routes: Routes::new(),
            sets: PathSets::new(),
            retired_leaves: Limbo::new(),
        })
    }

    /// A handle for lookups on any thread.
    pub fn reader(&self) -> LpmReader<A> {
        self.lpm.reader()
    }

    /// Number of prefixes.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether the table has no route.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of different sets of paths, each with one leaf.
    pub fn path_sets(&self) -> usize {
        self.sets.len()
    }

    /// What the routes say, each text once; tells whether a table or an interface is in use.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.sets.iter().map(|set| &set.action)
    }

    /// Whether some route says exactly this; next hops ascending.
    pub fn says(&self, action: &Action) -> bool {
        self.sets.find(action).is_some()
    }

    /// Bytes of the forwarding table's nodes.
    pub fn lpm_bytes(&self) -> usize {
        self.lpm.used_bytes()
    }

    /// Adds `source`'s route to `prefix`, or replaces the one it gave before.
    ///
    /// # Errors
    /// When the route makes no sense, would be reached through itself, cannot be resolved, or memory has run out.
    pub fn add(
        &mut self,
        prefix: Prefix<A>,
        source: Source,
        action: Action,
        resolver: &mut impl Resolver,
    ) -> Result<(), FibError> {
        let action = checked::<A>(prefix, action)?;
        let standing = self.standing(prefix, source);
        let known = self.sets.find(&action);
        if standing.becomes_best && (known.is_none() || self.may_loop(prefix)) {
            self.refuse_loop(prefix, &action, known)?;
        }
        let set = match known {
            Some(set) => set,
            None => self.make_set(prefix, action, standing, resolver)?,
        };
        let attached = self.attach(prefix, source, set, standing, resolver);
        if attached.is_err() && known.is_none() {
            let leaf = self.sets.free_unused(set);
            self.retired_leaves.retire(leaf);
        }
        attached
    }

    /// Removes `source`'s route to `prefix`.
    ///
    /// # Errors
    /// When there is none, or memory has run out.
    pub fn remove(
        &mut self,
        prefix: Prefix<A>,
        source: Source,
        resolver: &mut impl Resolver,
    ) -> Result<(), FibError> {
        let no_route = || FibError::NoRoute { prefix: prefix.to_string() };
        let route = self.routes.find(prefix).ok_or_else(no_route)?;
        let gone = route.of_source(source).ok_or_else(no_route)?;
        let was_best = route.best.source == source;
        if was_best {
            match route.others().first() {
                Some(next) => self.lpm.insert(prefix, self.sets.set(next.set).leaf)?,
                None => {
                    let shorter = prefix.len().checked_sub(1);
                    let cover = shorter.and_then(|len| self.routes.longest(prefix.address(), len));
                    let cover = cover.map(|(cover, route)| (cover, self.sets.set(route.best.set).leaf));
                    self.lpm.remove(prefix, cover)?;
                }
            }
        }
        self.routes.take(prefix, source);
        if was_best {
            self.propagate(prefix.address(), prefix.last_address(), resolver);
        }
        self.release(gone.set);
        Ok(())
    }

    /// The routes to exactly this prefix.
    pub fn exact(&self, prefix: Prefix<A>) -> Option<RouteView<'_, A>> {
        self.routes.find(prefix).map(|route| self.view(prefix, route))
    }

    /// The routes to the longest prefix that `address` lies in.
    pub fn longest_match(&self, address: A) -> Option<RouteView<'_, A>> {
        self.routes.longest(address, A::BITS).map(|(prefix, route)| self.view(prefix, route))
    }

    /// The routes to the longest prefix shorter than `prefix` that covers it.
    pub fn cover(&self, prefix: Prefix<A>) -> Option<RouteView<'_, A>> {
        let shorter = prefix.len().checked_sub(1)?;
        self.routes.longest(prefix.address(), shorter).map(|(prefix, route)| self.view(prefix, route))
    }

    /// The routes in order of their prefixes, from the start or after `cursor`, which need not be in the table any more.
    ///
    /// Each item costs the same wherever the cursor is: a caller takes a page, keeps the last prefix, and comes back
    /// later.
    pub fn routes_after(&self, cursor: Option<Prefix<A>>) -> impl Iterator<Item = RouteView<'_, A>> {
        self.routes.after(cursor).map(|(prefix, route)| self.view(prefix, route))
    }

    /// Prefixes in order with the sources of their routes, from the start or after `cursor`.
    pub fn sources_after(
        &self,
        cursor: Option<Prefix<A>>,
    ) -> impl Iterator<Item = (Prefix<A>, impl Iterator<Item = Source>)> {
        let sources = |route: &'_ Route| {
            let others: Vec<Source> = route.others().iter().map(|other| other.source).collect();
            std::iter::once(route.best.source).chain(others)
        };
        self.routes.after(cursor).map(move |(prefix, route)| (prefix, sources(route)))
    }

    /// Tells the number of the epoch that has begun (see [`Lpm::set_epoch`]).
    pub fn set_epoch(&mut self, current: u64) {
        self.lpm.set_epoch(current);
        self.retired_leaves.set_epoch(current);
    }

    /// Reuses memory and releases leaves that were retired in epochs before `safe_epoch` (see [`Lpm::reclaim`]).
    pub fn reclaim(&mut self, safe_epoch: u64, resolver: &mut impl Resolver) {
        self.lpm.reclaim(safe_epoch);
        while let Some(leaf) = self.retired_leaves.pop_safe(safe_epoch) {
            resolver.release(leaf);
        }
    }

    /// Number of nodes and leaves that wait for readers; a main loop reclaims when it is large.
    pub fn retired(&self) -> usize {
        self.lpm.retired_nodes() + self.retired_leaves.len()
    }

    fn view<'a>(&'a self, prefix: Prefix<A>, route: &'a Route) -> RouteView<'a, A> {
        let set = self.sets.set(route.best.set);
        RouteView {
            prefix,
            source: route.best.source,
            action: &set.action,
            forwarding: &set.forwarding,
            leaf: set.leaf,
            others: route
                .others()
                .iter()
                .map(|other| (other.source, &self.sets.set(other.set).action))
                .collect(),
        }
    }

    /// How a route of `source` to `prefix` would stand beside those that are there.
    pub(super) fn standing(&self, prefix: Prefix<A>, source: Source) -> Standing {
        let route = self.routes.find(prefix);
        let best = route.map(|route| route.best);
        let replaced = route.and_then(|route| route.of_source(source));
        Standing { best, replaced, becomes_best: best.is_none_or(|best| source <= best.source) }
    }

    /// Makes a set that no route uses yet.
    pub(super) fn make_set(
        &mut self,
        prefix: Prefix<A>,
        action: Action,
        standing: Standing,
        resolver: &mut impl Resolver,
    ) -> Result<SetId, FibError> {
        let resolution = self.sets.resolve(&action, None, &self.routes);
        let instead_of =
            standing.best.filter(|_| standing.becomes_best).map(|best| self.sets.set(best.set).leaf);
        let leaf = resolver
            .create(&resolution.forwarding, instead_of)
            .map_err(|source| FibError::Resolve { prefix: prefix.to_string(), source })?;
        Ok(self.sets.add(action, leaf, resolution))
    }

    /// Gives `prefix` a set by `source`.
    pub(super) fn attach(
        &mut self,
        prefix: Prefix<A>,
        source: Source,
        set: SetId,
        standing: Standing,
        resolver: &mut impl Resolver,
    ) -> Result<(), FibError> {
        if standing.becomes_best && standing.best.is_none_or(|best| best.set != set) {
            self.lpm.insert(prefix, self.sets.set(set).leaf)?;
        }
        self.sets.acquire(set);
        self.routes.put(prefix, Candidate { source, set });
        if standing.becomes_best {
            self.propagate(prefix.address(), prefix.last_address(), resolver);
        }
        if let Some(replaced) = standing.replaced {
            self.release(replaced.set);
        }
        Ok(())
    }

    pub(super) fn release(&mut self, set: SetId) {
        if let Some(leaf) = self.sets.release(set) {
            self.retired_leaves.retire(leaf);
        }
    }

    /// Whether a set that is in the table already could lead to itself as the best of `prefix`: because some next hop lies
    /// there, or because a removal closed a loop that it may be part of. Where neither is so, [`Self::refuse_loop`] has nothing
    /// to find.
    pub(super) fn may_loop(&self, prefix: Prefix<A>) -> bool {
        self.sets.has_next_hop_in(prefix.address(), prefix.last_address()) || self.sets.has_looped()
    }

    /// Fails if `prefix`, once its best route says `action`, were needed to reach one of its own next hops.
    pub(super) fn refuse_loop(
        &self,
        prefix: Prefix<A>,
        action: &Action,
        known: Option<SetId>,
    ) -> Result<(), FibError> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<IpAddr> = action.recursive().collect();
        while let Some(next_hop) = open.pop() {
            let Some(address) = A::from_ip(next_hop) else { continue };
            let found = self.routes.longest(address, A::BITS);
            let by_prefix =
                prefix.contains(address) && found.is_none_or(|(found, _)| found.len() <= prefix.len());
            let through = found.map(|(_, route)| route.best.set);
            if by_prefix || (through.is_some() && through == known) {
                return Err(FibError::Loop { prefix: prefix.to_string(), next_hop });
            }
            if let Some(through) = through
                && seen.insert(through)
            {
                open.extend(self.sets.set(through).action.recursive());
            }
        }
        Ok(())
    }

    /// Resolves again what may be reached in another way after the best route between two addresses has changed, and
    /// what depends on that.
    fn propagate(&mut self, first: A, last: A, resolver: &mut impl Resolver) {
        if !self.sets.has_next_hop_in(first, last) {
            return;
        }
        let open = self.sets.with_next_hop_in(first, last);
        self.resolve_again(open, resolver);
        // A loop that a removal had closed may be open again.
        self.resolve_again(self.sets.looped(), resolver);
    }

    fn resolve_again(&mut self, mut open: BTreeSet<SetId>, resolver: &mut impl Resolver) {
        // This ends: `through` never has a cycle, so a change runs along it at most as often as there are ways.
        while let Some(id) = open.pop_first() {
            let resolution = self.sets.resolve(&self.sets.set(id).action, Some(id), &self.routes);
            if self.sets.update(id, resolution) {
                let set = self.sets.set(id);
                resolver.update(set.leaf, &set.forwarding);
                open.extend(self.sets.dependents(id));
            }
        }
    }
}

/// The action in its one form, next hops ascending and equal ones joined, if it makes sense.
pub(super) fn checked<A: Address>(prefix: Prefix<A>, action: Action) -> Result<Action, FibError> {
    let Action::Via(mut next_hops) = action else { return Ok(action) };
    let name = || prefix.to_string();
    if next_hops.is_empty() {
        return Err(FibError::NoNextHop { prefix: name() });
    }
    if next_hops.len() > MAX_NEXT_HOPS {
        return Err(FibError::TooManyNextHops { prefix: name(), count: next_hops.len() });
    }
    for NextHop { address, interface, weight } in &next_hops {
        if *weight == 0 {
            return Err(FibError::Weight { prefix: name() });
        }
        match address {
            None if interface.is_none() => return Err(FibError::EmptyNextHop { prefix: name() }),
            Some(address) if address.is_unspecified() || address.is_multicast() => {
                return Err(FibError::NotAHost { prefix: name(), address: *address });
            }
            Some(address) if interface.is_none() && A::from_ip(*address).is_none() => {
                return Err(FibError::Family { prefix: name(), address: *address });
            }
            _ => {}
        }
    }
    if next_hops.len() > 1 {
        next_hops.sort_unstable();
        next_hops.dedup_by(|next, kept| {
            let same = (next.address, next.interface) == (kept.address, kept.interface);
            if same {
                kept.weight = kept.weight.saturating_add(next.weight);
            }
            same
        });
    }
    Ok(Action::Via(next_hops))
}

#[cfg(all(test, not(loom)))]
#[path = "table_tests.rs"]
mod tests;
