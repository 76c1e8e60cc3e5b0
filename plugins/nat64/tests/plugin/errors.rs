//! ICMP errors, and who speaks in them.

use raddle_plugin_api::testing::packets::{self, IpPacket};
use raddle_plugin_api::wire::{Ip4Address, Ip4Header, Ip6Header, IpProtocol, checksum};

use crate::router::*;

#[test]
fn errors_from_both_sides_reach_whom_they_are_for() {
    let mut router = Router::new(CONFIG);
    router.out(packets::udp(HOST, SERVER6));
    // A router outside about what went out.
    let quoted = packets::udp("192.0.2.1:5000", SERVER4).payload([0; 20]).to_vec();
    let mut message = vec![11, 0, 0, 0, 0, 0, 0, 0];
    message.extend(&quoted);
    let sum = checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let error = packets::ip("203.0.113.9", "192.0.2.1", IpProtocol::ICMP4).payload(&message);
    let bytes = sent(&router.inward(error), "ip6-lookup");
    assert!(is_right6(&bytes));
    assert_eq!(addresses6(&bytes), ("64:ff9b::cb00:7109".into(), "2001:db8::1".into()));
    assert_eq!(bytes[48..], packets::udp(HOST, SERVER6).payload([0; 20]).to_vec());
    // For somebody else than whom the quoted packet is from.
    let lie = packets::ip("203.0.113.9", "192.0.2.1", IpProtocol::ICMP4).payload({
        let mut lie = message.clone();
        lie[8 + 12..8 + 16].copy_from_slice(&Ip4Address([192, 0, 2, 2]).0);
        lie
    });
    assert_eq!(router.inward(lie).dropped("error-quote"), 1);
    let other = packets::udp("192.0.2.1:5001", SERVER4).payload([0; 20]).to_vec();
    let unknown = [&message[..8], &other].concat();
    let unknown = packets::ip("203.0.113.9", "192.0.2.1", IpProtocol::ICMP4).payload(unknown);
    assert_eq!(router.inward(unknown).dropped("no-session"), 1);
    // A router inside about what came in.
    let quoted = packets::udp(SERVER6, HOST).payload([0; 20]).to_vec();
    let message = [&[1, 4, 0, 0, 0, 0, 0, 0], &quoted[..]].concat();
    let error = packets::ip("2001:db8::1", "64:ff9b::198.51.100.2", IpProtocol::ICMP6).payload(&message);
    let bytes = sent(&router.out(error), "ip4-lookup");
    assert_eq!(addresses4(&bytes), ("192.0.2.1".into(), "198.51.100.2".into()));
    assert_eq!((bytes[20], bytes[21]), (3, 3));
    assert_eq!(bytes[28 + 20..], packets::udp(SERVER4, "192.0.2.1:5000").payload([0; 20]).to_vec()[20..]);
    router.host.assert_no_leaks();
}

/// Somebody inside says that a datagram from the server to a host is too old to go on.
fn time_exceeded(from: &str, about: &str, length: usize) -> IpPacket {
    let quoted = packets::udp(SERVER6, about).payload(vec![0; length]).to_vec();
    let mut message = [&[3, 0, 0, 0, 0, 0, 0, 0], &quoted[..]].concat();
    let server = "64:ff9b::198.51.100.2";
    let whole = packets::ip(from, server, IpProtocol::ICMP6).payload(&message).to_vec();
    let pseudo = Ip6Header::parse(&whole).unwrap().0.pseudo_header(IpProtocol::ICMP6, message.len() as u32);
    let sum = pseudo.add_bytes(&message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packets::ip(from, server, IpProtocol::ICMP6).payload(message)
}

/// The address of the router that an ICMPv4 error names, if it names one (RFC 5837).
fn named(bytes: &[u8]) -> Option<String> {
    assert!(is_right4(bytes));
    let message = &bytes[20..];
    let quoted = usize::from(message[5]) * 4;
    if quoted == 0 {
        return None;
    }
    let extension = &message[8 + quoted..];
    assert!(quoted >= 128 && checksum::is_valid(extension));
    assert_eq!((extension.len(), extension[0]), (28, 0x20), "one object");
    assert_eq!(extension[4..12], [0, 24, 2, 4, 0, 2, 0, 0]);
    let address: [u8; 16] = extension[12..].try_into().unwrap();
    Some(std::net::Ipv6Addr::from(address).to_string())
}

/// RFC 6791.
#[test]
fn router_inside_speaks_by_an_address_of_the_operators_and_is_named() {
    let mut router = Router::new(&format!("{CONFIG}hop-addresses = ['203.0.113.8/30']\n"));
    router.out(packets::udp(HOST, SERVER6));
    let mut sources = std::collections::BTreeSet::new();
    for round in 0..64 {
        let bytes = sent(&router.out(time_exceeded("2001:db8:5::ff", HOST, round * 18)), "ip4-lookup");
        assert_eq!((bytes[20], bytes[21], addresses4(&bytes).1.as_str()), (11, 0, "198.51.100.2"));
        assert_eq!(named(&bytes).as_deref(), Some("2001:db8:5::ff"));
        // The quoted packet is the server's own, as far as it goes.
        let own = packets::udp(SERVER4, "192.0.2.1:5000").payload(vec![0; round * 18]).to_vec();
        let end = own.len().min(usize::from(bytes[25]) * 4);
        assert_eq!(bytes[28 + 20..28 + end], own[20..end]);
        sources.insert(addresses4(&bytes).0);
    }
    // RFC 6791 §5: at random, so that no two hops seem to be one.
    assert_eq!(sources.len(), 4, "{sources:?}");
    assert!(sources.iter().all(|source| source.starts_with("203.0.113.")), "{sources:?}");
    // A host that has a session has an address outside.
    let bytes = sent(&router.out(time_exceeded("2001:db8::1", HOST, 20)), "ip4-lookup");
    assert_eq!((addresses4(&bytes).0.as_str(), named(&bytes)), ("192.0.2.1", None));
    router.host.assert_no_leaks();
}

#[test]
fn router_inside_speaks_as_the_host_behind_it_where_there_is_no_address_for_it() {
    for (more, name) in [("", Some("2001:db8:5::ff")), ("hop-names = false\n", None)] {
        let mut router = Router::new(&format!("{CONFIG}{more}"));
        router.out(packets::udp(HOST, SERVER6));
        let bytes = sent(&router.out(time_exceeded("2001:db8:5::ff", HOST, 20)), "ip4-lookup");
        assert_eq!((addresses4(&bytes).0.as_str(), named(&bytes).as_deref()), ("192.0.2.1", name));
        assert_eq!(usize::from(Ip4Header::parse(&bytes).unwrap().0.total_length()), bytes.len());
    }
}

/// RFC 6791 as it was meant: without a session.
#[test]
fn router_before_a_mapped_host_speaks_by_its_own_mapping_or_by_an_address_of_the_operators() {
    let config = "[nat64]\ninterfaces = ['lan', 'wan']\nhop-addresses = ['203.0.113.9']\n\
                  eam = [{ ip4 = '192.0.2.16/28', ip6 = '2001:db8:cc::/124' }]\n";
    let mut router = Router::new(config);
    for (from, source, name) in [
        ("2001:db8:5::ff", "203.0.113.9", Some("2001:db8:5::ff")),
        ("2001:db8:cc::3", "192.0.2.19", None),
        ("2001:db8:cc::4", "192.0.2.20", None),
    ] {
        let error = time_exceeded(from, "[2001:db8:cc::3]:5000", 20);
        let bytes = sent(&router.out(error), "ip4-lookup");
        assert_eq!((addresses4(&bytes).0.as_str(), named(&bytes).as_deref()), (source, name), "{from}");
        let own = packets::udp(SERVER4, "192.0.2.19:5000").payload([0; 20]).to_vec();
        assert_eq!(bytes[28 + 20..28 + own.len()], own[20..]);
    }
}
