//! What is answered for besides own addresses.

use raddle_plugin_api::testing::Harness;
use raddle_plugin_api::wire::{
    ArpPacket, Ip6Address, Ip6Header, NdMessage, write_duplicate_detection, write_neighbor_solicitation,
};
use serde_json::json;
use zerocopy::IntoBytes;

use super::neighbors::*;
use super::setup::*;
use crate::net::ethernet::EthernetInput;
use crate::net::local::Ip6Local;
use crate::net::neighbor::{ArpInput, NdProxy, NeighborOptions, Neighbors};

fn host(options: NeighborOptions) -> Harness {
    let mut host = with(&["vlan"]);
    for (interface, address) in [
        ("lan", "192.0.2.1/24"),
        ("wan", "198.51.100.1/24"),
        ("lan", "2001:db8:a::1/64"),
        ("wan", "2001:db8:b::1/64"),
    ] {
        address_of(&mut host, interface, address);
    }
    let lan = host.interface("lan");
    host.control(|control| {
        control.resource::<Neighbors>().unwrap().set_options(control, lan, options);
    });
    step(&mut host);
    host
}

fn listed(prefixes: &[&str]) -> NeighborOptions {
    let proxy = prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect();
    NeighborOptions { proxy, ..NeighborOptions::default() }
}

fn answers4(host: &mut Harness, target: &str) -> bool {
    let request = ArpPacket::request(PEER_MAC, ip4_address("192.0.2.7"), ip4_address(target));
    let request = on(host, "lan", request.as_bytes());
    let out = host.run::<ArpInput>([request]);
    let Some(sent) = out.sent().first() else { return false };
    let (header, payload) = ethernet(&sent.packet);
    let reply = ArpPacket::parse(payload).unwrap();
    assert_eq!((header.destination, reply.sender_ip), (PEER_MAC, ip4_address(target)));
    assert_eq!(reply.sender_mac.0, LAN_MAC);
    true
}

fn ask6(target: &str) -> Vec<u8> {
    let group = ip6_address(target).solicited_node().to_string();
    nd("2001:db8:a::7", &group, |out, source, destination| {
        write_neighbor_solicitation(out, source, destination, ip6_address(target), Some(PEER_MAC))
    })
}

// RFC 4861 §7.2.8, RFC 4291 §2.7.1
#[test]
fn questions_for_others_are_heard_though_groups_are_filtered() {
    let mut host = host(listed(&["2001:db8:5::/64"]));
    let filter = |host: &mut Harness, interface: &str| {
        let arguments = json!({ "interface": interface, "filter": true });
        host.command("set interface multicast-filter <interface> <filter:on-off>", arguments).unwrap();
    };
    filter(&mut host, "lan");
    filter(&mut host, "wan");
    let heard = |host: &mut Harness, interface: &str, to: [u8; 6]| {
        let frame = [&to[..], &PEER_MAC.0, &[0x86, 0xdd], &ask6("2001:db8:5::12:3456")].concat();
        let frame = on(host, interface, frame);
        host.run::<EthernetInput>([frame]).dropped("group-not-joined") == 0
    };
    let solicited = [0x33, 0x33, 0xff, 0x12, 0x34, 0x56];
    assert!(heard(&mut host, "lan", solicited), "of whom, the prefix does not say");
    assert!(!heard(&mut host, "wan", solicited), "nobody is answered for here");
    assert!(!heard(&mut host, "lan", [0x33, 0x33, 0, 0x12, 0x34, 0x56]));
    let lan = host.interface("lan");
    host.control(|control| {
        control.resource::<Neighbors>().unwrap().set_options(control, lan, NeighborOptions::default());
    });
    host.quiesce();
    assert!(!heard(&mut host, "lan", solicited));
}

// RFC 1027 §2.3, RFC 3069
#[test]
fn answers_for_what_is_listed_routed_or_local() {
    let routed = NeighborOptions { proxy_routed: true, ..NeighborOptions::default() };
    let local = NeighborOptions { local_proxy: true, ..NeighborOptions::default() };
    for (options, far, listed, near) in [
        (NeighborOptions::default(), false, false, false),
        (listed(&["203.0.113.0/24"]), false, true, false),
        (routed, true, false, false),
        (local, false, false, true),
    ] {
        let mut host = host(options.clone());
        assert_eq!(answers4(&mut host, "198.51.100.9"), far, "{options:?}");
        assert_eq!(answers4(&mut host, "203.0.113.5"), listed, "{options:?}");
        assert_eq!(answers4(&mut host, "192.0.2.99"), near, "{options:?}");
        assert!(answers4(&mut host, "192.0.2.1"), "its own address");
        assert!(!answers4(&mut host, "198.51.100.1"), "the address of another interface");
    }
}

// RFC 4861 §7.2.8, RFC 4389 §4.1
#[test]
fn proxy_advertisement_does_not_override_and_is_none_for_who_tries_an_address() {
    let mut host = host(listed(&["2001:db8:a:0:1::/80"]));
    let target = "2001:db8:a:0:1::5";
    let question = on(&host, "lan", ask6(target));
    let out = host.run::<Ip6Local>([question]);
    let (header, payload) = ethernet(&out.one().packet);
    assert_eq!(header.destination, PEER_MAC);
    let ip = Ip6Header::check(payload, payload.len()).unwrap();
    let NdMessage::NeighborAdvertisement { flags, target: told, .. } =
        NdMessage::parse(ip, &payload[40..]).unwrap()
    else {
        panic!("another message");
    };
    assert_eq!(told, ip6_address(target));
    assert!(!flags.overrides && flags.solicited && flags.router);
    let unlisted = on(&host, "lan", ask6("2001:db8:a:0:2::5"));
    assert_eq!(host.run::<Ip6Local>([unlisted]).dropped("not-for-us"), 1);
    let group = ip6_address(target).solicited_node().to_string();
    let tries = nd("::", &group, |out, _, _| write_duplicate_detection(out, ip6_address(target), [1; 6]));
    let tries = on(&host, "lan", tries);
    assert_eq!(host.run::<Ip6Local>([tries]).dropped("not-for-us"), 1);
}

// RFC 4861 §7.3.3: who knows the neighbour asks it alone; what is forwarded would arrive with a hop limit of 254.
#[test]
fn solicitation_sent_to_the_target_itself_is_answered_and_other_packets_pass() {
    let mut host = host(listed(&["2001:db8:b::/64"]));
    let lan = host.interface("lan");
    assert_eq!(host.features("ip6-unicast", lan), ["nd-proxy"]);
    let target: Ip6Address = ip6_address("2001:db8:b::9");
    let alone = nd("2001:db8:a::7", "2001:db8:b::9", |out, source, destination| {
        write_neighbor_solicitation(out, source, destination, target, Some(PEER_MAC))
    });
    let alone = on(&host, "lan", alone);
    let out = host.run::<NdProxy>([alone]);
    assert_eq!(out.one().node, "interface-output");
    let other = on(&host, "lan", ip6("2001:db8:a::7", "2001:db8:b::9", 30));
    let out = host.run::<NdProxy>([other]);
    assert_ne!(out.sent().first().map(|sent| sent.node.as_str()), Some("interface-output"));
    let gone = json!({ "interface": "lan", "prefix": "2001:db8:b::/64", "del": true });
    host.command("set interface neighbor-proxy", gone.clone()).unwrap();
    assert!(host.features("ip6-unicast", lan).is_empty());
    assert!(host.command("set interface neighbor-proxy", gone).is_err());
}
