//! A frame in a node's hands, and what the node has around it. The loop over the packets is in `each.rs`.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crate::abi::{FEATURES_PER_ARC, FRAME_SIZE, Frame, FrameFlags, MAX_ARCS, NodeContext, Text};
use crate::packet::buffer;
use crate::{
    ArcIndex, Errors, HeldPacket, InterfaceIndex, Next, Node, NodeIndex, Packet, TraceRecord, Verdict, Worker,
};

/// Stands in the list of targets for a packet that was taken out of the frame.
pub(crate) const TAKEN: u16 = u16::MAX;

/// The frame that a node was handed, to be consumed: by [`each`](Vector::each) or [`forward`](Vector::forward).
///
/// A frame that is not consumed is dropped by its host, uncounted by any reason; so consume it.
#[must_use = "the packets of a frame must go somewhere"]
pub struct Vector<'a, N: Node> {
    pub(crate) env: Env<'a, N>,
    pub(crate) frame: *mut Frame,
    pub(crate) done: &'a mut bool,
}

/// What a node's closure has around it.
pub struct Env<'a, N: Node> {
    pub(crate) node: *mut NodeContext,
    worker: Worker<'a>,
    frame: *mut Frame,
    /// Whether packets have been given another rx interface than they came with.
    pub(crate) moved: Cell<bool>,
    kind: PhantomData<fn() -> N>,
}

impl<'a, N: Node> Vector<'a, N> {
    /// # Safety
    /// `node` and `frame` are what the host handed to the node's `run`, on this thread; the packets in the frame are
    /// this call's. `done` tells whether they still are.
    pub(crate) unsafe fn new(node: *mut NodeContext, frame: *mut Frame, done: &'a mut bool) -> Self {
        // SAFETY: the node's context names its thread's, and a node's call lies between two quiescent points.
        let worker = unsafe { Worker::from_context((*node).worker) };
        let env = Env { node, worker, frame, moved: Cell::new(false), kind: PhantomData };
        Self { env, frame, done }
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

    /// The thread, as a token that outlives the frame's being consumed: for what is read once for all packets.
    #[inline(always)]
    pub fn worker(&self) -> Worker<'a> {
        // SAFETY: the context is that of the token beside the frame, which is as good for all of `'a`: the node's call.
        unsafe { Worker::from_context(self.env.worker.context()) }
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

    /// Shows all packets at once, in order, to be changed and not sent anywhere yet: for work that is done on a frame as a whole, such as by
    /// a crypto engine. They cannot be taken.
    ///
    /// What a packet's field or bytes hold afterwards is there when [`each_at`](Vector::each_at) comes to it.
    pub fn with_all<R>(&mut self, use_them: impl FnOnce(&Worker<'_>, &mut [Packet<'_>]) -> R) -> R {
        let worker = self.env.worker();
        let mut packets = [const { MaybeUninit::<Packet<'_>>::uninit() }; FRAME_SIZE];
        let count = self.len();
        for (position, packet) in packets[..count].iter_mut().enumerate() {
            // SAFETY: `position` is within the frame, whose packets are ours and each there once, so that no two views are of the
            // same packet; they end with this call, and `self` is borrowed as long.
            packet.write(unsafe { Packet::lent(worker.context(), (*self.frame).indices[position]) });
        }
        // SAFETY: the first `count` were written above; a view needs no drop.
        let packets = unsafe { &mut *(std::ptr::from_mut(&mut packets[..count]) as *mut [Packet<'_>]) };
        use_them(worker, packets)
    }

    /// What `look` says of the packet at a position of the frame; `None` if there is none.
    #[inline(always)]
    pub fn at<R>(&self, position: usize, look: impl FnOnce(&Packet<'_>) -> R) -> Option<R> {
        if position >= self.len() {
            return None;
        }
        // SAFETY: `position` is within the frame, whose packets are ours; the view is lent, only read, and the one view.
        let packet = unsafe { Packet::lent(self.env.worker.context(), (*self.frame).indices[position]) };
        Some(look(&packet))
    }

    /// Whether a packet of the frame is traced.
    #[inline(always)]
    pub fn is_traced(&self) -> bool {
        // SAFETY: the frame is alive until it is consumed.
        unsafe { (*self.frame).flags & FrameFlags::TRACED != 0 }
    }

    /// Sends every packet on along its feature arc, as [`Verdict::Continue`] does with one. Where all of them have the same
    /// features before them, as is the rule, the frame goes as a whole.
    #[inline(always)]
    pub fn continue_all(mut self) {
        let (mut before, mut differ) = ((0, 0, 0), 0);
        self.scan(
            #[inline(always)]
            |position, packet| {
                let header = packet.raw();
                if position == 0 {
                    before = (header.features, header.arc, header.arc_epoch);
                }
                differ |= header.features ^ before.0;
                differ |= u64::from((header.arc ^ before.1) | (header.arc_epoch ^ before.2));
            },
        );
        let (features, arc, epoch) = before;
        match self.env.feature_after(features, arc, epoch) {
            Some((target, left)) if differ == 0 && !self.is_empty() => {
                if features != 0 {
                    self.scan(
                        #[inline(always)]
                        |_, packet| packet.raw().features = left,
                    );
                }
                self.forward_to(NodeIndex(target));
            }
            _ => self.each(|_, _| Verdict::Continue),
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

    /// Has the packet come in by another interface from here on: a sub-interface, a tunnel. For packets of the frame and
    /// held ones; [`Packet::set_rx_interface`] is for packets of no frame. Since ABI 1.1.
    #[inline(always)]
    pub fn receive_on(&self, packet: &mut Packet<'_>, interface: InterfaceIndex) {
        packet.set_rx_interface(interface);
        if !self.moved.get() {
            self.moved.set(true);
            // SAFETY: the frame is this call's until it is handed on, and no reference into its flags is around.
            unsafe { (*self.frame).flags &= !FrameFlags::ONE_INTERFACE };
        }
    }

    /// Packets have changed their interface: if they all did, to the same one, the frame says so again.
    #[inline(never)]
    pub(crate) fn settle_interface(&self) {
        let context = self.worker.context();
        // SAFETY: the frame and its packets are still this call's; nobody else refers to them here.
        unsafe {
            let frame = &mut *self.frame;
            let interface = |index: u32| (*buffer(context, index)).rx_interface;
            let Some((&first, rest)) = frame.packets().split_first() else { return };
            let first = interface(first);
            if rest.iter().all(|&index| interface(index) == first) {
                frame.interface = first;
                frame.flags |= FrameFlags::ONE_INTERFACE;
            }
        }
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

    /// Sends a held packet on to where the verdict says, on another thread: see [`Worker::thread_count`]. What another
    /// thread is to know of the packet travels in the packet's fields; what the lookup of a table said (an adjacency) may be out of
    /// date over there, so it is looked up again.
    ///
    /// A thread gives itself packets as by [`Self::send`].
    ///
    /// # Errors
    /// The way to that thread is full, or there is no such thread: the packet is the caller's still, to be dropped by a
    /// verdict that says so.
    pub fn hand_off(
        &self,
        held: HeldPacket,
        thread: u32,
        verdict: Verdict<N::Next, N::Error>,
    ) -> Result<(), HeldPacket> {
        let mut held = held;
        let target = self.target(verdict, &mut self.worker.open(&mut held));
        let index = held.into_index();
        if self.is_traced(index) {
            self.trace_one(index, target);
        }
        const END: usize = std::mem::offset_of!(crate::abi::HostTable, handoff) + size_of::<usize>();
        // SAFETY: the host has the function (one of ABI 1.0 has not); the packet was owned and is handed over.
        let given = unsafe {
            match crate::abi::HostTable::reaches(self.host(), END) {
                true => ((*self.host()).handoff)(self.node, index, thread, target),
                false => 0,
            }
        };
        // SAFETY: a packet that was not taken is still ours.
        if given == 1 { Ok(()) } else { Err(unsafe { HeldPacket::from_index(index, self.host()) }) }
    }

    /// The node itself, as a target: for packets that go on in it on another thread.
    #[inline(always)]
    pub fn node(&self) -> NodeIndex {
        // SAFETY: the node's context is the host's, alive for the call.
        NodeIndex(unsafe { (*self.node).node } as u16)
    }

    /// Notes `record` if the packet is traced.
    #[inline(always)]
    pub fn trace<T: TraceRecord>(&self, packet: &Packet<'_>, record: impl FnOnce() -> T) {
        if packet.is_traced() {
            self.trace_record(packet.buffer_index(), &record());
        }
    }

    #[inline(always)]
    pub(crate) fn host(&self) -> *const crate::abi::HostTable {
        self.worker.host()
    }

    #[inline(always)]
    fn slot(&self, next: N::Next) -> u16 {
        // SAFETY: the host resolved as many slots as the node named, after slot 0, which is `drop`.
        unsafe { *(*self.node).arcs.add(next.slot() + 1) }
    }

    /// The node to which a packet with this verdict goes. One that was taken is not touched.
    #[inline(always)]
    pub(crate) fn target(&self, verdict: Verdict<N::Next, N::Error>, packet: &mut Packet<'_>) -> u16 {
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
        if let Some((target, left)) = self.feature_after(header.features, header.arc, header.arc_epoch) {
            if header.features != 0 {
                header.features = left;
            }
            return target;
        }
        header.error = 0;
        // SAFETY: slot 0 is always there.
        unsafe { *(*self.node).arcs }
    }

    /// The node that comes next on an arc on which `features` are left, and which are left then. `None`: the features were
    /// numbered anew while somebody held the packet, so that the rest of them cannot be told any more.
    #[inline(always)]
    fn feature_after(&self, features: u64, arc: u8, epoch: u8) -> Option<(u16, u64)> {
        // SAFETY: `arcs` has `MAX_ARCS` tables.
        let table = unsafe { &*(*self.worker.context()).arcs.add(usize::from(arc) % MAX_ARCS) };
        if features == 0 {
            return Some((table.end_node, 0));
        }
        let node = table.nodes[features.trailing_zeros() as usize % FEATURES_PER_ARC];
        (epoch == table.epoch).then_some((node, features & (features - 1)))
    }

    /// `mask` without the feature, if it is among them, whose node is that of `next`: for packets that it only lets pass.
    #[inline]
    pub fn features_without(&self, arc: ArcIndex, mask: u64, next: N::Next) -> u64 {
        // SAFETY: as in `arc_mask`.
        let table = unsafe { &*(*self.worker.context()).arcs.add(usize::from(arc.0) % MAX_ARCS) };
        let node = self.slot(next);
        let (mut left, mut kept) = (mask, mask);
        while left != 0 {
            if table.nodes[left.trailing_zeros() as usize % FEATURES_PER_ARC] == node {
                kept &= !(left & left.wrapping_neg());
            }
            left &= left - 1;
        }
        kept
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn enqueue_rest(&self, indices: &[u32], targets: &[u16; FRAME_SIZE]) {
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
    pub(crate) fn trace_all(&self, frame: *const Frame, target: impl Fn(usize) -> u16) {
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
