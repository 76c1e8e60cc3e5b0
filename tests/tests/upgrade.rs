//! `plugin upgrade`: another version in the place of one that runs, with its state, and without a lost packet.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use raddle_tests::{
    Daemon, DaemonConfig, Need, TestPlugin, Topology, UdpFlow, requirement, scratch, wait_until,
};

const NEEDS: &[Need] = &[Need::Raddle, Need::TestPlugins];
const LIMIT: Duration = Duration::from_secs(30);

/// The daemon between the hosts with `faulty` on both sides, its switch at `switch`.
fn config(topology: &Topology, plugins: &Path, workers: u32) -> DaemonConfig {
    let features = "features = [\"faulty\", \"faulty-closed\"]\n";
    let config = topology
        .hosts()
        .iter()
        .fold(DaemonConfig::new(), |config, host| config.interface(&host.spec, features));
    let (switch, mark) = (plugins.join("switch"), plugins.join("mark"));
    let section = format!("[faulty]\nswitch = \"{}\"\nmark = \"{}\"", switch.display(), mark.display());
    config.plugins(plugins).workers(workers).with(&section)
}

fn seen(daemon: &Daemon<'_>) -> Result<(u64, u64, String)> {
    let shown = daemon.ctl_json("faulty show")?;
    let number = |key: &str| shown[key].as_u64().with_context(|| format!("{key} in {shown}"));
    Ok((number("seen")?, number("own")?, shown["note"].as_str().unwrap_or_default().to_owned()))
}

/// Flows, and the packets of all.
fn flows(daemon: &Daemon<'_>) -> Result<(u64, u64)> {
    let shown = daemon.ctl_json("faulty show")?;
    let number = |key: &str| shown[key].as_u64().with_context(|| format!("{key} in {shown}"));
    Ok((number("flows")?, number("flow_packets")?))
}

fn version(daemon: &Daemon<'_>) -> Result<String> {
    let all = daemon.ctl_json("show plugins")?;
    let all = all.as_array().context("a list")?;
    let active = all.iter().find(|plugin| plugin["name"] == "faulty" && plugin["state"] == "active");
    Ok(active.and_then(|plugin| plugin["version"].as_str()).unwrap_or("none").to_owned())
}

#[test]
fn the_new_version_goes_on_with_the_state_of_the_old_one_and_no_packet_is_lost() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for workers in [0, 1, 2] {
        let directory = scratch::directory()?;
        let file = directory.path().join("libfaulty.so");
        TestPlugin::read("faulty")?.write(&file)?;
        let daemon = Daemon::start(&topology.router, &config(&topology, directory.path(), workers))?;
        let streams = [UdpFlow::start(alice, bob, false, 3000)?, UdpFlow::start(bob, alice, false, 500)?];
        daemon.ctl("faulty note remember-me")?;
        let mut before = 0;
        for (round, digits) in ["2.0.710", "3.0.710", "2.0.710", "4.0.710"].into_iter().enumerate() {
            streams[0].wait_for_more(300)?;
            let (seen_before, _, _) = seen(&daemon)?;
            assert!(seen_before > before, "round {round}: packets pass the feature: {seen_before}");
            let (flows_before, packets_before) = flows(&daemon)?;
            assert!(flows_before >= 2, "a session for each direction: {flows_before}");
            TestPlugin::faulty(digits)?.write(&file)?;
            let told = daemon.ctl("plugin upgrade faulty")?;
            assert!(told.contains(digits) && told.contains("with its state: note"), "{told}");
            let (now, own, note) = seen(&daemon)?;
            assert!(now >= seen_before, "the table was adopted: {now} after {seen_before}");
            assert!(own < now, "the new version has counted {own} itself, of {now}");
            assert_eq!(note, "remember-me");
            let (flows_now, packets_now) = flows(&daemon)?;
            assert_eq!(flows_now, flows_before, "sessions are found as they are: none twice, none gone");
            assert!(packets_now >= packets_before, "{packets_now} after {packets_before}");
            assert_eq!(version(&daemon)?, digits);
            let mark = fs::read_to_string(directory.path().join("mark"))?;
            assert!(mark.starts_with("replaced "), "the old version's exit function: {mark}");
            before = seen_before;
        }
        // From another file, by its path.
        let elsewhere = directory.path().join("new.file");
        TestPlugin::faulty("5.0.710")?.write(&elsewhere)?;
        daemon.ctl(&format!("plugin upgrade {}", elsewhere.display()))?;
        assert_eq!(version(&daemon)?, "5.0.710");
        for stream in streams {
            stream.wait_for_more(300)?;
            let report = stream.stop()?;
            eprintln!("{workers} workers: {} sent, longest gap {:?}", report.sent, report.longest_gap);
            report.demand_no_loss().with_context(|| format!("{workers} workers"))?;
        }
        let barrier = daemon.ctl("show barrier")?;
        assert!(barrier.contains("upgrade"), "{barrier}");
        eprintln!("{workers} workers:\n{barrier}");
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn a_new_version_that_fails_at_any_step_leaves_the_old_one_as_it_was() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let directory = scratch::directory()?;
    let (file, switch) = (directory.path().join("libfaulty.so"), directory.path().join("switch"));
    TestPlugin::read("faulty")?.write(&file)?;
    let daemon = Daemon::start(&topology.router, &config(&topology, directory.path(), 1))?;
    let stream = UdpFlow::start(alice, bob, false, 3000)?;
    daemon.ctl("faulty note remember-me")?;
    let buffers = |daemon: &Daemon<'_>| -> Result<u64> {
        daemon.ctl_json("show buffers")?["total"].as_u64().context("a count of buffers")
    };
    let total = buffers(&daemon)?;
    let refuse = |part: &str| -> Result<()> {
        let refused = daemon.try_ctl("plugin upgrade faulty")?;
        assert_eq!(refused.code, Some(1), "{part}: {refused:?}");
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
        assert!(refused.stderr.contains("goes on as it was") || part.contains("truncated"), "{refused:?}");
        let (before, own, note) = seen(&daemon)?;
        assert_eq!((own, &*note, &*version(&daemon)?), (before, "remember-me", "1.0.710"), "{part}");
        stream.wait_for_more(100)?;
        assert!(seen(&daemon)?.0 > before, "{part}: the old version counts on");
        Ok(())
    };
    TestPlugin::faulty("2.0.710")?.write(&file)?;
    for (word, part) in [
        ("fail-in-init", "init function `faulty` failed: the switch says so"),
        ("panic-in-init", "init function `faulty` panicked: as the switch says"),
        ("fail-in-import", "does not import the state `note`: the switch says so"),
        ("panic-in-import", "panicked at the state `note`: as the switch says"),
        ("fail-in-node", "node `faulty"),
    ] {
        fs::write(&switch, word)?;
        refuse(part)?;
    }
    fs::remove_file(&switch)?;
    let whole = TestPlugin::faulty("2.0.710")?;
    fs::write(&file, &whole.bytes()[..whole.bytes().len() / 2])?;
    refuse("the file is truncated")?;
    // After all that it can still be upgraded; with another layout the new version begins with an empty table.
    whole.write(&file)?;
    fs::write(&switch, "another-layout")?;
    daemon.ctl("plugin upgrade faulty")?;
    wait_until("the new version to count", LIMIT, || {
        seen(&daemon).is_ok_and(|(seen, own, _)| seen > 0 && seen <= own + 64)
    })?;
    let (_, _, note) = seen(&daemon)?;
    assert_eq!(note, "remember-me");
    stream.stop()?.demand_no_loss()?;
    assert_eq!(buffers(&daemon)?, total);
    daemon.stop()
}

#[test]
fn what_is_kept_goes_with_the_plugin_and_not_to_who_replaces_a_failed_one() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let directory = scratch::directory()?;
    let file = directory.path().join("libfaulty.so");
    TestPlugin::read("faulty")?.write(&file)?;
    let daemon = Daemon::start(&topology.router, &config(&topology, directory.path(), 1))?;
    let burst = || -> Result<()> {
        let stream = UdpFlow::start(alice, bob, false, 2000)?;
        stream.wait_for_more(300)?;
        stream.stop()?;
        Ok(())
    };
    burst()?;
    let (before, own, _) = seen(&daemon)?;
    assert!(before >= 600 && own == before, "{before} seen, {own} by this version");
    // Gone for good: the next one begins anew.
    daemon.ctl("plugin disable faulty")?;
    daemon.ctl("plugin enable faulty")?;
    assert_eq!((seen(&daemon)?.0, flows(&daemon)?), (0, (0, 0)));
    burst()?;
    let (before, _, _) = seen(&daemon)?;
    assert!(before >= 600 && flows(&daemon)?.0 >= 1, "{before}");
    // Quarantined, maybe in the middle of a change: the version that takes its place gets nothing of it.
    let stream = UdpFlow::start(alice, bob, false, 1000)?;
    stream.wait_for_more(10)?;
    daemon.ctl("faulty fail panic")?;
    wait_until("the plugin to be quarantined", LIMIT, || {
        let state =
            |plugin: &serde_json::Value| plugin["name"] == "faulty" && plugin["state"] == "quarantined";
        daemon
            .ctl_json("show plugins")
            .is_ok_and(|all| all.as_array().is_some_and(|all| all.iter().any(state)))
    })?;
    stream.stop()?;
    TestPlugin::faulty("2.0.710")?.write(&file)?;
    daemon.ctl("plugin upgrade faulty")?;
    assert_eq!((seen(&daemon)?.0, flows(&daemon)?), (0, (0, 0)));
    burst()?;
    assert!(seen(&daemon)?.0 >= 600);
    daemon.stop()
}
