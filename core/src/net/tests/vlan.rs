//! Sub-interfaces on the packets' way: `ethernet-input` and `vlan-tx`.

use std::sync::Arc;

use raddle_plugin_api::abi::{Counted, InterfaceFlags};
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Sample};

use super::setup::*;
use crate::net::ethernet::{EthernetError, EthernetInput, EthernetNext};
use crate::net::vlan::{OuterVlan, VlanOptions, Vlans};

/// `bare`, with these sub-interfaces of `wan`.
fn with(subs: &[(&str, VlanOptions)]) -> Harness {
    let mut host = bare();
    for (name, options) in subs {
        add(&mut host, name, options);
    }
    host
}

fn add(host: &mut Harness, name: &str, options: &VlanOptions) -> InterfaceIndex {
    let selection = options.selection().unwrap();
    host.control(|control| {
        let vlans: Arc<Vlans> = control.resource().unwrap();
        vlans.open(name, &options.parent, selection, options.priority).unwrap();
    });
    host.add_interface(name, |sub| sub.mac(MacAddress(WAN_MAC)).tx_node("vlan-tx"))
}

fn vlan(keys: serde_json::Value) -> VlanOptions {
    let mut keys = keys;
    keys["parent"] = "wan".into();
    serde_json::from_value(keys).unwrap()
}

fn number(vlan: u16) -> VlanOptions {
    VlanOptions {
        parent: "wan".to_owned(),
        vlan: OuterVlan::Vlan(vlan),
        inner_vlan: None,
        protocol: None,
        priority: 0,
    }
}

/// A frame to `wan` with these tags, each kind and control word.
fn frame(tags: &[(u16, u16)], ethertype: u16) -> Vec<u8> {
    frame_to(WAN_MAC, tags, ethertype)
}

fn frame_to(destination: [u8; 6], tags: &[(u16, u16)], ethertype: u16) -> Vec<u8> {
    let mut bytes = destination.to_vec();
    bytes.extend(ROUTER_MAC);
    for (kind, control) in tags {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(control.to_be_bytes());
    }
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend([0x45; 20]);
    bytes
}

fn on_wan(host: &Harness, bytes: Vec<u8>) -> Sample {
    Sample::new(bytes).with_rx_interface(host.interface("wan"))
}

#[test]
fn a_tag_leads_to_its_sub_interface_and_is_gone() {
    let mut host = with(&[("wan.100", number(100)), ("wan.200", number(200))]);
    let subs = ["wan.100", "wan.200"].map(|name| host.interface(name));
    let frames = [frame(&[(0x8100, 100)], 0x0800), frame(&[(0x8100, 0xa000 | 200)], 0x86dd)];
    let out = host.run::<EthernetInput>(frames.map(|bytes| on_wan(&host, bytes)));
    assert_eq!(fates(&out), ["ip4-input", "ip6-input"]);
    for (sent, sub) in out.sent().iter().zip(subs) {
        assert_eq!(sent.packet.rx_interface(), sub);
        assert_eq!(sent.packet.bytes(), [0x45; 20]);
        // What a node finds that looks back at the header is an untagged one.
        let header = sent.packet.front();
        assert_eq!(header[header.len() - 14..header.len() - 2], frame(&[], 0)[..12]);
        assert_eq!(host.interface_count(sub, Counted::RECEIVED), (1, 34));
    }
}

#[test]
fn frames_in_a_row_go_where_the_first_one_went_and_others_do_not() {
    let mut host = with(&[("wan.100", number(100)), ("wan.200", number(200))]);
    let [first, second] = ["wan.100", "wan.200"].map(|name| host.interface(name));
    let wan = host.interface("wan");
    let hundred = (frame(&[(0x8100, 100)], 0x0800), Some(("ip4-input", first)));
    let frames = [
        hundred.clone(),
        hundred.clone(),
        (frame(&[(0x8100, 100)], 0x86dd), Some(("ip6-input", first))),
        (frame(&[(0x8100, 100)], 0x0806), Some(("arp-input", first))),
        (frame_to(LAN_MAC, &[(0x8100, 100)], 0x0800), None),
        (frame(&[(0x8100, 0xa000 | 100)], 0x0800), Some(("ip4-input", first))),
        (frame(&[(0x8100, 200)], 0x0800), Some(("ip4-input", second))),
        (frame(&[(0x8100, 200)], 0x0800), Some(("ip4-input", second))),
        (frame(&[], 0x0800), Some(("ip4-input", wan))),
        (frame(&[(0x8100, 101)], 0x0800), None),
        hundred,
    ];
    // The last byte of each frame tells its place.
    let sent = frames.clone().into_iter().enumerate().map(|(place, (mut bytes, _))| {
        *bytes.last_mut().unwrap() = place as u8;
        on_wan(&host, bytes)
    });
    let sent: Vec<_> = sent.collect();
    let out = host.run::<EthernetInput>(sent);
    assert_eq!((out.dropped(EthernetError::NotForUs), out.dropped(EthernetError::UnknownVlan)), (1, 1));
    let expected = frames.iter().enumerate().filter_map(|(place, (_, taker))| Some((place, (*taker)?)));
    assert_eq!(out.sent().len(), expected.clone().count());
    for (place, (node, taker)) in expected {
        let sent = out.sent().iter().find(|sent| sent.packet.bytes().last() == Some(&(place as u8))).unwrap();
        assert_eq!((sent.node.as_str(), sent.packet.rx_interface()), (node, taker), "frame {place}");
        let header = sent.packet.front();
        assert_eq!(header[header.len() - 14..header.len() - 2], frame(&[], 0)[..12], "frame {place}");
    }
    let count = |sub, frames| assert_eq!(host.interface_count(sub, Counted::RECEIVED), (frames, 34 * frames));
    count(first, 7);
    count(second, 2);
}

#[test]
fn frames_that_no_sub_interface_takes_are_dropped_by_reason() {
    let mut host = with(&[("wan.100", number(100)), ("wan.300", number(300))]);
    host.change_interface("wan.300", |sub| sub.down());
    for (bytes, reason) in [
        (frame(&[(0x8100, 101)], 0x0800), EthernetError::UnknownVlan),
        (frame(&[(0x8100, 4095)], 0x0800), EthernetError::UnknownVlan),
        (frame(&[(0x88a8, 100)], 0x0800), EthernetError::UnknownVlan),
        (frame(&[(0x8100, 100), (0x8100, 5)], 0x0800), EthernetError::VlanTagged),
        (frame(&[(0x8100, 300)], 0x0800), EthernetError::InterfaceDown),
        (frame(&[(0x8100, 100)], 0x0026), EthernetError::Llc),
        (frame_to(LAN_MAC, &[(0x8100, 100)], 0x0800), EthernetError::NotForUs),
        (frame(&[(0x8100, 100)], 0x0800)[..17].to_vec(), EthernetError::Runt),
        (frame(&[(0x8100, 100)], 0x0800)[..14].to_vec(), EthernetError::Runt),
    ] {
        let shown = format!("{bytes:x?}");
        let out = host.run::<EthernetInput>([on_wan(&host, bytes)]);
        assert_eq!(out.dropped(reason), 1, "{shown}: {:?}", fates(&out));
    }
    // Another interface has none of them.
    let lan =
        Sample::new(frame_to(LAN_MAC, &[(0x8100, 100)], 0x0800)).with_rx_interface(host.interface("lan"));
    host.run::<EthernetInput>([lan]).assert_all_dropped(EthernetError::VlanTagged);
}

#[test]
fn two_tags_lead_to_the_sub_interface_that_names_both() {
    let mut host = with(&[
        ("wan.1.2", vlan(serde_json::json!({"vlan": 1, "inner-vlan": 2}))),
        ("wan.1.x", vlan(serde_json::json!({"vlan": 1, "inner-vlan": "any"}))),
    ]);
    let (both, any) = (host.interface("wan.1.2"), host.interface("wan.1.x"));
    let out = host.run::<EthernetInput>([on_wan(&host, frame(&[(0x88a8, 1), (0x8100, 2)], 0x0800))]);
    assert_eq!((out.one().node.as_str(), out.one().packet.rx_interface()), ("ip4-input", both));
    // The second tag is left, and nobody here reads it.
    let out = host.run::<EthernetInput>([on_wan(&host, frame(&[(0x88a8, 1), (0x8100, 3)], 0x0800))]);
    out.assert_all_dropped(EthernetError::VlanTagged);
    assert_eq!(host.interface_count(any, Counted::RECEIVED).0, 1);
}

// IEEE 802.1Q §6.9: a frame whose tag has VLAN 0 is priority-tagged, which is not to be in a VLAN.
#[test]
fn priority_tag_counts_as_none() {
    let mut host = with(&[]);
    let out = host.run::<EthernetInput>([on_wan(&host, frame(&[(0x8100, 0xe000)], 0x0800))]);
    out.assert_all(EthernetNext::Ip4);
    assert_eq!(out.one().packet.rx_interface(), host.interface("wan"));
    let untagged = vlan(serde_json::json!({"vlan": "untagged"}));
    let sub = add(&mut host, "wan.u", &untagged);
    for tags in [&[(0x8100, 0xe000)][..], &[]] {
        let out = host.run::<EthernetInput>([on_wan(&host, frame(tags, 0x0800))]);
        assert_eq!((out.one().node.as_str(), out.one().packet.rx_interface()), ("ip4-input", sub));
    }
}

#[test]
fn a_sub_interface_has_its_own_address_and_features_of_the_link() {
    let mut host = with(&[("wan.100", number(100))]);
    host.change_interface("wan.100", |sub| sub.mac(MacAddress(LAN_MAC)));
    let tags = [(0x8100, 100)];
    host.run::<EthernetInput>([on_wan(&host, frame_to(LAN_MAC, &tags, 0x0800))])
        .assert_all(EthernetNext::Ip4);
    host.run::<EthernetInput>([on_wan(&host, frame(&tags, 0x0800))])
        .assert_all_dropped(EthernetError::NotForUs);
    let group = host.run::<EthernetInput>([on_wan(&host, frame_to([0xff; 6], &tags, 0x0806))]);
    assert_ne!(group.one().packet.flags() & raddle_plugin_api::abi::BufferFlags::L2_MULTICAST, 0);
    let lan = host.interface("lan");
    host.change_interface("wan.100", |sub| sub.xconnect(lan));
    let out = host.run::<EthernetInput>([on_wan(&host, frame(&tags, 0x1234))]);
    out.assert_all(EthernetNext::Xconnect);
    assert_eq!(out.one().packet.bytes(), frame(&[], 0x1234));
}

#[test]
fn a_mixed_vector_goes_each_its_own_way() {
    let mut host = with(&[("wan.100", number(100))]);
    let (wan, sub) = (host.interface("wan"), host.interface("wan.100"));
    let out = host.run::<EthernetInput>([
        on_wan(&host, frame(&[], 0x0800)),
        on_wan(&host, frame(&[(0x8100, 100)], 0x0800)),
        on_wan(&host, frame(&[], 0x0800)),
    ]);
    let interfaces: Vec<_> = out.sent().iter().map(|sent| sent.packet.rx_interface()).collect();
    assert_eq!(interfaces, [wan, sub, wan]);
    assert_eq!(host.interface_count(sub, Counted::RECEIVED).0, 1);
    assert_eq!(host.interface_count(wan, Counted::RECEIVED).0, 0, "counted by its queue");
}

#[test]
fn tags_are_put_on_what_is_sent_and_offloads_keep_their_bytes() {
    let two = vlan(serde_json::json!({"vlan": 0x123, "inner-vlan": 7, "priority": 5}));
    let mut host = with(&[("wan.x", two)]);
    let (wan, sub) = (host.interface("wan"), host.interface("wan.x"));
    let plain = frame(&[], 0x0800);
    host.nodes(&["vlan-tx"]);
    let sample = Sample::new(plain.clone()).with_tx_interface(sub);
    let out = host.run_named("vlan-tx", [sample.with_partial_checksum(34, 16).with_gso(1, 1400, 54)]);
    let sent = &out.one().packet;
    assert_eq!(out.one().node, "interface-output");
    assert_eq!(sent.tx_interface(), wan);
    assert_eq!(sent.bytes(), frame(&[(0x88a8, 0xa123), (0x8100, 0xa007)], 0x0800));
    // Positions are kept from the data area's start, where the bytes they name have stayed.
    let (header, start) = (sent.header(), sent.header().current_data);
    assert_eq!(header.checksum_start.wrapping_sub(start as u16), 34 + 8);
    assert_eq!(header.header_length.wrapping_sub(start as u16), 54 + 8);
    assert_eq!(host.interface_count(sub, Counted::SENT), (1, plain.len() as u64));
}

#[test]
fn parent_that_goes_takes_the_way_out_along_until_it_comes_back() {
    let mut host = with(&[("wan.100", number(100))]);
    let sub = host.interface("wan.100");
    let flags = |host: &mut Harness, name: &str| {
        let index = host.interface(name);
        host.worker(0, |worker| {
            worker.interface(index).unwrap().row().flags.load(std::sync::atomic::Ordering::Relaxed)
        })
    };
    assert_ne!(flags(&mut host, "wan") & InterfaceFlags::HAS_SUB_INTERFACES, 0);
    host.nodes(&["vlan-tx"]);
    host.delete_interface("wan");
    let leave = || Sample::new(frame(&[], 0x0800)).with_tx_interface(sub);
    assert_eq!(fates(&host.run_named("vlan-tx", [leave()])), ["no-parent"]);
    let again = host.add_interface("wan", |wan| wan.mac(MacAddress(WAN_MAC)));
    assert_eq!(host.run_named("vlan-tx", [leave()]).one().packet.tx_interface(), again);
    host.delete_interface("wan.100");
    assert_eq!(flags(&mut host, "wan") & InterfaceFlags::HAS_SUB_INTERFACES, 0);
}

/// The rewrites of VPP's `set interface l2 tag-rewrite`: what comes in by `wan.x` and leaves by `lan`, and the way back.
#[test]
fn tags_are_rewritten_both_ways_between_switched_interfaces() {
    let (q, ad) = (|vlan: u16| (0x8100, vlan), |vlan: u16| (0x88a8, vlan));
    for (keys, rewrite, outside, inside) in [
        (serde_json::json!({"vlan": 5}), "pop 1", vec![q(0xa005)], vec![]),
        (serde_json::json!({"vlan": 5}), "push 802.1ad:9", vec![q(5)], vec![ad(9), q(5)]),
        (serde_json::json!({"vlan": 5}), "translate 1-1 7", vec![q(0xa005)], vec![q(0xa007)]),
        (serde_json::json!({"vlan": 5}), "translate 1-2 7 8", vec![q(0xb005)], vec![ad(0xb007), q(8)]),
        (serde_json::json!({"vlan": 5, "inner-vlan": 6}), "pop 2", vec![ad(5), q(6)], vec![]),
        (
            serde_json::json!({"vlan": 5, "inner-vlan": 6}),
            "translate 2-1 7",
            vec![ad(0x2005), q(6)],
            vec![q(0x2007)],
        ),
        (
            serde_json::json!({"vlan": 5, "inner-vlan": 6}),
            "translate 2-2 7 8",
            vec![ad(0x4005), q(6)],
            vec![ad(0x4007), q(8)],
        ),
        (serde_json::json!({"vlan": "untagged"}), "push 7", vec![], vec![q(7)]),
        (serde_json::json!({"vlan": 5, "inner-vlan": "any"}), "pop 1", vec![ad(5), q(77)], vec![q(77)]),
    ] {
        let mut host = with(&[("wan.x", vlan(keys))]);
        host.load_only(&["l2"]).unwrap();
        host.nodes(&["l2-rewrite-input", "l2-xconnect", "interface-tx", "l2-rewrite-output", "vlan-tx"]);
        let (lan, sub) = (host.interface("lan"), host.interface("wan.x"));
        host.change_interface("wan.x", |sub| sub.xconnect(lan));
        host.change_interface("lan", |lan| lan.xconnect(sub));
        host.control(|control| {
            let rewrites: Arc<crate::net::l2::Rewrites> = control.resource().unwrap();
            rewrites.set(control, "wan.x", Some(rewrite.parse().unwrap())).unwrap();
        });
        host.quiesce();
        let out = host.run::<EthernetInput>([on_wan(&host, frame(&outside, 0x1234))]);
        assert_eq!(out.one().packet.bytes(), frame(&inside, 0x1234), "{rewrite}, in");
        assert_eq!(out.one().packet.tx_interface(), lan);
        let leave = Sample::new(frame(&inside, 0x1234)).with_tx_interface(sub);
        let out = host.run_arc("interface-output", sub, [leave]);
        // Priorities that were popped are gone.
        let known: Vec<_> = if inside.iter().any(|tag| tag.1 > 0xfff) {
            outside.clone()
        } else {
            outside.iter().map(|tag| (tag.0, tag.1 & 0xfff)).collect()
        };
        assert_eq!(out.one().packet.bytes(), frame(&known, 0x1234), "{rewrite}, out");
    }
}
