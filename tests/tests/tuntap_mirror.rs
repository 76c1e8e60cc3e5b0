//! The kernel's routes, followed: what is in its tables is in raddle's.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use raddle_tests::command::{finish, words};
use raddle_tests::host_side::{
    TAPS, WAIT, batch, config, in_sync, link, many, mirror, reached, route, same_addresses,
};
use raddle_tests::wait::wait_for;
use raddle_tests::{Daemon, DaemonConfig, Namespace, Need, Topology, UdpFlow, ping, requirement, target_dir};
use rustix::process::Signal;
use serde_json::Value;

const NEEDS: &[Need] = &[Need::Ping, Need::Raddle, Need::Tuntap];

#[test]
fn routes_of_the_kernel_are_followed() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let host = Namespace::create("host")?;
    let lines = format!("{TAPS}[[tuntap.mirror]]\n");
    let daemon = Daemon::start(&topology.router, &config(&topology, &host, &lines))?;
    for (device, address) in [("east", "10.0.1.1/24"), ("west", "10.0.2.1/24")] {
        same_addresses(&daemon, &host, device, address, true)?;
    }
    for (far, device) in [("192.0.2.9/32", "eth0"), ("2001:db8:f::9/128", "eth0")] {
        bob.namespace.ip(&format!("address add {far} dev {device}"))?;
    }
    for line in [
        "route add 192.0.2.0/24 via 10.0.2.2",
        "-6 route add 2001:db8:f::/48 via 2001:db8:2::2",
        // The lower metric wins.
        "route add 192.0.2.0/24 via 10.0.1.2 metric 50",
        "route add blackhole 198.51.100.0/24",
        "-6 route add unreachable 2001:db8:dead::/48",
        "route add prohibit 198.51.101.0/24",
        "route add 203.0.113.0/24 nexthop via 10.0.1.2 weight 1 nexthop via 10.0.2.2 weight 3",
        "-6 route add 2001:db8:e::/48 nexthop via 2001:db8:1::2 nexthop via 2001:db8:2::2",
        "nexthop add id 1 via 10.0.1.2 dev east",
        "nexthop add id 2 via 10.0.2.2 dev west",
        "nexthop add id 10 group 1/2,2",
        "route add 203.0.114.0/24 nhid 10",
        "route add 203.0.115.0/24 nhid 1",
        // By none of raddle's devices.
        "route add 203.0.116.0/24 dev lo",
        // A next hop that nobody has.
        "route add 203.0.117.0/24 via 10.0.1.99",
    ] {
        host.ip(line)?;
    }
    in_sync(&daemon, 11, 10)?;
    reached(&alice.namespace, Ipv4Addr::new(192, 0, 2, 9))?;
    reached(&alice.namespace, "2001:db8:f::9".parse::<std::net::Ipv6Addr>()?)?;
    for (prefix, parts) in [
        ("192.0.2.0/24", &["10.0.2.2"][..]),
        ("198.51.100.0/24", &["blackhole"]),
        ("2001:db8:dead::/48", &["unreachable"]),
        ("198.51.101.0/24", &["prohibit"]),
        ("203.0.113.0/24", &["10.0.1.2", "10.0.2.2"]),
        ("2001:db8:e::/48", &["2001:db8:1::2", "2001:db8:2::2"]),
        ("203.0.114.0/24", &["10.0.1.2", "10.0.2.2"]),
        ("203.0.115.0/24", &["10.0.1.2"]),
    ] {
        let shown = route(&daemon, prefix)?;
        ensure!(parts.iter().all(|part| shown.contains(part)), "{prefix}: {shown}");
    }
    let becomes = |prefix: &str, part: &str, there: bool| {
        let outcome = wait_for("the route to change", WAIT, || {
            Ok((route(&daemon, prefix)?.contains(part) == there).then_some(()))
        });
        outcome.with_context(|| format!("{prefix}: {part}"))
    };
    // The next metric takes over, an object changes all that use it, a next hop leaves.
    host.ip("route del 192.0.2.0/24 via 10.0.2.2")?;
    becomes("192.0.2.0/24", "10.0.1.2", true)?;
    host.ip("nexthop replace id 1 via 10.0.1.3 dev east")?;
    becomes("203.0.115.0/24", "10.0.1.3", true)?;
    becomes("203.0.114.0/24", "10.0.1.3", true)?;
    host.ip("-6 route del 2001:db8:e::/48 via 2001:db8:1::2")?;
    becomes("2001:db8:e::/48", "2001:db8:1::2", false)?;
    // Linux takes IPv4 routes along with a link that goes down, and tells nobody.
    host.ip("link set west down")?;
    wait_for("the routes of the link to go", WAIT, || {
        Ok((!route(&daemon, "203.0.113.0/24")?.contains("10.0.2.2")).then_some(()))
    })?;
    // Its next hops are back with it, just as silently.
    host.ip("link set west up")?;
    becomes("203.0.113.0/24", "10.0.2.2", true)?;
    // The nowhere route is there, and costs the others nothing.
    let nowhere = ping(&alice.namespace, Ipv4Addr::new(203, 0, 117, 1), 2)?;
    assert_eq!(nowhere.received, 0);
    reached(&alice.namespace, alice.spec.gateway4)?;
    daemon.stop()
}

/// A namespace's index of a device: another one when it was made anew.
fn index(namespace: &Namespace, device: &str) -> Result<Value> {
    Ok(link(namespace, device)?.context("the device")?["ifindex"].clone())
}

#[test]
fn routes_and_taps_outlive_the_plugins_upgrade_and_with_persist_raddle_itself() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let host = Namespace::create("host")?;
    let lines = "[tuntap.interface.east]\npersist = true\n[tuntap.interface.west]\npersist = true\n\
                 [[tuntap.mirror]]\n[[tuntap.mirror]]\nkernel-table = 100\ntable = \"blue\"\n[table.blue]\nid = 10\n";
    let config = config(&topology, &host, lines);
    let daemon = Daemon::start(&topology.router, &config)?;
    same_addresses(&daemon, &host, "west", "10.0.2.1/24", true)?;
    bob.namespace.ip("address add 192.0.2.9/32 dev eth0")?;
    host.ip("route add 192.0.2.0/24 via 10.0.2.2")?;
    host.ip("route add 198.51.100.0/24 via 10.0.2.2")?;
    host.ip("route add 203.0.113.0/24 via 10.0.2.2 table 100")?;
    in_sync(&daemon, 2, 2)?;
    wait_for("the route of the other table", WAIT, || {
        Ok(route(&daemon, "203.0.113.0/24 table blue")?.contains("10.0.2.2").then_some(()))
    })?;
    ensure!(!route(&daemon, "203.0.113.0/24")?.contains("10.0.2.2"), "it is in the other table alone");

    // Another version of the plugin takes over: nothing is lost, nothing is made anew.
    let far = Ipv4Addr::new(192, 0, 2, 9);
    let (flow, tap) =
        (UdpFlow::between(&alice.namespace, &bob.namespace, far.into(), 1000)?, index(&host, "west")?);
    daemon.ctl("plugin upgrade tuntap")?;
    in_sync(&daemon, 2, 2)?;
    flow.wait_for_more(100)?;
    flow.stop()?.demand_no_loss()?;
    assert_eq!(index(&host, "west")?, tap);
    host.ip("route del 198.51.100.0/24")?;
    in_sync(&daemon, 1, 1)?;
    ensure!(!route(&daemon, "198.51.100.0/24")?.contains("10.0.2.2"), "what the old one put there goes, too");

    // raddle ends, and starts again: the kernel has kept taps and routes.
    daemon.stop()?;
    assert_eq!(index(&host, "west")?, tap);
    ensure!(host.ip("route")?.contains("192.0.2.0/24"));
    let daemon = Daemon::start(&topology.router, &config)?;
    in_sync(&daemon, 1, 1)?;
    assert_eq!(index(&host, "west")?, tap);
    reached(&alice.namespace, far)?;
    reached(&host, bob.spec.ipv4)?;

    // Without its interfaces the plugin can go, and takes its routes along.
    for name in ["east", "west"] {
        daemon.ctl(&format!("set tuntap interface {name} off"))?;
    }
    wait_for("the plugin to be free", WAIT, || {
        Ok(daemon.try_ctl("plugin unload tuntap")?.stderr.is_empty().then_some(()))
    })?;
    ensure!(!route(&daemon, "192.0.2.0/24")?.contains("10.0.2.2"));
    daemon.stop()
}

#[test]
fn a_hundred_thousand_routes_lost_events_and_all_of_them_withdrawn() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    const ROUTES: u32 = 100_000;
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let host = Namespace::create("host")?;
    let lines = format!("{TAPS}[[tuntap.mirror]]\n");
    let daemon = Daemon::start(&topology.router, &config(&topology, &host, &lines))?;
    same_addresses(&daemon, &host, "east", "10.0.1.1/24", true)?;
    // While raddle stands still the kernel has no room for all events: some are lost, and it notices.
    daemon.signal(Signal::STOP)?;
    batch(&host, &many(ROUTES, "add", "via 10.0.1.2"))?;
    daemon.signal(Signal::CONT)?;
    let begin = Instant::now();
    in_sync(&daemon, ROUTES.into(), ROUTES.into())?;
    println!("{ROUTES} routes taken over in {:?}", begin.elapsed());
    let overruns = daemon.ctl_json("show tuntap")?["namespaces"][0]["overruns"].as_u64();
    ensure!(overruns.is_some_and(|overruns| overruns > 0), "{overruns:?}");
    // All withdrawn at once, under traffic that has nothing to do with them.
    let flow = UdpFlow::start(alice, topology.host("bob"), false, 500)?;
    let begin = Instant::now();
    host.ip("route flush root 20.0.0.0/8")?;
    in_sync(&daemon, 0, 0)?;
    println!("{ROUTES} routes withdrawn in {:?}", begin.elapsed());
    let report = flow.stop()?;
    ensure!(report.lost.is_empty(), "{report:?}");
    daemon.stop()
}

#[test]
fn another_table_of_the_kernels_takes_over_what_both_have() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let host = Namespace::create("host")?;
    let lines = format!("{TAPS}[[tuntap.mirror]]\nkernel-table = 100\n");
    let daemon = Daemon::start(&topology.router, &config(&topology, &host, &lines))?;
    same_addresses(&daemon, &host, "west", "10.0.2.1/24", true)?;
    for line in [
        "route add 192.0.2.0/24 via 10.0.1.2 table 100",
        "route add 198.51.100.0/24 via 10.0.1.2 table 100",
        "route add 192.0.2.0/24 via 10.0.2.2 table 200",
    ] {
        host.ip(line)?;
    }
    in_sync(&daemon, 2, 2)?;
    daemon.reload(|text| text.replace("kernel-table = 100", "kernel-table = 200"))?;
    in_sync(&daemon, 1, 1)?;
    // Routes of the same source: those of the old one go first, or the new one's go with them.
    wait_for("the routes of the other table", WAIT, || {
        let gone = !route(&daemon, "198.51.100.0/24")?.contains("10.0.1.2");
        Ok((gone && route(&daemon, "192.0.2.0/24")?.contains("10.0.2.2")).then_some(()))
    })?;
    daemon.stop()
}

#[test]
fn a_table_that_is_added_late_gets_all_that_was_refused() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    const ROUTES: u32 = 5000;
    let topology = Topology::two_hosts()?;
    let host = Namespace::create("host")?;
    let lines = format!("{TAPS}[[tuntap.mirror]]\ntable = \"late\"\n");
    let daemon = Daemon::start(&topology.router, &config(&topology, &host, &lines))?;
    same_addresses(&daemon, &host, "east", "10.0.1.1/24", true)?;
    batch(&host, &many(ROUTES, "add", "via 10.0.1.2"))?;
    let refused = wait_for("the routes to be refused", WAIT, || {
        Ok((mirror(&daemon)?["failed"] == ROUTES).then_some(()))
    });
    refused.with_context(|| daemon.ctl("show tuntap").unwrap_or_default())?;
    daemon.ctl("table add late 10")?;
    in_sync(&daemon, ROUTES.into(), ROUTES.into())?;
    daemon.stop()
}

/// A VRF of the kernel's under this name, with its table; `false`: this kernel has no VRFs, and routes are put into the table alone.
fn make_vrf(host: &Namespace, name: &str, table: u32) -> Result<bool> {
    let add = format!("ip -n {} link add {name} type vrf table {table}", host.name());
    if finish(&mut words(&add), WAIT)?.code != Some(0) {
        println!("this kernel has no VRF devices: the table is followed by its number, {table}");
        return Ok(false);
    }
    println!("this kernel has VRF devices: the table is followed by the name {name}");
    host.ip(&format!("link set {name} up"))?;
    Ok(true)
}

#[test]
fn a_vrf_of_the_kernels_is_one_of_raddles() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let host = Namespace::create("host")?;
    let has_vrf = make_vrf(&host, "blue", 100)?;
    if has_vrf {
        // It comes later than raddle.
        host.ip("link delete blue")?;
    }
    let source = if has_vrf { "vrf = \"blue\"" } else { "kernel-table = 100" };
    let bound = "table = \"blue\"\n";
    let config = DaemonConfig::new()
        .interface(&alice.spec, bound)
        .interface(&bob.spec, bound)
        .plugins(&target_dir().join("plugins"))
        .with("[table.blue]\nid = 10\n")
        .with(&format!(
            "[tuntap]\nnamespace = \"{}\"\n{TAPS}[[tuntap.mirror]]\n{source}\n{bound}",
            host.name()
        ));
    let daemon = Daemon::start(&topology.router, &config)?;
    for (device, address) in [("east", "2001:db8:1::1/64"), ("west", "2001:db8:2::1/64")] {
        same_addresses(&daemon, &host, device, address, true)?;
    }
    bob.namespace.ip("address add 192.0.2.9/32 dev eth0")?;
    if has_vrf {
        let missing = || Ok(daemon.ctl("show tuntap")?.contains("there is no VRF device blue").then_some(()));
        wait_for("the missing VRF to be told", WAIT, missing)?;
        make_vrf(&host, "blue", 100)?;
        for device in ["east", "west"] {
            // Linux takes the link down for a moment then, and its IPv6 addresses away.
            host.ip(&format!("link set {device} master blue"))?;
        }
        for (device, address) in [("east", "2001:db8:1::1/64"), ("west", "2001:db8:2::1/64")] {
            same_addresses(&daemon, &host, device, address, true)?;
        }
        wait_for("the VRF to be followed", WAIT, || {
            Ok((!daemon.ctl("show tuntap")?.contains("there is no VRF device")).then_some(()))
        })?;
    }
    host.ip("route add 192.0.2.0/24 via 10.0.2.2 dev west table 100")?;
    host.ip("-6 route add 2001:db8:f::/48 via 2001:db8:2::2 dev west table 100")?;
    // Of the main table nothing is wanted.
    host.ip("route add blackhole 198.51.100.0/24")?;
    in_sync(&daemon, 2, 2)?;
    reached(&alice.namespace, Ipv4Addr::new(192, 0, 2, 9))?;
    let shown = route(&daemon, "2001:db8:f::/48 table blue")?;
    ensure!(shown.contains("2001:db8:2::2"), "{shown}");
    for prefix in ["192.0.2.0/24", "198.51.100.0/24"] {
        let shown = route(&daemon, prefix)?;
        ensure!(
            !shown.contains("10.0.2.2") && !shown.contains("blackhole"),
            "it is in the default table: {shown}"
        );
    }
    host.ip(if has_vrf { "link delete blue" } else { "route flush table 100" })?;
    if !has_vrf {
        host.ip("-6 route flush table 100")?;
    }
    in_sync(&daemon, 0, 0)?;
    daemon.stop()
}
