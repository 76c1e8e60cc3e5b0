//! Strategies of packets for proptest: valid ones, and those of a peer that means harm.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;

use zerocopy::IntoBytes;

use super::Sample;
use super::packets::{self, IpPacket};
use crate::wire::{ArpPacket, EtherType, EthernetHeader, Ip4Address, IpProtocol, MacAddress, TcpFlags};

/// Valid IPv4 packets of every kind that the builders make, with payloads up to 1,400 bytes.
pub fn ip4_packet() -> impl Strategy<Value = IpPacket> + Clone {
    let address = any::<[u8; 4]>().prop_map(|bytes| IpAddr::from(Ipv4Addr::from(bytes)));
    ip_packet(address.clone(), address)
}

/// Valid IPv6 packets of every kind that the builders make, with payloads up to 1,400 bytes.
pub fn ip6_packet() -> impl Strategy<Value = IpPacket> + Clone {
    let address = any::<[u8; 16]>().prop_map(|bytes| IpAddr::from(Ipv6Addr::from(bytes)));
    ip_packet(address.clone(), address)
}

fn ip_packet<S>(source: S, destination: S) -> impl Strategy<Value = IpPacket> + Clone
where
    S: Strategy<Value = IpAddr> + Clone,
{
    let payload = proptest::collection::vec(any::<u8>(), 0..1400);
    let parts = (source, destination, any::<(u16, u16)>(), 0_u8..4, payload, any::<(u8, u8)>());
    parts.prop_map(|(source, destination, ports, kind, payload, (ttl, flags))| {
        let sockets =
            [SocketAddr::new(source, ports.0).to_string(), SocketAddr::new(destination, ports.1).to_string()];
        let addresses = [source.to_string(), destination.to_string()];
        let packet = match kind {
            0 => packets::udp(&sockets[0], &sockets[1]),
            1 => packets::tcp(&sockets[0], &sockets[1]).flags(TcpFlags(flags)),
            2 => packets::echo(&addresses[0], &addresses[1]).identifier(ports.0).sequence(ports.1.into()),
            _ => packets::ip(&addresses[0], &addresses[1], IpProtocol::OSPF),
        };
        packet.payload(payload).ttl(ttl)
    })
}

/// Bytes that were valid IPv4 packets, until somebody cut them off, lengthened them, or changed bytes: mostly those of
/// the headers, where lengths, offsets and types are.
pub fn hostile_ip4() -> impl Strategy<Value = Vec<u8>> {
    ip4_packet().prop_flat_map(|packet| spoil(packet.to_vec(), 44))
}

/// As [`hostile_ip4`], of IPv6 packets.
pub fn hostile_ip6() -> impl Strategy<Value = Vec<u8>> {
    ip6_packet().prop_flat_map(|packet| spoil(packet.to_vec(), 64))
}

/// Valid IPv4 fragments of UDP datagrams: first ones, later ones and last ones.
pub fn ip4_fragment() -> impl Strategy<Value = IpPacket> + Clone {
    fragment(["192.0.2.1:0", "198.51.100.1:0"])
}

/// As [`ip4_fragment`], with the fragment header of IPv6.
pub fn ip6_fragment() -> impl Strategy<Value = IpPacket> + Clone {
    fragment(["[2001:db8::1]:0", "[2001:db8::2]:0"])
}

fn fragment([source, destination]: [&'static str; 2]) -> impl Strategy<Value = IpPacket> + Clone {
    // Lengths and offsets are of 8 bytes, and the last one of a packet ends at 65,535 at most (RFC 791 §3.1).
    let sizes = (0_u16..7800, 1_usize..175);
    (sizes, any::<bool>(), any::<u16>()).prop_map(move |((eighths, length), more, identification)| {
        // The first of all, with nothing behind it, would be no fragment.
        let more = more || eighths == 0;
        packets::udp(source, destination)
            .payload_length(8 * length)
            .identification(identification)
            .fragment(eighths * 8, more)
    })
}

/// Valid IPv6 packets with one to three extension headers: options, of which the hop-by-hop ones come first (RFC 8200 §4.1).
pub fn ip6_with_extensions() -> impl Strategy<Value = IpPacket> + Clone {
    let units = proptest::collection::vec(0_u8..3, 1..4);
    (ip6_packet(), units, any::<bool>()).prop_map(|(packet, units, hop_by_hop)| {
        units.into_iter().enumerate().fold(packet, |packet, (position, units)| {
            let kind = match position {
                0 if hop_by_hop => IpProtocol::HOP_BY_HOP,
                _ => IpProtocol::DESTINATION_OPTIONS,
            };
            // Next header, length in units of eight beyond the first, and one PadN option over the rest.
            let length = 8 + 8 * units;
            let mut header = vec![0, units, 1, length - 4];
            header.resize(length.into(), 0);
            packet.extension(kind, header)
        })
    })
}

/// Valid Ethernet frames: IPv4, IPv6 and ARP, with up to two VLAN tags.
pub fn ethernet_frame() -> impl Strategy<Value = Vec<u8>> + Clone {
    let mac = any::<[u8; 6]>().prop_map(MacAddress);
    let vlans = proptest::collection::vec(1_u16..4095, 0..3);
    let ip = prop_oneof![ip4_packet(), ip6_packet(), ip4_fragment(), ip6_with_extensions()];
    let ip = (ip, mac.clone(), mac, vlans).prop_map(|(packet, source, destination, vlans)| {
        let packet = packet.ethernet_between(source, destination);
        vlans.into_iter().fold(packet, IpPacket::vlan).to_vec()
    });
    prop_oneof![4 => ip, 1 => arp_frame()]
}

/// Valid ARP requests and replies, in Ethernet frames (RFC 826).
pub fn arp_frame() -> impl Strategy<Value = Vec<u8>> + Clone {
    let side = any::<([u8; 6], [u8; 4])>();
    (side, side, any::<bool>()).prop_map(|(asker, asked, answers)| {
        let [asker, asked] =
            [asker, asked].map(|(mac, address)| (MacAddress(mac), Ip4Address::from(Ipv4Addr::from(address))));
        let request = ArpPacket::request(asker.0, asker.1, asked.1);
        let (packet, source, destination) = match answers {
            true => (request.reply(asked.0), asked.0, asker.0),
            false => (request, asker.0, MacAddress::BROADCAST),
        };
        let mut frame = EthernetHeader::new(destination, source, EtherType::ARP).as_bytes().to_vec();
        frame.extend_from_slice(packet.as_bytes());
        frame
    })
}

/// As [`hostile_ip4`], of Ethernet frames.
pub fn hostile_ethernet() -> impl Strategy<Value = Vec<u8>> {
    ethernet_frame().prop_flat_map(|frame| spoil(frame, 66))
}

/// The bytes in one buffer or in several, cut anywhere: a node must not take for granted that a header is in the first.
pub fn in_buffers(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Sample> {
    (bytes, proptest::collection::vec(1_usize..100, 0..4))
        .prop_map(|(bytes, lengths)| Sample::new(bytes).in_segments(&lengths))
}

/// `bytes` cut off, lengthened or with bytes changed, mostly among the first `headers`.
pub fn spoil(bytes: Vec<u8>, headers: usize) -> impl Strategy<Value = Vec<u8>> {
    let length = bytes.len();
    let anywhere = 0..length.max(1);
    let in_headers = 0..length.clamp(1, headers.max(1));
    let position = prop_oneof![4 => in_headers, 1 => anywhere];
    let changes = proptest::collection::vec((position, any::<u8>()), 0..4);
    let cut = prop_oneof![2 => Just(length), 2 => 0..=length.min(headers), 1 => 0..=length];
    let tail = proptest::collection::vec(any::<u8>(), 0..16);
    (changes, cut, tail, any::<bool>()).prop_map(move |(changes, cut, tail, lengthen)| {
        let mut spoilt = bytes.clone();
        for (position, value) in changes {
            if let Some(byte) = spoilt.get_mut(position) {
                *byte = value;
            }
        }
        spoilt.truncate(cut);
        if lengthen {
            spoilt.extend(tail);
        }
        spoilt
    })
}
