use std::time::Duration;

use proptest::prelude::*;
use raddle_plugin_api::testing::{Harness, Run, Sample};
use raddle_plugin_api::wire::{Icmp6Kind, Ip4Header, Ip6FragmentHeader, Ip6Header, IpProtocol};
use serde_json::json;
use zerocopy::IntoBytes;

use super::fragments::{Cut, cuts, fragment4, fragment6, order};
use super::neighbors::{router, step};
use super::setup::{address_of, ip4, ip6, with4};
use crate::net::local::{Ip4Local, Ip6Local};

const HOST: &str = "198.51.100.9";
const OWN: &str = "198.51.100.1";
const HOST6: &str = "2001:db8:b::9";
const OWN6: &str = "2001:db8:b::1";
/// A protocol that `punt` gets unread.
const OTHER: IpProtocol = IpProtocol(253);

/// A host with reassembly, and nothing behind `punt`.
fn host_with(workers: usize, buffers: u32, config: &str) -> Harness {
    let mut host = Harness::builder()
        .workers(workers)
        .buffers(buffers)
        .config(config)
        .interface("lan", |lan| lan)
        .interface("wan", |wan| wan)
        .build();
    host.load_only(&["forwarding", "local", "reassembly"]).unwrap();
    address_of(&mut host, "wan", "198.51.100.1/24");
    address_of(&mut host, "wan", "2001:db8:b::1/64");
    host.nodes(&["ip4-local", "ip4-reassembly", "ip6-local", "ip6-reassembly", "reassembly-drop"]);
    host
}

fn host() -> Harness {
    host_with(0, 2048, "")
}

/// A datagram to `OWN` of a protocol that is none of the core's, with every byte its own.
fn whole4(payload: usize, identification: u16) -> Vec<u8> {
    let mut bytes = with4(ip4(HOST, OWN, payload), |ip| {
        ip.set_protocol(OTHER);
        ip.set_identification(identification);
    });
    fill(&mut bytes[20..]);
    bytes
}

fn whole6(payload: usize) -> Vec<u8> {
    let mut bytes = ip6(HOST6, OWN6, payload);
    bytes[6] = OTHER.0;
    fill(&mut bytes[40..]);
    bytes
}

fn fill(bytes: &mut [u8]) {
    for (position, byte) in bytes.iter_mut().enumerate() {
        *byte = (position ^ position >> 8) as u8;
    }
}

fn from_wan(host: &Harness, bytes: Vec<u8>) -> Sample {
    Sample::new(bytes).with_rx_interface(host.interface("wan"))
}

fn run4(host: &mut Harness, packets: impl IntoIterator<Item = Vec<u8>>) -> Run {
    let packets: Vec<_> = packets.into_iter().map(|bytes| from_wan(host, bytes)).collect();
    host.run::<Ip4Local>(packets)
}

fn run6(host: &mut Harness, packets: impl IntoIterator<Item = Vec<u8>>) -> Run {
    let packets: Vec<_> = packets.into_iter().map(|bytes| from_wan(host, bytes)).collect();
    host.run::<Ip6Local>(packets)
}

/// Packets that the main thread gives up, and what becomes of them.
fn age(host: &mut Harness, seconds: u64) -> Run {
    host.advance(Duration::from_secs(seconds));
    step(host)
}

fn shown(host: &mut Harness, row: usize) -> serde_json::Value {
    host.command("show reassembly", json!({})).unwrap().json["tables"][row].clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    // RFC 791 §3.2: whatever the cuts, the order, what comes twice, and the threads.
    #[test]
    fn fragments_of_ip4_in_any_order_make_the_datagram(
        (length, cuts, order) in (1usize..20_000, proptest::collection::vec(any::<usize>(), 0..40))
            .prop_map(|(length, places)| (length, cuts(length, &places)))
            .prop_flat_map(|(length, cuts)| {
                let order = order(cuts.len());
                (Just(length), Just(cuts), order)
            }),
        two_threads: bool,
    ) {
        let mut host = host_with(2, 2048, "");
        let whole = whole4(length, 7);
        let mut packets: Vec<Vec<u8>> = Vec::new();
        for (position, which) in order.into_iter().enumerate() {
            let sample = from_wan(&host, fragment4(&whole, cuts[which]));
            let thread = if two_threads { 1 + position % 2 } else { 1 };
            let out = host.run_on::<Ip4Local>(thread, [sample]);
            packets.extend(out.to("punt").iter().map(|packet| packet.bytes().to_vec()));
            prop_assert_eq!(out.drops().len(), out.dropped("duplicate"));
        }
        prop_assert_eq!(packets.len(), 1);
        prop_assert!(packets[0] == whole);
    }

    // RFC 8200 §4.5: what is in front of the fragment header is that of the first fragment.
    #[test]
    fn fragments_of_ip6_in_any_order_make_the_packet(
        (length, cuts, order) in (1usize..20_000, proptest::collection::vec(any::<usize>(), 1..40))
            .prop_map(|(length, places)| (length, cuts(length, &places)))
            .prop_filter("a fragment alone is an atomic one", |(_, cuts)| cuts.len() > 1)
            .prop_flat_map(|(length, cuts)| {
                let order = order(cuts.len());
                (Just(length), Just(cuts), order)
            }),
        has_options: bool,
    ) {
        let mut host = host();
        let mut whole = whole6(length);
        if has_options {
            // A destination options header with padding in front of the part that is cut.
            whole.splice(40..40, [OTHER.0, 0, 1, 4, 0, 0, 0, 0]);
            whole[6] = IpProtocol::DESTINATION_OPTIONS.0;
            let (ip, _) = Ip6Header::parse_mut(&mut whole).unwrap();
            ip.set_payload_length((length + 8) as u16);
        }
        let (front, named_at) = if has_options { (48, 40) } else { (40, 6) };
        let fragments: Vec<_> =
            order.into_iter().map(|which| fragment6(&whole, front, named_at, 99, cuts[which])).collect();
        let out = run6(&mut host, fragments);
        let packets = out.to("punt");
        prop_assert_eq!(packets.len(), 1);
        prop_assert!(packets[0].bytes() == whole);
        prop_assert_eq!(out.drops().len(), out.dropped("duplicate"));
    }

    // Whatever comes: bounds hold, nothing leaks, and what is whole is let through afterwards.
    #[test]
    fn hostile_streams_stay_within_bounds(
        stream in proptest::collection::vec((0u16..40, 0usize..12, 1usize..5, any::<bool>(), 0u8..4), 0..400),
    ) {
        let config = "[reassembly]\ndatagrams = 16\ndatagrams-per-source = 4\nfragments = 4\nbuffers-percent = 10\n";
        let mut host = host_with(0, 512, config);
        for (identification, start, length, more, source) in stream {
            let mut bytes = with4(whole4(length * 8, identification), |ip| ip.set_fragment(start as u16 * 8, more));
            bytes[12..16].copy_from_slice(&[198, 51, 100, 10 + source]);
            let bytes = with_checksum(bytes);
            run4(&mut host, [bytes]);
            prop_assert!(host.held_buffers() <= 51);
            prop_assert!(shown(&mut host, 0)["datagrams"].as_u64().unwrap() <= 16);
        }
        age(&mut host, 31);
        host.assert_no_leaks();
        let whole = whole4(100, 999);
        let out = run4(&mut host, cuts(100, &[48]).into_iter().map(|cut| fragment4(&whole, cut)));
        prop_assert_eq!(out.to("punt").len(), 1);
    }
}

/// A header with another source has another checksum.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[10..12].fill(0);
    let sum = raddle_plugin_api::wire::checksum::checksum(&bytes[..20]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes
}

#[test]
fn the_largest_datagram_goes_through_in_many_small_fragments_and_in_few() {
    for (step, config) in
        [(1480, ""), (552, ""), (64, "[reassembly]\nfragments = 1024\nbuffers-percent = 75\n")]
    {
        let mut host = host_with(0, 16_384, config);
        let whole = whole4(65_515, 7);
        let places: Vec<_> = (0..65_515).step_by(step).collect();
        let out = run4(&mut host, cuts(65_515, &places).into_iter().map(|cut| fragment4(&whole, cut)));
        assert!(out.one().packet.bytes() == whole, "in steps of {step}");
    }
}

// RFC 5722 §4, RFC 8200 §4.5: the whole datagram, also what is still to come of it.
#[test]
fn an_overlap_drops_the_whole_datagram() {
    let whole = whole4(64, 7);
    let with_other_content = |cut: Cut| {
        let mut bytes = fragment4(&whole, cut);
        bytes[21] ^= 1;
        bytes
    };
    let hole: Vec<_> = [(0, 16), (32, 48)].map(|cut| fragment4(&whole, cut)).into();
    for (bytes, what) in [
        (fragment4(&whole, (8, 24)), "reaches into an earlier one"),
        (fragment4(&whole, (24, 40)), "reaches into a later one"),
        (fragment4(&whole, (0, 48)), "covers others"),
        (with_other_content((0, 16)), "has another content"),
        (with4(fragment4(&whole, (16, 32)), |ip| ip.set_fragment(16, false)), "ends before others"),
    ] {
        let mut host = host();
        run4(&mut host, hole.clone()).assert_nothing();
        let out = run4(&mut host, [bytes]);
        assert_eq!(out.dropped("overlap"), 3, "{what}: {}", out.summary());
        let rest = run4(&mut host, [(16, 32), (48, 64)].map(|cut| fragment4(&whole, cut)));
        rest.assert_all_dropped("condemned");
        assert_eq!(host.held_buffers(), 0);
    }
}

#[test]
fn fragments_of_different_datagrams_are_not_mixed() {
    let whole = whole4(16, 7);
    let others = [
        with4(whole.clone(), |ip| ip.set_identification(8)),
        with4(whole.clone(), |ip| ip.set_protocol(IpProtocol(254))),
        with4(whole.clone(), |ip| ip.set_source(raddle_plugin_api::wire::Ip4Address([198, 51, 100, 8]))),
    ];
    for other in others {
        let mut host = host();
        run4(&mut host, [fragment4(&whole, (0, 8)), fragment4(&other, (8, 16))]).assert_nothing();
    }
}

// RFC 791 §3.2, RFC 1858 §2 and §4, RFC 3128
#[test]
fn fragments_that_cannot_be_are_dropped_by_reason() {
    let mut host = host();
    let tcp = |cut: Cut| with4(fragment4(&whole4(64, 7), cut), |ip| ip.set_protocol(IpProtocol::TCP));
    let udp = |cut: Cut| with4(fragment4(&whole4(64, 7), cut), |ip| ip.set_protocol(IpProtocol::UDP));
    let placed = |bytes: Vec<u8>, offset, more| with4(bytes, |ip| ip.set_fragment(offset, more));
    for (bytes, reason) in [
        (placed(whole4(0, 7), 8, true), "bad-length"),
        (placed(whole4(0, 7), 8, false), "bad-length"),
        (placed(whole4(9, 7), 8, true), "bad-length"),
        (placed(whole4(16, 7), 65_528, false), "too-long"),
        (tcp((0, 16)), "tiny"),
        (tcp((8, 64)), "tiny"),
        (tcp((16, 64)), "tiny"),
        (placed(udp((0, 8))[..24].to_vec(), 0, true), "malformed"),
    ] {
        let out = run4(&mut host, [bytes.clone()]);
        assert_eq!(out.dropped(reason), 1, "{reason}: {} {bytes:?}", out.summary());
    }
    run4(&mut host, [tcp((0, 24)), udp((0, 8))]).assert_nothing();
}

// RFC 792: only if the first fragment has come.
#[test]
fn senders_are_told_of_what_was_not_complete_in_time() {
    let mut host = router_with_reassembly();
    let whole = whole4(64, 7);
    run4(&mut host, [fragment4(&whole, (0, 32)), fragment4(&whole, (48, 64))]).assert_nothing();
    run4(&mut host, [fragment4(&whole4(64, 8), (48, 64))]).assert_nothing();
    age(&mut host, 28).assert_nothing();
    let out = age(&mut host, 3);
    assert_eq!(out.dropped("timeout"), 2, "{}", out.summary());
    let error = out.sent()[0].packet.bytes();
    // Behind the Ethernet header: time exceeded, in reassembly; it quotes the first fragment as it came.
    assert_eq!(error[14 + 20..14 + 22], [11, 1]);
    assert_eq!(error[14 + 28..], fragment4(&whole, (0, 32)));
    assert_eq!(shown(&mut host, 0)["timed-out"], 2);
    assert_eq!(shown(&mut host, 0)["datagrams"], 0);
}

// RFC 4443 §3.3, RFC 8200 §4.5
#[test]
fn senders_of_ip6_are_told_of_what_was_not_complete_and_of_what_is_wrong() {
    let mut host = router_with_reassembly();
    let whole = whole6(64);
    run6(&mut host, [fragment6(&whole, 40, 6, 5, (0, 32)), fragment6(&whole, 40, 6, 6, (32, 64))])
        .assert_nothing();
    age(&mut host, 58).assert_nothing();
    let out = age(&mut host, 3);
    let error = out.sent()[0].packet.bytes();
    assert_eq!(error[14 + 40..14 + 42], [3, 1]);
    assert_eq!(error[14 + 48..], fragment6(&whole, 40, 6, 5, (0, 32)));
    let odd = {
        let mut bytes = fragment6(&whole, 40, 6, 5, (0, 33));
        bytes[43] |= 1;
        bytes
    };
    let beyond = {
        let mut bytes = fragment6(&whole, 40, 6, 5, (32, 64));
        bytes[42..44].copy_from_slice(&65_512_u16.to_be_bytes());
        bytes
    };
    let headless = {
        let mut bytes = fragment6(&whole6(64), 40, 6, 5, (0, 16));
        bytes[40] = IpProtocol::TCP.0;
        bytes
    };
    let cut_chain = {
        let mut bytes = fragment6(&whole6(64), 40, 6, 5, (0, 16));
        bytes[40] = IpProtocol::DESTINATION_OPTIONS.0;
        bytes[49] = 9;
        bytes
    };
    for (bytes, code, pointer) in [(odd, 0, 4), (beyond, 0, 42), (headless, 3, 0), (cut_chain, 3, 0)] {
        let out = run6(&mut host, [bytes]);
        let error = out.sent()[0].packet.bytes();
        assert_eq!(error[54..62], [4, code, error[56], error[57], 0, 0, 0, pointer]);
    }
    host.assert_no_leaks();
}

// RFC 6946 §4
#[test]
fn an_atomic_fragment_stands_for_itself() {
    let mut host = host();
    let whole = whole6(64);
    run6(&mut host, [fragment6(&whole, 40, 6, 5, (0, 32))]).assert_nothing();
    let mut atomic = whole6(8);
    let header = Ip6FragmentHeader::new(OTHER, 0, false, 5);
    atomic.splice(40..40, header.as_bytes().iter().copied());
    (atomic[5], atomic[6]) = (16, IpProtocol::FRAGMENT.0);
    assert_eq!(run6(&mut host, [atomic]).to("punt").len(), 1);
    let out = run6(&mut host, [fragment6(&whole, 40, 6, 5, (32, 64))]);
    assert!(out.to("punt")[0].bytes() == whole);
}

// RFC 6980 §5
#[test]
fn neighbour_discovery_in_fragments_is_dropped() {
    let mut host = host();
    let mut whole = whole6(64);
    (whole[6], whole[40]) = (IpProtocol::ICMP6.0, Icmp6Kind(135).0);
    run6(&mut host, [fragment6(&whole, 40, 6, 5, (0, 32))]).assert_all_dropped("fragmented-nd");
}

// RFC 3168 §5.3
#[test]
fn congestion_marks_of_fragments_mark_the_datagram() {
    for (marks, expected) in
        [([2, 2], Some(2)), ([2, 3], Some(3)), ([3, 1], Some(3)), ([0, 0], Some(0)), ([0, 3], None)]
    {
        let mut host = host();
        let whole = whole4(64, 7);
        let fragments = [((0, 32), marks[0]), ((32, 64), marks[1])]
            .map(|(cut, mark)| with4(fragment4(&whole, cut), |ip| ip.set_ecn(mark)));
        let out = run4(&mut host, fragments);
        let got = out.to("punt").first().map(|packet| Ip4Header::parse(packet.bytes()).unwrap().0.ecn());
        assert_eq!(got, expected);
        assert_eq!(out.dropped("ecn-mismatch"), if expected.is_none() { 2 } else { 0 });
    }
}

#[test]
fn a_flood_from_one_source_leaves_others_their_room() {
    let mut host = host_with(0, 2048, "[reassembly]\ndatagrams = 64\ndatagrams-per-source = 4\n");
    let whole = whole4(64, 7);
    run4(&mut host, [fragment4(&whole, (0, 32))]).assert_nothing();
    for identification in 0..2000 {
        let mut bytes = fragment4(&whole4(64, identification), (0, 32));
        bytes[15] = 77;
        run4(&mut host, [with_checksum(bytes)]);
        assert!(host.held_buffers() <= 5);
    }
    assert_eq!(run4(&mut host, [fragment4(&whole, (32, 64))]).to("punt").len(), 1);
    assert_eq!(shown(&mut host, 0)["evicted"], 1996);
    age(&mut host, 31);
}

#[test]
fn no_source_holds_more_than_an_eighth_of_the_buffers() {
    let mut host = host();
    // A quarter of 2,048 in all.
    let most = 2048 / 4 / 8;
    for identification in 0..100 {
        let whole = whole4(800, identification);
        let holed = cuts(800, &[80, 160, 240, 320]).into_iter().skip(1);
        run4(&mut host, holed.map(|cut| fragment4(&whole, cut)));
        assert!(host.held_buffers() <= most, "{identification}");
    }
    assert!(shown(&mut host, 0)["evicted"].as_u64().unwrap() > 50);
    // What is larger than that by itself has no room.
    let whole = whole4(65 * 16, 999);
    let places: Vec<_> = (0..65 * 16).step_by(8).collect();
    let out = run4(&mut host, cuts(65 * 16, &places).into_iter().skip(1).map(|cut| fragment4(&whole, cut)));
    assert_eq!(out.dropped("no-room"), most + 1, "{}", out.summary());
    age(&mut host, 31);
}

#[test]
fn a_datagram_of_too_many_fragments_is_given_up() {
    let mut host = host_with(0, 2048, "[reassembly]\nfragments = 3\n");
    let whole = whole4(80, 7);
    let out = run4(&mut host, cuts(80, &[16, 32, 48]).into_iter().map(|cut| fragment4(&whole, cut)));
    assert_eq!(out.dropped("too-many-fragments"), 4);
}

#[test]
fn deleted_interfaces_and_the_end_give_buffers_back() {
    let mut host = host();
    run4(&mut host, [fragment4(&whole4(64, 7), (0, 32))]).assert_nothing();
    host.delete_interface("wan");
    assert_eq!(step(&mut host).dropped("interface-gone"), 1);
    host.assert_no_leaks();

    let mut host = self::host();
    run4(&mut host, [fragment4(&whole4(64, 7), (0, 32))]).assert_nothing();
    host.unload().unwrap();
    host.assert_no_leaks();
}

#[test]
fn feature_puts_together_what_is_forwarded_and_lets_it_be_cut_again() {
    let mut host = host();
    let lan = host.interface("lan");
    host.set_feature(lan, "ip4-reassembly", true);
    host.set_feature(lan, "ip6-reassembly", true);
    let whole = with4(ip4(HOST, "203.0.113.1", 3000), |ip| ip.set_dont_fragment(true));
    let fragments = cuts(3000, &[1480, 2000]).into_iter().rev().map(|cut| fragment4(&whole, cut));
    let out = host.run_arc("ip4-unicast", lan, fragments.collect::<Vec<_>>());
    assert!(out.one().packet.bytes() == with4(whole, |ip| ip.set_dont_fragment(false)));
    let whole = ip6(HOST6, "2001:db8:c::1", 3000);
    let fragments = cuts(3000, &[1400, 2000]).into_iter().map(|cut| fragment6(&whole, 40, 6, 1, cut));
    let out = host.run_arc("ip6-unicast", lan, fragments.collect::<Vec<_>>());
    assert!(out.one().packet.bytes() == whole);
    let plain = host.run_arc("ip6-unicast", lan, [whole]);
    assert_eq!(plain.sent().len(), 1);
}

#[test]
fn the_trace_of_a_fragment_goes_on_as_that_of_the_whole() {
    let mut host = host();
    host.trace(true);
    let whole = whole4(64, 7);
    run4(&mut host, [fragment4(&whole, (32, 64)), fragment4(&whole, (0, 32))]);
    let texts = host.trace_texts("ip4-reassembly");
    assert!(texts.iter().any(|text| text.ends_with("completes a packet of 84 bytes")), "{texts:?}");
    let traces = host.traces();
    assert!(traces.iter().any(|trace| format!("{trace:?}").contains("punt")), "{traces:?}");
}

/// A router whose neighbours are known, so that errors leave it.
fn router_with_reassembly() -> Harness {
    let mut host = router();
    host.load_only(&["reassembly"]).unwrap();
    host.nodes(&["ip4-reassembly", "ip6-reassembly", "reassembly-drop"]);
    host
}
