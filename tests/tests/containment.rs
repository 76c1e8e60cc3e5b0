//! What a plugin that fails can do to the others: nothing. Panics in each place, frames that are not sent on, nodes that
//! do not return, crashes of the process.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use raddle_tests::{
    Daemon, DaemonConfig, Host, Need, TestPlugin, Topology, UdpFlow, ping, requirement, scratch, wait_until,
};
use serde_json::Value;

const NEEDS: &[Need] = &[Need::Ping, Need::Raddle, Need::TestPlugins];
const LIMIT: Duration = Duration::from_secs(60);

/// Buffers that the receive queues of two interfaces keep at hand.
const SPARE: u64 = 2 * 33;

fn config(topology: &Topology, plugins: &Path, feature: &str, workers: u32) -> DaemonConfig {
    let features = format!("features = [\"{feature}\"]\n");
    let config = topology
        .hosts()
        .iter()
        .fold(DaemonConfig::new(), |config, host| config.interface(&host.spec, &features));
    let section = format!("[faulty]\nswitch = \"{}\"", plugins.join("switch").display());
    config.plugins(plugins).workers(workers).with(&section)
}

fn faulty(daemon: &Daemon<'_>) -> Result<Value> {
    let all = daemon.ctl_json("show plugins")?;
    let all = all.as_array().context("a list")?;
    Ok(all.iter().find(|plugin| plugin["name"] == "faulty").cloned().unwrap_or_default())
}

fn wait_for_quarantine(daemon: &Daemon<'_>, reason: &str) -> Result<()> {
    wait_until("the quarantine", LIMIT, || {
        faulty(daemon).is_ok_and(|plugin| plugin["state"] == "quarantined")
    })?;
    let plugin = faulty(daemon)?;
    assert!(plugin["reason"].as_str().is_some_and(|told| told.contains(reason)), "{reason}: {plugin}");
    Ok(())
}

fn buffers_in_use(daemon: &Daemon<'_>) -> Result<u64> {
    daemon.ctl_json("show buffers")?["in-use"].as_u64().context("buffers in use")
}

fn reaches(from: &Host, to: IpAddr) -> Result<bool> {
    Ok(ping(&from.namespace, to, 3)?.received > 0)
}

#[test]
fn a_node_that_writes_past_its_frame_is_quarantined() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let directory = scratch::directory()?;
    TestPlugin::read("faulty")?.write(&directory.path().join("libfaulty.so"))?;
    for workers in [0, 1] {
        let config = config(&topology, directory.path(), "faulty-overrun", workers);
        let daemon = Daemon::start(&topology.router, &config)?;
        assert!(reaches(alice, bob.spec.ipv4.into())?, "{workers} workers");
        assert_eq!(faulty(&daemon)?["state"], "active");
        daemon.ctl("faulty fail overrun")?;
        ping(&alice.namespace, bob.spec.ipv4, 5)?;
        // The daemon of these tests is a debug build, which looks.
        wait_for_quarantine(&daemon, "node `faulty-overrun` wrote past its frame")?;
        wait_until("pings to pass", LIMIT, || reaches(alice, bob.spec.ipv4.into()).unwrap_or(false))?;
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn a_panic_anywhere_quarantines_the_plugin_and_nothing_else_suffers() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let directory = scratch::directory()?;
    TestPlugin::read("faulty")?.write(&directory.path().join("libfaulty.so"))?;
    for (place, workers, reason) in [
        ("panic", 0, "node `faulty` panicked"),
        ("panic", 2, "node `faulty` panicked"),
        ("leak", 1, "node `faulty` panicked"),
        ("command", 1, "its command `faulty fail <where>` panicked: as a command has said"),
        ("task", 1, "its task `short` panicked"),
        ("call", 1, "a call to the main thread panicked: as a command has said"),
        ("event", 1, "its function for `interface` events panicked: as a command has said"),
    ] {
        let daemon =
            Daemon::start(&topology.router, &config(&topology, directory.path(), "faulty", workers))?;
        assert!(reaches(alice, bob.spec.ipv4.into())?, "{place}");
        // Traffic that the feature, on ip4-unicast, has no part in.
        let other = UdpFlow::start(alice, bob, true, 1000)?;
        let before = buffers_in_use(&daemon)?;
        let asked = daemon.try_ctl(&format!("faulty fail {place}"))?;
        assert_eq!(asked.code, Some(i32::from(place == "command")), "{place}: {asked:?}");
        if place == "event" {
            daemon.ctl("interface create lo7 driver loopback")?;
        }
        if matches!(place, "panic" | "leak") {
            ping(&alice.namespace, bob.spec.ipv4, 5)?;
        }
        wait_for_quarantine(&daemon, reason).with_context(|| format!("{place}, {workers} workers"))?;
        // Fail-open: traffic of the feature passes now without it.
        wait_until("pings to pass", LIMIT, || reaches(alice, bob.spec.ipv4.into()).unwrap_or(false))?;
        if matches!(place, "panic" | "leak") {
            let errors = daemon.ctl_json("show errors")?.to_string();
            assert!(errors.contains("plugin-fault"), "{place}: its packets are counted: {errors}");
        }
        other.wait_for_more(500)?;
        other.stop()?.demand_no_loss().with_context(|| format!("{place}: other traffic"))?;
        wait_until("all buffers to come back", LIMIT, || {
            buffers_in_use(&daemon).is_ok_and(|now| now <= before.max(SPARE))
        })
        .with_context(|| {
            format!("{place}: {before} buffers were in use, now {:?}", buffers_in_use(&daemon))
        })?;
        assert_ne!(daemon.try_ctl("faulty show")?.code, Some(0), "{place}: its commands are gone");
        assert!(!daemon.ctl("show processes")?.contains("faulty"), "{place}: its tasks have ended");
        assert!(daemon.log().contains("the plugin is quarantined"), "{place}");
        // It can be had back.
        daemon.ctl("plugin upgrade faulty")?;
        assert_eq!(faulty(&daemon)?["state"], "active", "{place}");
        assert!(reaches(alice, bob.spec.ipv4.into())?, "{place}");
        wait_until("the feature to be on again", LIMIT, || {
            daemon.ctl_json("faulty show").is_ok_and(|shown| shown["own"].as_u64() > Some(0))
                || !reaches(alice, bob.spec.ipv4.into()).unwrap_or(true)
        })?;
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn a_feature_that_fails_closed_lets_nothing_pass_without_it() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let directory = scratch::directory()?;
    TestPlugin::read("faulty")?.write(&directory.path().join("libfaulty.so"))?;
    let daemon = Daemon::start(&topology.router, &config(&topology, directory.path(), "faulty-closed", 1))?;
    assert!(reaches(alice, bob.spec.ipv4.into())?);
    daemon.ctl("faulty fail task")?;
    wait_for_quarantine(&daemon, "its task `short` panicked")?;
    assert!(!reaches(alice, bob.spec.ipv4.into())?, "IPv4 does not pass without the feature");
    assert!(reaches(alice, bob.spec.ipv6.into())?, "IPv6 has nothing to do with it");
    let errors = daemon.ctl_json("show errors")?.to_string();
    assert!(errors.contains("plugin-gone"), "the drops are counted: {errors}");
    daemon.ctl("plugin upgrade faulty")?;
    wait_until("IPv4 to pass again", LIMIT, || reaches(alice, bob.spec.ipv4.into()).unwrap_or(false))?;
    daemon.stop()
}

#[test]
fn an_init_function_that_panics_keeps_its_plugin_out_and_everybody_else_in() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let directory = scratch::directory()?;
    TestPlugin::read("faulty")?.write(&directory.path().join("libfaulty.so"))?;
    TestPlugin::read("leaner")?.write(&directory.path().join("libleaner.so"))?;
    let switch = directory.path().join("switch");
    let routed = DaemonConfig::routed(&topology);
    let section = format!("[faulty]\nswitch = \"{}\"", switch.display());
    for (word, state, reason) in [
        ("panic-in-init", "quarantined", "init function `faulty` panicked: as the switch says"),
        ("fail-in-init", "refused", "init function `faulty` failed: the switch says so"),
        ("fail-in-node", "refused", "node `faulty"),
    ] {
        fs::write(&switch, word)?;
        let config = routed.clone().plugins(directory.path()).workers(1).with(&section);
        let daemon = Daemon::start(&topology.router, &config)?;
        let plugin = faulty(&daemon)?;
        assert_eq!(plugin["state"], state, "{plugin}");
        assert!(plugin["reason"].as_str().is_some_and(|told| told.contains(reason)), "{plugin}");
        let all = daemon.ctl("show plugins")?;
        assert!(all.contains("it needs the plugin `faulty`, which is refused itself"), "{all}");
        assert!(reaches(alice, bob.spec.ipv4.into())?);
        assert_ne!(daemon.try_ctl("faulty show")?.code, Some(0));
        fs::write(&switch, "")?;
        daemon.ctl(&format!("plugin load {}", directory.path().join("libfaulty.so").display()))?;
        daemon.ctl(&format!("plugin load {}", directory.path().join("libleaner.so").display()))?;
        assert_eq!(faulty(&daemon)?["state"], "active");
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn a_node_that_does_not_return_is_reported_by_name() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let directory = scratch::directory()?;
    TestPlugin::read("faulty")?.write(&directory.path().join("libfaulty.so"))?;
    let daemon = Daemon::start(&topology.router, &config(&topology, directory.path(), "faulty", 1))?;
    assert!(reaches(alice, bob.spec.ipv4.into())?);
    daemon.ctl("faulty fail hang")?;
    ping(&alice.namespace, bob.spec.ipv4, 1)?;
    wait_until("the report", LIMIT, || {
        daemon.log().contains("node `faulty` of plugin `faulty` 1.0.710 does not return")
    })?;
    daemon.ctl("faulty fail none")?;
    wait_until("pings to pass again", LIMIT, || reaches(alice, bob.spec.ipv4.into()).unwrap_or(false))?;
    wait_until("word of its return", LIMIT, || daemon.log().contains("has returned"))?;
    daemon.ctl("faulty fail hang")?;
    ping(&alice.namespace, bob.spec.ipv4, 1)?;
    assert_eq!(daemon.end_at_once()?, Some(1), "a second signal ends it whatever hangs");
    Ok(())
}

/// Starts a daemon, has its plugin crash it, and returns the report.
fn crash(topology: &Topology, config: &DaemonConfig, state: &Path, how: &str) -> Result<String> {
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, config)?;
    if faulty(&daemon)?["state"] != "active" {
        bail!("the plugin is not active: {}", daemon.ctl("show plugins")?);
    }
    assert!(reaches(alice, bob.spec.ipv4.into())?);
    let known = reports(state)?;
    daemon.ctl(&format!("faulty fail {how}"))?;
    ping(&alice.namespace, bob.spec.ipv4, 1)?;
    daemon.wait_for_crash(LIMIT)?;
    let new: Vec<String> = reports(state)?.into_iter().filter(|report| !known.contains(report)).collect();
    assert_eq!(new.len(), 1, "one report of this crash: {new:?}");
    Ok(fs::read_to_string(state.join(&new[0]))?)
}

fn reports(state: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(state)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("crash-") {
            names.push(name);
        }
    }
    Ok(names)
}

#[test]
fn a_crash_is_reported_and_the_third_in_a_row_holds_the_plugin_back() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let (directory, state) = (scratch::directory()?, scratch::directory()?);
    let file = directory.path().join("libfaulty.so");
    TestPlugin::read("faulty")?.write(&file)?;
    let features = "features = [\"faulty\"]\n";
    let interfaces = topology
        .hosts()
        .iter()
        .fold(DaemonConfig::new(), |config, host| config.interface(&host.spec, features));
    let plugins = |more: &str| {
        let (plugins, state) = (directory.path().display(), state.path().display());
        format!("[plugins]\npath = \"{plugins}\"\nstate-directory = \"{state}\"\n{more}")
    };
    let config = |workers: u32| interfaces.clone().workers(workers).with(&plugins(""));
    for (how, workers, signal) in [("crash", 1, "SIGSEGV"), ("abort", 1, "SIGABRT"), ("crash", 0, "SIGSEGV")]
    {
        let report = crash(&topology, &config(workers), state.path(), how)?;
        for part in ["plugin   faulty", "version  1.0.710", "node     faulty\n", signal, "frames "] {
            assert!(report.contains(part), "{how}, {workers} workers: no {part:?} in\n{report}");
        }
        assert!(report.contains("faulty::Counting"), "a backtrace with names:\n{report}");
    }
    let daemon = Daemon::start(&topology.router, &config(1))?;
    let plugin = faulty(&daemon)?;
    assert_eq!(plugin["state"], "held-back", "{plugin}");
    let reason = plugin["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("crashed raddle 3 times in a row") && reason.contains("crash-"), "{reason}");
    assert!(daemon.log().contains("plugin `faulty` is held back"));
    let crashes = daemon.ctl("show plugin-crashes")?;
    assert!(crashes.contains("faulty") && crashes.contains('3'), "{crashes}");
    daemon.ctl("plugin enable faulty")?;
    assert_eq!(faulty(&daemon)?["state"], "active", "who asks for it gets it");
    // What is to have the plugin's feature stays down without it; the feature is on now.
    for side in ["east", "west"] {
        daemon.ctl(&format!("set interface state {side} up"))?;
    }
    assert!(reaches(alice, bob.spec.ipv4.into())?);
    assert!(daemon.ctl_json("faulty show")?["own"].as_u64() > Some(0));
    daemon.stop()?;
    // A clean end does not release it, another version or the operator's word does.
    TestPlugin::faulty("1.1.710")?.write(&file)?;
    let daemon = Daemon::start(&topology.router, &config(1))?;
    assert_eq!(faulty(&daemon)?["state"], "active");
    daemon.stop()?;
    TestPlugin::read("faulty")?.write(&file)?;
    let daemon = Daemon::start(&topology.router, &config(1))?;
    assert_eq!(faulty(&daemon)?["state"], "held-back");
    let told = daemon.ctl("clear plugin-crashes faulty")?;
    assert!(told.contains("forgotten: faulty"), "{told}");
    daemon.stop()?;
    let daemon = Daemon::start(&topology.router, &config(1))?;
    assert_eq!(faulty(&daemon)?["state"], "active");
    daemon.stop()
}

#[test]
fn every_fault_that_the_processor_finds_is_reported_under_its_name() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let directory = scratch::directory()?;
    TestPlugin::read("faulty")?.write(&directory.path().join("libfaulty.so"))?;
    let features = "features = [\"faulty\"]\n";
    let interfaces = topology
        .hosts()
        .iter()
        .fold(DaemonConfig::new(), |config, host| config.interface(&host.spec, features));
    for (how, signal) in [("bus", "SIGBUS"), ("illegal", "SIGILL"), ("divide", "SIGFPE")] {
        let state = scratch::directory()?;
        let plugins = format!(
            "[plugins]\npath = \"{}\"\nstate-directory = \"{}\"\n",
            directory.path().display(),
            state.path().display()
        );
        let config = interfaces.clone().workers(1).with(&plugins);
        let report = crash(&topology, &config, state.path(), how)?;
        for part in [signal, "plugin   faulty", "version  1.0.710", "node     faulty\n", "frames "] {
            assert!(report.contains(part), "{how}: no {part:?} in\n{report}");
        }
        assert!(report.contains("faulty::signals"), "{how}: a backtrace with names:\n{report}");
        let last = fs::read_to_string(state.path().join("last-crash.json"))?;
        assert!(last.contains("\"plugin\":\"faulty\""), "the next start counts it: {last}");
    }
    Ok(())
}

#[test]
fn a_driver_that_panics_is_quarantined_and_its_interfaces_say_so() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let directory = scratch::directory()?;
    TestPlugin::read("faulty")?.write(&directory.path().join("libfaulty.so"))?;
    let config = DaemonConfig::routed(&topology).plugins(directory.path()).workers(1);
    let daemon = Daemon::start(&topology.router, &config)?;
    let refused = daemon.try_ctl("interface create sink driver faulty panic open")?;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("the driver panicked: as the options say"), "{refused:?}");
    wait_for_quarantine(&daemon, "its driver's `open` panicked: as the options say")?;
    assert!(reaches(alice, bob.spec.ipv4.into())?);
    daemon.ctl("plugin upgrade faulty")?;
    daemon.ctl("interface create sink driver faulty")?;
    daemon.ctl("set interface state sink up")?;
    daemon.ctl("interface create other driver faulty panic change")?;
    let refused = daemon.try_ctl("set interface mtu other 1400")?;
    assert!(refused.stderr.contains("as the options say"), "{refused:?}");
    wait_for_quarantine(&daemon, "its driver's `change` panicked: as the options say")?;
    assert!(reaches(alice, bob.spec.ipv4.into())?);
    let refused = daemon.try_ctl("set interface mtu sink 1400")?;
    assert!(refused.stderr.contains("the plugin `faulty` of its driver is quarantined"), "{refused:?}");
    wait_until("its interfaces to say so", LIMIT, || {
        daemon.ctl("show interface sink").is_ok_and(|shown| shown.contains("is quarantined"))
    })?;
    // Nothing of it is in the way of who clears up.
    let refused = daemon.try_ctl("plugin upgrade faulty")?;
    assert!(refused.stderr.contains("`interface delete other` first"), "{refused:?}");
    daemon.ctl("interface delete sink")?;
    daemon.ctl("interface delete other")?;
    daemon.ctl("plugin upgrade faulty")?;
    assert_eq!(faulty(&daemon)?["state"], "active");
    daemon.stop()
}
