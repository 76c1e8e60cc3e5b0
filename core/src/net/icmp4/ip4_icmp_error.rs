//! `ip4-icmp-error`: tells the sender of an IPv4 packet why it is not delivered (RFC 792, RFC 1812 §4.3).

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Icmp4Error, Ip4Address, Ip4Header};
use serde::Serialize;

use super::message::{MAX_ERROR_BYTES, write_error};
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::icmp_limits::{IcmpClass, PortBuckets};
use crate::net::icmp_quote;
use crate::net::local::OwnTable;

/// ICMP's type of redirects, which have a limit of their own (RFC 1812 §5.2.7.2).
const REDIRECT: u8 = 5;

next! {
    /// Where errors go.
    pub enum Ip4IcmpErrorNext { Lookup => "ip4-lookup" }
}

error! {
    /// What became of the packets that errors are about.
    pub enum Ip4IcmpErrorReason {
        Unreachable => "unreachable-sent": "destination unreachable: the sender was told",
        FragmentationNeeded => "fragmentation-needed-sent": "too big with DF set: the sender was told",
        TimeExceeded => "time-exceeded-sent": "TTL ran out: the sender was told",
        ParameterProblem => "parameter-problem-sent": "a header field was wrong: the sender was told",
        Redirect => "redirect-sent": "the sender was told of a better first hop",
        Other => "other-sent": "the sender was told by another ICMP error",
        NotAllowed => "not-allowed": "no error may be sent about such a packet (RFC 1812 section 4.3.2.7)",
        RateLimited => "rate-limited": "too many errors on account of one interface",
        NoSource => "no-source": "no own address to send an error from",
        NoBuffer => "no-buffer": "no buffer left for an error",
    }
}

/// The node.
pub struct Ip4IcmpError {
    own: Arc<OwnTable>,
    field: Field<IcmpRequest>,
    errors: PortBuckets,
    redirects: PortBuckets,
    identification: u16,
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
        write!(f, "{source} > {destination}: ICMP ")?;
        match (kind, code) {
            (3, 0) => f.write_str("network unreachable")?,
            (3, 1) => f.write_str("host unreachable")?,
            (3, 2) => f.write_str("protocol unreachable")?,
            (3, 3) => f.write_str("port unreachable")?,
            (3, 4) => write!(f, "unreachable - need to frag (mtu {data})")?,
            (3, 5) => f.write_str("unreachable - source route failed")?,
            (3, 13) => f.write_str("unreachable - admin prohibited")?,
            (5, 1) => write!(f, "redirect for host to {}", Ip4Address::from_bits(*data))?,
            (11, 0) => f.write_str("time exceeded in-transit")?,
            (11, 1) => f.write_str("time exceeded, reassembly")?,
            (12, _) => write!(f, "parameter problem - octet {}", data >> 24)?,
            (kind, code) => write!(f, "type {kind} code {code}")?,
        }
        write!(f, ", length {length}")
    }
}

impl Node for Ip4IcmpError {
    const NAME: &'static str = "ip4-icmp-error";
    type Next = Ip4IcmpErrorNext;
    type Error = Ip4IcmpErrorReason;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self {
            own: init.resource()?,
            field: icmp_field(init)?,
            errors: PortBuckets::new(init.resource()?, IcmpClass::Error),
            redirects: PortBuckets::new(init.resource()?, IcmpClass::Redirect),
            identification: 0,
        })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| Verdict::Drop(self.report(env, packet)));
    }
}

impl Ip4IcmpError {
    /// Sends the error that the packet's field asks for; says what became of it.
    fn report(&mut self, env: &Env<'_, Self>, packet: &Packet<'_>) -> Ip4IcmpErrorReason {
        let request = packet.field(&self.field);
        let mut quoted = [0; Icmp4Error::MAX_QUOTE];
        let length = packet.copy_out(0, &mut quoted);
        let length = icmp_quote::finish(packet, &mut quoted[..length]);
        let about = &quoted[..length];
        let (own, interface) = (self.own.read(env.worker()), packet.rx_interface());
        let Some((ip, _)) = Ip4Header::parse(about) else { return Ip4IcmpErrorReason::NotAllowed };
        if packet.is_l2_multicast()
            || !Icmp4Error::is_allowed_for(about)
            || own.is_broadcast(interface, ip.destination())
        {
            return Ip4IcmpErrorReason::NotAllowed;
        }
        // Only once it is known that an error would be sent: refused ones cost no token.
        let buckets = if request.kind == REDIRECT { &mut self.redirects } else { &mut self.errors };
        if !buckets.take(interface, env.now_ns()) {
            return Ip4IcmpErrorReason::RateLimited;
        }
        // To ourselves about a packet of our own, from the address that it was sent from; about a packet to one of our
        // addresses, from that; else from one of the interface that it came in by (RFC 1812 §4.3.2.4).
        let to_self = packet.is_local().then(|| ip.source());
        let asked = own.is_own(ip.destination().to_std().into()).then(|| ip.destination());
        let Some(source) = to_self.or(asked).or_else(|| own.source4(interface, ip.source())) else {
            return Ip4IcmpErrorReason::NoSource;
        };
        let sent = self.send(env, packet, request, source, about);
        sent.unwrap_or(Ip4IcmpErrorReason::NoBuffer)
    }

    fn send(
        &mut self,
        env: &Env<'_, Self>,
        packet: &Packet<'_>,
        request: IcmpRequest,
        source: Ip4Address,
        about: &[u8],
    ) -> Option<Ip4IcmpErrorReason> {
        let mut bytes = [0; MAX_ERROR_BYTES];
        self.identification = self.identification.wrapping_add(1);
        let error = write_error(&mut bytes, request, source, about, self.identification)?;
        env.trace(packet, || {
            let (source, destination) = Ip4Header::parse(error)
                .map_or_else(Default::default, |(ip, _)| (ip.source(), ip.destination()));
            Record {
                source: source.to_string(),
                destination: destination.to_string(),
                kind: request.kind,
                code: request.code,
                data: request.data,
                length: error.len() - Ip4Header::LENGTH,
            }
        });
        let mut held = env.worker().allocate()?;
        let mut made = env.worker().open(&mut held);
        made.append(error).then_some(())?;
        made.mark_l3();
        made.set_local(true);
        made.set_fib_index(packet.fib_index());
        env.send(held, Verdict::Next(Ip4IcmpErrorNext::Lookup));
        Some(match (request.kind, request.code) {
            (3, 4) => Ip4IcmpErrorReason::FragmentationNeeded,
            (3, _) => Ip4IcmpErrorReason::Unreachable,
            (11, _) => Ip4IcmpErrorReason::TimeExceeded,
            (12, _) => Ip4IcmpErrorReason::ParameterProblem,
            (REDIRECT, _) => Ip4IcmpErrorReason::Redirect,
            _ => Ip4IcmpErrorReason::Other,
        })
    }
}

node!(Ip4IcmpError);
