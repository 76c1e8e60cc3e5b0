//! A packet as a node sees it.

use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::InterfaceIndex;
use crate::abi::{
    BUFFER_DATA_BYTES, BUFFER_DATA_OFFSET, BUFFER_HEADROOM_BYTES, BufferFlags, BufferHeader, HostTable,
    WorkerContext,
};

/// A view of a packet that its holder may read and write: the first buffer's bytes, and the metadata of the whole.
///
/// The view never reaches beyond the packet: offsets and lengths are checked where they change, so that reading is
/// free of checks but those of slices.
pub struct Packet<'a> {
    header: *mut BufferHeader,
    index: u32,
    worker: *mut WorkerContext,
    taken: bool,
    life: PhantomData<&'a mut BufferHeader>,
}

/// A packet that somebody keeps: taken out of a frame, or made new. Send it on, or drop it: then its buffers go back.
#[must_use = "a packet that is dropped goes back to the pool"]
pub struct HeldPacket {
    index: u32,
    host: *const HostTable,
}

// SAFETY: a held packet is owned; its buffers are plain memory that no other thread reaches, and the one host
// function used from it (`buffers_free_remote`) may be called from any thread.
unsafe impl Send for HeldPacket {}

impl HeldPacket {
    /// # Safety
    /// The caller owns the packet with this index, of the pool behind `host`, and gives it up.
    pub(crate) unsafe fn from_index(index: u32, host: *const HostTable) -> Self {
        Self { index, host }
    }

    /// # Safety
    /// The caller owns the buffer with this index, of `worker`'s pool, and gives it up; nobody else reaches it.
    #[inline(always)]
    pub(crate) unsafe fn from_new(worker: *mut WorkerContext, index: u32) -> Self {
        // SAFETY: as the caller vouches. What a new packet starts from is written as a whole: it is not read before.
        unsafe {
            buffer(worker, index).write(BufferHeader::empty());
            Self { index, host: (*worker).host }
        }
    }

    /// The packet's buffer index, whose owner the caller is then.
    pub(crate) fn into_index(self) -> u32 {
        let index = self.index;
        std::mem::forget(self);
        index
    }

    /// Number of the packet's first buffer.
    pub fn buffer_index(&self) -> u32 {
        self.index
    }
}

impl Drop for HeldPacket {
    fn drop(&mut self) {
        // SAFETY: the host outlives all packets of its pool; the packet is owned, so it may be given back.
        unsafe { ((*self.host).buffers_free_remote)((*self.host).data, &self.index, 1) };
    }
}

impl<'a> Packet<'a> {
    /// # Safety
    /// `index` is a buffer of `worker`'s arena that the caller owns or has been handed for `'a`, and no other view of
    /// it exists in that time. Its header keeps the invariant of [`BufferHeader`].
    #[inline(always)]
    pub(crate) unsafe fn from_index(worker: *mut WorkerContext, index: u32) -> Self {
        // SAFETY: `worker` is alive and `index` below its `buffer_count`, as the caller vouches.
        let header = unsafe { buffer(worker, index) };
        Self { header, index, worker, taken: false, life: PhantomData }
    }

    /// As [`Packet::from_index`], by the address of the buffer too; `lent`: the view cannot be taken.
    ///
    /// # Safety
    /// As [`Packet::from_index`]; `header` is the buffer's.
    #[inline(always)]
    pub(crate) unsafe fn at(
        worker: *mut WorkerContext,
        header: *mut BufferHeader,
        index: u32,
        lent: bool,
    ) -> Self {
        Self { header, index, worker, taken: lent, life: PhantomData }
    }

    /// As [`Packet::from_index`], of a packet that stays with its owner: the view cannot be taken.
    ///
    /// # Safety
    /// As [`Packet::from_index`].
    #[inline(always)]
    pub(crate) unsafe fn lent(worker: *mut WorkerContext, index: u32) -> Self {
        // SAFETY: passed on to the caller.
        Self { taken: true, ..unsafe { Self::from_index(worker, index) } }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &BufferHeader {
        // SAFETY: the header is alive and only reached through this view (see `from_index`).
        unsafe { &*self.header }
    }

    #[inline(always)]
    fn header_mut(&mut self) -> &mut BufferHeader {
        // SAFETY: as `header`, and the view is borrowed mutably.
        unsafe { &mut *self.header }
    }

    /// Number of the packet's first buffer.
    #[inline(always)]
    pub fn buffer_index(&self) -> u32 {
        self.index
    }

    /// Bytes in the first buffer, from the current header on.
    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        let header = self.header();
        let start = (BUFFER_DATA_OFFSET as isize + header.current_data as isize) as usize;
        // SAFETY: by the header's invariant the range lies within the buffer.
        unsafe {
            std::slice::from_raw_parts(
                self.header.cast::<u8>().add(start),
                usize::from(header.current_length),
            )
        }
    }

    /// Bytes in the first buffer, to be changed.
    #[inline(always)]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (data, length) = (self.header().current_data, self.header().current_length);
        let start = (BUFFER_DATA_OFFSET as isize + data as isize) as usize;
        // SAFETY: by the header's invariant the range lies within the buffer, beside the header itself.
        unsafe { std::slice::from_raw_parts_mut(self.header.cast::<u8>().add(start), usize::from(length)) }
    }

    /// The whole packet's length in bytes, over all its buffers.
    #[inline(always)]
    pub fn len(&self) -> usize {
        let header = self.header();
        let rest = if header.flags & BufferFlags::CHAINED != 0 { header.rest_length as usize } else { 0 };
        usize::from(header.current_length) + rest
    }

    /// Whether the packet has no bytes.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the packet has more than one buffer.
    #[inline(always)]
    pub fn is_chained(&self) -> bool {
        self.header().flags & BufferFlags::CHAINED != 0
    }

    /// Drops `count` bytes at the front. `false`, and nothing done, if the first buffer has fewer.
    #[inline(always)]
    pub fn advance(&mut self, count: usize) -> bool {
        let header = self.header_mut();
        if count > usize::from(header.current_length) {
            return false;
        }
        header.current_length -= count as u16;
        header.current_data += count as i16;
        true
    }

    /// Puts `count` bytes in front, of unspecified content, and returns all bytes of the first buffer. `None`, and
    /// nothing done, if the headroom is too small.
    #[inline(always)]
    pub fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        let header = self.header_mut();
        let room = (BUFFER_HEADROOM_BYTES as isize + header.current_data as isize) as usize;
        if count > room {
            return None;
        }
        header.current_data -= count as i16;
        header.current_length += count as u16;
        Some(self.bytes_mut())
    }

    /// As [`prepend`](Self::prepend), of a number of bytes that is known beforehand.
    #[inline(always)]
    pub fn prepend_array<const COUNT: usize>(&mut self) -> Option<&mut [u8; COUNT]> {
        const { assert!(COUNT <= BUFFER_HEADROOM_BYTES) };
        let header = self.header_mut();
        let start = BUFFER_HEADROOM_BYTES as isize + header.current_data as isize;
        if start < COUNT as isize {
            return None;
        }
        header.current_data -= COUNT as i16;
        header.current_length += COUNT as u16;
        let offset = (BUFFER_DATA_OFFSET as isize + header.current_data as isize) as usize;
        // SAFETY: by the header's invariant the buffer has `current_length` bytes from there on, at least the `COUNT` that were
        // just added; the view is borrowed as long as they are.
        Some(unsafe { &mut *self.header.cast::<u8>().add(offset).cast() })
    }

    /// Cuts the packet down to its first `length` bytes; longer than it is: nothing happens. Buffers that hold
    /// nothing then stay in the chain, empty.
    pub fn truncate(&mut self, length: usize) {
        let worker = self.worker;
        let mut left = length;
        let mut rest_total = 0_u32;
        for_each_header(worker, self.header, |position, header| {
            let keep = left.min(usize::from(header.current_length));
            header.current_length = keep as u16;
            left -= keep;
            if position > 0 {
                rest_total += keep as u32;
            }
        });
        if self.is_chained() {
            self.header_mut().rest_length = rest_total;
        }
    }

    /// Appends `bytes` behind the packet's first buffer; `false`, and nothing done, if it is chained or too full.
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let header = self.header_mut();
        let end = (header.current_data as isize + header.current_length as isize) as usize;
        if header.flags & BufferFlags::CHAINED != 0
            || bytes.len() > BUFFER_DATA_BYTES - end.min(BUFFER_DATA_BYTES)
        {
            return false;
        }
        let old = usize::from(header.current_length);
        header.current_length += bytes.len() as u16;
        self.bytes_mut()[old..].copy_from_slice(bytes);
        true
    }

    /// Puts `count` bytes behind the packet's first buffer, of unspecified content; `false`, and nothing done, if it is chained or too full.
    #[inline(always)]
    pub fn extend(&mut self, count: usize) -> bool {
        let header = self.header_mut();
        let end = (header.current_data as isize + header.current_length as isize) as usize;
        if header.flags & BufferFlags::CHAINED != 0 || count > BUFFER_DATA_BYTES - end.min(BUFFER_DATA_BYTES)
        {
            return false;
        }
        header.current_length += count as u16;
        true
    }

    /// The packet's bytes, buffer by buffer.
    pub fn segments(&self) -> Segments<'_> {
        Segments { worker: self.worker, next: Some(self.index), left: MAX_SEGMENTS, life: PhantomData }
    }

    /// Copies the packet's bytes from `offset` on into `into`, across buffers; returns how many there were.
    pub fn copy_out(&self, offset: usize, into: &mut [u8]) -> usize {
        let (mut skip, mut done) = (offset, 0);
        for segment in self.segments() {
            if skip >= segment.len() {
                skip -= segment.len();
                continue;
            }
            let part = &segment[skip..];
            skip = 0;
            let count = part.len().min(into.len() - done);
            into[done..done + count].copy_from_slice(&part[..count]);
            done += count;
            if done == into.len() {
                break;
            }
        }
        done
    }

    /// Changes the packet's bytes in place, buffer by buffer: `change(offset of the piece in the packet, piece)`.
    pub fn for_each_segment_mut(&mut self, mut change: impl FnMut(usize, &mut [u8])) {
        let mut offset = 0;
        for_each_header(self.worker, self.header, |_, header| {
            let length = usize::from(header.current_length);
            let start = (BUFFER_DATA_OFFSET as isize + header.current_data as isize) as usize;
            let base = std::ptr::from_mut(header).cast::<u8>();
            // SAFETY: by the header's invariant the range lies within its buffer, which this packet owns; `base`
            // comes from the arena and the header itself is not touched while the slice lives.
            change(offset, unsafe { std::slice::from_raw_parts_mut(base.add(start), length) });
            offset += length;
        });
    }

    /// Where the packet came in; [`InterfaceIndex::NONE`] if it was made here.
    #[inline(always)]
    pub fn rx_interface(&self) -> InterfaceIndex {
        InterfaceIndex(self.header().rx_interface)
    }

    /// Sets where the packet came in.
    #[inline(always)]
    pub fn set_rx_interface(&mut self, interface: InterfaceIndex) {
        self.header_mut().rx_interface = interface.0;
    }

    /// Where the packet is to leave.
    #[inline(always)]
    pub fn tx_interface(&self) -> InterfaceIndex {
        InterfaceIndex(self.header().tx_interface)
    }

    /// Sets where the packet is to leave.
    #[inline(always)]
    pub fn set_tx_interface(&mut self, interface: InterfaceIndex) {
        self.header_mut().tx_interface = interface.0;
    }

    /// The adjacency that the lookup found.
    #[inline(always)]
    pub fn adjacency(&self) -> u32 {
        self.header().adjacency
    }

    /// Sets the adjacency.
    #[inline(always)]
    pub fn set_adjacency(&mut self, adjacency: u32) {
        self.header_mut().adjacency = adjacency;
    }

    /// The routing table for the next lookup.
    #[inline(always)]
    pub fn fib_index(&self) -> u32 {
        self.header().fib_index
    }

    /// Sets the routing table for the next lookup.
    #[inline(always)]
    pub fn set_fib_index(&mut self, fib: u32) {
        self.header_mut().fib_index = fib;
    }

    /// Flow id, 0 for none.
    #[inline(always)]
    pub fn flow_id(&self) -> u32 {
        self.header().flow_id
    }

    /// Sets the flow id.
    #[inline(always)]
    pub fn set_flow_id(&mut self, flow: u32) {
        self.header_mut().flow_id = flow;
    }

    /// Whether the packet was made here.
    #[inline(always)]
    pub fn is_local(&self) -> bool {
        self.header().flags & BufferFlags::LOCAL != 0
    }

    /// Marks the packet as made here.
    #[inline(always)]
    pub fn set_local(&mut self, local: bool) {
        self.set_flag(BufferFlags::LOCAL, local);
    }

    /// Whether it came to a broadcast or multicast MAC address.
    #[inline(always)]
    pub fn is_l2_multicast(&self) -> bool {
        self.header().flags & BufferFlags::L2_MULTICAST != 0
    }

    /// Notes whether it came to a broadcast or multicast MAC address.
    #[inline(always)]
    pub fn set_l2_multicast(&mut self, multicast: bool) {
        self.set_flag(BufferFlags::L2_MULTICAST, multicast);
    }

    /// Whether the packet was put together here of fragments, which it leaves in again.
    #[inline(always)]
    pub fn is_reassembled(&self) -> bool {
        self.header().flags & BufferFlags::REASSEMBLED != 0
    }

    /// Notes that the packet was put together here of fragments, and leaves in such ones again.
    pub fn set_reassembled(&mut self, reassembled: bool) {
        self.set_flag(BufferFlags::REASSEMBLED, reassembled);
    }

    /// Whether the packet is traced.
    #[inline(always)]
    pub fn is_traced(&self) -> bool {
        self.header().flags & BufferFlags::TRACED != 0
    }

    /// Bytes from the current header back to the network header, as [`Packet::mark_l3`] noted: how far to `prepend`
    /// to see it again. Zero or negative values say that it lies ahead.
    #[inline(always)]
    pub fn l3_distance(&self) -> isize {
        self.header().current_data as isize - self.header().l3_offset as isize
    }

    /// Notes that the network header starts here.
    #[inline(always)]
    pub fn mark_l3(&mut self) {
        let header = self.header_mut();
        header.l3_offset = header.current_data;
    }

    /// Moves the start back to where the network header was noted; `false` if that lies ahead or out of the headroom.
    #[inline]
    pub fn rewind_to_l3(&mut self) -> bool {
        let distance = self.l3_distance();
        distance >= 0 && self.prepend(distance as usize).is_some()
    }

    /// Bytes in front of the current header that still hold what was received (link-layer header, usually).
    #[inline(always)]
    pub fn headroom(&self) -> usize {
        (BUFFER_HEADROOM_BYTES as isize + self.header().current_data as isize) as usize
    }

    /// Whether the packet asks something of the device that sends it: a checksum to fill in, or a GSO packet.
    #[inline(always)]
    pub fn has_offload(&self) -> bool {
        self.header().flags & (BufferFlags::CHECKSUM_PARTIAL | BufferFlags::GSO) != 0
    }

    /// Whether the packet is a GSO packet, which stands for many.
    #[inline(always)]
    pub fn is_gso(&self) -> bool {
        self.header().flags & BufferFlags::GSO != 0
    }

    /// Whether the L4 checksum needs no check: it never left this host, or a device has checked it.
    #[inline(always)]
    pub fn checksum_is_trusted(&self) -> bool {
        self.header().flags & (BufferFlags::CHECKSUM_PARTIAL | BufferFlags::CHECKSUM_VALID) != 0
    }

    /// Notes that the L4 checksum was checked.
    pub fn set_checksum_valid(&mut self, valid: bool) {
        self.set_flag(BufferFlags::CHECKSUM_VALID, valid);
    }

    /// A plugin's own per-packet field.
    #[inline(always)]
    pub fn field<T: FromBytes + IntoBytes + Immutable + Copy>(&self, field: &Field<T>) -> T {
        // SAFETY: the offset was handed out by the host for a `T` within the header, aligned; any bytes are a `T`.
        unsafe { self.header.cast::<u8>().add(field.offset as usize).cast::<T>().read() }
    }

    /// Sets a plugin's own per-packet field.
    #[inline(always)]
    pub fn set_field<T: FromBytes + IntoBytes + Immutable + Copy>(&mut self, field: &Field<T>, value: T) {
        // SAFETY: as `field`.
        unsafe { self.header.cast::<u8>().add(field.offset as usize).cast::<T>().write(value) };
    }

    /// Takes the packet out of the frame, to keep it. What the node's closure returns for it counts for nothing then,
    /// and this view is empty from here on.
    ///
    /// # Panics
    /// The packet was taken before, or the view is of a packet that somebody holds or sends.
    pub fn take(&mut self) -> HeldPacket {
        assert!(!self.taken, "a packet is taken once, and out of a frame");
        let index = self.index;
        self.taken = true;
        // SAFETY: the worker's context is alive; its scratch buffer belongs to no packet, so that this view can go on
        // reading and writing there without touching what was taken. It is made empty.
        unsafe {
            self.header = (*self.worker).scratch.cast();
            self.header.write(BufferHeader::empty());
        }
        // SAFETY: the packet was this view's; the loop sees `taken` and leaves it alone.
        unsafe { HeldPacket::from_index(index, (*self.worker).host) }
    }

    #[inline(always)]
    pub(crate) fn is_taken(&self) -> bool {
        self.taken
    }

    #[inline(always)]
    pub(crate) fn raw(&mut self) -> &mut BufferHeader {
        self.header_mut()
    }

    #[inline(always)]
    fn set_flag(&mut self, flag: u32, on: bool) {
        let header = self.header_mut();
        header.flags = if on { header.flags | flag } else { header.flags & !flag };
    }

    /// Whether another packet shares any of this one's buffers; then it must be copied before it is written.
    pub fn is_shared(&self) -> bool {
        let mut shared = false;
        for_each_header(self.worker, self.header, |_, header| {
            shared |=
                header.flags & BufferFlags::SHARED != 0 && header.references.load(Ordering::Relaxed) > 1;
        });
        shared
    }
}

/// The most buffers that a packet can have: 64 KiB in full buffers and some that are not full.
pub(crate) const MAX_SEGMENTS: usize = 80;

/// The pieces of a packet, one a buffer.
pub struct Segments<'a> {
    worker: *mut WorkerContext,
    next: Option<u32>,
    left: usize,
    life: PhantomData<&'a [u8]>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let index = self.next.take()?;
        self.left = self.left.checked_sub(1)?;
        // SAFETY: the packet's chain belongs to the packet, which is borrowed for `'a`.
        let header = unsafe { buffer(self.worker, index) };
        // SAFETY: as above; headers are only read while the packet is borrowed shared.
        let (data, length, flags, next) = unsafe {
            ((*header).current_data, (*header).current_length, (*header).flags, (*header).next_buffer)
        };
        if flags & BufferFlags::CHAINED != 0 {
            self.next = Some(next);
        }
        let start = (BUFFER_DATA_OFFSET as isize + data as isize) as usize;
        // SAFETY: by the header's invariant the range lies within the buffer.
        Some(unsafe { std::slice::from_raw_parts(header.cast::<u8>().add(start), usize::from(length)) })
    }
}

/// Calls `visit(position, header)` for each buffer of the packet that starts at `first`.
fn for_each_header(
    worker: *mut WorkerContext,
    first: *mut BufferHeader,
    mut visit: impl FnMut(usize, &mut BufferHeader),
) {
    let mut header = first;
    for position in 0..MAX_SEGMENTS {
        // SAFETY: `header` is a buffer of the packet's chain, which the caller holds exclusively.
        visit(position, unsafe { &mut *header });
        // SAFETY: as above.
        let (flags, next) = unsafe { ((*header).flags, (*header).next_buffer) };
        if flags & BufferFlags::CHAINED == 0 {
            break;
        }
        // SAFETY: the chain's next buffer belongs to the same packet.
        header = unsafe { buffer(worker, next) };
    }
}

/// The header of buffer `index`.
///
/// # Safety
/// `worker` is alive and `index` is below its `buffer_count`.
#[inline(always)]
pub(crate) unsafe fn buffer(worker: *const WorkerContext, index: u32) -> *mut BufferHeader {
    // SAFETY: the caller vouches for `worker`.
    let (base, stride) = unsafe { ((*worker).buffers, (*worker).buffer_stride) };
    // SAFETY: `index` is within the arena.
    unsafe { base.add(index as usize * stride as usize).cast() }
}

/// A per-packet field of a plugin, registered by name: see [`crate::Control::packet_field`].
#[derive(Clone, Copy)]
pub struct Field<T> {
    pub(crate) offset: u32,
    pub(crate) content: PhantomData<fn() -> T>,
}
