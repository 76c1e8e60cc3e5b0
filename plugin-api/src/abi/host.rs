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

/// What is counted of an interface, across the ABI. Since ABI 1.1.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted(pub u32);

impl Counted {
    /// Packets and bytes that came in by it.
    pub const RECEIVED: Self = Self(0);
    /// Packets and bytes that left by it.
    pub const SENT: Self = Self(1);
    /// Packets that it could not send; bytes are not counted.
    pub const NOT_SENT: Self = Self(2);
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

/// What of a descriptor is waited for, and what it is ready for: bits, across the ABI. Since ABI 1.2.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileEvents(pub u32);

impl FileEvents {
    /// There is something to read.
    pub const READABLE: Self = Self(1 << 0);
    /// Something can be written.
    pub const WRITABLE: Self = Self(1 << 1);
    /// The other side has gone, or there is an error: told whether asked for or not.
    pub const HUNG_UP: Self = Self(1 << 2);
    /// Told once only.
    pub const ONCE: Self = Self(1 << 31);
}

/// A descriptor to be watched. Since ABI 1.2.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FileRequest {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// The descriptor, of which the host makes a duplicate.
    pub fd: i32,
    /// What is waited for.
    pub events: FileEvents,
    /// The thread on which `ready` is called.
    pub thread: u32,
    /// The plugin's own state.
    pub state: *mut c_void,
    /// Called on the thread, between two quiescent points, as long as the descriptor is ready: `OK`, or `PANICKED` when
    /// it may not be called again.
    pub ready:
        unsafe extern "C" fn(state: *mut c_void, worker: *mut WorkerContext, events: FileEvents) -> Status,
    /// Drops the state, on the main thread.
    pub drop: unsafe extern "C" fn(state: *mut c_void),
}

/// The memory of all packet buffers, for devices that read and write it by themselves. Since ABI 1.3.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BufferArena {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Bytes from one buffer to the next.
    pub stride: u32,
    /// Buffers: number *i* stands at `base + i * stride`.
    pub count: u32,
    /// A descriptor by which the memory can be mapped elsewhere, the host's own; -1: there is none.
    pub fd: i32,
    /// The first byte, aligned to a page.
    pub base: *mut u8,
    /// Bytes of the memory, whole pages.
    pub length: usize,
    /// Bytes of a page that is one stretch of the machine's memory.
    pub page_bytes: usize,
}

/// Functions of the host. Those that take `data` are for the main thread unless they say otherwise. Since ABI 1.0.
#[repr(C)]
pub struct HostTable {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Threads of the graph, the main one among them. Since ABI 1.1.
    pub thread_count: u32,
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
    /// Has the task polled at `at_ns` of the monotonic clock. The earliest time asked for since its last poll counts; a
    /// poll, for whatever reason, has all of them forgotten.
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

    /// Sends one packet to the node with index `target` on another thread. 1: it belongs to that thread now. 0: the way
    /// there is full, or there is no such thread; the packet is still the caller's. Since ABI 1.1.
    pub handoff: unsafe extern "C" fn(node: *mut NodeContext, buffer: u32, thread: u32, target: u16) -> u32,
    /// Has the calling thread make a pass at `at_ns` of the monotonic clock, or before, though nothing comes in.
    /// Since ABI 1.1.
    pub wake_thread_at: unsafe extern "C" fn(worker: *mut WorkerContext, at_ns: u64),
    /// Counts packets of an interface that has no queues of its own. Since ABI 1.1.
    pub count: unsafe extern "C" fn(
        worker: *mut WorkerContext,
        interface: u32,
        what: Counted,
        packets: u64,
        bytes: u64,
    ),

    /// Watches a descriptor until [`Self::unwatch_file`], or until the plugin goes; returns a number. 0: it cannot be
    /// watched, for the reason in `error`; the state is still the caller's. Since ABI 1.2.
    pub watch_file: unsafe extern "C" fn(data: *mut c_void, request: *const FileRequest, error: Sink) -> u64,
    /// Ends a watch, whose state is dropped; a number that names none is ignored. Since ABI 1.2.
    pub unwatch_file: unsafe extern "C" fn(data: *mut c_void, watch: u64),

    /// Memory of the host's that the calling plugin borrows: `bytes` bytes at a multiple of `align`. The same name,
    /// layout and size give the same memory to another version of the plugin that takes its place; what is new is zero.
    /// It is freed when no version of the plugin is there that asked for it. Null if it cannot be had. Since ABI 1.2.
    pub memory: unsafe extern "C" fn(
        data: *mut c_void,
        name: Text,
        layout: u64,
        bytes: usize,
        align: usize,
    ) -> *mut u8,

    /// Says where the packet buffers are: fills in `arena` up to its size, which the caller has set. They stay there as long
    /// as the host runs. Since ABI 1.3.
    pub arena: unsafe extern "C" fn(data: *mut c_void, arena: *mut BufferArena),
}

impl HostTable {
    /// Whether the host's own table reaches to `end` bytes, so that what lies before may be read: an older host's is shorter.
    ///
    /// # Safety
    /// `table` is the host's, alive.
    #[inline(always)]
    pub unsafe fn reaches(table: *const Self, end: usize) -> bool {
        // SAFETY: every table begins with its size.
        unsafe { (*table).size as usize >= end }
    }
}

// SAFETY: a table of functions that the host promises to keep callable as each one's line says.
unsafe impl Sync for HostTable {}
// SAFETY: as above.
unsafe impl Send for HostTable {}
