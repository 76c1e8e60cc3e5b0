//! The virtio-net header between the host's devices and a packet's metadata.

use raddle_plugin_api::Packet;
use raddle_plugin_api::wire::{Offload, VirtioNetHeader};
use zerocopy::IntoBytes;

/// What one call of a receive queue copies from the host, at most, and one frame more, in bytes: of large frames no more than
/// stay in a core's own cache until they are sent.
pub const BURST_BYTES: usize = 256 * 1024;

/// Bytes of the header.
pub const VNET_BYTES: usize = VirtioNetHeader::LENGTH;

/// Bytes of an Ethernet header.
pub const ETHERNET_BYTES: usize = 14;

/// The header to be put in front of `packet`; `None` if what the packet asks for lies outside of it, or it has fewer bytes than
/// the `least` that a header of its device takes.
#[inline]
pub fn encode(packet: &Packet<'_>, least: usize) -> Option<[u8; VNET_BYTES]> {
    if packet.len() < least {
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

/// Takes the header off the front of a packet that was read with it; `None` if it contradicts the packet, or that has fewer
/// bytes than the `least` that a header of its device takes.
#[inline]
pub fn take_off(packet: &mut Packet<'_>, least: usize) -> Option<Offload> {
    let header: [u8; VNET_BYTES] = *packet.bytes().first_chunk()?;
    if !packet.advance(VNET_BYTES) {
        return None;
    }
    decode(&header, packet.len()).filter(|_| packet.len() >= least)
}
