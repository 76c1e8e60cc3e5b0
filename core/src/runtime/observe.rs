//! What is done to packets while some are traced or captured. Nothing of it runs otherwise: callers look at
//! `TraceStore::is_wanted` first.

use raddle_plugin_api::abi::{
    BUFFER_DATA_OFFSET, BufferFlags, BufferHeader, Frame, FrameFlags, InterfaceFlags, MAX_INTERFACES,
    NO_INTERFACE, WorkerContext,
};

use super::Thread;
use super::capture::{Capture, CapturedPacket, Direction, wall_clock_ns};
use super::dispatch::{header, shared};
use super::pursuit::Goal;
use crate::filter::Link;
use crate::graph::DROP_NODE;

/// Packets have come to a node.
///
/// # Safety
/// As `dispatch::run_pass`; the packets are the frame's.
#[cold]
pub(super) unsafe fn observe_node(thread: *mut Thread, node: u16, frame: *mut Frame) {
    // SAFETY: as the caller vouches.
    unsafe {
        mark_traced(thread, node, frame);
        let store = &shared(thread).trace;
        if node != DROP_NODE && store.is_goal(Goal::Node(node)) {
            each_traced(thread, frame, |handle| (*thread).traces_of(handle).arrive(handle, Goal::Node(node)));
        }
        if node == DROP_NODE {
            observe_drops(thread, frame);
        }
    }
}

/// Packets were received by an input node and go to `target`.
///
/// # Safety
/// As [`observe_node`].
#[cold]
pub(super) unsafe fn observe_received(thread: *mut Thread, node: u16, frame: *mut Frame, target: u16) {
    // SAFETY: as the caller vouches.
    unsafe {
        mark_traced(thread, node, frame);
        let store = &shared(thread).trace;
        if store.has_trials() {
            let context = &raw const (*thread).context;
            let link = link_of(context, (*frame).interface);
            for &packet in (*frame).packets() {
                let header = header(context, packet);
                if (*header).flags & BufferFlags::TRACED == 0
                    && let Some(handle) =
                        store.start_trial(link, first_bytes(header), length(header), (*thread).context.now_ns)
                {
                    mark(frame, header, handle);
                }
            }
        }
        each_traced(thread, frame, |handle| {
            store.note(handle, node, |entry| entry.next = Some(target));
            store.arrive(handle, Goal::Node(node));
        });
        capture_frame(thread, Direction::Rx, frame);
    }
}

/// Packets are about to be handed to their devices.
///
/// # Safety
/// As [`observe_node`].
#[cold]
pub(super) unsafe fn observe_sent(thread: *mut Thread, frame: *mut Frame) {
    // SAFETY: as the caller vouches.
    unsafe {
        capture_frame(thread, Direction::Tx, frame);
    }
}

/// Packets have come to `drop`. Those that were followed have arrived when they were sent there.
unsafe fn observe_drops(thread: *mut Thread, frame: *mut Frame) {
    // SAFETY: as in `observe_node`.
    unsafe {
        let (store, now) = (&shared(thread).trace, (*thread).context.now_ns);
        if store.is_goal(Goal::Drop) {
            for &packet in (*frame).packets() {
                let header = header(&raw const (*thread).context, packet);
                if (*header).flags & BufferFlags::TRACED != 0 {
                    continue;
                }
                let Some(handle) = store.start_stray(now) else { break };
                mark(frame, header, handle);
                store.note(handle, DROP_NODE, |entry| entry.error = Some((*header).error));
            }
        }
        capture_frame(thread, Direction::Drop, frame);
    }
}

/// Starts traces of packets that come to a node of which traces are wanted.
unsafe fn mark_traced(thread: *mut Thread, node: u16, frame: *mut Frame) {
    // SAFETY: as in `observe_node`.
    unsafe {
        for &packet in (*frame).packets() {
            let header = header(&raw const (*thread).context, packet);
            if (*header).flags & BufferFlags::TRACED != 0 {
                continue;
            }
            let now = (*thread).context.now_ns;
            let Some(handle) = shared(thread).trace.start(usize::from(node), now) else { break };
            mark(frame, header, handle);
        }
    }
}

unsafe fn mark(frame: *mut Frame, header: *mut BufferHeader, handle: u32) {
    // SAFETY: as in `observe_node`.
    unsafe {
        (*header).flags |= BufferFlags::TRACED;
        (*header).trace = handle;
        (*frame).flags |= FrameFlags::TRACED;
    }
}

/// Calls `call` with the handle of each packet that is traced.
unsafe fn each_traced(thread: *mut Thread, frame: *mut Frame, mut call: impl FnMut(u32)) {
    // SAFETY: as in `observe_node`.
    unsafe {
        for &packet in (*frame).packets() {
            let header = header(&raw const (*thread).context, packet);
            if (*header).flags & BufferFlags::TRACED != 0 {
                call((*header).trace);
            }
        }
    }
}

/// Has a frame's packets captured by all captures that want them.
unsafe fn capture_frame(thread: *mut Thread, direction: Direction, frame: *mut Frame) {
    // SAFETY: as in `observe_node`.
    unsafe {
        let Some(captures) = shared(thread).trace.captures() else { return };
        for capture in captures.iter().filter(|capture| capture.wants(direction)) {
            capture_into(thread, capture, direction, frame);
        }
    }
}

unsafe fn capture_into(thread: *mut Thread, capture: &Capture, direction: Direction, frame: *mut Frame) {
    let time_ns = wall_clock_ns();
    // SAFETY: as in `observe_node`.
    unsafe {
        let context = &raw const (*thread).context;
        for &packet in (*frame).packets() {
            let header = header(context, packet);
            let interface = match direction {
                Direction::Tx => (*header).tx_interface,
                Direction::Rx | Direction::Drop => (*header).rx_interface,
            };
            let (link, bytes) = match direction {
                Direction::Drop => dropped_view(header),
                Direction::Rx | Direction::Tx => (link_of(context, interface), first_bytes(header)),
            };
            let length = length(header) - u32::from((*header).current_length) + bytes.len() as u32;
            if !capture.matches(interface, link, bytes, length) {
                continue;
            }
            let is_traced = (*header).flags & BufferFlags::TRACED != 0;
            let handle = (*header).trace;
            capture.push(CapturedPacket {
                time_ns,
                direction,
                interface,
                link,
                length,
                bytes: copy(context, header, bytes, capture.options().snap_bytes),
                error: (direction == Direction::Drop).then_some((*header).error),
                path: if is_traced { (*thread).traces_of(handle).path(handle) } else { Vec::new() },
            });
        }
    }
}

/// What frames of an interface begin with.
unsafe fn link_of(context: *const WorkerContext, interface: u32) -> Link {
    if interface as usize >= MAX_INTERFACES || interface == NO_INTERFACE {
        return Link::Ethernet;
    }
    // SAFETY: the table has so many rows.
    let row = unsafe { &*(*context).interfaces.add(interface as usize) };
    let flags = row.flags.load(std::sync::atomic::Ordering::Relaxed);
    if flags & InterfaceFlags::NO_ETHERNET != 0 { Link::Ip } else { Link::Ethernet }
}

/// Bytes of the packet.
unsafe fn length(header: *const BufferHeader) -> u32 {
    // SAFETY: as in `observe_node`.
    unsafe {
        let rest = if (*header).flags & BufferFlags::CHAINED != 0 { (*header).rest_length } else { 0 };
        u32::from((*header).current_length).saturating_add(rest)
    }
}

/// The bytes of the packet in its first buffer.
unsafe fn first_bytes<'a>(header: *const BufferHeader) -> &'a [u8] {
    // SAFETY: as in `observe_node`.
    unsafe { bytes_from(header, (*header).current_data) }
}

/// The bytes in the first buffer from `offset` on, which is not behind their end.
unsafe fn bytes_from<'a>(header: *const BufferHeader, offset: i16) -> &'a [u8] {
    // SAFETY: offset and length lie within the buffer, which follows its header; the packet is this thread's.
    unsafe {
        let end = isize::from((*header).current_data) + (*header).current_length as isize;
        let start = header.cast::<u8>().offset(BUFFER_DATA_OFFSET as isize + isize::from(offset));
        std::slice::from_raw_parts(start, (end - isize::from(offset)).max(0) as usize)
    }
}

/// A packet that is dropped, from its network header on if it is beyond that, and what it begins with: nodes drop packets
/// wherever they stand.
unsafe fn dropped_view<'a>(header: *const BufferHeader) -> (Link, &'a [u8]) {
    // SAFETY: as in `observe_node`; `l3_offset` is only taken where it lies within the buffer, before its data.
    unsafe {
        let (current, l3) = ((*header).current_data, (*header).l3_offset);
        let headroom = -(raddle_plugin_api::abi::BUFFER_HEADROOM_BYTES as i16);
        if l3 <= current && l3 >= headroom {
            let bytes = bytes_from(header, l3);
            if is_ip(bytes, length(header)) {
                return (Link::Ip, bytes);
            }
        }
        (Link::Ethernet, first_bytes(header))
    }
}

/// Whether bytes begin with an IP header whose length fits (RFC 791 §3.1, RFC 8200 §3).
fn is_ip(bytes: &[u8], length: u32) -> bool {
    let half =
        |at: usize| bytes.get(at..at + 2).map(|half| u32::from(u16::from_be_bytes([half[0], half[1]])));
    match bytes.first().map(|first| first >> 4) {
        Some(4) => bytes[0] & 0xf >= 5 && half(2).is_some_and(|total| (20..=length + 64).contains(&total)),
        Some(6) => bytes.len() >= 40 && half(4).is_some_and(|payload| payload + 40 <= length + 64),
        _ => false,
    }
}

/// The first bytes of a packet, of all its buffers.
unsafe fn copy(
    context: *const WorkerContext,
    first: *const BufferHeader,
    bytes: &[u8],
    most: usize,
) -> Vec<u8> {
    let mut copied = bytes[..bytes.len().min(most)].to_vec();
    let mut current = first;
    // SAFETY: as in `observe_node`: the buffers of a chain are the packet's own, and a chain ends.
    unsafe {
        while (*current).flags & BufferFlags::CHAINED != 0 && copied.len() < most {
            current = header(context, (*current).next_buffer);
            let part = first_bytes(current);
            copied.extend_from_slice(&part[..part.len().min(most - copied.len())]);
        }
    }
    copied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_of_ip_is_known_by_version_and_length() {
        let mut four = [0_u8; 20];
        (four[0], four[3]) = (0x45, 20);
        assert!(is_ip(&four, 20));
        four[0] = 0x44;
        assert!(!is_ip(&four, 20), "a header that is too short");
        let mut six = [0_u8; 40];
        six[0] = 0x60;
        assert!(is_ip(&six, 40) && !is_ip(&six[..39], 39));
        six[4] = 9;
        assert!(!is_ip(&six, 40), "more payload than there is");
        assert!(!is_ip(&[], 0) && !is_ip(&[2, 0, 0, 0, 0, 1], 6));
    }
}
