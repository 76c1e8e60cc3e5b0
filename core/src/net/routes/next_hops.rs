//! Next hops that cannot be used now: flows that have another path do not take them.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;

use super::Routes;
use super::edit::Edit;
use crate::net::adjacency::AdjacencyIndex;
use crate::net::leaf_resolver::dispose;

impl Routes {
    /// A neighbour did not answer: where flows have other paths, they take those from now on, in constant time for each set of
    /// paths. [`Self::failed_next_hops`] names it until it is known again.
    pub fn next_hop_failed(&self, control: &Control<'_>, interface: InterfaceIndex, address: IpAddr) {
        let mut edit = self.edit(control);
        let Some(adjacency) = self.forwarding().adjacencies.find(interface, address) else { return };
        if self.forwarding().leaves.is_shared(adjacency) && edit.state.failed.insert((interface, address)) {
            edit.set_usable(adjacency, false);
        }
    }

    /// A neighbour is known: flows take it again.
    pub fn next_hop_works(&self, control: &Control<'_>, interface: InterfaceIndex, address: IpAddr) {
        let mut edit = self.edit(control);
        if edit.state.failed.remove(&(interface, address))
            && let Some(adjacency) = self.forwarding().adjacencies.find(interface, address)
            && edit.state.links.is_up(interface)
        {
            edit.set_usable(adjacency, true);
        }
    }

    /// Next hops that did not answer and that routes still name, on interfaces that are up. Nobody sends to them, so
    /// somebody must ask whether they are back.
    pub fn failed_next_hops(&self, control: &Control<'_>) -> Vec<(InterfaceIndex, IpAddr)> {
        let tables = Arc::clone(self.forwarding());
        let mut edit = self.edit(control);
        edit.state.failed.retain(|&(interface, address)| {
            tables.adjacencies.find(interface, address).is_some_and(|index| tables.leaves.is_shared(index))
        });
        let state = &*edit.state;
        state.failed.iter().filter(|(interface, _)| state.links.is_up(*interface)).copied().collect()
    }
}

impl Edit<'_> {
    /// Next hops of an interface are used, or not, as it is up or down.
    pub(super) fn sync_usable(&mut self, interface: InterfaceIndex) {
        let is_up = self.state.links.is_up(interface);
        for info in self.tables.adjacencies.list(Some(interface)) {
            let failed =
                info.next_hop.is_some_and(|address| self.state.failed.contains(&(interface, address)));
            self.set_usable(info.index, is_up && !failed);
        }
    }

    fn set_usable(&mut self, adjacency: AdjacencyIndex, usable: bool) {
        for former in self.tables.leaves.set_usable(adjacency, usable) {
            let tables = Arc::clone(self.tables);
            self.control.defer(move |control| dispose(&tables, control, &former));
        }
    }
}
