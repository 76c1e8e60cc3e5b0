//! What the sections of a configuration say of each other: names that must exist, addresses that must be unique.
//!
//! Values are typed by now; positions come from the tree.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use raddle_plugin_api::config::{Problem, Step, Tree, nearest};
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::MacAddress;

use super::model::{Config, InterfaceSection};
use crate::net::mac_filter::{MAX_ADDRESSES, check_address};
use crate::net::router_advertisement::Mistake;

/// Largest number of worker threads.
const MAX_WORKERS: u32 = 255;
/// Bounds of the buffer pool.
const BUFFER_COUNTS: std::ops::RangeInclusive<u32> = 1024..=(1 << 24);
/// The smallest MTU of an IPv4 link (RFC 791 §3.2: a module forwards 68 octets unfragmented) and the largest there is.
const MTUS: std::ops::RangeInclusive<u32> = 68..=65_535;
/// Bounds of messages a second and at once.
const ICMP_RATES: std::ops::RangeInclusive<u32> = 1..=1_000_000;
/// Prefixes besides the registry's.
const MAX_MARTIANS: usize = 4096;
/// The smallest MTU of an IPv6 link (RFC 8200 §5).
const IP6_MIN_MTU: u32 = 1280;

/// Finds all that is wrong between the sections.
pub(super) fn check(tree: &Tree<'_>, config: &Config, problems: &mut Vec<Problem>) {
    let mut checker = Checker { tree, names: tree.keys(&[Step::Key("interface")]), problems };
    checker.runtime(config);
    checker.plugins(config);
    checker.icmp(config);
    checker.martians(config);
    checker.tables(config);
    checker.interfaces(config);
    checker.routes(config);
    checker.neighbors(config);
}

struct Checker<'c> {
    tree: &'c Tree<'c>,
    /// Names of the interfaces of the file, also of those that have mistakes.
    names: Vec<&'c str>,
    problems: &'c mut Vec<Problem>,
}

impl Checker<'_> {
    fn runtime(&mut self, config: &Config) {
        let runtime = &config.runtime;
        let at = |key| [Step::Key("runtime"), Step::Key(key)];
        if runtime.workers > MAX_WORKERS {
            self.report(
                &at("workers"),
                format!("{} workers are too many; at most {MAX_WORKERS}", runtime.workers),
            );
        }
        if !runtime.cores.is_empty() && (runtime.cores.len() as u64) < u64::from(runtime.workers) {
            let message =
                format!("{} cores are too few for {} workers", runtime.cores.len(), runtime.workers);
            self.report(&at("cores"), message);
        }
        let mut seen = HashSet::new();
        for (index, core) in runtime.cores.iter().enumerate() {
            let path = [Step::Key("runtime"), Step::Key("cores"), Step::Index(index)];
            if !seen.insert(core) {
                self.report(&path, format!("core {core} is listed twice"));
            } else if runtime.main_core == Some(*core) {
                self.report(&path, format!("core {core} is also `main-core`"));
            }
        }
        if !BUFFER_COUNTS.contains(&config.buffers.count) {
            let message =
                format!("expected a number from {} to {}", BUFFER_COUNTS.start(), BUFFER_COUNTS.end());
            self.report(&[Step::Key("buffers"), Step::Key("count")], message);
        }
    }

    fn plugins(&mut self, config: &Config) {
        for (index, key) in config.plugins.trusted_keys.iter().enumerate() {
            if let Err(error) = crate::plugin::Trust::of(std::slice::from_ref(key)) {
                let path = [Step::Key("plugins"), Step::Key("trusted-keys"), Step::Index(index)];
                self.report(&path, error.to_string());
            }
        }
        let plugins = &config.plugins;
        if !plugins.disable.is_empty() && !plugins.only.is_empty() {
            let path = [Step::Key("plugins"), Step::Key("only")];
            let message = "`only` and `disable` exclude each other";
            self.problems.push(self.tree.key_problem(&path, message));
        }
        for (index, name) in
            plugins.require.iter().enumerate().filter(|(_, name)| plugins.disable.contains(name))
        {
            let path = [Step::Key("plugins"), Step::Key("require"), Step::Index(index)];
            self.report(&path, format!("plugin `{name}` is also in `disable`"));
        }
    }

    fn tables(&mut self, config: &Config) {
        let mut seen: HashMap<u32, &str> = HashMap::new();
        for (name, table) in &config.tables {
            let path = [Step::Key("table"), Step::Key(name)];
            let id = [path[0], path[1], Step::Key("id")];
            if name == TableKey::DEFAULT_NAME || name.starts_with(|c: char| c.is_ascii_digit()) {
                let message = format!("`{name}` cannot be the name of a routing table");
                self.problems.push(self.tree.key_problem(&path, message));
            }
            if table.id == 0 || table.id == u32::MAX {
                self.report(&id, format!("expected a number from 1 to {}", u32::MAX - 1));
            } else if let Some(other) = seen.insert(table.id, name) {
                self.report(&id, format!("routing table `{other}` has number {} too", table.id));
            }
        }
    }

    /// The number of a table that is named, which must be one of the file or the default one.
    fn table(&mut self, config: &Config, path: &[Step<'_>], key: &TableKey) -> Option<u32> {
        let found = match key {
            key if key.is_default() => Some(0),
            TableKey::Id(id) => config.tables.values().any(|table| table.id == *id).then_some(*id),
            TableKey::Name(name) => config.tables.get(name).map(|table| table.id),
        };
        if found.is_none() {
            let near = match key {
                TableKey::Name(name) => nearest(name, config.tables.keys().map(String::as_str)),
                TableKey::Id(_) => None,
            };
            let problem = self.tree.problem(path, format!("routing table `{key}` is not defined"));
            self.problems.push(problem.suggest(near));
        }
        found
    }

    fn icmp(&mut self, config: &Config) {
        let icmp = &config.icmp;
        for (key, number) in [
            ("rate", icmp.rate),
            ("burst", icmp.burst),
            ("redirect-rate", icmp.redirect_rate),
            ("reset-rate", icmp.reset_rate),
        ] {
            if !ICMP_RATES.contains(&number) {
                let message =
                    format!("expected a number from {} to {}", ICMP_RATES.start(), ICMP_RATES.end());
                self.report(&[Step::Key("icmp"), Step::Key(key)], message);
            }
        }
    }

    fn martians(&mut self, config: &Config) {
        let martians = &config.martians;
        let mut seen = HashSet::new();
        for (key, list) in [("allow", &martians.allow), ("deny", &martians.deny)] {
            for (index, prefix) in list.iter().enumerate().filter(|(_, prefix)| !seen.insert(**prefix)) {
                let path = [Step::Key("martians"), Step::Key(key), Step::Index(index)];
                self.report(&path, format!("prefix {prefix} is listed twice"));
            }
        }
        if seen.len() > MAX_MARTIANS {
            let message = format!("{} prefixes are too many; at most {MAX_MARTIANS}", seen.len());
            self.report(&[Step::Key("martians")], message);
        }
    }

    fn interfaces(&mut self, config: &Config) {
        let mut addresses: HashMap<(Option<u32>, IpAddr), &str> = HashMap::new();
        for section in &config.interfaces {
            self.link(section);
            let (name, common) = (section.name.as_str(), &section.common);
            let table = [Step::Key("interface"), Step::Key(name), Step::Key("table")];
            let table = self.table(config, &table, &common.table);
            for (index, prefix) in common.addresses.iter().enumerate() {
                let path =
                    [Step::Key("interface"), Step::Key(name), Step::Key("addresses"), Step::Index(index)];
                let address = prefix.address();
                if address.is_multicast() || address.is_unspecified() {
                    self.report(&path, format!("`{address}` cannot be the address of an interface"));
                }
                // Link-local addresses are unique on their link alone (RFC 4291 §2.5.6, RFC 3927).
                let link_local = match address {
                    IpAddr::V4(address) => address.is_link_local(),
                    IpAddr::V6(address) => address.is_unicast_link_local(),
                };
                match addresses.get(&(table, address)) {
                    Some(owner) if *owner == name => {
                        self.report(&path, format!("address {address} is listed twice"));
                    }
                    Some(owner) if !link_local => {
                        self.report(
                            &path,
                            format!("address {address} is already that of interface `{owner}`"),
                        );
                    }
                    _ => {
                        addresses.insert((table, address), name);
                    }
                }
            }
        }
    }

    fn link(&mut self, section: &InterfaceSection) {
        let (name, common) = (section.name.as_str(), &section.common);
        let at = |key| [Step::Key("interface"), Step::Key(name), Step::Key(key)];
        if let Some(mtu) = common.mtu {
            let has_ip6 = common.addresses.iter().any(|prefix| prefix.address().is_ipv6());
            if !MTUS.contains(&mtu) {
                self.report(&at("mtu"), format!("expected a number from {} to {}", MTUS.start(), MTUS.end()));
            } else if has_ip6 && mtu < IP6_MIN_MTU {
                self.report(
                    &at("mtu"),
                    format!("an interface with IPv6 addresses needs an mtu of {IP6_MIN_MTU} or more"),
                );
            }
        }
        if let Some(mac) = common.mac {
            self.station(&at("mac"), mac);
        }
        self.mac_addresses(section);
        if let Some(peer) = &common.l2_xconnect {
            if peer == name {
                self.report(&at("l2-xconnect"), format!("interface `{name}` cannot be connected to itself"));
            } else {
                self.interface(&at("l2-xconnect"), peer);
            }
        }
        self.router_advertisement(section);
        let mut seen = BTreeSet::new();
        for (index, feature) in
            common.features.iter().enumerate().filter(|(_, feature)| !seen.insert(*feature))
        {
            let [interface, name, features] = at("features");
            let path = [interface, name, features, Step::Index(index)];
            self.report(&path, format!("feature `{feature}` is listed twice"));
        }
    }

    fn mac_addresses(&mut self, section: &InterfaceSection) {
        let list = [Step::Key("interface"), Step::Key(&section.name), Step::Key("mac-addresses")];
        let macs = &section.common.mac_addresses;
        if macs.len() > MAX_ADDRESSES {
            self.report(&list, format!("{} addresses are too many; at most {MAX_ADDRESSES}", macs.len()));
        }
        let mut seen = HashSet::new();
        for (index, &mac) in macs.iter().enumerate() {
            let path = [list[0], list[1], list[2], Step::Index(index)];
            if let Err(message) = check_address(mac) {
                self.report(&path, message);
            } else if !seen.insert(mac) {
                self.report(&path, format!("address {mac} is listed twice"));
            }
        }
    }

    fn router_advertisement(&mut self, section: &InterfaceSection) {
        let Some(config) = &section.common.router_advertisement else { return };
        let at = [Step::Key("interface"), Step::Key(&section.name), Step::Key("router-advertisement")];
        for Mistake { path, message } in config.mistakes() {
            let path: Vec<Step<'_>> = at.iter().copied().chain(path).collect();
            self.report(&path, message);
        }
    }

    fn routes(&mut self, config: &Config) {
        let mut seen = HashSet::new();
        for (index, route) in config.routes.iter().enumerate() {
            let element = [Step::Key("route"), Step::Index(index)];
            let at = |key| [element[0], element[1], Step::Key(key)];
            let table = self.table(config, &at("table"), &route.table);
            if let Some(via) = &route.via_table {
                let target = self.table(config, &at("via-table"), via);
                if target.is_some() && target == table {
                    self.report(&at("via-table"), "a route cannot lead to its own table");
                }
                if route.kind.is_some() || route.via.is_some() || route.interface.is_some() {
                    let message = "a route into another table has no next hop: `via`, `interface` and `type` do not go with it";
                    self.report(&at("via-table"), message);
                }
            }
            if let Some(interface) = &route.interface {
                self.interface(&at("interface"), interface);
            }
            if route.weight == 0 {
                self.report(&at("weight"), "expected a number from 1 to 255");
            }
            match (&route.kind, &route.via, &route.interface) {
                (Some(_), None, None) | (None, Some(_), _) | (None, None, Some(_)) => {}
                (Some(_), _, _) => {
                    let message =
                        "a route with a `type` leads nowhere: `via` and `interface` do not go with it";
                    self.report(&at("type"), message);
                }
                (None, None, None) if route.via_table.is_some() => {}
                (None, None, None) => {
                    self.report(&element, "a route needs `via`, `interface`, `via-table`, or a `type`");
                }
            }
            if let Some(via) = &route.via {
                let link_local = matches!(via, IpAddr::V6(address) if address.is_unicast_link_local());
                if via.is_ipv4() != route.prefix.network().is_ipv4() {
                    self.report(
                        &at("via"),
                        format!("next hop {via} is of another address family than {}", route.prefix),
                    );
                } else if via.is_multicast() || via.is_unspecified() {
                    self.report(&at("via"), format!("`{via}` cannot be a next hop"));
                } else if link_local && route.interface.is_none() {
                    self.report(
                        &at("via"),
                        format!("next hop {via} is link-local: `interface` must say on which link"),
                    );
                }
            }
            let path = (table, route.prefix, route.via, route.interface.as_deref());
            if !seen.insert(path) {
                self.report(&element, format!("the same path to {} is configured twice", route.prefix));
            }
        }
    }

    fn neighbors(&mut self, config: &Config) {
        let mut seen = HashSet::new();
        for (index, neighbor) in config.neighbors.iter().enumerate() {
            let at = |key| [Step::Key("neighbor"), Step::Index(index), Step::Key(key)];
            self.interface(&at("interface"), &neighbor.interface);
            self.station(&at("mac"), neighbor.mac);
            let address = neighbor.address;
            if address.is_multicast() || address.is_unspecified() {
                self.report(&at("address"), format!("`{address}` cannot be the address of a neighbour"));
            }
            if !seen.insert((neighbor.interface.as_str(), address)) {
                let message =
                    format!("neighbour {address} of interface `{}` is configured twice", neighbor.interface);
                self.report(&at("address"), message);
            }
        }
    }

    /// An interface that is named must be one of the file.
    fn interface(&mut self, path: &[Step<'_>], name: &str) {
        if !self.names.contains(&name) {
            let near = nearest(name, self.names.iter().copied());
            let problem = self.tree.problem(path, format!("interface `{name}` is not defined"));
            self.problems.push(problem.suggest(near));
        }
    }

    /// A hardware address of one station: the group bit is clear (IEEE 802), and it is not all zero.
    fn station(&mut self, path: &[Step<'_>], mac: MacAddress) {
        if mac.is_multicast() {
            self.report(path, format!("`{mac}` is a group address"));
        } else if !mac.is_unicast() {
            self.report(path, format!("`{mac}` is not the address of a station"));
        }
    }

    fn report(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        self.problems.push(self.tree.problem(path, message));
    }
}
