//! BIRD on raddle's host side, speaking OSPFv2, OSPFv3 and BGP through raddle with BIRDs in neighbours' namespaces.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use raddle_tests::wait::wait_for;
use raddle_tests::{
    Bird, Daemon, DaemonConfig, Host, HostSpec, Namespace, Need, Topology, UdpFlow, ping, requirement,
    target_dir,
};

const WAIT: Duration = Duration::from_secs(60);

/// What both neighbours have and tell by OSPF.
const ANYCAST: [&str; 2] = ["192.0.2.1", "2001:db8:aa::1"];
/// What each of them has and tells by BGP.
const ALICES: [&str; 2] = ["198.51.100.1", "2001:db8:a1::1"];
const BOBS: [&str; 2] = ["203.0.113.1", "2001:db8:b1::1"];

/// The router's own configuration: routes learned go to the kernel, and stay there while BIRD restarts.
const ROUTER: &str = r#"
log stderr all;
router id 10.0.0.1;
graceful restart wait 30;
protocol device { scan time 1; }
protocol kernel k4 {
  persist; graceful restart yes; merge paths on limit 8; scan time 5;
  ipv4 { import none; export where source ~ [RTS_OSPF, RTS_BGP] && net !~ [10.0.0.0/16+]; };
}
protocol kernel k6 {
  persist; graceful restart yes; merge paths on limit 8; scan time 5;
  ipv6 { import none; export where source ~ [RTS_OSPF, RTS_BGP] && net !~ [2001:db8:1::/64, 2001:db8:2::/64]; };
}
protocol ospf v2 ospf2 {
  ecmp yes; graceful restart yes;
  ipv4 { import all; export none; };
  area 0 { interface "east", "west" { type ptp; hello 1; dead 4; }; };
}
protocol ospf v3 ospf3 {
  ecmp yes; graceful restart yes;
  ipv6 { import all; export none; };
  area 0 { interface "east", "west" { type ptp; hello 1; dead 4; }; };
}
template bgp peer {
  local as 65000; graceful restart on; connect retry time 2; connect delay time 1; error wait time 1, 5;
}
protocol bgp alice4 from peer { neighbor 10.0.1.2 as 65001; ipv4 { import all; export none; }; }
protocol bgp alice6 from peer { neighbor 2001:db8:1::2 as 65001; ipv6 { import all; export none; }; }
protocol bgp bob4 from peer { neighbor 10.0.2.2 as 65002; ipv4 { import all; export none; }; }
protocol bgp bob6 from peer { neighbor 2001:db8:2::2 as 65002; ipv6 { import all; export none; }; }
"#;

/// A neighbour's: stub networks by OSPF, networks of its own by BGP.
fn neighbor(number: u8, own: [&str; 2]) -> String {
    let [own4, own6] = own;
    format!(
        r#"
log stderr all;
router id 10.0.{number}.2;
protocol device {{ scan time 1; }}
protocol static own4 {{ ipv4; route {own4}/32 blackhole; }}
protocol static own6 {{ ipv6; route {own6}/128 blackhole; }}
protocol ospf v2 ospf2 {{
  ipv4 {{ import none; export none; }};
  area 0 {{ stubnet 192.0.2.0/24; interface "eth0" {{ type ptp; hello 1; dead 4; }}; }};
}}
protocol ospf v3 ospf3 {{
  ipv6 {{ import none; export none; }};
  area 0 {{ stubnet 2001:db8:aa::/48; interface "eth0" {{ type ptp; hello 1; dead 4; }}; }};
}}
template bgp peer {{ local as 6500{number}; graceful restart on; connect retry time 2; connect delay time 1; error wait time 1, 5; }}
protocol bgp router4 from peer {{ neighbor 10.0.{number}.1 as 65000; ipv4 {{ import none; export where source = RTS_STATIC; }}; }}
protocol bgp router6 from peer {{ neighbor 2001:db8:{number}::1 as 65000; ipv6 {{ import none; export where source = RTS_STATIC; }}; }}
"#
    )
}

fn give(host: &Host, addresses: &[&str]) -> Result<()> {
    for address in addresses {
        host.namespace
            .ip(&format!("address add {address}/{} dev lo", if address.contains(':') { 128 } else { 32 }))?;
    }
    Ok(())
}

fn reached(from: &Host, to: &str) -> Result<()> {
    let to: IpAddr = to.parse()?;
    wait_for(&format!("an answer from {to}"), WAIT, || {
        Ok((ping(&from.namespace, to, 1)?.received > 0).then_some(()))
    })
}

/// Who of several gets datagrams of many flows to the anycast address: how many of each.
fn spread(from: &Host, receivers: &[(&str, &UdpSocket)], to: IpAddr) -> Result<BTreeMap<String, u32>> {
    const FLOWS: u32 = 32;
    for _ in 0..FLOWS {
        let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        from.namespace.udp(any)?.send_to(b"flow", (to, 7777))?;
    }
    let mut counts = BTreeMap::new();
    for (name, socket) in receivers {
        let mut count = 0;
        while socket.recv(&mut [0; 16]).is_ok() {
            count += 1;
        }
        counts.insert((*name).to_owned(), count);
    }
    Ok(counts)
}

fn receiver(host: &Host, address: IpAddr) -> Result<UdpSocket> {
    let text = if address.is_ipv6() { format!("[{address}]:7777") } else { format!("{address}:7777") };
    let socket = host.namespace.udp(&text)?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    Ok(socket)
}

#[test]
fn bird_speaks_ospf_and_bgp_through_raddle_and_raddle_forwards_by_what_it_learns() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle, Need::Tuntap, Need::Bird]) {
        return Ok(());
    }
    let topology = Topology::create([
        HostSpec::new("alice", "east", 1),
        HostSpec::new("bob", "west", 2),
        HostSpec::new("carol", "north", 3),
    ])?;
    let (alice, bob, carol) = (topology.host("alice"), topology.host("bob"), topology.host("carol"));
    let host = Namespace::create("host")?;
    give(alice, &[&ANYCAST[..], &ALICES].concat())?;
    give(bob, &[&ANYCAST[..], &BOBS].concat())?;
    let config = DaemonConfig::routed(&topology).plugins(&target_dir().join("plugins")).with(&format!(
        "[tuntap]\nnamespace = \"{}\"\n[tuntap.interface.east]\n[tuntap.interface.west]\n[[tuntap.mirror]]\n",
        host.name()
    ));
    let daemon = Daemon::start(&topology.router, &config)?;
    wait_for("the taps", WAIT, || {
        let there = host.ip("address show")?;
        Ok(["10.0.1.1/24", "10.0.2.1/24", "2001:db8:2::1/64"]
            .iter()
            .all(|part| there.contains(part))
            .then_some(()))
    })?;
    let mut router = Bird::start(&host, ROUTER)?;
    let _alices = Bird::start(&alice.namespace, &neighbor(1, ALICES))?;
    let mut bobs = Bird::start(&bob.namespace, &neighbor(2, BOBS))?;

    // Sessions are up through raddle.
    for protocol in ["alice4", "alice6", "bob4", "bob6"] {
        router.wait_until(&format!("show protocols {protocol}"), &["Established"])?;
    }
    for protocol in ["ospf2", "ospf3"] {
        router.wait_until(&format!("show ospf neighbors {protocol}"), &["10.0.1.2", "10.0.2.2", "Full"])?;
    }

    // Routes are learnt, and taken over: six prefixes, two of them with two next hops.
    let learnt = wait_for("the routes to be in sync", WAIT, || {
        let mirror = daemon.ctl_json("show tuntap")?["mirrors"][0].clone();
        Ok((mirror["in-sync"] == 6 && mirror["pending"] == 0 && mirror["failed"] == 0).then_some(()))
    });
    learnt.with_context(|| {
        format!("{}\n{}", daemon.ctl("show tuntap").unwrap_or_default(), host.ip("route").unwrap_or_default())
    })?;
    for to in [ALICES, BOBS].concat() {
        reached(carol, to)?;
    }
    for (prefix, hops) in [("192.0.2.0/24", ["10.0.1.2", "10.0.2.2"]), ("2001:db8:aa::/48", ["east", "west"])]
    {
        // The two neighbours are not heard at the same time.
        wait_for(&format!("{prefix} by both"), WAIT, || {
            let shown = daemon.ctl(&format!("show fib {prefix}"))?;
            Ok(hops.iter().all(|hop| shown.contains(hop)).then_some(()))
        })?;
    }

    // Traffic goes both ways of the anycast networks.
    for anycast in ANYCAST {
        let to: IpAddr = anycast.parse()?;
        let (at_alice, at_bob) = (receiver(alice, to)?, receiver(bob, to)?);
        wait_for("both neighbours to be used", WAIT, || {
            let spread = spread(carol, &[("alice", &at_alice), ("bob", &at_bob)], to)?;
            Ok((spread["alice"] > 0 && spread["bob"] > 0).then_some(()))
        })
        .with_context(|| anycast.to_owned())?;
    }

    // The router's daemon restarts; its neighbours and raddle go on with what it said, without a lost packet.
    let flows = [
        UdpFlow::between(&carol.namespace, &alice.namespace, ALICES[0].parse()?, 500)?,
        UdpFlow::between(&carol.namespace, &bob.namespace, BOBS[1].parse()?, 500)?,
    ];
    router.restart()?;
    for protocol in ["alice4", "bob6"] {
        router.wait_until(&format!("show protocols {protocol}"), &["Established"])?;
    }
    router.wait_until("show ospf neighbors ospf2", &["10.0.1.2", "10.0.2.2", "Full"])?;
    for flow in &flows {
        flow.wait_for_more(100)?;
    }
    for flow in flows {
        flow.stop()?.demand_no_loss()?;
    }

    // One neighbour is killed, and its machine with it: the other gets all.
    bobs.kill()?;
    bob.namespace.ip("address del 192.0.2.1/32 dev lo")?;
    let to: IpAddr = ANYCAST[0].parse()?;
    let at_alice = receiver(alice, to)?;
    wait_for("all traffic to move", WAIT, || {
        let spread = spread(carol, &[("alice", &at_alice)], to)?;
        Ok((spread["alice"] == 32).then_some(()))
    })?;
    let shown = daemon.ctl("show fib 192.0.2.0/24")?;
    ensure!(shown.contains("10.0.1.2") && !shown.contains("10.0.2.2"), "{shown}");
    daemon.stop()
}

/// The files that the book points to: raddle's and BIRD's, side by side.
const BGP_ROUTER: &str = include_str!("../../conf/bgp-router.toml");
const BGP_ROUTER_BIRD: &str = include_str!("../../conf/bgp-router.bird.conf");

/// The neighbour of that router.
const UPSTREAM: &str = r#"
log stderr all;
router id 10.0.1.2;
protocol device { scan time 1; }
protocol static own4 { ipv4; route 198.51.100.0/24 blackhole; }
protocol static own6 { ipv6; route 2001:db8:a1::/48 blackhole; }
template bgp downstream { local as 65001; connect retry time 2; connect delay time 1; error wait time 1, 5; }
protocol bgp router4 from downstream { neighbor 10.0.1.1 as 65000; ipv4 { import all; export where source = RTS_STATIC; }; }
protocol bgp router6 from downstream { neighbor 2001:db8:1::1 as 65000; ipv6 { import all; export where source = RTS_STATIC; }; }
"#;

#[test]
fn the_bgp_router_of_the_book_runs_as_it_stands() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Raddle, Need::Tuntap, Need::Bird]) {
        return Ok(());
    }
    let topology = Topology::create([HostSpec::new("peer", "wan", 1), HostSpec::new("client", "lan", 2)])?;
    let (peer, client) = (topology.host("peer"), topology.host("client"));
    let host = Namespace::create("host")?;
    give(peer, &ALICES)?;
    // The namespace of this test has another name; all else is as it stands.
    let text = BGP_ROUTER.replace("namespace = \"router\"", &format!("namespace = \"{}\"", host.name()));
    let config = DaemonConfig::new().plugins(&target_dir().join("plugins")).with(&text);
    let daemon = Daemon::start(&topology.router, &config)?;
    wait_for("the twins", WAIT, || {
        let there = host.ip("address show")?;
        Ok(["10.0.1.1/24", "10.0.2.1/24"].iter().all(|part| there.contains(part)).then_some(()))
    })?;
    let router = Bird::start(&host, BGP_ROUTER_BIRD)?;
    let upstream = Bird::start(&peer.namespace, UPSTREAM)?;
    for protocol in ["upstream4", "upstream6"] {
        router.wait_until(&format!("show protocols {protocol}"), &["Established"])?;
    }
    for to in ALICES {
        reached(client, to)?;
    }
    upstream.wait_until("show route", &["10.0.2.0/24", "2001:db8:2::/64"])?;
    let shown = daemon.ctl("show fib 198.51.100.0/24")?;
    ensure!(shown.contains("10.0.1.2"), "{shown}");
    daemon.stop()
}
