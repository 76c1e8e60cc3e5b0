//! Running the graph: threads, their loops, frames, the barrier.

mod attention;
mod barrier;
mod bell;
mod capture;
mod clock;
mod dispatch;
mod files;
mod handoff;
mod host_calls;
mod idle;
mod main_queue;
mod nodes;
mod observe;
mod pursuit;
mod queues;
mod retire;
mod ring;
mod stats;
mod sync;
mod thread;
mod trace;
mod worker;

pub use attention::{Attention, LOWER_RATE, RxMode, RxState, RxStatus, UPPER_RATE};
pub use barrier::{Barrier, BarrierStats, CauseStats, Hold, LateWorker};
pub use capture::{Capture, CaptureOptions, CapturedPacket, Direction};
pub use clock::Clock;
pub use files::{FileBody, FileSet, file_poll_node};
pub use handoff::HandoffFigures;
pub use host_calls::{
    buffers_allocate, buffers_free, buffers_free_remote, count_interface, enqueue, enqueue_frame, handoff,
    trace as trace_call, wake_thread_at,
};
pub use idle::{Events, Poller};
pub use main_queue::MainQueue;
pub use nodes::{driver_input_registration, driver_tx_registration, drop_node, gone_node};
pub use pursuit::{Goal, Pursuit};
pub use queues::{InterfaceCounter, InterfaceCounters, RxQueue, RxSlot, TxQueue, TxSlot};
pub use retire::RetireList;
pub use stats::{Errors, NodeStats, NodeTotals};
pub use thread::{NodeFault, NodeSlot, Shared, Thread, ThreadParts};
pub use trace::{PacketTrace, TraceEntry, TraceStore};
pub(crate) use worker::pin;
pub use worker::{HeldThreads, Threads, WorkerConfig};
