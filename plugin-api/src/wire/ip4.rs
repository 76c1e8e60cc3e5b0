//! The IPv4 header (RFC 791).

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute_mut, transmute_ref};

use super::checksum::{self, Sum};
use super::{HeaderOptions, Ip4Address, IpProtocol};

/// Where the TTL stands, and behind it the protocol and the checksum.
const TTL_OFFSET: usize = 8;

reasons! {
    /// Why bytes are not an IPv4 packet (RFC 1812 §5.2.2).
    pub enum Ip4Malformed {
        /// Fewer than 20 bytes.
        Truncated = "ip4 header truncated",
        /// The version is not 4.
        Version = "ip4 version is not 4",
        /// The header length is below 20 bytes.
        HeaderLength = "ip4 header length below 20",
        /// The header with its options reaches beyond the data.
        OptionsTruncated = "ip4 options truncated",
        /// The total length is below the header length.
        TotalLengthShort = "ip4 total length below header length",
        /// The total length is beyond the packet.
        TotalLengthBeyond = "ip4 total length beyond packet",
        /// The header checksum is wrong.
        Checksum = "ip4 header checksum wrong",
    }
}

/// The 20 bytes that every IPv4 header has. The setters keep the checksum right if it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ip4Header {
    version_length: u8,
    traffic_class: u8,
    total_length: U16,
    identification: U16,
    flags_offset: U16,
    ttl: u8,
    protocol: u8,
    checksum: U16,
    source: Ip4Address,
    destination: Ip4Address,
}

wire_header!(Ip4Header, 20);

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

impl Ip4Header {
    /// The longest header: with 40 bytes of options.
    pub const MAX_LENGTH: usize = 60;
    /// Every host takes a packet of this many bytes (RFC 791 §3.1).
    pub const MIN_REASSEMBLY: usize = 576;

    /// A header without options, TTL 64, "don't fragment" clear, identification 0, its checksum right; `None`
    /// when header and payload are beyond 65,535 bytes.
    #[inline]
    pub fn new(
        protocol: IpProtocol,
        source: Ip4Address,
        destination: Ip4Address,
        payload_length: usize,
    ) -> Option<Self> {
        let total_length = u16::try_from(payload_length.checked_add(Self::LENGTH)?).ok()?;
        let mut header = Self {
            version_length: 0x45,
            traffic_class: 0,
            total_length: U16::new(total_length),
            identification: U16::ZERO,
            flags_offset: U16::ZERO,
            ttl: 64,
            protocol: protocol.0,
            checksum: U16::ZERO,
            source,
            destination,
        };
        header.checksum = U16::new(checksum::checksum_20(transmute_ref!(&header)));
        Some(header)
    }

    /// The checked header at the front of `bytes`, the first segment of a packet of `packet_length` bytes
    /// (from this header on, padding included). `bytes` holds the options too; of what follows only the total
    /// length is checked.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of `Ip4Malformed`.
    #[inline]
    pub fn check(bytes: &[u8], packet_length: usize) -> Result<&Self, Ip4Malformed> {
        let Some((header, _)) = Self::parse(bytes) else {
            return Err(Ip4Malformed::Truncated);
        };
        let total_length = header.total_length() as usize;
        // One branch for the usual packet: no options, everything right.
        if (header.version_length == 0x45)
            & (total_length >= Self::LENGTH)
            & (total_length <= packet_length)
            & header.is_checksum_valid_20()
        {
            return Ok(header);
        }
        match header.find_fault(bytes, packet_length) {
            None => Ok(header),
            Some(reason) => Err(reason),
        }
    }

    /// Whether the header is one of version 4 without options, by its first byte.
    #[inline(always)]
    pub const fn has_no_options(&self) -> bool {
        self.version_length == 0x45
    }

    /// Whether the header is one of version 4 without options whose checksum is right; of its lengths it says nothing.
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        self.has_no_options() && self.is_checksum_valid_20()
    }

    #[cold]
    #[inline(never)]
    fn find_fault(&self, bytes: &[u8], packet_length: usize) -> Option<Ip4Malformed> {
        let total_length = self.total_length() as usize;
        if self.version() != 4 {
            return Some(Ip4Malformed::Version);
        }
        if self.header_length() < Self::LENGTH {
            return Some(Ip4Malformed::HeaderLength);
        }
        let Some(header) = bytes.get(..self.header_length()) else {
            return Some(Ip4Malformed::OptionsTruncated);
        };
        if total_length < header.len() {
            return Some(Ip4Malformed::TotalLengthShort);
        }
        if total_length > packet_length {
            return Some(Ip4Malformed::TotalLengthBeyond);
        }
        (!checksum::is_valid(header)).then_some(Ip4Malformed::Checksum)
    }

    #[inline]
    fn is_checksum_valid_20(&self) -> bool {
        checksum::is_valid_20(transmute_ref!(self))
    }

    /// The version, 4 in a checked header.
    #[inline]
    pub const fn version(&self) -> u8 {
        self.version_length >> 4
    }

    /// Bytes of the header with its options; 20…60 in a checked header.
    #[inline]
    pub const fn header_length(&self) -> usize {
        (self.version_length & 0xf) as usize * 4
    }

    /// Whether there are options.
    #[inline]
    pub const fn has_options(&self) -> bool {
        self.version_length & 0xf > 5
    }

    /// The options of the header at the front of `bytes`; none when it is cut short.
    #[inline]
    pub fn options(bytes: &[u8]) -> HeaderOptions<'_> {
        let options =
            Self::parse(bytes).and_then(|(header, _)| bytes.get(Self::LENGTH..header.header_length()));
        HeaderOptions::new(options.unwrap_or_default())
    }

    /// What follows the header at the front of `bytes`, up to the total length or the end of `bytes`; empty
    /// when the header is cut short.
    #[inline]
    pub fn payload(bytes: &[u8]) -> &[u8] {
        let Some((header, _)) = Self::parse(bytes) else {
            return &[];
        };
        let end = bytes.len().min(header.total_length() as usize);
        bytes.get(header.header_length().max(Self::LENGTH)..end).unwrap_or_default()
    }

    /// The differentiated services code point, 0…63 (RFC 2474).
    #[inline]
    pub const fn dscp(&self) -> u8 {
        self.traffic_class >> 2
    }

    /// The explicit congestion notification bits, 0…3 (RFC 3168).
    #[inline]
    pub const fn ecn(&self) -> u8 {
        self.traffic_class & 3
    }

    /// DSCP and ECN as one byte.
    #[inline]
    pub const fn traffic_class(&self) -> u8 {
        self.traffic_class
    }

    /// Bytes of header and payload.
    #[inline]
    pub const fn total_length(&self) -> u16 {
        self.total_length.get()
    }

    /// Bytes behind the header; 0 when the lengths contradict each other.
    #[inline]
    pub const fn payload_length(&self) -> usize {
        (self.total_length() as usize).saturating_sub(self.header_length())
    }

    /// The identification, which fragments of one packet share.
    #[inline]
    pub const fn identification(&self) -> u16 {
        self.identification.get()
    }

    /// Whether routers must not fragment it.
    #[inline]
    pub const fn dont_fragment(&self) -> bool {
        self.flags_offset.get() & DONT_FRAGMENT != 0
    }

    /// Whether it is a fragment and not the last.
    #[inline]
    pub const fn more_fragments(&self) -> bool {
        self.flags_offset.get() & MORE_FRAGMENTS != 0
    }

    /// Where this fragment's payload belongs, in bytes: a multiple of 8.
    #[inline]
    pub const fn fragment_offset(&self) -> u16 {
        (self.flags_offset.get() & FRAGMENT_OFFSET) << 3
    }

    /// Whether it is a fragment: the first, a middle or the last one.
    #[inline]
    pub const fn is_fragment(&self) -> bool {
        self.flags_offset.get() & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }

    /// Whether it is a fragment without the upper header: any but the first.
    #[inline]
    pub const fn is_later_fragment(&self) -> bool {
        self.flags_offset.get() & FRAGMENT_OFFSET != 0
    }

    /// How many more hops it may make.
    #[inline]
    pub const fn ttl(&self) -> u8 {
        self.ttl
    }

    /// What follows the header.
    #[inline]
    pub const fn protocol(&self) -> IpProtocol {
        IpProtocol(self.protocol)
    }

    /// The header checksum as stored.
    #[inline]
    pub const fn checksum(&self) -> u16 {
        self.checksum.get()
    }

    /// From whom.
    #[inline]
    pub const fn source(&self) -> Ip4Address {
        self.source
    }

    /// To whom.
    #[inline]
    pub const fn destination(&self) -> Ip4Address {
        self.destination
    }

    /// Takes one hop off; false, and nothing changes, when none is left (RFC 1812 §5.3.1: a packet with TTL 0
    /// or 1 is not forwarded).
    #[inline]
    #[must_use]
    pub fn decrement_ttl(&mut self) -> bool {
        if self.ttl <= 1 {
            return false;
        }
        // TTL, protocol and checksum as one little-endian word. The first byte goes down by one; the checksum's first byte goes
        // up by one, with the carry around: one's complement sums are the same in either byte order.
        let header: &mut [u8; Self::LENGTH] = transmute_mut!(self);
        // TTL, protocol and checksum are there, whatever the compiler knows.
        if let Some(bytes) = header[TTL_OFFSET..].first_chunk_mut() {
            let word = u32::from_le_bytes(*bytes);
            let around = u32::from(word >= 0xfffe_0000) << 16;
            *bytes = word.wrapping_add(0xffff).wrapping_add(around).to_le_bytes();
        }
        true
    }

    /// Sets the TTL.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        self.update(word(self.ttl, self.protocol), word(ttl, self.protocol));
        self.ttl = ttl;
    }

    /// Sets the protocol.
    #[inline]
    pub fn set_protocol(&mut self, protocol: IpProtocol) {
        self.update(word(self.ttl, self.protocol), word(self.ttl, protocol.0));
        self.protocol = protocol.0;
    }

    /// Sets DSCP and ECN.
    #[inline]
    pub fn set_traffic_class(&mut self, traffic_class: u8) {
        self.update(word(self.version_length, self.traffic_class), word(self.version_length, traffic_class));
        self.traffic_class = traffic_class;
    }

    /// Sets the ECN bits; only the low 2 bits count.
    #[inline]
    pub fn set_ecn(&mut self, ecn: u8) {
        self.set_traffic_class(self.traffic_class & !3 | ecn & 3);
    }

    /// Sets the bytes of header and payload.
    #[inline]
    pub fn set_total_length(&mut self, total_length: u16) {
        self.update(self.total_length.get(), total_length);
        self.total_length = U16::new(total_length);
    }

    /// Sets the identification.
    #[inline]
    pub fn set_identification(&mut self, identification: u16) {
        self.update(self.identification.get(), identification);
        self.identification = U16::new(identification);
    }

    /// Sets whether routers must not fragment it.
    #[inline]
    pub fn set_dont_fragment(&mut self, set: bool) {
        let flags = self.flags_offset.get();
        self.set_flags_offset(if set { flags | DONT_FRAGMENT } else { flags & !DONT_FRAGMENT });
    }

    /// Makes it the fragment at that offset in bytes, of which the low 3 bits do not count.
    #[inline]
    pub fn set_fragment(&mut self, offset: u16, more_fragments: bool) {
        let more = if more_fragments { MORE_FRAGMENTS } else { 0 };
        self.set_flags_offset(self.flags_offset.get() & DONT_FRAGMENT | more | offset >> 3);
    }

    /// Sets from whom.
    #[inline]
    pub fn set_source(&mut self, source: Ip4Address) {
        self.checksum =
            U16::new(checksum::update_u32(self.checksum.get(), self.source.to_bits(), source.to_bits()));
        self.source = source;
    }

    /// Sets to whom.
    #[inline]
    pub fn set_destination(&mut self, destination: Ip4Address) {
        self.checksum = U16::new(checksum::update_u32(
            self.checksum.get(),
            self.destination.to_bits(),
            destination.to_bits(),
        ));
        self.destination = destination;
    }

    /// Sets the header length to cover this many bytes of options (only whole words up to 40 count) and
    /// computes the checksum over header and options.
    pub fn set_options(&mut self, options: &[u8]) {
        let words = (options.len() / 4).min(10);
        self.version_length = 0x45 + words as u8;
        self.checksum = U16::ZERO;
        let sum = Sum::new().add_bytes(self.as_bytes()).add_bytes(&options[..words * 4]);
        self.checksum = U16::new(sum.checksum());
    }

    /// The sum of the pseudo header for an upper header and payload of that many bytes.
    #[inline]
    pub fn pseudo_header(&self, upper_length: u16) -> Sum {
        Sum::pseudo_ip4(self.source, self.destination, self.protocol(), upper_length)
    }

    #[inline]
    fn set_flags_offset(&mut self, flags_offset: u16) {
        self.update(self.flags_offset.get(), flags_offset);
        self.flags_offset = U16::new(flags_offset);
    }

    #[inline]
    fn update(&mut self, old: u16, new: u16) {
        self.checksum = U16::new(checksum::update_u16(self.checksum.get(), old, new));
    }
}

#[inline]
const fn word(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Taken from a capture: 192.168.0.1 → 192.168.0.199, UDP, DF.
    const HEADER: [u8; 20] = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0,
        0xa8, 0x00, 0xc7,
    ];

    #[test]
    fn reads_every_field() {
        let ip = Ip4Header::check(&HEADER, 0x73).unwrap();
        assert_eq!((ip.version(), ip.header_length(), ip.has_options()), (4, 20, false));
        assert_eq!((ip.total_length(), ip.payload_length(), ip.identification()), (115, 95, 0));
        assert!(ip.dont_fragment() && !ip.is_fragment() && !ip.is_later_fragment());
        assert_eq!((ip.ttl(), ip.protocol(), ip.checksum()), (64, IpProtocol::UDP, 0xb861));
        assert_eq!(ip.source().to_string(), "192.168.0.1");
        assert_eq!(ip.destination().to_string(), "192.168.0.199");
    }

    #[test]
    fn builder_makes_the_header_of_the_capture() {
        let (source, destination) = (Ip4Address([192, 168, 0, 1]), Ip4Address([192, 168, 0, 199]));
        let mut ip = Ip4Header::new(IpProtocol::UDP, source, destination, 95).unwrap();
        ip.set_dont_fragment(true);
        assert_eq!(ip.as_bytes(), HEADER);
        assert!(Ip4Header::new(IpProtocol::UDP, source, destination, 65_516).is_none());
        assert!(Ip4Header::new(IpProtocol::UDP, source, destination, usize::MAX).is_none());
    }

    fn with(changes: &[(usize, u8)]) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        bytes.resize(115, 0);
        for &(offset, value) in changes {
            bytes[offset] = value;
        }
        bytes
    }

    #[test]
    fn refuses_by_the_first_fault() {
        for (changes, length, reason) in [
            (&[(0, 0x65)][..], 115, Ip4Malformed::Version),
            (&[(0, 0x44)], 115, Ip4Malformed::HeaderLength),
            (&[(0, 0x40)], 115, Ip4Malformed::HeaderLength),
            (&[(0, 0x4f)], 59, Ip4Malformed::OptionsTruncated),
            (&[(3, 19)], 115, Ip4Malformed::TotalLengthShort),
            (&[(0, 0x4f), (3, 59)], 115, Ip4Malformed::TotalLengthShort),
            (&[(3, 116)], 115, Ip4Malformed::TotalLengthBeyond),
            (&[(2, 0xff)], 115, Ip4Malformed::TotalLengthBeyond),
            (&[(11, 0x60)], 115, Ip4Malformed::Checksum),
            (&[(19, 0x00)], 115, Ip4Malformed::Checksum),
        ] {
            assert_eq!(Ip4Header::check(&with(changes)[..length], length), Err(reason), "{changes:?}");
        }
    }

    #[test]
    fn refuses_packets_cut_at_every_byte() {
        let bytes = with(&[]);
        for length in 0..115 {
            let reason = if length < 20 { Ip4Malformed::Truncated } else { Ip4Malformed::TotalLengthBeyond };
            assert_eq!(Ip4Header::check(&bytes[..length], length), Err(reason), "{length}");
        }
        assert!(Ip4Header::check(&bytes[..20], 115).is_ok(), "the payload may be in further segments");
    }

    #[test]
    fn options_are_part_of_the_checksum() {
        let mut bytes = with(&[]);
        let options = [148, 4, 0, 0, 1, 1, 1, 0];
        bytes[20..28].copy_from_slice(&options);
        let (header, _) = Ip4Header::parse_mut(&mut bytes).unwrap();
        header.set_options(&options);
        let header = *Ip4Header::check(&bytes, 115).unwrap();
        assert_eq!((header.header_length(), header.has_options()), (28, true));
        assert_eq!(Ip4Header::options(&bytes).count(), 1);
        assert_eq!(Ip4Header::payload(&bytes).len(), 115 - 28);
        assert_eq!(Ip4Header::options(&bytes[..27]).count(), 0);
        bytes[27] = 1;
        assert_eq!(Ip4Header::check(&bytes, 115), Err(Ip4Malformed::Checksum));
    }

    #[test]
    fn ttl_of_one_is_not_taken_down() {
        for (ttl, left) in [(0, None), (1, None), (2, Some(1)), (255, Some(254))] {
            let mut ip = *Ip4Header::parse(&HEADER).unwrap().0;
            ip.set_ttl(ttl);
            assert_eq!(ip.decrement_ttl().then(|| ip.ttl()), left);
            assert!(ip.is_checksum_valid_20());
        }
    }

    #[test]
    fn fragments_are_told_by_offset_and_flag() {
        let mut ip = *Ip4Header::parse(&HEADER).unwrap().0;
        ip.set_fragment(0, true);
        assert!(ip.is_fragment() && !ip.is_later_fragment() && ip.more_fragments() && ip.dont_fragment());
        ip.set_fragment(1480, false);
        assert!(ip.is_fragment() && ip.is_later_fragment() && !ip.more_fragments());
        assert_eq!(ip.fragment_offset(), 1480);
        ip.set_fragment(0, false);
        assert_eq!(ip.as_bytes(), HEADER);
    }

    proptest! {
        #[test]
        fn setters_keep_the_checksum_right(
            class: u8, length: u16, id: u16, ttl: u8, protocol: u8, source: [u8; 4], destination: [u8; 4],
            df: bool, offset: u16, more: bool,
        ) {
            let mut ip = *Ip4Header::parse(&HEADER).unwrap().0;
            ip.set_traffic_class(class);
            ip.set_total_length(length);
            ip.set_identification(id);
            ip.set_ttl(ttl);
            ip.set_protocol(IpProtocol(protocol));
            ip.set_source(Ip4Address(source));
            ip.set_destination(Ip4Address(destination));
            ip.set_dont_fragment(df);
            ip.set_fragment(offset, more);
            prop_assert!(ip.is_checksum_valid_20());
            let theirs = etherparse::Ipv4Header::from_slice(ip.as_bytes()).unwrap().0;
            prop_assert_eq!(ip.checksum(), theirs.calc_header_checksum());
            prop_assert_eq!((ip.dscp(), ip.ecn()), (theirs.dscp.value(), theirs.ecn.value()));
            prop_assert_eq!((ip.total_length(), ip.identification()), (theirs.total_len, theirs.identification));
            prop_assert_eq!((ip.ttl(), ip.protocol().0), (theirs.time_to_live, theirs.protocol.0));
            prop_assert_eq!((ip.dont_fragment(), ip.more_fragments()), (theirs.dont_fragment, theirs.more_fragments));
            prop_assert_eq!(ip.fragment_offset(), theirs.fragment_offset.value() << 3);
            prop_assert_eq!((ip.source().0, ip.destination().0), (theirs.source, theirs.destination));
        }

        #[test]
        fn check_agrees_with_smoltcp(
            changes in proptest::collection::vec((0usize..20, any::<u8>()), 0..3), length in 0usize..120,
        ) {
            let mut bytes = with(&changes);
            bytes.resize(length, 0);
            let theirs = smoltcp::wire::Ipv4Packet::new_checked(&bytes[..]);
            let theirs = theirs.is_ok_and(|ip| ip.version() == 4 && ip.header_len() >= 20 && ip.verify_checksum());
            prop_assert_eq!(Ip4Header::check(&bytes, bytes.len()).is_ok(), theirs);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), packet_length: usize) {
            let _ = Ip4Header::check(&bytes, packet_length);
            let _ = Ip4Header::options(&bytes).count();
            let _ = Ip4Header::payload(&bytes);
        }
    }
}
