//! `ip4-redirect`: tells a host on the link of a better first hop there (RFC 1812 §5.2.7.2). Gets copies: the packets
//! themselves are on their way.

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Ip4Address, Ip4Header};
use serde::Serialize;

use crate::net::forwarding::ForwardingTables;
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::local::OwnTable;

next! {
    /// Where redirects are written.
    pub enum Ip4RedirectNext { IcmpError => "ip4-icmp-error" }
}

error! {
    /// Why no redirect is sent.
    pub enum Ip4RedirectError {
        Truncated => "truncated": "shorter than an IPv4 header",
        NotOnLink => "not-on-link": "source and next hop are not on one network of the interface",
    }
}

/// The node.
pub struct Ip4Redirect {
    tables: Arc<ForwardingTables>,
    own: Arc<OwnTable>,
    icmp: Field<IcmpRequest>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    source: String,
    destination: String,
    gateway: String,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, gateway } = self;
        write!(f, "{source}: {destination} is reached by {gateway} on the link")
    }
}

impl Node for Ip4Redirect {
    const NAME: &'static str = "ip4-redirect";
    type Next = Ip4RedirectNext;
    type Error = Ip4RedirectError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { tables: init.resource()?, own: init.resource()?, icmp: icmp_field(init)? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let Some((ip, _)) = Ip4Header::parse(packet.bytes()) else {
                return Verdict::Drop(Ip4RedirectError::Truncated);
            };
            let (source, destination) = (ip.source(), ip.destination());
            let next_hop = match self.tables.adjacencies.get(packet.adjacency()).next_hop() {
                Some(std::net::IpAddr::V4(next_hop)) => Ip4Address::from(next_hop),
                _ => destination,
            };
            let own = self.own.read(env.worker());
            if source == next_hop || !own.share_network4(packet.rx_interface(), source, next_hop) {
                return Verdict::Drop(Ip4RedirectError::NotOnLink);
            }
            env.trace(packet, || Record {
                source: source.to_string(),
                destination: destination.to_string(),
                gateway: next_hop.to_string(),
            });
            packet.set_field(&self.icmp, IcmpRequest::ip4_redirect(next_hop.to_bits()));
            Verdict::Next(Ip4RedirectNext::IcmpError)
        });
    }
}

node!(Ip4Redirect);
