//! `ipsec`: an ESP gateway (RFC 4301, RFC 4303), with tunnels that are interfaces.
//!
//! The files: this one registers. `algorithm.rs`, `key.rs` and `engine/` are the crypto, `sa.rs`, `replay.rs` and `esp.rs` the protocol, without
//! clock or thread. `sealer.rs` and `opener.rs` do a frame's packets, for the nodes `ipsec_tx.rs` and `ipsec_decrypt.rs`. `tables.rs` is what workers
//! see, `selector.rs` and `spd.rs` the policies, for the nodes `ipsec_policy_*.rs`; `store.rs` and `used_keys.rs` are what the main thread keeps; `config.rs`, `policies.rs`, `tunnel.rs` and `command.rs` are the operator's side.
#![forbid(unsafe_code)]

pub mod algorithm;
mod command;
mod config;
pub mod engine;
pub mod esp;
mod ipsec_decrypt;
mod ipsec_policy_in;
mod ipsec_policy_out;
mod ipsec_tx;
pub mod key;
pub mod opener;
mod policies;
pub mod reason;
pub mod replay;
pub mod sa;
mod sealer;
pub mod selector;
mod service;
pub mod spd;
mod store;
pub mod tables;
mod tunnel;
mod used_keys;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::task;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent};

use crate::config::{IpsecConfig, SaConfig};
use crate::ipsec_decrypt::IpsecDecrypt;
use crate::ipsec_policy_in::PolicyIn;
use crate::ipsec_policy_out::{Ip4, Ip6, PolicyOut};
use crate::policies::PoliciesConfig;
use crate::service::Ipsec;
use crate::store::Store;
use crate::used_keys::UsedKeys;

/// Name of the plugin and of its section of the configuration.
const NAME: &str = "ipsec";
/// The feature that takes ESP for own addresses.
const DECRYPT: &str = "ipsec-decrypt";
/// How often it is looked whether SAs are near a bound, or need more sequence numbers noted.
const WATCH: Duration = Duration::from_millis(100);

plugin! { "ipsec", "tunnels of IPsec ESP (RFC 4303), with keys from the operator" }

config! { "ipsec", IpsecConfig }
init! { "ipsec-init", init }
exit! { "ipsec-exit", exit }
on_event! { "interface", interface_changed }
on_event! { "config", config_changed }

feature! { "ipsec-decrypt", node: IpsecDecrypt, arc: "ip-local", fail_closed }
feature! {
    "ipsec-policy-out", node: PolicyOut<Ip4>, arc: "ip4-output", runs_after: ["acl-out"], fail_closed
}
feature! {
    "ipsec-policy-out", node: PolicyOut<Ip6>, arc: "ip6-output", runs_after: ["acl-out"], fail_closed
}
feature! {
    "ipsec-policy-in", node: PolicyIn<Ip4>, arc: "ip4-unicast",
    runs_after: ["ip4-reassembly", "ip4-martians", "ip4-urpf"], runs_before: ["acl-in", "nat64"], fail_closed
}
feature! {
    "ipsec-policy-in", node: PolicyIn<Ip6>, arc: "ip6-unicast",
    runs_after: ["ip6-reassembly", "ip6-martians", "ip6-urpf"], runs_before: ["acl-in", "nat64"], fail_closed
}

/// Makes what nodes and commands share, with the SAs of the configuration.
fn init(control: &mut Control<'_>) -> Result<(), Failure> {
    let config: IpsecConfig = control.config(NAME)?;
    let mut store = Store::new(config.engine.as_deref(), UsedKeys::new(control.state_directory()))?;
    let now_ns = control.now_ns();
    for (name, sa) in &config.sa {
        store.add(name, sa.clone(), now_ns)?;
    }
    store.set_policies(config.policies.clone())?;
    let interfaces = control.interfaces()?;
    for interface in &interfaces {
        store.add_interface(&interface.name, interface.index);
    }
    let policies = config.policies.clone();
    let ipsec = Arc::new(Ipsec::new(control, config, store));
    ipsec.publish(control);
    control.provide(Arc::clone(&ipsec))?;
    for interface in interfaces {
        control.set_feature(interface.index, DECRYPT, true)?;
        set_policy_features(control, &policies, &interface.name, interface.index, true)?;
    }
    control.spawn("ipsec-watch", |task| async move {
        let mut ticks = task::interval(WATCH);
        loop {
            ticks.tick().await;
            task.with(|control| watch(control, &ipsec));
        }
    });
    Ok(())
}

/// Has the policies judge what an interface brings and sends, if it is one of theirs, or not any more. Of tunnels that is what they bring.
fn set_policy_features(
    control: &Control<'_>,
    policies: &PoliciesConfig,
    name: &str,
    index: InterfaceIndex,
    on: bool,
) -> Result<(), Failure> {
    let is_judged = policies.interfaces.iter().any(|interface| interface == name);
    if is_judged {
        control.set_feature(index, "ipsec-policy-out", on)?;
    }
    if is_judged || policies.tunnels().any(|tunnel| tunnel == name) {
        control.set_feature(index, "ipsec-policy-in", on)?;
    }
    Ok(())
}

/// Notes where keys stopped.
fn exit(control: &mut Control<'_>) -> Result<(), Failure> {
    control.resource::<Ipsec>()?.store().clear();
    Ok(())
}

/// Keeps SAs in sequence numbers, and tells of bounds that were met.
fn watch(control: &Control<'_>, ipsec: &Ipsec) {
    let failed = ipsec.store().note_ahead();
    for reason in failed {
        log_error!(control, "ipsec: no more sequence numbers: {reason}");
    }
    let events = ipsec.store().lifetimes(control.now_ns());
    for event in &events {
        let what = if event.hard { "has ended" } else { "should be replaced" };
        log_warn!(control, "ipsec: SA `{}` {what}: its bound of {:?} was met", event.sa, event.bound);
        if let Err(failure) = control.signal("ipsec-lifetime", event) {
            log_error!(control, "ipsec: {failure}");
        }
    }
    if events.iter().any(|event| event.hard) {
        ipsec.publish(control);
    }
}

/// Takes up interfaces that come, tunnels among them, and forgets those that go.
fn interface_changed(control: &mut Control<'_>, event: InterfaceEvent) -> Result<(), Failure> {
    let Ok(ipsec) = control.resource::<Ipsec>() else { return Ok(()) };
    match event.change {
        InterfaceChange::Created => {
            ipsec.store().add_interface(&event.interface.name, event.interface.index);
            control.set_feature(event.interface.index, DECRYPT, true)?;
            let policies = ipsec.store().policies().clone();
            set_policy_features(control, &policies, &event.interface.name, event.interface.index, true)?;
        }
        InterfaceChange::Deleted => ipsec.store().remove_interface(&event.interface.name),
        _ => return Ok(()),
    }
    ipsec.publish(control);
    Ok(())
}

/// The configuration was read again: SAs of which it says something else now are made anew, others go on.
fn config_changed(control: &mut Control<'_>, _: serde::de::IgnoredAny) -> Result<(), Failure> {
    let new: IpsecConfig = control.config(NAME)?;
    let ipsec = control.resource::<Ipsec>()?;
    let old = std::mem::replace(&mut *ipsec.config(), new.clone());
    if new.engine != old.engine {
        log_warn!(control, "ipsec: a change of `engine` takes effect at the next start");
    }
    if new == old {
        return Ok(());
    }
    let now_ns = control.now_ns();
    if new.policies != old.policies {
        ipsec.store().set_policies(new.policies.clone())?;
        for interface in control.interfaces()? {
            set_policy_features(control, &old.policies, &interface.name, interface.index, false)?;
            set_policy_features(control, &new.policies, &interface.name, interface.index, true)?;
        }
    }
    let differs = |name: &String, one: &SaConfig, others: &BTreeMap<String, SaConfig>| {
        others.get(name).is_none_or(|other| other != one)
    };
    ipsec.change(control, |store| {
        for (name, _) in old.sa.iter().filter(|(name, sa)| differs(name, sa, &new.sa)) {
            // A command may have deleted it.
            let _ = store.delete(name);
        }
        for (name, sa) in new.sa.iter().filter(|(name, sa)| differs(name, sa, &old.sa)) {
            store.add(name, sa.clone(), now_ns)?;
        }
        Ok(())
    })
}
