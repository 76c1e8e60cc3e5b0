//! Copies of packets that leave by the interface that they came in by, for the nodes that make redirects.

use std::sync::Arc;

use raddle_plugin_api::{Failure, HeldPacket, NodeInit, Packet, Worker};

use crate::net::icmp_limits::{IcmpClass, PortBuckets};
use crate::net::port_policy::PortPolicies;

/// Bytes of a packet that a redirect may need.
const COPIED_BYTES: usize = 1280;

/// What a rewriting node has of redirects.
pub struct RedirectOffers {
    policies: Arc<PortPolicies>,
    buckets: PortBuckets,
}

impl RedirectOffers {
    /// For a node.
    ///
    /// # Errors
    /// The resources are not there.
    pub fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let buckets = PortBuckets::new(init.resource()?, IcmpClass::Redirect);
        Ok(Self { policies: init.resource()?, buckets })
    }

    /// A copy of a packet that leaves by the interface that it came in by, if redirects are sent there and their limit has
    /// room. The packet's first byte is that of its IP header; no hop is taken off yet.
    #[cold]
    pub fn offer(&mut self, worker: &Worker<'_>, packet: &Packet<'_>) -> Option<HeldPacket> {
        let interface = packet.rx_interface();
        if packet.is_local()
            || packet.is_l2_multicast()
            || !self.policies.word(interface).redirects()
            || !self.buckets.take(interface, worker.now_ns())
        {
            return None;
        }
        let mut held = worker.copy(packet, COPIED_BYTES)?;
        let mut copy = worker.open(&mut held);
        copy.mark_l3();
        copy.set_adjacency(packet.adjacency());
        Some(held)
    }
}
