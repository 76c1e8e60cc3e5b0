use raddle_plugin_api::abi::BufferFlags;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Sample};

use super::setup::*;
use crate::net::ethernet::{EthernetError, EthernetInput, EthernetNext};
use crate::net::l2_xconnect::{L2Xconnect, XconnectError, XconnectNext};

fn frame(destination: [u8; 6], ethertype: u16) -> Vec<u8> {
    let mut bytes = destination.to_vec();
    bytes.extend(ROUTER_MAC);
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend([0x45; 20]);
    bytes
}

#[test]
fn ethertype_decides_where_frames_go() {
    let mut host = bare();
    for (ethertype, next) in
        [(0x0800, EthernetNext::Ip4), (0x86dd, EthernetNext::Ip6), (0x0806, EthernetNext::Arp)]
    {
        let out = host.run::<EthernetInput>([frame(LAN_MAC, ethertype)]);
        out.assert_all(next);
        assert_eq!(out.one().packet.bytes(), [0x45; 20]);
        assert!(out.one().packet.front().ends_with(&frame(LAN_MAC, ethertype)[..14]));
    }
}

#[test]
fn frames_are_dropped_by_reason() {
    let mut host = bare();
    for (ethertype, reason) in [
        (0x8100, EthernetError::VlanTagged),
        (0x88a8, EthernetError::VlanTagged),
        (0x0040, EthernetError::Llc),
        (0x88cc, EthernetError::UnknownEthertype),
    ] {
        host.run::<EthernetInput>([frame(LAN_MAC, ethertype)]).assert_all_dropped(reason);
    }
    host.run::<EthernetInput>([frame(WAN_MAC, 0x0800)]).assert_all_dropped(EthernetError::NotForUs);
    let whole = frame(LAN_MAC, 0x0800);
    for length in 0..14 {
        host.run::<EthernetInput>([&whole[..length]]).assert_all_dropped(EthernetError::Runt);
    }
    host.run::<EthernetInput>([&whole[..14]]).assert_all(EthernetNext::Ip4);
}

#[test]
fn group_frames_are_marked_and_promiscuous_interfaces_take_all() {
    let mut host = bare();
    let group =
        host.run::<EthernetInput>([frame([0xff; 6], 0x0800), frame([0x33, 0x33, 0, 0, 0, 1], 0x86dd)]);
    assert!(group.sent().iter().all(|sent| sent.packet.flags() & BufferFlags::L2_MULTICAST != 0));
    host.change_interface("lan", |lan| lan.promiscuous());
    let foreign = host.run::<EthernetInput>([frame(WAN_MAC, 0x0800)]);
    assert_eq!(foreign.one().packet.flags() & BufferFlags::L2_MULTICAST, 0);
}

#[test]
fn frames_of_several_interfaces_are_judged_by_their_own() {
    let mut host = bare();
    let (lan, wan) = (host.interface("lan"), host.interface("wan"));
    host.change_interface("wan", |wan| wan.down());
    let out = host.run::<EthernetInput>([
        Sample::new(frame(LAN_MAC, 0x0800)).with_rx_interface(lan),
        Sample::new(frame(WAN_MAC, 0x0800)).with_rx_interface(wan),
        Sample::new(frame(WAN_MAC, 0x0800)).with_rx_interface(lan),
    ]);
    assert_eq!(fates(&out), ["ip4-input", "interface-down", "not-for-us"]);
}

#[test]
fn cross_connected_frames_leave_unread_by_the_other_side() {
    let mut host = Harness::builder().interface("lan", |lan| lan).interface("wan", |wan| wan).build();
    let (lan, wan) = (host.interface("lan"), host.interface("wan"));
    host.change_interface("lan", |lan| lan.xconnect(wan));
    // Of any length and for anybody.
    let frames = [vec![1], frame([9; 6], 0x8100)];
    let out = host.run::<EthernetInput>(frames.clone());
    out.assert_all(EthernetNext::Xconnect);
    assert_eq!(out.sent()[1].packet.bytes(), frames[1]);
    let out = host.run::<L2Xconnect>(frames.clone());
    out.assert_all(XconnectNext::Output);
    assert!(out.sent().iter().all(|sent| sent.packet.tx_interface() == wan));
    assert_eq!(out.sent()[0].packet.bytes(), frames[0]);
    let mixed = host.run::<L2Xconnect>([
        Sample::new([1]).with_rx_interface(wan),
        Sample::new([1]).with_rx_interface(lan),
        Sample::new([1]).with_rx_interface(InterfaceIndex::NONE),
    ]);
    assert_eq!(mixed.dropped(XconnectError::NotConnected), 2);
    assert_eq!(mixed.to(XconnectNext::Output).len(), 1);
}
