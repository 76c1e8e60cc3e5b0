use std::net::Ipv4Addr;

use proptest::prelude::*;
use raddle_plugin_api::testing::packets;
use raddle_plugin_api::wire::{Ip4Address, Ip6Address, checksum};

use super::super::Nat64Prefix;
use super::*;

const CLIENT: &str = "2001:db8::1";
const SERVER: &str = "64:ff9b::198.51.100.2";

fn server() -> Ip4Address {
    Ip4Address([198, 51, 100, 2])
}

fn pool() -> Ip4Address {
    Ip4Address([192, 0, 2, 1])
}

fn six(text: &str) -> Ip6Address {
    text.parse::<std::net::Ipv6Addr>().unwrap().into()
}

/// An ICMPv6 error about a packet, from a router.
fn error6(kind: u8, code: u8, rest: u32, about: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest.to_be_bytes());
    message.extend(about);
    let mut packet = Ip6Header::new(IpProtocol::ICMP6, six("2001:db8::ff"), six(SERVER), message.len())
        .unwrap()
        .as_bytes()
        .to_vec();
    let ip = *Ip6Header::parse(&packet).unwrap().0;
    let sum = ip.pseudo_header(IpProtocol::ICMP6, message.len() as u32).add_bytes(&message);
    message[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    packet.extend(message);
    packet
}

/// An ICMPv4 error's message.
fn error4(kind: u8, code: u8, rest: u32, about: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest.to_be_bytes());
    message.extend(about);
    let sum = checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// As the packet 6→4 goes out: from the server's answer, quoted by a router inside.
fn inner4() -> Ends4 {
    Ends4 { source: server(), destination: pool(), source_port: 80, destination_port: 6000 }
}

fn inner6() -> Ends6 {
    Ends6 { source: six(CLIENT), destination: six(SERVER), source_port: 5000, destination_port: 80 }
}

fn outer6() -> Ends6 {
    Ends6 {
        source: six("64:ff9b::203.0.113.9"),
        destination: six(CLIENT),
        source_port: 0,
        destination_port: 0,
    }
}

fn to4(packet: &[u8]) -> Result<Vec<u8>, Malformed> {
    let (ip, message) = Ip6Header::parse(packet).unwrap();
    let mut into = [0; 2048];
    translate_error6(ip, message, &inner4(), None, &mut into).map(|done| into[..done.length].to_vec())
}

fn to6(message: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut into = [0; 2048];
    translate_error4(message, (&outer6(), &inner6()), &mut into).map(|done| into[..done.length].to_vec())
}

fn is_valid6(message: &[u8]) -> bool {
    Sum::pseudo_ip6(outer6().source, outer6().destination, IpProtocol::ICMP6, message.len() as u32)
        .add_bytes(message)
        .is_valid()
}

#[test]
fn error_from_inside_quotes_what_was_sent_from_outside() {
    let quoted = packets::tcp("[64:ff9b::198.51.100.2]:80", "[2001:db8::1]:5000").payload([7; 100]).to_vec();
    let message = to4(&error6(2, 0, 1400, &quoted)).unwrap();
    assert!(checksum::is_valid(&message));
    assert_eq!((message[0], message[1], &message[4..8]), (3, 4, &[0, 0, 5, 100][..]));
    let expected = packets::tcp("198.51.100.2:80", "192.0.2.1:6000").payload([7; 100]).to_vec();
    let ip = Ip4Header::check(&message[8..], message.len() - 8).unwrap();
    assert!(checksum::is_valid(&message[8..28]));
    assert_eq!((ip.source(), ip.destination(), ip.ttl()), (server(), pool(), 64));
    assert_eq!(&message[28..], &expected[20..], "ports and checksum are those that the server sent");
}

#[test]
fn error_from_outside_quotes_what_was_sent_from_inside() {
    let quoted = packets::udp("192.0.2.1:6000", "198.51.100.2:80").payload([7; 100]).to_vec();
    let message = to6(&error4(3, 3, 0, &quoted)).unwrap();
    assert!(is_valid6(&message));
    assert_eq!((message[0], message[1]), (1, 4));
    let expected =
        packets::udp("[2001:db8::1]:5000", "[64:ff9b::198.51.100.2]:80").payload([7; 100]).to_vec();
    assert_eq!(&message[8..], &expected[..]);
}

#[test]
fn quoted_echo_is_that_of_the_other_protocol() {
    let ends = Ends6 { source_port: 77, destination_port: 77, ..inner6() };
    let quoted = packets::echo("192.0.2.1", "198.51.100.2").identifier(9).payload([1; 33]).to_vec();
    let mut into = [0; 2048];
    let done = translate_error4(&error4(11, 0, 0, &quoted), (&outer6(), &ends), &mut into).unwrap();
    let expected = packets::echo(CLIENT, SERVER).identifier(77).payload([1; 33]).to_vec();
    assert_eq!((&into[8..done.length], done.kind.kind), (&expected[..], 3));

    let quoted = packets::echo(SERVER, CLIENT).identifier(77).payload([1; 33]).to_vec();
    let ends = Ends4 { source_port: 9, destination_port: 9, ..inner4() };
    let packet = error6(3, 0, 0, &quoted);
    let (ip, message) = Ip6Header::parse(&packet).unwrap();
    let done = translate_error6(ip, message, &ends, None, &mut into).unwrap();
    let expected = packets::echo("198.51.100.2", "192.0.2.1").identifier(9).payload([1; 33]).to_vec();
    assert_eq!(&into[28..done.length], &expected[20..]);
}

/// RFC 792: 8 bytes of the quoted packet's payload are all that is sure to be there.
#[test]
fn quotes_cut_short_are_translated_as_far_as_they_go() {
    let whole = packets::tcp("192.0.2.1:6000", "198.51.100.2:80").payload([7; 100]).to_vec();
    let expected =
        packets::tcp("[2001:db8::1]:5000", "[64:ff9b::198.51.100.2]:80").payload([7; 100]).to_vec();
    for length in 28..whole.len() {
        let message = to6(&error4(11, 0, 0, &whole[..length])).unwrap();
        assert!(is_valid6(&message), "{length}");
        let quoted = &message[8..];
        assert_eq!(quoted.len(), length + 20);
        // The length says what the packet had. Of a checksum of which one byte is there, that one stays as it is.
        let known = if length == 37 { length + 19 } else { length + 20 };
        assert_eq!(quoted[..known], expected[..known], "{length}");
    }
    for length in 0..28 {
        assert_eq!(to6(&error4(11, 0, 0, &whole[..length])), Err(Malformed::Bytes), "{length}");
    }
}

/// RFC 4884 §4, §5.
#[test]
fn extensions_go_with_the_error_and_lengths_are_in_the_other_units() {
    let extension = [0x20, 0, 0xde, 0xad, 0, 8, 1, 1, 0, 1, 2, 3];
    let mut quoted = packets::udp("192.0.2.1:6000", "198.51.100.2:80").payload([7; 50]).to_vec();
    quoted.resize(128, 0);
    quoted.extend(extension);
    // 128 bytes in 32-bit words.
    let message = to6(&error4(11, 0, 32 << 16, &quoted)).unwrap();
    assert!(is_valid6(&message));
    // 148 bytes filled up to 152, in 64-bit words.
    assert_eq!((message[4], message.len()), (19, 8 + 152 + extension.len()));
    assert!(message.ends_with(&extension));

    let mut quoted =
        packets::udp("[64:ff9b::198.51.100.2]:80", "[2001:db8::1]:5000").payload([7; 40]).to_vec();
    quoted.resize(128, 0);
    quoted.extend(extension);
    let message = to4(&error6(1, 4, 16 << 24, &quoted)).unwrap();
    assert!(checksum::is_valid(&message) && message.ends_with(&extension));
    // What remains is filled up to 128 bytes again.
    assert_eq!((message[5], message.len()), (32, 8 + 128 + extension.len()));

    // Packet too big has none in ICMPv6.
    let mut quoted = packets::udp("192.0.2.1:6000", "198.51.100.2:80").payload([7; 100]).to_vec();
    quoted.extend(extension);
    let message = to6(&error4(3, 4, 32 << 16 | 1400, &quoted)).unwrap();
    assert!(!message.ends_with(&extension) && message[4..8] == 1420_u32.to_be_bytes());
    assert!(is_valid6(&message));
}

/// RFC 4443 §2.4 c.
#[test]
fn icmp6_error_is_not_longer_than_the_least_mtu() {
    let quoted = packets::udp("192.0.2.1:6000", "198.51.100.2:80").payload([7; 1400]).to_vec();
    let message = to6(&error4(11, 0, 0, &quoted)).unwrap();
    assert_eq!(message.len(), 1240);
    assert!(is_valid6(&message));
}

#[test]
fn quoted_fragments_keep_their_place() {
    let quoted = packets::udp("192.0.2.1:6000", "198.51.100.2:80")
        .payload([7; 64])
        .identification(0x1234)
        .fragment(0, true)
        .to_vec();
    let message = to6(&error4(11, 1, 0, &quoted)).unwrap();
    let upper = Ip6Upper::find(&message[8..]).unwrap();
    let fragment = upper.fragment.unwrap();
    assert_eq!(
        (fragment.identification, fragment.more_fragments, upper.protocol),
        (0x1234, true, IpProtocol::UDP)
    );
}

/// What was wrong stays wrong, and what was right stays right.
#[test]
fn wrong_checksum_stays_wrong() {
    let quoted = packets::udp("192.0.2.1:6000", "198.51.100.2:80").payload([7; 30]).to_vec();
    let mut message = error4(3, 1, 0, &quoted);
    message[3] ^= 0x40;
    assert!(!is_valid6(&to6(&message).unwrap()));
    let quoted = packets::udp("[64:ff9b::198.51.100.2]:80", "[2001:db8::1]:5000").payload([7; 3]).to_vec();
    let mut packet = error6(1, 0, 0, &quoted);
    packet[43] ^= 1;
    assert!(!checksum::is_valid(&to4(&packet).unwrap()));
}

#[test]
fn prefix_of_the_tests_is_the_well_known_one() {
    assert_eq!(Nat64Prefix::WELL_KNOWN.embed(server()), six(SERVER));
    assert_eq!(Ipv4Addr::from(server().0).to_string(), "198.51.100.2");
}

proptest! {
    /// Any bytes behind a header that asks for translation.
    #[test]
    fn hostile_errors_do_no_harm(kind: u8, code: u8, rest: u32, mut bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = to6(&error4(kind, code, rest, &bytes));
        let _ = to4(&error6(kind, code, rest, &bytes));
        if bytes.len() > 20 {
            bytes[0] = 0x45;
            bytes[9] = 17;
            if let Ok(message) = to6(&error4(11, 0, rest, &bytes)) {
                prop_assert!(is_valid6(&message) && message.len() <= 1240);
            }
            bytes[0] = 0x60;
            bytes[6] = 17;
            if let Ok(message) = to4(&error6(3, 0, rest, &bytes)) {
                prop_assert!(checksum::is_valid(&message));
            }
        }
    }
}
