//! A thread of the graph: its nodes, its frames under way, its queues.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use raddle_plugin_api::abi::{
    ArcTable, BufferHeader, FRAME_SIZE, Frame, HostTable, InterfaceRow, NodeContext, NodeKind, WorkerContext,
};

use super::bell::Bell;
use super::handoff::Handoffs;
use super::queues::InterfaceCounters;
use super::{Errors, Events, FileSet, NodeStats, Poller, RxSlot, TraceStore, TxSlot};
use crate::graph::MAX_NODES;
use crate::memory::{BufferPool, ThreadCache};

/// How long a thread polls on after other threads gave it packets, in ns.
const POLL_ON_NS: u64 = 20_000;
/// How often a thread that does not sleep looks at the descriptors of queues that it does not poll, in ns.
const LOOK_NS: u64 = 50_000;

/// What other threads may read of a thread while it runs.
pub struct Shared {
    /// Its nodes' counters.
    pub stats: NodeStats,
    /// Its drops by reason.
    pub errors: Errors,
    /// Its interfaces' counters.
    pub interfaces: InterfaceCounters,
    /// Its traces.
    pub trace: TraceStore,
    /// What it sleeps on.
    pub poller: Poller,
    /// Descriptors that it watches.
    pub files: FileSet,
    /// Rung when other threads have packets for it.
    pub(super) bell: Bell,
    /// Passes of its loop.
    pub passes: AtomicU64,
    /// The node that it is in, or `u32::MAX`.
    pub current: AtomicU32,
    /// Buffers that were asked for and not to be had.
    pub exhausted: AtomicU64,
    /// Buffers in its cache.
    pub cached: AtomicU64,
    /// Packets of a full frame: at most [`FRAME_SIZE`].
    pub vector_size: AtomicU32,
    /// Told of each node that failed, and how.
    pub on_fault: Box<dyn Fn(u16, NodeFault) + Send + Sync>,
}

/// How a node failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeFault {
    /// Its code panicked, or did not send its frame on.
    Panicked,
    /// It wrote behind its frame's end. Debug builds look.
    WrotePastItsFrame,
}

impl Shared {
    /// Thread number `thread`, which has done nothing yet; `on_fault` is told of each node that fails on it.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn new(thread: usize, on_fault: Box<dyn Fn(u16, NodeFault) + Send + Sync>) -> std::io::Result<Self> {
        Ok(Self {
            stats: NodeStats::default(),
            errors: Errors::default(),
            interfaces: InterfaceCounters::default(),
            trace: TraceStore::new(thread),
            poller: Poller::create()?,
            files: FileSet::default(),
            bell: Bell::default(),
            passes: AtomicU64::new(0),
            current: AtomicU32::new(u32::MAX),
            exhausted: AtomicU64::new(0),
            cached: AtomicU64::new(0),
            vector_size: AtomicU32::new(FRAME_SIZE as u32),
            on_fault,
        })
    }
}

/// A node in its place on a thread.
pub struct NodeSlot {
    pub(super) context: NodeContext,
    pub(super) run: unsafe extern "C" fn(*mut NodeContext, *mut Frame) -> u32,
    pub(super) drop: unsafe extern "C" fn(*mut c_void),
    pub(super) kind: NodeKind,
    name: String,
    /// Keeps the array behind `context.arcs`.
    _nexts: Arc<[u16]>,
}

impl NodeSlot {
    /// A node with the state that its `create` made for the thread.
    ///
    /// # Safety
    /// `state` was returned by `registration.create` for this thread and is nobody else's.
    pub unsafe fn new(node: &crate::graph::NodeInfo, index: u16, state: *mut c_void) -> Self {
        let nexts = Arc::clone(&node.nexts);
        Self {
            context: NodeContext {
                size: size_of::<NodeContext>() as u32,
                node: u32::from(index),
                worker: std::ptr::null_mut(),
                state,
                arcs: nexts.as_ptr(),
                arc_count: nexts.len() as u32,
                error_base: node.error_base,
                error_count: node.error_count,
                reserved: 0,
            },
            run: node.registration.run,
            drop: node.registration.drop,
            kind: node.registration.kind,
            name: node.name.clone(),
            _nexts: nexts,
        }
    }
}

impl NodeSlot {
    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for NodeSlot {
    fn drop(&mut self) {
        // SAFETY: the state is the slot's own; dropped once, when no thread runs the node any more.
        unsafe { (self.drop)(self.context.state) };
    }
}

/// What a thread is made of.
pub struct ThreadParts {
    /// 0 is the main thread.
    pub index: u32,
    /// What others may read of it.
    pub shared: Arc<Shared>,
    /// The buffers.
    pub pool: Arc<BufferPool>,
    /// The host's functions.
    pub host: *const HostTable,
    /// The interface table.
    pub interfaces: *const InterfaceRow,
    /// The feature arcs.
    pub arcs: *const ArcTable,
}

/// A thread of the graph. Run by its own thread; changed by the main thread while it stands.
///
/// Functions of the graph reach it through `context.host_state`, so it never moves, and is used through a raw pointer
/// while it runs (see `dispatch`).
pub struct Thread {
    pub(super) context: WorkerContext,
    pub(super) shared: Arc<Shared>,
    pub(super) cache: ThreadCache,
    pub(super) slots: Vec<NodeSlot>,
    /// The frame of each node that can still be filled.
    pub(super) open: Box<[*mut Frame; MAX_NODES]>,
    pub(super) pending: VecDeque<(u16, *mut Frame)>,
    pub(super) free_frames: Vec<*mut Frame>,
    /// Input nodes that run in each pass, pre-input ones first.
    pub(super) inputs: Vec<u16>,
    pub(super) rx: Vec<RxSlot>,
    /// By interface.
    pub(super) tx: Vec<Option<TxSlot>>,
    /// The frame that is being processed, until it is moved on.
    pub(super) current: *mut Frame,
    /// When it must make a pass though nothing comes in, in ns; `u64::MAX`: never.
    pub(super) wake_ns: u64,
    /// When it looks at descriptors again although it does not sleep, in ns.
    next_look_ns: u64,
    /// One of the descriptors that it watches is ready.
    pub(super) files_are_ready: bool,
    /// Packets for other threads, and theirs for this one.
    pub(super) handoffs: Handoffs,
    _scratch: Box<BufferHeaderWithData>,
}

#[repr(C, align(64))]
struct BufferHeaderWithData {
    header: BufferHeader,
    data: [u8; raddle_plugin_api::abi::BUFFER_HEADROOM_BYTES + raddle_plugin_api::abi::BUFFER_DATA_BYTES],
}

// SAFETY: a thread is used by the thread that runs it, or by the main thread while that one stands at the barrier; its
// raw pointers are its own frames, or tables of the host that outlive it.
unsafe impl Send for Thread {}

impl Thread {
    /// A thread without nodes.
    pub fn new(parts: ThreadParts) -> Box<Self> {
        let ThreadParts { index, shared, pool, host, interfaces, arcs } = parts;
        let mut scratch = Box::new(BufferHeaderWithData { header: BufferHeader::empty(), data: [0; _] });
        let context = WorkerContext {
            size: size_of::<WorkerContext>() as u32,
            thread_index: index,
            host,
            buffers: pool.arena().base().as_ptr(),
            buffer_stride: pool.stride() as u32,
            buffer_count: pool.count() as u32,
            now_ns: 0,
            interfaces,
            arcs,
            scratch: (&raw mut *scratch).cast(),
            host_state: std::ptr::null_mut(),
        };
        let mut thread = Box::new(Self {
            context,
            shared,
            cache: ThreadCache::new(&pool),
            slots: Vec::with_capacity(MAX_NODES),
            open: Box::new([std::ptr::null_mut(); MAX_NODES]),
            pending: VecDeque::with_capacity(64),
            free_frames: Vec::new(),
            inputs: Vec::new(),
            rx: Vec::new(),
            tx: Vec::new(),
            current: std::ptr::null_mut(),
            wake_ns: u64::MAX,
            next_look_ns: 0,
            files_are_ready: false,
            handoffs: Handoffs::default(),
            _scratch: scratch,
        });
        thread.context.host_state = (&raw mut *thread).cast();
        thread
    }

    /// Its number: 0 is the main thread.
    pub fn index(&self) -> u32 {
        self.context.thread_index
    }

    /// What others may read of it.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Puts a node in the place of its index; returns the old one, whose state is dropped with it.
    pub fn put_node(&mut self, mut slot: NodeSlot) -> Option<NodeSlot> {
        let index = slot.context.node as u16;
        assert!(usize::from(index) <= self.slots.len(), "nodes come in the order of their indices");
        slot.context.worker = &raw mut self.context;
        self.inputs.retain(|&input| input != index);
        let is_input = slot.kind != NodeKind::INTERNAL;
        let old = match self.slots.get_mut(usize::from(index)) {
            Some(place) => Some(std::mem::replace(place, slot)),
            None => {
                self.slots.push(slot);
                None
            }
        };
        if is_input {
            self.inputs.push(index);
            let slots = &self.slots;
            self.inputs.sort_by_key(|&node| slots[usize::from(node)].kind != NodeKind::PRE_INPUT);
        }
        old
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.slots.len()
    }

    /// Its receive queues.
    pub fn rx_mut(&mut self) -> &mut Vec<RxSlot> {
        &mut self.rx
    }

    /// Its receive queues.
    pub fn rx(&self) -> &[RxSlot] {
        &self.rx
    }

    /// Sets or takes away its transmit queue for an interface; returns the old one.
    pub fn set_tx(&mut self, interface: u32, slot: Option<TxSlot>) -> Option<TxSlot> {
        let index = interface as usize;
        if self.tx.len() <= index {
            self.tx.resize_with(index + 1, || None);
        }
        std::mem::replace(&mut self.tx[index], slot)
    }

    /// Whether it must make another pass at once: a queue is to be polled, or other threads gave it packets lately.
    pub fn is_busy(&self, now_ns: u64) -> bool {
        self.rx.iter().any(|slot| slot.keeps_awake(now_ns)) || self.was_handed_packets(POLL_ON_NS)
    }

    /// Notes the time of a pass that begins, in ns, and looks now and then at the descriptors of queues that are slept
    /// on, if there are any.
    pub(super) fn begin_pass(&mut self, now_ns: u64) {
        self.context.now_ns = now_ns;
        if self.wake_ns <= now_ns {
            self.wake_ns = u64::MAX;
        }
        if now_ns >= self.next_look_ns {
            self.next_look_ns = now_ns + LOOK_NS;
            if self.shared.files.is_in_use() || self.rx.iter().any(|slot| slot.is_slept_on(now_ns)) {
                let events = self.shared.poller.look();
                self.hear(&events);
            }
        }
    }

    /// Notes which descriptors are ready: their queues are polled in the next pass.
    pub(super) fn hear(&mut self, events: &Events) {
        for &key in events.keys() {
            if key == Poller::FILES {
                self.files_are_ready = true;
            } else if let Some(slot) = self.rx.iter_mut().find(|slot| slot.key() == key) {
                slot.attention.call();
            }
        }
    }

    /// How long it may sleep from `now_ns` on; `None`: until something comes in.
    pub(super) fn longest_sleep(&self, now_ns: u64) -> Option<Duration> {
        (self.wake_ns != u64::MAX).then(|| Duration::from_nanos(self.wake_ns.saturating_sub(now_ns)))
    }

    /// Whether packets from other threads came so lately that it should poll on for a while.
    pub(super) fn was_handed_packets(&self, within_ns: u64) -> bool {
        self.context.now_ns.saturating_sub(self.handoffs.last_ns()) <= within_ns
    }

    /// The traces among which is that of a packet, which may have begun on another thread.
    pub(super) fn traces_of(&self, handle: u32) -> &TraceStore {
        let peer = self.handoffs.peers.get(TraceStore::thread_of(handle));
        &peer.unwrap_or(&self.shared).trace
    }

    /// The buffers behind it.
    pub fn cache_mut(&mut self) -> &mut ThreadCache {
        &mut self.cache
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        for (_, frame) in self.pending.drain(..) {
            // SAFETY: frames are boxed by `dispatch::take_frame` and each is in one place only; the packets in a
            // pending frame are this thread's.
            unsafe {
                self.cache.free((*frame).packets());
                drop(Box::from_raw(frame));
            }
        }
        for (_, packet) in self.handoffs.drain() {
            // SAFETY: packets that were handed to this thread are its own.
            unsafe { self.cache.free(&[packet]) };
        }
        for frame in self.free_frames.drain(..) {
            // SAFETY: as above.
            drop(unsafe { Box::from_raw(frame) });
        }
    }
}
