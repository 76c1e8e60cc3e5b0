//! Frames of one VLAN in a row: what was found out about the first goes for the next ones with the same tag.
#![forbid(unsafe_code)]

use std::cell::Cell;

use raddle_plugin_api::wire::EthernetHeader;
use raddle_plugin_api::{Env, InterfaceIndex, Node, Packet, Tally, Worker};

use super::TAG_BYTES;

/// Addresses, one tag, and the ethertype behind it.
const HEADER: usize = EthernetHeader::LENGTH + TAG_BYTES;
/// No frame's tag, as both its ethertype and its VLAN are none.
const NO_TAG: u32 = u32::MAX;

/// The sub-interface that took a frame of the vector at hand, by its tag. To be kept for one vector: interfaces change
/// between two.
pub struct TagRun {
    /// The tag's four bytes, priority and all.
    tag: Cell<u32>,
    /// The sub-interface's MAC address, as the first bytes of a frame read as a little-endian word.
    mac: Cell<u64>,
    interface: Cell<InterfaceIndex>,
    packets: Cell<u64>,
    bytes: Cell<u64>,
}

impl Default for TagRun {
    /// No frame yet.
    fn default() -> Self {
        Self {
            tag: Cell::new(NO_TAG),
            mac: Cell::new(0),
            interface: Cell::new(InterfaceIndex::NONE),
            packets: Cell::new(0),
            bytes: Cell::new(0),
        }
    }
}

impl TagRun {
    /// A frame's first tag and what stands behind it; `None` if it is too short to have any.
    #[inline(always)]
    pub fn tag_of(frame: &[u8]) -> Option<(u32, [u8; 2])> {
        let header: &[u8; HEADER] = frame.first_chunk()?;
        let [.., a, b, c, d, e, f] = *header;
        Some((u32::from_ne_bytes([a, b, c, d]), [e, f]))
    }

    /// Frames with this tag alone, whose destination is `mac`, belong to `interface`.
    pub fn learn(
        &self,
        worker: &Worker<'_>,
        tally: &mut Tally,
        tag: u32,
        mac: u64,
        interface: InterfaceIndex,
    ) {
        self.flush(worker, tally);
        self.tag.set(tag);
        self.mac.set(mac);
        self.interface.set(interface);
    }

    /// Whether a frame with this tag and destination is known.
    #[inline(always)]
    pub fn knows(&self, tag: u32, destination: u64) -> bool {
        tag == self.tag.get() && destination == self.mac.get()
    }

    /// Takes a known frame to its sub-interface, with its network header in front.
    #[inline(always)]
    pub fn receive<N: Node>(&self, env: &Env<'_, N>, packet: &mut Packet<'_>) {
        env.receive_on(packet, self.interface.get());
        self.packets.set(self.packets.get() + 1);
        // Tags do not count, here as on the long way.
        self.bytes.set(self.bytes.get() + (packet.len() - TAG_BYTES) as u64);
        // What looks back at the header finds an untagged one, as on the long way. The header was seen.
        if let Some(front) = packet.bytes_mut().first_chunk_mut::<{ HEADER - 2 }>() {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *front;
            *front = [m, n, o, p, a, b, c, d, e, f, g, h, i, j, k, l];
        }
        packet.advance(HEADER);
    }

    /// Adds what was received to the sub-interface's counters.
    pub fn flush(&self, worker: &Worker<'_>, tally: &mut Tally) {
        let (packets, bytes) = (self.packets.take(), self.bytes.take());
        if packets > 0 {
            tally.add_many(worker, self.interface.get(), packets, bytes);
        }
    }
}
