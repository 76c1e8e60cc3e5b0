//! L2 cross-connect: what comes in at one interface leaves at its peer, byte for byte.

use std::net::IpAddr;

use anyhow::Result;
use raddle_tests::iperf::Direction;
use raddle_tests::{
    Daemon, DaemonConfig, HostSpec, IperfServer, Judge, Need, Topology, iperf, ping, requirement,
};
use serde_json::{Value, json};

/// Alice and Bob in one subnet, with a wire between them.
fn one_subnet() -> Result<Topology> {
    let alice = HostSpec::new("alice", "east", 1);
    let mut bob = HostSpec::new("bob", "west", 1);
    bob.ipv4 = "10.0.1.3".parse()?;
    bob.ipv6 = "2001:db8:1::3".parse()?;
    Topology::create([alice, bob])
}

fn crossed() -> DaemonConfig {
    let section = |interface: &str, peer: &str| {
        format!(
            "[interface.{interface}]\ndriver = \"af-packet\"\ndevice = \"{interface}\"\nup = true\nl2-xconnect = \"{peer}\""
        )
    };
    DaemonConfig::new().with(&section("east", "west")).with(&section("west", "east"))
}

#[test]
fn hosts_of_one_subnet_talk_as_over_a_wire() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Iperf, Need::Raddle]) {
        return Ok(());
    }
    let topology = one_subnet()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let _server = IperfServer::start(&bob.namespace)?;
    for workers in [0, 1, 2] {
        let daemon = Daemon::start(&topology.router, &crossed().workers(workers))?;
        for address in [IpAddr::from(bob.spec.ipv4), bob.spec.ipv6.into()] {
            let report = ping(&alice.namespace, address, 10)?;
            assert!(report.is_complete(), "{workers} workers, {address}: {}", report.text);
            let sum = iperf(&alice.namespace, address, Direction::Upload, 1)?;
            assert!(sum.len_bytes > 5_000_000, "{workers} workers, {address}: {sum:?}");
        }
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn frames_of_any_kind_pass_unchanged() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::Raddle]) {
        return Ok(());
    }
    let topology = one_subnet()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &crossed())?;
    let (mut sender, mut receiver) = (Judge::start(&alice.namespace)?, Judge::start(&bob.namespace)?);
    receiver.run("capture = Capture()", Value::Null)?;
    let sent = sender.run(
        "
        stranger = '02:00:00:00:00:77'
        frames = [bytes(p) for p in (
            Ether(src=stranger, dst='02:00:00:00:00:78', type=0x88b5) / Raw(b'4711' + b'x' * 60),
            Ether(src=stranger, dst='ff:ff:ff:ff:ff:ff', type=0x88b5) / Raw(b'4711'),
            Ether(src=stranger, dst=mac(), type=0x88b5) / Raw(b'4711' * 350),
            Dot3(src=stranger, dst='01:80:c2:00:00:0e') / LLC() / Raw(b'4711'),
            Ether(src=stranger, dst='02:00:00:00:00:78') / IP(dst='1.2.3.4', ttl=1, chksum=7) / Raw(b'4711'),
            Ether(src=stranger, dst='02:00:00:00:00:78') / IPv6(dst='::1', hlim=0) / Raw(b'4711'),
        )]
        send(frames)
        result = [frame.hex() for frame in frames]
        ",
        Value::Null,
    )?;
    let arrived = receiver.run(
        "result = [bytes(p).hex() for p in capture.collect(lambda p: b'4711' in bytes(p), 20, 6)]",
        Value::Null,
    )?;
    assert_eq!(arrived, sent);
    daemon.stop()
}

/// Tags taken off, put on and replaced (IEEE 802.1Q §6.9, 802.1ad), each way back undone.
#[test]
fn tags_are_pushed_popped_and_translated_both_ways() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::Raddle]) {
        return Ok(());
    }
    let specs =
        [HostSpec::new("alice", "east", 1), HostSpec::new("bob", "west", 1)].map(|spec| spec.with_mtu(1600));
    let topology = Topology::create(specs)?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let sub = |keys: &str, rewrite: &str| {
        DaemonConfig::new().with(&format!(
            "[interface.east]\ndriver = \"af-packet\"\ndevice = \"east\"\nmtu = 1600\n\n\
             [interface.west]\ndriver = \"af-packet\"\ndevice = \"west\"\nmtu = 1600\nl2-xconnect = \"east.v\"\n\n\
             [interface.\"east.v\"]\ndriver = \"vlan\"\nparent = \"east\"\n{keys}\nl2-xconnect = \"west\"\n\
             tag-rewrite = \"{rewrite}\""
        ))
    };
    for (keys, rewrite, at_alice, at_bob) in [
        ("vlan = 100", "pop 1", json!([["q", 100]]), json!([])),
        ("vlan = 5\ninner-vlan = 6", "pop 2", json!([["ad", 5], ["q", 6]]), json!([])),
        ("vlan = 5\ninner-vlan = 6", "pop 1", json!([["ad", 5], ["q", 6]]), json!([["q", 6]])),
        ("vlan = 100", "push 802.1ad:7", json!([["q", 100]]), json!([["ad", 7], ["q", 100]])),
        ("vlan = \"untagged\"", "push 802.1ad:7 8", json!([]), json!([["ad", 7], ["q", 8]])),
        ("vlan = 100", "translate 1-1 200", json!([["q", 100]]), json!([["q", 200]])),
        ("vlan = 100", "translate 1-2 802.1ad:7 8", json!([["q", 100]]), json!([["ad", 7], ["q", 8]])),
        ("vlan = 5\ninner-vlan = 6", "translate 2-1 9", json!([["ad", 5], ["q", 6]]), json!([["q", 9]])),
        (
            "vlan = 5\ninner-vlan = 6",
            "translate 2-2 802.1ad:7 8",
            json!([["ad", 5], ["q", 6]]),
            json!([["ad", 7], ["q", 8]]),
        ),
    ] {
        let daemon = Daemon::start(&topology.router, &sub(keys, rewrite))?;
        let mut judges = [Judge::start(&alice.namespace)?, Judge::start(&bob.namespace)?];
        for judge in &mut judges {
            judge.run(
                "
                def tagged_frame(vlans, to):
                    layers = Ether(src=mac(), dst=to)
                    for kind, vlan in vlans:
                        layers = layers / (Dot1AD(vlan=vlan) if kind == 'ad' else Dot1Q(vlan=vlan))
                    if layers.haslayer(Dot1Q) or layers.haslayer(Dot1AD):
                        layers.lastlayer().type = 0x88b5
                    else:
                        layers.type = 0x88b5
                    return layers / Raw(b'4711' + b'x' * 60)
                def tags_of(p):
                    kinds, at, found = {0x8100: 'q', 0x88a8: 'ad'}, 12, []
                    raw = bytes(p)
                    while int.from_bytes(raw[at:at + 2], 'big') in kinds:
                        found.append([kinds[int.from_bytes(raw[at:at + 2], 'big')], int.from_bytes(raw[at + 2:at + 4], 'big') & 0xfff])
                        at += 4
                    return found if raw[at:at + 6] == b'\\x88\\xb54711' else raw.hex()
                ",
                Value::Null,
            )?;
        }
        let [alice, bob] = &mut judges;
        demand_tags(alice, bob, &at_alice, &at_bob, &format!("{keys:?} {rewrite} from alice"))?;
        demand_tags(bob, alice, &at_bob, &at_alice, &format!("{keys:?} {rewrite} from bob"))?;
        daemon.stop()?;
    }
    Ok(())
}

/// Sends a frame with these tags until it comes with those.
fn demand_tags(from: &mut Judge, to: &mut Judge, sent: &Value, expected: &Value, case: &str) -> Result<()> {
    to.run("capture = Capture()", Value::Null)?;
    from.run("send([tagged_frame(args, '02:00:00:00:00:78')])", sent.clone())?;
    let came = to.run(
        "
        p = capture.first(lambda p: b'4711xxx' in bytes(p), 20)
        result = tags_of(p) if p is not None else 'nothing came'
        ",
        Value::Null,
    )?;
    assert_eq!(&came, expected, "{case}");
    Ok(())
}

#[test]
fn both_directions_are_counted() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::Raddle]) {
        return Ok(());
    }
    let topology = one_subnet()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &crossed())?;
    let (mut sender, mut receiver) = (Judge::start(&alice.namespace)?, Judge::start(&bob.namespace)?);
    receiver.run("capture = Capture()", Value::Null)?;
    sender.run(
        "send([Ether(src=mac(), dst='02:00:00:00:00:78', type=0x88b5) / Raw(b'4711')] * 1000)",
        Value::Null,
    )?;
    let arrived =
        receiver.run("result = len(capture.collect(lambda p: p.type == 0x88b5, 20, 1000))", Value::Null)?;
    assert_eq!(arrived, json!(1000));
    let row = |name| raddle_tests::observe::interface(&daemon, name);
    let (east, west) = (row("east")?.expect("east"), row("west")?.expect("west"));
    assert!(east.rx_packets >= 1000 && west.tx_packets >= 1000, "{east:?} {west:?}");
    daemon.stop()
}
