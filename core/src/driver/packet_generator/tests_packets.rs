//! What programs make, judged by the SDK's header types.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use raddle_plugin_api::wire::{
    EtherType, EthernetHeader, Icmp4Header, Icmp6Header, Ip4Header, Ip6Header, TcpHeader, UdpHeader, checksum,
};

use super::compile::CompileError;
use super::program::{Cursor, Program};
use super::sizes::Sizes;
use super::template::Template;

const ETH: &str = "eth 02:00:00:00:00:01 > 02:fe:00:00:00:01";

fn compile(text: &str, sizes: Option<&str>, in_step: bool) -> Result<Program, CompileError> {
    let template: Template = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    let sizes: Option<Sizes> = sizes.map(|sizes| sizes.parse().unwrap());
    Program::compile(&template, sizes.as_ref(), in_step)
}

fn make_with(program: Program, count: usize, share: u32, shares: u32) -> Vec<Vec<u8>> {
    let mut cursor = Cursor::new(Arc::new(program), 1, share, shares);
    let program = cursor.program().clone();
    let next = |_| {
        let variant = cursor.variant();
        let mut bytes = program.bytes(variant).to_vec();
        cursor.write(variant, &mut bytes);
        bytes
    };
    (0..count).map(next).collect()
}

fn make(text: &str, sizes: Option<&str>, count: usize) -> Vec<Vec<u8>> {
    make_with(compile(text, sizes, false).unwrap_or_else(|error| panic!("{text}: {error}")), count, 0, 1)
}

/// Checks lengths and checksums of everything in the frame.
fn check(frame: &[u8]) {
    let (ethernet, payload) = EthernetHeader::parse(frame).unwrap();
    let (mut ethertype, mut payload) = (ethernet.ethertype(), payload);
    if ethertype == EtherType(0x8100) {
        ethertype = EtherType(u16::from_be_bytes([payload[2], payload[3]]));
        payload = &payload[4..];
    }
    check_ip(ethertype == EtherType::IP4, payload);
}

fn check_ip(is_ip4: bool, packet: &[u8]) {
    if is_ip4 {
        let ip = Ip4Header::check(packet, packet.len()).unwrap();
        assert_eq!(usize::from(ip.total_length()), packet.len());
        let upper = &packet[ip.header_length()..];
        match ip.protocol().0 {
            1 => drop(Icmp4Header::check(upper).unwrap()),
            4 => check_ip(true, upper),
            41 => check_ip(false, upper),
            protocol => check_upper(protocol, ip.pseudo_header(upper.len() as u16), upper),
        }
    } else {
        let ip = Ip6Header::check(packet, packet.len()).unwrap();
        assert_eq!(ip.total_length(), packet.len());
        let upper = &packet[40..];
        let pseudo = ip.pseudo_header(ip.next_header(), upper.len() as u32);
        check_upper(ip.next_header().0, pseudo, upper);
    }
}

fn check_upper(protocol: u8, pseudo: checksum::Sum, upper: &[u8]) {
    match protocol {
        17 => {
            let udp = UdpHeader::check(upper, upper.len()).unwrap();
            assert_eq!(usize::from(udp.length()), upper.len());
            assert!(udp.has_checksum());
            assert!(UdpHeader::is_checksum_valid(pseudo, upper));
        }
        6 => {
            TcpHeader::check(upper).unwrap();
            assert!(TcpHeader::is_checksum_valid(pseudo, upper));
        }
        58 => assert!(pseudo.add_bytes(upper).is_valid()),
        _ => {}
    }
}

#[test]
fn every_packet_of_every_kind_has_right_lengths_and_checksums() {
    let upper = [
        "udp 1000 > 2000",
        "udp random > 2000-2002 / payload 0102030405",
        "udp 1 > 2 / hex 01",
        "tcp 1-5 > 80 seq random ack 0-100 random window 1-9 flags syn,ack options 020405b4 urgent 1-3",
        "payload 00ff",
    ];
    let mut texts = vec![
        format!("{ETH} / ip4 10.0.0.1 > 20.0.0.0/8 random / icmp echo id 1 seq 1-100 / payload 61"),
        format!("{ETH} / ip6 ::1 > 2001:db8::/33 random / icmp6 echo-reply id random seq 1-100 / payload 61"),
        format!(
            "{ETH} / ip4 1.1.1.1-1.1.1.9 > 2.2.2.2 / ip6 ::1 > ::1-::ff / udp 1 > 2-9 random / payload 05"
        ),
        format!("{ETH} / ip4 1.1.1.1 > 2.2.2.2 / ip4 1.1.1.1-1.1.1.3 > 2.2.2.2 id random / tcp 1-4 > 2"),
    ];
    for ip in [
        "ip4 10.0.0.2 > 20.0.0.0-20.0.0.200",
        "ip4 10.0.0.0/8 random > 1.1.1.1 ttl 1-255 tos random id random df options 94040000",
        "ip6 2001:db8::1-2001:db8::9 > 2001:db8:1::/48 random flow-label random hop-limit 1-255 traffic-class 7",
    ] {
        texts.extend(upper.iter().map(|upper| format!("{ETH} / {ip} / {upper}")));
        texts.extend(upper.iter().map(|upper| format!("{ETH} / vlan 1-9 priority 3 / {ip} / {upper}")));
    }
    for text in texts {
        for sizes in [None, Some("130"), Some("130-147"), Some("131-1500 random"), Some("imix")] {
            if sizes == Some("imix") && text.len() > 60 {
                continue;
            }
            for frame in make(&text, sizes, 40) {
                check(&frame);
            }
        }
    }
}

#[test]
fn a_checksum_over_a_checksum_is_right_where_words_are_shifted() {
    // The inner packet starts at an odd byte of the outer datagram.
    let text = format!(
        "{ETH} / ip4 1.1.1.1 > 2.2.2.2 / udp 1 > 4789 / hex 000000 / ip4 3.3.3.3-3.3.3.9 > 4.4.4.4 ttl 1-9 / \
         udp random > 7 checksum bad / payload 0908"
    );
    for sizes in [None, Some("90-99")] {
        for frame in make(&text, sizes, 50) {
            check(&frame);
            let inner = &frame[14 + 20 + 8 + 3..];
            let ip = Ip4Header::check(inner, inner.len()).unwrap();
            let datagram = &inner[20..];
            assert!(!UdpHeader::is_checksum_valid(ip.pseudo_header(datagram.len() as u16), datagram));
        }
    }
}

#[test]
fn headers_hold_what_the_template_says() {
    let text = format!(
        "{ETH} / vlan 7 priority 5 / ip4 10.0.0.2 > 20.0.0.1 ttl 9 tos 4 id 0x1234 df / \
         tcp 5 > 6 flags fin,ack seq 7 ack 8 window 9 options 0101 / payload aabb"
    );
    let frame = &make(&text, None, 1)[0];
    let expected = "02fe00000001020000000001 8100 a007 0800 4504002e12344000 0906 0000 0a000002 14000001 \
                    0005 0006 00000007 00000008 6011 0009 0000 0000 01010000 aabb";
    let mut got: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected: String = expected.split_whitespace().collect();
    // Checksums are judged elsewhere.
    for at in [2 * (18 + 10), 2 * (38 + 16)] {
        got.replace_range(at..at + 4, "0000");
    }
    assert_eq!(got, expected);
}

#[test]
fn next_headers_name_what_follows() {
    let text = "ip6 ::1 > ::2 / hop-by-hop / destination-options options 0109 / fragment id 7 offset 2 more / udp 1 > 2";
    let frame = &make(text, None, 1)[0];
    assert_eq!(frame[6], 0, "hop-by-hop");
    assert_eq!(&frame[40..48], [60, 0, 1, 4, 0, 0, 0, 0]);
    assert_eq!(&frame[48..56], [44, 0, 1, 9, 0, 0, 0, 0]);
    assert_eq!(&frame[56..64], [17, 0, 0, 2 << 3 | 1, 0, 0, 0, 7]);
    assert_eq!(frame.len(), 72);
    let (icmp, _) = Icmp6Header::parse(&make("icmp6 type 135 checksum none", None, 1)[0][..])
        .map(|(header, rest)| (*header, rest.len()))
        .unwrap();
    assert_eq!(icmp.kind().0, 135);
}

#[test]
fn hex_digits_are_the_packet() {
    assert_eq!(make("de ad be ef", None, 1)[0], [0xde, 0xad, 0xbe, 0xef]);
    assert_eq!(make("hex dead / payload 01", Some("6"), 1)[0], [0xde, 0xad, 1, 1, 1, 1]);
}

#[test]
fn what_is_said_to_be_wrong_is_wrong() {
    let ip = |text: &str| make(text, None, 1)[0].clone();
    let bad = ip("ip4 1.1.1.1 > 2.2.2.2 checksum bad / udp 1 > 2");
    assert!(!checksum::is_valid(&bad[..20]));
    let bad = ip("ip4 1.1.1.1 > 2.2.2.2 / udp 1 > 2 checksum bad");
    let header = Ip4Header::check(&bad, bad.len()).unwrap();
    assert!(!UdpHeader::is_checksum_valid(header.pseudo_header(8), &bad[20..]));
    assert_ne!(bad[26..28], [0, 0]);
    let long = ip("ip4 1.1.1.1 > 2.2.2.2 length 9999 version 5 header-length 3 / udp 1 > 2 length 3");
    assert_eq!((long[0], &long[2..4], &long[24..26]), (0x53, &[0x27, 0x0f][..], &[0, 3][..]));
    assert!(checksum::is_valid(&long[..20]), "the rest is still right");
    let none = ip("ip4 1.1.1.1 > 2.2.2.2 / udp 1 > 2 checksum none");
    assert_eq!(none[26..28], [0, 0]);
    assert_eq!(ip("udp 1 > 2 checksum 0x1234")[6..8], [0x12, 0x34]);
}

#[test]
fn ranges_count_every_combination_and_begin_again() {
    let text = "ip4 10.0.0.1-10.0.0.3 > 20.0.0.1-20.0.0.2 / udp 1 > 5-9 step 2";
    let facts = |frame: &Vec<u8>| (frame[15], frame[19], frame[23]);
    let frames = make(text, None, 36);
    let seen: BTreeSet<_> = frames.iter().take(18).map(facts).collect();
    assert_eq!(seen.len(), 18);
    assert_eq!(
        frames.iter().take(4).map(facts).collect::<Vec<_>>(),
        [(1, 1, 5), (2, 1, 5), (3, 1, 5), (1, 2, 5)]
    );
    assert!(
        seen.iter().all(|&(a, b, c)| (1..=3).contains(&a) && (1..=2).contains(&b) && [5, 7, 9].contains(&c))
    );
    assert_eq!(frames[..18], frames[18..]);
}

#[test]
fn fields_in_step_go_on_together() {
    let program = compile("ip4 10.0.0.1-10.0.0.3 > 20.0.0.1-20.0.0.2", None, true).unwrap();
    let facts: Vec<_> = make_with(program, 4, 0, 1).iter().map(|frame| (frame[15], frame[19])).collect();
    assert_eq!(facts, [(1, 1), (2, 2), (3, 1), (1, 2)]);
}

#[test]
fn shares_make_what_one_makes_alone() {
    for in_step in [false, true] {
        for sizes in [None, Some("28-33")] {
            let text = "ip4 10.0.0.1-10.0.0.5 > 20.0.0.1-20.0.0.7 / udp 1-3 > 2";
            let text =
                if sizes.is_some() { "ip4 10.0.0.1-10.0.0.5 > 20.0.0.1-20.0.0.7 / payload 00" } else { text };
            let alone = make_with(compile(text, sizes, in_step).unwrap(), 300, 0, 1);
            for shares in [2, 3, 4] {
                for share in 0..shares {
                    let part = make_with(compile(text, sizes, in_step).unwrap(), 60, share, shares);
                    for (number, frame) in part.iter().enumerate() {
                        assert_eq!(
                            *frame,
                            alone[number * shares as usize + share as usize],
                            "{share}/{shares}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn random_values_stay_in_their_bounds_and_differ() {
    let text = "ip4 10.0.0.0/8 random > 20.0.0.5-20.0.0.9 random / udp 1000-1001 random > random";
    let frames = make(text, None, 1000);
    let mut last = BTreeSet::new();
    for frame in &frames {
        assert_eq!(frame[12], 10);
        assert!(frame[16..19] == [20, 0, 0] && (5..=9).contains(&frame[19]));
        assert!((1000..=1001).contains(&u16::from_be_bytes([frame[20], frame[21]])));
        last.insert(frame[19]);
    }
    assert_eq!(last.len(), 5);
    assert!(frames.iter().map(|frame| &frame[13..16]).collect::<BTreeSet<_>>().len() > 990);
    assert_eq!(frames, make(text, None, 1000), "the same seed, the same packets");
}

#[test]
fn sizes_come_in_turn() {
    let lengths = |sizes, count| {
        make("ip4 1.1.1.1 > 2.2.2.2", Some(sizes), count).iter().map(Vec::len).collect::<Vec<_>>()
    };
    assert_eq!(lengths("60", 2), [60, 60]);
    assert_eq!(lengths("60-62", 5), [60, 61, 62, 60, 61]);
    let mix = lengths("imix", 12);
    let count = |size| mix.iter().filter(|&&length| length == size).count();
    assert_eq!((count(60), count(590), count(1514)), (7, 4, 1));
    let random = lengths("60-69 random", 500);
    assert_eq!(random.iter().collect::<BTreeSet<_>>().len(), 10);
}

#[test]
fn packets_that_cannot_be_are_refused() {
    let error = |text: &str, sizes| compile(text, sizes, false).unwrap_err().to_string();
    assert_eq!(
        error("udp 1 > 2", None),
        "udp needs `ip4` or `ip6` in front of it for its checksum; or say `checksum none` or a number"
    );
    assert_eq!(
        error("ip4 1.1.1.1 > 2.2.2.2", Some("19")),
        "size 19 is below the 20 bytes of the packet's headers"
    );
    let long = format!("hex {}", "00".repeat(70_000));
    assert_eq!(error(&long, None), "the packet has 70000 bytes; at most 65535 are possible");
    let deep = format!("hex {} / ip4 1.1.1.1-1.1.1.2 > 2.2.2.2", "00".repeat(2040));
    assert!(error(&deep, None).starts_with("fields that vary, and checksums over them, reach to byte 2056"));
    let many = ["ip4 1.1.1.1 > 2.2.2.2"; 9].join(" / ");
    assert_eq!(error(&many, None), "the packet has more than 8 checksums");
}

#[test]
fn a_jumbo_packet_with_all_sizes_compiles() {
    let text = format!("{ETH} / ip4 1.1.1.1 > 2.2.2.0/24 / udp 1 > 2 / payload 010203");
    let program = compile(&text, Some("42-9000"), false).unwrap();
    assert_eq!(program.longest(), 9000);
    for (position, frame) in make_with(program, 3, 0, 1).iter().enumerate() {
        assert_eq!(frame.len(), 42 + position);
        check(frame);
    }
}

proptest! {
    #[test]
    fn udp_over_either_ip_is_right_whatever_varies(
        six in any::<bool>(),
        first in any::<u32>(), wide in 0_u32..70_000,
        port in any::<u16>(), ports in any::<u16>(), random in any::<bool>(),
        payload in prop::collection::vec(any::<u8>(), 1..9),
        least in 70_u32..90, more in 0_u32..20,
    ) {
        let last = first.saturating_add(wide);
        let mode = if random { " random" } else { "" };
        let (low, high) = (port.min(ports), port.max(ports));
        let addresses = if six {
            let six = |bits: u32| std::net::Ipv6Addr::from_bits(u128::from(bits) << 32);
            format!("ip6 {}-{}{mode} > 2001:db8::1", six(first), six(first))
        } else {
            let four = std::net::Ipv4Addr::from_bits;
            format!("ip4 {}-{}{mode} > 1.2.3.4", four(first), four(last))
        };
        let bytes: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("{ETH} / {addresses} / udp {low}-{high}{mode} > 9 / payload {bytes}");
        for frame in make(&text, Some(&format!("{least}-{}", least + more)), 30) {
            check(&frame);
        }
    }
}
