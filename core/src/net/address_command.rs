//! Commands for addresses of interfaces.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::InterfaceAddress;
use serde::{Deserialize, Serialize};

use super::addresses::{AddressState, Addresses};

command! {
    "set interface address <interface> add|del <address:string>",
    "gives an interface an address, as 192.0.2.1/24, or takes it away",
    set_address
}
command! {
    "show interface address [<interface>]",
    "shows the addresses of interfaces",
    show_addresses
}

#[derive(Deserialize)]
struct SetAddress {
    interface: String,
    #[serde(default)]
    add: bool,
    address: String,
}

fn set_address(control: &mut Control<'_>, arguments: SetAddress) -> Result<(), Failure> {
    let interface = control.interface(&arguments.interface)?.index;
    let address: InterfaceAddress = arguments.address.parse()?;
    let addresses = control.resource::<Addresses>()?;
    if arguments.add {
        addresses.add(control, interface, address)
    } else {
        addresses.remove(control, interface, address)
    }
}

#[derive(Deserialize)]
struct ShowAddresses {
    interface: Option<String>,
}

/// An address of an interface.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct AddressInfo {
    interface: String,
    address: InterfaceAddress,
    scope: &'static str,
    state: AddressState,
}

fn show_addresses(control: &mut Control<'_>, arguments: ShowAddresses) -> Result<Vec<AddressInfo>, Failure> {
    let addresses = control.resource::<Addresses>()?;
    let interfaces = match arguments.interface {
        Some(name) => vec![control.interface(&name)?],
        None => control.interfaces()?,
    };
    let mut list = Vec::new();
    for interface in interfaces {
        list.extend(addresses.states(interface.index).into_iter().map(|(address, state)| AddressInfo {
            interface: interface.name.clone(),
            address,
            scope: scope(address.address()),
            state,
        }));
    }
    Ok(list)
}

fn scope(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => "link",
        _ => "global",
    }
}
