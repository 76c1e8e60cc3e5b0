//! The host on the other side of the punt: a tap for each interface, or a tun for a routing table.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use raddle_tests::host_side::{
    TAPS, WAIT, addresses, config, link, raddles_addresses, reached, same_addresses,
};
use raddle_tests::iperf::{Direction, IperfServer, iperf};
use raddle_tests::ping::ping_with;
use raddle_tests::wait::wait_for;
use raddle_tests::web::{WebServer, fetch};
use raddle_tests::{Daemon, Namespace, Need, Topology, requirement};
use serde_json::Value;

const NEEDS: &[Need] = &[Need::Ping, Need::Raddle, Need::Tuntap];

#[test]
fn the_host_answers_on_raddles_own_addresses_by_taps() -> Result<()> {
    if !requirement::met(&[NEEDS, &[Need::Curl, Need::Python, Need::Iperf]].concat()) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let host = Namespace::create("host")?;
    let daemon = Daemon::start(&topology.router, &config(&topology, &host, TAPS))?;
    let own = same_addresses(&daemon, &host, "east", "10.0.1.1/24", true)?;
    ensure!(own.iter().any(|address| address.starts_with("fe80::")), "{own:?}");
    let shown = daemon.ctl_json("show interface east")?;
    let east = wait_for("the tap to carry", WAIT, || {
        Ok(link(&host, "east")?.filter(|link| matches!(link["operstate"].as_str(), Some("UP" | "UNKNOWN"))))
    })?;
    assert_eq!(east["address"], shown[0]["mac"], "one MAC address");
    assert_eq!(east["mtu"], 1500);
    // What raddle answers, it answers; the host has the same addresses and answers nothing twice.
    reached(&alice.namespace, alice.spec.gateway4)?;
    reached(&alice.namespace, alice.spec.gateway6)?;
    // The host reaches neighbours by the interface that they are on.
    reached(&host, alice.spec.ipv4)?;
    reached(&host, bob.spec.ipv6)?;
    // A TCP service, with bodies of many segments.
    let directory = tempfile::tempdir()?;
    let body: Vec<u8> = (0..8 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(directory.path().join("body"), &body)?;
    let _web = WebServer::start(&host, directory.path())?;
    for address in [IpAddr::from(alice.spec.gateway4), alice.spec.gateway6.into()] {
        let to = directory.path().join("got");
        let fetched = fetch(&alice.namespace, address, "body", &to)?;
        ensure!(fetched.status == 200 && std::fs::read(&to)? == body, "{address}: {fetched:?}");
    }
    // Bulk data both ways; the large packets are whole on the tap, or it would be slow rather than wrong.
    let _server = IperfServer::start(&host)?;
    for direction in [Direction::Upload, Direction::Download] {
        let transfer = iperf(&alice.namespace, alice.spec.gateway4, direction, 1)?;
        println!("TCP to the host, {direction:?}: {transfer:?}");
        ensure!(transfer.len_bytes > 1 << 20, "{transfer:?}");
    }
    // raddle answers for itself on the way to others (RFC 792).
    let traceroute = ping_with(&alice.namespace, bob.spec.ipv4, &["-c", "1", "-t", "1", "-W", "2"])?;
    ensure!(traceroute.errors == 1 && traceroute.text.contains("From 10.0.1.1"), "{}", traceroute.text);
    reached(&alice.namespace, bob.spec.ipv4)?;
    let punted = daemon.ctl_json("show punt")?;
    let taken = |reason: &str| {
        let all = punted.as_array().into_iter().flatten();
        all.filter(|row| row["reason"] == reason).filter_map(|row| row["taken"].as_u64()).sum::<u64>()
    };
    ensure!(taken("tcp") > 0 && taken("icmp") > 0 && taken("arp") > 0 && taken("nd") > 0, "{punted}");
    daemon.stop()?;
    assert_eq!(host.interfaces()?, Vec::<String>::new(), "the taps go with raddle");
    Ok(())
}

#[test]
fn both_sides_follow_each_other() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let host = Namespace::create("host")?;
    let daemon = Daemon::start(&topology.router, &config(&topology, &host, TAPS))?;
    let same = |with: &str, there: bool| same_addresses(&daemon, &host, "east", with, there);
    same("10.0.1.1/24", true)?;
    same_addresses(&daemon, &host, "west", "10.0.2.1/24", true)?;
    for (add, del, address) in [
        ("ctl", "ctl", "10.9.0.1/24"),
        ("host", "host", "10.8.0.1/24"),
        ("ctl", "host", "2001:db8:9::1/64"),
        ("host", "ctl", "2001:db8:8::1/64"),
    ] {
        for (by, word, there) in [(add, "add", true), (del, "del", false)] {
            match by {
                "ctl" => drop(daemon.ctl(&format!("set interface address east {word} {address}"))?),
                _ => drop(host.ip(&format!("address {word} {address} dev east"))?),
            }
            same(address, there).with_context(|| format!("{word} {address} by {by}"))?;
        }
    }
    let until = |what: &str, path: &'static str, value: Value| {
        wait_for(what, WAIT, || Ok(link(&host, "east")?.filter(|link| link[path] == value).map(drop)))
    };
    daemon.ctl("set interface mtu east 1400")?;
    until("the host's MTU", "mtu", 1400.into())?;
    daemon.ctl("set interface mac east 02:00:00:00:77:77")?;
    until("the host's MAC address", "address", "02:00:00:00:77:77".into())?;
    daemon.ctl("set interface state east down")?;
    until("the carrier to go", "operstate", "DOWN".into())?;
    daemon.ctl("set interface state east up")?;
    wait_for("the carrier to come", WAIT, || {
        Ok(link(&host, "east")?.filter(|link| link["operstate"] != "DOWN").map(drop))
    })?;
    // The host's operator takes the link down and up: IPv6 addresses that Linux drops meanwhile come back, raddle keeps them.
    let before = raddles_addresses(&daemon, "east")?;
    host.ip("link set east down")?;
    wait_for("IPv6 to go on the host", WAIT, || {
        Ok((addresses(&host, "east")?.len() < before.len()).then_some(()))
    })?;
    host.ip("link set east up")?;
    same("2001:db8:1::1/64", true)?;
    assert_eq!(raddles_addresses(&daemon, "east")?, before);
    // A fixed neighbour of the host's is one of raddle's.
    let fixed = |there: bool| {
        wait_for("the fixed neighbour", WAIT, || {
            let shown = daemon.ctl("show neighbors east")?;
            Ok((shown.contains("02:00:00:00:00:77") == there).then_some(()))
        })
    };
    host.ip("neighbor replace 10.0.1.77 lladdr 02:00:00:00:00:77 dev east nud permanent")?;
    fixed(true)?;
    host.ip("neighbor del 10.0.1.77 dev east")?;
    fixed(false)?;
    // A tap that somebody removes comes back as it was.
    host.ip("link delete west")?;
    same_addresses(&daemon, &host, "west", "10.0.2.1/24", true)?;
    reached(&host, topology.host("bob").spec.ipv4)?;
    // By command: none, and again.
    daemon.ctl("set tuntap interface west off")?;
    wait_for("the tap to go", WAIT, || {
        Ok((!host.interfaces()?.iter().any(|name| name == "west")).then_some(()))
    })?;
    let section = daemon.ctl("show config")?;
    ensure!(
        section.contains("[tuntap.interface.east]") && !section.contains("[tuntap.interface.west]"),
        "{section}"
    );
    ensure!(
        !section.contains("host-east"),
        "what the plugin makes is no part of the configuration: {section}"
    );
    daemon.ctl("set tuntap interface west tap device other")?;
    same_addresses_named(&daemon, &host, "west", "other")?;
    daemon.stop()
}

fn same_addresses_named(daemon: &Daemon<'_>, host: &Namespace, interface: &str, device: &str) -> Result<()> {
    wait_for("the addresses of the new tap", WAIT, || {
        let (here, there) = (raddles_addresses(daemon, interface)?, addresses(host, device)?);
        Ok((here == there && !here.is_empty()).then_some(()))
    })
}

#[test]
fn a_tun_serves_all_interfaces_of_a_table() -> Result<()> {
    if !requirement::met(&[NEEDS, &[Need::Curl, Need::Python]].concat()) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let host = Namespace::create("host")?;
    let lines = "[tuntap.interface.east]\nmode = \"tun\"\n[tuntap.interface.west]\nmode = \"tun\"\n\
                 [tuntap.tun.default]\ndevice = \"raddle0\"\n";
    let daemon = Daemon::start(&topology.router, &config(&topology, &host, lines))?;
    wait_for("the addresses of both interfaces", WAIT, || {
        let all = addresses(&host, "raddle0")?;
        let wanted = ["10.0.1.1/24", "10.0.2.1/24", "2001:db8:1::1/64", "2001:db8:2::1/64"];
        Ok(wanted.iter().all(|wanted| all.iter().any(|address| address == wanted)).then_some(()))
    })?;
    // What the host sends into it is routed: to neighbours on both sides.
    for to in
        [IpAddr::from(alice.spec.ipv4), bob.spec.ipv4.into(), alice.spec.ipv6.into(), bob.spec.ipv6.into()]
    {
        reached(&host, to)?;
    }
    let directory = tempfile::tempdir()?;
    std::fs::write(directory.path().join("body"), vec![b'x'; 3 << 20])?;
    let _web = WebServer::start(&host, directory.path())?;
    for (from, to) in [
        (alice, IpAddr::from(alice.spec.gateway4)),
        (bob, bob.spec.gateway6.into()),
        // An own address on the far side.
        (bob, alice.spec.gateway4.into()),
    ] {
        let fetched = fetch(&from.namespace, to, "body", &directory.path().join("got"))?;
        ensure!(fetched.status == 200 && fetched.len_bytes == 3 << 20, "{to}: {fetched:?}");
    }
    reached(&bob.namespace, bob.spec.gateway4)?;
    // By command the other way, and back.
    let has = |device: &str, address: &str| {
        let there = host.interfaces()?.iter().any(|name| name == device);
        anyhow::Ok(there && addresses(&host, device)?.iter().any(|other| other == address))
    };
    for (mode, by_tap) in [("tap", true), ("tun", false)] {
        daemon.ctl(&format!("set tuntap interface east {mode}"))?;
        wait_for("the address on the other device", WAIT, || {
            let done = has("east", "10.0.1.1/24")? == by_tap && has("raddle0", "10.0.1.1/24")? != by_tap;
            Ok(done.then_some(()))
        })
        .with_context(|| mode.to_owned())?;
        let fetched = fetch(&alice.namespace, alice.spec.gateway4, "body", &directory.path().join("got"))?;
        ensure!(fetched.status == 200 && fetched.len_bytes == 3 << 20, "{mode}: {fetched:?}");
    }
    daemon.stop()?;
    assert_eq!(host.interfaces()?, Vec::<String>::new());
    Ok(())
}
