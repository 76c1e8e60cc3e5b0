//! The threads of the graph: the main one and the workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::barrier::{Barrier, BarrierStats};
use super::dispatch::{run_pass, shared};
use super::{Clock, Shared, Thread};

/// How long a thread polls on after its last packet before it sleeps.
const POLL_ON: Duration = Duration::from_micros(20);

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
    held_since: Option<(Instant, String)>,
    stats: BarrierStats,
    main_idle_since: u64,
}

/// A thread on its way to its own thread.
struct Send1(*mut Thread);
// SAFETY: the thread is handed over as a whole: from here on its worker uses it, and the main thread only while that
// one stands at the barrier.
unsafe impl Send for Send1 {}

impl Threads {
    /// The threads, the main one first; none runs yet.
    pub fn new(threads: Vec<Box<Thread>>) -> Self {
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
            stats: BarrierStats::default(),
            main_idle_since: 0,
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
        let mut said = false;
        let handles = &self.handles;
        self.barrier.acquire(|worker| {
            if !said && asked.elapsed() > Duration::from_secs(1) {
                said = true;
                let node = handles[worker + 1].shared.current.load(Ordering::Relaxed);
                tracing::warn!(worker = worker + 1, node, cause, "a worker does not come to the barrier");
            }
        });
        self.held_since = Some((Instant::now(), cause.to_owned()));
    }

    /// Lets the workers go on.
    pub fn release(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.depth == 0 {
            self.barrier.release();
            if let Some((since, cause)) = self.held_since.take() {
                self.stats.note(&cause, since.elapsed());
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
            (*thread).context.now_ns = Clock.now_ns();
            let received = run_pass(thread);
            note_cache(thread);
            super::stats::add(&self.handles[0].shared.passes, 1);
            if received > 0 {
                self.main_idle_since = (*thread).context.now_ns;
            }
            received
        }
    }

    /// Whether the main thread has anything of the graph to poll, so that it should not sleep.
    pub fn main_is_busy(&self) -> bool {
        let thread = self.handles[0].thread;
        // SAFETY: as in `main_pass`.
        unsafe {
            ((*thread).polls_on()
                && (*thread).context.now_ns.saturating_sub(self.main_idle_since) < POLL_ON.as_nanos() as u64)
                || (*thread).wants_polling()
        }
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

fn worker_loop(thread: *mut Thread, shared: &Shared, barrier: &Barrier, stop: &AtomicBool, worker: usize) {
    barrier.enter(worker);
    let mut last_packet = Clock.now_ns();
    while !stop.load(Ordering::Relaxed) {
        barrier.pass(worker);
        let now = Clock.now_ns();
        // SAFETY: the worker's own thread, between two of its gates' points; see `Send1`.
        let received = unsafe {
            (*thread).context.now_ns = now;
            run_pass(thread)
        };
        super::stats::add(&shared.passes, 1);
        if received > 0 {
            last_packet = now;
            continue;
        }
        // SAFETY: as above.
        let polls = unsafe {
            note_cache(thread);
            let fresh = now.saturating_sub(last_packet) <= POLL_ON.as_nanos() as u64;
            (*thread).wants_polling() || (fresh && (*thread).polls_on())
        };
        if !polls {
            barrier.leave(worker);
            if !stop.load(Ordering::Acquire) {
                shared.poller.sleep(None);
            }
            barrier.enter(worker);
            last_packet = Clock.now_ns();
        }
    }
    barrier.leave(worker);
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
