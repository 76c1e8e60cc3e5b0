//! `neighbor-drop`: where packets end that waited for a neighbour and found no room, or whose neighbour was forgotten.

use raddle_plugin_api::prelude::*;

use super::DropReason;

error! {
    /// Why packets are dropped.
    pub enum NeighborDropError {
        QueueFull => "queue-full": "too many packets wait for the neighbour, or on the interface",
        TooMany => "too-many-neighbors": "too many neighbours are being resolved, or the table is full",
        Removed => "neighbor-removed": "the neighbour was removed while packets waited for it",
        RateLimited => "solicitations-limited": "the interface has asked for as many neighbours as it may in a second",
    }
}

/// The node.
pub struct NeighborDrop;

impl NeighborDrop {
    /// Notes on the packet why it is dropped. Its adjacency means nothing any more: it holds the reason.
    pub(super) fn mark(packet: &mut Packet<'_>, reason: DropReason) {
        packet.set_adjacency(reason as u32);
    }
}

impl Node for NeighborDrop {
    const NAME: &'static str = "neighbor-drop";
    type Next = NoNext;
    type Error = NeighborDropError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        const QUEUE_FULL: u32 = DropReason::QueueFull as u32;
        const RATE_LIMITED: u32 = DropReason::RateLimited as u32;
        const TOO_MANY: u32 = DropReason::TooMany as u32;
        vector.each(|_, packet| {
            Verdict::Drop(match packet.adjacency() {
                QUEUE_FULL => NeighborDropError::QueueFull,
                TOO_MANY => NeighborDropError::TooMany,
                RATE_LIMITED => NeighborDropError::RateLimited,
                _ => NeighborDropError::Removed,
            })
        });
    }
}

node!(NeighborDrop);
