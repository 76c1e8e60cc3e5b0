//! A frame that is switched: what is behind its link-layer header.

use std::net::{IpAddr, Ipv4Addr};

use raddle_plugin_api::wire::{
    EtherType, EthernetHeader, Ip4Header, Ip6Header, Ip6Upper, IpProtocol, MacAddress,
};

use crate::fragment_memory::DatagramKey;

/// Bytes of a VLAN tag.
const TAG: usize = 4;
/// Tags that are looked behind.
const MOST_TAGS: usize = 2;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLook {
    /// Who sent it.
    pub source: MacAddress,
    /// What is behind the tags.
    pub ethertype: EtherType,
    /// Where that begins.
    pub payload_at: usize,
}

impl FrameLook {
    /// Looks at a frame; `None` if it is cut short.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<{ EthernetHeader::LENGTH }>()?;
        let source = MacAddress(header[6..12].try_into().ok()?);
        let mut ethertype = EtherType(u16::from_be_bytes([header[12], header[13]]));
        let mut payload_at = EthernetHeader::LENGTH;
        for _ in 0..MOST_TAGS {
            if !ethertype.is_tag() {
                break;
            }
            let inner = bytes.get(payload_at + 2..payload_at + TAG)?;
            ethertype = EtherType(u16::from_be_bytes([inner[0], inner[1]]));
            payload_at += TAG;
        }
        Some(Self { source, ethertype, payload_at })
    }

    /// The IP address that the frame says it comes from.
    pub fn address(&self, bytes: &[u8]) -> Option<IpAddr> {
        let payload = bytes.get(self.payload_at..)?;
        match self.ethertype {
            EtherType::IP4 => {
                Ip4Header::parse(payload).map(|(header, _)| IpAddr::V4(header.source().to_std()))
            }
            EtherType::IP6 => {
                Ip6Header::parse(payload).map(|(header, _)| IpAddr::V6(header.source().to_std()))
            }
            EtherType::ARP => arp_sender(payload),
            _ => None,
        }
    }
}

/// The protocol address of who sends an ARP packet (RFC 826).
pub fn arp_sender(bytes: &[u8]) -> Option<IpAddr> {
    let sender: [u8; 4] = bytes.get(14..18)?.try_into().ok()?;
    Some(IpAddr::V4(Ipv4Addr::from(sender)))
}

/// A fragment, as far as its datagram's transport header goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentLook {
    /// What its datagram is known by; interface and direction are to be filled in.
    pub key: DatagramKey,
    /// Where its data begins in the datagram's, in bytes.
    pub offset: u16,
    /// What the datagram's data begins with, as far as this fragment tells.
    pub protocol: IpProtocol,
}

impl FragmentLook {
    /// Of the IPv4 packet at the front of `bytes`; `None` if it is whole.
    pub fn ip4(bytes: &[u8]) -> Option<Self> {
        let (header, _) = Ip4Header::parse(bytes)?;
        header.is_fragment().then(|| Self {
            key: [
                u64::from(header.source().to_bits()) << 32 | u64::from(header.destination().to_bits()),
                u64::from(header.identification()) << 8 | u64::from(header.protocol().0),
                0,
                0,
                4,
                0,
            ],
            offset: header.fragment_offset(),
            protocol: header.protocol(),
        })
    }

    /// As [`FragmentLook::ip4`], of an IPv6 packet.
    pub fn ip6(bytes: &[u8]) -> Option<Self> {
        let (header, _) = Ip6Header::parse(bytes)?;
        if !header.next_header().is_extension() {
            return None;
        }
        let upper = Ip6Upper::find(bytes).ok().filter(Ip6Upper::is_fragment)?;
        let fragment = upper.fragment?;
        let (source, destination) = (header.source(), header.destination());
        let (high, low) = (source.high() ^ destination.high().rotate_left(32), source.low());
        Some(Self {
            key: [high, low, destination.low(), destination.high(), 6, fragment.identification.into()],
            offset: fragment.offset,
            protocol: upper.protocol,
        })
    }

    /// Whether the fragment could overwrite what rules look at, which the first one has: ports, and the flags of TCP
    /// (RFC 3128, RFC 5722).
    pub fn overwrites_transport(&self) -> bool {
        self.offset > 0 && self.offset < 16 && matches!(self.protocol, IpProtocol::TCP)
    }

    /// Whether the transport header has to be there in a first fragment (RFC 1858, RFC 7112).
    pub fn needs_transport(&self) -> bool {
        self.offset == 0
            && matches!(
                self.protocol,
                IpProtocol::TCP
                    | IpProtocol::UDP
                    | IpProtocol::UDP_LITE
                    | IpProtocol::SCTP
                    | IpProtocol::ICMP4
                    | IpProtocol::ICMP6
            )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn looks_behind_two_tags_and_no_more() {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9];
        frame.extend([0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x08, 0x00, 0x45]);
        let look = FrameLook::of(&frame).unwrap();
        assert_eq!((look.ethertype, look.payload_at, look.source.0[5]), (EtherType::IP4, 22, 9));
        assert_eq!(look.address(&frame), None);
        assert_eq!(FrameLook::of(&frame[..20]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some(look) = FrameLook::of(&bytes) {
                let _ = look.address(&bytes);
            }
            let _ = (FragmentLook::ip4(&bytes), FragmentLook::ip6(&bytes));
        }
    }
}
