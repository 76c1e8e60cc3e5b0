//! Neighbours in the routing tables: an adjacency each, and a host route where the neighbour is on the link.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::wire::IpPrefix;

use super::edit::Edit;
use crate::net::adjacency::AdjacencyIndex;
use crate::net::fib::{Action, NextHop, Source};

/// A neighbour.
pub(super) struct Neighbor {
    pub(super) adjacency: AdjacencyIndex,
    /// FIB indices of the tables that have its host route.
    pub(super) routed_in: Vec<u32>,
}

impl Edit<'_> {
    /// Brings a neighbour's routes in all tables in line.
    pub(super) fn sync_neighbor_everywhere(&mut self, interface: InterfaceIndex, address: IpAddr) {
        let fibs: Vec<u32> = self.state.tables().map(|(fib, _)| fib).collect();
        for fib in fibs {
            self.sync_neighbor(fib, interface, address);
        }
    }

    /// A neighbour has a host route in the tables by which its address is on the link of its interface, and in no other:
    /// nobody draws the traffic of other addresses to itself by claiming them.
    pub(super) fn sync_neighbor(&mut self, fib: u32, interface: InterfaceIndex, address: IpAddr) {
        let state = &*self.state;
        let Some(neighbor) = state.neighbors.get(&(interface, address)) else {
            return;
        };
        let wanted = state.table(fib).is_some_and(|table| table.has_neighbor(address, interface));
        let present = neighbor.routed_in.contains(&fib);
        if wanted == present {
            return;
        }
        if !wanted {
            self.withdraw(fib, interface, address);
            return;
        }
        let action = Action::via(NextHop::on_link(address, interface.0));
        if self.set_or_log(fib, IpPrefix::host(address), Source::NEIGHBOR, Some(action))
            && let Some(neighbor) = self.state.neighbors.get_mut(&(interface, address))
        {
            neighbor.routed_in.push(fib);
        }
    }

    /// Takes a neighbour's route out of a table, unless it is another neighbour's of the same address by now.
    fn withdraw(&mut self, fib: u32, interface: InterfaceIndex, address: IpAddr) {
        if let Some(neighbor) = self.state.neighbors.get_mut(&(interface, address)) {
            neighbor.routed_in.retain(|known| *known != fib);
        }
        let state = &*self.state;
        let same = state.neighbor_addresses.range((address, InterfaceIndex(0))..);
        let is_taken = same.take_while(|other| other.0 == address).any(|&(_, other)| {
            state.neighbors.get(&(other, address)).is_some_and(|other| other.routed_in.contains(&fib))
        });
        if !is_taken {
            self.set_or_log(fib, IpPrefix::host(address), Source::NEIGHBOR, None);
        }
    }

    /// Takes a neighbour's routes out of all tables; returns what it held.
    pub(super) fn take_neighbor(
        &mut self,
        interface: InterfaceIndex,
        address: IpAddr,
    ) -> Option<AdjacencyIndex> {
        let Neighbor { adjacency, routed_in } = self.state.neighbors.remove(&(interface, address))?;
        self.state.neighbor_addresses.remove(&(address, interface));
        for fib in routed_in {
            self.withdraw(fib, interface, address);
        }
        Some(adjacency)
    }
}
