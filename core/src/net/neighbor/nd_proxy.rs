//! `nd-proxy`: solicitations to an address that is answered for, sent to that address itself, as a host asks whether a
//! neighbour that it knows is still there (RFC 4861 §7.3.3, RFC 4389 §4.1.3.2). They must not be forwarded: with a hop limit of
//! less than 255 nobody would take them for what they are.

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Icmp6Kind, Ip6Address, Ip6Header, IpProtocol};

use super::proxied::Proxied;
use crate::net::local::OwnTable;

next! {
    /// Where solicitations go.
    pub enum NdProxyNext { Nd => "nd-input" }
}

/// The node.
pub struct NdProxy {
    own: Arc<OwnTable>,
    proxied: Proxied,
}

impl NdProxy {
    /// The feature. It follows from the interface's section `neighbor`.
    pub const FEATURE: &'static str = "nd-proxy";
}

impl Node for NdProxy {
    const NAME: &'static str = Self::FEATURE;
    type Next = NdProxyNext;
    type Error = NoError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { own: init.resource()?, proxied: Proxied::new(init)? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        self.proxied.renew(vector.env().worker());
        let Self { own, proxied } = self;
        vector.each(|env, packet| {
            let Some(target) = solicited(packet) else { return Verdict::Continue };
            let (own, interface) = (own.read(env.worker()), packet.rx_interface());
            if !proxied.covers(env.worker(), own, interface, target.to_std().into()) {
                return Verdict::Continue;
            }
            packet.mark_l3();
            Verdict::Next(NdProxyNext::Nd)
        });
    }
}

node!(NdProxy);
feature! { "nd-proxy", node: NdProxy, arc: "ip6-unicast" }

/// Whom a solicitation asks for that is sent to the one who is asked for.
fn solicited(packet: &Packet<'_>) -> Option<Ip6Address> {
    let bytes = packet.bytes();
    let (ip, _) = Ip6Header::parse(bytes)?;
    let message = bytes.get(Ip6Header::LENGTH..)?;
    let kind = Icmp6Kind(*message.first()?);
    let target: [u8; 16] = message.get(8..24)?.try_into().ok()?;
    let is_one = ip.next_header() == IpProtocol::ICMP6
        && ip.hop_limit() == 255
        && kind == Icmp6Kind::NEIGHBOR_SOLICITATION
        && Ip6Address(target) == ip.destination();
    is_one.then_some(Ip6Address(target))
}
