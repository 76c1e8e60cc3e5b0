//! A queue of a link, whose two ends are used by different threads.
//!
//! A [`Receiver`] has the rings by which frames come in (fill and receive), a [`Sender`] those by which they go out (transmit and
//! completion). Each keeps book of the buffers that the kernel has for it. When an end is dropped its book stays with the socket,
//! and the buffers go back to the pool when that is closed: the kernel has let go of them then.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use raddle_plugin_api::{BufferMemory, HeldPacket, Lent, Worker};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::ring::{Consumer, Descriptor, Producer};
use crate::socket::{BindError, CHUNK_BYTES, Options, QueueStatistics, RingFill, Rings, Socket};

/// `XDP_PKT_CONTD`.
const MORE_FOLLOWS: u32 = 1;
/// An address has the offset within its buffer in the upper bits (`XSK_UNALIGNED_BUF_OFFSET_SHIFT`).
const OFFSET_SHIFT: u32 = 48;
/// Pieces of a frame, at most: what the kernel makes a packet of (`MAX_SKB_FRAGS`).
const MOST_PIECES: u32 = 17;
/// The same where a device reads them by itself: each has a bound of its own (`xdp_zc_max_segs`), and the kernel throws away what
/// has more. A frame of the largest MTU in full buffers has so many.
const MOST_PIECES_WITHOUT_COPY: u32 = 5;
/// Buffers are handed to the kernel when there is room for so many, or for a quarter of the ring.
const REFILL: u32 = 64;
/// How often the kernel is asked in a row to send what it has in its ring.
const MOST_KICKS: u32 = 64;

/// A queue of a link, bound.
#[derive(Clone)]
pub struct Queue(Arc<Socket>);

impl Queue {
    /// Binds a socket to queue number `queue` of the link, with the host's buffers as its memory: the first of a device registers
    /// that, the others share it with their device's first one (`sharing`).
    ///
    /// # Errors
    /// The step that failed.
    pub fn open(
        memory: &BufferMemory,
        link: u32,
        queue: u32,
        options: &Options,
        sharing: Option<&Self>,
    ) -> Result<(Self, Receiver, Sender), BindError> {
        let first = sharing.map(|queue| &*queue.0);
        let (socket, rings) = Socket::open(memory, (link, queue), options, first)?;
        let Rings { rx, fill, tx, completion } = rings;
        let Socket { zero_copy, in_pieces, .. } = socket;
        let socket = Arc::new(socket);
        // A device reads and writes a buffer by its place in the machine's memory, where pages lie apart.
        let page_bytes = zero_copy.then(|| memory.page_bytes() as u64);
        let receiver = Receiver {
            rx,
            fill,
            lent: Some(Lent::new(memory)),
            page_bytes,
            busy_polls: options.busy_poll.is_some(),
            starves: false,
            socket: Arc::clone(&socket),
        };
        let sender = Sender {
            tx,
            completion,
            lent: Some(Lent::new(memory)),
            page_bytes,
            most_pieces: most_pieces(zero_copy, in_pieces),
            has_pending: false,
            socket: Arc::clone(&socket),
        };
        Ok((Self(socket), receiver, sender))
    }

    /// The socket's descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }

    /// Whether the link's driver reads and writes the buffers itself.
    pub fn is_zero_copy(&self) -> bool {
        self.0.zero_copy
    }

    /// Whether frames may be of several pieces.
    pub fn takes_pieces(&self) -> bool {
        self.0.in_pieces
    }

    /// How full the rings are: receive, fill, transmit, completion.
    pub fn fills(&self) -> [RingFill; 4] {
        let read = |number: usize| {
            let gauge = self.0.gauges.as_ref().map(|gauges| gauges[number].read());
            gauge.map_or_else(RingFill::default, |(entries, size)| RingFill { entries, size })
        };
        std::array::from_fn(read)
    }

    /// What the kernel has counted.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn statistics(&self) -> Result<QueueStatistics, Errno> {
        self.0.statistics()
    }
}

/// A piece of a frame that has come in.
pub struct Delivery {
    /// Its bytes; `None` if the kernel named a buffer that it did not have.
    pub packet: Option<HeldPacket>,
    /// Whether more pieces of the frame follow.
    pub more: bool,
}

/// The end of a queue by which frames come in. Used by one thread at a time.
pub struct Receiver {
    rx: Consumer<Descriptor>,
    fill: Producer<u64>,
    lent: Option<Lent>,
    /// Where the device sees the buffers by pages of this size, they must not reach from one into the next.
    page_bytes: Option<u64>,
    busy_polls: bool,
    /// The pool had no buffers when some were wanted last.
    starves: bool,
    socket: Arc<Socket>,
}

impl Receiver {
    /// The next piece that has come in.
    #[inline]
    pub fn next(&mut self, worker: &Worker<'_>) -> Option<Delivery> {
        let entry = self.rx.pop()?;
        let place = (entry.address & ((1 << OFFSET_SHIFT) - 1)) + (entry.address >> OFFSET_SHIFT);
        let packet = self.lent.as_mut()?.receive(worker, place, entry.length);
        Some(Delivery { packet, more: entry.options & MORE_FOLLOWS != 0 })
    }

    /// Ends a round of [`Receiver::next`]: the places in the ring are the kernel's again, and it gets new buffers.
    #[inline]
    pub fn finish(&mut self, worker: &Worker<'_>) {
        self.rx.release();
        let least = REFILL.min(self.fill.size() / 4);
        let room = self.fill.room(least);
        if room >= least {
            self.refill(worker, room);
        }
        if self.busy_polls || self.fill.needs_wakeup() {
            // Nothing is received by it: it has the driver look into its own ring.
            let _ = rustix::net::recv(self.socket.fd(), &mut [0_u8; 0][..], RecvFlags::DONTWAIT);
        }
    }

    fn refill(&mut self, worker: &Worker<'_>, room: u32) {
        let Some(lent) = &mut self.lent else { return };
        let (fill, page_bytes) = (&mut self.fill, self.page_bytes);
        let mut unfit = Vec::new();
        let got = lent.lend_new(worker, room as usize, |piece| {
            let start = piece.buffer_offset();
            if is_apart(start, u64::from(CHUNK_BYTES), page_bytes) || !fill.push(start) {
                unfit.push(start);
            }
        });
        self.starves = got - unfit.len() < room as usize;
        fill.submit();
        lent.give_back(worker, unfit);
    }

    /// Whether no frame can come because the kernel has no buffer: somebody has to look again.
    pub fn is_starved(&self) -> bool {
        self.starves && self.fill.fill() == 0
    }

    /// How often the kernel's index of the receive ring was impossible.
    pub fn broken(&self) -> u64 {
        self.rx.broken()
    }

    /// What the kernel has counted.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn statistics(&self) -> Result<QueueStatistics, Errno> {
        self.socket.statistics()
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.socket.keep(self.lent.take());
    }
}

/// The end of a queue by which frames go out. Used by one thread at a time.
pub struct Sender {
    tx: Producer<Descriptor>,
    completion: Consumer<u64>,
    lent: Option<Lent>,
    page_bytes: Option<u64>,
    most_pieces: u32,
    has_pending: bool,
    socket: Arc<Socket>,
}

impl Sender {
    /// Whether there is room for one more frame.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        self.tx.room(self.most_pieces) >= self.most_pieces
    }

    /// Puts a packet into the ring, for [`Sender::kick`] to send.
    ///
    /// # Errors
    /// It has no bytes, shares buffers or has too many, lies where the device cannot read it, or there is no room.
    #[inline]
    pub fn send(&mut self, worker: &Worker<'_>, mut packet: HeldPacket) -> Result<(), HeldPacket> {
        if !self.has_room() || self.page_bytes.is_some() && self.lies_apart(worker, &mut packet) {
            return Err(packet);
        }
        let Some(lent) = &mut self.lent else { return Err(packet) };
        let tx = &mut self.tx;
        lent.lend(worker, packet, self.most_pieces as usize, |piece, more| {
            let options = if more { MORE_FOLLOWS } else { 0 };
            // `has_room` has found room for the most pieces.
            tx.push(Descriptor { address: piece.offset(), length: piece.len_bytes(), options });
        })?;
        Ok(())
    }

    /// Whether a piece of the packet reaches from one page into the next.
    #[cold]
    fn lies_apart(&self, worker: &Worker<'_>, packet: &mut HeldPacket) -> bool {
        let base = self.socket.memory.base().as_ptr().addr();
        let view = worker.open(packet);
        view.segments().any(|segment| {
            let start = segment.as_ptr().addr().wrapping_sub(base) as u64;
            is_apart(start, segment.len() as u64, self.page_bytes)
        })
    }

    /// Has the kernel send what was put in. What it cannot take now stays in the ring: see [`Sender::has_pending`].
    pub fn kick(&mut self, worker: &Worker<'_>) {
        self.tx.submit();
        let mut left = self.tx.fill();
        for _ in 0..MOST_KICKS {
            if left == 0 || !self.tx.needs_wakeup() {
                break;
            }
            let outcome = rustix::net::send(self.socket.fd(), &[], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            self.reap(worker);
            let now_left = self.tx.fill();
            match outcome {
                // It takes so many at a time.
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) if now_left < left => left = now_left,
                _ => {
                    left = now_left;
                    break;
                }
            }
        }
        self.has_pending = left > 0 && self.tx.needs_wakeup();
    }

    /// Whether frames wait in the ring for another [`Sender::kick`].
    pub fn has_pending(&self) -> bool {
        self.has_pending
    }

    /// Gives buffers back to the pool whose frames were sent.
    #[inline]
    pub fn reap(&mut self, worker: &Worker<'_>) {
        let Some(lent) = &mut self.lent else { return };
        if lent.count() == 0 {
            return;
        }
        let completion = &mut self.completion;
        lent.give_back(worker, std::iter::from_fn(|| completion.pop()));
        completion.release();
    }

    /// Buffers that the kernel has.
    pub fn under_way(&self) -> usize {
        self.lent.as_ref().map_or(0, Lent::count)
    }

    /// How often the kernel's index of the completion ring was impossible.
    pub fn broken(&self) -> u64 {
        self.completion.broken()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.socket.keep(self.lent.take());
    }
}

/// Pieces of a frame that is sent, at most.
fn most_pieces(zero_copy: bool, in_pieces: bool) -> u32 {
    match (in_pieces, zero_copy) {
        (false, _) => 1,
        (true, true) => MOST_PIECES_WITHOUT_COPY,
        (true, false) => MOST_PIECES,
    }
}

/// Whether `length` bytes from `start` on reach from one page into the next.
#[inline(always)]
fn is_apart(start: u64, length: u64, page_bytes: Option<u64>) -> bool {
    page_bytes.is_some_and(|page| start / page != (start + length.max(1) - 1) / page)
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
