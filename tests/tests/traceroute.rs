//! Traceroute through raddle: by UDP, ICMP and TCP, over IPv4 and IPv6 (RFC 792, RFC 1812 §4.3.3.4, RFC 4443 §3.3).

use anyhow::Result;
use raddle_tests::{Daemon, DaemonConfig, Host, Judge, Need, Topology, requirement};
use serde_json::{Value, json};

const NEEDS: &[Need] = &[Need::Scapy, Need::Raddle];

/// The names that snippets use, and frames from this host to the router.
fn judge_in(topology: &Topology, host: &Host) -> Result<(Judge, Value)> {
    let bob = topology.host("bob");
    let args = json!({ "router": host.router_mac(&topology.router)?, "me": host.spec.ipv4, "me6": host.spec.ipv6,
        "gw": host.spec.gateway4, "gw6": host.spec.gateway6, "bob": bob.spec.ipv4, "bob6": bob.spec.ipv6 });
    let mut judge = Judge::start(&host.namespace)?;
    judge.run("ether = Ether(src=mac(), dst=args[\"router\"])", args.clone())?;
    Ok((judge, args))
}

#[test]
fn rfc_792_every_hop_answers_each_kind_of_probe() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let (mut judge, args) = judge_in(&topology, topology.host("alice"))?;
    let hops = judge.run(
        "
        def hop(family, probe, ttl):
            '''Who answers a probe with this many hops, and how.'''
            if family == 4:
                packet = IP(src=args['me'], dst=args['bob'], ttl=ttl) / probe
                match = lambda p: IP in p and p[IP].dst == args['me'] and (ICMP in p or TCP in p)
            else:
                packet = IPv6(src=args['me6'], dst=args['bob6'], hlim=ttl) / probe
                match = lambda p: IPv6 in p and p[IPv6].dst == args['me6'] and (
                    TCP in p or p[IPv6].nh == 58 and bytes(p)[54] in (1, 3, 129))
            p = ask(ether / packet, match)
            if p is None:
                return 'silence'
            who = p[IP].src if IP in p else p[IPv6].src
            if TCP in p:
                return [who, 'reset' if 'R' in str(p[TCP].flags) else str(p[TCP].flags)]
            kind = bytes(p)[34] if IP in p else bytes(p)[54]
            return [who, {11: 'exceeded', 3: 'exceeded' if IPv6 in p else 'unreachable', 1: 'unreachable',
                          0: 'reply', 129: 'reply'}[kind]]

        result = {}
        for family in (4, 6):
            echo = ICMP(id=7, seq=1) if family == 4 else ICMPv6EchoRequest(id=7, seq=1)
            for name, probe in (('udp', UDP(sport=40000, dport=33434) / Raw(b'probe')), ('icmp', echo),
                                ('tcp', TCP(sport=40000, dport=81, flags='S', seq=1000))):
                result[f'{name}{family}'] = [hop(family, probe, ttl) for ttl in (1, 2)]
        ",
        args.clone(),
    )?;
    let (gw, gw6, bob, bob6) = (&args["gw"], &args["gw6"], &args["bob"], &args["bob6"]);
    assert_eq!(
        hops,
        json!({
            "udp4": [[gw, "exceeded"], [bob, "unreachable"]],
            "icmp4": [[gw, "exceeded"], [bob, "reply"]],
            "tcp4": [[gw, "exceeded"], [bob, "reset"]],
            "udp6": [[gw6, "exceeded"], [bob6, "unreachable"]],
            "icmp6": [[gw6, "exceeded"], [bob6, "reply"]],
            "tcp6": [[gw6, "exceeded"], [bob6, "reset"]],
        })
    );
    daemon.stop()
}
