//! The commands about router advertisements.

use std::time::Duration;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::Ip6Address;
use serde::{Deserialize, Serialize};

use super::config::{PrefixConfig, RouterAdvertisementConfig};
use super::{RouterAdvertisements, config};

command! {
    "show router-advertisements [<interface>]",
    "shows what hosts are told of raddle as a router, and what other routers tell them",
    show
}
command! {
    "set interface router-advertisement <interface> <enabled:on-off>",
    "begins to tell hosts that raddle is a router, as configured or by the defaults, or ends it",
    set
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Which {
    interface: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Setting {
    interface: String,
    enabled: bool,
}

/// An interface, as `show router-advertisements` shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Shown {
    interface: String,
    /// `advertising`; `ending`, while the last ones go out; `waiting`, for the interface or its link-local address; `off`.
    state: &'static str,
    sent: u64,
    solicitations: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifetime_seconds: Option<u16>,
    prefixes: Vec<PrefixConfig>,
    routers: Vec<Router>,
}

/// Another router on the link.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Router {
    address: String,
    lifetime_seconds: u16,
    age_seconds: u64,
    contradictions: Vec<String>,
}

/// All of them.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct List(Vec<Shown>);

impl CommandOutput for List {
    fn text(&self) -> Option<String> {
        let mut lines = Vec::new();
        for shown in &self.0 {
            let Shown { interface, state, sent, solicitations, next_seconds, .. } = shown;
            let next = next_seconds.map(|seconds| format!(", next in {seconds:.1} s")).unwrap_or_default();
            let lifetime = shown.lifetime_seconds;
            let lifetime = lifetime.map(|seconds| format!(", lifetime {seconds} s")).unwrap_or_default();
            lines.push(format!(
                "{interface}: {state}{lifetime}, {sent} sent, {solicitations} solicited{next}"
            ));
            for PrefixConfig { prefix, on_link, autonomous, valid_seconds, preferred_seconds } in
                &shown.prefixes
            {
                let flags = [(on_link, "on-link"), (autonomous, "autonomous")];
                let flags: Vec<_> = flags.iter().filter(|(set, _)| **set).map(|(_, name)| *name).collect();
                let flags = flags.join(" ");
                lines.push(format!(
                    "  prefix {prefix} {flags} valid {valid_seconds} s preferred {preferred_seconds} s"
                ));
            }
            for Router { address, lifetime_seconds, age_seconds, contradictions } in &shown.routers {
                lines.push(format!("  router {address} lifetime {lifetime_seconds} s, {age_seconds} s ago"));
                lines.extend(contradictions.iter().map(|what| format!("    contradicts: {what}")));
            }
        }
        Some(if lines.is_empty() { "no router advertisements".to_owned() } else { lines.join("\n") })
    }
}

fn show(control: &mut Control<'_>, arguments: Which) -> Result<List, Failure> {
    let only = arguments.interface.map(|name| control.interface(&name)).transpose()?.map(|info| info.index);
    let now_ns = control.now_ns();
    let seconds_until = |at_ns: u64| Duration::from_nanos(at_ns.saturating_sub(now_ns)).as_secs_f64();
    let mut list = Vec::new();
    control.resource::<RouterAdvertisements>()?.for_each(control, |index, port, prefixes| {
        let silent = port.config.is_none() && port.others.is_empty();
        if only.is_some_and(|only| only != index) || (only.is_none() && silent) {
            return;
        }
        let router = |(address, other): (&Ip6Address, &super::service::Other)| Router {
            address: address.to_string(),
            lifetime_seconds: other.heard.lifetime_seconds,
            age_seconds: Duration::from_nanos(now_ns.saturating_sub(other.at_ns)).as_secs(),
            contradictions: other.contradictions.clone(),
        };
        let enabled = port.config.as_ref().filter(|config| config.enabled);
        list.push(Shown {
            interface: port.name().to_owned(),
            state: match (port.schedule, enabled) {
                (Some(schedule), _) if schedule.is_active() => "advertising",
                (Some(schedule), _) if schedule.next_ns().is_some() => "ending",
                (_, Some(_)) => "waiting",
                (_, None) => "off",
            },
            sent: port.sent,
            solicitations: port.solicitations,
            next_seconds: port.schedule.and_then(|schedule| schedule.next_ns()).map(seconds_until),
            lifetime_seconds: enabled.map(config::RouterAdvertisementConfig::lifetime),
            prefixes: if enabled.is_some() { prefixes } else { Vec::new() },
            routers: port.others.iter().map(router).collect(),
        });
    });
    Ok(List(list))
}

fn set(control: &mut Control<'_>, arguments: Setting) -> Result<(), Failure> {
    let info = control.interface(&arguments.interface)?;
    if info.mac.is_none() {
        bail!("interface {} has no link-layer addresses: hosts on it hear no advertisements", info.name);
    }
    let advertisements = control.resource::<RouterAdvertisements>()?;
    let known = advertisements.config(info.index).unwrap_or_default();
    let config = RouterAdvertisementConfig { enabled: arguments.enabled, ..known };
    advertisements.set_config(control, info.index, Some(config));
    Ok(())
}
