//! What it has of the network: routes, neighbours, groups.

use std::net::IpAddr;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::route::{RouteBatch, RouteTarget, TableKey};
use raddle_plugin_api::wire::IpPrefix;
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Route {
    prefix: IpPrefix,
}

fn batch(prefix: IpPrefix) -> RouteBatch {
    RouteBatch {
        table: TableKey::DEFAULT,
        preference: 20,
        owner: 7,
        targets: vec![RouteTarget::Blackhole],
        routes: vec![(prefix, Some(0))],
    }
}

pub fn add_route(control: &mut Control<'_>, arguments: Route) -> Result<(), Failure> {
    control.change_routes(&batch(arguments.prefix)).map(drop)
}

#[derive(Deserialize)]
pub struct Station {
    interface: String,
    address: IpAddr,
    mac: MacAddress,
}

pub fn set_neighbor(control: &mut Control<'_>, arguments: Station) -> Result<(), Failure> {
    let interface = control.interface(&arguments.interface)?.index;
    control.set_neighbor(interface, arguments.address, arguments.mac)
}

#[derive(Deserialize)]
pub struct Group {
    interface: String,
    group: IpAddr,
}

pub fn join_group(control: &mut Control<'_>, arguments: Group) -> Result<(), Failure> {
    control.join_group(control.interface(&arguments.interface)?.index, arguments.group)
}

/// One of each, on the first interface there is.
pub fn change_all(control: &Control<'_>) -> Result<(), Failure> {
    control.change_routes(&batch("198.51.100.0/24".parse()?))?;
    let Some(interface) = control.interfaces()?.into_iter().find(|interface| interface.mac.is_some()) else {
        bail!("there is no interface");
    };
    let mac = MacAddress([2, 0, 0, 0, 9, 9]);
    control.set_neighbor(interface.index, "10.255.0.9".parse()?, mac)?;
    control.join_group(interface.index, "239.9.9.9".parse()?)
}
