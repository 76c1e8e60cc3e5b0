//! What interfaces say: their addresses' routes, and all that depends on them.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::wire::IpPrefix;

use super::edit::{Edit, LEAST};
use super::statics::Place;
use crate::net::connected;
use crate::net::fib::Source;

impl Edit<'_> {
    /// Brings everything that depends on an interface in line with it; `name` is what routes call it.
    pub(super) fn sync(&mut self, interface: InterfaceIndex, name: Option<&str>) {
        let fib = self.state.fib_of(interface);
        let before = self.networks(interface);
        self.state.renew_networks(fib);
        let former = self.sync_connected(interface);
        self.remove_connected(former);
        let after: BTreeSet<_> = before.union(&self.networks(interface)).copied().collect();
        self.sync_statics(name, fib, &after);
        self.sync_neighbors_on(interface);
        self.publish_link_locals();
    }

    /// Takes routes of interfaces out.
    pub(super) fn remove_connected(&mut self, places: Vec<Place>) {
        for (fib, prefix) in places {
            self.set_or_log(fib, prefix, Source::INTERFACE, None);
        }
    }

    /// The neighbours of an interface have routes as its networks say.
    pub(super) fn sync_neighbors_on(&mut self, interface: InterfaceIndex) {
        let of = self.state.neighbors.range((interface, LEAST)..).take_while(|(key, _)| key.0 == interface);
        let addresses: Vec<_> = of.map(|(key, _)| key.1).collect();
        for address in addresses {
            self.sync_neighbor_everywhere(interface, address);
        }
    }

    /// The networks that an interface is, or was until now, connected to.
    pub(super) fn networks(&self, interface: InterfaceIndex) -> BTreeSet<IpPrefix> {
        let present = self.state.connected.get(&interface).map(|(_, routes)| routes.keys().copied());
        let addresses = self.state.addresses.get(&interface).into_iter().flatten();
        present.into_iter().flatten().chain(addresses.map(|address| address.prefix())).collect()
    }

    /// Routes of an interface's addresses, in the table that it is bound to. Those in another table, which it was bound to
    /// before, are returned: they are to be removed.
    #[must_use = "routes in the former table are to be removed"]
    pub(super) fn sync_connected(&mut self, interface: InterfaceIndex) -> Vec<Place> {
        let state = &*self.state;
        let fib = state.fib_of(interface);
        let none = BTreeSet::new();
        let addresses = state.addresses.get(&interface).filter(|_| state.links.is_up(interface));
        let wanted = connected::routes(interface, addresses.unwrap_or(&none));
        let (old_fib, present) =
            self.state.connected.remove(&interface).unwrap_or_else(|| (fib, BTreeMap::new()));
        let mut installed = BTreeMap::new();
        if old_fib != fib {
            for (prefix, action) in wanted {
                if self.set_or_log(fib, prefix, Source::INTERFACE, Some(action.clone())) {
                    installed.insert(prefix, action);
                }
            }
            self.state.connected.insert(interface, (fib, installed));
            return present.into_keys().map(|prefix| (old_fib, prefix)).collect();
        }
        for &prefix in present.keys().filter(|prefix| !wanted.contains_key(prefix)) {
            self.set_or_log(fib, prefix, Source::INTERFACE, None);
        }
        for (prefix, action) in wanted {
            if present.get(&prefix) == Some(&action)
                || self.set_or_log(fib, prefix, Source::INTERFACE, Some(action.clone()))
            {
                installed.insert(prefix, action);
            }
        }
        self.state.connected.insert(interface, (fib, installed));
        Vec::new()
    }
}
