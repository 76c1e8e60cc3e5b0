//! Frames of neighbour resolution: ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861 §4.3, §4.4).

use raddle_plugin_api::wire::{
    ArpPacket, EtherType, EthernetHeader, Ip4Address, Ip6Address, Ip6Header, IpProtocol, MacAddress,
    NeighborFlags, write_duplicate_detection, write_neighbor_advertisement, write_neighbor_solicitation,
};
use zerocopy::IntoBytes;

/// RFC 4861 §7.1: what neighbour discovery is sent with, so that it cannot come from another link.
const HOP_LIMIT: u8 = 255;
/// The longest of the messages: header, target, one link-layer address.
const MAX_MESSAGE_BYTES: usize = 32;

/// An Ethernet frame with an ARP packet, to everyone or to one.
pub fn arp_frame(packet: &ArpPacket, to: Option<MacAddress>) -> Vec<u8> {
    let destination = to.unwrap_or(MacAddress::BROADCAST);
    let ethernet = EthernetHeader::new(destination, packet.sender_mac, EtherType::ARP);
    [ethernet.as_bytes(), packet.as_bytes()].concat()
}

/// An Ethernet frame that asks for `target`: everyone in its solicited-node group, or the one at `to` (RFC 4861 §7.2.2).
pub fn solicitation_frame(
    mac: MacAddress,
    source: Ip6Address,
    target: Ip6Address,
    to: Option<MacAddress>,
) -> Option<Vec<u8>> {
    let destination = if to.is_some() { target } else { target.solicited_node() };
    let ip6 = ip6_packet(source, destination, |out| {
        write_neighbor_solicitation(out, source, destination, target, Some(mac))
    })?;
    Some(ethernet_frame(mac, to.unwrap_or_else(|| group_mac(destination)), &ip6))
}

/// An Ethernet frame that asks, from `::`, whether somebody has `target` (RFC 4862 §5.4.2, RFC 7527 §4.1).
pub fn detection_frame(mac: MacAddress, target: Ip6Address, nonce: [u8; 6]) -> Option<Vec<u8>> {
    let group = target.solicited_node();
    let ip6 =
        ip6_packet(Ip6Address::UNSPECIFIED, group, |out| write_duplicate_detection(out, target, nonce))?;
    Some(ethernet_frame(mac, group_mac(group), &ip6))
}

/// An IPv6 packet that says that `target` is at `mac` and that we are a router (RFC 4861 §7.2.4); without an asker it goes to all
/// nodes. `overrides`: it replaces what they know, which a proxy's must not (§7.2.8).
pub fn advertisement(
    mac: MacAddress,
    target: Ip6Address,
    source: Ip6Address,
    asker: Option<Ip6Address>,
    overrides: bool,
) -> Option<Vec<u8>> {
    let destination = asker.unwrap_or(Ip6Address::ALL_NODES);
    let flags = NeighborFlags { router: true, solicited: asker.is_some(), overrides };
    ip6_packet(source, destination, |out| {
        write_neighbor_advertisement(out, source, destination, flags, target, Some(mac))
    })
}

/// An IPv6 packet in an Ethernet frame.
pub fn ethernet_frame(source: MacAddress, destination: MacAddress, packet: &[u8]) -> Vec<u8> {
    [EthernetHeader::new(destination, source, EtherType::IP6).as_bytes(), packet].concat()
}

/// Where a group is sent to.
pub fn group_mac(group: Ip6Address) -> MacAddress {
    MacAddress::from_ip6_multicast(group.to_std())
}

fn ip6_packet(
    source: Ip6Address,
    destination: Ip6Address,
    write: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> Option<Vec<u8>> {
    let mut message = [0; MAX_MESSAGE_BYTES];
    let length = write(&mut message)?;
    let mut header = Ip6Header::new(IpProtocol::ICMP6, source, destination, length)?;
    header.set_hop_limit(HOP_LIMIT);
    Some([header.as_bytes(), message.get(..length)?].concat())
}

/// The gratuitous ARP by which an address is announced (RFC 5227 §2.3).
pub fn announcement4(mac: MacAddress, address: Ip4Address) -> Vec<u8> {
    arp_frame(&ArpPacket::announcement(mac, address), None)
}

/// The unsolicited advertisement by which an address is announced (RFC 4861 §7.2.6).
pub fn announcement6(mac: MacAddress, address: Ip6Address) -> Option<Vec<u8>> {
    let packet = advertisement(mac, address, address, None, true)?;
    Some(ethernet_frame(mac, group_mac(Ip6Address::ALL_NODES), &packet))
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::wire::{ArpOperation, NdMessage};

    use super::*;

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const PEER: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
    const OWN: Ip6Address = Ip6Address::link_local_from_mac(MAC);
    const TARGET: Ip6Address = Ip6Address::from_bits(0x2001_0db8 << 96 | 0x12_3456);

    fn split(frame: &[u8]) -> (EthernetHeader, Ip6Header, NdMessage<'_>) {
        let (ethernet, packet) = EthernetHeader::parse(frame).unwrap();
        let ip = Ip6Header::check(packet, packet.len()).unwrap();
        (*ethernet, *ip, NdMessage::parse(ip, &packet[40..]).unwrap())
    }

    // RFC 4861 §7.2.2, RFC 4291 §2.7.1, RFC 2464 §7
    #[test]
    fn asks_the_solicited_node_group_or_one_neighbor() {
        let frame = solicitation_frame(MAC, OWN, TARGET, None).unwrap();
        let (ethernet, ip, message) = split(&frame);
        assert_eq!(ethernet.destination, MacAddress([0x33, 0x33, 0xff, 0x12, 0x34, 0x56]));
        assert_eq!((ip.destination(), ip.hop_limit()), (TARGET.solicited_node(), 255));
        assert_eq!(message.options().source_link_layer(), Some(MAC));
        let frame = solicitation_frame(MAC, OWN, TARGET, Some(PEER)).unwrap();
        let (ethernet, ip, message) = split(&frame);
        assert_eq!((ethernet.destination, ip.destination()), (PEER, TARGET));
        assert!(matches!(message, NdMessage::NeighborSolicitation { target, .. } if target == TARGET));
    }

    // RFC 4861 §7.2.4 and §7.2.6
    #[test]
    fn advertises_to_the_asker_or_to_all() {
        for (asker, destination) in [(Some(TARGET), TARGET), (None, Ip6Address::ALL_NODES)] {
            let packet = advertisement(MAC, OWN, OWN, asker, true).unwrap();
            let frame = ethernet_frame(MAC, group_mac(destination), &packet);
            let (_, ip, message) = split(&frame);
            assert_eq!(ip.destination(), destination);
            let NdMessage::NeighborAdvertisement { flags, target, options } = message else { panic!() };
            assert_eq!((target, options.target_link_layer()), (OWN, Some(MAC)));
            assert!(flags.router && flags.overrides && flags.solicited == asker.is_some());
        }
        assert_eq!(&announcement6(MAC, OWN).unwrap()[..6], [0x33, 0x33, 0, 0, 0, 1]);
    }

    // RFC 5227 §2.3
    #[test]
    fn announces_by_a_broadcast_request_for_itself() {
        let frame = announcement4(MAC, Ip4Address([192, 0, 2, 1]));
        let (ethernet, packet) = EthernetHeader::parse(&frame).unwrap();
        assert_eq!((ethernet.destination, ethernet.source), (MacAddress::BROADCAST, MAC));
        let arp = ArpPacket::parse(packet).unwrap();
        assert!(arp.is_gratuitous() && arp.operation() == ArpOperation::REQUEST);
    }
}
