//! One change of the routes by the main thread.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::IpPrefix;

use super::Routes;
use super::state::State;
use crate::net::adjacency::Family;
use crate::net::fib::{Action, FibError, Source};
use crate::net::forwarding::ForwardingTables;
use crate::net::leaf_resolver::LeafResolver;

/// Bytes of a table's nodes from which on lookups of a whole frame are made together.
const LARGE_TABLE_BYTES: usize = 64 << 10;

/// The state while it is changed. What a change has retired is reclaimed after a quiescent point.
pub(super) struct Edit<'a> {
    pub(super) control: &'a Control<'a>,
    pub(super) tables: &'a Arc<ForwardingTables>,
    pub(super) state: MutexGuard<'a, State>,
    pub(super) changed: bool,
}

impl Edit<'_> {
    /// Puts a source's route into the table of a FIB index, or takes it out; neighbours' routes follow.
    pub(super) fn set(
        &mut self,
        fib: u32,
        prefix: IpPrefix,
        source: Source,
        action: Option<Action>,
    ) -> Result<(), Failure> {
        self.set_alone(fib, prefix, source, action)?;
        self.sync_neighbors_in(fib, prefix);
        Ok(())
    }

    /// As [`Self::set`], without a look at neighbours.
    pub(super) fn set_alone(
        &mut self,
        fib: u32,
        prefix: IpPrefix,
        source: Source,
        action: Option<Action>,
    ) -> Result<(), Failure> {
        self.changed = true;
        let State { slots, links, index, .. } = &mut *self.state;
        let Some(table) = slots.get_mut(fib as usize).and_then(Option::as_mut) else {
            bail!("the routing table of {prefix} is gone");
        };
        let family = Family::of(prefix.network());
        let mut resolver = LeafResolver { control: self.control, tables: self.tables, links, index, family };
        match table.change(prefix, source, action, &mut resolver) {
            // A route that is configured but has no next hop in use is not in the table.
            Ok(()) | Err(FibError::NoRoute { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// For what follows from an event, which nobody can be told has failed.
    pub(super) fn set_or_log(
        &mut self,
        fib: u32,
        prefix: IpPrefix,
        source: Source,
        action: Option<Action>,
    ) -> bool {
        let done = self.set(fib, prefix, source, action);
        if let Err(failure) = &done {
            self.control
                .log(LogLevel::ERROR, format_args!("route {prefix} is not as it should be: {failure}"));
        }
        done.is_ok()
    }

    /// Neighbours in the prefix have a host route, or not, as the prefix says now.
    pub(super) fn sync_neighbors_in(&mut self, fib: u32, prefix: IpPrefix) {
        let network = prefix.network();
        let bits = if network.is_ipv4() { 32 } else { 128 };
        let neighbors = &self.state.neighbor_addresses;
        if prefix.length() == bits || neighbors.is_empty() {
            return;
        }
        let least = (network, InterfaceIndex(0));
        let within: Vec<_> = neighbors
            .range(least..)
            .take_while(|(address, _)| prefix.contains(*address))
            .map(|&(address, interface)| (interface, address))
            .collect();
        for (interface, address) in within {
            self.sync_neighbor(fib, interface, address);
        }
    }

    /// Reclaims what was retired before `epoch`, which every thread has seen since.
    pub(super) fn reclaim(&mut self, epoch: u64) {
        let State { slots, leaving, links, index, free, reclaiming, .. } = &mut *self.state;
        *reclaiming = false;
        let mut resolver =
            LeafResolver { control: self.control, tables: self.tables, links, index, family: Family::Ip4 };
        let mut retired = 0;
        for table in slots.iter_mut().flatten() {
            table.reclaim(epoch, &mut resolver);
            retired += table.retired();
        }
        leaving.retain_mut(|(fib, table)| {
            table.reclaim(epoch, &mut resolver);
            retired += table.retired();
            let is_done = table.retired() == 0;
            if is_done {
                free.push_back(*fib);
            }
            !is_done
        });
        self.changed |= retired > 0;
    }
}

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        if !self.changed {
            return;
        }
        let state = &mut *self.state;
        let mut is_large = [false; 2];
        for table in state.slots.iter().flatten() {
            is_large[0] |= table.ip4.lpm_bytes() > LARGE_TABLE_BYTES;
            is_large[1] |= table.ip6.lpm_bytes() > LARGE_TABLE_BYTES;
        }
        for (flag, is_large) in self.tables.is_large.iter().zip(is_large) {
            flag.store(is_large, Ordering::Relaxed);
        }
        if !state.reclaiming {
            state.reclaiming = true;
            state.epoch += 1;
            let epoch = state.epoch;
            let leaving = state.leaving.iter_mut().map(|(_, table)| table);
            for table in state.slots.iter_mut().flatten().chain(leaving) {
                table.set_epoch(epoch);
            }
            self.control.defer(move |control| {
                // The routes are gone only when the core ends.
                if let Ok(routes) = control.resource::<Routes>() {
                    routes.edit(control).reclaim(epoch);
                }
            });
        }
    }
}

/// The least address, to start a range of keys with.
pub(super) const LEAST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
