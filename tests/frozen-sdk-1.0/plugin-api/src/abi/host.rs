//! The functions that the host offers.

use std::ffi::c_void;

use super::{Frame, NodeContext, Sink, Text, WorkerContext};

/// Outcome of a call, across the ABI.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// It was done.
    pub const OK: Self = Self(0);
    /// It could not be done; the sink has the reason in one sentence.
    pub const FAILED: Self = Self(1);
    /// The callee panicked; the sink has the message.
    pub const PANICKED: Self = Self(2);
    /// The callee is not finished yet (tasks, commands that answer later).
    pub const PENDING: Self = Self(3);
}

/// Importance of a log line, across the ABI.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLevel(pub u32);

impl LogLevel {
    /// Something failed.
    pub const ERROR: Self = Self(1);
    /// Something is not as it should be.
    pub const WARN: Self = Self(2);
    /// Worth knowing.
    pub const INFO: Self = Self(3);
    /// For those who look for a fault.
    pub const DEBUG: Self = Self(4);
}

/// Memory of one counter set: `stride` counters per thread, of which each thread writes only its own. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CounterMemory {
    /// The first counter of thread 0 (an `AtomicU64`); null if the host refused.
    pub base: *mut u64,
    /// Counters from one thread to the next.
    pub stride: usize,
    /// Counters that may be used per thread.
    pub length: usize,
    /// Threads.
    pub threads: usize,
}

/// A task of the main thread's executor: what a plugin hands over when it spawns a future. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TaskTable {
    /// The task's own state.
    pub state: *mut c_void,
    /// Polls it: `OK` when finished, `PENDING` when not, `PANICKED` when it may not be polled again.
    pub poll: unsafe extern "C" fn(state: *mut c_void, task: u64) -> Status,
    /// Drops it.
    pub drop: unsafe extern "C" fn(state: *mut c_void),
}

/// Functions of the host. Those that take `data` are for the main thread unless they say otherwise. Since ABI 1.0.
#[repr(C)]
pub struct HostTable {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// The host's own state: first argument of the functions that ask for it.
    pub data: *mut c_void,

    /// Sends `count` packets on: packet *i* to the node with index `nodes[i]`. The packets belong to those nodes then.
    pub enqueue:
        unsafe extern "C" fn(node: *mut NodeContext, indices: *const u32, nodes: *const u16, count: u32),
    /// Sends the whole frame to one node; the frame may move, so nothing of it may be read afterwards.
    pub enqueue_frame: unsafe extern "C" fn(node: *mut NodeContext, frame: *mut Frame, target: u16),
    /// Takes up to `count` buffers from the thread's cache, plain and empty; returns how many.
    pub buffers_allocate:
        unsafe extern "C" fn(worker: *mut WorkerContext, indices: *mut u32, count: u32) -> u32,
    /// Gives packets (whole chains) back to the pool.
    pub buffers_free: unsafe extern "C" fn(worker: *mut WorkerContext, indices: *const u32, count: u32),
    /// Gives packets back from any thread.
    pub buffers_free_remote: unsafe extern "C" fn(data: *mut c_void, indices: *const u32, count: u32),
    /// Notes that a traced packet passed `node` and went to `target`, with the node's record as JSON and as text.
    pub trace: unsafe extern "C" fn(node: *mut NodeContext, buffer: u32, target: u16, json: Text, text: Text),

    /// Writes a log line. Any thread; rate-limited by the host.
    pub log: unsafe extern "C" fn(data: *mut c_void, level: LogLevel, target: Text, message: Text),
    /// Calls a method of the host's control plane by name, arguments and answer in JSON.
    pub call: unsafe extern "C" fn(data: *mut c_void, method: Text, arguments: Text, answer: Sink) -> Status,
    /// Answers a command: exactly once per command, `json` and `text` the result or `text` the error.
    pub reply: unsafe extern "C" fn(data: *mut c_void, command: u64, status: Status, json: Text, text: Text),
    /// The text of the configuration file, whole.
    pub config_text: unsafe extern "C" fn(data: *mut c_void, text: Sink),

    /// Starts a task; returns its id.
    pub spawn: unsafe extern "C" fn(data: *mut c_void, name: Text, task: TaskTable) -> u64,
    /// Has the task polled soon. Any thread.
    pub wake: unsafe extern "C" fn(data: *mut c_void, task: u64),
    /// Has the task polled at `at_ns` of the monotonic clock.
    pub wake_at: unsafe extern "C" fn(data: *mut c_void, task: u64, at_ns: u64),
    /// Monotonic time now, in ns. Any thread.
    pub now_ns: unsafe extern "C" fn(data: *mut c_void) -> u64,
    /// Runs `run(state)` once on the main thread, soon. Any thread.
    pub run_on_main:
        unsafe extern "C" fn(data: *mut c_void, state: *mut c_void, run: unsafe extern "C" fn(*mut c_void)),
    /// Runs `drop(state)` on the main thread once every thread has passed a quiescent point.
    pub retire:
        unsafe extern "C" fn(data: *mut c_void, state: *mut c_void, drop: unsafe extern "C" fn(*mut c_void)),
    /// Stops the workers between two passes of their loops. Nests.
    pub barrier_acquire: unsafe extern "C" fn(data: *mut c_void, cause: Text),
    /// Lets the workers go on.
    pub barrier_release: unsafe extern "C" fn(data: *mut c_void),

    /// Memory for `length` counters of one name; the same name gives the same memory.
    pub counters: unsafe extern "C" fn(data: *mut c_void, name: Text, length: usize) -> CounterMemory,
    /// Room for a per-packet field: its offset from the buffer's start, `u32::MAX` if there is none left. The same
    /// name with the same size gives the same offset.
    pub field: unsafe extern "C" fn(data: *mut c_void, name: Text, size: u32, align: u32) -> u32,
    /// Index of the feature arc with this name, `u32::MAX` if there is none.
    pub arc: unsafe extern "C" fn(data: *mut c_void, name: Text) -> u32,
    /// Index of the node with this name, `u32::MAX` if there is none.
    pub node: unsafe extern "C" fn(data: *mut c_void, name: Text) -> u32,
}

// SAFETY: a table of functions that the host promises to keep callable as each one's line says.
unsafe impl Sync for HostTable {}
// SAFETY: as above.
unsafe impl Send for HostTable {}
