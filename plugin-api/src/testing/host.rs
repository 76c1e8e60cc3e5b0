//! The host of a harness: its state, behind the table of functions that the SDK calls.
//!
//! A host is never freed, because handles that safe code can keep (held packets, wakers, remotes, counters) point to
//! it. When its harness goes, it is closed: its functions then do nothing, and its memory is given back if no packet
//! is out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::arc::Arcs;
use super::file::Files;
use super::interface::Interfaces;
use super::memory::Memory;
use super::method::Methods;
use super::pool::Pool;
use super::schedule::Schedule;
use super::table;
use crate::abi::{BUFFER_FIELD_BYTES, HostTable, LogLevel, Status};
use crate::event::Subscriptions;
use crate::instance::Instance;

/// Virtual time at which a harness starts, in ns.
pub(super) const START_NS: u64 = 1_000_000_000;

/// A packet on its way to a node.
#[derive(Clone, Copy)]
pub(super) struct Parcel {
    /// The thread that runs the node.
    pub(super) thread: usize,
    pub(super) target: u16,
    pub(super) buffer: u32,
}

pub(super) struct Host {
    pub(super) table: HostTable,
    pub(super) memory: Memory,
    pub(super) pool: Pool,
    /// Packets that were sent on, per thread.
    pub(super) outboxes: Vec<Mutex<Vec<Parcel>>>,
    /// When each thread wants to make a pass though nothing comes in, in ns.
    pub(super) wakes: Vec<Mutex<Option<u64>>>,
    /// Threads that take no packets from others.
    pub(super) congested: Vec<AtomicBool>,
    pub(super) nodes: Mutex<Names>,
    pub(super) arcs: Mutex<Arcs>,
    pub(super) interfaces: Mutex<Interfaces>,
    pub(super) methods: Mutex<Methods>,
    pub(super) schedule: Mutex<Schedule>,
    pub(super) files: Mutex<Files>,
    pub(super) events: Mutex<Subscriptions<()>>,
    pub(super) counters: Mutex<BTreeMap<String, CounterSet>>,
    /// Addresses of the instances that were made on it: they stay, as it does, in sight of leak checkers.
    instances: Mutex<Vec<usize>>,
    /// Memory that plugins borrow, by name, layout and size.
    pub(super) kept: Mutex<BTreeMap<(String, u64, usize), usize>>,
    /// Packets and bytes, by interface and what is counted.
    pub(super) interface_counts: Mutex<BTreeMap<(u32, u32), (u64, u64)>>,
    pub(super) fields: Mutex<Fields>,
    pub(super) traces: Mutex<Vec<RawTrace>>,
    pub(super) log: Mutex<Vec<LogLine>>,
    pub(super) replies: Mutex<BTreeMap<u64, Reply>>,
    pub(super) config: Mutex<String>,
    pub(super) now_ns: AtomicU64,
    pub(super) closed: AtomicBool,
    /// Whether an instance makes room for another.
    pub(super) replaces: AtomicBool,
    /// Whether a node runs.
    pub(super) running: AtomicBool,
    pub(super) barriers: Mutex<Barriers>,
}

// SAFETY: the raw pointers in here (memory, tasks, calls) are reached from the harness's thread, except the buffers of
// packets that another thread owns; all bookkeeping is behind locks.
unsafe impl Sync for Host {}
// SAFETY: as above.
unsafe impl Send for Host {}

/// Keeps closed hosts in sight of leak checkers.
static HOSTS: Mutex<Vec<&'static Host>> = Mutex::new(Vec::new());

/// Names of nodes, by index.
#[derive(Default)]
pub(super) struct Names {
    names: Vec<String>,
    missing: BTreeSet<String>,
}

impl Names {
    /// Index of the node with this name, which is made if it is not there.
    pub(super) fn index(&mut self, name: &str) -> u16 {
        if let Some(index) = self.names.iter().position(|known| known == name) {
            return index as u16;
        }
        assert!(self.names.len() < usize::from(u16::MAX), "a test has fewer nodes than node indices");
        self.names.push(name.to_owned());
        (self.names.len() - 1) as u16
    }

    /// As [`Names::index`], but `None` for those that were declared missing.
    pub(super) fn find(&mut self, name: &str) -> Option<u16> {
        (!self.missing.contains(name)).then(|| self.index(name))
    }

    pub(super) fn declare_missing(&mut self, name: &str) {
        self.missing.insert(name.to_owned());
    }

    /// Name of node `index`.
    pub(super) fn name(&self, index: u16) -> Option<&str> {
        self.names.get(usize::from(index)).map(String::as_str)
    }
}

/// One counter set; its memory stays, because `Counters` may.
pub(super) struct CounterSet {
    pub(super) cells: &'static [AtomicU64],
    pub(super) stride: usize,
    pub(super) length: usize,
}

/// Room for per-packet fields.
#[derive(Default)]
pub(super) struct Fields {
    used: usize,
    named: BTreeMap<String, (u32, u32)>,
}

impl Fields {
    /// Offset of the field from the buffer's start.
    pub(super) fn offset(&mut self, name: &str, size: u32, align: u32) -> Option<u32> {
        if let Some(&(offset, known)) = self.named.get(name) {
            return (known == size).then_some(offset);
        }
        let base = std::mem::offset_of!(crate::abi::BufferHeader, fields);
        let start = (base + self.used).next_multiple_of((align as usize).max(1));
        let end = start.checked_add(size as usize)?;
        if end > base + BUFFER_FIELD_BYTES {
            return None;
        }
        self.used = end - base;
        self.named.insert(name.to_owned(), (start as u32, size));
        Some(start as u32)
    }
}

/// A trace note as it came.
pub(super) struct RawTrace {
    pub(super) packet: u32,
    pub(super) node: u16,
    pub(super) target: Option<u16>,
    pub(super) json: String,
    pub(super) text: String,
}

/// A log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Importance.
    pub level: LogLevel,
    /// The text.
    pub message: String,
}

/// What a command answered.
pub(super) struct Reply {
    pub(super) status: Status,
    pub(super) json: String,
    pub(super) text: String,
}

/// What was held of the barrier.
#[derive(Default)]
pub(super) struct Barriers {
    pub(super) depth: u32,
    pub(super) causes: Vec<String>,
}

impl Host {
    /// A host for `threads` threads with `buffers` buffers, for good.
    pub(super) fn open(threads: usize, buffers: u32, config: String) -> &'static Self {
        let memory = Memory::new(buffers as usize, threads);
        let pool = Pool::new(memory.buffers(), buffers);
        let host = Box::into_raw(Box::new(Self {
            table: table::functions(),
            interfaces: Mutex::new(Interfaces::new(memory.rows)),
            arcs: Mutex::new(Arcs::new(memory.arcs, memory.masks)),
            memory,
            pool,
            outboxes: (0..threads).map(|_| Mutex::default()).collect(),
            wakes: (0..threads).map(|_| Mutex::default()).collect(),
            congested: (0..threads).map(|_| AtomicBool::new(false)).collect(),
            nodes: Mutex::default(),
            methods: Mutex::default(),
            schedule: Mutex::default(),
            files: Mutex::default(),
            events: Mutex::default(),
            counters: Mutex::default(),
            instances: Mutex::default(),
            kept: Mutex::default(),
            interface_counts: Mutex::default(),
            fields: Mutex::default(),
            traces: Mutex::default(),
            log: Mutex::default(),
            replies: Mutex::default(),
            config: Mutex::new(config),
            now_ns: AtomicU64::new(START_NS),
            closed: AtomicBool::new(false),
            replaces: AtomicBool::new(false),
            running: AtomicBool::new(false),
            barriers: Mutex::default(),
        }));
        // SAFETY: just boxed, and nobody else knows it yet.
        unsafe {
            (*host).table.data = host.cast();
            (*host).table.thread_count = threads as u32;
        }
        // SAFETY: never freed, and written through locks and atomics only from here on.
        let host: &'static Self = unsafe { &*host };
        lock(&HOSTS).push(host);
        host
    }

    /// An instance of the image under test, for good.
    pub(super) fn new_instance(&'static self) -> &'static Instance {
        // SAFETY: hosts are never freed.
        let instance = Box::leak(Box::new(unsafe { Instance::new(&self.table) }));
        lock(&self.instances).push(std::ptr::from_ref(instance).expose_provenance());
        instance
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Memory for counters of this name.
    pub(super) fn counter_set(&self, name: &str, length: usize) -> Option<(*mut u64, usize)> {
        /// More counters than that per thread are a mistake.
        const MOST: usize = 1 << 24;
        let mut counters = lock(&self.counters);
        if let Some(known) = counters.get(name) {
            return (known.length == length).then_some((known.cells.as_ptr() as *mut u64, known.stride));
        }
        if length > MOST {
            return None;
        }
        // Whole cache lines, so that threads do not share one.
        let stride = length.next_multiple_of(8).max(8);
        let cells: Vec<AtomicU64> = (0..stride * self.outboxes.len()).map(|_| AtomicU64::new(0)).collect();
        let cells: &'static [AtomicU64] = cells.leak();
        counters.insert(name.to_owned(), CounterSet { cells, stride, length });
        Some((cells.as_ptr() as *mut u64, stride))
    }

    /// Memory for a plugin to borrow; it stays, as tables that borrow it may.
    pub(super) fn kept_memory(
        &self,
        name: String,
        layout_number: u64,
        bytes: usize,
        align: usize,
    ) -> *mut u8 {
        /// An allocator takes all of the memory at once where a larger alignment is asked for.
        const SMALL_ALIGN: usize = 8;
        let room = bytes.checked_add(align).filter(|_| bytes > 0 && align.is_power_of_two());
        let layout = room.and_then(|room| std::alloc::Layout::from_size_align(room, SMALL_ALIGN).ok());
        let Some(layout) = layout.filter(|_| !self.is_closed()) else { return std::ptr::null_mut() };
        let mut kept = lock(&self.kept);
        let make = || {
            // SAFETY: the layout has a size.
            let start = unsafe { std::alloc::alloc_zeroed(layout) };
            if start.is_null() { 0 } else { start.expose_provenance().next_multiple_of(align) }
        };
        std::ptr::with_exposed_provenance_mut(*kept.entry((name, layout_number, bytes)).or_insert_with(make))
    }

    pub(super) fn node_name(&self, index: u16) -> String {
        lock(&self.nodes).name(index).map_or_else(|| format!("node {index}"), str::to_owned)
    }

    pub(super) fn note(&self, level: LogLevel, message: impl Into<String>) {
        lock(&self.log).push(LogLine { level, message: message.into() });
    }
}

/// Locks; what a panicking test left behind is still whole, as no lock is held over foreign code.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
