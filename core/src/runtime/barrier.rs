//! Where workers stand while the main thread changes what they read plainly, and how it knows that they have passed.
//!
//! One word asks all workers: its lowest bit says "stand", the others count the questions "have you passed?". Each
//! worker has a cache line of its own with two words: its gate, odd while it runs and even while it stands or sleeps,
//! and the last question that it has seen. Two things are read off them:
//!
//! - **The barrier is held** when the question says "stand" and every gate is even. A worker that leaves an even gate
//!   makes it odd, fences, and looks at the question; the main thread asks, fences, and looks at the gates. One of the
//!   two sees the other (Dekker), so no worker runs on unseen.
//! - **A quiescent point has passed** since a question when every worker has seen it, or was quiet when it was asked,
//!   or has been since. Seeing it is an acquire of what was published before it was asked, so that a worker that
//!   answers finds nothing older in the passes that follow; its answer is a release of the passes before. A worker that
//!   was quiet fences when it enters, and so finds the same.
//!
//! A pass of a worker that is asked nothing costs one load of a line that all share: no store, no fence.

use std::time::Duration;

use super::sync::{AtomicU32, AtomicU64, Ordering, fence, spin, wait_while, wake_all};

/// Turns of a loop before the waiting side goes to sleep.
const SPINS: u32 = if cfg!(loom) { 1 } else { 2000 };

/// The bit of the question that has the workers stand.
const STAND: u32 = 1;
/// From one question to the next.
const NEXT: u32 = 2;

/// A worker's words, on a cache line pair of their own.
#[repr(align(128))]
struct Gate {
    /// Odd while the worker runs; it changes only when the worker enters or leaves.
    state: AtomicU64,
    /// The last question that it has seen, without the bit to stand.
    seen: AtomicU32,
}

/// The barrier between the main thread and its workers.
pub struct Barrier {
    question: AtomicU32,
    /// Counts workers that came to stand: what the main thread sleeps on.
    arrivals: AtomicU32,
    gates: Box<[Gate]>,
}

/// A question, and how the gates were when it was asked.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    question: u32,
    gates: Vec<u64>,
}

impl Barrier {
    /// A barrier for `workers` workers, which all stand until they first [`enter`](Barrier::enter).
    pub fn new(workers: usize) -> Self {
        let gate = |_| Gate { state: AtomicU64::new(0), seen: AtomicU32::new(0) };
        let gates = (0..workers).map(gate).collect();
        Self { question: AtomicU32::new(0), arrivals: AtomicU32::new(0), gates }
    }

    /// Worker: starts to run, after standing or sleeping; returns when it may.
    pub fn enter(&self, worker: usize) {
        let gate = &self.gates[worker].state;
        loop {
            // Released, so that whoever sees this value sees that the passes before it are over.
            gate.store(gate.load(Ordering::Relaxed) + 1, Ordering::Release);
            fence(Ordering::SeqCst);
            // Acquired: what the main thread changed under the barrier is seen from here on.
            if self.question.load(Ordering::Acquire) & STAND == 0 {
                return;
            }
            self.leave(worker);
            self.wait_for_release();
        }
    }

    /// Worker: stops running, to stand or to sleep.
    pub fn leave(&self, worker: usize) {
        let gate = &self.gates[worker].state;
        gate.store(gate.load(Ordering::Relaxed) + 1, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.question.load(Ordering::Relaxed) & STAND != 0 {
            self.arrivals.fetch_add(1, Ordering::Release);
            wake_all(&self.arrivals);
        }
    }

    /// Worker: ends one pass and begins the next; answers in between what it is asked, and stands if it must.
    #[inline]
    pub fn pass(&self, worker: usize) {
        let asked = self.question.load(Ordering::Acquire);
        if asked != self.gates[worker].seen.load(Ordering::Relaxed) {
            self.answer(worker, asked);
        }
    }

    #[cold]
    fn answer(&self, worker: usize, asked: u32) {
        self.gates[worker].seen.store(asked & !STAND, Ordering::Release);
        if asked & STAND != 0 {
            self.leave(worker);
            self.enter(worker);
        }
    }

    #[cold]
    fn wait_for_release(&self) {
        let mut turns = 0;
        loop {
            let asked = self.question.load(Ordering::Acquire);
            if asked & STAND == 0 {
                return;
            }
            turns += 1;
            if turns < SPINS {
                spin();
            } else {
                wait_while(&self.question, asked);
            }
        }
    }

    /// Main thread: has the workers stand, and waits until they do. `late` is asked now and then, with the worker that
    /// is waited for, whether to say something.
    pub fn acquire(&self, mut late: impl FnMut(usize)) {
        // Only the main thread writes the question.
        self.question.store(self.question.load(Ordering::Relaxed) | STAND, Ordering::Release);
        fence(Ordering::SeqCst);
        for (worker, gate) in self.gates.iter().enumerate() {
            let mut turns = 0;
            loop {
                let arrivals = self.arrivals.load(Ordering::Acquire);
                if gate.state.load(Ordering::Acquire) % 2 == 0 {
                    break;
                }
                turns += 1;
                if turns < SPINS {
                    spin();
                } else {
                    wait_while(&self.arrivals, arrivals);
                    late(worker);
                }
            }
        }
    }

    /// Main thread: lets the workers go on.
    pub fn release(&self) {
        self.question.store(self.question.load(Ordering::Relaxed) & !STAND, Ordering::Release);
        wake_all(&self.question);
    }

    /// Main thread: asks the workers whether they have passed a quiescent point.
    pub fn snapshot(&self) -> Snapshot {
        let asked = self.question.load(Ordering::Relaxed).wrapping_add(NEXT);
        self.question.store(asked, Ordering::Release);
        fence(Ordering::SeqCst);
        let gates = self.gates.iter().map(|gate| gate.state.load(Ordering::Acquire)).collect();
        Snapshot { question: asked & !STAND, gates }
    }

    /// Main thread: whether every worker has passed a quiescent point since `snapshot`, so that nothing that was out of
    /// its reach then is in its hands now.
    pub fn has_passed(&self, snapshot: &Snapshot) -> bool {
        self.gates.iter().zip(&snapshot.gates).all(|(gate, &then)| {
            then.is_multiple_of(2)
                || gate.state.load(Ordering::Acquire) != then
                || gate.seen.load(Ordering::Acquire).wrapping_sub(snapshot.question) < u32::MAX / 2
        })
    }

    /// Whether a worker is asleep or stands.
    pub fn is_quiet(&self, worker: usize) -> bool {
        self.gates[worker].state.load(Ordering::Relaxed).is_multiple_of(2)
    }
}

/// One hold of the barrier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// From the main thread's asking until all workers stood: they ran on meanwhile, each up to the end of its pass.
    pub waited: Duration,
    /// From then on until they were let go.
    pub held: Duration,
}

/// The holds of one cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CauseStats {
    /// How many.
    pub holds: u64,
    /// The longest hold.
    pub longest: Duration,
    /// All of them together.
    pub sum: Duration,
    /// The longest wait for the workers.
    pub longest_wait: Duration,
    /// All waits together.
    pub wait_sum: Duration,
}

/// A worker that did not come to the barrier in time.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LateWorker {
    /// Its thread.
    pub thread: u32,
    /// The node that it was in; `None`: between two.
    pub node: Option<String>,
    /// The plugin whose node it is.
    pub plugin: Option<String>,
    /// What the barrier was wanted for.
    pub cause: String,
}

/// How long the barrier was held, by cause and by powers of two.
#[derive(Clone, Debug)]
pub struct BarrierStats {
    /// Number of holds by power of two of the time in ns.
    pub histogram: [u64; 40],
    /// Holds by cause.
    pub causes: std::collections::BTreeMap<String, CauseStats>,
    /// The last hold.
    pub last: Hold,
    /// How often a worker came late.
    pub late: u64,
    /// The last one that did.
    pub last_late: Option<LateWorker>,
}

impl Default for BarrierStats {
    fn default() -> Self {
        Self {
            histogram: [0; 40],
            causes: std::collections::BTreeMap::new(),
            last: Hold::default(),
            late: 0,
            last_late: None,
        }
    }
}

impl BarrierStats {
    /// Adds a hold.
    pub fn note(&mut self, cause: &str, hold: Hold) {
        let Hold { waited, held } = hold;
        let nanos = u64::try_from(held.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.histogram[(nanos.ilog2() as usize).min(39)] += 1;
        let stats = self.causes.entry(cause.to_owned()).or_default();
        stats.holds += 1;
        stats.longest = held.max(stats.longest);
        stats.sum += held;
        stats.longest_wait = waited.max(stats.longest_wait);
        stats.wait_sum += waited;
        self.last = hold;
    }

    /// Number of holds.
    pub fn holds(&self) -> u64 {
        self.histogram.iter().sum()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64 as Plain};

    use super::*;

    #[test]
    fn workers_see_no_change_halfway() {
        let barrier = Arc::new(Barrier::new(2));
        let (a, b, stop) =
            (Arc::new(Plain::new(0)), Arc::new(Plain::new(0)), Arc::new(AtomicBool::new(false)));
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                let (barrier, a, b, stop) = (barrier.clone(), a.clone(), b.clone(), stop.clone());
                std::thread::spawn(move || {
                    barrier.enter(worker);
                    while !stop.load(Ordering::Relaxed) {
                        barrier.pass(worker);
                        let first = a.load(Ordering::Relaxed);
                        std::hint::spin_loop();
                        assert_eq!(first, b.load(Ordering::Relaxed));
                    }
                    barrier.leave(worker);
                })
            })
            .collect();
        for round in 1..=200 {
            barrier.acquire(|_| {});
            a.store(round, Ordering::Relaxed);
            std::thread::yield_now();
            b.store(round, Ordering::Relaxed);
            barrier.release();
        }
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().expect("the worker saw both or none");
        }
    }

    #[test]
    fn sleepers_are_not_waited_for() {
        let barrier = Barrier::new(1);
        barrier.enter(0);
        barrier.leave(0);
        barrier.acquire(|_| panic!("nobody to wait for"));
        barrier.release();
    }

    #[test]
    fn a_snapshot_is_passed_after_a_pass_or_a_sleep() {
        let barrier = Barrier::new(1);
        barrier.enter(0);
        barrier.pass(0);
        let snapshot = barrier.snapshot();
        assert!(!barrier.has_passed(&snapshot));
        barrier.pass(0);
        assert!(barrier.has_passed(&snapshot));
        let snapshot = barrier.snapshot();
        barrier.leave(0);
        assert!(barrier.has_passed(&snapshot));
        assert!(barrier.has_passed(&barrier.snapshot()));
    }

    #[test]
    fn holds_are_counted_by_cause_and_length() {
        let mut stats = BarrierStats::default();
        let hold =
            |waited, held| Hold { waited: Duration::from_nanos(waited), held: Duration::from_nanos(held) };
        stats.note("plugin load", hold(70, 1500));
        stats.note("plugin load", hold(30, 900));
        assert_eq!((stats.histogram[10], stats.histogram[9], stats.holds()), (1, 1, 2));
        let CauseStats { holds, longest, sum, longest_wait, wait_sum } = stats.causes["plugin load"];
        assert_eq!(
            (holds, hold(70, 1500), hold(100, 2400)),
            (2, Hold { waited: longest_wait, held: longest }, Hold { waited: wait_sum, held: sum },)
        );
        assert_eq!(stats.last, hold(30, 900));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicPtr;

    use super::*;

    struct Plain(UnsafeCell<u32>);
    // SAFETY: loom checks the accesses, which is what the test is about.
    unsafe impl Sync for Plain {}
    // SAFETY: as above.
    unsafe impl Send for Plain {}

    /// What the main thread writes under the barrier never races with what a worker reads in a pass.
    #[test]
    fn writing_under_the_barrier_excludes_reading_in_a_pass() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let barrier = Arc::new(Barrier::new(1));
            let value = Arc::new(Plain(UnsafeCell::new(0)));
            let worker = {
                let (barrier, value) = (barrier.clone(), value.clone());
                loom::thread::spawn(move || {
                    barrier.enter(0);
                    // SAFETY: the claim under test.
                    let first = value.0.with(|value| unsafe { *value });
                    barrier.pass(0);
                    // SAFETY: the claim under test.
                    let second = value.0.with(|value| unsafe { *value });
                    assert!(second >= first);
                    barrier.leave(0);
                })
            };
            barrier.acquire(|_| {});
            // SAFETY: the claim under test.
            value.0.with_mut(|value| unsafe { *value += 1 });
            barrier.release();
            worker.join().unwrap();
        });
    }

    /// What was replaced before a snapshot is in nobody's hands once the snapshot has passed.
    #[test]
    fn nothing_is_freed_under_a_reader() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let barrier = Arc::new(Barrier::new(1));
            let old = Box::into_raw(Box::new(Plain(UnsafeCell::new(1))));
            let new = Box::into_raw(Box::new(Plain(UnsafeCell::new(2))));
            let current = Arc::new(AtomicPtr::new(old));
            let worker = {
                let (barrier, current) = (barrier.clone(), current.clone());
                loom::thread::spawn(move || {
                    barrier.enter(0);
                    for _ in 0..3 {
                        let value = current.load(Ordering::Acquire);
                        // SAFETY: the claim under test: not freed while a pass that has read it goes on.
                        let read = unsafe { (*value).0.with(|value| *value) };
                        assert!(read == 1 || read == 2);
                        barrier.pass(0);
                    }
                    barrier.leave(0);
                })
            };
            current.store(new, Ordering::Release);
            let snapshot = barrier.snapshot();
            let freed = barrier.has_passed(&snapshot);
            if freed {
                // Freeing is a write as far as races go.
                // SAFETY: the claim under test.
                unsafe { (*old).0.with_mut(|value| *value = 99) };
            }
            worker.join().unwrap();
            // SAFETY: all threads are done.
            unsafe {
                drop(Box::from_raw(old));
                drop(Box::from_raw(new));
            }
        });
    }
}
