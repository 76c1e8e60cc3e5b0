//! The threads of the graph: the main one and the workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::barrier::{Barrier, BarrierStats, Hold, LateWorker};
use super::dispatch::{run_pass, shared};
use super::handoff::HandoffFigures;
use super::ring::Ring;
use super::{Clock, Events, Shared, Thread};

/// How a worker runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerConfig {
    /// The core that it is pinned to.
    pub core: Option<usize>,
}

struct Handle {
    thread: *mut Thread,
    shared: Arc<Shared>,
    join: Option<JoinHandle<()>>,
}

/// All threads of the graph, on the main thread.
pub struct Threads {
    handles: Vec<Handle>,
    barrier: Arc<Barrier>,
    stop: Arc<AtomicBool>,
    depth: u32,
    held_since: Option<(Instant, Duration, String)>,
    /// How long workers are waited for before it is said which one does not come.
    late_after: Duration,
    on_late: Box<dyn Fn(&LateWorker)>,
    stats: BarrierStats,
    /// The ways from thread to thread.
    rings: Vec<(usize, usize, Arc<Ring>)>,
}

/// A thread on its way to its own thread.
struct Send1(*mut Thread);
// SAFETY: the thread is handed over as a whole: from here on its worker uses it, and the main thread only while that
// one stands at the barrier.
unsafe impl Send for Send1 {}

impl Threads {
    /// The threads, the main one first; none runs yet.
    pub fn new(mut threads: Vec<Box<Thread>>) -> Self {
        let rings = super::handoff::join(&mut threads);
        let barrier = Arc::new(Barrier::new(threads.len().saturating_sub(1)));
        let handles = threads
            .into_iter()
            .map(|thread| Handle {
                shared: Arc::clone(thread.shared()),
                thread: Box::into_raw(thread),
                join: None,
            })
            .collect();
        Self {
            handles,
            barrier,
            stop: Arc::default(),
            depth: 0,
            held_since: None,
            late_after: Duration::from_secs(1),
            on_late: Box::new(say_late),
            stats: BarrierStats::default(),
            rings,
        }
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// The system starts no more threads.
    pub fn start(&mut self, configs: &[WorkerConfig]) -> std::io::Result<()> {
        for (number, handle) in self.handles.iter_mut().enumerate().skip(1) {
            let config = configs.get(number - 1).copied().unwrap_or_default();
            let (barrier, stop) = (Arc::clone(&self.barrier), Arc::clone(&self.stop));
            let (shared, thread) = (Arc::clone(&handle.shared), Send1(handle.thread));
            let run = move || {
                let thread = thread;
                if let Some(core) = config.core {
                    pin(core);
                }
                worker_loop(thread.0, &shared, &barrier, &stop, number - 1);
            };
            handle.join = Some(std::thread::Builder::new().name(format!("raddle-wk-{number}")).spawn(run)?);
        }
        Ok(())
    }

    /// Number of threads, the main one among them.
    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Number of nodes that each thread has.
    pub fn node_count(&self) -> usize {
        // SAFETY: the main thread's own, which nobody else uses; the others have as many.
        unsafe { (*self.handles[0].thread).node_count() }
    }

    /// Has a crash of the calling thread, the main one, name the node that it is in.
    pub fn name_nodes_of_main(&self) {
        name_nodes(&self.handles[0].shared);
    }

    /// What may be read of a thread while it runs.
    pub fn shared(&self, thread: usize) -> &Arc<Shared> {
        &self.handles[thread].shared
    }

    /// What may be read of the threads while they run.
    pub fn all_shared(&self) -> impl Iterator<Item = &Arc<Shared>> {
        self.handles.iter().map(|handle| &handle.shared)
    }

    /// The barrier's gates, for quiescent points.
    pub fn barrier(&self) -> &Barrier {
        &self.barrier
    }

    /// How long the barrier was held, and why.
    pub fn barrier_stats(&self) -> &BarrierStats {
        &self.stats
    }

    /// Has the workers stand. Nests.
    pub fn acquire(&mut self, cause: &str) {
        self.depth += 1;
        if self.depth > 1 {
            return;
        }
        for handle in self.handles.iter().skip(1) {
            handle.shared.poller.wake();
        }
        let asked = Instant::now();
        let mut late = None;
        let (handles, late_after, on_late) = (&self.handles, self.late_after, &self.on_late);
        self.barrier.acquire(|worker| {
            if late.is_none() && asked.elapsed() > late_after {
                let node = handles[worker + 1].shared.current.load(Ordering::Relaxed);
                let label = crate::crash::node_label(node);
                let node = label.map(|label| label.name.clone());
                let plugin = label.map(|label| label.plugin.name.clone());
                let worker = LateWorker { thread: worker as u32 + 1, node, plugin, cause: cause.to_owned() };
                on_late(&worker);
                late = Some(worker);
            }
        });
        if let Some(late) = late {
            self.stats.late += 1;
            self.stats.last_late = Some(late);
        }
        self.held_since = Some((Instant::now(), asked.elapsed(), cause.to_owned()));
    }

    /// Has `say` told of workers that do not come to the barrier within `after`.
    pub fn on_late(&mut self, after: Duration, say: impl Fn(&LateWorker) + 'static) {
        (self.late_after, self.on_late) = (after, Box::new(say));
    }

    /// Lets the workers go on.
    pub fn release(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.depth == 0 {
            self.barrier.release();
            if let Some((since, waited, cause)) = self.held_since.take() {
                self.stats.note(&cause, Hold { waited, held: since.elapsed() });
            }
        }
    }

    /// The threads themselves, while the workers stand.
    pub fn hold(&mut self, cause: &str) -> HeldThreads<'_> {
        self.acquire(cause);
        HeldThreads { threads: self }
    }

    /// A pass of the main thread over its own nodes and queues; returns the packets that came in.
    pub fn main_pass(&mut self) -> u64 {
        let thread = self.handles[0].thread;
        // SAFETY: the main thread's own, which nobody else uses.
        unsafe {
            (*thread).begin_pass(Clock.now_ns());
            let received = run_pass(thread);
            note_cache(thread);
            super::stats::add(&self.handles[0].shared.passes, 1);
            received
        }
    }

    /// Whether the main thread has anything of the graph to poll, so that it should not sleep.
    pub fn main_is_busy(&self) -> bool {
        let thread = self.handles[0].thread;
        // SAFETY: as in `main_pass`.
        unsafe { (*thread).is_busy(Clock.now_ns()) }
    }

    /// Tells the main thread's queues what it heard while it slept.
    pub fn main_hears(&mut self, events: &Events) {
        // SAFETY: as in `main_pass`.
        unsafe { (*self.handles[0].thread).hear(events) };
    }

    /// How long the main thread may sleep as far as its nodes are concerned; `None`: until something comes in.
    pub fn main_longest_sleep(&self) -> Option<Duration> {
        // SAFETY: as in `main_pass`.
        unsafe { (*self.handles[0].thread).longest_sleep(Clock.now_ns()) }
    }

    /// Says that the main thread is about to sleep; returns whether it may: not if another thread has packets for it.
    /// [`Self::main_is_awake`] follows in either case.
    pub fn main_may_sleep(&self) -> bool {
        self.handles[0].shared.bell.may_sleep()
    }

    /// Says that the main thread does not sleep any more.
    pub fn main_is_awake(&self) {
        self.handles[0].shared.bell.awake();
    }

    /// What went from thread to thread.
    pub fn handoffs(&self) -> impl Iterator<Item = HandoffFigures> {
        self.rings.iter().map(|(from, to, ring)| HandoffFigures {
            from: *from,
            to: *to,
            ring: ring.figures(),
        })
    }

    /// Wakes a thread that sleeps.
    pub fn wake(&self, thread: usize) {
        self.handles[thread].shared.poller.wake();
    }

    /// Ends the workers. The threads' queues and nodes stay until the value is dropped.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for handle in self.handles.iter_mut().skip(1) {
            handle.shared.poller.wake();
            if let Some(join) = handle.join.take()
                && join.join().is_err()
            {
                tracing::error!("a worker panicked");
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
        for handle in &self.handles {
            // SAFETY: boxed in `new`, and no thread runs any more.
            drop(unsafe { Box::from_raw(handle.thread) });
        }
    }
}

/// Proof that the workers stand, and the way to their insides.
pub struct HeldThreads<'a> {
    threads: &'a mut Threads,
}

impl HeldThreads<'_> {
    /// Thread number `index`.
    pub fn thread(&mut self, index: usize) -> &mut Thread {
        // SAFETY: the workers stand, the main thread is the caller, and the borrow is of `self`.
        unsafe { &mut *self.threads.handles[index].thread }
    }

    /// Number of threads.
    pub fn count(&self) -> usize {
        self.threads.count()
    }

    /// Calls `change` on each thread.
    pub fn each(&mut self, mut change: impl FnMut(&mut Thread)) {
        for index in 0..self.count() {
            change(self.thread(index));
        }
    }
}

impl Drop for HeldThreads<'_> {
    fn drop(&mut self) {
        self.threads.release();
    }
}

fn worker_loop(
    thread: *mut Thread,
    shared: &Arc<Shared>,
    barrier: &Barrier,
    stop: &AtomicBool,
    worker: usize,
) {
    name_nodes(shared);
    barrier.enter(worker);
    while !stop.load(Ordering::Relaxed) {
        barrier.pass(worker);
        let now = Clock.now_ns();
        // SAFETY: the worker's own thread, between two of its gates' points; see `Send1`.
        let received = unsafe {
            (*thread).begin_pass(now);
            run_pass(thread)
        };
        super::stats::add(&shared.passes, 1);
        if received > 0 {
            continue;
        }
        // SAFETY: as above.
        let (is_busy, longest_sleep) = unsafe {
            note_cache(thread);
            ((*thread).is_busy(now), (*thread).longest_sleep(now))
        };
        if !is_busy {
            barrier.leave(worker);
            let mut events = None;
            if shared.bell.may_sleep() && !stop.load(Ordering::Acquire) {
                events = Some(shared.poller.sleep(longest_sleep));
            }
            shared.bell.awake();
            barrier.enter(worker);
            if let Some(events) = events {
                // SAFETY: as above: the gate was entered.
                unsafe { (*thread).hear(&events) };
            }
        }
    }
    barrier.leave(worker);
}

fn say_late(late: &LateWorker) {
    let LateWorker { thread, node, plugin, cause } = late;
    let (node, plugin) = (node.as_deref().unwrap_or("none"), plugin.as_deref().unwrap_or("none"));
    tracing::warn!(thread, node, plugin, cause, "a worker does not come to the barrier: it is in this node");
}

/// Has a crash of the calling thread name the node that it is in.
fn name_nodes(shared: &Arc<Shared>) {
    // Kept for good: a thread may crash at its very end.
    let shared: &'static Shared = Box::leak(Box::new(Arc::clone(shared)));
    crate::crash::this_thread(&shared.current);
}

unsafe fn note_cache(thread: *mut Thread) {
    // SAFETY: the caller's own thread.
    unsafe {
        let shared = shared(thread);
        shared.exhausted.store((*thread).cache.exhausted, Ordering::Relaxed);
        shared.cached.store((*thread).cache.held() as u64, Ordering::Relaxed);
    }
}

/// Pins the calling thread to a core; a core that is not there is said and left.
pub(crate) fn pin(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    if core < rustix::thread::CpuSet::MAX_CPU {
        set.set(core);
    }
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(core, %error, "cannot pin a thread to this core");
    }
}
