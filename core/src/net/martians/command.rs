//! Commands for martians.

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::IpPrefix;
use serde::Deserialize;

use super::table::{MartianInfo, Martians};
use crate::net::port_policy::PortPolicies;

command! {
    "show martians",
    "shows the special-purpose prefixes and what may be done with their addresses",
    show
}
command! {
    "set martians <check:on-off>",
    "checks for martians, or does not, on interfaces that say nothing of it",
    set_check
}
command! {
    "martians allow|deny|reset <prefix:prefix>",
    "lets a prefix's addresses pass, or not, or as the registry says",
    set_prefix
}

fn show(control: &mut Control<'_>, _: NoArguments) -> Result<Vec<MartianInfo>, Failure> {
    control.resource::<Martians>()?.list()
}

#[derive(Deserialize)]
struct Check {
    check: bool,
}

fn set_check(control: &mut Control<'_>, arguments: Check) -> Result<(), Failure> {
    control.resource::<PortPolicies>()?.check_martians(control, arguments.check)
}

#[derive(Deserialize)]
struct OnePrefix {
    #[serde(default)]
    allow: bool,
    #[serde(default)]
    deny: bool,
    prefix: IpPrefix,
}

fn set_prefix(control: &mut Control<'_>, arguments: OnePrefix) -> Result<(), Failure> {
    let martians = control.resource::<Martians>()?;
    let (mut lists, prefix) = (martians.lists(), arguments.prefix);
    let was_listed = lists.allow.remove(&prefix) | lists.deny.remove(&prefix);
    if arguments.allow {
        lists.allow.insert(prefix);
    } else if arguments.deny {
        lists.deny.insert(prefix);
    } else if !was_listed {
        bail!("{prefix} is as the registry says already");
    }
    martians.set_lists(control, lists)
}
