//! Interfaces come and go: by configuration, by command, and by the host's doing.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use raddle_tests::observe::interface;
use raddle_tests::{
    Daemon, DaemonConfig, Host, HostSpec, Judge, Need, Topology, ping, requirement, wait_until,
};
use serde_json::{Value, json};

/// Generous: the host may tell of a device late, and neighbours must be resolved again.
const RECOVERY: Duration = Duration::from_secs(60);

fn reaches(from: &Host, to: impl Into<IpAddr>) -> bool {
    ping(&from.namespace, to, 1).is_ok_and(|report| report.is_complete())
}

fn demand_reach(from: &Host, to: &Host) -> Result<()> {
    for address in [IpAddr::from(to.spec.ipv4), to.spec.ipv6.into()] {
        wait_until(&format!("{address} to be reached"), RECOVERY, || reaches(from, address))?;
    }
    Ok(())
}

#[test]
fn counters_equal_what_was_sent() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Scapy, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    demand_reach(alice, bob)?;
    let (mut sender, mut receiver) = (Judge::start(&alice.namespace)?, Judge::start(&bob.namespace)?);
    receiver.run("capture = Capture()", Value::Null)?;
    let row =
        |name| -> Result<_> { Ok(interface(&daemon, name)?.expect("an interface of the configuration")) };
    let before = (row("east")?, row("west")?);
    sender.run(
        "
        frame = Ether(src=mac(), dst=args['router']) / IP(src=args['me'], dst=args['bob']) / UDP(dport=4711) / Raw(b'x' * 58)
        send([frame] * 500)
        ",
        json!({ "router": alice.router_mac(&topology.router)?, "me": alice.spec.ipv4, "bob": bob.spec.ipv4 }),
    )?;
    let arrived = receiver.run("result = len(capture.collect(lambda p: UDP in p, 20, 500))", Value::Null)?;
    assert_eq!(arrived, json!(500));
    let after = (row("east")?, row("west")?);
    // Of 100 bytes each; a few of the hosts' own packets may be among them.
    for (what, packets, bytes) in [
        ("received", after.0.rx_packets - before.0.rx_packets, after.0.rx_bytes - before.0.rx_bytes),
        ("sent", after.1.tx_packets - before.1.tx_packets, after.1.tx_bytes - before.1.tx_bytes),
    ] {
        assert!((500..520).contains(&packets), "{what} {packets} packets");
        assert!((50_000..55_000).contains(&bytes), "{what} {bytes} bytes");
    }
    daemon.stop()
}

#[test]
fn interface_set_down_is_silent_until_it_is_set_up() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    demand_reach(alice, bob)?;
    for side in ["east", "west"] {
        daemon.ctl(&format!("set interface state {side} down"))?;
        assert!(!interface(&daemon, side)?.expect("the interface").is_up);
        let report = ping(&alice.namespace, bob.spec.ipv4, 3)?;
        assert_eq!(report.received, 0, "{side} is down: {}", report.text);
        daemon.ctl(&format!("set interface state {side} up"))?;
        assert!(interface(&daemon, side)?.expect("the interface").is_up);
        demand_reach(alice, bob)?;
    }
    daemon.stop()
}

#[test]
fn tap_of_the_configuration_talks_with_the_kernel_and_goes_with_raddle() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    // The tap's kernel side is in a namespace of its own, as a container's would be.
    let topology = Topology::create([HostSpec::new("alice", "east", 1)])?;
    let alice = topology.host("alice");
    let container = raddle_tests::Namespace::create("container")?;
    let tap = format!(
        "[interface.lan]\ndriver = \"tap\"\ndevice = \"lan0\"\nnamespace = \"{}\"\n\
         addresses = [\"10.0.9.1/24\", \"2001:db8:9::1/64\"]\nup = true",
        container.name()
    );
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).with(&tap))?;
    assert_eq!(container.interfaces()?, ["lan0"]);
    for line in [
        "address add 10.0.9.2/24 dev lan0",
        "address add 2001:db8:9::2/64 dev lan0 nodad",
        "link set lan0 up",
        "route add default via 10.0.9.1",
        "-6 route add default via 2001:db8:9::1",
    ] {
        container.ip(line)?;
    }
    for address in ["10.0.9.1", "2001:db8:9::1", "10.0.1.2", "2001:db8:1::2"] {
        let address: IpAddr = address.parse()?;
        wait_until(&format!("{address} to be reached"), RECOVERY, || {
            ping(&container, address, 1).is_ok_and(|report| report.is_complete())
        })?;
    }
    demand_from(alice, "10.0.9.2")?;
    daemon.stop()?;
    wait_until("the tap to be gone", RECOVERY, || container.interfaces().is_ok_and(|names| names.is_empty()))
}

fn demand_from(host: &Host, address: &str) -> Result<()> {
    let address: IpAddr = address.parse()?;
    wait_until(&format!("{address} to be reached"), RECOVERY, || reaches(host, address))
}

#[test]
fn interface_is_made_used_and_deleted_by_command() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::create([HostSpec::new("alice", "east", 1)])?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let router = &topology.router;
    for round in 0..3 {
        daemon.ctl("interface create lan driver tap device lan0")?;
        daemon.ctl("set interface address lan add 10.0.9.1/24")?;
        daemon.ctl("set interface state lan up")?;
        assert!(router.interfaces()?.contains(&"lan0".to_owned()));
        router.ip("address add 10.0.9.2/24 dev lan0")?;
        router.ip("link set lan0 up")?;
        let address: IpAddr = "10.0.9.1".parse()?;
        wait_until("raddle to answer on its tap", RECOVERY, || {
            ping(router, address, 1).is_ok_and(|report| report.is_complete())
        })?;
        daemon.ctl("interface delete lan")?;
        assert_eq!(interface(&daemon, "lan")?, None, "round {round}");
        wait_until("the tap to be gone", RECOVERY, || {
            router.interfaces().is_ok_and(|names| names == ["east"])
        })?;
    }
    let twice = daemon.try_ctl("interface create east driver tap device lan0")?;
    assert_eq!(twice.code, Some(1), "{twice:?}");
    assert!(twice.stderr.contains("east"), "{twice:?}");
    let absent = daemon.try_ctl("interface delete nowhere")?;
    assert_eq!(absent.code, Some(1), "{absent:?}");
    assert!(absent.stderr.contains("nowhere"), "{absent:?}");
    daemon.stop()
}

#[test]
fn device_that_vanishes_is_used_again_when_it_comes_back() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    for workers in [0, 2] {
        let topology = Topology::create([
            HostSpec::new("alice", "east", 1),
            HostSpec::new("bob", "west", 2),
            HostSpec::new("carol", "north", 3),
        ])?;
        let (alice, bob, carol) = (topology.host("alice"), topology.host("bob"), topology.host("carol"));
        let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(workers))?;
        demand_reach(alice, bob)?;
        for _ in 0..3 {
            bob.cut()?;
            assert!(!reaches(alice, bob.spec.ipv4));
            demand_reach(alice, carol)?;
            assert!(daemon.log().contains("west"), "the log does not tell of the loss");
            bob.connect(&topology.router)?;
            demand_reach(alice, bob)?;
            demand_reach(bob, carol)?;
        }
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn device_missing_at_start_is_told_and_used_when_it_appears() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let config = DaemonConfig::routed(&topology);
    bob.cut()?;
    let daemon = Daemon::start(&topology.router, &config)?;
    wait_until("raddle to answer alice", RECOVERY, || reaches(alice, alice.spec.gateway4))?;
    assert!(daemon.log().contains("west"), "the log does not name the missing device:\n{}", daemon.log());
    bob.connect(&topology.router)?;
    demand_reach(alice, bob)?;
    daemon.stop_leaving(&["east".to_owned(), "west".to_owned()])
}
