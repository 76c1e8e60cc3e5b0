//! `tuntap`: the host on the other side of the punt, and the routes of its routing daemons.
//!
//! Each interface that is told to has a way to the host: a tap of its own (`tap`), or the tun of its routing table (`tun`). A mirror
//! follows the kernel's routing table of a namespace and keeps the same routes in one of raddle's.
//!
//! The files: this one registers; `config.rs` is the section of the configuration; `node_*.rs` stand in the packets' way, with
//! `targets.rs` and `link_header.rs`; `sync.rs` is the task that has `service/` bring interfaces, addresses (`address_merge.rs`) and
//! routes in line; `netlink/` talks to the kernel, on a thread for each namespace; `mirror/` knows what routes mean; `command.rs`
//! shows it all, by `service/report.rs`.
#![forbid(unsafe_code)]

mod address_merge;
mod command;
mod config;
mod link_header;
pub mod mirror;
pub mod netlink;
mod node_from_host;
mod node_to_host;
mod service;
mod sync;
mod targets;

use std::sync::Arc;

use raddle_plugin_api::InterfaceEvent;
use raddle_plugin_api::prelude::*;

use crate::config::TuntapConfig;
use crate::node_from_host::FromHost;
use crate::node_to_host::ToHost;
use crate::service::{Adoptable, Service};
use crate::targets::Targets;

/// Name of the plugin, its feature on the arc `punt` and its section of the configuration.
const NAME: &str = "tuntap";
/// Name of the feature of tuns, on the unicast arcs.
const FROM_HOST: &str = "tuntap-from-host";

plugin! { "tuntap", "has the host answer what raddle does not, and follows the kernel's routes" }

config! { "tuntap", TuntapConfig }
init! { "tuntap-init", init }
exit! { "tuntap-exit", exit }
on_event! { "interface", interface_changed }
on_event! { "config", config_changed }

state! { "routes", version: 1, oldest: 1, export: export, import: import }

feature! { "tuntap", node: ToHost, arc: "punt" }
feature! { "tuntap-from-host", node: FromHost, arc: "ip4-unicast", runs_before: ["acl", "gro", "nat64"] }
feature! { "tuntap-from-host", node: FromHost, arc: "ip6-unicast", runs_before: ["acl", "gro", "nat64"] }

fn init(control: &mut Control<'_>) -> Result<(), Failure> {
    let config: TuntapConfig = control.config(NAME)?;
    config.check()?;
    control.provide(Arc::new(Targets::new(control)))?;
    control.provide(Arc::new(Service::new(control, config)))?;
    sync::start(control);
    // What is there already, such as the taps of another version of the plugin, is taken over at once.
    control.resource::<Service>()?.reconcile(control);
    Ok(())
}

/// Another version takes over: it is told which routes are from here.
fn export(control: &mut Control<'_>) -> Result<Vec<u8>, Failure> {
    Ok(serde_json::to_vec(&control.resource::<Service>()?.adoptable())?)
}

fn import(control: &mut Control<'_>, _: u32, bytes: &[u8]) -> Result<(), Failure> {
    let adopted: Vec<Adoptable> = serde_json::from_slice(bytes)?;
    control.resource::<Service>()?.adopt(adopted);
    Ok(())
}

fn exit(control: &mut Control<'_>) -> Result<(), Failure> {
    control.resource::<Service>()?.end(control);
    Ok(())
}

fn interface_changed(control: &mut Control<'_>, _: InterfaceEvent) -> Result<(), Failure> {
    // Whatever it was: the task looks for itself.
    control.signal(sync::WORK, &()).map(drop)
}

/// SIGHUP has read the configuration anew.
fn config_changed(control: &mut Control<'_>, _: serde_json::Value) -> Result<(), Failure> {
    let config: TuntapConfig = control.config(NAME)?;
    config.check()?;
    if control.resource::<Service>()?.take_up(&config) {
        control.report_section(NAME, &config)?;
        control.signal(sync::WORK, &())?;
    }
    Ok(())
}
