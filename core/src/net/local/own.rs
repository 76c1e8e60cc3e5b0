//! The addresses that are raddle's own, as workers look them up.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::wire::{InterfaceAddress, Ip4Address, Ip6Address};

/// The own addresses of all interfaces at one moment. Immutable: a change makes a new one.
#[derive(Debug, Default)]
pub struct OwnAddresses {
    all: HashSet<IpAddr>,
    interfaces: HashMap<InterfaceIndex, Interface>,
    /// Any address that reaches far, for where the interface has none.
    fallback4: Option<Ip4Address>,
    fallback6: Option<Ip6Address>,
}

#[derive(Debug, Default)]
struct Interface {
    ip4: Vec<(Ip4Address, u8)>,
    ip6: Vec<(Ip6Address, u8)>,
}

impl OwnAddresses {
    /// From all addresses, with their interfaces. The first of several that serve as well is the one that is used.
    pub fn new(addresses: impl IntoIterator<Item = (InterfaceIndex, InterfaceAddress)>) -> Self {
        let mut own = Self::default();
        for (index, address) in addresses {
            own.all.insert(address.address());
            let interface = own.interfaces.entry(index).or_default();
            match address.address() {
                IpAddr::V4(ip) => {
                    own.fallback4.get_or_insert(ip.into());
                    interface.ip4.push((ip.into(), address.length()));
                }
                IpAddr::V6(ip) => {
                    let ip = Ip6Address::from(ip);
                    if !ip.is_link_local() {
                        own.fallback6.get_or_insert(ip);
                    }
                    interface.ip6.push((ip, address.length()));
                }
            }
        }
        own
    }

    /// The addresses of one interface.
    pub fn of_interface(&self, interface: InterfaceIndex) -> Vec<InterfaceAddress> {
        let ip4 = self.ip4(interface).iter().map(|(ip, length)| (ip.to_std().into(), *length));
        let ip6 = self.ip6(interface).iter().map(|(ip, length)| (ip.to_std().into(), *length));
        // Lengths are those of addresses that were valid.
        ip4.chain(ip6).filter_map(|(ip, length)| InterfaceAddress::new(ip, length).ok()).collect()
    }

    /// Whether the address is own, on whatever interface.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.all.contains(&address)
    }

    /// Whether the address is this interface's own.
    pub fn is_own_on4(&self, interface: InterfaceIndex, address: Ip4Address) -> bool {
        self.ip4(interface).iter().any(|(own, _)| *own == address)
    }

    /// Whether the address is this interface's own.
    pub fn is_own_on6(&self, interface: InterfaceIndex, address: Ip6Address) -> bool {
        self.ip6(interface).iter().any(|(own, _)| *own == address)
    }

    /// Whether an own address of the interface is in the group to which this solicited-node address belongs.
    pub fn is_in_solicited_node_group(&self, interface: InterfaceIndex, group: Ip6Address) -> bool {
        self.ip6(interface).iter().any(|(own, _)| own.solicited_node() == group)
    }

    /// Whether the address lies in a network of the interface (and not at its ends, which are no hosts).
    pub fn is_on_link4(&self, interface: InterfaceIndex, address: Ip4Address) -> bool {
        self.ip4(interface).iter().any(|&(own, length)| {
            common_bits4(own, address) >= length && !(length <= 30 && is_end_of_network(address, length))
        })
    }

    /// Whether the address is link-local or lies in a network of the interface.
    pub fn is_on_link6(&self, interface: InterfaceIndex, address: Ip6Address) -> bool {
        let networks = self.ip6(interface);
        (address.is_link_local() && !networks.is_empty())
            || networks.iter().any(|&(own, length)| common_bits6(own, address) >= length)
    }

    /// Whether the address is the limited broadcast or a directed one of the interface's networks (RFC 922).
    pub fn is_broadcast(&self, interface: InterfaceIndex, address: Ip4Address) -> bool {
        address == Ip4Address::BROADCAST
            || self.ip4(interface).iter().any(|&(own, length)| {
                length <= 30 && common_bits4(own, address) >= length && is_end_of_network(address, length)
            })
    }

    /// The own address that suits packets to `toward` best: the interface's one on the same network or else nearest to
    /// it, or else one of another interface (RFC 1812 §4.3.2.4).
    pub fn source4(&self, interface: InterfaceIndex, toward: Ip4Address) -> Option<Ip4Address> {
        let on_interface = first_max(self.ip4(interface), |(own, length)| {
            let common = common_bits4(*own, toward);
            (common >= *length, common)
        });
        on_interface.map(|(own, _)| *own).or(self.fallback4)
    }

    /// As [`Self::source4`] (RFC 6724 §5, rules 2 and 8): link-local towards link-local, far-reaching towards the rest.
    pub fn source6(&self, interface: InterfaceIndex, toward: Ip6Address) -> Option<Ip6Address> {
        let local = toward.is_link_local() || toward.is_link_scope_multicast();
        let best = first_max(self.ip6(interface), |(own, _)| {
            (own.is_link_local() == local, common_bits6(*own, toward))
        });
        match best {
            Some((own, _)) if own.is_link_local() == local || self.fallback6.is_none() => Some(*own),
            Some((own, _)) if local => Some(*own),
            Some(_) | None => self.fallback6,
        }
    }

    fn ip4(&self, interface: InterfaceIndex) -> &[(Ip4Address, u8)] {
        self.interfaces.get(&interface).map_or(&[], |interface| &interface.ip4)
    }

    fn ip6(&self, interface: InterfaceIndex) -> &[(Ip6Address, u8)] {
        self.interfaces.get(&interface).map_or(&[], |interface| &interface.ip6)
    }
}

fn common_bits4(left: Ip4Address, right: Ip4Address) -> u8 {
    (left.to_bits() ^ right.to_bits()).leading_zeros() as u8
}

fn common_bits6(left: Ip6Address, right: Ip6Address) -> u8 {
    (left.to_bits() ^ right.to_bits()).leading_zeros() as u8
}

/// Whether all host bits are zeros or all are ones; `length` is at most 30.
fn is_end_of_network(address: Ip4Address, length: u8) -> bool {
    let hosts = u32::MAX >> length;
    let host = address.to_bits() & hosts;
    host == 0 || host == hosts
}

/// The first of the items with the highest rank.
fn first_max<T, R: Ord>(items: &[T], rank: impl Fn(&T) -> R) -> Option<&T> {
    items.iter().rev().max_by_key(|item| rank(item))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH0: InterfaceIndex = InterfaceIndex(1);
    const ETH1: InterfaceIndex = InterfaceIndex(2);
    const BARE: InterfaceIndex = InterfaceIndex(3);

    fn own() -> OwnAddresses {
        let list = [
            (ETH0, "192.0.2.1/24"),
            (ETH0, "198.51.100.1/30"),
            (ETH0, "fe80::1/64"),
            (ETH0, "2001:db8:1::1/64"),
            (ETH0, "2001:db8:2::1/64"),
            (ETH1, "203.0.113.7/31"),
            (ETH1, "fe80::2/64"),
        ];
        // The texts are the test's own.
        OwnAddresses::new(list.map(|(interface, text)| (interface, text.parse().unwrap())))
    }

    fn ip4(text: &str) -> Ip4Address {
        text.parse::<std::net::Ipv4Addr>().unwrap().into()
    }

    fn ip6(text: &str) -> Ip6Address {
        text.parse::<std::net::Ipv6Addr>().unwrap().into()
    }

    #[test]
    fn knows_own_addresses_by_interface_and_overall() {
        let own = own();
        assert!(own.is_own("203.0.113.7".parse().unwrap()) && !own.is_own("203.0.113.6".parse().unwrap()));
        assert!(own.is_own_on4(ETH0, ip4("192.0.2.1")) && !own.is_own_on4(ETH1, ip4("192.0.2.1")));
        assert!(own.is_own_on6(ETH1, ip6("fe80::2")) && !own.is_own_on6(ETH0, ip6("fe80::2")));
        assert!(own.is_in_solicited_node_group(ETH1, ip6("ff02::1:ff00:2")));
        assert!(!own.is_in_solicited_node_group(ETH1, ip6("ff02::1:ff00:1")));
    }

    #[test]
    fn tells_hosts_of_a_network_from_its_ends() {
        let own = own();
        for (address, on_link, broadcast) in [
            ("192.0.2.0", false, true),
            ("192.0.2.255", false, true),
            ("192.0.2.254", true, false),
            ("192.0.3.1", false, false),
            ("198.51.100.2", true, false),
            ("198.51.100.3", false, true),
            ("255.255.255.255", false, true),
        ] {
            assert_eq!(own.is_on_link4(ETH0, ip4(address)), on_link, "{address}");
            assert_eq!(own.is_broadcast(ETH0, ip4(address)), broadcast, "{address}");
        }
        // RFC 3021: a /31 has two hosts and no broadcast.
        assert!(own.is_on_link4(ETH1, ip4("203.0.113.6")) && !own.is_broadcast(ETH1, ip4("203.0.113.6")));
        assert!(own.is_on_link6(ETH1, ip6("fe80::99")) && !own.is_on_link6(ETH1, ip6("2001:db8:1::9")));
        assert!(own.is_on_link6(ETH0, ip6("2001:db8:1::9")) && !own.is_on_link6(BARE, ip6("fe80::9")));
    }

    // RFC 1812 §4.3.2.4, RFC 6724 §5
    #[test]
    fn chooses_the_source_nearest_to_the_destination() {
        let own = own();
        for (interface, toward, expected) in [
            (ETH0, "192.0.2.77", "192.0.2.1"),
            (ETH0, "198.51.100.2", "198.51.100.1"),
            (ETH1, "8.8.8.8", "203.0.113.7"),
            (BARE, "8.8.8.8", "192.0.2.1"),
        ] {
            assert_eq!(own.source4(interface, ip4(toward)), Some(ip4(expected)), "{toward}");
        }
        for (interface, toward, expected) in [
            (ETH0, "fe80::99", "fe80::1"),
            (ETH0, "2001:db8:2::9", "2001:db8:2::1"),
            (ETH0, "2001:4860::1", "2001:db8:1::1"),
            (ETH0, "ff02::1", "fe80::1"),
            (ETH1, "2001:db8:2::9", "2001:db8:1::1"),
            (ETH1, "fe80::9", "fe80::2"),
        ] {
            assert_eq!(own.source6(interface, ip6(toward)), Some(ip6(expected)), "{toward}");
        }
        assert_eq!(OwnAddresses::default().source4(ETH0, ip4("192.0.2.1")), None);
        assert_eq!(OwnAddresses::default().source6(ETH0, ip6("fe80::1")), None);
    }
}
