//! The last adjacency of a frame, ready to be applied: the plain case of the fast path.
//!
//! A thread keeps it for one frame at most. That is sound: a rewrite's bytes change only after a quiescent point behind
//! the moment at which the adjacency stopped being complete.
#![forbid(unsafe_code)]

use raddle_plugin_api::wire::EthernetHeader;
use raddle_plugin_api::{ArcIndex, Env, InterfaceIndex, Node, Packet};

use super::adjacency::AdjacencyTable;

/// An adjacency as one frame's packets see it, if it is of the plain kind: complete, an Ethernet header in front, no
/// feature on the way out.
pub struct PlainHop {
    adjacency: u32,
    /// Largest L3 packet; 0 where the adjacency is of another kind, so that no packet fits.
    mtu: usize,
    interface: InterfaceIndex,
    header: [u8; EthernetHeader::LENGTH],
}

impl PlainHop {
    /// None yet.
    #[inline(always)]
    pub const fn none() -> Self {
        Self {
            adjacency: u32::MAX,
            mtu: 0,
            interface: InterfaceIndex::NONE,
            header: [0; EthernetHeader::LENGTH],
        }
    }

    /// Makes this the hop of `adjacency`, if it is not already. `output` is the arc of features on the way out.
    #[inline(always)]
    pub fn turn_to<N: Node>(
        &mut self,
        adjacency: u32,
        table: &AdjacencyTable,
        output: ArcIndex,
        env: &Env<'_, N>,
    ) {
        if adjacency != self.adjacency {
            let row = table.get(adjacency);
            self.adjacency = adjacency;
            self.interface = row.interface();
            let is_plain = row.is_plain_ethernet() && env.arc_mask(output, self.interface) == 0;
            self.mtu = if is_plain { row.mtu() } else { 0 };
            row.write_ethernet(&mut self.header);
        }
    }

    /// Whether the packet, whose first byte is that of its L3 header of `length` bytes in all, may take this hop as it is.
    #[inline(always)]
    pub fn takes(&self, packet: &Packet<'_>, length: usize) -> bool {
        length <= self.mtu || self.takes_large(packet)
    }

    #[cold]
    fn takes_large(&self, packet: &Packet<'_>) -> bool {
        self.mtu > 0 && super::mtu::fits(packet, self.mtu)
    }

    /// Puts the Ethernet header in front, and says where the packet leaves. `false` where there is no room in front.
    #[inline(always)]
    pub fn apply(&self, packet: &mut Packet<'_>) -> bool {
        packet.mark_l3();
        packet.set_adjacency(self.adjacency);
        packet.set_tx_interface(self.interface);
        let Some(front) = packet.prepend(EthernetHeader::LENGTH).and_then(|bytes| bytes.first_chunk_mut())
        else {
            return false;
        };
        *front = self.header;
        true
    }
}
