//! IPv4 and IPv6 headers as translation makes them (RFC 7915 §4.1, §5.1).

use raddle_plugin_api::wire::checksum::Sum;
use raddle_plugin_api::wire::{Ip4Address, Ip4Header, Ip6Address, Ip6Header, IpProtocol};

/// The largest IPv4 packet that may be cut on its way: what was 1,280 bytes as IPv6 (RFC 7915 §5.1).
const MAX_CUTTABLE_BYTES: usize = Ip6Header::MIN_MTU - (Ip6Header::LENGTH - Ip4Header::LENGTH);

/// The two ends of a packet's flow, as IPv4 has them. Of ICMP queries both ports are the identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends4 {
    /// Source address.
    pub source: Ip4Address,
    /// Destination address.
    pub destination: Ip4Address,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

/// The two ends of a packet's flow, as IPv6 has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends6 {
    /// Source address.
    pub source: Ip6Address,
    /// Destination address.
    pub destination: Ip6Address,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

/// What an IPv4 header says of fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment4 {
    /// What fragments of a packet share.
    pub identification: u16,
    /// Whether the packet must not be cut.
    pub dont_fragment: bool,
    /// Where the fragment belongs, in bytes: a multiple of 8.
    pub offset: u16,
    /// Whether it is not the last.
    pub more_fragments: bool,
}

impl Fragment4 {
    /// Of a packet of `total` bytes that came without a fragment header: small ones may be cut on their way and need a number
    /// for that, large ones say that they must not (RFC 7915 §5.1).
    #[inline(always)]
    pub const fn of_whole(total: usize, identification: u16) -> Self {
        let dont_fragment = total > MAX_CUTTABLE_BYTES;
        // RFC 6864 §4.1: what cannot be cut needs no number.
        let identification = if dont_fragment { 0 } else { identification };
        Self { identification, dont_fragment, offset: 0, more_fragments: false }
    }

    /// Of a packet with a fragment header (RFC 7915 §5.1.1): the low 16 bits of the number are kept.
    pub const fn of_fragment(identification: u32, offset: u16, more_fragments: bool) -> Self {
        Self { identification: identification as u16, dont_fragment: false, offset, more_fragments }
    }
}

/// An IPv4 packet to be made.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing4 {
    /// Source address.
    pub source: Ip4Address,
    /// Destination address.
    pub destination: Ip4Address,
    /// Upper protocol.
    pub protocol: IpProtocol,
    /// TTL.
    pub ttl: u8,
    /// Traffic class, which is taken over as it is (RFC 7915 §5.1).
    pub traffic_class: u8,
    /// Bytes behind the header.
    pub payload: usize,
    /// What it says of fragments.
    pub fragment: Fragment4,
}

/// The header, without options, with its checksum: made of whole words.
#[inline(always)]
pub fn ip4_header(packet: &Outgoing4) -> [u8; Ip4Header::LENGTH] {
    // A packet that was IPv6 with 40 bytes of header is shorter than 65,536 bytes as IPv4; a GSO packet's length counts for nothing.
    let total = (packet.payload + Ip4Header::LENGTH).min(0xffff) as u64;
    let Fragment4 { identification, dont_fragment, offset, more_fragments } = packet.fragment;
    let flags = u16::from(dont_fragment) << 14 | u16::from(more_fragments) << 13 | offset >> 3;
    let first = 0x45 << 56
        | u64::from(packet.traffic_class) << 48
        | total << 32
        | u64::from(identification) << 16
        | u64::from(flags);
    let second =
        u64::from(packet.ttl) << 56 | u64::from(packet.protocol.0) << 48 | u64::from(packet.source.to_bits());
    let third = packet.destination.to_bits();
    let half = |word: u64| (word >> 32) + (word & 0xffff_ffff);
    let sum = half(first) + half(second) + u64::from(third);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let checksum = !((sum >> 16) + (sum & 0xffff)) & 0xffff;
    let mut bytes = [0; Ip4Header::LENGTH];
    bytes[..8].copy_from_slice(&first.to_be_bytes());
    bytes[8..16].copy_from_slice(&(second | checksum << 32).to_be_bytes());
    bytes[16..].copy_from_slice(&third.to_be_bytes());
    bytes
}

/// An IPv6 packet to be made.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing6 {
    /// Source address.
    pub source: Ip6Address,
    /// Destination address.
    pub destination: Ip6Address,
    /// Next header.
    pub next_header: IpProtocol,
    /// Hop limit.
    pub hop_limit: u8,
    /// Traffic class.
    pub traffic_class: u8,
    /// Bytes behind the header.
    pub payload: usize,
}

/// The header; its flow label is zero (RFC 7915 §4.1).
#[inline(always)]
pub fn ip6_header(packet: &Outgoing6) -> [u8; Ip6Header::LENGTH] {
    let mut bytes = [0; Ip6Header::LENGTH];
    let first = 6 << 60
        | u64::from(packet.traffic_class) << 52
        | (packet.payload.min(0xffff) as u64) << 16
        | u64::from(packet.next_header.0) << 8
        | u64::from(packet.hop_limit);
    bytes[..8].copy_from_slice(&first.to_be_bytes());
    bytes[8..24].copy_from_slice(&packet.source.0);
    bytes[24..40].copy_from_slice(&packet.destination.0);
    bytes
}

/// The sum of two IPv4 addresses: what differs in the pseudo headers of TCP and UDP.
#[inline(always)]
pub fn pseudo4(source: Ip4Address, destination: Ip4Address) -> Sum {
    Sum::pseudo_ip4(source, destination, IpProtocol(0), 0)
}

/// The sum of two IPv6 addresses.
#[inline(always)]
pub fn pseudo6(source: Ip6Address, destination: Ip6Address) -> Sum {
    Sum::pseudo_ip6(source, destination, IpProtocol(0), 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raddle_plugin_api::wire::checksum;

    use super::*;

    #[test]
    fn headers_say_what_they_were_told() {
        let packet = Outgoing4 {
            source: Ip4Address([192, 0, 2, 1]),
            destination: Ip4Address([198, 51, 100, 2]),
            protocol: IpProtocol::UDP,
            ttl: 63,
            traffic_class: 0xb9,
            payload: 100,
            fragment: Fragment4::of_fragment(0xdead_beef, 1480, true),
        };
        let bytes = ip4_header(&packet);
        let header = Ip4Header::check(&bytes, 120).unwrap();
        assert!(checksum::is_valid(&bytes));
        assert_eq!((header.identification(), header.fragment_offset()), (0xbeef, 1480));
        assert!(header.more_fragments() && !header.dont_fragment());
        assert_eq!((header.traffic_class(), header.ttl(), header.total_length()), (0xb9, 63, 120));

        let bytes = ip6_header(&Outgoing6 {
            source: Ip6Address::from_bits(1 << 100),
            destination: Ip6Address::from_bits(2 << 100),
            next_header: IpProtocol::TCP,
            hop_limit: 9,
            traffic_class: 0xb9,
            payload: 20,
        });
        let header = Ip6Header::check(&bytes, 60).unwrap();
        assert_eq!((header.traffic_class(), header.flow_label(), header.hop_limit()), (0xb9, 0, 9));
        assert_eq!((header.next_header(), header.payload_length()), (IpProtocol::TCP, 20));
    }

    proptest! {
        #[test]
        fn checksum_of_any_header_is_right(
            source: u32, destination: u32, protocol: u8, ttl: u8, traffic_class: u8,
            payload in 0_usize..65_516, identification: u16, dont_fragment: bool, more_fragments: bool, offset in 0_u16..8192,
        ) {
            let bytes = ip4_header(&Outgoing4 {
                source: Ip4Address::from_bits(source),
                destination: Ip4Address::from_bits(destination),
                protocol: IpProtocol(protocol),
                ttl,
                traffic_class,
                payload,
                fragment: Fragment4 { identification, dont_fragment, offset: offset << 3, more_fragments },
            });
            prop_assert!(checksum::is_valid(&bytes));
            let (header, _) = Ip4Header::parse(&bytes).unwrap();
            prop_assert_eq!(header.source().to_bits(), source);
            prop_assert_eq!((header.ttl(), header.protocol().0, header.payload_length()), (ttl, protocol, payload));
        }
    }

    /// RFC 7915 §5.1: up to 1,260 bytes "don't fragment" is off.
    #[test]
    fn only_large_packets_must_not_be_cut() {
        assert!(!Fragment4::of_whole(1260, 7).dont_fragment);
        assert_eq!(Fragment4::of_whole(1260, 7).identification, 7);
        assert!(Fragment4::of_whole(1261, 7).dont_fragment);
        assert_eq!(Fragment4::of_whole(1261, 7).identification, 0);
    }
}
