//! Receiving: what the host sends to the tap, read straight into buffers.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use raddle_plugin_api::driver::{Receive, RxQueue, SpareBuffers};
use rustix::event::epoll;
use rustix::io::Errno;

use super::sys::TapQueue;
use crate::driver::counts::QueueCounts;
use crate::driver::vnet::{BURST_BYTES, VNET_BYTES, take_off};

/// The largest frame: an IP packet of 64 KiB behind an Ethernet header with a tag, in bytes.
const MAX_FRAME_BYTES: usize = 65_535 + 14 + 4;

/// A receive queue of a tap.
pub struct TapRx {
    queue: Arc<TapQueue>,
    /// Readable when the queue is. A queue whose tap was removed is readable for ever: it is then taken out here.
    watch: OwnedFd,
    gone: bool,
    spare: SpareBuffers,
    counts: Arc<QueueCounts>,
}

impl TapRx {
    pub(super) fn new(queue: Arc<TapQueue>, counts: Arc<QueueCounts>) -> Result<Self, Errno> {
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&watch, &*queue, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        Ok(Self { queue, watch, gone: false, spare: SpareBuffers::default(), counts })
    }

    /// Reads one frame; returns its length, or `None` when there is none.
    #[inline]
    fn take(&mut self, rx: &mut Receive<'_>) -> Result<Option<usize>, Errno> {
        let queue = &self.queue;
        let mut length = None;
        let held = rx.read(&mut self.spare, VNET_BYTES, VNET_BYTES + MAX_FRAME_BYTES, |pieces| {
            length = read(queue, pieces)?;
            Ok::<_, Errno>(length)
        })?;
        let Some(mut held) = held else {
            // Without buffers the frame was thrown away, which the SDK has counted.
            return Ok(length);
        };
        let mut packet = rx.worker().open(&mut held);
        match take_off(&mut packet, self.queue.layer().header_bytes()) {
            Some(offload) => {
                packet.set_offload(&offload);
                rx.push_held(held);
            }
            None => {
                self.counts.rx_malformed.add(1);
                rx.count_lost(1);
            }
        }
        Ok(length)
    }

    /// Falls silent: the tap was removed.
    #[cold]
    fn leave(&mut self) {
        self.gone = true;
        // It was added by `new`.
        let _ = epoll::delete(&self.watch, &*self.queue);
    }
}

impl RxQueue for TapRx {
    fn receive(&mut self, rx: &mut Receive<'_>) {
        let mut copied = 0;
        while rx.room() > 0 && copied < BURST_BYTES && !self.gone {
            match self.take(rx) {
                Ok(Some(length)) => copied += length,
                Err(Errno::INTR) => {}
                Ok(None) => break,
                Err(Errno::BADFD | Errno::NODEV | Errno::NXIO) => self.leave(),
                // The frame could not be handed over, and is lost.
                Err(_) => {
                    self.counts.rx_malformed.add(1);
                    rx.count_lost(1);
                    break;
                }
            }
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.watch.as_fd())
    }
}

/// Reads one frame with its header into `pieces`; without pieces, throws it away. `None` when there is none.
fn read(queue: &TapQueue, pieces: &mut [IoSliceMut<'_>]) -> Result<Option<usize>, Errno> {
    let outcome = if pieces.is_empty() {
        // The kernel drops what does not fit.
        rustix::io::read(queue, &mut [0_u8; 64]).map(|_| 0)
    } else {
        rustix::io::readv(queue, pieces)
    };
    match outcome {
        Ok(length) => Ok(Some(length)),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error),
    }
}
