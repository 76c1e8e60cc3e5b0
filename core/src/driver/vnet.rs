//! The virtio-net header between the host's devices and a packet's metadata.

use raddle_plugin_api::Packet;
use raddle_plugin_api::wire::{Offload, VirtioNetHeader};
use zerocopy::IntoBytes;

/// Bytes of the header.
pub const VNET_BYTES: usize = VirtioNetHeader::LENGTH;

/// Bytes of an Ethernet header.
pub const ETHERNET_BYTES: usize = 14;

/// The header to be put in front of `packet`; `None` if what the packet asks for lies outside of it, or it has no full
/// Ethernet header.
#[inline]
pub fn encode(packet: &Packet<'_>) -> Option<[u8; VNET_BYTES]> {
    if packet.len() < ETHERNET_BYTES {
        return None;
    }
    if !packet.has_offload() {
        return Some([0; VNET_BYTES]);
    }
    let mut offload = Offload { data_valid: false, ..packet.offload() };
    let length = packet.len();
    if let Some(checksum) = offload.checksum
        && usize::from(checksum.start) + usize::from(checksum.offset) + 2 > length
    {
        return None;
    }
    // A hint only: better none than a wrong one.
    if let Some(gso) = &mut offload.gso
        && usize::from(gso.header_length) > length
    {
        gso.header_length = 0;
    }
    VirtioNetHeader::encode(&offload).as_bytes().try_into().ok()
}

/// Reads the header of a frame of `length` bytes; `None` if it contradicts the frame.
#[inline]
pub fn decode(header: &[u8], length: usize) -> Option<Offload> {
    VirtioNetHeader::parse(header)?.0.decode(length).ok()
}

/// Takes the header off the front of a packet that was read with it; `None` if it contradicts the packet, or that has no
/// full Ethernet header.
#[inline]
pub fn take_off(packet: &mut Packet<'_>) -> Option<Offload> {
    let header: [u8; VNET_BYTES] = *packet.bytes().first_chunk()?;
    if !packet.advance(VNET_BYTES) {
        return None;
    }
    decode(&header, packet.len()).filter(|_| packet.len() >= ETHERNET_BYTES)
}
