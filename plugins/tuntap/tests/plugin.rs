//! The plugin in the SDK's harness: punted packets in, what the host gets out.

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Sample};
use raddle_plugin_api::wire::{
    ArpPacket, EtherType, EthernetHeader, Ip4Address, Ip4Header, Ip6Address, Ip6Header, IpProtocol, VlanTag,
};
use serde_json::{Value, json};
use tuntap as _;

const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const NEIGHBOR: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

/// A host whose taps and tuns are there already, as they are for a version of the plugin that follows another.
fn router(config: &str) -> Harness {
    let mut host = Harness::builder()
        .config(config)
        .interface("wan", |wan| wan.mac(OWN))
        .interface("host-wan", |tap| tap)
        .interface("tun-0", |tun| tun)
        .build();
    for method in [
        "interface.xconnect",
        "interface.promiscuous",
        "interface.up",
        "interface.change",
        "interface.delete",
    ] {
        host.mock(method, |_| Ok(Value::Null));
    }
    host.mock("address.list", |_| Ok(json!({ "addresses": [], "table": 0 })));
    host.mock("route.table", |_| Ok(json!(0)));
    host.load();
    host
}

fn taps() -> Harness {
    router("[tuntap.interface.wan]\n")
}

fn ip4(destination: [u8; 4]) -> Vec<u8> {
    let ip = Ip4Header::new(IpProtocol::OSPF, Ip4Address([10, 0, 0, 9]), Ip4Address(destination), 4).unwrap();
    [zerocopy_bytes(&ip).as_slice(), &[1, 2, 3, 4]].concat()
}

fn ip6(destination: u128) -> Vec<u8> {
    let ip =
        Ip6Header::new(IpProtocol::OSPF, Ip6Address::from_bits(9), Ip6Address::from_bits(destination), 4)
            .unwrap();
    let mut bytes = vec![0; 40];
    ip.write_to(&mut bytes).unwrap();
    [bytes.as_slice(), &[1, 2, 3, 4]].concat()
}

fn zerocopy_bytes(ip: &Ip4Header) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    ip.write_to(&mut bytes).unwrap();
    bytes
}

fn header(destination: MacAddress, source: MacAddress, ethertype: EtherType) -> Vec<u8> {
    let mut bytes = vec![0; 14];
    EthernetHeader::new(destination, source, ethertype).write_to(&mut bytes).unwrap();
    bytes
}

/// What the host gets of a packet whose link-layer header, `front`, was taken off; and by which interface.
fn to_host(host: &mut Harness, front: &[u8], packet: &[u8]) -> Option<(Vec<u8>, InterfaceIndex)> {
    let wan = host.interface("wan");
    let sample =
        Sample::new([front, packet].concat()).with_rx_interface(wan).advanced(front.len()).with_l3_here();
    let out = host.run_arc("punt", wan, [sample]);
    let sent = out.to("interface-output");
    sent.first().map(|sent| (sent.bytes().to_vec(), sent.tx_interface()))
}

#[test]
fn frames_reach_the_tap_as_they_came_in() {
    let mut host = taps();
    let tap = host.interface("host-wan");
    let group = MacAddress([1, 0, 0x5e, 0, 0, 5]);
    let arp = ArpPacket::request(NEIGHBOR, Ip4Address([10, 0, 0, 9]), Ip4Address([10, 0, 0, 1]));
    let mut arp_bytes = vec![0; 28];
    arp.write_to(&mut arp_bytes).unwrap();
    for (front, packet) in [
        (header(OWN, NEIGHBOR, EtherType::IP4), ip4([10, 0, 0, 1])),
        (header(group, NEIGHBOR, EtherType::IP4), ip4([224, 0, 0, 5])),
        (header(OWN, NEIGHBOR, EtherType::IP6), ip6(1)),
        (header(MacAddress::BROADCAST, NEIGHBOR, EtherType::ARP), arp_bytes),
    ] {
        assert_eq!(to_host(&mut host, &front, &packet), Some(([front, packet].concat(), tap)));
    }
}

#[test]
fn vlan_tags_stay_behind() {
    let mut host = taps();
    let mut tag = vec![0; 4];
    VlanTag::new(100, 0, EtherType::IP4).write_to(&mut tag).unwrap();
    let front = [header(OWN, NEIGHBOR, EtherType::VLAN), tag].concat();
    let (got, _) = to_host(&mut host, &front, &ip4([10, 0, 0, 1])).unwrap();
    assert_eq!(got, [header(OWN, NEIGHBOR, EtherType::IP4), ip4([10, 0, 0, 1])].concat());
}

// RFC 1112 §6.4, RFC 2464 §7
#[test]
fn packets_that_have_no_header_any_more_get_one() {
    let mut host = taps();
    let nobody = MacAddress([2, 0, 0, 0, 0, 0]);
    for (packet, destination, ethertype) in [
        (ip4([10, 0, 0, 1]), OWN, EtherType::IP4),
        (ip4([224, 0, 0, 5]), MacAddress([1, 0, 0x5e, 0, 0, 5]), EtherType::IP4),
        (ip6(0xff02 << 112 | 5), MacAddress([0x33, 0x33, 0, 0, 0, 5]), EtherType::IP6),
    ] {
        // What stands in the headroom is of another packet, for another station.
        let other = header(MacAddress([2, 9, 9, 9, 9, 9]), NEIGHBOR, ethertype);
        let (got, _) = to_host(&mut host, &other, &packet).unwrap();
        assert_eq!(got, [header(destination, nobody, ethertype), packet].concat());
    }
}

#[test]
fn what_is_neither_ip_nor_arp_is_dropped() {
    let mut host = taps();
    for packet in [&[][..], &[0x50; 40], &[0, 2, 8, 0]] {
        assert_eq!(to_host(&mut host, &header(OWN, NEIGHBOR, EtherType::IP4), packet), None);
    }
}

#[test]
fn a_tun_takes_ip_packets_and_what_comes_out_of_it_is_raddles_own() {
    let mut host = router("[tuntap.interface.wan]\nmode = 'tun'\n");
    let tun = host.interface("tun-0");
    let front = header(OWN, NEIGHBOR, EtherType::IP4);
    assert_eq!(to_host(&mut host, &front, &ip4([10, 0, 0, 1])), Some((ip4([10, 0, 0, 1]), tun)));
    let arp = [0, 1, 8, 0, 6, 4, 0, 1];
    assert_eq!(to_host(&mut host, &header(OWN, NEIGHBOR, EtherType::ARP), &arp), None, "a tun has no ARP");
    for (arc, packet) in [("ip4-unicast", ip4([192, 0, 2, 1])), ("ip6-unicast", ip6(7))] {
        let out = host.run_arc(arc, tun, [Sample::new(packet).with_rx_interface(tun)]);
        let sent = &out.sent()[0].packet;
        assert!(sent.is_local(), "its TTL stays, and own addresses may be its source");
    }
}

#[test]
fn a_section_that_makes_no_sense_is_refused() {
    let mut host = Harness::builder().config("[[tuntap.mirror]]\n[[tuntap.mirror]]\n").build();
    let error = host.try_load().unwrap_err().to_string();
    assert!(error.contains("give one of them another preference"), "{error}");
}
