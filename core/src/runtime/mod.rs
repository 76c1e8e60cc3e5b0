//! Running the graph: threads, their loops, frames, the barrier.

mod barrier;
mod clock;
mod dispatch;
mod host_calls;
mod idle;
mod main_queue;
mod nodes;
mod queues;
mod retire;
mod stats;
mod sync;
mod thread;
mod trace;
mod worker;

pub use barrier::{Barrier, BarrierStats};
pub use clock::Clock;
pub use host_calls::{
    buffers_allocate, buffers_free, buffers_free_remote, enqueue, enqueue_frame, trace as trace_call,
};
pub use idle::Poller;
pub use main_queue::MainQueue;
pub use nodes::{driver_input_registration, driver_tx_registration, drop_node, gone_node};
pub use queues::{InterfaceCounter, InterfaceCounters, RxMode, RxQueue, RxSlot, TxQueue, TxSlot};
pub use retire::RetireList;
pub use stats::{Errors, NodeStats, NodeTotals};
pub use thread::{NodeSlot, Shared, Thread, ThreadParts};
pub use trace::{PacketTrace, TraceEntry, TraceStore};
pub(crate) use worker::pin;
pub use worker::{HeldThreads, Threads, WorkerConfig};
