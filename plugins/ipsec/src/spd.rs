//! The security policy database (RFC 4301 §4.4.1): which packets are protected, which go as they are, which are dropped.
//!
//! Policies have an order, and the first that matches counts. They are kept in groups of equal shape (lengths of both prefixes, and whether
//! protocol and ports are single values), each a hash table: a lookup asks each group once, the ones with early policies first, and
//! stops when no later one can win. So it costs by the number of shapes, of which ten thousand policies have a few.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::table::HashSeed;

use crate::selector::{Flow, Selector, has_ports};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes, or came, by a tunnel; [`InterfaceIndex::NONE`]: one that is not there.
    Protect(InterfaceIndex),
    /// It goes as it is.
    Bypass,
    /// It is dropped.
    Discard,
}

/// A policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Which packets.
    pub selector: Selector,
    /// What becomes of them.
    pub action: Action,
}

impl Default for Spd {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

/// The policies of one direction, ready to be looked up.
pub struct Spd {
    policies: Vec<Policy>,
    groups: Vec<Group>,
    seed: HashSeed,
    hits: Box<[AtomicU64]>,
}

/// Policies of one shape.
struct Group {
    shape: Shape,
    /// Place of the first one.
    first: u32,
    places: HashMap<u64, Vec<u32>>,
}

/// What of a flow the policies of a group look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    is_ip4: bool,
    source_bits: u8,
    destination_bits: u8,
    protocol: bool,
    source_port: bool,
    destination_port: bool,
}

impl Shape {
    /// The shape of a selector in one family; `None` if it has no packets of it.
    fn of(selector: &Selector, is_ip4: bool) -> Option<Self> {
        let bits = |prefix: Option<raddle_plugin_api::wire::IpPrefix>| match prefix {
            None => Some(0),
            Some(prefix) => (prefix.network().is_ipv4() == is_ip4).then(|| prefix.length()),
        };
        Some(Self {
            is_ip4,
            source_bits: bits(selector.source)?,
            destination_bits: bits(selector.destination)?,
            protocol: selector.protocol.is_some(),
            source_port: selector.source_ports.is_some_and(|(first, last)| first == last),
            destination_port: selector.destination_ports.is_some_and(|(first, last)| first == last),
        })
    }

    /// What stands for all flows of which policies of this shape see the same.
    fn key(&self, seed: &HashSeed, flow: &Flow) -> u64 {
        let cut = |address: IpAddr, bits: u8| -> u128 {
            let (value, width) = match address {
                IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
                IpAddr::V6(address) => (address.to_bits(), 128),
            };
            value.checked_shr(width - u32::from(bits)).unwrap_or(0)
        };
        let (source, destination) =
            (cut(flow.source, self.source_bits), cut(flow.destination, self.destination_bits));
        let ports = flow.ports.unwrap_or_default();
        let protocol = u64::from(flow.protocol.0) * u64::from(self.protocol);
        let source_port = u64::from(ports.0) * u64::from(self.source_port);
        let destination_port = u64::from(ports.1) * u64::from(self.destination_port);
        let rest = (protocol << 32) | (source_port << 16) | destination_port;
        seed.hash([
            source as u64,
            (source >> 64) as u64,
            destination as u64,
            (destination >> 64) as u64,
            rest,
        ])
    }

    /// Whether a flow can match: one without ports needs to be asked policy by policy where they look at ports.
    const fn needs_ports(&self) -> bool {
        self.source_port || self.destination_port
    }
}

impl Spd {
    /// These policies, the first one first.
    pub fn new(policies: Vec<Policy>) -> Self {
        let seed = HashSeed::random();
        let mut groups: Vec<Group> = Vec::new();
        let mut by_shape: HashMap<Shape, usize> = HashMap::new();
        for (place, policy) in policies.iter().enumerate() {
            for is_ip4 in [true, false] {
                let Some(shape) = Shape::of(&policy.selector, is_ip4) else { continue };
                let group = *by_shape.entry(shape).or_insert_with(|| {
                    groups.push(Group { shape, first: place as u32, places: HashMap::new() });
                    groups.len() - 1
                });
                let key = shape.key(&seed, &policy.selector.example(is_ip4));
                groups[group].places.entry(key).or_default().push(place as u32);
            }
        }
        groups.sort_by_key(|group| group.first);
        let hits = policies.iter().map(|_| AtomicU64::new(0)).collect();
        Self { policies, groups, seed, hits }
    }

    /// Number of policies.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Each policy with the packets that it was found for.
    pub fn iter(&self) -> impl Iterator<Item = (&Policy, u64)> {
        self.policies.iter().zip(self.hits.iter().map(|hits| hits.load(Ordering::Relaxed)))
    }

    /// What becomes of a packet by the first policy that matches, which counts it.
    pub fn decide(&self, flow: &Flow) -> Option<Action> {
        let (place, policy) = self.find(flow)?;
        if let Some(hits) = self.hits.get(place) {
            hits.fetch_add(1, Ordering::Relaxed);
        }
        Some(policy.action)
    }

    /// The first policy that matches, with its place.
    pub fn find(&self, flow: &Flow) -> Option<(usize, &Policy)> {
        let mut best = u32::MAX;
        for group in &self.groups {
            if group.first >= best {
                break;
            }
            if group.shape.is_ip4 != flow.source.is_ipv4() {
                continue;
            }
            if flow.ports.is_none() && group.shape.needs_ports() {
                if !has_ports(flow.protocol) {
                    continue;
                }
                // A later fragment: its ports are not known, so each policy is asked.
                let all = group.places.values().flatten().copied();
                if let Some(found) = all.filter(|&place| place < best && self.matches(place, flow)).min() {
                    best = found;
                }
                continue;
            }
            let Some(places) = group.places.get(&group.shape.key(&self.seed, flow)) else { continue };
            let candidates = places.iter().copied().take_while(|&place| place < best);
            if let Some(found) = candidates.into_iter().find(|&place| self.matches(place, flow)) {
                best = found;
            }
        }
        let policy = self.policies.get(best as usize)?;
        Some((best as usize, policy))
    }

    fn matches(&self, place: u32, flow: &Flow) -> bool {
        let Some(policy) = self.policies.get(place as usize) else { return false };
        // What cannot be told is protected or dropped rather than let go (RFC 4301 §7).
        policy.selector.matches(flow, policy.action != Action::Bypass)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raddle_plugin_api::wire::{IpPrefix, IpProtocol};

    use super::*;

    fn address(is_ip4: bool) -> impl Strategy<Value = IpAddr> {
        // Few addresses, so that they meet.
        (0_u32..64, 0_u32..64).prop_map(move |(high, low)| match is_ip4 {
            true => std::net::Ipv4Addr::from_bits((10 << 24) | (high << 18) | low).into(),
            false => {
                std::net::Ipv6Addr::from_bits((0x2001 << 112) | (u128::from(high) << 64) | u128::from(low))
                    .into()
            }
        })
    }

    fn prefix() -> impl Strategy<Value = Option<IpPrefix>> {
        let of = |is_ip4: bool| {
            let lengths: Vec<u8> = if is_ip4 { vec![0, 8, 14, 27, 32] } else { vec![0, 16, 64, 122, 128] };
            (address(is_ip4), prop::sample::select(lengths))
                .prop_map(|(address, length)| Some(IpPrefix::containing(address, length).unwrap()))
        };
        prop_oneof![Just(None), of(true), of(false)]
    }

    fn ports() -> impl Strategy<Value = Option<(u16, u16)>> {
        prop_oneof![
            Just(None),
            (0_u16..6).prop_map(|port| Some((port, port))),
            (0_u16..3, 3_u16..6).prop_map(Some)
        ]
    }

    fn selector() -> impl Strategy<Value = Selector> {
        (prefix(), prefix(), prop::option::of(prop::sample::select(vec![6_u8, 17])), ports(), ports())
            .prop_map(|(source, destination, protocol, source_ports, destination_ports)| Selector {
                source,
                destination,
                protocol: protocol.map(IpProtocol),
                source_ports,
                destination_ports,
            })
    }

    fn flow() -> impl Strategy<Value = Flow> {
        let of = |is_ip4| {
            let ports = prop::option::of((0_u16..6, 0_u16..6));
            (address(is_ip4), address(is_ip4), prop::sample::select(vec![1_u8, 6, 17]), ports).prop_map(
                |(source, destination, protocol, ports)| Flow {
                    source,
                    destination,
                    protocol: IpProtocol(protocol),
                    ports,
                },
            )
        };
        prop_oneof![of(true), of(false)]
    }

    proptest! {
        #[test]
        fn finds_what_a_linear_scan_finds(
            selectors in prop::collection::vec((selector(), 0_u8..3), 0..60),
            flows in prop::collection::vec(flow(), 1..40),
        ) {
            let action = |kind| match kind {
                0 => Action::Bypass,
                1 => Action::Discard,
                _ => Action::Protect(InterfaceIndex(3)),
            };
            let policies: Vec<_> = selectors
                .into_iter()
                .map(|(selector, kind)| Policy { selector, action: action(kind) })
                .collect();
            let spd = Spd::new(policies.clone());
            for flow in flows {
                let scan = policies
                    .iter()
                    .position(|policy| policy.selector.matches(&flow, policy.action != Action::Bypass));
                prop_assert_eq!(spd.find(&flow).map(|(place, _)| place), scan);
            }
        }
    }

    #[test]
    fn ten_thousand_policies_are_a_few_groups() {
        let policies = (0..10_000_u32).map(|n| Policy {
            selector: Selector {
                source: Some(IpPrefix::host(std::net::Ipv4Addr::from_bits((10 << 24) | n).into())),
                destination: Some(IpPrefix::containing([192, 0, 2, 0].into(), 24 + (n % 3) as u8).unwrap()),
                protocol: Some(IpProtocol::TCP),
                source_ports: None,
                destination_ports: Some((n as u16, n as u16)),
            },
            action: Action::Bypass,
        });
        let spd = Spd::new(policies.collect());
        assert_eq!((spd.len(), spd.groups.len()), (10_000, 3));
        let most = spd.groups.iter().flat_map(|group| group.places.values()).map(Vec::len).max();
        assert_eq!(most, Some(1));
        let flow = Flow {
            source: std::net::Ipv4Addr::from_bits((10 << 24) | 9999).into(),
            destination: [192, 0, 2, 1].into(),
            protocol: IpProtocol::TCP,
            ports: Some((1, 9999)),
        };
        assert_eq!(spd.find(&flow).map(|(place, _)| place), Some(9999));
    }
}
