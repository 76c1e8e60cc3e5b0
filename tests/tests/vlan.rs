//! VLAN sub-interfaces (IEEE 802.1Q, 802.1ad). No kernel VLAN device is needed: tagged frames are made by scapy, or stay
//! between two raddles.

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

/// A raddle in the middle of alice's side, or bob's: his interface, and `trunk.v` on the trunk between them.
fn side(topology: &Topology, number: u8, keys: &str) -> DaemonConfig {
    let other = 3 - number;
    DaemonConfig::routed(topology).with(&format!(
        "[interface.trunk]\ndriver = \"af-packet\"\ndevice = \"trunk\"\n\n\
         [interface.\"trunk.v\"]\ndriver = \"vlan\"\nparent = \"trunk\"\n{keys}\n\
         addresses = [\"10.0.9.{number}/24\", \"2001:db8:9::{number}/64\"]\n\n\
         [[route]]\nprefix = \"10.0.{other}.0/24\"\nvia = \"10.0.9.{other}\"\n\n\
         [[route]]\nprefix = \"2001:db8:{other}::/64\"\nvia = \"2001:db8:9::{other}\""
    ))
}

/// Pings and whole TCP segments (GSO packets, partial checksums) get their tags and lose them again.
#[test]
fn hosts_talk_over_a_tagged_link_between_two_raddles() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Iperf, Need::Raddle]) {
        return Ok(());
    }
    let west = Topology::create([HostSpec::new("alice", "east", 1)])?;
    let east = Topology::create([HostSpec::new("bob", "west", 2)])?;
    let (alice, bob) = (west.host("alice"), east.host("bob"));
    let far = east.router.name();
    west.router.ip(&format!("link add trunk mtu 1600 type veth peer name trunk mtu 1600 netns {far}"))?;
    for (workers, keys) in [
        (0, "vlan = 100"),
        (2, "vlan = 4094\npriority = 3"),
        (0, "vlan = 7\ninner-vlan = 7\nprotocol = \"802.1q\""),
        (0, "vlan = 100\ninner-vlan = 7"),
        (1, "vlan = 7\nprotocol = \"802.1ad\""),
    ] {
        let daemons = [
            Daemon::start(&west.router, &side(&west, 1, keys).workers(workers))?,
            Daemon::start(&east.router, &side(&east, 2, keys).workers(workers))?,
        ];
        let _server = IperfServer::start(&bob.namespace)?;
        for address in [IpAddr::from(bob.spec.ipv4), bob.spec.ipv6.into()] {
            wait_until(&format!("{address} to be reached by {keys:?}"), RECOVERY, || {
                ping(&alice.namespace, address, 1).is_ok_and(|report| report.is_complete())
            })?;
            let report = ping(&alice.namespace, address, 10)?;
            assert!(report.is_complete(), "{keys:?}, {address}: {}", report.text);
            for direction in [Direction::Upload, Direction::Download] {
                let sum = iperf(&alice.namespace, address, direction, 1)?;
                let seen = || {
                    daemons
                        .each_ref()
                        .map(|daemon| (observe::errors(daemon), daemon.ctl("show interface verbose")))
                };
                assert!(sum.len_bytes > 3_000_000, "{keys:?}, {address}: {sum:?}: {:#?}", seen());
            }
        }
        for daemon in daemons {
            let row = |name| observe::interface(&daemon, name);
            let (trunk, sub) = (row("trunk")?.expect("trunk"), row("trunk.v")?.expect("trunk.v"));
            assert!(sub.rx_packets > 20 && sub.tx_packets > 20, "{sub:?}");
            assert!(
                sub.rx_packets <= trunk.rx_packets && sub.tx_packets <= trunk.tx_packets,
                "{sub:?} {trunk:?}"
            );
            assert!(sub.tx_bytes < trunk.tx_bytes, "tags are the parent's: {sub:?} {trunk:?}");
            daemon.stop()?;
        }
    }
    Ok(())
}

fn trunk(host: &HostSpec, subs: &[(&str, &str)]) -> DaemonConfig {
    let config = DaemonConfig::new().interface(host, "");
    subs.iter().fold(config, |config, (name, keys)| {
        config.with(&format!(
            "[interface.\"{name}\"]\ndriver = \"vlan\"\nparent = \"{}\"\n{keys}",
            host.interface
        ))
    })
}

const DEFINITIONS: &str = "
    def tags(*vlans):
        layers = Ether(src=mac(), dst='ff:ff:ff:ff:ff:ff')
        for kind, vlan in vlans:
            layers = layers / (Dot1AD(vlan=vlan) if kind == 'ad' else Dot1Q(vlan=vlan, prio=5))
        return layers

    def who_has(target, *vlans):
        question = tags(*vlans) / ARP(op='who-has', hwsrc=mac(), psrc=args['me'], pdst=target)
        # An address that is new is first tried for duplicates, and does not answer meanwhile.
        for _ in range(args['wait']):
            answer = ask(question, lambda p: ARP in p and p[ARP].op == 2 and p[ARP].psrc == target, 1)
            if answer is not None:
                break
        else:
            return None
        layers = []
        layer = answer.payload
        while isinstance(layer, (Dot1Q, Dot1AD)):
            layers.append(['ad' if isinstance(layer, Dot1AD) else 'q', layer.vlan, layer.prio])
            layer = layer.payload
        return layers
";

#[test]
fn each_vlan_is_answered_with_its_own_tags() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::Raddle]) {
        return Ok(());
    }
    let mut spec = HostSpec::new("alice", "east", 1);
    spec.mtu = Some(1600);
    let topology = Topology::create([spec])?;
    let alice = topology.host("alice");
    let config = trunk(
        &alice.spec,
        &[
            ("east.100", "vlan = 100\naddresses = [\"10.1.0.1/24\"]\npriority = 2"),
            ("east.200", "vlan = 200\nprotocol = \"802.1ad\"\naddresses = [\"10.2.0.1/24\"]"),
            ("east.5.6", "vlan = 5\ninner-vlan = 6\naddresses = [\"10.3.0.1/24\"]"),
        ],
    );
    let daemon = Daemon::start(&topology.router, &config)?;
    let mut judge = Judge::start(&alice.namespace)?;
    judge.run(DEFINITIONS, Value::Null)?;
    for (target, me, vlans, answer) in [
        ("10.1.0.1", "10.1.0.2", json!([["q", 100]]), json!([["q", 100, 2]])),
        ("10.2.0.1", "10.2.0.2", json!([["ad", 200]]), json!([["ad", 200, 0]])),
        ("10.3.0.1", "10.3.0.2", json!([["ad", 5], ["q", 6]]), json!([["ad", 5, 0], ["q", 6, 0]])),
        // 802.1Q §6.9: VLAN 0 says no more than a priority.
        ("10.0.1.1", "10.0.1.2", json!([["q", 0]]), json!([])),
        ("10.0.1.1", "10.0.1.2", json!([]), json!([])),
    ] {
        let heard = judge.run(
            "result = who_has(args['target'], *args['vlans'])",
            json!({"target": target, "me": me, "vlans": vlans, "wait": 20}),
        )?;
        assert_eq!(heard, answer, "{target} asked for in {vlans}");
    }
    // An address is not heard of in another VLAN.
    for (target, me, vlans) in [
        ("10.1.0.1", "10.1.0.2", json!([])),
        ("10.1.0.1", "10.1.0.2", json!([["ad", 100]])),
        ("10.1.0.1", "10.1.0.2", json!([["q", 101]])),
        ("10.3.0.1", "10.3.0.2", json!([["ad", 5]])),
        ("10.3.0.1", "10.3.0.2", json!([["ad", 5], ["q", 7]])),
    ] {
        let heard = judge.run(
            "result = who_has(args['target'], *args['vlans'])",
            json!({"target": target, "me": me, "vlans": vlans, "wait": 1}),
        )?;
        assert_eq!(heard, Value::Null, "{target} asked for in {vlans}");
    }
    let unknown = observe::errors(&daemon)?.into_iter().find(|error| error.reason == "unknown-vlan");
    assert!(unknown.is_some_and(|error| error.count >= 4), "{:?}", observe::errors(&daemon)?);
    daemon.stop()
}

#[test]
fn sub_interface_is_made_by_command_and_follows_its_parent() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::create([HostSpec::new("alice", "east", 1)])?;
    let alice = topology.host("alice");
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let mut judge = Judge::start(&alice.namespace)?;
    judge.run(DEFINITIONS, Value::Null)?;
    let mut answers = |wait: u32| -> Result<bool> {
        let args = json!({"target": "10.1.0.1", "me": "10.1.0.2", "wait": wait});
        let heard = judge.run("result = who_has(args['target'], ('q', 100))", args)?;
        Ok(heard == json!([["q", 100, 0]]))
    };
    daemon.ctl("interface create east.100 driver vlan parent east vlan 100 up")?;
    daemon.ctl("set interface address east.100 add 10.1.0.1/24")?;
    assert!(answers(20)?);
    for (down, up) in [
        ("set interface state east.100 down", "set interface state east.100 up"),
        ("set interface state east down", "set interface state east up"),
    ] {
        daemon.ctl(down)?;
        assert!(!observe::interface(&daemon, "east.100")?.expect("east.100").is_up, "{down}");
        assert!(!answers(1)?, "{down}");
        daemon.ctl(up)?;
        assert!(answers(20)?, "{up}");
    }
    // It waits for a parent that goes, and works with the one that comes.
    daemon.ctl("interface delete east")?;
    assert!(daemon.ctl("show interface")?.contains("its parent `east` is not there"));
    daemon.ctl("interface create east driver af-packet device east up")?;
    assert!(answers(20)?);
    let printed = daemon.ctl("show config")?;
    assert!(printed.contains("[interface.\"east.100\"]") && printed.contains("vlan = 100"), "{printed}");
    for (command, complaint) in [
        (
            "interface create x driver vlan parent east vlan 100",
            "belongs to sub-interface `east.100` already",
        ),
        ("interface create x driver vlan parent east.100 vlan 5", "is a sub-interface itself"),
        ("interface create x driver vlan parent x vlan 5", "its own parent"),
        ("interface create x driver vlan parent east vlan 4095", "they are numbered from 1 to 4094"),
        ("interface create x driver vlan parent east vlan 5 mtu 1501", "more than the 1500 bytes"),
        ("interface create x driver vlan parent east vlan 5 mtu 0", "it must be between 68 and 65535"),
        ("set interface mtu east.100 1501", "it must be between 68 and 1500"),
        ("set interface mtu east 0", "it must be between 68 and"),
        ("set interface mtu east 70000", "it must be between 68 and"),
    ] {
        let refused = daemon.try_ctl(command)?;
        assert_eq!(refused.code, Some(1), "{command}: {refused:?}");
        assert!(refused.stderr.contains(complaint), "{command}: {}", refused.stderr);
    }
    daemon.ctl("interface delete east.100")?;
    assert!(!answers(1)?);
    daemon.stop()
}
