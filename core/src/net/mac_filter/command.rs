//! Commands for the MAC addresses that interfaces take frames for.
#![forbid(unsafe_code)]

use raddle_plugin_api::prelude::*;
use serde::Deserialize;

use super::MacFilters;

command! {
    "set interface mac-address <interface> add|del <mac:mac>",
    "has an interface take frames for one MAC address more, a station's or a group's, or not any more",
    set_address
}
command! {
    "set interface multicast-filter <interface> <filter:on-off>",
    "drops frames for groups that were not joined on the interface, or takes those of all groups",
    set_filter
}

#[derive(Deserialize)]
struct SetAddress {
    interface: String,
    #[serde(default)]
    add: bool,
    mac: MacAddress,
}

fn set_address(control: &mut Control<'_>, arguments: SetAddress) -> Result<(), Failure> {
    let interface = ethernet(control, &arguments.interface)?;
    let filters = control.resource::<MacFilters>()?;
    let done = if arguments.add {
        filters.add(control, interface, arguments.mac)
    } else {
        filters.remove(control, interface, arguments.mac)
    };
    done.map_err(|failure| failure.context(format_args!("interface `{}`", arguments.interface)))
}

#[derive(Deserialize)]
struct SetFilter {
    interface: String,
    filter: bool,
}

fn set_filter(control: &mut Control<'_>, arguments: SetFilter) -> Result<(), Failure> {
    let interface = ethernet(control, &arguments.interface)?;
    control.resource::<MacFilters>()?.set_filters_groups(control, interface, arguments.filter)
}

fn ethernet(control: &Control<'_>, name: &str) -> Result<InterfaceIndex, Failure> {
    let info = control.interface(name)?;
    if info.mac.is_none() {
        bail!("interface `{name}` has no Ethernet header, and so no MAC addresses");
    }
    Ok(info.index)
}
