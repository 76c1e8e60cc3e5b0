//! Feature arcs: order, masks, ways through, and packets that outlast an arc's numbering.

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Sample};

arc! { "tests", end: "the-end" }

next! { enum Out { Away => "away" } }
error! { enum Why { Told => "told": "the packet says so" } }

/// Puts its letter in front, and does what the packet's last byte says.
struct Stamp<const LETTER: char> {
    kept: Vec<HeldPacket>,
}

impl<const LETTER: char> Node for Stamp<LETTER> {
    const NAME: &'static str = match LETTER {
        'a' => "stamp-a",
        'b' => "stamp-b",
        _ => "stamp-c",
    };
    type Next = Out;
    type Error = Why;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { kept: Vec::new() })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let kept = &mut self.kept;
        vector.each(|env, packet| {
            let order = packet.bytes().last().copied();
            if let Some(bytes) = packet.prepend(1) {
                bytes[0] = LETTER as u8;
            }
            match order {
                Some(b'1') if LETTER == 'a' => Verdict::Next(Out::Away),
                Some(b'2') if LETTER == 'b' => Verdict::Drop(Why::Told),
                Some(b'3') if LETTER == 'a' => {
                    kept.push(packet.take());
                    Verdict::Continue
                }
                Some(b'4') => {
                    for held in kept.drain(..) {
                        env.send(held, Verdict::Continue);
                    }
                    Verdict::Continue
                }
                _ => Verdict::Continue,
            }
        });
    }
}

node!(Stamp<'a'>);
node!(Stamp<'b'>);
node!(Stamp<'c'>);
feature! { "a", node: Stamp<'a'>, arc: "tests", runs_before: ["b"] }
feature! { "b", node: Stamp<'b'>, arc: "tests" }
feature! { "c", node: Stamp<'c'>, arc: "tests", runs_after: ["b"], runs_before: ["nobody"], fail_closed }

/// Starts packets on the arc.
struct Start {
    arc: ArcIndex,
}

impl Node for Start {
    const NAME: &'static str = "start";
    type Next = Out;
    type Error = NoError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { arc: init.arc("tests")? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let arc = self.arc;
        vector.each(|env, packet| {
            let interface = packet.rx_interface();
            env.enter_arc(arc, interface, packet, Verdict::Next(Out::Away))
        });
    }
}

fn host(features: &[&'static str]) -> (Harness, InterfaceIndex) {
    let features = features.to_vec();
    let mut host = Harness::builder()
        .interface("plain", |i| i)
        .interface("on", move |i| features.iter().fold(i, |i, feature| i.feature(feature)))
        .build();
    host.nodes(&["stamp-a", "stamp-b", "stamp-c"]);
    let on = host.interface("on");
    (host, on)
}

#[test]
fn features_run_in_their_order_whatever_order_they_were_enabled_in() {
    let (mut host, on) = host(&["c", "a", "b"]);
    assert_eq!(host.features("tests", on), ["a", "b", "c"]);
    let out = host.run_arc("tests", on, [b"x"]);
    assert_eq!((out.one().node.as_str(), out.one().packet.bytes()), ("the-end", &b"cbax"[..]));
}

#[test]
fn every_subset_of_features_runs_and_no_other() {
    for mask in 0..8 {
        let on: Vec<&str> = ["a", "b", "c"]
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| mask >> bit & 1 == 1)
            .map(|(_, name)| name)
            .collect();
        let (mut host, interface) = host(&on);
        let wanted = on.iter().rev().copied().collect::<String>() + "x";
        let packet = Sample::new(*b"x").with_rx_interface(interface);
        let out = host.run::<Start>([packet]);
        let end = if mask == 0 { "away" } else { "the-end" };
        assert_eq!((out.one().node.as_str(), out.one().packet.bytes()), (end, wanted.as_bytes()), "{on:?}");
    }
}

#[test]
fn interfaces_have_features_of_their_own() {
    let (mut host, on) = host(&["b"]);
    let plain = host.interface("plain");
    let packets = [plain, on].map(|interface| Sample::new(*b"x").with_rx_interface(interface));
    let out = host.run::<Start>(packets);
    assert_eq!((out.to("away")[0].bytes(), out.to("the-end")[0].bytes()), (&b"x"[..], &b"bx"[..]));
    host.set_feature(on, "b", false);
    host.run::<Start>([Sample::new(*b"x").with_rx_interface(on)]).assert_all(Out::Away);
}

#[test]
fn a_feature_can_send_away_and_drop() {
    let (mut host, on) = host(&["a", "b", "c"]);
    let out = host.run_arc("tests", on, [b"1", b"2", b"x"]);
    assert_eq!((out.to(Out::Away).len(), out.dropped(Why::Told), out.to("the-end").len()), (1, 1, 1));
}

#[test]
fn a_kept_packet_goes_on_where_it_was_unless_the_arc_was_numbered_anew() {
    for (anew, at_end, dropped) in [(false, 2, 0), (true, 1, 1)] {
        let (mut host, on) = host(&["a", "b"]);
        host.run_arc("tests", on, [b"3"]).assert_nothing();
        if anew {
            host.renumber_arc("tests");
        }
        let out = host.run_arc("tests", on, [b"4"]);
        assert_eq!((out.to("the-end").len(), out.dropped("none")), (at_end, dropped), "anew: {anew}");
        host.assert_no_leaks();
    }
}
