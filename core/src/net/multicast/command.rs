//! Commands for multicast groups.

use std::net::IpAddr;

use raddle_plugin_api::prelude::*;
use serde::Deserialize;

use super::groups::{GroupInfo, Groups};
use crate::net::port_policy::PortPolicies;

command! {
    "show multicast groups [<interface>]",
    "shows the multicast groups that raddle itself is in, and by which protocol that is reported",
    show
}
command! {
    "multicast join|leave <interface> <group:ip>",
    "joins a multicast group on an interface, or leaves it",
    change
}
command! {
    "set interface igmp <interface> <report:on-off>",
    "reports IPv4 groups to the routers of the interface's link, or does not",
    set_igmp
}
command! {
    "set interface mld <interface> <report:on-off>",
    "reports IPv6 groups to the routers of the interface's link, or does not",
    set_mld
}

#[derive(Deserialize)]
struct Show {
    interface: Option<String>,
}

fn show(control: &mut Control<'_>, arguments: Show) -> Result<Vec<GroupInfo>, Failure> {
    let only = arguments.interface.map(|name| control.interface(&name)).transpose()?;
    let interfaces = control.interfaces()?;
    let name = |index| {
        let found = interfaces.iter().find(|interface| interface.index == index);
        found.map_or_else(|| format!("#{index}"), |interface| interface.name.clone())
    };
    Ok(control.resource::<Groups>()?.list(control, only.map(|interface| interface.index), name))
}

#[derive(Deserialize)]
struct ChangeGroup {
    #[serde(default)]
    join: bool,
    interface: String,
    group: IpAddr,
}

fn change(control: &mut Control<'_>, arguments: ChangeGroup) -> Result<(), Failure> {
    let interface = control.interface(&arguments.interface)?.index;
    let groups = control.resource::<Groups>()?;
    if arguments.join {
        groups.join(control, interface, arguments.group)
    } else {
        groups.leave(control, interface, arguments.group)
    }
}

#[derive(Deserialize)]
struct SetReporting {
    interface: String,
    report: bool,
}

fn set_igmp(control: &mut Control<'_>, arguments: SetReporting) -> Result<(), Failure> {
    let interface = control.interface(&arguments.interface)?.index;
    let policies = control.resource::<PortPolicies>()?;
    policies.change(control, interface, |policy| policy.igmp = arguments.report)
}

fn set_mld(control: &mut Control<'_>, arguments: SetReporting) -> Result<(), Failure> {
    let interface = control.interface(&arguments.interface)?.index;
    let policies = control.resource::<PortPolicies>()?;
    policies.change(control, interface, |policy| policy.mld = arguments.report)
}
