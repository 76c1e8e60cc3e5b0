//! Which of several paths a flow takes: a hash over addresses, protocol and ports.
//!
//! Each router hashes with a seed of its own. With the same hash everywhere, all flows that one router sends to the next
//! would meet there in one path again. Fragments are hashed by their addresses alone, so that all of a packet take one
//! path.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use raddle_plugin_api::wire::{Ip4Header, Ip6Header, IpProtocol};

/// The next header of a fragment (RFC 8200 §4.5).
const FRAGMENT: IpProtocol = IpProtocol(44);

/// How flows are told apart. Workers read it where there are several paths.
#[derive(Debug)]
pub struct FlowHash {
    seed: AtomicU64,
    flow_label: AtomicBool,
}

impl Default for FlowHash {
    /// With a seed at random.
    fn default() -> Self {
        Self { seed: AtomicU64::new(RandomState::new().hash_one(0)), flow_label: AtomicBool::new(false) }
    }
}

impl FlowHash {
    /// Sets the seed, if one is given, and whether IPv6 flows are told apart by their flow label in place of ports.
    pub fn configure(&self, seed: Option<u64>, flow_label: bool) {
        if let Some(seed) = seed {
            self.seed.store(seed, Ordering::Relaxed);
        }
        self.flow_label.store(flow_label, Ordering::Relaxed);
    }

    /// The hash of the IPv4 packet in `bytes`.
    pub fn ip4(&self, bytes: &[u8]) -> u32 {
        let Some((header, _)) = Ip4Header::parse(bytes) else {
            return 0;
        };
        let addresses =
            u64::from(header.source().to_bits()) << 32 | u64::from(header.destination().to_bits());
        let rest = match header.is_fragment() {
            true => 0,
            false => protocol_and(header.protocol(), ports(header.protocol(), Ip4Header::payload(bytes))),
        };
        self.finish(mix(addresses), rest)
    }

    /// The hash of the IPv6 packet in `bytes`. Where ports do not show, behind extension headers, the flow label stands for
    /// them (RFC 6438), and everywhere if so configured.
    pub fn ip6(&self, bytes: &[u8]) -> u32 {
        let Some((header, _)) = Ip6Header::parse(bytes) else {
            return 0;
        };
        let (source, destination) = (header.source(), header.destination());
        let addresses = mix(source.high() ^ destination.high().rotate_left(32))
            ^ mix(source.low().wrapping_add(destination.low().rotate_left(32)));
        let (protocol, label) = (header.next_header(), header.flow_label());
        let rest = if protocol == FRAGMENT {
            0
        } else if label != 0 && self.flow_label.load(Ordering::Relaxed) {
            u64::from(label)
        } else {
            match ports(protocol, Ip6Header::payload(bytes)) {
                0 => protocol_and(protocol, label),
                ports => protocol_and(protocol, ports),
            }
        };
        self.finish(addresses, rest)
    }

    fn finish(&self, addresses: u64, rest: u64) -> u32 {
        let seed = self.seed.load(Ordering::Relaxed);
        (mix(mix(addresses ^ seed).rotate_left(17) ^ rest) >> 32) as u32
    }
}

fn protocol_and(protocol: IpProtocol, rest: u32) -> u64 {
    u64::from(protocol.0) << 32 | u64::from(rest)
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

#[cfg(test)]
mod tests {
    use raddle_plugin_api::wire::{Ip4Address, Ip6Address};

    use super::*;

    fn seeded(seed: u64) -> FlowHash {
        let hash = FlowHash::default();
        hash.configure(Some(seed), false);
        hash
    }

    fn ip4_packet(ports: [u8; 4], fragment: bool) -> Vec<u8> {
        let (source, destination) = (Ip4Address([10, 0, 0, 1]), Ip4Address([10, 0, 0, 2]));
        // 8 bytes of payload fit.
        let mut header = Ip4Header::new(IpProtocol::UDP, source, destination, 8).unwrap();
        header.set_fragment(0, fragment);
        let mut bytes = vec![0; 28];
        header.write_to(&mut bytes).unwrap()[..4].copy_from_slice(&ports);
        bytes
    }

    fn ip6_packet(protocol: IpProtocol, label: u32, port: u8) -> [u8; 48] {
        let mut header = Ip6Header::new(protocol, Ip6Address::LOOPBACK, Ip6Address::ALL_NODES, 8).unwrap();
        header.set_flow_label(label);
        let mut bytes = [0; 48];
        header.write_to(&mut bytes).unwrap()[1] = port;
        bytes
    }

    #[test]
    fn ports_tell_flows_apart_but_not_fragments() {
        let hash = seeded(1);
        let first = hash.ip4(&ip4_packet([0, 1, 0, 2], false));
        assert_ne!(first, hash.ip4(&ip4_packet([0, 1, 0, 3], false)));
        let fragment = hash.ip4(&ip4_packet([0, 1, 0, 2], true));
        assert_eq!(fragment, hash.ip4(&ip4_packet([0, 1, 0, 3], true)));
        let fragments = [(1, 2), (3, 4)].map(|(label, port)| hash.ip6(&ip6_packet(FRAGMENT, label, port)));
        assert_eq!(fragments[0], fragments[1]);
    }

    #[test]
    fn low_bits_of_flows_that_differ_in_one_port_are_spread() {
        let hash = seeded(2);
        let mut buckets = [0_u32; 8];
        for port in 0..8000_u16 {
            let [high, low] = port.to_be_bytes();
            buckets[(hash.ip4(&ip4_packet([high, low, 0, 53], false)) % 8) as usize] += 1;
        }
        assert!(buckets.iter().all(|count| (850..1150).contains(count)), "{buckets:?}");
    }

    #[test]
    fn flows_that_one_router_sends_one_way_are_spread_by_the_next() {
        let (first, second) = (seeded(3), seeded(4));
        let mut buckets = [0_u32; 4];
        for port in 0..16_000_u16 {
            let [high, low] = port.to_be_bytes();
            let packet = ip4_packet([high, low, 0, 53], false);
            if first.ip4(&packet) % 4 == 0 {
                buckets[(second.ip4(&packet) % 4) as usize] += 1;
            }
        }
        assert!(buckets.iter().all(|count| (800..1200).contains(count)), "{buckets:?}");
    }

    #[test]
    fn flow_label_counts_where_ports_do_not_show_or_where_it_is_wanted() {
        let hash = seeded(5);
        let routing = IpProtocol(43);
        assert_ne!(hash.ip6(&ip6_packet(routing, 0, 0)), hash.ip6(&ip6_packet(routing, 7, 0)));
        let (one, two) = (ip6_packet(IpProtocol::UDP, 7, 1), ip6_packet(IpProtocol::UDP, 7, 2));
        assert_ne!(hash.ip6(&one), hash.ip6(&two));
        assert_eq!(hash.ip6(&one), hash.ip6(&ip6_packet(IpProtocol::UDP, 8, 1)));
        hash.configure(None, true);
        assert_eq!(hash.ip6(&one), hash.ip6(&two));
        assert_ne!(hash.ip6(&one), hash.ip6(&ip6_packet(IpProtocol::UDP, 8, 1)));
    }

    #[test]
    fn packets_cut_at_every_byte_have_a_hash() {
        let (hash, packet) = (seeded(6), ip4_packet([0, 1, 0, 2], false));
        for length in 0..packet.len() {
            let _ = (hash.ip4(&packet[..length]), hash.ip6(&packet[..length]));
        }
    }
}
