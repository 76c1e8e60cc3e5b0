//! `tx-offload` and the way into it.

use proptest::prelude::*;
use raddle_plugin_api::abi::{BufferFlags, InterfaceFlags};
use raddle_plugin_api::testing::packets::{IpPacket, tcp, udp};
use raddle_plugin_api::testing::{Harness, Sample};
use raddle_plugin_api::wire::{
    EtherType, EthernetHeader, Ip4Header, Ip6Header, IpProtocol, Tagged, TcpFlags, TcpHeader, UdpHeader,
};

use crate::interface::InterfaceOutput;
use crate::net::offload::{TxOffload, TxOffloadError};

const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP_FRAGMENTS: u8 = 3;
const UDP_SEGMENTS: u8 = 5;
const ECN: u8 = 0x80;
const ALL: u32 = InterfaceFlags::TX_CHECKSUM | InterfaceFlags::TX_GSO;

/// Interfaces whose devices do nothing, checksums, and all; and one without Ethernet header that does nothing.
fn host() -> Harness {
    Harness::builder()
        .buffers(512)
        .interface("none", |none| none)
        .interface("sums", |sums| sums.flags(InterfaceFlags::TX_CHECKSUM))
        .interface("all", |all| all.flags(ALL))
        .interface("bare", |bare| bare.without_ethernet())
        .build()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|number| (number % 251) as u8).collect()
}

fn tcp4(payload: usize) -> IpPacket {
    tcp("192.0.2.2:1000", "198.51.100.2:80").payload(pattern(payload)).identification(0xfffe).dont_fragment()
}

fn tcp6(payload: usize) -> IpPacket {
    tcp("[2001:db8::2]:1000", "[2001:db8:1::2]:80").payload(pattern(payload))
}

/// The packet as Linux hands it over: the checksum field at `start + offset` holds the sum of the pseudo header.
fn partial(mut bytes: Vec<u8>, start: usize, offset: usize) -> Sample {
    let at = start + offset;
    bytes[at..at + 2].fill(0);
    let ip = &bytes[network_at(&bytes)..];
    let (length, protocol) =
        (bytes.len() - start, if offset == 16 { IpProtocol::TCP } else { IpProtocol::UDP });
    let pseudo = match ip[0] >> 4 {
        4 => Ip4Header::parse(ip).unwrap().0.pseudo_header(length as u16),
        _ => Ip6Header::parse(ip).unwrap().0.pseudo_header(protocol, length as u32),
    };
    bytes[at..at + 2].copy_from_slice(&pseudo.partial().to_be_bytes());
    Sample::new(bytes).with_partial_checksum(start as u16, offset as u16)
}

fn network_at(bytes: &[u8]) -> usize {
    let Some((ethernet, rest)) = EthernetHeader::parse(bytes) else { return 0 };
    let tagged = Tagged::parse(ethernet.ethertype(), rest).unwrap();
    let is_ip = matches!(tagged.ethertype, EtherType::IP4 | EtherType::IP6);
    if is_ip { EthernetHeader::LENGTH + tagged.tags_length() } else { 0 }
}

/// Checks lengths and checksums of a packet; gives its transport header and payload.
fn checked(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let ip = &bytes[network_at(bytes)..];
    let (protocol, pseudo, upper) = if ip[0] >> 4 == 4 {
        let header = Ip4Header::check(ip, ip.len()).unwrap();
        assert_eq!(usize::from(header.total_length()), ip.len());
        let upper = Ip4Header::payload(ip);
        (header.protocol(), header.pseudo_header(upper.len() as u16), upper)
    } else {
        let header = Ip6Header::check(ip, ip.len()).unwrap();
        assert_eq!(header.total_length(), ip.len());
        let upper = Ip6Header::payload(ip);
        (header.next_header(), header.pseudo_header(header.next_header(), upper.len() as u32), upper)
    };
    let length = if protocol == IpProtocol::TCP {
        assert!(TcpHeader::is_checksum_valid(pseudo, upper));
        TcpHeader::check(upper).unwrap().header_length()
    } else {
        assert!(UdpHeader::is_checksum_valid(pseudo, upper));
        assert_eq!(usize::from(UdpHeader::check(upper, upper.len()).unwrap().length()), upper.len());
        UdpHeader::LENGTH
    };
    (upper[..length].to_vec(), upper[length..].to_vec())
}

fn payloads<'s>(packets: impl IntoIterator<Item = &'s Sample>) -> Vec<u8> {
    packets.into_iter().flat_map(|packet| checked(packet.bytes()).1).collect()
}

#[test]
fn packets_go_past_tx_offload_where_the_device_does_not_do_what_they_ask() {
    let mut host = host();
    host.nodes(&["interface-tx"]);
    let plain = || Sample::new(tcp4(10).ethernet().to_vec());
    let sum = || partial(tcp4(10).ethernet().to_vec(), 34, 16);
    let gso = || partial(tcp4(3000).ethernet().to_vec(), 34, 16).with_gso(TCP4, 1000, 54);
    for (interface, packet, node) in [
        ("none", plain(), "none-tx"),
        ("none", sum(), "tx-offload"),
        ("none", gso(), "tx-offload"),
        ("sums", gso(), "tx-offload"),
        ("all", sum(), "all-tx"),
        ("all", gso(), "all-tx"),
    ] {
        let packet = packet.with_tx_interface(host.interface(interface));
        host.run::<InterfaceOutput>([packet.clone()]).assert_all(node);
        host.run_named("interface-tx", [packet.clone()]).assert_all(node);
        // With others in the frame.
        let other = plain().with_tx_interface(host.interface("bare"));
        let out = host.run::<InterfaceOutput>([packet, other]);
        assert_eq!((out.to(node).len(), out.to("bare-tx").len()), (1, 1), "{interface} {node}");
    }
}

#[test]
fn partial_checksums_are_filled_in() {
    let mut host = host();
    for (bytes, start, offset) in [
        (tcp4(301).ethernet().to_vec(), 34, 16),
        (tcp6(301).ethernet().to_vec(), 54, 16),
        (tcp6(3001).vlan(5).vlan(6).ethernet().to_vec(), 62, 16),
        (udp("192.0.2.2:1", "192.0.2.3:2").payload(pattern(77)).ethernet().to_vec(), 34, 6),
    ] {
        let packet = partial(bytes.clone(), start, offset).with_tx_interface(host.interface("none"));
        let out = host.run::<TxOffload>([packet.clone(), packet.in_segments(&[start + offset + 1])]);
        out.assert_all("none-tx");
        for sent in out.sent() {
            assert_eq!(sent.packet.bytes(), bytes);
            assert_eq!(sent.packet.flags() & (BufferFlags::CHECKSUM_PARTIAL | BufferFlags::GSO), 0);
        }
    }
    host.assert_no_leaks();
}

// RFC 768: a checksum that comes out as zero is sent as all ones.
#[test]
fn checksum_of_zero_is_sent_as_all_ones() {
    let mut host = host();
    let mut bytes = udp("192.0.2.2:1", "192.0.2.3:2").payload([0, 0]).ethernet().to_vec();
    let sum = u16::from_be_bytes([bytes[40], bytes[41]]);
    // The payload makes up for what is missing.
    bytes[42..44].copy_from_slice(&sum.to_be_bytes());
    let packet = partial(bytes, 34, 6).with_tx_interface(host.interface("none"));
    let out = host.run::<TxOffload>([packet]);
    assert_eq!(out.one().packet.bytes()[40..42], [0xff, 0xff]);
}

#[test]
fn checksum_beyond_the_packet_is_dropped() {
    let mut host = host();
    let packet = Sample::new(tcp4(0).ethernet().to_vec()).with_tx_interface(host.interface("none"));
    for (start, offset) in [(34, 19), (53, 0), (60_000, 60_000), (u16::MAX, u16::MAX)] {
        let out = host.run::<TxOffload>([packet.clone().with_partial_checksum(start, offset)]);
        out.assert_all_dropped(TxOffloadError::ChecksumBeyond);
    }
    host.assert_no_leaks();
}

// RFC 9293 §3.5 (FIN), §3.9.1 (PSH), RFC 3168 §6.1.2 (CWR); identifications count on and around.
#[test]
fn segments_carry_sequence_flags_and_identification_of_their_own() {
    let mut host = host();
    let flags =
        TcpFlags(TcpFlags::ACK.0 | TcpFlags::PSH.0 | TcpFlags::FIN.0 | TcpFlags::CWR.0 | TcpFlags::ECE.0);
    let bytes = tcp4(2500).flags(flags).sequence(u32::MAX - 999).ethernet().to_vec();
    let gso = partial(bytes, 34, 16).with_gso(TCP4 | ECN, 1000, 0).with_tx_interface(host.interface("none"));
    let out = host.run::<TxOffload>([gso]);
    out.assert_all("none-tx");
    let facts: Vec<_> = out
        .to("none-tx")
        .iter()
        .map(|packet| {
            let ip = Ip4Header::parse(&packet.bytes()[14..]).unwrap().0;
            let tcp = TcpHeader::parse(&packet.bytes()[34..]).unwrap().0;
            assert!(ip.dont_fragment());
            (ip.total_length(), ip.identification(), tcp.sequence(), tcp.flags())
        })
        .collect();
    let (ack, ece) = (TcpFlags::ACK.0, TcpFlags::ECE.0);
    let last = TcpFlags(ack | ece | TcpFlags::PSH.0 | TcpFlags::FIN.0);
    assert_eq!(
        facts,
        [
            (1040, 0xfffe, u32::MAX - 999, TcpFlags(ack | ece | TcpFlags::CWR.0)),
            (1040, 0xffff, 0, TcpFlags(ack | ece)),
            (540, 0, 1000, last),
        ]
    );
    assert_eq!(payloads(out.to("none-tx")), pattern(2500));
}

#[test]
fn udp_is_cut_into_datagrams() {
    let mut host = host();
    for (source, destination, at) in
        [("192.0.2.2:7", "192.0.2.3:8", 34), ("[2001:db8::2]:7", "[2001:db8::3]:8", 54)]
    {
        let bytes = udp(source, destination).payload(pattern(2501)).ethernet().to_vec();
        let gso = partial(bytes, at, 6).with_gso(UDP_SEGMENTS, 1200, 0);
        let out = host.run::<TxOffload>([gso.with_tx_interface(host.interface("none"))]);
        assert_eq!(
            out.to("none-tx").iter().map(|packet| packet.len() - at - 8).collect::<Vec<_>>(),
            [1200, 1200, 101]
        );
        assert_eq!(payloads(out.to("none-tx")), pattern(2501));
    }
}

#[test]
fn device_that_fills_in_checksums_gets_segments_with_partial_ones() {
    let mut host = host();
    let gso = partial(tcp4(2500).ethernet().to_vec(), 34, 16).with_gso(TCP4, 1000, 54);
    let out = host.run::<TxOffload>([gso.with_tx_interface(host.interface("sums"))]);
    out.assert_all("sums-tx");
    let none = host.interface("none");
    let segments: Vec<Sample> = out.to("sums-tx").into_iter().cloned().collect();
    assert!(segments.iter().all(|segment| segment.flags() & BufferFlags::CHECKSUM_PARTIAL != 0));
    let completed =
        host.run::<TxOffload>(segments.into_iter().map(|segment| segment.with_tx_interface(none)));
    assert_eq!(payloads(completed.to("none-tx")), pattern(2500));
}

#[test]
fn interface_without_ethernet_header_is_served_too() {
    let mut host = host();
    let gso = partial(tcp6(4000).to_vec(), 40, 16).with_gso(TCP6, 1220, 60);
    let out = host.run::<TxOffload>([gso.with_tx_interface(host.interface("bare"))]);
    assert_eq!(payloads(out.to("bare-tx")), pattern(4000));
}

#[test]
fn what_contradicts_itself_is_dropped() {
    let mut host = host();
    let none = host.interface("none");
    let good = tcp4(3000).ethernet().to_vec();
    let mut fragment = tcp4(3000).ethernet().to_vec();
    Ip4Header::parse_mut(&mut fragment[14..]).unwrap().0.set_fragment(0, true);
    let mut short_tcp = good.clone();
    short_tcp[46] = 0x40;
    let arp = [&good[..12], &[8, 6], &good[14..]].concat();
    for (packet, reason) in [
        (Sample::new(good.clone()).with_gso(TCP6, 1000, 54), TxOffloadError::Malformed),
        (Sample::new(good.clone()).with_gso(UDP_SEGMENTS, 1000, 54), TxOffloadError::Malformed),
        (Sample::new(good.clone()).with_gso(TCP4, 0, 54), TxOffloadError::Malformed),
        (Sample::new(good[..54].to_vec()).with_gso(TCP4, 1000, 54), TxOffloadError::Malformed),
        (Sample::new(good[..40].to_vec()).with_gso(TCP4, 1000, 54), TxOffloadError::Malformed),
        (Sample::new(good[..5].to_vec()).with_gso(TCP4, 1000, 54), TxOffloadError::Malformed),
        (Sample::new(fragment).with_gso(TCP4, 1000, 54), TxOffloadError::Malformed),
        (Sample::new(short_tcp).with_gso(TCP4, 1000, 54), TxOffloadError::Malformed),
        (Sample::new(arp).with_gso(TCP4, 1000, 54), TxOffloadError::Malformed),
        (Sample::new(good.clone()).with_gso(TCP4, 2, 54), TxOffloadError::TooMany),
        (Sample::new(good).with_gso(UDP_FRAGMENTS, 1480, 54), TxOffloadError::Unsupported),
    ] {
        host.run::<TxOffload>([packet.with_tx_interface(none)]).assert_all_dropped(reason);
    }
    host.assert_no_leaks();
}

#[test]
fn without_buffers_the_whole_packet_is_dropped_and_nothing_leaks() {
    let mut host = host();
    let gso = partial(tcp4(9000).ethernet().to_vec(), 34, 16).with_gso(TCP4, 1000, 54);
    let gso = gso.with_tx_interface(host.interface("none"));
    for left in 0..9 {
        host.limit_buffers(Some(left));
        host.run::<TxOffload>([gso.clone()]).assert_all_dropped(TxOffloadError::NoBuffer);
        host.assert_no_leaks();
    }
    host.limit_buffers(Some(9));
    assert_eq!(host.run::<TxOffload>([gso]).to("none-tx").len(), 9);
    host.limit_buffers(None);
    host.assert_no_leaks();
}

#[test]
fn packets_of_a_frame_stay_in_order() {
    let mut host = host();
    let none = host.interface("none");
    let numbered = |number: u32, payload: usize| {
        let bytes = tcp4(payload).sequence(number).ethernet().to_vec();
        let packet =
            if payload > 1000 { partial(bytes, 34, 16).with_gso(TCP4, 1000, 54) } else { Sample::new(bytes) };
        packet.with_tx_interface(none)
    };
    let out = host.run::<TxOffload>([
        numbered(0, 10),
        numbered(10, 1500),
        numbered(1510, 10),
        numbered(1520, 2000),
    ]);
    let sequences: Vec<_> = out
        .to("none-tx")
        .iter()
        .map(|packet| TcpHeader::parse(&packet.bytes()[34..]).unwrap().0.sequence())
        .collect();
    assert_eq!(sequences, [0, 10, 1010, 1510, 1520, 2520]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn segments_carry_what_the_packet_carried(
        six: bool, tags in 0..3usize, payload in 1..20_000usize, size in 100..9000u16,
        segments in prop::collection::vec(1..1500usize, 0..8), hint in 0..70_000u32,
    ) {
        let mut host = host();
        let packet = if six { tcp6(payload) } else { tcp4(payload) };
        let packet = (0..tags).fold(packet, |packet, tag| packet.vlan(tag as u16 + 2));
        let bytes = packet.ethernet().to_vec();
        let transport_at = 14 + tags * 4 + if six { 40 } else { 20 };
        let gso = partial(bytes.clone(), transport_at, 16)
            .with_gso(if six { TCP6 } else { TCP4 }, size, hint as u16)
            .in_segments(&segments)
            .with_tx_interface(host.interface("none"));
        let out = host.run::<TxOffload>([gso]);
        let sent = out.to("none-tx");
        prop_assert_eq!(sent.len(), payload.div_ceil(usize::from(size)));
        prop_assert_eq!(payloads(sent.iter().copied()), pattern(payload));
        for (number, segment) in sent.iter().enumerate() {
            let (tcp, _) = checked(segment.bytes());
            let sequence = TcpHeader::parse(&tcp).unwrap().0.sequence();
            prop_assert_eq!(sequence as usize, 1 + number * usize::from(size));
            let link = transport_at - if six { 40 } else { 20 };
            prop_assert_eq!(&segment.bytes()[..link], &bytes[..link]);
        }
        host.assert_no_leaks();
    }

    #[test]
    fn no_packet_makes_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..7u8, size: u16, start: u16, offset: u16,
        ethertype in prop::sample::select(vec![0x0800_u16, 0x86dd, 0x8100]), interface in 0..4usize,
    ) {
        let mut host = host();
        let mut bytes = bytes;
        if let Some(room) = bytes.get_mut(12..14) {
            room.copy_from_slice(&ethertype.to_be_bytes());
        }
        let name = ["none", "sums", "all", "bare"][interface];
        let packet = Sample::new(bytes)
            .with_gso(kind, size, 0)
            .with_partial_checksum(start % 400, offset % 400)
            .with_tx_interface(host.interface(name));
        host.run::<TxOffload>([packet]);
        host.assert_no_leaks();
    }
}
