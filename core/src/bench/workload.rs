//! Tables of many routes and the packets that are looked up in them: made by chance, the same on every run.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use raddle_plugin_api::wire::IpPrefix;

/// What a case loads into the router, and what it has forwarded.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Distinct prefixes, in the order in which they are added.
    pub routes: Vec<IpPrefix>,
    /// Destinations of the packets, one after the other and then from the start; empty: the case's template has them.
    pub destinations: Vec<IpAddr>,
    /// Frames as they are, sent instead of packets to the destinations.
    pub frames: Vec<Vec<u8>>,
}

impl Workload {
    /// Routes and the destinations of packets.
    pub fn new(routes: Vec<IpPrefix>, destinations: Vec<IpAddr>) -> Self {
        Self { routes, destinations, frames: Vec::new() }
    }

    /// Frames alone, for cases whose configuration has the routes.
    pub fn of_frames(frames: Vec<Vec<u8>>) -> Self {
        Self { routes: Vec::new(), destinations: Vec::new(), frames }
    }
}

/// The /4 in which IPv4 routes are.
const IP4_RANGE: u32 = 0x4000_0000;
/// Free bits in a /4.
const IP4_RANGE_BITS: u64 = 28;

/// Blocks from which the registries allocate IPv6 prefixes, by their first 16 bits: 2001, 2003, 2400::/12, 2600::/12, 2800::/12,
/// 2a00::/12, 2c00::/12, each as wide as it is in use, more or less.
const IP6_BLOCKS: [std::ops::RangeInclusive<u16>; 7] = [
    0x2001..=0x2001,
    0x2003..=0x2003,
    0x2400..=0x240f,
    0x2600..=0x2620,
    0x2800..=0x2807,
    0x2a00..=0x2a14,
    0x2c0e..=0x2c0f,
];
/// Routes for each /32 that somebody holds, on average.
const IP6_ROUTES_PER_HOLDER: usize = 8;

/// `routes` IPv4 routes of /24 to /32 anywhere in a /4, and destinations within them.
pub fn ip4(routes: usize, destinations: usize) -> Workload {
    let mut random = Random(4);
    let routes = distinct(routes, || {
        let length = 24 + random.below(9) as u8;
        ip4_prefix(IP4_RANGE | random.below(1 << IP4_RANGE_BITS) as u32, length)
    });
    within(routes, destinations, &mut random)
}

/// `nets` routes of /24 and `longer` of /25 to /32 in a /4, and a route to the /4 for what is between them.
pub fn ip4_full(nets: usize, longer: usize) -> Workload {
    let mut random = Random(40);
    let mut routes = vec![ip4_prefix(IP4_RANGE, (32 - IP4_RANGE_BITS) as u8)];
    routes.extend(distinct(nets, || ip4_prefix(IP4_RANGE | random.below(1 << IP4_RANGE_BITS) as u32, 24)));
    routes.extend(distinct(longer, || {
        let length = 25 + random.below(8) as u8;
        ip4_prefix(IP4_RANGE | random.below(1 << IP4_RANGE_BITS) as u32, length)
    }));
    Workload::new(routes, Vec::new())
}

/// `routes` IPv6 routes in the registries' blocks, their lengths much as in the public table, and destinations within them.
///
/// Each holder of a /32 announces some prefixes of it, few holders many.
pub fn ip6(routes: usize, destinations: usize) -> Workload {
    let mut random = Random(6);
    let holders: Vec<u128> = (0..(routes / IP6_ROUTES_PER_HOLDER).max(1))
        .map(|_| {
            let block = IP6_BLOCKS[random.below(IP6_BLOCKS.len() as u64) as usize].clone();
            let width = u64::from(block.end() - block.start()) + 1;
            let first = u128::from(*block.start()) + u128::from(random.below(width));
            first << 112 | u128::from(random.below(1 << 16)) << 96
        })
        .collect();
    let routes = distinct(routes, || {
        let length = match random.below(100) {
            0..14 => 32,
            14..20 => 36,
            20..32 => 40,
            32..44 => 44,
            44..90 => 48,
            90..95 => 56,
            _ => 64,
        };
        let most = random.below(holders.len() as u64) + 1;
        let holder = holders[random.below(most) as usize];
        ip6_prefix(holder | random.wide() >> 32, length)
    });
    within(routes, destinations, &mut random)
}

fn within(routes: Vec<IpPrefix>, destinations: usize, random: &mut Random) -> Workload {
    let destinations = (0..destinations)
        .map(|_| {
            let route = &routes[random.below(routes.len() as u64) as usize];
            let host = |bits: u32, noise: u128| noise & u128::MAX.checked_shr(128 - bits).unwrap_or(0);
            let noise = random.wide();
            match route {
                IpPrefix::V4(prefix) => {
                    let noise = host(32 - u32::from(prefix.length()), noise) as u32;
                    Ipv4Addr::from_bits(prefix.network().to_bits() | noise).into()
                }
                IpPrefix::V6(prefix) => {
                    let noise = host(128 - u32::from(prefix.length()), noise);
                    Ipv6Addr::from_bits(prefix.network().to_bits() | noise).into()
                }
            }
        })
        .collect();
    Workload::new(routes, destinations)
}

fn distinct(count: usize, mut make: impl FnMut() -> IpPrefix) -> Vec<IpPrefix> {
    let mut seen = HashSet::with_capacity(count);
    let mut routes = Vec::with_capacity(count);
    while routes.len() < count {
        let route = make();
        if seen.insert(route) {
            routes.push(route);
        }
    }
    routes
}

fn ip4_prefix(address: u32, length: u8) -> IpPrefix {
    prefix(Ipv4Addr::from_bits(address).into(), length)
}

fn ip6_prefix(address: u128, length: u8) -> IpPrefix {
    prefix(Ipv6Addr::from_bits(address).into(), length)
}

fn prefix(address: IpAddr, length: u8) -> IpPrefix {
    IpPrefix::containing(address, length).expect("lengths above are within the family's")
}

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(workload: &Workload) -> bool {
        let routes: HashSet<_> = workload.routes.iter().copied().collect();
        workload.destinations.iter().all(|&destination| {
            let longest = if destination.is_ipv4() { 32 } else { 128 };
            (0..=longest).any(|length| routes.contains(&prefix(destination, length)))
        })
    }

    #[test]
    fn every_destination_has_a_route_and_no_route_comes_twice() {
        for workload in [ip4(300, 500), ip6(300, 500)] {
            assert_eq!(workload.routes.iter().collect::<HashSet<_>>().len(), 300);
            assert_eq!(workload.destinations.len(), 500);
            assert!(covered(&workload));
        }
    }

    #[test]
    fn a_full_table_has_a_route_for_its_whole_range() {
        let workload = ip4_full(90, 10);
        assert_eq!(workload.routes.len(), 101);
        assert_eq!(workload.routes[0].to_string(), "64.0.0.0/4");
        assert!(workload.destinations.is_empty());
    }

    #[test]
    fn the_same_call_gives_the_same_routes() {
        assert_eq!(ip6(100, 10).routes, ip6(100, 10).routes);
    }
}
