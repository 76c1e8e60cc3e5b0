//! The control side: shared state, counters, tasks, calls to the main thread, commands, init order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::route::{ROUTES_PER_TURN, RouteBatch, RouteTarget, change_routes};
use raddle_plugin_api::sync::{BarrierCell, Published};
use raddle_plugin_api::task;
use raddle_plugin_api::testing::Harness;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Counts how often it is dropped.
struct Counted(u32, Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_published_value_goes_once_all_threads_are_past_it() {
    let drops = Arc::new(AtomicUsize::new(0));
    let mut host = Harness::builder().workers(1).build();
    let cell = host.control(|control| Arc::new(Published::new(control, Counted(1, Arc::clone(&drops)))));
    host.control(|control| {
        let old = cell.get(control);
        cell.publish(control, Counted(2, Arc::clone(&drops)));
        assert_eq!((old.0, cell.get(control).0), (1, 2), "the old value stays as long as the borrow");
    });
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    host.worker(1, |worker| assert_eq!(cell.read(worker).0, 2));
    host.quiesce();
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    drop(cell);
    assert_eq!(drops.load(Ordering::Relaxed), 2);
}

#[test]
fn a_barrier_cell_is_written_under_the_barrier() {
    let mut host = Harness::builder().workers(1).build();
    let cell = host.control(|control| BarrierCell::new(control, vec![1]));
    host.control(|control| {
        let mut outer = control.barrier("grow");
        let length = cell.write(&mut outer, |list| {
            list.push(2);
            list.len()
        });
        assert_eq!(length, 2);
    });
    host.worker(1, |worker| assert_eq!(cell.read(worker), &[1, 2]));
    assert_eq!(host.barriers(), ["grow"]);
}

#[test]
#[should_panic(expected = "of its own host")]
fn a_cell_is_not_read_by_workers_of_another_host() {
    let (mut one, mut two) = (Harness::builder().build(), Harness::builder().build());
    let cell = one.control(|control| Published::new(control, 1));
    two.worker(0, |worker| assert_eq!(*cell.read(worker), 1));
}

#[test]
fn counters_are_summed_over_threads_and_named_once() {
    let mut host = Harness::builder().workers(2).build();
    let counters = host.control(|control| control.counters("things", 3)).unwrap();
    for thread in 0..3 {
        host.worker(thread, |worker| {
            counters.add(worker, 1, 10 + thread as u64);
            counters.add(worker, 3, 99);
            counters.add(worker, usize::MAX, 99);
        });
    }
    assert_eq!([0, 1, 2, 3].map(|index| counters.sum(index)), [0, 33, 0, 0]);
    assert_eq!((counters.of_thread(2, 1), counters.of_thread(9, 1), counters.len()), (12, 0, 3));
    assert_eq!(host.counter("things", 1), 33);
    host.control(|control| {
        assert_eq!(control.counters("things", 3).unwrap().sum(1), 33, "the same name, the same counters");
        assert!(control.counters("things", 4).is_err());
    });
}

#[test]
fn tasks_run_at_their_time_and_in_its_order() {
    let mut host = Harness::builder().build();
    let notes = Arc::new(Mutex::new(Vec::new()));
    for (name, period) in [("slow", 30), ("fast", 20)] {
        let notes = Arc::clone(&notes);
        host.control(|control| {
            control.spawn(name, move |task| async move {
                for _ in 0..2 {
                    task::sleep(Duration::from_millis(period)).await;
                    let now = task.with(|control| control.now_ns());
                    notes.lock().unwrap().push((name, now));
                }
            });
        });
    }
    let start = host.now_ns();
    host.advance(Duration::from_millis(19));
    assert!(notes.lock().unwrap().is_empty());
    host.advance(Duration::from_millis(60));
    let times: Vec<_> =
        notes.lock().unwrap().iter().map(|(name, at)| (*name, (at - start) / 1_000_000)).collect();
    assert_eq!(times, [("fast", 20), ("slow", 30), ("fast", 40), ("slow", 60)]);
    assert_eq!((host.tasks(), host.now_ns() - start), (vec![], 79_000_000));
}

#[test]
fn a_timeout_ends_what_takes_too_long_and_nothing_else() {
    let mut host = Harness::builder().build();
    let outcome = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&outcome);
    host.control(|control| {
        control.spawn("impatient", move |_| async move {
            let second = Duration::from_secs(1);
            let quick = task::timeout(second, task::sleep(Duration::from_millis(999))).await;
            let late = task::timeout(second, std::future::pending::<()>()).await;
            task::yield_now().await;
            noted.lock().unwrap().extend([quick.is_ok(), late.is_ok()]);
        });
    });
    host.advance(Duration::from_secs(5));
    assert_eq!(*outcome.lock().unwrap(), [true, false]);
}

#[test]
fn many_routes_are_changed_in_order_and_in_short_turns() {
    let mut host = Harness::builder().build();
    host.mock("route.change", |batch| {
        let batch: RouteBatch = serde_json::from_value(batch)?;
        Ok(json!({ "routes": batch.routes.len() }))
    });
    let done = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&done);
    let prefix = |number: u32| format!("{}/32", std::net::Ipv4Addr::from_bits(number)).parse().unwrap();
    let count = ROUTES_PER_TURN as u32 * 2 + 3;
    let batch = RouteBatch {
        preference: 20,
        targets: vec![RouteTarget::Blackhole],
        routes: (0..count).map(|number| (prefix(number), Some(0))).collect(),
        ..RouteBatch::default()
    };
    let expected = batch.routes.clone();
    host.control(|control| {
        control.spawn("routes", move |task| async move {
            let outcome = change_routes(task, batch).await.map_err(|failure| failure.to_string());
            *noted.lock().unwrap() = Some(outcome);
        });
    });
    host.advance(Duration::from_millis(1));
    assert_eq!(*done.lock().unwrap(), Some(Ok(count as usize)));
    let turns: Vec<RouteBatch> =
        host.calls("route.change").into_iter().map(|call| serde_json::from_value(call).unwrap()).collect();
    assert_eq!(turns.iter().map(|turn| turn.routes.len()).max(), Some(ROUTES_PER_TURN));
    assert_eq!(turns.into_iter().flat_map(|turn| turn.routes).collect::<Vec<_>>(), expected);
}

#[test]
#[should_panic(expected = "task broken panicked")]
fn a_task_that_panics_fails_the_test() {
    let mut host = Harness::builder().build();
    host.control(|control| control.spawn("broken", |_| async { panic!("as told") }));
    host.quiesce();
}

#[test]
fn calls_of_other_threads_run_on_the_main_thread_and_deferred_ones_after() {
    let mut host = Harness::builder().build();
    let order = Arc::new(Mutex::new(Vec::new()));
    let remote = host.control(|control| {
        let order = Arc::clone(&order);
        control.defer(move |_| order.lock().unwrap().push("deferred"));
        control.remote()
    });
    let from_thread = Arc::clone(&order);
    std::thread::spawn(move || {
        remote.run(move |control| {
            from_thread.lock().unwrap().push("called");
            control.defer(move |_| from_thread.lock().unwrap().push("deferred by the call"));
        });
    })
    .join()
    .unwrap();
    assert!(order.lock().unwrap().is_empty());
    host.quiesce();
    assert_eq!(*order.lock().unwrap(), ["called", "deferred", "deferred by the call"]);
    drop(host);
    remote.run(|_| panic!("nobody runs this any more"));
}

#[derive(Deserialize)]
struct Sum {
    left: u32,
    right: Option<u32>,
}

#[derive(Serialize)]
struct Total {
    total: u32,
}

impl CommandOutput for Total {
    fn text(&self) -> Option<String> {
        Some(format!("it is {}", self.total))
    }
}

fn sum(_: &mut Control<'_>, arguments: Sum) -> Result<Total, Failure> {
    match arguments.right {
        Some(0) => bail!("zero adds nothing"),
        Some(1) => panic!("as told"),
        right => Ok(Total { total: arguments.left + right.unwrap_or(0) }),
    }
}

fn later(
    control: &mut Control<'_>,
    arguments: Sum,
) -> Result<impl Future<Output = Result<Vec<u32>, Failure>> + use<>, Failure> {
    if arguments.left == 0 {
        bail!("not even begun");
    }
    let start = control.now_ns();
    Ok(async move {
        task::sleep(Duration::from_secs(arguments.left.into())).await;
        if arguments.right.is_some() { Err(failure!("late and wrong")) } else { Ok(vec![start as u32]) }
    })
}

command! { "sum <left:u32> [<right:u32>]", "adds", sum }
command! { "later <left:u32> [<right:u32>]", "answers later", async later }

#[test]
fn commands_answer_with_data_and_text_or_with_a_reason() {
    let mut host = Harness::builder().build();
    let answer = host.command("sum", json!({ "left": 3, "right": 4 })).unwrap();
    assert_eq!((answer.json, answer.text.as_deref()), (json!({ "total": 7 }), Some("it is 7")));
    for (arguments, reason) in [
        (json!({ "left": 3, "right": 0 }), "zero adds nothing"),
        (json!({ "left": 3, "right": 1 }), "panicked: as told"),
        (json!({}), "missing field `left`"),
    ] {
        let failure = host.command("sum", arguments).unwrap_err().to_string();
        assert!(failure.starts_with(reason), "{failure}");
    }
}

#[test]
fn commands_may_answer_later() {
    let mut host = Harness::builder().build();
    let start = host.now_ns();
    let answer = host.command("later", json!({ "left": 30 })).unwrap();
    assert_eq!((host.now_ns() - start, answer.text), (30_000_000_000, None));
    let wrong = host.command("later", json!({ "left": 1, "right": 1 })).unwrap_err();
    assert_eq!(wrong.to_string(), "late and wrong");
    assert_eq!(host.command("later", json!({ "left": 0 })).unwrap_err().to_string(), "not even begun");
}

fn note(control: &Control<'_>, name: &str) -> Result<(), Failure> {
    if control.resource::<Mutex<Vec<String>>>().is_err() {
        control.provide(Arc::new(Mutex::new(Vec::<String>::new())))?;
    }
    control.resource::<Mutex<Vec<String>>>()?.lock().unwrap().push(name.to_owned());
    Ok(())
}

fn first(control: &mut Control<'_>) -> Result<(), Failure> {
    note(control, "first")
}

fn second(control: &mut Control<'_>) -> Result<(), Failure> {
    note(control, "second")
}

fn third(control: &mut Control<'_>) -> Result<(), Failure> {
    if control.config::<Vec<u32>>("fail").is_err() {
        bail!("the configuration is wrong");
    }
    note(control, "third")
}

init! { "c-first", first, runs_before: ["a-third"] }
init! { "b-second", second, runs_after: ["c-first"] }
init! { "a-third", third, runs_after: ["b-second", "not-here"] }

#[test]
fn init_functions_run_in_the_order_of_their_names() {
    let mut host = Harness::builder().build();
    host.load();
    let order = host.control(|control| control.resource::<Mutex<Vec<String>>>()).unwrap();
    assert_eq!(*order.lock().unwrap(), ["first", "second", "third"]);
}

#[test]
fn an_init_function_that_fails_is_named() {
    let mut host = Harness::builder().config("fail = 'yes'").build();
    assert_eq!(host.try_load().unwrap_err().to_string(), "a-third: the configuration is wrong");
}

#[test]
fn methods_are_mocked_and_their_calls_kept() {
    let mut host = Harness::builder().interface("wan", |i| i.mtu(9000)).build();
    host.mock("route.add", |arguments| Ok(json!(arguments["prefix"] == "10.0.0.0/8")));
    host.control(|control| {
        assert!(control.call::<_, bool>("route.add", &json!({ "prefix": "10.0.0.0/8" })).unwrap());
        assert!(control.call::<_, bool>("route.del", &()).is_err());
        assert_eq!(control.interface("wan").unwrap().mtu, 9000);
        let missing = control.interface("wam").unwrap_err().to_string();
        assert_eq!(missing, "there is no interface `wam`; did you mean `wan`?");
    });
    assert_eq!(host.calls("route.add"), [json!({ "prefix": "10.0.0.0/8" })]);
}
