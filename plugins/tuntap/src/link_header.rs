//! The Ethernet header of a punted packet, as it came in, without VLAN tags.

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{EtherType, EthernetHeader, Ip4Header, Ip6Header};

/// Bytes of a VLAN tag.
const TAG_BYTES: usize = 4;

/// Puts an Ethernet header in front of the packet, which begins with its IP header or ARP packet: the one that it came with, if
/// it is still in the headroom, else one that says as much. `own` is the MAC address of the interface that it came in by.
/// `false`: it begins with neither, or there is no room.
pub fn restore(packet: &mut Packet<'_>, own: MacAddress) -> bool {
    let Some(ethertype) = ethertype(packet.bytes()) else { return false };
    let header = received(packet, ethertype, own).unwrap_or_else(|| made(packet.bytes(), ethertype, own));
    let Some(bytes) = packet.prepend_array::<{ EthernetHeader::LENGTH }>() else { return false };
    header.write_to(bytes).is_some()
}

/// What the first bytes are.
fn ethertype(bytes: &[u8]) -> Option<EtherType> {
    match bytes.first()? {
        first if first >> 4 == 4 => Some(EtherType::IP4),
        first if first >> 4 == 6 => Some(EtherType::IP6),
        // ARP for Ethernet (RFC 826): hardware type 1.
        0 if bytes.get(1) == Some(&1) => Some(EtherType::ARP),
        _ => None,
    }
}

/// The header in the headroom, in front of up to two VLAN tags, if it is one: its destination is that of a frame for us.
fn received(packet: &mut Packet<'_>, ethertype: EtherType, own: MacAddress) -> Option<EthernetHeader> {
    for tags in 0..=2 {
        let length = EthernetHeader::LENGTH + tags * TAG_BYTES;
        if packet.headroom() < length {
            return None;
        }
        let front: [u8; 22] = {
            let bytes = packet.prepend(length)?;
            let mut front = [0; 22];
            front[..length].copy_from_slice(&bytes[..length]);
            front
        };
        packet.advance(length);
        let front = &front[..length];
        let (header, _) = EthernetHeader::parse(front)?;
        let last = EtherType(u16::from_be_bytes([front[length - 2], front[length - 1]]));
        let is_for_us = header.destination == own || !header.destination.is_unicast();
        let is_tagged = tags == 0 || header.ethertype().is_tag();
        if last == ethertype && is_for_us && is_tagged && header.source.is_unicast() {
            return Some(EthernetHeader::new(header.destination, header.source, ethertype));
        }
    }
    None
}

/// A header for a packet that has none any more, such as one that was put together of fragments.
fn made(bytes: &[u8], ethertype: EtherType, own: MacAddress) -> EthernetHeader {
    let destination = match ethertype {
        EtherType::IP4 => Ip4Header::parse(bytes)
            .map(|(ip, _)| ip.destination().to_std())
            .filter(|ip| ip.is_multicast())
            .map(
                // RFC 1112 §6.4
                |ip| {
                    let [_, b, c, d] = ip.octets();
                    MacAddress([1, 0, 0x5e, b & 0x7f, c, d])
                },
            ),
        EtherType::IP6 => {
            Ip6Header::parse(bytes).map(|(ip, _)| ip.destination()).filter(|ip| ip.is_multicast()).map(
                // RFC 2464 §7
                |ip| {
                    let octets = ip.to_std().octets();
                    MacAddress([0x33, 0x33, octets[12], octets[13], octets[14], octets[15]])
                },
            )
        }
        _ => None,
    };
    // Who sent it is not known any more; the host does not ask, of a packet that is for it.
    EthernetHeader::new(destination.unwrap_or(own), MacAddress([2, 0, 0, 0, 0, 0]), ethertype)
}
