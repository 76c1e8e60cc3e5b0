//! Packets as values: what a test puts in, and what it gets out.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::pool::Pool;
use crate::abi::{
    BUFFER_DATA_BYTES, BUFFER_FIELD_BYTES, BUFFER_HEADROOM_BYTES, BufferFlags, BufferHeader, NO_BUFFER,
    NO_INTERFACE, NO_TRACE,
};
use crate::{Field, InterfaceIndex};

/// Flags that say how a packet lies in buffers, which a sample does not keep.
const PLACEMENT: u32 = BufferFlags::CHAINED | BufferFlags::SHARED;

/// A packet as a value: its bytes and its metadata. Made from bytes, it goes into a harness; what comes out of one is
/// a sample again, and can go into the next node as it is.
///
/// ```
/// use raddle_plugin_api::testing::Sample;
///
/// let sample = Sample::new([0x45, 0, 0, 20]).with_fib_index(3);
/// assert_eq!((sample.bytes(), sample.fib_index()), (&[0x45, 0, 0, 20][..], 3));
/// ```
pub struct Sample {
    /// Bytes in front of the current header, which a node may go back to.
    front: Vec<u8>,
    bytes: Vec<u8>,
    /// Bytes of each buffer; empty: as they fit.
    segments: Vec<usize>,
    rx_interface: Option<InterfaceIndex>,
    header: BufferHeader,
}

impl Sample {
    /// A packet with these bytes, which came in on the harness's first interface.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            front: Vec::new(),
            bytes: bytes.into(),
            segments: Vec::new(),
            rx_interface: None,
            header: BufferHeader::empty(),
        }
    }

    /// Sets where the packet came in.
    #[must_use]
    pub fn with_rx_interface(mut self, interface: InterfaceIndex) -> Self {
        self.rx_interface = Some(interface);
        self
    }

    /// Sets where the packet is to leave.
    #[must_use]
    pub fn with_tx_interface(mut self, interface: InterfaceIndex) -> Self {
        self.header.tx_interface = interface.0;
        self
    }

    /// Sets the adjacency.
    #[must_use]
    pub fn with_adjacency(mut self, adjacency: u32) -> Self {
        self.header.adjacency = adjacency;
        self
    }

    /// Sets the routing table for the next lookup.
    #[must_use]
    pub fn with_fib_index(mut self, fib: u32) -> Self {
        self.header.fib_index = fib;
        self
    }

    /// Sets the flow id.
    #[must_use]
    pub fn with_flow_id(mut self, flow: u32) -> Self {
        self.header.flow_id = flow;
        self
    }

    /// Sets bits of [`BufferFlags`], such as `LOCAL` or `L2_MULTICAST`.
    #[must_use]
    pub fn with_flags(mut self, flags: u32) -> Self {
        self.header.flags |= flags & !PLACEMENT;
        self
    }

    /// Says that the checksum at `start + offset` is partial, to be completed over the bytes from `start` on.
    #[must_use]
    pub fn with_partial_checksum(mut self, start: u16, offset: u16) -> Self {
        self.header.flags |= BufferFlags::CHECKSUM_PARTIAL;
        (self.header.checksum_start, self.header.checksum_offset) = (start, offset);
        self
    }

    /// Makes it a GSO packet of this kind (`VIRTIO_NET_HDR_GSO_*`), with `size` bytes of payload a piece behind
    /// `header_length` bytes of headers.
    #[must_use]
    pub fn with_gso(mut self, kind: u8, size: u16, header_length: u16) -> Self {
        self.header.flags |= BufferFlags::GSO;
        (self.header.gso_kind, self.header.gso_size) = (kind, size);
        self.header.header_length = header_length;
        self
    }

    /// Sets a plugin's per-packet field.
    #[must_use]
    pub fn with_field<T: FromBytes + IntoBytes + Immutable + Copy>(
        mut self,
        field: &Field<T>,
        value: T,
    ) -> Self {
        if let Some(bytes) = field_bytes(&mut self.header, field) {
            bytes.copy_from_slice(value.as_bytes());
        }
        self
    }

    /// Lets the packet begin `count` bytes later: what is in front stays where a node can go back to it.
    ///
    /// # Panics
    /// There are fewer bytes.
    #[must_use]
    #[track_caller]
    pub fn advanced(mut self, count: usize) -> Self {
        assert!(count <= self.bytes.len(), "a sample is advanced within its bytes");
        let rest = self.bytes.split_off(count);
        self.front.append(&mut self.bytes);
        self.bytes = rest;
        self.header.current_data += count as i16;
        self
    }

    /// Notes that the network header begins at the packet's start.
    #[must_use]
    pub fn with_l3_here(mut self) -> Self {
        self.header.l3_offset = self.header.current_data;
        self
    }

    /// Notes that the network header begins `offset` bytes behind the packet's start: of a packet that leaves, whose link-layer
    /// header is in front.
    #[must_use]
    pub fn with_l3_at(mut self, offset: usize) -> Self {
        self.header.l3_offset = self.header.current_data + offset as i16;
        self
    }

    /// Lays the packet out in buffers of these many bytes; what is left over goes into one more. Otherwise each buffer
    /// is filled.
    #[must_use]
    pub fn in_segments(mut self, lengths: &[usize]) -> Self {
        self.segments = lengths.to_vec();
        self
    }

    /// The packet's bytes, from its current header on, over all its buffers.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes in front of the current header, the nearest last.
    pub fn front(&self) -> &[u8] {
        &self.front
    }

    /// Length of the packet in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the packet has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of each of its buffers.
    pub fn segments(&self) -> &[usize] {
        &self.segments
    }

    /// Where it came in.
    pub fn rx_interface(&self) -> InterfaceIndex {
        self.rx_interface.unwrap_or(InterfaceIndex::NONE)
    }

    /// Where it is to leave.
    pub fn tx_interface(&self) -> InterfaceIndex {
        InterfaceIndex(self.header.tx_interface)
    }

    /// The adjacency.
    pub fn adjacency(&self) -> u32 {
        self.header.adjacency
    }

    /// The routing table for the next lookup.
    pub fn fib_index(&self) -> u32 {
        self.header.fib_index
    }

    /// The flow id.
    pub fn flow_id(&self) -> u32 {
        self.header.flow_id
    }

    /// Bits of [`BufferFlags`].
    pub fn flags(&self) -> u32 {
        self.header.flags
    }

    /// Whether the packet was made by a node.
    pub fn is_local(&self) -> bool {
        self.header.flags & BufferFlags::LOCAL != 0
    }

    /// Bytes from the current header back to the noted network header.
    pub fn l3_distance(&self) -> isize {
        self.header.current_data as isize - self.header.l3_offset as isize
    }

    /// A plugin's per-packet field.
    pub fn field<T: FromBytes + IntoBytes + Immutable + Copy>(&self, field: &Field<T>) -> Option<T> {
        let mut header = copy(&self.header);
        T::read_from_bytes(field_bytes(&mut header, field)?).ok()
    }

    /// All metadata, as nodes see it.
    pub fn header(&self) -> &BufferHeader {
        &self.header
    }

    /// The number under which the packet is traced: what [`Trace::packet`](super::Trace::packet) says.
    pub fn trace_number(&self) -> Option<u32> {
        (self.header.flags & BufferFlags::TRACED != 0).then_some(self.header.trace)
    }

    /// Has the packet traced under this number, or not.
    pub(super) fn set_trace(&mut self, number: Option<u32>) {
        self.header.trace = number.unwrap_or(NO_TRACE);
        self.header.flags &= !BufferFlags::TRACED;
        if number.is_some() {
            self.header.flags |= BufferFlags::TRACED;
        }
    }

    pub(super) fn header_mut(&mut self) -> &mut BufferHeader {
        &mut self.header
    }

    pub(super) fn default_rx_interface(&mut self, interface: Option<InterfaceIndex>) {
        self.rx_interface = self.rx_interface.or(interface);
    }

    /// Puts the packet into buffers of the pool; `None` if there are too few.
    ///
    /// # Panics
    /// The sample does not fit a packet's layout.
    pub(super) fn store(&self, pool: &Pool) -> Option<u32> {
        let start = self.header.current_data;
        assert!(
            start >= -(BUFFER_HEADROOM_BYTES as i16) && usize::from(start.max(0) as u16) <= BUFFER_DATA_BYTES,
            "a sample begins within its first buffer"
        );
        let mut left = self.bytes.as_slice();
        let mut lengths = self.segments.iter().copied();
        let (mut first, mut last, mut count) = (None, NO_BUFFER, 0);
        loop {
            let data = if first.is_none() { start } else { 0 };
            let room = (BUFFER_DATA_BYTES as isize - data as isize) as usize;
            let wanted = lengths.next().unwrap_or(room);
            assert!(wanted <= room, "a segment of {wanted} bytes does not fit a buffer");
            let (part, rest) = left.split_at(wanted.min(left.len()));
            let Some(index) = pool.take() else {
                first.into_iter().for_each(|first| pool.free(first, "the harness"));
                return None;
            };
            let front = if first.is_none() { self.front.as_slice() } else { &[] };
            write(pool, index, data, front, part);
            if first.is_none() {
                first = Some(index);
            } else {
                // SAFETY: `last` is the chain's last buffer so far, this function's own.
                let before = unsafe { &mut *pool.header(last) };
                before.flags |= BufferFlags::CHAINED;
                before.next_buffer = index;
            }
            (last, left, count) = (index, rest, count + 1);
            if left.is_empty() && lengths.len() == 0 {
                break;
            }
            assert!(count < crate::packet::MAX_SEGMENTS, "a sample has too many buffers for a packet");
        }
        // The loop has run once, so that there is a first buffer.
        let first = first?;
        // SAFETY: the packet is this function's own.
        let header = unsafe { &mut *pool.header(first) };
        let (current_length, next_buffer) = (header.current_length, header.next_buffer);
        let chained = header.flags & BufferFlags::CHAINED;
        *header = copy(&self.header);
        header.current_length = current_length;
        header.next_buffer = next_buffer;
        header.rest_length = (self.bytes.len() - usize::from(current_length)) as u32;
        header.flags |= chained;
        header.rx_interface = self.rx_interface().0;
        Some(first)
    }

    /// The packet that starts at buffer `first`, as a value.
    ///
    /// # Panics
    /// The packet's metadata is not what it must be.
    pub(super) fn load(pool: &Pool, first: u32) -> Self {
        // SAFETY: the packet was sent to the host, which owns it; nobody else reaches it.
        let header = copy(unsafe { &*pool.header(first) });
        let (mut bytes, mut segments, mut next) = (Vec::new(), Vec::new(), Some(first));
        while let Some(index) = next {
            assert!(segments.len() < crate::packet::MAX_SEGMENTS, "the chain of a packet has no end");
            // SAFETY: as above, for the packet's chain.
            let part = unsafe { &*pool.header(index) };
            let (start, length) = (part.current_data as isize, usize::from(part.current_length));
            let begin = BUFFER_HEADROOM_BYTES as isize + start;
            let end = begin + length as isize;
            assert!(
                begin >= 0 && end <= (BUFFER_HEADROOM_BYTES + BUFFER_DATA_BYTES) as isize,
                "the bytes of a packet lie within its buffer: {start}, {length}"
            );
            // SAFETY: the range was checked to lie within the buffer's body.
            let piece = unsafe { std::slice::from_raw_parts(pool.body(index).add(begin as usize), length) };
            bytes.extend_from_slice(piece);
            segments.push(length);
            next = (part.flags & BufferFlags::CHAINED != 0).then_some(part.next_buffer);
        }
        let in_front = (BUFFER_HEADROOM_BYTES as isize + header.current_data as isize) as usize;
        // SAFETY: the headroom, up to the data's start, lies within the buffer's body, as checked above.
        let front = unsafe { std::slice::from_raw_parts(pool.body(first), in_front) }.to_vec();
        if header.flags & BufferFlags::CHAINED != 0 {
            let rest: usize = segments[1..].iter().sum();
            assert_eq!(header.rest_length as usize, rest, "`rest_length` of a chained packet");
        }
        let rx_interface =
            (header.rx_interface != NO_INTERFACE).then_some(InterfaceIndex(header.rx_interface));
        let mut sample = Self { front, bytes, segments, rx_interface, header };
        sample.header.flags &= !PLACEMENT;
        sample
    }
}

impl Clone for Sample {
    fn clone(&self) -> Self {
        Self {
            front: self.front.clone(),
            bytes: self.bytes.clone(),
            segments: self.segments.clone(),
            rx_interface: self.rx_interface,
            header: copy(&self.header),
        }
    }
}

impl From<&[u8]> for Sample {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes)
    }
}

impl<const N: usize> From<[u8; N]> for Sample {
    fn from(bytes: [u8; N]) -> Self {
        Self::new(bytes)
    }
}

impl<const N: usize> From<&[u8; N]> for Sample {
    fn from(bytes: &[u8; N]) -> Self {
        Self::new(bytes.as_slice())
    }
}

impl From<Vec<u8>> for Sample {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<&Vec<u8>> for Sample {
    fn from(bytes: &Vec<u8>) -> Self {
        Self::new(bytes.as_slice())
    }
}

impl From<&Sample> for Sample {
    fn from(sample: &Sample) -> Self {
        sample.clone()
    }
}

impl std::fmt::Debug for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sample")
            .field("bytes", &self.bytes)
            .field("rx_interface", &self.rx_interface)
            .field("tx_interface", &self.tx_interface())
            .field("adjacency", &self.adjacency())
            .field("fib_index", &self.fib_index())
            .field("flags", &self.flags())
            .finish_non_exhaustive()
    }
}

/// Fills buffer `index`, which is the caller's: `part` at `data`, `front` before it, as far as there is headroom.
fn write(pool: &Pool, index: u32, data: i16, front: &[u8], part: &[u8]) {
    let begin = (BUFFER_HEADROOM_BYTES as isize + data as isize) as usize;
    let front = &front[front.len().saturating_sub(begin)..];
    assert!(begin + part.len() <= BUFFER_HEADROOM_BYTES + BUFFER_DATA_BYTES, "a part fits its buffer");
    // SAFETY: by the assertion and the cut above, both ranges lie within the body of the caller's buffer.
    unsafe {
        let body = pool.body(index);
        std::ptr::copy_nonoverlapping(front.as_ptr(), body.add(begin - front.len()), front.len());
        std::ptr::copy_nonoverlapping(part.as_ptr(), body.add(begin), part.len());
    }
    // SAFETY: the buffer is the caller's.
    let header = unsafe { &mut *pool.header(index) };
    header.current_data = data;
    header.current_length = part.len() as u16;
}

fn field_bytes<'h, T>(header: &'h mut BufferHeader, field: &Field<T>) -> Option<&'h mut [u8]> {
    let start = std::mem::offset_of!(BufferHeader, fields);
    let from = (field.offset as usize).checked_sub(start)?;
    let range = from..from.checked_add(size_of::<T>())?;
    header.fields.get_mut(range).filter(|bytes| bytes.len() <= BUFFER_FIELD_BYTES)
}

/// A copy of a header, as an unshared buffer has it.
fn copy(header: &BufferHeader) -> BufferHeader {
    let mut made = BufferHeader::empty();
    macro_rules! fields {
        ($($field:ident),* $(,)?) => { $(made.$field = header.$field;)* };
    }
    fields! {
        current_data, current_length, flags, rx_interface, tx_interface, adjacency, fib_index, next_buffer,
        rest_length, features, flow_id, error, arc, arc_epoch, l3_offset, l4_offset, hot_field, trace, gso_size,
        gso_kind, checksum_start, checksum_offset, header_length, fields,
    }
    made
}
