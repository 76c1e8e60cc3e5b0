//! The routing tables: what interfaces, neighbours, the operator and plugins say, kept in step with what workers read.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{InterfaceAddress, IpPrefix};

use super::adjacency::{AdjacencyIndex, Family};
use super::connected;
use super::fib::{Action, Address, Fib, FibError, Forwarding, Prefix, Source};
use super::forwarding::{ForwardingTables, LinkLocals};
use super::leaf_resolver::{LINK_LOCAL_TABLE, LeafResolver};
use super::link::{Link, Links};
use super::route_view::RouteInfo;
use super::static_route::{Networks, RouteHop, RouteSpec, RouteTarget, StaticRoute};

/// Bytes of a table's nodes from which on lookups of a whole frame are made together.
const LARGE_TABLE_BYTES: usize = 64 << 10;

/// The routing tables of both families. A resource of the core; the main thread's alone.
pub struct Routes {
    tables: Arc<ForwardingTables>,
    state: Mutex<State>,
}

struct State {
    ip4: Fib<u32>,
    ip6: Fib<u128>,
    links: Links,
    statics: BTreeMap<IpPrefix, Static>,
    addresses: BTreeMap<InterfaceIndex, BTreeSet<InterfaceAddress>>,
    /// Routes by addresses of interfaces, as they are in the tables.
    connected: BTreeMap<InterfaceIndex, BTreeMap<IpPrefix, Action>>,
    neighbors: BTreeMap<(InterfaceIndex, IpAddr), Neighbor>,
    /// Each interface's adjacency for link-local neighbours that are not known yet.
    link_local_gleans: HashMap<InterfaceIndex, AdjacencyIndex>,
    epoch: u64,
    /// A deferred call will reclaim what was retired.
    reclaiming: bool,
}

struct Static {
    route: StaticRoute,
    /// As it is in the table.
    installed: Option<Action>,
}

struct Neighbor {
    adjacency: AdjacencyIndex,
    /// Its host route is in the table.
    is_routed: bool,
}

impl Routes {
    /// Puts the tables behind the readers of `tables`.
    ///
    /// # Errors
    /// The first routes cannot be made.
    pub fn new(
        control: &Control<'_>,
        tables: Arc<ForwardingTables>,
        ip4: Fib<u32>,
        ip6: Fib<u128>,
    ) -> Result<Self, Failure> {
        let state = State {
            ip4,
            ip6,
            links: Links::default(),
            statics: BTreeMap::new(),
            addresses: BTreeMap::new(),
            connected: BTreeMap::new(),
            neighbors: BTreeMap::new(),
            link_local_gleans: HashMap::new(),
            epoch: 0,
            reclaiming: false,
        };
        let routes = Self { tables, state: Mutex::new(state) };
        // What is never forwarded, whatever other routes say (RFC 1812 §5.3.7, RFC 4291 §2.5), and link-local
        // destinations, which are looked up with their interface.
        for (prefix, action) in [
            ("0.0.0.0/8", Action::Blackhole),
            ("127.0.0.0/8", Action::Blackhole),
            ("::/128", Action::Blackhole),
            ("::1/128", Action::Blackhole),
            ("fe80::/10", Action::Table { table: LINK_LOCAL_TABLE }),
        ] {
            routes.edit(control).set(prefix.parse()?, Source::INTERFACE, Some(action))?;
        }
        Ok(routes)
    }

    /// Adds a route by configuration or command, or one more next hop to a prefix.
    ///
    /// # Errors
    /// It is there already, makes no sense, its next hop cannot be reached, or memory has run out.
    pub fn add(&self, control: &Control<'_>, spec: &RouteSpec) -> Result<(), Failure> {
        let mut edit = self.edit(control);
        edit.check_reachable(spec)?;
        let present = edit.state.statics.get(&spec.prefix);
        let route = StaticRoute::with(present.map(|present| &present.route), spec)?;
        let networks = edit.state.networks();
        let action = route.action(&edit.state.links, &networks);
        edit.set(spec.prefix, Source::STATIC, action.clone())?;
        edit.state.statics.insert(spec.prefix, Static { route, installed: action });
        Ok(())
    }

    /// Removes a route that was added by [`Self::add`], or one of its next hops; the interface may be left out.
    ///
    /// # Errors
    /// There is none.
    pub fn remove(&self, control: &Control<'_>, spec: &RouteSpec) -> Result<(), Failure> {
        let mut edit = self.edit(control);
        let Some(present) = edit.state.statics.get(&spec.prefix) else {
            bail!("there is no route {} by configuration or command", spec.prefix);
        };
        match present.route.without(spec)? {
            Some(route) => {
                let networks = edit.state.networks();
                let action = route.action(&edit.state.links, &networks);
                edit.set(spec.prefix, Source::STATIC, action.clone())?;
                edit.state.statics.insert(spec.prefix, Static { route, installed: action });
            }
            None => {
                edit.set(spec.prefix, Source::STATIC, None)?;
                edit.state.statics.remove(&spec.prefix);
            }
        }
        Ok(())
    }

    /// The routes that were added by [`Self::add`], by prefix.
    pub fn statics(&self) -> Vec<(IpPrefix, StaticRoute)> {
        self.state().statics.iter().map(|(&prefix, present)| (prefix, present.route.clone())).collect()
    }

    /// Adds or replaces a route of a plugin or protocol; `None` removes it. See [`Source::dynamic`].
    ///
    /// # Errors
    /// It makes no sense, or memory has run out.
    pub fn set(
        &self,
        control: &Control<'_>,
        prefix: IpPrefix,
        source: Source,
        action: Option<Action>,
    ) -> Result<(), Failure> {
        self.edit(control).set(prefix, source, action)
    }

    /// A neighbour is to be resolved, or is known: its adjacency, incomplete at first, and, where it is on one of the interface's
    /// networks, its host route. The same again changes nothing. Given back by [`Self::remove_neighbor`].
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
        edit.state.neighbors.insert((interface, address), Neighbor { adjacency, is_routed: false });
        edit.sync_neighbor(interface, address);
        if is_link_local(address) {
            edit.publish_link_locals();
        }
        Ok(adjacency)
    }

    /// Forgets a neighbour: its host route goes, and its adjacency when no route uses it. One that is not there: nothing
    /// happens.
    pub fn remove_neighbor(&self, control: &Control<'_>, interface: InterfaceIndex, address: IpAddr) {
        let mut edit = self.edit(control);
        let Some(neighbor) = edit.state.neighbors.remove(&(interface, address)) else {
            return;
        };
        if neighbor.is_routed {
            edit.set_or_log(IpPrefix::host(address), Source::NEIGHBOR, None);
        }
        if is_link_local(address) {
            edit.publish_link_locals();
        }
        // Nothing leads to the adjacency from now on but what a thread has read before.
        let (tables, adjacency) = (Arc::clone(&self.tables), neighbor.adjacency);
        control.defer(move |control| tables.adjacencies.release(control, adjacency));
    }

    /// An interface was made or has changed. Its routes come and go with it.
    pub fn set_link(&self, control: &Control<'_>, interface: InterfaceIndex, link: Link) {
        let mut edit = self.edit(control);
        if edit.state.links.get(interface).is_some_and(|old| old.mtu != link.mtu) {
            self.tables.adjacencies.set_mtu(interface, link.mtu);
        }
        edit.state.links.set(interface, link);
        edit.sync(interface);
    }

    /// An interface is gone, and its addresses with it.
    pub fn remove_link(&self, control: &Control<'_>, interface: InterfaceIndex) {
        let mut edit = self.edit(control);
        edit.state.links.remove(interface);
        edit.state.addresses.remove(&interface);
        edit.sync(interface);
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
        edit.sync(interface);
    }

    /// The routes of a family, or of both, in order of their prefixes.
    pub fn list(&self, family: Option<Family>) -> Vec<RouteInfo> {
        let state = self.state();
        let mut list = Vec::new();
        if family != Some(Family::Ip6) {
            list.extend(state.ip4.routes_after(None).map(|view| RouteInfo::of(&view, &state.links)));
        }
        if family != Some(Family::Ip4) {
            list.extend(state.ip6.routes_after(None).map(|view| RouteInfo::of(&view, &state.links)));
        }
        list
    }

    /// The route of exactly this prefix, else the longest that covers it.
    pub fn find(&self, prefix: IpPrefix) -> Option<RouteInfo> {
        let state = self.state();
        match prefix {
            IpPrefix::V4(prefix) => {
                let key = Prefix::containing(prefix.network().to_bits(), prefix.length());
                find(&state.ip4, key, &state.links)
            }
            IpPrefix::V6(prefix) => {
                let key = Prefix::containing(prefix.network().to_bits(), prefix.length());
                find(&state.ip6, key, &state.links)
            }
        }
    }

    /// The name of an interface, as routes know it.
    pub fn interface_name(&self, interface: InterfaceIndex) -> String {
        self.state().links.name(interface)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edit<'a>(&'a self, control: &'a Control<'a>) -> Edit<'a> {
        Edit { control, tables: &self.tables, state: self.state(), changed: false }
    }

    /// Every thread has passed a quiescent point since `epoch` began.
    fn reclaim(&self, control: &Control<'_>, epoch: u64) {
        let mut edit = self.edit(control);
        let state = &mut *edit.state;
        state.reclaiming = false;
        let mut resolver =
            LeafResolver { control, tables: &self.tables, links: &state.links, family: Family::Ip4 };
        state.ip4.reclaim(epoch, &mut resolver);
        resolver.family = Family::Ip6;
        state.ip6.reclaim(epoch, &mut resolver);
        edit.changed = edit.state.ip4.retired() + edit.state.ip6.retired() > 0;
    }
}

/// A change of the routes by the main thread. What it has retired is reclaimed after a quiescent point.
struct Edit<'a> {
    control: &'a Control<'a>,
    tables: &'a Arc<ForwardingTables>,
    state: MutexGuard<'a, State>,
    changed: bool,
}

impl Edit<'_> {
    /// Puts a source's route into its table, or takes it out.
    fn set(&mut self, prefix: IpPrefix, source: Source, action: Option<Action>) -> Result<(), Failure> {
        self.changed = true;
        let state = &mut *self.state;
        let mut resolver = LeafResolver {
            control: self.control,
            tables: self.tables,
            links: &state.links,
            family: Family::of(prefix.network()),
        };
        let outcome = match prefix {
            IpPrefix::V4(prefix) => {
                let key = Prefix::containing(prefix.network().to_bits(), prefix.length());
                match action {
                    Some(action) => state.ip4.add(key, source, action, &mut resolver),
                    None => state.ip4.remove(key, source, &mut resolver),
                }
            }
            IpPrefix::V6(prefix) => {
                let key = Prefix::containing(prefix.network().to_bits(), prefix.length());
                match action {
                    Some(action) => state.ip6.add(key, source, action, &mut resolver),
                    None => state.ip6.remove(key, source, &mut resolver),
                }
            }
        };
        match outcome {
            // A route that is configured but has no next hop in use is not in the table.
            Ok(()) | Err(FibError::NoRoute { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// For what follows from an event, which nobody can be told has failed.
    fn set_or_log(&mut self, prefix: IpPrefix, source: Source, action: Option<Action>) -> bool {
        match self.set(prefix, source, action) {
            Ok(()) => true,
            Err(failure) => {
                self.control
                    .log(LogLevel::ERROR, format_args!("route {prefix} is not as it should be: {failure}"));
                false
            }
        }
    }

    /// Brings everything that depends on an interface in line with it.
    fn sync(&mut self, interface: InterfaceIndex) {
        self.sync_connected(interface);
        self.sync_statics();
        let addresses: Vec<_> =
            self.state.neighbors.keys().filter(|key| key.0 == interface).map(|key| key.1).collect();
        for address in addresses {
            self.sync_neighbor(interface, address);
        }
        self.publish_link_locals();
    }

    fn sync_connected(&mut self, interface: InterfaceIndex) {
        let state = &*self.state;
        let none = BTreeSet::new();
        let addresses = state.addresses.get(&interface).filter(|_| state.links.is_up(interface));
        let wanted = connected::routes(interface, addresses.unwrap_or(&none));
        let present = self.state.connected.remove(&interface).unwrap_or_default();
        for &prefix in present.keys().filter(|prefix| !wanted.contains_key(prefix)) {
            self.set_or_log(prefix, Source::INTERFACE, None);
        }
        let mut installed = BTreeMap::new();
        for (prefix, action) in wanted {
            if present.get(&prefix) == Some(&action)
                || self.set_or_log(prefix, Source::INTERFACE, Some(action.clone()))
            {
                installed.insert(prefix, action);
            }
        }
        self.state.connected.insert(interface, installed);
    }

    fn sync_statics(&mut self) {
        let networks = self.state.networks();
        let state = &*self.state;
        let changed: Vec<_> = state
            .statics
            .iter()
            .map(|(&prefix, present)| (prefix, present, present.route.action(&state.links, &networks)))
            .filter(|(_, present, action)| present.installed != *action)
            .map(|(prefix, _, action)| (prefix, action))
            .collect();
        for (prefix, action) in changed {
            let installed = match self.set(prefix, Source::STATIC, action.clone()) {
                Ok(()) => action,
                Err(failure) => {
                    // Its router is not on a network any more, and what leads there now is the route itself, for example.
                    self.control.log(LogLevel::WARN, format_args!("route {prefix} is not in use: {failure}"));
                    self.set_or_log(prefix, Source::STATIC, None);
                    None
                }
            };
            if let Some(present) = self.state.statics.get_mut(&prefix) {
                present.installed = installed;
            }
        }
    }

    /// A neighbour has a host route only on a network of its interface: nobody draws the traffic of other addresses to
    /// itself by claiming them.
    fn sync_neighbor(&mut self, interface: InterfaceIndex, address: IpAddr) {
        let state = &*self.state;
        let on_network = state.connected.get(&interface).is_some_and(|routes| {
            let covers = |(prefix, action): (&IpPrefix, &Action)| {
                prefix.contains(address) && matches!(action, Action::Connected { .. })
            };
            routes.iter().any(covers)
        });
        let Some(neighbor) = state.neighbors.get(&(interface, address)) else {
            return;
        };
        if neighbor.is_routed == on_network {
            return;
        }
        let next_hop = super::fib::NextHop::on_link(address, interface.0);
        let action = on_network.then(|| Action::via(next_hop));
        if self.set_or_log(IpPrefix::host(address), Source::NEIGHBOR, action)
            && let Some(neighbor) = self.state.neighbors.get_mut(&(interface, address))
        {
            neighbor.is_routed = on_network;
        }
    }

    fn publish_link_locals(&mut self) {
        let state = &mut *self.state;
        let mut wanted = LinkLocals::new();
        for (&interface, addresses) in &state.addresses {
            let own = addresses.iter().filter_map(|address| match address.address() {
                IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip),
                _ => None,
            });
            let own: Vec<_> = own.collect();
            let Some(link) = state.links.get(interface).filter(|link| link.is_up && !own.is_empty()) else {
                continue;
            };
            if let Some(glean) = glean(&mut state.link_local_gleans, self.tables, interface, link.mtu) {
                wanted.insert((interface, std::net::Ipv6Addr::UNSPECIFIED), glean);
            }
            for (&(_, address), neighbor) in
                state.neighbors.range((interface, LEAST)..).take_while(|(key, _)| key.0 == interface)
            {
                if let IpAddr::V6(ip) = address
                    && ip.is_unicast_link_local()
                {
                    wanted.insert((interface, ip), neighbor.adjacency);
                }
            }
            wanted.extend(own.into_iter().map(|ip| ((interface, ip), AdjacencyIndex::LOCAL)));
        }
        if *self.tables.link_local.get(self.control) != wanted {
            self.tables.link_local.publish(self.control, wanted);
        }
    }

    /// The next hop must be on a network of an interface, or be reached by a route.
    fn check_reachable(&self, spec: &RouteSpec) -> Result<(), Failure> {
        let RouteTarget::Hop(RouteHop { via, interface, .. }) = &spec.target else {
            return Ok(());
        };
        let prefix = spec.prefix;
        if let Some(name) = interface
            && self.state.links.find(name).is_none()
        {
            // Its error names the nearest interface.
            self.control.interface(name)?;
            bail!("interface {name} of route {prefix} carries no packets");
        }
        let Some(via) = *via else {
            return Ok(());
        };
        if self.state.owns(via) {
            bail!("next hop {via} of route {prefix} is an own address");
        }
        // What makes no sense at all is refused with a better reason when the route is made.
        let is_link_local = is_link_local(via) || via.is_ipv4() != prefix.network().is_ipv4();
        let no_router = via.is_unspecified() || via.is_multicast() || via.is_loopback();
        if interface.is_some()
            || is_link_local
            || no_router
            || self.state.networks().containing(via).is_some()
        {
            return Ok(());
        }
        let is_routed = |forwarding: Option<&Forwarding>| {
            matches!(forwarding, Some(Forwarding::Paths(_) | Forwarding::Glean { .. }))
        };
        let is_reachable = match via {
            IpAddr::V4(via) => {
                is_routed(self.state.ip4.longest_match(via.to_bits()).map(|view| view.forwarding))
            }
            IpAddr::V6(via) => {
                is_routed(self.state.ip6.longest_match(via.to_bits()).map(|view| view.forwarding))
            }
        };
        if !is_reachable {
            bail!("next hop {via} of route {prefix} is on no connected network, and no route leads to it");
        }
        Ok(())
    }
}

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        let state = &mut *self.state;
        if !self.changed {
            return;
        }
        let large = [state.ip4.lpm_bytes(), state.ip6.lpm_bytes()].map(|bytes| bytes > LARGE_TABLE_BYTES);
        for (flag, is_large) in self.tables.is_large.iter().zip(large) {
            flag.store(is_large, Ordering::Relaxed);
        }
        if !state.reclaiming {
            state.reclaiming = true;
            state.epoch += 1;
            let epoch = state.epoch;
            state.ip4.set_epoch(epoch);
            state.ip6.set_epoch(epoch);
            self.control.defer(move |control| {
                // The routes are gone only when the core ends.
                if let Ok(routes) = control.resource::<Routes>() {
                    routes.reclaim(control, epoch);
                }
            });
        }
    }
}

impl State {
    /// Networks of all interfaces, without link-local ones, which are on every interface.
    fn networks(&self) -> Networks {
        Networks::new(self.addresses.iter().flat_map(|(&interface, addresses)| {
            let networks = addresses.iter().filter(|address| !is_link_local(address.address()));
            networks.map(move |address| (address.prefix(), interface))
        }))
    }

    fn owns(&self, address: IpAddr) -> bool {
        self.addresses.values().flatten().any(|own| own.address() == address)
    }
}

fn find<A: Address>(fib: &Fib<A>, key: Prefix<A>, links: &Links) -> Option<RouteInfo> {
    let covering = || fib.longest_match(key.address()).filter(|view| view.prefix.covers(key));
    fib.exact(key).or_else(covering).map(|view| RouteInfo::of(&view, links))
}

/// The least address, to start a range of keys with.
const LEAST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

fn glean(
    gleans: &mut HashMap<InterfaceIndex, AdjacencyIndex>,
    tables: &ForwardingTables,
    interface: InterfaceIndex,
    mtu: u32,
) -> Option<AdjacencyIndex> {
    if let Some(&glean) = gleans.get(&interface) {
        return Some(glean);
    }
    let glean = tables.adjacencies.allocate_glean(interface, Family::Ip6, mtu).ok()?;
    gleans.insert(interface, glean);
    Some(glean)
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
}
