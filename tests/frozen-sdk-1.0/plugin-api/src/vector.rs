//! The hot loop: a frame goes in, each packet goes somewhere.

use std::marker::PhantomData;

use crate::abi::{
    BUFFER_DATA_OFFSET, FEATURES_PER_ARC, FRAME_SIZE, Frame, FrameFlags, MAX_ARCS, NodeContext, Text,
};
use crate::packet::buffer;
use crate::{
    ArcIndex, Errors, HeldPacket, InterfaceIndex, Next, Node, NodeIndex, Packet, TraceRecord, Verdict, Worker,
};

/// How far ahead the metadata and the data of packets are fetched.
const PREFETCH_METADATA: usize = 8;
const PREFETCH_DATA: usize = 4;

/// Stands in the list of targets for a packet that was taken out of the frame.
const TAKEN: u16 = u16::MAX;

/// The frame that a node was handed, to be consumed: by [`each`](Vector::each) or [`forward`](Vector::forward).
///
/// A frame that is not consumed is dropped by its host, uncounted by any reason; so consume it.
#[must_use = "the packets of a frame must go somewhere"]
pub struct Vector<'a, N: Node> {
    env: Env<'a, N>,
    frame: *mut Frame,
    done: &'a mut bool,
}

/// What a node's closure has around it.
pub struct Env<'a, N: Node> {
    node: *mut NodeContext,
    worker: Worker<'a>,
    kind: PhantomData<fn() -> N>,
}

impl<'a, N: Node> Vector<'a, N> {
    /// # Safety
    /// `node` and `frame` are what the host handed to the node's `run`, on this thread; the packets in the frame are
    /// this call's. `done` tells whether they still are.
    pub(crate) unsafe fn new(node: *mut NodeContext, frame: *mut Frame, done: &'a mut bool) -> Self {
        // SAFETY: the node's context names its thread's, and a node's call lies between two quiescent points.
        let worker = unsafe { Worker::from_context((*node).worker) };
        Self { env: Env { node, worker, kind: PhantomData }, frame, done }
    }

    /// Number of packets.
    #[inline(always)]
    pub fn len(&self) -> usize {
        // SAFETY: the frame is alive until it is consumed, which consumes `self`.
        unsafe { (*self.frame).packets().len() }
    }

    /// Whether there are no packets.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is around the packets.
    #[inline(always)]
    pub fn env(&self) -> &Env<'a, N> {
        &self.env
    }

    /// The rx interface of all packets, if it is known to be one.
    #[inline(always)]
    pub fn interface(&self) -> Option<InterfaceIndex> {
        // SAFETY: the frame is alive until it is consumed.
        let frame = unsafe { &*self.frame };
        (frame.flags & FrameFlags::ONE_INTERFACE != 0).then_some(InterfaceIndex(frame.interface))
    }

    /// Calls `look` on each packet without sending it anywhere: for a first pass that prefetches or collects.
    #[inline(always)]
    pub fn scan(&mut self, mut look: impl FnMut(usize, &mut Packet<'_>)) {
        let context = self.env.worker.context();
        for position in 0..self.len() {
            // SAFETY: `position` is within the frame, whose packets are ours; one view at a time.
            let mut packet = unsafe { Packet::from_index(context, (*self.frame).indices[position]) };
            look(position, &mut packet);
            debug_assert!(!packet.is_taken(), "scan takes no packets");
            if packet.is_taken() {
                std::process::abort();
            }
        }
    }

    /// Sends the whole frame to `next`, untouched.
    #[inline]
    pub fn forward(self, next: N::Next) {
        let target = self.env.slot(next);
        self.forward_to(NodeIndex(target));
    }

    /// Sends the whole frame to a node that a table names, untouched.
    #[inline]
    pub fn forward_to(self, target: NodeIndex) {
        *self.done = true;
        // SAFETY: the frame is alive until the host takes it below.
        if unsafe { (*self.frame).flags } & FrameFlags::TRACED != 0 {
            self.env.trace_all(self.frame, |_| target.0);
        }
        // SAFETY: node and frame are the host's own; the frame is not used afterwards.
        unsafe { ((*self.env.host()).enqueue_frame)(self.env.node, self.frame, target.0) };
    }

    /// Calls `decide` on each packet, in order, and sends it where the verdict says.
    #[inline(always)]
    pub fn each<F>(self, mut decide: F)
    where
        F: FnMut(&Env<'a, N>, &mut Packet<'_>) -> Verdict<N::Next, N::Error>,
    {
        self.each_at(
            #[inline(always)]
            |env, _, packet| decide(env, packet),
        );
    }

    /// As [`each`](Vector::each), with the packet's position in the frame.
    #[inline(always)]
    pub fn each_at<F>(self, mut decide: F)
    where
        F: FnMut(&Env<'a, N>, usize, &mut Packet<'_>) -> Verdict<N::Next, N::Error>,
    {
        let Self { env, frame, done } = self;
        let context = env.worker.context();
        // SAFETY: the frame is alive and this node's until it is handed on below.
        let count = unsafe { (*frame).packets().len() };
        let mut targets = [0_u16; FRAME_SIZE];
        // SAFETY: `indices` is initialised as a whole; the slice is only read in this loop and the frame not written.
        let indices =
            unsafe { std::slice::from_raw_parts((*frame).indices.as_ptr(), (*frame).indices.len()) };
        for &ahead in &indices[..PREFETCH_METADATA] {
            prefetch_metadata(context, ahead);
        }
        for &ahead in &indices[..PREFETCH_DATA] {
            prefetch_data(context, ahead);
        }
        let (mut first, mut differ, mut taken) = (0, 0, false);
        for position in 0..count {
            // Indices behind the frame's end are stale but name buffers of the pool: fetching them harms nothing.
            prefetch_metadata(context, indices[position + PREFETCH_METADATA]);
            prefetch_data(context, indices[position + PREFETCH_DATA]);
            // SAFETY: `position` is within the frame, whose packets are ours; one view at a time.
            let packet = unsafe { Packet::from_index(context, indices[position]) };
            let mut hand = InHand { packet, frame, targets: &targets, position };
            let verdict = decide(&env, position, &mut hand.packet);
            let target = if hand.packet.is_taken() {
                taken = true;
                TAKEN
            } else {
                env.target(verdict, &mut hand.packet)
            };
            std::mem::forget(hand);
            if position == 0 {
                first = target;
            }
            differ |= target ^ first;
            targets[position] = target;
        }
        *done = true;
        if count == 0 {
            return;
        }
        // SAFETY: the frame is still ours.
        if unsafe { (*frame).flags } & FrameFlags::TRACED != 0 {
            env.trace_all(frame, |position| targets[position]);
        }
        let host = env.host();
        if differ == 0 && !taken {
            // SAFETY: node and frame are the host's own; the frame is not used afterwards.
            unsafe { ((*host).enqueue_frame)(env.node, frame, first) };
        } else if taken {
            env.enqueue_rest(&indices[..count], &targets);
        } else {
            // SAFETY: `count` indices and targets are readable; the packets are handed over with it.
            unsafe { ((*host).enqueue)(env.node, indices.as_ptr(), targets.as_ptr(), count as u32) };
        }
    }
}

/// The packet that a node is deciding about. Dropped only when the node panics: then the packets that it had taken out
/// of the frame leave the frame, so that the host gives back those, and only those, that are still in it.
struct InHand<'a> {
    packet: Packet<'a>,
    frame: *mut Frame,
    targets: &'a [u16; FRAME_SIZE],
    position: usize,
}

impl Drop for InHand<'_> {
    #[cold]
    fn drop(&mut self) {
        // SAFETY: the frame is the panicking call's, which holds no reference into it any more.
        let frame = unsafe { &mut *self.frame };
        let mut kept = 0;
        for position in 0..frame.packets().len() {
            let taken = match position.cmp(&self.position) {
                std::cmp::Ordering::Less => self.targets[position] == TAKEN,
                std::cmp::Ordering::Equal => self.packet.is_taken(),
                std::cmp::Ordering::Greater => false,
            };
            if !taken {
                frame.indices[kept] = frame.indices[position];
                kept += 1;
            }
        }
        frame.count = kept as u32;
    }
}

impl<'a, N: Node> Env<'a, N> {
    /// The thread.
    #[inline(always)]
    pub fn worker(&self) -> &Worker<'a> {
        &self.worker
    }

    /// Monotonic time at the start of this pass of the loop, in ns.
    #[inline(always)]
    pub fn now_ns(&self) -> u64 {
        self.worker.now_ns()
    }

    /// Starts the packet on a feature arc as packets of `interface` go it: to the first feature that is enabled
    /// there, or, if there is none, to `end`, which may be nearer than the arc's own end.
    #[inline(always)]
    pub fn enter_arc(
        &self,
        arc: ArcIndex,
        interface: InterfaceIndex,
        packet: &mut Packet<'_>,
        end: Verdict<N::Next, N::Error>,
    ) -> Verdict<N::Next, N::Error> {
        let mask = self.arc_mask(arc, interface);
        if mask == 0 {
            return end;
        }
        self.enter_features(arc, mask, packet)
    }

    /// The features that are enabled for `interface` on the arc, as a set of bits; 0 is none.
    #[inline(always)]
    pub fn arc_mask(&self, arc: ArcIndex, interface: InterfaceIndex) -> u64 {
        let interface = interface.0 as usize % crate::abi::MAX_INTERFACES;
        // SAFETY: arc indices come from the host and are below `MAX_ARCS`; each arc's table has `MAX_INTERFACES` masks.
        unsafe {
            let arc = &*(*self.worker.context()).arcs.add(usize::from(arc.0) % MAX_ARCS);
            (*arc.masks.add(interface)).load(std::sync::atomic::Ordering::Relaxed)
        }
    }

    /// Starts the packet on the features in `mask`, which is not 0.
    #[inline(always)]
    pub fn enter_features(
        &self,
        arc: ArcIndex,
        mask: u64,
        packet: &mut Packet<'_>,
    ) -> Verdict<N::Next, N::Error> {
        // SAFETY: as in `arc_mask`.
        let table = unsafe { &*(*self.worker.context()).arcs.add(usize::from(arc.0) % MAX_ARCS) };
        let header = packet.raw();
        header.arc = arc.0;
        header.arc_epoch = table.epoch;
        header.features = mask & mask.wrapping_sub(1);
        Verdict::To(NodeIndex(table.nodes[mask.trailing_zeros() as usize % FEATURES_PER_ARC]))
    }

    /// Sends a held packet on, as if it had been in the frame.
    pub fn send(&self, held: HeldPacket, verdict: Verdict<N::Next, N::Error>) {
        let mut held = held;
        let target = self.target(verdict, &mut self.worker.open(&mut held));
        let index = held.into_index();
        if self.is_traced(index) {
            self.trace_one(index, target);
        }
        // SAFETY: one index and one target are readable; the packet was owned and is handed over.
        unsafe { ((*self.host()).enqueue)(self.node, &index, &target, 1) };
    }

    /// Notes `record` if the packet is traced.
    #[inline(always)]
    pub fn trace<T: TraceRecord>(&self, packet: &Packet<'_>, record: impl FnOnce() -> T) {
        if packet.is_traced() {
            self.trace_record(packet.buffer_index(), &record());
        }
    }

    #[inline(always)]
    fn host(&self) -> *const crate::abi::HostTable {
        self.worker.host()
    }

    #[inline(always)]
    fn slot(&self, next: N::Next) -> u16 {
        // SAFETY: the host resolved as many slots as the node named, after slot 0, which is `drop`.
        unsafe { *(*self.node).arcs.add(next.slot() + 1) }
    }

    #[inline(always)]
    fn target(&self, verdict: Verdict<N::Next, N::Error>, packet: &mut Packet<'_>) -> u16 {
        match verdict {
            Verdict::Next(next) => self.slot(next),
            Verdict::To(node) => node.0,
            Verdict::Continue => self.next_feature(packet),
            Verdict::Drop(error) => {
                // SAFETY: the node's context is the host's, alive for the call; slot 0 is always there.
                let (base, drop) = unsafe { ((*self.node).error_base, *(*self.node).arcs) };
                packet.raw().error = (base as usize + error.slot()) as u16;
                drop
            }
        }
    }

    #[inline(always)]
    fn next_feature(&self, packet: &mut Packet<'_>) -> u16 {
        let header = packet.raw();
        // SAFETY: `arcs` has `MAX_ARCS` tables.
        let table = unsafe { &*(*self.worker.context()).arcs.add(usize::from(header.arc) % MAX_ARCS) };
        let mask = header.features;
        if mask == 0 {
            return table.end_node;
        }
        if header.arc_epoch != table.epoch {
            // The features were numbered anew while somebody held the packet: the rest of them cannot be told any more.
            header.error = 0;
            // SAFETY: slot 0 is always there.
            return unsafe { *(*self.node).arcs };
        }
        header.features = mask & mask.wrapping_sub(1);
        table.nodes[mask.trailing_zeros() as usize % FEATURES_PER_ARC]
    }

    #[cold]
    #[inline(never)]
    fn enqueue_rest(&self, indices: &[u32], targets: &[u16; FRAME_SIZE]) {
        let (mut kept, mut kept_targets, mut count) = ([0; FRAME_SIZE], [0; FRAME_SIZE], 0);
        for (&index, &target) in indices.iter().zip(targets) {
            if target != TAKEN {
                (kept[count], kept_targets[count]) = (index, target);
                count += 1;
            }
        }
        // SAFETY: `count` indices and targets are readable; the packets are handed over with it.
        unsafe { ((*self.host()).enqueue)(self.node, kept.as_ptr(), kept_targets.as_ptr(), count as u32) };
    }

    #[cold]
    #[inline(never)]
    fn trace_all(&self, frame: *const Frame, target: impl Fn(usize) -> u16) {
        // SAFETY: the frame is the caller's and not written meanwhile.
        for (position, &index) in unsafe { (*frame).packets() }.iter().enumerate() {
            let target = target(position);
            if target != TAKEN && self.is_traced(index) {
                self.trace_one(index, target);
            }
        }
    }

    fn is_traced(&self, index: u32) -> bool {
        // SAFETY: the packet is this node's while it decides about it.
        unsafe { (*buffer(self.worker.context(), index)).flags & crate::abi::BufferFlags::TRACED != 0 }
    }

    fn trace_one(&self, index: u32, target: u16) {
        // SAFETY: the packet is this node's; empty texts are readable.
        unsafe { ((*self.host()).trace)(self.node, index, target, Text::EMPTY, Text::EMPTY) };
    }

    #[cold]
    #[inline(never)]
    fn trace_record(&self, index: u32, record: &impl TraceRecord) {
        let json = serde_json::to_string(record).unwrap_or_default();
        let text = record.to_string();
        // SAFETY: the packet is this node's; the texts live until the call returns.
        unsafe { ((*self.host()).trace)(self.node, index, TAKEN, Text::new(&json), Text::new(&text)) };
    }
}

/// Where an input node puts packets.
pub struct Output<'a, X: Next> {
    node: *mut NodeContext,
    worker: Worker<'a>,
    sent: &'a mut u32,
    kind: PhantomData<fn(X)>,
}

impl<'a, X: Next> Output<'a, X> {
    /// # Safety
    /// `node` is what the host handed to the node's `run`, on this thread.
    pub(crate) unsafe fn new(node: *mut NodeContext, sent: &'a mut u32) -> Self {
        // SAFETY: as in `Vector::new`.
        let worker = unsafe { Worker::from_context((*node).worker) };
        Self { node, worker, sent, kind: PhantomData }
    }

    /// The thread.
    pub fn worker(&self) -> &Worker<'a> {
        &self.worker
    }

    /// Sends a packet to `next`.
    pub fn send(&mut self, held: HeldPacket, next: X) {
        let index = held.into_index();
        *self.sent += 1;
        // SAFETY: the host resolved as many slots as the node named; one index and one target are readable; the
        // packet was owned and is handed over.
        unsafe {
            let target = *(*self.node).arcs.add(next.slot() + 1);
            ((*self.worker.host()).enqueue)(self.node, &index, &target, 1);
        }
    }
}

#[inline(always)]
fn prefetch_metadata(context: *const crate::abi::WorkerContext, index: u32) {
    // SAFETY: the address lies in the arena (stale indices name buffers of the pool too); it is not dereferenced.
    prefetch(unsafe { buffer(context, index) }.cast());
}

#[inline(always)]
fn prefetch_data(context: *const crate::abi::WorkerContext, index: u32) {
    // SAFETY: as above.
    prefetch(unsafe { buffer(context, index).cast::<u8>().add(BUFFER_DATA_OFFSET) });
}

/// Has the cache line fetched to which `address` points, if it points anywhere.
#[inline(always)]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program can see, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Has the cache line fetched in which `value` starts: for tables that a frame's packets are about to read.
#[inline(always)]
pub fn prefetch_read<T>(value: &T) {
    prefetch(std::ptr::from_ref(value).cast());
}
