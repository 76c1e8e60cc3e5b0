//! The thread that a node runs on, as a token and as a source of facts.

use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use crate::abi::{
    BufferFlags, Counted, HostTable, InterfaceFlags, InterfaceRow, MAX_INTERFACES, WorkerContext,
};
use crate::wire::MacAddress;
use crate::{HeldPacket, InterfaceIndex, Packet, Reader};

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

    /// Threads of the graph, the main one among them: they are numbered from 0 to one less.
    #[inline(always)]
    pub fn thread_count(&self) -> u32 {
        // SAFETY: the host's table outlives its threads.
        unsafe { (*self.host()).thread_count }
    }

    /// The thread among those that packets come in on (the workers, or the main thread where there are none) to which a
    /// hash points: the same for the same hash, on every thread.
    #[inline(always)]
    pub fn thread_of(&self, hash: u32) -> u32 {
        match self.thread_count() {
            0 | 1 => 0,
            // The high bits decide, so that tables that are indexed by the low ones are used as a whole by each thread.
            count => 1 + ((u64::from(hash) * u64::from(count - 1)) >> 32) as u32,
        }
    }

    /// Monotonic time at the start of this pass of the loop, in ns.
    #[inline(always)]
    pub fn now_ns(&self) -> u64 {
        self.shared().now_ns
    }

    /// Has this thread make a pass at `at_ns` of the monotonic clock, or before, though no packet comes: for input nodes
    /// that look after timers. Counts once; the earliest of several counts.
    pub fn wake_at(&self, at_ns: u64) {
        const END: usize = std::mem::offset_of!(HostTable, wake_thread_at) + size_of::<usize>();
        // SAFETY: the context is this thread's; the host has the function (one of ABI 1.0 has not).
        unsafe {
            if HostTable::reaches(self.host(), END) {
                ((*self.host()).wake_thread_at)(self.context, at_ns);
            }
        }
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

    /// Up to `count` new packets, as [`Worker::allocate`] makes them, behind those in `into`; fewer if there are no more
    /// buffers left.
    pub fn allocate_many(&self, count: usize, into: &mut Vec<HeldPacket>) {
        let mut indices = [0; 64];
        let mut left = count;
        while left > 0 {
            let wanted = left.min(indices.len());
            // SAFETY: the context is this thread's; there is room for what is asked for.
            let got = unsafe {
                ((*self.host()).buffers_allocate)(self.context, indices.as_mut_ptr(), wanted as u32) as usize
            };
            // SAFETY: the host gave these buffers to us.
            let packets =
                indices[..got].iter().map(|&index| unsafe { HeldPacket::from_new(self.context, index) });
            into.extend(packets);
            if got < wanted {
                return;
            }
            left -= got;
        }
    }

    /// A new packet, empty, that goes the way of `packet`: for a part of it. Interfaces, routing table, adjacency, flow,
    /// the features that are still to run, plugins' fields, the trace and the place of the network header are the same;
    /// it asks nothing of the device that sends it. `None` if there is no buffer left.
    pub fn allocate_like(&self, packet: &Packet<'_>) -> Option<HeldPacket> {
        const KEPT: u32 = BufferFlags::TRACED | BufferFlags::LOCAL | BufferFlags::L2_MULTICAST;
        let mut made = self.allocate()?;
        let (from, mut view) = (packet.header(), self.open(&mut made));
        let to = view.raw();
        to.flags = from.flags & KEPT;
        (to.rx_interface, to.tx_interface) = (from.rx_interface, from.tx_interface);
        (to.adjacency, to.fib_index, to.flow_id) = (from.adjacency, from.fib_index, from.flow_id);
        (to.features, to.arc, to.arc_epoch) = (from.features, from.arc, from.arc_epoch);
        to.l3_offset = from.l3_offset.wrapping_sub(from.current_data);
        to.l4_offset = from.l4_offset.wrapping_sub(from.current_data);
        (to.trace, to.hot_field, to.fields) = (from.trace, from.hot_field, from.fields);
        Some(made)
    }

    /// Gives a packet back to the pool by way of this thread's own buffers: cheaper than to drop it.
    pub fn free(&self, held: HeldPacket) {
        let index = held.into_index();
        // SAFETY: the context is this thread's; the packet was owned and is given up.
        unsafe { ((*self.host()).buffers_free)(self.context, &index, 1) };
    }

    /// Appends the next `count` bytes of `reader` to a packet, as [`Worker::append`] does. `false` also if there are
    /// fewer.
    pub fn append_from(&self, packet: &mut Packet<'_>, reader: &mut Reader<'_>, count: usize) -> bool {
        let mut left = count;
        while left > 0 {
            let Some(chunk) = reader.next_chunk(left) else { return false };
            left -= chunk.len();
            if !crate::chain::append_bytes(self, packet, chunk) {
                return false;
            }
        }
        true
    }

    /// Appends `bytes` to a packet, whose chain grows by buffers as needed. `false` if there is no buffer left or the
    /// packet would get too many: it is whole up to there, and may be dropped.
    pub fn append(&self, packet: &mut Packet<'_>, bytes: &[u8]) -> bool {
        crate::chain::append_bytes(self, packet, bytes)
    }

    /// Counts packets of an interface that has no queues of its own; [`crate::Tally`] does so for many.
    pub(crate) fn count(&self, interface: InterfaceIndex, what: Counted, packets: u64, bytes: u64) {
        const END: usize = std::mem::offset_of!(HostTable, count) + size_of::<usize>();
        // SAFETY: the context is this thread's; the host has the function (one of ABI 1.0 has not) and takes any interface
        // and any kind.
        unsafe {
            if HostTable::reaches(self.host(), END) {
                ((*self.host()).count)(self.context, interface.0, what, packets, bytes);
            }
        }
    }

    /// Counts packets that an interface without queues of its own could not send.
    pub fn count_not_sent(&self, interface: InterfaceIndex, packets: u64) {
        self.count(interface, Counted::NOT_SENT, packets, 0);
    }

    /// Puts the buffers of `tail`, from its present start on, behind those of `packet`, without copying but for small
    /// tails that fit into the room of the last buffer. If only `tail` is traced, the packet carries on its trace.
    ///
    /// Neither may share buffers with another packet: see [`Packet::is_shared`].
    ///
    /// # Errors
    /// The packet would get too many buffers: `tail` comes back as it was.
    pub fn append_packet(&self, packet: &mut Packet<'_>, tail: HeldPacket) -> Result<(), HeldPacket> {
        crate::chain::append_packet(self, packet, tail)
    }

    /// Writes a log line, of which the host lets so many through in a second: for what should not be, not for every packet.
    /// The macros [`log_error!`](crate::log_error) and its like are shorter.
    #[cold]
    pub fn log(&self, level: crate::abi::LogLevel, message: impl std::fmt::Display) {
        // SAFETY: the host's table outlives its threads.
        unsafe { crate::log::write(self.host(), level, &message.to_string()) };
    }

    /// Buffers in the pool, those in use among them.
    #[inline]
    pub fn buffer_count(&self) -> usize {
        self.shared().buffer_count as usize
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

    /// Whether its device fills in partial checksums.
    #[inline(always)]
    pub fn completes_checksums(&self) -> bool {
        self.flags() & InterfaceFlags::TX_CHECKSUM != 0
    }

    /// Whether its device takes GSO packets whole.
    #[inline(always)]
    pub fn takes_gso(&self) -> bool {
        self.flags() & InterfaceFlags::TX_GSO != 0
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

    /// Whether frames are switched (cross-connected or bridged) instead of looked at as packets for this host.
    #[inline(always)]
    pub fn is_switched(&self) -> bool {
        self.flags() & InterfaceFlags::SWITCHED != 0
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
