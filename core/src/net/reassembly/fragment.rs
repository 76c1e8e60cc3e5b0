//! What a packet says of itself as a fragment, and whether that may be so.

use raddle_plugin_api::Packet;
use raddle_plugin_api::wire::{
    ExtensionMalformed, Icmp6Kind, Ip4Header, Ip6FragmentHeader, Ip6Header, Ip6Upper, IpProtocol, TcpHeader,
};

use super::key::{Key, Scope, Source};
use super::reason::ReassemblyError;
use crate::net::icmp_field::IcmpRequest;

/// Largest length of a datagram, in bytes (RFC 791 §3.1; RFC 8200 §3 for what is behind the IPv6 header).
const MAX_LENGTH: u32 = 65_535;

/// A fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What it shares with the others.
    pub key: Key,
    /// Where its data begins in the datagram's, in bytes.
    pub start: u32,
    /// Where its data ends.
    pub end: u32,
    /// Whether the datagram ends with it.
    pub last: bool,
    /// Where its data begins in the packet, from the IP header on.
    pub data_at: u16,
    /// Length of the packet, from the IP header on; what is behind is padding.
    pub length: u32,
    /// The two bits of explicit congestion notification.
    pub ecn: u8,
    /// What the datagram's data begins with, as this fragment has it; where that is an extension header of a first
    /// fragment, what is behind.
    pub protocol: IpProtocol,
    /// Where the transport header stands in a first fragment, from the IP header on.
    pub upper_at: u16,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It is whole.
    Whole,
    /// It is a fragment.
    Fragment(Fragment),
    /// It is dropped.
    Drop(ReassemblyError),
    /// Its sender is told that it is wrong.
    Tell(IcmpRequest),
}

/// What the IPv4 packet that begins here is.
#[inline(always)]
pub fn look4(packet: &Packet<'_>, scope: Scope) -> Look {
    match Ip4Header::parse(packet.bytes()) {
        Some((ip, _)) if !ip.is_fragment() => Look::Whole,
        Some((ip, _)) => read4(packet, ip, scope),
        None => Look::Drop(ReassemblyError::Malformed),
    }
}

/// What the IPv6 packet that begins here is.
#[inline(always)]
pub fn look6(packet: &Packet<'_>, scope: Scope) -> Look {
    match Ip6Header::parse(packet.bytes()) {
        Some((ip, _)) if !ip.next_header().is_extension() => Look::Whole,
        Some((ip, _)) => read6(packet, ip, scope),
        None => Look::Drop(ReassemblyError::Malformed),
    }
}

#[cold]
fn read4(packet: &Packet<'_>, ip: &Ip4Header, scope: Scope) -> Look {
    let (total, header) = (usize::from(ip.total_length()), ip.header_length());
    if total < header || total > packet.len() || header > packet.bytes().len() {
        return Look::Drop(ReassemblyError::Malformed);
    }
    let (start, length) = (u32::from(ip.fragment_offset()), (total - header) as u32);
    let last = !ip.more_fragments();
    // RFC 791 §3.2: all but the last are cut at multiples of 8 bytes.
    if length == 0 || (!last && !length.is_multiple_of(8)) {
        return Look::Drop(ReassemblyError::Length);
    }
    if header as u32 + start + length > MAX_LENGTH {
        return Look::Drop(ReassemblyError::TooLong);
    }
    if is_tiny(ip.protocol(), start, length) {
        return Look::Drop(ReassemblyError::Tiny);
    }
    Look::Fragment(Fragment {
        key: Key {
            source: Source::ip4(ip.source(), packet, scope),
            destination: ip.destination().to_bits().into(),
            identification: ip.identification().into(),
            protocol: ip.protocol().0,
            scope,
        },
        start,
        end: start + length,
        last,
        data_at: header as u16,
        length: total as u32,
        ecn: ip.ecn(),
        protocol: ip.protocol(),
        upper_at: header as u16,
    })
}

#[cold]
fn read6(packet: &Packet<'_>, ip: &Ip6Header, scope: Scope) -> Look {
    let (bytes, total) = (packet.bytes(), ip.total_length());
    let chain = Ip6Upper::find(&bytes[..bytes.len().min(total)]);
    let upper = match chain {
        Ok(upper) => upper,
        Err(ExtensionMalformed::Truncated) if is_first_fragment(bytes) => {
            // RFC 7112 §5, RFC 8200 §4.5: a first fragment has all headers, the transport's included.
            return Look::Tell(IcmpRequest::new(4, 3, 0));
        }
        Err(_) => return Look::Drop(ReassemblyError::Malformed),
    };
    // RFC 6946: a whole packet with a fragment header stands for itself, whatever else has its identification.
    let Some(fragment) = upper.fragment.filter(|fragment| !fragment.is_atomic()) else { return Look::Whole };
    let data_at = fragment.header_at + Ip6FragmentHeader::LENGTH;
    if total > packet.len() || total < data_at {
        return Look::Drop(ReassemblyError::Malformed);
    }
    let (start, length) = (u32::from(fragment.offset), (total - data_at) as u32);
    // RFC 8200 §4.5: parameter problem, at the payload length or at the fragment offset.
    if !length.is_multiple_of(8) && fragment.more_fragments {
        return Look::Tell(IcmpRequest::new(4, 0, 4));
    }
    let front = (fragment.header_at - Ip6Header::LENGTH) as u32;
    if front + start + length > MAX_LENGTH {
        return Look::Tell(IcmpRequest::new(4, 0, fragment.header_at as u32 + 2));
    }
    if length == 0 {
        return Look::Drop(ReassemblyError::Length);
    }
    if start == 0 {
        let room = total.saturating_sub(upper.offset) as u32;
        if is_tiny(upper.protocol, 0, room) {
            return Look::Tell(IcmpRequest::new(4, 3, 0));
        }
        // RFC 6980 §5
        let kind = bytes.get(upper.offset).copied().map(Icmp6Kind);
        if upper.protocol == IpProtocol::ICMP6 && kind.is_some_and(Icmp6Kind::is_neighbor_discovery) {
            return Look::Drop(ReassemblyError::NeighborDiscovery);
        }
    } else if is_tiny(upper.protocol, start, length) {
        return Look::Drop(ReassemblyError::Tiny);
    }
    Look::Fragment(Fragment {
        key: Key {
            source: Source::ip6(ip.source(), packet, scope),
            destination: ip.destination().to_bits(),
            identification: fragment.identification,
            protocol: 0,
            scope,
        },
        start,
        end: start + length,
        last: !fragment.more_fragments,
        data_at: data_at as u16,
        length: total as u32,
        ecn: ip.ecn(),
        protocol: upper.protocol,
        upper_at: upper.offset as u16,
    })
}

/// Whether a fragment plays tricks with the transport header (RFC 1858 §2, RFC 3128): a first one has it whole, and no
/// other reaches into it.
fn is_tiny(protocol: IpProtocol, start: u32, length: u32) -> bool {
    let header = match protocol {
        IpProtocol::TCP => TcpHeader::LENGTH as u32,
        IpProtocol::UDP | IpProtocol::UDP_LITE | IpProtocol::ICMP4 | IpProtocol::ICMP6 => 8,
        IpProtocol::SCTP => 12,
        _ => 1,
    };
    if start == 0 { length < header } else { start < header }
}

/// Whether the IPv6 packet that begins here, whatever is wrong with its extension headers, has among them the fragment
/// header of a first fragment.
pub fn is_first_fragment(bytes: &[u8]) -> bool {
    let Some((ip, _)) = Ip6Header::parse(bytes) else { return false };
    let (mut kind, mut at) = (ip.next_header(), Ip6Header::LENGTH);
    while kind.is_extension() && kind != IpProtocol::FRAGMENT {
        let Some(&[next, length]) = bytes.get(at..at + 2).and_then(|pair| pair.first_chunk()) else {
            return false;
        };
        at += if kind == IpProtocol::AH {
            (usize::from(length) + 2) * 4
        } else {
            (usize::from(length) + 1) * 8
        };
        kind = IpProtocol(next);
    }
    let header = Ip6FragmentHeader::parse(bytes.get(at..).unwrap_or_default());
    kind == IpProtocol::FRAGMENT
        && header.is_some_and(|(header, _)| header.offset() == 0 && header.more_fragments())
}
