//! `ip6-multicast-lookup`: groups of the link, and those that were joined, go to the own protocols; multicast is not routed.
#![forbid(unsafe_code)]

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::punt::PuntReason;
use raddle_plugin_api::wire::Ip6Header;

use super::multicast::GroupTable;
use super::punt::PuntOffer;

next! {
    /// Where packets go.
    pub enum Ip6MulticastNext {
        Local => "ip6-local",
        Punt => "punt",
    }
}

error! {
    /// Why packets are dropped.
    pub enum Ip6MulticastError {
        Truncated => "truncated": "shorter than an IPv6 header",
        NotRouted => "multicast-not-routed": "the group reaches beyond the link, and multicast is not routed",
    }
}

/// The node.
pub struct Ip6MulticastLookup {
    groups: Arc<GroupTable>,
    punt: PuntOffer,
}

impl Node for Ip6MulticastLookup {
    const NAME: &'static str = "ip6-multicast-lookup";
    type Next = Ip6MulticastNext;
    type Error = Ip6MulticastError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { groups: init.resource()?, punt: PuntOffer::new(init)? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| match Ip6Header::parse(packet.bytes()) {
            Some((header, _)) if header.destination().is_link_scope_multicast() => {
                Verdict::Next(Ip6MulticastNext::Local)
            }
            Some((header, _))
                if self.groups.contains(
                    env.worker(),
                    packet.rx_interface(),
                    header.destination().to_std(),
                ) =>
            {
                Verdict::Next(Ip6MulticastNext::Local)
            }
            // The host may be in the group.
            Some(_) if self.punt.is_wanted(env, packet) => {
                packet.mark_l3();
                self.punt.mark(packet, PuntReason::MULTICAST);
                Verdict::Next(Ip6MulticastNext::Punt)
            }
            Some(_) => Verdict::Drop(Ip6MulticastError::NotRouted),
            None => Verdict::Drop(Ip6MulticastError::Truncated),
        });
    }
}

node!(Ip6MulticastLookup);
