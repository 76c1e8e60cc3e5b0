//! A thread of the graph: its nodes, its frames under way, its queues.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use raddle_plugin_api::abi::{
    ArcTable, BufferHeader, FRAME_SIZE, Frame, HostTable, InterfaceRow, NodeContext, NodeKind, WorkerContext,
};

use super::queues::InterfaceCounters;
use super::{Errors, NodeStats, Poller, RxMode, RxSlot, TraceStore, TxSlot};
use crate::graph::MAX_NODES;
use crate::memory::{BufferPool, ThreadCache};

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
    /// Told of each node that failed.
    pub on_fault: Box<dyn Fn(u16) + Send + Sync>,
}

impl Shared {
    /// A thread that has done nothing yet; `on_fault` is told of each node that fails on it.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn new(on_fault: Box<dyn Fn(u16) + Send + Sync>) -> std::io::Result<Self> {
        Ok(Self {
            stats: NodeStats::default(),
            errors: Errors::default(),
            interfaces: InterfaceCounters::default(),
            trace: TraceStore::default(),
            poller: Poller::create()?,
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
            _nexts: nexts,
        }
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

    /// Puts a node behind those that are there; its index is its position in the graph.
    pub fn push_node(&mut self, mut slot: NodeSlot) {
        assert_eq!(slot.context.node as usize, self.slots.len(), "nodes come in the order of their indices");
        slot.context.worker = &raw mut self.context;
        if slot.kind != NodeKind::INTERNAL {
            self.inputs.push(self.slots.len() as u16);
            let slots = &self.slots;
            let is_late =
                |&node: &u16| slots.get(usize::from(node)).unwrap_or(&slot).kind != NodeKind::PRE_INPUT;
            self.inputs.sort_by_key(is_late);
        }
        self.slots.push(slot);
    }

    /// Puts another node in the place of `index`; returns the old one, whose state is dropped with it.
    pub fn replace_node(&mut self, index: u16, mut slot: NodeSlot) -> NodeSlot {
        slot.context.worker = &raw mut self.context;
        self.inputs.retain(|&input| input != index);
        std::mem::replace(&mut self.slots[usize::from(index)], slot)
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

    /// Whether a queue must be polled although its descriptor is silent.
    pub fn wants_polling(&self) -> bool {
        self.rx
            .iter()
            .any(|slot| slot.enabled && (slot.mode == RxMode::Polling || slot.queue.wants_polling()))
    }

    /// Whether the thread should poll on for a while after its last packet.
    pub fn polls_on(&self) -> bool {
        self.rx.iter().any(|slot| slot.enabled && slot.mode != RxMode::Interrupt)
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
        for frame in self.free_frames.drain(..) {
            // SAFETY: as above.
            drop(unsafe { Box::from_raw(frame) });
        }
    }
}
