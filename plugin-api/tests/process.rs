//! Tasks by a virtual clock: intervals, named events, descriptors.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raddle_plugin_api::file::{Interest, Ready, readable, writable};
use raddle_plugin_api::task::{interval, now_ns, sleep, timeout};
use raddle_plugin_api::testing::Harness;
use serde::{Deserialize, Serialize};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Lease {
    interface: String,
    seconds: u32,
}

type Notes<T> = Arc<Mutex<Vec<T>>>;

fn taken<T>(notes: &Notes<T>) -> Vec<T> {
    std::mem::take(&mut notes.lock().unwrap())
}

#[test]
fn interval_keeps_its_beat_and_leaves_out_what_it_missed() {
    let mut host = Harness::builder().build();
    let (begin, ticks): (u64, Notes<(u64, u64)>) = (host.now_ns(), Arc::default());
    let noted = Arc::clone(&ticks);
    host.control(|control| {
        control.spawn("beat", move |_| async move {
            let mut beat = interval(SECOND);
            for work_ms in [0, 300, 2500, 0] {
                let due = beat.tick().await;
                noted.lock().unwrap().push((due, now_ns()));
                sleep(Duration::from_millis(work_ms)).await;
            }
        });
    });
    host.advance(10 * SECOND);
    // The third turn takes 2.5 s: the ticks at 4 and 5 s are over then.
    let expected = [1, 2, 3, 6].map(|second| begin + second * 1_000_000_000);
    assert_eq!(taken(&ticks), expected.map(|at_ns| (at_ns, at_ns)));
    assert!(host.tasks().is_empty());
}

#[test]
fn named_events_come_with_their_data_and_in_order() {
    let mut host = Harness::builder().build();
    let heard: Notes<Result<Lease, String>> = Arc::default();
    let noted = Arc::clone(&heard);
    host.control(|control| {
        control.spawn("leases", |task| {
            let events = task.subscribe("lease");
            async move {
                let mut events = events.unwrap();
                for _ in 0..3 {
                    let event = events.next::<Lease>().await.map_err(|failure| failure.to_string());
                    noted.lock().unwrap().push(event);
                }
            }
        });
        // Before the task first runs.
        assert_eq!(control.signal("lease", &Lease { interface: "wan".into(), seconds: 1 }).unwrap(), 1);
        assert_eq!(control.signal("other", &1).unwrap(), 0);
    });
    host.quiesce();
    assert_eq!(taken(&heard), [Ok(Lease { interface: "wan".into(), seconds: 1 })]);
    host.control(|control| control.signal("lease", &"no lease").unwrap());
    host.control(|control| control.signal("lease", &Lease { interface: "lan".into(), seconds: 2 }).unwrap());
    host.quiesce();
    let heard = taken(&heard);
    assert!(heard[0].as_ref().is_err_and(|error| error.contains("invalid type")), "{heard:?}");
    assert_eq!(heard[1], Ok(Lease { interface: "lan".into(), seconds: 2 }));
    // It has ended, and with it what it waited for.
    assert_eq!(host.control(|control| control.signal("lease", &3).unwrap()), 0);
}

#[test]
fn task_waits_for_an_event_or_a_time_whichever_comes_first() {
    let mut host = Harness::builder().build();
    let outcomes: Notes<bool> = Arc::default();
    let noted = Arc::clone(&outcomes);
    host.control(|control| {
        control.spawn("either", |task| {
            let events = task.subscribe("go");
            async move {
                let mut events = events.unwrap();
                loop {
                    let outcome = timeout(10 * SECOND, events.next::<u32>()).await;
                    noted.lock().unwrap().push(outcome.is_ok());
                }
            }
        });
    });
    host.advance(9 * SECOND);
    host.control(|control| control.signal("go", &1).unwrap());
    host.advance(9 * SECOND);
    assert_eq!(taken(&outcomes), [true], "the first timeout is forgotten");
    host.advance(2 * SECOND);
    assert_eq!(taken(&outcomes), [false]);
}

#[test]
fn task_reads_what_comes_and_hears_of_the_end() {
    let mut host = Harness::builder().build();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let read: Notes<String> = Arc::default();
    let noted = Arc::clone(&read);
    host.control(|control| {
        control.spawn("reader", move |_| async move {
            let mut theirs = theirs;
            let mut bytes = [0; 16];
            loop {
                readable(theirs.as_fd()).await.unwrap();
                match theirs.read(&mut bytes).unwrap() {
                    0 => break,
                    length => noted.lock().unwrap().push(String::from_utf8_lossy(&bytes[..length]).into()),
                }
                writable(theirs.as_fd()).await.unwrap();
                theirs.write_all(b"ok").unwrap();
            }
        });
    });
    host.quiesce();
    assert_eq!((taken(&read), host.tasks().len()), (vec![], 1));
    for word in ["one", "two"] {
        ours.write_all(word.as_bytes()).unwrap();
        host.quiesce();
        assert_eq!(taken(&read), [word]);
        let mut answer = [0; 2];
        ours.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ok");
    }
    drop(ours);
    host.quiesce();
    assert!(host.tasks().is_empty());
}

#[test]
fn watched_descriptor_calls_its_function_on_its_thread_until_it_is_unwatched() {
    let mut host = Harness::builder().workers(2).build();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let (calls, dropped) = (Arc::new(AtomicU64::new(0)), Arc::new(()));
    let (counted, alive) = (Arc::clone(&calls), Arc::clone(&dropped));
    let (mut reader, watched) = (theirs.try_clone().unwrap(), theirs);
    let watch = host.control(|control| {
        let ready = move |worker: &raddle_plugin_api::Worker<'_>, ready: Ready| {
            let _alive = &alive;
            assert_eq!((worker.thread_index(), ready.readable), (2, true));
            let mut bytes = [0; 16];
            while reader.read(&mut bytes).is_ok_and(|length| length > 0) {}
            counted.fetch_add(1, Ordering::Relaxed);
        };
        control.watch_file(watched.as_fd(), Interest::Readable, 2, ready).unwrap()
    });
    host.quiesce();
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    ours.write_all(b"x").unwrap();
    host.quiesce();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    host.control(|control| control.unwatch_file(watch));
    ours.write_all(b"x").unwrap();
    host.quiesce();
    assert_eq!((calls.load(Ordering::Relaxed), Arc::strong_count(&dropped)), (1, 1));
    let refused = host.control(|control| {
        let nothing = |_: &raddle_plugin_api::Worker<'_>, _: Ready| {};
        control.watch_file(watched.as_fd(), Interest::Both, 3, nothing).unwrap_err().to_string()
    });
    assert_eq!(refused, "there is no thread 3");
}
