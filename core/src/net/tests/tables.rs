use raddle_plugin_api::testing::{Harness, Sample};
use serde_json::{Value, json};

use super::setup::*;
use crate::net::ip4_lookup::Ip4Lookup;
use crate::net::ip6_lookup::Ip6Lookup;

const TABLE_ADD: &str = "table add <name:word> <id:u32:1..4294967294>";
const TABLE_DEL: &str = "table del <table:word>";
const BIND: &str = "set interface table <interface> <table:word>";
const VIA_TABLE: &str = "route add <prefix> via table <target:word> [table <table:word>]";
const ON_LINK: &str =
    "route add <prefix> interface <interface> [weight <weight:u32:1..256>] [table <table:word>]";

/// `lan` in the default table, `wan` in table `blue` with FIB index 1, both with the same address.
fn two_tables() -> Harness {
    let mut host = bare();
    host.command(TABLE_ADD, json!({ "name": "blue", "id": 10 })).unwrap();
    host.command(BIND, json!({ "interface": "wan", "table": "blue" })).unwrap();
    for interface in ["lan", "wan"] {
        address_of(&mut host, interface, "192.0.2.1/24");
        address_of(&mut host, interface, "2001:db8::1/64");
    }
    host
}

fn way(host: &mut Harness, fib: u32, destination: &str) -> String {
    if destination.contains(':') {
        let packet = Sample::new(ip6("2001:db8:f::7", destination, 8)).with_fib_index(fib);
        return fates(&host.run::<Ip6Lookup>([packet])).concat();
    }
    let packet = Sample::new(ip4("203.0.113.7", destination, 8)).with_fib_index(fib);
    fates(&host.run::<Ip4Lookup>([packet])).concat()
}

fn refused(host: &mut Harness, command: &str, arguments: Value) -> String {
    host.command(command, arguments).unwrap_err().to_string()
}

fn adjacency(host: &mut Harness, fib: u32, destination: &str) -> u32 {
    let packet = Sample::new(ip4("203.0.113.7", destination, 8)).with_fib_index(fib);
    host.run::<Ip4Lookup>([packet]).one().packet.adjacency()
}

#[test]
fn same_addresses_and_neighbours_in_two_tables_are_told_apart() {
    let mut host = two_tables();
    let (lan, wan) = (resolve(&mut host, "lan", "192.0.2.9"), resolve(&mut host, "wan", "192.0.2.9"));
    assert_ne!(lan, wan);
    assert_eq!((adjacency(&mut host, 0, "192.0.2.9"), adjacency(&mut host, 1, "192.0.2.9")), (lan.0, wan.0));
    for fib in [0, 1] {
        assert_eq!(way(&mut host, fib, "192.0.2.1"), "ip4-local");
        assert_eq!(way(&mut host, fib, "2001:db8::1"), "ip6-local");
    }
    assert_eq!(way(&mut host, 2, "192.0.2.1"), "ip4-icmp-error", "no table has that number");
    let conflict = json!({ "interface": "wan", "table": "default" });
    assert_eq!(refused(&mut host, BIND, conflict), "192.0.2.1 is an address of lan already");
}

#[test]
fn interface_moves_between_tables_with_all_that_is_its() {
    let mut host = bare();
    host.command(TABLE_ADD, json!({ "name": "blue", "id": 10 })).unwrap();
    address_of(&mut host, "wan", "198.51.100.1/24");
    route(&mut host, json!({ "prefix": "10.0.0.0/8", "next-hop": ROUTER4 }));
    let router = resolve(&mut host, "wan", ROUTER4);
    assert_eq!(adjacency(&mut host, 0, "10.0.0.1"), router.0);
    host.command(BIND, json!({ "interface": "wan", "table": "10" })).unwrap();
    let wan = host.interface("wan");
    assert_eq!(host.interface_info(wan).name, "wan");
    for destination in ["198.51.100.1", ROUTER4, "10.0.0.1"] {
        assert_eq!(way(&mut host, 0, destination), "ip4-icmp-error", "{destination}");
    }
    assert_eq!(way(&mut host, 1, "198.51.100.1"), "ip4-local");
    assert_eq!(adjacency(&mut host, 1, ROUTER4), router.0);
    host.command(BIND, json!({ "interface": "wan", "table": "default" })).unwrap();
    assert_eq!(adjacency(&mut host, 0, "10.0.0.1"), router.0, "its routes work again");
    assert_eq!(way(&mut host, 1, "198.51.100.1"), "ip4-icmp-error");
}

#[test]
fn route_leads_into_another_table_and_back_by_a_route_there() {
    let mut host = two_tables();
    resolve(&mut host, "wan", "192.0.2.9");
    route(&mut host, json!({ "prefix": "10.0.0.0/8", "next-hop": "192.0.2.9", "table": "blue" }));
    assert_eq!(way(&mut host, 0, "10.1.1.1"), "ip4-icmp-error");
    host.command(VIA_TABLE, json!({ "prefix": "10.0.0.0/8", "target": "blue" })).unwrap();
    assert_eq!(way(&mut host, 0, "10.1.1.1"), "ip4-rewrite");
    assert_eq!(adjacency(&mut host, 0, "10.1.1.1"), adjacency(&mut host, 1, "10.1.1.1"));
    host.command(VIA_TABLE, json!({ "prefix": "2001:db8::/64", "target": "0", "table": "blue" })).unwrap();
    host.command(VIA_TABLE, json!({ "prefix": "2001:db8:f::/64", "target": "blue" })).unwrap();
    assert_eq!(way(&mut host, 0, "2001:db8:f::9"), "ip6-icmp-error", "no route there either");
    // By a next hop on an interface of the other table, without a look at that table.
    let leak = json!({ "prefix": "172.16.0.0/12", "next-hop": "192.0.2.9", "interface": "wan" });
    route(&mut host, leak);
    assert_eq!(way(&mut host, 0, "172.16.0.1"), "interface-output");
}

#[test]
fn tables_that_lead_to_each_other_drop_and_are_refused_where_it_shows() {
    let mut host = bare();
    for (name, id) in [("blue", 10), ("red", 11)] {
        host.command(TABLE_ADD, json!({ "name": name, "id": id })).unwrap();
    }
    host.command(VIA_TABLE, json!({ "prefix": "10.0.0.0/8", "target": "red", "table": "blue" })).unwrap();
    // That a longer prefix inside comes back is not seen beforehand: there the packet's way ends.
    let back = json!({ "prefix": "10.64.0.0/16", "target": "default", "table": "red" });
    host.command(VIA_TABLE, back).unwrap();
    host.command(VIA_TABLE, json!({ "prefix": "10.0.0.0/8", "target": "blue" })).unwrap();
    let back = json!({ "prefix": "10.0.0.0/8", "target": "default", "table": "red" });
    assert_eq!(
        refused(&mut host, VIA_TABLE, back),
        "route 10.0.0.0/8 would come back to its own table by way of table default"
    );
    let own = json!({ "prefix": "10.0.0.0/8", "target": "red", "table": "red" });
    assert_eq!(refused(&mut host, VIA_TABLE, own), "route 10.0.0.0/8 cannot lead to its own table red");
    assert_eq!(way(&mut host, 0, "10.64.0.1"), "table-loop");
}

#[test]
fn table_in_use_is_kept_and_says_by_whom() {
    let mut host = two_tables();
    let del = |host: &mut Harness, table: &str| {
        host.command(TABLE_DEL, json!({ "table": table })).map(drop).map_err(|error| error.to_string())
    };
    let refusal = |text: &str| Err(text.to_owned());
    assert_eq!(del(&mut host, "default"), refusal("the default routing table cannot be removed"));
    assert_eq!(del(&mut host, "bleu"), refusal("there is no routing table `bleu`; did you mean `blue`?"));
    assert_eq!(del(&mut host, "blue"), refusal("routing table blue is in use by wan"));
    host.delete_interface("wan");
    host.command(VIA_TABLE, json!({ "prefix": "10.0.0.0/8", "target": "blue" })).unwrap();
    assert_eq!(del(&mut host, "10"), refusal("routing table blue is in use by route 10.0.0.0/8"));
    let gone = json!({ "prefix": "10.0.0.0/8", "target": "blue" });
    host.command("route del <prefix> via table <target:word> [table <table:word>]", gone).unwrap();
    for prefix in ["10.0.0.0/8", "11.0.0.0/8"] {
        let arguments = json!({ "prefix": prefix, "blackhole": true, "table": "blue" });
        host.command("route add <prefix> blackhole|unreachable|prohibit [table <table:word>]", arguments)
            .unwrap();
    }
    assert_eq!(
        del(&mut host, "blue"),
        refusal("routing table blue still has 2 routes; `route flush table blue` removes them")
    );
    host.command("route flush [table <table:word>]", json!({ "table": "blue" })).unwrap();
    assert_eq!(del(&mut host, "blue"), Ok(()));
    host.quiesce();
    host.command(TABLE_ADD, json!({ "name": "blue", "id": 10 })).unwrap();
}

#[test]
fn router_on_the_link_needs_no_own_network_there() {
    let mut host = bare();
    address_of(&mut host, "lan", "192.0.2.1/24");
    // A gateway outside of all networks, as hosting providers have them.
    host.command(ON_LINK, json!({ "prefix": "203.0.113.254/32", "interface": "wan" })).unwrap();
    route(&mut host, json!({ "prefix": "0.0.0.0/0", "next-hop": "203.0.113.254" }));
    assert_eq!(way(&mut host, 0, "8.8.8.8"), "ip4-neighbor");
    let gateway = resolve(&mut host, "wan", "203.0.113.254");
    assert_eq!(adjacency(&mut host, 0, "8.8.8.8"), gateway.0);
    assert_eq!(adjacency(&mut host, 0, "203.0.113.254"), gateway.0);
    // A whole network on the link: each neighbour has its own route once it is known.
    host.command(ON_LINK, json!({ "prefix": "198.18.0.0/24", "interface": "wan" })).unwrap();
    assert_eq!(way(&mut host, 0, "198.18.0.5"), "ip4-neighbor");
    let neighbor = resolve(&mut host, "wan", "198.18.0.5");
    assert_eq!(adjacency(&mut host, 0, "198.18.0.5"), neighbor.0);
    let del = json!({ "prefix": "198.18.0.0/24", "interface": "wan" });
    host.command("route del <prefix> interface <interface> [table <table:word>]", del).unwrap();
    assert_ne!(adjacency(&mut host, 0, "198.18.0.5"), neighbor.0, "it draws no traffic any more");
}

#[test]
fn neighbours_on_the_link_are_found_from_a_table_that_leaks_to_it() {
    let mut host = two_tables();
    host.command(ON_LINK, json!({ "prefix": "198.18.0.0/24", "interface": "wan" })).unwrap();
    let neighbor = resolve(&mut host, "wan", "198.18.0.5");
    assert_eq!(adjacency(&mut host, 0, "198.18.0.5"), neighbor.0, "no endless look-up of a known neighbour");
    assert_eq!(way(&mut host, 1, "198.18.0.5"), "ip4-icmp-error", "its own table has no route to it");
}

#[test]
fn tables_are_shown_with_their_interfaces() {
    let mut host = two_tables();
    let shown = host.command("show table", json!({})).unwrap().json;
    assert_eq!((&shown[0]["name"], &shown[0]["interfaces"]), (&json!("default"), &json!(["lan"])));
    assert_eq!((&shown[1]["id"], &shown[1]["interfaces"]), (&json!(10), &json!(["wan"])));
    for (name, id, message) in [
        ("blue", 11, "there is a routing table `blue` already"),
        ("red", 10, "routing table 10 is there already, named `blue`"),
    ] {
        assert_eq!(refused(&mut host, TABLE_ADD, json!({ "name": name, "id": id })), message);
    }
}

#[test]
fn flows_leave_a_next_hop_that_does_not_answer_until_it_is_back() {
    use crate::net::routes::Routes;
    let mut host = bare();
    address_of(&mut host, "wan", "198.51.100.1/24");
    let hops = ["198.51.100.7", "198.51.100.8"];
    let [first, second] = hops.map(|hop| resolve(&mut host, "wan", hop));
    for hop in hops {
        route(&mut host, json!({ "prefix": "10.0.0.0/8", "next-hop": hop }));
    }
    let flows = |host: &mut Harness| {
        let packets = (0..512).map(|i| ip4("192.0.2.7", &format!("10.0.{}.{}", i / 256, i % 256), 8));
        let run = host.run::<Ip4Lookup>(packets.collect::<Vec<_>>());
        let taken = run.sent().iter().map(|sent| sent.packet.adjacency());
        taken.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(flows(&mut host), [first.0, second.0].into());
    let (wan, address) = (host.interface("wan"), hops[0].parse().unwrap());
    host.control(|control| {
        let routes = control.resource::<Routes>().unwrap();
        routes.next_hop_failed(control, wan, address);
        assert_eq!(routes.failed_next_hops(control), [(wan, address)]);
    });
    assert_eq!(flows(&mut host), [second.0].into());
    host.control(|control| {
        let routes = control.resource::<Routes>().unwrap();
        routes.next_hop_works(control, wan, address);
        assert_eq!(routes.failed_next_hops(control), []);
    });
    assert_eq!(flows(&mut host), [first.0, second.0].into());
}
