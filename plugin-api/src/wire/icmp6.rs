//! ICMPv6 (RFC 4443).

use std::fmt;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{self, Sum};
use super::{IcmpMalformed, Ip6Header, Ip6Upper, IpProtocol};

/// The type of an ICMPv6 message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(transparent)]
pub struct Icmp6Kind(pub u8);

impl Icmp6Kind {
    /// A packet could not be delivered.
    pub const DESTINATION_UNREACHABLE: Self = Self(1);
    /// A packet was beyond the next link's MTU.
    pub const PACKET_TOO_BIG: Self = Self(2);
    /// The hop limit or the time for reassembly ran out.
    pub const TIME_EXCEEDED: Self = Self(3);
    /// A header field was wrong.
    pub const PARAMETER_PROBLEM: Self = Self(4);
    /// Asks for an echo reply.
    pub const ECHO_REQUEST: Self = Self(128);
    /// Answers an echo request.
    pub const ECHO_REPLY: Self = Self(129);
    /// Asks for router advertisements (RFC 4861 §4.1).
    pub const ROUTER_SOLICITATION: Self = Self(133);
    /// A router's announcement (RFC 4861 §4.2).
    pub const ROUTER_ADVERTISEMENT: Self = Self(134);
    /// Asks for a neighbour's link-layer address (RFC 4861 §4.3).
    pub const NEIGHBOR_SOLICITATION: Self = Self(135);
    /// Tells a link-layer address (RFC 4861 §4.4).
    pub const NEIGHBOR_ADVERTISEMENT: Self = Self(136);
    /// A better first hop (RFC 4861 §4.5).
    pub const REDIRECT: Self = Self(137);

    /// Whether a message of this type is about another packet and quotes it: the high bit is clear (RFC 4443
    /// §2.1).
    #[inline]
    pub const fn is_error(self) -> bool {
        self.0 < 128
    }

    /// Whether this is neighbour discovery (RFC 4861).
    #[inline]
    pub const fn is_neighbor_discovery(self) -> bool {
        matches!(self.0, 133..=137)
    }
}

impl fmt::Display for Icmp6Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::DESTINATION_UNREACHABLE => f.pad("destination-unreachable"),
            Self::PACKET_TOO_BIG => f.pad("packet-too-big"),
            Self::TIME_EXCEEDED => f.pad("time-exceeded"),
            Self::PARAMETER_PROBLEM => f.pad("parameter-problem"),
            Self::ECHO_REQUEST => f.pad("echo-request"),
            Self::ECHO_REPLY => f.pad("echo-reply"),
            Self::ROUTER_SOLICITATION => f.pad("router-solicitation"),
            Self::ROUTER_ADVERTISEMENT => f.pad("router-advertisement"),
            Self::NEIGHBOR_SOLICITATION => f.pad("neighbor-solicitation"),
            Self::NEIGHBOR_ADVERTISEMENT => f.pad("neighbor-advertisement"),
            Self::REDIRECT => f.pad("redirect"),
            Self(number) => write!(f, "type {number}"),
        }
    }
}

/// The 8 bytes that every ICMPv6 message of interest begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Icmp6Header {
    kind: u8,
    code: u8,
    checksum: U16,
    rest: U32,
}

wire_header!(Icmp6Header, 8);

impl Icmp6Header {
    /// The checked header of a whole message, and what follows it.
    ///
    /// # Errors
    /// When the message is too short or its checksum, which covers the pseudo header of `ip`, is wrong.
    #[inline]
    pub fn check<'a>(ip: &Ip6Header, message: &'a [u8]) -> Result<(&'a Self, &'a [u8]), IcmpMalformed> {
        let parsed = Self::parse(message).ok_or(IcmpMalformed::Truncated)?;
        let sum = ip.pseudo_header(IpProtocol::ICMP6, message.len() as u32).add_bytes(message);
        if sum.is_valid() { Ok(parsed) } else { Err(IcmpMalformed::Checksum) }
    }

    /// An echo request with its checksum over the pseudo header of `ip` and `data`, which is to follow.
    pub fn echo_request(ip: &Ip6Header, identifier: u16, sequence: u16, data: &[u8]) -> Self {
        let rest = (identifier as u32) << 16 | sequence as u32;
        Self::with_checksum(ip, Icmp6Kind::ECHO_REQUEST, 0, rest, data)
    }

    /// What the message is.
    #[inline]
    pub const fn kind(&self) -> Icmp6Kind {
        Icmp6Kind(self.kind)
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
        self.checksum = U16::new(checksum::update_u16(self.checksum.get(), self.identifier(), identifier));
        self.rest = U32::new((identifier as u32) << 16 | self.sequence() as u32);
    }

    /// The sequence number of an echo message.
    #[inline]
    pub const fn sequence(&self) -> u16 {
        self.rest.get() as u16
    }

    /// The four bytes whose meaning depends on the type, as a number: the MTU of "packet too big", the
    /// pointer of a parameter problem.
    #[inline]
    pub const fn rest(&self) -> u32 {
        self.rest.get()
    }

    /// Turns an echo request into its reply and keeps the checksum right, for source and destination change
    /// places; false, and nothing changes, for other messages. A request to a multicast group is answered
    /// from another address: then the checksum must follow that too.
    #[inline]
    #[must_use]
    pub fn make_echo_reply(&mut self) -> bool {
        if self.kind() != Icmp6Kind::ECHO_REQUEST {
            return false;
        }
        let code = self.code;
        let word = |kind: Icmp6Kind| u16::from_be_bytes([kind.0, code]);
        let (old, new) = (word(Icmp6Kind::ECHO_REQUEST), word(Icmp6Kind::ECHO_REPLY));
        self.checksum = U16::new(checksum::update_u16(self.checksum.get(), old, new));
        self.kind = Icmp6Kind::ECHO_REPLY.0;
        true
    }

    pub(super) fn with_checksum(ip: &Ip6Header, kind: Icmp6Kind, code: u8, rest: u32, data: &[u8]) -> Self {
        let pseudo = ip.pseudo_header(IpProtocol::ICMP6, (Self::LENGTH + data.len()) as u32);
        Self::with_pseudo_header(pseudo, kind, code, rest, data)
    }

    pub(super) fn with_pseudo_header(pseudo: Sum, kind: Icmp6Kind, code: u8, rest: u32, data: &[u8]) -> Self {
        let mut header = Self { kind: kind.0, code, checksum: U16::ZERO, rest: U32::new(rest) };
        header.checksum = U16::new(pseudo.add_bytes(header.as_bytes()).add_bytes(data).checksum());
        header
    }
}

/// An error that a router reports about a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Icmp6Error {
    /// No route.
    NoRoute,
    /// Forbidden by a filter.
    AdministrativelyProhibited,
    /// The next link is beyond the scope of the source address.
    BeyondScope,
    /// The next hop does not answer.
    AddressUnreachable,
    /// No one here listens on that port.
    PortUnreachable,
    /// Too big for the next link.
    PacketTooBig {
        /// What the next link takes, in bytes.
        mtu: u32,
    },
    /// The hop limit ran out on the way.
    HopLimitExceeded,
    /// Fragments did not come in time.
    ReassemblyTimeExceeded,
    /// A header field was wrong.
    ErroneousHeader {
        /// The byte at fault, from the IPv6 header on.
        pointer: u32,
    },
    /// A next header that is not known here.
    UnknownNextHeader {
        /// The next-header byte, from the IPv6 header on.
        pointer: u32,
    },
    /// An option that is not known here.
    UnknownOption {
        /// The option's kind byte, from the IPv6 header on.
        pointer: u32,
    },
}

impl Icmp6Error {
    /// Quoted bytes at most: with this header and the IPv6 header, 1,280 (RFC 4443 §2.4 c).
    pub const MAX_QUOTE: usize = Ip6Header::MIN_MTU - Ip6Header::LENGTH - Icmp6Header::LENGTH;

    /// Whether this error may be sent about the packet that begins, with its IPv6 header, at the front of
    /// `packet` (RFC 4443 §2.4 e). That the packet did not come as a link-layer multicast is for the caller
    /// to know; it forbids the same as an IPv6 multicast.
    pub fn is_allowed_for(self, packet: &[u8]) -> bool {
        let Some((ip, _)) = Ip6Header::parse(packet) else {
            return false;
        };
        // e.3: multicast is allowed for path MTU discovery and for unknown options of code 2.
        let to_group = ip.destination().is_multicast()
            && !matches!(self, Self::PacketTooBig { .. } | Self::UnknownOption { .. });
        // e.6; errors do go to link-local sources.
        let from_no_one =
            ip.source().is_multicast() || ip.source().is_unspecified() || ip.source().is_loopback();
        !to_group && !from_no_one && !is_about_error(packet)
    }

    /// What to quote of the packet at the front of `packet`: as much as may be, without link-layer padding.
    pub fn quote(packet: &[u8]) -> &[u8] {
        let total = Ip6Header::parse(packet).map_or(packet.len(), |(ip, _)| ip.total_length());
        &packet[..packet.len().min(total).min(Self::MAX_QUOTE)]
    }

    /// The header to put in front of the quote, its checksum right in a packet with the addresses of `ip`,
    /// the new IPv6 header.
    pub fn header(self, ip: &Ip6Header, quote: &[u8]) -> Icmp6Header {
        let (kind, code, rest) = match self {
            Self::NoRoute => (Icmp6Kind::DESTINATION_UNREACHABLE, 0, 0),
            Self::AdministrativelyProhibited => (Icmp6Kind::DESTINATION_UNREACHABLE, 1, 0),
            Self::BeyondScope => (Icmp6Kind::DESTINATION_UNREACHABLE, 2, 0),
            Self::AddressUnreachable => (Icmp6Kind::DESTINATION_UNREACHABLE, 3, 0),
            Self::PortUnreachable => (Icmp6Kind::DESTINATION_UNREACHABLE, 4, 0),
            Self::PacketTooBig { mtu } => (Icmp6Kind::PACKET_TOO_BIG, 0, mtu),
            Self::HopLimitExceeded => (Icmp6Kind::TIME_EXCEEDED, 0, 0),
            Self::ReassemblyTimeExceeded => (Icmp6Kind::TIME_EXCEEDED, 1, 0),
            Self::ErroneousHeader { pointer } => (Icmp6Kind::PARAMETER_PROBLEM, 0, pointer),
            Self::UnknownNextHeader { pointer } => (Icmp6Kind::PARAMETER_PROBLEM, 1, pointer),
            Self::UnknownOption { pointer } => (Icmp6Kind::PARAMETER_PROBLEM, 2, pointer),
        };
        Icmp6Header::with_checksum(ip, kind, code, rest, quote)
    }
}

/// RFC 4443 §2.4 e.1 and e.2. A message that cannot be read counts as an error, so that none is sent about
/// it; a chain that cannot be walked does not, for there the error is what tells the sender.
fn is_about_error(packet: &[u8]) -> bool {
    match Ip6Upper::find(packet) {
        Ok(upper) if upper.protocol == IpProtocol::ICMP6 && !upper.is_later_fragment() => {
            let kind = packet.get(upper.offset).copied().map(Icmp6Kind);
            kind.is_none_or(|kind| kind.is_error() || kind == Icmp6Kind::REDIRECT)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smoltcp::wire as oracle;

    use super::*;
    use crate::wire::Ip6Address;

    fn header(protocol: IpProtocol, length: usize) -> Ip6Header {
        let (source, destination) =
            (Ip6Address::from_bits(0x2001 << 112 | 1), Ip6Address::from_bits(0x2001 << 112 | 2));
        Ip6Header::new(protocol, source, destination, length).unwrap()
    }

    #[test]
    fn echo_request_becomes_its_reply() {
        let ip = header(IpProtocol::ICMP6, 11);
        let echo = Icmp6Header::echo_request(&ip, 0x1234, 1, &[1, 2, 3]);
        let mut bytes = [echo.as_bytes(), &[1, 2, 3]].concat();
        let (read, data) = Icmp6Header::check(&ip, &bytes).unwrap();
        assert_eq!((read.kind(), read.identifier(), read.sequence()), (Icmp6Kind::ECHO_REQUEST, 0x1234, 1));
        assert_eq!(data, [1, 2, 3]);
        let reply = Icmp6Header::parse_mut(&mut bytes).unwrap().0;
        assert!(reply.make_echo_reply() && !reply.make_echo_reply());
        reply.set_identifier(7);
        let (reply, _) = Icmp6Header::check(&ip, &bytes).unwrap();
        assert_eq!((reply.kind(), reply.identifier()), (Icmp6Kind::ECHO_REPLY, 7));
    }

    #[test]
    fn refuses_messages_cut_at_every_byte() {
        let ip = header(IpProtocol::ICMP6, 11);
        let bytes = [Icmp6Header::echo_request(&ip, 1, 1, &[1, 2, 3]).as_bytes(), &[1, 2, 3]].concat();
        for length in 0..bytes.len() {
            let reason = if length < 8 { IcmpMalformed::Truncated } else { IcmpMalformed::Checksum };
            assert_eq!(Icmp6Header::check(&ip, &bytes[..length]).unwrap_err(), reason, "{length}");
        }
    }

    fn packet(protocol: IpProtocol, payload: &[u8], change: impl Fn(&mut Ip6Header)) -> Vec<u8> {
        let mut ip = header(protocol, payload.len());
        change(&mut ip);
        [ip.as_bytes(), payload].concat()
    }

    #[test]
    fn error_is_not_sent_about_what_rfc_4443_forbids() {
        let (error, none) = (Icmp6Error::NoRoute, |_: &mut Ip6Header| {});
        assert!(error.is_allowed_for(&packet(IpProtocol::UDP, &[0; 8], none)));
        assert!(error.is_allowed_for(&packet(IpProtocol::ICMP6, &[128; 8], none)));
        for kind in [1, 2, 3, 4, 100, 127, 137] {
            assert!(!error.is_allowed_for(&packet(IpProtocol::ICMP6, &[kind; 8], none)), "{kind}");
        }
        // An error message behind an extension header is one, too.
        let behind = [58, 0, 1, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        assert!(!error.is_allowed_for(&packet(IpProtocol::DESTINATION_OPTIONS, &behind, none)));
        for source in [Ip6Address::UNSPECIFIED, Ip6Address::LOOPBACK, Ip6Address::ALL_NODES] {
            assert!(
                !error.is_allowed_for(&packet(IpProtocol::UDP, &[], |ip| ip.set_source(source))),
                "{source}"
            );
        }
        let to_group = packet(IpProtocol::UDP, &[], |ip| ip.set_destination(Ip6Address::ALL_NODES));
        assert!(!error.is_allowed_for(&to_group));
        assert!(Icmp6Error::PacketTooBig { mtu: 1280 }.is_allowed_for(&to_group));
        assert!(Icmp6Error::UnknownOption { pointer: 42 }.is_allowed_for(&to_group));
        assert!(!error.is_allowed_for(&[0x60; 39]));
    }

    #[test]
    fn quote_is_bounded_and_without_padding() {
        assert_eq!(Icmp6Error::MAX_QUOTE, 1232);
        assert_eq!(Icmp6Error::quote(&packet(IpProtocol::UDP, &[0; 1400], |_| {})).len(), 1232);
        let mut padded = packet(IpProtocol::UDP, &[0; 4], |_| {});
        padded.resize(46, 0);
        assert_eq!(Icmp6Error::quote(&padded).len(), 44);
        assert_eq!(Icmp6Error::quote(&padded[..7]).len(), 7);
    }

    #[test]
    fn errors_are_what_etherparse_reads() {
        use etherparse::Icmpv6Type;
        use etherparse::icmpv6::{
            DestUnreachableCode, ParameterProblemCode, ParameterProblemHeader, TimeExceededCode,
        };
        let problem = |code, pointer| Icmpv6Type::ParameterProblem(ParameterProblemHeader { code, pointer });
        let quote = &packet(IpProtocol::UDP, &[0; 8], |_| {})[..];
        let ip = header(IpProtocol::ICMP6, 8 + quote.len());
        for (error, expected) in [
            (Icmp6Error::NoRoute, Icmpv6Type::DestinationUnreachable(DestUnreachableCode::NoRoute)),
            (
                Icmp6Error::AdministrativelyProhibited,
                Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Prohibited),
            ),
            (Icmp6Error::BeyondScope, Icmpv6Type::DestinationUnreachable(DestUnreachableCode::BeyondScope)),
            (
                Icmp6Error::AddressUnreachable,
                Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Address),
            ),
            (Icmp6Error::PortUnreachable, Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Port)),
            (Icmp6Error::PacketTooBig { mtu: 1400 }, Icmpv6Type::PacketTooBig { mtu: 1400 }),
            (Icmp6Error::HopLimitExceeded, Icmpv6Type::TimeExceeded(TimeExceededCode::HopLimitExceeded)),
            (
                Icmp6Error::ReassemblyTimeExceeded,
                Icmpv6Type::TimeExceeded(TimeExceededCode::FragmentReassemblyTimeExceeded),
            ),
            (
                Icmp6Error::ErroneousHeader { pointer: 4 },
                problem(ParameterProblemCode::ErroneousHeaderField, 4),
            ),
            (
                Icmp6Error::UnknownNextHeader { pointer: 6 },
                problem(ParameterProblemCode::UnrecognizedNextHeader, 6),
            ),
            (
                Icmp6Error::UnknownOption { pointer: 42 },
                problem(ParameterProblemCode::UnrecognizedIpv6Option, 42),
            ),
        ] {
            let message = [error.header(&ip, quote).as_bytes(), quote].concat();
            assert_eq!(etherparse::Icmpv6Header::from_slice(&message).unwrap().0.icmp_type, expected);
            let (header, rest) = Icmp6Header::check(&ip, &message).unwrap();
            assert!(header.kind().is_error());
            assert_eq!(rest, quote);
        }
    }

    proptest! {
        #[test]
        fn echo_request_is_what_smoltcp_takes(identifier: u16, sequence: u16, data: Vec<u8>) {
            let ip = header(IpProtocol::ICMP6, 8 + data.len());
            let echo = Icmp6Header::echo_request(&ip, identifier, sequence, &data);
            let bytes = [echo.as_bytes(), &data[..]].concat();
            let message = oracle::Icmpv6Packet::new_checked(&bytes[..]).unwrap();
            prop_assert!(message.verify_checksum(&ip.source().to_std(), &ip.destination().to_std()));
            prop_assert_eq!(message.echo_ident(), identifier);
            prop_assert_eq!(message.echo_seq_no(), sequence);
        }
    }
}
