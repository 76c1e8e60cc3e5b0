//! The addresses that are raddle's own, as workers look them up.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use foldhash::fast::RandomState;
use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::wire::{InterfaceAddress, Ip4Address, Ip6Address, IpPrefix};

/// What routes say to be on the links of interfaces, though it is on none of their own networks.
pub type OnLink = HashMap<InterfaceIndex, Vec<IpPrefix>>;

use super::proxy::Proxy;

/// Looked up for each packet for raddle itself. Who sends packets does not choose what is in them, so a quick hash is safe.
type Set<T> = HashSet<T, RandomState>;
type Map<K, V> = HashMap<K, V, RandomState>;

/// The own addresses of all interfaces at one moment. Immutable: a change makes a new one.
#[derive(Debug, Default)]
pub struct OwnAddresses {
    all: Set<IpAddr>,
    /// The subnet-router anycast addresses of all networks.
    anycast: Set<Ip6Address>,
    /// By the FIB index of their routing table.
    in_table: Set<(u32, IpAddr)>,
    interfaces: Map<InterfaceIndex, Interface>,
    /// FIB indices of interfaces that are bound to another table than the default one.
    bindings: Map<InterfaceIndex, u32>,
    /// What routes say to be on the link of an interface beside its own networks.
    on_link: OnLink,
    /// Any address of the table that reaches far, for where the interface has none.
    fallback4: HashMap<u32, Ip4Address>,
    fallback6: HashMap<u32, Ip6Address>,
}

#[derive(Debug, Default)]
struct Interface {
    ip4: Vec<(Ip4Address, u8)>,
    ip6: Vec<(Ip6Address, u8)>,
    /// Addresses that are being tried for duplicates: not in use, but word of them is of interest.
    tentative: Vec<IpAddr>,
    proxy: Proxy,
}

impl OwnAddresses {
    /// From all addresses, with their interfaces. The first of several that serve as well is the one that is used.
    pub fn new(addresses: impl IntoIterator<Item = (InterfaceIndex, InterfaceAddress)>) -> Self {
        Self::in_tables(addresses, HashMap::new(), OnLink::new())
    }

    /// As [`Self::new`], with the FIB indices of interfaces that are bound to another table than the default one, and what
    /// routes say to be on links.
    pub fn in_tables(
        addresses: impl IntoIterator<Item = (InterfaceIndex, InterfaceAddress)>,
        bindings: HashMap<InterfaceIndex, u32>,
        on_link: OnLink,
    ) -> Self {
        let mut own = Self { bindings: bindings.into_iter().collect(), on_link, ..Self::default() };
        for (index, address) in addresses {
            let fib = own.fib_of(index);
            own.all.insert(address.address());
            own.anycast.extend(address.subnet_router_anycast().map(Ip6Address::from));
            own.in_table.insert((fib, address.address()));
            let interface = own.interfaces.entry(index).or_default();
            match address.address() {
                IpAddr::V4(ip) => {
                    own.fallback4.entry(fib).or_insert_with(|| ip.into());
                    interface.ip4.push((ip.into(), address.length()));
                }
                IpAddr::V6(ip) => {
                    let ip = Ip6Address::from(ip);
                    if !ip.is_link_local() {
                        own.fallback6.entry(fib).or_insert(ip);
                    }
                    interface.ip6.push((ip, address.length()));
                }
            }
        }
        own
    }

    /// The same, with addresses that are being tried for duplicates.
    #[must_use]
    pub fn with_tentative(mut self, addresses: impl IntoIterator<Item = (InterfaceIndex, IpAddr)>) -> Self {
        for (index, address) in addresses {
            self.interfaces.entry(index).or_default().tentative.push(address);
        }
        self
    }

    /// The same, and what is answered for besides.
    #[must_use]
    pub fn with_proxies(mut self, proxies: impl IntoIterator<Item = (InterfaceIndex, Proxy)>) -> Self {
        for (index, proxy) in proxies {
            self.interfaces.entry(index).or_default().proxy = proxy;
        }
        self
    }

    /// Whether the address is being tried for duplicates on this interface.
    pub fn is_tentative_on(&self, interface: InterfaceIndex, address: IpAddr) -> bool {
        self.interfaces.get(&interface).is_some_and(|interface| interface.tentative.contains(&address))
    }

    /// Whether addresses of the family are being tried on this interface, and none of them is in use yet: packets that leave
    /// there wait rather than go with another interface's address.
    pub fn awaits_address(&self, interface: InterfaceIndex, ip4: bool) -> bool {
        self.interfaces.get(&interface).is_some_and(|interface| {
            let in_use = if ip4 { !interface.ip4.is_empty() } else { !interface.ip6.is_empty() };
            !in_use && interface.tentative.iter().any(|address| address.is_ipv4() == ip4)
        })
    }

    /// What is answered for on this interface besides own addresses; `None`: nothing.
    pub fn proxy(&self, interface: InterfaceIndex) -> Option<&Proxy> {
        self.interfaces.get(&interface).map(|interface| &interface.proxy).filter(|proxy| !proxy.is_empty())
    }

    /// The addresses of one interface.
    pub fn of_interface(&self, interface: InterfaceIndex) -> Vec<InterfaceAddress> {
        let ip4 = self.ip4(interface).iter().map(|(ip, length)| (ip.to_std().into(), *length));
        let ip6 = self.ip6(interface).iter().map(|(ip, length)| (ip.to_std().into(), *length));
        // Lengths are those of addresses that were valid.
        ip4.chain(ip6).filter_map(|(ip, length)| InterfaceAddress::new(ip, length).ok()).collect()
    }

    /// Whether the address is own in the table of this FIB index.
    pub fn is_own_in(&self, fib: u32, address: IpAddr) -> bool {
        self.in_table.contains(&(fib, address))
    }

    /// Whether the address is own in the routing table of the interface.
    pub fn is_own_near(&self, interface: InterfaceIndex, address: IpAddr) -> bool {
        self.is_own_in(self.fib_of(interface), address)
    }

    /// Whether the address is own, on whatever interface, in whatever table.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.all.contains(&address)
    }

    /// Whether packets to the address are for any router of a network, of which raddle is one (RFC 4291 §2.6.1).
    pub fn is_anycast(&self, address: Ip6Address) -> bool {
        self.anycast.contains(&address)
    }

    /// Whether the address is that of any router of one of the interface's networks.
    pub fn is_anycast_on(&self, interface: InterfaceIndex, address: Ip6Address) -> bool {
        self.is_anycast(address) && self.anycast_of(interface).any(|anycast| anycast == address)
    }

    fn anycast_of(&self, interface: InterfaceIndex) -> impl Iterator<Item = Ip6Address> {
        let anycast = |&(own, length): &(Ip6Address, u8)| {
            // The length is that of an address that was valid.
            InterfaceAddress::new(own.to_std().into(), length).ok()?.subnet_router_anycast()
        };
        self.ip6(interface).iter().filter_map(anycast).map(Ip6Address::from)
    }

    /// Whether the address is this interface's own.
    pub fn is_own_on4(&self, interface: InterfaceIndex, address: Ip4Address) -> bool {
        self.ip4(interface).iter().any(|(own, _)| *own == address)
    }

    /// Whether the address is this interface's own.
    pub fn is_own_on6(&self, interface: InterfaceIndex, address: Ip6Address) -> bool {
        self.ip6(interface).iter().any(|(own, _)| *own == address)
    }

    /// Whether word that goes to this solicited-node group is of interest: an own address of the interface is in it, in use
    /// or being tried for duplicates, or whatever address is in it may be answered for.
    pub fn is_in_solicited_node_group(&self, interface: InterfaceIndex, group: Ip6Address) -> bool {
        let tentative = |interface: &Interface| {
            interface
                .tentative
                .iter()
                .any(|address| matches!(address, IpAddr::V6(ip) if Ip6Address::from(*ip).solicited_node() == group))
        };
        self.ip6(interface).iter().any(|(own, _)| own.solicited_node() == group)
            || self.anycast_of(interface).any(|anycast| anycast.solicited_node() == group)
            || self
                .interfaces
                .get(&interface)
                .is_some_and(|interface| tentative(interface) || interface.proxy.has_ip6())
    }

    /// Whether the address lies in a network of the interface (and not at its ends, which are no hosts), or a route says that it
    /// is on its link.
    pub fn is_on_link4(&self, interface: InterfaceIndex, address: Ip4Address) -> bool {
        self.ip4(interface).iter().any(|&(own, length)| {
            common_bits4(own, address) >= length && !(length <= 30 && is_end_of_network(address, length))
        }) || self.is_routed_to_link(interface, address.to_std().into())
    }

    /// Whether both addresses lie in one network of the interface, and are not at its ends.
    pub fn share_network4(&self, interface: InterfaceIndex, one: Ip4Address, other: Ip4Address) -> bool {
        self.ip4(interface).iter().any(|&(own, length)| {
            [one, other].into_iter().all(|address| {
                common_bits4(own, address) >= length && !(length <= 30 && is_end_of_network(address, length))
            })
        })
    }

    /// Whether the address is link-local or lies in a network of the interface, or a route says that it is on its link.
    pub fn is_on_link6(&self, interface: InterfaceIndex, address: Ip6Address) -> bool {
        let networks = self.ip6(interface);
        (address.is_link_local() && !networks.is_empty())
            || networks.iter().any(|&(own, length)| common_bits6(own, address) >= length)
            || self.is_routed_to_link(interface, address.to_std().into())
    }

    /// Whether the address is the limited broadcast or a directed one of the interface's networks (RFC 922).
    pub fn is_broadcast(&self, interface: InterfaceIndex, address: Ip4Address) -> bool {
        address == Ip4Address::BROADCAST
            || self.ip4(interface).iter().any(|&(own, length)| {
                length <= 30 && common_bits4(own, address) >= length && is_end_of_network(address, length)
            })
    }

    /// The own address that suits packets to `toward` best: the interface's one on the same network or else nearest to
    /// it, or else one of another interface of its table (RFC 1812 §4.3.2.4).
    pub fn source4(&self, interface: InterfaceIndex, toward: Ip4Address) -> Option<Ip4Address> {
        self.source4_in(self.fib_of(interface), interface, toward)
    }

    /// As [`Self::source4`], where the packet is looked up in another table than that of the interface.
    pub fn source4_in(&self, fib: u32, interface: InterfaceIndex, toward: Ip4Address) -> Option<Ip4Address> {
        let on_interface = first_max(self.ip4(interface), |(own, length)| {
            let common = common_bits4(*own, toward);
            (common >= *length, common)
        });
        on_interface.map(|(own, _)| *own).or_else(|| self.fallback4.get(&fib).copied())
    }

    /// As [`Self::source4`] (RFC 6724 §5, rules 2 and 8): link-local towards link-local, far-reaching towards the rest.
    pub fn source6(&self, interface: InterfaceIndex, toward: Ip6Address) -> Option<Ip6Address> {
        self.source6_in(self.fib_of(interface), interface, toward)
    }

    /// As [`Self::source6`], where the packet is looked up in another table than that of the interface.
    pub fn source6_in(&self, fib: u32, interface: InterfaceIndex, toward: Ip6Address) -> Option<Ip6Address> {
        let fallback = self.fallback6.get(&fib).copied();
        let local = toward.is_link_local() || toward.is_link_scope_multicast();
        let best = first_max(self.ip6(interface), |(own, _)| {
            (own.is_link_local() == local, common_bits6(*own, toward))
        });
        match best {
            Some((own, _)) if own.is_link_local() == local || fallback.is_none() => Some(*own),
            Some((own, _)) if local => Some(*own),
            Some(_) | None => fallback,
        }
    }

    fn is_routed_to_link(&self, interface: InterfaceIndex, address: IpAddr) -> bool {
        let networks = self.on_link.get(&interface);
        networks.is_some_and(|networks| networks.iter().any(|network| network.contains(address)))
    }

    fn fib_of(&self, interface: InterfaceIndex) -> u32 {
        self.bindings.get(&interface).copied().unwrap_or(0)
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

    // RFC 4862 §5.4: a tentative address is nobody's source or destination, but its group is listened to.
    #[test]
    fn tentative_addresses_are_not_own_but_heard_of() {
        let own = own().with_tentative([(ETH1, "2001:db8:5::77".parse().unwrap())]);
        assert!(!own.is_own("2001:db8:5::77".parse().unwrap()));
        assert!(!own.is_own_on6(ETH1, ip6("2001:db8:5::77")));
        assert!(own.is_tentative_on(ETH1, "2001:db8:5::77".parse().unwrap()));
        assert!(!own.is_tentative_on(ETH0, "2001:db8:5::77".parse().unwrap()));
        assert!(own.is_in_solicited_node_group(ETH1, ip6("ff02::1:ff00:77")));
        assert!(!own.is_in_solicited_node_group(ETH0, ip6("ff02::1:ff00:77")));
        assert_eq!(own.source6(ETH1, ip6("2001:db8:5::1")), Some(ip6("2001:db8:1::1")));
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
        for (other, shared) in [("192.0.2.7", true), ("192.0.2.255", false), ("198.51.100.2", false)] {
            assert_eq!(own.share_network4(ETH0, ip4("192.0.2.9"), ip4(other)), shared, "{other}");
        }
        // RFC 3021: a /31 has two hosts and no broadcast.
        assert!(own.is_on_link4(ETH1, ip4("203.0.113.6")) && !own.is_broadcast(ETH1, ip4("203.0.113.6")));
        assert!(own.is_on_link6(ETH1, ip6("fe80::99")) && !own.is_on_link6(ETH1, ip6("2001:db8:1::9")));
        assert!(own.is_on_link6(ETH0, ip6("2001:db8:1::9")) && !own.is_on_link6(BARE, ip6("fe80::9")));
    }

    #[test]
    fn addresses_are_own_in_the_table_of_their_interface() {
        let list = [(ETH0, "192.0.2.1/24"), (ETH1, "192.0.2.1/24"), (ETH1, "2001:db8::1/64")];
        let list = list.map(|(interface, text)| (interface, text.parse().unwrap()));
        let own = OwnAddresses::in_tables(list, HashMap::from([(ETH1, 7), (BARE, 7)]), OnLink::new());
        let only_there: IpAddr = "2001:db8::1".parse().unwrap();
        assert!(own.is_own(only_there) && own.is_own_in(7, only_there) && !own.is_own_in(0, only_there));
        assert!(own.is_own_near(ETH1, only_there) && !own.is_own_near(ETH0, only_there));
        assert_eq!(own.source6(BARE, ip6("2001:db8:9::9")), Some(ip6("2001:db8::1")), "one of its table");
        assert_eq!(own.source6(ETH0, ip6("2001:db8:9::9")), None, "none of another table");
    }

    #[test]
    fn what_a_route_says_to_be_on_the_link_is() {
        let networks = vec!["203.0.113.254/32".parse().unwrap(), "2001:db8:9::/64".parse().unwrap()];
        let own = OwnAddresses::in_tables([], HashMap::new(), OnLink::from([(ETH0, networks)]));
        assert!(own.is_on_link4(ETH0, ip4("203.0.113.254")) && !own.is_on_link4(ETH1, ip4("203.0.113.254")));
        assert!(!own.is_on_link4(ETH0, ip4("203.0.113.253")) && own.is_on_link6(ETH0, ip6("2001:db8:9::9")));
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
