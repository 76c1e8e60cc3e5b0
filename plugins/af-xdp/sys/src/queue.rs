//! A queue of a link: its socket, whose two ends are used by different threads.
//!
//! A [`Receiver`] has the rings by which frames come in (fill and receive), a [`Sender`] those by which they go out (transmit and
//! completion). Each keeps book of the buffers that the kernel has for it. When an end is dropped its book stays with the socket,
//! and the buffers go back to the pool when that is closed: the kernel has let go of them then.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use raddle_plugin_api::abi::{BUFFER_DATA_BYTES, BUFFER_DATA_OFFSET};
use raddle_plugin_api::{BufferMemory, HeldPacket, Lent, Worker};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XdpOptionsFlags, XdpUmemReg,
    XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::option::prefer_busy_polling;
use crate::ring::{Consumer, Descriptor, Gauge, Producer};

const PAGE_OFFSET_RX: u64 = 0;
const PAGE_OFFSET_TX: u64 = 0x8000_0000;
const PAGE_OFFSET_FILL: u64 = 0x1_0000_0000;
const PAGE_OFFSET_COMPLETION: u64 = 0x1_8000_0000;

/// `XDP_PKT_CONTD`.
const MORE_FOLLOWS: u32 = 1;
/// An address has the offset within its buffer in the upper bits (`XSK_UNALIGNED_BUF_OFFSET_SHIFT`).
const OFFSET_SHIFT: u32 = 48;
/// What the kernel leaves free in front of a frame (`XDP_PACKET_HEADROOM`): a buffer has as much there, so that frames land where
/// packets begin.
const KERNEL_HEADROOM: usize = 256;
const _: () = assert!(KERNEL_HEADROOM == BUFFER_DATA_OFFSET);
/// A buffer as the kernel sees it.
const CHUNK_BYTES: u32 = (BUFFER_DATA_OFFSET + BUFFER_DATA_BYTES) as u32;

/// Pieces of a frame, at most: what the kernel makes a packet of (`MAX_SKB_FRAGS`).
const MOST_PIECES: u32 = 17;
/// Buffers are handed to the kernel when there is room for so many, or for a quarter of the ring.
const REFILL: u32 = 64;
/// Frames under way that the link has not sent yet, at most, in bytes.
const SEND_BUFFER_BYTES: usize = 8 << 20;
/// How often the kernel is asked in a row to send what it has in its ring.
const MOST_KICKS: u32 = 64;
/// A queue that was closed just now may be taken for a moment.
const BUSY_PATIENCE: Duration = Duration::from_millis(1500);
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// How the kernel and the link's driver share the buffers with us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindMode {
    /// The driver reads and writes them itself.
    ZeroCopy,
    /// The kernel copies frames out of them and into them.
    Copy,
}

/// What a queue is to be.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How buffers are shared. Queues that share their memory with another one do as that does.
    pub mode: BindMode,
    /// Entries of the receive ring, a power of two; the fill ring has twice as many.
    pub rx_size: u32,
    /// Entries of the transmit ring, a power of two; the completion ring has twice as many.
    pub tx_size: u32,
    /// Whether frames may be of several pieces, each in a buffer.
    pub in_pieces: bool,
    /// Busy polling: µs, and frames in a call.
    pub busy_poll: Option<(u32, u32)>,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To open a socket.
    Socket,
    /// To hand the buffers' memory to the kernel.
    Memory,
    /// To make the rings.
    Rings,
    /// To bind the socket to the queue.
    Bind,
    /// To ask for busy polling.
    BusyPoll,
}

/// Why there is no queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindError {
    /// What failed.
    pub step: Step,
    /// What the kernel said.
    pub error: Errno,
}

/// What the kernel counts of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStatistics {
    /// Frames that were lost for other reasons: too large for a buffer, or in pieces where that was not asked for.
    pub rx_dropped: u64,
    /// Entries of the fill ring that named no buffer.
    pub rx_invalid: u64,
    /// Entries of the transmit ring that named no buffer.
    pub tx_invalid: u64,
    /// Frames that found the receive ring full.
    pub rx_ring_full: u64,
    /// Times that the fill ring was empty when a frame came.
    pub fill_ring_empty: u64,
    /// Times that the transmit ring was empty when the driver looked.
    pub tx_ring_empty: u64,
}

/// How many entries are in a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingFill {
    /// Entries.
    pub entries: u32,
    /// Places.
    pub size: u32,
}

struct Socket {
    /// `None` once closed.
    fd: Option<OwnedFd>,
    memory: BufferMemory,
    link: u32,
    queue: u32,
    zero_copy: bool,
    in_pieces: bool,
    /// Of the rings: receive, fill, transmit, completion.
    gauges: Option<[Gauge; 4]>,
    /// Books of ends that are gone.
    left: Mutex<Vec<Lent>>,
}

impl Socket {
    fn fd(&self) -> BorrowedFd<'_> {
        // It is taken by `drop` alone.
        self.fd.as_ref().map_or_else(|| unreachable!("an open socket"), AsFd::as_fd)
    }

    fn keep(&self, book: Option<Lent>) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).extend(book);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The ends have unmapped its rings, and these were the last to look at them: this closes it.
        self.gauges = None;
        self.fd = None;
        if !self.zero_copy {
            return;
        }
        // The driver is told to stop a little later. When the queue is free to others, it has.
        let end = Instant::now() + BUSY_PATIENCE;
        let options =
            Options { mode: BindMode::Copy, rx_size: 64, tx_size: 64, in_pieces: false, busy_poll: None };
        while let Err(BindError { error: Errno::BUSY, .. }) =
            open_once(&self.memory, (self.link, self.queue), &options, None)
        {
            if Instant::now() > end {
                // Better lost than written into by a device while somebody else has them.
                let books = self.left.get_mut().unwrap_or_else(PoisonError::into_inner);
                std::mem::forget(std::mem::take(books));
                return;
            }
            std::thread::sleep(BUSY_PAUSE);
        }
    }
}

struct Rings {
    rx: Consumer<Descriptor>,
    fill: Producer<u64>,
    tx: Producer<Descriptor>,
    completion: Consumer<u64>,
}

fn open_once(
    memory: &BufferMemory,
    (link, queue): (u32, u32),
    options: &Options,
    sharing: Option<&Socket>,
) -> Result<(OwnedFd, Rings, bool), BindError> {
    let failed = |step| move |error| BindError { step, error };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, flags, None)
        .map_err(failed(Step::Socket))?;
    if sharing.is_none() {
        let area = XdpUmemReg {
            addr: memory.base().as_ptr().expose_provenance() as u64,
            len: memory.len_bytes() as u64,
            chunk_size: CHUNK_BYTES,
            headroom: 0,
            flags: XdpUmemRegFlags::XDP_UMEM_UNALIGNED_CHUNK_FLAG,
            tx_metadata_len: 0,
        };
        sockopt::set_xdp_umem_reg(&fd, area).map_err(failed(Step::Memory))?;
    }
    let rings = make_rings(&fd, options).map_err(failed(Step::Rings))?;
    // Without the capability there is as much as the system allows everyone.
    let _ = sockopt::set_socket_send_buffer_size_force(&fd, SEND_BUFFER_BYTES)
        .or_else(|_| sockopt::set_socket_send_buffer_size(&fd, SEND_BUFFER_BYTES));
    if let Some((micros, budget)) = options.busy_poll {
        prefer_busy_polling(fd.as_fd(), micros, budget).map_err(failed(Step::BusyPoll))?;
    }
    let in_pieces = bind(&fd, (link, queue), options, sharing).map_err(failed(Step::Bind))?;
    Ok((fd, rings, in_pieces))
}

fn make_rings(fd: &OwnedFd, options: &Options) -> Result<Rings, Errno> {
    let (rx, tx) = (options.rx_size, options.tx_size);
    let (fill, completion) = (rx * 2, tx * 2);
    sockopt::set_xdp_umem_fill_ring_size(fd, fill)?;
    sockopt::set_xdp_umem_completion_ring_size(fd, completion)?;
    sockopt::set_xdp_rx_ring_size(fd, rx)?;
    sockopt::set_xdp_tx_ring_size(fd, tx)?;
    let at = sockopt::xdp_mmap_offsets(fd)?;
    Ok(Rings {
        rx: Consumer::map(fd.as_fd(), PAGE_OFFSET_RX, &at.rx, rx)?,
        fill: Producer::map(fd.as_fd(), PAGE_OFFSET_FILL, &at.fr, fill)?,
        tx: Producer::map(fd.as_fd(), PAGE_OFFSET_TX, &at.tx, tx)?,
        completion: Consumer::map(fd.as_fd(), PAGE_OFFSET_COMPLETION, &at.cr, completion)?,
    })
}

/// Binds the socket; returns whether frames may be of several pieces.
fn bind(
    fd: &OwnedFd,
    (link, queue): (u32, u32),
    options: &Options,
    sharing: Option<&Socket>,
) -> Result<bool, Errno> {
    if let Some(first) = sharing {
        // All else is as with the first one.
        let addr = SocketAddrXdp::new(SocketAddrXdpFlags::XDP_SHARED_UMEM, link, queue);
        rustix::net::bind(fd, &SocketAddrXdpWithSharedUmem { addr, shared_umem_fd: first.fd() })?;
        return Ok(first.in_pieces);
    }
    let mut flags = SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
    flags |= match options.mode {
        BindMode::ZeroCopy => SocketAddrXdpFlags::XDP_ZEROCOPY,
        BindMode::Copy => SocketAddrXdpFlags::XDP_COPY,
    };
    if options.in_pieces {
        let in_pieces = SocketAddrXdp::new(flags | SocketAddrXdpFlags::XDP_USE_SG, link, queue);
        match rustix::net::bind(fd, &in_pieces) {
            Ok(()) => return Ok(true),
            // Kernels before 6.6, and drivers that cannot.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    rustix::net::bind(fd, &SocketAddrXdp::new(flags, link, queue))?;
    Ok(false)
}

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
        let end = Instant::now() + BUSY_PATIENCE;
        let first = sharing.map(|queue| &*queue.0);
        let (fd, rings, in_pieces) = loop {
            match open_once(memory, (link, queue), options, first) {
                Err(BindError { error: Errno::BUSY, .. }) if Instant::now() < end => {
                    std::thread::sleep(BUSY_PAUSE);
                }
                outcome => break outcome?,
            }
        };
        let zero_copy = sockopt::xdp_options(&fd)
            .is_ok_and(|options| options.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY));
        let Rings { rx, fill, tx, completion } = rings;
        let gauges = [rx.gauge(), fill.gauge(), tx.gauge(), completion.gauge()];
        let socket = Arc::new(Socket {
            fd: Some(fd),
            memory: memory.clone(),
            link,
            queue,
            zero_copy,
            in_pieces,
            gauges: Some(gauges),
            left: Mutex::default(),
        });
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
            most_pieces: if in_pieces { MOST_PIECES } else { 1 },
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
        statistics(&self.0)
    }
}

fn statistics(socket: &Socket) -> Result<QueueStatistics, Errno> {
    let counts = sockopt::xdp_statistics(socket.fd())?;
    Ok(QueueStatistics {
        rx_dropped: counts.rx_dropped,
        rx_invalid: counts.rx_invalid_descs,
        tx_invalid: counts.tx_invalid_descs,
        rx_ring_full: counts.rx_ring_full.unwrap_or(0),
        fill_ring_empty: counts.rx_fill_ring_empty_descs.unwrap_or(0),
        tx_ring_empty: counts.tx_ring_empty_descs.unwrap_or(0),
    })
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
        self.starves = got < room as usize;
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
        statistics(&self.socket)
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
    /// Pieces of a frame, at most.
    pub fn most_pieces(&self) -> usize {
        self.most_pieces as usize
    }

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

/// Whether `length` bytes from `start` on reach from one page into the next.
#[inline(always)]
fn is_apart(start: u64, length: u64, page_bytes: Option<u64>) -> bool {
    page_bytes.is_some_and(|page| start / page != (start + length.max(1) - 1) / page)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raddle_plugin_api::testing::{Harness, packets};

    use super::*;
    use crate::ring::tests::pair;

    /// Both ends of a queue, and in `kernel` the other sides of their rings, which no kernel has.
    struct Bench {
        host: Harness,
        receiver: Receiver,
        sender: Sender,
        rx: Producer<Descriptor>,
        fill: Consumer<u64>,
        tx: Consumer<Descriptor>,
        completion: Producer<u64>,
    }

    impl Bench {
        fn new(most_pieces: u32) -> Self {
            let mut host = Harness::builder().build();
            let memory = host.control(|control| control.buffer_memory()).unwrap();
            let fd = rustix::fs::memfd_create("no socket", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            let socket = Arc::new(Socket {
                fd: Some(fd),
                memory: memory.clone(),
                link: 0,
                queue: 0,
                zero_copy: false,
                in_pieces: true,
                gauges: None,
                left: Mutex::default(),
            });
            let (rx, rx_own) = pair(64);
            let (fill_own, fill) = pair(128);
            let (tx_own, tx) = pair(64);
            let (completion, completion_own) = pair(128);
            let receiver = Receiver {
                rx: rx_own,
                fill: fill_own,
                lent: Some(Lent::new(&memory)),
                page_bytes: None,
                busy_polls: false,
                starves: false,
                socket: Arc::clone(&socket),
            };
            let sender = Sender {
                tx: tx_own,
                completion: completion_own,
                lent: Some(Lent::new(&memory)),
                page_bytes: None,
                most_pieces,
                has_pending: false,
                socket,
            };
            Self { host, receiver, sender, rx, fill, tx, completion }
        }

        /// Has the kernel's side put entries into the receive ring; returns the lengths of what came of them.
        fn receive(&mut self, entries: &[Descriptor]) -> Vec<Option<usize>> {
            assert!(self.rx.room(entries.len() as u32) as usize >= entries.len());
            for entry in entries {
                self.rx.push(*entry);
            }
            self.rx.submit();
            let receiver = &mut self.receiver;
            self.host.worker(0, |worker| {
                let mut lengths = Vec::new();
                while let Some(Delivery { packet, .. }) = receiver.next(worker) {
                    lengths.push(packet.map(|mut packet| worker.open(&mut packet).len()));
                }
                receiver.finish(worker);
                lengths
            })
        }
    }

    #[test]
    fn buffers_go_round_by_the_fill_and_receive_rings() {
        let mut bench = Bench::new(1);
        assert!(bench.receive(&[]).is_empty());
        let first: Vec<_> = std::iter::from_fn(|| bench.fill.pop()).collect();
        bench.fill.release();
        assert_eq!(first.len(), 128, "the fill ring is full from the first call on");
        let entries: Vec<_> = first
            .iter()
            .take(64)
            .map(|&buffer| Descriptor { address: buffer | 256 << OFFSET_SHIFT, length: 60, options: 0 })
            .collect();
        assert_eq!(bench.receive(&entries), vec![Some(60); 64]);
        assert_eq!(bench.receiver.lent.as_ref().unwrap().count(), 128 + 64);
        let Bench { mut host, receiver, sender, .. } = bench;
        drop((receiver, sender));
        host.assert_no_leaks();
    }

    #[test]
    fn packets_go_out_in_their_pieces_and_come_back_once() {
        let mut bench = Bench::new(3);
        let frame = packets::udp("192.0.2.1:1", "198.51.100.2:2").payload_length(5000).ethernet().to_vec();
        let (sender, host) = (&mut bench.sender, &mut bench.host);
        host.worker(0, |worker| {
            let mut packet = worker.allocate().unwrap();
            assert!(worker.append(&mut worker.open(&mut packet), &frame));
            assert!(sender.send(worker, packet).is_ok());
            assert!(sender.send(worker, worker.allocate().unwrap()).is_err(), "it has no bytes");
            sender.kick(worker);
        });
        let pieces: Vec<_> = std::iter::from_fn(|| bench.tx.pop()).collect();
        assert_eq!(pieces.iter().map(|piece| piece.options).collect::<Vec<_>>(), [1, 1, 0]);
        assert_eq!(pieces.iter().map(|piece| piece.length as usize).sum::<usize>(), frame.len());
        assert_eq!(bench.sender.under_way(), 3);
        bench.completion.room(6);
        for piece in pieces.iter().chain(&pieces) {
            bench.completion.push(piece.address);
        }
        bench.completion.submit();
        let (sender, host) = (&mut bench.sender, &mut bench.host);
        host.worker(0, |worker| sender.reap(worker));
        assert_eq!(bench.sender.under_way(), 0);
        let Bench { mut host, receiver, sender, .. } = bench;
        drop((receiver, sender));
        host.assert_no_leaks();
    }

    proptest! {
        #[test]
        fn no_entry_of_the_kernels_makes_a_packet_of_what_it_does_not_have(
            entries in proptest::collection::vec((any::<u64>(), 0..5000_u32, any::<u32>(), 0..8_u8), 0..40),
            completions in proptest::collection::vec(any::<u64>(), 0..40),
        ) {
            let mut bench = Bench::new(1);
            bench.receive(&[]);
            let buffers: Vec<_> = std::iter::from_fn(|| bench.fill.pop()).collect();
            let entries: Vec<_> = entries
                .into_iter()
                .enumerate()
                .map(|(number, (address, length, options, kind))| {
                    // Half of them name a buffer that the kernel has, or had.
                    let near = buffers[number / 2] + address % 3000;
                    Descriptor { address: if kind < 4 { near } else { address }, length, options }
                })
                .collect();
            for length in bench.receive(&entries).into_iter().flatten() {
                prop_assert!(length <= BUFFER_DATA_BYTES + 128);
            }
            bench.completion.room(40);
            completions.iter().for_each(|&place| { bench.completion.push(place); });
            bench.completion.submit();
            let (sender, host) = (&mut bench.sender, &mut bench.host);
            host.worker(0, |worker| sender.reap(worker));
            let Bench { mut host, receiver, sender, .. } = bench;
            drop((receiver, sender));
            host.assert_no_leaks();
        }
    }

    #[test]
    fn pieces_on_one_page_are_together() {
        for (start, length, page, apart) in [
            (0, 4096, Some(4096), false),
            (1, 4096, Some(4096), true),
            (4095, 1, Some(4096), false),
            (4095, 2, Some(4096), true),
            (4096, 0, Some(4096), false),
            (4095, 9000, None, false),
        ] {
            assert_eq!(is_apart(start, length, page), apart, "{start} {length} {page:?}");
        }
    }
}
