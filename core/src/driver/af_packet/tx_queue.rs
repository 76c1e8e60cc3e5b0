//! Sending: frames by the ring, those too large for a slot by a plain socket.

use std::io::IoSlice;
use std::sync::Arc;

use raddle_plugin_api::Packet;
use raddle_plugin_api::driver::{Transmit, TxQueue};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use super::ring::Ring;
use super::slot::{
    TP_STATUS_AVAILABLE, TP_STATUS_SEND_REQUEST, TP_STATUS_WRONG_FORMAT, TX_OVERHEAD_BYTES, TX_STATUS_MASK,
    with_linear_length, write,
};
use super::socket::PacketSocket;
use crate::driver::counts::QueueCounts;
use crate::driver::vnet::{ETHERNET_BYTES, VNET_BYTES, encode};

/// A thread's transmit queue.
///
/// A frame that is larger than a slot, as GSO packets are, goes by a socket without a ring: the kernel then copies it
/// once, from the buffers, where from a ring it would copy again whenever the frame outlives the slot.
pub struct AfPacketTx {
    socket: PacketSocket,
    plain: PacketSocket,
    ring: Ring,
    next: u32,
    /// Slots in front of `next` that the kernel has not been told of.
    filled: u32,
    counts: Arc<QueueCounts>,
}

impl AfPacketTx {
    pub(super) fn new(
        socket: PacketSocket,
        plain: PacketSocket,
        ring: Ring,
        counts: Arc<QueueCounts>,
    ) -> Self {
        Self { socket, plain, ring, next: 0, filled: 0, counts }
    }

    #[inline]
    fn next_is_free(&self) -> bool {
        self.filled < self.ring.geometry().slots()
            && self.ring.status(self.next) & TX_STATUS_MASK == TP_STATUS_AVAILABLE
    }

    /// Puts a packet into slot `next`.
    #[inline]
    fn fill(&mut self, packet: &Packet<'_>, length: usize, vnet: [u8; VNET_BYTES]) -> bool {
        let vnet = if packet.is_gso() { vnet } else { with_linear_length(vnet, length) };
        if !write(self.ring.slot_mut(self.next), &vnet, length, packet.segments()) {
            return false;
        }
        self.ring.set_status(self.next, TP_STATUS_SEND_REQUEST);
        self.next = self.ring.geometry().after(self.next);
        self.filled += 1;
        true
    }

    /// Has the kernel send what was filled in; returns how many it took. Slots that it did not take are taken back: the
    /// next to be filled is always the one that the kernel looks at next.
    fn kick(&mut self) -> usize {
        if self.filled == 0 {
            return 0;
        }
        // What went wrong shows in the slots; the error itself says nothing more.
        let _ = rustix::net::send(&self.socket, &[], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        let left = take_back(&mut self.ring, &mut self.next, self.filled);
        let sent = self.filled - left;
        self.filled = 0;
        if left > 0 {
            self.counts.tx_refused.add(u64::from(left));
        }
        sent as usize
    }

    /// Sends a packet by the plain socket.
    fn send_large(&self, packet: &Packet<'_>, vnet: &[u8; VNET_BYTES]) -> bool {
        let mut pieces = Vec::with_capacity(40);
        pieces.push(IoSlice::new(vnet));
        pieces.extend(packet.segments().map(IoSlice::new));
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = loop {
            match rustix::net::sendmsg(&self.plain, &pieces, &mut SendAncillaryBuffer::default(), flags) {
                Err(Errno::INTR) => {}
                outcome => break outcome.is_ok(),
            }
        };
        if !sent {
            self.counts.tx_refused.add(1);
        }
        sent
    }
}

impl TxQueue for AfPacketTx {
    fn transmit(&mut self, tx: &mut Transmit<'_>) -> usize {
        let slot_room = self.ring.geometry().slot_bytes() as usize - TX_OVERHEAD_BYTES;
        let mut sent = 0;
        for position in 0..tx.len() {
            let packet = tx.packet(position);
            let length = packet.len();
            let Some(vnet) = encode(&packet, ETHERNET_BYTES) else {
                self.counts.tx_malformed.add(1);
                continue;
            };
            if length > slot_room {
                // First what stands before it.
                sent += self.kick();
                sent += usize::from(self.send_large(&packet, &vnet));
                continue;
            }
            if !self.next_is_free() {
                sent += self.kick();
                if !self.next_is_free() {
                    self.counts.tx_ring_full.add((tx.len() - position) as u64);
                    break;
                }
            }
            if !self.fill(&packet, length, vnet) {
                self.counts.tx_malformed.add(1);
            }
        }
        sent + self.kick()
    }
}

/// Takes back the slots, of the `filled` ones in front of `next`, that the kernel has left as they were; returns how
/// many. It sends them in order, so they are the last ones.
fn take_back(ring: &mut Ring, next: &mut u32, filled: u32) -> u32 {
    let mut left = 0;
    while left < filled {
        let last = ring.geometry().before(*next);
        if ring.status(last) & (TP_STATUS_SEND_REQUEST | TP_STATUS_WRONG_FORMAT) == 0 {
            break;
        }
        ring.set_status(last, TP_STATUS_AVAILABLE);
        *next = last;
        left += 1;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::super::ring::Geometry;
    use super::*;

    /// Of a ring whose last filled slots have these statuses, the number taken back.
    fn taken_back(statuses: &[u32]) -> (u32, u32) {
        let mut ring = Ring::anonymous(Geometry::new(2048, 64));
        let last = ring.geometry().slots() - 1;
        // Around the end of the ring.
        let mut next = last;
        for status in statuses {
            ring.set_status(next, *status);
            next = ring.geometry().after(next);
        }
        let end = next;
        let left = take_back(&mut ring, &mut next, statuses.len() as u32);
        let mut expected = end;
        for _ in 0..left {
            expected = ring.geometry().before(expected);
            assert_eq!(ring.status(expected), TP_STATUS_AVAILABLE);
        }
        assert_eq!(next, expected);
        (left, statuses.len() as u32 - left)
    }

    #[test]
    fn what_the_kernel_did_not_take_is_taken_back() {
        const SENDING: u32 = 2;
        const STAMPED: u32 = 1 << 29;
        for (statuses, left) in [
            (&[][..], 0),
            (&[0, 0, 0], 0),
            (&[SENDING, 0, SENDING | STAMPED], 0),
            (&[SENDING, TP_STATUS_SEND_REQUEST, TP_STATUS_SEND_REQUEST], 2),
            (&[TP_STATUS_SEND_REQUEST; 5], 5),
            (&[0, TP_STATUS_WRONG_FORMAT, TP_STATUS_SEND_REQUEST], 2),
        ] {
            assert_eq!(taken_back(statuses).0, left, "{statuses:?}");
        }
    }
}
