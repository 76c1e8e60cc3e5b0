//! The checks that every received IPv4 packet passes (RFC 1812 §5.2.2, §5.3.7).
#![forbid(unsafe_code)]

use raddle_plugin_api::wire::{Ip4Header, Ip4Malformed};
use raddle_plugin_api::{Packet, error};

error! {
    /// Why `ip4-input` drops packets.
    pub enum Ip4InputError {
        Truncated => "truncated": "shorter than an IPv4 header",
        Version => "bad-version": "the version is not 4",
        HeaderLength => "bad-header-length": "the header length is below 20 bytes",
        OptionsTruncated => "options-truncated": "the header reaches beyond the data",
        TotalLengthShort => "total-length-short": "the total length is below the header length",
        TotalLengthBeyond => "total-length-beyond": "the total length is beyond the packet",
        Checksum => "bad-checksum": "the header checksum is wrong",
        MartianSource => "martian-source": "the source is no host's address",
        MartianDestination => "martian-destination": "the destination is no address that may be on the wire",
        LinkBroadcast => "link-broadcast": "unicast packet in a broadcast or multicast frame",
        NoHeadroom => "no-headroom": "no room for the link-layer header",
    }
}

/// First class D address: multicast; class E and the limited broadcast follow.
pub const MULTICAST: u32 = 0xe000_0000;
/// First class E address: reserved, and the limited broadcast.
const RESERVED: u32 = 0xf000_0000;

/// To whom a checked packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip4Audience {
    /// One host.
    Unicast,
    /// A group.
    Multicast,
    /// Everyone on the link.
    Broadcast,
}

impl From<Ip4Malformed> for Ip4InputError {
    fn from(malformed: Ip4Malformed) -> Self {
        match malformed {
            Ip4Malformed::Truncated => Self::Truncated,
            Ip4Malformed::Version => Self::Version,
            Ip4Malformed::HeaderLength => Self::HeaderLength,
            Ip4Malformed::OptionsTruncated => Self::OptionsTruncated,
            Ip4Malformed::TotalLengthShort => Self::TotalLengthShort,
            Ip4Malformed::TotalLengthBeyond => Self::TotalLengthBeyond,
            Ip4Malformed::Checksum => Self::Checksum,
        }
    }
}

/// Whether a packet from this address may be forwarded to one host: not "this network", loopback, multicast, reserved or
/// broadcast (RFC 1812 §5.3.7).
#[inline(always)]
pub const fn is_unicast_source(source: u32) -> bool {
    let network = source >> 24;
    // One comparison for the two ends of the range.
    network.wrapping_sub(1) < (MULTICAST >> 24) - 1 && network != 127
}

/// What the one pass over a plain packet needs of its header.
#[derive(Clone, Copy)]
pub struct PlainIp4 {
    /// The whole packet's length, which is the header's total length too.
    pub length: usize,
    /// Destination.
    pub destination: u32,
}

/// The facts of a packet that has nothing special about it: a right header without options, no padding behind it, from one
/// host to another, with hops left, received in a frame to us, not traced. `None`: it goes the long way.
#[inline(always)]
pub fn plain(packet: &Packet<'_>) -> Option<PlainIp4> {
    let length = packet.len();
    let header = Ip4Header::of(packet.bytes().first_chunk()?);
    let (source, destination) = (header.source().to_bits(), header.destination().to_bits());
    // Each test is a branch that is never taken but by what is rare: that is less work than to reckon them up.
    let is_plain = header.is_plain()
        && usize::from(header.total_length()) == length
        && is_unicast_source(source)
        && destination < MULTICAST
        && header.ttl() > 1
        && !(packet.is_traced() | packet.is_local() | packet.is_l2_multicast());
    is_plain.then_some(PlainIp4 { length, destination })
}

/// As [`plain`], of a packet that `ip4-input` has checked or raddle has made: neither its checksum nor its source is looked at.
#[inline(always)]
pub fn forwardable(packet: &Packet<'_>) -> Option<PlainIp4> {
    let length = packet.len();
    let header = Ip4Header::of(packet.bytes().first_chunk()?);
    let is_plain = header.has_no_options()
        && usize::from(header.total_length()) == length
        && header.ttl() > 1
        && !packet.is_traced();
    is_plain.then(|| PlainIp4 { length, destination: header.destination().to_bits() })
}

/// Whether a packet with this destination may be on its way to one host: not "this network", loopback, multicast, reserved.
#[inline(always)]
pub const fn is_unicast_destination(destination: u32) -> bool {
    is_unicast_source(destination)
}

/// Checks the packet, whose first byte is that of its IPv4 header, and cuts off what is behind its total length. Options are
/// not looked at.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(packet: &mut Packet<'_>) -> Result<Ip4Audience, Ip4InputError> {
    let length = packet.len();
    let header = Ip4Header::check(packet.bytes(), length)?;
    let total = usize::from(header.total_length());
    let (source, destination) = (header.source().to_bits(), header.destination().to_bits());
    let audience = match destination {
        u32::MAX => Ip4Audience::Broadcast,
        RESERVED.. => return Err(Ip4InputError::MartianDestination),
        MULTICAST.. => Ip4Audience::Multicast,
        _ => Ip4Audience::Unicast,
    };
    // Who has no address yet may speak to the link (RFC 2131 §4.1, RFC 3376 §4.2.13).
    let is_unnumbered = source == 0 && audience != Ip4Audience::Unicast;
    if !is_unicast_source(source) && !is_unnumbered && !packet.is_local() {
        return Err(Ip4InputError::MartianSource);
    }
    if matches!(destination >> 24, 0 | 127) && !packet.is_local() {
        return Err(Ip4InputError::MartianDestination);
    }
    // RFC 1812 §5.3.4.
    if packet.is_l2_multicast() && audience == Ip4Audience::Unicast {
        return Err(Ip4InputError::LinkBroadcast);
    }
    if total < length {
        packet.truncate(total);
    }
    Ok(audience)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_no_host_may_have_are_martians() {
        for (source, is_unicast) in [
            ([0, 0, 0, 0], false),
            ([0, 1, 2, 3], false),
            ([1, 0, 0, 0], true),
            ([126, 255, 255, 255], true),
            ([127, 0, 0, 1], false),
            ([128, 0, 0, 1], true),
            ([223, 255, 255, 255], true),
            ([224, 0, 0, 1], false),
            ([240, 0, 0, 1], false),
            ([255, 255, 255, 255], false),
        ] {
            assert_eq!(is_unicast_source(u32::from_be_bytes(source)), is_unicast, "{source:?}");
        }
    }
}
