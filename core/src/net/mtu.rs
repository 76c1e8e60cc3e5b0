//! Whether a packet fits the link that it is to leave by.
#![forbid(unsafe_code)]

use raddle_plugin_api::Packet;

/// Whether the packet, whose first byte is that of its L3 header, may leave by a link whose largest L3 packet has `mtu` bytes.
/// Of a GSO packet each of those must fit that it stands for: the device that sends it cuts it up.
#[inline(always)]
pub fn fits(packet: &Packet<'_>, mtu: usize) -> bool {
    packet.len() <= mtu || packet.is_gso() && segments_fit(packet, mtu)
}

#[inline(never)]
fn segments_fit(packet: &Packet<'_>, mtu: usize) -> bool {
    let Some(gso) = packet.offload().gso else {
        return false;
    };
    // A header length beyond the packet is no length: it was noted for a header that has been taken off.
    let headers = Some(usize::from(gso.header_length)).filter(|headers| *headers <= packet.len());
    headers.is_some_and(|headers| headers + usize::from(gso.size) <= mtu)
}
