//! Bridges: hosts of one subnet behind several ports, raddle among them by its BVI.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use raddle_tests::iperf::Direction;
use raddle_tests::{
    Daemon, DaemonConfig, HostSpec, IperfServer, Judge, Need, Topology, iperf, observe, ping, requirement,
    wait_until,
};
use serde_json::{Value, json};

/// Generous: neighbours must be resolved, and the machine is shared.
const RECOVERY: Duration = Duration::from_secs(60);

/// A host of the subnet 10.0.1.0/24, 2001:db8:1::/64, whose router is the BVI.
fn station(name: &str, interface: &str, number: u8) -> HostSpec {
    let mut host = HostSpec::new(name, interface, 1);
    host.ipv4 = [10, 0, 1, number].into();
    host.ipv6 = [0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(number)].into();
    host
}

fn port(interface: &str) -> String {
    format!("[interface.{interface}]\ndriver = \"af-packet\"\ndevice = \"{interface}\"\n")
}

fn lan(ports: &[&str], keys: &str) -> DaemonConfig {
    let config = ports.iter().fold(DaemonConfig::new(), |config, name| config.with(&port(name)));
    let members = ports.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    config.with(&format!(
        "[interface.gateway]\ndriver = \"bvi\"\naddresses = [\"10.0.1.1/24\", \"2001:db8:1::1/64\"]\n\n\
         [bridge.lan]\nmembers = [{members}]\nbvi = \"gateway\"\n{keys}"
    ))
}

fn macs(daemon: &Daemon<'_>) -> Result<Vec<(String, String, String)>> {
    let data = daemon.ctl_json("show bridge lan macs")?;
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows = data.as_array().into_iter().flatten();
    Ok(rows.map(|row| (text(row, "mac"), text(row, "interface"), text(row, "kind"))).collect())
}

#[test]
fn hosts_of_one_subnet_talk_with_each_other_and_with_the_world() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Iperf, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::create([
        station("alice", "east", 2),
        station("bob", "west", 3),
        station("carol", "south", 4),
        HostSpec::new("dave", "north", 2),
    ])?;
    let [alice, bob, carol, dave] = ["alice", "bob", "carol", "dave"].map(|name| topology.host(name));
    for workers in [0, 2] {
        let config = lan(&["east", "west", "south"], "").interface(&dave.spec, "").workers(workers);
        let daemon = Daemon::start(&topology.router, &config)?;
        for (from, to) in [(alice, bob), (carol, alice), (dave, carol), (bob, dave)] {
            for address in [IpAddr::from(to.spec.ipv4), to.spec.ipv6.into()] {
                let what = format!("{address} to be reached from {} by {workers} workers", from.spec.name);
                wait_until(&what, RECOVERY, || {
                    ping(&from.namespace, address, 1).is_ok_and(|report| report.is_complete())
                })?;
            }
        }
        for gateway in [IpAddr::from(alice.spec.gateway4), alice.spec.gateway6.into()] {
            assert!(ping(&alice.namespace, gateway, 5)?.is_complete());
        }
        // Whole TCP segments pass the bridge and the router behind it.
        for (client, server) in [(alice, bob), (carol, dave), (dave, alice)] {
            let _server = IperfServer::start(&server.namespace)?;
            let sum = iperf(&client.namespace, server.spec.ipv4, Direction::Upload, 1)?;
            assert!(sum.len_bytes > 5_000_000, "{} to {}: {sum:?}", client.spec.name, server.spec.name);
        }
        let known = macs(&daemon)?;
        for (host, port) in [(alice, "east"), (bob, "west"), (carol, "south")] {
            let entry = (host.mac()?, port.to_owned(), "learned".to_owned());
            assert!(known.contains(&entry), "{entry:?} in {known:?}");
        }
        assert_eq!(known.iter().filter(|(_, port, kind)| port == "gateway" && kind == "bvi").count(), 1);
        let shown = daemon.ctl("show bridge")?;
        assert!(shown.contains("east up") && shown.contains("gateway up, bvi"), "{shown}");
        let printed = daemon.ctl("show config")?;
        assert!(printed.contains("[bridge.lan]") && printed.contains("bvi = \"gateway\""), "{printed}");
        // A BVI is down when no port of its bridge is up.
        for name in ["east", "west", "south"] {
            daemon.ctl(&format!("set interface state {name} down"))?;
        }
        assert!(!observe::interface(&daemon, "gateway")?.expect("gateway").is_up);
        assert!(macs(&daemon)?.iter().all(|(_, _, kind)| kind == "bvi"));
        daemon.stop()?;
    }
    Ok(())
}

const FRAMES: &str = "
    def frame(to, source=None, size=60):
        return Ether(src=source or mac(), dst=to, type=0x88b5) / Raw(b'4711' + b'x' * size)

    def heard(capture, wait, count=None):
        return [p.dst for p in capture.collect(lambda p: b'4711' in bytes(p), wait, count)]
";

/// IEEE 802.1D §7.7 to §7.12: learning, filtering, groups that are not forwarded.
#[test]
fn frames_go_where_their_destination_was_seen_and_no_further() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::create([
        station("alice", "east", 2),
        station("bob", "west", 3),
        station("carol", "south", 4),
    ])?;
    let names = ["alice", "bob", "carol"];
    let daemon = Daemon::start(&topology.router, &lan(&["east", "west", "south"], ""))?;
    let mut judges = Vec::new();
    for name in names {
        let mut judge = Judge::start(&topology.host(name).namespace)?;
        judge.run(FRAMES, Value::Null)?;
        judges.push(judge);
    }
    let [alice, bob, carol] = &mut judges[..] else { unreachable!("three judges") };
    let stranger = "02:00:00:00:00:77";
    // Nobody knows the stranger: both others hear of him.
    for judge in [&mut *bob, &mut *carol] {
        judge.run("capture = Capture()", Value::Null)?;
    }
    alice.run("send([frame(args)])", json!(stranger))?;
    for judge in [&mut *bob, &mut *carol] {
        assert_eq!(judge.run("result = heard(capture, 20, 1)", Value::Null)?, json!([stranger]));
    }
    // He speaks at bob's port, and from then on only that one hears of him.
    bob.run("send([frame('ff:ff:ff:ff:ff:ff', args)])", json!(stranger))?;
    wait_until("the stranger to be learned", RECOVERY, || {
        macs(&daemon).is_ok_and(|known| known.iter().any(|(mac, port, _)| mac == stranger && port == "west"))
    })?;
    for judge in [&mut *bob, &mut *carol] {
        judge.run("capture = Capture()", Value::Null)?;
    }
    alice.run(
        "send([frame('01:80:c2:00:00:00'), frame('01:80:c2:00:00:0e'), frame(args)])",
        json!(stranger),
    )?;
    assert_eq!(bob.run("result = heard(capture, 20, 1)", Value::Null)?, json!([stranger]));
    assert_eq!(carol.run("result = heard(capture, 1)", Value::Null)?, json!([]));
    assert_eq!(bob.run("result = heard(capture, 0.2)", Value::Null)?, json!([]));
    let reserved = observe::errors(&daemon)?.into_iter().find(|error| error.reason == "reserved-group");
    assert!(reserved.is_some_and(|error| error.count >= 2));
    assert!(daemon.ctl("clear bridge macs lan")?.contains("addresses cleared"));
    assert!(macs(&daemon)?.iter().all(|(mac, _, _)| mac != stranger));
    daemon.stop()
}

/// No bridge cuts frames (IEEE 802.1D §6.3.8): what is too large for a port does not leave by it, and is counted.
#[test]
fn frames_that_are_too_large_for_a_port_are_dropped_and_counted() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::create([
        station("alice", "east", 2).with_mtu(9000),
        station("bob", "west", 3).with_mtu(9000),
        station("carol", "south", 4),
    ])?;
    let daemon = Daemon::start(&topology.router, &lan(&["east", "west", "south"], ""))?;
    let mut judges = Vec::new();
    for name in ["alice", "bob", "carol"] {
        let mut judge = Judge::start(&topology.host(name).namespace)?;
        judge.run(FRAMES, Value::Null)?;
        judge.run("capture = Capture()", Value::Null)?;
        judges.push(judge);
    }
    let [alice, bob, carol] = &mut judges[..] else { unreachable!("three judges") };
    alice.run("send([frame('02:00:00:00:00:77', size=n) for n in (8000, 1496, 1497)])", Value::Null)?;
    let sizes = "result = [len(p) for p in capture.collect(lambda p: b'4711' in bytes(p), 20, args)]";
    assert_eq!(bob.run(sizes, json!(3))?, json!([8018, 1514, 1515]));
    assert_eq!(carol.run(sizes, json!(1))?, json!([1514]));
    assert_eq!(carol.run("result = heard(capture, 0.5)", Value::Null)?, json!([]));
    let errors = observe::errors(&daemon)?;
    let count = errors.iter().find(|error| error.node == "l2-flood" && error.reason == "too-large");
    assert_eq!(count.map(|error| error.count), Some(2), "{errors:?}");
    daemon.stop()
}

/// Ports of one group hear each other no more than through a router (IETF RFC 4762 §4.4 calls it split horizon).
#[test]
fn rfc_4762_section_4_4_ports_of_one_split_horizon_group_do_not_hear_each_other() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::create([
        station("alice", "east", 2),
        station("bob", "west", 3),
        station("carol", "south", 4),
    ])?;
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| topology.host(name));
    let ports = ["east", "west", "south"].map(port).concat();
    let config = DaemonConfig::new().with(&format!(
        "{ports}\n[bridge.lan]\nmembers = [{{ interface = \"east\", split-horizon = 1 }}, \
         {{ interface = \"west\", split-horizon = 1 }}, \"south\"]"
    ));
    let daemon = Daemon::start(&topology.router, &config)?;
    for host in [alice, bob] {
        for address in [IpAddr::from(carol.spec.ipv4), carol.spec.ipv6.into()] {
            wait_until(&format!("{address} to be reached from {}", host.spec.name), RECOVERY, || {
                ping(&host.namespace, address, 1).is_ok_and(|report| report.is_complete())
            })?;
        }
    }
    for address in [IpAddr::from(bob.spec.ipv4), bob.spec.ipv6.into()] {
        assert_eq!(ping(&alice.namespace, address, 2)?.received, 0, "{address}");
    }
    daemon.stop()
}

#[test]
fn a_flood_of_source_addresses_is_bounded_and_hosts_talk_on() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::create([station("alice", "east", 2), station("bob", "west", 3)])?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &lan(&["east", "west"], "mac-limit = 500").workers(1))?;
    let address = IpAddr::from(bob.spec.ipv4);
    wait_until("bob to be reached", RECOVERY, || {
        ping(&alice.namespace, address, 1).is_ok_and(|report| report.is_complete())
    })?;
    let mut judge = Judge::start(&alice.namespace)?;
    judge.run(FRAMES, Value::Null)?;
    judge.run(
        "
        plain = bytes(frame('02:00:00:00:00:77'))
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as output:
            output.bind((DEVICE, 0))
            for number in range(20000):
                output.send(plain[:6] + struct.pack('!HI', 0x0211, number) + plain[12:])
        ",
        Value::Null,
    )?;
    wait_until("the bridge to be full", RECOVERY, || {
        macs(&daemon).is_ok_and(|known| known.iter().filter(|(_, _, kind)| kind == "learned").count() == 500)
    })?;
    let report = ping(&alice.namespace, address, 10)?;
    assert!(report.is_complete(), "{}", report.text);
    daemon.stop()
}

/// A VLAN of a trunk and an untagged port in one bridge: tags are taken off and put on.
#[test]
fn a_vlan_of_a_trunk_is_a_port_like_any_other() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::create([station("alice", "east", 2), station("trunk", "west", 3)])?;
    let (alice, trunk) = (topology.host("alice"), topology.host("trunk"));
    let config = DaemonConfig::new().with(&port("east")).with(&port("west")).with(
        "[interface.\"west.100\"]\ndriver = \"vlan\"\nparent = \"west\"\nvlan = 100\n\n\
         [bridge.lan]\nmembers = [\"east\", \"west.100\"]",
    );
    let daemon = Daemon::start(&topology.router, &config)?;
    let (mut untagged, mut tagged) = (Judge::start(&alice.namespace)?, Judge::start(&trunk.namespace)?);
    for judge in [&mut untagged, &mut tagged] {
        judge.run(FRAMES, Value::Null)?;
        judge.run("capture = Capture()", Value::Null)?;
    }
    let shape = "
        found = capture.first(lambda p: b'4711' in bytes(p), 20)
        result = [found.dst, [tag.vlan for tag in (found.getlayer(Dot1Q, n) for n in (1, 2)) if tag]]
    ";
    tagged.run(
        "send([Ether(src=mac(), dst='02:00:00:00:00:77') / Dot1Q(vlan=vlan, type=0x88b5) / Raw(b'4711') for vlan in (99, 100)])",
        Value::Null,
    )?;
    assert_eq!(untagged.run(shape, Value::Null)?, json!(["02:00:00:00:00:77", []]));
    untagged.run("send([frame('02:00:00:00:00:78')])", Value::Null)?;
    assert_eq!(tagged.run(shape, Value::Null)?, json!(["02:00:00:00:00:78", [100]]));
    // VLAN 99 came in by no port of the bridge.
    assert_eq!(untagged.run("result = heard(capture, 0.5)", Value::Null)?, json!([]));
    let row = observe::interface(&daemon, "west.100")?.expect("west.100");
    assert!(row.rx_packets >= 1 && row.tx_packets >= 1, "{row:?}");
    daemon.stop()
}

#[test]
fn bridge_is_made_changed_and_deleted_by_command() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::create([station("alice", "east", 2), station("bob", "west", 3)])?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let config = DaemonConfig::new().with(&port("east")).with(&port("west"));
    let daemon = Daemon::start(&topology.router, &config)?;
    let reaches =
        |address: IpAddr| ping(&alice.namespace, address, 1).is_ok_and(|report| report.is_complete());
    daemon.ctl("bridge add lan")?;
    daemon.ctl("bridge port add lan east")?;
    daemon.ctl("bridge port add lan west split-horizon 0")?;
    wait_until("bob to be reached", RECOVERY, || reaches(bob.spec.ipv4.into()))?;
    daemon.ctl("interface create gateway driver bvi up")?;
    daemon.ctl("set interface address gateway add 10.0.1.1/24")?;
    daemon.ctl("set bridge bvi lan gateway")?;
    wait_until("the gateway to be reached", RECOVERY, || reaches(alice.spec.gateway4.into()))?;
    daemon.ctl("set bridge ageing lan 60")?;
    daemon.ctl("set bridge learn lan off")?;
    assert!(daemon.ctl("show bridge lan")?.contains("learn off"));
    // A port that goes is waited for.
    daemon.ctl("interface delete west")?;
    assert!(daemon.log().contains("bridge `lan` loses its port `west`"), "{}", daemon.log());
    assert!(daemon.ctl("show bridge lan")?.contains("west absent"));
    assert!(!reaches(bob.spec.ipv4.into()));
    daemon.ctl("interface create west driver af-packet device west up")?;
    wait_until("bob to be reached again", RECOVERY, || reaches(bob.spec.ipv4.into()))?;
    for (command, complaint) in [
        ("bridge add lan", "there is a bridge `lan` already"),
        ("bridge port add lan east", "`east` is a port of the bridge `lan` twice"),
        ("bridge port add lna east", "there is no bridge `lna`; did you mean `lan`?"),
        ("bridge port add lan gateway", "`gateway` is the BVI of the bridge `lan` and cannot be a port too"),
        ("set interface l2 xconnect east west", "`east` is a port of a bridge"),
        ("set bridge bvi lan east", "`east` is "),
        ("bridge mac add lan 01:00:5e:00:00:01 east", "is not the address of a station"),
        ("bridge port delete lan gateway", "`gateway` is no port of the bridge `lan`"),
    ] {
        let refused = daemon.try_ctl(command)?;
        assert_eq!(refused.code, Some(1), "{command}: {refused:?}");
        assert!(refused.stderr.contains(complaint), "{command}: {}", refused.stderr);
    }
    daemon.ctl("bridge delete lan")?;
    assert!(!reaches(bob.spec.ipv4.into()) && !reaches(alice.spec.gateway4.into()));
    daemon.stop()
}
