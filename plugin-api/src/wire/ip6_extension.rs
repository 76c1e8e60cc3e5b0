//! IPv6 extension headers (RFC 8200 §4, RFC 4302): finding the upper protocol behind a chain of bounded
//! length.

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Ip6Header, IpProtocol};

/// A chain of more extension headers than this is refused (RFC 8504 §5.3 leaves the bound to the node).
pub const MAX_EXTENSION_HEADERS: usize = 8;
/// A chain of more bytes than this is refused.
pub const MAX_EXTENSION_BYTES: usize = 1024;

reasons! {
    /// Why the upper protocol of an IPv6 packet cannot be found.
    pub enum ExtensionMalformed {
        /// The IPv6 header or an extension header reaches beyond the data.
        Truncated = "ip6 extension header truncated",
        /// A hop-by-hop header that is not the first (RFC 8200 §4.1).
        HopByHopNotFirst = "ip6 hop-by-hop header not first",
        /// A second fragment header.
        SecondFragment = "ip6 second fragment header",
        /// An authentication header shorter than its fixed part.
        AuthenticationLength = "ip6 authentication header too short",
        /// More than `MAX_EXTENSION_HEADERS`.
        TooMany = "ip6 too many extension headers",
        /// More than `MAX_EXTENSION_BYTES`.
        TooLong = "ip6 extension headers too long",
    }
}

/// The fragment header (RFC 8200 §4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ip6FragmentHeader {
    next_header: u8,
    reserved: u8,
    offset_flags: U16,
    identification: U32,
}

wire_header!(Ip6FragmentHeader, 8);

impl Ip6FragmentHeader {
    /// A fragment header; the low 3 bits of the offset in bytes do not count.
    #[inline]
    pub const fn new(
        next_header: IpProtocol,
        offset: u16,
        more_fragments: bool,
        identification: u32,
    ) -> Self {
        Self {
            next_header: next_header.0,
            reserved: 0,
            offset_flags: U16::new(offset & !7 | more_fragments as u16),
            identification: U32::new(identification),
        }
    }

    /// What the fragmented part begins with.
    #[inline]
    pub const fn next_header(&self) -> IpProtocol {
        IpProtocol(self.next_header)
    }

    /// Where this fragment belongs, in bytes: a multiple of 8.
    #[inline]
    pub const fn offset(&self) -> u16 {
        self.offset_flags.get() & !7
    }

    /// Whether it is not the last.
    #[inline]
    pub const fn more_fragments(&self) -> bool {
        self.offset_flags.get() & 1 != 0
    }

    /// What fragments of one packet share.
    #[inline]
    pub const fn identification(&self) -> u32 {
        self.identification.get()
    }
}

/// What a packet's fragment header says, and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ip6Fragment {
    /// Where the fragment header stands, from the IPv6 header on.
    pub header_at: usize,
    /// Where the next-header byte stands that names the fragment header.
    pub named_at: usize,
    /// Where this fragment belongs, in bytes: a multiple of 8.
    pub offset: u16,
    /// Whether it is not the last.
    pub more_fragments: bool,
    /// What fragments of one packet share.
    pub identification: u32,
}

impl Ip6Fragment {
    /// Whether it is a whole packet with a fragment header (RFC 6946).
    #[inline]
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more_fragments
    }
}

/// What a packet's last routing header says, and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ip6Routing {
    /// Where the routing header stands, from the IPv6 header on.
    pub header_at: usize,
    /// The routing type; 0 is deprecated (RFC 5095).
    pub kind: u8,
    /// Nodes still to visit.
    pub segments_left: u8,
}

/// The upper protocol of an IPv6 packet: what stands behind its extension headers. All offsets are in bytes
/// from the IPv6 header on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ip6Upper {
    /// The upper protocol; `NO_NEXT` when there is none. In a later fragment that of the fragmented part,
    /// which may be an extension header.
    pub protocol: IpProtocol,
    /// Where its header stands (in a later fragment: the fragment's data); 40 without extension headers.
    pub offset: usize,
    /// Where the next-header byte that names it stands; 6 without extension headers. An ICMPv6 parameter
    /// problem points there.
    pub named_at: usize,
    /// The fragment header, if there is one.
    pub fragment: Option<Ip6Fragment>,
    /// The last routing header, if there is one.
    pub routing: Option<Ip6Routing>,
}

impl Ip6Upper {
    /// Walks the extension headers of the packet that begins, with its IPv6 header, at the front of `packet`.
    /// The walk ends at ESP, behind which nothing can be read, and at the fragment header of a later
    /// fragment. `packet` should end where the payload does.
    ///
    /// # Errors
    /// When the chain is cut short, out of order or beyond the bounds.
    #[inline]
    pub fn find(packet: &[u8]) -> Result<Self, ExtensionMalformed> {
        let Some((header, _)) = Ip6Header::parse(packet) else {
            return Err(ExtensionMalformed::Truncated);
        };
        let protocol = header.next_header();
        let upper = Self { protocol, offset: Ip6Header::LENGTH, named_at: 6, fragment: None, routing: None };
        if protocol.is_extension() { upper.walk(packet, IpProtocol::is_extension) } else { Ok(upper) }
    }

    /// As [`Ip6Upper::find`], as the packet's destination reads it: authentication, mobility, HIP and Shim6 headers are
    /// protocols of their own there, which it knows or does not (RFC 8200 §4).
    ///
    /// # Errors
    /// As [`Ip6Upper::find`].
    #[inline]
    pub fn find_as_destination(packet: &[u8]) -> Result<Self, ExtensionMalformed> {
        let Some((header, _)) = Ip6Header::parse(packet) else {
            return Err(ExtensionMalformed::Truncated);
        };
        let protocol = header.next_header();
        let upper = Self { protocol, offset: Ip6Header::LENGTH, named_at: 6, fragment: None, routing: None };
        if is_read_by_all(protocol) { upper.walk(packet, is_read_by_all) } else { Ok(upper) }
    }

    /// Whether the upper header is not in this packet: a fragment other than the first.
    #[inline]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset != 0)
    }

    /// Whether the upper protocol's data is not whole: a fragment, and not an atomic one.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| !fragment.is_atomic())
    }

    #[cold]
    fn walk(mut self, packet: &[u8], steps_over: fn(IpProtocol) -> bool) -> Result<Self, ExtensionMalformed> {
        for _ in 0..MAX_EXTENSION_HEADERS {
            let at = self.offset;
            let header = packet.get(at..).unwrap_or_default();
            let Some((&[next, length, third, fourth], _)) = header.split_first_chunk() else {
                return Err(ExtensionMalformed::Truncated);
            };
            let length = match self.protocol {
                IpProtocol::FRAGMENT => Ip6FragmentHeader::LENGTH,
                // RFC 4302 §2.2: in 32-bit words, less 2.
                IpProtocol::AH => (length as usize + 2) * 4,
                _ => (length as usize + 1) * 8,
            };
            if header.len() < length {
                return Err(ExtensionMalformed::Truncated);
            }
            match self.protocol {
                IpProtocol::HOP_BY_HOP if at != Ip6Header::LENGTH => {
                    return Err(ExtensionMalformed::HopByHopNotFirst);
                }
                IpProtocol::AH if length < 12 => return Err(ExtensionMalformed::AuthenticationLength),
                IpProtocol::FRAGMENT if self.fragment.is_some() => {
                    return Err(ExtensionMalformed::SecondFragment);
                }
                IpProtocol::FRAGMENT => self.fragment = read_fragment(header, at, self.named_at),
                IpProtocol::ROUTING => {
                    self.routing = Some(Ip6Routing { header_at: at, kind: third, segments_left: fourth });
                }
                _ => {}
            }
            self.protocol = IpProtocol(next);
            self.named_at = at;
            self.offset = at + length;
            if self.offset - Ip6Header::LENGTH > MAX_EXTENSION_BYTES {
                return Err(ExtensionMalformed::TooLong);
            }
            if self.is_later_fragment() || !steps_over(self.protocol) {
                return Ok(self);
            }
        }
        Err(ExtensionMalformed::TooMany)
    }
}

/// The extension headers that every node knows (RFC 8200 §4), of those that raddle steps over.
fn is_read_by_all(protocol: IpProtocol) -> bool {
    matches!(
        protocol,
        IpProtocol::HOP_BY_HOP | IpProtocol::ROUTING | IpProtocol::FRAGMENT | IpProtocol::DESTINATION_OPTIONS
    )
}

fn read_fragment(bytes: &[u8], header_at: usize, named_at: usize) -> Option<Ip6Fragment> {
    let (header, _) = Ip6FragmentHeader::parse(bytes)?;
    Some(Ip6Fragment {
        header_at,
        named_at,
        offset: header.offset(),
        more_fragments: header.more_fragments(),
        identification: header.identification(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::Ip6Address;

    fn packet(first: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let (source, destination) = (Ip6Address::from_bits(1 << 100), Ip6Address::from_bits(2 << 100));
        let mut bytes =
            Ip6Header::new(first, source, destination, payload.len()).unwrap().as_bytes().to_vec();
        bytes.extend(payload);
        bytes
    }

    // Hop-by-hop (router alert), destination options, routing type 4 with 1 segment left, atomic fragment,
    // AH, TCP.
    fn long_chain() -> Vec<u8> {
        let mut chain = vec![60, 0, 5, 2, 0, 0, 1, 0];
        chain.extend([43, 0, 1, 4, 0, 0, 0, 0]);
        chain.extend([44, 0, 4, 1, 0, 0, 0, 0]);
        chain.extend([51, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef]);
        chain.extend([6, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        chain.extend([0; 20]);
        packet(IpProtocol::HOP_BY_HOP, &chain)
    }

    #[test]
    fn plain_packet_has_its_upper_header_at_40() {
        let upper = Ip6Upper::find(&packet(IpProtocol::UDP, &[0; 8])).unwrap();
        let plain =
            Ip6Upper { protocol: IpProtocol::UDP, offset: 40, named_at: 6, fragment: None, routing: None };
        assert_eq!(upper, plain);
    }

    #[test]
    fn walks_every_kind_of_extension_header() {
        let upper = Ip6Upper::find(&long_chain()).unwrap();
        assert_eq!((upper.protocol, upper.offset, upper.named_at), (IpProtocol::TCP, 96, 72));
        let fragment = upper.fragment.unwrap();
        assert!(fragment.is_atomic() && !upper.is_fragment() && !upper.is_later_fragment());
        assert_eq!((fragment.header_at, fragment.named_at), (64, 56));
        assert_eq!(fragment.identification, 0xdead_beef);
        assert_eq!(upper.routing, Some(Ip6Routing { header_at: 56, kind: 4, segments_left: 1 }));
    }

    #[test]
    fn a_destination_stops_at_what_it_may_not_know() {
        let upper = Ip6Upper::find_as_destination(&long_chain()).unwrap();
        assert_eq!((upper.protocol, upper.offset, upper.named_at), (IpProtocol::AH, 72, 64));
        let mobility = packet(IpProtocol::MOBILITY, &[59, 0, 0, 0, 0, 0, 0, 0]);
        let upper = Ip6Upper::find_as_destination(&mobility).unwrap();
        assert_eq!((upper.protocol, upper.offset, upper.named_at), (IpProtocol::MOBILITY, 40, 6));
        assert_eq!(Ip6Upper::find(&mobility).unwrap().protocol, IpProtocol::NO_NEXT);
    }

    #[test]
    fn refuses_chains_cut_at_every_byte() {
        let bytes = long_chain();
        for length in 0..96 {
            assert_eq!(Ip6Upper::find(&bytes[..length]), Err(ExtensionMalformed::Truncated), "{length}");
        }
        assert!(Ip6Upper::find(&bytes[..96]).is_ok());
    }

    #[test]
    fn stops_at_later_fragment_esp_and_no_next_header() {
        let mut later =
            Ip6FragmentHeader::new(IpProtocol::DESTINATION_OPTIONS, 1448, true, 7).as_bytes().to_vec();
        later.push(1);
        let upper = Ip6Upper::find(&packet(IpProtocol::FRAGMENT, &later)).unwrap();
        assert_eq!((upper.protocol, upper.offset), (IpProtocol::DESTINATION_OPTIONS, 48));
        assert!(upper.is_later_fragment() && upper.is_fragment());
        let fragment = upper.fragment.unwrap();
        assert_eq!((fragment.offset, fragment.more_fragments, fragment.identification), (1448, true, 7));
        for last in [IpProtocol::ESP, IpProtocol::NO_NEXT, IpProtocol(253)] {
            let upper =
                Ip6Upper::find(&packet(IpProtocol::DESTINATION_OPTIONS, &[last.0, 0, 1, 4, 0, 0, 0, 0]));
            assert_eq!(upper.map(|upper| (upper.protocol, upper.offset, upper.named_at)), Ok((last, 48, 40)));
        }
    }

    #[test]
    fn refuses_chains_out_of_order_or_bounds() {
        let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
        let atomic = Ip6FragmentHeader::new(IpProtocol::FRAGMENT, 0, false, 1);
        let twice_fragment = atomic.as_bytes().repeat(2);
        let many = [[options(60); MAX_EXTENSION_HEADERS].concat(), options(6).to_vec()].concat();
        let most = [[options(60); MAX_EXTENSION_HEADERS - 1].concat(), options(6).to_vec()].concat();
        let mut long = vec![60, 127, 1, 4];
        long.resize(1024, 0);
        let exact = long.clone();
        long.extend(options(6));
        for (first, payload, reason) in [
            (IpProtocol::DESTINATION_OPTIONS, options(0).repeat(2), ExtensionMalformed::HopByHopNotFirst),
            (IpProtocol::HOP_BY_HOP, options(0).repeat(2), ExtensionMalformed::HopByHopNotFirst),
            (IpProtocol::FRAGMENT, twice_fragment, ExtensionMalformed::SecondFragment),
            (IpProtocol::AH, options(6).to_vec(), ExtensionMalformed::AuthenticationLength),
            (IpProtocol::DESTINATION_OPTIONS, many, ExtensionMalformed::TooMany),
            (IpProtocol::DESTINATION_OPTIONS, long, ExtensionMalformed::TooLong),
            (IpProtocol::DESTINATION_OPTIONS, exact, ExtensionMalformed::Truncated),
        ] {
            assert_eq!(Ip6Upper::find(&packet(first, &payload)), Err(reason));
        }
        assert!(Ip6Upper::find(&packet(IpProtocol::DESTINATION_OPTIONS, &most)).is_ok());
    }

    proptest! {
        #[test]
        fn upper_header_is_within_bounds(first in 0u8..70, payload in proptest::collection::vec(0u8..62, 0..200)) {
            let bytes = packet(IpProtocol(first), &payload);
            if let Ok(upper) = Ip6Upper::find(&bytes) {
                prop_assert!(upper.offset <= bytes.len() && upper.named_at < upper.offset);
                prop_assert_eq!(bytes[upper.named_at], upper.protocol.0);
            }
        }
    }
}
