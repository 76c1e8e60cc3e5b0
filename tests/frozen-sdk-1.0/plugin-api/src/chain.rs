//! Packets of several buffers: making them.

use std::io::IoSliceMut;

use crate::abi::{BUFFER_DATA_BYTES, BUFFER_DATA_OFFSET, BufferFlags};
use crate::packet::{MAX_SEGMENTS, buffer};
use crate::{HeldPacket, Packet, Worker};

/// Appends up to `limit` bytes of `segments` to `packet`, whose chain grows by buffers as needed. `false` if the pool
/// ran dry or the packet would get too many buffers; the packet is whole up to there and may be dropped.
pub(crate) fn append_segments<'s>(
    worker: &Worker<'_>,
    packet: &mut Packet<'_>,
    segments: impl Iterator<Item = &'s [u8]>,
    limit: usize,
) -> bool {
    let mut left = limit;
    for segment in segments {
        let part = &segment[..segment.len().min(left)];
        left -= part.len();
        if !append_bytes(worker, packet, part) {
            return false;
        }
        if left == 0 {
            break;
        }
    }
    true
}

/// Appends `bytes` to `packet`, whose chain grows by buffers as needed. `false` as in [`append_segments`].
pub(crate) fn append_bytes(worker: &Worker<'_>, packet: &mut Packet<'_>, bytes: &[u8]) -> bool {
    let context = worker.context();
    let mut left = bytes;
    let mut count = 1;
    let mut last = packet.buffer_index();
    // SAFETY: the chain belongs to `packet`, which is borrowed mutably; each header is reached by one reference at a
    // time, and indices in the chain are the host's.
    unsafe {
        while (*buffer(context, last)).flags & BufferFlags::CHAINED != 0 {
            last = (*buffer(context, last)).next_buffer;
            count += 1;
        }
    }
    let first = packet.buffer_index();
    loop {
        // SAFETY: as above.
        let header = unsafe { &mut *buffer(context, last) };
        let end = header.current_data as isize + header.current_length as isize;
        let room = usize::try_from(BUFFER_DATA_BYTES as isize - end).unwrap_or(0).min(left.len());
        let (part, rest) = left.split_at(room);
        let target = BUFFER_DATA_OFFSET.wrapping_add_signed(end);
        // SAFETY: `room` bytes lie between the end of what the buffer holds and the end of its data area.
        unsafe {
            std::ptr::copy_nonoverlapping(
                part.as_ptr(),
                buffer(context, last).cast::<u8>().add(target),
                part.len(),
            );
        }
        header.current_length += part.len() as u16;
        if last != first {
            // SAFETY: `first` is another buffer than `last`.
            unsafe { (*buffer(context, first)).rest_length += part.len() as u32 };
        }
        left = rest;
        if left.is_empty() {
            return true;
        }
        if count >= MAX_SEGMENTS {
            return false;
        }
        let Some(more) = worker.allocate() else { return false };
        let more = more.into_index();
        header.next_buffer = more;
        header.flags |= BufferFlags::CHAINED;
        if last == first {
            header.rest_length = 0;
        }
        last = more;
        count += 1;
    }
}

/// Calls `read` with the room of `chain`'s buffers as pieces, from the last one to the first: the whole data area of
/// each, and before the first piece `front` bytes of its buffer's headroom. At most [`MAX_SEGMENTS`] buffers.
pub(crate) fn read_into<E>(
    worker: &Worker<'_>,
    chain: &mut [HeldPacket],
    front: usize,
    read: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<Option<usize>, E>,
) -> Result<Option<usize>, E> {
    let count = chain.len();
    let mut pieces: [IoSliceMut<'_>; MAX_SEGMENTS] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
    for (position, held) in chain.iter_mut().rev().enumerate() {
        let before = if position == 0 { front } else { 0 };
        // SAFETY: the buffer is owned by `held`, which is borrowed mutably for as long as the pieces live; `before` is
        // at most the headroom, so the range lies within the buffer, behind its header. Arena memory is initialised.
        let piece = unsafe {
            let data =
                buffer(worker.context(), held.buffer_index()).cast::<u8>().add(BUFFER_DATA_OFFSET - before);
            std::slice::from_raw_parts_mut(data, BUFFER_DATA_BYTES + before)
        };
        pieces[position] = IoSliceMut::new(piece);
    }
    read(&mut pieces[..count])
}

/// Makes a packet of the first `length` bytes that [`read_into`] filled into the last `count` buffers of `buffers`;
/// takes those that it needs off the end. `None`, and nothing taken, if the bytes do not fit.
pub(crate) fn join(
    worker: &Worker<'_>,
    buffers: &mut Vec<HeldPacket>,
    count: usize,
    front: usize,
    length: usize,
) -> Option<HeldPacket> {
    if length > front + count * BUFFER_DATA_BYTES {
        return None;
    }
    let first = buffers.pop()?;
    let in_first = length.min(front + BUFFER_DATA_BYTES);
    let mut left = length - in_first;
    // SAFETY: the buffer is owned by `first`; no view of it exists.
    let header = unsafe { &mut *buffer(worker.context(), first.buffer_index()) };
    header.current_data = -(front as i16);
    header.current_length = in_first as u16;
    header.rest_length = left as u32;
    let mut last = first.buffer_index();
    while left > 0 {
        // The room was checked: there are buffers for all bytes.
        let Some(next) = buffers.pop() else { break };
        let part = left.min(BUFFER_DATA_BYTES);
        left -= part;
        let next = next.into_index();
        // SAFETY: both buffers belong to the packet that is being made; one reference at a time.
        unsafe {
            (*buffer(worker.context(), last)).next_buffer = next;
            (*buffer(worker.context(), last)).flags |= BufferFlags::CHAINED;
            (*buffer(worker.context(), next)).current_length = part as u16;
        }
        last = next;
    }
    Some(first)
}
