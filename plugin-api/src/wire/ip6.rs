//! The IPv6 header (RFC 8200 §3).

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::Sum;
use super::{Ip6Address, IpProtocol};

reasons! {
    /// Why bytes are not an IPv6 packet.
    pub enum Ip6Malformed {
        /// Fewer than 40 bytes.
        Truncated = "ip6 header truncated",
        /// The version is not 6.
        Version = "ip6 version is not 6",
        /// The payload length is beyond the packet.
        PayloadLengthBeyond = "ip6 payload length beyond packet",
    }
}

/// The 40 bytes that every IPv6 packet begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ip6Header {
    version_class_flow: U32,
    payload_length: U16,
    next_header: u8,
    hop_limit: u8,
    source: Ip6Address,
    destination: Ip6Address,
}

wire_header!(Ip6Header, 40);

impl Ip6Header {
    /// Every link takes a packet of this many bytes (RFC 8200 §5).
    pub const MIN_MTU: usize = 1280;

    /// A header with hop limit 64, traffic class 0 and flow label 0; `None` when the payload (extension
    /// headers included) is beyond 65,535 bytes.
    #[inline]
    pub fn new(
        next_header: IpProtocol,
        source: Ip6Address,
        destination: Ip6Address,
        payload_length: usize,
    ) -> Option<Self> {
        Some(Self {
            version_class_flow: U32::new(6 << 28),
            payload_length: U16::new(u16::try_from(payload_length).ok()?),
            next_header: next_header.0,
            hop_limit: 64,
            source,
            destination,
        })
    }

    /// The checked header at the front of `bytes`, the first segment of a packet of `packet_length` bytes
    /// (from this header on, padding included). Jumbograms (RFC 2675) are not known: their payload length of
    /// 0 stands as it is.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of `Ip6Malformed`.
    #[inline]
    pub fn check(bytes: &[u8], packet_length: usize) -> Result<&Self, Ip6Malformed> {
        let Some((header, _)) = Self::parse(bytes) else {
            return Err(Ip6Malformed::Truncated);
        };
        if header.version() != 6 {
            return Err(Ip6Malformed::Version);
        }
        if header.payload_length() as usize + Self::LENGTH > packet_length {
            return Err(Ip6Malformed::PayloadLengthBeyond);
        }
        Ok(header)
    }

    /// What follows the header at the front of `bytes`, up to the payload length or the end of `bytes`; empty
    /// when the header is cut short.
    #[inline]
    pub fn payload(bytes: &[u8]) -> &[u8] {
        match Self::parse(bytes) {
            Some((header, rest)) => &rest[..rest.len().min(header.payload_length() as usize)],
            None => &[],
        }
    }

    /// The version, 6 in a checked header.
    #[inline]
    pub const fn version(&self) -> u8 {
        (self.version_class_flow.get() >> 28) as u8
    }

    /// DSCP and ECN as one byte.
    #[inline]
    pub const fn traffic_class(&self) -> u8 {
        (self.version_class_flow.get() >> 20) as u8
    }

    /// The differentiated services code point, 0…63 (RFC 2474).
    #[inline]
    pub const fn dscp(&self) -> u8 {
        self.traffic_class() >> 2
    }

    /// The explicit congestion notification bits, 0…3 (RFC 3168).
    #[inline]
    pub const fn ecn(&self) -> u8 {
        self.traffic_class() & 3
    }

    /// The flow label, 20 bits (RFC 6437).
    #[inline]
    pub const fn flow_label(&self) -> u32 {
        self.version_class_flow.get() & 0xf_ffff
    }

    /// Bytes behind this header, extension headers included.
    #[inline]
    pub const fn payload_length(&self) -> u16 {
        self.payload_length.get()
    }

    /// Bytes of header and payload.
    #[inline]
    pub const fn total_length(&self) -> usize {
        Self::LENGTH + self.payload_length.get() as usize
    }

    /// What follows this header: an extension header or the upper protocol's.
    #[inline]
    pub const fn next_header(&self) -> IpProtocol {
        IpProtocol(self.next_header)
    }

    /// How many more hops it may make.
    #[inline]
    pub const fn hop_limit(&self) -> u8 {
        self.hop_limit
    }

    /// From whom.
    #[inline]
    pub const fn source(&self) -> Ip6Address {
        self.source
    }

    /// To whom.
    #[inline]
    pub const fn destination(&self) -> Ip6Address {
        self.destination
    }

    /// Takes one hop off; false, and nothing changes, when none is left (RFC 8200 §3: a packet is dropped
    /// when its hop limit was 0 or becomes 0).
    #[inline]
    #[must_use]
    pub fn decrement_hop_limit(&mut self) -> bool {
        if self.hop_limit <= 1 {
            return false;
        }
        self.hop_limit -= 1;
        true
    }

    /// Sets the hop limit.
    #[inline]
    pub fn set_hop_limit(&mut self, hop_limit: u8) {
        self.hop_limit = hop_limit;
    }

    /// Sets DSCP and ECN.
    #[inline]
    pub fn set_traffic_class(&mut self, traffic_class: u8) {
        let rest = self.version_class_flow.get() & 0xf00f_ffff;
        self.version_class_flow = U32::new(rest | (traffic_class as u32) << 20);
    }

    /// Sets the ECN bits; only the low 2 bits count.
    #[inline]
    pub fn set_ecn(&mut self, ecn: u8) {
        self.set_traffic_class(self.traffic_class() & !3 | ecn & 3);
    }

    /// Sets the flow label; only the low 20 bits count.
    #[inline]
    pub fn set_flow_label(&mut self, flow_label: u32) {
        let rest = self.version_class_flow.get() & 0xfff0_0000;
        self.version_class_flow = U32::new(rest | flow_label & 0xf_ffff);
    }

    /// Sets the bytes behind this header.
    #[inline]
    pub fn set_payload_length(&mut self, payload_length: u16) {
        self.payload_length = U16::new(payload_length);
    }

    /// Sets what follows this header.
    #[inline]
    pub fn set_next_header(&mut self, next_header: IpProtocol) {
        self.next_header = next_header.0;
    }

    /// Sets from whom.
    #[inline]
    pub fn set_source(&mut self, source: Ip6Address) {
        self.source = source;
    }

    /// Sets to whom.
    #[inline]
    pub fn set_destination(&mut self, destination: Ip6Address) {
        self.destination = destination;
    }

    /// The sum of the pseudo header for that upper protocol with a header and payload of that many bytes (RFC
    /// 8200 §8.1). Of a packet with a routing header the destination is the final one only at its last hop.
    #[inline]
    pub fn pseudo_header(&self, upper: IpProtocol, upper_length: u32) -> Sum {
        Sum::pseudo_ip6(self.source, self.destination, upper, upper_length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACKET: [u8; 44] = [
        0x6a, 0xb1, 0x23, 0x45, 0x00, 0x04, 0x3b, 0x40, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 1, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 3, 4,
    ];

    #[test]
    fn reads_every_field() {
        let ip = Ip6Header::check(&PACKET, 44).unwrap();
        assert_eq!((ip.version(), ip.traffic_class(), ip.flow_label()), (6, 0xab, 0x12345));
        assert_eq!((ip.dscp(), ip.ecn()), (0xab >> 2, 3));
        assert_eq!((ip.payload_length(), ip.total_length()), (4, 44));
        assert_eq!((ip.next_header(), ip.hop_limit()), (IpProtocol::NO_NEXT, 64));
        assert_eq!(ip.source().to_string(), "2001:db8::1");
        assert_eq!(ip.destination().to_string(), "2001:db8::2");
        assert_eq!(Ip6Header::payload(&PACKET), [1, 2, 3, 4]);
    }

    #[test]
    fn builder_makes_the_packet() {
        let packet = Ip6Header::parse(&PACKET).unwrap().0;
        let mut ip = Ip6Header::new(IpProtocol::NO_NEXT, packet.source(), packet.destination(), 4).unwrap();
        ip.set_traffic_class(0xab);
        ip.set_flow_label(0xfff1_2345);
        assert_eq!(ip.as_bytes(), &PACKET[..40]);
        assert!(Ip6Header::new(IpProtocol::UDP, packet.source(), packet.destination(), 65_536).is_none());
    }

    #[test]
    fn refuses_packets_cut_at_every_byte() {
        for length in 0..44 {
            let reason =
                if length < 40 { Ip6Malformed::Truncated } else { Ip6Malformed::PayloadLengthBeyond };
            assert_eq!(Ip6Header::check(&PACKET[..length], length), Err(reason), "{length}");
        }
        assert!(Ip6Header::check(&PACKET[..40], 44).is_ok(), "the payload may be in further segments");
        let mut other = PACKET;
        other[0] = 0x45;
        assert_eq!(Ip6Header::check(&other, 44), Err(Ip6Malformed::Version));
    }

    #[test]
    fn hop_limit_of_one_is_not_taken_down() {
        for (limit, left) in [(0, None), (1, None), (2, Some(1)), (255, Some(254))] {
            let mut ip = *Ip6Header::parse(&PACKET).unwrap().0;
            ip.set_hop_limit(limit);
            assert_eq!(ip.decrement_hop_limit().then(|| ip.hop_limit()), left);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_etherparse(mut bytes: [u8; 40]) {
            bytes[0] = 0x60 | bytes[0] & 0xf;
            let ours = Ip6Header::parse(&bytes).unwrap().0;
            let theirs = etherparse::Ipv6Header::from_slice(&bytes).unwrap().0;
            prop_assert_eq!(ours.traffic_class(), theirs.traffic_class);
            prop_assert_eq!(ours.flow_label(), theirs.flow_label.value());
            prop_assert_eq!(ours.payload_length(), theirs.payload_length);
            prop_assert_eq!((ours.next_header().0, ours.hop_limit()), (theirs.next_header.0, theirs.hop_limit));
            prop_assert_eq!((ours.source().0, ours.destination().0), (theirs.source, theirs.destination));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), packet_length: usize) {
            let _ = Ip6Header::check(&bytes, packet_length);
            let _ = Ip6Header::payload(&bytes);
        }
    }
}
