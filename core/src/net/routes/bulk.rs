//! Many routes at once: sets of paths are made once, routes are given them in turns of bounded length.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::IpPrefix;

use super::Routes;
use super::edit::Edit;
use super::state::State;
use crate::net::adjacency::Family;
use crate::net::fib::{Action, NextHop, Pinned, Prefix, Source};
use crate::net::leaf_resolver::LeafResolver;
use crate::net::route_text::RouteTargets;
use crate::net::static_route::RouteTarget;

/// Routes between two looks at the clock.
const STRIDE: usize = 64;

/// What many routes are to become: begun by [`Routes::begin`], ended by [`Routes::end`].
#[must_use = "what a bulk holds is given back by `Routes::end`"]
pub struct Bulk {
    table: u32,
    fib: u32,
    source: Source,
    actions: Vec<Action>,
    pins4: Vec<Option<Pinned>>,
    pins6: Vec<Option<Pinned>>,
}

/// One change of a bulk: what the prefix is to do, by its place in the list of actions; `None`: the route goes.
pub type BulkChange = (IpPrefix, Option<u32>);

/// How far a turn came.
#[derive(Debug)]
pub struct BulkTurn {
    /// Changes that were made, from the front.
    pub done: usize,
    /// Why the next one could not be made.
    pub failure: Option<Failure>,
}

impl Routes {
    /// Begins a bulk of changes to one table.
    ///
    /// # Errors
    /// There is no such table.
    pub fn begin(&self, table: &TableKey, source: Source, actions: Vec<Action>) -> Result<Bulk, Failure> {
        let (table, fib) = self.find_table(table)?;
        let none = || actions.iter().map(|_| None).collect();
        Ok(Bulk { table, fib, source, pins4: none(), pins6: none(), actions })
    }

    /// Makes changes from the front of the list until the time `until_ns` of the monotonic clock, a few at least. Workers see
    /// each at once; none of them waits.
    pub fn turn(
        &self,
        control: &Control<'_>,
        bulk: &mut Bulk,
        changes: &[BulkChange],
        until_ns: u64,
    ) -> BulkTurn {
        let mut edit = self.edit(control);
        for (done, &change) in changes.iter().enumerate() {
            if done > 0 && done % STRIDE == 0 && control.now_ns() >= until_ns {
                return BulkTurn { done, failure: None };
            }
            if let Err(failure) = edit.bulk_change(bulk, change) {
                return BulkTurn { done, failure: Some(failure) };
            }
        }
        BulkTurn { done: changes.len(), failure: None }
    }

    /// Gives back what a bulk held beside its routes.
    pub fn end(&self, control: &Control<'_>, bulk: Bulk) {
        let mut edit = self.edit(control);
        edit.changed = true;
        let Some(table) = edit.state.slots.get_mut(bulk.fib as usize).and_then(Option::as_mut) else {
            return;
        };
        // The table of that slot may be another one by now; it has none of these sets then.
        if table.id == bulk.table {
            bulk.pins4.into_iter().flatten().for_each(|pin| table.ip4.unpin(pin));
            bulk.pins6.into_iter().flatten().for_each(|pin| table.ip6.unpin(pin));
        }
    }

    /// Up to `most` prefixes behind `after` that have a route of `source`, out of the next few thousand; and where to go on.
    ///
    /// # Errors
    /// There is no such table.
    pub fn prefixes_of(
        &self,
        table: &TableKey,
        source: Source,
        after: Option<IpPrefix>,
        most: usize,
    ) -> Result<(Vec<IpPrefix>, Option<IpPrefix>), Failure> {
        let state = self.state();
        let (_, fib) = state.find_table(table)?;
        let Some(table) = state.table(fib) else { return Ok((Vec::new(), None)) };
        Ok(table.prefixes_of(source, after, most))
    }

    /// What routes with these next hops say: interfaces must be there, next hops need not be reached yet.
    ///
    /// # Errors
    /// There is no such interface or table, or next hops make no sense.
    pub fn actions(&self, control: &Control<'_>, targets: &[RouteTargets]) -> Result<Vec<Action>, Failure> {
        let state = self.state();
        targets.iter().map(|targets| state.action(control, targets)).collect()
    }
}

impl State {
    fn action(&self, control: &Control<'_>, targets: &RouteTargets) -> Result<Action, Failure> {
        let mut next_hops = Vec::with_capacity(targets.0.len());
        for target in &targets.0 {
            let hop = match target {
                RouteTarget::Reject(rejection) => return Ok(rejection.action()),
                RouteTarget::Table(table) => return Ok(Action::Table { table: self.find_table(table)?.0 }),
                RouteTarget::Hop(hop) => hop,
            };
            let interface = match &hop.interface {
                Some(name) => match self.links.find(name) {
                    Some(interface) => Some(interface.0),
                    // Its error names the nearest interface.
                    None => {
                        control.interface(name)?;
                        bail!("interface {name} carries no packets");
                    }
                },
                None => None,
            };
            // The text's reader keeps weights within a u16.
            next_hops.push(NextHop { address: hop.via, interface, weight: hop.weight as u16 });
        }
        Ok(match next_hops.as_slice() {
            [NextHop { address: None, interface: Some(interface), .. }] => {
                Action::Connected { interface: *interface }
            }
            _ => Action::Via(next_hops),
        })
    }
}

impl Edit<'_> {
    fn bulk_change(&mut self, bulk: &mut Bulk, (prefix, action): BulkChange) -> Result<(), Failure> {
        self.changed = true;
        let State { slots, links, index, .. } = &mut *self.state;
        let table = slots.get_mut(bulk.fib as usize).and_then(Option::as_mut);
        let Some(table) = table.filter(|table| table.id == bulk.table) else {
            bail!("the routing table of {prefix} is gone");
        };
        let family = Family::of(prefix.network());
        let mut resolver = LeafResolver { control: self.control, tables: self.tables, links, index, family };
        let place = action.map(|at| at as usize);
        match prefix {
            IpPrefix::V4(prefix) => {
                let key = Prefix::containing(prefix.network().to_bits(), prefix.length());
                let pins = &mut bulk.pins4;
                table.ip4.change_pinned(key, bulk.source, &bulk.actions, pins, place, &mut resolver)?;
            }
            IpPrefix::V6(prefix) => {
                let key = Prefix::containing(prefix.network().to_bits(), prefix.length());
                let pins = &mut bulk.pins6;
                table.ip6.change_pinned(key, bulk.source, &bulk.actions, pins, place, &mut resolver)?;
            }
        }
        self.sync_neighbors_in(bulk.fib, prefix);
        Ok(())
    }
}
