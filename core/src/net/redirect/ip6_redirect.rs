//! `ip6-redirect`: tells a host on the link of a better first hop there (RFC 4861 §8.2). Gets copies: the packets themselves
//! are on their way.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Ip6Address, Ip6Header};
use serde::Serialize;

use super::message::{MAX_REDIRECT_BYTES, Redirect, write_redirect};
use crate::net::adjacency::Adjacency;
use crate::net::forwarding::ForwardingTables;
use crate::net::icmp_quote;
use crate::net::local::{OwnAddresses, OwnTable};

next! {
    /// Where redirects go.
    pub enum Ip6RedirectNext { Lookup => "ip6-lookup" }
}

error! {
    /// What became of the copies.
    pub enum Ip6RedirectReason {
        Sent => "redirect-sent": "the sender was told of a better first hop",
        Truncated => "truncated": "shorter than an IPv6 header",
        NotOnLink => "not-on-link": "the source is no neighbour",
        NoTarget => "no-link-local-target": "the next hop is a router whose link-local address is not known (RFC 4861 section 8.2)",
        NoSource => "no-source": "no own link-local address to send from",
        NoBuffer => "no-buffer": "no buffer left for a redirect",
    }
}

/// The node.
pub struct Ip6Redirect {
    tables: Arc<ForwardingTables>,
    own: Arc<OwnTable>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    source: String,
    destination: String,
    target: String,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, target } = self;
        write!(f, "{source}: {destination} is reached by {target} on the link")
    }
}

impl Node for Ip6Redirect {
    const NAME: &'static str = "ip6-redirect";
    type Next = Ip6RedirectNext;
    type Error = Ip6RedirectReason;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { tables: init.resource()?, own: init.resource()? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let told = self.tell(env, packet);
            Verdict::Drop(told.err().unwrap_or(Ip6RedirectReason::Sent))
        });
    }
}

node!(Ip6Redirect);

impl Ip6Redirect {
    fn tell(&self, env: &Env<'_, Self>, packet: &Packet<'_>) -> Result<(), Ip6RedirectReason> {
        let mut quoted = [0; MAX_REDIRECT_BYTES];
        let length = packet.copy_out(0, &mut quoted);
        let length = icmp_quote::finish(packet, &mut quoted[..length]);
        let about = &quoted[..length];
        let (ip, _) = Ip6Header::parse(about).ok_or(Ip6RedirectReason::Truncated)?;
        let (interface, own) = (packet.rx_interface(), self.own.read(env.worker()));
        let adjacency = self.tables.adjacencies.get(packet.adjacency());
        let redirect = judge(own, interface, ip, &adjacency)?;
        env.trace(packet, || Record {
            source: ip.source().to_string(),
            destination: ip.destination().to_string(),
            target: redirect.target.to_string(),
        });
        let mut bytes = [0; MAX_REDIRECT_BYTES];
        let message = write_redirect(&mut bytes, redirect, about).ok_or(Ip6RedirectReason::Truncated)?;
        let mut held = env.worker().allocate().ok_or(Ip6RedirectReason::NoBuffer)?;
        let mut made = env.worker().open(&mut held);
        if !made.append(message) {
            return Err(Ip6RedirectReason::NoBuffer);
        }
        made.mark_l3();
        made.set_local(true);
        made.set_fib_index(packet.fib_index());
        made.set_tx_interface(interface);
        env.send(held, Verdict::Next(Ip6RedirectNext::Lookup));
        Ok(())
    }
}

/// RFC 4861 §8.2: the source is a neighbour, and the better first hop is the destination itself or a router that is known by its
/// link-local address.
fn judge(
    own: &OwnAddresses,
    interface: InterfaceIndex,
    ip: &Ip6Header,
    adjacency: &Adjacency<'_>,
) -> Result<Redirect, Ip6RedirectReason> {
    let (from, destination) = (ip.source(), ip.destination());
    if from.is_unspecified() || !own.is_on_link6(interface, from) {
        return Err(Ip6RedirectReason::NotOnLink);
    }
    let target = match adjacency.next_hop() {
        Some(IpAddr::V6(next_hop)) => Ip6Address::from(next_hop),
        _ => destination,
    };
    if target == from {
        return Err(Ip6RedirectReason::NotOnLink);
    }
    if target != destination && !target.is_link_local() {
        return Err(Ip6RedirectReason::NoTarget);
    }
    // The address towards a link-local one is link-local, if there is any.
    let towards_link = Ip6Address::link_local_from_mac(MacAddress::ZERO);
    let source = own.source6(interface, towards_link).filter(|source| source.is_link_local());
    let source = source.ok_or(Ip6RedirectReason::NoSource)?;
    let target_mac = adjacency.is_plain_ethernet().then(|| {
        let [a, b, c, d, e, f, ..] = adjacency.rewrite();
        MacAddress([a, b, c, d, e, f])
    });
    Ok(Redirect { source, target, target_mac })
}
