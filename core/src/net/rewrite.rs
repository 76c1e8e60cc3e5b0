//! Putting an adjacency's rewrite in front of a packet.
#![forbid(unsafe_code)]

use raddle_plugin_api::Packet;

use super::adjacency::Adjacency;

/// Puts the rewrite of a complete adjacency in front and notes the tx interface. `false`, and nothing done, where there is no
/// room in front.
#[inline(always)]
pub fn put_in_front(packet: &mut Packet<'_>, adjacency: &Adjacency<'_>) -> bool {
    let (length, rewrite) = (adjacency.rewrite_length(), adjacency.rewrite());
    let Some(bytes) = packet.prepend(length) else {
        return false;
    };
    // `prepend` has made that many bytes; the rewrite is never longer than its room.
    bytes[..length].copy_from_slice(&rewrite[..length]);
    packet.set_tx_interface(adjacency.interface());
    true
}
