//! The running configuration: the file that would make what runs now.

use raddle_plugin_api::{Failure, InterfaceIndex};

use crate::control::config::sections::{InterfaceConfig, NeighborConfig, RouteConfig, RouteKind};
use crate::control::config::{Config, InterfaceSection};
use crate::host::Engine;
use crate::net::addresses::Addresses;
use crate::net::neighbor::{NeighborState, Neighbors};
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
        .map(|state| {
            let asked = engine.asked_of_interface(state.index);
            let addresses = engine.with_core(|control| {
                Ok(control.resource::<Addresses>()?.given(InterfaceIndex(state.index)))
            })?;
            let mut features: Vec<String> = state.features.into_values().flatten().collect();
            features.sort();
            features.dedup();
            let common = InterfaceConfig {
                driver: state.driver,
                up: state.admin_up,
                addresses,
                mtu: asked.mtu,
                mac: asked.mac,
                features,
                l2_xconnect: state.l2_xconnect,
                rx_mode: serde_json::from_value(serde_json::to_value(state.rx_mode)?)?,
            };
            Ok(InterfaceSection { name: state.name, common, options: serde_json::from_value(asked.options)? })
        })
        .collect::<Result<_, Failure>>()?;
    let (routes, neighbors) = engine.with_core(|control| {
        let statics = control.resource::<Routes>()?.statics();
        let routes = statics.into_iter().flat_map(|(prefix, route)| paths(prefix, route)).collect();
        let mut neighbors = Vec::new();
        control.resource::<Neighbors>()?.for_each(None, |key, entry, interface| {
            if let (NeighborState::Static, Some(mac), Some(interface)) =
                (entry.state(), entry.mac(), interface)
            {
                let interface = interface.name.clone();
                neighbors.push(NeighborConfig { interface, address: key.address, mac });
            }
        });
        Ok((routes, neighbors))
    })?;
    Ok(Config { interfaces, routes, neighbors, ..started.clone() })
}

/// The sections that make a static route: one a next hop.
fn paths(prefix: raddle_plugin_api::wire::IpPrefix, route: StaticRoute) -> Vec<RouteConfig> {
    let section = RouteConfig { prefix, via: None, interface: None, kind: None, table: 0, weight: 1 };
    match route {
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

[interface.left]
driver = "loopback"
addresses = ["10.0.0.1/24", "2001:db8::1/64"]
mac = "02:00:00:00:00:01"
rx-mode = "polling"

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
        assert_eq!(run(&first), first);
    }
}
