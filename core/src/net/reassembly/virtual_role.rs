//! What the nodes of virtual reassembly differ in: where a packet's IP header stands, and what keeps datagrams apart.

use raddle_plugin_api::Packet;
use raddle_plugin_api::wire::{EtherType, EthernetHeader};

use super::fragment::{Look, look4, look6};
use super::key::Scope;
use super::service::Family;

/// What a node found out about a packet.
pub struct Found {
    /// Its family.
    pub family: Family,
    /// Where its IP header begins, in bytes from the packet's first.
    pub ip_at: usize,
    /// What it is as a fragment.
    pub look: Look,
}

/// What one of the nodes is.
pub trait VirtualRole: Send + 'static {
    /// Name of the node.
    const NAME: &'static str;

    /// Looks at a packet; `None` if it is no IP.
    fn look(packet: &mut Packet<'_>) -> Option<Found>;
}

/// Of IPv4 packets that are routed.
pub struct Virtual4;

/// Of IPv6 packets that are routed.
pub struct Virtual6;

/// Of frames that are switched, whatever is in them.
pub struct VirtualL2;

impl VirtualRole for Virtual4 {
    const NAME: &'static str = "ip4-virtual-reassembly";

    #[inline(always)]
    fn look(packet: &mut Packet<'_>) -> Option<Found> {
        Some(Found { family: Family::Ip4, ip_at: 0, look: look4(packet, Scope::Feature) })
    }
}

impl VirtualRole for Virtual6 {
    const NAME: &'static str = "ip6-virtual-reassembly";

    #[inline(always)]
    fn look(packet: &mut Packet<'_>) -> Option<Found> {
        Some(Found { family: Family::Ip6, ip_at: 0, look: look6(packet, Scope::Feature) })
    }
}

impl VirtualRole for VirtualL2 {
    const NAME: &'static str = "l2-virtual-reassembly";

    fn look(packet: &mut Packet<'_>) -> Option<Found> {
        let Carried { ethertype, ip_at, vlans } = Carried::of(packet.bytes())?;
        let family = match ethertype {
            EtherType::IP4 => Family::Ip4,
            EtherType::IP6 => Family::Ip6,
            _ => return None,
        };
        // A station may be on several links, and in several VLANs of one, with datagrams of the same identification.
        let scope = Scope::Switched { interface: packet.rx_interface(), vlans };
        packet.advance(ip_at).then_some(())?;
        let look = match family {
            Family::Ip4 => look4(packet, scope),
            Family::Ip6 => look6(packet, scope),
        };
        // What was in front is there still, so that there is room for it.
        packet.prepend(ip_at)?;
        Some(Found { family, ip_at, look })
    }
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Carried {
    ethertype: EtherType,
    ip_at: usize,
    /// The VLANs of its tags, the outer one in the lower bits.
    vlans: u32,
}

impl Carried {
    /// Tags that are looked behind.
    const MOST_TAGS: usize = 2;
    const TAG: usize = 4;

    /// Looks behind the link-layer header of the frame at the front of `bytes`; `None` if it is cut short.
    fn of(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        let mut ip_at = EthernetHeader::LENGTH;
        let mut ethertype = EtherType(word(ip_at - 2)?);
        let mut vlans = 0;
        for tag in 0..Self::MOST_TAGS {
            if !ethertype.is_tag() {
                break;
            }
            vlans |= u32::from(word(ip_at)? & 0x0fff) << (16 * tag);
            ip_at += Self::TAG;
            ethertype = EtherType(word(ip_at - 2)?);
        }
        Some(Self { ethertype, ip_at, vlans })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn looks_behind_two_tags_and_notes_their_vlans() {
        let mut frame = vec![2; 12];
        frame.extend([0x88, 0xa8, 0x20, 1, 0x81, 0, 0, 2, 0x08, 0x00, 0x45]);
        let carried = Carried { ethertype: EtherType::IP4, ip_at: 22, vlans: 2 << 16 | 1 };
        assert_eq!(Carried::of(&frame), Some(carried));
        assert_eq!(Carried::of(&frame[..21]), None);
        frame.splice(20..22, [0x81, 0]);
        assert_eq!(Carried::of(&frame).unwrap().ip_at, 22, "no third one");
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Carried::of(&bytes);
        }
    }
}
