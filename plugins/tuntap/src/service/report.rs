//! What `show tuntap` shows.

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::InterfaceAddress;
use serde::Serialize;

use super::{Service, taps};
use crate::config::Mode;
use crate::netlink::Status;

/// Failures of a mirror that are listed.
const MOST_LISTED: usize = 8;

/// All of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Interfaces with a way to the host.
    pub interfaces: Vec<InterfaceReport>,
    /// Tuns.
    pub tuns: Vec<TunReport>,
    /// Namespaces that are watched.
    pub namespaces: Vec<NamespaceReport>,
    /// Tables of the kernel that are followed.
    pub mirrors: Vec<MirrorReport>,
}

/// An interface's way to the host.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct InterfaceReport {
    /// The interface.
    pub interface: String,
    /// `tap` or `tun`.
    pub mode: Mode,
    /// The tap among raddle's interfaces.
    pub twin: Option<String>,
    /// The tap on the host.
    pub device: Option<String>,
    /// Where that is; none: raddle's own namespace.
    pub namespace: Option<String>,
    /// Addresses on both sides.
    pub addresses_in_sync: usize,
    /// Addresses on one side only.
    pub addresses_out_of_sync: Vec<InterfaceAddress>,
    /// What is wrong.
    pub fault: Option<String>,
}

/// A tun.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TunReport {
    /// Number of its routing table.
    pub table: u32,
    /// Its name on the host.
    pub device: String,
    /// Where that is; none: raddle's own namespace.
    pub namespace: Option<String>,
    /// Addresses that the host's side has not yet.
    pub addresses_out_of_sync: Vec<InterfaceAddress>,
    /// What is wrong.
    pub fault: Option<String>,
}

/// A namespace that is watched.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NamespaceReport {
    /// Its name; none: raddle's own.
    pub namespace: Option<String>,
    /// Namespaces that had the name before.
    pub replaced: u64,
    /// How that goes.
    #[serde(flatten)]
    pub status: Status,
}

/// A table of the kernel that is followed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MirrorReport {
    /// Its namespace; none: raddle's own.
    pub namespace: Option<String>,
    /// The kernel's table: its number, or `vrf` and a name.
    pub kernel_table: String,
    /// The routing table of raddle's.
    pub table: String,
    /// Preference of its routes.
    pub preference: u64,
    /// Prefixes of which the kernel has routes.
    pub kernel: usize,
    /// Those whose routes are here.
    pub in_sync: usize,
    /// Those whose routes are about to change here.
    pub pending: usize,
    /// Those whose routes are refused here.
    pub failed: usize,
    /// Those whose routes lead by devices that are none of raddle's.
    pub foreign: usize,
    /// Some of those that are refused, and why.
    pub failures: Vec<String>,
    /// Why there is nothing to follow.
    pub fault: Option<String>,
}

impl Service {
    /// How everything stands.
    pub fn report(&self) -> Report {
        let config = self.config();
        let state = self.state();
        let interfaces = config.interface.iter().map(|(name, asked)| {
            let tap = state.taps.get(name);
            InterfaceReport {
                interface: name.clone(),
                mode: asked.mode,
                twin: tap.and_then(|tap| tap.index).map(|_| taps::name_of(name)),
                device: tap.map(|tap| tap.device.clone()),
                namespace: tap.and_then(|tap| tap.namespace.clone()),
                addresses_in_sync: tap.and_then(|tap| tap.agreed.as_ref()).map_or(0, |agreed| agreed.len()),
                addresses_out_of_sync: tap
                    .map(|tap| tap.differ.iter().copied().collect())
                    .unwrap_or_default(),
                fault: tap
                    .and_then(|tap| tap.fault.clone())
                    .or_else(|| state.said.get(&format!("interface {name}")).cloned()),
            }
        });
        let tuns = state.tuns.iter().map(|(table, tun)| TunReport {
            table: *table,
            device: tun.device.clone(),
            namespace: tun.namespace.clone(),
            addresses_out_of_sync: tun.differ.iter().copied().collect(),
            fault: tun.fault.clone(),
        });
        let namespaces = state.monitors.iter().map(|(namespace, watched)| NamespaceReport {
            namespace: namespace.clone(),
            replaced: watched.replaced,
            status: watched.status(),
        });
        let mirrors = state.mirrors.iter().map(|mirror| {
            let routes = mirror.routes();
            let standing = routes.standing();
            let failures = routes.failures().take(MOST_LISTED);
            MirrorReport {
                namespace: mirror.namespace.clone(),
                kernel_table: mirror.kernel_table().to_string(),
                table: mirror.config.table.to_string(),
                preference: mirror.config.preference.get(),
                kernel: standing.kernel,
                in_sync: standing.in_sync,
                pending: standing.pending,
                failed: standing.failed,
                foreign: standing.foreign,
                failures: failures.map(|(prefix, reason)| format!("{prefix}: {reason}")).collect(),
                fault: state.fault_of(mirror),
            }
        });
        Report {
            interfaces: interfaces.collect(),
            tuns: tuns.collect(),
            namespaces: namespaces.collect(),
            mirrors: mirrors.collect(),
        }
    }
}

impl CommandOutput for Report {
    fn text(&self) -> Option<String> {
        let place = |namespace: &Option<String>| {
            namespace.as_ref().map_or_else(String::new, |namespace| format!(" in namespace {namespace}"))
        };
        let mut lines = Vec::new();
        let fault = |lines: &mut Vec<String>, fault: &Option<String>| {
            lines.extend(fault.as_ref().map(|fault| format!("  fault: {fault}")));
        };
        let list = |addresses: &[InterfaceAddress]| {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        for interface in &self.interfaces {
            let InterfaceReport { interface: name, mode, device, namespace, .. } = interface;
            match (mode, device) {
                (Mode::Tap, Some(device)) => lines.push(format!(
                    "{name}: tap {device}{}, {} addresses in sync",
                    place(namespace),
                    interface.addresses_in_sync
                )),
                (Mode::Tap, None) => lines.push(format!("{name}: no tap")),
                (Mode::Tun, _) => lines.push(format!("{name}: by the tun of its table")),
            }
            if !interface.addresses_out_of_sync.is_empty() {
                lines.push(format!("  on one side only: {}", list(&interface.addresses_out_of_sync)));
            }
            fault(&mut lines, &interface.fault);
        }
        for tun in &self.tuns {
            lines.push(format!("table {}: tun {}{}", tun.table, tun.device, place(&tun.namespace)));
            if !tun.addresses_out_of_sync.is_empty() {
                lines.push(format!("  not on the host: {}", list(&tun.addresses_out_of_sync)));
            }
            fault(&mut lines, &tun.fault);
        }
        for mirror in &self.mirrors {
            let MirrorReport {
                kernel_table,
                namespace,
                table,
                kernel,
                in_sync,
                pending,
                failed,
                foreign,
                ..
            } = mirror;
            lines.push(format!(
                "kernel's table {kernel_table}{} into table {table}: {kernel} prefixes, {in_sync} in sync, {pending} pending, \
                 {failed} refused, {foreign} by other devices",
                place(namespace)
            ));
            lines.extend(mirror.failures.iter().map(|failure| format!("  refused: {failure}")));
            fault(&mut lines, &mirror.fault);
        }
        for NamespaceReport { namespace, replaced, status } in &self.namespaces {
            let name = namespace.as_deref().unwrap_or("raddle's own");
            let Status { events, overruns, resyncs, .. } = status;
            let replaced = if *replaced > 0 { format!(", replaced {replaced} times") } else { String::new() };
            lines.push(format!(
                "namespace {name}: {events} events, {overruns} overruns, routes read {resyncs} times{replaced}"
            ));
            fault(&mut lines, &status.fault);
        }
        if lines.is_empty() {
            lines.push("nothing: no interface has a way to the host, and no table is followed".to_owned());
        }
        Some(lines.join("\n"))
    }
}
