//! The harness judges: what a node must not do is found, and what it may do is not.

use raddle_plugin_api::InterfaceChange;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Sample, packets};

next! { enum ToSink { Sink => "sink" } }

struct Pass {
    thread: u32,
    seen: u32,
}

impl Node for Pass {
    const NAME: &'static str = "pass";
    type Next = ToSink;
    type Error = NoError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { thread: init.thread_index(), seen: 0 })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let Self { thread, seen } = self;
        vector.each(|env, packet| {
            *seen += 1;
            assert_eq!(env.worker().thread_index(), *thread);
            packet.set_flow_id(*thread * 100 + *seen);
            Verdict::Next(ToSink::Sink)
        });
    }
}

struct Hoard(Vec<HeldPacket>);

impl Node for Hoard {
    const NAME: &'static str = "hoard";
    type Next = NoNext;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self(Vec::new()))
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        let kept = &mut self.0;
        vector.each(|_, packet| {
            kept.push(packet.take());
            Verdict::Continue
        });
    }
}

#[test]
fn each_thread_has_its_own_state_of_a_node() {
    let mut host = Harness::builder().workers(2).build();
    let flow = |host: &mut Harness, thread| host.run_on::<Pass>(thread, [b"x"]).one().packet.flow_id();
    assert_eq!([0, 1, 2, 2, 0].map(|thread| flow(&mut host, thread)), [1, 101, 201, 202, 2]);
    assert_eq!(host.run::<Pass>([b"x"]).one().packet.flow_id(), 102, "the first worker, unless told");
}

#[test]
#[should_panic(expected = "2 buffers are not back in the pool")]
fn kept_packets_are_leaks_if_the_test_says_there_are_none() {
    let mut host = Harness::builder().build();
    host.run::<Hoard>([b"x", b"y"]);
    host.assert_no_leaks();
}

#[test]
#[should_panic(expected = "1 buffers leaked")]
fn a_forgotten_packet_is_found_at_the_end() {
    let mut host = Harness::builder().build();
    host.worker(0, |worker| std::mem::forget(worker.allocate()));
}

#[test]
fn what_outlives_its_harness_does_no_harm() {
    let mut host = Harness::builder().build();
    let (counters, remote) = host.control(|control| (control.counters("late", 1).unwrap(), control.remote()));
    drop(host);
    assert_eq!(counters.sum(0), 0);
    remote.run(|_| unreachable!("there is no main thread any more"));
}

#[test]
fn samples_come_out_as_they_went_in() {
    let mut host = Harness::builder().interface("a", |i| i).build();
    let frame = packets::udp("192.0.2.1:1", "192.0.2.2:2").payload_length(5000).ethernet().to_vec();
    let sample = Sample::new(frame.as_slice())
        .advanced(14)
        .with_l3_here()
        .with_tx_interface(InterfaceIndex(3))
        .in_segments(&[20, 8, 0, 1000]);
    let out = host.run::<Pass>([&sample]);
    let again = host.run::<Pass>([&out.one().packet]);
    for packet in [&out.one().packet, &again.one().packet] {
        assert_eq!((packet.bytes(), packet.segments()), (&frame[14..], &[20, 8, 0, 1000, 2048, 1952][..]));
        assert!(packet.front().ends_with(&frame[..14]));
        assert_eq!((packet.l3_distance(), packet.tx_interface()), (0, InterfaceIndex(3)));
        assert_eq!(packet.rx_interface(), host.interface("a"), "the first, as the test named none");
    }
}

#[test]
#[should_panic(expected = "too few buffers for the packets of the test")]
fn packets_that_do_not_fit_the_pool_are_refused() {
    Harness::builder().buffers(2).build().run::<Pass>([b"1", b"2", b"3"]);
}

fn note(control: &mut Control<'_>, event: raddle_plugin_api::InterfaceEvent) -> Result<(), Failure> {
    control.log(LogLevel::INFO, format_args!("{} {:?}", event.interface.name, event.change));
    if event.change == InterfaceChange::Created && event.interface.admin_up {
        bail!("an interface is made down");
    }
    Ok(())
}

on_event! { "interface", note }

#[test]
fn events_tell_what_becomes_of_interfaces() {
    let mut host = Harness::builder().interface("old", |i| i).build();
    host.load();
    host.add_interface("wan", |i| i.mtu(1500));
    host.change_interface("wan", |i| i.mtu(9000).link_up(false));
    host.change_interface("wan", |i| i.link_up(true));
    host.delete_interface("wan");
    let lines: Vec<String> = host.log().into_iter().map(|line| line.message).collect();
    let wanted = ["wan Created", "wan Up", "wan Changed", "wan Down", "wan Up", "wan Deleted"];
    assert_eq!(lines, wanted);
    assert!(host.logged(LogLevel::INFO, "Deleted"));
}
