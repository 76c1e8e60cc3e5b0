//! The running configuration: the file that would make what runs now.

use std::collections::BTreeMap;

use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::IpPrefix;
use raddle_plugin_api::{Failure, InterfaceIndex};

use super::ip_policy::{read_interface, sections};
use crate::control::config::sections::{
    InterfaceConfig, NeighborConfig, RouteConfig, RouteKind, TableConfig,
};
use crate::control::config::{Config, InterfaceSection};
use crate::host::Engine;
use crate::net::addresses::Addresses;
use crate::net::l2::{Bridges, Rewrites};
use crate::net::neighbor::{NeighborState, Neighbors};
use crate::net::router_advertisement::RouterAdvertisements;
use crate::net::routes::Routes;
use crate::net::static_route::{Rejection, StaticRoute};

/// The configuration that would make what runs now: of `started`, what only a start changes; interfaces, routes and
/// neighbours as they are.
///
/// # Errors
/// The network is not there.
pub fn running(engine: &Engine, started: &Config) -> Result<Config, Failure> {
    let interfaces = engine
        .interface_states(None, false)
        .into_iter()
        // What a plugin makes for its own ends follows from its section.
        .filter(|state| state.made_by.is_none())
        .map(|state| {
            let asked = engine.asked_of_interface(state.index);
            let (addresses, table) = engine.with_core(|control| {
                let interface = InterfaceIndex(state.index);
                let addresses = control.resource::<Addresses>()?.given(interface);
                Ok((addresses, control.resource::<Routes>()?.table_of(interface)))
            })?;
            let index = InterfaceIndex(state.index);
            let (neighbor, router_advertisement) = engine.with_core(|control| {
                let neighbor = control.resource::<Neighbors>()?.own_options(index);
                Ok((neighbor, control.resource::<RouterAdvertisements>()?.config(index)))
            })?;
            let tag_rewrite = engine.with_core(|control| Ok(control.resource::<Rewrites>()?.of(index)))?;
            let mut features: Vec<String> = state.features.into_values().flatten().collect();
            // What others only hold comes on with them.
            features.retain(|feature| engine.is_feature_set(state.index, feature));
            features.sort();
            features.dedup();
            // It follows from `tag-rewrite`.
            features.retain(|feature| feature != Rewrites::FEATURE);
            let mut common = InterfaceConfig {
                driver: state.driver,
                up: state.admin_up,
                addresses,
                mtu: asked.mtu,
                mac: asked.mac,
                mac_addresses: Vec::new(),
                features,
                l2_xconnect: state.l2_xconnect,
                tag_rewrite,
                promiscuous: state.promiscuous,
                multicast_filter: false,
                rx_mode: Some(state.rx_mode.into()),
                rx_modes: state.rx_modes.into_iter().map(Into::into).collect(),
                neighbor,
                router_advertisement,
                table: table_key(table.0, &table.1),
                urpf: None,
                redirects: None,
                martians: None,
                igmp: None,
                mld: None,
            };
            engine.with_core(|control| read_interface(control, state.index, &mut common))?;
            Ok(InterfaceSection { name: state.name, common, options: serde_json::from_value(asked.options)? })
        })
        .collect::<Result<_, Failure>>()?;
    let (tables, bridges, routes, neighbors, neighbor_table) = engine.with_core(|control| {
        let routes = control.resource::<Routes>()?;
        let infos = routes.tables();
        let names: BTreeMap<u32, String> = infos.into_iter().map(|table| (table.id, table.name)).collect();
        let key = |id: u32| names.get(&id).map_or(TableKey::Id(id), |name| table_key(id, name));
        let statics = routes.statics().into_iter();
        let routes =
            statics.flat_map(|(table, prefix, route)| paths(key(table), prefix, route, &key)).collect();
        let tables = names.iter().filter(|(id, _)| **id != 0);
        let tables = tables.map(|(&id, name)| (name.clone(), TableConfig { id })).collect();
        let mut neighbors = Vec::new();
        control.resource::<Neighbors>()?.for_each(None, |key, entry, interface| {
            if let (NeighborState::Static, Some(mac), Some(interface)) =
                (entry.state(), entry.mac(), interface)
            {
                let interface = interface.name.clone();
                neighbors.push(NeighborConfig { interface, address: key.address, mac });
            }
        });
        let bridges = control.resource::<Bridges>()?.configs();
        Ok((tables, bridges, routes, neighbors, control.resource::<Neighbors>()?.config()))
    })?;
    let (icmp, ip4, martians) = engine.with_core(|control| sections(control))?;
    let mut others = started.others.clone();
    for (name, content) in engine.running_sections() {
        match content {
            Some(content) => drop(others.insert(name, content)),
            None => drop(others.remove(&name)),
        }
    }
    Ok(Config {
        others,
        icmp,
        ip4,
        martians,
        tables,
        interfaces,
        bridges,
        routes,
        neighbors,
        neighbor_table,
        ..started.clone()
    })
}

/// A table as a person would name it.
fn table_key(id: u32, name: &str) -> TableKey {
    if id == 0 { TableKey::DEFAULT } else { TableKey::Name(name.to_owned()) }
}

/// The sections that make a static route: one a next hop.
fn paths(
    table: TableKey,
    prefix: IpPrefix,
    route: StaticRoute,
    key: &impl Fn(u32) -> TableKey,
) -> Vec<RouteConfig> {
    let section =
        RouteConfig { prefix, via: None, interface: None, kind: None, table, via_table: None, weight: 1 };
    match route {
        StaticRoute::Table(target) => vec![RouteConfig { via_table: Some(key(target)), ..section }],
        StaticRoute::Hops(hops) => hops
            .into_iter()
            .map(|hop| RouteConfig {
                via: hop.via,
                interface: hop.interface,
                weight: u8::try_from(hop.weight).unwrap_or(u8::MAX),
                ..section.clone()
            })
            .collect(),
        StaticRoute::Reject(rejection) => {
            let kind = match rejection {
                Rejection::Blackhole => RouteKind::Blackhole,
                Rejection::Unreachable => RouteKind::Unreachable,
                Rejection::Prohibit => RouteKind::Prohibit,
            };
            vec![RouteConfig { kind: Some(kind), ..section }]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::{Document, Owners};
    use crate::host::EngineConfig;

    const FILE: &str = r#"
[runtime]
workers = 0

[icmp]
rate = 7

[martians]
check = true
deny = ["10.9.0.0/16"]

[interface.left]
driver = "loopback"
urpf.ip4 = "strict"
urpf.allow-default = false
redirects = false
addresses = ["10.0.0.1/24", "2001:db8::1/64"]
mac = "02:00:00:00:00:01"
rx-mode = "polling"

[interface.left.neighbor]
dad = false
max-incomplete = 9

[interface.left.router-advertisement]
max-interval-seconds = 30

[neighbor-table]
max-entries = 99

[interface.right]
driver = "packet-generator"
up = false
capture-limit = 7

[[route]]
prefix = "192.0.2.0/24"
via = "10.0.0.2"

[[route]]
prefix = "198.51.100.0/24"
type = "blackhole"

[[neighbor]]
interface = "left"
address = "10.0.0.2"
mac = "02:00:00:00:00:02"
"#;

    fn load(text: &str) -> Config {
        let document = Document::parse("test", text).expect("TOML");
        let mut owners = Owners::new();
        owners.accept_unknown();
        Config::load(&document, &owners).expect("a configuration")
    }

    #[test]
    fn the_file_that_it_prints_makes_the_same_again() {
        let run = |text: &str| {
            let config = load(text);
            let engine = Engine::create(EngineConfig {
                buffers: 4096,
                config_text: text.to_owned(),
                ..Default::default()
            });
            let engine = engine.expect("an engine");
            let failures = super::super::apply(&engine, &config);
            assert!(failures.is_empty(), "{failures:?}");
            running(&engine, &config).expect("a running configuration").to_toml().expect("TOML")
        };
        let first = run(FILE);
        assert!(first.contains("capture-limit = 7") && first.contains("10.0.0.1/24"), "{first}");
        for line in ["rate = 7", "ip4 = \"strict\"", "redirects = false", "deny = [\"10.9.0.0/16\"]"] {
            assert!(first.contains(line), "{line} in {first}");
        }
        assert!(!first.contains("ip4-urpf"), "features that follow from a policy are not named: {first}");
        assert_eq!(run(&first), first);
    }
}
