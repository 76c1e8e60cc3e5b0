//! An AF_XDP socket: its memory, its rings, the queue that it is bound to, and its end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use raddle_plugin_api::abi::{BUFFER_DATA_BYTES, BUFFER_DATA_OFFSET};
use raddle_plugin_api::{BufferMemory, Lent};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XdpOptionsFlags, XdpUmemReg,
    XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::option::prefer_busy_polling;
use crate::ring::{Consumer, Descriptor, Gauge, Producer};

const PAGE_OFFSET_RX: u64 = 0;
const PAGE_OFFSET_TX: u64 = 0x8000_0000;
const PAGE_OFFSET_FILL: u64 = 0x1_0000_0000;
const PAGE_OFFSET_COMPLETION: u64 = 0x1_8000_0000;

/// What the kernel leaves free in front of a frame (`XDP_PACKET_HEADROOM`): a buffer has as much there, so that frames land where
/// packets begin.
const KERNEL_HEADROOM: usize = 256;
const _: () = assert!(KERNEL_HEADROOM == BUFFER_DATA_OFFSET);
/// A buffer as the kernel sees it.
pub(crate) const CHUNK_BYTES: u32 = (BUFFER_DATA_OFFSET + BUFFER_DATA_BYTES) as u32;

/// Frames under way that the link has not sent yet, at most, in bytes.
const SEND_BUFFER_BYTES: usize = 8 << 20;
/// A queue that was closed just now may be taken for a moment.
const BUSY_PATIENCE: Duration = Duration::from_millis(1500);
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// What of the buffers a socket that only looks whether a queue is free shares with the kernel, in bytes.
const PROBE_BYTES: usize = 64 << 10;

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
    /// Frames for which there was no buffer, that were larger than one, or that came in pieces where that was not asked for.
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

pub(crate) struct Socket {
    /// `None` once closed.
    pub(crate) fd: Option<OwnedFd>,
    pub(crate) memory: BufferMemory,
    pub(crate) link: u32,
    pub(crate) queue: u32,
    pub(crate) zero_copy: bool,
    pub(crate) in_pieces: bool,
    /// Of the rings: receive, fill, transmit, completion.
    pub(crate) gauges: Option<[Gauge; 4]>,
    /// Books of ends that are gone.
    pub(crate) left: Mutex<Vec<Lent>>,
}

impl Socket {
    /// A socket that is bound to a queue of a link, with its rings. One that another program has just closed is waited for.
    pub(crate) fn open(
        memory: &BufferMemory,
        (link, queue): (u32, u32),
        options: &Options,
        sharing: Option<&Self>,
    ) -> Result<(Self, Rings), BindError> {
        let end = Instant::now() + BUSY_PATIENCE;
        let (fd, rings, in_pieces) = loop {
            let area = sharing.map_or(Area::Own(memory, memory.len_bytes()), Area::Of);
            match open_once(area, (link, queue), options) {
                Err(BindError { error: Errno::BUSY, .. }) if Instant::now() < end => {
                    std::thread::sleep(BUSY_PAUSE);
                }
                outcome => break outcome?,
            }
        };
        let zero_copy = sockopt::xdp_options(&fd)
            .is_ok_and(|options| options.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY));
        let gauges = [rings.rx.gauge(), rings.fill.gauge(), rings.tx.gauge(), rings.completion.gauge()];
        let socket = Self {
            fd: Some(fd),
            memory: memory.clone(),
            link,
            queue,
            zero_copy,
            in_pieces,
            gauges: Some(gauges),
            left: Mutex::default(),
        };
        Ok((socket, rings))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // It is taken by `drop` alone.
        self.fd.as_ref().map_or_else(|| unreachable!("an open socket"), AsFd::as_fd)
    }

    /// Keeps the book of an end that is gone until the socket is closed.
    pub(crate) fn keep(&self, book: Option<Lent>) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).extend(book);
    }

    /// What the kernel has counted.
    pub(crate) fn statistics(&self) -> Result<QueueStatistics, Errno> {
        let counts = sockopt::xdp_statistics(self.fd())?;
        Ok(QueueStatistics {
            rx_dropped: counts.rx_dropped,
            rx_invalid: counts.rx_invalid_descs,
            tx_invalid: counts.tx_invalid_descs,
            rx_ring_full: counts.rx_ring_full.unwrap_or(0),
            fill_ring_empty: counts.rx_fill_ring_empty_descs.unwrap_or(0),
            tx_ring_empty: counts.tx_ring_empty_descs.unwrap_or(0),
        })
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
        let bytes = self.memory.len_bytes().min(PROBE_BYTES);
        let probe = || open_once(Area::Own(&self.memory, bytes), (self.link, self.queue), &options).map(drop);
        while !shows_free(probe()) {
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

/// Whether the queue had been let go of when a socket was to be bound to it.
fn shows_free(outcome: Result<(), BindError>) -> bool {
    match outcome {
        Ok(()) => true,
        // It is taken, or the kernel did not come to look.
        Err(BindError { step: Step::Bind, error }) => {
            !matches!(error, Errno::BUSY | Errno::NOMEM | Errno::NOBUFS | Errno::AGAIN | Errno::INTR)
        }
        Err(_) => false,
    }
}

/// The memory of a socket.
#[derive(Clone, Copy)]
enum Area<'a> {
    /// The first bytes of the buffers, so many.
    Own(&'a BufferMemory, usize),
    /// That of another socket.
    Of(&'a Socket),
}

pub(crate) struct Rings {
    pub(crate) rx: Consumer<Descriptor>,
    pub(crate) fill: Producer<u64>,
    pub(crate) tx: Producer<Descriptor>,
    pub(crate) completion: Consumer<u64>,
}

fn open_once(
    area: Area<'_>,
    (link, queue): (u32, u32),
    options: &Options,
) -> Result<(OwnedFd, Rings, bool), BindError> {
    let failed = |step| move |error| BindError { step, error };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, flags, None)
        .map_err(failed(Step::Socket))?;
    if let Area::Own(memory, bytes) = area {
        let area = XdpUmemReg {
            addr: memory.base().as_ptr().expose_provenance() as u64,
            len: bytes as u64,
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
    let in_pieces = bind(&fd, (link, queue), options, area).map_err(failed(Step::Bind))?;
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
fn bind(fd: &OwnedFd, (link, queue): (u32, u32), options: &Options, area: Area<'_>) -> Result<bool, Errno> {
    if let Area::Of(first) = area {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_queue_that_was_asked_for_is_taken_for_free() {
        assert!(shows_free(Ok(())));
        for (step, error, free) in [
            (Step::Bind, Errno::BUSY, false),
            (Step::Bind, Errno::NOMEM, false),
            (Step::Bind, Errno::NODEV, true),
            (Step::Bind, Errno::INVAL, true),
            (Step::Socket, Errno::MFILE, false),
            (Step::Memory, Errno::NOBUFS, false),
            (Step::Rings, Errno::NOMEM, false),
        ] {
            assert_eq!(shows_free(Err(BindError { step, error })), free, "{step:?} {error}");
        }
    }
}
