use raddle_plugin_api::abi::BufferFlags;
use raddle_plugin_api::testing::{Harness, Sample};
use raddle_plugin_api::wire::{
    EthernetHeader, Icmp4Header, Icmp6Header, Ip4Address, Ip4Header, Ip6Address, Ip6Header, IpProtocol,
    UdpHeader, checksum,
};
use serde_json::json;
use zerocopy::IntoBytes;

use super::neighbors::router;
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::icmp4::Ip4IcmpError;
use crate::net::icmp6::Ip6IcmpError;
use crate::net::ip4_lookup::Ip4Lookup;
use crate::net::ip6_lookup::Ip6Lookup;
use crate::net::local::{Ip4Local, Ip6Local};

const HOST4: Ip4Address = Ip4Address([198, 51, 100, 9]);
const OWN4: Ip4Address = Ip4Address([198, 51, 100, 1]);
const LAN4: Ip4Address = Ip4Address([192, 0, 2, 1]);
const HOST6: Ip6Address = Ip6Address::from_bits(0x2001_0db8_000b << 80 | 9);
const OWN6: Ip6Address = Ip6Address::from_bits(0x2001_0db8_000b << 80 | 1);

fn packet4(destination: Ip4Address, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let header = Ip4Header::new(protocol, HOST4, destination, payload.len()).unwrap();
    [header.as_bytes(), payload].concat()
}

fn packet6(destination: Ip6Address, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let header = Ip6Header::new(protocol, HOST6, destination, payload.len()).unwrap();
    [header.as_bytes(), payload].concat()
}

fn echo4(destination: Ip4Address, size: usize) -> Vec<u8> {
    let data = vec![0x61; size];
    let icmp = Icmp4Header::echo_request(7, 9, &data);
    packet4(destination, IpProtocol::ICMP4, &[icmp.as_bytes(), &data].concat())
}

fn echo6(destination: Ip6Address, size: usize) -> Vec<u8> {
    let data = vec![0x61; size];
    let ip = Ip6Header::new(IpProtocol::ICMP6, HOST6, destination, size + 8).unwrap();
    let icmp = Icmp6Header::echo_request(&ip, 7, 9, &data);
    packet6(destination, IpProtocol::ICMP6, &[icmp.as_bytes(), &data].concat())
}

fn udp(pseudo: checksum::Sum, size: usize) -> Vec<u8> {
    let data = vec![0x62; size];
    let mut udp = UdpHeader::new(1000, 2000, size).unwrap();
    udp.fill_checksum(pseudo, &data);
    [udp.as_bytes(), &data].concat()
}

fn udp4(destination: Ip4Address, size: usize) -> Vec<u8> {
    let length = size as u16 + 8;
    let pseudo = checksum::Sum::pseudo_ip4(HOST4, destination, IpProtocol::UDP, length);
    packet4(destination, IpProtocol::UDP, &udp(pseudo, size))
}

fn udp6(size: usize) -> Vec<u8> {
    let pseudo = checksum::Sum::pseudo_ip6(HOST6, OWN6, IpProtocol::UDP, size as u32 + 8);
    packet6(OWN6, IpProtocol::UDP, &udp(pseudo, size))
}

fn from_wan(host: &Harness, bytes: impl Into<Vec<u8>>) -> Sample {
    Sample::new(bytes).with_rx_interface(host.interface("wan"))
}

// RFC 1122 §3.2.2.6
#[test]
fn answers_echo_requests_to_every_own_address_in_one_buffer_or_several() {
    for (destination, size) in [(OWN4, 56), (LAN4, 0), (OWN4, 1400)] {
        let mut host = router();
        let whole = from_wan(&host, echo4(destination, size));
        let parts = from_wan(&host, echo4(destination, size)).in_segments(&[28]);
        for packet in [whole, parts] {
            let out = host.run::<Ip4Lookup>([packet]);
            let (_, reply) = EthernetHeader::parse(out.one().packet.bytes()).unwrap();
            let ip = Ip4Header::check(reply, reply.len()).unwrap();
            assert_eq!((ip.source(), ip.destination(), ip.ttl()), (destination, HOST4, 64));
            let (icmp, data) = Icmp4Header::check(&reply[20..]).unwrap();
            assert_eq!((icmp.kind().0, icmp.sequence(), data.len()), (0, 9, size));
        }
        host.assert_no_leaks();
    }
}

// RFC 4443 §4.2
#[test]
fn answers_echo_requests_over_ip6_and_to_all_nodes() {
    let mut host = router();
    for destination in [OWN6, Ip6Address::ALL_NODES] {
        let packet = from_wan(&host, echo6(destination, 56));
        let out = host.run::<Ip6Local>([packet]);
        let (_, reply) = EthernetHeader::parse(out.one().packet.bytes()).unwrap();
        let ip = Ip6Header::check(reply, reply.len()).unwrap();
        assert_eq!((ip.source(), ip.destination(), ip.hop_limit()), (OWN6, HOST6, 64));
        let (icmp, _) = Icmp6Header::check(ip, &reply[40..]).unwrap();
        assert_eq!(icmp.kind().0, 129);
    }
}

#[test]
fn drops_by_reason_what_is_wrong_or_not_dealt_with() {
    let mut host = router();
    let flip = |mut bytes: Vec<u8>, at: usize| {
        bytes[at] ^= 1;
        bytes
    };
    let source = |mut bytes: Vec<u8>, source| {
        Ip4Header::parse_mut(&mut bytes).unwrap().0.set_source(source);
        bytes
    };
    for (bytes, reason) in [
        (flip(echo4(OWN4, 8), 30), "bad-checksum"),
        (flip(udp4(OWN4, 8), 30), "bad-checksum"),
        (source(echo4(OWN4, 8), LAN4), "own-source"),
        (source(echo4(OWN4, 8), Ip4Address([198, 51, 100, 255])), "group-source"),
        (echo4(HOST4, 8), "not-own-address"),
        (echo4(Ip4Address([224, 0, 0, 1]), 8), "echo-to-group"),
        (echo4(Ip4Address([198, 51, 100, 255]), 8), "echo-to-group"),
        (packet4(OWN4, IpProtocol::ICMP4, &[5, 1, 0xfa, 0xfe, 0, 0, 0, 0]), "redirect"),
        (packet4(OWN4, IpProtocol::ICMP4, &[8, 0, 0]), "too-short"),
        (packet4(OWN4, IpProtocol::ICMP4, &[13, 0, 0xf2, 0xff, 0, 0, 0, 0]), "icmp-type"),
        (packet4(OWN4, IpProtocol::UDP, &[0, 1, 0, 2, 0, 99, 0, 0]), "udp-length"),
    ] {
        let packet = from_wan(&host, bytes.clone());
        let out = host.run::<Ip4Local>([packet]);
        assert_eq!(out.dropped(reason), 1, "{reason}: {}", out.summary());
    }
    let mut no_checksum = udp6(8);
    no_checksum[46..48].fill(0);
    for (bytes, reason) in [
        (flip(echo6(OWN6, 8), 50), "bad-checksum"),
        (no_checksum, "bad-checksum"),
        (echo6(HOST6, 8), "not-own-address"),
        (packet6(OWN6, IpProtocol::ICMP6, &[200, 0, 0, 0, 0, 0, 0, 0]), "icmp-type"),
        (packet6(OWN6, IpProtocol::NO_NEXT, &[]), "no-next-header"),
        (packet6(OWN6, IpProtocol::ICMP6, &[135, 0, 0, 0, 0, 0, 0, 0]), "bad-checksum"),
    ] {
        let packet = from_wan(&host, bytes.clone());
        let out = host.run::<Ip6Local>([packet]);
        assert_eq!(out.dropped(reason), 1, "{reason}: {}", out.summary());
    }
}

// RFC 1122 §3.2.2.1, RFC 4443 §3.1
#[test]
fn tells_senders_that_no_one_listens() {
    let mut host = router();
    let packets = [from_wan(&host, udp4(OWN4, 8)), from_wan(&host, packet4(OWN4, IpProtocol::GRE, &[0; 8]))];
    let out = host.run::<Ip4Lookup>(packets);
    let codes: Vec<_> = out.sent().iter().map(|sent| sent.packet.bytes()[34..36].to_vec()).collect();
    assert_eq!(codes, [[3, 3], [3, 2]]);
    let packets = [from_wan(&host, udp6(8)), from_wan(&host, packet6(OWN6, IpProtocol::SCTP, &[0; 8]))];
    let out = host.run::<Ip6Lookup>(packets);
    let codes: Vec<_> = out.sent().iter().map(|sent| sent.packet.bytes()[54..56].to_vec()).collect();
    assert_eq!(codes, [[1, 4], [4, 1]]);
    let trusted = from_wan(&host, {
        let mut bytes = udp4(OWN4, 8);
        bytes[30] ^= 1;
        bytes
    })
    .with_flags(BufferFlags::CHECKSUM_VALID);
    assert_eq!(host.run::<Ip4Lookup>([trusted]).sent().len(), 1, "a device has checked it");
}

// RFC 1812 §4.3.2.7 and §4.3.2.8, RFC 4443 §2.4 e and f
#[test]
fn errors_are_refused_by_rule_and_limited_by_rate() {
    let mut host = router();
    let field = host.control(|control| icmp_field(control).unwrap());
    let about = |host: &Harness, bytes: Vec<u8>| {
        from_wan(host, bytes).with_field(&field, IcmpRequest::IP4_TIME_EXCEEDED)
    };
    let multicast = about(&host, udp4(OWN4, 8)).with_flags(BufferFlags::L2_MULTICAST);
    let broadcast = about(&host, udp4(Ip4Address([198, 51, 100, 255]), 8));
    let error = about(&host, packet4(OWN4, IpProtocol::ICMP4, &[11, 0, 0, 0, 0, 0, 0, 0]));
    host.run::<Ip4IcmpError>([multicast, broadcast, error]).assert_all_dropped("not-allowed");

    let packets: Vec<_> = (0..200).map(|_| about(&host, udp4(Ip4Address([203, 0, 113, 1]), 8))).collect();
    let out = host.run::<Ip4IcmpError>(packets);
    assert_eq!((out.dropped("time-exceeded-sent"), out.dropped("rate-limited")), (100, 100));
    assert_eq!(out.sent().len(), 100);

    let request = IcmpRequest::ip6_packet_too_big(1280);
    let big = from_wan(&host, packet6(OWN6, IpProtocol::UDP, &[0; 1300])).with_field(&field, request);
    let out = host.run::<Ip6IcmpError>([big]);
    assert_eq!(out.sent()[0].packet.len(), 14 + 1280);
    host.assert_no_leaks();
}

#[test]
fn errors_are_lost_but_nothing_else_when_buffers_run_out() {
    let mut host = router();
    let field = host.control(|control| icmp_field(control).unwrap());
    let packet = from_wan(&host, udp4(OWN4, 8)).with_field(&field, IcmpRequest::IP4_HOST_UNREACHABLE);
    host.limit_buffers(Some(0));
    host.run::<Ip4IcmpError>([packet]).assert_all_dropped("no-buffer");
}

#[test]
fn ping_reports_losses_and_refuses_what_is_no_host() {
    let mut host = router();
    let usage = "ping <address:ip>";
    let answer = host.command(usage, json!({ "address": "198.51.100.9", "count": 2, "size": 9 })).unwrap();
    assert_eq!((answer.json["transmitted"].clone(), answer.json["received"].clone()), (json!(2), json!(0)));
    for address in ["224.0.0.1", "::", "fe80::9"] {
        assert!(host.command(usage, json!({ "address": address })).is_err(), "{address}");
    }
}

// RFC 8200 §4, §4.2, RFC 4443 §3.4
#[test]
fn extension_headers_are_read_as_their_destination_must() {
    let mut host = router();
    let options = |next: u8, kind: u8| [next, 0, kind, 4, 0, 0, 0, 0];
    let echo = &echo6(OWN6, 8)[40..];
    let destination = IpProtocol::DESTINATION_OPTIONS;
    for (bytes, expected) in [
        (packet6(OWN6, IpProtocol::HOP_BY_HOP, &[&options(58, 5)[..], echo].concat()), Ok(129)),
        (packet6(OWN6, destination, &[&options(60, 1)[..], &options(58, 0x3e), echo].concat()), Ok(129)),
        (packet6(OWN6, destination, &[&options(58, 0x7e)[..], echo].concat()), Err("option")),
        (
            packet6(OWN6, destination, &[&options(0, 1)[..], &options(58, 1), echo].concat()),
            Err("extension-headers"),
        ),
        (packet6(OWN6, destination, &[&options(58, 0xbe)[..], echo].concat()), Ok(4)),
        (packet6(OWN6, IpProtocol::MOBILITY, &[59, 0, 0, 0, 0, 0, 0, 0]), Ok(4)),
        (packet6(OWN6, IpProtocol::AH, &[58, 4, 0, 0, 0, 0, 1, 0]), Ok(4)),
    ] {
        let packet = from_wan(&host, bytes.clone());
        let out = host.run::<Ip6Lookup>([packet]);
        match expected {
            Ok(kind) => {
                let answer = out.sent()[0].packet.bytes();
                assert_eq!((answer[20], answer[54]), (58, kind), "{}: {bytes:?}", out.summary());
            }
            Err(reason) => assert_eq!(out.dropped(reason), 1, "{}: {bytes:?}", out.summary()),
        }
    }
}

// RFC 8200 §4.3
#[test]
fn hop_by_hop_options_of_what_is_forwarded_are_read_where_that_is_switched_on() {
    let mut host = router();
    let (lan, packet) = (host.interface("lan"), |kind: u8| {
        packet6(HOST6, IpProtocol::HOP_BY_HOP, &[[59, 0, kind, 4, 0, 0, 0, 0]].concat())
    });
    let pass = |host: &mut Harness, kind: u8| host.run_arc("ip6-unicast", lan, [packet(kind)]);
    assert_eq!(pass(&mut host, 0x7e).dropped("option"), 0);
    host.set_feature(lan, "ip6-hop-by-hop", true);
    assert_eq!(pass(&mut host, 0x7e).dropped("option"), 1);
    assert_eq!(pass(&mut host, 5).dropped("option"), 0);
    assert_eq!(pass(&mut host, 0xbe).dropped("parameter-problem-sent"), 1);
}
