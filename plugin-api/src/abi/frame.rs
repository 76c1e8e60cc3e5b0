//! The frame: a vector of buffer indices on its way between two nodes.

/// Packets in a full frame.
pub const FRAME_SIZE: usize = 256;

/// Indices behind the last one that the loops may read ahead of themselves (only to prefetch).
const READ_AHEAD: usize = 16;

/// Bits of [`Frame::flags`]. Since ABI 1.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameFlags;

impl FrameFlags {
    /// All packets came in by `Frame::interface`.
    pub const ONE_INTERFACE: u32 = 1 << 0;
    /// At least one packet is traced.
    pub const TRACED: u32 = 1 << 1;
}

/// A vector of up to [`FRAME_SIZE`] buffer indices. The node that is handed a frame owns the packets in it. Since ABI 1.0.
#[repr(C, align(64))]
pub struct Frame {
    /// Packets in the frame, at most [`FRAME_SIZE`].
    pub count: u32,
    /// See [`FrameFlags`].
    pub flags: u32,
    /// The rx interface of all packets, if `ONE_INTERFACE` is set.
    pub interface: u32,
    /// Zero.
    pub reserved: [u32; 13],
    /// Buffer indices; those from `count` on are stale, but name buffers of the pool.
    pub indices: [u32; FRAME_SIZE + READ_AHEAD],
}

impl Frame {
    /// A frame without packets.
    pub const fn empty() -> Self {
        Self { count: 0, flags: 0, interface: 0, reserved: [0; 13], indices: [0; FRAME_SIZE + READ_AHEAD] }
    }

    /// The buffer indices of the packets in the frame.
    #[inline]
    pub fn packets(&self) -> &[u32] {
        &self.indices[..(self.count as usize).min(FRAME_SIZE)]
    }

    /// Whether something was written where nothing ever is: behind the last index, or where zero belongs.
    pub fn is_overrun(&self) -> bool {
        self.indices[FRAME_SIZE..].iter().chain(&self.reserved).any(|&word| word != 0)
    }

    /// Puts zero where it belongs.
    pub fn mend(&mut self) {
        self.indices[FRAME_SIZE..].fill(0);
        self.reserved.fill(0);
    }
}
