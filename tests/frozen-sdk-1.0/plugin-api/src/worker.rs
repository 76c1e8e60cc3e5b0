//! The thread that a node runs on, as a token and as a source of facts.

use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use crate::abi::{HostTable, InterfaceFlags, InterfaceRow, MAX_INTERFACES, WorkerContext};
use crate::wire::MacAddress;
use crate::{HeldPacket, InterfaceIndex, Packet};

/// Proof that the code runs on a thread of the graph, between two of its quiescent points.
///
/// What is read by means of it ([`crate::sync::Published`], [`crate::sync::BarrierCell`]) stays as it is for as long
/// as the borrow lasts.
pub struct Worker<'w> {
    context: *mut WorkerContext,
    life: PhantomData<&'w mut WorkerContext>,
}

impl Worker<'_> {
    /// # Safety
    /// `context` is the context of the calling thread, and stays so for the token's life; the thread passes no
    /// quiescent point in that time.
    #[inline(always)]
    pub(crate) unsafe fn from_context(context: *mut WorkerContext) -> Self {
        Self { context, life: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn context(&self) -> *mut WorkerContext {
        self.context
    }

    #[inline(always)]
    fn shared(&self) -> &WorkerContext {
        // SAFETY: alive for the token's life (see `from_context`); the fields read here change only between passes.
        unsafe { &*self.context }
    }

    #[inline(always)]
    pub(crate) fn host(&self) -> *const HostTable {
        self.shared().host
    }

    /// The thread: 0 is the main thread, workers count from 1.
    #[inline(always)]
    pub fn thread_index(&self) -> u32 {
        self.shared().thread_index
    }

    /// Monotonic time at the start of this pass of the loop, in ns.
    #[inline(always)]
    pub fn now_ns(&self) -> u64 {
        self.shared().now_ns
    }

    /// The interface's row in the table; `None` for an index beyond the table.
    #[inline(always)]
    pub fn interface(&self, index: InterfaceIndex) -> Option<Interface<'_>> {
        if index.0 as usize >= MAX_INTERFACES {
            return None;
        }
        // SAFETY: the host's table has `MAX_INTERFACES` rows and lives as long as its threads.
        Some(Interface { row: unsafe { &*self.shared().interfaces.add(index.0 as usize) } })
    }

    /// A new packet, empty and without trace, or `None` if there is no buffer left.
    pub fn allocate(&self) -> Option<HeldPacket> {
        let mut index = 0;
        // SAFETY: the context is this thread's; one index is written.
        let count = unsafe { ((*self.host()).buffers_allocate)(self.context, &mut index, 1) };
        // SAFETY: the host gave this buffer to us.
        (count == 1).then(|| unsafe { HeldPacket::from_new(self.context, index) })
    }

    /// A new packet with a copy of the bytes of `packet` from its present start, at most `limit` of them, in one
    /// buffer or several, with the same rx interface and routing table, and the trace if there is one.
    pub fn copy(&self, packet: &Packet<'_>, limit: usize) -> Option<HeldPacket> {
        let mut made = self.allocate()?;
        let mut copy = self.open(&mut made);
        crate::chain::append_segments(self, &mut copy, packet.segments(), limit).then_some(())?;
        copy.set_rx_interface(packet.rx_interface());
        copy.set_fib_index(packet.fib_index());
        copy.set_l2_multicast(packet.is_l2_multicast());
        if limit >= packet.len() {
            copy.set_offload(&packet.offload());
        }
        copy.set_checksum_valid(packet.checksum_is_trusted());
        Some(made)
    }

    /// Appends `bytes` to a packet, whose chain grows by buffers as needed. `false` if there is no buffer left or the
    /// packet would get too many: it is whole up to there, and may be dropped.
    pub fn append(&self, packet: &mut Packet<'_>, bytes: &[u8]) -> bool {
        crate::chain::append_bytes(self, packet, bytes)
    }

    /// The view of a held packet.
    pub fn open<'p>(&'p self, held: &'p mut HeldPacket) -> Packet<'p> {
        // SAFETY: the packet is owned by `held`, which is borrowed for as long as the view lives.
        unsafe { Packet::lent(self.context, held.buffer_index()) }
    }
}

/// What the packet's way knows of an interface.
#[derive(Clone, Copy)]
pub struct Interface<'w> {
    row: &'w InterfaceRow,
}

impl<'w> Interface<'w> {
    /// The row itself, whose fields are atomics.
    #[inline(always)]
    pub fn row(&self) -> &'w InterfaceRow {
        self.row
    }

    #[inline(always)]
    fn flags(&self) -> u32 {
        self.row.flags.load(Ordering::Relaxed)
    }

    /// Whether it exists and passes packets.
    #[inline(always)]
    pub fn is_up(&self) -> bool {
        self.flags() & InterfaceFlags::UP == InterfaceFlags::UP
    }

    /// Whether it exists.
    #[inline(always)]
    pub fn exists(&self) -> bool {
        self.flags() & InterfaceFlags::EXISTS != 0
    }

    /// Whether frames for every MAC address are taken.
    #[inline(always)]
    pub fn is_promiscuous(&self) -> bool {
        self.flags() & InterfaceFlags::PROMISCUOUS != 0
    }

    /// The other side of an L2 cross-connect.
    #[inline(always)]
    pub fn xconnect(&self) -> Option<InterfaceIndex> {
        (self.flags() & InterfaceFlags::XCONNECT != 0)
            .then(|| InterfaceIndex(self.row.xconnect.load(Ordering::Relaxed)))
    }

    /// Whether packets carry an Ethernet header on it.
    #[inline(always)]
    pub fn has_ethernet(&self) -> bool {
        self.flags() & InterfaceFlags::NO_ETHERNET == 0
    }

    /// Its MAC address.
    #[inline(always)]
    pub fn mac(&self) -> MacAddress {
        let bytes = self.row.mac.load(Ordering::Relaxed).to_le_bytes();
        MacAddress([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]])
    }

    /// Largest L3 packet, in bytes.
    #[inline(always)]
    pub fn mtu(&self) -> usize {
        self.row.mtu.load(Ordering::Relaxed) as usize
    }

    /// IPv4 routing table.
    #[inline(always)]
    pub fn ip4_fib(&self) -> u32 {
        self.row.ip4_fib.load(Ordering::Relaxed)
    }

    /// IPv6 routing table.
    #[inline(always)]
    pub fn ip6_fib(&self) -> u32 {
        self.row.ip6_fib.load(Ordering::Relaxed)
    }
}
