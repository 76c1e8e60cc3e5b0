//! `ip6-hop-by-hop`: a feature for routers that are to read the hop-by-hop options of what they forward. Without it they are
//! carried on unread, as RFC 8200 §4.3 has it by default.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Ip6Header, IpProtocol};

use super::icmp_field::{IcmpRequest, icmp_field};
use super::ip6_options::{OptionRefusal, read_options};

next! {
    /// Where packets go.
    pub enum Ip6HopByHopNext { IcmpError => "ip6-icmp-error" }
}

error! {
    /// Why packets are dropped.
    pub enum Ip6HopByHopError {
        Truncated => "truncated": "headers cut short or not in the first buffer",
        Option => "option": "an option that is not known, or malformed, and of which the sender is not told",
    }
}

feature! { "ip6-hop-by-hop", node: Ip6HopByHop, arc: "ip6-unicast" }

/// The node.
pub struct Ip6HopByHop {
    field: Field<IcmpRequest>,
}

impl Node for Ip6HopByHop {
    const NAME: &'static str = "ip6-hop-by-hop";
    type Next = Ip6HopByHopNext;
    type Error = Ip6HopByHopError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { field: icmp_field(init)? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, packet| {
            let Some((ip, rest)) = Ip6Header::parse(packet.bytes()) else {
                return Verdict::Drop(Ip6HopByHopError::Truncated);
            };
            if ip.next_header() != IpProtocol::HOP_BY_HOP {
                return Verdict::Continue;
            }
            let length = rest.get(1).map(|&length| (usize::from(length) + 1) * 8);
            let Some(header) = length.and_then(|length| rest.get(..length)) else {
                return Verdict::Drop(Ip6HopByHopError::Truncated);
            };
            match read_options(header, Ip6Header::LENGTH, ip.destination().is_multicast()) {
                Ok(()) => Verdict::Continue,
                Err(OptionRefusal::Drop) => Verdict::Drop(Ip6HopByHopError::Option),
                Err(OptionRefusal::Tell(request)) => {
                    packet.set_field(&self.field, request);
                    Verdict::Next(Ip6HopByHopNext::IcmpError)
                }
            }
        });
    }
}

node!(Ip6HopByHop);
