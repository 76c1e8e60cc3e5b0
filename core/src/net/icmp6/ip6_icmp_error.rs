//! `ip6-icmp-error`: tells the sender of an IPv6 packet why it is not delivered (RFC 4443 §2.4, §3).

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Icmp6Error, Ip6Address, Ip6Header};
use serde::Serialize;

use super::message::{MAX_ERROR_BYTES, is_allowed, is_allowed_for_groups, write_error};
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::icmp_limits::{IcmpClass, PortBuckets};
use crate::net::icmp_quote;
use crate::net::local::OwnTable;

next! {
    /// Where errors go.
    pub enum Ip6IcmpErrorNext { Lookup => "ip6-lookup" }
}

error! {
    /// What became of the packets that errors are about.
    pub enum Ip6IcmpErrorReason {
        Unreachable => "unreachable-sent": "destination unreachable: the sender was told",
        TooBig => "too-big-sent": "too big for the next link: the sender was told",
        TimeExceeded => "time-exceeded-sent": "hop limit ran out: the sender was told",
        ParameterProblem => "parameter-problem-sent": "a header field was wrong: the sender was told",
        Other => "other-sent": "the sender was told by another ICMPv6 error",
        NotAllowed => "not-allowed": "no error may be sent about such a packet (RFC 4443 section 2.4 e)",
        RateLimited => "rate-limited": "too many errors on account of one interface",
        NoSource => "no-source": "no own address to send an error from",
        NoBuffer => "no-buffer": "no buffer left for an error",
    }
}

/// The node.
pub struct Ip6IcmpError {
    own: Arc<OwnTable>,
    field: Field<IcmpRequest>,
    errors: PortBuckets,
}

/// What was sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    source: String,
    destination: String,
    kind: u8,
    code: u8,
    data: u32,
    length: usize,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, kind, code, data, length } = self;
        write!(f, "{source} > {destination}: ICMP6, ")?;
        match (kind, code) {
            (1, 0) => f.write_str("destination unreachable, no route")?,
            (1, 1) => f.write_str("destination unreachable, prohibited")?,
            (1, 2) => f.write_str("destination unreachable, beyond scope")?,
            (1, 3) => f.write_str("destination unreachable, unreachable address")?,
            (1, 4) => f.write_str("destination unreachable, unreachable port")?,
            (1, 5) => f.write_str("destination unreachable, source address failed policy")?,
            (1, 6) => f.write_str("destination unreachable, reject route")?,
            (2, _) => write!(f, "packet too big, mtu {data}")?,
            (3, 0) => f.write_str("time exceeded in-transit")?,
            (3, 1) => f.write_str("time exceeded, reassembly")?,
            (4, 1) => write!(f, "parameter problem, next header - octet {data}")?,
            (4, 2) => write!(f, "parameter problem, option - octet {data}")?,
            (4, _) => write!(f, "parameter problem, erroneous header - octet {data}")?,
            (kind, code) => write!(f, "type {kind} code {code}")?,
        }
        write!(f, ", length {length}")
    }
}

impl Node for Ip6IcmpError {
    const NAME: &'static str = "ip6-icmp-error";
    type Next = Ip6IcmpErrorNext;
    type Error = Ip6IcmpErrorReason;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self {
            own: init.resource()?,
            field: icmp_field(init)?,
            errors: PortBuckets::new(init.resource()?, IcmpClass::Error),
        })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| Verdict::Drop(self.report(env, packet)));
    }
}

impl Ip6IcmpError {
    /// Sends the error that the packet's field asks for; says what became of it.
    fn report(&mut self, env: &Env<'_, Self>, packet: &Packet<'_>) -> Ip6IcmpErrorReason {
        let request = packet.field(&self.field);
        let mut quoted = [0; Icmp6Error::MAX_QUOTE];
        let length = packet.copy_out(0, &mut quoted);
        let length = icmp_quote::finish(packet, &mut quoted[..length]);
        let about = &quoted[..length];
        let (own, interface) = (self.own.read(env.worker()), packet.rx_interface());
        let Some((ip, _)) = Ip6Header::parse(about) else { return Ip6IcmpErrorReason::NotAllowed };
        if !is_allowed(request, about) || (packet.is_l2_multicast() && !is_allowed_for_groups(request)) {
            return Ip6IcmpErrorReason::NotAllowed;
        }
        // Only once it is known that an error would be sent: refused ones cost no token.
        if !self.errors.take(interface, env.now_ns()) {
            return Ip6IcmpErrorReason::RateLimited;
        }
        // To ourselves about a packet of our own, from the address that it was sent from; about a packet to one of our
        // addresses, from that; else from one that suits the sender (RFC 4443 §2.2).
        let to_self = packet.is_local().then(|| ip.source());
        let asked = own.is_own(ip.destination().to_std().into()).then(|| ip.destination());
        let Some(source) = to_self.or(asked).or_else(|| own.source6(interface, ip.source())) else {
            return Ip6IcmpErrorReason::NoSource;
        };
        send(env, packet, request, source, about).unwrap_or(Ip6IcmpErrorReason::NoBuffer)
    }
}

fn send(
    env: &Env<'_, Ip6IcmpError>,
    packet: &Packet<'_>,
    request: IcmpRequest,
    source: Ip6Address,
    about: &[u8],
) -> Option<Ip6IcmpErrorReason> {
    let mut bytes = [0; MAX_ERROR_BYTES];
    let error = write_error(&mut bytes, request, source, about)?;
    env.trace(packet, || {
        let destination = Ip6Header::parse(error).map_or(Ip6Address::UNSPECIFIED, |(ip, _)| ip.destination());
        Record {
            source: source.to_string(),
            destination: destination.to_string(),
            kind: request.kind,
            code: request.code,
            data: request.data,
            length: error.len() - Ip6Header::LENGTH,
        }
    });
    let mut held = env.worker().allocate()?;
    let mut made = env.worker().open(&mut held);
    made.append(error).then_some(())?;
    made.mark_l3();
    made.set_local(true);
    made.set_fib_index(packet.fib_index());
    // A link-local sender is on the link that its packet came in by.
    made.set_tx_interface(packet.rx_interface());
    env.send(held, Verdict::Next(Ip6IcmpErrorNext::Lookup));
    Some(match request.kind {
        1 => Ip6IcmpErrorReason::Unreachable,
        2 => Ip6IcmpErrorReason::TooBig,
        3 => Ip6IcmpErrorReason::TimeExceeded,
        4 => Ip6IcmpErrorReason::ParameterProblem,
        _ => Ip6IcmpErrorReason::Other,
    })
}

node!(Ip6IcmpError);
