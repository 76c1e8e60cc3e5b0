//! Bridges on the frames' way: `l2-bridge`, `l2-flood`, `bvi-tx`.

use std::sync::Arc;

use raddle_plugin_api::abi::{Counted, InterfaceFlags};
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Sample, packets};

use super::setup::fates;
use crate::net::ethernet::EthernetInput;
use crate::net::l2::l2_bridge::{BridgeError, L2Bridge};
use crate::net::l2::l2_flood::FloodError;
use crate::net::l2::{BridgeConfig, Bridges};

const A: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];
const C: [u8; 6] = [2, 0, 0, 0, 0, 0x0c];
const BVI_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xff];
const ALL: [u8; 6] = [0xff; 6];

/// Three ports and the station of raddle itself, which is not part of a bridge yet.
fn host(config: &str) -> Harness {
    let mut host = Harness::builder()
        .interface("p1", |port| port)
        .interface("p2", |port| port)
        .interface("p3", |port| port)
        .interface("bvi", |bvi| bvi.mac(MacAddress(BVI_MAC)).driver("bvi").tx_node("bvi-tx"))
        .build();
    host.load_only(&["forwarding", "mac-filter", "vlan", "l2"]).unwrap();
    host.nodes(&["l2-bridge", "l2-flood", "bvi-tx"]);
    set(&mut host, config);
    host
}

fn set(host: &mut Harness, config: &str) {
    let config: BridgeConfig = toml::from_str(config).unwrap();
    host.control(|control| {
        let bridges: Arc<Bridges> = control.resource().unwrap();
        let mut all = bridges.configs();
        all.insert("x".to_owned(), config);
        bridges.set_all(control, all).unwrap();
    });
    host.quiesce();
}

const THREE: &str = "members = [\"p1\", \"p2\", \"p3\"]";

fn frame(to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
    let mut bytes = to.to_vec();
    bytes.extend(from);
    bytes.extend([0x08, 0x00]);
    bytes.extend([0x45; 46]);
    bytes
}

/// Sends a frame in by a port; returns by which interfaces it left, in order, or why it was dropped.
fn through(host: &mut Harness, port: &str, to: [u8; 6], from: [u8; 6]) -> Vec<String> {
    let sample = Sample::new(frame(to, from)).with_rx_interface(host.interface(port));
    let out = host.run_named("l2-bridge", [sample]);
    host.quiesce();
    let name = |host: &Harness, index: InterfaceIndex| host.interface_info(index).name;
    let mut left: Vec<String> = Vec::new();
    for sent in out.sent() {
        assert_eq!(sent.packet.bytes(), frame(to, from), "frames are not changed");
        left.push(match sent.node.as_str() {
            "interface-output" => name(host, sent.packet.tx_interface()),
            "ethernet-input" => format!("in {}", name(host, sent.packet.rx_interface())),
            other => other.to_owned(),
        });
    }
    left.extend(out.drops().iter().map(|drop| drop.reason.clone()));
    left.sort();
    left
}

#[test]
fn frames_go_everywhere_until_their_destination_is_known() {
    let mut host = host(THREE);
    assert_eq!(through(&mut host, "p1", B, A), ["p2", "p3"]);
    assert_eq!(through(&mut host, "p2", A, B), ["p1"]);
    assert_eq!(through(&mut host, "p1", B, A), ["p2"]);
    assert_eq!(through(&mut host, "p1", ALL, A), ["p2", "p3"]);
    // A station that moves is followed.
    assert_eq!(through(&mut host, "p3", ALL, B), ["p1", "p2"]);
    assert_eq!(through(&mut host, "p1", B, A), ["p3"]);
    // Not back to where it came from.
    assert_eq!(through(&mut host, "p3", B, C), ["same-port"]);
}

// IEEE 802.1D §7.12.6, §7.8: what no bridge forwards, and what no station sends.
#[test]
fn frames_that_no_bridge_forwards_are_dropped_and_nothing_is_learned_of_them() {
    let mut host = host(THREE);
    for last in 0..16 {
        assert_eq!(through(&mut host, "p1", [1, 0x80, 0xc2, 0, 0, last], A), ["reserved-group"], "{last}");
    }
    assert_eq!(through(&mut host, "p1", [1, 0x80, 0xc2, 0, 0, 16], C), ["p2", "p3"]);
    assert_eq!(through(&mut host, "p1", B, [3, 0, 0, 0, 0, 1]), ["bad-source"]);
    assert_eq!(through(&mut host, "p1", B, [0; 6]), ["bad-source"]);
    assert_eq!(through(&mut host, "p2", A, B), ["p1", "p3"], "A is not known");
    let port = host.interface("p1");
    let short = Sample::new(&frame(B, A)[..13]).with_rx_interface(port);
    host.run::<L2Bridge>([short]).assert_all_dropped(BridgeError::Runt);
}

/// A frame for an unknown or known station, with so many bytes behind these tags.
fn large(to: [u8; 6], tags: &[u16], payload: usize) -> Vec<u8> {
    let mut bytes = [to, A].concat();
    for tag in tags {
        bytes.extend([tag.to_be_bytes(), [0, 7]].concat());
    }
    bytes.extend([0x88, 0xb5]);
    bytes.resize(bytes.len() + payload, 0x5a);
    bytes
}

// IEEE 802.1D §6.3.8: no bridge cuts frames.
#[test]
fn frames_leave_only_by_ports_that_pass_frames_of_their_size() {
    let mut host = host(THREE);
    let p1 = host.interface("p1");
    host.change_interface("p3", |port| port.mtu(1400));
    let fate = |host: &mut Harness, frame: Vec<u8>| {
        let out = host.run_named("l2-bridge", [Sample::new(frame).with_rx_interface(p1)]);
        let left = out.sent().iter().map(|sent| host.interface_info(sent.packet.tx_interface()).name);
        let mut fate: Vec<_> = left.chain(out.drops().iter().map(|drop| drop.reason.clone())).collect();
        fate.sort();
        fate
    };
    for (tags, payload, flooded) in [
        (&[][..], 1400, ["p2", "p3"]),
        (&[], 1401, ["p2", "too-large"]),
        (&[0x8100], 1400, ["p2", "p3"]),
        (&[0x88a8, 0x8100], 1400, ["p2", "p3"]),
        (&[0x88a8, 0x8100], 1500, ["p2", "too-large"]),
        (&[0x88a8, 0x8100], 1501, ["too-large", "too-large"]),
    ] {
        assert_eq!(fate(&mut host, large(B, tags, payload)), flooded, "{payload} bytes behind {tags:?}");
    }
    through(&mut host, "p3", ALL, B);
    assert_eq!(fate(&mut host, large(B, &[], 1400)), ["p3"]);
    assert_eq!(fate(&mut host, large(B, &[], 1401)), ["too-large"]);
    // What raddle itself sends by its BVI too.
    set(&mut host, &format!("{THREE}\nbvi = \"bvi\""));
    let bvi = host.interface("bvi");
    let sample = Sample::new(large(B, &[], 1401)).with_tx_interface(bvi);
    assert_eq!(host.run_named("bvi-tx", [sample]).dropped("too-large"), 1);
    host.assert_no_leaks();
}

#[test]
fn gso_frames_are_judged_by_their_segments() {
    let mut host = host(THREE);
    let p1 = host.interface("p1");
    through(&mut host, "p2", ALL, B);
    let segment = packets::tcp("192.0.2.7:1", "192.0.2.8:2").payload(vec![7; 5000]).to_vec();
    for (tags, size, reason) in
        [(&[][..], 1460, 0), (&[0x8100], 1460, 0), (&[], 1461, 1), (&[0x8100], 1461, 1)]
    {
        let mut frame = large(B, tags, 0);
        let end = frame.len();
        frame[end - 2..].copy_from_slice(&[0x08, 0x00]);
        frame.extend(&segment);
        let sample = Sample::new(frame).with_rx_interface(p1).with_gso(1, size, 0);
        let out = host.run_named("l2-bridge", [sample]);
        assert_eq!(out.dropped(BridgeError::TooLarge), reason, "segments of {size} bytes behind {tags:?}");
    }
}

#[test]
fn a_split_horizon_group_hears_nothing_of_its_own() {
    let group = |name| format!("{{ interface = \"{name}\", split-horizon = 1 }}");
    let mut host = host(&format!("members = [\"p1\", {}, {}]", group("p2"), group("p3")));
    assert_eq!(through(&mut host, "p2", ALL, B), ["p1"]);
    assert_eq!(through(&mut host, "p3", ALL, C), ["p1"]);
    assert_eq!(through(&mut host, "p3", B, C), ["split-horizon"]);
    assert_eq!(through(&mut host, "p1", B, A), ["p2"]);
    assert_eq!(through(&mut host, "p1", ALL, A), ["p2", "p3"]);
}

#[test]
fn switches_do_what_they_say() {
    let mut host = host(&format!("{THREE}\nlearn = false"));
    through(&mut host, "p2", ALL, B);
    assert_eq!(through(&mut host, "p1", B, A), ["p2", "p3"]);
    set(&mut host, &format!("{THREE}\nunknown-unicast-flood = false\nflood = false"));
    assert_eq!(through(&mut host, "p1", B, A), ["unknown-unicast"]);
    assert_eq!(through(&mut host, "p1", ALL, A), ["flood-off"]);
    assert_eq!(through(&mut host, "p2", A, B), ["p1"], "learned though it was dropped");
    set(&mut host, &format!("{THREE}\nforward = false"));
    assert_eq!(through(&mut host, "p2", A, B), ["forward-off"]);
}

#[test]
fn addresses_age_are_cleared_and_go_with_their_port() {
    let mut host = host(&format!("{THREE}\nageing = 10"));
    through(&mut host, "p2", ALL, B);
    let known = |host: &mut Harness| through(host, "p1", B, A) == ["p2"];
    assert!(known(&mut host));
    host.advance(std::time::Duration::from_secs(9));
    through(&mut host, "p2", ALL, B);
    host.advance(std::time::Duration::from_secs(9));
    assert!(known(&mut host), "it was seen meanwhile");
    host.advance(std::time::Duration::from_secs(12));
    assert!(!known(&mut host));
    through(&mut host, "p2", ALL, B);
    host.command("clear bridge macs [<bridge>]", serde_json::json!({})).unwrap();
    assert!(!known(&mut host));
    through(&mut host, "p2", ALL, B);
    host.change_interface("p2", |port| port.link_up(false));
    assert_eq!(through(&mut host, "p1", B, A), ["p3"]);
    host.change_interface("p2", |port| port.link_up(true));
    assert!(!known(&mut host));
}

#[test]
fn a_flood_of_addresses_is_bounded_and_forwarding_goes_on() {
    let mut host = host(&format!("{THREE}\nmac-limit = 3"));
    through(&mut host, "p2", ALL, B);
    for number in 0..100 {
        assert_eq!(through(&mut host, "p1", ALL, [2, 1, 0, 0, 0, number]), ["p2", "p3"]);
    }
    assert_eq!(through(&mut host, "p1", B, A), ["p2"]);
    let macs = host.command("show bridge <bridge> macs", serde_json::json!({"bridge": "x"})).unwrap();
    assert_eq!(macs.json.as_array().unwrap().len(), 3);
}

#[test]
fn a_fixed_address_does_not_move() {
    let fixed = "macs = [{ mac = \"02:00:00:00:00:0b\", interface = \"p2\" }]";
    let mut host = host(&format!("{THREE}\n{fixed}"));
    through(&mut host, "p3", ALL, B);
    assert_eq!(through(&mut host, "p1", B, A), ["p2"]);
    set(&mut host, THREE);
    assert_eq!(through(&mut host, "p1", B, A), ["p2", "p3"]);
}

#[test]
fn raddle_is_a_station_by_its_bvi() {
    let mut host = host(&format!("{THREE}\nbvi = \"bvi\""));
    let bvi = host.interface("bvi");
    assert_eq!(through(&mut host, "p1", BVI_MAC, A), ["in bvi"]);
    assert_eq!(through(&mut host, "p2", ALL, B), ["in bvi", "p1", "p3"]);
    let (packets, bytes) = host.interface_count(bvi, Counted::RECEIVED);
    assert_eq!((packets, bytes), (2, 120));
    // What raddle sends goes to where its destination is, or to all ports but its own.
    for (to, ports) in [(B, &["p2"][..]), (C, &["p1", "p2", "p3"]), (ALL, &["p1", "p2", "p3"])] {
        let sample = Sample::new(frame(to, BVI_MAC)).with_tx_interface(bvi);
        let out = host.run_named("bvi-tx", [sample]);
        assert_eq!(fates(&out).len(), ports.len());
        let mut left: Vec<_> =
            out.sent().iter().map(|sent| host.interface_info(sent.packet.tx_interface()).name).collect();
        left.sort();
        assert_eq!(left, ports);
    }
    assert_eq!(host.interface_count(bvi, Counted::SENT).0, 3);
}

#[test]
fn interfaces_are_ports_while_the_bridge_names_them() {
    let mut host = host("members = [\"p1\", \"p2\", \"later\"]");
    let is_port = |host: &mut Harness, name: &str| {
        let index = host.interface(name);
        let flags =
            |row: &raddle_plugin_api::abi::InterfaceRow| row.flags.load(std::sync::atomic::Ordering::Relaxed);
        host.worker(0, |worker| flags(worker.interface(index).unwrap().row())) & InterfaceFlags::BRIDGED != 0
    };
    assert!(is_port(&mut host, "p1") && !is_port(&mut host, "p3"));
    let port = host.interface("p1");
    let sample = Sample::new(frame(B, A)).with_rx_interface(port);
    let out = host.run::<EthernetInput>([sample]);
    assert_eq!(out.one().packet.tx_interface(), host.interface("p2"), "by way of the bridge");
    host.add_interface("later", |port| port);
    assert_eq!(through(&mut host, "p1", B, A), ["later", "p2"]);
    host.delete_interface("later");
    assert_eq!(through(&mut host, "p1", B, A), ["p2"]);
    set(&mut host, "members = [\"p1\"]");
    assert!(!is_port(&mut host, "p2"));
    assert_eq!(through(&mut host, "p1", B, A), ["no-port"]);
    assert_eq!(through(&mut host, "p2", B, A), ["not-bridged"]);
}

#[test]
fn flooding_is_limited_and_out_of_buffers_is_counted() {
    let mut host = host(&format!("{THREE}\nflood-limit = 10"));
    let port = host.interface("p1");
    let sample = || Sample::new(frame(ALL, A)).with_rx_interface(port);
    let out = host.run_named("l2-bridge", (0..5).map(|_| sample()));
    assert_eq!(out.dropped(FloodError::RateLimited), 4);
    set(&mut host, THREE);
    let flooded = Sample::new(frame(ALL, A)).with_tx_interface(port);
    host.limit_buffers(Some(0));
    let out = host.run_named("l2-flood", [flooded]);
    assert_eq!(out.dropped(FloodError::NoBuffers), 1);
    host.limit_buffers(None);
}

#[test]
fn bridges_that_contradict_themselves_or_others_are_refused_whole() {
    let mut host = host("members = [\"p1\"]");
    for (config, message) in [
        ("members = [\"p1\"]", "`p1` is a port of the bridge `x` already"),
        ("members = [\"p2\", \"p2\"]", "`p2` is a port of the bridge `y` twice"),
        ("bvi = \"p2\"", "`p2` cannot be a BVI: its driver is not `bvi`"),
        ("mac-limit = 65537", "a mac-limit of 65537 is too high: it is at most 65536"),
        (
            "macs = [{ mac = \"02:00:00:00:00:0b\", interface = \"p2\" }]",
            "`p2`, behind which 02:00:00:00:00:0b is said to be, is no port of the bridge `y`",
        ),
    ] {
        let config: BridgeConfig = toml::from_str(config).unwrap();
        let refused = host.control(|control| {
            let bridges: Arc<Bridges> = control.resource().unwrap();
            let mut all = bridges.configs();
            all.insert("y".to_owned(), config);
            bridges.set_all(control, all).unwrap_err().to_string()
        });
        assert_eq!(refused, message);
        assert_eq!(through(&mut host, "p1", B, A), ["no-port"], "the other one is as it was");
    }
}
