//! Explicit address mappings (RFC 7757).

use raddle_plugin_api::testing::packets;
use raddle_plugin_api::wire::{Ip6Header, IpProtocol};
use serde_json::json;

use crate::router::*;

/// RFC 7757.
#[test]
fn explicit_mappings_need_no_session() {
    let config = "[nat64]\ninterfaces = ['lan', 'wan']\neam = [{ ip4 = '192.0.2.16/28', ip6 = '2001:db8:cc::/124' }]\n";
    let mut router = Router::new(config);
    let bytes = sent(&router.out(packets::tcp("[2001:db8:cc::3]:9", SERVER6).payload([1; 7])), "ip4-lookup");
    assert!(is_right4(&bytes));
    assert_eq!(addresses4(&bytes).0, "192.0.2.19");
    let bytes =
        sent(&router.inward(packets::echo("198.51.100.2", "192.0.2.19").payload([1; 7])), "ip6-lookup");
    assert!(is_right6(&bytes));
    assert_eq!(addresses6(&bytes), ("64:ff9b::c633:6402".into(), "2001:db8:cc::3".into()));
    assert_eq!(router.show("sessions"), json!([]));
}

const MAPPED: &str = "[nat64]\npool = ['192.0.2.1']\ninterfaces = ['lan', 'wan']\n\
    eam = [{ ip4 = '192.0.2.16/28', ip6 = '2001:db8:cc::/124' }]\n";

/// RFC 7757 §4: two mapped hosts see each other as hosts outside do, so that answers come by the same way.
#[test]
fn mapped_hosts_reach_each_other_by_their_outside_addresses() {
    let mut router = Router::new(MAPPED);
    for payload in [&b"hello"[..], &[7; 900]] {
        let there = packets::udp("[2001:db8:cc::1]:1000", "[64:ff9b::192.0.2.18]:2000").payload(payload);
        let bytes = sent(&router.out(there), "ip6-lookup");
        let expected = packets::udp("[64:ff9b::192.0.2.17]:1000", "[2001:db8:cc::2]:2000").payload(payload);
        assert!(is_right6(&bytes));
        assert_eq!(bytes[8..], expected.to_vec()[8..]);
        let back = packets::udp("[2001:db8:cc::2]:2000", "[64:ff9b::192.0.2.17]:1000").payload(payload);
        let bytes = sent(&router.out(back), "ip6-lookup");
        let expected = packets::udp("[64:ff9b::192.0.2.18]:2000", "[2001:db8:cc::1]:1000").payload(payload);
        assert_eq!(bytes[8..], expected.to_vec()[8..]);
    }
    let echo = packets::echo("2001:db8:cc::1", "64:ff9b::192.0.2.18").identifier(9).payload([3; 4]);
    let bytes = sent(&router.out(echo), "ip6-lookup");
    assert!(is_right6(&bytes));
    assert_eq!(addresses6(&bytes), ("64:ff9b::c000:211".into(), "2001:db8:cc::2".into()));
    assert_eq!(router.show("sessions"), json!([]));
    router.host.assert_no_leaks();
}

/// RFC 7757 §4: the error quotes what its receiver has sent, and comes from whom he has sent it to; or from a router on the way.
#[test]
fn errors_between_mapped_hosts_quote_what_was_sent() {
    let mut router = Router::new(MAPPED);
    for (from, source) in [
        ("2001:db8:cc::2", "64:ff9b::c000:212"),
        // A router that is mapped itself, and one that is not.
        ("2001:db8:cc::5", "2001:db8:cc::5"),
        ("2001:db8:5::ff", "64:ff9b::c000:212"),
    ] {
        let quoted =
            packets::udp("[64:ff9b::192.0.2.17]:1000", "[2001:db8:cc::2]:2000").payload([5; 20]).to_vec();
        let mut message = [&[1, 4, 0, 0, 0, 0, 0, 0], &quoted[..]].concat();
        let whole = packets::ip(from, "64:ff9b::192.0.2.17", IpProtocol::ICMP6).payload(&message).to_vec();
        let pseudo =
            Ip6Header::parse(&whole).unwrap().0.pseudo_header(IpProtocol::ICMP6, message.len() as u32);
        let sum = pseudo.add_bytes(&message).checksum();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let error = packets::ip(from, "64:ff9b::192.0.2.17", IpProtocol::ICMP6).payload(&message);
        let bytes = sent(&router.out(error), "ip6-lookup");
        assert!(is_right6(&bytes), "{from}");
        assert_eq!(addresses6(&bytes), (source.into(), "2001:db8:cc::1".into()));
        assert_eq!((bytes[40], bytes[41]), (1, 4));
        let own =
            packets::udp("[2001:db8:cc::1]:1000", "[64:ff9b::192.0.2.18]:2000").payload([5; 20]).to_vec();
        assert_eq!(bytes[48 + 8..48 + own.len()], own[8..], "{from}");
    }
    router.host.assert_no_leaks();
}

/// One of them is mapped, the other one has a session.
#[test]
fn mapped_host_and_one_with_sessions_reach_each_other() {
    let mut router = Router::new(MAPPED);
    let there = packets::udp(HOST, "[64:ff9b::192.0.2.18]:2000");
    let bytes = sent(&router.out(there), "ip6-lookup");
    assert_eq!(bytes[8..], packets::udp("[64:ff9b::192.0.2.1]:5000", "[2001:db8:cc::2]:2000").to_vec()[8..]);
    let back = packets::udp("[2001:db8:cc::2]:2000", "[64:ff9b::192.0.2.1]:5000");
    let bytes = sent(&router.out(back), "ip6-lookup");
    assert_eq!(bytes[8..], packets::udp("[64:ff9b::192.0.2.18]:2000", HOST).to_vec()[8..]);
}
