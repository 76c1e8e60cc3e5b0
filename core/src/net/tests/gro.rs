//! `ip4-gro` and `ip6-gro`: what they merge is cut up again into what came.

use proptest::prelude::*;
use raddle_plugin_api::abi::BufferFlags;
use raddle_plugin_api::testing::packets::{IpPacket, tcp, udp};
use raddle_plugin_api::testing::{Harness, Run, Sample};
use raddle_plugin_api::wire::{TcpFlags, TcpHeader};

use crate::net::offload::{Ip4Gro, Ip6Gro, TxOffload};

/// An interface whose device takes packets without Ethernet header, and does nothing for them.
fn host() -> Harness {
    Harness::builder().buffers(512).interface("out", |port| port.without_ethernet()).build()
}

fn merge(host: &mut Harness, packets: Vec<Vec<u8>>) -> Run {
    if packets[0][0] >> 4 == 4 { host.run::<Ip4Gro>(packets) } else { host.run::<Ip6Gro>(packets) }
}

fn pattern(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(|number| (number % 251) as u8).collect()
}

/// A segment of a connection with that number, of these bytes of its stream.
fn segment(ip6: bool, connection: u16, from: usize, length: usize) -> IpPacket {
    let port = 1000 + connection;
    let packet = if ip6 {
        tcp(&format!("[2001:db8::2]:{port}"), "[2001:db8:1::2]:80")
    } else {
        tcp(&format!("192.0.2.2:{port}"), "198.51.100.2:80")
    };
    packet.payload(pattern(from, length)).sequence(7 + from as u32)
}

fn lengths(run: &Run) -> Vec<usize> {
    run.sent().iter().map(|sent| sent.packet.len()).collect()
}

/// Cuts what was merged up again, as a device does.
fn cut(host: &mut Harness, run: &Run) -> Vec<Vec<u8>> {
    let out = host.interface("out");
    let packets: Vec<Sample> =
        run.sent().iter().map(|sent| sent.packet.clone().with_tx_interface(out)).collect();
    host.run::<TxOffload>(packets).to("out-tx").iter().map(|packet| packet.bytes().to_vec()).collect()
}

#[test]
fn segments_in_order_become_one_packet_that_stands_for_them() {
    let mut host = host();
    for (ip6, headers, kind) in [(false, 40, 1), (true, 60, 4)] {
        let packets: Vec<_> = (0..5_u16)
            .map(|n| {
                let length = if n == 4 { 300 } else { 1000 };
                let last = TcpFlags(TcpFlags::ACK.0 | TcpFlags::PSH.0);
                let packet = segment(ip6, 0, usize::from(n) * 1000, length).identification(40 + n);
                if n == 4 { packet.flags(last).to_vec() } else { packet.to_vec() }
            })
            .collect();
        let out = merge(&mut host, packets.clone());
        let merged = &out.one().packet;
        assert_eq!(merged.len(), headers + 4300);
        let header = merged.header();
        assert_eq!((header.gso_kind, header.gso_size), (kind, 1000));
        assert!(merged.flags() & BufferFlags::CHECKSUM_PARTIAL != 0);
        let tcp = TcpHeader::parse(&merged.bytes()[headers - 20..]).unwrap().0;
        assert!(tcp.flags().contains(TcpFlags::PSH));
        assert_eq!(cut(&mut host, &out), packets);
        host.assert_no_leaks();
    }
}

#[test]
fn timestamps_must_be_the_same_and_other_options_are_left_alone() {
    let mut host = host();
    let with_options = |options: &[u8], from: usize| {
        let mut bytes = segment(false, 0, from, 1000).to_vec();
        bytes.splice(40..40, options.iter().copied());
        // Lengths and checksums anew.
        let total = bytes.len() as u16;
        raddle_plugin_api::wire::Ip4Header::parse_mut(&mut bytes).unwrap().0.set_total_length(total);
        let (head, tail) = bytes.split_at_mut(20);
        let ip = raddle_plugin_api::wire::Ip4Header::parse(head).unwrap().0;
        let pseudo = ip.pseudo_header(total - 20);
        tail[12] = (((20 + options.len()) / 4) << 4) as u8;
        let (tcp, behind) = TcpHeader::parse_mut(tail).unwrap();
        let behind = behind.to_vec();
        tcp.fill_checksum(pseudo, &behind);
        raddle_plugin_api::wire::Ip4Header::parse_mut(&mut bytes).unwrap().0.set_dont_fragment(true);
        bytes
    };
    let stamp = |value: u8| [1, 1, 8, 10, 0, 0, 0, value, 0, 0, 0, 1];
    let pair = |a: &[u8], b: &[u8]| vec![with_options(a, 0), with_options(b, 1000)];
    assert_eq!(lengths(&merge(&mut host, pair(&stamp(1), &stamp(1)))), [2052]);
    assert_eq!(lengths(&merge(&mut host, pair(&stamp(1), &stamp(2)))), [1052, 1052]);
    let sack = [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    assert_eq!(lengths(&merge(&mut host, pair(&sack, &sack))), [1052, 1052]);
}

#[test]
fn what_differs_or_does_not_follow_is_not_merged() {
    let mut host = host();
    let first = || segment(false, 0, 0, 1000).dont_fragment();
    let next = || segment(false, 0, 1000, 1000).dont_fragment();
    assert_eq!(lengths(&merge(&mut host, vec![first().to_vec(), next().to_vec()])), [2040]);
    let flags = |flags: u8| next().flags(TcpFlags(TcpFlags::ACK.0 | flags));
    for (what, second) in [
        ("another TTL", next().ttl(9).to_vec()),
        ("cut up on the way", segment(false, 0, 1000, 1000).to_vec()),
        ("another connection", segment(false, 1, 1000, 1000).dont_fragment().to_vec()),
        ("a gap", segment(false, 0, 1001, 1000).dont_fragment().to_vec()),
        ("the same again", first().to_vec()),
        ("larger", segment(false, 0, 1000, 1001).dont_fragment().to_vec()),
        ("a wrong checksum", next().wrong_checksum().to_vec()),
        ("FIN", flags(TcpFlags::FIN.0).to_vec()),
        ("URG", flags(TcpFlags::URG.0).to_vec()),
        ("CWR", flags(TcpFlags::CWR.0).to_vec()),
        ("ECE", flags(TcpFlags::ECE.0).to_vec()),
        ("no data", segment(false, 0, 1000, 0).dont_fragment().to_vec()),
        ("IP options", next().options([1, 1, 1, 1]).to_vec()),
        ("no TCP", udp("192.0.2.2:1000", "198.51.100.2:80").payload([0; 1000]).to_vec()),
    ] {
        let packets = vec![first().to_vec(), second];
        let out = merge(&mut host, packets.clone());
        let came: Vec<_> = out.sent().iter().map(|sent| sent.packet.bytes().to_vec()).collect();
        assert_eq!(came, packets, "{what}");
    }
    for (field, at, value) in [("acknowledgement", 31, 9), ("window", 34, 1), ("traffic class", 1, 4)] {
        let mut second = next().to_vec();
        second[at] = value;
        // Trusted, so that the change alone tells.
        let packets = [first().to_vec(), second]
            .map(|bytes| Sample::new(bytes).with_flags(BufferFlags::CHECKSUM_VALID));
        assert_eq!(host.run::<Ip4Gro>(packets).sent().len(), 2, "{field}");
    }
    host.assert_no_leaks();
}

// RFC 6864 §4.2: without "don't fragment" the identification counts, and must be the one that cutting up gives back.
#[test]
fn identifications_that_count_must_count_on() {
    let mut host = host();
    for (second, count) in [(6, 1), (5, 2), (7, 2)] {
        let packets = vec![
            segment(false, 0, 0, 1000).identification(5).to_vec(),
            segment(false, 0, 1000, 1000).identification(second).to_vec(),
        ];
        assert_eq!(merge(&mut host, packets).sent().len(), count, "{second}");
    }
}

#[test]
fn merged_packet_stays_within_what_ip_has_a_length_for() {
    let mut host = host();
    let packets: Vec<_> = (0..70).map(|n| segment(true, 0, n * 1400, 1400).to_vec()).collect();
    let out = merge(&mut host, packets.clone());
    assert!(lengths(&out).iter().all(|length| *length <= 65_535));
    assert_eq!(out.sent().len(), 2);
    assert_eq!(cut(&mut host, &out), packets);
    host.assert_no_leaks();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn connections_come_out_as_they_came_in(
        ip6: bool,
        steps in prop::collection::vec((0..3_u16, 1..1400_usize, 0..8_u8), 1..80),
    ) {
        let mut host = host();
        let (mut sent, mut identifications) = ([0_usize; 3], [0_u16; 3]);
        let mut packets = Vec::new();
        for (connection, length, special) in steps {
            let at = usize::from(connection);
            // Most segments are full ones.
            let length = if special < 6 { 700 } else { length };
            let mut packet = segment(ip6, connection, sent[at], length).identification(identifications[at]);
            if special == 5 {
                packet = packet.flags(TcpFlags(TcpFlags::ACK.0 | TcpFlags::PSH.0));
            }
            if special == 7 {
                packet = packet.ttl(3);
            }
            sent[at] += length;
            identifications[at] = identifications[at].wrapping_add(1);
            packets.push(packet.to_vec());
        }
        let out = merge(&mut host, packets.clone());
        let cut = cut(&mut host, &out);
        let at = if ip6 { 40 } else { 20 };
        let of = |all: &[Vec<u8>], connection: u16| -> Vec<Vec<u8>> {
            let port = (1000 + connection).to_be_bytes();
            let mut found: Vec<_> = all.iter().filter(|bytes| bytes[at..at + 2] == port).cloned().collect();
            for bytes in &mut found {
                // Zero has two forms, and who completes a checksum always writes the one that UDP allows.
                if bytes[at + 16..at + 18] == [0xff; 2] {
                    bytes[at + 16..at + 18].fill(0);
                }
            }
            found
        };
        for connection in 0..3 {
            prop_assert_eq!(of(&cut, connection), of(&packets, connection));
        }
        host.assert_no_leaks();
    }
}
