use proptest::prelude::*;
use raddle_plugin_api::abi::BufferFlags;
use raddle_plugin_api::testing::{Harness, Run, Sample};
use raddle_plugin_api::wire::Ip6Header;
use serde_json::json;

use super::setup::*;
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::ip6_check::Ip6InputError;
use crate::net::ip6_input::{Ip6Input, Ip6InputNext};
use crate::net::ip6_lookup::Ip6Lookup;

const HOST: &str = "2001:db8:a::7";
const FAR: &str = "2001:db8:ffff::9";

fn request(host: &mut Harness, packet: &Sample) -> IcmpRequest {
    let field = host.control(|control| icmp_field(control).unwrap());
    packet.field(&field).unwrap()
}

fn long_way(host: &mut Harness, packets: Vec<Sample>) -> Run {
    host.nodes(&["test-bystander", "ip6-lookup", "ip6-rewrite", "ip6-multicast-lookup"]);
    let lan = host.interface("lan");
    host.set_feature(lan, "test-bystander-in6", true);
    let run = host.run::<Ip6Input>(packets);
    host.set_feature(lan, "test-bystander-in6", false);
    run
}

fn with_hop_limit(mut bytes: Vec<u8>, hop_limit: u8) -> Vec<u8> {
    Ip6Header::parse_mut(&mut bytes).unwrap().0.set_hop_limit(hop_limit);
    bytes
}

/// The link-local address that follows from a MAC address `02:00:00:00:00:XX`.
fn link_local(last: u8) -> String {
    format!("fe80::ff:fe00:{last:x}")
}

#[test]
fn packet_from_features_leaves_in_one_pass_with_the_same_result() {
    let mut host = routed();
    let lan = host.interface("lan");
    let fast = host.run::<Ip6Input>([ip6(HOST, FAR, 26)]);
    host.nodes(&["test-bystander", "ip6-lookup"]);
    host.set_feature(lan, "test-bystander-in6", true);
    let out = host.run::<Ip6Input>([ip6(HOST, FAR, 26)]);
    assert_eq!((out.one().node.as_str(), out.one().from.as_str()), ("interface-output", "ip6-lookup"));
    assert_eq!(out.one().packet.bytes(), fast.one().packet.bytes());
}

#[test]
fn plain_packet_leaves_in_one_pass() {
    let mut host = routed();
    let packet = ip6(HOST, FAR, 26);
    let out = host.run::<Ip6Input>([packet.clone()]);
    out.assert_all(Ip6InputNext::Output);
    let sent = &out.one().packet;
    assert_eq!(sent.tx_interface(), host.interface("wan"));
    assert_eq!((&sent.bytes()[..6], &sent.bytes()[6..12]), (&ROUTER_MAC[..], &WAN_MAC[..]));
    assert_eq!(sent.bytes()[12..14], [0x86, 0xdd]);
    assert_eq!(sent.bytes()[14..], with_hop_limit(packet, 63));
}

#[test]
fn malformed_packets_and_martians_are_dropped_by_reason() {
    let mut host = routed();
    let good = ip6(HOST, FAR, 8);
    for length in 0..good.len() {
        let reason = if length < 40 { Ip6InputError::Truncated } else { Ip6InputError::PayloadLengthBeyond };
        host.run::<Ip6Input>([&good[..length]]).assert_all_dropped(reason);
    }
    let mut version = good;
    version[0] = 0x45;
    host.run::<Ip6Input>([version]).assert_all_dropped(Ip6InputError::Version);
    for (source, destination, reason) in [
        ("::", FAR, Ip6InputError::MartianSource),
        ("::1", FAR, Ip6InputError::MartianSource),
        ("ff02::1", FAR, Ip6InputError::MartianSource),
        ("::", "ff0e::1", Ip6InputError::MartianSource),
        (HOST, "::1", Ip6InputError::MartianDestination),
        (HOST, "::", Ip6InputError::MartianDestination),
        (HOST, "ff01::1", Ip6InputError::MartianDestination),
    ] {
        host.run::<Ip6Input>([ip6(source, destination, 8)]).assert_all_dropped(reason);
    }
    let in_broadcast = Sample::new(ip6(HOST, FAR, 8)).with_flags(BufferFlags::L2_MULTICAST);
    host.run::<Ip6Input>([in_broadcast]).assert_all_dropped(Ip6InputError::LinkBroadcast);
}

#[test]
fn adjacency_decides_where_packets_go() {
    let mut host = routed();
    for (prefix, kind) in [
        ("2001:db8:1::/48", "blackhole"),
        ("2001:db8:2::/48", "unreachable"),
        ("2001:db8:3::/48", "prohibit"),
    ] {
        host.command(
            "route add <prefix> blackhole|unreachable|prohibit",
            json!({ "prefix": prefix, kind: true }),
        )
        .unwrap();
    }
    for (destination, fate, error) in [
        ("2001:db8:1::1", "blackhole", None),
        ("2001:db8:2::1", "ip6-icmp-error", Some(IcmpRequest::IP6_REJECT_ROUTE)),
        ("2001:db8:3::1", "ip6-icmp-error", Some(IcmpRequest::IP6_PROHIBITED)),
        ("2001:db8:a::1", "ip6-local", None),
        ("2001:db8:a::9", "ip6-neighbor", None),
        ("ff02::1", "ip6-local", None),
        ("ff02::1:ff00:1", "ip6-local", None),
        ("ff0e::1", "multicast-not-routed", None),
        (FAR, "interface-output", None),
    ] {
        let out = long_way(&mut host, vec![ip6(HOST, destination, 8).into()]);
        assert_eq!(fates(&out), [fate], "{destination}");
        if let Some(error) = error {
            assert_eq!(request(&mut host, &out.one().packet), error);
        }
    }
}

#[test]
fn link_local_packets_do_not_leave_their_link() {
    let mut host = routed();
    let (ours, of_wan, peer) = (link_local(0xaa), link_local(0xbb), link_local(0x55));
    for (source, destination, fate) in [
        (HOST, ours.as_str(), "ip6-local"),
        (peer.as_str(), ours.as_str(), "ip6-local"),
        (HOST, of_wan.as_str(), "link-local-destination"),
        (HOST, peer.as_str(), "link-local-destination"),
        (peer.as_str(), "2001:db8:a::1", "ip6-local"),
        (peer.as_str(), FAR, "ip6-icmp-error"),
    ] {
        let out = long_way(&mut host, vec![ip6(source, destination, 8).into()]);
        assert_eq!(fates(&out), [fate], "{source} to {destination}");
        if fate == "ip6-icmp-error" {
            assert_eq!(request(&mut host, &out.one().packet), IcmpRequest::IP6_BEYOND_SCOPE);
        }
    }
}

#[test]
fn own_packets_find_link_local_neighbours_on_the_interface_that_is_named() {
    let mut host = routed();
    let (lan, wan) = (host.interface("lan"), host.interface("wan"));
    let peer = link_local(0x55);
    let packet = |interface| {
        Sample::new(ip6(&link_local(0xaa), &peer, 8))
            .with_flags(BufferFlags::LOCAL)
            .with_tx_interface(interface)
    };
    let adjacency = resolve(&mut host, "lan", &peer);
    let out = host.run::<Ip6Lookup>([packet(lan)]);
    assert_eq!((out.one().node.as_str(), out.one().packet.adjacency()), ("ip6-rewrite", adjacency.0));
    let out = host.run::<Ip6Lookup>([packet(wan)]);
    out.assert_all("ip6-neighbor");
    assert_ne!(out.one().packet.adjacency(), adjacency.0);
}

#[test]
fn packet_without_hops_left_or_too_big_is_reported() {
    let mut host = routed();
    let out = long_way(&mut host, vec![with_hop_limit(ip6(HOST, FAR, 8), 1).into()]);
    assert_eq!(request(&mut host, &out.one().packet), IcmpRequest::IP6_TIME_EXCEEDED);
    host.change_interface("wan", |wan| wan.mtu(1280));
    let out = long_way(&mut host, vec![ip6(HOST, FAR, 1241).into()]);
    assert_eq!(fates(&out), ["ip6-icmp-error"]);
    assert_eq!(request(&mut host, &out.one().packet), IcmpRequest::ip6_packet_too_big(1280));
    assert_eq!(fates(&host.run::<Ip6Input>([ip6(HOST, FAR, 1240)])), ["interface-output"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn fast_path_and_long_way_make_the_same_packets(
        changes in prop::collection::vec(
            prop::collection::vec((0_usize..40, any::<u8>()), 0..3), 1..40),
        hop_limit in 0_u8..4, payload in 0_usize..64, padding in 0_usize..8,
    ) {
        let mut host = routed();
        let packets: Vec<Sample> = changes.iter().map(|changes| {
            let mut bytes = with_hop_limit(ip6(HOST, FAR, payload), hop_limit);
            for &(at, value) in changes {
                bytes[at] = value;
            }
            bytes.resize(bytes.len() + padding, 0);
            Sample::new(bytes)
        }).collect();
        host.nodes(&["test-bystander", "ip6-lookup", "ip6-rewrite", "ip6-multicast-lookup"]);
        let fast = host.run::<Ip6Input>(packets.clone());
        let long = long_way(&mut host, packets);
        let sorted = |run: &Run| {
            let mut all: Vec<_> = run.sent().iter()
                .map(|sent| (sent.node.clone(), sent.packet.bytes().to_vec()))
                .chain(run.drops().iter().map(|drop| (drop.reason.clone(), drop.packet.bytes().to_vec())))
                .collect();
            all.sort();
            all
        };
        prop_assert_eq!(sorted(&fast), sorted(&long));
    }
}
