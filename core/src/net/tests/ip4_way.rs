use proptest::prelude::*;
use raddle_plugin_api::abi::BufferFlags;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Run, Sample};
use raddle_plugin_api::wire::IpProtocol;
use serde_json::json;

use super::setup::*;
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::ip4_check::Ip4InputError;
use crate::net::ip4_input::{Ip4Input, Ip4InputNext};
use crate::net::ip4_lookup::Ip4Lookup;
use crate::net::ip4_rewrite::Ip4Rewrite;

const HOST: &str = "192.0.2.7";
const FAR: &str = "203.0.113.9";

/// A feature that passes everything on, to have packets leave the fast path.
pub struct Bystander;

impl Node for Bystander {
    const NAME: &'static str = "test-bystander";
    type Next = NoNext;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, _| Verdict::Continue);
    }
}

node!(Bystander);
feature! { "test-bystander-in", node: Bystander, arc: "ip4-unicast" }
feature! { "test-bystander-in6", node: Bystander, arc: "ip6-unicast" }
feature! { "test-bystander-out", node: Bystander, arc: "ip4-output" }

fn request(host: &mut Harness, packet: &Sample) -> IcmpRequest {
    let field = host.control(|control| icmp_field(control).unwrap());
    packet.field(&field).unwrap()
}

/// All nodes of the long way, from a feature on.
fn long_way(host: &mut Harness, packets: Vec<Sample>) -> Run {
    host.nodes(&["test-bystander", "ip4-lookup", "ip4-rewrite", "ip4-multicast-lookup"]);
    let lan = host.interface("lan");
    host.set_feature(lan, "test-bystander-in", true);
    let run = host.run::<Ip4Input>(packets);
    host.set_feature(lan, "test-bystander-in", false);
    run
}

#[test]
fn plain_packet_leaves_in_one_pass() {
    let mut host = routed();
    let packet = ip4(HOST, FAR, 26);
    let out = host.run::<Ip4Input>([packet.clone()]);
    out.assert_all(Ip4InputNext::Output);
    let sent = &out.one().packet;
    assert_eq!(sent.tx_interface(), host.interface("wan"));
    assert_eq!(sent.bytes()[..6], ROUTER_MAC);
    assert_eq!(sent.bytes()[6..12], WAN_MAC);
    assert_eq!(sent.bytes()[12..14], [8, 0]);
    let hopped = with4(packet, |header| assert!(header.decrement_ttl()));
    assert_eq!(sent.bytes()[14..], hopped);
    assert_eq!(sent.l3_distance(), -14);
}

#[test]
fn malformed_packets_are_dropped_by_reason() {
    let mut host = routed();
    let good = ip4(HOST, FAR, 8);
    for (at, value, reason) in [
        (0, 0x65, Ip4InputError::Version),
        (0, 0x44, Ip4InputError::HeaderLength),
        (0, 0x4f, Ip4InputError::OptionsTruncated),
        (3, 19, Ip4InputError::TotalLengthShort),
        (3, 29, Ip4InputError::TotalLengthBeyond),
        (10, 0xff, Ip4InputError::Checksum),
    ] {
        let mut bad = good.clone();
        bad[at] = value;
        host.run::<Ip4Input>([bad]).assert_all_dropped(reason);
    }
    for length in 0..good.len() {
        let reason = if length < 20 { Ip4InputError::Truncated } else { Ip4InputError::TotalLengthBeyond };
        host.run::<Ip4Input>([&good[..length]]).assert_all_dropped(reason);
    }
}

#[test]
fn martians_and_misdirected_packets_are_dropped_by_reason() {
    let mut host = routed();
    for (source, destination, reason) in [
        ("0.0.0.0", FAR, Ip4InputError::MartianSource),
        ("127.0.0.1", FAR, Ip4InputError::MartianSource),
        ("224.0.0.1", FAR, Ip4InputError::MartianSource),
        ("255.255.255.255", FAR, Ip4InputError::MartianSource),
        ("255.255.255.255", "224.0.0.1", Ip4InputError::MartianSource),
        (HOST, "127.0.0.1", Ip4InputError::MartianDestination),
        (HOST, "0.0.0.0", Ip4InputError::MartianDestination),
        (HOST, "240.0.0.1", Ip4InputError::MartianDestination),
    ] {
        host.run::<Ip4Input>([ip4(source, destination, 8)]).assert_all_dropped(reason);
    }
    let in_broadcast = Sample::new(ip4(HOST, FAR, 8)).with_flags(BufferFlags::L2_MULTICAST);
    host.run::<Ip4Input>([in_broadcast]).assert_all_dropped(Ip4InputError::LinkBroadcast);
}

#[test]
fn padding_is_cut_off() {
    let mut host = routed();
    let mut padded = ip4(HOST, FAR, 8);
    padded.resize(46, 0);
    let out = long_way(&mut host, vec![padded.into()]);
    assert_eq!(out.one().packet.len(), 14 + 28);
}

#[test]
fn groups_and_broadcasts_of_the_link_are_local() {
    let mut host = routed();
    host.nodes(&["ip4-multicast-lookup"]);
    for (source, destination, fate) in [
        (HOST, "224.0.0.1", "ip4-local"),
        ("0.0.0.0", "224.0.0.22", "ip4-local"),
        (HOST, "239.1.2.3", "multicast-not-routed"),
        ("0.0.0.0", "255.255.255.255", "ip4-local"),
    ] {
        let packet = Sample::new(ip4(source, destination, 8)).with_flags(BufferFlags::L2_MULTICAST);
        assert_eq!(fates(&host.run::<Ip4Input>([packet])), [fate], "{destination}");
    }
}

#[test]
fn adjacency_decides_where_packets_go() {
    let mut host = routed();
    for (prefix, kind) in
        [("10.1.0.0/16", "blackhole"), ("10.2.0.0/16", "unreachable"), ("10.3.0.0/16", "prohibit")]
    {
        host.command(
            "route add <prefix> blackhole|unreachable|prohibit",
            json!({ "prefix": prefix, kind: true }),
        )
        .unwrap();
    }
    for (destination, fate, error) in [
        ("10.1.0.1", "blackhole", None),
        ("10.2.0.1", "ip4-icmp-error", Some(IcmpRequest::IP4_HOST_UNREACHABLE)),
        ("10.3.0.1", "ip4-icmp-error", Some(IcmpRequest::IP4_PROHIBITED)),
        ("192.0.2.1", "ip4-local", None),
        ("198.51.100.1", "ip4-local", None),
        ("192.0.2.9", "ip4-neighbor", None),
        ("192.0.2.0", "blackhole", None),
        ("192.0.2.255", "blackhole", None),
        (FAR, "interface-output", None),
    ] {
        let out = long_way(&mut host, vec![ip4(HOST, destination, 8).into()]);
        assert_eq!(fates(&out), [fate], "{destination}");
        if let Some(error) = error {
            assert_eq!(request(&mut host, &out.one().packet), error);
        }
    }
    host.command(
        "route del <prefix> via <next-hop:ip>",
        json!({ "prefix": "0.0.0.0/0", "next-hop": ROUTER4 }),
    )
    .unwrap();
    let out = long_way(&mut host, vec![ip4(HOST, FAR, 8).into()]);
    assert_eq!(request(&mut host, &out.one().packet), IcmpRequest::IP4_NET_UNREACHABLE);
}

#[test]
fn packet_without_hops_left_is_reported_unless_it_is_ours_or_for_us() {
    let mut host = routed();
    for ttl in [0, 1] {
        let last = |destination| with4(ip4(HOST, destination, 8), |header| header.set_ttl(ttl));
        let out = long_way(&mut host, vec![last(FAR).into()]);
        assert_eq!(fates(&out), ["ip4-icmp-error"]);
        assert_eq!(request(&mut host, &out.one().packet), IcmpRequest::IP4_TIME_EXCEEDED);
        let out = long_way(&mut host, vec![last("192.0.2.9").into()]);
        assert_eq!(request(&mut host, &out.one().packet), IcmpRequest::IP4_TIME_EXCEEDED);
        assert_eq!(fates(&long_way(&mut host, vec![last("192.0.2.1").into()])), ["ip4-local"]);
    }
    let ours = with4(ip4("192.0.2.1", FAR, 8), |header| header.set_ttl(1));
    let out = host.run::<Ip4Lookup>([Sample::new(ours.clone()).with_flags(BufferFlags::LOCAL)]);
    assert_eq!(out.one().packet.bytes()[14..], ours, "what is made here is not a hop further");
}

#[test]
fn what_does_not_fit_the_link_is_cut_or_reported() {
    let mut host = routed();
    host.change_interface("wan", |wan| wan.mtu(600));
    let big = ip4(HOST, FAR, 581);
    let fits = ip4(HOST, FAR, 580);
    host.run::<Ip4Input>([fits]).assert_all("interface-output");
    let out = long_way(&mut host, vec![big.clone().into()]);
    assert_eq!(fates(&out), ["ip4-fragment"]);
    assert_eq!(out.one().packet.bytes(), big, "it is cut as it came");
    let dont = with4(big, |header| header.set_dont_fragment(true));
    let out = long_way(&mut host, vec![dont.clone().into()]);
    assert_eq!(request(&mut host, &out.one().packet), IcmpRequest::ip4_fragmentation_needed(600));
    assert_eq!(out.one().packet.bytes(), dont, "the error quotes the packet as it came");
}

#[test]
fn features_on_either_side_are_entered() {
    let mut host = routed();
    let (lan, wan) = (host.interface("lan"), host.interface("wan"));
    host.nodes(&["test-bystander"]);
    host.set_feature(lan, "test-bystander-in", true);
    let out = host.run::<Ip4Input>([ip4(HOST, FAR, 8)]);
    assert_eq!(fates(&out), ["ip4-lookup"], "the feature runs, and the arc's end gets the packet");
    assert_eq!(out.one().from, "test-bystander");
    host.set_feature(lan, "test-bystander-in", false);
    host.set_feature(wan, "test-bystander-out", true);
    host.nodes(&["ip4-lookup", "ip4-rewrite"]);
    let out = host.run::<Ip4Input>([ip4(HOST, FAR, 8)]);
    assert_eq!((out.one().node.as_str(), out.one().from.as_str()), ("interface-output", "test-bystander"));
    assert_eq!(out.one().packet.len(), 14 + 28);
}

#[test]
fn packet_from_features_leaves_in_one_pass_with_the_same_result() {
    let mut host = routed();
    let lan = host.interface("lan");
    let fast = host.run::<Ip4Input>([ip4(HOST, FAR, 8)]);
    host.nodes(&["test-bystander", "ip4-lookup"]);
    host.set_feature(lan, "test-bystander-in", true);
    let out = host.run::<Ip4Input>([ip4(HOST, FAR, 8)]);
    assert_eq!((out.one().node.as_str(), out.one().from.as_str()), ("interface-output", "ip4-lookup"));
    assert_eq!(out.one().packet.bytes(), fast.one().packet.bytes());
}

#[test]
fn traced_packet_goes_the_long_way_with_the_same_result() {
    let mut host = routed();
    let fast = host.run::<Ip4Input>([ip4(HOST, FAR, 8)]);
    host.nodes(&["ip4-lookup", "ip4-rewrite"]);
    host.trace(true);
    let traced = host.run::<Ip4Input>([ip4(HOST, FAR, 8)]);
    assert_eq!(traced.one().packet.bytes(), fast.one().packet.bytes());
    let texts = ["ip4-input", "ip4-lookup", "ip4-rewrite"].map(|node| host.trace_texts(node).concat());
    assert_eq!(texts[0], format!("{HOST} -> {FAR} {} ttl 64 length 28", IpProtocol::UDP));
    assert!(texts[1].contains("rewrite") && texts[2].contains("ttl 63"), "{texts:?}");
}

#[test]
fn rewrite_of_what_became_incomplete_or_is_gone_goes_nowhere_else() {
    let mut host = routed();
    let adjacency = resolve(&mut host, "wan", ROUTER4);
    let packet = |index: u32| Sample::new(ip4(HOST, FAR, 8)).with_adjacency(index);
    host.run::<Ip4Rewrite>([packet(adjacency.0)]).assert_all("interface-output");
    host.control(|control| {
        let table = control.resource::<crate::net::adjacency::AdjacencyTable>().unwrap();
        table.set_incomplete(control, adjacency);
    });
    host.run::<Ip4Rewrite>([packet(adjacency.0)]).assert_all("ip4-neighbor");
    host.run::<Ip4Rewrite>([packet(99_999)]).assert_all_dropped("no-adjacency");
    host.run::<Ip4Rewrite>([Sample::new([0x45; 3]).with_adjacency(adjacency.0)]).assert_all("ip4-neighbor");
    host.run::<Ip4Lookup>([&[0x45; 19][..]]).assert_all_dropped("truncated");
}

#[test]
fn large_tables_are_looked_up_by_the_frame_with_the_same_result() {
    let mut host = routed();
    let packets: Vec<_> = (0..300_u32)
        .map(|i| ip4(HOST, &format!("10.{}.{}.1", i % 7, i % 256), 8))
        .chain([vec![0x45; 5]])
        .collect();
    route(&mut host, json!({ "prefix": "10.3.0.0/16", "next-hop": "192.0.2.77" }));
    let small = host.run::<Ip4Input>(packets.clone());
    host.control(|control| {
        let tables = control.resource::<crate::net::forwarding::ForwardingTables>().unwrap();
        tables.is_large[0].store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let large = host.run::<Ip4Input>(packets);
    assert_eq!(small.summary(), large.summary());
    let bytes = |run: &Run| run.sent().iter().map(|sent| sent.packet.bytes().to_vec()).collect::<Vec<_>>();
    assert_eq!(bytes(&small), bytes(&large));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn fast_path_and_long_way_make_the_same_packets(
        changes in prop::collection::vec(
            prop::collection::vec((0_usize..20, any::<u8>()), 0..3), 1..40),
        ttl in 0_u8..4, payload in 0_usize..64, padding in 0_usize..8, repair in any::<bool>(),
    ) {
        let mut host = routed();
        let packets: Vec<Sample> = changes.iter().map(|changes| {
            let mut bytes = with4(ip4(HOST, FAR, payload), |header| header.set_ttl(ttl));
            for &(at, value) in changes {
                bytes[at] = value;
            }
            if repair {
                with_right_checksum(&mut bytes);
            }
            bytes.resize(bytes.len() + padding, 0);
            Sample::new(bytes)
        }).collect();
        host.nodes(&["test-bystander", "ip4-lookup", "ip4-rewrite", "ip4-multicast-lookup"]);
        let fast = host.run::<Ip4Input>(packets.clone());
        let long = long_way(&mut host, packets);
        prop_assert_eq!(sorted(&fast), sorted(&long));
    }
}

fn with_right_checksum(bytes: &mut [u8]) {
    bytes[10..12].fill(0);
    let length = (usize::from(bytes[0] & 0xf) * 4).clamp(20, bytes.len());
    let sum = checksum::checksum(&bytes[..length]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// What came out, in an order that does not depend on which nodes it went through.
fn sorted(run: &Run) -> Vec<(String, u32, Vec<u8>)> {
    let sent = run.sent().iter();
    let mut all: Vec<_> = sent
        .map(|sent| (sent.node.clone(), sent.packet.tx_interface().0, sent.packet.bytes().to_vec()))
        .chain(run.drops().iter().map(|drop| (drop.reason.clone(), 0, drop.packet.bytes().to_vec())))
        .collect();
    all.sort();
    all
}
