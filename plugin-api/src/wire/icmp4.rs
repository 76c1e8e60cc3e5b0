//! ICMP for IPv4 (RFC 792; what a router sends: RFC 1812 §4.3).

use std::fmt;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{self, Sum, never_zero};
use super::{Ip4Address, Ip4Header, IpProtocol};

reasons! {
    /// Why bytes are not an ICMP message of either version.
    pub enum IcmpMalformed {
        /// Fewer than 8 bytes.
        Truncated = "icmp message truncated",
        /// The checksum is wrong.
        Checksum = "icmp checksum wrong",
    }
}

/// The type of an ICMP message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(transparent)]
pub struct Icmp4Kind(pub u8);

impl Icmp4Kind {
    /// Answers an echo request.
    pub const ECHO_REPLY: Self = Self(0);
    /// A packet could not be delivered.
    pub const DESTINATION_UNREACHABLE: Self = Self(3);
    /// Deprecated (RFC 6633).
    pub const SOURCE_QUENCH: Self = Self(4);
    /// A better first hop.
    pub const REDIRECT: Self = Self(5);
    /// Asks for an echo reply.
    pub const ECHO_REQUEST: Self = Self(8);
    /// The TTL or the time for reassembly ran out.
    pub const TIME_EXCEEDED: Self = Self(11);
    /// A header field was wrong.
    pub const PARAMETER_PROBLEM: Self = Self(12);

    /// Whether a message of this type is about another packet and quotes it.
    #[inline]
    pub const fn is_error(self) -> bool {
        matches!(
            self,
            Self::DESTINATION_UNREACHABLE
                | Self::SOURCE_QUENCH
                | Self::REDIRECT
                | Self::TIME_EXCEEDED
                | Self::PARAMETER_PROBLEM
        )
    }
}

impl fmt::Display for Icmp4Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ECHO_REPLY => f.pad("echo-reply"),
            Self::DESTINATION_UNREACHABLE => f.pad("destination-unreachable"),
            Self::SOURCE_QUENCH => f.pad("source-quench"),
            Self::REDIRECT => f.pad("redirect"),
            Self::ECHO_REQUEST => f.pad("echo-request"),
            Self::TIME_EXCEEDED => f.pad("time-exceeded"),
            Self::PARAMETER_PROBLEM => f.pad("parameter-problem"),
            Self(number) => write!(f, "type {number}"),
        }
    }
}

/// The 8 bytes that every ICMP message of interest begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Icmp4Header {
    kind: u8,
    code: u8,
    checksum: U16,
    rest: U32,
}

wire_header!(Icmp4Header, 8);

impl Icmp4Header {
    /// The checked header of a whole message, and what follows it.
    ///
    /// # Errors
    /// When the message is too short or its checksum is wrong.
    #[inline]
    pub fn check(message: &[u8]) -> Result<(&Self, &[u8]), IcmpMalformed> {
        let parsed = Self::parse(message).ok_or(IcmpMalformed::Truncated)?;
        if checksum::is_valid(message) { Ok(parsed) } else { Err(IcmpMalformed::Checksum) }
    }

    /// An echo request with its checksum over `data`, which is to follow.
    pub fn echo_request(identifier: u16, sequence: u16, data: &[u8]) -> Self {
        let rest = (identifier as u32) << 16 | sequence as u32;
        Self::with_checksum(Icmp4Kind::ECHO_REQUEST, 0, rest, data)
    }

    /// What the message is.
    #[inline]
    pub const fn kind(&self) -> Icmp4Kind {
        Icmp4Kind(self.kind)
    }

    /// Which variant of it.
    #[inline]
    pub const fn code(&self) -> u8 {
        self.code
    }

    /// The checksum as stored.
    #[inline]
    pub const fn checksum(&self) -> u16 {
        self.checksum.get()
    }

    /// Stores a checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        self.checksum = U16::new(checksum);
    }

    /// The identifier of an echo message.
    #[inline]
    pub const fn identifier(&self) -> u16 {
        (self.rest.get() >> 16) as u16
    }

    /// Sets the identifier of an echo message and keeps the checksum right.
    #[inline]
    pub fn set_identifier(&mut self, identifier: u16) {
        self.update(self.identifier(), identifier);
        self.rest = U32::new((identifier as u32) << 16 | self.sequence() as u32);
    }

    /// The sequence number of an echo message.
    #[inline]
    pub const fn sequence(&self) -> u16 {
        self.rest.get() as u16
    }

    /// The next hop's MTU in "fragmentation needed"; 0 from routers before RFC 1191.
    #[inline]
    pub const fn next_hop_mtu(&self) -> u16 {
        self.rest.get() as u16
    }

    /// The byte at fault in a parameter problem.
    #[inline]
    pub const fn pointer(&self) -> u8 {
        (self.rest.get() >> 24) as u8
    }

    /// The four bytes whose meaning depends on the type, as a number.
    #[inline]
    pub const fn rest(&self) -> u32 {
        self.rest.get()
    }

    /// Turns an echo request into its reply and keeps the checksum right; false, and nothing changes, for
    /// other messages.
    #[inline]
    #[must_use]
    pub fn make_echo_reply(&mut self) -> bool {
        if self.kind() != Icmp4Kind::ECHO_REQUEST {
            return false;
        }
        let code = self.code;
        let word = |kind: Icmp4Kind| u16::from_be_bytes([kind.0, code]);
        self.update(word(Icmp4Kind::ECHO_REQUEST), word(Icmp4Kind::ECHO_REPLY));
        self.kind = Icmp4Kind::ECHO_REPLY.0;
        true
    }

    /// The reply to a request of zeros is all zero: there the plain update gives a checksum that receivers
    /// refuse.
    #[inline]
    fn update(&mut self, old: u16, new: u16) {
        self.checksum = U16::new(never_zero(checksum::update_u16(self.checksum.get(), old, new)));
    }

    fn with_checksum(kind: Icmp4Kind, code: u8, rest: u32, data: &[u8]) -> Self {
        let mut header = Self { kind: kind.0, code, checksum: U16::ZERO, rest: U32::new(rest) };
        header.checksum = U16::new(Sum::new().add_bytes(header.as_bytes()).add_bytes(data).checksum());
        header
    }
}

/// An error that a router reports about a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Icmp4Error {
    /// No route.
    NetworkUnreachable,
    /// The next hop does not answer.
    HostUnreachable,
    /// No one here takes that protocol.
    ProtocolUnreachable,
    /// No one here listens on that port.
    PortUnreachable,
    /// Too big, and "don't fragment" is set (RFC 1191 §4).
    FragmentationNeeded {
        /// What the next link takes, in bytes.
        mtu: u16,
    },
    /// Forbidden by a filter (RFC 1812 §5.2.7.1).
    AdministrativelyProhibited,
    /// The TTL ran out on the way.
    TtlExceeded,
    /// Fragments did not come in time.
    ReassemblyTimeExceeded,
    /// A header field was wrong.
    ParameterProblem {
        /// The byte at fault.
        pointer: u8,
    },
    /// A better first hop for that host.
    RedirectHost {
        /// The better hop.
        gateway: Ip4Address,
    },
}

impl Icmp4Error {
    /// Quoted bytes at most: with this header and an IPv4 header of 20 bytes, 576 (RFC 1812 §4.3.2.3).
    pub const MAX_QUOTE: usize = Ip4Header::MIN_REASSEMBLY - Ip4Header::LENGTH - Icmp4Header::LENGTH;

    /// Whether an error may be sent about the packet that begins, with its IPv4 header, at the front of
    /// `packet` (RFC 1812 §4.3.2.7). That the packet did not come as a link-layer broadcast is for the caller
    /// to know.
    pub fn is_allowed_for(packet: &[u8]) -> bool {
        let Some((ip, _)) = Ip4Header::parse(packet) else {
            return false;
        };
        let about_error = ip.protocol() == IpProtocol::ICMP4
            && Ip4Header::payload(packet).first().is_none_or(|kind| Icmp4Kind(*kind).is_error());
        !ip.is_later_fragment()
            && !about_error
            && ip.source().is_valid_source()
            && !ip.destination().is_multicast()
            && ip.destination() != Ip4Address::BROADCAST
    }

    /// What to quote of the packet at the front of `packet`: as much as may be, without link-layer padding.
    pub fn quote(packet: &[u8]) -> &[u8] {
        let total = Ip4Header::parse(packet).map_or(packet.len(), |(ip, _)| ip.total_length() as usize);
        &packet[..packet.len().min(total).min(Self::MAX_QUOTE)]
    }

    /// The header to put in front of the quote, its checksum right.
    pub fn header(self, quote: &[u8]) -> Icmp4Header {
        let (kind, code, rest) = match self {
            Self::NetworkUnreachable => (Icmp4Kind::DESTINATION_UNREACHABLE, 0, 0),
            Self::HostUnreachable => (Icmp4Kind::DESTINATION_UNREACHABLE, 1, 0),
            Self::ProtocolUnreachable => (Icmp4Kind::DESTINATION_UNREACHABLE, 2, 0),
            Self::PortUnreachable => (Icmp4Kind::DESTINATION_UNREACHABLE, 3, 0),
            Self::FragmentationNeeded { mtu } => (Icmp4Kind::DESTINATION_UNREACHABLE, 4, mtu as u32),
            Self::AdministrativelyProhibited => (Icmp4Kind::DESTINATION_UNREACHABLE, 13, 0),
            Self::RedirectHost { gateway } => (Icmp4Kind::REDIRECT, 1, gateway.to_bits()),
            Self::TtlExceeded => (Icmp4Kind::TIME_EXCEEDED, 0, 0),
            Self::ReassemblyTimeExceeded => (Icmp4Kind::TIME_EXCEEDED, 1, 0),
            Self::ParameterProblem { pointer } => (Icmp4Kind::PARAMETER_PROBLEM, 0, (pointer as u32) << 24),
        };
        Icmp4Header::with_checksum(kind, code, rest, quote)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smoltcp::wire as oracle;

    use super::*;

    // ping's: identifier 0x1234, sequence 1, data 00 … 07.
    const ECHO: [u8; 16] = [8, 0, 0xd9, 0xba, 0x12, 0x34, 0, 1, 0, 1, 2, 3, 4, 5, 6, 7];

    #[test]
    fn echo_request_becomes_its_reply() {
        let mut bytes = ECHO;
        let (echo, data) = Icmp4Header::check(&bytes).unwrap();
        assert_eq!((echo.kind(), echo.code()), (Icmp4Kind::ECHO_REQUEST, 0));
        assert_eq!((echo.identifier(), echo.sequence()), (0x1234, 1));
        assert_eq!(*echo, Icmp4Header::echo_request(0x1234, 1, data));
        let header = Icmp4Header::parse_mut(&mut bytes).unwrap().0;
        assert!(header.make_echo_reply() && !header.make_echo_reply());
        header.set_identifier(7);
        let (reply, _) = Icmp4Header::check(&bytes).unwrap();
        assert_eq!((reply.kind(), reply.identifier(), reply.sequence()), (Icmp4Kind::ECHO_REPLY, 7, 1));
    }

    // Found by fuzzing.
    #[test]
    fn reply_of_zeros_has_a_checksum_that_receivers_take() {
        let mut bytes = [Icmp4Header::echo_request(0, 0, &[0; 4]).as_bytes(), &[0; 4]].concat();
        assert!(Icmp4Header::parse_mut(&mut bytes).unwrap().0.make_echo_reply());
        assert_eq!(bytes[2..4], [0xff, 0xff]);
        assert!(Icmp4Header::check(&bytes).is_ok());
    }

    #[test]
    fn refuses_messages_cut_at_every_byte() {
        for length in 0..ECHO.len() {
            // Cut by an even number of zero bytes the checksum could still be right; this data has none.
            let reason = if length < 8 { IcmpMalformed::Truncated } else { IcmpMalformed::Checksum };
            assert_eq!(Icmp4Header::check(&ECHO[..length]).unwrap_err(), reason, "{length}");
        }
    }

    fn packet(protocol: IpProtocol, payload: &[u8], change: impl Fn(&mut Ip4Header)) -> Vec<u8> {
        let (source, destination) = (Ip4Address([10, 0, 0, 1]), Ip4Address([10, 0, 0, 2]));
        let mut ip = Ip4Header::new(protocol, source, destination, payload.len()).unwrap();
        change(&mut ip);
        [ip.as_bytes(), payload].concat()
    }

    #[test]
    fn error_is_not_sent_about_what_rfc_1812_forbids() {
        let none = |_: &mut Ip4Header| {};
        assert!(Icmp4Error::is_allowed_for(&packet(IpProtocol::UDP, &[0; 8], none)));
        assert!(Icmp4Error::is_allowed_for(&packet(IpProtocol::ICMP4, &ECHO, none)));
        let first = |ip: &mut Ip4Header| ip.set_fragment(0, true);
        assert!(Icmp4Error::is_allowed_for(&packet(IpProtocol::UDP, &[0; 8], first)));

        for kind in [3, 4, 5, 11, 12] {
            assert!(!Icmp4Error::is_allowed_for(&packet(IpProtocol::ICMP4, &[kind; 8], none)), "{kind}");
        }
        assert!(!Icmp4Error::is_allowed_for(&packet(IpProtocol::ICMP4, &[], none)));
        let later = |ip: &mut Ip4Header| ip.set_fragment(8, true);
        assert!(!Icmp4Error::is_allowed_for(&packet(IpProtocol::UDP, &[0; 8], later)));
        for source in [[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
            let change = |ip: &mut Ip4Header| ip.set_source(Ip4Address(source));
            assert!(!Icmp4Error::is_allowed_for(&packet(IpProtocol::UDP, &[0; 8], change)), "{source:?}");
        }
        for destination in [[224, 0, 0, 1], [255; 4]] {
            let change = |ip: &mut Ip4Header| ip.set_destination(Ip4Address(destination));
            assert!(
                !Icmp4Error::is_allowed_for(&packet(IpProtocol::UDP, &[0; 8], change)),
                "{destination:?}"
            );
        }
        assert!(!Icmp4Error::is_allowed_for(&[0x45; 19]));
    }

    #[test]
    fn quote_is_bounded_and_without_padding() {
        assert_eq!(Icmp4Error::MAX_QUOTE, 548);
        let long = packet(IpProtocol::UDP, &[0; 1000], |_| {});
        assert_eq!(Icmp4Error::quote(&long).len(), 548);
        let mut padded = packet(IpProtocol::UDP, &[0; 8], |_| {});
        padded.resize(46, 0);
        assert_eq!(Icmp4Error::quote(&padded).len(), 28);
        assert_eq!(Icmp4Error::quote(&padded[..7]).len(), 7);
    }

    #[test]
    fn errors_are_what_etherparse_reads() {
        use etherparse::Icmpv4Type;
        use etherparse::icmpv4::{DestUnreachableHeader, ParameterProblemHeader, TimeExceededCode};
        let original = packet(IpProtocol::UDP, &[0; 8], |_| {});
        let quote = Icmp4Error::quote(&original);
        let unreachable = Icmpv4Type::DestinationUnreachable;
        for (error, expected) in [
            (Icmp4Error::NetworkUnreachable, unreachable(DestUnreachableHeader::Network)),
            (Icmp4Error::HostUnreachable, unreachable(DestUnreachableHeader::Host)),
            (Icmp4Error::ProtocolUnreachable, unreachable(DestUnreachableHeader::Protocol)),
            (Icmp4Error::PortUnreachable, unreachable(DestUnreachableHeader::Port)),
            (
                Icmp4Error::FragmentationNeeded { mtu: 1400 },
                unreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 }),
            ),
            (Icmp4Error::AdministrativelyProhibited, unreachable(DestUnreachableHeader::FilterProhibited)),
            (Icmp4Error::TtlExceeded, Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit)),
            (
                Icmp4Error::ReassemblyTimeExceeded,
                Icmpv4Type::TimeExceeded(TimeExceededCode::FragmentReassemblyTimeExceeded),
            ),
            (
                Icmp4Error::ParameterProblem { pointer: 9 },
                Icmpv4Type::ParameterProblem(ParameterProblemHeader::PointerIndicatesError(9)),
            ),
        ] {
            let message = [error.header(quote).as_bytes(), quote].concat();
            assert_eq!(etherparse::Icmpv4Header::from_slice(&message).unwrap().0.icmp_type, expected);
            let (header, rest) = Icmp4Header::check(&message).unwrap();
            assert!(header.kind().is_error());
            assert_eq!(rest, quote);
        }
        let header = Icmp4Error::RedirectHost { gateway: Ip4Address([10, 0, 0, 9]) }.header(quote);
        assert_eq!((header.kind(), header.code(), header.rest()), (Icmp4Kind::REDIRECT, 1, 0x0a00_0009));
        assert_eq!(Icmp4Error::FragmentationNeeded { mtu: 1400 }.header(quote).next_hop_mtu(), 1400);
        assert_eq!(Icmp4Error::ParameterProblem { pointer: 9 }.header(quote).pointer(), 9);
    }

    proptest! {
        #[test]
        fn check_agrees_with_smoltcp(mut bytes in proptest::collection::vec(any::<u8>(), 0..40), right: bool) {
            if right && bytes.len() >= 8 {
                bytes[2..4].fill(0);
                let sum = checksum::checksum(&bytes);
                bytes[2..4].copy_from_slice(&sum.to_be_bytes());
            }
            let theirs = bytes.len() >= 8
                && oracle::Icmpv4Packet::new_checked(&bytes[..]).is_ok_and(|message| message.verify_checksum());
            prop_assert_eq!(Icmp4Header::check(&bytes).is_ok(), theirs);
        }
    }
}
