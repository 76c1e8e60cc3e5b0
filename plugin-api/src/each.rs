//! The hot loop: each packet of a frame goes somewhere.

use crate::abi::{BUFFER_DATA_OFFSET, BufferHeader, FRAME_SIZE, Frame, FrameFlags, WorkerContext};
use crate::vector::{TAKEN, prefetch};
use crate::{Env, Node, Packet, Vector, Verdict, Worker};

/// How far ahead the metadata and the data of packets are fetched.
const PREFETCH_METADATA: usize = 8;
const PREFETCH_DATA: usize = 4;

impl<'a, N: Node> Vector<'a, N> {
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

    /// As [`each`](Vector::each), with a state that `end` sees when all packets are on their way: for what a frame's
    /// packets are summed up in.
    #[inline(always)]
    pub fn each_then<S, F>(self, state: &mut S, decide: F, end: impl FnOnce(&Worker<'a>, &mut S))
    where
        F: FnMut(&Env<'a, N>, &mut Packet<'_>, &mut S) -> Verdict<N::Next, N::Error>,
    {
        self.each_plain_then(
            state,
            #[inline(always)]
            |_, _| None,
            decide,
            end,
        );
    }

    /// [`each_plain`](Vector::each_plain) and [`each_then`](Vector::each_then) in one: the packets that are plain do not
    /// touch the state.
    #[inline(always)]
    pub fn each_plain_then<S, P, F>(
        self,
        state: &mut S,
        mut plain: P,
        mut decide: F,
        end: impl FnOnce(&Worker<'a>, &mut S),
    ) where
        P: FnMut(&Env<'a, N>, &mut Packet<'_>) -> Option<Verdict<N::Next, N::Error>>,
        F: FnMut(&Env<'a, N>, &mut Packet<'_>, &mut S) -> Verdict<N::Next, N::Error>,
    {
        let env = self.consume(
            state,
            #[inline(always)]
            |env, _, packet, _| plain(env, packet),
            #[inline(always)]
            |env, _, packet, state| decide(env, packet, state),
        );
        end(env.worker(), state);
    }

    /// As [`each`](Vector::each), with the packet's position in the frame.
    #[inline(always)]
    pub fn each_at<F>(self, decide: F)
    where
        F: FnMut(&Env<'a, N>, usize, &mut Packet<'_>) -> Verdict<N::Next, N::Error>,
    {
        self.each_plain(
            #[inline(always)]
            |_, _, _| None,
            decide,
        );
    }

    /// As [`each_at`](Vector::each_at), in two parts: `plain` decides about the packets that nearly all of a frame's are,
    /// and says `None` of the others, which it leaves as they are and about which `decide` decides.
    ///
    /// For the shortest loop: `plain` is to be inlined as a whole, so it calls nothing out of line with the packet, which then
    /// stays in registers. It cannot take packets; `decide` can.
    #[inline(always)]
    pub fn each_plain<P, F>(self, mut plain: P, mut decide: F)
    where
        P: FnMut(&Env<'a, N>, usize, &mut Packet<'_>) -> Option<Verdict<N::Next, N::Error>>,
        F: FnMut(&Env<'a, N>, usize, &mut Packet<'_>) -> Verdict<N::Next, N::Error>,
    {
        self.consume(
            &mut (),
            #[inline(always)]
            |env, position, packet, _| plain(env, position, packet),
            #[inline(always)]
            |env, position, packet, _| decide(env, position, packet),
        );
    }

    /// As [`each_plain`](Vector::each_plain), with a state that both parts change: a table of sessions, say.
    #[inline(always)]
    pub fn each_plain_with<S, P, F>(self, state: &mut S, plain: P, decide: F)
    where
        P: FnMut(&Env<'a, N>, usize, &mut Packet<'_>, &mut S) -> Option<Verdict<N::Next, N::Error>>,
        F: FnMut(&Env<'a, N>, usize, &mut Packet<'_>, &mut S) -> Verdict<N::Next, N::Error>,
    {
        self.consume(state, plain, decide);
    }

    #[inline(always)]
    fn consume<S, P, F>(self, state: &mut S, mut plain: P, mut decide: F) -> Env<'a, N>
    where
        P: FnMut(&Env<'a, N>, usize, &mut Packet<'_>, &mut S) -> Option<Verdict<N::Next, N::Error>>,
        F: FnMut(&Env<'a, N>, usize, &mut Packet<'_>, &mut S) -> Verdict<N::Next, N::Error>,
    {
        let Self { env, frame, done } = self;
        let context = env.worker().context();
        // SAFETY: the frame is alive and this node's until it is handed on below.
        let count = unsafe { (*frame).packets().len() };
        let mut targets = [0_u16; FRAME_SIZE];
        // SAFETY: `indices` is initialised as a whole; the slice is only read in this loop and the frame not written.
        let indices =
            unsafe { std::slice::from_raw_parts((*frame).indices.as_ptr(), (*frame).indices.len()) };
        let arena = Arena::of(context);
        for &ahead in &indices[..PREFETCH_METADATA] {
            arena.prefetch_metadata(ahead);
        }
        for &ahead in &indices[..PREFETCH_DATA] {
            arena.prefetch_data(ahead);
        }
        let (mut first, mut differ, mut taken) = (0, 0, false);
        for position in 0..count {
            // Indices behind the frame's end are stale but name buffers of the pool: fetching them harms nothing.
            arena.prefetch_metadata(indices[position + PREFETCH_METADATA]);
            arena.prefetch_data(indices[position + PREFETCH_DATA]);
            let index = indices[position];
            let header = arena.header(index);
            // SAFETY: `position` is within the frame, whose packets are ours; one view at a time.
            let mut packet = unsafe { Packet::at(context, header, index, true) };
            let guard = Lent { frame, targets: &targets, position };
            let verdict = plain(&env, position, &mut packet, state);
            std::mem::forget(guard);
            let target = if let Some(verdict) = verdict {
                env.target(verdict, &mut packet)
            } else {
                // SAFETY: as above; the view before is not used any more.
                let packet = unsafe { Packet::at(context, header, index, false) };
                let mut hand = InHand { packet, frame, targets: &targets, position };
                let verdict = decide(&env, position, &mut hand.packet, state);
                let target = if hand.packet.is_taken() {
                    taken = true;
                    TAKEN
                } else {
                    env.target(verdict, &mut hand.packet)
                };
                std::mem::forget(hand);
                target
            };
            if position == 0 {
                first = target;
            }
            differ |= target ^ first;
            targets[position] = target;
        }
        *done = true;
        if count == 0 {
            return env;
        }
        if env.moved.get() && !taken {
            env.settle_interface();
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
        env
    }
}

/// Where the buffers are: read once a frame, as a node's writes might change the context for all that the compiler knows.
#[derive(Clone, Copy)]
struct Arena {
    base: *mut u8,
    stride: usize,
}

impl Arena {
    #[inline(always)]
    fn of(context: *const WorkerContext) -> Self {
        // SAFETY: the context is the calling thread's, alive while its nodes run.
        unsafe { Self { base: (*context).buffers, stride: (*context).buffer_stride as usize } }
    }

    /// The header of a buffer. Indices, stale ones too, name buffers of the pool, so the address is within the arena.
    #[inline(always)]
    fn header(self, index: u32) -> *mut BufferHeader {
        self.base.wrapping_add(index as usize * self.stride).cast()
    }

    #[inline(always)]
    fn prefetch_metadata(self, index: u32) {
        prefetch(self.header(index).cast());
    }

    #[inline(always)]
    fn prefetch_data(self, index: u32) {
        prefetch(self.header(index).cast::<u8>().wrapping_add(BUFFER_DATA_OFFSET));
    }
}

/// The packet that a node is deciding about. Dropped only when the node panics.
struct InHand<'a> {
    packet: Packet<'a>,
    frame: *mut Frame,
    targets: &'a [u16; FRAME_SIZE],
    position: usize,
}

impl Drop for InHand<'_> {
    #[cold]
    fn drop(&mut self) {
        abandon(self.frame, self.targets, self.position, self.packet.is_taken());
    }
}

/// As [`InHand`], of a packet that cannot be taken. Its address is given to nobody, so that none of it is kept in memory.
struct Lent<'a> {
    frame: *mut Frame,
    targets: &'a [u16; FRAME_SIZE],
    position: usize,
}

impl Drop for Lent<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        abandon(self.frame, self.targets, self.position, false);
    }
}

/// A node has panicked at `position`: the packets that it had taken out of the frame leave the frame, so that the host gives
/// back those, and only those, that are still in it.
#[cold]
#[inline(never)]
fn abandon(frame: *mut Frame, targets: &[u16; FRAME_SIZE], at: usize, is_taken: bool) {
    // SAFETY: the frame is the panicking call's, which holds no reference into it any more.
    let frame = unsafe { &mut *frame };
    let (mut kept, count) = (0, frame.packets().len());
    for (position, &target) in targets.iter().enumerate().take(count) {
        let taken = match position.cmp(&at) {
            std::cmp::Ordering::Less => target == TAKEN,
            std::cmp::Ordering::Equal => is_taken,
            std::cmp::Ordering::Greater => false,
        };
        if !taken {
            frame.indices[kept] = frame.indices[position];
            kept += 1;
        }
    }
    frame.count = kept as u32;
}
