//! Writes a configuration as the file that makes it.

use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};

use super::ip_sections::{IcmpConfig, Ip4Config, MartiansConfig};
use super::model::{Config, InterfaceSection};
use super::sections::{EcmpConfig, NeighborTableConfig};

impl Config {
    /// The configuration as TOML that reads back as the same.
    ///
    /// # Errors
    /// A section of a plugin holds what TOML cannot.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // By name and in full, so that a new section cannot be forgotten here.
        let Config {
            runtime,
            buffers,
            control,
            plugins,
            log,
            metrics,
            ecmp,
            tables,
            icmp,
            ip4,
            martians,
            interfaces,
            bridges,
            routes,
            neighbors,
            neighbor_table,
            others,
        } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("runtime", runtime)?;
        map.serialize_entry("buffers", buffers)?;
        map.serialize_entry("control", control)?;
        map.serialize_entry("plugins", plugins)?;
        map.serialize_entry("log", log)?;
        if metrics.is_on() {
            map.serialize_entry("metrics", metrics)?;
        }
        if *ecmp != EcmpConfig::default() {
            map.serialize_entry("ecmp", ecmp)?;
        }
        if !tables.is_empty() {
            map.serialize_entry("table", tables)?;
        }
        // What is as it always is need not be read.
        if *icmp != IcmpConfig::default() {
            map.serialize_entry("icmp", icmp)?;
        }
        if *ip4 != Ip4Config::default() {
            map.serialize_entry("ip4", ip4)?;
        }
        if *martians != MartiansConfig::default() {
            map.serialize_entry("martians", martians)?;
        }
        if !interfaces.is_empty() {
            map.serialize_entry("interface", &Interfaces(interfaces))?;
        }
        if !bridges.is_empty() {
            map.serialize_entry("bridge", bridges)?;
        }
        if !routes.is_empty() {
            map.serialize_entry("route", routes)?;
        }
        if !neighbors.is_empty() {
            map.serialize_entry("neighbor", neighbors)?;
        }
        if *neighbor_table != NeighborTableConfig::default() {
            map.serialize_entry("neighbor-table", neighbor_table)?;
        }
        for (name, section) in others {
            map.serialize_entry(name, section)?;
        }
        map.end()
    }
}

/// Interfaces by name.
struct Interfaces<'c>(&'c [InterfaceSection]);

impl Serialize for Interfaces<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|section| (&section.name, section)))
    }
}

impl Serialize for InterfaceSection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The common keys first, in their usual order; then the driver's.
        let common = serde_json::to_value(&self.common).map_err(S::Error::custom)?;
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in common.as_object().into_iter().flatten() {
            map.serialize_entry(key, value)?;
        }
        for (key, value) in &self.options {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::collection::{btree_set, vec};
    use proptest::option;
    use proptest::prelude::*;

    use raddle_plugin_api::config::InRange;
    use raddle_plugin_api::route::TableKey;
    use raddle_plugin_api::wire::{InterfaceAddress, IpPrefix, MacAddress};

    use crate::net::neighbor::{DetectionSetting, NeighborOptions};
    use crate::net::router_advertisement::RouterAdvertisementConfig;

    use super::super::document::Document;
    use super::super::ip_sections::*;
    use super::super::owners::Owners;
    use super::super::sections::*;
    use super::*;

    fn reread(config: &Config) -> Config {
        let mut owners = Owners::new();
        owners.accept_unknown();
        let text = config.to_toml().unwrap();
        let document = Document::parse("running", text.clone()).unwrap();
        Config::load(&document, &owners).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn the_file_reads_as_a_person_would_write_it() {
        let text = "[interface.tap0]\ndriver = 'tap'\naddresses = ['10.0.0.1/24']\nhost-interface = 'h0'\n\
                    [interface.lo]\ndriver = 'loopback'\nup = false\n[[route]]\nprefix = '0.0.0.0/0'\nvia = '10.0.0.2'\n\
                    [acl]\nlist = [{ action = 'permit' }]\n";
        let mut owners = Owners::new();
        owners.accept_unknown();
        let config = Config::load(&Document::parse("f", text).unwrap(), &owners).unwrap();
        assert_eq!(
            config.to_toml().unwrap(),
            "[runtime]\nworkers = 0\n\n[buffers]\ncount = 16384\nhugepages = \"auto\"\n\n[control]\n\n[plugins]\nhold-after-crashes = 3\n\n\
             [log]\nlevel = \"info\"\nrate-limit = 10\n\n\
             [interface.tap0]\ndriver = \"tap\"\nup = true\naddresses = [\"10.0.0.1/24\"]\nhost-interface = \"h0\"\n\n\
             [interface.lo]\ndriver = \"loopback\"\nup = false\n\n\
             [[route]]\nprefix = \"0.0.0.0/0\"\nvia = \"10.0.0.2\"\n\n\
             [[acl.list]]\naction = \"permit\"\n"
        );
    }

    fn options() -> impl Strategy<Value = toml::Table> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(toml::Value::from),
            any::<bool>().prop_map(toml::Value::from),
            "\\PC{0,8}".prop_map(toml::Value::from),
        ];
        let value = leaf.prop_recursive(2, 12, 3, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..3).prop_map(toml::Value::from),
                vec(("[a-z]{1,4}", inner), 0..3).prop_map(|entries| toml::Table::from_iter(entries).into()),
            ]
        });
        vec(("x-[a-z]{1,4}", value), 0..3).prop_map(toml::Table::from_iter)
    }

    fn configs() -> impl Strategy<Value = Config> {
        let core = (
            0u32..4,
            option::of(20u16..30),
            1024u32..100_000,
            option::of("/[a-z]{1,8}"),
            vec("[a-z0-9]{1,5}", 0..3),
        );
        let names = btree_set("[a-z][a-z0-9.-]{0,6}", 0..4);
        let link = (
            any::<bool>(),
            option::of(1280u32..9000),
            option::of(any::<[u8; 5]>()),
            btree_set("[a-z]{1,5}", 0..3),
            options(),
        );
        let routes = btree_set((any::<u32>(), 0u8..=32, 0u32..3, 1u8..=255), 0..4);
        let table = |id: u32| match id {
            2 => TableKey::Name("red".into()),
            id => TableKey::Id(id),
        };
        (core, names, vec(link, 4), routes, options()).prop_map(
            move |(core, names, links, routes, others)| {
                let (workers, main_core, count, path, disable) = core;
                let mut config = Config {
                    runtime: RuntimeConfig { workers, cores: (0..workers as u16).collect(), main_core },
                    buffers: BuffersConfig { count, hugepages: Hugepages::Never },
                    control: ControlConfig { socket: path.clone().map(Into::into) },
                    plugins: PluginsConfig {
                        path: path.map(Into::into),
                        disable,
                        ..PluginsConfig::default()
                    },
                    log: LogConfig { level: LogLevel::Trace, rate_limit: count },
                    ecmp: EcmpConfig { seed: (workers > 1).then_some(count), flow_label: workers > 2 },
                    metrics: MetricsConfig {
                        listen: main_core.map(|port| ListenAddress(([127, 0, 0, 1], port).into())),
                        socket: None,
                    },
                    icmp: IcmpConfig { rate: count, ..IcmpConfig::default() },
                    ip4: Ip4Config { options: Ip4Options::Process, source_route: SourceRoute::Drop },
                    martians: MartiansConfig { check: count % 2 == 0, ..MartiansConfig::default() },
                    others,
                    tables: [("blue", 1), ("red", 2)]
                        .map(|(name, id)| (name.into(), TableConfig { id }))
                        .into(),
                    ..Config::default()
                };
                for (index, (name, (up, mtu, mac, features, options))) in
                    names.into_iter().zip(links).enumerate()
                {
                    let address = IpAddr::V4(Ipv4Addr::new(10, index as u8, 0, 1));
                    let mac = mac.map(|[a, b, c, d, e]| MacAddress([2, a, b, c, d, e]));
                    let common = InterfaceConfig {
                        driver: "tap".into(),
                        up,
                        addresses: InterfaceAddress::new(address, 24).into_iter().collect(),
                        mtu,
                        mac,
                        mac_addresses: mac.map(|_| MacAddress([1, 0, 0x5e, 0, 0, 5])).into_iter().collect(),
                        features: features.into_iter().collect(),
                        l2_xconnect: config
                            .interfaces
                            .first()
                            .map(|first: &InterfaceSection| first.name.clone()),
                        tag_rewrite: up.then(|| "translate 1-2 100 802.1q:200".parse().unwrap()),
                        promiscuous: !up,
                        multicast_filter: up,
                        rx_mode: up.then_some(RxMode::Adaptive),
                        rx_modes: up.then_some(RxMode::Polling).into_iter().collect(),
                        table: table(index as u32 % 3),
                        urpf: up.then(|| UrpfConfig {
                            ip4: Urpf::Strict,
                            notify: up,
                            ..UrpfConfig::default()
                        }),
                        redirects: up.then_some(false),
                        martians: mtu.map(|_| up),
                        igmp: up.then_some(false),
                        mld: mac.map(|_| up),
                        neighbor: NeighborOptions {
                            dad: up.then_some(DetectionSetting::Switch(false)),
                            max_queued: mtu.and_then(|mtu| InRange::new(mtu.into())),
                            ..NeighborOptions::default()
                        },
                        router_advertisement: mtu.map(|mtu| RouterAdvertisementConfig {
                            mtu: InRange::new(mtu.into()),
                            dns_search: vec!["example.org".into()],
                            ..RouterAdvertisementConfig::default()
                        }),
                    };
                    config.interfaces.push(InterfaceSection { name, common, options });
                }
                for (bits, length, fib, weight) in routes {
                    let address = IpAddr::V4(Ipv4Addr::from_bits(bits));
                    let prefix = IpPrefix::containing(address, length).unwrap();
                    if config.routes.iter().any(|known| (known.prefix, &known.table) == (prefix, &table(fib)))
                    {
                        continue;
                    }
                    let interface = config.interfaces.last().map(|section| section.name.clone());
                    let kind = interface.is_none().then_some(RouteKind::Prohibit);
                    let table = table(fib);
                    config.routes.push(RouteConfig {
                        prefix,
                        via: None,
                        interface,
                        kind,
                        table,
                        via_table: None,
                        weight,
                    });
                }
                if let Some(section) = config.interfaces.first() {
                    config.neighbors.push(NeighborConfig {
                        interface: section.name.clone(),
                        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)),
                        mac: MacAddress([2, 0, 0, 0, 0, 9]),
                    });
                }
                config
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_as_the_same(config in configs()) {
            prop_assert_eq!(reread(&config), config);
        }
    }
}
