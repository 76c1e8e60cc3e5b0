//! Turns what routes come to into leaves: adjacencies and path sets.
#![forbid(unsafe_code)]

use std::error::Error;
use std::sync::Arc;

use raddle_plugin_api::{Control, InterfaceIndex};

use super::adjacency::{AdjacencyError, AdjacencyIndex, Family};
use super::fib::{Forwarding, LeafIndex, Path, Resolver};
use super::forwarding::ForwardingTables;
use super::leaf::{Former, LeafError, PATH_SET};
use super::link::Links;
use super::routes::TableIndex;

/// The number that stands for the per-interface tables of link-local destinations, which are no [`super::fib::Fib`].
pub const LINK_LOCAL_TABLE: u32 = u32::MAX;

/// Why a route has no leaf.
#[derive(Debug, thiserror::Error)]
enum ResolveError {
    #[error("there is no interface {0}")]
    NoInterface(InterfaceIndex),
    #[error("there is no routing table {0}")]
    NoTable(u32),
    #[error(transparent)]
    Adjacency(#[from] AdjacencyError),
    #[error(transparent)]
    Leaf(#[from] LeafError),
}

/// Makes the leaves of one family's tables.
pub struct LeafResolver<'a> {
    /// The main thread.
    pub control: &'a Control<'a>,
    /// Where leaves and adjacencies are.
    pub tables: &'a Arc<ForwardingTables>,
    /// The interfaces that paths name.
    pub links: &'a Links,
    /// The tables that routes name.
    pub index: &'a TableIndex,
    /// The tables' family.
    pub family: Family,
}

impl Resolver for LeafResolver<'_> {
    fn create(
        &mut self,
        forwarding: &Forwarding,
        instead_of: Option<LeafIndex>,
    ) -> Result<LeafIndex, Box<dyn Error + Send + Sync>> {
        match self.fixed(forwarding)? {
            Some(adjacency) => Ok(adjacency.0),
            None => {
                let paths = self.paths(forwarding)?;
                let made = self.tables.leaves.create(&paths, instead_of);
                if made.is_err() {
                    self.give_back(&paths);
                }
                self.leave_out_unusable(&paths);
                Ok(made?)
            }
        }
    }

    fn update(&mut self, leaf: LeafIndex, forwarding: &Forwarding) {
        // Only next hops ever change what they come to, and what they come to is in a path set. Without memory for the
        // new paths packets are dropped rather than sent where no route leads any more.
        let dropping = vec![(AdjacencyIndex::DROP, 1)];
        let paths = self.paths(forwarding).unwrap_or_else(|_| dropping.clone());
        let former = self.tables.leaves.update(leaf, &paths).or_else(|_| {
            self.give_back(&paths);
            // One path needs no buckets.
            self.tables.leaves.update(leaf, &dropping)
        });
        self.leave_out_unusable(&paths);
        let tables = Arc::clone(self.tables);
        self.control.defer(move |control| dispose(&tables, control, &former.unwrap_or_default()));
    }

    fn release(&mut self, leaf: LeafIndex) {
        if leaf < PATH_SET {
            self.tables.adjacencies.release(self.control, AdjacencyIndex(leaf));
        } else {
            dispose(self.tables, self.control, &self.tables.leaves.release(leaf));
        }
    }
}

impl LeafResolver<'_> {
    /// The adjacency of what does not depend on next hops.
    fn fixed(&self, forwarding: &Forwarding) -> Result<Option<AdjacencyIndex>, ResolveError> {
        Ok(Some(match *forwarding {
            Forwarding::Paths(_) | Forwarding::Unreachable => return Ok(None),
            Forwarding::Glean { interface } => self.glean(InterfaceIndex(interface))?,
            Forwarding::Receive { .. } => AdjacencyIndex::LOCAL,
            Forwarding::Blackhole => AdjacencyIndex::BLACKHOLE,
            Forwarding::Prohibit => AdjacencyIndex::PROHIBIT,
            Forwarding::Table { table: LINK_LOCAL_TABLE } => AdjacencyIndex::LINK_LOCAL,
            Forwarding::Table { table } => {
                let fib = self.index.fib(table).ok_or(ResolveError::NoTable(table))?;
                self.tables.adjacencies.allocate_table(fib, self.family)?
            }
            Forwarding::Node { node } => self.tables.adjacencies.allocate_node(node, self.family)?,
        }))
    }

    /// The adjacencies of next hops, with a reference to each.
    fn paths(&self, forwarding: &Forwarding) -> Result<Vec<(AdjacencyIndex, u32)>, ResolveError> {
        let Forwarding::Paths(paths) = forwarding else {
            return Ok(vec![(self.fixed(forwarding)?.unwrap_or(AdjacencyIndex::UNREACHABLE), 1)]);
        };
        let mut made = Vec::with_capacity(paths.len());
        for path in paths {
            match self.path(path) {
                Ok(adjacency) => made.push((adjacency, path.weight)),
                Err(error) => {
                    self.give_back(&made);
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    fn path(&self, path: &Path) -> Result<AdjacencyIndex, ResolveError> {
        let interface = InterfaceIndex(path.interface);
        let Some(next_hop) = path.address else {
            return self.glean(interface);
        };
        let link = self.links.get(interface).ok_or(ResolveError::NoInterface(interface))?;
        let adjacency = self.tables.adjacencies.allocate(interface, next_hop, link.mtu)?;
        self.complete_without_ethernet(adjacency, link.has_ethernet)
    }

    fn glean(&self, interface: InterfaceIndex) -> Result<AdjacencyIndex, ResolveError> {
        let link = self.links.get(interface).ok_or(ResolveError::NoInterface(interface))?;
        let adjacency = self.tables.adjacencies.allocate_glean(interface, self.family, link.mtu)?;
        self.complete_without_ethernet(adjacency, link.has_ethernet)
    }

    /// Without a link-layer header there is nobody to be resolved.
    fn complete_without_ethernet(
        &self,
        adjacency: AdjacencyIndex,
        has_ethernet: bool,
    ) -> Result<AdjacencyIndex, ResolveError> {
        if !has_ethernet {
            self.tables.adjacencies.set_rewrite_bytes(self.control, adjacency, &[], None)?;
        }
        Ok(adjacency)
    }

    /// Of several paths, those over interfaces that are down are not taken.
    fn leave_out_unusable(&self, paths: &[(AdjacencyIndex, u32)]) {
        if paths.len() < 2 {
            return;
        }
        for &(adjacency, _) in paths {
            let interface = self.tables.adjacencies.get(adjacency.0).interface();
            if interface != InterfaceIndex::NONE && !self.links.is_up(interface) {
                for former in self.tables.leaves.set_usable(adjacency, false) {
                    let tables = Arc::clone(self.tables);
                    self.control.defer(move |control| dispose(&tables, control, &former));
                }
            }
        }
    }

    fn give_back(&self, paths: &[(AdjacencyIndex, u32)]) {
        for &(adjacency, _) in paths {
            self.tables.adjacencies.release(self.control, adjacency);
        }
    }
}

/// Gives back what a leaf held; no thread can know it any more.
pub fn dispose(tables: &ForwardingTables, control: &Control<'_>, former: &Former) {
    tables.leaves.reuse(former);
    for &adjacency in &former.adjacencies {
        tables.adjacencies.release(control, adjacency);
    }
}
