//! A configuration, put into an engine.

use std::sync::Arc;

use raddle_plugin_api::driver::Change;
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::InterfaceAddress;
use raddle_plugin_api::{Failure, InterfaceIndex, bail};

use super::ip_policy::{apply_interface, apply_sections};
use crate::control::config::sections::{EcmpConfig, RouteConfig, RouteKind, TableConfig};
use crate::control::config::{Config, InterfaceSection};
use crate::host::{Engine, InterfaceRequest};
use crate::net::addresses::Addresses;
use crate::net::forwarding::ForwardingTables;
use crate::net::l2::{Bridges, BridgesConfig, Rewrites};
use crate::net::neighbor::Neighbors;
use crate::net::router_advertisement::RouterAdvertisements;
use crate::net::routes::Routes;
use crate::net::static_route::{Rejection, RouteHop, RouteSpec, RouteTarget};

/// Makes the configuration's tables, its interfaces with their addresses and features, and its routes. What cannot be done is
/// returned, and the rest done all the same.
pub fn apply(engine: &Engine, config: &Config) -> Vec<Failure> {
    let mut failures = Vec::new();
    failures.extend(apply_sections(engine, config).err());
    failures.extend(set_ecmp(engine, &config.ecmp).err());
    for (name, table) in &config.tables {
        failures.extend(add_table(engine, name, table).err());
    }
    for section in &config.interfaces {
        let made = make_interface(engine, section);
        failures.extend(made.err());
    }
    // Cross-connects when both sides are there, and up only what is complete.
    for section in &config.interfaces {
        let finished = finish_interface(engine, section);
        failures.extend(
            finished.err().map(|failure| failure.context(format_args!("interface `{}`", section.name))),
        );
    }
    if !config.bridges.is_empty() {
        failures.extend(set_bridges(engine, config.bridges.clone()).err());
    }
    failures.extend(add_routes(engine, &config.routes));
    failures
}

/// Adds routes: those first that do not need others to reach their next hops, then each as the file has them.
pub(super) fn add_routes<'r>(
    engine: &Engine,
    routes: impl IntoIterator<Item = &'r RouteConfig>,
) -> Vec<Failure> {
    let (plain, others): (Vec<_>, Vec<_>) = routes.into_iter().partition(|route| route.via.is_none());
    plain.into_iter().chain(others).filter_map(|route| add_route(engine, route).err()).collect()
}

pub(super) fn set_ecmp(engine: &Engine, config: &EcmpConfig) -> Result<(), Failure> {
    engine.with_core(|control| {
        let tables = control.resource::<ForwardingTables>()?;
        tables.flow_hash.configure(config.seed.map(u64::from), config.flow_label);
        Ok(())
    })
}

pub(super) fn add_table(engine: &Engine, name: &str, table: &TableConfig) -> Result<(), Failure> {
    engine.with_core(|control| control.resource::<Routes>()?.add_table(control, name, table.id))
}

pub(super) fn remove_table(engine: &Engine, id: u32) -> Result<(), Failure> {
    engine.with_core(|control| control.resource::<Routes>()?.remove_table(control, &TableKey::Id(id)))
}

pub(super) fn make_interface(engine: &Engine, section: &InterfaceSection) -> Result<(), Failure> {
    let common = &section.common;
    let index = engine.add_interface(InterfaceRequest {
        name: section.name.clone(),
        driver: common.driver.clone(),
        mac: common.mac.map(|mac| mac.to_string().parse()).transpose()?,
        mtu: common.mtu,
        options: serde_json::to_value(&section.options)?,
        made_by: None,
    })?;
    set_neighbor_options(engine, section)?;
    engine.with_core(|control| {
        let addresses: Arc<Addresses> = control.resource()?;
        addresses
            .set_table(control, index, &common.table)
            .map_err(|failure| failure.context(format_args!("interface `{}`", section.name)))?;
        for address in &common.addresses {
            let address: InterfaceAddress = address.to_string().parse()?;
            let added = addresses.add(control, index, address);
            added.map_err(|failure| failure.context(format_args!("interface `{}`", section.name)))?;
        }
        Ok(())
    })
}

/// What an interface's section says of neighbours and router advertisements, which can change while it runs.
pub(super) fn set_neighbor_options(engine: &Engine, section: &InterfaceSection) -> Result<(), Failure> {
    let index = InterfaceIndex(engine.find_interface(&section.name)?);
    let common = &section.common;
    engine.with_core(|control| {
        control.resource::<Neighbors>()?.set_options(control, index, common.neighbor.clone());
        let advertisements = control.resource::<RouterAdvertisements>()?;
        advertisements.set_config(control, index, common.router_advertisement.clone());
        Ok(())
    })
}

pub(super) fn finish_interface(engine: &Engine, section: &InterfaceSection) -> Result<(), Failure> {
    // An interface that could not be made has been told of.
    let Ok(index) = engine.find_interface(&section.name) else { return Ok(()) };
    apply_interface(engine, index, &section.common)?;
    // Each is wanted, also if another is not there; but the interface goes up only with all of them.
    let features = section.common.features.iter();
    let missing: Vec<_> = features.filter_map(|feature| engine.want_feature(index, feature).err()).collect();
    if let Some(failure) = missing.into_iter().next() {
        return Err(failure);
    }
    if let Some(peer) = &section.common.l2_xconnect {
        let peer = engine.find_interface(peer)?;
        engine.set_xconnect(index, Some(peer))?;
    }
    if let Some(rewrite) = section.common.tag_rewrite {
        engine.with_core(|control| {
            control.resource::<Rewrites>()?.set(control, &section.name, Some(rewrite))
        })?;
    }
    if section.common.promiscuous {
        engine.change_interface(index, Change::Promiscuous(true))?;
    }
    let first: Vec<_> = section.common.rx_modes.iter().map(|&mode| mode.into()).collect();
    engine.set_rx_modes(index, section.common.rx_mode.unwrap_or_default().into(), &first);
    if section.common.up {
        engine.set_interface_up(index, true)?;
    }
    Ok(())
}

/// Makes all bridges into what is asked for.
pub(super) fn set_bridges(engine: &Engine, bridges: BridgesConfig) -> Result<(), Failure> {
    engine.with_core(|control| control.resource::<Bridges>()?.set_all(control, bridges))
}

fn add_route(engine: &Engine, route: &RouteConfig) -> Result<(), Failure> {
    let spec = spec(route)?;
    engine.with_core(|control| control.resource::<Routes>()?.add(control, &spec))
}

pub(super) fn remove_route(engine: &Engine, route: &RouteConfig) -> Result<(), Failure> {
    let spec = spec(route)?;
    engine.with_core(|control| control.resource::<Routes>()?.remove(control, &spec))
}

/// A route of the configuration as the routes take it.
fn spec(route: &RouteConfig) -> Result<RouteSpec, Failure> {
    let RouteConfig { prefix, via, ref interface, kind, ref table, ref via_table, weight } = *route;
    let target = match (kind, via_table) {
        (Some(RouteKind::Blackhole), _) => RouteTarget::Reject(Rejection::Blackhole),
        (Some(RouteKind::Unreachable), _) => RouteTarget::Reject(Rejection::Unreachable),
        (Some(RouteKind::Prohibit), _) => RouteTarget::Reject(Rejection::Prohibit),
        (None, Some(table)) => RouteTarget::Table(table.clone()),
        (None, None) if via.is_none() && interface.is_none() => {
            bail!("route {prefix} needs a next hop, a table or a type")
        }
        (None, None) => {
            RouteTarget::Hop(RouteHop { via, interface: interface.clone(), weight: weight.into() })
        }
    };
    Ok(RouteSpec { prefix, table: table.clone(), target })
}
