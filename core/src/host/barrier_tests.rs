//! Holds of the barrier on an engine with a worker that does not come.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use raddle_plugin_api::prelude::*;

use super::{Engine, EngineConfig};
use crate::memory::HugePages;
use crate::runtime::{LateWorker, WorkerConfig};

static STUCK: AtomicBool = AtomicBool::new(false);

next! { enum StuckNext { Drop => "drop" } }

/// While it is told to, keeps the first worker from the end of its pass.
struct Stuck;

impl InputNode for Stuck {
    const NAME: &'static str = "test-stuck";
    type Next = StuckNext;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn poll(&mut self, output: &mut Output<'_, StuckNext>) {
        while output.worker().thread_index() == 1 && STUCK.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    }
}

input_node!(Stuck);

#[test]
fn worker_that_does_not_come_is_told_with_the_node_that_it_is_in() {
    let engine = Engine::create(EngineConfig {
        workers: vec![WorkerConfig::default()],
        buffers: 2048,
        hugepages: HugePages::Never,
        ..EngineConfig::default()
    })
    .expect("an engine");
    engine.start_workers().expect("workers");
    let told: Rc<RefCell<Vec<LateWorker>>> = Rc::default();
    let noted = Rc::clone(&told);
    engine.threads.borrow_mut().on_late(Duration::from_millis(1), move |late| {
        noted.borrow_mut().push(late.clone());
        STUCK.store(false, Ordering::Relaxed);
    });
    STUCK.store(true, Ordering::Relaxed);
    engine.threads.borrow().wake(1);
    let is_stuck = || engine.thread_reports()[1].node.as_deref() == Some("test-stuck");
    assert!(engine.run_until(Duration::from_secs(30), is_stuck));
    engine
        .with_core(|control| {
            drop(control.barrier("a test"));
            Ok(())
        })
        .unwrap();
    let expected = LateWorker {
        thread: 1,
        node: Some("test-stuck".to_owned()),
        plugin: Some("core".to_owned()),
        cause: "a test".to_owned(),
    };
    assert_eq!(told.borrow().as_slice(), std::slice::from_ref(&expected));
    let report = engine.barrier_report();
    assert_eq!((report.late, report.last_late), (1, Some(expected)));
    let cause = report.causes.iter().find(|cause| cause.cause == "a test").unwrap();
    assert!(cause.holds == 1 && cause.longest_wait_ns >= 1_000_000, "{cause:?}");
}
