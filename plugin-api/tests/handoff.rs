//! Packets that go on on another thread.

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::Harness;

next! { enum Out { Away => "away" } }
error! { enum Why { Congested => "congested": "the other thread takes no more" } }

/// Sends each packet to the thread that its first byte names, where it goes away; and notes who saw it.
struct Director;

impl Node for Director {
    const NAME: &'static str = "director";
    type Next = Out;
    type Error = Why;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let own = env.worker().thread_index();
            if let Some(last) = packet.bytes_mut().last_mut() {
                *last = own as u8;
            }
            let wanted = packet.bytes().first().map_or(0, |&thread| u32::from(thread));
            if wanted != own
                && let Err(refused) = env.hand_off(packet.take(), wanted, Verdict::To(env.node()))
            {
                env.send(refused, Verdict::Drop(Why::Congested));
            }
            Verdict::Next(Out::Away)
        });
    }
}

node!(Director);

#[test]
fn packet_goes_on_in_the_same_node_on_another_thread() {
    let mut harness = Harness::builder().workers(2).build();
    let run = harness.run_on::<Director>(1, [[1, 0], [2, 0], [0, 0]]);
    let seen: Vec<_> = run.sent().iter().map(|sent| (sent.thread, sent.packet.bytes().to_vec())).collect();
    assert_eq!(seen, [(1, vec![1, 1]), (2, vec![2, 2]), (0, vec![0, 0])]);
}

#[test]
fn refused_packet_is_the_callers_still() {
    let mut harness = Harness::builder().workers(2).build();
    harness.congest(2, true);
    let run = harness.run_on::<Director>(1, [[2, 0], [9, 0]]);
    run.assert_all_dropped(Why::Congested);
    assert_eq!(run.drops().len(), 2);
    harness.congest(2, false);
    assert_eq!(harness.run_on::<Director>(1, [[2, 0]]).sent().len(), 1);
}

#[test]
fn a_hash_points_to_one_thread_that_has_packets() {
    struct Look;
    next! { enum Nowhere { Away => "away" } }
    impl Node for Look {
        const NAME: &'static str = "look";
        type Next = Nowhere;
        type Error = NoError;

        fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
            Ok(Self)
        }

        fn process(&mut self, vector: Vector<'_, Self>) {
            vector.each(|env, packet| {
                let worker = env.worker();
                let threads =
                    [0, 0x7fff_ffff, 0x8000_0000, u32::MAX].map(|hash| worker.thread_of(hash) as u8);
                packet.bytes_mut()[..4].copy_from_slice(&threads);
                Verdict::Next(Nowhere::Away)
            });
        }
    }
    for (workers, expected) in [(0, [0, 0, 0, 0]), (1, [1, 1, 1, 1]), (2, [1, 1, 2, 2]), (4, [1, 2, 3, 4])] {
        let mut harness = Harness::builder().workers(workers).build();
        let run = harness.run::<Look>([[0; 4]]);
        assert_eq!(run.sent()[0].packet.bytes(), expected, "{workers} workers");
    }
}
