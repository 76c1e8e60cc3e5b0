//! `flow-count`: counts packets and bytes by interface and by flow, on their way through `ip4-unicast` and
//! `ip6-unicast`.
//!
//! The files: this one registers; `config.rs` is the section of the configuration, `flow.rs` tells a packet's flow,
//! `table.rs` counts flows, `counts.rs` is what nodes and commands share, `node.rs` stands in the packets' way,
//! `trace.rs` and `command.rs` tell people about it.
#![forbid(unsafe_code)]

mod command;
mod config;
mod counts;
mod flow;
mod node;
mod table;
mod trace;

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent};

use crate::config::FlowCountConfig;
use crate::counts::Counts;
use crate::node::{FlowCount, Ip4, Ip6};

/// Name of the plugin, its feature, its counters and its section of the configuration.
const NAME: &str = "flow-count";

plugin! { "flow-count", "counts packets and bytes by interface and by flow" }

config! { "flow-count", FlowCountConfig }
init! { "flow-count-init", init }
on_event! { "interface", interface_changed }

node!(FlowCount<Ip4>);
node!(FlowCount<Ip6>);
feature! { "flow-count", node: FlowCount<Ip4>, arc: "ip4-unicast" }
feature! { "flow-count", node: FlowCount<Ip6>, arc: "ip6-unicast" }

command! {
    "flow-count show [top <count:u32>]", "shows the packets counted by interface, and the busiest flows",
    command::show
}
command! { "flow-count clear", "begins to count at zero again", command::clear }

/// Makes what nodes and commands share, and switches the feature on where the configuration wants it.
fn init(control: &mut Control<'_>) -> Result<(), Failure> {
    let config: FlowCountConfig = control.config(NAME)?;
    let counts = Arc::new(Counts::new(control, &config)?);
    control.provide(Arc::clone(&counts))?;
    for interface in control.interfaces()? {
        if counts.is_wanted(&interface.name) {
            control.set_feature(interface.index, NAME, true)?;
        }
    }
    Ok(())
}

/// Switches the feature on for interfaces that come later.
fn interface_changed(control: &mut Control<'_>, event: InterfaceEvent) -> Result<(), Failure> {
    if event.change != InterfaceChange::Created {
        return Ok(());
    }
    let counts = control.resource::<Counts>()?;
    // The row may have been another interface's before.
    counts.clear_interface(event.interface.index);
    if counts.is_wanted(&event.interface.name) {
        control.set_feature(event.interface.index, NAME, true)?;
    }
    Ok(())
}
