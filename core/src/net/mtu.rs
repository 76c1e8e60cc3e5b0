//! Whether a packet fits the link that it is to leave by.
#![forbid(unsafe_code)]

use raddle_plugin_api::Packet;

/// Whether the packet, whose first byte is that of its L3 header, is at most `mtu` bytes long. A GSO packet stands for many
/// that were made for the path by their sender, and is cut up by the device: it always fits.
#[inline]
pub fn fits(packet: &Packet<'_>, mtu: usize) -> bool {
    packet.len() <= mtu || packet.is_gso()
}
