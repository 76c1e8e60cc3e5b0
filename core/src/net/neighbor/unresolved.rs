//! What `ip4-neighbor` and `ip6-neighbor` have in common: packets whose next hop is not known go to the main thread, in
//! one call a frame, and within bounds.

use std::net::IpAddr;
use std::sync::Arc;

use raddle_plugin_api::{Failure, HeldPacket, NodeInit, Packet, Worker};

use super::throttle::Throttle;
use super::{NeighborKey, Neighbors};
use crate::net::adjacency::AdjacencyKind;
use crate::net::forwarding::ForwardingTables;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The main thread has it.
    Kept,
    /// The adjacency is complete: on to the rewriting node.
    Rewrite,
    /// More packets for this neighbour, or for all, than the main thread is asked to keep.
    Throttled,
    /// The main thread is behind.
    Backlog,
    /// The adjacency is none of a neighbour, or was removed.
    Gone,
}

/// The state of such a node.
pub(super) struct Unresolved {
    tables: Arc<ForwardingTables>,
    neighbors: Arc<Neighbors>,
    throttle: Throttle,
    batch: Vec<(NeighborKey, HeldPacket)>,
}

impl Unresolved {
    pub(super) fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self {
            tables: init.resource()?,
            neighbors: init.resource()?,
            throttle: Throttle::default(),
            batch: Vec::new(),
        })
    }

    /// Whose neighbour a packet with that destination needs, and in which state its adjacency is.
    pub(super) fn target(&self, packet: &Packet<'_>, destination: IpAddr) -> (AdjacencyKind, NeighborKey) {
        let row = self.tables.adjacencies.get(packet.adjacency());
        let address = row.next_hop().unwrap_or(destination);
        (row.kind(), NeighborKey { interface: row.interface(), address })
    }

    /// Deals with one packet of the frame.
    pub(super) fn decide(
        &mut self,
        worker: &Worker<'_>,
        packet: &mut Packet<'_>,
        kind: AdjacencyKind,
        key: NeighborKey,
    ) -> Outcome {
        match kind {
            AdjacencyKind::Rewrite => Outcome::Rewrite,
            AdjacencyKind::Watched => {
                if self.throttle.allows(worker.now_ns(), &key, 1) {
                    self.neighbors.report_use(key);
                }
                Outcome::Rewrite
            }
            AdjacencyKind::Glean | AdjacencyKind::Incomplete => {
                if !self.throttle.allows(worker.now_ns(), &key, self.neighbors.most_queued()) {
                    return Outcome::Throttled;
                }
                if !self.neighbors.admit() {
                    return Outcome::Backlog;
                }
                self.batch.push((key, packet.take()));
                Outcome::Kept
            }
            _ => Outcome::Gone,
        }
    }

    /// Hands over what the frame left.
    pub(super) fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.neighbors.hand_over(std::mem::take(&mut self.batch));
        }
    }
}
