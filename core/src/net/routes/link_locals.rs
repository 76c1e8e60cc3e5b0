//! Link-local IPv6 destinations, which mean something only together with an interface (RFC 4291 §2.5.6).
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use raddle_plugin_api::InterfaceIndex;

use super::edit::{Edit, LEAST};
use crate::net::adjacency::{AdjacencyIndex, Family};
use crate::net::forwarding::{ForwardingTables, LinkLocals};

impl Edit<'_> {
    /// Tells the workers of own link-local addresses and of such neighbours, if that is news.
    pub(super) fn publish_link_locals(&mut self) {
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
                wanted.insert((interface, Ipv6Addr::UNSPECIFIED), glean);
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
}

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
