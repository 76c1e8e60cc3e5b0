//! The resource that addresses, neighbours, commands and plugins talk to.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::{InterfaceAddress, IpPrefix};

use super::edit::Edit;
use super::neighbors::Neighbor;
use super::state::{State, is_link_local};
use super::table::Table;
use crate::net::adjacency::AdjacencyIndex;
use crate::net::fib::{Action, Lpm, Source};
use crate::net::forwarding::ForwardingTables;
use crate::net::link::Link;
use crate::net::local::OnLink;
use crate::net::route_view::{Names, RouteInfo};
use crate::net::static_route::{RouteHop, RouteSpec, RouteTarget, StaticRoute};

/// The routing tables of both families. A resource of the core; the main thread's alone.
pub struct Routes {
    tables: Arc<ForwardingTables>,
    state: Mutex<State>,
    listeners: Mutex<Vec<Arc<OnLinkListener>>>,
}

/// Hears that routes say something else to be on links.
type OnLinkListener = dyn Fn(&Control<'_>) + Send + Sync;

impl Routes {
    /// Makes the default table, and the readers of all tables behind which it stands.
    ///
    /// # Errors
    /// The process has no address space, or the first routes cannot be made.
    pub fn new(
        control: &Control<'_>,
        adjacencies: Arc<crate::net::adjacency::AdjacencyTable>,
    ) -> Result<Self, Failure> {
        let (default, nowhere) = (Table::new(0)?, (Lpm::new()?, Lpm::new()?));
        let readers = (vec![default.ip4.reader()], vec![default.ip6.reader()]);
        let tables = Arc::new(ForwardingTables::new(control, adjacencies, readers.0, readers.1)?);
        let state = Mutex::new(State::new(default, nowhere));
        let routes = Self { tables, state, listeners: Mutex::default() };
        routes.edit(control).fill(0)?;
        Ok(routes)
    }

    /// What workers read of the routes.
    pub fn forwarding(&self) -> &Arc<ForwardingTables> {
        &self.tables
    }

    /// Adds a route by configuration or command, or one more next hop to a prefix.
    ///
    /// # Errors
    /// It is there already, makes no sense, its next hop cannot be reached, or memory has run out.
    pub fn add(&self, control: &Control<'_>, spec: &RouteSpec) -> Result<(), Failure> {
        self.edit(control).add_static(spec)?;
        self.tell_on_link(control, spec);
        Ok(())
    }

    /// Removes a route that was added by [`Self::add`], or one of its next hops; the interface may be left out.
    ///
    /// # Errors
    /// There is none.
    pub fn remove(&self, control: &Control<'_>, spec: &RouteSpec) -> Result<(), Failure> {
        self.edit(control).remove_static(spec)?;
        self.tell_on_link(control, spec);
        Ok(())
    }

    /// Removes the routes of a table that were added by [`Self::add`].
    ///
    /// # Errors
    /// There is no such table, or memory has run out.
    pub fn flush(&self, control: &Control<'_>, table: &TableKey) -> Result<(), Failure> {
        let mut edit = self.edit(control);
        let (_, fib) = edit.state.find_table(table)?;
        edit.flush_statics(fib)?;
        drop(edit);
        self.tell(control);
        Ok(())
    }

    /// What routes that were added by [`Self::add`] say to be on the links of interfaces: networks without next hop, and
    /// next hops by an interface.
    pub fn on_link(&self) -> OnLink {
        let state = self.state();
        state.statics.on_link(&state.links)
    }

    /// Has `listener` called when [`Self::on_link`] may have changed.
    pub fn subscribe_on_link(&self, listener: impl Fn(&Control<'_>) + Send + Sync + 'static) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(listener));
    }

    fn tell_on_link(&self, control: &Control<'_>, spec: &RouteSpec) {
        if matches!(&spec.target, RouteTarget::Hop(RouteHop { interface: Some(_), .. })) {
            self.tell(control);
        }
    }

    fn tell(&self, control: &Control<'_>) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        listeners.iter().for_each(|listener| listener(control));
    }

    /// The routes that were added by [`Self::add`], with the number of their table, by table and prefix.
    pub fn statics(&self) -> Vec<(u32, IpPrefix, StaticRoute)> {
        let state = self.state();
        let id = |fib: u32| state.table(fib).map_or(0, |table| table.id);
        state.statics.iter().map(|((fib, prefix), route)| (id(fib), prefix, route.clone())).collect()
    }

    /// Adds or replaces a route of a plugin or protocol; `None` removes it. See [`Source::dynamic`].
    ///
    /// # Errors
    /// It makes no sense, there is no such table, or memory has run out.
    pub fn set(
        &self,
        control: &Control<'_>,
        table: &TableKey,
        prefix: IpPrefix,
        source: Source,
        action: Option<Action>,
    ) -> Result<(), Failure> {
        let mut edit = self.edit(control);
        let (_, fib) = edit.state.find_table(table)?;
        edit.set(fib, prefix, source, action)
    }

    /// A neighbour is to be resolved, or is known: its adjacency, incomplete at first, and, where it is on the link, its host
    /// route. The same again changes nothing. Given back by [`Self::remove_neighbor`].
    ///
    /// # Errors
    /// There is no such interface, or no room.
    pub fn add_neighbor(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        address: IpAddr,
    ) -> Result<AdjacencyIndex, Failure> {
        let mut edit = self.edit(control);
        if let Some(neighbor) = edit.state.neighbors.get(&(interface, address)) {
            return Ok(neighbor.adjacency);
        }
        let Some(link) = edit.state.links.get(interface) else {
            bail!("there is no interface {interface} for neighbour {address}");
        };
        let adjacency = self.tables.adjacencies.allocate(interface, address, link.mtu)?;
        let neighbor = Neighbor { adjacency, routed_in: Vec::new() };
        edit.state.neighbors.insert((interface, address), neighbor);
        edit.state.neighbor_addresses.insert((address, interface));
        if is_link_local(address) {
            edit.publish_link_locals();
        } else {
            edit.sync_neighbor_everywhere(interface, address);
        }
        Ok(adjacency)
    }

    /// Forgets a neighbour: its host routes go, and its adjacency when no route uses it. One that is not there: nothing
    /// happens.
    pub fn remove_neighbor(&self, control: &Control<'_>, interface: InterfaceIndex, address: IpAddr) {
        let mut edit = self.edit(control);
        let Some(adjacency) = edit.take_neighbor(interface, address) else {
            return;
        };
        if is_link_local(address) {
            edit.publish_link_locals();
        }
        // Nothing leads to the adjacency from now on but what a thread has read before.
        let tables = Arc::clone(&self.tables);
        control.defer(move |control| tables.adjacencies.release(control, adjacency));
    }

    /// An interface was made or has changed. Its routes come and go with it.
    pub fn set_link(&self, control: &Control<'_>, interface: InterfaceIndex, link: Link) {
        let mut edit = self.edit(control);
        if edit.state.links.get(interface).is_some_and(|old| old.mtu != link.mtu) {
            self.tables.adjacencies.set_mtu(interface, link.mtu);
        }
        let name = link.name.clone();
        let turned = edit.state.links.is_up(interface) != link.is_up;
        edit.state.links.set(interface, link);
        if turned {
            edit.sync_usable(interface);
        }
        edit.sync(interface, Some(&name));
    }

    /// An interface is gone, and its addresses and its table with it.
    pub fn remove_link(&self, control: &Control<'_>, interface: InterfaceIndex) {
        let mut edit = self.edit(control);
        let name = edit.state.links.get(interface).map(|link| link.name.clone());
        edit.state.links.remove(interface);
        edit.state.addresses.remove(&interface);
        edit.sync(interface, name.as_deref());
        edit.state.bindings.remove(&interface);
        edit.state.connected.remove(&interface);
        if let Some(glean) = edit.state.link_local_gleans.remove(&interface) {
            edit.publish_link_locals();
            let tables = Arc::clone(&self.tables);
            control.defer(move |control| tables.adjacencies.release(control, glean));
        }
    }

    /// Sets all addresses of an interface: own addresses and connected networks.
    pub fn set_addresses(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        addresses: BTreeSet<InterfaceAddress>,
    ) {
        let mut edit = self.edit(control);
        edit.state.addresses.insert(interface, addresses);
        edit.sync(interface, None);
    }

    /// The route of exactly this prefix in a table, else the longest that covers it.
    ///
    /// # Errors
    /// There is no such table.
    pub fn find(&self, table: &TableKey, prefix: IpPrefix) -> Result<Option<RouteInfo>, Failure> {
        let state = self.state();
        let (_, fib) = state.find_table(table)?;
        let names = Names { links: &state.links, tables: &state.index, owners: &state.owners };
        Ok(state.table(fib).and_then(|table| table.find(prefix, names)))
    }

    /// The name of an interface, as routes know it.
    pub fn interface_name(&self, interface: InterfaceIndex) -> String {
        self.state().links.name(interface)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn edit<'a>(&'a self, control: &'a Control<'a>) -> Edit<'a> {
        Edit { control, tables: &self.tables, state: self.state(), changed: false }
    }
}
