//! `ip6-multicast-lookup`: groups of the link go to the own protocols; multicast is not routed.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip6Header;

next! {
    /// Where packets go.
    pub enum Ip6MulticastNext {
        Local => "ip6-local",
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
pub struct Ip6MulticastLookup;

impl Node for Ip6MulticastLookup {
    const NAME: &'static str = "ip6-multicast-lookup";
    type Next = Ip6MulticastNext;
    type Error = Ip6MulticastError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, packet| match Ip6Header::parse(packet.bytes()) {
            Some((header, _)) if header.destination().is_link_scope_multicast() => {
                Verdict::Next(Ip6MulticastNext::Local)
            }
            Some(_) => Verdict::Drop(Ip6MulticastError::NotRouted),
            None => Verdict::Drop(Ip6MulticastError::Truncated),
        });
    }
}

node!(Ip6MulticastLookup);
