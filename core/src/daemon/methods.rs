//! Methods of the control plane that plugins reach the network by: next hops of policy routing, multicast groups, MAC addresses.

use std::net::IpAddr;

use raddle_plugin_api::address::{AddressChange, AddressInfo, InterfaceNetwork, TableChange};
use raddle_plugin_api::punt::PuntReasonRequest;
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{Control, Failure, InterfaceIndex, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::host::Engine;
use crate::net::addresses::Addresses;
use crate::net::adjacency::AdjacencyIndex;
use crate::net::mac_filter::MacFilters;
use crate::net::multicast::Groups;
use crate::net::next_hop;
use crate::net::punt::PuntReasons;
use crate::net::routes::Routes;

#[derive(Deserialize)]
struct NextHop {
    interface: u32,
    address: IpAddr,
}

#[derive(Deserialize)]
struct Adjacency {
    adjacency: u32,
}

#[derive(Deserialize)]
struct Group {
    interface: u32,
    group: IpAddr,
}

#[derive(Deserialize)]
struct Station {
    interface: u32,
    mac: MacAddress,
}

/// Adds them.
pub fn add(engine: &Engine) {
    engine.add_method("next-hop.acquire", |engine, arguments| {
        let NextHop { interface, address } = typed(arguments)?;
        let adjacency =
            engine.with_core(|control| next_hop::acquire(control, InterfaceIndex(interface), address))?;
        engine.note_held(format!("next hop {}", adjacency.0), move |engine| {
            undo(engine, |control| next_hop::release(control, adjacency));
        });
        Ok(json!({ "adjacency": adjacency.0 }))
    });
    engine.add_method("next-hop.release", |engine, arguments| {
        let Adjacency { adjacency } = typed(arguments)?;
        engine.with_core(|control| next_hop::release(control, AdjacencyIndex(adjacency)))?;
        engine.note_given_up(format!("next hop {adjacency}"));
        Ok(Value::Null)
    });
    engine.add_method("group.join", |engine, arguments| {
        let Group { interface, group } = typed(arguments)?;
        engine.with_core(|control| {
            control.resource::<Groups>()?.join(control, InterfaceIndex(interface), group)
        })?;
        engine.note_held(format!("group {interface} {group}"), move |engine| {
            undo(engine, |control| {
                control.resource::<Groups>()?.leave(control, InterfaceIndex(interface), group)
            });
        });
        Ok(Value::Null)
    });
    engine.add_method("group.leave", |engine, arguments| {
        let Group { interface, group } = typed(arguments)?;
        engine.with_core(|control| {
            control.resource::<Groups>()?.leave(control, InterfaceIndex(interface), group)
        })?;
        engine.note_given_up(format!("group {interface} {group}"));
        Ok(Value::Null)
    });
    engine.add_method("address.list", |engine, arguments| {
        let interface: InterfaceIndex = typed(arguments)?;
        Ok(serde_json::to_value(engine.with_core(|control| network(control, interface))?)?)
    });
    engine.add_method("address.change", |engine, arguments| {
        let AddressChange { interface, address, add } = typed(arguments)?;
        engine.with_core(|control| {
            let addresses = control.resource::<Addresses>()?;
            if add {
                addresses.add(control, interface, address)
            } else {
                addresses.remove(control, interface, address)
            }
        })?;
        Ok(Value::Null)
    });
    engine.add_method("address.set-table", |engine, arguments| {
        let TableChange { interface, table } = typed(arguments)?;
        engine.with_core(|control| control.resource::<Addresses>()?.set_table(control, interface, &table))?;
        Ok(Value::Null)
    });
    engine.add_method("route.table", |engine, arguments| {
        let table: TableKey = typed(arguments)?;
        Ok(json!(engine.with_core(|control| control.resource::<Routes>()?.find_table(&table))?.0))
    });
    engine.add_method("punt.reason", |engine, arguments| {
        let request: PuntReasonRequest = typed(arguments)?;
        let reason = engine.with_core(|control| control.resource::<PuntReasons>()?.register(&request))?;
        Ok(json!(reason))
    });
    engine.add_method("mac-address.hold", |engine, arguments| {
        let Station { interface, mac } = typed(arguments)?;
        engine.with_core(|control| {
            control.resource::<MacFilters>()?.hold(control, InterfaceIndex(interface), mac)
        })?;
        engine.note_held(format!("mac {interface} {mac}"), move |engine| {
            undo(engine, |control| {
                control.resource::<MacFilters>()?.release(control, InterfaceIndex(interface), mac)
            });
        });
        Ok(Value::Null)
    });
    engine.add_method("mac-address.release", |engine, arguments| {
        let Station { interface, mac } = typed(arguments)?;
        engine.with_core(|control| {
            control.resource::<MacFilters>()?.release(control, InterfaceIndex(interface), mac)
        })?;
        engine.note_given_up(format!("mac {interface} {mac}"));
        Ok(Value::Null)
    });
}

fn network(control: &Control<'_>, interface: InterfaceIndex) -> Result<InterfaceNetwork, Failure> {
    if !control.interfaces()?.iter().any(|known| known.index == interface) {
        bail!("there is no interface {interface}");
    }
    let addresses = control.resource::<Addresses>()?;
    let given = addresses.given(interface);
    let info = |address| AddressInfo { address, given: given.contains(&address) };
    Ok(InterfaceNetwork {
        addresses: addresses.of(interface).into_iter().map(info).collect(),
        table: control.resource::<Routes>()?.table_of(interface).0,
    })
}

/// Gives up a reference of a plugin that has gone without doing so. Its interface may be gone, too, and the reference with it.
fn undo(engine: &Engine, give_up: impl FnOnce(&Control<'_>) -> Result<(), Failure>) {
    if let Err(failure) = engine.with_core(|control| give_up(control)) {
        tracing::debug!("a reference of a plugin that has gone: {failure}");
    }
}

fn typed<T: DeserializeOwned>(arguments: Value) -> Result<T, Failure> {
    Ok(serde_json::from_value(arguments)?)
}
