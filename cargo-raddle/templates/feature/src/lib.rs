//! `sample-plugin`: drops IP packets whose TTL or hop limit is lower than the configuration allows.
//!
//! The files: this one registers; `config.rs` is the section of the configuration, `node.rs` stands in the packets'
//! way, `command.rs` tells people about it.
#![forbid(unsafe_code)]

mod command;
mod config;
mod node;

use std::sync::Arc;

use raddle_plugin_api::prelude::*;

use crate::config::SamplePluginConfig;
use crate::node::{Ip4, Ip6, SamplePlugin};

/// Name of the plugin, its feature, its counters and its section of the configuration.
const NAME: &str = "sample-plugin";

plugin! { "sample-plugin", "drops IP packets with a low TTL or hop limit" }
config! { "sample-plugin", SamplePluginConfig }
init! { "sample-plugin-init", init }

node!(SamplePlugin<Ip4>);
node!(SamplePlugin<Ip6>);
feature! { "sample-plugin", node: SamplePlugin<Ip4>, arc: "ip4-unicast" }
feature! { "sample-plugin", node: SamplePlugin<Ip6>, arc: "ip6-unicast" }

command! { "sample-plugin show", "shows the packets that passed and those that were dropped", command::show }

/// What nodes and commands share.
struct Shared {
    config: SamplePluginConfig,
    counters: Counters,
}

/// Reads the configuration, before the nodes are made.
fn init(control: &mut Control<'_>) -> Result<(), Failure> {
    let config = control.config(NAME)?;
    let counters = control.counters(NAME, node::COUNTERS)?;
    control.provide(Arc::new(Shared { config, counters }))
}
