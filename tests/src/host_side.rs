//! The host on the other side of raddle's punt, in a namespace of its own: what both sides say of each other.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::words;
use crate::wait::wait_for;
use crate::{Daemon, DaemonConfig, Namespace, Topology, ping, target_dir};

/// How long anything may take that is waited for.
pub const WAIT: Duration = Duration::from_secs(30);

/// A routed topology whose host side is `host`, with further lines of `[tuntap]`.
#[must_use]
pub fn config(topology: &Topology, host: &Namespace, lines: &str) -> DaemonConfig {
    DaemonConfig::routed(topology)
        .plugins(&target_dir().join("plugins"))
        .with(&format!("[tuntap]\nnamespace = \"{}\"\n{lines}", host.name()))
}

/// A tap for both interfaces of [`Topology::two_hosts`].
pub const TAPS: &str = "[tuntap.interface.east]\n[tuntap.interface.west]\n";

/// A link of a namespace as `ip -json` shows it, with its addresses; `None`: there is none of the name.
///
/// # Errors
/// As [`crate::command::run`].
pub fn link(namespace: &Namespace, device: &str) -> Result<Option<Value>> {
    if !namespace.interfaces()?.iter().any(|name| name == device) {
        return Ok(None);
    }
    let mut links: Value = serde_json::from_str(&namespace.ip(&format!("-json address show {device}"))?)?;
    Ok(Some(links[0].take()))
}

/// The addresses of a device, with their lengths, sorted.
///
/// # Errors
/// As [`crate::command::run`].
pub fn addresses(namespace: &Namespace, device: &str) -> Result<Vec<String>> {
    let Some(link) = link(namespace, device)? else { return Ok(Vec::new()) };
    let all = link["addr_info"].as_array().cloned().unwrap_or_default();
    let text = |info: &Value| format!("{}/{}", info["local"].as_str().unwrap_or_default(), info["prefixlen"]);
    let mut all: Vec<_> = all.iter().map(text).collect();
    all.sort();
    Ok(all)
}

/// The addresses of an interface of raddle's, likewise.
///
/// # Errors
/// When raddle does not tell.
pub fn raddles_addresses(daemon: &Daemon<'_>, interface: &str) -> Result<Vec<String>> {
    let list = daemon.ctl_json(&format!("show interface address {interface}"))?;
    let list = list.as_array().context("a list of addresses")?;
    let mut all: Vec<_> = list.iter().filter_map(|one| one["address"].as_str().map(str::to_owned)).collect();
    all.sort();
    Ok(all)
}

/// Waits until both sides have the same addresses, `with` among them or not; returns them.
///
/// # Errors
/// It does not happen.
pub fn same_addresses(
    daemon: &Daemon<'_>,
    host: &Namespace,
    device: &str,
    with: &str,
    there: bool,
) -> Result<Vec<String>> {
    wait_for(&format!("{with} on both sides: {there}"), WAIT, || {
        let (here, host) = (raddles_addresses(daemon, device)?, addresses(host, device)?);
        Ok((here == host && here.iter().any(|address| address == with) == there).then_some(here))
    })
}

/// Waits until `to` answers, and demands that it goes on to.
///
/// # Errors
/// It does not.
pub fn reached(from: &Namespace, to: impl Into<IpAddr>) -> Result<()> {
    let to = to.into();
    wait_for(&format!("an answer from {to}"), WAIT, || Ok((ping(from, to, 1)?.received > 0).then_some(())))?;
    let report = ping(from, to, 5)?;
    ensure!(report.is_complete(), "{}", report.text);
    Ok(())
}

/// The first mirror, as `show tuntap` has it.
///
/// # Errors
/// When raddle does not tell.
pub fn mirror(daemon: &Daemon<'_>) -> Result<Value> {
    Ok(daemon.ctl_json("show tuntap")?["mirrors"][0].clone())
}

/// Waits until the first mirror has so many prefixes of the kernel's, `in_sync` of them over here, and nothing to do.
///
/// # Errors
/// It does not happen.
pub fn in_sync(daemon: &Daemon<'_>, kernel: u64, in_sync: u64) -> Result<()> {
    let outcome = wait_for("the mirror to be in sync", WAIT, || {
        let mirror = mirror(daemon)?;
        let done = mirror["kernel"] == kernel && mirror["in-sync"] == in_sync && mirror["pending"] == 0;
        Ok(done.then_some(()))
    });
    outcome.with_context(|| format!("{:#}", mirror(daemon).unwrap_or_default()))
}

/// What raddle says of the route of a prefix, or why there is none.
///
/// # Errors
/// When raddle does not answer.
pub fn route(daemon: &Daemon<'_>, prefix: &str) -> Result<String> {
    // Where no route covers a prefix, that is the answer.
    let shown = daemon.try_ctl(&format!("show fib {prefix}"))?;
    Ok(shown.stdout + &shown.stderr)
}

/// Commands for `ip -batch`: so many /32 routes within 20.0.0.0/8, by `way`.
#[must_use]
pub fn many(count: u32, word: &str, way: &str) -> String {
    let mut text = String::new();
    for number in 0..count {
        let to = Ipv4Addr::from(0x1400_0000 + number);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "route {word} {to}/32 {way}");
    }
    text
}

/// Has iproute2 run many commands in a namespace.
///
/// # Errors
/// It fails.
pub fn batch(host: &Namespace, text: &str) -> Result<()> {
    let directory = crate::scratch::directory()?;
    let file = directory.path().join("batch");
    std::fs::write(&file, text)?;
    let mut command = words(&format!("ip -n {} -force -batch {}", host.name(), file.display()));
    ensure!(command.stdout(Stdio::null()).status()?.success(), "ip -batch failed");
    Ok(())
}
