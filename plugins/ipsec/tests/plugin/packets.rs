//! What becomes of packets: around them, of what is wrong with them, and inside.

use proptest::prelude::*;
use raddle_ipsec::algorithm::Suite;
use raddle_plugin_api::testing::packets::IpPacket;
use raddle_plugin_api::testing::{Sample, packets};
use raddle_plugin_api::wire::{Ip4Header, Ip6Header, IpProtocol};
use serde_json::json;

use crate::pair::*;

#[test]
fn every_algorithm_carries_both_families_in_both() {
    for suite in Suite::all() {
        for ends in [(HERE4, THERE4), (HERE6, THERE6)] {
            let mut pair = Pair::new(suite, ends, "esn = true\n", "esn = true\n");
            for packet in [udp4(), udp6()] {
                for length in [0, 1, 5, 13, 14, 15, 16, 700, 1400] {
                    let packet = packet.clone().payload(vec![0x5a; length]);
                    let sealed = pair.seal([packet.clone()]).remove(0);
                    let is_null = suite.to_string().starts_with("null") || suite.to_string().contains("gmac");
                    let shows = sealed.windows(12).any(|window| window == [0x5a; 12]);
                    assert_eq!(shows, is_null && length >= 12, "{suite}");
                    let run = pair.open([&sealed[..]]);
                    assert_eq!(run.one().packet.bytes(), packet.to_vec(), "{suite} {length}");
                }
            }
            assert_eq!(show(&mut pair.receiver, "sa")["packets"], 18);
            assert_eq!(show(&mut pair.sender, "sa")["sequence"], 19);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn packets_of_any_length_and_any_buffers_come_out_as_they_were(
        lengths in prop::collection::vec(0_usize..1900, 1..40),
        pieces in prop::collection::vec(40_usize..600, 0..5),
        which in any::<prop::sample::Index>(),
    ) {
        let suites: Vec<Suite> = Suite::all().collect();
        let suite = suites[which.index(suites.len())];
        let mut pair = Pair::new(suite, (HERE4, THERE4), "", "");
        let plain: Vec<Vec<u8>> = lengths
            .iter()
            .map(|&length| udp4().payload((0..length).map(|n| n as u8).collect::<Vec<_>>()).to_vec())
            .collect();
        let samples = plain.iter().map(|bytes| {
            let mut left = bytes.len();
            let mut cut: Vec<usize> = Vec::new();
            for &piece in pieces.iter().filter(|_| bytes.len() > 700) {
                if left > piece {
                    cut.push(piece);
                    left -= piece;
                }
            }
            cut.push(left);
            Sample::new(bytes.clone()).in_segments(&cut)
        });
        let sealed = pair.seal(samples.collect::<Vec<_>>());
        prop_assert_eq!(sealed.len(), plain.len());
        let cut = sealed.iter().map(|bytes| {
            let half = bytes.len() / 2;
            let sample = Sample::new(bytes.clone());
            if bytes.len() > 2000 || (!pieces.is_empty() && half > 100) {
                sample.in_segments(&[half, bytes.len() - half])
            } else {
                sample
            }
        });
        let run = pair.open(cut.collect::<Vec<_>>());
        let mut out: Vec<Vec<u8>> = run.sent().iter().map(|sent| sent.packet.bytes().to_vec()).collect();
        let mut expected = plain;
        // What is copied into new buffers leaves behind the rest of its frame.
        out.sort();
        expected.sort();
        prop_assert_eq!(out, expected);
    }
}

// RFC 4303 §3.4.3 and the list of bad input.
#[test]
fn what_is_not_right_is_dropped_for_its_own_reason() {
    let mut pair = Pair::gcm();
    let sealed = pair.seal([udp4().payload([1; 40])]).remove(0);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = sealed.clone();
        change(&mut bytes);
        bytes
    };
    let far = changed(&|bytes| bytes[24..28].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes()));
    for (bytes, reason) in [
        (changed(&|bytes| bytes[23] ^= 1), "no-sa"),
        (changed(&|bytes| *bytes.last_mut().unwrap() ^= 1), "integrity"),
        (changed(&|bytes| bytes[40] ^= 0x80), "integrity"),
        (far, "integrity"),
        (changed(&|bytes| bytes[12] ^= 1), "outer-mismatch"),
        (changed(&|bytes| bytes[19] ^= 1), "outer-mismatch"),
        (changed(&|bytes| bytes.truncate(20 + 8 + 8 + 16)), "runt"),
        (changed(&|bytes| bytes.truncate(20 + 8 + 8 + 17)), "runt"),
        (changed(&|bytes| bytes.truncate(24)), "runt"),
        (changed(&|bytes| bytes.truncate(20)), "runt"),
        (changed(&|bytes| bytes.truncate(60)), "integrity"),
        (changed(&|bytes| bytes[24..28].fill(0)), "replay"),
    ] {
        pair.open([&bytes[..]]).assert_all_dropped(reason);
    }
    // Nothing of all that has moved the window: the packet itself is taken, once.
    assert_eq!(show(&mut pair.receiver, "sa")["sequence"], 0);
    pair.open([&sealed[..]]).assert_all("ip4-input");
    pair.open([&sealed[..]]).assert_all_dropped("replay");
    pair.open([&sealed[..], &sealed[..]]).assert_all_dropped("replay");
    // Neither ESP nor in UDP: others may want it.
    pair.open([udp4()]).assert_all("ip-local-end");
}

#[test]
fn late_packets_are_taken_within_the_window_and_gaps_counted() {
    let mut pair = Pair::new(gcm(), (HERE4, THERE4), "", "replay-window = 64\n");
    let sealed = pair.seal((0..200).map(|n| udp4().payload([n as u8; 20])));
    pair.open([&sealed[99][..]]).assert_all("ip4-input");
    pair.open([&sealed[36][..]]).assert_all("ip4-input");
    pair.open([&sealed[35][..]]).assert_all_dropped("replay");
    pair.open([&sealed[199][..]]).assert_all("ip4-input");
    let shown = show(&mut pair.receiver, "sa");
    assert_eq!((&shown["sequence"], &shown["lost"], &shown["packets"]), (&json!(200), &json!(98), &json!(3)));
}

// RFC 6040 §4: congestion that the way marked reaches the packet inside, and its sender's marks the packet outside.
#[test]
fn congestion_and_service_classes_go_in_and_out() {
    let with_class = |packet: IpPacket, class: u8| {
        let mut bytes = packet.to_vec();
        if bytes[0] >> 4 == 4 {
            Ip4Header::parse_mut(&mut bytes).unwrap().0.set_traffic_class(class);
        } else {
            Ip6Header::parse_mut(&mut bytes).unwrap().0.set_traffic_class(class);
        }
        bytes
    };
    for (inner, outer_ecn, expected) in [
        (0, 0, Some(0)),
        (0, 1, Some(0)),
        (0, 2, Some(0)),
        (0, 3, None),
        (2, 0, Some(2)),
        (2, 1, Some(1)),
        (2, 2, Some(2)),
        (2, 3, Some(3)),
        (1, 0, Some(1)),
        (1, 1, Some(1)),
        (1, 2, Some(1)),
        (1, 3, Some(3)),
        (3, 0, Some(3)),
        (3, 2, Some(3)),
    ] {
        for packet in [udp4(), udp6()] {
            let mut pair = Pair::gcm();
            let mut sealed = pair.seal([&with_class(packet, 0xb8 | inner)[..]]).remove(0);
            assert_eq!(sealed[1], 0xb8 | inner, "DSCP and ECN are copied");
            Ip4Header::parse_mut(&mut sealed).unwrap().0.set_traffic_class(outer_ecn);
            let run = pair.open([&sealed[..]]);
            match expected {
                None => run.assert_all_dropped("congestion"),
                Some(ecn) => {
                    let bytes = run.one().packet.bytes();
                    let class = if bytes[0] >> 4 == 4 {
                        Ip4Header::check(bytes, bytes.len()).unwrap().traffic_class()
                    } else {
                        Ip6Header::check(bytes, bytes.len()).unwrap().traffic_class()
                    };
                    assert_eq!(class, 0xb8 | ecn, "{inner} in {outer_ecn}");
                }
            }
        }
    }
    let mut pair =
        Pair::new(gcm(), (HERE4, THERE4), "dscp = 10\necn = false\ndont-fragment = 'set'\n", "ecn = false\n");
    let sealed = pair.seal([&with_class(udp4(), 0xb9)[..]]).remove(0);
    assert_eq!((sealed[1], sealed[6]), (10 << 2, 0x40));
}

// RFC 4303 §2.7.
#[test]
fn padded_payloads_have_one_length_outside_and_their_own_inside() {
    let mut pair = Pair::new(gcm(), (HERE4, THERE4), "pad-to = 512\n", "");
    for length in [0, 1, 100, 400] {
        let packet = udp4().payload(vec![3; length]);
        assert_eq!(pair.seal([packet.clone()])[0].len(), 20 + 16 + 512 + 4 + 16);
        assert_eq!(pair.pass(packet.clone()), packet.to_vec());
    }
    let long = udp4().payload([3; 800]);
    assert_eq!(pair.pass(long.clone()), long.to_vec());
}

// RFC 3948 §2, §4.
#[test]
fn esp_in_udp_is_told_from_ike_and_keep_alives() {
    let udp = "udp-encapsulation = { local-port = 4500, remote-port = 5500 }\n";
    let of_receiver = "udp-encapsulation = { local-port = 5500, remote-port = 4500 }\n";
    let mut pair = Pair::new(gcm(), (HERE4, THERE4), udp, of_receiver);
    let packet = udp4().payload([9; 30]);
    let sealed = pair.seal([packet.clone()]).remove(0);
    assert_eq!(
        (sealed[9], &sealed[20..24], &sealed[26..28]),
        (17, &[0x11, 0x94, 0x15, 0x7c][..], &[0, 0][..])
    );
    assert_eq!(pair.open([&sealed[..]]).one().packet.bytes(), packet.to_vec());
    let datagram = |payload: &[u8]| packets::udp("192.0.2.1:4500", "198.51.100.1:5500").payload(payload);
    pair.open([datagram(&[0xff])]).assert_all_dropped("keep-alive");
    pair.open([datagram(&[0, 0, 0, 0, 1, 2, 3, 4, 5])]).assert_all("ip-local-end");
    pair.open([datagram(&[0, 0, 16])]).assert_all_dropped("runt");
    // The same SA without UDP is another's packet.
    let mut bare = sealed[..20].to_vec();
    bare[9] = IpProtocol::ESP.0;
    bare.extend(&sealed[28..]);
    pair.open([&bare[..]]).assert_all_dropped("outer-mismatch");
}

#[test]
fn a_tunnel_without_sa_or_that_is_down_passes_nothing() {
    let keys = Keys::new();
    let mut host = gateway("", &keys.0.path().join("a"));
    let east = host.interface("east");
    let run = host.run_named("ipsec-tx", [Sample::from(udp4()).with_tx_interface(east)]);
    run.assert_all_dropped("no-sa");
    let mut pair = Pair::gcm();
    let sealed = pair.seal([udp4()]).remove(0);
    pair.receiver.change_interface("east", |east| east.down());
    pair.open([&sealed[..]]).assert_all_dropped("interface-down");
    // The SA may be there before its tunnel.
    pair.receiver.delete_interface("east");
    let sealed = pair.seal([udp4()]).remove(0);
    pair.open([&sealed[..]]).assert_all_dropped("interface-down");
}

#[test]
fn traces_say_which_sa() {
    let mut pair = Pair::gcm();
    pair.sender.trace(true);
    pair.seal([udp4()]);
    let texts = pair.sender.trace_texts("ipsec-tx");
    assert!(texts.iter().any(|text| text.starts_with("by SA sa, SPI 0x00001000, now ")), "{texts:?}");
}

// RFC 4303 §3.1.1: between the gateways themselves, extension headers and all; the mirror of what was sent comes out.
#[test]
fn transport_mode_wraps_what_is_behind_the_ip_header() {
    let transport = "mode = 'transport'\nesn = true\n";
    let options = [0, 0, 1, 4, 0, 0, 0, 0];
    for suite in Suite::all() {
        for (ends, packet) in [
            ((HERE4, THERE4), packets::udp(&format!("{HERE4}:1"), &format!("{THERE4}:2"))),
            (
                (HERE4, THERE4),
                packets::udp(&format!("{HERE4}:1"), &format!("{THERE4}:2")).options([1, 1, 1, 0]),
            ),
            ((HERE6, THERE6), packets::udp(&format!("[{HERE6}]:1"), &format!("[{THERE6}]:2"))),
            (
                (HERE6, THERE6),
                packets::udp(&format!("[{HERE6}]:1"), &format!("[{THERE6}]:2"))
                    .extension(IpProtocol::HOP_BY_HOP, options),
            ),
        ] {
            let mut pair = Pair::new(suite, ends, transport, transport);
            for length in [0, 1, 2, 3, 17, 1200] {
                let packet = packet.clone().payload(vec![8; length]).to_vec();
                let sealed = pair.seal([&packet[..]]).remove(0);
                let is_esp = sealed[9] == IpProtocol::ESP.0 || sealed[6] == 50 || sealed[40] == 50;
                assert!(is_esp && sealed.len() > packet.len());
                let run = pair.open([&sealed[..]]);
                assert_eq!(run.one().packet.bytes(), packet, "{suite} {length}");
            }
        }
    }
    let mut pair = Pair::new(gcm(), (HERE4, THERE4), transport, transport);
    let east = pair.sender.interface("east");
    for (packet, reason) in [
        (udp4(), "selector-mismatch"),
        (packets::udp("192.0.2.1:1", "198.51.100.1:2").fragment(8, false), "malformed"),
    ] {
        let run = pair.sender.run_named("ipsec-tx", [Sample::from(packet).with_tx_interface(east)]);
        run.assert_all_dropped(reason);
    }
    // A tunnel's SA does not open what was sent in transport mode, nor the other way round.
    let sealed = pair.seal([packets::udp("192.0.2.1:1", "198.51.100.1:2")]).remove(0);
    let mut tunnel = Pair::new(gcm(), (HERE4, THERE4), "esn = true\n", "esn = true\n");
    tunnel.open([&sealed[..]]).assert_all_dropped("selector-mismatch");
    let sealed = tunnel.seal([udp4()]).remove(0);
    pair.open([&sealed[..]]).assert_all_dropped("selector-mismatch");
    let keys = Keys::new();
    let config =
        section("out", (HERE4, THERE4), &format!("{}mode = 'transport'\npad-to = 100\n", keys.of(gcm())));
    assert!(refused(&config).contains("`pad-to` is for tunnel mode"));
}
