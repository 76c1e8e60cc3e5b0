//! Receiving: frames stand in our own buffers when they are ours.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use raddle_af_xdp_sys::{QueueStatistics, Receiver};
use raddle_plugin_api::HeldPacket;
use raddle_plugin_api::driver::{Receive, RxQueue};

use crate::checksum::left_to_device;
use crate::counts::Counts;
use crate::tx_queue::SharedSender;

/// How often the kernel is asked what it has lost, in ns.
const STATISTICS_NS: u64 = 1_000_000_000;
/// A frame has at least an Ethernet header, in bytes.
const ETHERNET_BYTES: usize = 14;

/// What a receive queue shares with its device.
#[derive(Debug, Default)]
pub struct RxShared {
    /// Frames that have come by it. Its thread alone writes.
    frames: AtomicU64,
    /// What waits in the ring came while the interface was down.
    is_stale: AtomicBool,
}

impl RxShared {
    /// Frames that have come by the queue.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Has what waits in the ring thrown away: it came while the interface was down.
    pub fn discard(&self) {
        self.is_stale.store(true, Ordering::Relaxed);
    }
}

/// A receive queue.
pub struct AfXdpRx {
    receiver: Receiver,
    /// The other end: what the kernel could not send at once is sent from here.
    sender: Arc<SharedSender>,
    /// A frame of which more pieces follow; `Some(None)`: one that is lost.
    open: Option<Option<HeldPacket>>,
    fills_checksums: bool,
    next_statistics_ns: u64,
    seen: QueueStatistics,
    seen_broken: u64,
    /// Shared with the device.
    shared: Arc<RxShared>,
    counts: Arc<Counts>,
}

impl AfXdpRx {
    /// The receiving end of a queue.
    pub fn new(
        receiver: Receiver,
        sender: Arc<SharedSender>,
        fills_checksums: bool,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            receiver,
            sender,
            open: None,
            fills_checksums,
            next_statistics_ns: 0,
            seen: QueueStatistics::default(),
            seen_broken: 0,
            shared: Arc::default(),
            counts,
        }
    }

    /// What it shares with its device.
    pub fn shared(&self) -> Arc<RxShared> {
        Arc::clone(&self.shared)
    }

    /// Throws away what waits in the ring.
    #[cold]
    fn discard(&mut self, rx: &mut Receive<'_>) {
        self.shared.is_stale.store(false, Ordering::Relaxed);
        self.open = None;
        while let Some(delivery) = self.receiver.next(rx.worker()) {
            if let Some(packet) = delivery.packet {
                rx.worker().free(packet);
            }
        }
    }

    /// Joins a piece to the frame that it belongs to; returns the frame when it is whole.
    #[cold]
    fn join(&mut self, rx: &mut Receive<'_>, piece: Option<HeldPacket>, more: bool) -> Option<HeldPacket> {
        let frame = match (self.open.take(), piece) {
            (None, piece) => piece,
            (Some(Some(mut frame)), Some(piece)) => {
                let worker = rx.worker();
                let joined = worker.append_packet(&mut worker.open(&mut frame), piece);
                match joined {
                    Ok(()) => Some(frame),
                    Err(piece) => {
                        worker.free(piece);
                        worker.free(frame);
                        self.counts.rx_unusable.add(1);
                        None
                    }
                }
            }
            (Some(_), _) => None,
        };
        if more {
            self.open = Some(frame);
            return None;
        }
        if frame.is_none() {
            rx.count_lost(1);
        }
        frame
    }

    #[inline]
    fn deliver(&self, rx: &mut Receive<'_>, mut frame: HeldPacket) {
        let mut packet = rx.worker().open(&mut frame);
        let length = packet.len();
        if length < ETHERNET_BYTES {
            self.counts.rx_unusable.add(1);
            rx.count_lost(1);
            return;
        }
        if self.fills_checksums
            && let Some(offload) = left_to_device(packet.bytes(), length)
        {
            packet.set_offload(&offload);
            self.counts.rx_checksums_left.add(1);
        }
        rx.push_held(frame);
    }

    #[cold]
    fn look_at_statistics(&mut self, rx: &mut Receive<'_>) {
        let Ok(now) = self.receiver.statistics() else { return };
        // Frames for which there was no buffer are among those that were dropped.
        let lost = |counts: &QueueStatistics| counts.rx_dropped + counts.rx_ring_full;
        rx.count_lost(lost(&now).saturating_sub(lost(&self.seen)));
        self.seen = now;
        let broken = self.receiver.broken();
        self.counts.broken_rings.add(broken - self.seen_broken);
        self.seen_broken = broken;
    }
}

impl RxQueue for AfXdpRx {
    fn receive(&mut self, rx: &mut Receive<'_>) {
        if self.shared.is_stale.load(Ordering::Relaxed) {
            self.discard(rx);
        }
        let mut came = 0;
        while rx.room() > 0 {
            let Some(delivery) = self.receiver.next(rx.worker()) else { break };
            if delivery.packet.is_none() {
                self.counts.rx_malformed.add(1);
            }
            let whole = if delivery.more || self.open.is_some() {
                self.join(rx, delivery.packet, delivery.more)
            } else {
                if delivery.packet.is_none() {
                    rx.count_lost(1);
                }
                delivery.packet
            };
            if let Some(frame) = whole {
                came += 1;
                self.deliver(rx, frame);
            }
        }
        if came > 0 {
            self.shared.frames.store(self.shared.frames() + came, Ordering::Relaxed);
        }
        self.receiver.finish(rx.worker());
        if self.sender.has_pending() {
            self.sender.resume(rx.worker());
        }
        let now_ns = rx.worker().now_ns();
        if now_ns >= self.next_statistics_ns {
            self.next_statistics_ns = now_ns + STATISTICS_NS;
            self.look_at_statistics(rx);
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.receiver.as_fd())
    }

    fn wants_polling(&self) -> bool {
        self.sender.has_pending() || self.receiver.is_starved()
    }
}
