use std::time::Duration;

use proptest::prelude::*;
use raddle_plugin_api::testing::{Harness, Run, Sample};
use raddle_plugin_api::wire::{IpProtocol, UdpHeader};
use raddle_plugin_api::{Field, L4Ports};
use zerocopy::IntoBytes;

use super::fragments::{cuts, fragment4, fragment6, order};
use super::neighbors::step;
use super::setup::{ip4, ip6, with4};

const HOST: &str = "198.51.100.9";
const FAR: &str = "203.0.113.1";

fn host() -> Harness {
    let mut host = Harness::builder().interface("lan", |lan| lan).interface("wan", |wan| wan).build();
    host.load_only(&["forwarding", "local", "reassembly"]).unwrap();
    host.nodes(&["reassembly-drop"]);
    let lan = host.interface("lan");
    host.set_feature(lan, "ip4-virtual-reassembly", true);
    host.set_feature(lan, "ip6-virtual-reassembly", true);
    let wan = host.interface("wan");
    host.set_feature(lan, "l2-virtual-reassembly", true);
    host.set_feature(wan, "l2-virtual-reassembly", true);
    host
}

fn ports_field(host: &mut Harness) -> Field<L4Ports> {
    host.control(|control| L4Ports::field(control).unwrap())
}

/// A UDP datagram from port 1000 to port 2000.
fn udp4(payload: usize) -> Vec<u8> {
    let mut bytes = ip4(HOST, FAR, 8 + payload);
    bytes[20..28].copy_from_slice(UdpHeader::new(1000, 2000, payload).unwrap().as_bytes());
    with4(bytes, |ip| ip.set_identification(7))
}

fn udp6(payload: usize) -> Vec<u8> {
    let mut bytes = ip6("2001:db8:a::9", "2001:db8:c::1", 8 + payload);
    bytes[40..48].copy_from_slice(UdpHeader::new(1000, 2000, payload).unwrap().as_bytes());
    bytes
}

fn pass4(host: &mut Harness, packets: impl IntoIterator<Item = Vec<u8>>) -> Run {
    let lan = host.interface("lan");
    host.run_arc("ip4-unicast", lan, packets.into_iter().collect::<Vec<_>>())
}

/// A fragment that passed: where its data begins, whether it is marked as the first, and its ports.
type PassedFragment = (u16, bool, Option<(u16, u16)>);

/// What passed, in order.
fn passed4(run: &Run, field: &Field<L4Ports>) -> Vec<PassedFragment> {
    let offset = |packet: &Sample| u16::from_be_bytes([packet.bytes()[6] & 0x1f, packet.bytes()[7]]) * 8;
    run.sent()
        .iter()
        .map(|sent| {
            let ports = sent.packet.field(field).expect("the field");
            assert_eq!(ports.protocol(), IpProtocol::UDP);
            (offset(&sent.packet), ports.is_first(), ports.ports())
        })
        .collect()
}

const PORTS: Option<(u16, u16)> = Some((1000, 2000));

#[test]
fn fragments_wait_for_the_first_and_go_behind_it_with_its_ports() {
    let mut host = host();
    let field = ports_field(&mut host);
    let whole = udp4(120);
    pass4(&mut host, [(64, 96), (32, 64)].map(|cut| fragment4(&whole, cut))).assert_nothing();
    assert_eq!(host.held_buffers(), 2);
    let out = pass4(&mut host, [(0, 32), (96, 128)].map(|cut| fragment4(&whole, cut)));
    let mut offsets = passed4(&out, &field);
    assert_eq!(offsets[0], (0, true, PORTS), "the first goes first");
    offsets.sort_unstable();
    assert_eq!(offsets[1..], [32, 64, 96].map(|offset| (offset, false, PORTS)));
    host.assert_no_leaks();
}

#[test]
fn whole_packets_pass_as_they_are() {
    let mut host = host();
    assert_eq!(pass4(&mut host, [udp4(100)]).sent().len(), 1);
    assert_eq!(host.held_buffers(), 0);
}

#[test]
fn fragments_of_ip6_have_the_ports_behind_their_extension_headers() {
    let mut host = host();
    let field = ports_field(&mut host);
    let mut whole = udp6(56);
    // Destination options in the part that is cut: the first fragment has them, and the ports behind.
    whole.splice(40..40, [IpProtocol::UDP.0, 0, 1, 4, 0, 0, 0, 0]);
    (whole[5], whole[6]) = (72, IpProtocol::DESTINATION_OPTIONS.0);
    let fragments = [(32, 72), (0, 32)].map(|cut| fragment6(&whole, 40, 6, 9, cut));
    let lan = host.interface("lan");
    let out = host.run_arc("ip6-unicast", lan, fragments);
    let ports: Vec<_> = out.sent().iter().map(|sent| sent.packet.field(&field).unwrap()).collect();
    assert_eq!(ports.iter().map(L4Ports::ports).collect::<Vec<_>>(), [PORTS, PORTS]);
    assert!(ports[0].is_first() && !ports[1].is_first());
}

// RFC 1858 §2 to §4, RFC 3128, RFC 5722 §4
#[test]
fn what_would_deceive_who_reads_ports_is_dropped() {
    let whole = udp4(120);
    let tcp = |cut| with4(fragment4(&whole, cut), |ip| ip.set_protocol(IpProtocol::TCP));
    let mut host = host();
    pass4(&mut host, [tcp((0, 16)), tcp((8, 32)), tcp((16, 32))]).assert_all_dropped("tiny");
    assert_eq!(pass4(&mut host, [fragment4(&whole, (0, 32))]).sent().len(), 1);
    let out = pass4(&mut host, [fragment4(&whole, (24, 64)), fragment4(&whole, (64, 96))]);
    assert_eq!((out.dropped("overlap"), out.dropped("condemned")), (1, 1));
    let mut other_ports = fragment4(&with4(udp4(120), |ip| ip.set_identification(8)), (0, 32));
    assert_eq!(pass4(&mut host, [other_ports.clone()]).sent().len(), 1);
    assert_eq!(pass4(&mut host, [other_ports.clone()]).sent().len(), 1, "the same again does no harm");
    other_ports[20] ^= 1;
    pass4(&mut host, [other_ports]).assert_all_dropped("overlap");
}

/// A frame of these VLANs that carries a packet.
fn frame(vlans: &[u16], packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    for vlan in vlans {
        bytes.extend([0x81, 0x00, (vlan >> 8) as u8, *vlan as u8]);
    }
    bytes.extend(if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] });
    bytes.extend(packet);
    bytes
}

fn switch(host: &mut Harness, port: &str, frames: impl IntoIterator<Item = Vec<u8>>) -> Run {
    let port = host.interface(port);
    host.run_arc("l2-input", port, frames.into_iter().collect::<Vec<_>>())
}

#[test]
fn fragments_in_frames_wait_for_the_first_of_their_link_and_vlan() {
    let mut host = host();
    let field = ports_field(&mut host);
    let (whole4, whole6) = (udp4(120), udp6(120));
    for vlans in [&[][..], &[7], &[7, 8]] {
        let frames: Vec<_> = [(64, 96), (32, 64), (0, 32), (96, 128)]
            .iter()
            .flat_map(|&cut| [fragment4(&whole4, cut), fragment6(&whole6, 40, 6, 9, cut)])
            .map(|packet| frame(vlans, &packet))
            .collect();
        switch(&mut host, "lan", frames[..4].to_vec()).assert_nothing();
        assert_eq!(host.held_buffers(), 4);
        // Another link and another VLAN have other stations.
        let elsewhere: Vec<_> = frames[4..6]
            .iter()
            .map(|bytes| [&bytes[..12], &[0x81, 0, 0, 9], &bytes[12..]].concat())
            .collect();
        assert_eq!(switch(&mut host, "lan", elsewhere).sent().len(), 2);
        assert_eq!(switch(&mut host, "wan", frames[4..6].to_vec()).sent().len(), 2);
        assert_eq!(host.held_buffers(), 4);
        let out = switch(&mut host, "lan", frames[4..].to_vec());
        let mut passed: Vec<_> = out.sent().iter().map(|sent| sent.packet.bytes().to_vec()).collect();
        let is_first = |sent: &Sample| sent.field(&field).unwrap().is_first();
        assert_eq!(out.sent().iter().filter(|sent| is_first(&sent.packet)).count(), 2);
        for sent in out.sent() {
            assert_eq!(sent.packet.field(&field).unwrap().ports(), PORTS, "{vlans:?}");
        }
        passed.sort();
        let mut came = frames;
        came.sort();
        assert_eq!(passed, came, "frames are not changed");
        host.advance(Duration::from_secs(61));
        step(&mut host);
    }
    host.assert_no_leaks();
}

// RFC 1858 §2 to §4, RFC 3128, RFC 5722 §4
#[test]
fn frames_with_fragments_that_would_deceive_are_dropped() {
    let whole = udp4(120);
    let tcp = |cut| with4(fragment4(&whole, cut), |ip| ip.set_protocol(IpProtocol::TCP));
    let mut host = host();
    let frames = [tcp((0, 16)), tcp((8, 32))].map(|packet| frame(&[], &packet));
    switch(&mut host, "lan", frames).assert_all_dropped("tiny");
    let frames = [(0, 32), (24, 64), (64, 96)].map(|cut| frame(&[5], &fragment4(&whole, cut)));
    let out = switch(&mut host, "lan", frames);
    assert_eq!((out.sent().len(), out.dropped("overlap"), out.dropped("condemned")), (1, 1, 1));
    // A header of options in the part that is cut hides the ports from who looks at offsets alone.
    let mut whole = udp6(56);
    whole.splice(40..40, [IpProtocol::UDP.0, 0, 1, 4, 0, 0, 0, 0]);
    (whole[5], whole[6]) = (72, IpProtocol::DESTINATION_OPTIONS.0);
    let frames = [(0, 32), (8, 40)].map(|cut| frame(&[], &fragment6(&whole, 40, 6, 9, cut)));
    let out = switch(&mut host, "lan", frames);
    assert_eq!((out.sent().len(), out.dropped("overlap")), (1, 1));
}

#[test]
fn frames_without_fragments_pass_as_they_are() {
    let mut host = host();
    let arp = [&[2; 12][..], &[0x08, 0x06], &[0; 46]].concat();
    let frames = [frame(&[], &udp4(100)), frame(&[1, 2], &udp6(100)), arp, vec![2; 13]];
    assert_eq!(switch(&mut host, "lan", frames).sent().len(), 4);
    // What is cut short is no IP packet that anyone takes.
    switch(&mut host, "lan", [frame(&[], &[0x45; 8])]).assert_all_dropped("malformed");
    host.assert_no_leaks();
}

#[test]
fn what_waits_in_vain_is_dropped_in_silence() {
    let mut host = host();
    pass4(&mut host, [fragment4(&udp4(120), (32, 64))]).assert_nothing();
    host.advance(Duration::from_secs(31));
    let out = step(&mut host);
    out.assert_all_dropped("timeout");
    host.assert_no_leaks();
}

#[test]
fn features_hold_it_as_long_as_one_wants_it() {
    let mut host = host();
    let wan = host.interface("wan");
    let hold = |host: &mut Harness, held| {
        host.control(|control| {
            if held {
                control.hold_feature(wan, "ip4-virtual-reassembly")
            } else {
                control.release_feature(wan, "ip4-virtual-reassembly")
            }
        })
    };
    hold(&mut host, true).unwrap();
    hold(&mut host, true).unwrap();
    hold(&mut host, false).unwrap();
    assert_eq!(host.features("ip4-unicast", wan), ["ip4-virtual-reassembly"]);
    hold(&mut host, false).unwrap();
    assert!(host.features("ip4-unicast", wan).is_empty());
    assert!(hold(&mut host, false).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn all_fragments_pass_once_none_before_the_first_and_each_with_the_ports(
        (length, cuts, order) in (1usize..9000, proptest::collection::vec(any::<usize>(), 1..30))
            .prop_map(|(length, places)| (length, cuts(8 + length, &places)))
            .prop_filter("there are fragments", |(_, cuts)| cuts.len() > 1)
            .prop_flat_map(|(length, cuts)| {
                let order = order(cuts.len());
                (Just(length), Just(cuts), order)
            }),
    ) {
        let mut host = host();
        let field = ports_field(&mut host);
        let whole = udp4(length);
        let mut passed = Vec::new();
        for &which in &order {
            let out = pass4(&mut host, [fragment4(&whole, cuts[which])]);
            prop_assert_eq!(out.drops().len(), out.dropped("duplicate"));
            passed.extend(passed4(&out, &field));
        }
        prop_assert_eq!(passed[0], (0, true, PORTS));
        for &(offset, is_first, ports) in &passed {
            prop_assert_eq!((is_first, ports), (offset == 0, PORTS));
        }
        let mut offsets: Vec<_> = passed.iter().map(|&(offset, ..)| usize::from(offset)).collect();
        offsets.sort_unstable();
        offsets.dedup();
        prop_assert_eq!(offsets, cuts.iter().map(|cut| cut.0).collect::<Vec<_>>());
        // A duplicate behind the end of the datagram waits for a first fragment that does not come.
        host.advance(Duration::from_secs(31));
        step(&mut host);
        host.assert_no_leaks();
    }
}
