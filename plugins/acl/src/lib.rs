//! `acl`: access lists, stateless and reflexive, for each interface and direction, of routed and of switched interfaces.
//!
//! The files: `rule.rs` and `rule_text.rs` are rules and their text, `link_rule.rs` those of the link layer, `compile/` makes
//! of them what packets are classified by, `policy.rs` is what workers see. `key.rs` reads packets; `judge.rs` says what
//! becomes of one, by `session/` or by the rules; `lanes.rs` says it of whole frames at once. `node_ip.rs`, `node_l2.rs` and `node_aging.rs` stand in the packets' way.
//! `store.rs` is the main thread's side, `config.rs` and `command/` what operators see of it, `handover.rs` what the next version of
//! the plugin does.
#![forbid(unsafe_code)]
#![allow(missing_docs)]

mod acl;
mod command;
pub mod compile;
mod config;
mod direction;
mod family;
mod frame;
mod handover;
mod hits;
mod judge;
pub mod key;
mod lanes;
mod link_rule;
mod log;
mod name;
mod node_aging;
mod node_arp;
mod node_ip;
mod node_l2;
mod policy;
pub mod rule;
pub mod rule_text;
mod session;
mod store;
mod trace;
mod verdict;

use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent};

use crate::acl::Acl;
use crate::compile::{WORDS4, WORDS6};
use crate::config::AclConfig;
use crate::family::{Ip4, Ip6};
use crate::node_arp::AclArp;
use crate::node_ip::AclNode;
use crate::node_l2::AclL2;

/// Name of the plugin and of its section of the configuration.
const NAME: &str = "acl";

plugin! { "acl", "access lists, stateless and reflexive, for each interface and direction" }

config! { "acl", AclConfig }
init! { "acl-init", init }
on_event! { "interface", interface_changed }
on_event! { "config", config_changed }
on_event! { "metrics", command::report_metrics }

feature! {
    "acl-in", node: AclNode<Ip4, WORDS4, false>, arc: "ip4-unicast",
    runs_after: ["ip4-reassembly", "ip4-virtual-reassembly", "ip4-martians", "ip4-urpf"], runs_before: ["nat64"], fail_closed
}
feature! {
    "acl-in", node: AclNode<Ip6, WORDS6, false>, arc: "ip6-unicast",
    runs_after: ["ip6-reassembly", "ip6-virtual-reassembly", "ip6-martians", "ip6-urpf"], runs_before: ["nat64"], fail_closed
}
feature! { "acl-in", node: AclNode<Ip4, WORDS4, false>, arc: "ip4-multicast", fail_closed }
feature! { "acl-in", node: AclNode<Ip6, WORDS6, false>, arc: "ip6-multicast", fail_closed }
feature! { "acl-out", node: AclNode<Ip4, WORDS4, true>, arc: "ip4-output", fail_closed }
feature! { "acl-out", node: AclNode<Ip6, WORDS6, true>, arc: "ip6-output", fail_closed }
feature! { "acl-arp-in", node: AclArp, arc: "arp", fail_closed }
feature! { "acl-l2-in", node: AclL2<false>, arc: "l2-input", runs_after: ["l2-virtual-reassembly"], fail_closed }
feature! { "acl-l2-out", node: AclL2<true>, arc: "interface-output", runs_before: ["l2-tag-rewrite"], fail_closed }

/// Makes what nodes and commands share, and applies what the configuration says to the interfaces that are there.
fn init(control: &mut Control<'_>) -> Result<(), Failure> {
    let config: AclConfig = control.config(NAME)?;
    let acl = Arc::new(Acl::new(control, &config)?);
    control.provide(Arc::clone(&acl))?;
    acl.change(control, |_| Ok(()))
}

/// Takes up the section as the file has it now, if that is not as it was read before: sets, lists and where they are applied,
/// all at once, timeouts and the log's rate. Rules that stay go on counting, and sessions stay.
fn config_changed(control: &mut Control<'_>, _: serde::de::IgnoredAny) -> Result<(), Failure> {
    let config: AclConfig = control.config(NAME)?;
    let acl = acl::acl(control)?;
    let before = acl.section();
    if config == before {
        return Ok(());
    }
    acl.change(control, |store| store.read_again(&config))?;
    if config.max_sessions != before.max_sessions {
        control.log(LogLevel::WARN, "acl: a change of max-sessions takes effect at the next start");
    }
    acl.logger.set_rate(config.log_rate.get() as u32);
    acl.set_section(config);
    Ok(())
}

/// Applies what is said of an interface's name when it comes; forgets it when it goes.
fn interface_changed(control: &mut Control<'_>, event: InterfaceEvent) -> Result<(), Failure> {
    let acl = acl::acl(control)?;
    match event.change {
        InterfaceChange::Created => {
            // The index may have been another interface's before.
            acl.change(control, |store| {
                store.forget(event.interface.index);
                Ok(())
            })
        }
        InterfaceChange::Deleted => {
            // What is applied stays until the row is another interface's: packets may be on their way still.
            acl.store().forget(event.interface.index);
            command::end_sessions_later(control, event.interface.index);
            Ok(())
        }
        _ => Ok(()),
    }
}
