//! Source checks, martians and redirects, which are the operator's policy for interfaces.

use raddle_plugin_api::testing::{Harness, Run, Sample};
use raddle_plugin_api::wire::{EthernetHeader, Icmp4Header, Ip4Header, Ip6Header, NdMessage};
use serde_json::{Value, json};

use super::neighbors::{add_neighbor, router};
use super::setup::*;
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::ip4_input::Ip4Input;
use crate::net::ip6_input::Ip6Input;
use crate::net::port_policy::PortPolicies;

const FAR: &str = "203.0.113.9";
const FAR6: &str = "2001:db8:ffff::9";

fn urpf(host: &mut Harness, interface: &str, mode: &str) {
    let arguments = json!({ "interface": interface, "both": true, mode: true });
    host.command("set interface urpf <interface> ip4|ip6|both strict|loose|off", arguments).unwrap();
}

fn allow_default(host: &mut Harness, allow: bool) {
    for interface in ["lan", "wan"] {
        let arguments = json!({ "interface": interface, "allow": allow });
        host.command("set interface urpf-allow-default", arguments).unwrap();
    }
}

fn on(host: &Harness, interface: &str, bytes: Vec<u8>) -> Sample {
    Sample::new(bytes).with_rx_interface(host.interface(interface))
}

/// What becomes of a packet from `source` that comes in by `interface`.
fn fate(host: &mut Harness, interface: &str, source: &str) -> String {
    let is_ip6 = source.contains(':');
    let bytes = if is_ip6 { ip6(source, FAR6, 8) } else { ip4(source, FAR, 8) };
    let packet = on(host, interface, bytes);
    let run = if is_ip6 { host.run::<Ip6Input>([packet]) } else { host.run::<Ip4Input>([packet]) };
    fates(&run).concat()
}

fn checked() -> Harness {
    let mut host = routed();
    host.nodes(&["ip4-urpf", "ip6-urpf"]);
    host
}

// RFC 3704 §2.2
#[test]
fn strict_check_believes_sources_whose_way_back_is_the_interface() {
    let mut host = checked();
    urpf(&mut host, "lan", "strict");
    urpf(&mut host, "wan", "strict");
    for (interface, source, expected) in [
        ("lan", "192.0.2.7", "ip4-lookup"),
        ("lan", "198.51.100.7", "other-interface"),
        ("lan", "203.0.113.77", "other-interface"),
        ("lan", "192.0.2.1", "no-route-to-source"),
        ("wan", "203.0.113.77", "ip4-lookup"),
        ("wan", "198.51.100.254", "ip4-lookup"),
        ("wan", "192.0.2.7", "other-interface"),
        ("lan", "2001:db8:a::7", "ip6-lookup"),
        ("lan", "2001:db8:b::7", "other-interface"),
        ("wan", "2001:db8:77::7", "ip6-lookup"),
    ] {
        assert_eq!(fate(&mut host, interface, source), expected, "{source} by {interface}");
    }
    // RFC 4291 §2.5.6: a link-local source has no other link.
    assert_eq!(fate(&mut host, "lan", "fe80::7"), "ip6-lookup");
    urpf(&mut host, "lan", "off");
    assert_eq!(fate(&mut host, "lan", "198.51.100.7"), "interface-output");
}

// RFC 3704 §2.4, §2.5
#[test]
fn loose_check_believes_sources_that_have_a_route() {
    let mut host = checked();
    urpf(&mut host, "lan", "loose");
    let blackhole = json!({ "prefix": "10.0.0.0/8", "blackhole": true });
    host.command("route add <prefix> blackhole|unreachable|prohibit", blackhole).unwrap();
    assert_eq!(fate(&mut host, "lan", "198.51.100.7"), "ip4-lookup");
    assert_eq!(fate(&mut host, "lan", "8.8.8.8"), "ip4-lookup");
    assert_eq!(fate(&mut host, "lan", "10.1.2.3"), "no-route-to-source");
    allow_default(&mut host, false);
    assert_eq!(fate(&mut host, "lan", "8.8.8.8"), "no-route-to-source");
    assert_eq!(fate(&mut host, "lan", "2a00::8"), "no-route-to-source");
    assert_eq!(fate(&mut host, "lan", "198.51.100.7"), "ip4-lookup");
}

// RFC 3704 §2.3, RFC 8704 §2.3: of several paths any counts
#[test]
fn strict_check_takes_any_path_of_a_route() {
    let mut host = checked();
    for (router, interface) in [("192.0.2.254", "lan"), ("198.51.100.254", "wan")] {
        route(&mut host, json!({ "prefix": "10.0.0.0/8", "next-hop": router, "interface": interface }));
    }
    urpf(&mut host, "lan", "strict");
    urpf(&mut host, "wan", "strict");
    for interface in ["lan", "wan"] {
        for last in 0..32 {
            assert_eq!(fate(&mut host, interface, &format!("10.0.0.{last}")), "ip4-lookup");
        }
    }
}

// RFC 4443 §3.1 code 5, RFC 1812 §5.2.7.1 code 13
#[test]
fn senders_are_told_where_the_operator_wants_that() {
    let mut host = checked();
    urpf(&mut host, "lan", "strict");
    let arguments = json!({ "interface": "lan", "notify": true });
    host.command("set interface urpf-notify", arguments).unwrap();
    let field = host.control(|control| icmp_field(control).unwrap());
    let packet = on(&host, "lan", ip6("2001:db8:b::7", FAR6, 8));
    let run = host.run::<Ip6Input>([packet]);
    assert_eq!(run.one().packet.field(&field), Some(IcmpRequest::IP6_SOURCE_POLICY));
    let packet = on(&host, "lan", ip4("198.51.100.7", FAR, 8));
    let run = host.run::<Ip4Input>([packet]);
    assert_eq!(run.one().packet.field(&field), Some(IcmpRequest::IP4_PROHIBITED));
}

#[test]
fn a_new_interface_begins_with_the_usual_policy() {
    let mut host = checked();
    urpf(&mut host, "lan", "strict");
    let index = host.interface("lan");
    assert_eq!(host.features("ip4-unicast", index), ["ip4-urpf"]);
    host.delete_interface("lan");
    let usual = host.control(|control| control.resource::<PortPolicies>().unwrap().get(index));
    assert_eq!(usual, Default::default());
    host.command("set martians <check:on-off>", json!({ "check": true })).unwrap();
    host.add_interface("new", |new| new);
    let new = host.interface("new");
    assert_eq!(host.features("ip4-unicast", new), ["ip4-martians"]);
}

fn martian(host: &mut Harness, source: &str, destination: &str) -> String {
    let lan = host.interface("lan");
    let run = if source.contains(':') {
        host.run::<Ip6Input>([Sample::new(ip6(source, destination, 8)).with_rx_interface(lan)])
    } else {
        host.run::<Ip4Input>([Sample::new(ip4(source, destination, 8)).with_rx_interface(lan)])
    };
    fates(&run).concat()
}

// RFC 6890 §2.2, RFC 1812 §5.3.7
#[test]
fn martians_are_dropped_by_table_where_the_operator_wants_that() {
    let mut host = router();
    host.nodes(&["ip4-martians", "ip6-martians"]);
    assert_ne!(martian(&mut host, "203.0.113.7", "8.8.8.8"), "martian-source", "not by default");
    let command = "set interface martians <interface> on|off|default";
    host.command(command, json!({ "interface": "lan", "on": true })).unwrap();
    for (source, destination, expected) in [
        ("203.0.113.7", "8.8.8.8", "martian-source"),
        ("10.0.0.1", "203.0.113.7", "martian-destination"),
        ("169.254.0.9", "8.8.8.8", "not-forwardable"),
        ("2001:db8::7", "2a00::1", "martian-source"),
        ("2a00::1", "2001:db8::7", "martian-destination"),
        ("2a00::1", "::ffff:8.8.8.8", "martian-destination"),
        ("3fff::1", "2a00::1", "martian-source"),
    ] {
        assert_eq!(martian(&mut host, source, destination), expected, "{source} > {destination}");
    }
    // RFC 3927 §2.6.2: on the link such addresses are right. Its own ones are documentation's in this test: allowed.
    for prefix in ["192.0.2.0/24", "2001:db8:a::/48"] {
        host.command("martians allow|deny|reset <prefix:prefix>", json!({ "allow": true, "prefix": prefix }))
            .unwrap();
    }
    let run = martian(&mut host, "169.254.0.9", "192.0.2.1");
    assert_ne!(run, "not-forwardable");
    host.command("martians allow|deny|reset <prefix:prefix>", json!({ "deny": true, "prefix": "8.0.0.0/8" }))
        .unwrap();
    assert_eq!(martian(&mut host, "192.0.2.7", "8.8.8.8"), "martian-destination");
    let shown = host.command("show martians", json!({})).unwrap();
    let denied = |entry: &&Value| entry["prefix"] == "8.0.0.0/8";
    assert_eq!(shown.json.as_array().unwrap().iter().find(denied).unwrap()["source"], false);
    host.command(command, json!({ "interface": "lan", "default": true })).unwrap();
    assert_ne!(martian(&mut host, "203.0.113.7", "8.8.8.8"), "martian-source");
}

/// What is sent when a host on `lan` sends a packet that leaves by `lan` again.
fn hairpin(host: &mut Harness, bytes: Vec<u8>) -> Run {
    host.nodes(&["ip4-redirect", "ip6-redirect", "ip4-options"]);
    let is_ip6 = bytes[0] >> 4 == 6;
    let packet = on(host, "lan", bytes);
    if is_ip6 { host.run::<Ip6Input>([packet]) } else { host.run::<Ip4Input>([packet]) }
}

fn lan_router() -> Harness {
    let mut host = router();
    for address in ["192.0.2.9", "192.0.2.254", "2001:db8:a::9", "fe80::fe", "2001:db8:a::7", "192.0.2.7"] {
        add_neighbor(&mut host, "lan", address, raddle_plugin_api::prelude::MacAddress([2, 0, 0, 0, 0, 7]));
    }
    route(&mut host, json!({ "prefix": "10.0.0.0/8", "next-hop": "192.0.2.254" }));
    route(&mut host, json!({ "prefix": "2001:db8:f::/48", "next-hop": "fe80::fe", "interface": "lan" }));
    route(&mut host, json!({ "prefix": "2001:db8:e::/48", "next-hop": "2001:db8:a::9" }));
    host
}

// RFC 1812 §5.2.7.2
#[test]
fn host_on_the_link_is_told_of_a_better_first_hop_and_its_packet_goes_on() {
    for (source, destination, gateway) in [
        ("192.0.2.7", "10.1.2.3", Some([192, 0, 2, 254])),
        ("192.0.2.7", "192.0.2.9", Some([192, 0, 2, 9])),
        ("198.18.0.1", "10.1.2.3", None),
    ] {
        let mut host = lan_router();
        let run = hairpin(&mut host, ip4(source, destination, 8));
        let frames: Vec<_> = run
            .sent()
            .iter()
            .map(|sent| EthernetHeader::parse(sent.packet.bytes()).unwrap().1.to_vec())
            .collect();
        let forwarded = frames.iter().filter(|frame| Ip4Header::parse(frame).unwrap().0.ttl() == 63).count();
        assert_eq!(
            (forwarded, frames.len()),
            (1, 1 + usize::from(gateway.is_some())),
            "{destination}: {}",
            run.summary()
        );
        let Some(gateway) = gateway else { continue };
        let redirect = frames.iter().find(|frame| frame[9] == 1).unwrap();
        let ip = Ip4Header::check(redirect, redirect.len()).unwrap();
        assert_eq!((ip.source().0, ip.destination().to_string()), ([192, 0, 2, 1], source.to_owned()));
        let (icmp, quote) = Icmp4Header::check(&redirect[20..]).unwrap();
        assert_eq!((icmp.kind().0, icmp.code(), icmp.rest().to_be_bytes()), (5, 1, gateway));
        assert_eq!(quote, ip4(source, destination, 8));
        host.assert_no_leaks();
    }
}

// RFC 4861 §8.2
#[test]
fn neighbour_is_told_of_a_better_first_hop_by_its_link_local_address() {
    for (destination, target) in [
        ("2001:db8:f::1", Some("fe80::fe")),
        ("2001:db8:a::9", Some("2001:db8:a::9")),
        ("2001:db8:e::1", None),
    ] {
        let mut host = lan_router();
        let run = hairpin(&mut host, ip6("2001:db8:a::7", destination, 8));
        let frames: Vec<_> = run
            .sent()
            .iter()
            .map(|sent| EthernetHeader::parse(sent.packet.bytes()).unwrap().1.to_vec())
            .collect();
        assert_eq!(frames.len(), 1 + usize::from(target.is_some()), "{destination}: {}", run.summary());
        let Some(expected) = target else { continue };
        let redirect = frames.iter().find(|frame| frame[6] == 58).unwrap();
        let ip = Ip6Header::check(redirect, redirect.len()).unwrap();
        assert!(ip.source().is_link_local() && ip.hop_limit() == 255);
        let NdMessage::Redirect { target, .. } = NdMessage::parse(ip, &redirect[40..]).unwrap() else {
            panic!("a redirect")
        };
        assert_eq!(target.to_string(), expected);
        host.assert_no_leaks();
    }
}

#[test]
fn redirects_are_limited_and_can_be_switched_off() {
    let mut host = lan_router();
    host.nodes(&["ip4-redirect"]);
    let packets: Vec<_> = (0..100).map(|_| on(&host, "lan", ip4("192.0.2.7", "10.1.2.3", 8))).collect();
    assert_eq!(host.run::<Ip4Input>(packets).sent().len(), 110);
    let mut host = lan_router();
    let arguments = json!({ "interface": "lan", "send": false });
    host.command("set interface redirects <interface> <send:on-off>", arguments).unwrap();
    assert_eq!(hairpin(&mut host, ip4("192.0.2.7", "10.1.2.3", 8)).sent().len(), 1);
}
