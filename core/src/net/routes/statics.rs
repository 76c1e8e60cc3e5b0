//! Routes by configuration and command, and which of them depend on what.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::IpPrefix;

use super::MAX_TABLES;
use super::edit::Edit;
use super::state::State;
use crate::net::fib::{Action, Forwarding, Source};
use crate::net::link::Links;
use crate::net::local::OnLink;
use crate::net::static_route::{RouteHop, RouteSpec, RouteTarget, StaticRoute};

/// A prefix in the table of a FIB index.
pub(super) type Place = (u32, IpPrefix);

/// A route by configuration or command.
pub(super) struct Static {
    pub(super) route: StaticRoute,
    /// As it is in the table.
    installed: Option<Action>,
}

/// All of them, found by what may change them.
#[derive(Default)]
pub(super) struct Statics {
    by_place: BTreeMap<Place, Static>,
    /// Those with a next hop by an interface of this name.
    by_interface: BTreeMap<String, BTreeSet<Place>>,
    /// Those with a next hop at this address, in the table of that FIB index.
    by_router: BTreeMap<(u32, IpAddr), BTreeSet<Place>>,
}

impl Statics {
    /// The route of a prefix.
    pub(super) fn get(&self, place: Place) -> Option<&Static> {
        self.by_place.get(&place)
    }

    /// All, by table and prefix.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &StaticRoute)> {
        self.by_place.iter().map(|(&place, present)| (place, &present.route))
    }

    /// Those of one table.
    pub(super) fn of_table(&self, fib: u32) -> impl Iterator<Item = (IpPrefix, &StaticRoute)> {
        self.iter().filter(move |((of, _), _)| *of == fib).map(|((_, prefix), route)| (prefix, route))
    }

    /// What they say to be on the links of interfaces.
    pub(super) fn on_link(&self, links: &Links) -> OnLink {
        let mut on_link: HashMap<InterfaceIndex, BTreeSet<IpPrefix>> = HashMap::new();
        for (name, places) in &self.by_interface {
            let Some(interface) = links.find(name) else { continue };
            for place in places {
                let hops = self.get(*place).map_or(&[][..], |present| present.route.hops());
                let by_it = hops.iter().filter(|hop| hop.interface.as_ref() == Some(name));
                let networks = by_it.map(|hop| hop.via.map_or(place.1, IpPrefix::host));
                on_link.entry(interface).or_default().extend(networks);
            }
        }
        on_link.into_iter().map(|(interface, networks)| (interface, networks.into_iter().collect())).collect()
    }

    fn insert(&mut self, place: Place, route: StaticRoute, installed: Option<Action>) {
        self.remove(place);
        for hop in route.hops() {
            if let Some(interface) = &hop.interface {
                self.by_interface.entry(interface.clone()).or_default().insert(place);
            }
            if let Some(via) = hop.via {
                self.by_router.entry((place.0, via)).or_default().insert(place);
            }
        }
        self.by_place.insert(place, Static { route, installed });
    }

    fn remove(&mut self, place: Place) {
        let Some(gone) = self.by_place.remove(&place) else { return };
        for RouteHop { via, interface, .. } in gone.route.hops() {
            if let Some(interface) = interface {
                forget(&mut self.by_interface, interface, place);
            }
            if let Some(via) = via {
                forget(&mut self.by_router, &(place.0, *via), place);
            }
        }
    }

    /// Routes that may say something else when an interface of this name changes, or what is in these networks of a table.
    fn affected(&self, name: Option<&str>, fib: u32, networks: &BTreeSet<IpPrefix>) -> BTreeSet<Place> {
        let mut affected = name.and_then(|name| self.by_interface.get(name)).cloned().unwrap_or_default();
        for network in networks {
            let from = self.by_router.range((fib, network.network())..);
            let within = from.take_while(|((of, via), _)| *of == fib && network.contains(*via));
            affected.extend(within.flat_map(|(_, places)| places));
        }
        affected
    }
}

fn forget<K: Ord>(map: &mut BTreeMap<K, BTreeSet<Place>>, key: &K, place: Place) {
    if let Some(places) = map.get_mut(key) {
        places.remove(&place);
        if places.is_empty() {
            map.remove(key);
        }
    }
}

impl Edit<'_> {
    /// Adds a route, or one more next hop to a prefix.
    pub(super) fn add_static(&mut self, spec: &RouteSpec) -> Result<(), Failure> {
        let (fib, spec) = self.in_table(spec)?;
        self.check_reachable(fib, &spec)?;
        let place = (fib, spec.prefix);
        let present = self.state.statics.get(place);
        let route = StaticRoute::with(present.map(|present| &present.route), &spec)?;
        self.refuse_table_loop(place, &route)?;
        self.refuse_shared_link(&spec, &route)?;
        self.put_static(place, route)
    }

    /// Removes a route, or one of its next hops.
    pub(super) fn remove_static(&mut self, spec: &RouteSpec) -> Result<(), Failure> {
        let (fib, spec) = self.in_table(spec)?;
        let place = (fib, spec.prefix);
        let Some(present) = self.state.statics.get(place) else {
            bail!("there is no route {} by configuration or command", spec.prefix);
        };
        match present.route.without(&spec)? {
            Some(route) => self.put_static(place, route),
            None => {
                self.set(fib, spec.prefix, Source::STATIC, None)?;
                self.state.statics.remove(place);
                Ok(())
            }
        }
    }

    /// Removes a table's routes by configuration and command.
    pub(super) fn flush_statics(&mut self, fib: u32) -> Result<(), Failure> {
        let prefixes: Vec<_> = self.state.statics.of_table(fib).map(|(prefix, _)| prefix).collect();
        for prefix in prefixes {
            self.set(fib, prefix, Source::STATIC, None)?;
            self.state.statics.remove((fib, prefix));
        }
        Ok(())
    }

    /// Brings the routes in line that depend on an interface of this name, or on these networks of a table.
    pub(super) fn sync_statics(&mut self, name: Option<&str>, fib: u32, networks: &BTreeSet<IpPrefix>) {
        for place in self.state.statics.affected(name, fib, networks) {
            let state = &*self.state;
            let Some(present) = state.statics.get(place) else { continue };
            let action = present.route.action(place.1, &state.links, state.networks_of(place.0));
            if present.installed == action {
                continue;
            }
            let (fib, prefix) = place;
            let installed = match self.set(fib, prefix, Source::STATIC, action.clone()) {
                Ok(()) => action,
                Err(failure) => {
                    // Its router is not on a network any more, and what leads there now is the route itself, for example.
                    self.control.log(LogLevel::WARN, format_args!("route {prefix} is not in use: {failure}"));
                    self.set_or_log(fib, prefix, Source::STATIC, None);
                    None
                }
            };
            if let Some(present) = self.state.statics.by_place.get_mut(&place) {
                present.installed = installed;
            }
        }
    }

    /// A route into another table must not come back to its own.
    fn refuse_table_loop(&self, (fib, prefix): Place, route: &StaticRoute) -> Result<(), Failure> {
        let state = &*self.state;
        let mut next = route.table();
        for _ in 0..MAX_TABLES {
            let Some(id) = next else { return Ok(()) };
            let through = state.index.fib(id);
            if through == Some(fib) {
                bail!(
                    "route {prefix} would come back to its own table by way of table {}",
                    route_name(route, state)
                );
            }
            let table = through.and_then(|through| state.table(through));
            next = match table.and_then(|table| table.forwarding(prefix.network())) {
                Some(Forwarding::Table { table }) => Some(*table),
                _ => None,
            };
        }
        Ok(())
    }

    /// Neighbours are looked for on one link.
    fn refuse_shared_link(&self, spec: &RouteSpec, route: &StaticRoute) -> Result<(), Failure> {
        let links = &self.state.links;
        let is_shared = |hop: &RouteHop| {
            let link =
                hop.interface.as_deref().and_then(|name| links.find(name)).and_then(|at| links.get(at));
            hop.via.is_none() && link.is_some_and(|link| link.has_ethernet)
        };
        if route.hops().len() > 1 && route.hops().iter().any(is_shared) {
            bail!("route {} to neighbours on a link cannot have other next hops", spec.prefix);
        }
        Ok(())
    }

    fn put_static(&mut self, place: Place, route: StaticRoute) -> Result<(), Failure> {
        let (fib, prefix) = place;
        let state = &*self.state;
        let action = route.action(prefix, &state.links, state.networks_of(fib));
        self.set(fib, prefix, Source::STATIC, action.clone())?;
        self.state.statics.insert(place, route, action);
        Ok(())
    }

    /// The FIB index of a route's table, and the route with tables by number.
    fn in_table(&self, spec: &RouteSpec) -> Result<(u32, RouteSpec), Failure> {
        let (id, fib) = self.state.find_table(&spec.table)?;
        let mut spec = RouteSpec { table: TableKey::Id(id), ..spec.clone() };
        if let RouteTarget::Table(other) = &mut spec.target {
            let (target, _) = self.state.find_table(other)?;
            if target == id {
                bail!("route {} cannot lead to its own table {}", spec.prefix, self.state.index.name(id));
            }
            *other = TableKey::Id(target);
        }
        Ok((fib, spec))
    }
}

fn route_name(route: &StaticRoute, state: &State) -> String {
    route.table().map_or_else(String::new, |id| state.index.name(id))
}
