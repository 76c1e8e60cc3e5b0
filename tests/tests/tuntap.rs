//! The host on the other side of the punt: a tap for each interface, or a tun for a routing table; and its routes, followed.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use raddle_tests::command::words;
use raddle_tests::iperf::{Direction, IperfServer, iperf};
use raddle_tests::ping::ping_with;
use raddle_tests::wait::wait_for;
use raddle_tests::web::{WebServer, fetch};
use raddle_tests::{
    Daemon, DaemonConfig, HostSpec, Namespace, Need, Topology, UdpFlow, ping, requirement, target_dir,
};
use rustix::process::Signal;
use serde_json::Value;

const NEEDS: &[Need] = &[Need::Ping, Need::Raddle, Need::Tuntap];
const WAIT: Duration = Duration::from_secs(30);

fn config(topology: &Topology, host: &Namespace, lines: &str) -> DaemonConfig {
    DaemonConfig::routed(topology)
        .plugins(&target_dir().join("plugins"))
        .with(&format!("[tuntap]\nnamespace = \"{}\"\n{lines}", host.name()))
}

const TAPS: &str = "[tuntap.interface.east]\n[tuntap.interface.west]\n";

/// A link of a namespace as `ip -json` shows it, with its addresses.
fn link(namespace: &Namespace, device: &str) -> Result<Option<Value>> {
    if !namespace.interfaces()?.iter().any(|name| name == device) {
        return Ok(None);
    }
    let mut links: Value = serde_json::from_str(&namespace.ip(&format!("-json address show {device}"))?)?;
    Ok(Some(links[0].take()))
}

fn addresses(namespace: &Namespace, device: &str) -> Result<Vec<String>> {
    let Some(link) = link(namespace, device)? else { return Ok(Vec::new()) };
    let all = link["addr_info"].as_array().cloned().unwrap_or_default();
    let text = |info: &Value| format!("{}/{}", info["local"].as_str().unwrap_or_default(), info["prefixlen"]);
    let mut all: Vec<_> = all.iter().map(text).collect();
    all.sort();
    Ok(all)
}

fn raddles_addresses(daemon: &Daemon<'_>, interface: &str) -> Result<Vec<String>> {
    let list = daemon.ctl_json(&format!("show interface address {interface}"))?;
    let list = list.as_array().context("a list of addresses")?;
    let mut all: Vec<_> = list.iter().filter_map(|one| one["address"].as_str().map(str::to_owned)).collect();
    all.sort();
    Ok(all)
}

/// Waits until both sides have the same addresses; returns them.
fn same_addresses(
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

fn reached(from: &Namespace, to: impl Into<IpAddr>) -> Result<()> {
    let to = to.into();
    wait_for(&format!("an answer from {to}"), WAIT, || Ok((ping(from, to, 1)?.received > 0).then_some(())))?;
    let report = ping(from, to, 5)?;
    ensure!(report.is_complete(), "{}", report.text);
    Ok(())
}

fn mirror(daemon: &Daemon<'_>) -> Result<Value> {
    Ok(daemon.ctl_json("show tuntap")?["mirrors"][0].clone())
}

/// Waits until the first mirror has so many prefixes of the kernel's, `in_sync` of them over here, and nothing to do.
fn in_sync(daemon: &Daemon<'_>, kernel: u64, in_sync: u64) -> Result<()> {
    let outcome = wait_for("the mirror to be in sync", WAIT, || {
        let mirror = mirror(daemon)?;
        let done = mirror["kernel"] == kernel && mirror["in-sync"] == in_sync && mirror["pending"] == 0;
        Ok(done.then_some(()))
    });
    outcome.with_context(|| format!("{:#}", mirror(daemon).unwrap_or_default()))
}

fn route(daemon: &Daemon<'_>, prefix: &str) -> Result<String> {
    // Where no route covers a prefix, that is the answer.
    let shown = daemon.try_ctl(&format!("show fib {prefix}"))?;
    Ok(shown.stdout + &shown.stderr)
}

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
    daemon.stop()?;
    assert_eq!(host.interfaces()?, Vec::<String>::new());
    Ok(())
}

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

/// Commands for `ip -batch`: so many /32 routes.
fn many(count: u32, word: &str) -> String {
    let mut text = String::new();
    for number in 0..count {
        let to = Ipv4Addr::from(0x1400_0000 + number);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "route {word} {to}/32 via 10.0.1.2");
    }
    text
}

fn batch(host: &Namespace, text: &str) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("batch");
    std::fs::write(&file, text)?;
    let mut command = words(&format!("ip -n {} -force -batch {}", host.name(), file.display()));
    ensure!(command.stdout(Stdio::null()).status()?.success(), "ip -batch failed");
    Ok(())
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
    batch(&host, &many(ROUTES, "add"))?;
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
fn what_is_wrong_is_said_and_disturbs_nothing() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let host = Namespace::create("host")?;
    // The name of one tap is taken, another interface is none, and a namespace is missing.
    host.ip("link add east type veth peer name spare")?;
    let lines =
        format!("{TAPS}[tuntap.interface.nowhere]\n[[tuntap.mirror]]\nnamespace = \"no-such-namespace\"\n");
    let daemon = Daemon::start(&topology.router, &config(&topology, &host, &lines))?;
    same_addresses(&daemon, &host, "west", "10.0.2.1/24", true)?;
    let shown = wait_for("the faults", WAIT, || {
        let shown = daemon.ctl("show tuntap")?;
        let all = [
            "the name east is taken on the host by a device that is no tap",
            "there is no interface of this name",
            "there is no network namespace \"no-such-namespace\"",
        ];
        Ok(all.iter().all(|part| shown.contains(part)).then_some(shown))
    });
    shown.with_context(|| daemon.ctl("show tuntap").unwrap_or_default())?;
    reached(&alice.namespace, bob.spec.ipv4)?;
    host.ip("link delete east")?;
    same_addresses(&daemon, &host, "east", "10.0.1.1/24", true)?;
    let refused = daemon.try_ctl("set tuntap interface nobody tap")?;
    ensure!(refused.stderr.contains("there is no interface `nobody`"), "{refused:?}");
    // The host floods its tap; the others are served.
    let flood = host.udp("0.0.0.0:0")?;
    flood.connect("10.0.1.2:9")?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = flood.send(&[0; 1000]);
            }
        });
        let outcome = reached(&bob.namespace, bob.spec.gateway4);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        outcome
    })?;
    daemon.stop()
}

#[test]
fn without_the_tun_device_it_says_so_and_forwards() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::create([HostSpec::new("alice", "east", 1), HostSpec::new("bob", "west", 2)])?;
    let host = Namespace::create("host")?;
    let config = config(&topology, &host, "[tuntap.interface.east]\n");
    // A device directory of its own hides /dev/net/tun from this daemon alone.
    let hidden = Daemon::start_without_tun(&topology.router, &config)?;
    let outcome = wait_for("the fault", WAIT, || {
        let shown = hidden.ctl("show tuntap")?;
        Ok(shown.contains("/dev/net/tun is not there: load the kernel's module `tun`").then_some(()))
    });
    outcome.with_context(|| hidden.ctl("show tuntap").unwrap_or_default())?;
    reached(&topology.host("alice").namespace, topology.host("bob").spec.ipv4)?;
    hidden.stop()
}
