//! What a node finds on the thread that runs it.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::HostTable;

/// Interfaces that can exist at a time.
pub const MAX_INTERFACES: usize = 4096;
/// Feature arcs that can exist at a time.
pub const MAX_ARCS: usize = 32;
/// Features that one arc can have.
pub const FEATURES_PER_ARC: usize = 64;

/// Bits of [`InterfaceRow::flags`]. Since ABI 1.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceFlags;

impl InterfaceFlags {
    /// The row is in use.
    pub const EXISTS: u32 = 1 << 0;
    /// The operator wants the interface up.
    pub const ADMIN_UP: u32 = 1 << 1;
    /// The device says that the link is up.
    pub const LINK_UP: u32 = 1 << 2;
    /// Frames go unread to the interface in `xconnect`.
    pub const XCONNECT: u32 = 1 << 3;
    /// Frames for every MAC address are taken.
    pub const PROMISCUOUS: u32 = 1 << 4;
    /// Both up: the interface passes packets.
    pub const UP: u32 = Self::ADMIN_UP | Self::LINK_UP;
    /// The device fills in partial checksums.
    pub const TX_CHECKSUM: u32 = 1 << 8;
    /// The device takes GSO packets whole.
    pub const TX_GSO: u32 = 1 << 9;
    /// The interface carries IP packets without a link-layer header.
    pub const NO_ETHERNET: u32 = 1 << 10;
}

/// What the packet's way reads of an interface: one cache line. Written by the main thread only. Since ABI 1.0.
#[repr(C, align(64))]
pub struct InterfaceRow {
    /// See [`InterfaceFlags`].
    pub flags: AtomicU32,
    /// Node that sends for this interface's driver.
    pub tx_node: AtomicU32,
    /// The MAC address in the low six bytes, first octet lowest.
    pub mac: AtomicU64,
    /// Largest L3 packet, in bytes.
    pub mtu: AtomicU32,
    /// The other side of an L2 cross-connect.
    pub xconnect: AtomicU32,
    /// IPv4 routing table.
    pub ip4_fib: AtomicU32,
    /// IPv6 routing table.
    pub ip6_fib: AtomicU32,
    /// Features of the `interface-output` arc (a copy of that arc's mask, so that output reads one line).
    pub output_features: AtomicU64,
    /// Zero.
    pub reserved: [AtomicU64; 2],
}

/// A feature arc: per interface the set of features that are on, per feature its node. Since ABI 1.0.
///
/// Features stand in the order in which they run: bit *n* runs before bit *n + 1*. Nodes and `epoch` change only
/// while the workers stand at a barrier; a mask changes at any time.
#[repr(C)]
pub struct ArcTable {
    /// Enabled features per interface, [`MAX_INTERFACES`] of them.
    pub masks: *const AtomicU64,
    /// Where a packet goes when no feature is left.
    pub end_node: u16,
    /// Counts the changes of `nodes`.
    pub epoch: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// The node of each feature.
    pub nodes: [u16; FEATURES_PER_ARC],
}

/// What all nodes of one thread share. Made and kept by the host. Since ABI 1.0.
#[repr(C)]
pub struct WorkerContext {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// 0 is the main thread, workers count from 1.
    pub thread_index: u32,
    /// Functions of the host.
    pub host: *const HostTable,
    /// The buffer arena: buffer *i* stands at `buffers + i * buffer_stride`.
    pub buffers: *mut u8,
    /// Bytes from one buffer to the next.
    pub buffer_stride: u32,
    /// Buffers in the arena.
    pub buffer_count: u32,
    /// Monotonic time at the start of this pass of the loop, in ns.
    pub now_ns: u64,
    /// The interface table, [`MAX_INTERFACES`] rows.
    pub interfaces: *const InterfaceRow,
    /// The feature arcs, [`MAX_ARCS`] of them.
    pub arcs: *const ArcTable,
    /// A buffer header that nobody owns, for views of packets that were given away.
    pub scratch: *mut u8,
    /// The host's own state of this thread.
    pub host_state: *mut c_void,
}

/// What one node finds on one thread. Made and kept by the host. Since ABI 1.0.
#[repr(C)]
pub struct NodeContext {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Index of the node in the graph.
    pub node: u32,
    /// The thread.
    pub worker: *mut WorkerContext,
    /// The state that the node's `create` returned for this thread.
    pub state: *mut c_void,
    /// Node index behind each next slot; slot 0 is `drop`.
    pub arcs: *const u16,
    /// Number of next slots.
    pub arc_count: u32,
    /// Index of the node's first error in the global list.
    pub error_base: u32,
    /// Number of the node's errors.
    pub error_count: u32,
    /// Zero.
    pub reserved: u32,
}
