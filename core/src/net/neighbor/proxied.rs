//! Whether is answered for an address: what the operator listed, and what the routes say.

use std::net::IpAddr;
use std::sync::Arc;

use raddle_plugin_api::{Failure, InterfaceIndex, NodeInit, Worker};

use crate::net::adjacency::AdjacencyKind;
use crate::net::forwarding::ForwardingTables;
use crate::net::local::OwnAddresses;
use crate::net::table_cache::TableCache;

/// A node's view of the routes.
pub(super) struct Proxied {
    tables: Arc<ForwardingTables>,
    ip4: TableCache<u32>,
    ip6: TableCache<u128>,
}

impl Proxied {
    pub(super) fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { tables: init.resource()?, ip4: TableCache::default(), ip6: TableCache::default() })
    }

    /// Takes over the tables as they are now; to be called once a frame.
    pub(super) fn renew(&mut self, worker: &Worker<'_>) {
        self.ip4.renew(&self.tables.ip4, worker);
        self.ip6.renew(&self.tables.ip6, worker);
    }

    /// Whether is answered for the address on the interface.
    pub(super) fn covers(
        &self,
        worker: &Worker<'_>,
        own: &OwnAddresses,
        interface: InterfaceIndex,
        address: IpAddr,
    ) -> bool {
        let leads_out = || self.way_out(worker, interface, address).map(|out| out != interface);
        own.proxy(interface).is_some_and(|proxy| proxy.answers_for(address, leads_out))
    }

    /// The interface by which packets that come in on `interface` leave for the address.
    fn way_out(
        &self,
        worker: &Worker<'_>,
        interface: InterfaceIndex,
        address: IpAddr,
    ) -> Option<InterfaceIndex> {
        let row = worker.interface(interface)?;
        let leaf = match address {
            IpAddr::V4(ip) => self.ip4.lookup(row.ip4_fib(), ip.to_bits()),
            IpAddr::V6(ip) => self.ip6.lookup(row.ip6_fib(), ip.to_bits()),
        };
        // Of several paths any will do: that one of them leads out is what counts.
        let row = self.tables.adjacencies.get(self.tables.leaves.adjacency(leaf, || 0));
        matches!(
            row.kind(),
            AdjacencyKind::Rewrite
                | AdjacencyKind::Watched
                | AdjacencyKind::Glean
                | AdjacencyKind::Incomplete
        )
        .then(|| row.interface())
    }
}
