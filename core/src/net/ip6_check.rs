//! The checks that every received IPv6 packet passes (RFC 8200 §3, RFC 4291 §2.5, §2.7).
#![forbid(unsafe_code)]

use raddle_plugin_api::wire::{Ip6Address, Ip6Header, Ip6Malformed};
use raddle_plugin_api::{Packet, error};

error! {
    /// Why `ip6-input` drops packets.
    pub enum Ip6InputError {
        Truncated => "truncated": "shorter than an IPv6 header",
        Version => "bad-version": "the version is not 6",
        PayloadLengthBeyond => "payload-length-beyond": "the payload length is beyond the packet",
        MartianSource => "martian-source": "the source is no host's address",
        MartianDestination => "martian-destination": "the destination is no address that may be on the wire",
        LinkBroadcast => "link-broadcast": "unicast packet in a broadcast or multicast frame",
        NoHeadroom => "no-headroom": "no room for the link-layer header",
    }
}

/// To whom a checked packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip6Audience {
    /// One host.
    Unicast,
    /// A group.
    Multicast,
}

impl From<Ip6Malformed> for Ip6InputError {
    fn from(malformed: Ip6Malformed) -> Self {
        match malformed {
            Ip6Malformed::Truncated => Self::Truncated,
            Ip6Malformed::Version => Self::Version,
            Ip6Malformed::PayloadLengthBeyond => Self::PayloadLengthBeyond,
        }
    }
}

/// What the one pass over a plain packet needs of its header.
#[derive(Clone, Copy)]
pub struct PlainIp6 {
    /// The whole packet's length, which is the header's total length too.
    pub length: usize,
    /// Destination.
    pub destination: u128,
}

/// The facts of a packet that has nothing special about it: a right header, no padding behind it, from one host to another,
/// none of them link-local, with hops left, received in a frame to us, not traced. `None`: it goes the long way.
///
/// A loopback or unspecified destination is not looked for: the routes to them, which are always there, are no plain ones.
#[inline(always)]
pub fn plain(packet: &Packet<'_>) -> Option<PlainIp6> {
    facts(packet).filter(|_| !(packet.is_traced() | packet.is_local() | packet.is_l2_multicast()))
}

/// As [`plain`], of a packet that `ip6-input` has checked or raddle has made.
#[inline(always)]
pub fn forwardable(packet: &Packet<'_>) -> Option<PlainIp6> {
    facts(packet).filter(|_| !packet.is_traced())
}

#[inline(always)]
fn facts(packet: &Packet<'_>) -> Option<PlainIp6> {
    let length = packet.len();
    // By words, each loaded once: field by field the compiler would load the addresses in pieces.
    let header: &[u8; Ip6Header::LENGTH] = packet.bytes().first_chunk()?;
    let word = |at: usize| header[at..].first_chunk().map_or(0, |word| u64::from_be_bytes(*word));
    let (first, source) = (word(0), [word(8), word(16)]);
    let destination = u128::from(word(24)) << 64 | u128::from(word(32));
    let payload_length = (first >> 16) as u16;
    let hop_limit = first as u8;
    let is_plain = first >> 60 == 6
        && usize::from(payload_length) + Ip6Header::LENGTH == length
        && is_plain_source(source)
        && destination >> 120 != 0xff
        && hop_limit > 1;
    is_plain.then_some(PlainIp6 { length, destination })
}

/// [`Ip6Address::is_valid_source`] of an address in two words: not multicast, link-local, unspecified or loopback.
#[inline(always)]
const fn is_plain_source([high, low]: [u64; 2]) -> bool {
    high >> 56 != 0xff && high >> 54 != 0xfe80 >> 6 && (high | low >> 1) != 0
}

/// Checks the packet, whose first byte is that of its IPv6 header, and cuts off what is behind its payload.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(packet: &mut Packet<'_>) -> Result<Ip6Audience, Ip6InputError> {
    let length = packet.len();
    let header = Ip6Header::check(packet.bytes(), length)?;
    let total = header.total_length();
    let (source, destination) = (header.source(), header.destination());
    if !packet.is_local() {
        // Who has no address yet may speak to groups of the link (RFC 4862 §5.4.2).
        let is_unnumbered = source.is_unspecified() && destination.is_link_scope_multicast();
        if source.is_multicast() || source.is_loopback() || source.is_unspecified() && !is_unnumbered {
            return Err(Ip6InputError::MartianSource);
        }
        if destination.is_loopback() || destination.is_unspecified() || is_interface_scope(destination) {
            return Err(Ip6InputError::MartianDestination);
        }
    }
    let audience = if destination.is_multicast() { Ip6Audience::Multicast } else { Ip6Audience::Unicast };
    // As RFC 1812 §5.3.4 has it for IPv4.
    if packet.is_l2_multicast() && audience == Ip6Audience::Unicast {
        return Err(Ip6InputError::LinkBroadcast);
    }
    if total < length {
        packet.truncate(total);
    }
    Ok(audience)
}

/// Groups of scope 0 and 1 never leave their node (RFC 4291 §2.7).
fn is_interface_scope(group: Ip6Address) -> bool {
    group.is_multicast() && group.0[1] & 0xf <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_sources_are_the_valid_ones() {
        for text in [
            "::",
            "::1",
            "::2",
            "1::",
            "2001:db8::1",
            "fe7f::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "fdff::",
        ] {
            let address = Ip6Address::from(text.parse::<std::net::Ipv6Addr>().unwrap());
            let words = [address.high(), address.low()];
            assert_eq!(is_plain_source(words), address.is_valid_source(), "{text}");
        }
    }
}
