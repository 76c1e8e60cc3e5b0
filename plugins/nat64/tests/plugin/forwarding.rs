//! Packets of all kinds there and back.

use std::time::Duration;

use raddle_plugin_api::testing::{Harness, Sample, packets};
use raddle_plugin_api::wire::{
    Icmp4Header, Icmp6Header, Ip4Header, Ip6FragmentHeader, Ip6Header, Ip6Upper, IpProtocol, TcpFlags,
};
use raddle_plugin_api::{Field, L4Ports};
use serde_json::json;

use crate::router::*;

#[test]
fn without_pool_or_mapping_all_packets_are_left_alone() {
    let mut router = Router::new("");
    let packet = packets::udp(HOST, SERVER6);
    let run = router.out(packet.clone());
    assert_eq!(run.to("ip6-lookup").len(), 1);
    assert_eq!(run.one().packet.bytes(), Sample::from(packet).bytes());
}

#[test]
fn udp_and_tcp_go_out_and_come_back() {
    let mut router = Router::new(CONFIG);
    for (out, back, back6) in [
        (packets::udp(HOST, SERVER6), packets::udp(SERVER4, "192.0.2.1:5000"), packets::udp(SERVER6, HOST)),
        (
            packets::tcp(HOST, SERVER6).flags(TcpFlags::SYN),
            packets::tcp(SERVER4, "192.0.2.1:5000").flags(TcpFlags(0x12)),
            packets::tcp(SERVER6, HOST).flags(TcpFlags(0x12)),
        ),
    ] {
        for _ in 0..2 {
            let run = router.out(out.clone().payload([7; 33]));
            let bytes = sent(&run, "ip4-lookup");
            assert!(is_right4(&bytes));
            assert_eq!(addresses4(&bytes), ("192.0.2.1".into(), "198.51.100.2".into()));
            assert_eq!(bytes[20..24], [0x13, 0x88, 0, 80]);
            let run = router.inward(back.clone().payload([9; 34]));
            assert_eq!(sent(&run, "ip6-lookup"), back6.clone().payload([9; 34]).to_vec());
        }
    }
    let summary = router.show("summary");
    assert_eq!((&summary["packets-to-ip4"], &summary["sessions"]["tcp"]), (&json!(4), &json!(1)));
    router.host.assert_no_leaks();
}

#[test]
fn echo_goes_out_and_its_reply_comes_back() {
    let mut router = Router::new(CONFIG);
    let run =
        router.out(packets::echo("2001:db8::1", "64:ff9b::198.51.100.2").identifier(77).payload([1; 5]));
    let bytes = sent(&run, "ip4-lookup");
    let expected = packets::echo("192.0.2.1", "198.51.100.2").identifier(77).payload([1; 5]).to_vec();
    assert_eq!(bytes[20..], expected[20..]);
    let mut reply = packets::echo("198.51.100.2", "192.0.2.1").identifier(77).payload([1; 5]).to_vec();
    assert!(Icmp4Header::parse_mut(&mut reply[20..]).unwrap().0.make_echo_reply());
    let bytes = sent(&router.inward(&reply[..]), "ip6-lookup");
    assert!(is_right6(&bytes));
    assert_eq!((bytes[40], addresses6(&bytes).1.as_str()), (129, "2001:db8::1"));
    assert_eq!(Icmp6Header::parse(&bytes[40..]).unwrap().0.identifier(), 77);
}

#[test]
fn what_is_for_nobody_here_goes_on_or_is_dropped() {
    let mut router = Router::new(CONFIG);
    router.out(packets::udp(HOST, "[2001:db8:9::1]:53")).assert_all("ip6-lookup");
    router.inward(packets::udp(SERVER4, "203.0.113.9:53")).assert_all("ip4-lookup");
    // Nobody has the port: host unreachable.
    router.inward(packets::udp(SERVER4, "192.0.2.1:53")).assert_all("ip4-icmp-error");
    for (packet, reason) in [
        (packets::udp("[64:ff9b::1.2.3.4]:1", SERVER6), "illegal-source"),
        (packets::udp("[fe80::1]:1", SERVER6), "illegal-source"),
        (packets::udp(HOST, "[64:ff9b::10.0.0.1]:53"), "non-global"),
        (packets::udp(HOST, "[64:ff9b::224.0.0.1]:53"), "illegal-destination"),
        (packets::udp(HOST, "[64:ff9b::127.0.0.1]:53"), "illegal-destination"),
        (packets::tcp(HOST, SERVER6).flags(TcpFlags::ACK), "not-syn"),
    ] {
        assert_eq!(router.out(packet).dropped(reason), 1, "{reason}");
    }
    router
        .out(packets::ip("2001:db8::1", "64:ff9b::198.51.100.2", IpProtocol::OSPF))
        .assert_all("ip6-icmp-error");
    router.out(packets::udp(HOST, SERVER6).ttl(1)).assert_all("ip6-icmp-error");
    router.host.assert_no_leaks();
}

/// RFC 7915 §5.1.
#[test]
fn extension_headers_are_left_out_and_routing_headers_refused() {
    let mut router = Router::new(CONFIG);
    let options = [0, 0, 1, 4, 0, 0, 0, 0];
    let packet = packets::udp(HOST, SERVER6).extension(IpProtocol::HOP_BY_HOP, options).payload([3; 10]);
    let bytes = sent(&router.out(packet), "ip4-lookup");
    assert!(is_right4(&bytes));
    assert_eq!(bytes.len(), 20 + 8 + 10);
    let visited = packets::udp(HOST, SERVER6).extension(IpProtocol::ROUTING, [0, 0, 4, 0, 0, 0, 0, 0]);
    assert!(is_right4(&sent(&router.out(visited), "ip4-lookup")));
    let to_visit = packets::udp(HOST, SERVER6).extension(IpProtocol::ROUTING, [0, 0, 4, 1, 0, 0, 0, 0]);
    router.out(to_visit).assert_all("ip6-icmp-error");
}

/// RFC 6146 §3.8, RFC 4787 REQ-9.
#[test]
fn hosts_inside_reach_each_other_by_their_outside_addresses() {
    let mut router = Router::new(CONFIG);
    router.out(packets::udp("[2001:db8::2]:7000", SERVER6));
    let run = router.out(packets::udp(HOST, "[64:ff9b::192.0.2.1]:7000").payload([5; 9]));
    let bytes = sent(&run, "ip6-lookup");
    assert!(is_right6(&bytes));
    let expected = packets::udp("[64:ff9b::192.0.2.1]:5000", "[2001:db8::2]:7000").payload([5; 9]).to_vec();
    assert_eq!(bytes[8..], expected[8..]);
}

/// RFC 7915 §4.5.
#[test]
fn udp_without_checksum_gets_one_or_is_dropped() {
    let zero = |payload: &[u8]| {
        let mut bytes = packets::udp(SERVER4, "192.0.2.1:5000").payload(payload).to_vec();
        bytes[26..28].fill(0);
        bytes
    };
    let mut router = Router::new(CONFIG);
    router.out(packets::udp(HOST, SERVER6));
    let bytes = sent(&router.inward(&zero(b"hello")[..]), "ip6-lookup");
    assert_eq!(bytes, packets::udp(SERVER6, HOST).payload(b"hello").to_vec());
    assert_eq!(router.show("summary")["udp-checksums-computed"], 1);
    let mut router = Router::new(&format!("{CONFIG}udp-zero-checksum = 'drop'\n"));
    router.out(packets::udp(HOST, SERVER6));
    assert_eq!(router.inward(&zero(b"hello")[..]).dropped("zero-checksum"), 1);
}

#[test]
fn wrong_checksums_stay_wrong() {
    let mut router = Router::new(CONFIG);
    let bytes = sent(&router.out(packets::udp(HOST, SERVER6).payload([1; 8]).wrong_checksum()), "ip4-lookup");
    assert!(!is_right4(&bytes));
    let back = packets::udp(SERVER4, "192.0.2.1:5000").payload([1; 8]).wrong_checksum();
    assert!(!is_right6(&sent(&router.inward(back), "ip6-lookup")));
}

/// A fragment's ports, as virtual reassembly notes them.
fn with_ports(
    host: &mut Harness,
    bytes: &[u8],
    first: &[u8],
    protocol: IpProtocol,
    is_first: bool,
) -> Sample {
    let field: Field<L4Ports> = host.control(|control| L4Ports::field(control)).unwrap();
    let ports = L4Ports::of_first(protocol, first);
    Sample::new(bytes).with_field(&field, if is_first { ports } else { ports.of_later() })
}

#[test]
fn fragments_are_translated_one_by_one() {
    let mut router = Router::new(CONFIG);
    let whole = packets::udp(HOST, SERVER6).payload([6; 1992]).to_vec();
    let data = &whole[40..];
    let fragment = |from: usize, to: usize| {
        let head = Ip6FragmentHeader::new(IpProtocol::UDP, from as u16, to < data.len(), 0x1234_5678);
        let payload = [zerocopy::IntoBytes::as_bytes(&head), &data[from..to]].concat();
        packets::ip("2001:db8::1", "64:ff9b::198.51.100.2", IpProtocol::FRAGMENT).payload(payload).to_vec()
    };
    let (one, two) = (fragment(0, 1000), fragment(1000, 2000));
    let mut joined = Vec::new();
    for (bytes, is_first) in [(one, true), (two, false)] {
        let sample = with_ports(&mut router.host, &bytes, data, IpProtocol::UDP, is_first);
        let out = sent(&router.out(sample), "ip4-lookup");
        let ip = Ip4Header::check(&out, out.len()).unwrap();
        assert_eq!((ip.identification(), ip.dont_fragment()), (0x5678, false));
        assert_eq!((usize::from(ip.fragment_offset()), ip.more_fragments()), (joined.len(), is_first));
        joined.extend_from_slice(&out[20..]);
    }
    let expected = packets::udp("192.0.2.1:5000", SERVER4).payload([6; 1992]).to_vec();
    assert_eq!(joined, expected[20..]);

    let whole = packets::udp(SERVER4, "192.0.2.1:5000").payload([8; 1992]).to_vec();
    let mut joined = Vec::new();
    for (from, to) in [(0, 1000), (1000, 2000)] {
        let bytes = packets::ip("198.51.100.2", "192.0.2.1", IpProtocol::UDP)
            .payload(&whole[20 + from..20 + to])
            .identification(0x4321)
            .fragment(from as u16, to < 2000)
            .to_vec();
        let sample = with_ports(&mut router.host, &bytes, &whole[20..], IpProtocol::UDP, from == 0);
        let out = sent(&router.inward(sample), "ip6-lookup");
        let upper = Ip6Upper::find(&out).unwrap();
        let fragment = upper.fragment.unwrap();
        assert_eq!((fragment.identification, usize::from(fragment.offset)), (0x4321, from));
        joined.extend_from_slice(&out[upper.offset..]);
    }
    assert_eq!(joined, packets::udp(SERVER6, HOST).payload([8; 1992]).to_vec()[40..]);
    router.host.assert_no_leaks();
}

/// RFC 7915 §4: what may be cut and would be larger than 1,280 bytes is cut.
#[test]
fn large_packets_that_may_be_cut_go_in_as_fragments() {
    let mut router = Router::new(CONFIG);
    router.out(packets::udp(HOST, SERVER6));
    let back = packets::udp(SERVER4, "192.0.2.1:5000").payload([4; 1400]).identification(99);
    let run = router.inward(back.clone());
    let parts = run.to("ip6-lookup");
    assert_eq!(parts.len(), 2);
    let mut joined = Vec::new();
    for part in parts {
        let bytes = part.bytes();
        let upper = Ip6Upper::find(bytes).unwrap();
        assert!(bytes.len() <= 1280 && upper.fragment.unwrap().identification == 99);
        assert_eq!(usize::from(upper.fragment.unwrap().offset), joined.len());
        joined.extend_from_slice(&bytes[upper.offset..]);
    }
    assert_eq!(joined, packets::udp(SERVER6, HOST).payload([4; 1400]).to_vec()[40..]);
    // With "don't fragment" it goes on whole, and routers tell who sent it.
    assert_eq!(sent(&router.inward(back.dont_fragment()), "ip6-lookup").len(), 1448);
    router.host.assert_no_leaks();
}

#[test]
fn partial_checksums_and_gso_packets_are_the_other_familys_afterwards() {
    let mut router = Router::new(CONFIG);
    router.out(packets::tcp(HOST, SERVER6).flags(TcpFlags::SYN));
    let mut bytes = packets::tcp(HOST, SERVER6).payload([2; 3000]).to_vec();
    let pseudo = Ip6Header::parse(&bytes).unwrap().0.pseudo_header(IpProtocol::TCP, 3020);
    bytes[56..58].copy_from_slice(&pseudo.partial().to_be_bytes());
    let sample = Sample::new(bytes)
        .with_partial_checksum(40, 16)
        .with_gso(4, 1400, 60)
        .in_segments(&[500, 1500, 1060]);
    let run = router.out(sample);
    let out = run.one();
    let bytes = out.packet.bytes();
    let ip = Ip4Header::parse(bytes).unwrap().0;
    let partial = ip.pseudo_header(3020).partial();
    assert_eq!(u16::from_be_bytes([bytes[36], bytes[37]]), partial);
    assert_eq!(
        (out.packet.header().gso_kind, out.packet.header().gso_size, out.packet.len()),
        (1, 1400, 3040)
    );
    router.host.assert_no_leaks();
}

/// RFC 6146 §3.5.2.2.
#[test]
fn syn_from_outside_waits_for_one_from_inside_and_is_answered_if_none_comes() {
    let mut router = Router::new(CONFIG);
    let syn = packets::tcp(SERVER4, "192.0.2.1:5000").flags(TcpFlags::SYN);
    router.inward(syn.clone()).assert_nothing();
    sent(&router.out(packets::tcp(HOST, SERVER6).flags(TcpFlags::SYN)), "ip4-lookup");
    assert_eq!(router.show("sessions")[0]["state"], "established");
    router.inward(packets::tcp(SERVER4, "192.0.2.1:6000").flags(TcpFlags::SYN)).assert_nothing();
    router.host.advance(Duration::from_millis(5900));
    assert_eq!(router.host.poll_node("nat64-age").sent().len(), 0);
    router.host.advance(Duration::from_millis(300));
    let run = router.host.poll_node("nat64-age");
    assert_eq!(run.to("ip4-icmp-error").len(), 1);
    router.host.assert_no_leaks();
}

/// RFC 7915 §1.2: their checksum is of the other protocol, and of the whole message.
#[test]
fn fragments_of_icmp_are_not_translated() {
    let mut router = Router::new(CONFIG);
    let head = Ip6FragmentHeader::new(IpProtocol::ICMP6, 0, true, 7);
    let payload = [zerocopy::IntoBytes::as_bytes(&head), &[128, 0, 0, 0, 0, 1, 0, 1]].concat();
    let six = packets::ip("2001:db8::1", "64:ff9b::198.51.100.2", IpProtocol::FRAGMENT).payload(payload);
    assert_eq!(router.out(six).dropped("icmp-fragment"), 1);
    let four = packets::ip("198.51.100.2", "192.0.2.1", IpProtocol::ICMP4);
    let four = four.payload([8, 0, 0, 0, 0, 1, 0, 1]).fragment(0, true);
    assert_eq!(router.inward(four).dropped("icmp-fragment"), 1);
    router.host.assert_no_leaks();
}
