//! `ip4-local`: IPv4 packets for raddle itself, to the protocol that they are for (RFC 1122 §3.2.1, RFC 1812 §5.2.3).
//!
//! Packets come checked by `ip4-input`: the header is right, link-layer padding is cut off.

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::punt::PuntReason;
use raddle_plugin_api::wire::checksum::Sum;
use raddle_plugin_api::wire::{Icmp4Kind, Ip4Header, IpProtocol, UdpHeader};
use serde::Serialize;

use super::l4_checksum::is_checksum_right;
use super::local_arc::LocalArc;
use super::{OwnAddresses, OwnTable};
use crate::net::punt::{PuntOffer, of_ip4};

next! {
    /// Where packets go.
    pub enum Ip4LocalNext {
        Echo => "ip4-icmp-echo",
        Ping => "ping-input",
        Igmp => "igmp-input",
        Punt => "punt",
        /// Comes back from there when it is whole.
        Reassembly => "ip4-reassembly",
    }
}

error! {
    /// Why packets are dropped.
    pub enum Ip4LocalError {
        TooShort => "too-short": "transport header cut short or not in the first buffer",
        NotOwn => "not-own-address": "the destination is no own address",
        OwnSource => "own-source": "the source is an own address, and the packet came from outside",
        GroupSource => "group-source": "the source is a broadcast or multicast address",
        Checksum => "bad-checksum": "the transport checksum is wrong",
        UdpLength => "udp-length": "the UDP length does not fit the packet",
        Redirect => "redirect": "redirect: a router ignores it (RFC 1812 section 5.2.7.2)",
        EchoToGroup => "echo-to-group": "echo request to a broadcast or multicast address (RFC 1122 section 3.2.2.6)",
        IcmpType => "icmp-type": "ICMP message of a type that is not dealt with",
    }
}

type Ip4LocalVerdict = Verdict<Ip4LocalNext, Ip4LocalError>;

/// The node.
pub struct Ip4Local {
    own: Arc<OwnTable>,
    arc: LocalArc,
    punt: PuntOffer,
}

/// What came.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    source: String,
    destination: String,
    protocol: String,
    length: usize,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, protocol, length } = self;
        write!(f, "{source} > {destination}: {protocol}, length {length}")
    }
}

impl Node for Ip4Local {
    const NAME: &'static str = "ip4-local";
    type Next = Ip4LocalNext;
    type Error = Ip4LocalError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { own: init.resource()?, arc: LocalArc::new(init)?, punt: PuntOffer::new(init)? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            packet.mark_l3();
            env.trace(packet, || {
                let ip = Ip4Header::parse(packet.bytes()).map(|(ip, _)| *ip);
                Record {
                    source: ip.map_or_else(String::new, |ip| ip.source().to_string()),
                    destination: ip.map_or_else(String::new, |ip| ip.destination().to_string()),
                    protocol: ip.map_or_else(String::new, |ip| ip.protocol().to_string()),
                    length: ip.map_or(0, |ip| ip.payload_length()),
                }
            });
            match classify(packet, self.own.read(env.worker())) {
                Verdict::Drop(Ip4LocalError::IcmpType) if self.punt.is_wanted(env, packet) => {
                    self.punt.mark(packet, PuntReason::ICMP);
                    Verdict::Next(Ip4LocalNext::Punt)
                }
                Verdict::Next(Ip4LocalNext::Punt) => {
                    self.punt.mark(packet, of_ip4(packet.bytes()));
                    self.arc.enter(env, packet, Ip4LocalNext::Punt)
                }
                verdict => verdict,
            }
        });
    }
}

fn classify(packet: &Packet<'_>, own: &OwnAddresses) -> Ip4LocalVerdict {
    let Some((ip, _)) = Ip4Header::parse(packet.bytes()) else {
        return Verdict::Drop(Ip4LocalError::TooShort);
    };
    let interface = packet.rx_interface();
    // RFC 1122 §3.2.1.3: to one of our addresses, and not from a group; §3.3.4.2 leaves it to us whether the address must
    // be the receiving interface's: a router's need not be.
    let to_group = ip.destination().is_multicast() || own.is_broadcast(interface, ip.destination());
    let source = ip.source();
    if !to_group && !own.is_own(ip.destination().to_std().into()) {
        return Verdict::Drop(Ip4LocalError::NotOwn);
    }
    if source.is_multicast() || own.is_broadcast(interface, source) {
        return Verdict::Drop(Ip4LocalError::GroupSource);
    }
    if !packet.is_local() && own.is_own_near(interface, source.to_std().into()) {
        return Verdict::Drop(Ip4LocalError::OwnSource);
    }
    if ip.is_fragment() {
        return Verdict::Next(Ip4LocalNext::Reassembly);
    }
    match ip.protocol() {
        IpProtocol::ICMP4 => classify_icmp(packet, ip, to_group),
        IpProtocol::IGMP => Verdict::Next(Ip4LocalNext::Igmp),
        IpProtocol::TCP => checked(packet, ip, ip.payload_length(), ip.pseudo_header(length16(ip))),
        IpProtocol::UDP => classify_udp(packet, ip),
        _ => Verdict::Next(Ip4LocalNext::Punt),
    }
}

fn classify_icmp(packet: &Packet<'_>, ip: &Ip4Header, to_group: bool) -> Ip4LocalVerdict {
    let bytes = packet.bytes();
    let message = bytes.get(ip.header_length()..).unwrap_or_default();
    let (Some(&kind), true) = (message.get(..8).and_then(<[u8]>::first), ip.payload_length() >= 8) else {
        return Verdict::Drop(Ip4LocalError::TooShort);
    };
    if !packet.checksum_is_trusted()
        && !is_checksum_right(packet, ip.header_length(), ip.payload_length(), Sum::new())
    {
        return Verdict::Drop(Ip4LocalError::Checksum);
    }
    match Icmp4Kind(kind) {
        Icmp4Kind::ECHO_REQUEST if to_group => Verdict::Drop(Ip4LocalError::EchoToGroup),
        Icmp4Kind::ECHO_REQUEST => Verdict::Next(Ip4LocalNext::Echo),
        Icmp4Kind::REDIRECT => Verdict::Drop(Ip4LocalError::Redirect),
        Icmp4Kind::ECHO_REPLY => Verdict::Next(Ip4LocalNext::Ping),
        kind if kind.is_error() => Verdict::Next(Ip4LocalNext::Ping),
        _ => Verdict::Drop(Ip4LocalError::IcmpType),
    }
}

fn classify_udp(packet: &Packet<'_>, ip: &Ip4Header) -> Ip4LocalVerdict {
    let datagram = packet.bytes().get(ip.header_length()..).unwrap_or_default();
    let Some((udp, _)) = UdpHeader::parse(datagram) else {
        return Verdict::Drop(Ip4LocalError::TooShort);
    };
    if UdpHeader::check(datagram, ip.payload_length()).is_err() {
        return Verdict::Drop(Ip4LocalError::UdpLength);
    }
    if !udp.has_checksum() {
        return Verdict::Next(Ip4LocalNext::Punt);
    }
    // RFC 768: the sum covers the UDP length, beyond which there may be padding.
    checked(packet, ip, udp.length().into(), ip.pseudo_header(udp.length()))
}

fn checked(packet: &Packet<'_>, ip: &Ip4Header, length: usize, pseudo: Sum) -> Ip4LocalVerdict {
    if packet.checksum_is_trusted() || is_checksum_right(packet, ip.header_length(), length, pseudo) {
        Verdict::Next(Ip4LocalNext::Punt)
    } else {
        Verdict::Drop(Ip4LocalError::Checksum)
    }
}

/// The payload's length as the pseudo header has it; it fits, for the total length is 16 bits too.
fn length16(ip: &Ip4Header) -> u16 {
    ip.payload_length() as u16
}

node!(Ip4Local);
