//! A frame that is switched: what is behind its link-layer header.

use std::net::{IpAddr, Ipv4Addr};

use raddle_plugin_api::wire::{EtherType, EthernetHeader, Ip4Header, Ip6Header, MacAddress};

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
        }
    }
}
