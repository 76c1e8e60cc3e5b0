//! Two interfaces, `lan` and `wan`, and a neighbour behind `wan` to whom everything is routed.

use std::net::IpAddr;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Run};
use raddle_plugin_api::wire::{EtherType, Ip4Address, Ip4Header, Ip6Address, Ip6Header, IpProtocol};
use serde_json::json;

use crate::net::adjacency::{AdjacencyIndex, AdjacencyTable, Family};
use crate::net::routes::Routes;

pub const LAN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xaa];
pub const WAN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xbb];
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x99];
pub const ROUTER4: &str = "198.51.100.254";
pub const ROUTER6: &str = "2001:db8:b::fe";

/// Interfaces and the forwarding state, without addresses.
pub fn bare() -> Harness {
    let mut host = Harness::builder()
        .interface("lan", |lan| lan.mac(MacAddress(LAN_MAC)))
        .interface("wan", |wan| wan.mac(MacAddress(WAN_MAC)))
        .build();
    host.load_only(&["forwarding", "mac-filter", "vlan"]).unwrap();
    host
}

/// Addresses on both interfaces, and default routes to a router on `wan` that is resolved.
pub fn routed() -> Harness {
    let mut host = bare();
    for (interface, address) in [
        ("lan", "192.0.2.1/24"),
        ("wan", "198.51.100.1/24"),
        ("lan", "2001:db8:a::1/64"),
        ("wan", "2001:db8:b::1/64"),
    ] {
        address_of(&mut host, interface, address);
    }
    for (prefix, router) in [("0.0.0.0/0", ROUTER4), ("::/0", ROUTER6)] {
        route(&mut host, json!({ "prefix": prefix, "next-hop": router }));
        resolve(&mut host, "wan", router);
    }
    host
}

pub fn address_of(host: &mut Harness, interface: &str, address: &str) {
    let arguments = json!({ "interface": interface, "add": true, "address": address });
    host.command("set interface address", arguments).unwrap();
}

pub fn route(host: &mut Harness, arguments: serde_json::Value) {
    host.command(ROUTE_ADD, arguments).unwrap();
}

pub const ROUTE_DEL: &str =
    "route del <prefix> via <next-hop:ip> [interface <interface>] [table <table:word>]";
pub const ROUTE_ADD: &str = "route add <prefix> via <next-hop:ip> [interface <interface>] [weight <weight:u32:1..256>] [table <table:word>]";

/// Makes a neighbour known, as the neighbour table does, at `ROUTER_MAC`.
pub fn resolve(host: &mut Harness, interface: &str, address: &str) -> AdjacencyIndex {
    let index = host.interface(interface);
    let address: IpAddr = address.parse().unwrap();
    let source = host.interface_info(index).mac.unwrap();
    let adjacency = host.control(|control| {
        let adjacency = control.resource::<Routes>().unwrap().add_neighbor(control, index, address).unwrap();
        let table: Arc<AdjacencyTable> = control.resource().unwrap();
        let ethertype: EtherType = Family::of(address).ethertype();
        table.set_rewrite(control, adjacency, MacAddress(ROUTER_MAC), source, ethertype);
        adjacency
    });
    host.quiesce();
    adjacency
}

pub fn ip4(source: &str, destination: &str, payload: usize) -> Vec<u8> {
    let [source, destination] =
        [source, destination].map(|text| Ip4Address::from(text.parse::<std::net::Ipv4Addr>().unwrap()));
    let header = Ip4Header::new(IpProtocol::UDP, source, destination, payload).unwrap();
    let mut bytes = vec![0x5a; Ip4Header::LENGTH + payload];
    header.write_to(&mut bytes).unwrap();
    bytes
}

pub fn ip6(source: &str, destination: &str, payload: usize) -> Vec<u8> {
    let [source, destination] =
        [source, destination].map(|text| Ip6Address::from(text.parse::<std::net::Ipv6Addr>().unwrap()));
    let header = Ip6Header::new(IpProtocol::UDP, source, destination, payload).unwrap();
    let mut bytes = vec![0x5a; Ip6Header::LENGTH + payload];
    header.write_to(&mut bytes).unwrap();
    bytes
}

/// Changes the IPv4 header in `bytes`, which keeps its checksum right.
pub fn with4(mut bytes: Vec<u8>, change: impl FnOnce(&mut Ip4Header)) -> Vec<u8> {
    change(Ip4Header::parse_mut(&mut bytes).unwrap().0);
    bytes
}

/// Where packets went or why they were dropped, in order.
pub fn fates(run: &Run) -> Vec<String> {
    let sent = run.sent().iter().map(|sent| sent.node.clone());
    sent.chain(run.drops().iter().map(|drop| drop.reason.clone())).collect()
}
