//! What a plugin has of the network: its routes, neighbours and groups are its own, outlive an upgrade, and go with it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use raddle_tests::{
    Daemon, DaemonConfig, Need, TestPlugin, Topology, UdpFlow, requirement, scratch, wait_until,
};
use serde_json::Value;

const NEEDS: &[Need] = &[Need::Raddle, Need::TestPlugins];
const LIMIT: Duration = Duration::from_secs(30);
const PREFIX: &str = "203.0.113.0/24";
const NEIGHBOR: &str = "10.1.0.77";
const GROUP: &str = "239.7.7.7";

fn config(topology: &Topology, plugins: &Path) -> DaemonConfig {
    let section = format!("[faulty]\nswitch = \"{}\"", plugins.join("switch").display());
    DaemonConfig::routed(topology).plugins(plugins).workers(1).with(&section)
}

/// Source and action of the route to a prefix, if there is one of exactly that.
fn route(daemon: &Daemon<'_>, prefix: &str) -> Result<Option<(String, String)>> {
    let shown = daemon.ctl_json("show fib")?;
    let routes = shown["routes"].as_array().or(shown.as_array()).context("routes")?.clone();
    let text = |route: &Value, key: &str| route[key].as_str().unwrap_or_default().to_owned();
    let found = routes.iter().find(|route| route["prefix"] == prefix);
    Ok(found.map(|route| (text(route, "source"), text(route, "route"))))
}

fn knows(daemon: &Daemon<'_>, command: &str, what: &str) -> Result<bool> {
    Ok(daemon.ctl(command)?.contains(what))
}

/// Has the plugin take one of each.
fn take(daemon: &Daemon<'_>) -> Result<()> {
    daemon.ctl(&format!("faulty route {PREFIX}"))?;
    daemon.ctl(&format!("faulty neighbor east {NEIGHBOR} 02:00:00:00:00:77"))?;
    daemon.ctl(&format!("faulty group east {GROUP}"))?;
    demand(daemon, [true; 3])
}

/// Demands that the plugin's route, neighbour and group are there, or not.
fn demand(daemon: &Daemon<'_>, [with_route, with_neighbor, with_group]: [bool; 3]) -> Result<()> {
    let expected = with_route.then(|| ("plugin faulty 20/7".to_owned(), "blackhole".to_owned()));
    assert_eq!(route(daemon, PREFIX)?, expected);
    assert_eq!(knows(daemon, "show neighbors", NEIGHBOR)?, with_neighbor);
    assert_eq!(knows(daemon, "show multicast groups", GROUP)?, with_group);
    Ok(())
}

#[test]
fn what_a_plugin_has_of_the_network_outlives_an_upgrade_and_goes_with_the_plugin() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let directory = scratch::directory()?;
    let file = directory.path().join("libfaulty.so");
    TestPlugin::read("faulty")?.write(&file)?;
    let daemon = Daemon::start(&topology.router, &config(&topology, directory.path()))?;
    let stream = UdpFlow::start(alice, bob, false, 2000)?;
    take(&daemon)?;
    // Routes and neighbours are the plugin's; references, such as to groups, are each version's own.
    TestPlugin::faulty("2.0.710")?.write(&file)?;
    daemon.ctl("plugin upgrade faulty")?;
    demand(&daemon, [true, true, false])?;
    daemon.ctl(&format!("faulty group east {GROUP}"))?;
    // A version that fails takes nothing away, and leaves nothing.
    fs::write(directory.path().join("switch"), "network-then-fail-in-node")?;
    let refused = daemon.try_ctl("plugin upgrade faulty")?;
    assert!(refused.stderr.contains("node `faulty"), "{refused:?}");
    demand(&daemon, [true; 3])?;
    assert_eq!(route(&daemon, "198.51.100.0/24")?, None);
    assert!(!knows(&daemon, "show neighbors", "10.255.0.9")?);
    assert!(!knows(&daemon, "show multicast groups", "239.9.9.9")?);
    fs::write(directory.path().join("switch"), "")?;
    for (word, back) in [("plugin disable faulty", "plugin enable faulty"), ("plugin unload faulty", "")] {
        daemon.ctl(word)?;
        demand(&daemon, [false; 3])?;
        if !back.is_empty() {
            daemon.ctl(back)?;
            demand(&daemon, [false; 3])?;
            take(&daemon)?;
        }
    }
    stream.stop()?.demand_no_loss()?;
    daemon.stop()
}

#[test]
fn what_a_plugin_has_of_the_network_is_withdrawn_when_it_is_quarantined() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let directory = scratch::directory()?;
    TestPlugin::read("faulty")?.write(&directory.path().join("libfaulty.so"))?;
    let daemon = Daemon::start(&topology.router, &config(&topology, directory.path()))?;
    // The operator's own are left alone.
    daemon.ctl("route add 203.0.114.0/24 blackhole")?;
    take(&daemon)?;
    daemon.ctl("faulty fail task")?;
    wait_until("the quarantine", LIMIT, || {
        daemon.ctl("show plugins").is_ok_and(|plugins| plugins.contains("quarantined"))
    })?;
    demand(&daemon, [false; 3])?;
    let kept = route(&daemon, "203.0.114.0/24")?.context("the operator's route")?;
    assert_eq!(kept, ("static".to_owned(), "blackhole".to_owned()));
    // Another version begins anew.
    daemon.ctl("plugin upgrade faulty")?;
    demand(&daemon, [false; 3])?;
    take(&daemon)?;
    daemon.stop()
}
