//! The plugin ABI holds what it says: one plugin, whoever built it, works in one and the same daemon.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use raddle_tests::requirement::abi_plugins;
use raddle_tests::{Daemon, DaemonConfig, Need, Topology, ping, requirement};

const NEEDS: &[Need] = &[Need::Ping, Need::Raddle, Need::AbiPlugins];

/// What must be there; what else is there is tried as well.
const BUILDS: &[&str] =
    &["c", "linked-by-bfd", "linked-by-lld", "newer-minor", "rust-debug", "rust-release", "sdk-1.0"];

/// A plugin that says that it needs what this raddle lacks.
const TOO_NEW: &str = "newer-minor-needed";

/// The plugin of each way to build it.
fn builds() -> Result<BTreeMap<String, PathBuf>> {
    let mut builds = BTreeMap::new();
    for entry in fs::read_dir(abi_plugins())? {
        let entry = entry?;
        builds.insert(entry.file_name().to_string_lossy().into_owned(), entry.path().join("libguard.so"));
    }
    Ok(builds)
}

/// Packets that the plugin has dropped.
fn dropped(daemon: &Daemon<'_>) -> Result<u64> {
    let errors = daemon.ctl_json("show errors")?;
    let rows = errors.as_array().context("a list of errors")?;
    let ours = rows.iter().find(|row| row["node"] == "ttl-guard" && row["reason"] == "low-ttl");
    Ok(ours.and_then(|row| row["count"].as_u64()).unwrap_or(0))
}

#[test]
fn plugin_works_whoever_has_built_it() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let builds = builds()?;
    for name in BUILDS.iter().chain([&TOO_NEW]) {
        assert!(builds.contains_key(*name), "{name} was not built, only {:?}", builds.keys());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for (name, plugin) in builds.iter().filter(|(name, _)| *name != TOO_NEW) {
        let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(1))?;
        daemon.ctl(&format!("plugin load {}", plugin.display())).with_context(|| name.clone())?;
        daemon.ctl("set interface feature east ttl-guard on").with_context(|| name.clone())?;
        let report = ping(&alice.namespace, bob.spec.ipv4, 10)?;
        assert!(report.received >= 5, "{name}: {}", report.text);
        assert_eq!(dropped(&daemon)?, 0, "{name}");
        // The same packets with a TTL that the plugin takes for too low.
        let mut short = alice.namespace.command("ping");
        short.args(["-t", "4", "-c", "3", "-i", "0.2", "-W", "1"]).arg(bob.spec.ipv4.to_string());
        let short = short.output()?;
        assert!(!short.status.success(), "{name}: {}", String::from_utf8_lossy(&short.stdout));
        assert_eq!(dropped(&daemon)?, 3, "{name}: {}", daemon.ctl("show errors")?);
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn plugin_that_needs_a_newer_raddle_is_refused_and_says_which() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let builds = builds()?;
    let daemon = Daemon::start_here(&DaemonConfig::new())?;
    let refused = daemon.try_ctl(&format!("plugin load {}", builds[TOO_NEW].display()))?;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("it is too new; update raddle"), "{refused:?}");
    daemon.stop()
}
