//! A configuration, put into an engine.

use std::sync::Arc;

use raddle_plugin_api::Failure;
use raddle_plugin_api::wire::InterfaceAddress;

use crate::control::config::{Config, InterfaceSection, sections::RouteConfig};
use crate::host::{Engine, InterfaceRequest};
use crate::net::addresses::Addresses;
use crate::net::routes::Routes;
use crate::net::static_route::RouteSpec;

/// Makes the configuration's interfaces with their addresses and features, and its routes. What cannot be done is
/// returned, and the rest done all the same.
pub fn apply(engine: &Engine, config: &Config) -> Vec<Failure> {
    let mut failures = Vec::new();
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
    for route in &config.routes {
        failures.extend(add_route(engine, route).err());
    }
    failures
}

pub(super) fn make_interface(engine: &Engine, section: &InterfaceSection) -> Result<(), Failure> {
    let common = &section.common;
    let index = engine.add_interface(InterfaceRequest {
        name: section.name.clone(),
        driver: common.driver.clone(),
        mac: common.mac.map(|mac| mac.to_string().parse()).transpose()?,
        mtu: common.mtu,
        options: serde_json::to_value(&section.options)?,
    })?;
    engine.with_core(|control| {
        let addresses: Arc<Addresses> = control.resource()?;
        for address in &common.addresses {
            let address: InterfaceAddress = address.to_string().parse()?;
            let added = addresses.add(control, index, address);
            added.map_err(|failure| failure.context(format_args!("interface `{}`", section.name)))?;
        }
        Ok(())
    })
}

pub(super) fn finish_interface(engine: &Engine, section: &InterfaceSection) -> Result<(), Failure> {
    // An interface that could not be made has been told of.
    let Ok(index) = engine.find_interface(&section.name) else { return Ok(()) };
    for feature in &section.common.features {
        engine.set_feature(index, feature, true)?;
    }
    if let Some(peer) = &section.common.l2_xconnect {
        let peer = engine.find_interface(peer)?;
        engine.set_xconnect(index, Some(peer))?;
    }
    if let Some(mode) = section.common.rx_mode {
        engine.set_rx_mode(index, serde_json::from_value(serde_json::to_value(mode)?)?);
    }
    if section.common.up {
        engine.set_interface_up(index, true)?;
    }
    Ok(())
}

pub(super) fn add_route(engine: &Engine, route: &RouteConfig) -> Result<(), Failure> {
    let spec = spec(route)?;
    engine.with_core(|control| control.resource::<Routes>()?.add(control, &spec))
}

pub(super) fn remove_route(engine: &Engine, route: &RouteConfig) -> Result<(), Failure> {
    let spec = spec(route)?;
    engine.with_core(|control| control.resource::<Routes>()?.remove(control, &spec))
}

/// A route of the configuration as the routes take it.
fn spec(route: &RouteConfig) -> Result<RouteSpec, Failure> {
    let route: crate::net::static_route::RouteConfig = serde_json::from_value(serde_json::to_value(route)?)?;
    RouteSpec::try_from(&route)
}
