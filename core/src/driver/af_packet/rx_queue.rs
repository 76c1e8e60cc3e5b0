//! Receiving: frames from the ring, those too large for a slot from the socket's queue.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use raddle_plugin_api::Packet;
use raddle_plugin_api::driver::{Receive, RxQueue, SpareBuffers};
use raddle_plugin_api::wire::Offload;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags};

use super::ring::Ring;
use super::slot::{StrippedTag, TP_STATUS_COPY, TP_STATUS_KERNEL, TP_STATUS_LOSING, TP_STATUS_USER, parse};
use super::socket::PacketSocket;
use crate::driver::counts::QueueCounts;
use crate::driver::vnet::{BURST_BYTES, ETHERNET_BYTES, VNET_BYTES, decode, take_off};

/// The largest frame: an IP packet of 64 KiB behind an Ethernet header, in bytes.
const MAX_FRAME_BYTES: usize = 65_535 + 14;
/// After so many calls that found nothing the socket itself is asked: a pending error of it keeps its descriptor
/// readable until somebody does.
const QUIET_CALLS: u32 = 256;

/// A receive queue: a socket and its ring.
///
/// The kernel hands frames over one by one (TPACKET_V2), so that none waits for a block to fill. A frame that is larger
/// than a slot, as GSO packets are, stands whole in the socket's queue too and is read from there straight into buffers.
pub struct AfPacketRx {
    socket: Arc<PacketSocket>,
    ring: Ring,
    next: u32,
    quiet: u32,
    spare: SpareBuffers,
    counts: Arc<QueueCounts>,
}

impl AfPacketRx {
    pub(super) fn new(socket: Arc<PacketSocket>, ring: Ring, counts: Arc<QueueCounts>) -> Self {
        Self { socket, ring, next: 0, quiet: 0, spare: SpareBuffers::default(), counts }
    }

    /// Takes the frame in slot `next`, whose status is `status`; returns how many bytes it copied from the socket's queue.
    #[inline]
    fn take(&mut self, rx: &mut Receive<'_>, status: u32) -> usize {
        let frame = match parse(self.ring.slot(self.next), status) {
            Ok(frame) => frame,
            Err(_) => {
                self.lose_malformed(rx);
                if status & TP_STATUS_COPY != 0 {
                    self.read(rx, None, true);
                }
                return 0;
            }
        };
        if frame.whole && status & TP_STATUS_COPY == 0 {
            if frame.outgoing {
                return 0;
            }
            match decode(frame.vnet, frame.bytes.len()) {
                Some(offload) => {
                    rx.push(frame.bytes, |packet| finish(packet, &offload, frame.tag));
                }
                None => self.lose_malformed(rx),
            }
        } else if status & TP_STATUS_COPY != 0 {
            let (tag, outgoing) = (frame.tag, frame.outgoing);
            return self.read(rx, tag, outgoing).unwrap_or(0);
        } else if !frame.outgoing {
            self.counts.rx_truncated.add(1);
            rx.count_lost(1);
        }
        0
    }

    /// Reads a frame from the socket's queue, or throws it away; returns its length, or `None` if there was none.
    fn read(&mut self, rx: &mut Receive<'_>, tag: Option<StrippedTag>, throw_away: bool) -> Option<usize> {
        if throw_away {
            return receive(&self.socket, &mut []).ok().flatten();
        }
        let mut outcome = Ok(None);
        let socket = &self.socket;
        let held = rx.read(&mut self.spare, VNET_BYTES, VNET_BYTES + MAX_FRAME_BYTES, |pieces| {
            outcome = receive(socket, pieces);
            // Without pieces the frame is thrown away, which is counted by the caller.
            if pieces.is_empty() { Ok(Some(0)) } else { outcome }
        });
        match held {
            Ok(Some(mut held)) => {
                let mut packet = rx.worker().open(&mut held);
                let offload = take_off(&mut packet, ETHERNET_BYTES);
                match offload {
                    Some(offload) => {
                        finish(&mut packet, &offload, tag);
                        rx.push_held(held);
                    }
                    None => self.lose_malformed(rx),
                }
            }
            // Larger than any frame can be: what is cut off is of no use.
            Ok(None) => {
                if let Ok(Some(length)) = outcome
                    && length > VNET_BYTES + MAX_FRAME_BYTES
                {
                    self.counts.rx_truncated.add(1);
                    rx.count_lost(1);
                }
            }
            Err(_) => return None,
        }
        outcome.ok().flatten()
    }

    /// Reads what stands in the socket's queue without a slot that says so, and takes the socket's pending error, if
    /// there is one.
    #[cold]
    fn settle(&mut self, rx: &mut Receive<'_>) {
        self.count_overruns(rx);
        while rx.room() > 0 && self.read(rx, None, false).is_some() {}
    }

    #[cold]
    fn lose_malformed(&self, rx: &mut Receive<'_>) {
        self.counts.rx_malformed.add(1);
        rx.count_lost(1);
    }

    #[cold]
    fn count_overruns(&self, rx: &mut Receive<'_>) {
        let lost = self.socket.take_losses();
        self.counts.rx_overruns.add(lost);
        rx.count_lost(lost);
    }
}

impl RxQueue for AfPacketRx {
    fn receive(&mut self, rx: &mut Receive<'_>) {
        let first = self.next;
        let (mut losing, mut copied) = (0, 0);
        while rx.room() > 0 && copied < BURST_BYTES {
            let status = self.ring.status(self.next);
            if status & TP_STATUS_USER == 0 {
                break;
            }
            copied += self.take(rx, status);
            losing |= status & TP_STATUS_LOSING;
            self.ring.set_status(self.next, TP_STATUS_KERNEL);
            self.next = self.ring.geometry().after(self.next);
        }
        if losing != 0 {
            self.count_overruns(rx);
        }
        if self.next != first {
            self.quiet = 0;
            return;
        }
        self.quiet += 1;
        if self.quiet >= QUIET_CALLS {
            self.quiet = 0;
            self.settle(rx);
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }
}

/// Reads one frame with its header into `pieces`, which may be empty to throw it away. `None` when there is none.
fn receive(socket: &PacketSocket, pieces: &mut [IoSliceMut<'_>]) -> Result<Option<usize>, Errno> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    match rustix::net::recvmsg(socket, pieces, &mut RecvAncillaryBuffer::default(), flags) {
        Ok(message) => Ok(Some(message.bytes)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Notes what is left to be done to a packet, and puts back the tag that the kernel took out.
#[inline]
fn finish(packet: &mut Packet<'_>, offload: &Offload, tag: Option<StrippedTag>) {
    packet.set_offload(offload);
    if let Some(tag) = tag {
        insert_tag(packet, tag);
    }
}

/// Puts a tag behind the addresses (IEEE 802.1Q §9.3).
fn insert_tag(packet: &mut Packet<'_>, tag: StrippedTag) {
    let Some(bytes) = packet.prepend(4) else { return };
    if bytes.len() < 4 + 14 {
        return;
    }
    bytes.copy_within(4..16, 0);
    bytes[12..14].copy_from_slice(&tag.ethertype.to_be_bytes());
    bytes[14..16].copy_from_slice(&tag.control.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::ring::Geometry;
    use super::*;
    use crate::driver::test_host::TestHost;

    /// A queue on a ring that no kernel knows.
    fn queue() -> AfPacketRx {
        let socket = Arc::new(PacketSocket::stand_in());
        AfPacketRx::new(socket, Ring::anonymous(Geometry::new(2048, 64)), Arc::default())
    }

    fn put(queue: &mut AfPacketRx, index: u32, length: u32, here: u32, start: u16, status: u32) {
        let slot = queue.ring.slot_mut(index);
        slot[4..8].copy_from_slice(&length.to_ne_bytes());
        slot[8..12].copy_from_slice(&here.to_ne_bytes());
        slot[12..14].copy_from_slice(&start.to_ne_bytes());
        slot[24..26].copy_from_slice(&0x0064_u16.to_ne_bytes());
        for (position, byte) in slot[76..].iter_mut().enumerate() {
            *byte = position as u8;
        }
        queue.ring.set_status(index, status);
    }

    #[test]
    fn malformed_slots_are_skipped_and_counted() {
        let mut queue = queue();
        put(&mut queue, 0, 60, 60, 4000, TP_STATUS_USER);
        put(&mut queue, 1, 60, 61, 76, TP_STATUS_USER);
        put(&mut queue, 2, 60, 60, 76, TP_STATUS_USER);
        put(&mut queue, 3, 9000, 1900, 76, TP_STATUS_USER);
        put(&mut queue, 4, 9000, 1900, 76, TP_STATUS_USER | TP_STATUS_COPY);
        put(&mut queue, 5, 61, 61, 76, TP_STATUS_USER);
        let counts = Arc::clone(&queue.counts);
        let host = TestHost::new();
        let mut queue = host.rx_queue::<crate::driver::af_packet::AfPacket>(queue);
        let received = queue.receive(256);
        assert_eq!(received.packets.iter().map(|packet| packet.bytes.len()).collect::<Vec<_>>(), [60, 61]);
        assert_eq!((counts.rx_malformed.sum(), counts.rx_truncated.sum()), (2, 1));
        assert_eq!(received.lost, 3, "a copy that is not in the queue is known to the kernel alone");
        assert_eq!(queue.receive(256).packets.len(), 0);
    }

    #[test]
    fn stripped_tag_comes_back() {
        let mut queue = queue();
        put(&mut queue, 0, 60, 60, 76, TP_STATUS_USER | 1 << 4);
        let host = TestHost::new();
        let received = host.rx_queue::<crate::driver::af_packet::AfPacket>(queue).receive(1);
        let bytes = &received.packets[0].bytes;
        assert_eq!(bytes.len(), 64);
        assert_eq!(bytes[..18], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x81, 0, 0, 100, 12, 13]);
    }

    #[test]
    fn ring_goes_around_and_stops_at_the_limit() {
        let mut queue = queue();
        let slots = queue.ring.geometry().slots();
        for index in 0..slots {
            put(&mut queue, index, 60, 60, 76, TP_STATUS_USER);
        }
        let host = TestHost::new();
        let mut queue = host.rx_queue::<crate::driver::af_packet::AfPacket>(queue);
        let mut left = slots as usize;
        while left > 0 {
            let count = queue.receive(10).packets.len();
            assert_eq!(count, left.min(10));
            left -= count;
        }
        for _ in 0..QUIET_CALLS * 2 {
            assert_eq!(queue.receive(10).packets.len(), 0);
        }
    }
}
