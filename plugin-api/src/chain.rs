//! Packets of several buffers: making them.

use crate::abi::{BUFFER_DATA_BYTES, BufferFlags};
use crate::packet::{MAX_SEGMENTS, buffer};
use crate::{Packet, Worker};

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
        let target = crate::abi::BUFFER_DATA_OFFSET.wrapping_add_signed(end);
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
