//! The hot loop: every way that a frame can go, and what becomes of its packets when a node panics.

use std::sync::{Arc, Mutex};

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Sample};

next! { enum ToNext { Left => "left", Right => "right" } }
error! { enum Why { Bad => "bad": "the packet says so", Worse => "worse": "the packet insists" } }

/// Does with each packet what its first byte says.
struct Obey {
    kept: Vec<HeldPacket>,
    seen: Arc<Mutex<Vec<usize>>>,
}

impl Node for Obey {
    const NAME: &'static str = "obey";
    type Next = ToNext;
    type Error = Why;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { kept: Vec::new(), seen: init.resource().unwrap_or_default() })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let (kept, seen) = (&mut self.kept, &self.seen);
        vector.each_at(|env, position, packet| {
            seen.lock().unwrap().push(position);
            match packet.bytes().first() {
                Some(b'l') => Verdict::Next(ToNext::Left),
                Some(b'r') => Verdict::Next(ToNext::Right),
                Some(b'c') => Verdict::Continue,
                Some(b'k') => {
                    kept.push(packet.take());
                    assert_eq!(packet.bytes(), b"", "a view whose packet was taken is empty");
                    Verdict::Next(ToNext::Left)
                }
                Some(b'K') => {
                    drop(packet.take());
                    Verdict::Drop(Why::Bad)
                }
                Some(b'f') => {
                    for held in kept.drain(..) {
                        env.send(held, Verdict::Next(ToNext::Right));
                    }
                    Verdict::Next(ToNext::Left)
                }
                Some(b'n') => {
                    let mut made = env.worker().allocate().unwrap();
                    assert!(env.worker().open(&mut made).append(b"new"));
                    env.send(made, Verdict::Next(ToNext::Right));
                    Verdict::Drop(Why::Worse)
                }
                Some(b'P') => panic!("as told"),
                Some(b'T') => {
                    kept.push(packet.take());
                    panic!("as told, with the packet taken");
                }
                _ => Verdict::Drop(Why::Bad),
            }
        });
    }
}

fn bytes_to(run: &raddle_plugin_api::testing::Run, node: &str) -> Vec<u8> {
    run.to(node).iter().map(|packet| packet.bytes()[0]).collect()
}

#[test]
fn a_frame_that_goes_one_way_moves_whole_and_in_order() {
    let mut host = Harness::builder().build();
    let packets: Vec<[u8; 2]> = (0..=255).map(|number| [b'l', number]).collect();
    let out = host.run::<Obey>(packets.iter().map(|bytes| bytes.as_slice()));
    out.assert_all(ToNext::Left);
    let numbers: Vec<u8> = out.to(ToNext::Left).iter().map(|packet| packet.bytes()[1]).collect();
    assert_eq!(numbers, (0..=255).collect::<Vec<u8>>());
    host.assert_no_leaks();
}

#[test]
fn a_mixed_frame_is_parted_and_each_part_keeps_its_order() {
    let mut host = Harness::builder().build();
    let out = host.run::<Obey>([b"l1", b"r1", b"l2", b"x1", b"r2", b"l3"]);
    assert_eq!(out.to("left").iter().map(|p| p.bytes()[1]).collect::<Vec<_>>(), b"123");
    assert_eq!(out.to("right").iter().map(|p| p.bytes()[1]).collect::<Vec<_>>(), b"12");
    assert_eq!(out.dropped(Why::Bad), 1);
    assert_eq!(out.drops()[0].node, "obey");
    host.assert_no_leaks();
}

#[test]
fn more_packets_than_a_frame_holds_come_in_several() {
    let seen = Arc::new(Mutex::new(Vec::<usize>::new()));
    let mut host = Harness::builder().build();
    host.control(|control| control.provide(Arc::clone(&seen))).unwrap();
    let out = host.run::<Obey>(vec![b"l"; 300]);
    assert_eq!(out.to("left").len(), 300);
    let expected: Vec<usize> = (0..256).chain(0..44).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn taken_packets_leave_the_frame_and_can_be_sent_later() {
    let mut host = Harness::builder().build();
    let out = host.run::<Obey>([b"k1", b"l1", b"k2", b"r1"]);
    assert_eq!((bytes_to(&out, "left"), bytes_to(&out, "right")), (b"l".to_vec(), b"r".to_vec()));
    assert_eq!(host.held_buffers(), 2);
    let out = host.run::<Obey>([b"f1"]);
    assert_eq!((bytes_to(&out, "left"), bytes_to(&out, "right")), (b"f".to_vec(), b"kk".to_vec()));
    host.assert_no_leaks();
}

#[test]
fn a_whole_frame_that_is_taken_leaves_nothing_behind() {
    let mut host = Harness::builder().build();
    host.run::<Obey>([b"k", b"k", b"k"]).assert_nothing();
    assert_eq!(host.held_buffers(), 3);
    // The node's state goes with the harness, and the packets in it go back then.
}

#[test]
fn a_taken_packet_that_is_dropped_goes_back_uncounted() {
    let mut host = Harness::builder().build();
    host.run::<Obey>([b"K", b"K"]).assert_nothing();
    host.assert_no_leaks();
}

#[test]
fn new_packets_are_sent_beside_those_of_the_frame() {
    let mut host = Harness::builder().build();
    let out = host.run::<Obey>([b"n"]);
    assert_eq!(out.to("right")[0].bytes(), b"new");
    assert_eq!(out.dropped("worse"), 1);
    host.assert_no_leaks();
}

#[test]
fn a_panic_loses_the_frame_and_nothing_else() {
    for (frame, lost, kept) in [
        ("P", 1, 0),
        ("lrP", 3, 0),
        ("lPr", 3, 0),
        ("kP", 1, 1),
        ("klkPl", 3, 2),
        ("T", 0, 1),
        ("lTl", 2, 1),
        ("kTk", 1, 2),
        ("KP", 1, 0),
        ("llllllllllllT", 12, 1),
    ] {
        let mut host = Harness::builder().build();
        let packets: Vec<[u8; 1]> = frame.bytes().map(|byte| [byte]).collect();
        let panicked = host.try_run::<Obey>(packets).unwrap_err();
        assert_eq!((panicked.node.as_str(), panicked.packets), ("obey", frame.len()), "{frame}");
        assert_eq!((panicked.run.lost(), host.held_buffers()), (lost, kept), "{frame}");
        // What the node had taken is still its own, and whole.
        let out = host.run::<Obey>([b"f"]);
        assert_eq!(out.to("right").len(), kept, "{frame}");
        host.assert_no_leaks();
    }
}

#[test]
fn packets_sent_before_a_panic_go_their_way() {
    let mut host = Harness::builder().build();
    host.run::<Obey>([b"k"]).assert_nothing();
    let panicked = host.try_run::<Obey>([b"f", b"P"]).unwrap_err();
    assert_eq!(bytes_to(&panicked.run, "right"), b"k");
    assert_eq!(panicked.run.lost(), 2);
    host.assert_no_leaks();
}

struct Whole;

impl Node for Whole {
    const NAME: &'static str = "whole";
    type Next = ToNext;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, mut vector: Vector<'_, Self>) {
        let mut bytes = 0;
        vector.scan(|_, packet| bytes += packet.len());
        if bytes == 0 {
            return;
        }
        vector.forward(ToNext::Right);
    }
}

#[test]
fn a_forwarded_frame_stays_as_it_is() {
    let mut host = Harness::builder().interface("a", |i| i).build();
    let packet = Sample::new(*b"as it is").with_adjacency(7).with_fib_index(3);
    let out = host.run::<Whole>([&packet, &packet]);
    out.assert_all(ToNext::Right);
    assert_eq!(out.to("right")[1].bytes(), b"as it is");
    assert_eq!((out.to("right")[1].adjacency(), out.to("right")[1].fib_index()), (7, 3));
    host.assert_no_leaks();
}

#[test]
fn a_frame_that_is_not_consumed_is_lost_and_reported() {
    let mut host = Harness::builder().build();
    let panicked = host.try_run::<Whole>([b"", b""]).unwrap_err();
    assert_eq!(panicked.run.lost(), 2);
    host.assert_no_leaks();
}

struct OneInterface;

impl Node for OneInterface {
    const NAME: &'static str = "one-interface";
    type Next = ToNext;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let next = if vector.interface().is_some() { ToNext::Left } else { ToNext::Right };
        vector.forward(next);
    }
}

#[test]
fn a_frame_knows_its_interface_if_it_is_one() {
    let mut host = Harness::builder().interface("a", |i| i).interface("b", |i| i).build();
    let from = |name: &str| Sample::new(*b"x").with_rx_interface(host.interface(name));
    let (a, b) = (from("a"), from("b"));
    host.run::<OneInterface>([&a, &a]).assert_all("left");
    host.run::<OneInterface>([&b]).assert_all("left");
    host.run::<OneInterface>([&a, &b, &a]).assert_all("right");
}

#[test]
fn traced_packets_tell_where_they_went() {
    let mut host = Harness::builder().build();
    host.trace(true);
    host.run::<Obey>([b"l", b"r", b"k"]);
    host.run::<Whole>([b"w"]);
    host.run::<Obey>([b"f"]);
    let passages: Vec<(u32, String, String)> =
        host.traces().into_iter().filter_map(|t| Some((t.packet, t.node, t.target?))).collect();
    let expected = [
        (0, "obey", "left"),
        (1, "obey", "right"),
        (3, "whole", "right"),
        (2, "obey", "right"),
        (4, "obey", "left"),
    ];
    assert_eq!(passages, expected.map(|(packet, node, target)| (packet, node.to_owned(), target.to_owned())));
}
