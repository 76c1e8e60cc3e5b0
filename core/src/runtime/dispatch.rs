//! One pass over the graph: input nodes, then frames until none is left.

use std::sync::atomic::Ordering;

use raddle_plugin_api::abi::{BufferHeader, FRAME_SIZE, Frame, FrameFlags, NodeKind, WorkerContext};

use super::handoff::take_in;
use super::observe::observe_node;
use super::{Clock, NodeFault, Shared, Thread};
use crate::graph::{DROP_NODE, FAULT_ERROR};

/// Runs one pass; returns the packets that came in, from queues and from other threads.
///
/// # Safety
/// `thread` is alive, the calling thread's own, and borrowed by nobody: nodes reach it through their contexts while
/// this runs, so it is used by short borrows of single fields only.
pub unsafe fn run_pass(thread: *mut Thread) -> u64 {
    // SAFETY: as the caller vouches; between two calls of nodes nobody else has a borrow.
    unsafe {
        let mut received = take_in(thread);
        let input_count = (*thread).inputs.len();
        let mut clock = Clock::ticks();
        for position in 0..input_count {
            let node = (&(*thread).inputs)[position];
            let slot = &raw mut (&mut (*thread).slots)[usize::from(node)];
            shared(thread).current.store(u32::from(node), Ordering::Relaxed);
            let count = ((*slot).run)(&raw mut (*slot).context, std::ptr::null_mut());
            let now = Clock::ticks();
            if count == u32::MAX {
                fault(thread, node, NodeFault::Panicked);
            } else if count > 0 {
                shared(thread).stats.note(usize::from(node), u64::from(count), now.wrapping_sub(clock));
                received += u64::from(count);
            }
            clock = now;
        }
        while let Some((node, frame)) = (*thread).pending.pop_front() {
            clock = run_node(thread, node, frame, clock);
        }
        (*thread).handoffs.publish();
        shared(thread).current.store(u32::MAX, Ordering::Relaxed);
        received
    }
}

/// Runs a node on a frame; returns the clock at its end.
///
/// Never inlined: `cargo xtask instructions` counts what happens within this function, and a call a frame costs nothing.
#[inline(never)]
unsafe fn run_node(thread: *mut Thread, node: u16, frame: *mut Frame, start: u64) -> u64 {
    // SAFETY: as in `run_pass`; the frame was pending and so is this call's.
    unsafe {
        let open = &mut (&mut (*thread).open)[usize::from(node)];
        if *open == frame {
            *open = std::ptr::null_mut();
        }
        if shared(thread).trace.is_wanted() {
            observe_node(thread, node, frame);
        }
        let slot = &raw mut (&mut (*thread).slots)[usize::from(node)];
        (*thread).current = frame;
        shared(thread).current.store(u32::from(node), Ordering::Relaxed);
        let count = ((*slot).run)(&raw mut (*slot).context, frame);
        let end = Clock::ticks();
        if count == u32::MAX {
            // The node failed: what is left in the frame is dropped, and the main thread told.
            for &packet in (*frame).packets() {
                (*header(&raw const (*thread).context, packet)).error = FAULT_ERROR;
                shared(thread).errors.count(FAULT_ERROR);
            }
            (*thread).cache.free((*frame).packets());
            fault(thread, node, NodeFault::Panicked);
        } else {
            shared(thread).stats.note(usize::from(node), u64::from(count), end.wrapping_sub(start));
        }
        // Wherever the frame is by now, it is one of this thread's.
        if cfg!(debug_assertions) && (*frame).is_overrun() {
            (*frame).mend();
            fault(thread, node, NodeFault::WrotePastItsFrame);
        }
        if !(*thread).current.is_null() {
            give_frame(thread, frame);
            (*thread).current = std::ptr::null_mut();
        }
        end
    }
}

#[cold]
unsafe fn fault(thread: *mut Thread, node: u16, how: NodeFault) {
    // SAFETY: as in `run_pass`.
    let shared = unsafe { shared(thread) };
    (shared.on_fault)(node, how);
}

/// The header of a buffer.
#[inline(always)]
pub(super) unsafe fn header(context: *const WorkerContext, index: u32) -> *mut BufferHeader {
    // SAFETY: the context is alive and the index one of the pool's, as the caller vouches.
    unsafe { (*context).buffers.add(index as usize * (*context).buffer_stride as usize).cast() }
}

/// What other threads may read of the thread.
#[inline(always)]
pub(super) unsafe fn shared<'a>(thread: *mut Thread) -> &'a Shared {
    // SAFETY: the thread is alive, as the caller vouches; this part of it is only ever shared.
    let shared: &'a std::sync::Arc<Shared> = unsafe { &(*thread).shared };
    shared
}

/// An empty frame.
#[inline]
pub(super) unsafe fn take_frame(thread: *mut Thread) -> *mut Frame {
    // SAFETY: as in `run_pass`.
    unsafe {
        let frame = (*thread).free_frames.pop().unwrap_or_else(|| Box::into_raw(Box::new(Frame::empty())));
        (*frame).count = 0;
        (*frame).flags = 0;
        frame
    }
}

/// Takes back a frame that is done with.
#[inline]
pub(super) unsafe fn give_frame(thread: *mut Thread, frame: *mut Frame) {
    // SAFETY: as in `run_pass`; the frame is nowhere else.
    unsafe { (*thread).free_frames.push(frame) };
}

/// Hands a whole frame to a node.
#[inline]
pub(super) unsafe fn push_frame(thread: *mut Thread, target: u16, frame: *mut Frame) {
    // SAFETY: as in `run_pass`; the frame is handed over.
    unsafe {
        let target = known(thread, target);
        (*thread).pending.push_back((target, frame));
        if (*frame).count < FRAME_SIZE as u32 {
            (&mut (*thread).open)[usize::from(target)] = frame;
        }
    }
}

/// Appends packets to the frame that a node has open, or to new ones.
#[inline]
pub(super) unsafe fn append(thread: *mut Thread, target: u16, packets: &[u32], flags: u32, interface: u32) {
    // SAFETY: as in `run_pass`; the packets are handed over.
    unsafe {
        let target = known(thread, target);
        let mut left = packets;
        while !left.is_empty() {
            let mut frame = (&(*thread).open)[usize::from(target)];
            if frame.is_null() {
                frame = take_frame(thread);
                (*frame).flags = flags;
                (*frame).interface = interface;
                (*thread).pending.push_back((target, frame));
                (&mut (*thread).open)[usize::from(target)] = frame;
            } else {
                let same = (*frame).flags & flags & FrameFlags::ONE_INTERFACE != 0
                    && (*frame).interface == interface;
                let traced = ((*frame).flags | flags) & FrameFlags::TRACED;
                (*frame).flags = traced | if same { FrameFlags::ONE_INTERFACE } else { 0 };
            }
            let count = (*frame).count as usize;
            let part = left.len().min(FRAME_SIZE - count);
            (&mut (*frame).indices)[count..count + part].copy_from_slice(&left[..part]);
            (*frame).count += part as u32;
            if (*frame).count == FRAME_SIZE as u32 {
                (&mut (*thread).open)[usize::from(target)] = std::ptr::null_mut();
            }
            left = &left[part..];
        }
    }
}

/// `target` if the thread has such a node that takes frames, else `drop`: indices come from plugins too.
#[inline(always)]
unsafe fn known(thread: *mut Thread, target: u16) -> u16 {
    // SAFETY: as in `run_pass`.
    let slots = unsafe { &(*thread).slots };
    let slot = slots.get(usize::from(target));
    if slot.is_some_and(|slot| slot.kind == NodeKind::INTERNAL) { target } else { DROP_NODE }
}
