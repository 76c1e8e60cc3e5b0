//! Plugins that come and go while traffic flows: loaded, unloaded, disabled, enabled, and in need of each other.

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

/// The report on a plugin, of those that the daemon knows.
fn plugin(daemon: &Daemon<'_>, name: &str) -> Result<Value> {
    let all = daemon.ctl_json("show plugins verbose")?;
    let all = all.as_array().context("a list")?;
    Ok(all.iter().find(|plugin| plugin["name"] == name).cloned().unwrap_or_default())
}

fn wait_for_state(daemon: &Daemon<'_>, name: &str, state: &str) -> Result<Value> {
    wait_until(&format!("{name} to be {state}"), LIMIT, || {
        plugin(daemon, name).is_ok_and(|plugin| plugin["state"] == state)
    })?;
    plugin(daemon, name)
}

/// Demands that a command fails with one sentence that has all of `parts`.
fn refused(daemon: &Daemon<'_>, command: &str, parts: &[&str]) -> Result<()> {
    let refused = daemon.try_ctl(command)?;
    assert_eq!(refused.code, Some(1), "{command}: {refused:?}");
    assert_eq!(refused.stderr.trim().lines().count(), 1, "{command}: {refused:?}");
    for part in parts {
        assert!(refused.stderr.contains(part), "{command}: no {part:?} in {refused:?}");
    }
    Ok(())
}

fn load(daemon: &Daemon<'_>, file: &Path) -> Result<()> {
    daemon.ctl(&format!("plugin load {}", file.display())).map(drop)
}

#[test]
fn a_plugin_comes_and_goes_under_traffic_without_a_lost_packet() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for workers in [0, 1, 2] {
        let directory = scratch::directory()?;
        let (file, mark) = (directory.path().join("faulty.so"), directory.path().join("mark"));
        TestPlugin::read("faulty")?.write(&file)?;
        // Left out at the start, so that the test loads it; its section may stay.
        let section = format!(
            "[plugins]\npath = \"{}\"\ndisable = [\"faulty\"]\n[faulty]\nmark = \"{}\"",
            directory.path().display(),
            mark.display()
        );
        let daemon = Daemon::start(
            &topology.router,
            &DaemonConfig::routed(&topology).workers(workers).with(&section),
        )?;
        let streams = [UdpFlow::start(alice, bob, false, 3000)?, UdpFlow::start(bob, alice, true, 500)?];
        for round in 0..3 {
            load(&daemon, &file)?;
            let report = plugin(&daemon, "faulty")?;
            let steps: Vec<&str> = (report["steps"].as_array().context("steps")?.iter())
                .filter_map(|step| step["state"].as_str())
                .collect();
            assert_eq!(steps, ["discovered", "verified", "loaded", "initialised", "active"], "{report}");
            assert_eq!(report["tasks"][0], "faulty", "{report}");
            assert!(report["code-bytes"].as_u64() > Some(10_000), "{report}");
            assert!(report["table-bytes"].as_u64() >= Some(128), "{report}");
            assert!(report["commands"].to_string().contains("faulty show"), "{report}");
            for side in ["east", "west"] {
                daemon.ctl(&format!("set interface feature {side} faulty on"))?;
            }
            streams[0].wait_for_more(500)?;
            let seen = daemon.ctl_json("faulty show")?;
            assert!(seen["seen"].as_u64() > Some(0), "{seen}");
            refused(&daemon, "plugin unload faulty", &["`faulty` is in use", "interface `east`", "off"])?;
            for side in ["east", "west"] {
                daemon.ctl(&format!("set interface feature {side} faulty off"))?;
            }
            // With the feature off both numbers stand still; while packets flow they are read one after the other.
            wait_until("the life's own table to agree with the host's", LIMIT, || {
                daemon.ctl_json("faulty show").is_ok_and(|seen| seen["seen"] == seen["own"])
            })
            .context("a table of an earlier life came back")?;
            daemon.ctl("plugin unload faulty")?;
            let gone = wait_for_state(&daemon, "faulty", "retired")?;
            assert!(gone["tasks"].as_array().is_some_and(Vec::is_empty), "{gone}");
            assert_eq!(fs::read_to_string(&mark).context("the exit function's mark")?, "gone 1.0.710");
            fs::remove_file(&mark)?;
            assert_ne!(daemon.try_ctl("faulty show")?.code, Some(0), "round {round}: the command is gone");
            let processes = daemon.ctl("show processes")?;
            assert!(!processes.contains("faulty"), "{processes}");
            let features = daemon.ctl("show features")?;
            assert!(!features.contains("faulty"), "{features}");
            let again = daemon.try_ctl("plugin unload faulty")?;
            assert!(again.stderr.contains("no plugin `faulty` is loaded"), "{again:?}");
        }
        for stream in streams {
            stream.wait_for_more(500)?;
            stream.stop()?.demand_no_loss().with_context(|| format!("{workers} workers"))?;
        }
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn a_disabled_plugin_comes_back_with_its_features_where_they_were_on() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let directory = scratch::directory()?;
    TestPlugin::read("faulty")?.write(&directory.path().join("libfaulty.so"))?;
    let config = topology
        .hosts()
        .iter()
        .fold(DaemonConfig::new(), |config, host| config.interface(&host.spec, "features = [\"faulty\"]\n"));
    let daemon = Daemon::start(&topology.router, &config.plugins(directory.path()).workers(1))?;
    let stream = UdpFlow::start(alice, bob, false, 2000)?;
    for _ in 0..3 {
        stream.wait_for_more(200)?;
        let seen = daemon.ctl_json("faulty show")?["seen"].as_u64();
        assert!(seen > Some(0), "{seen:?}");
        daemon.ctl("plugin disable faulty")?;
        let listed = daemon.ctl("show plugins")?;
        assert!(listed.contains("disabled"), "{listed}");
        refused(&daemon, "plugin disable faulty", &["no plugin `faulty` is loaded"])?;
        stream.wait_for_more(200)?;
        daemon.ctl("plugin enable faulty")?;
        wait_for_state(&daemon, "faulty", "active")?;
        let listed = daemon.ctl("show plugins")?;
        assert!(!listed.contains("disabled"), "{listed}");
        refused(&daemon, "plugin enable faulty", &["`faulty` is loaded"])?;
    }
    stream.stop()?.demand_no_loss()?;
    refused(&daemon, "plugin enable falty", &["no plugin `falty` is disabled"])?;
    refused(&daemon, "plugin unload core", &["raddle itself"])?;
    daemon.stop()?;

    let section = format!("[plugins]\npath = \"{}\"\ndisable = [\"faulty\"]", directory.path().display());
    let daemon = Daemon::start(&topology.router, &DaemonConfig::new().with(&section))?;
    wait_for_state(&daemon, "faulty", "disabled")?;
    daemon.ctl("plugin enable faulty")?;
    wait_for_state(&daemon, "faulty", "active")?;
    daemon.stop()
}

#[test]
fn plugins_that_need_each_other_come_and_go_in_their_order() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let directory = scratch::directory()?;
    let (faulty, leaner) = (directory.path().join("faulty.file"), directory.path().join("leaner.file"));
    TestPlugin::read("faulty")?.write(&faulty)?;
    TestPlugin::read("leaner")?.write(&leaner)?;
    let daemon = Daemon::start_here(&DaemonConfig::new())?;
    let load_leaner = format!("plugin load {}", leaner.display());
    refused(&daemon, &load_leaner, &["leaner.file", "it needs the plugin `faulty` ^1", "not there"])?;
    TestPlugin::faulty("2.0.710")?.write(&faulty)?;
    load(&daemon, &faulty)?;
    refused(&daemon, &load_leaner, &["it needs the plugin `faulty` ^1", "2.0.710 is there"])?;
    daemon.ctl("plugin unload faulty")?;
    TestPlugin::read("faulty")?.write(&faulty)?;
    load(&daemon, &faulty)?;
    load(&daemon, &leaner)?;
    for command in ["plugin unload faulty", "plugin disable faulty"] {
        refused(&daemon, command, &["plugin `leaner` needs it", "unload `leaner` first"])?;
    }
    TestPlugin::faulty("2.0.710")?.write(&faulty)?;
    refused(&daemon, "plugin upgrade faulty", &["plugin `leaner` needs `faulty` ^1", "2.0.710"])?;
    assert_eq!(plugin(&daemon, "faulty")?["version"], "1.0.710");
    daemon.ctl("plugin unload leaner")?;
    daemon.ctl("plugin unload faulty")?;
    wait_for_state(&daemon, "faulty", "retired")?;
    daemon.stop()
}

#[test]
fn a_plugin_whose_service_and_watches_are_in_use_is_unloaded_and_its_user_goes_on() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let directory = scratch::directory()?;
    let file = directory.path().join("libfaulty.so");
    TestPlugin::read("faulty")?.write(&file)?;
    TestPlugin::read("listener")?.write(&directory.path().join("liblistener.so"))?;
    for workers in [0, 2] {
        let config = DaemonConfig::routed(&topology).plugins(directory.path()).workers(workers);
        let daemon = Daemon::start(&topology.router, &config)?;
        let streams = [UdpFlow::start(alice, bob, false, 2000)?, UdpFlow::start(bob, alice, false, 500)?];
        let wakes = |daemon: &Daemon<'_>| -> Result<u64> {
            daemon.ctl_json("faulty show")?["wakes"].as_u64().context("wakes")
        };
        for round in 0..3 {
            streams[0].wait_for_more(100)?;
            daemon.ctl("faulty watch")?;
            let before = wakes(&daemon)?;
            wait_until("the watches to be called", LIMIT, || {
                wakes(&daemon).is_ok_and(|wakes| wakes > before + 100)
            })?;
            assert_eq!(daemon.ctl_json("listener ask")?["is-offered"], true, "round {round}");
            daemon.ctl("plugin unload faulty")?;
            // What it has found stays callable for as long as it holds it, and is not offered to others.
            let answer = daemon.ctl_json("listener ask")?;
            assert_eq!(
                (&answer["is-offered"], answer["own"].as_u64()),
                (&Value::Bool(false), Some(0)),
                "{answer}"
            );
            wait_for_state(&daemon, "faulty", "retired")?;
            load(&daemon, &file)?;
        }
        daemon.ctl("plugin unload listener")?;
        daemon.ctl("plugin unload faulty")?;
        wait_for_state(&daemon, "faulty", "retired")?;
        for stream in streams {
            stream.wait_for_more(100)?;
            stream.stop()?.demand_no_loss().with_context(|| format!("{workers} workers"))?;
        }
        daemon.stop()?;
    }
    Ok(())
}
