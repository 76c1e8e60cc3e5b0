//! `ip4-multicast-lookup`: groups of the link, and those that were joined, go to the own protocols; multicast is not routed.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::punt::PuntReason;
use raddle_plugin_api::wire::Ip4Header;

use super::multicast::GroupTable;
use super::punt::PuntOffer;

next! {
    /// Where packets go.
    pub enum Ip4MulticastNext {
        Local => "ip4-local",
        Punt => "punt",
    }
}

error! {
    /// Why packets are dropped.
    pub enum Ip4MulticastError {
        Truncated => "truncated": "shorter than an IPv4 header",
        NotRouted => "multicast-not-routed": "the group reaches beyond the link, and multicast is not routed",
    }
}

/// 224.0.0.0/24, which is never forwarded (RFC 5771 §4).
const LINK_GROUPS: u32 = 0xe0_0000;

/// The node.
pub struct Ip4MulticastLookup {
    groups: Arc<GroupTable>,
    punt: PuntOffer,
}

impl Node for Ip4MulticastLookup {
    const NAME: &'static str = "ip4-multicast-lookup";
    type Next = Ip4MulticastNext;
    type Error = Ip4MulticastError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { groups: init.resource()?, punt: PuntOffer::new(init)? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| match Ip4Header::parse(packet.bytes()) {
            Some((header, _)) if header.destination().to_bits() >> 8 == LINK_GROUPS => {
                Verdict::Next(Ip4MulticastNext::Local)
            }
            Some((header, _))
                if self.groups.contains(
                    env.worker(),
                    packet.rx_interface(),
                    header.destination().to_std(),
                ) =>
            {
                Verdict::Next(Ip4MulticastNext::Local)
            }
            // The host may be in the group.
            Some(_) if self.punt.is_wanted(env, packet) => {
                packet.mark_l3();
                self.punt.mark(packet, PuntReason::MULTICAST);
                Verdict::Next(Ip4MulticastNext::Punt)
            }
            Some(_) => Verdict::Drop(Ip4MulticastError::NotRouted),
            None => Verdict::Drop(Ip4MulticastError::Truncated),
        });
    }
}

node!(Ip4MulticastLookup);
