//! A stream as commands and queues share it: what it sends, whether it runs, how far it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::program::Program;
use super::rate::Rate;
use super::replay::Replay;

/// What a stream's packets are made of.
#[derive(Clone, Debug)]
pub enum Source {
    /// A template.
    Template(Arc<Program>),
    /// Packets of a file, one after the other.
    Replay(Arc<Replay>),
}

/// Everything about a stream that stays.
#[derive(Debug)]
pub struct StreamPlan {
    /// Its name.
    pub name: String,
    /// What it sends, in words.
    pub text: String,
    /// What it sends.
    pub source: Source,
    /// How many packets; `None`: without end.
    pub count: Option<u64>,
    /// How fast; `None`: as fast as the threads can.
    pub rate: Option<Rate>,
    /// The queues that share in it.
    pub queues: Vec<u32>,
    /// Where random numbers start.
    pub seed: u64,
}

/// A stream of an interface.
#[derive(Debug)]
pub struct Stream {
    plan: StreamPlan,
    /// Twice the number of the run, and one more while it runs. Written by the main thread.
    control: AtomicU64,
    cells: Box<[Cell]>,
}

/// How far a queue is. Written by the thread of the queue alone, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell {
    run: AtomicU64,
    done: AtomicU64,
    sent: AtomicU64,
    bytes: AtomicU64,
    first_ns: AtomicU64,
    last_ns: AtomicU64,
}

/// What a stream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamState {
    /// It was not started yet.
    Ready,
    /// It sends.
    Running,
    /// It was stopped before its end.
    Stopped,
    /// It has sent all its packets.
    Completed,
}

/// What a stream has sent in its present run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// When the first went, if one did.
    pub first_ns: Option<u64>,
    /// When the last went.
    pub last_ns: u64,
}

impl Stream {
    /// A stream that waits to be started.
    pub fn new(plan: StreamPlan) -> Self {
        let cells = plan.queues.iter().map(|_| Cell::default()).collect();
        Self { plan, control: AtomicU64::new(0), cells }
    }

    /// What stays of it.
    pub fn plan(&self) -> &StreamPlan {
        &self.plan
    }

    /// Starts it: from where it was stopped, or anew if it is complete. Main thread.
    pub fn start(&self) {
        let control = self.control.load(Ordering::Relaxed);
        let run = if control < 2 || self.is_complete() { (control >> 1) + 1 } else { control >> 1 };
        self.control.store(run << 1 | 1, Ordering::Release);
    }

    /// Starts it from its beginning. Main thread.
    pub fn restart(&self) {
        let control = self.control.load(Ordering::Relaxed);
        self.control.store(((control >> 1) + 1) << 1 | 1, Ordering::Release);
    }

    /// Stops it where it is. Main thread.
    pub fn stop(&self) {
        self.control.fetch_and(!1, Ordering::AcqRel);
    }

    /// The number of its run, and whether it runs.
    pub fn order(&self) -> (u64, bool) {
        let control = self.control.load(Ordering::Acquire);
        (control >> 1, control & 1 == 1)
    }

    /// Packets that share number `share` sends in a run.
    pub fn share_of_count(&self, share: usize) -> Option<u64> {
        let (count, shares) = (self.plan.count?, self.plan.queues.len().max(1) as u64);
        Some(count / shares + u64::from((share as u64) < count % shares))
    }

    /// Whether all packets of the present run were sent.
    pub fn is_complete(&self) -> bool {
        let (run, _) = self.order();
        run > 0 && self.cells.iter().all(|cell| cell.done.load(Ordering::Acquire) == run)
    }

    /// What it does.
    pub fn state(&self) -> StreamState {
        match self.order() {
            (0, _) => StreamState::Ready,
            _ if self.is_complete() => StreamState::Completed,
            (_, true) => StreamState::Running,
            (_, false) => StreamState::Stopped,
        }
    }

    /// What was sent in the present run.
    pub fn progress(&self) -> Progress {
        let (run, _) = self.order();
        let mut sum = Progress::default();
        for cell in self.cells.iter().filter(|cell| cell.run.load(Ordering::Acquire) == run) {
            let packets = cell.sent.load(Ordering::Relaxed);
            if packets == 0 {
                continue;
            }
            let first = cell.first_ns.load(Ordering::Relaxed);
            sum.packets += packets;
            sum.bytes += cell.bytes.load(Ordering::Relaxed);
            sum.first_ns = Some(sum.first_ns.map_or(first, |known| known.min(first)));
            sum.last_ns = sum.last_ns.max(cell.last_ns.load(Ordering::Relaxed));
        }
        sum
    }

    /// Begins run `run` in a queue's cell. The queue's thread.
    pub(super) fn begin(&self, share: usize, run: u64) {
        if let Some(cell) = self.cells.get(share) {
            for count in [&cell.sent, &cell.bytes, &cell.first_ns, &cell.last_ns] {
                count.store(0, Ordering::Relaxed);
            }
            cell.run.store(run, Ordering::Release);
        }
    }

    /// Notes what a queue sent. The queue's thread.
    #[inline]
    pub(super) fn note(&self, share: usize, packets: u64, bytes: u64, now_ns: u64) {
        if let Some(cell) = self.cells.get(share) {
            let sent = cell.sent.load(Ordering::Relaxed);
            if sent == 0 {
                cell.first_ns.store(now_ns, Ordering::Relaxed);
            }
            // Only this thread writes here, so that reading and writing apart loses nothing.
            cell.last_ns.store(now_ns, Ordering::Relaxed);
            cell.bytes.store(cell.bytes.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
            cell.sent.store(sent + packets, Ordering::Relaxed);
        }
    }

    /// Notes that a queue has sent its share. The queue's thread.
    pub(super) fn end(&self, share: usize, run: u64) {
        if let Some(cell) = self.cells.get(share) {
            cell.done.store(run, Ordering::Release);
        }
    }
}
