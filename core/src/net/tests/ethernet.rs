use raddle_plugin_api::abi::BufferFlags;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Sample};
use serde_json::json;

use super::setup::*;
use crate::net::ethernet::{EthernetError, EthernetInput, EthernetNext};
use crate::net::l2::l2_xconnect::{L2Xconnect, XconnectError, XconnectNext};

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
    host.load_only(&["mac-filter", "vlan"]).unwrap();
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

#[test]
fn cross_connected_frames_that_are_too_large_for_the_other_side_are_dropped() {
    let mut host = Harness::builder().interface("lan", |lan| lan).interface("wan", |wan| wan).build();
    let wan = host.interface("wan");
    host.change_interface("lan", |lan| lan.xconnect(wan));
    host.change_interface("wan", |wan| wan.mtu(1400));
    let sized = |tagged: bool, payload: usize| {
        let mut bytes = frame(WAN_MAC, if tagged { 0x8100 } else { 0x0800 });
        bytes.resize(if tagged { 18 } else { 14 } + payload, 0);
        bytes
    };
    let out = host.run::<L2Xconnect>([
        sized(false, 1400),
        sized(false, 1401),
        sized(true, 1400),
        sized(true, 1401),
    ]);
    assert_eq!((out.to(XconnectNext::Output).len(), out.dropped(XconnectError::TooLarge)), (2, 2));
}

const ADDRESS: &str = "set interface mac-address <interface> add|del <mac:mac>";
const FILTER: &str = "set interface multicast-filter <interface> <filter:on-off>";

fn address(host: &mut Harness, interface: &str, change: &str, mac: &str) -> Result<(), String> {
    let arguments = json!({ "interface": interface, change: true, "mac": mac });
    host.command(ADDRESS, arguments).map(drop).map_err(|failure| failure.to_string())
}

fn filter(host: &mut Harness, interface: &str, on: bool) {
    host.command(FILTER, json!({ "interface": interface, "filter": on })).unwrap();
}

#[test]
fn frames_for_a_further_station_are_taken_on_its_interface_as_long_as_it_is_wanted() {
    let mut host = bare();
    let extra = [2, 0, 0, 0, 0, 0x77];
    for (change, fate) in [("add", "ip4-input"), ("del", "not-for-us"), ("add", "ip4-input")] {
        address(&mut host, "lan", change, "02:00:00:00:00:77").unwrap();
        assert_eq!(fates(&host.run::<EthernetInput>([frame(extra, 0x0800)])), [fate]);
        let own = host.run::<EthernetInput>([frame(LAN_MAC, 0x0800), frame(WAN_MAC, 0x0800)]);
        assert_eq!(fates(&own), ["ip4-input", "not-for-us"]);
    }
    let (lan, wan) = (host.interface("lan"), host.interface("wan"));
    let out = host.run::<EthernetInput>([
        Sample::new(frame(extra, 0x0800)).with_rx_interface(lan),
        Sample::new(frame(extra, 0x0800)).with_rx_interface(wan),
        // Not taken for a group's.
        Sample::new(frame([2, 0, 0, 0, 0, 0x78], 0x0800)).with_rx_interface(lan),
    ]);
    assert_eq!(fates(&out), ["ip4-input", "not-for-us", "not-for-us"]);
    assert_eq!(out.sent()[0].packet.flags() & BufferFlags::L2_MULTICAST, 0);
}

#[test]
fn with_the_filter_only_joined_groups_pass_and_what_everybody_hears() {
    let mut host = bare();
    let (all_nodes, other) = ([0x33, 0x33, 0, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 2]);
    let groups = [all_nodes, other, [0xff; 6], [1, 0x80, 0xc2, 0, 0, 0x0e], [1, 0x80, 0xc2, 0, 0, 0x10]];
    let fates_of = |host: &mut Harness| {
        let frames = groups.map(|group| frame(group, 0x86dd));
        frames.map(|frame| fates(&host.run::<EthernetInput>([frame])).remove(0))
    };
    assert_eq!(fates_of(&mut host), ["ip6-input"; 5]);
    address(&mut host, "lan", "add", "33:33:00:00:00:01").unwrap();
    assert_eq!(fates_of(&mut host), ["ip6-input"; 5]);
    filter(&mut host, "lan", true);
    let filtered = ["ip6-input", "group-not-joined", "ip6-input", "ip6-input", "group-not-joined"];
    assert_eq!(fates_of(&mut host), filtered);
    let taken = host.run::<EthernetInput>([frame(all_nodes, 0x86dd)]);
    assert_ne!(taken.one().packet.flags() & BufferFlags::L2_MULTICAST, 0);
    // Tags are looked at first: the sub-interface of the VLAN filters, or does not.
    let tagged = host.run::<EthernetInput>([frame(other, 0x8100)]);
    tagged.assert_all_dropped(EthernetError::VlanTagged);
    address(&mut host, "lan", "del", "33:33:00:00:00:01").unwrap();
    host.run::<EthernetInput>([frame(all_nodes, 0x86dd)]).assert_all_dropped(EthernetError::GroupNotJoined);
    filter(&mut host, "lan", false);
    assert_eq!(fates_of(&mut host), ["ip6-input"; 5]);
    filter(&mut host, "lan", true);
    host.change_interface("lan", |lan| lan.promiscuous());
    assert_eq!(fates_of(&mut host), ["ip6-input"; 5]);
}

#[test]
fn addresses_that_make_no_sense_are_refused() {
    let mut host = bare();
    let mut refused = |change: &str, mac: &str| address(&mut host, "lan", change, mac).unwrap_err();
    for (change, mac, why) in [
        ("add", "00:00:00:00:00:00", "is the address of no station and no group"),
        ("add", "ff:ff:ff:ff:ff:ff", "are always taken"),
        ("del", "02:00:00:00:00:77", "is no further MAC address that was given"),
    ] {
        let said = refused(change, mac);
        assert!(said.contains(why) && said.contains("interface `lan`"), "{said}");
    }
    for last in 0..64 {
        address(&mut host, "lan", "add", &format!("02:00:00:00:01:{last:02x}")).unwrap();
    }
    let said = address(&mut host, "lan", "add", "02:00:00:00:02:00").unwrap_err();
    assert!(said.contains("at most 64"), "{said}");
    address(&mut host, "wan", "add", "02:00:00:00:02:00").unwrap();
}
