//! The executor by a virtual clock.

use std::ffi::c_void;

use super::*;
use crate::runtime::Poller;

const SECOND: u64 = 1_000_000_000;

/// A task that notes when it was polled and asks for the times that it was given, one after the other.
struct Script {
    times_ns: Vec<u64>,
    polls: u64,
    dropped: Arc<std::sync::atomic::AtomicU64>,
}

unsafe extern "C" fn poll(state: *mut c_void, _: u64) -> Status {
    // SAFETY: made by `spawn` below, polled by the test alone.
    let script = unsafe { &mut *state.cast::<Script>() };
    script.polls += 1;
    if script.times_ns.len() < script.polls as usize { Status::OK } else { Status::PENDING }
}

unsafe extern "C" fn drop_script(state: *mut c_void) {
    // SAFETY: made by `spawn` below, dropped once.
    let script = unsafe { Box::from_raw(state.cast::<Script>()) };
    script.dropped.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}

struct Bench {
    executor: Executor,
    scripts: HashMap<u64, *const Script>,
    dropped: Arc<std::sync::atomic::AtomicU64>,
    now_ns: u64,
    /// Task and time of each poll.
    polls: Vec<(u64, u64)>,
}

impl Bench {
    fn new() -> Self {
        let main = Arc::new(MainQueue::new(Poller::create().unwrap()));
        let executor = Executor::new(main);
        Self { executor, scripts: HashMap::new(), dropped: Arc::default(), now_ns: 0, polls: Vec::new() }
    }

    fn spawn(&mut self, owner: u32, times_ns: Vec<u64>) -> u64 {
        let script =
            Box::into_raw(Box::new(Script { times_ns, polls: 0, dropped: Arc::clone(&self.dropped) }));
        let table = TaskTable { state: script.cast(), poll, drop: drop_script };
        let task = self.executor.spawn(Owner(owner), "script", table);
        self.scripts.insert(task, script);
        task
    }

    /// Polls all that is ready now.
    fn settle(&mut self) {
        self.executor.ready(self.now_ns);
        while let Some(mut hand) = self.executor.take_ready() {
            self.polls.push((hand.id, self.now_ns));
            // SAFETY: the task is alive while it is in hand.
            let script = unsafe { &*self.scripts[&hand.id] };
            let wanted = script.times_ns.get(script.polls as usize).copied();
            match hand.poll() {
                Polled::Pending => {
                    if let Some(at_ns) = wanted {
                        self.executor.wake_at(hand.id, at_ns);
                    }
                    self.executor.put_back(hand);
                }
                Polled::Finished | Polled::Panicked(..) => self.executor.let_go(),
            }
        }
    }

    /// Lets time pass, from timer to timer.
    fn run_until(&mut self, end_ns: u64) {
        self.settle();
        while let Some(next_ns) = self.executor.next_ns().filter(|&next_ns| next_ns <= end_ns) {
            assert!(next_ns > self.now_ns, "a look that finds nothing leads on");
            self.now_ns = next_ns;
            self.settle();
        }
        self.now_ns = end_ns;
    }
}

/// SplitMix64.
fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn tasks_are_polled_at_their_times_and_never_before() {
    let mut seed = 4;
    let mut bench = Bench::new();
    let mut wanted = Vec::new();
    for _ in 0..2000 {
        let mut at_ns = 0;
        let times: Vec<u64> = (0..5)
            .map(|_| {
                at_ns += random(&mut seed) % (3600 * SECOND);
                at_ns
            })
            .collect();
        let task = bench.spawn(0, times.clone());
        wanted.extend(times.into_iter().map(|at_ns| (task, at_ns)));
    }
    bench.run_until(6 * 3600 * SECOND);
    let mut polls = std::mem::take(&mut bench.polls);
    // The first poll of each is its start.
    polls.retain(|&(_, at_ns)| at_ns > 0);
    polls.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(polls.len(), wanted.len());
    for (polled, wanted) in polls.iter().zip(&wanted) {
        assert_eq!(polled.0, wanted.0);
        assert!((wanted.1..wanted.1 + 2 * TICK_NS).contains(&polled.1), "{polled:?} for {wanted:?}");
    }
    assert_eq!((bench.executor.count(), bench.executor.timers.len()), (0, 0));
    assert_eq!(bench.dropped.load(std::sync::atomic::Ordering::Relaxed), 2000);
}

#[test]
fn poll_for_another_reason_has_the_times_forgotten() {
    let mut bench = Bench::new();
    // It is woken at once each time, and asks for one hour, then for two, then for nothing.
    let task = bench.spawn(0, vec![3600 * SECOND, 7200 * SECOND, u64::MAX]);
    bench.settle();
    assert_eq!(bench.executor.list()[0].sleeps_until_ns, Some(3600 * SECOND));
    bench.executor.wakes().wake(task);
    bench.settle();
    assert_eq!(bench.executor.timers.len(), 1, "the first timer is gone");
    bench.run_until(5000 * SECOND);
    assert_eq!(bench.polls.len(), 2);
    bench.run_until(8000 * SECOND);
    assert_eq!((bench.polls.len(), bench.executor.list()[0].wakes), (3, 3));
}

#[test]
fn earliest_of_several_times_counts() {
    let mut bench = Bench::new();
    let task = bench.spawn(0, vec![u64::MAX; 3]);
    bench.settle();
    for seconds in [9, 3, 6] {
        bench.executor.wake_at(task, seconds * SECOND);
    }
    assert_eq!(bench.executor.list()[0].sleeps_until_ns, Some(3 * SECOND));
    bench.run_until(4 * SECOND);
    assert_eq!(bench.polls.len(), 2);
}

#[test]
fn cancelled_tasks_leave_no_timers_and_are_never_polled() {
    let mut bench = Bench::new();
    for owner in [1, 2, 1, 2] {
        bench.spawn(owner, vec![SECOND, 2 * SECOND]);
    }
    bench.settle();
    let gone = bench.executor.cancel(Owner(1));
    assert_eq!((gone._tasks.len(), bench.executor.timers.len()), (2, 2));
    drop(gone);
    bench.run_until(10 * SECOND);
    assert_eq!(bench.polls.iter().filter(|(task, at_ns)| task % 2 == 1 && *at_ns > 0).count(), 0);
    assert_eq!(bench.dropped.load(std::sync::atomic::Ordering::Relaxed), 4);
}
