//! Whether a packet or frame fits the link that it is to leave by.
#![forbid(unsafe_code)]

use raddle_plugin_api::Packet;
use raddle_plugin_api::wire::{EtherType, EthernetHeader};

use super::offload::GsoHeaders;

/// Tags of a frame, outermost first, and the bytes of each (IEEE 802.1Q §9.5).
const MAX_TAGS: usize = 2;
const TAG_BYTES: usize = 4;

/// Whether the packet, whose first byte is that of its L3 header, may leave by a link whose largest L3 packet has `mtu` bytes.
/// Of a GSO packet each of those must fit that it stands for: the device that sends it cuts it up.
#[inline(always)]
pub fn fits(packet: &Packet<'_>, mtu: usize) -> bool {
    packet.len() <= mtu || packet.is_gso() && segments_fit(packet, mtu)
}

/// Whether the frame, whose first byte is that of its Ethernet header, may leave by a link whose largest L3 packet has `mtu`
/// bytes: header and tags come on top of those.
#[inline(always)]
pub fn frame_fits(packet: &Packet<'_>, mtu: usize) -> bool {
    packet.len() <= mtu + EthernetHeader::LENGTH || large_frame_fits(packet, mtu)
}

#[inline(never)]
fn large_frame_fits(packet: &Packet<'_>, mtu: usize) -> bool {
    let bytes = packet.bytes();
    let ethertype_at = |at: usize| bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let mut l3_at = EthernetHeader::LENGTH;
    for _ in 0..MAX_TAGS {
        match ethertype_at(l3_at - 2).map(EtherType) {
            Some(EtherType::VLAN | EtherType::SERVICE_VLAN) => l3_at += TAG_BYTES,
            _ => break,
        }
    }
    if packet.len() <= mtu + l3_at {
        return true;
    }
    let Some(gso) = packet.offload().gso else { return false };
    GsoHeaders::find(packet, l3_at)
        .is_some_and(|headers| headers.payload_at - l3_at + usize::from(gso.size) <= mtu)
}

#[inline(never)]
fn segments_fit(packet: &Packet<'_>, mtu: usize) -> bool {
    let Some(gso) = packet.offload().gso else {
        return false;
    };
    GsoHeaders::find(packet, 0).is_some_and(|headers| headers.payload_at + usize::from(gso.size) <= mtu)
}
