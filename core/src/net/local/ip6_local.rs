//! `ip6-local`: IPv6 packets for raddle itself, to the protocol that they are for (RFC 8200 §4, RFC 4443 §2.4).

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Icmp6Kind, Ip6Address, Ip6Header, Ip6Upper, IpProtocol, UdpHeader};
use serde::Serialize;

use super::l4_checksum::is_checksum_right;
use super::local_arc::LocalArc;
use super::{OwnAddresses, OwnTable};
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::ip6_options::{OptionRefusal, read_all_options};
use crate::net::multicast::GroupTable;
use crate::net::punt::{PuntOffer, of_ip6};
use crate::net::reassembly::is_first_fragment;

next! {
    /// Where packets go.
    pub enum Ip6LocalNext {
        Echo => "ip6-icmp-echo",
        Ping => "ping-input",
        Nd => "nd-input",
        Mld => "mld-input",
        Punt => "punt",
        IcmpError => "ip6-icmp-error",
        /// Comes back from there when it is whole.
        Reassembly => "ip6-reassembly",
    }
}

error! {
    /// Why packets are dropped.
    pub enum Ip6LocalError {
        TooShort => "too-short": "headers cut short or not in the first buffer",
        Extension => "extension-headers": "extension headers out of order or beyond the bounds",
        Option => "option": "an option that is not known, or malformed, and of which the sender is not told",
        NotOwn => "not-own-address": "the destination is no own address or group",
        OwnSource => "own-source": "the source is an own address, and the packet came from outside",
        GroupSource => "group-source": "the source is a multicast address",
        Checksum => "bad-checksum": "the transport checksum is wrong or missing",
        UdpLength => "udp-length": "the UDP length does not fit the packet",
        IcmpType => "icmp-type": "ICMPv6 message of a type that is not dealt with",
        NoNext => "no-next-header": "nothing behind the headers",
    }
}

type Ip6LocalVerdict = Verdict<Ip6LocalNext, Ip6LocalError>;

/// The node.
pub struct Ip6Local {
    own: Arc<OwnTable>,
    groups: Arc<GroupTable>,
    field: Field<IcmpRequest>,
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

impl Node for Ip6Local {
    const NAME: &'static str = "ip6-local";
    type Next = Ip6LocalNext;
    type Error = Ip6LocalError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        let (own, groups) = (init.resource()?, init.resource()?);
        let (field, arc, punt) = (icmp_field(init)?, LocalArc::new(init)?, PuntOffer::new(init)?);
        Ok(Self { own, groups, field, arc, punt })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            packet.mark_l3();
            env.trace(packet, || record(packet));
            let is_joined =
                |group: Ip6Address| self.groups.contains(env.worker(), packet.rx_interface(), group.to_std());
            match classify(packet, self.own.read(env.worker()), is_joined) {
                Ok(Verdict::Drop(error))
                    if self.is_of_the_host(error, packet) && self.punt.is_wanted(env, packet) =>
                {
                    self.punt.mark(packet, of_ip6(packet.bytes()));
                    Verdict::Next(Ip6LocalNext::Punt)
                }
                Ok(Verdict::Next(Ip6LocalNext::Punt)) => {
                    self.punt.mark(packet, of_ip6(packet.bytes()));
                    self.arc.enter(env, packet, Ip6LocalNext::Punt)
                }
                Ok(verdict) => verdict,
                Err(request) => {
                    packet.set_field(&self.field, request);
                    Verdict::Next(Ip6LocalNext::IcmpError)
                }
            }
        });
    }
}

impl Ip6Local {
    /// Whether a packet that is dropped here may be for the host: for a group that the host may be in (neighbour discovery
    /// is raddle's own business), or an ICMP message that raddle does not know.
    fn is_of_the_host(&self, error: Ip6LocalError, packet: &Packet<'_>) -> bool {
        match error {
            Ip6LocalError::IcmpType => true,
            Ip6LocalError::NotOwn => {
                let to_group =
                    Ip6Header::parse(packet.bytes()).is_some_and(|(ip, _)| ip.destination().is_multicast());
                let upper = Ip6Upper::find_as_destination(packet.bytes());
                to_group
                    && upper.is_ok_and(|upper| upper.protocol != IpProtocol::ICMP6 && !upper.is_fragment())
            }
            _ => false,
        }
    }
}

fn record(packet: &Packet<'_>) -> Record {
    let ip = Ip6Header::parse(packet.bytes()).map(|(ip, _)| *ip);
    let protocol = Ip6Upper::find(packet.bytes()).map(|upper| upper.protocol.to_string());
    Record {
        source: ip.map_or_else(String::new, |ip| ip.source().to_string()),
        destination: ip.map_or_else(String::new, |ip| ip.destination().to_string()),
        protocol: protocol.unwrap_or_else(|malformed| malformed.to_string()),
        length: ip.map_or(0, |ip| ip.payload_length().into()),
    }
}

/// Whose the packet is, or what its sender is told.
fn classify(
    packet: &Packet<'_>,
    own: &OwnAddresses,
    is_joined: impl FnOnce(Ip6Address) -> bool,
) -> Result<Ip6LocalVerdict, IcmpRequest> {
    let bytes = packet.bytes();
    let Some((ip, _)) = Ip6Header::parse(bytes) else {
        return Ok(Verdict::Drop(Ip6LocalError::TooShort));
    };
    let interface = packet.rx_interface();
    if !is_for_us(own, interface, ip.destination()) && !is_joined(ip.destination()) {
        return Ok(Verdict::Drop(Ip6LocalError::NotOwn));
    }
    if ip.source().is_multicast() {
        return Ok(Verdict::Drop(Ip6LocalError::GroupSource));
    }
    if !packet.is_local() && own.is_own_on6(interface, ip.source()) {
        return Ok(Verdict::Drop(Ip6LocalError::OwnSource));
    }
    let upper = match Ip6Upper::find_as_destination(bytes) {
        Ok(upper) => upper,
        // Its sender is told, as of what is wrong with fragments.
        Err(_) if is_first_fragment(bytes) => return Ok(Verdict::Next(Ip6LocalNext::Reassembly)),
        Err(_) => return Ok(Verdict::Drop(Ip6LocalError::Extension)),
    };
    if upper.offset > Ip6Header::LENGTH {
        match read_all_options(bytes, upper.offset) {
            Ok(()) => {}
            Err(OptionRefusal::Drop) => return Ok(Verdict::Drop(Ip6LocalError::Option)),
            Err(OptionRefusal::Tell(request)) => return Err(request),
        }
    }
    // RFC 8200 §4.4, RFC 5095 §3: no routing type is known here.
    if let Some(routing) = upper.routing.filter(|routing| routing.segments_left > 0) {
        return Err(IcmpRequest::new(4, 0, routing.header_at as u32 + 2));
    }
    if upper.is_fragment() {
        return Ok(Verdict::Next(Ip6LocalNext::Reassembly));
    }
    let length = ip.total_length().saturating_sub(upper.offset);
    Ok(match upper.protocol {
        IpProtocol::ICMP6 => classify_icmp(packet, ip, &upper, length),
        IpProtocol::TCP => checked(packet, ip, &upper, length, Ip6LocalNext::Punt),
        IpProtocol::UDP => classify_udp(packet, ip, &upper, length),
        IpProtocol::NO_NEXT => Verdict::Drop(Ip6LocalError::NoNext),
        _ => Verdict::Next(Ip6LocalNext::Punt),
    })
}

/// An own address, that of any router, or a group that a router is in (RFC 4291 §2.8).
fn is_for_us(own: &OwnAddresses, interface: InterfaceIndex, destination: Ip6Address) -> bool {
    if !destination.is_multicast() {
        return own.is_own(destination.to_std().into()) || own.is_anycast(destination);
    }
    destination == Ip6Address::ALL_NODES
        || destination == Ip6Address::ALL_ROUTERS
        || (destination.is_solicited_node() && own.is_in_solicited_node_group(interface, destination))
}

fn classify_icmp(packet: &Packet<'_>, ip: &Ip6Header, upper: &Ip6Upper, length: usize) -> Ip6LocalVerdict {
    let message = packet.bytes().get(upper.offset..).unwrap_or_default();
    // The shortest message that means anything; ND's own checks follow in `nd-input`.
    let (Some(&kind), true) = (message.get(..8).and_then(<[u8]>::first), length >= 8) else {
        return Verdict::Drop(Ip6LocalError::TooShort);
    };
    let next = match Icmp6Kind(kind) {
        // It checks the whole message itself.
        kind if kind.is_neighbor_discovery() => return Verdict::Next(Ip6LocalNext::Nd),
        Icmp6Kind::ECHO_REQUEST => Ip6LocalNext::Echo,
        Icmp6Kind::ECHO_REPLY => Ip6LocalNext::Ping,
        kind if kind.is_error() => Ip6LocalNext::Ping,
        // RFC 2710, RFC 3810
        Icmp6Kind(130..=132 | 143) => Ip6LocalNext::Mld,
        // RFC 4443 §2.4 b: an informational message of an unknown type is silently discarded.
        _ => return Verdict::Drop(Ip6LocalError::IcmpType),
    };
    checked(packet, ip, upper, length, next)
}

fn classify_udp(packet: &Packet<'_>, ip: &Ip6Header, upper: &Ip6Upper, length: usize) -> Ip6LocalVerdict {
    let datagram = packet.bytes().get(upper.offset..).unwrap_or_default();
    let Some((udp, _)) = UdpHeader::parse(datagram) else {
        return Verdict::Drop(Ip6LocalError::TooShort);
    };
    if UdpHeader::check(datagram, length).is_err() {
        return Verdict::Drop(Ip6LocalError::UdpLength);
    }
    // RFC 8200 §8.1: over IPv6 a checksum is a must.
    if !udp.has_checksum() && !packet.checksum_is_trusted() {
        return Verdict::Drop(Ip6LocalError::Checksum);
    }
    checked(packet, ip, upper, udp.length().into(), Ip6LocalNext::Punt)
}

fn checked(
    packet: &Packet<'_>,
    ip: &Ip6Header,
    upper: &Ip6Upper,
    length: usize,
    next: Ip6LocalNext,
) -> Ip6LocalVerdict {
    let pseudo = ip.pseudo_header(upper.protocol, length as u32);
    if packet.checksum_is_trusted() || is_checksum_right(packet, upper.offset, length, pseudo) {
        Verdict::Next(next)
    } else {
        Verdict::Drop(Ip6LocalError::Checksum)
    }
}

node!(Ip6Local);
