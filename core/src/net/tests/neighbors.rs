use std::time::Duration;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Run, Sample};
use raddle_plugin_api::wire::{
    ArpOperation, ArpPacket, EtherType, EthernetHeader, Ip4Address, Ip6Address, Ip6Header, IpProtocol,
    NdMessage, NeighborFlags, write_neighbor_advertisement, write_neighbor_solicitation,
};
use serde_json::json;
use zerocopy::IntoBytes;

use super::setup::*;
use crate::net::ip4_lookup::Ip4Lookup;
use crate::net::ip6_lookup::Ip6Lookup;
use crate::net::local::{Ip6Local, LocalOutputNode};
use crate::net::neighbor::ArpInput;

pub const SECOND: Duration = Duration::from_secs(1);
pub const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x77]);
const PEER: &str = "192.0.2.7";
const PEER6: &str = "2001:db8:a::7";
const FAR: &str = "198.51.100.9";
const FAR6: &str = "2001:db8:b::9";

/// A router with addresses on both interfaces, whose neighbours on `wan` are known, and all nodes between input and
/// output. What its start announces is sent.
pub fn router() -> Harness {
    let mut host = unannounced();
    step(&mut host);
    for (address, mac) in [(FAR, ROUTER_MAC), (FAR6, ROUTER_MAC)] {
        add_neighbor(&mut host, "wan", address, MacAddress(mac));
    }
    host
}

fn unannounced() -> Harness {
    let mut host = Harness::builder()
        .interface("lan", |lan| lan.mac(MacAddress(LAN_MAC)))
        .interface("wan", |wan| wan.mac(MacAddress(WAN_MAC)))
        .build();
    host.load_only(&["forwarding", "local", "mac-filter", "neighbor", "ping"]).unwrap();
    for (interface, address) in [
        ("lan", "192.0.2.1/24"),
        ("wan", "198.51.100.1/24"),
        ("lan", "2001:db8:a::1/64"),
        ("wan", "2001:db8:b::1/64"),
    ] {
        address_of(&mut host, interface, address);
    }
    host.nodes(&[
        "arp-input",
        "ip4-lookup",
        "ip4-rewrite",
        "ip4-neighbor",
        "ip4-local",
        "ip4-icmp-echo",
        "ip4-icmp-error",
        "ip6-lookup",
        "ip6-rewrite",
        "ip6-neighbor",
        "ip6-local",
        "ip6-icmp-echo",
        "ip6-icmp-error",
        "nd-input",
        "punt",
        "punt-unclaimed",
        "ping-input",
        "neighbor-drop",
    ]);
    host
}

/// Neighbours with these init functions besides, without addresses.
pub fn with(inits: &[&str]) -> Harness {
    let mut host = Harness::builder()
        .interface("lan", |lan| lan.mac(MacAddress(LAN_MAC)))
        .interface("wan", |wan| wan.mac(MacAddress(WAN_MAC)))
        .build();
    host.load_only(&[&["forwarding", "local", "mac-filter", "neighbor"], inits].concat()).unwrap();
    host.nodes(&[
        "arp-input",
        "ip4-lookup",
        "ip4-rewrite",
        "ip4-neighbor",
        "ip4-local",
        "ip6-lookup",
        "ip6-rewrite",
        "ip6-neighbor",
        "ip6-local",
        "nd-input",
        "nd-proxy",
        "neighbor-drop",
    ]);
    host
}

pub fn add_neighbor(host: &mut Harness, interface: &str, address: &str, mac: MacAddress) {
    let arguments = json!({ "interface": interface, "address": address, "mac": mac });
    host.command("neighbor add", arguments).unwrap();
}

/// Lets the main thread do its work, and send what it has to send.
pub fn step(host: &mut Harness) -> Run {
    host.quiesce();
    host.poll::<LocalOutputNode>()
}

pub fn ethernet(frame: &Sample) -> (EthernetHeader, &[u8]) {
    let (header, payload) = EthernetHeader::parse(frame.bytes()).unwrap();
    (*header, payload)
}

pub fn on(host: &Harness, interface: &str, bytes: impl Into<Vec<u8>>) -> Sample {
    Sample::new(bytes).with_rx_interface(host.interface(interface))
}

fn states(host: &mut Harness) -> Vec<String> {
    let shown = host.command("show neighbors", json!({ "interface": "lan" })).unwrap();
    let list = shown.json.as_array().unwrap().clone();
    list.iter().map(|entry| entry["state"].as_str().unwrap().to_owned()).collect()
}

pub fn ip4_address(text: &str) -> Ip4Address {
    text.parse::<std::net::Ipv4Addr>().unwrap().into()
}

pub fn ip6_address(text: &str) -> Ip6Address {
    text.parse::<std::net::Ipv6Addr>().unwrap().into()
}

fn reply() -> Vec<u8> {
    let (own, peer) = (ip4_address("192.0.2.1"), ip4_address(PEER));
    ArpPacket::request(MacAddress(LAN_MAC), own, peer).reply(PEER_MAC).as_bytes().to_vec()
}

// RFC 5227 §2.3, RFC 4861 §7.2.6
#[test]
fn announces_addresses_as_they_come_into_force() {
    let mut host = unannounced();
    let out = step(&mut host);
    let announced: Vec<_> = out.sent().iter().map(|sent| ethernet(&sent.packet).0.ethertype()).collect();
    assert!(announced.contains(&EtherType::ARP) && announced.contains(&EtherType::IP6));
    host.change_interface("lan", |lan| lan.link_up(false));
    step(&mut host);
    host.change_interface("lan", |lan| lan.link_up(true));
    let out = step(&mut host);
    let arp = out
        .sent()
        .iter()
        .map(|sent| ethernet(&sent.packet))
        .find(|(header, _)| header.ethertype() == EtherType::ARP);
    let (header, payload) = arp.unwrap();
    assert_eq!(header.destination, MacAddress::BROADCAST);
    assert!(ArpPacket::parse(payload).unwrap().is_gratuitous());
}

// RFC 826, RFC 1122 §2.3.2.2
#[test]
fn packet_waits_for_the_arp_reply_and_then_leaves() {
    let mut host = router();
    let packet = on(&host, "wan", ip4(FAR, PEER, 26));
    host.run::<Ip4Lookup>([packet]).assert_nothing();
    let out = step(&mut host);
    let request = &out.one().packet;
    assert_eq!(request.tx_interface(), host.interface("lan"));
    let (header, payload) = ethernet(request);
    assert_eq!((header.destination, header.source), (MacAddress::BROADCAST, MacAddress(LAN_MAC)));
    let arp = ArpPacket::parse(payload).unwrap();
    assert_eq!((arp.operation(), arp.target_ip), (ArpOperation::REQUEST, ip4_address(PEER)));
    assert_eq!(states(&mut host), ["incomplete"]);

    let answer = on(&host, "lan", reply());
    host.run::<ArpInput>([answer]).assert_nothing();
    let out = step(&mut host);
    let (header, payload) = ethernet(&out.one().packet);
    assert_eq!((header.destination, header.source), (PEER_MAC, MacAddress(LAN_MAC)));
    assert_eq!(payload[8], 63, "the TTL is one less");
    assert_eq!(states(&mut host), ["reachable"]);
    let packet = on(&host, "wan", ip4(FAR, PEER, 26));
    assert_eq!(host.run::<Ip4Lookup>([packet]).one().node, "interface-output", "the next one does not wait");
}

// RFC 1122 §3.2.2.1, RFC 792
#[test]
fn senders_hear_of_a_neighbor_that_does_not_answer() {
    let mut host = router();
    let packets = [on(&host, "wan", ip4(FAR, PEER, 26)), on(&host, "wan", ip4(FAR, PEER, 27))];
    host.run::<Ip4Lookup>(packets).assert_nothing();
    for second in 0..3 {
        let out = step(&mut host);
        assert_eq!(ethernet(&out.one().packet).0.ethertype(), EtherType::ARP, "{second}");
        host.advance(SECOND);
    }
    let out = step(&mut host);
    assert_eq!(out.dropped("unreachable-sent"), 2);
    let errors: Vec<_> = out.sent().iter().map(|sent| ethernet(&sent.packet)).collect();
    assert_eq!(errors.len(), 2);
    for (header, packet) in errors {
        assert_eq!(header.destination, MacAddress(ROUTER_MAC));
        assert_eq!(packet[20..22], [3, 1], "host unreachable");
        assert_eq!(packet[12..16], [198, 51, 100, 1], "from the address towards the sender");
    }
    assert!(states(&mut host).is_empty());
}

#[test]
fn flood_to_one_address_is_cut_and_the_oldest_packets_make_room() {
    let mut host = router();
    let packets: Vec<_> = (0..100).map(|size| on(&host, "wan", ip4(FAR, PEER, size))).collect();
    assert_eq!(host.run::<Ip4Lookup>(packets).dropped("throttled"), 84);
    step(&mut host);
    host.advance(SECOND);
    step(&mut host);
    let packets: Vec<_> = (0..4).map(|size| on(&host, "wan", ip4(FAR, PEER, size))).collect();
    host.run::<Ip4Lookup>(packets).assert_nothing();
    assert_eq!(step(&mut host).dropped("queue-full"), 4);
    host.command("clear neighbors", json!({})).unwrap();
    assert_eq!(step(&mut host).dropped("neighbor-removed"), 16);
    host.assert_no_leaks();
}

// RFC 4861 §7.3.3, for both families
#[test]
fn stale_neighbor_is_asked_alone_when_it_is_used_and_forgotten_when_it_is_silent() {
    let mut host = router();
    let request = ArpPacket::request(PEER_MAC, ip4_address(PEER), ip4_address("192.0.2.1"));
    let request = on(&host, "lan", request.as_bytes());
    let out = host.run::<ArpInput>([request]);
    let (header, payload) = ethernet(&out.one().packet);
    assert_eq!(header.destination, PEER_MAC);
    assert_eq!(ArpPacket::parse(payload).unwrap().sender_mac, MacAddress(LAN_MAC));
    step(&mut host).assert_nothing();
    assert_eq!(states(&mut host), ["stale"]);

    for _ in 0..3 {
        let packet = on(&host, "wan", ip4(FAR, PEER, 26));
        assert_eq!(host.run::<Ip4Lookup>([packet]).one().node, "interface-output", "use costs no packet");
    }
    step(&mut host).assert_nothing();
    assert_eq!(states(&mut host), ["delay"]);
    host.advance(5 * SECOND);
    for _ in 0..3 {
        let out = step(&mut host);
        assert_eq!(ethernet(&out.one().packet).0.destination, PEER_MAC);
        host.advance(SECOND);
    }
    step(&mut host).assert_nothing();
    assert!(states(&mut host).is_empty());
    let packet = on(&host, "wan", ip4(FAR, PEER, 26));
    host.run::<Ip4Lookup>([packet]).assert_nothing();
}

#[test]
fn neighbors_go_with_their_interface_but_static_ones_stay() {
    let mut host = router();
    add_neighbor(&mut host, "lan", "192.0.2.8", PEER_MAC);
    let packet = on(&host, "wan", ip4(FAR, PEER, 26));
    host.run::<Ip4Lookup>([packet]).assert_nothing();
    step(&mut host);
    host.change_interface("lan", |lan| lan.link_up(false));
    assert_eq!(step(&mut host).dropped("neighbor-removed"), 1);
    assert_eq!(states(&mut host), ["static"]);
    let deletion = json!({ "interface": "lan", "address": "192.0.2.8" });
    host.command("neighbor del", deletion.clone()).unwrap();
    assert!(host.command("neighbor del", deletion).is_err());
    host.assert_no_leaks();
}

#[test]
fn configured_neighbors_are_there_from_the_start() {
    let config = "[[neighbor]]\ninterface = \"lan\"\naddress = \"192.0.2.8\"\nmac = \"02:00:00:00:00:08\"\n";
    let mut host = Harness::builder().config(config).interface("lan", |lan| lan).build();
    host.check_config(config).unwrap();
    host.load_only(&["forwarding", "local", "mac-filter", "neighbor"]).unwrap();
    assert_eq!(states(&mut host), ["static"]);
    host.nodes(&["ip4-lookup", "ip4-rewrite", "ip4-neighbor"]);
    address_of(&mut host, "lan", "192.0.2.1/24");
    let packet = Sample::new(ip4(FAR, "192.0.2.8", 26)).with_rx_interface(InterfaceIndex::NONE);
    assert_eq!(host.run::<Ip4Lookup>([packet]).one().node, "interface-output");
}

#[test]
fn static_neighbor_of_an_interface_that_comes_later_is_used() {
    let config = "[[neighbor]]\ninterface = \"lan\"\naddress = \"192.0.2.8\"\nmac = \"02:00:00:00:00:08\"\n";
    let mut host = Harness::builder().config(config).build();
    host.load_only(&["forwarding", "local", "mac-filter", "neighbor"]).unwrap();
    host.add_interface("lan", |lan| lan);
    address_of(&mut host, "lan", "192.0.2.1/24");
    host.nodes(&["ip4-lookup", "ip4-rewrite", "ip4-neighbor"]);
    let packet = Sample::new(ip4(FAR, "192.0.2.8", 26)).with_rx_interface(InterfaceIndex::NONE);
    assert_eq!(host.run::<Ip4Lookup>([packet]).one().node, "interface-output");
    host.delete_interface("lan");
    assert!(host.command("show neighbors", json!({})).unwrap().json.as_array().unwrap().is_empty());
}

pub fn nd(
    source: &str,
    destination: &str,
    write: impl FnOnce(&mut [u8], Ip6Address, Ip6Address) -> Option<usize>,
) -> Vec<u8> {
    let (source, destination) = (ip6_address(source), ip6_address(destination));
    let mut message = [0; 64];
    let length = write(&mut message, source, destination).unwrap();
    let mut ip = Ip6Header::new(IpProtocol::ICMP6, source, destination, length).unwrap();
    ip.set_hop_limit(255);
    [ip.as_bytes(), &message[..length]].concat()
}

// RFC 4861 §7.2.2, §7.2.5
#[test]
fn packet_waits_for_the_advertisement_and_then_leaves() {
    let mut host = router();
    let packet = on(&host, "wan", ip6(FAR6, PEER6, 26));
    host.run::<Ip6Lookup>([packet]).assert_nothing();
    let out = step(&mut host);
    let (header, payload) = ethernet(&out.one().packet);
    assert_eq!(header.destination, MacAddress([0x33, 0x33, 0xff, 0, 0, 7]));
    let ip = Ip6Header::check(payload, payload.len()).unwrap();
    let message = NdMessage::parse(ip, &payload[40..]).unwrap();
    assert!(
        matches!(message, NdMessage::NeighborSolicitation { target, .. } if target == ip6_address(PEER6))
    );

    let flags = NeighborFlags { router: false, solicited: true, overrides: true };
    let answer = nd(PEER6, "2001:db8:a::1", |out, source, destination| {
        write_neighbor_advertisement(out, source, destination, flags, source, Some(PEER_MAC))
    });
    let answer = on(&host, "lan", answer);
    host.run::<Ip6Local>([answer]).assert_nothing();
    let out = step(&mut host);
    assert_eq!(ethernet(&out.one().packet).0.destination, PEER_MAC);
    assert_eq!(states(&mut host), ["reachable"]);
}

// RFC 4861 §7.2.4, RFC 4862 §5.4.3
#[test]
fn solicitations_are_answered_to_the_asker_or_to_all() {
    let mut host = router();
    let own = ip6_address("2001:db8:a::1");
    let group = own.solicited_node().to_string();
    for (source, mac, to_mac, to) in [
        (PEER6, Some(PEER_MAC), PEER_MAC, ip6_address(PEER6)),
        ("::", None, MacAddress([0x33, 0x33, 0, 0, 0, 1]), Ip6Address::ALL_NODES),
    ] {
        let question = nd(source, &group, |out, source, destination| {
            write_neighbor_solicitation(out, source, destination, own, mac)
        });
        let question = on(&host, "lan", question);
        let out = host.run::<Ip6Local>([question]);
        let (header, payload) = ethernet(&out.one().packet);
        let ip = Ip6Header::check(payload, payload.len()).unwrap();
        assert_eq!((header.destination, ip.destination()), (to_mac, to));
        let message = NdMessage::parse(ip, &payload[40..]).unwrap();
        assert!(matches!(message, NdMessage::NeighborAdvertisement { target, .. } if target == own));
    }
    step(&mut host);
    assert_eq!(states(&mut host), ["stale"]);
}

#[test]
fn link_local_neighbors_are_resolved_on_their_interface() {
    let mut host = router();
    let arguments = json!({ "address": "fe80::7", "interface": "lan", "count": 1 });
    // Nobody polls while the command waits: its request is still to be sent afterwards.
    host.command("ping <address:ip>", arguments).unwrap();
    step(&mut host).assert_nothing();
    let out = step(&mut host);
    let solicitation = &out.one().packet;
    assert_eq!(solicitation.tx_interface(), host.interface("lan"));
    let (header, _) = ethernet(solicitation);
    assert_eq!(header.destination, MacAddress([0x33, 0x33, 0xff, 0, 0, 7]));
}
