use std::sync::{Arc, Mutex};

use raddle_plugin_api::testing::Harness;
use serde_json::json;

use super::setup::*;
use crate::net::addresses::Addresses;
use crate::net::adjacency::AdjacencyTable;
use crate::net::ip4_lookup::Ip4Lookup;
use crate::net::routes::Routes;

const FAR: &str = "203.0.113.9";

fn way(host: &mut Harness, destination: &str) -> String {
    fates(&host.run::<Ip4Lookup>([ip4("192.0.2.7", destination, 8)])).concat()
}

fn routes(host: &mut Harness, family: &str) -> Vec<String> {
    let answer = host
        .command("show fib [ip4|ip6] [table <table:word>] [after <after:prefix>]", json!({ family: true }))
        .unwrap();
    answer.text.unwrap().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn refused(host: &mut Harness, command: &str, arguments: serde_json::Value) -> String {
    host.command(command, arguments).unwrap_err().to_string()
}

#[test]
fn routes_follow_addresses() {
    let mut host = bare();
    assert_eq!(
        routes(&mut host, "ip4"),
        ["0.0.0.0/8 interface blackhole", "127.0.0.0/8 interface blackhole"]
    );
    address_of(&mut host, "lan", "192.0.2.1/24");
    address_of(&mut host, "lan", "192.0.2.2/24");
    assert_eq!(
        routes(&mut host, "ip4")[2..],
        [
            "192.0.2.0/24 interface connected lan",
            "192.0.2.0/32 interface blackhole",
            "192.0.2.1/32 interface local lan",
            "192.0.2.2/32 interface local lan",
            "192.0.2.255/32 interface blackhole",
        ]
    );
    let del = |address: &str| json!({ "interface": "lan", "del": true, "address": address });
    host.command("set interface address", del("192.0.2.1/24")).unwrap();
    assert_eq!(way(&mut host, "192.0.2.1"), "ip4-neighbor");
    assert_eq!(way(&mut host, "192.0.2.2"), "ip4-local");
    host.command("set interface address", del("192.0.2.2/24")).unwrap();
    assert_eq!(routes(&mut host, "ip4").len(), 2);
}

#[test]
fn routes_are_withdrawn_while_their_interface_is_down() {
    let mut host = routed();
    assert_eq!(way(&mut host, FAR), "interface-output");
    host.change_interface("wan", |wan| wan.link_up(false));
    assert_eq!(way(&mut host, FAR), "ip4-icmp-error");
    assert_eq!(way(&mut host, "198.51.100.1"), "ip4-icmp-error");
    assert_eq!(way(&mut host, "192.0.2.1"), "ip4-local");
    host.change_interface("wan", |wan| wan.link_up(true));
    assert_eq!(way(&mut host, FAR), "interface-output");
    assert_eq!(way(&mut host, "198.51.100.254"), "interface-output");
}

#[test]
fn interface_that_comes_back_has_its_static_routes_again() {
    let mut host = routed();
    route(&mut host, json!({ "prefix": "10.0.0.0/8", "next-hop": "198.51.100.7", "interface": "wan" }));
    host.delete_interface("wan");
    assert_eq!(way(&mut host, "10.0.0.1"), "ip4-icmp-error");
    assert!(!routes(&mut host, "ip4").iter().any(|line| line.contains("wan") || line.contains('#')));
    host.add_interface("wan", |wan| wan);
    assert_eq!(way(&mut host, "10.0.0.1"), "ip4-neighbor");
}

#[test]
fn neighbour_has_a_route_only_on_a_network_of_its_interface() {
    let mut host = routed();
    let inside = resolve(&mut host, "lan", "192.0.2.9");
    assert_eq!(way(&mut host, "192.0.2.9"), "ip4-rewrite");
    let stranger = resolve(&mut host, "lan", "203.0.113.9");
    let out = host.run::<Ip4Lookup>([ip4("192.0.2.7", "203.0.113.9", 8)]);
    assert_ne!(out.one().packet.adjacency(), stranger.0, "nobody draws traffic by claiming an address");
    let lan = host.interface("lan");
    host.control(|control| {
        let routes = control.resource::<Routes>().unwrap();
        assert_eq!(routes.add_neighbor(control, lan, "192.0.2.9".parse().unwrap()).unwrap(), inside);
        routes.remove_neighbor(control, lan, "192.0.2.9".parse().unwrap());
        routes.remove_neighbor(control, lan, "192.0.2.9".parse().unwrap());
    });
    host.quiesce();
    host.quiesce();
    assert_eq!(way(&mut host, "192.0.2.9"), "ip4-neighbor");
    let table: Arc<AdjacencyTable> = host.control(|control| control.resource().unwrap());
    assert_eq!(table.find(lan, "192.0.2.9".parse().unwrap()), None);
}

#[test]
fn flows_are_spread_over_next_hops() {
    let mut host = routed();
    for (next_hop, weight) in [("198.51.100.7", 1), ("198.51.100.8", 3)] {
        resolve(&mut host, "wan", next_hop);
        route(&mut host, json!({ "prefix": "10.0.0.0/8", "next-hop": next_hop, "weight": weight }));
    }
    let packets = (0..2000_u32).map(|i| ip4("192.0.2.7", &format!("10.{}.{}.1", i / 256, i % 256), 8));
    let out = host.run::<Ip4Lookup>(packets);
    out.assert_all("interface-output");
    let table: Arc<AdjacencyTable> = host.control(|control| control.resource().unwrap());
    let light = table.find(host.interface("wan"), "198.51.100.7".parse().unwrap()).unwrap();
    let count = out.sent().iter().filter(|sent| sent.packet.adjacency() == light.0).count();
    assert!((400..600).contains(&count), "{count} of 2000 by a next hop with a quarter of the weight");
    let detail =
        host.command("show fib <prefix> [table <table:word>]", json!({ "prefix": "10.0.0.0/8" })).unwrap();
    assert_eq!(detail.json["adjacencies"].as_array().unwrap().len(), 2);
    assert!(detail.text.unwrap().contains("198.51.100.8 on wan"));
}

#[test]
fn next_hop_may_be_reached_by_another_route() {
    let mut host = routed();
    route(&mut host, json!({ "prefix": "10.0.0.0/8", "next-hop": "198.51.100.254" }));
    route(&mut host, json!({ "prefix": "172.16.0.0/12", "next-hop": "10.0.0.1" }));
    assert_eq!(way(&mut host, "172.16.0.1"), "interface-output");
    let del = json!({ "prefix": "10.0.0.0/8", "next-hop": "198.51.100.254" });
    host.command(ROUTE_DEL, del).unwrap();
    assert_eq!(way(&mut host, "172.16.0.1"), "interface-output", "by the default route now");
}

#[test]
fn wrong_routes_are_refused_in_one_sentence() {
    let mut host = bare();
    address_of(&mut host, "lan", "192.0.2.1/24");
    for (next_hop, message) in [
        (
            "10.9.9.9",
            "next hop 10.9.9.9 of route 10.0.0.0/8 is on no connected network, and no route leads to it",
        ),
        ("192.0.2.1", "next hop 192.0.2.1 of route 10.0.0.0/8 is an own address"),
        ("::1", "next hop ::1 is of another family than route 10.0.0.0/8"),
    ] {
        let arguments = json!({ "prefix": "10.0.0.0/8", "next-hop": next_hop });
        assert_eq!(refused(&mut host, ROUTE_ADD, arguments), message);
    }
    let unknown = json!({ "prefix": "10.0.0.0/8", "next-hop": "192.0.2.9", "interface": "lam" });
    assert!(refused(&mut host, ROUTE_ADD, unknown).contains("lam"));
    let arguments = json!({ "prefix": "10.0.0.0/8", "next-hop": "192.0.2.9" });
    route(&mut host, arguments.clone());
    let again = refused(&mut host, ROUTE_ADD, arguments);
    assert_eq!(again, "route 10.0.0.0/8 via 192.0.2.9 is there already");
    let none = json!({ "prefix": "11.0.0.0/8", "next-hop": "192.0.2.9" });
    let message = refused(&mut host, ROUTE_DEL, none);
    assert_eq!(message, "there is no route 11.0.0.0/8 by configuration or command");
}

#[test]
fn wrong_addresses_are_refused_in_one_sentence() {
    let mut host = bare();
    address_of(&mut host, "lan", "192.0.2.1/24");
    for (interface, address, message) in [
        ("lan", "192.0.2.1/25", "lan has address 192.0.2.1/24 already"),
        ("wan", "192.0.2.1/32", "192.0.2.1 is an address of lan already"),
        ("wan", "192.0.2.9/24", "192.0.2.0/24 is on the network of lan already, by 192.0.2.1/24"),
        (
            "wan",
            "198.51.100.0/24",
            "198.51.100.0 is the first or last address of 198.51.100.0/24, which no host has",
        ),
        ("wan", "224.0.0.1/24", "224.0.0.1 is no host's address"),
        ("wan", "::1/128", "::1 is no host's address"),
        ("wan", "1.2.3.4/0", "1.2.3.4/0 is on no network: the prefix length is 0"),
    ] {
        let arguments = json!({ "interface": interface, "add": true, "address": address });
        assert_eq!(refused(&mut host, "set interface address", arguments), message);
    }
    let del = |address: &str| json!({ "interface": "lan", "del": true, "address": address });
    assert_eq!(
        refused(&mut host, "set interface address", del("192.0.2.2/24")),
        "lan has no address 192.0.2.2/24"
    );
    assert_eq!(
        refused(&mut host, "set interface address", del("fe80::ff:fe00:aa/64")),
        "fe80::ff:fe00:aa/64 follows from the MAC address of lan and cannot be removed"
    );
}

#[test]
fn listeners_hear_of_addresses_that_come_into_force_and_go() {
    let mut host = bare();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    host.control(|control| {
        let addresses = control.resource::<Addresses>().unwrap();
        addresses.subscribe(move |_, event| {
            ear.lock().unwrap().push(format!("{} {}", event.address, event.in_force));
        });
    });
    address_of(&mut host, "lan", "192.0.2.1/24");
    host.change_interface("lan", |lan| lan.link_up(false));
    address_of(&mut host, "lan", "192.0.2.2/24");
    host.change_interface("lan", |lan| lan.link_up(true));
    let (own, local) = ("192.0.2.1/24", "fe80::ff:fe00:aa/64");
    assert_eq!(
        *heard.lock().unwrap(),
        [
            format!("{own} true"),
            format!("{own} false"),
            format!("{local} false"),
            format!("{own} true"),
            "192.0.2.2/24 true".into(),
            format!("{local} true"),
        ]
    );
    let in_force = host.control(|control| {
        let addresses = control.resource::<Addresses>().unwrap();
        addresses.in_force(control).values().map(Vec::len).collect::<Vec<_>>()
    });
    assert_eq!(in_force.iter().sum::<usize>(), 4);
    let shown = host.command("show interface address", json!({ "interface": "lan" })).unwrap();
    assert_eq!(shown.json.as_array().unwrap().len(), 3);
    assert_eq!(shown.json[2]["scope"], "link");
}

#[test]
fn point_to_point_interface_needs_no_neighbour() {
    let mut host = bare();
    host.add_interface("tun", |tun| tun.without_ethernet());
    address_of(&mut host, "tun", "10.7.0.1/24");
    host.nodes(&["ip4-rewrite"]);
    let packet = ip4("192.0.2.7", "10.7.0.2", 8);
    let out = host.run::<Ip4Lookup>([packet.clone()]);
    assert_eq!(out.one().node, "interface-output");
    assert_eq!(out.one().packet.len(), packet.len());
}

#[test]
fn changes_give_back_what_they_held() {
    let mut host = routed();
    let table: Arc<AdjacencyTable> = host.control(|control| control.resource().unwrap());
    let before = table.list(None).len();
    for round in 0..50 {
        let next_hop = format!("198.51.100.{}", 10 + round);
        let arguments = json!({ "prefix": "10.0.0.0/8", "next-hop": next_hop });
        route(&mut host, arguments.clone());
        host.command(ROUTE_DEL, arguments).unwrap();
    }
    for _ in 0..4 {
        host.quiesce();
    }
    assert_eq!(table.list(None).len(), before);
    let shown = host.command("show adjacency", json!({})).unwrap();
    assert_eq!(shown.json.as_array().unwrap().len(), before);
}
