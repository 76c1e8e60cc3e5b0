//! Strategies of packets for proptest: valid ones, and those of a peer that means harm.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;

use super::packets::{self, IpPacket};
use crate::wire::{IpProtocol, TcpFlags};

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
