//! The plugin `acl` on the packets' way: real clients, and packets that scapy makes and judges.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use raddle_tests::ping::ping_with;
use raddle_tests::wait::wait_for;
use raddle_tests::{
    Daemon, DaemonConfig, Host, HostSpec, Judge, Need, Topology, ping, requirement, target_dir,
};
use serde_json::{Value, json};

const NEEDS: &[Need] = &[Need::Ping, Need::Scapy, Need::Raddle, Need::Acl];

fn plugins() -> PathBuf {
    target_dir().join("plugins")
}

/// Only this plugin, with what is said of it.
fn with_acl(config: DaemonConfig, section: &str) -> DaemonConfig {
    let plugins =
        format!("[plugins]\npath = \"{}\"\nrequire = [\"acl\"]\nonly = [\"acl\"]\n", plugins().display());
    config.with(&plugins).with(section)
}

/// Alice and Bob in one subnet, with a wire between them.
fn one_subnet() -> Result<Topology> {
    let alice = HostSpec::new("alice", "east", 1);
    let mut bob = HostSpec::new("bob", "west", 1);
    bob.ipv4 = "10.0.1.3".parse()?;
    bob.ipv6 = "2001:db8:1::3".parse()?;
    Topology::create([alice, bob])
}

/// A wire between the hosts' interfaces.
fn crossed() -> DaemonConfig {
    let port = |interface: &str, peer: &str| {
        format!(
            "[interface.{interface}]\ndriver = \"af-packet\"\ndevice = \"{interface}\"\nup = true\nl2-xconnect = \"{peer}\""
        )
    };
    DaemonConfig::new().with(&port("east", "west")).with(&port("west", "east"))
}

/// Where lists are applied to what Alice sends to Bob: whether it is routed, else it is switched; interface and direction.
const PLACES: [(bool, &str); 4] =
    [(true, "east in"), (true, "west out"), (false, "east in"), (false, "west out")];

/// The hosts for a place, and the daemon's configuration.
fn place(is_routed: bool, section: &str) -> Result<(Topology, DaemonConfig)> {
    let topology = if is_routed { Topology::two_hosts()? } else { one_subnet()? };
    let config = if is_routed { DaemonConfig::routed(&topology) } else { crossed() };
    Ok((topology, with_acl(config, section)))
}

/// What snippets of Alice know: whom they send frames to, and both hosts' addresses.
fn addresses(topology: &Topology, is_routed: bool) -> Result<Value> {
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let to = if is_routed { alice.router_mac(&topology.router)? } else { bob.mac()? };
    Ok(
        json!({ "to": to, "b4": bob.spec.ipv4, "b6": bob.spec.ipv6, "a4": alice.spec.ipv4, "a6": alice.spec.ipv6 }),
    )
}

fn answered(from: &Host, to: impl Into<IpAddr>) -> Result<u32> {
    Ok(ping(&from.namespace, to, 4)?.received)
}

/// Neighbour discovery has to pass, as lists are for all of IPv6.
const INSIDE_OUT: &str = "
[acl.lists]
to-west = ['reflect ip']
from-west = ['permit icmp6 type 133-136', 'deny ip log']
[acl.interface.west]
in = ['from-west']
out = ['to-west']
";

#[test]
fn answers_pass_and_strangers_do_not() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for workers in [0, 2] {
        let config = with_acl(DaemonConfig::routed(&topology), INSIDE_OUT).workers(workers);
        let daemon = Daemon::start(&topology.router, &config)?;
        assert!(answered(alice, bob.spec.ipv4)? > 0, "{workers} workers:\n{}", daemon.ctl("show errors")?);
        assert!(answered(alice, bob.spec.ipv6)? > 0, "{workers} workers:\n{}", daemon.ctl("show errors")?);
        assert_eq!(answered(bob, alice.spec.ipv4)?, 0);
        assert_eq!(answered(bob, alice.spec.ipv6)?, 0);
        let sessions = daemon.ctl_json("show acl sessions protocol icmp")?;
        assert!(sessions.as_array().is_some_and(|list| !list.is_empty()), "{sessions}");
        assert_eq!(sessions[0]["source"], json!(alice.spec.ipv4));
        let denied = daemon.ctl_json("show acl from-west")?;
        assert!(denied[0]["rules"][1]["packets"].as_u64().is_some_and(|count| count >= 8), "{denied}");
        wait_for("a log line", Duration::from_secs(30), || {
            Ok(daemon.log().contains("acl action=deny list=from-west rule=2 interface=west").then_some(()))
        })?;
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn tcp_and_udp_of_scapy_are_judged_by_ports_and_flags() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let section = "
[acl.lists]
l = [
    'permit icmp', 'permit icmp6',
    'deny tcp to any port 80 flags syn+fin/syn+fin',
    'permit tcp to any port 80',
    'permit udp to any port 53',
    'permit udp to any port 5000-5009 dscp ef',
]
";
    for (is_routed, at) in PLACES {
        judged_by_ports_and_flags(is_routed, at, section)
            .with_context(|| format!("{at}, routed: {is_routed}"))?;
    }
    Ok(())
}

fn judged_by_ports_and_flags(is_routed: bool, at: &str, section: &str) -> Result<()> {
    let (topology, config) = place(is_routed, section)?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &config)?;
    daemon.ctl(&format!("acl apply {at} l"))?;
    assert!(answered(alice, bob.spec.ipv4)? > 0 && answered(alice, bob.spec.ipv6)? > 0);
    let (mut sender, mut receiver) = (Judge::start(&alice.namespace)?, Judge::start(&bob.namespace)?);
    receiver.run("capture = Capture()", Value::Null)?;
    let args = addresses(&topology, is_routed)?;
    // Each packet tells its number; the even ones are to pass.
    sender.run(
        "
        ether = Ether(src=mac(), dst=args['to'])
        def mark(number):
            return Raw(b'acl-%03d' % number)
        ips = [lambda **k: IP(src=args['a4'], dst=args['b4'], tos=k.get('tos', 0)),
               lambda **k: IPv6(src=args['a6'], dst=args['b6'], tc=k.get('tos', 0))]
        frames = []
        for ip in ips:
            for to_pass, packet in [
                (True, ip() / TCP(sport=9, dport=80, flags='S')),
                (False, ip() / TCP(sport=9, dport=80, flags='SF')),
                (False, ip() / TCP(sport=80, dport=9, flags='S')),
                (True, ip() / UDP(sport=9, dport=53)),
                (False, ip() / UDP(sport=9, dport=54)),
                (True, ip(tos=46 << 2) / UDP(sport=9, dport=5009)),
                (False, ip() / UDP(sport=9, dport=5009)),
            ]:
                number = 2 * len(frames) + (0 if to_pass else 1)
                frames.append(ether / packet / mark(number))
        # Behind extension headers too.
        ext = IPv6(src=args['a6'], dst=args['b6']) / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(segleft=0)
        frames.append(ether / ext / UDP(sport=9, dport=53) / mark(100))
        frames.append(ether / ext / UDP(sport=9, dport=54) / mark(101))
        # A datagram without a byte of data; and last of each family one that ends the wait.
        frames.append(ether / IP(src=args['a4'], dst=args['b4'], id=4711) / UDP(sport=9, dport=53))
        frames.append(ether / ips[0]() / UDP(sport=9, dport=53) / Raw(b'acl-end'))
        frames.append(ether / ips[1]() / UDP(sport=9, dport=53) / Raw(b'acl-end'))
        send(frames)
        result = len(frames)
        ",
        args,
    )?;
    let arrived = receiver.run(
        "
        # No order is sure: what is to pass is waited for, and a while longer for what is not.
        seen = []
        def look(p):
            seen.append(p)
            marks = {bytes(p).split(b'acl-')[1][:3] for p in seen if b'acl-' in bytes(p)}
            ends = all(any(b'acl-end' in bytes(p) and family in p for p in seen) for family in (IP, IPv6))
            return ends and len([mark for mark in marks if mark.isdigit() and int(mark) % 2 == 0]) >= 7
        capture.first(look, 20)
        seen += capture.collect(lambda p: True, 0.5)
        # Errors that the host sends back quote what came.
        marks = sorted({bytes(p).split(b'acl-')[1][:3] for p in seen if b'acl-' in bytes(p)})
        result = {'marks': [m.decode() for m in marks],
                  'empty': any(IP in p and p[IP].id == 4711 and UDP in p for p in seen)}
        ",
        Value::Null,
    )?;
    let marks: Vec<_> = arrived["marks"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let odd = marks.iter().filter(|mark| mark.parse::<u32>().is_ok_and(|number| number % 2 == 1)).count();
    assert_eq!(odd, 0, "{marks:?}");
    let even = marks.iter().filter(|mark| mark.parse::<u32>().is_ok_and(|number| number % 2 == 0)).count();
    assert_eq!((even, &arrived["empty"]), (7, &json!(true)), "{marks:?}\n{}", daemon.ctl("show acl")?);
    daemon.stop()
}

/// Fragments in order and out of order, what is denied among them; and those that would deceive who reads ports.
#[test]
fn fragments_are_judged_by_their_first_one_wherever_lists_are_applied() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let section = "[acl.lists]\nl = ['permit icmp', 'permit icmp6', 'permit udp to any port 53', 'permit tcp to any port 80']";
    for (is_routed, at) in PLACES {
        for workers in [0, 2] {
            let of = || format!("{at}, routed: {is_routed}, {workers} workers");
            let (topology, config) = place(is_routed, section)?;
            let (alice, bob) = (topology.host("alice"), topology.host("bob"));
            let daemon = Daemon::start(&topology.router, &config.workers(workers))?;
            daemon.ctl(&format!("acl apply {at} l"))?;
            assert!(answered(alice, bob.spec.ipv4)? > 0 && answered(alice, bob.spec.ipv6)? > 0, "{}", of());
            let (mut sender, mut receiver) = (Judge::start(&alice.namespace)?, Judge::start(&bob.namespace)?);
            receiver.run("capture = Capture()", Value::Null)?;
            sender.run(FRAGMENTS, addresses(&topology, is_routed)?)?;
            let arrived = receiver.run(ARRIVED, Value::Null).with_context(of)?;
            // By identification: offsets, in bytes.
            let mut expected = json!({
                "4-1": [0, 64, 128], "4-2": [0, 64, 128], "4-6": [0],
                "6-1": [0, 64, 128], "6-2": [0, 64, 128], "6-6": [0],
            });
            for overlapping in ["4-6", "6-6"] {
                let offsets = arrived[overlapping].as_array();
                assert!(!offsets.is_some_and(|offsets| offsets.contains(&json!(56))), "{}: {arrived}", of());
                // Which one comes first at two workers nobody knows.
                if workers > 0 {
                    expected[overlapping] = arrived[overlapping].clone();
                }
            }
            assert_eq!(arrived, expected, "{}\n{}", of(), daemon.ctl("show errors")?);
            daemon.stop()?;
        }
    }
    Ok(())
}

/// Sends datagrams of 192 bytes in three fragments, told apart by their identification.
const FRAGMENTS: &str = "
    ether = Ether(src=mac(), dst=args['to'])
    def cut(family, number, transport, cuts):
        data = bytes(transport / Raw(bytes(192 - len(transport))))
        # The checksum is nobody's business here: hosts drop what they put together, and what arrives is looked at before.
        protocol = 6 if TCP in transport else 17
        for start, end in cuts:
            more = 1 if end < 192 else 0
            if family == 4:
                ip = IP(src=args['a4'], dst=args['b4'], id=number, proto=protocol, flags=more, frag=start // 8)
            else:
                ip = IPv6(src=args['a6'], dst=args['b6']) / IPv6ExtHdrFragment(nh=protocol, id=number, m=more, offset=start // 8)
            yield ether / ip / Raw(data[start:end])
    order, back = [(0, 64), (64, 128), (128, 192)], [(128, 192), (64, 128), (0, 64)]
    frames = []
    for family in (4, 6):
        for number, transport, cuts in [
            (1, UDP(sport=9, dport=53), order),
            (2, UDP(sport=9, dport=53), back),
            (3, UDP(sport=9, dport=54), order),
            (4, UDP(sport=9, dport=54), back),
            # Tiny: the flags are in the second one (RFC 1858 section 3), which alone would be overwritten as well.
            (5, TCP(sport=9, dport=80), [(0, 8), (8, 64), (64, 192)]),
            # Overlapping (RFC 5722).
            (6, UDP(sport=9, dport=53), [(0, 64), (56, 128), (128, 192)]),
        ]:
            frames += cut(family, number, transport, cuts)
    frames.append(ether / IP(src=args['a4'], dst=args['b4']) / UDP(sport=9, dport=53) / Raw(b'acl-end'))
    frames.append(ether / IPv6(src=args['a6'], dst=args['b6']) / UDP(sport=9, dport=53) / Raw(b'acl-end'))
    send(frames)
    result = len(frames)
";

/// What has arrived of them.
const ARRIVED: &str = "
    seen = []
    def look(p):
        seen.append(p)
        ends = all(any(b'acl-end' in bytes(p) and family in p for p in seen) for family in (IP, IPv6))
        cut = [p for p in seen if IPv6ExtHdrFragment in p and p[IPv6ExtHdrFragment].id < 3
               or IP in p and 0 < p[IP].id < 3 and p[IP].proto == 17 and b'acl-end' not in bytes(p)]
        # No order is sure: the fragments that are to pass are waited for, three of each of four, and a while longer for others.
        return ends and len(cut) >= 12
    capture.first(look, 20)
    seen += capture.collect(lambda p: True, 0.5)
    result = {}
    for p in (p for p in seen if b'acl-end' not in bytes(p)):
        if IPv6ExtHdrFragment in p:
            result.setdefault('6-%d' % p[IPv6ExtHdrFragment].id, []).append(p[IPv6ExtHdrFragment].offset * 8)
        elif IP in p and 0 < p[IP].id < 10 and p[IP].proto in (6, 17):
            result.setdefault('4-%d' % p[IP].id, []).append(p[IP].frag * 8)
    for offsets in result.values():
        offsets.sort()
    result.setdefault('4-6', [])
    result.setdefault('6-6', [])
";

#[test]
fn fragments_of_what_passes_pass() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let section = "
[acl.lists]
requests = ['permit icmp type 8', 'permit icmp6 type 133-136', 'permit icmp6 type 128']
answers = ['permit icmp type 0', 'permit icmp6 type 133-136', 'permit icmp6 type 129']
[acl.interface.east]
in = ['requests']
out = ['answers']
";
    for workers in [0, 2] {
        let config = with_acl(DaemonConfig::routed(&topology), section).workers(workers);
        let daemon = Daemon::start(&topology.router, &config)?;
        for address in [IpAddr::from(bob.spec.ipv4), bob.spec.ipv6.into()] {
            let report =
                ping_with(&alice.namespace, address, &["-c", "4", "-i", "0.1", "-W", "5", "-s", "4000"])?;
            assert!(
                report.received > 0,
                "{workers} workers: {}\n{}",
                report.text,
                daemon.ctl("show errors")?
            );
            assert_eq!(answered(bob, alice.spec.ipv4)?, 0);
        }
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn frames_of_a_cross_connect_are_judged_too() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = one_subnet()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let section = "
[acl.lists]
none = ['permit icmp6 type 133-136', 'deny ip']
all = ['reflect ip']
";
    for workers in [0, 2] {
        let daemon = Daemon::start(&topology.router, &with_acl(crossed(), section).workers(workers))?;
        assert_eq!(answered(alice, bob.spec.ipv4)?, 4, "no lists are applied");
        daemon.ctl("acl apply west in none")?;
        assert_eq!(answered(alice, bob.spec.ipv4)?, 0);
        daemon.ctl("acl apply west out all")?;
        assert_eq!(answered(alice, bob.spec.ipv4)?, 4, "{}", daemon.ctl("show errors")?);
        assert_eq!(answered(alice, bob.spec.ipv6)?, 4, "{}", daemon.ctl("show errors")?);
        assert_eq!(answered(bob, alice.spec.ipv4)?, 0);
        let report =
            ping_with(&alice.namespace, bob.spec.ipv4, &["-c", "3", "-i", "0.1", "-W", "5", "-s", "4000"])?;
        assert!(report.is_complete(), "fragments: {}\n{}", report.text, daemon.ctl("show errors")?);
        daemon.ctl("acl remove west")?;
        daemon.ctl("acl apply east ethertypes arp,ip6")?;
        assert_eq!(answered(alice, bob.spec.ipv4)?, 0);
        assert_eq!(answered(alice, bob.spec.ipv6)?, 4);
        daemon.ctl("acl remove east ethertypes")?;
        daemon.ctl(&format!(
            "acl replace-mac-list m rules permit any {}; permit any fe80::/10",
            alice.spec.ipv6
        ))?;
        daemon.ctl("acl apply east mac-list m")?;
        assert_eq!(answered(alice, bob.spec.ipv4)?, 0);
        assert_eq!(answered(alice, bob.spec.ipv6)?, 4, "{}", daemon.ctl("show errors")?);
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn lists_change_under_traffic_and_are_shown_as_the_file_that_makes_them() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon =
        Daemon::start(&topology.router, &with_acl(DaemonConfig::routed(&topology), INSIDE_OUT).workers(1))?;
    assert!(answered(alice, bob.spec.ipv4)? > 0);
    let said = daemon.try_ctl("acl replace from-west rules permit tpc")?;
    assert!(said.stderr.contains("rule 1: unknown word `tpc`; did you mean `tcp`?"), "{}", said.stderr);
    assert_eq!(
        daemon.ctl("acl test in west 10.0.2.2 -> 10.0.1.2 tcp 22")?.trim(),
        "deny: list from-west rule 2: deny ip log"
    );
    daemon.ctl("acl add from-west at 2 rule permit icmp type 8")?;
    assert_eq!(answered(bob, alice.spec.ipv4)?, 4);
    let shown = daemon.ctl("show config")?;
    assert!(shown.contains("permit icmp type 8"), "{shown}");
    // What it holds itself is told with what helps.
    let said = daemon.try_ctl("plugin unload acl")?;
    assert!(said.stderr.contains("out of what `acl` is configured to do"), "{}", said.stderr);
    // An interface goes with lists applied, and what was said of it stays for when it comes again.
    daemon.ctl("interface delete west")?;
    assert_eq!(answered(alice, bob.spec.ipv4)?, 0);
    wait_for("the sessions to be gone", Duration::from_secs(30), || {
        let sessions = daemon.ctl_json("show acl sessions")?;
        Ok(sessions.as_array().is_some_and(Vec::is_empty).then_some(()))
    })?;
    daemon.stop()
}

/// Who says to be another one in ARP is not heard, on routed interfaces and on switched ones.
#[test]
fn arp_is_judged_by_mac_ip_rules_routed_and_cross_connected() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    for is_routed in [true, false] {
        let (topology, config) = place(is_routed, "")?;
        let (alice, bob) = (topology.host("alice"), topology.host("bob"));
        let daemon = Daemon::start(&topology.router, &config)?;
        let target = if is_routed { alice.spec.gateway4 } else { bob.spec.ipv4 };
        daemon.ctl(&format!("acl replace-mac-list m rules permit {} {}", alice.mac()?, alice.spec.ipv4))?;
        daemon.ctl("acl apply east mac-list m")?;
        let mut judge = Judge::start(&alice.namespace)?;
        let answers = judge.run(
            "
            def asks(sender, source, wait):
                request = ARP(op=1, hwsrc=source, psrc=sender, pdst=args['target'])
                frame = Ether(src=source, dst='ff:ff:ff:ff:ff:ff') / request
                # The answer goes to who asks.
                return ask(frame, lambda p: ARP in p and p[ARP].op == 2 and p[ARP].pdst == sender, wait) is not None
            result = [asks(args['own'], mac(), 20), asks(args['other'], mac(), 2),
                      asks(args['own'], '02:00:00:00:00:77', 2), asks(args['own'], mac(), 20)]
            ",
            json!({ "target": target, "own": alice.spec.ipv4, "other": "10.0.1.99" }),
        )?;
        let errors = daemon.ctl("show errors")?;
        assert_eq!(answers, json!([true, false, false, true]), "routed: {is_routed}\n{errors}");
        assert!(errors.contains("mac-ip"), "routed: {is_routed}\n{errors}");
        daemon.stop()?;
    }
    Ok(())
}
