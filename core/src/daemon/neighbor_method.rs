//! The methods by which plugins see and set neighbours.

use raddle_plugin_api::neighbor::{Neighbor, NeighborChange, NeighborStatus};
use raddle_plugin_api::{Control, Failure, InterfaceIndex};

use crate::host::Engine;
use crate::net::neighbor::{NeighborKey, NeighborState, Neighbors, set_static};

/// Adds `neighbor.list` and `neighbor.change`.
pub fn add_neighbor_methods(engine: &Engine) {
    engine.add_method("neighbor.list", |engine, arguments| {
        let interface: Option<InterfaceIndex> = serde_json::from_value(arguments)?;
        let list = engine.with_core(|control| list(control, interface))?;
        Ok(serde_json::to_value(list)?)
    });
    engine.add_method("neighbor.change", |engine, arguments| {
        let change: NeighborChange = serde_json::from_value(arguments)?;
        if engine.is_overruled() {
            return Ok(change.mac.map_or(true.into(), |_| serde_json::Value::Null));
        }
        if engine.is_put_off() {
            engine.put_off(move |engine| {
                if let Err(failure) = change_for(engine, change) {
                    tracing::error!(plugin = engine.current_plugin(), "its neighbour: {failure}");
                }
            });
            return Ok(change.mac.map_or(true.into(), |_| serde_json::Value::Null));
        }
        change_for(engine, change)
    });
}

/// Changes a neighbour for the plugin in whose code the main thread is; one that it has set is its own until it goes.
fn change_for(engine: &Engine, change: NeighborChange) -> Result<serde_json::Value, Failure> {
    let done = engine.with_core(|control| self::change(control, &change))?;
    let NeighborChange { interface, address, mac } = change;
    let what = format!("neighbor {interface} {address}");
    engine.note_gone(&what);
    if let Some(mac) = mac {
        engine.note_kept(what, move |engine| {
            let key = NeighborKey { interface, address };
            let forgotten = engine.with_core(|control| {
                let neighbors = control.resource::<Neighbors>()?;
                // Somebody else may have set another since.
                let mut is_ours = false;
                neighbors.for_each(Some(interface), |known, entry, _| {
                    let is_static = entry.state() == NeighborState::Static;
                    is_ours |= known.address == address && is_static && entry.mac() == Some(mac);
                });
                if is_ours {
                    neighbors.remove(control, key);
                }
                Ok(())
            });
            if let Err(failure) = forgotten {
                tracing::error!("neighbour {address} is not forgotten: {failure}");
            }
        });
    }
    Ok(done)
}

fn list(control: &Control<'_>, interface: Option<InterfaceIndex>) -> Result<Vec<Neighbor>, Failure> {
    let mut list = Vec::new();
    control.resource::<Neighbors>()?.for_each(interface, |key, entry, _| {
        list.push(Neighbor {
            interface: key.interface,
            address: key.address,
            mac: entry.mac(),
            status: status(entry.state()),
            is_router: entry.is_router(),
        });
    });
    Ok(list)
}

fn change(control: &Control<'_>, change: &NeighborChange) -> Result<serde_json::Value, Failure> {
    let NeighborChange { interface, address, mac } = *change;
    if !control.interfaces()?.iter().any(|known| known.index == interface) {
        raddle_plugin_api::bail!("there is no interface {interface}");
    }
    let key = NeighborKey { interface, address };
    match mac {
        Some(mac) => set_static(control, key, mac).map(|()| serde_json::Value::Null),
        None => Ok(control.resource::<Neighbors>()?.remove(control, key).into()),
    }
}

fn status(state: NeighborState) -> NeighborStatus {
    match state {
        NeighborState::Incomplete => NeighborStatus::Incomplete,
        NeighborState::Reachable => NeighborStatus::Reachable,
        NeighborState::Stale => NeighborStatus::Stale,
        NeighborState::Delay => NeighborStatus::Delay,
        NeighborState::Probe => NeighborStatus::Probe,
        NeighborState::Static => NeighborStatus::Static,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use raddle_plugin_api::wire::MacAddress;

    use super::*;
    use crate::host::EngineConfig;
    use crate::memory::HugePages;

    #[test]
    fn a_neighbor_is_set_seen_and_forgotten() {
        let config = EngineConfig { buffers: 1024, hugepages: HugePages::Never, ..EngineConfig::default() };
        let engine = Engine::create(config).unwrap();
        add_neighbor_methods(&engine);
        let options = serde_json::json!({ "name": "lan", "driver": "loopback", "options": {} });
        engine.call("interface.create", options).unwrap();
        let address: IpAddr = "192.0.2.9".parse().unwrap();
        let mac = MacAddress([2, 0, 0, 0, 0, 9]);
        engine
            .with_core(|control| {
                let interface = control.interface("lan")?.index;
                control.set_neighbor(interface, address, mac)?;
                let known = control.neighbors(Some(interface))?;
                let expected = Neighbor {
                    interface,
                    address,
                    mac: Some(mac),
                    status: NeighborStatus::Static,
                    is_router: false,
                };
                assert_eq!(known, [expected]);
                assert!(control.neighbors(Some(InterfaceIndex(interface.0 + 1)))?.is_empty());
                assert!(control.forget_neighbor(interface, address)?);
                assert!(!control.forget_neighbor(interface, address)?, "it is gone");
                assert!(control.neighbors(None)?.is_empty());
                let nobody = control.set_neighbor(interface, "224.0.0.1".parse().unwrap(), mac);
                assert_eq!(nobody.unwrap_err().to_string(), "224.0.0.1 is no address of a neighbour");
                let nowhere = control.set_neighbor(InterfaceIndex(99), address, mac).unwrap_err().to_string();
                assert!(nowhere.starts_with("there is no interface"), "{nowhere}");
                Ok(())
            })
            .unwrap();
    }
}
