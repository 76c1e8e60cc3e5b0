//! Resolved neighbours in the forwarding tables: the adjacency of each, and the route to it.

use std::collections::HashMap;
use std::sync::Arc;

use raddle_plugin_api::abi::LogLevel;
use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{Control, Failure, InterfaceInfo};

use super::NeighborKey;
use crate::net::adjacency::{AdjacencyIndex, Family};
use crate::net::forwarding::ForwardingTables;
use crate::net::routes::Routes;

/// The adjacencies that neighbours hold.
pub(super) struct Links {
    tables: Arc<ForwardingTables>,
    routes: Arc<Routes>,
    held: HashMap<NeighborKey, AdjacencyIndex>,
}

impl Links {
    pub(super) fn new(tables: Arc<ForwardingTables>, routes: Arc<Routes>) -> Self {
        Self { tables, routes, held: HashMap::new() }
    }

    /// Whether the neighbour has its adjacency.
    pub(super) fn holds(&self, key: &NeighborKey) -> bool {
        self.held.contains_key(key)
    }

    /// Packets to the neighbour go to `mac` from now on; `watch`: the next one is of interest.
    pub(super) fn link(
        &mut self,
        control: &Control<'_>,
        key: NeighborKey,
        mac: MacAddress,
        watch: bool,
        interface: &InterfaceInfo,
    ) {
        if let Err(failure) = self.try_link(control, key, mac, watch, interface) {
            let (address, name) = (key.address, &interface.name);
            control
                .log(LogLevel::WARN, format_args!("neighbour {address} on {name} cannot be used: {failure}"));
        }
    }

    fn try_link(
        &mut self,
        control: &Control<'_>,
        key: NeighborKey,
        mac: MacAddress,
        watch: bool,
        interface: &InterfaceInfo,
    ) -> Result<(), Failure> {
        let adjacencies = &self.tables.adjacencies;
        let index = self.routes.add_neighbor(control, key.interface, key.address)?;
        self.held.insert(key, index);
        adjacencies.set_watched(index, watch);
        match interface.mac {
            Some(own) => {
                let ethertype = Family::of(key.address).ethertype();
                adjacencies.set_rewrite(control, index, mac, own, ethertype);
            }
            // No link-layer header: the packet as it is.
            None => adjacencies.set_rewrite_bytes(control, index, &[], None)?,
        }
        Ok(())
    }

    /// Packets to the neighbour go by the neighbour nodes from now on.
    pub(super) fn unlink(&mut self, control: &Control<'_>, key: NeighborKey) {
        if let Some(index) = self.held.remove(&key) {
            // Routes of the operator may go by it still: then it stays, incomplete.
            self.tables.adjacencies.set_incomplete(control, index);
            self.routes.remove_neighbor(control, key.interface, key.address);
        }
    }
}
