//! Ethernet II and VLAN tags (IEEE 802.3, 802.1Q, 802.1ad).

use std::fmt;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::MacAddress;

/// What an Ethernet payload is, in host order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IP4: Self = Self(0x0800);
    /// ARP (RFC 826).
    pub const ARP: Self = Self(0x0806);
    /// A VLAN tag (802.1Q), the inner one of two.
    pub const VLAN: Self = Self(0x8100);
    /// IPv6.
    pub const IP6: Self = Self(0x86dd);
    /// MPLS unicast.
    pub const MPLS: Self = Self(0x8847);
    /// A service VLAN tag (802.1ad), the outer one of two.
    pub const SERVICE_VLAN: Self = Self(0x88a8);
    /// LLDP.
    pub const LLDP: Self = Self(0x88cc);

    /// Whether this is a length of an 802.3 frame (with LLC), not a type.
    #[inline]
    pub const fn is_length(self) -> bool {
        self.0 < 0x0600
    }

    /// Whether a VLAN tag follows.
    #[inline]
    pub const fn is_tag(self) -> bool {
        matches!(self, Self::VLAN | Self::SERVICE_VLAN)
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IP4 => f.pad("ip4"),
            Self::ARP => f.pad("arp"),
            Self::VLAN => f.pad("vlan"),
            Self::IP6 => f.pad("ip6"),
            Self::MPLS => f.pad("mpls"),
            Self::SERVICE_VLAN => f.pad("service-vlan"),
            Self::LLDP => f.pad("lldp"),
            Self(number) => write!(f, "{number:#06x}"),
        }
    }
}

impl fmt::Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The 14 bytes at a frame's front.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EthernetHeader {
    /// To whom.
    pub destination: MacAddress,
    /// From whom.
    pub source: MacAddress,
    ethertype: U16,
}

wire_header!(EthernetHeader, 14);

impl EthernetHeader {
    /// A header from its fields.
    #[inline]
    pub const fn new(destination: MacAddress, source: MacAddress, ethertype: EtherType) -> Self {
        Self { destination, source, ethertype: U16::new(ethertype.0) }
    }

    /// What follows the header.
    #[inline]
    pub const fn ethertype(&self) -> EtherType {
        EtherType(self.ethertype.get())
    }

    /// Sets what follows the header.
    #[inline]
    pub fn set_ethertype(&mut self, ethertype: EtherType) {
        self.ethertype = U16::new(ethertype.0);
    }
}

/// The 4 bytes behind a tag's ethertype: tag control information and the type of what follows (802.1Q §9.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct VlanTag {
    control: U16,
    ethertype: U16,
}

wire_header!(VlanTag, 4);

impl VlanTag {
    /// A tag of that VLAN (only the low 12 bits count) and priority 0…7 (only the low 3 bits count).
    #[inline]
    pub const fn new(vlan: u16, priority: u8, ethertype: EtherType) -> Self {
        let control = (vlan & 0x0fff) | ((priority & 7) as u16) << 13;
        Self { control: U16::new(control), ethertype: U16::new(ethertype.0) }
    }

    /// The VLAN, 0…4095; 0 means "priority only", 4095 is reserved.
    #[inline]
    pub const fn vlan(&self) -> u16 {
        self.control.get() & 0x0fff
    }

    /// The priority code point, 0…7.
    #[inline]
    pub const fn priority(&self) -> u8 {
        (self.control.get() >> 13) as u8
    }

    /// Whether the frame may be dropped first.
    #[inline]
    pub const fn is_drop_eligible(&self) -> bool {
        self.control.get() & 0x1000 != 0
    }

    /// What follows the tag.
    #[inline]
    pub const fn ethertype(&self) -> EtherType {
        EtherType(self.ethertype.get())
    }
}

/// What lies behind an Ethernet header and up to two VLAN tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tagged<'a> {
    /// The first tag.
    pub outer: Option<VlanTag>,
    /// The second tag.
    pub inner: Option<VlanTag>,
    /// What follows the tags; still a tag's type when there are more than two.
    pub ethertype: EtherType,
    /// The bytes behind the tags.
    pub payload: &'a [u8],
}

impl<'a> Tagged<'a> {
    /// Steps over up to two tags behind a header of that type; `None` when a tag is cut short.
    #[inline]
    pub fn parse(ethertype: EtherType, payload: &'a [u8]) -> Option<Self> {
        let mut tagged = Self { outer: None, inner: None, ethertype, payload };
        if ethertype.is_tag() {
            tagged.outer = Some(tagged.step()?);
            if tagged.ethertype.is_tag() {
                tagged.inner = Some(tagged.step()?);
            }
        }
        Some(tagged)
    }

    /// Bytes that the tags take.
    #[inline]
    pub const fn tags_length(&self) -> usize {
        (self.outer.is_some() as usize + self.inner.is_some() as usize) * VlanTag::LENGTH
    }

    #[inline]
    fn step(&mut self) -> Option<VlanTag> {
        let (tag, rest) = VlanTag::parse(self.payload)?;
        self.ethertype = tag.ethertype();
        self.payload = rest;
        Some(*tag)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // QinQ: service tag 100, customer tag 200 priority 5, then IPv4.
    const DOUBLE: [u8; 24] = [
        0x01, 0x00, 0x5e, 0x00, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x88, 0xa8, 0x10, 0x64, 0x81,
        0x00, 0xa0, 0xc8, 0x08, 0x00, 0x45, 0x00,
    ];

    #[test]
    fn parses_header_and_two_tags() {
        let (header, rest) = EthernetHeader::parse(&DOUBLE).unwrap();
        assert!(header.destination.is_multicast());
        assert_eq!(header.source, MacAddress([2, 0, 0, 0, 0, 1]));
        let tagged = Tagged::parse(header.ethertype(), rest).unwrap();
        let (outer, inner) = (tagged.outer.unwrap(), tagged.inner.unwrap());
        assert_eq!((outer.vlan(), outer.priority(), outer.is_drop_eligible()), (100, 0, true));
        assert_eq!((inner.vlan(), inner.priority(), inner.is_drop_eligible()), (200, 5, false));
        assert_eq!(inner, VlanTag::new(200, 5, EtherType::IP4));
        assert_eq!(
            (tagged.ethertype, tagged.payload, tagged.tags_length()),
            (EtherType::IP4, &[0x45, 0][..], 8)
        );
    }

    #[test]
    fn refuses_frames_cut_at_every_byte() {
        for length in 0..22 {
            let whole = EthernetHeader::parse(&DOUBLE[..length])
                .and_then(|(header, rest)| Tagged::parse(header.ethertype(), rest));
            assert_eq!(whole, None, "{length}");
        }
    }

    #[test]
    fn untagged_frames_have_no_tags() {
        let tagged = Tagged::parse(EtherType::IP6, &[1, 2]).unwrap();
        assert_eq!((tagged.outer, tagged.inner, tagged.tags_length()), (None, None, 0));
        assert!(EtherType(46).is_length() && !EtherType::IP4.is_length());
    }

    #[test]
    fn header_is_written_where_it_fits() {
        let header = EthernetHeader::new(MacAddress::BROADCAST, MacAddress([2; 6]), EtherType::ARP);
        let mut bytes = [0; 16];
        assert_eq!(header.write_to(&mut bytes).unwrap().len(), 2);
        assert_eq!(EthernetHeader::parse(&bytes).unwrap().0, &header);
        assert!(header.write_to(&mut [0; 13]).is_none());
        let (changed, _) = EthernetHeader::parse_mut(&mut bytes).unwrap();
        changed.set_ethertype(EtherType::IP6);
        assert_eq!(bytes[12..14], [0x86, 0xdd]);
    }

    proptest! {
        #[test]
        fn agrees_with_etherparse(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let theirs = etherparse::Ethernet2Header::from_slice(&bytes).ok();
            let ours = EthernetHeader::parse(&bytes);
            prop_assert_eq!(ours.is_some(), theirs.is_some());
            if let (Some((ours, rest)), Some((theirs, their_rest))) = (ours, theirs) {
                prop_assert_eq!(ours.destination.0, theirs.destination);
                prop_assert_eq!(ours.source.0, theirs.source);
                prop_assert_eq!(ours.ethertype().0, theirs.ether_type.0);
                prop_assert_eq!(rest, their_rest);
            }
        }

        #[test]
        fn tag_agrees_with_etherparse(bytes: [u8; 4]) {
            let theirs = etherparse::SingleVlanHeader::from_bytes(bytes);
            let ours = VlanTag::parse(&bytes).unwrap().0;
            prop_assert_eq!(ours.vlan(), theirs.vlan_id.value());
            prop_assert_eq!(ours.priority(), theirs.pcp.value());
            prop_assert_eq!(ours.is_drop_eligible(), theirs.drop_eligible_indicator);
            prop_assert_eq!(ours.ethertype().0, theirs.ether_type.0);
        }
    }
}
