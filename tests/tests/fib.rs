//! Routing tables and what happens to traffic while they change.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use raddle_tests::wait::wait_for;
use raddle_tests::{Daemon, DaemonConfig, Host, HostSpec, Judge, Need, Topology, UdpFlow, ping, requirement};
use serde_json::{Value, json};

fn demand_ping(from: &Host, to: IpAddr) -> Result<()> {
    // The first packets may wait for a neighbour to be resolved.
    wait_for("a ping to be answered", Duration::from_secs(20), || {
        Ok((ping(&from.namespace, to, 2)?.received > 0).then_some(()))
    })?;
    let report = ping(&from.namespace, to, 5)?;
    ensure!(report.is_complete(), "{} to {to}: {}", from.spec.name, report.text);
    Ok(())
}

fn table(name: &str, id: u32) -> String {
    format!("[table.{name}]\nid = {id}")
}

/// Two customers with the same addresses do not see each other.
#[test]
fn overlapping_addresses_in_two_tables_are_told_apart() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::create([
        HostSpec::new("alice", "east", 1),
        HostSpec::new("bob", "west", 2),
        HostSpec::new("anna", "north", 1),
        HostSpec::new("boris", "south", 2),
    ])?;
    let host = |name: &str| topology.host(name);
    let config =
        ["alice", "bob"].iter().fold(DaemonConfig::new().with(&table("blue", 10)), |config, name| {
            config.interface(&host(name).spec, "")
        });
    let config = ["anna", "boris"]
        .iter()
        .fold(config, |config, name| config.interface(&host(name).spec, "table = \"blue\"\n"));
    let daemon = Daemon::start(&topology.router, &config)?;
    for (from, to) in [("alice", "bob"), ("anna", "boris"), ("bob", "alice"), ("boris", "anna")] {
        for address in [IpAddr::from(host(to).spec.ipv4), host(to).spec.ipv6.into()] {
            demand_ping(host(from), address)?;
        }
        demand_ping(host(from), host(from).spec.gateway4.into())?;
    }
    let report = daemon.ctl("ping 10.0.2.2 count 3 interval 50ms table blue")?;
    ensure!(report.contains("3 received"), "{report}");
    // Whose packets are whose shows when one of the customers loses a link.
    daemon.ctl("set interface state south down")?;
    ensure!(ping(&host("anna").namespace, host("boris").spec.ipv4, 2)?.received == 0);
    demand_ping(host("alice"), host("bob").spec.ipv4.into())?;
    let refused = daemon.try_ctl("table del blue")?;
    ensure!(refused.stderr.contains("routing table blue is in use by north, south"), "{}", refused.stderr);
    let shown = daemon.ctl("show config")?;
    ensure!(shown.contains("[table.blue]") && shown.contains("table = \"blue\""), "{shown}");
    daemon.stop()
}

#[test]
fn routes_lead_from_one_table_into_another_and_back() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let leak = |prefix: &str, from: &str, to: &str| {
        format!("[[route]]\nprefix = \"{prefix}\"\ntable = \"{from}\"\nvia-table = \"{to}\"")
    };
    let config = DaemonConfig::new()
        .with(&table("blue", 10))
        .interface(&alice.spec, "")
        .interface(&bob.spec, "table = 10\n")
        .with(&leak("10.0.2.0/24", "default", "blue"))
        .with(&leak("10.0.1.0/24", "blue", "default"))
        .with(&leak("2001:db8:2::/64", "default", "blue"))
        .with(&leak("2001:db8:1::/64", "blue", "default"));
    let daemon = Daemon::start(&topology.router, &config)?;
    for address in [IpAddr::from(bob.spec.ipv4), bob.spec.ipv6.into()] {
        demand_ping(alice, address)?;
    }
    daemon.ctl("route del 10.0.2.0/24 via table blue")?;
    ensure!(ping(&alice.namespace, bob.spec.ipv4, 2)?.received == 0, "no way without the route");
    // By a next hop on the interface of the other table: to its own network, neighbours are asked for.
    daemon.ctl("route add 10.0.2.0/24 interface west")?;
    demand_ping(alice, bob.spec.ipv4.into())?;
    daemon.stop()
}

/// As hosting providers have it: one address, and a gateway outside of all networks.
#[test]
fn gateway_outside_of_all_networks_is_reached_by_a_route_to_its_link() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let config = DaemonConfig::new().interface(&alice.spec, "").with(
        "[interface.west]\ndriver = \"af-packet\"\ndevice = \"west\"\naddresses = [\"198.51.100.7/32\"]\n\
         [[route]]\nprefix = \"0.0.0.0/0\"\nvia = \"203.0.113.254\"\n\
         [[route]]\nprefix = \"203.0.113.254/32\"\ninterface = \"west\"",
    );
    let daemon = Daemon::start(&topology.router, &config)?;
    for line in [
        "address add 203.0.113.254/32 dev eth0",
        "address add 198.18.0.9/32 dev lo",
        "route add 198.51.100.7/32 dev eth0",
        "route replace default via 198.51.100.7 dev eth0 onlink",
    ] {
        bob.namespace.ip(line)?;
    }
    for address in ["198.18.0.9", "203.0.113.254"] {
        demand_ping(alice, address.parse()?)?;
    }
    daemon.stop()
}

/// Where flows of alice to 198.18.0.9, by source port, arrive.
fn ways(sender: &mut Judge, receivers: &mut [(&str, Judge)], args: &Value) -> Result<BTreeMap<u64, String>> {
    for (_, receiver) in receivers.iter_mut() {
        receiver.run("capture = Capture()", Value::Null)?;
    }
    sender.run(
        "
        ether = Ether(src=mac(), dst=args['router'])
        ip = IP(src=args['alice'], dst='198.18.0.9')
        send([ether / ip / UDP(sport=1000 + flow, dport=4711) / Raw(b'flow') for flow in range(args['flows'])])
        ",
        args.clone(),
    )?;
    let mut ways = BTreeMap::new();
    for (name, receiver) in receivers.iter_mut() {
        let ports = receiver.run(
            "result = [p[UDP].sport for p in capture.collect(lambda p: UDP in p and p[UDP].dport == 4711, 2)]",
            Value::Null,
        )?;
        for port in ports.as_array().into_iter().flatten().filter_map(Value::as_u64) {
            let before = ways.insert(port, (*name).to_owned());
            ensure!(before.is_none(), "the packet from port {port} came twice");
        }
    }
    Ok(ways)
}

#[test]
fn flows_keep_their_next_hop_when_another_comes_or_goes() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    const FLOWS: usize = 240;
    let topology = Topology::create([
        HostSpec::new("alice", "east", 1),
        HostSpec::new("bob", "west", 2),
        HostSpec::new("carol", "north", 3),
        HostSpec::new("dave", "south", 4),
    ])?;
    let alice = topology.host("alice");
    let config = DaemonConfig::routed(&topology).with("[ecmp]\nseed = 7");
    let daemon = Daemon::start(&topology.router, &config)?;
    for name in ["bob", "carol", "dave"] {
        demand_ping(alice, topology.host(name).spec.ipv4.into())?;
    }
    for via in ["10.0.2.2", "10.0.3.2"] {
        daemon.ctl(&format!("route add 198.18.0.0/15 via {via}"))?;
    }
    let mut sender = Judge::start(&alice.namespace)?;
    let mut receivers = Vec::new();
    for name in ["bob", "carol", "dave"] {
        receivers.push((name, Judge::start(&topology.host(name).namespace)?));
    }
    let args =
        json!({ "router": alice.router_mac(&topology.router)?, "alice": alice.spec.ipv4, "flows": FLOWS });
    let two = ways(&mut sender, &mut receivers, &args)?;
    daemon.ctl("route add 198.18.0.0/15 via 10.0.4.2")?;
    let three = ways(&mut sender, &mut receivers, &args)?;
    daemon.ctl("route del 198.18.0.0/15 via 10.0.3.2")?;
    let without_carol = ways(&mut sender, &mut receivers, &args)?;
    daemon.ctl("set interface state south down")?;
    let without_dave = ways(&mut sender, &mut receivers, &args)?;
    let count = |ways: &BTreeMap<u64, String>, name: &str| ways.values().filter(|way| *way == name).count();
    for (when, ways) in
        [("two", &two), ("three", &three), ("-carol", &without_carol), ("-dave", &without_dave)]
    {
        ensure!(ways.len() == FLOWS, "{when}: {} of {FLOWS} packets arrived", ways.len());
    }
    for name in ["bob", "carol"] {
        ensure!(count(&two, name) > FLOWS / 4, "{name} has {} of {FLOWS} flows", count(&two, name));
    }
    ensure!(count(&three, "dave") > FLOWS / 6, "dave has {} of {FLOWS} flows", count(&three, "dave"));
    for (port, way) in &three {
        ensure!(way == "dave" || *way == two[port], "flow {port} moved from {} to {way}", two[port]);
    }
    for (port, way) in &without_carol {
        ensure!(three[port] == "carol" || *way == three[port], "flow {port} moved to {way}");
    }
    ensure!(count(&without_dave, "bob") == FLOWS, "one next hop is left");
    daemon.stop()
}

#[test]
fn recursive_routes_move_to_another_router_without_loss() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    const PACKETS: u64 = 3000;
    let topology = Topology::create([
        HostSpec::new("alice", "east", 1),
        HostSpec::new("bob", "west", 2),
        HostSpec::new("carol", "north", 3),
    ])?;
    let alice = topology.host("alice");
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(1))?;
    for name in ["bob", "carol"] {
        let host = topology.host(name);
        demand_ping(alice, host.spec.ipv4.into())?;
        host.namespace.ip("address add 198.18.0.9/32 dev lo")?;
    }
    daemon.ctl("route add 203.0.113.1/32 via 10.0.2.2")?;
    daemon.ctl("route add 198.18.0.0/15 via 203.0.113.1")?;
    let mut receivers = Vec::new();
    for name in ["bob", "carol"] {
        let mut judge = Judge::start(&topology.host(name).namespace)?;
        judge.run(
            "
            import socket
            inbox = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            inbox.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)
            inbox.bind(('0.0.0.0', 4711))
            inbox.settimeout(2)
            ",
            Value::Null,
        )?;
        receivers.push(judge);
    }
    let mut sender = Judge::start(&alice.namespace)?;
    let sent = std::thread::spawn(move || {
        sender.run(
            "
            import socket, time
            out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            for number in range(args):
                out.sendto(number.to_bytes(4, 'big'), ('198.18.0.9', 4711))
                time.sleep(0.001)
            ",
            json!(PACKETS),
        )
    });
    let mut turns = 0;
    while !sent.is_finished() {
        let (new, old) = if turns % 2 == 0 { ("10.0.3.2", "10.0.2.2") } else { ("10.0.2.2", "10.0.3.2") };
        daemon.ctl(&format!("route add 203.0.113.1/32 via {new}"))?;
        daemon.ctl(&format!("route del 203.0.113.1/32 via {old}"))?;
        turns += 1;
    }
    ensure!(sent.join().is_ok_and(|sent| sent.is_ok()), "the sender failed");
    let mut numbers = Vec::new();
    for receiver in &mut receivers {
        let got = receiver.run(
            "
            result = []
            try:
                while True:
                    result.append(int.from_bytes(inbox.recv(16), 'big'))
            except TimeoutError:
                pass
            ",
            Value::Null,
        )?;
        let got: Vec<u64> = got.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        ensure!(!got.is_empty(), "each router had its turn of {turns}");
        numbers.extend(got);
    }
    numbers.sort_unstable();
    ensure!(numbers == (0..PACKETS).collect::<Vec<_>>(), "{} of {PACKETS} arrived", numbers.len());
    daemon.stop()
}

#[test]
fn loops_and_next_hops_that_make_no_sense_are_refused_in_a_sentence_and_forwarding_goes_on() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let config = DaemonConfig::routed(&topology).workers(1).with(&table("blue", 10)).with(&table("red", 11));
    let daemon = Daemon::start(&topology.router, &config)?;
    demand_ping(alice, bob.spec.ipv4.into())?;
    let flow = UdpFlow::start(alice, bob, false, 1000)?;
    for accepted in [
        "route add 198.51.100.0/24 via 10.0.2.2",
        "route add 203.0.113.0/24 via 198.51.100.1",
        "route add 2001:db8:f1::/48 via 2001:db8:2::2",
        "route add 2001:db8:f0::/48 via 2001:db8:f1::1",
        "route add 10.64.0.0/16 via table default table red",
    ] {
        daemon.ctl(accepted)?;
    }
    for (refused, sentence) in [
        (
            "route add 198.51.100.0/25 via 203.0.113.1",
            "would be reached through itself: next hop 198.51.100.1 resolves to it",
        ),
        ("route add 2001:db8:f1::/64 via 2001:db8:f0::1", "would be reached through itself"),
        (
            "route add 192.0.2.0/24 via 10.0.2.2 interface wets",
            "there is no interface `wets`; did you mean `west`?",
        ),
        ("route add 192.0.2.0/24 via 224.0.0.1", "is no router's address"),
        ("route add 192.0.2.0/24 via 2001:db8:2::2", "is of another family than route 192.0.2.0/24"),
        ("route add 192.0.2.0/24 via table blue table blue", "cannot lead to its own table blue"),
        ("route add 10.64.0.0/16 via table red", "would come back to its own table"),
        ("route add 192.0.2.0/24 via table green", "there is no routing table `green`"),
        ("route del 192.0.2.0/24 via 10.0.2.2", "there is no route 192.0.2.0/24"),
        ("table del red", "routing table red still has"),
    ] {
        let outcome = daemon.try_ctl(refused)?;
        ensure!(
            outcome.code == Some(1) && outcome.stderr.contains(sentence),
            "{refused}: {:?} {}",
            outcome.code,
            outcome.stderr
        );
    }
    flow.stop()?.demand_no_loss()?;
    daemon.stop()
}

/// 200,000 routes, as `route load` reads them.
fn many_routes() -> String {
    let mut text = String::new();
    for number in 0..200_000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        // Writing to a string does not fail.
        let _ = match number % 4 {
            0 => writeln!(text, "2001:dba:{a:x}{b:02x}:{c:x}::/64 via 2001:db8:2::2"),
            _ => writeln!(text, "{}.{b}.{c}.0/24 via 10.0.2.2", 32 + a),
        };
    }
    text
}

#[test]
fn many_routes_come_are_shown_and_go_under_traffic_without_loss() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let folder = raddle_tests::scratch::directory()?;
    let file = folder.path().join("routes");
    std::fs::write(&file, many_routes())?;
    let file = file.display();
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for workers in [0, 1] {
        let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(workers))?;
        demand_ping(alice, bob.spec.ipv4.into())?;
        let flow = UdpFlow::start(alice, bob, false, 1000)?;
        let loaded = daemon.ctl_json(&format!("route load {file}"))?;
        ensure!(loaded["routes"] == 200_000 && loaded["path-sets"] == 2, "{loaded}");
        let shown = daemon.ctl("show fib")?;
        let lines = shown.lines().filter(|line| line.contains(" loaded ")).count();
        ensure!(lines == 200_000, "{lines} lines");
        let listed = daemon.ctl_json("show fib ip6")?;
        let listed = listed.as_array().map_or(0, Vec::len);
        ensure!(listed > 50_000, "{listed} IPv6 routes");
        daemon.ctl(&format!("route unload {file}"))?;
        let left = daemon.ctl("show fib")?;
        ensure!(!left.contains(" loaded "), "{left}");
        flow.stop()?.demand_no_loss()?;
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn file_of_routes_that_is_wrong_changes_nothing() -> Result<()> {
    if !requirement::met(&[Need::Raddle]) {
        return Ok(());
    }
    let folder = raddle_tests::scratch::directory()?;
    let file = folder.path().join("routes");
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let before = daemon.ctl("show fib")?;
    for (text, message) in [
        ("198.18.0.0/15 via 10.0.2.2\n198.18.0.0/33 via 10.0.2.2\n", "line 2: "),
        ("198.18.0.0/15 via 10.0.2.2\n198.19.0.0/16 by 10.0.2.2\n", "line 2: `by` is not understood"),
        ("198.18.0.0/15 via 10.0.2.2 interface wets\n", "did you mean `west`?"),
        ("198.18.0.0/15 via table green\n", "there is no routing table `green`"),
    ] {
        std::fs::write(&file, text)?;
        let refused = daemon.try_ctl(&format!("route load {}", file.display()))?;
        ensure!(refused.stderr.contains(message), "{}", refused.stderr);
        ensure!(daemon.ctl("show fib")? == before, "nothing has changed");
    }
    let missing = daemon.try_ctl("route load /nowhere/routes")?;
    ensure!(missing.stderr.contains("/nowhere/routes cannot be read"), "{}", missing.stderr);
    daemon.ctl("route batch 198.18.0.0/15 via 10.0.2.2; 2001:db8:f::/48 via 2001:db8:2::2")?;
    ensure!(daemon.ctl("show fib 198.18.0.0/15")?.contains("198.18.0.0/15 loaded: via 10.0.2.2"));
    daemon.ctl("route flush")?;
    ensure!(daemon.ctl("show fib")? == before, "all are gone again");
    daemon.stop()
}
