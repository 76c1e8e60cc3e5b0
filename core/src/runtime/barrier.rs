//! Where workers stand while the main thread changes what they read plainly, and how it knows that they have passed.
//!
//! Each worker has one word, its gate. It is odd while the worker is in a pass of its loop and even while it stands or
//! sleeps; it grows with every pass. Two things are read off the gates:
//!
//! - **The barrier is held** when the request is set and every gate is even. A worker that leaves an even gate (after
//!   standing or sleeping) makes it odd, fences, and looks at the request; the main thread sets the request, fences,
//!   and looks at the gates. One of the two sees the other (Dekker), so no worker runs on unseen.
//! - **A quiescent point has passed** since a snapshot when every gate was even then, or has become even or grown by
//!   two passes since. Two, because on its way from pass to pass a worker does not fence: a load of the next pass may
//!   overtake the store that ends this one, but not the store that ends the next.
//!
//! Workers that run on never execute a fence or an atomic read-modify-write here: a pass costs one store and one load.

use std::time::Duration;

use super::sync::{AtomicU32, AtomicU64, Ordering, fence, spin, wait_while, wake_all};

/// Turns of a loop before the waiting side goes to sleep.
const SPINS: u32 = if cfg!(loom) { 1 } else { 2000 };

/// A worker's word, on a cache line pair of its own.
#[repr(align(128))]
struct Gate(AtomicU64);

/// The barrier between the main thread and its workers.
pub struct Barrier {
    /// 1 while the workers must stand.
    request: AtomicU32,
    /// Counts workers that came to stand: what the main thread sleeps on.
    arrivals: AtomicU32,
    gates: Box<[Gate]>,
}

/// What the gates were.
#[derive(Clone, Debug, Default)]
pub struct Snapshot(Vec<u64>);

impl Barrier {
    /// A barrier for `workers` workers, which all stand until they first [`enter`](Barrier::enter).
    pub fn new(workers: usize) -> Self {
        let gates = (0..workers).map(|_| Gate(AtomicU64::new(0))).collect();
        Self { request: AtomicU32::new(0), arrivals: AtomicU32::new(0), gates }
    }

    /// Worker: starts to run, after standing or sleeping; returns when it may.
    pub fn enter(&self, worker: usize) {
        let gate = &self.gates[worker].0;
        loop {
            // Released, so that whoever sees this value sees that the passes before it are over.
            gate.store(gate.load(Ordering::Relaxed) + 1, Ordering::Release);
            fence(Ordering::SeqCst);
            if self.request.load(Ordering::Relaxed) == 0 {
                // What the main thread changed under the barrier is seen from here on.
                fence(Ordering::Acquire);
                return;
            }
            self.leave(worker);
            self.wait_for_release();
        }
    }

    /// Worker: stops running, to stand or to sleep.
    pub fn leave(&self, worker: usize) {
        let gate = &self.gates[worker].0;
        gate.store(gate.load(Ordering::Relaxed) + 1, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.request.load(Ordering::Relaxed) != 0 {
            self.arrivals.fetch_add(1, Ordering::Release);
            wake_all(&self.arrivals);
        }
    }

    /// Worker: ends one pass and begins the next; stands in between if it must.
    #[inline]
    pub fn pass(&self, worker: usize) {
        let gate = &self.gates[worker].0;
        gate.store(gate.load(Ordering::Relaxed) + 2, Ordering::Release);
        if self.request.load(Ordering::Relaxed) != 0 {
            self.leave(worker);
            self.enter(worker);
        }
    }

    #[cold]
    fn wait_for_release(&self) {
        let mut turns = 0;
        while self.request.load(Ordering::Acquire) != 0 {
            turns += 1;
            if turns < SPINS {
                spin();
            } else {
                wait_while(&self.request, 1);
            }
        }
    }

    /// Main thread: has the workers stand, and waits until they do. `late` is asked now and then, with the worker that
    /// is waited for, whether to say something.
    pub fn acquire(&self, mut late: impl FnMut(usize)) {
        self.request.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        for (worker, gate) in self.gates.iter().enumerate() {
            let mut turns = 0;
            loop {
                let arrivals = self.arrivals.load(Ordering::Acquire);
                if gate.0.load(Ordering::Acquire) % 2 == 0 {
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
        self.request.store(0, Ordering::Release);
        wake_all(&self.request);
    }

    /// Main thread: what the gates are now.
    pub fn snapshot(&self) -> Snapshot {
        fence(Ordering::SeqCst);
        Snapshot(self.gates.iter().map(|gate| gate.0.load(Ordering::Acquire)).collect())
    }

    /// Main thread: whether every worker has passed a quiescent point since `snapshot`, so that nothing that was out of
    /// its reach then is in its hands now.
    pub fn has_passed(&self, snapshot: &Snapshot) -> bool {
        let passed = self.gates.iter().zip(&snapshot.0).all(|(gate, &then)| {
            let now = gate.0.load(Ordering::Acquire);
            then.is_multiple_of(2) || (now.is_multiple_of(2) && now != then) || now >= then + 4
        });
        if passed {
            fence(Ordering::SeqCst);
        }
        passed
    }

    /// Which workers are asleep or stand.
    pub fn is_quiet(&self, worker: usize) -> bool {
        self.gates[worker].0.load(Ordering::Relaxed).is_multiple_of(2)
    }
}

/// How long the barrier was held, by cause and by powers of two.
#[derive(Clone, Debug)]
pub struct BarrierStats {
    /// Number of holds by power of two of the time in ns.
    pub histogram: [u64; 40],
    /// Holds and their longest and summed time, by cause.
    pub causes: std::collections::BTreeMap<String, (u64, Duration, Duration)>,
}

impl Default for BarrierStats {
    fn default() -> Self {
        Self { histogram: [0; 40], causes: std::collections::BTreeMap::new() }
    }
}

impl BarrierStats {
    /// Adds a hold.
    pub fn note(&mut self, cause: &str, held: Duration) {
        let nanos = u64::try_from(held.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.histogram[(nanos.ilog2() as usize).min(39)] += 1;
        let (count, longest, sum) = self.causes.entry(cause.to_owned()).or_default();
        *count += 1;
        *longest = held.max(*longest);
        *sum += held;
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
    fn a_snapshot_is_passed_after_two_passes_or_a_sleep() {
        let barrier = Barrier::new(1);
        barrier.enter(0);
        let snapshot = barrier.snapshot();
        assert!(!barrier.has_passed(&snapshot));
        barrier.pass(0);
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
        stats.note("plugin load", Duration::from_nanos(1500));
        stats.note("plugin load", Duration::from_nanos(900));
        assert_eq!((stats.histogram[10], stats.histogram[9], stats.holds()), (1, 1, 2));
        assert_eq!(stats.causes["plugin load"], (2, Duration::from_nanos(1500), Duration::from_nanos(2400)));
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
