//! Routes that follow from the addresses of an interface.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::wire::{InterfaceAddress, IpPrefix};

use super::fib::Action;

/// The routes of an interface with these addresses, while it is up: own addresses, the networks they are on, and what is no
/// host there, with the address by which hosts reach any router (RFC 4291 §2.6.1). Link-local IPv6 addresses give none: every
/// interface has them.
pub fn routes(
    interface: InterfaceIndex,
    addresses: &BTreeSet<InterfaceAddress>,
) -> BTreeMap<IpPrefix, Action> {
    let mut routes = BTreeMap::new();
    let routed = || addresses.iter().filter(|address| !is_link_local(address.address()));
    // What comes later wins: a network of one host is an own address, and so is the first address of a network that is one.
    for address in routed() {
        for edge in edges(*address) {
            routes.insert(IpPrefix::host(edge), Action::Blackhole);
        }
    }
    for address in routed() {
        routes.insert(address.prefix(), Action::Connected { interface: interface.0 });
    }
    for anycast in routed().filter_map(|address| address.subnet_router_anycast()) {
        routes.insert(IpPrefix::host(anycast.into()), Action::Local { interface: Some(interface.0) });
    }
    for address in routed() {
        routes.insert(IpPrefix::host(address.address()), Action::Local { interface: Some(interface.0) });
    }
    routes
}

/// The network's own address and its directed broadcast, to which nothing is forwarded (RFC 2644). A network of two addresses
/// has neither (RFC 3021), nor has IPv6.
pub fn edges(address: InterfaceAddress) -> Vec<IpAddr> {
    match address.prefix() {
        IpPrefix::V4(prefix) if prefix.length() < 31 => vec![prefix.network().into(), prefix.last().into()],
        _ => Vec::new(),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(addresses: &[&str]) -> Vec<String> {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let routes = routes(InterfaceIndex(1), &addresses);
        routes.iter().map(|(prefix, action)| format!("{prefix} {action:?}")).collect()
    }

    #[test]
    fn network_has_edges_and_one_own_address() {
        assert_eq!(
            lines(&["192.0.2.1/24"]),
            [
                "192.0.2.0/24 Connected { interface: 1 }",
                "192.0.2.0/32 Blackhole",
                "192.0.2.1/32 Local { interface: Some(1) }",
                "192.0.2.255/32 Blackhole",
            ]
        );
    }

    #[test]
    fn networks_of_one_or_two_addresses_have_no_edges() {
        assert_eq!(
            lines(&["192.0.2.0/31", "198.51.100.1/32"]),
            [
                "192.0.2.0/31 Connected { interface: 1 }",
                "192.0.2.0/32 Local { interface: Some(1) }",
                "198.51.100.1/32 Local { interface: Some(1) }",
            ]
        );
    }

    #[test]
    fn link_local_addresses_are_in_no_table() {
        assert_eq!(
            lines(&["fe80::1/64", "2001:db8::1/64"]),
            [
                "2001:db8::/64 Connected { interface: 1 }",
                "2001:db8::/128 Local { interface: Some(1) }",
                "2001:db8::1/128 Local { interface: Some(1) }"
            ]
        );
    }
}
