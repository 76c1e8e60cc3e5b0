//! Threads that make a pass because a node wants it, though nothing comes in.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use raddle_plugin_api::prelude::*;

use crate::control::test_engine::with_engine;

static TICKS: AtomicBool = AtomicBool::new(false);
static POLLS_BY_WORKERS: AtomicU64 = AtomicU64::new(0);

next! { enum TickNext { Drop => "drop" } }

/// While it is told to, has its thread come back a millisecond later.
struct Ticker;

impl InputNode for Ticker {
    const NAME: &'static str = "test-ticker";
    type Next = TickNext;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn poll(&mut self, output: &mut Output<'_, TickNext>) {
        if TICKS.load(Ordering::Relaxed) && output.worker().thread_index() > 0 {
            POLLS_BY_WORKERS.fetch_add(1, Ordering::Relaxed);
            output.worker().wake_at(output.worker().now_ns() + 1_000_000);
        }
    }
}

input_node!(Ticker);

#[test]
fn sleeping_worker_wakes_when_a_node_wants_it() {
    with_engine(1, |session| {
        TICKS.store(true, Ordering::Relaxed);
        // What has the workers stand wakes them first.
        session.text("interface create lan driver test up");
        let begin = POLLS_BY_WORKERS.load(Ordering::Relaxed);
        let ticks = || POLLS_BY_WORKERS.load(Ordering::Relaxed) - begin;
        for _ in 0..5000 {
            if ticks() >= 20 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        TICKS.store(false, Ordering::Relaxed);
        assert!(ticks() >= 20, "{} passes", ticks());
    });
}
