//! State that the nodes of a thread share, and threads that wake for their timers.

use std::sync::Arc;
use std::time::Duration;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::sync::PerThread;
use raddle_plugin_api::testing::Harness;
use raddle_plugin_api::timer::TimerWheel;

next! { enum Out { Away => "away" } }

/// What a thread knows of the packets that it saw.
struct Seen {
    thread: u32,
    live: usize,
    wheel: TimerWheel<u8>,
}

struct Table {
    seen: PerThread<Seen>,
}

init! { "table", make_table }

fn make_table(control: &mut Control<'_>) -> Result<(), Failure> {
    let make = |thread| Seen { thread, live: 0, wheel: TimerWheel::new(1_000_000, 0) };
    let seen = PerThread::new(control, make);
    control.provide(Arc::new(Table { seen }))?;
    Ok(())
}

/// Notes packets, for a second.
struct Learn {
    table: Arc<Table>,
}

impl Node for Learn {
    const NAME: &'static str = "learn";
    type Next = Out;
    type Error = NoError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { table: init.resource()? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        // Lent once for all packets.
        let worker = vector.worker();
        self.table.seen.with(&worker, |seen| {
            vector.each(|env, packet| {
                assert_eq!(seen.thread, env.worker().thread_index());
                seen.live += 1;
                seen.wheel.start(env.now_ns() + 1_000_000_000, packet.bytes().first().copied().unwrap_or(0));
                Verdict::Next(Out::Away)
            });
        });
    }
}

node!(Learn);

/// Forgets them again.
struct Forget {
    table: Arc<Table>,
}

impl InputNode for Forget {
    const NAME: &'static str = "forget";
    type Next = Out;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { table: init.resource()? })
    }

    fn poll(&mut self, output: &mut Output<'_, Out>) {
        let worker = output.worker();
        self.table.seen.with(worker, |seen| {
            while seen.wheel.expire(worker.now_ns()).is_some() {
                seen.live -= 1;
            }
            if let Some(next) = seen.wheel.next_ns() {
                worker.wake_at(next);
            }
        });
    }
}

input_node!(Forget);

fn live(harness: &mut Harness) -> Vec<usize> {
    harness.control(|control| {
        let table = control.resource::<Table>().expect("made by the init function");
        let mut live = Vec::new();
        table.seen.each(&mut control.barrier("test"), |_, seen| live.push(seen.live));
        live
    })
}

#[test]
fn nodes_of_a_thread_share_what_other_threads_do_not_see() {
    let mut harness = Harness::builder().workers(2).build();
    harness.load();
    harness.run_on::<Learn>(1, [[1], [2]]);
    harness.run_on::<Learn>(2, [[3]]);
    assert_eq!(live(&mut harness), [0, 2, 1]);
}

#[test]
fn thread_wakes_for_its_timers() {
    let mut harness = Harness::builder().workers(1).build();
    harness.load();
    harness.run::<Learn>([[1], [2]]);
    harness.poll::<Forget>();
    for _ in 0..20 {
        let Some(wake) = harness.take_wake(1) else { break };
        let ahead = wake.saturating_sub(harness.now_ns());
        assert!(ahead <= 1_001_000_000, "{ahead} ns is later than the timers");
        harness.advance(Duration::from_nanos(ahead));
        harness.poll_node("forget");
    }
    assert_eq!(live(&mut harness), [0, 0]);
    assert_eq!(harness.take_wake(1), None, "nothing is left to wake for");
}
