//! Packets from one thread of the graph to another: a bounded ring from each to each.
//!
//! A node gives a packet away with the node that is to have it over there. Packets become visible to the other thread at
//! the end of the pass, which also rings its alarm if it sleeps. It puts them into frames before its input nodes run.

use std::sync::Arc;

use raddle_plugin_api::abi::{BufferFlags, FRAME_SIZE, FrameFlags};
use raddle_plugin_api::prefetch_read;

use super::dispatch::{append, header, shared};
use super::ring::{Receiver, Ring, RingFigures, Sender};
use super::{Shared, Thread};

/// Packets that can be under way from one thread to another.
const RING_PACKETS: usize = 4096;
/// Packets that a thread takes from each other one in a pass, so that its own queues get their turn.
const MOST_A_PASS: usize = 4 * FRAME_SIZE;

/// What went from one thread to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandoffFigures {
    /// The giving thread.
    pub from: usize,
    /// The taking thread.
    pub to: usize,
    /// Packets in words of the ring.
    pub ring: RingFigures,
}

/// A thread's ends of the rings.
#[derive(Default)]
pub(super) struct Handoffs {
    /// By thread; `None` for the thread itself.
    out: Vec<Option<Out>>,
    inward: Vec<Receiver>,
    /// All threads, for traces that began elsewhere.
    pub(super) peers: Arc<[Arc<Shared>]>,
    /// Something was given away in this pass.
    pending: bool,
    /// When packets last came, as the pass's time, in ns.
    last_ns: u64,
}

struct Out {
    sender: Sender,
    peer: Arc<Shared>,
}

/// A packet and its node in a word.
fn word(node: u16, packet: u32) -> u64 {
    u64::from(node) << 32 | u64::from(packet)
}

fn parts(word: u64) -> (u16, u32) {
    ((word >> 32) as u16, word as u32)
}

/// Joins threads that do not run yet, each to each. Returns all rings, for their figures.
pub(super) fn join(threads: &mut [Box<Thread>]) -> Vec<(usize, usize, Arc<Ring>)> {
    let peers: Arc<[Arc<Shared>]> = threads.iter().map(|thread| Arc::clone(thread.shared())).collect();
    let mut rings = Vec::new();
    for thread in threads.iter_mut() {
        thread.handoffs.peers = Arc::clone(&peers);
        thread.handoffs.out = peers.iter().map(|_| None).collect();
    }
    for from in 0..peers.len() {
        for to in (0..peers.len()).filter(|&to| to != from) {
            let (sender, receiver) = Ring::with_capacity(RING_PACKETS);
            rings.push((from, to, Arc::clone(sender.ring())));
            threads[from].handoffs.out[to] = Some(Out { sender, peer: Arc::clone(&peers[to]) });
            threads[to].handoffs.inward.push(receiver);
        }
    }
    rings
}

impl Handoffs {
    /// Gives a packet away. `false`: it is still the caller's.
    pub(super) fn give(&mut self, thread: u32, node: u16, packet: u32) -> bool {
        let Some(Some(out)) = self.out.get_mut(thread as usize) else { return false };
        let given = out.sender.push(word(node, packet));
        self.pending |= given;
        given
    }

    /// Shows the other threads what they were given, and wakes those that sleep.
    #[inline(always)]
    pub(super) fn publish(&mut self) {
        if self.pending {
            self.publish_all();
        }
    }

    #[inline(never)]
    fn publish_all(&mut self) {
        self.pending = false;
        for out in self.out.iter_mut().flatten() {
            if out.sender.publish() && out.peer.bell.ring() {
                out.peer.poller.wake();
            }
        }
    }

    /// When packets last came, in ns.
    pub(super) fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// All packets that wait, with their nodes: when the thread is taken down.
    pub(super) fn drain(&mut self) -> Vec<(u16, u32)> {
        let (mut packets, mut words) = (Vec::new(), [0; FRAME_SIZE]);
        for receiver in &mut self.inward {
            loop {
                let count = receiver.take(&mut words);
                if count == 0 {
                    break;
                }
                packets.extend(words[..count].iter().map(|&word| parts(word)));
            }
        }
        packets
    }
}

/// Puts the packets that other threads have given into frames; returns how many.
///
/// # Safety
/// As `dispatch::run_pass`.
#[inline(always)]
pub(super) unsafe fn take_in(thread: *mut Thread) -> u64 {
    // SAFETY: as the caller vouches.
    if unsafe { shared(thread) }.bell.heard() {
        // SAFETY: as above.
        unsafe { take_all(thread) }
    } else {
        0
    }
}

/// # Safety
/// As [`take_in`].
#[inline(never)]
unsafe fn take_all(thread: *mut Thread) -> u64 {
    let mut words = [0; FRAME_SIZE];
    let mut taken = 0;
    // SAFETY: as the caller vouches; the packets are this thread's from when they are taken out of the ring.
    unsafe {
        let inward = &(*thread).handoffs.inward;
        for position in 0..inward.len() {
            for turn in 1..=MOST_A_PASS / FRAME_SIZE {
                let count = (&mut (*thread).handoffs.inward)[position].take(&mut words);
                put_into_frames(thread, &words[..count]);
                taken += count as u64;
                if count < FRAME_SIZE {
                    break;
                }
                if turn == MOST_A_PASS / FRAME_SIZE {
                    shared(thread).bell.again();
                }
            }
        }
        (*thread).handoffs.last_ns = (*thread).context.now_ns;
    }
    taken
}

/// # Safety
/// As [`take_in`]; the packets are the thread's.
unsafe fn put_into_frames(thread: *mut Thread, words: &[u64]) {
    // SAFETY: as the caller vouches: each word has one of the thread's packets, whose header nobody else writes.
    let header = |word: u64| unsafe { &*header(&raw const (*thread).context, parts(word).1) };
    // The headers are in another core's cache: all are on their way before the first one is read.
    for &word in words {
        prefetch_read(header(word));
    }
    let mut start = 0;
    while start < words.len() {
        let (node, _) = parts(words[start]);
        let interface = header(words[start]).rx_interface;
        let (mut packets, mut run) = ([0; FRAME_SIZE], 0);
        // Nodes treat a frame from one interface as a whole.
        let mut flags = FrameFlags::ONE_INTERFACE;
        while let Some(&word) = words.get(start + run).filter(|&&word| parts(word).0 == node) {
            let header = header(word);
            if header.rx_interface != interface {
                flags &= !FrameFlags::ONE_INTERFACE;
            }
            if header.flags & BufferFlags::TRACED != 0 {
                flags |= FrameFlags::TRACED;
            }
            packets[run] = parts(word).1;
            run += 1;
        }
        // SAFETY: as the caller vouches; `append` sends packets for nodes that are gone to `drop`.
        unsafe { append(thread, node, &packets[..run], flags, interface) };
        start += run;
    }
}
