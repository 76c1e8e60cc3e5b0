//! Methods on threads, buffers, the barrier and tasks.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::runtime::thread_name;
use crate::host::Engine;
use crate::process::TaskInfo;
use crate::runtime::{CauseStats, Clock, LateWorker};

/// A thread, for `show threads`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ThreadReport {
    /// Its number: 0 is the main thread.
    pub thread: u32,
    /// Its name.
    pub name: String,
    /// The core that it is pinned to.
    pub core: Option<usize>,
    /// `polling` or `asleep`; of the main thread: which of the two it does between commands.
    pub state: String,
    /// Passes of its loop since the start.
    pub passes: u64,
    /// The node that it is in.
    pub node: Option<String>,
    /// Receive queues that it looks after, as `interface/queue`.
    pub rx_queues: Vec<String>,
}

/// The packet buffers, for `show buffers`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BufferReport {
    /// All of them.
    pub total: u64,
    /// Those that wait in the pool.
    pub free: u64,
    /// Those that wait in the threads' caches.
    pub cached: u64,
    /// Those that hold packets.
    pub in_use: u64,
    /// Buffers that were asked for and not to be had.
    pub exhausted: u64,
    /// Bytes from one to the next.
    pub buffer_bytes: u64,
    /// Bytes of all.
    pub bytes: u64,
    /// The pages that they are on.
    pub pages: String,
    /// The threads' caches.
    pub threads: Vec<ThreadBuffers>,
}

/// A thread's cache of buffers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ThreadBuffers {
    /// The thread.
    pub thread: u32,
    /// Its name.
    pub name: String,
    /// Buffers in its cache.
    pub cached: u64,
    /// Buffers that it asked for in vain.
    pub exhausted: u64,
}

/// The holds of the barrier, for `show barrier`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BarrierReport {
    /// How often the workers had to stand.
    pub holds: u64,
    /// Why, and for how long.
    pub causes: Vec<BarrierCause>,
    /// Holds by their length; bands without any are left out.
    pub histogram: Vec<BarrierBand>,
    /// How often a worker did not come within a second.
    pub late: u64,
    /// The last one that did not.
    pub last_late: Option<LateWorker>,
}

/// Holds of one cause.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BarrierCause {
    /// The cause.
    pub cause: String,
    /// Holds.
    pub holds: u64,
    /// Their mean length, in ns.
    pub mean_ns: u64,
    /// The longest, in ns.
    pub longest_ns: u64,
    /// Their sum, in ns.
    pub total_ns: u64,
    /// How long the workers were waited for, each until its pass was over: the mean, in ns.
    pub mean_wait_ns: u64,
    /// The longest wait, in ns.
    pub longest_wait_ns: u64,
}

/// Holds of about one length.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BarrierBand {
    /// The shortest, in ns.
    pub from_ns: u64,
    /// All are shorter than this, in ns.
    pub below_ns: u64,
    /// Holds.
    pub holds: u64,
}

/// A task of the main thread, for `show processes`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProcessReport {
    /// Its number.
    pub task: u64,
    /// Its name.
    pub name: String,
    /// The plugin that started it.
    pub plugin: String,
    /// `sleeping` (its timer has it polled) or `waiting` (for an event, a descriptor, an answer).
    pub state: String,
    /// How long it still sleeps at most, in ns.
    pub sleeps_ns: Option<u64>,
    /// How often it was woken; it suspended itself as often.
    pub wakes: u64,
    /// Time that it took in all, in ns.
    pub spent_ns: u64,
    /// Its longest turn, in ns: the main thread did nothing else meanwhile.
    pub longest_ns: u64,
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Engine {
    pub(super) fn add_system_methods(&self) {
        self.add_method("daemon.state-directory", |engine, _| {
            Ok(serde_json::to_value(&engine.config.state_directory)?)
        });
        self.add_method("thread.list", |engine, _| Ok(serde_json::to_value(engine.thread_reports())?));
        self.add_method("buffer.show", |engine, _| Ok(serde_json::to_value(engine.buffer_report())?));
        self.add_method("barrier.show", |engine, _| Ok(serde_json::to_value(engine.barrier_report())?));
        self.add_method("process.list", |engine, _| Ok(serde_json::to_value(engine.process_reports())?));
    }

    pub(in crate::host) fn process_reports(&self) -> Vec<ProcessReport> {
        let (tasks, now_ns) = (self.executor.borrow().list(), Clock.now_ns());
        let ns = |clocks: u64| (clocks as f64 * 1e9 / Clock::ticks_per_second()) as u64;
        let report = |task: TaskInfo| ProcessReport {
            task: task.task,
            name: task.name,
            plugin: self.owner_name(task.owner),
            state: if task.sleeps_until_ns.is_some() { "sleeping" } else { "waiting" }.to_owned(),
            sleeps_ns: task.sleeps_until_ns.map(|until_ns| until_ns.saturating_sub(now_ns)),
            wakes: task.wakes,
            spent_ns: ns(task.clocks),
            longest_ns: ns(task.longest),
        };
        tasks.into_iter().map(report).collect()
    }

    pub(in crate::host) fn thread_reports(&self) -> Vec<ThreadReport> {
        let (threads, graph, interfaces) =
            (self.threads.borrow(), self.graph.borrow(), self.interfaces.borrow());
        let report = |thread: usize| {
            let shared = threads.shared(thread);
            let asleep = match thread {
                0 => !threads.main_is_busy(),
                worker => threads.barrier().is_quiet(worker - 1),
            };
            let queues = interfaces.iter().flat_map(|(_, interface)| {
                let own = interface.placement.iter().enumerate().filter(|(_, on)| **on == thread);
                own.map(|(queue, _)| format!("{}/{queue}", interface.name))
            });
            ThreadReport {
                thread: thread as u32,
                name: thread_name(thread),
                core: match thread {
                    0 => self.config.main_core,
                    worker => self.config.workers.get(worker - 1).and_then(|worker| worker.core),
                },
                state: if asleep { "asleep" } else { "polling" }.to_owned(),
                passes: shared.passes.load(Ordering::Relaxed),
                node: u16::try_from(shared.current.load(Ordering::Relaxed))
                    .ok()
                    .map(|node| graph.name(node).to_owned()),
                rx_queues: queues.collect(),
            }
        };
        (0..threads.count()).map(report).collect()
    }

    pub(in crate::host) fn buffer_report(&self) -> BufferReport {
        let pool = &self.any.pool;
        let threads: Vec<ThreadBuffers> = (self.threads.borrow().all_shared().enumerate())
            .map(|(thread, shared)| ThreadBuffers {
                thread: thread as u32,
                name: thread_name(thread),
                cached: shared.cached.load(Ordering::Relaxed),
                exhausted: shared.exhausted.load(Ordering::Relaxed),
            })
            .collect();
        let (total, free) = (pool.count() as u64, pool.free() as u64);
        let cached = threads.iter().map(|thread| thread.cached).sum();
        BufferReport {
            total,
            free,
            cached,
            // The figures are not of one moment.
            in_use: total.saturating_sub(free).saturating_sub(cached),
            exhausted: threads.iter().map(|thread| thread.exhausted).sum(),
            buffer_bytes: pool.stride() as u64,
            bytes: pool.arena().length() as u64,
            pages: pool.arena().pages().to_string(),
            threads,
        }
    }

    pub(in crate::host) fn barrier_report(&self) -> BarrierReport {
        let threads = self.threads.borrow();
        let stats = threads.barrier_stats();
        let cause = |(cause, stats): (&String, &CauseStats)| BarrierCause {
            cause: cause.clone(),
            holds: stats.holds,
            mean_ns: nanos(stats.sum) / stats.holds.max(1),
            longest_ns: nanos(stats.longest),
            total_ns: nanos(stats.sum),
            mean_wait_ns: nanos(stats.wait_sum) / stats.holds.max(1),
            longest_wait_ns: nanos(stats.longest_wait),
        };
        let bands = stats.histogram.iter().enumerate().filter(|(_, holds)| **holds > 0);
        BarrierReport {
            holds: stats.holds(),
            causes: stats.causes.iter().map(cause).collect(),
            histogram: bands
                .map(|(band, &holds)| BarrierBand { from_ns: 1 << band, below_ns: 2 << band, holds })
                .collect(),
            late: stats.late,
            last_late: stats.last_late.clone(),
        }
    }
}
