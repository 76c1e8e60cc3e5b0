//! The last adjacency of a frame, ready to be applied: the plain case of the fast path.
//!
//! A thread keeps it for one frame at most. That is sound: a rewrite's bytes change only after a quiescent point behind
//! the moment at which the adjacency stopped being complete.
#![forbid(unsafe_code)]

use raddle_plugin_api::wire::EthernetHeader;
use raddle_plugin_api::{ArcIndex, Env, InterfaceIndex, Node, Packet};

use super::adjacency::{AdjacencyKind, AdjacencyTable};

/// An adjacency as one frame's packets see it, if it is of the plain kind: complete, an Ethernet header in front, no
/// feature on the way out, no redirects to be made.
pub struct PlainHop {
    adjacency: u32,
    /// Largest L3 packet; 0 where the adjacency is of another kind, so that no packet fits.
    mtu: usize,
    /// What is next for what does not take the hop as it is.
    kind: AdjacencyKind,
    interface: InterfaceIndex,
    /// Packets that leave by this interface are not plain: redirects are made of them.
    redirecting: InterfaceIndex,
    /// The Ethernet header as it lies in memory: two words, as those stay in registers.
    first: u64,
    second: u64,
}

impl PlainHop {
    /// None yet. `redirecting` is the interface, if any, of which packets that leave by it again are not plain: redirects
    /// are made of them.
    #[inline(always)]
    pub const fn none(redirecting: InterfaceIndex) -> Self {
        let interface = InterfaceIndex::NONE;
        let kind = AdjacencyKind::Drop;
        Self { adjacency: u32::MAX, mtu: 0, kind, interface, redirecting, first: 0, second: 0 }
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
            let is_plain = row.is_plain_ethernet()
                && self.interface != self.redirecting
                && env.arc_mask(output, self.interface) == 0;
            self.mtu = if is_plain { row.mtu() } else { 0 };
            self.kind = row.kind();
            [self.first, self.second] = row.ethernet();
        }
    }

    /// Whether a packet of `length` bytes from its L3 header on may take this hop as it is.
    #[inline(always)]
    pub fn takes(&self, length: usize) -> bool {
        length <= self.mtu
    }

    /// Whether the rewrite node is next for a packet, with hops left, that does not take the hop as it is.
    #[inline(always)]
    pub fn rewrites(&self) -> bool {
        self.kind == AdjacencyKind::Rewrite
    }

    /// Whether the packet is for raddle itself.
    #[inline(always)]
    pub fn is_local(&self) -> bool {
        self.kind == AdjacencyKind::Local
    }

    /// As [`Self::takes`], of a packet that is longer: a GSO packet may stand for packets that fit.
    pub fn takes_large(&self, packet: &Packet<'_>) -> bool {
        self.mtu > 0 && super::mtu::fits(packet, self.mtu)
    }

    /// Puts the Ethernet header in front, and says where the packet leaves. `false` where there is no room in front.
    #[inline(always)]
    pub fn apply(&self, packet: &mut Packet<'_>) -> bool {
        packet.mark_l3();
        packet.set_adjacency(self.adjacency);
        packet.set_tx_interface(self.interface);
        let Some(front) = packet.prepend_array::<{ EthernetHeader::LENGTH }>() else {
            return false;
        };
        let [a, b, c, d, e, f, ..] = self.second.to_ne_bytes();
        if let Some((first, rest)) = front.split_first_chunk_mut()
            && let Some((second, rest)) = rest.split_first_chunk_mut()
            && let Some((third, [])) = rest.split_first_chunk_mut()
        {
            (*first, *second, *third) = (self.first.to_ne_bytes(), [a, b, c, d], [e, f]);
        }
        true
    }
}
