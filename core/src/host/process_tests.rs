//! Tasks, events and watched descriptors on a real engine.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use raddle_plugin_api::Worker;
use raddle_plugin_api::file::{Interest, Ready, readable};

use super::{Engine, EngineConfig};
use crate::memory::HugePages;
use crate::runtime::WorkerConfig;

const PATIENCE: Duration = Duration::from_secs(30);

fn engine(workers: usize) -> Box<Engine> {
    let config = EngineConfig {
        workers: vec![WorkerConfig::default(); workers],
        buffers: 2048,
        hugepages: HugePages::Never,
        ..EngineConfig::default()
    };
    let engine = Engine::create(config).expect("an engine");
    engine.start_workers().expect("workers");
    engine
}

/// A socket that is watched on a thread, and how often its bytes came to which.
struct Watched {
    ours: UnixStream,
    bytes: Arc<AtomicU64>,
    watch: raddle_plugin_api::file::FileWatch,
}

fn watch(engine: &Engine, thread: u32) -> Watched {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let bytes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&bytes);
    let fd = theirs.try_clone().unwrap();
    let ready = move |worker: &Worker<'_>, _: Ready| {
        assert_eq!(worker.thread_index(), thread);
        let mut buffer = [0; 64];
        while let Ok(length @ 1..) = theirs.read(&mut buffer) {
            counted.fetch_add(length as u64, Ordering::Relaxed);
        }
    };
    let watch = engine.with_core(|control| control.watch_file(fd.as_fd(), Interest::Readable, thread, ready));
    // The descriptor that was handed over is closed here: the engine has its own.
    Watched { ours, bytes, watch: watch.unwrap() }
}

#[test]
fn sleeping_threads_wake_for_their_descriptors() {
    for workers in [0, 2] {
        let engine = engine(workers);
        let mut all: Vec<_> = (0..=workers as u32).map(|thread| watch(&engine, thread)).collect();
        for round in 1..=20_u64 {
            for watched in &mut all {
                watched.ours.write_all(b"x").unwrap();
            }
            let all_came = || all.iter().all(|watched| watched.bytes.load(Ordering::Relaxed) == round);
            assert!(engine.run_until(PATIENCE, all_came), "round {round}, {workers} workers");
        }
        let holds = engine.threads.borrow().barrier_stats().holds();
        for Watched { mut ours, bytes, watch } in all {
            let end = |control: &mut raddle_plugin_api::Control<'_>| {
                control.unwatch_file(watch);
                Ok(())
            };
            engine.with_core(end).unwrap();
            // The last copy of the other end went with the watch.
            assert_eq!(ours.write_all(b"x").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
            assert_eq!(bytes.load(Ordering::Relaxed), 20);
        }
        assert_eq!(engine.threads.borrow().barrier_stats().holds(), holds, "watching takes no barrier");
    }
}

#[test]
fn a_task_that_yields_has_one_turn_between_two_passes_and_starves_nobody() {
    let engine = engine(0);
    let mut watched = watch(&engine, 0);
    let turns = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&turns);
    engine
        .with_core(|control| {
            control.spawn("test-yielder", |_| async move {
                loop {
                    counted.fetch_add(1, Ordering::Relaxed);
                    raddle_plugin_api::task::yield_now().await;
                }
            });
            Ok(())
        })
        .unwrap();
    for round in 1..=20_u64 {
        watched.ours.write_all(b"x").unwrap();
        let came = || watched.bytes.load(Ordering::Relaxed) == round;
        assert!(engine.run_until(PATIENCE, came), "round {round}");
    }
    let mut passes = 0;
    let before = turns.load(Ordering::Relaxed);
    engine.run_until(PATIENCE, || {
        passes += 1;
        passes == 100
    });
    assert_eq!(turns.load(Ordering::Relaxed) - before, 99);
}

#[test]
fn function_of_a_descriptor_that_panics_is_called_once() {
    let engine = engine(1);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let ready = move |_: &Worker<'_>, _: Ready| {
        counted.fetch_add(1, Ordering::Relaxed);
        panic!("this panic is part of a test");
    };
    engine.with_core(|control| control.watch_file(theirs.as_fd(), Interest::Readable, 1, ready)).unwrap();
    ours.write_all(b"x").unwrap();
    assert!(engine.run_until(PATIENCE, || Arc::strong_count(&calls) == 1), "its function is dropped");
    engine.run_until(Duration::from_millis(20), || false);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn what_cannot_be_watched_is_said() {
    let engine = engine(0);
    let file = tempfile::tempfile().unwrap();
    let nothing = |_: &Worker<'_>, _: Ready| {};
    let refusal = |thread| {
        let outcome =
            engine.with_core(|control| control.watch_file(file.as_fd(), Interest::Readable, thread, nothing));
        outcome.unwrap_err().to_string()
    };
    assert!(refusal(0).ends_with("cannot be watched: it is always ready"), "{}", refusal(0));
    assert_eq!(refusal(1), "there is no thread 1; threads are 0 (main) to 0");
}

#[test]
fn tasks_end_with_their_owner_and_what_they_waited_for_with_them() {
    let engine = engine(0);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let alive = Arc::new(());
    let count = || engine.executor.borrow().count();
    // The core's own tasks come and go meanwhile.
    let waiters =
        || engine.process_reports().into_iter().filter(|row| row.name == "test-waiter").collect::<Vec<_>>();
    for _ in 0..3 {
        let (held, fd) = (Arc::clone(&alive), theirs.try_clone().unwrap());
        engine
            .with_core(|control| {
                control.spawn("test-waiter", move |task| {
                    let events = task.subscribe("never");
                    async move {
                        let _held = held;
                        let mut events = events.unwrap();
                        let either = async {
                            readable(fd.as_fd()).await.unwrap();
                        };
                        let never = raddle_plugin_api::task::timeout(Duration::from_secs(3600), either);
                        let _ = never.await;
                        let _ = events.next::<u32>().await;
                    }
                });
                Ok(())
            })
            .unwrap();
    }
    engine.run_until(Duration::from_millis(5), || false);
    let rows = waiters();
    assert_eq!((rows.len(), Arc::strong_count(&alive)), (3, 4));
    assert!(rows.iter().all(|row| (row.state.as_str(), row.wakes) == ("sleeping", 1)), "{rows:?}");
    let heard = || engine.with_core(|control| control.signal("never", &1)).unwrap();
    assert_eq!(heard(), 3);
    let gone = engine.executor.borrow_mut().cancel(crate::graph::Owner::CORE);
    drop(gone);
    assert_eq!((count(), Arc::strong_count(&alive), heard()), (0, 1, 0));
    drop((ours, theirs));
}
