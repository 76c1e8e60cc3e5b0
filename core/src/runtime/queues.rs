//! Receive and transmit queues as a thread has them, and what it counts of interfaces.

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use raddle_plugin_api::abi::{MAX_INTERFACES, RxTable, TxTable};

use super::Attention;
use super::stats::add;

/// A receive queue, owned.
pub struct RxQueue {
    queue: *mut c_void,
    table: RxTable,
    /// Whether it has a descriptor.
    tells: bool,
}

/// A transmit queue, owned.
pub struct TxQueue {
    queue: *mut c_void,
    table: TxTable,
}

// SAFETY: queues are `Send` on the driver's side (`RxQueue: Send`, `TxQueue: Send`), and used by one thread at a time.
unsafe impl Send for RxQueue {}
// SAFETY: as above.
unsafe impl Send for TxQueue {}

impl RxQueue {
    /// # Safety
    /// `queue` was returned by the driver that `table` is of, and is nobody else's.
    pub unsafe fn new(queue: *mut c_void, table: RxTable) -> Self {
        let mut new = Self { queue, table, tells: false };
        new.tells = new.fd().is_some();
        new
    }

    pub(super) fn raw(&self) -> (*mut c_void, &RxTable) {
        (self.queue, &self.table)
    }

    /// Whether the queue must be polled although its descriptor is silent.
    pub fn wants_polling(&self) -> bool {
        // SAFETY: the queue is alive and this thread's.
        unsafe { (self.table.wants_polling)(self.queue) }
    }

    /// The descriptor that is readable when there is something to receive.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: the queue is alive and this thread's; the descriptor lives as long as the queue.
        unsafe {
            let fd = (self.table.fd)(self.queue);
            (fd >= 0).then(|| BorrowedFd::borrow_raw(fd))
        }
    }
}

impl Drop for RxQueue {
    fn drop(&mut self) {
        // SAFETY: owned, dropped once.
        unsafe { (self.table.drop)(self.queue) };
    }
}

impl TxQueue {
    /// # Safety
    /// As [`RxQueue::new`].
    pub unsafe fn new(queue: *mut c_void, table: TxTable) -> Self {
        Self { queue, table }
    }

    pub(super) fn raw(&self) -> (*mut c_void, &TxTable) {
        (self.queue, &self.table)
    }
}

impl Drop for TxQueue {
    fn drop(&mut self) {
        // SAFETY: owned, dropped once.
        unsafe { (self.table.drop)(self.queue) };
    }
}

/// A receive queue in its place on a thread.
pub struct RxSlot {
    /// The queue.
    pub queue: RxQueue,
    /// Its interface.
    pub interface: u32,
    /// Its number at the interface.
    pub number: u32,
    /// The driver's input node.
    pub node: u16,
    /// Where its packets go.
    pub target: u16,
    /// `false` while the interface is down.
    pub enabled: bool,
    /// When it is polled.
    pub attention: Attention,
}

impl RxSlot {
    /// Whether it is to be polled in a pass that begins at `now_ns`.
    #[inline(always)]
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        self.enabled && (self.attention.is_due(now_ns) || !self.queue.tells || self.queue.wants_polling())
    }

    /// Whether its thread must make passes for it, though nothing tells of packets.
    pub(super) fn keeps_awake(&self, now_ns: u64) -> bool {
        self.enabled && (self.attention.is_due(now_ns) || self.queue.wants_polling())
    }

    /// Whether only its descriptor can tell of packets.
    pub(super) fn is_slept_on(&self, now_ns: u64) -> bool {
        self.enabled && self.queue.tells && !self.attention.is_due(now_ns)
    }

    /// What its descriptor is watched by.
    pub fn key(&self) -> u64 {
        u64::from(self.interface) << 32 | u64::from(self.number)
    }
}

/// A transmit queue in its place on a thread.
pub struct TxSlot {
    /// The queue.
    pub queue: TxQueue,
}

/// What is counted of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum InterfaceCounter {
    /// Packets received.
    RxPackets,
    /// Bytes received.
    RxBytes,
    /// Packets that were lost before they could be received.
    RxLost,
    /// Packets sent.
    TxPackets,
    /// Bytes sent.
    TxBytes,
    /// Packets that the device did not take.
    TxLost,
}

impl InterfaceCounter {
    /// All of them, each at its own number.
    pub const ALL: [Self; 6] =
        [Self::RxPackets, Self::RxBytes, Self::RxLost, Self::TxPackets, Self::TxBytes, Self::TxLost];
}

/// Counters in one interface's cache line.
const COUNTERS: usize = 8;

/// All interfaces' counters on one thread: a cache line an interface.
pub struct InterfaceCounters {
    counts: Box<[AtomicU64]>,
}

impl Default for InterfaceCounters {
    fn default() -> Self {
        // Zeroed pages come untouched: an interface that is not there takes no memory.
        let zeros = vec![0_u64; MAX_INTERFACES * COUNTERS].into_boxed_slice();
        let length = zeros.len();
        let raw = Box::into_raw(zeros).cast::<AtomicU64>();
        // SAFETY: an `AtomicU64` is laid out as a `u64`; the box is taken over whole.
        let counts = unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(raw, length)) };
        Self { counts }
    }
}

impl InterfaceCounters {
    /// Adds to a counter. Only the thread itself.
    #[inline(always)]
    pub fn add(&self, interface: u32, counter: InterfaceCounter, amount: u64) {
        let index = (interface as usize % MAX_INTERFACES) * COUNTERS + counter as usize;
        add(&self.counts[index], amount);
    }

    /// What the counter says.
    pub fn read(&self, interface: u32, counter: InterfaceCounter) -> u64 {
        let index = (interface as usize % MAX_INTERFACES) * COUNTERS + counter as usize;
        self.counts[index].load(Ordering::Relaxed)
    }

    /// Sets an interface's counters to zero. Only while the thread stands.
    pub fn clear(&self, interface: u32) {
        let start = (interface as usize % MAX_INTERFACES) * COUNTERS;
        for count in &self.counts[start..start + COUNTERS] {
            count.store(0, Ordering::Relaxed);
        }
    }
}
