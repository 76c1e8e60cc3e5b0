//! The packet buffer: 128 bytes of metadata, 128 bytes of headroom, 2,048 bytes of data.

use std::sync::atomic::AtomicU16;

/// Room in front of the data for headers that are pushed, in bytes.
pub const BUFFER_HEADROOM_BYTES: usize = 128;
/// Room for packet data in one buffer, without the headroom, in bytes.
pub const BUFFER_DATA_BYTES: usize = 2048;
/// From the start of a buffer to its data (`current_data == 0`), in bytes.
pub const BUFFER_DATA_OFFSET: usize = size_of::<BufferHeader>() + BUFFER_HEADROOM_BYTES;
/// Room for the fields that plugins register by name, in bytes.
pub const BUFFER_FIELD_BYTES: usize = 48;
/// "No buffer" in a buffer index.
pub const NO_BUFFER: u32 = u32::MAX;
/// "No interface" in an interface index.
pub const NO_INTERFACE: u32 = u32::MAX;
/// "Not traced" in a trace handle.
pub const NO_TRACE: u32 = u32::MAX;

/// Bits of [`BufferHeader::flags`]. Since ABI 1.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferFlags;

impl BufferFlags {
    /// `next_buffer` holds the index of the next buffer of this packet.
    pub const CHAINED: u32 = 1 << 0;
    /// The packet is traced; `trace` holds the handle.
    pub const TRACED: u32 = 1 << 1;
    /// The L4 checksum is still to be filled in from `checksum_start` (offload asked for by the sender).
    pub const CHECKSUM_PARTIAL: u32 = 1 << 2;
    /// The L4 checksum is known to be right (checked by a device, or never left this host).
    pub const CHECKSUM_VALID: u32 = 1 << 3;
    /// One packet that stands for many: `gso_size` bytes of payload each.
    pub const GSO: u32 = 1 << 4;
    /// Made here, not received: no rx interface, no TTL decrement.
    pub const LOCAL: u32 = 1 << 5;
    /// The destination MAC address was a broadcast or multicast one.
    pub const L2_MULTICAST: u32 = 1 << 6;
    /// `references` is above one: the buffer is shared and must be copied before it is written.
    pub const SHARED: u32 = 1 << 7;
    /// The packet was put together of fragments by the host, which cuts it again before it leaves. The host's own: plugins
    /// neither set nor clear it, and a packet that they make of another has it not.
    pub const REASSEMBLED: u32 = 1 << 8;
    /// What makes a buffer other than a plain one on the way to the pool.
    pub const NOT_PLAIN: u32 = Self::CHAINED | Self::SHARED | Self::TRACED;
}

/// Metadata in front of each buffer: the first cache line is what the common path reads. Since ABI 1.0.
///
/// Invariant, kept by every writer: `-HEADROOM <= current_data` and `current_data + current_length <= DATA`.
#[repr(C, align(64))]
pub struct BufferHeader {
    /// Offset of the first byte from the data area's start, in bytes; negative into the headroom.
    pub current_data: i16,
    /// Bytes in this buffer, from `current_data`.
    pub current_length: u16,
    /// See [`BufferFlags`].
    pub flags: u32,
    /// Where the packet came in.
    pub rx_interface: u32,
    /// Where the packet is to leave.
    pub tx_interface: u32,
    /// Index of the adjacency that the lookup found.
    pub adjacency: u32,
    /// Routing table in which the next lookup is made.
    pub fib_index: u32,
    /// Next buffer of the packet where `CHAINED` is set.
    pub next_buffer: u32,
    /// Bytes in the buffers behind this one.
    pub rest_length: u32,
    /// Features of the arc that are still to run, one bit each.
    pub features: u64,
    /// Flow id, as the receiver or a classifier gave it; 0 is none.
    pub flow_id: u32,
    /// Why the packet is dropped: index into the global list of errors.
    pub error: u16,
    /// The feature arc that `features` belongs to.
    pub arc: u8,
    /// The arc's order when `features` was taken: a stale one is not followed.
    pub arc_epoch: u8,
    /// Packets that hold this buffer.
    pub references: AtomicU16,
    /// Offset of the network header, as `current_data`.
    pub l3_offset: i16,
    /// Offset of the transport header, as `current_data`.
    pub l4_offset: i16,
    /// Zero.
    pub reserved0: u16,
    /// Room for one hot field of 8 bytes, handed out by name.
    pub hot_field: [u8; 8],

    /// Where the trace of this packet is kept while `TRACED` is set.
    pub trace: u32,
    /// Payload bytes of each packet that a GSO packet stands for.
    pub gso_size: u16,
    /// What a GSO packet holds: `VIRTIO_NET_HDR_GSO_*` (virtio 1.2 §5.1.6).
    pub gso_kind: u8,
    /// Zero.
    pub reserved1: u8,
    /// Where the partial checksum starts, in bytes from the packet's first byte.
    pub checksum_start: u16,
    /// Where the partial checksum is put, in bytes from `checksum_start`.
    pub checksum_offset: u16,
    /// Bytes of all headers in front of a GSO packet's payload.
    pub header_length: u16,
    /// Zero.
    pub reserved2: u16,
    /// Fields of plugins, handed out by name.
    pub fields: [u8; BUFFER_FIELD_BYTES],
}

impl BufferHeader {
    /// The header of an empty plain buffer.
    pub const fn empty() -> Self {
        Self {
            current_data: 0,
            current_length: 0,
            flags: 0,
            rx_interface: NO_INTERFACE,
            tx_interface: NO_INTERFACE,
            adjacency: 0,
            fib_index: 0,
            next_buffer: NO_BUFFER,
            rest_length: 0,
            features: 0,
            flow_id: 0,
            error: 0,
            arc: 0,
            arc_epoch: 0,
            references: AtomicU16::new(1),
            l3_offset: 0,
            l4_offset: 0,
            reserved0: 0,
            hot_field: [0; 8],
            trace: NO_TRACE,
            gso_size: 0,
            gso_kind: 0,
            reserved1: 0,
            checksum_start: 0,
            checksum_offset: 0,
            header_length: 0,
            reserved2: 0,
            fields: [0; BUFFER_FIELD_BYTES],
        }
    }
}
