//! What flow a packet is of.

use raddle_plugin_api::wire::{Ip4Address, Ip4Header, Ip6Address, Ip6Header, Ip6Upper, IpProtocol, TcpFlags};
use raddle_plugin_api::{Field, L4Ports, Packet};

use crate::reason::Nat64Error;
use crate::rewrite::{SHORT_BYTES, TCP_BYTES};
use crate::state::{Flow4, Flow6, FoundPrefix, Protocol, Rules};

/// A packet of the usual kind, as the first pass over a frame has seen it.
#[derive(Clone, Copy)]
pub struct Plain<F> {
    /// The flow.
    pub flow: F,
    /// TCP's flags.
    pub flags: TcpFlags,
    /// Number of the prefix.
    pub prefix: u8,
}

/// The flow of an IPv6 packet with a TCP or UDP header right behind the IPv6 header, which may go on. `None`: it is to be looked at
/// more closely.
#[inline(always)]
pub fn plain6(rules: &Rules, packet: &Packet<'_>) -> Option<Plain<Flow6>> {
    let (ip, upper) = packet.bytes().split_first_chunk::<{ Ip6Header::LENGTH }>()?;
    let (protocol, flags) = upper_of(IpProtocol(ip[6]), upper)?;
    let ports = upper.first_chunk::<4>()?;
    let source = Ip6Address(*ip[8..24].first_chunk()?);
    let destination = Ip6Address(*ip[24..40].first_chunk()?);
    let (found, remote) = rules.split(destination, packet.fib_index())?;
    if ip[7] <= 1 || packet.has_offload() || packet.is_traced() {
        return None;
    }
    let flow = Flow6 {
        inside: source,
        inside_port: u16::from_be_bytes([ports[0], ports[1]]),
        remote,
        remote_port: u16::from_be_bytes([ports[2], ports[3]]),
        protocol,
        tenant: found.tenant,
    };
    Some(Plain { flow, flags, prefix: found.number })
}

/// The flow of an IPv4 packet without options that is no fragment and for the translator; as [`plain6`].
#[inline(always)]
pub fn plain4(rules: &Rules, packet: &Packet<'_>) -> Option<Plain<Flow4>> {
    let (ip, upper) = packet.bytes().split_first_chunk::<{ Ip4Header::LENGTH }>()?;
    let (protocol, flags) = upper_of(IpProtocol(ip[9]), upper)?;
    let head = upper.first_chunk::<SHORT_BYTES>()?;
    let outside = Ip4Address(*ip[16..20].first_chunk()?);
    // All but "don't fragment" of what is said of fragments.
    let fragments = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff;
    let is_unusual = ip[0] != 0x45 || fragments != 0 || ip[8] <= 1;
    if is_unusual || !rules.is_ours(outside) || packet.has_offload() || packet.is_traced() {
        return None;
    }
    if protocol == Protocol::Udp && head[6] | head[7] == 0 {
        return None;
    }
    let flow = Flow4 {
        outside,
        outside_port: u16::from_be_bytes([head[2], head[3]]),
        remote: Ip4Address(*ip[12..16].first_chunk()?),
        remote_port: u16::from_be_bytes([head[0], head[1]]),
        protocol,
    };
    Some(Plain { flow, flags, prefix: 0 })
}

/// TCP or UDP, and TCP's flags, if the header is there.
#[inline(always)]
fn upper_of(protocol: IpProtocol, upper: &[u8]) -> Option<(Protocol, TcpFlags)> {
    match protocol {
        IpProtocol::TCP => Some((Protocol::Tcp, TcpFlags(upper.first_chunk::<TCP_BYTES>()?[13]))),
        IpProtocol::UDP => (upper.len() >= SHORT_BYTES).then_some((Protocol::Udp, TcpFlags(0))),
        _ => None,
    }
}

/// Ports, flags and kind of what is behind the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upper {
    /// TCP, UDP, or an ICMP query, whose identifier stands for both ports.
    Flow {
        /// Protocol.
        protocol: Protocol,
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// TCP's flags.
        flags: TcpFlags,
    },
    /// An ICMP error.
    Error,
}

/// What is behind the IP header of a packet that is whole: at `at` of its first buffer.
pub fn whole(protocol: Option<Protocol>, bytes: &[u8], at: usize) -> Result<Upper, Nat64Error> {
    let protocol = protocol.ok_or(Nat64Error::Protocol)?;
    let upper = bytes.get(at..).unwrap_or_default();
    let needed = if protocol == Protocol::Tcp { TCP_BYTES } else { SHORT_BYTES };
    let header = upper.get(..needed).ok_or(Nat64Error::Malformed)?;
    let flags = if protocol == Protocol::Tcp { TcpFlags(header[13]) } else { TcpFlags(0) };
    let is_6 = bytes.first().is_some_and(|first| first >> 4 == 6);
    let (source, destination) = match (protocol, is_6, header[0]) {
        (Protocol::Icmp, false, 0 | 8) | (Protocol::Icmp, true, 128 | 129) => {
            (word(header, 4), word(header, 4))
        }
        (Protocol::Icmp, false, 3..=5 | 11 | 12) | (Protocol::Icmp, true, 1..=4) => return Ok(Upper::Error),
        (Protocol::Icmp, ..) => return Err(Nat64Error::IcmpKind),
        _ => (word(header, 0), word(header, 2)),
    };
    Ok(Upper::Flow { protocol, source, destination, flags })
}

/// What is known of a fragment's datagram.
pub fn fragment(
    protocol: Option<Protocol>,
    packet: &Packet<'_>,
    field: &Field<L4Ports>,
) -> Result<Upper, Nat64Error> {
    let protocol = protocol.ok_or(Nat64Error::Protocol)?;
    if protocol == Protocol::Icmp {
        return Err(Nat64Error::IcmpFragment);
    }
    // Own fragments, if there were any, have not gone by virtual reassembly.
    if packet.is_local() {
        return Err(Nat64Error::NoPorts);
    }
    let ports = L4Ports::of(packet, field);
    let expected = protocol.to_ip4();
    let (source, destination) =
        ports.ports().filter(|_| ports.protocol() == expected).ok_or(Nat64Error::NoPorts)?;
    // Only a first fragment has flags of its own.
    let (kind, _) = ports.detail();
    let flags = if protocol == Protocol::Tcp && ports.is_first() { TcpFlags(kind) } else { TcpFlags::ACK };
    Ok(Upper::Flow { protocol, source, destination, flags })
}

/// The flow of the packet that an ICMPv6 error quotes, which went from outside, in the prefix that was found for the error itself,
/// to inside; and who is behind its source.
pub fn quoted6(rules: &Rules, by: FoundPrefix, quote: &[u8]) -> Option<(Flow6, Ip6Address)> {
    let (ip, _) = Ip6Header::parse(quote)?;
    let upper = Ip6Upper::find(quote).ok()?;
    let prefix = rules.prefix(by.number);
    if upper.is_later_fragment() || !prefix.contains(ip.source()) {
        return None;
    }
    let (remote_port, inside_port, protocol) =
        quoted_ports(Protocol::of_ip6(upper.protocol)?, quote.get(upper.offset..)?)?;
    let flow = Flow6 {
        inside: ip.destination(),
        inside_port,
        remote: prefix.extract(ip.source()),
        remote_port,
        protocol,
        tenant: by.tenant,
    };
    Some((flow, ip.source()))
}

/// The flow of the packet that an ICMPv4 error quotes, which went from inside to outside.
pub fn quoted4(quote: &[u8]) -> Option<Flow4> {
    let (ip, _) = Ip4Header::parse(quote)?;
    if ip.version() != 4 || ip.is_later_fragment() || ip.header_length() < Ip4Header::LENGTH {
        return None;
    }
    let (outside_port, remote_port, protocol) =
        quoted_ports(Protocol::of_ip4(ip.protocol())?, quote.get(ip.header_length()..)?)?;
    Some(Flow4 { outside: ip.source(), outside_port, remote: ip.destination(), remote_port, protocol })
}

fn quoted_ports(protocol: Protocol, upper: &[u8]) -> Option<(u16, u16, Protocol)> {
    let header = upper.get(..SHORT_BYTES)?;
    Some(match protocol {
        Protocol::Icmp => (word(header, 4), word(header, 4), protocol),
        _ => (word(header, 0), word(header, 2), protocol),
    })
}

/// Whether packets can go to an IPv4 address from inside.
pub fn is_host4(address: Ip4Address) -> bool {
    address.is_valid_source()
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
