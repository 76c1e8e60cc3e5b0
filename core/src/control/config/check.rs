//! What the sections of a configuration say of each other: names that must exist, addresses that must be unique.
//!
//! Values are typed by now; positions come from the tree.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use raddle_plugin_api::config::{Problem, Step, Tree, nearest};

use super::load::{Config, InterfaceSection};
use crate::control::address::MacAddress;

/// Largest number of worker threads.
const MAX_WORKERS: u32 = 255;
/// Bounds of the buffer pool.
const BUFFER_COUNTS: std::ops::RangeInclusive<u32> = 1024..=(1 << 24);
/// The smallest MTU of an IPv4 link (RFC 791 §3.2: a module forwards 68 octets unfragmented) and the largest there is.
const MTUS: std::ops::RangeInclusive<u32> = 68..=65_535;
/// The smallest MTU of an IPv6 link (RFC 8200 §5).
const IP6_MIN_MTU: u32 = 1280;

/// Finds all that is wrong between the sections.
pub(super) fn check(tree: &Tree<'_>, config: &Config, problems: &mut Vec<Problem>) {
    let mut checker = Checker { tree, names: tree.keys(&[Step::Key("interface")]), problems };
    checker.runtime(config);
    checker.plugins(config);
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

    fn interfaces(&mut self, config: &Config) {
        let mut addresses: HashMap<IpAddr, &str> = HashMap::new();
        for section in &config.interfaces {
            self.link(section);
            let (name, common) = (section.name.as_str(), &section.common);
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
                match addresses.get(&address) {
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
                        addresses.insert(address, name);
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
        if let Some(peer) = &common.l2_xconnect {
            if peer == name {
                self.report(&at("l2-xconnect"), format!("interface `{name}` cannot be connected to itself"));
            } else {
                self.interface(&at("l2-xconnect"), peer);
            }
        }
        let mut seen = BTreeSet::new();
        for (index, feature) in
            common.features.iter().enumerate().filter(|(_, feature)| !seen.insert(*feature))
        {
            let [interface, name, features] = at("features");
            let path = [interface, name, features, Step::Index(index)];
            self.report(&path, format!("feature `{feature}` is listed twice"));
        }
    }

    fn routes(&mut self, config: &Config) {
        let mut seen = HashSet::new();
        for (index, route) in config.routes.iter().enumerate() {
            let element = [Step::Key("route"), Step::Index(index)];
            let at = |key| [element[0], element[1], Step::Key(key)];
            if route.prefix.has_host_bits() {
                let message = format!("`{}` has bits set after its prefix length", route.prefix);
                let problem = self.tree.problem(&at("prefix"), message);
                self.problems.push(problem.suggest(Some(route.prefix.network().to_string())));
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
                (None, None, None) => {
                    self.report(&element, "a route needs `via`, `interface`, or a `type`");
                }
            }
            if let Some(via) = &route.via {
                let link_local = matches!(via.0, IpAddr::V6(address) if address.is_unicast_link_local());
                if via.0.is_ipv4() != route.prefix.address().is_ipv4() {
                    self.report(
                        &at("via"),
                        format!("next hop {via} is of another address family than {}", route.prefix),
                    );
                } else if via.0.is_multicast() || via.0.is_unspecified() {
                    self.report(&at("via"), format!("`{via}` cannot be a next hop"));
                } else if link_local && route.interface.is_none() {
                    self.report(
                        &at("via"),
                        format!("next hop {via} is link-local: `interface` must say on which link"),
                    );
                }
            }
            let path = (route.table, route.prefix.network(), route.via, route.interface.as_deref());
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
            let address = neighbor.address.0;
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
        if mac.0[0] & 1 != 0 {
            self.report(path, format!("`{mac}` is a group address"));
        } else if mac.0 == [0; 6] {
            self.report(path, format!("`{mac}` is not the address of a station"));
        }
    }

    fn report(&mut self, path: &[Step<'_>], message: impl Into<String>) {
        self.problems.push(self.tree.problem(path, message));
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::Document;
    use super::super::owners::Owners;
    use super::*;

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its keys matter")]
    struct Tap {
        host: Option<String>,
    }

    fn problems(text: &str) -> Vec<String> {
        let mut owners = Owners::new();
        owners.driver::<Tap>("tap");
        owners.driver::<Tap>("loopback");
        owners.section::<Tap>("acl");
        let document = match Document::parse("f", text) {
            Ok(document) => document,
            Err(error) => return error.problems().iter().map(Problem::to_string).collect(),
        };
        match Config::load(&document, &owners) {
            Ok(_) => Vec::new(),
            Err(error) => error.problems().iter().map(Problem::to_string).collect(),
        }
    }

    const TWO: &str = "[interface.tap0]\ndriver = 'tap'\n[interface.tap1]\ndriver = 'tap'\n";

    #[test]
    fn what_is_right_passes() {
        for text in [
            "",
            "[runtime]\nworkers = 2\ncores = [1, 2]\nmain-core = 0\n[acl]\nhost = 'x'\n",
            "[plugins]\nonly = ['a']\nrequire = ['a']\n[log]\nlevel = 'debug'\nrate-limit = 0\n[buffers]\nhugepages = 'require'\n",
            "interface.a = { driver = 'tap', host = 'x', addresses = ['10.0.0.1/24', 'fe80::1/64'], mtu = 1280, mac = '02:00:00:00:00:01' }\n\
             interface.b = { driver = 'loopback', addresses = ['fe80::1/64'], l2-xconnect = 'a', rx-mode = 'adaptive' }\n\
             route = [{ prefix = '::/0', via = 'fe80::2', interface = 'a' }, { prefix = '10.9.0.0/16', type = 'blackhole' }]\n\
             [[neighbor]]\ninterface = 'a'\naddress = '10.0.0.2'\nmac = '02:00:00:00:00:02'\n",
        ] {
            assert_eq!(problems(text), [] as [String; 0], "{text}");
        }
    }

    #[test]
    fn every_mistake_has_its_position_and_the_nearest_name() {
        let cases: &[(&str, &[&str])] = &[
            ("[runtim]\n", &["1:2: unknown section `runtim`; did you mean `runtime`?"]),
            ("[runtime]\nwrokers = 1\n", &["2:1: unknown key `wrokers`; did you mean `workers`?"]),
            (
                "[runtime]\nworkers = 'two'\n",
                &["2:11: expected an integer from 0 to 4294967295, found string \"two\""],
            ),
            (
                "[runtime]\nworkers = 3\ncores = [1, 1]\n",
                &["3:9: 2 cores are too few for 3 workers", "3:13: core 1 is listed twice"],
            ),
            ("[runtime]\ncores = [1]\nmain-core = 1\n", &["2:10: core 1 is also `main-core`"]),
            ("[buffers]\ncount = 1\n", &["2:9: expected a number from 1024 to 16777216"]),
            (
                "[plugins]\ndisable = ['a']\nonly = ['b']\nrequire = ['a']",
                &["3:1: `only` and `disable` exclude each other", "4:12: plugin `a` is also in `disable`"],
            ),
            ("[log]\nlevel = 'warning'", &["2:9: unknown value `warning`; did you mean `warn`?"]),
            ("[interface.a]\n", &["1:1: missing key `driver`"]),
            ("[interface.a]\ndriver = 'tab'\n", &["2:10: unknown driver `tab`; did you mean `tap`?"]),
            (
                "[interface.a]\ndriver = 'tap'\nhots = 'x'\n",
                &["3:1: unknown key `hots`; did you mean `host`?"],
            ),
            (
                "[interface.a]\ndriver = 'tap'\nadresses = []\n",
                &["3:1: unknown key `adresses`; did you mean `addresses`?"],
            ),
            (
                "[interface.a]\ndriver = 'tap'\nzzzzzzzz = 1\n",
                &[
                    "3:1: unknown key `zzzzzzzz`; known keys: `addresses`, `driver`, `features`, `host`, `l2-xconnect`, `mac`, `mtu`, `rx-mode`, `up`",
                ],
            ),
            (
                "[interface.a]\ndriver = 'tap'\naddresses = ['10.0.0.1/24', '10.0.0.300/24']\n",
                &["3:29: `10.0.0.300` is not an IP address"],
            ),
            (
                "[interface.a]\ndriver = 'tap'\naddresses = ['10.0.0.1/24', '10.0.0.1/25', '224.0.0.1/4']\n",
                &[
                    "3:29: address 10.0.0.1 is listed twice",
                    "3:44: `224.0.0.1` cannot be the address of an interface",
                ],
            ),
            (
                "[interface.a]\ndriver = 'tap'\naddresses = ['::2/64']\n[interface.b]\ndriver = 'tap'\naddresses = ['::2/64']\n",
                &["6:14: address ::2 is already that of interface `a`"],
            ),
            ("[interface.a]\ndriver = 'tap'\n[interface.a]\ndriver = 'tap'\n", &["3:12: duplicate key `a`"]),
            ("[interface.'a b']\ndriver = 'tap'\n", &["1:12: the name of an interface has no ' '"]),
            ("[interface.a]\ndriver = 'tap'\nl2-xconnect = 'b'\n", &["3:15: interface `b` is not defined"]),
            (
                "[interface.a]\ndriver = 'tap'\nl2-xconnect = 'a'\n",
                &["3:15: interface `a` cannot be connected to itself"],
            ),
            ("[interface.a]\ndriver = 'tap'\nmtu = 60\n", &["3:7: expected a number from 68 to 65535"]),
            (
                "[interface.a]\ndriver = 'tap'\nmtu = 600\naddresses = ['2001:db8::1/64']\n",
                &["3:7: an interface with IPv6 addresses needs an mtu of 1280 or more"],
            ),
            (
                "[interface.a]\ndriver = 'tap'\nmac = '01:00:00:00:00:00'\nfeatures = ['x', 'x']\n",
                &["3:7: `01:00:00:00:00:00` is a group address", "4:18: feature `x` is listed twice"],
            ),
            ("interface = 3\n", &["1:13: expected tables `[interface.NAME]`"]),
            ("[interface]\na = 3\n", &["2:5: expected a table `[interface.a]`"]),
        ];
        for (text, expected) in cases {
            assert_eq!(problems(text), *expected, "{text}");
        }
    }

    #[test]
    fn routes_and_neighbours_are_checked_against_the_interfaces() {
        let cases: &[(&str, &[&str])] = &[
            (
                "[[route]]\nprefix = '10.0.0.0/8'\ninterface = 'tpa0'\n",
                &["7:13: interface `tpa0` is not defined; did you mean `tap0`?"],
            ),
            (
                "[[route]]\nprefix = '10.0.0.1/8'\ninterface = 'tap0'\n",
                &["6:10: `10.0.0.1/8` has bits set after its prefix length; did you mean `10.0.0.0/8`?"],
            ),
            ("[[route]]\nprefix = '10.0.0.0/8'\n", &["5:1: a route needs `via`, `interface`, or a `type`"]),
            (
                "[[route]]\nprefix = '10.0.0.0/8'\nvia = '10.0.0.1'\ntype = 'blackhole'\n",
                &["8:8: a route with a `type` leads nowhere: `via` and `interface` do not go with it"],
            ),
            (
                "[[route]]\nprefix = '10.0.0.0/8'\nvia = '::1'\n",
                &["7:7: next hop ::1 is of another address family than 10.0.0.0/8"],
            ),
            (
                "[[route]]\nprefix = '::/0'\nvia = 'fe80::1'\n",
                &["7:7: next hop fe80::1 is link-local: `interface` must say on which link"],
            ),
            ("[[route]]\nprefix = '10/8'\nvia = '10.0.0.1'\n", &["6:10: `10` is not an IP address"]),
            (
                "[[route]]\nprefix = '::/0'\nvia = '::1'\nweight = 0\n[[route]]\nprefix = '::/0'\nvia = '::1'\n",
                &["8:10: expected a number from 1 to 255", "9:1: the same path to ::/0 is configured twice"],
            ),
            (
                "[[neighbor]]\ninterface = 'tap9'\naddress = '0.0.0.0'\nmac = '00:00:00:00:00:00'\n",
                &[
                    "6:13: interface `tap9` is not defined; did you mean `tap0`?",
                    "7:11: `0.0.0.0` cannot be the address of a neighbour",
                    "8:7: `00:00:00:00:00:00` is not the address of a station",
                ],
            ),
            (
                "[[neighbor]]\ninterface = 'tap0'\naddress = '::5'\nmac = '02:00:00:00:00:00'\n[[neighbor]]\ninterface = 'tap0'\naddress = '::5'\nmac = '02:00:00:00:00:00'\n",
                &["11:11: neighbour ::5 of interface `tap0` is configured twice"],
            ),
            ("[[neighbor]]\ninterface = 'tap0'\n", &["5:1: missing key `address`"]),
        ];
        for (text, expected) in cases {
            assert_eq!(problems(&format!("{TWO}{text}")), *expected, "{text}");
        }
    }

    #[test]
    fn mistakes_of_all_sections_are_found_at_once_in_the_order_of_the_file() {
        let text = "[acl]\nhots = 1\n[runtime]\nworkers = -1\n[interfaces.a]\n[interface.b]\ndriver = 'tap'\nup = 'no'\n[[route]]\nprefix = 'x'\n[[route]]\nprefix = '0.0.0.0/0'\ninterface = 'c'\n";
        assert_eq!(
            problems(text),
            [
                "2:1: unknown key `hots`; did you mean `host`?",
                "4:11: expected an integer from 0 to 4294967295, found integer `-1`",
                "5:2: unknown section `interfaces`; did you mean `interface`?",
                "8:6: expected `true` or `false`, found string \"no\"",
                "10:10: `x` has no prefix length; write ADDRESS/LENGTH, for example 10.0.0.1/24",
            ]
        );
    }

    #[test]
    fn sections_and_drivers_without_owner_pass_when_plugins_cannot_be_asked() {
        let document =
            Document::parse("f", "[nat64]\npool = 'x'\n[interface.a]\ndriver = 'memif'\nsocket = 'y'\n")
                .unwrap();
        let mut owners = Owners::new();
        assert_eq!(Config::load(&document, &owners).unwrap_err().problems().len(), 2);
        owners.accept_unknown();
        let config = Config::load(&document, &owners).unwrap();
        assert_eq!(config.others["nat64"]["pool"].as_str(), Some("x"));
        assert_eq!(config.interfaces[0].options["socket"].as_str(), Some("y"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\[?\\[(interface|route|runtime|a)(\\.[a-b ])?\\]\\]?\n|(driver|prefix|via|cores|up|x) = ('[a:0-9./]*'|[0-9]{1,9}|\\[[0-9,]*\\]|true)\n){0,8}") {
            problems(&text);
        }
    }
}
