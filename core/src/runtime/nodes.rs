//! Nodes that are the host's own: drop, driver input, driver transmit.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use raddle_plugin_api::abi::{
    BufferFlags, FRAME_SIZE, Frame, FrameFlags, NO_BUFFER, NodeContext, NodeKind, NodeRegistration, Sink,
    Slice, Status, Text, TxFlags,
};

use super::Thread;
use super::dispatch::{give_frame, header, push_frame, shared, take_frame};
use super::host_calls::NO_STATE;
use super::observe::{observe_received, observe_sent};
use super::queues::InterfaceCounter::{RxBytes, RxLost, RxPackets, TxBytes, TxLost, TxPackets};
use crate::graph::GONE_ERROR;

const TEXTS: [Text; 1] = [Text::new("drop")];

unsafe extern "C" fn create(_: *mut c_void, _: u32, _: Sink) -> *mut c_void {
    NO_STATE
}

unsafe extern "C" fn drop_nothing(_: *mut c_void) {}

pub(super) const fn registration(
    name: Text,
    kind: NodeKind,
    run: unsafe extern "C" fn(*mut NodeContext, *mut Frame) -> u32,
) -> NodeRegistration {
    NodeRegistration {
        size: size_of::<NodeRegistration>() as u32,
        kind,
        name,
        nexts: Slice::EMPTY,
        errors: Slice::EMPTY,
        error_texts: Slice::EMPTY,
        create,
        drop: drop_nothing,
        run,
    }
}

/// `drop`: counts each packet by its reason and gives it back.
pub const fn drop_node() -> NodeRegistration {
    registration(TEXTS[0], NodeKind::INTERNAL, run_drop)
}

/// What stands in the place of a node that is gone: drops what still comes.
pub const fn gone_node() -> NodeRegistration {
    registration(Text::EMPTY, NodeKind::INTERNAL, run_gone)
}

/// The input node of a driver: receives from the queues that the thread has of it.
pub const fn driver_input_registration() -> NodeRegistration {
    registration(Text::EMPTY, NodeKind::INPUT, run_input)
}

/// The transmit node of a driver: hands packets to the queues that the thread has of their interfaces.
pub const fn driver_tx_registration() -> NodeRegistration {
    registration(Text::EMPTY, NodeKind::INTERNAL, run_tx)
}

pub(super) unsafe fn thread_of(node: *mut NodeContext) -> *mut Thread {
    // SAFETY: the host's nodes run on the host's threads.
    unsafe { (*(*node).worker).host_state.cast() }
}

unsafe extern "C" fn run_drop(node: *mut NodeContext, frame: *mut Frame) -> u32 {
    // SAFETY: called by `dispatch` on the thread itself with a frame whose packets are this call's.
    unsafe {
        let thread = thread_of(node);
        for &packet in (*frame).packets() {
            shared(thread).errors.count((*header(&raw const (*thread).context, packet)).error);
        }
        (*thread).cache.free((*frame).packets());
        (*frame).count
    }
}

unsafe extern "C" fn run_gone(node: *mut NodeContext, frame: *mut Frame) -> u32 {
    // SAFETY: as in `run_drop`.
    unsafe {
        let thread = thread_of(node);
        for &packet in (*frame).packets() {
            (*header(&raw const (*thread).context, packet)).error = GONE_ERROR;
        }
        run_drop(node, frame)
    }
}

unsafe extern "C" fn run_input(node: *mut NodeContext, _: *mut Frame) -> u32 {
    let mut received = 0;
    // SAFETY: called by `dispatch` on the thread itself.
    unsafe {
        let thread = thread_of(node);
        let (own, worker) = ((*node).node as u16, (*node).worker);
        let now_ns = (*thread).context.now_ns;
        let limit = shared(thread).vector_size.load(Ordering::Relaxed).min(FRAME_SIZE as u32);
        for position in 0..(*thread).rx.len() {
            let slot = &raw const (&(*thread).rx)[position];
            if (*slot).node != own || !(*slot).is_due(now_ns) {
                continue;
            }
            let frame = take_frame(thread);
            let (mut bytes, mut lost) = (0, 0);
            let (queue, table) = (*slot).queue.raw();
            let status = (table.receive)(queue, worker, frame, limit, &raw mut bytes, &raw mut lost);
            let (interface, target, count) = ((*slot).interface, (*slot).target, (*frame).count.min(limit));
            (*frame).count = count;
            if status == Status::PANICKED {
                (&mut (*thread).rx)[position].enabled = false;
                (*thread).cache.free((*frame).packets());
                give_frame(thread, frame);
                return u32::MAX;
            }
            (&mut (*thread).rx)[position].attention.note(now_ns, u64::from(count));
            let counters = &shared(thread).interfaces;
            if lost > 0 {
                counters.add(interface, RxLost, lost);
            }
            if count == 0 {
                give_frame(thread, frame);
                continue;
            }
            counters.add(interface, RxPackets, u64::from(count));
            counters.add(interface, RxBytes, bytes);
            for &packet in (*frame).packets() {
                (*header(&raw const (*thread).context, packet)).rx_interface = interface;
            }
            (*frame).flags = FrameFlags::ONE_INTERFACE;
            (*frame).interface = interface;
            if shared(thread).trace.is_wanted() {
                observe_received(thread, own, frame, target);
            }
            received += count;
            push_frame(thread, target, frame);
        }
    }
    received
}

unsafe extern "C" fn run_tx(node: *mut NodeContext, frame: *mut Frame) -> u32 {
    // SAFETY: called by `dispatch` on the thread itself with a frame whose packets are this call's.
    unsafe {
        let thread = thread_of(node);
        let context = &raw const (*thread).context;
        if shared(thread).trace.is_wanted() {
            observe_sent(thread, frame);
        }
        let count = (*frame).packets().len();
        let (mut start, mut may_be_kept) = (0, false);
        while start < count {
            let packets = (*frame).packets();
            let interface = (*header(context, packets[start])).tx_interface;
            let (mut end, mut bytes) = (start, 0_u64);
            while end < packets.len() {
                let head = header(context, packets[end]);
                if (*head).tx_interface != interface {
                    break;
                }
                let rest = if (*head).flags & BufferFlags::CHAINED != 0 { (*head).rest_length } else { 0 };
                bytes += u64::from((*head).current_length) + u64::from(rest);
                end += 1;
            }
            let length = (end - start) as u32;
            let slot = (&raw const (*thread).tx).as_ref().and_then(|tx| tx.get(interface as usize)?.as_ref());
            let sent = slot.map_or(0, |slot| {
                let (queue, table) = slot.queue.raw();
                may_be_kept |= table.flags & TxFlags::KEEPS != 0;
                // Derived from a mutable one: a queue that keeps packets writes there.
                let run = (&mut (*frame).indices)[start..end].as_mut_ptr();
                (table.transmit)(queue, (*node).worker, run.cast_const(), length).min(length)
            });
            let counters = &shared(thread).interfaces;
            if sent < length {
                counters.add(interface, TxLost, u64::from(length - sent));
                for &packet in &(*frame).packets()[start + sent as usize..end] {
                    if packet == NO_BUFFER {
                        continue;
                    }
                    let head = header(context, packet);
                    let rest =
                        if (*head).flags & BufferFlags::CHAINED != 0 { (*head).rest_length } else { 0 };
                    bytes -= u64::from((*head).current_length) + u64::from(rest);
                }
            }
            counters.add(interface, TxPackets, u64::from(sent));
            counters.add(interface, TxBytes, bytes);
            start = end;
        }
        if may_be_kept {
            free_unkept(thread, frame);
        } else {
            (*thread).cache.free((*frame).packets());
        }
        count as u32
    }
}

/// Gives back what no queue has kept. The frame is left with indices that name buffers of the pool, which may be read ahead.
///
/// # Safety
/// On the thread itself, with a frame whose packets are the caller's or marked as kept.
unsafe fn free_unkept(thread: *mut Thread, frame: *mut Frame) {
    // SAFETY: as the caller vouches.
    unsafe {
        let count = (*frame).packets().len();
        let indices = &mut (&mut (*frame).indices)[..count];
        let mut left = 0;
        for position in 0..count {
            let index = indices[position];
            if index != NO_BUFFER {
                indices[left] = index;
                left += 1;
            }
        }
        (*thread).cache.free(&indices[..left]);
        indices[left..].fill(0);
    }
}
