//! Hosts talk to each other through raddle.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use raddle_tests::iperf::Direction;
use raddle_tests::observe::buffers_in_use;
use raddle_tests::ping::ping_with;
use raddle_tests::topology::Link;
use raddle_tests::wait::wait_for;
use raddle_tests::{
    Daemon, DaemonConfig, Host, HostSpec, IperfServer, Judge, Need, Topology, WebServer, fetch, iperf, ping,
    requirement, wait_until,
};
use serde_json::{Value, json};

/// Zero workers: the main thread does it all.
const WORKERS: [u32; 3] = [0, 1, 2];

/// Buffers that a receive queue keeps at hand: once it has seen a GSO packet room for one of 64 KiB; of AF_XDP those in the
/// kernel's fill ring, and of the transmit ring those that were sent last, until more is sent.
fn kept_per_queue(link: Link) -> u64 {
    match link {
        Link::Veth | Link::Tap => 33,
        Link::AfXdp => 2048 + 256,
    }
}

/// Tries with each driver what every driver must do.
fn by_each_driver(test: impl Fn(Link) -> Result<()>) -> Result<()> {
    Link::ALL.into_iter().try_for_each(|link| test(link).with_context(|| format!("by {link:?}")))
}

/// Starts raddle, and waits for the links that it makes itself.
fn start<'t>(topology: &'t Topology, config: &DaemonConfig) -> Result<Daemon<'t>> {
    let daemon = Daemon::start(&topology.router, config)?;
    topology.await_taps()?;
    Ok(daemon)
}

fn addresses(host: &Host) -> [IpAddr; 2] {
    [host.spec.ipv4.into(), host.spec.ipv6.into()]
}

fn demand_ping(from: &Host, to: IpAddr, count: u32) -> Result<()> {
    // The first packets may wait for an address to be of use, and for a neighbour to be resolved.
    wait_until(&format!("{to} to be reached from {}", from.spec.name), Duration::from_secs(60), || {
        ping(&from.namespace, to, 1).is_ok_and(|report| report.is_complete())
    })?;
    let report = ping(&from.namespace, to, count)?;
    ensure!(report.is_complete(), "{} to {to}: {}", from.spec.name, report.text);
    Ok(())
}

#[test]
fn every_ping_is_answered_with_any_number_of_workers() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::AfXdp, Need::Raddle]) {
        return Ok(());
    }
    by_each_driver(|link| {
        let topology = Topology::two_hosts_by(link)?;
        let (alice, bob) = (topology.host("alice"), topology.host("bob"));
        for workers in WORKERS {
            let daemon = start(&topology, &DaemonConfig::routed(&topology).workers(workers))?;
            for (from, to) in [(alice, bob), (bob, alice)] {
                for address in addresses(to) {
                    demand_ping(from, address, 20).with_context(|| format!("{workers} workers"))?;
                }
            }
            daemon.stop()?;
        }
        Ok(())
    })
}

#[test]
fn web_page_arrives_as_it_was_sent() -> Result<()> {
    if !requirement::met(&[Need::Curl, Need::Python, Need::AfXdp, Need::Raddle]) {
        return Ok(());
    }
    let folder = raddle_tests::scratch::directory()?;
    let content: Vec<u8> =
        (0..5_000_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    fs::write(folder.path().join("file"), &content)?;
    by_each_driver(|link| {
        let topology = Topology::two_hosts_by(link)?;
        let (alice, bob) = (topology.host("alice"), topology.host("bob"));
        let _server = WebServer::start(&bob.namespace, folder.path())?;
        let daemon = start(&topology, &DaemonConfig::routed(&topology))?;
        for address in addresses(bob) {
            demand_ping(alice, address, 1)?;
            let to = folder.path().join("fetched");
            let fetched = fetch(&alice.namespace, address, "file", &to)?;
            assert_eq!((fetched.status, fetched.len_bytes), (200, 5_000_000), "{address} by {link:?}");
            assert!(fs::read(&to)? == content, "{address} by {link:?}: the content differs");
        }
        daemon.stop()
    })
}

#[test]
fn bulk_tcp_flows_both_ways_with_offloads_on_and_any_number_of_workers() -> Result<()> {
    if !requirement::met(&[Need::Iperf, Need::Ping, Need::AfXdp, Need::Raddle]) {
        return Ok(());
    }
    by_each_driver(|link| {
        let topology = Topology::two_hosts_by(link)?;
        let (alice, bob) = (topology.host("alice"), topology.host("bob"));
        for workers in WORKERS {
            let daemon = start(&topology, &DaemonConfig::routed(&topology).workers(workers))?;
            let _server = IperfServer::start(&bob.namespace)?;
            for address in addresses(bob) {
                demand_ping(alice, address, 1)?;
                for direction in [Direction::Upload, Direction::Download] {
                    let context = || format!("{link:?}, {workers} workers, {address}, {direction:?}");
                    let sum = iperf(&alice.namespace, address, direction, 1).with_context(context)?;
                    eprintln!(
                        "{}: {:.2} Gbit/s, {} sent again",
                        context(),
                        sum.gbit_per_second,
                        sum.retransmits
                    );
                    // Far below what it does: a path that loses checksums or segments makes kilobytes.
                    assert!(sum.len_bytes > 5_000_000, "{}: {sum:?}", context());
                }
            }
            let kept = 2 * kept_per_queue(link);
            wait_for("all buffers to be back", Duration::from_secs(30), || {
                Ok((buffers_in_use(&daemon)? <= kept).then_some(()))
            })
            .with_context(|| {
                format!("{workers} workers: {}", daemon.ctl("show buffers").unwrap_or_default())
            })?;
            daemon.stop()?;
        }
        Ok(())
    })
}

#[test]
fn fragments_and_jumbo_packets_pass() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::AfXdp, Need::Raddle]) {
        return Ok(());
    }
    by_each_driver(|link| {
        for (mtu, len) in [(1500, "4000"), (9000, "8000")] {
            let spec = |name, interface, number| {
                HostSpec::new(name, interface, number).with_mtu(mtu).with_link(link)
            };
            let topology = Topology::create([spec("alice", "east", 1), spec("bob", "west", 2)])?;
            let (alice, bob) = (topology.host("alice"), topology.host("bob"));
            let daemon = start(&topology, &DaemonConfig::routed(&topology))?;
            for address in addresses(bob) {
                demand_ping(alice, address, 1)?;
                let report =
                    ping_with(&alice.namespace, address, &["-c", "10", "-i", "0.05", "-W", "2", "-s", len])?;
                assert!(report.is_complete(), "MTU {mtu}, {len} bytes to {address}: {}", report.text);
            }
            daemon.stop()?;
        }
        Ok(())
    })
}

#[test]
fn rfc_1812_section_5_2_1_forwarded_packet_differs_in_macs_ttl_and_header_checksum_only() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Scapy, Need::AfXdp, Need::Raddle]) {
        return Ok(());
    }
    // Where frames can be seen at both ends.
    for link in [Link::Veth, Link::AfXdp] {
        let topology = Topology::two_hosts_by(link)?;
        let (alice, bob) = (topology.host("alice"), topology.host("bob"));
        let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
        for address in addresses(bob) {
            demand_ping(alice, address, 1)?;
        }
        let (mut sender, mut receiver) = (Judge::start(&alice.namespace)?, Judge::start(&bob.namespace)?);
        receiver.run("capture = Capture()", Value::Null)?;
        let args = json!({ "router": alice.router_mac(&topology.router)?, "alice": alice.spec.ipv4, "bob": bob.spec.ipv4,
            "alice6": alice.spec.ipv6, "bob6": bob.spec.ipv6 });
        sender.run(
            "
            ether = Ether(src=mac(), dst=args['router'])
            ip = IP(src=args['alice'], dst=args['bob'], ttl=17, tos=0xb8, id=4711, options=[IPOption_NOP()] * 4)
            ip6 = IPv6(src=args['alice6'], dst=args['bob6'], hlim=17, tc=0xb8, fl=0x12345)
            send([ether / ip / UDP(sport=5, dport=4711) / Raw(b'four'), ether / ip6 / UDP(sport=6, dport=4711) / Raw(b'six')])
            ",
            args,
        )?;
        let judged = receiver.run(
            "
            result = []
            for p in capture.collect(lambda p: UDP in p and p[UDP].dport == 4711, 20, 2):
                ip = p[IP] if IP in p else p[IPv6]
                extra = [ip.ttl, ip.tos, ip.id, len(ip.options)] if IP in p else [ip.hlim, ip.tc, ip.fl]
                result.append([p.src, p.dst, wrong_checksums(p), bytes(p[UDP].payload).decode(), extra])
            result.sort(key=lambda row: row[3])
            ",
            Value::Null,
        )?;
        let (source, target) = (bob.router_mac(&topology.router)?, bob.mac()?);
        assert_eq!(
            judged,
            json!([
                [source, target, [], "four", [16, 0xb8, 4711, 4]],
                [source, target, [], "six", [16, 0xb8, 0x12345]],
            ])
        );
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn rfc_1812_section_5_2_4_3_longest_prefix_decides_the_next_hop() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::create([
        HostSpec::new("alice", "east", 1),
        HostSpec::new("bob", "west", 2),
        HostSpec::new("carol", "north", 3),
    ])?;
    let (alice, bob, carol) = (topology.host("alice"), topology.host("bob"), topology.host("carol"));
    let route = |prefix: &str, via: IpAddr, interface: &str| {
        format!("[[route]]\nprefix = \"{prefix}\"\nvia = \"{via}\"\ninterface = \"{interface}\"")
    };
    let config = DaemonConfig::routed(&topology)
        .with(&route("198.18.0.0/15", bob.spec.ipv4.into(), "west"))
        .with(&route("198.18.4.0/24", carol.spec.ipv4.into(), "north"))
        .with(&route("198.18.4.128/32", bob.spec.ipv4.into(), "west"))
        .with(&route("2001:db8:f000::/36", bob.spec.ipv6.into(), "west"))
        .with(&route("2001:db8:f000:4::/64", carol.spec.ipv6.into(), "north"))
        .with(&route("2001:db8:f000:4::8/128", bob.spec.ipv6.into(), "west"));
    let daemon = Daemon::start(&topology.router, &config)?;
    let expected = [
        ("bob", "198.18.0.0"),
        ("bob", "198.19.255.255"),
        ("carol", "198.18.4.0"),
        ("carol", "198.18.4.127"),
        ("bob", "198.18.4.128"),
        ("carol", "198.18.4.129"),
        ("bob", "2001:db8:f000::"),
        ("carol", "2001:db8:f000:4::7"),
        ("bob", "2001:db8:f000:4::8"),
        ("carol", "2001:db8:f000:4:ffff:ffff:ffff:ffff"),
    ];
    let mut sender = Judge::start(&alice.namespace)?;
    let args = json!({ "router": alice.router_mac(&topology.router)?, "alice": alice.spec.ipv4, "alice6": alice.spec.ipv6,
        "targets": expected.map(|(_, target)| target) });
    for host in [bob, carol] {
        // Resolved beforehand, so that none is lost on the way to knowing it.
        for address in addresses(host) {
            demand_ping(alice, address, 1)?;
        }
        let mut receiver = Judge::start(&host.namespace)?;
        receiver.run("capture = Capture()", Value::Null)?;
        sender.run(
            "
            ether = Ether(src=mac(), dst=args['router'])
            def packet(target):
                ip = IPv6(src=args['alice6'], dst=target) if ':' in target else IP(src=args['alice'], dst=target)
                return ether / ip / UDP(sport=5, dport=4711) / Raw(b'way')
            send([packet(target) for target in args['targets']])
            ",
            args.clone(),
        )?;
        let own: Vec<_> =
            expected.iter().filter(|(name, _)| *name == host.spec.name).map(|(_, target)| *target).collect();
        let arrived = receiver.run(
            "
            def target(p):
                return p[IPv6].dst if IPv6 in p else p[IP].dst
            wanted = capture.collect(lambda p: UDP in p and p[UDP].dport == 4711, 20, len(args))
            surplus = capture.collect(lambda p: UDP in p and p[UDP].dport == 4711, 0.2)
            result = [target(p) for p in wanted + surplus]
            ",
            json!(own),
        )?;
        assert_eq!(arrived, json!(own), "{}", host.spec.name);
    }
    daemon.stop()
}

#[test]
fn rfc_1812_section_5_3_4_packets_for_nobody_here_are_not_forwarded() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::Ping, Need::AfXdp, Need::Raddle]) {
        return Ok(());
    }
    // Where frames can be seen at both ends.
    for link in [Link::Veth, Link::AfXdp] {
        let topology = Topology::two_hosts_by(link)?;
        let (alice, bob) = (topology.host("alice"), topology.host("bob"));
        let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
        demand_ping(alice, bob.spec.ipv4.into(), 1)?;
        let (mut sender, mut receiver) = (Judge::start(&alice.namespace)?, Judge::start(&bob.namespace)?);
        receiver.run("capture = Capture()", Value::Null)?;
        sender.run(
            "
            stray = '02:00:00:00:00:99'
            packet = IP(src=args['alice'], dst=args['bob']) / UDP(sport=5, dport=4711) / Raw(b'stray')
            good = IP(src=args['alice'], dst=args['bob']) / UDP(sport=5, dport=4711) / Raw(b'good')
            loopback = IP(src=args['alice'], dst='127.0.0.1') / UDP(sport=5, dport=4711) / Raw(b'stray')
            from_loopback = IP(src='127.0.0.1', dst=args['bob']) / UDP(sport=5, dport=4711) / Raw(b'stray')
            linklocal = IPv6(src='fe80::1', dst=args['bob6']) / UDP(sport=5, dport=4711) / Raw(b'stray')
            to = lambda dst, packet: Ether(src=mac(), dst=dst) / packet
            send([to(stray, packet)] + [to(args['router'], p) for p in (loopback, from_loopback, linklocal, good)])
            ",
            json!({ "router": alice.router_mac(&topology.router)?, "alice": alice.spec.ipv4, "bob": bob.spec.ipv4,
                "bob6": bob.spec.ipv6 }),
        )?;
        let arrived = receiver.run(
            "
            ours = lambda p: UDP in p and p[UDP].dport == 4711
            seen = []
            for p in filter(ours, capture.frames(20)):
                seen.append(bytes(p[UDP].payload).decode())
                if seen[-1] == 'good':
                    break
            result = seen
            ",
            Value::Null,
        )?;
        assert_eq!(
            arrived,
            json!(["good"]),
            "frames for another MAC, from or to loopback (RFC 1122 3.2.1.3), link-local source"
        );
        daemon.stop()?;
    }
    Ok(())
}
