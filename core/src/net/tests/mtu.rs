//! What follows when the MTU of an interface changes.

use std::net::IpAddr;

use raddle_plugin_api::abi::LogLevel;
use serde_json::json;

use super::setup::*;
use crate::net::addresses::Addresses;
use crate::net::ip4_input::Ip4Input;
use crate::net::ip6_input::Ip6Input;

const FAR4: &str = "203.0.113.9";
const FAR6: &str = "2001:db8:ffff::9";

#[test]
fn mtu_reaches_routes_and_neighbours_at_once() {
    let mut host = routed();
    for (mtu, fate) in [(1400, "ip4-fragment"), (1500, "interface-output"), (68, "ip4-fragment")] {
        host.change_interface("wan", |wan| wan.mtu(mtu));
        host.nodes(&["ip4-lookup", "ip4-rewrite"]);
        assert_eq!(fates(&host.run::<Ip4Input>([ip4("192.0.2.7", FAR4, 1480)])), [fate], "{mtu}");
    }
    // Adjacencies that are made later know it too.
    host.command(ROUTE_ADD, json!({ "prefix": "10.0.0.0/8", "next-hop": "198.51.100.77" })).unwrap();
    resolve(&mut host, "wan", "198.51.100.77");
    assert_eq!(fates(&host.run::<Ip4Input>([ip4("192.0.2.7", "10.1.2.3", 100)])), ["ip4-fragment"]);
}

// RFC 8200 §5: every link of IPv6 passes 1280 bytes.
#[test]
fn ip6_is_off_on_a_link_of_less_than_1280_bytes() {
    let mut host = routed();
    let wan = host.interface("wan");
    host.nodes(&["ip6-lookup", "ip6-rewrite"]);
    let count6 = |host: &mut raddle_plugin_api::testing::Harness| {
        let addresses = host.control(|control| control.resource::<Addresses>().unwrap());
        addresses.of(wan).iter().filter(|address| address.address().is_ipv6()).count()
    };
    let way = |host: &mut raddle_plugin_api::testing::Harness| {
        fates(&host.run::<Ip6Input>([ip6("2001:db8:a::7", FAR6, 100)]))
    };
    assert_eq!((count6(&mut host), way(&mut host)), (2, vec!["interface-output".to_owned()]));
    host.change_interface("wan", |wan| wan.mtu(1279));
    assert_eq!((count6(&mut host), way(&mut host)), (0, vec!["ip6-icmp-error".to_owned()]));
    assert!(host.logged(LogLevel::WARN, "IPv6 is off on wan: its MTU is 1279 bytes, and IPv6 needs 1280"));
    assert_eq!(fates(&host.run::<Ip4Input>([ip4("192.0.2.7", FAR4, 100)])), ["interface-output"]);
    // An address that is given now is in force when the MTU allows it.
    address_of(&mut host, "wan", "2001:db8:c::1/64");
    host.change_interface("wan", |wan| wan.mtu(1280));
    assert_eq!(count6(&mut host), 3);
    assert!(host.logged(LogLevel::INFO, "IPv6 is back on wan: its MTU is 1280 bytes"));
    resolve(&mut host, "wan", ROUTER6);
    assert_eq!(way(&mut host), ["interface-output"]);
    let in_force = host.control(|control| {
        let addresses = control.resource::<Addresses>().unwrap();
        addresses.in_force(control)[&wan].iter().map(|address| address.address()).collect::<Vec<IpAddr>>()
    });
    assert!(in_force.contains(&"2001:db8:c::1".parse().unwrap()));
}
