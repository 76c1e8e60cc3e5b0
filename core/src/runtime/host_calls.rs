//! The host's functions that nodes call on the packets' way.

use std::ffi::c_void;

use raddle_plugin_api::abi::{BufferFlags, Counted, Frame, FrameFlags, NodeContext, Text, WorkerContext};

use super::InterfaceCounter;
use super::Thread;
use super::dispatch::{append, header, push_frame, shared};
use super::pursuit::Goal;
use crate::graph::DROP_NODE;
use crate::memory::BufferPool;

/// A plugin's way to say "no target".
const NO_TARGET: u16 = u16::MAX;

unsafe fn thread_of(worker: *mut WorkerContext) -> *mut Thread {
    // SAFETY: contexts are made by `Thread::new`, which puts the thread itself there.
    unsafe { (*worker).host_state.cast() }
}

/// `HostTable::enqueue`.
///
/// # Safety
/// As the ABI says: called by a node on its own thread, with packets that are its own.
pub unsafe extern "C" fn enqueue(
    node: *mut NodeContext,
    indices: *const u32,
    targets: *const u16,
    count: u32,
) {
    if count == 0 {
        return;
    }
    // SAFETY: as the caller vouches.
    unsafe {
        let thread = thread_of((*node).worker);
        let indices = std::slice::from_raw_parts(indices, count as usize);
        let targets = std::slice::from_raw_parts(targets, count as usize);
        let current = (*thread).current;
        let (mut flags, interface) = if current.is_null() {
            (FrameFlags::TRACED, 0)
        } else {
            ((*current).flags, (*current).interface)
        };
        if let [single] = indices {
            // It may be none of the node's frame: one that was kept, or made, for which the frame does not speak.
            let packet = header(&raw const (*thread).context, *single);
            if (*packet).rx_interface != interface {
                flags &= !FrameFlags::ONE_INTERFACE;
            }
            if (*packet).flags & BufferFlags::TRACED != 0 {
                flags |= FrameFlags::TRACED;
            }
        }
        let mut start = 0;
        while start < indices.len() {
            let target = targets[start];
            let run = targets[start..].iter().take_while(|&&other| other == target).count();
            append(thread, target, &indices[start..start + run], flags, interface);
            start += run;
        }
    }
}

/// `HostTable::enqueue_frame`.
///
/// # Safety
/// As the ABI says: called by a node on its own thread, with the frame that it was handed.
pub unsafe extern "C" fn enqueue_frame(node: *mut NodeContext, frame: *mut Frame, target: u16) {
    // SAFETY: as the caller vouches.
    unsafe {
        let thread = thread_of((*node).worker);
        let slot = usize::from(target);
        let open = &(*thread).open;
        let open = open.get(slot).copied().unwrap_or(std::ptr::null_mut());
        if (*thread).current != frame || !open.is_null() {
            // The node's frame fills up one that waits already; or the frame is not the one that was handed out.
            append(thread, target, (*frame).packets(), (*frame).flags, (*frame).interface);
            return;
        }
        (*thread).current = std::ptr::null_mut();
        push_frame(thread, target, frame);
    }
}

/// `HostTable::handoff`.
///
/// # Safety
/// As the ABI says: called by a node on its own thread, with a packet that is its own.
pub unsafe extern "C" fn handoff(node: *mut NodeContext, buffer: u32, thread: u32, target: u16) -> u32 {
    // SAFETY: as the caller vouches.
    unsafe {
        let own = thread_of((*node).worker);
        if thread == (*own).index() {
            append(own, target, &[buffer], FrameFlags::TRACED, 0);
            return 1;
        }
        u32::from((*own).handoffs.give(thread, target, buffer))
    }
}

/// `HostTable::wake_thread_at`.
///
/// # Safety
/// As the ABI says: on the worker's own thread.
pub unsafe extern "C" fn wake_thread_at(worker: *mut WorkerContext, at_ns: u64) {
    // SAFETY: as the caller vouches.
    unsafe {
        let thread = thread_of(worker);
        (*thread).wake_ns = (*thread).wake_ns.min(at_ns);
    }
}

/// `HostTable::buffers_allocate`.
///
/// # Safety
/// As the ABI says: on the worker's own thread, with room for `count` indices.
pub unsafe extern "C" fn buffers_allocate(worker: *mut WorkerContext, indices: *mut u32, count: u32) -> u32 {
    // SAFETY: as the caller vouches.
    unsafe {
        let thread = thread_of(worker);
        (*thread).cache.allocate(std::slice::from_raw_parts_mut(indices, count as usize)) as u32
    }
}

/// `HostTable::buffers_free`.
///
/// # Safety
/// As the ABI says: on the worker's own thread, with packets that are the caller's.
pub unsafe extern "C" fn buffers_free(worker: *mut WorkerContext, indices: *const u32, count: u32) {
    if count > 0 {
        // SAFETY: as the caller vouches.
        unsafe { (*thread_of(worker)).cache.free(std::slice::from_raw_parts(indices, count as usize)) };
    }
}

/// `HostTable::buffers_free_remote`, for a table whose `data` is a [`BufferPool`].
///
/// # Safety
/// The packets are the caller's.
pub unsafe fn buffers_free_remote(pool: &BufferPool, indices: *const u32, count: u32) {
    if count > 0 {
        // SAFETY: as the caller vouches.
        unsafe { pool.give_back(std::slice::from_raw_parts(indices, count as usize)) };
    }
}

/// `HostTable::count`.
///
/// # Safety
/// As the ABI says: on the worker's own thread.
pub unsafe extern "C" fn count_interface(
    worker: *mut WorkerContext,
    interface: u32,
    what: Counted,
    packets: u64,
    bytes: u64,
) {
    // SAFETY: as the caller vouches.
    let counters = unsafe { &shared(thread_of(worker)).interfaces };
    match what {
        Counted::RECEIVED => {
            counters.add(interface, InterfaceCounter::RxPackets, packets);
            counters.add(interface, InterfaceCounter::RxBytes, bytes);
        }
        Counted::SENT => {
            counters.add(interface, InterfaceCounter::TxPackets, packets);
            counters.add(interface, InterfaceCounter::TxBytes, bytes);
        }
        Counted::NOT_SENT => counters.add(interface, InterfaceCounter::TxLost, packets),
        _ => {}
    }
}

/// `HostTable::trace`.
///
/// # Safety
/// As the ABI says: called by a node on its own thread, with a packet that is its own.
pub unsafe extern "C" fn trace(node: *mut NodeContext, buffer: u32, target: u16, json: Text, text: Text) {
    // SAFETY: as the caller vouches; the texts live until the call returns.
    let (thread, handle, json, text) = unsafe {
        let thread = thread_of((*node).worker);
        let handle = (*header(&raw const (*thread).context, buffer)).trace;
        (thread, handle, json.as_str().unwrap_or(""), text.as_str().unwrap_or(""))
    };
    // SAFETY: as above.
    let (index, store) = unsafe { ((*node).node as u16, (*thread).traces_of(handle)) };
    store.note(handle, index, |entry| {
        if target != NO_TARGET {
            entry.next = Some(target);
        }
        if !json.is_empty() {
            entry.records.push((json.to_owned(), text.to_owned()));
        }
    });
    if target == DROP_NODE {
        // SAFETY: as above.
        let error = unsafe { (*header(&raw const (*thread).context, buffer)).error };
        store.note(handle, DROP_NODE, |entry| entry.error = Some(error));
        store.arrive(handle, Goal::Drop);
    }
}

/// Anything as a state pointer: what nodes of the host have for a state.
pub(super) const NO_STATE: *mut c_void = std::ptr::NonNull::<u8>::dangling().as_ptr().cast();
