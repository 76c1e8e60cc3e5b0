//! Methods on threads, buffers, the barrier and tasks.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::runtime::thread_name;
use crate::host::Engine;

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
    /// How often it was polled.
    pub polls: u64,
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Engine {
    pub(super) fn add_system_methods(&self) {
        self.add_method("thread.list", |engine, _| Ok(serde_json::to_value(engine.thread_reports())?));
        self.add_method("buffer.show", |engine, _| Ok(serde_json::to_value(engine.buffer_report())?));
        self.add_method("barrier.show", |engine, _| Ok(serde_json::to_value(engine.barrier_report())?));
        self.add_method("process.list", |engine, _| {
            let tasks = engine.executor.borrow().list();
            let rows = tasks.into_iter().map(|task| ProcessReport {
                task: task.task,
                name: task.name,
                plugin: engine.owner_name(task.owner),
                polls: task.polls,
            });
            Ok(serde_json::to_value(rows.collect::<Vec<_>>())?)
        });
    }

    fn thread_reports(&self) -> Vec<ThreadReport> {
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

    fn buffer_report(&self) -> BufferReport {
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

    fn barrier_report(&self) -> BarrierReport {
        let threads = self.threads.borrow();
        let stats = threads.barrier_stats();
        let cause = |(cause, &(holds, longest, sum)): (&String, &(u64, _, _))| BarrierCause {
            cause: cause.clone(),
            holds,
            mean_ns: nanos(sum) / holds.max(1),
            longest_ns: nanos(longest),
            total_ns: nanos(sum),
        };
        let bands = stats.histogram.iter().enumerate().filter(|(_, holds)| **holds > 0);
        BarrierReport {
            holds: stats.holds(),
            causes: stats.causes.iter().map(cause).collect(),
            histogram: bands
                .map(|(band, &holds)| BarrierBand { from_ns: 1 << band, below_ns: 2 << band, holds })
                .collect(),
        }
    }
}
