//! How the nodes of raddle's own protocols punt: copies of what they deal with themselves, and what they have no use for.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::punt::{PuntReason, PuntReasonField};

/// Bytes of a link-layer header with two VLAN tags.
const MOST_LINK_BYTES: usize = 22;

/// A node's way to `punt`.
#[derive(Clone, Copy)]
pub struct PuntOffer {
    arc: ArcIndex,
    field: PuntReasonField,
}

impl PuntOffer {
    /// The way.
    ///
    /// # Errors
    /// There is no arc `punt`, or no room for the packets' field.
    pub fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { arc: init.arc("punt")?, field: PuntReasonField::new(init)? })
    }

    /// Whether a plugin takes punted packets that came in where this one did.
    #[inline]
    pub fn is_wanted<N: Node>(&self, env: &Env<'_, N>, packet: &Packet<'_>) -> bool {
        let interface = packet.rx_interface();
        interface != InterfaceIndex::NONE && env.arc_mask(self.arc, interface) != 0
    }

    /// Says why the packet is punted, which the caller sends on.
    #[inline]
    pub fn mark(&self, packet: &mut Packet<'_>, reason: PuntReason) {
        self.field.set(packet, reason);
    }

    /// Sends a copy of the packet to `punt`, which is `next`, if a plugin wants it. Without a buffer there is none.
    #[inline]
    pub fn copy<N: Node>(
        &self,
        env: &Env<'_, N>,
        packet: &mut Packet<'_>,
        reason: PuntReason,
        next: N::Next,
    ) {
        if self.is_wanted(env, packet) {
            self.send_copy(env, packet, reason, next);
        }
    }

    #[cold]
    fn send_copy<N: Node>(
        &self,
        env: &Env<'_, N>,
        packet: &mut Packet<'_>,
        reason: PuntReason,
        next: N::Next,
    ) {
        // The link-layer header goes with it, in the headroom.
        let link = packet.headroom().min(MOST_LINK_BYTES);
        if packet.prepend(link).is_none() {
            return;
        }
        let copy = env.worker().copy(packet, usize::MAX);
        // They were just put in front.
        packet.advance(link);
        let Some(mut copy) = copy else { return };
        let mut view = env.worker().open(&mut copy);
        view.advance(link);
        view.mark_l3();
        self.field.set(&mut view, reason);
        env.send(copy, Verdict::Next(next));
    }
}
