//! Which of several paths a flow takes: a hash over addresses, protocol and ports.
#![forbid(unsafe_code)]

use raddle_plugin_api::wire::{Ip4Header, Ip6Header, IpProtocol};

/// The hash of the IPv4 packet in `bytes`; fragments of one packet have the same one, as ports count only where there are
/// no fragments.
pub fn ip4_flow_hash(bytes: &[u8]) -> u32 {
    let Some((header, _)) = Ip4Header::parse(bytes) else {
        return 0;
    };
    let addresses = u64::from(header.source().to_bits()) << 32 | u64::from(header.destination().to_bits());
    let ports = if header.is_fragment() { 0 } else { ports(header.protocol(), Ip4Header::payload(bytes)) };
    finish(mix(addresses), u64::from(header.protocol().0) << 32 | u64::from(ports))
}

/// The hash of the IPv6 packet in `bytes`. Behind extension headers the flow label stands for the ports (RFC 6438).
pub fn ip6_flow_hash(bytes: &[u8]) -> u32 {
    let Some((header, _)) = Ip6Header::parse(bytes) else {
        return 0;
    };
    let (source, destination) = (header.source(), header.destination());
    let addresses = mix(source.high() ^ destination.high().rotate_left(32))
        ^ mix(source.low().wrapping_add(destination.low().rotate_left(32)));
    let protocol = header.next_header();
    let ports = match ports(protocol, Ip6Header::payload(bytes)) {
        0 => header.flow_label(),
        ports => ports,
    };
    finish(addresses, u64::from(protocol.0) << 32 | u64::from(ports))
}

/// Both ports as one number, 0 for protocols without.
fn ports(protocol: IpProtocol, payload: &[u8]) -> u32 {
    if !matches!(protocol, IpProtocol::TCP | IpProtocol::UDP) {
        return 0;
    }
    payload.first_chunk().map_or(0, |ports| u32::from_be_bytes(*ports))
}

/// One round of SplitMix64's output function: each bit of the input moves half of the output's.
fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
}

fn finish(addresses: u64, rest: u64) -> u32 {
    (mix(addresses.rotate_left(17) ^ rest) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::wire::{Ip4Address, Ip6Address};

    use super::*;

    fn ip4_packet(ports: [u8; 4], fragment: bool) -> Vec<u8> {
        let (source, destination) = (Ip4Address([10, 0, 0, 1]), Ip4Address([10, 0, 0, 2]));
        // 8 bytes of payload fit.
        let mut header = Ip4Header::new(IpProtocol::UDP, source, destination, 8).unwrap();
        header.set_fragment(0, fragment);
        let mut bytes = vec![0; 28];
        header.write_to(&mut bytes).unwrap()[..4].copy_from_slice(&ports);
        bytes
    }

    #[test]
    fn ports_tell_flows_apart_but_not_fragments() {
        let first = ip4_flow_hash(&ip4_packet([0, 1, 0, 2], false));
        assert_ne!(first, ip4_flow_hash(&ip4_packet([0, 1, 0, 3], false)));
        let fragment = ip4_flow_hash(&ip4_packet([0, 1, 0, 2], true));
        assert_eq!(fragment, ip4_flow_hash(&ip4_packet([0, 1, 0, 3], true)));
    }

    #[test]
    fn low_bits_of_flows_that_differ_in_one_port_are_spread() {
        let mut buckets = [0_u32; 8];
        for port in 0..8000_u16 {
            let [high, low] = port.to_be_bytes();
            buckets[(ip4_flow_hash(&ip4_packet([high, low, 0, 53], false)) % 8) as usize] += 1;
        }
        assert!(buckets.iter().all(|count| (850..1150).contains(count)), "{buckets:?}");
    }

    #[test]
    fn flow_label_counts_where_ports_do_not_show() {
        let (source, destination) = (Ip6Address::LOOPBACK, Ip6Address::ALL_NODES);
        let mut header = Ip6Header::new(IpProtocol(44), source, destination, 8).unwrap();
        let mut bytes = [0; 48];
        header.write_to(&mut bytes).unwrap();
        let first = ip6_flow_hash(&bytes);
        header.set_flow_label(7);
        header.write_to(&mut bytes).unwrap();
        assert_ne!(first, ip6_flow_hash(&bytes));
    }

    #[test]
    fn packets_cut_at_every_byte_have_a_hash() {
        let packet = ip4_packet([0, 1, 0, 2], false);
        for length in 0..packet.len() {
            let _ = (ip4_flow_hash(&packet[..length]), ip6_flow_hash(&packet[..length]));
        }
    }
}
