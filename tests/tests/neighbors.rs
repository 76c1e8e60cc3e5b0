//! ARP (RFC 826) and neighbour discovery (RFC 4861) between raddle and hosts.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use raddle_tests::{Daemon, DaemonConfig, Judge, Need, Topology, ping, requirement, wait_until};
use serde_json::json;

const NEEDS: &[Need] = &[Need::Ping, Need::Scapy, Need::Raddle];

#[test]
fn rfc_826_answers_for_own_addresses_and_no_others() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let mut judge = Judge::start(&alice.namespace)?;
    let answers = judge.run(
        "
        own = [gateway_mac(args['gw'], args['me']), gateway_mac(args['gw6'], args['me6'])]
        with Capture() as capture:
            send([arp_question('10.0.1.77', args['me']), arp_question(args['bob'], args['me']),
                  nd_question('2001:db8:1::77', args['me6']), nd_question(args['bob6'], args['me6'])])
            send([arp_question(args['gw'], args['me'])])
            others = []
            for p in capture.frames(20):
                if ARP in p and p[ARP].op == 2 and p[ARP].psrc == args['gw']:
                    break
                if ARP in p and p[ARP].op == 2 or ICMPv6ND_NA in p:
                    others.append(repr(p))
        # An advertisement that answers a solicitation says so, and that a router sends it (RFC 4861 section 7.2.4).
        na = ask(nd_question(args['gw6'], args['me6']), lambda p: ICMPv6ND_NA in p)
        flags = [na[ICMPv6ND_NA].S, na[ICMPv6ND_NA].R, na[IPv6].hlim, wrong_checksums(na)]
        result = [own, others, flags]
        ",
        json!({ "me": alice.spec.ipv4, "me6": alice.spec.ipv6, "gw": alice.spec.gateway4, "gw6": alice.spec.gateway6,
            "bob": bob.spec.ipv4, "bob6": bob.spec.ipv6 }),
    )?;
    let mac = alice.router_mac(&topology.router)?;
    assert_eq!(answers, json!([[mac, mac], [], [1, 1, 255, []]]));
    daemon.stop()
}

#[test]
fn resolved_neighbors_are_shown_with_mac_and_interface() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let (ipv4, ipv6) = (IpAddr::from(bob.spec.ipv4), IpAddr::from(bob.spec.ipv6));
    for address in [ipv4, ipv6] {
        assert!(ping(&alice.namespace, address, 5)?.received > 0, "no way to {address}");
    }
    let table = daemon.ctl("show neighbors")?;
    let mac = bob.mac()?;
    for address in [ipv4, ipv6] {
        let is_shown = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            words.contains(&address.to_string().as_str())
                && words.contains(&mac.as_str())
                && words.contains(&"west")
        };
        assert!(table.lines().any(is_shown), "no {address} with {mac} on west in:\n{table}");
    }
    daemon.stop()
}

#[test]
fn neighbor_that_does_not_answer_is_reported_unreachable() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let mut judge = Judge::start(&alice.namespace)?;
    // RFC 1812 section 5.2.7.1 (host unreachable), RFC 4443 section 3.1 (address unreachable).
    let answers = judge.run(
        "
        ether = Ether(src=mac(), dst=args['router'])
        udp = UDP(sport=4711, dport=9) / Raw(b'nobody')
        p = ask(ether / IP(src=args['me'], dst='10.0.2.99') / udp, lambda p: ICMP in p and p[ICMP].type == 3, 30)
        p6 = ask(ether / IPv6(src=args['me6'], dst='2001:db8:2::99') / udp, lambda p: ICMPv6DestUnreach in p, 30)
        result = [p and [p[ICMP].code, p[IP].src, wrong_checksums(p)],
                  p6 and [p6[ICMPv6DestUnreach].code, p6[IPv6].src, wrong_checksums(p6)]]
        ",
        json!({ "router": alice.router_mac(&topology.router)?, "me": alice.spec.ipv4, "me6": alice.spec.ipv6 }),
    )?;
    assert_eq!(answers, json!([[1, alice.spec.gateway4, []], [3, alice.spec.gateway6, []]]));
    daemon.stop()
}

#[test]
fn rfc_826_changed_mac_is_learnt_from_the_neighbors_own_question() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let families = [IpAddr::from(bob.spec.ipv4), IpAddr::from(bob.spec.ipv6)];
    for address in families {
        assert!(ping(&alice.namespace, address, 5)?.received > 0, "no way to {address}");
    }
    bob.namespace.ip("link set eth0 address 02:00:00:00:0b:0b")?;
    for gateway in [IpAddr::from(bob.spec.gateway4), IpAddr::from(bob.spec.gateway6)] {
        bob.namespace.ip("neigh flush all")?;
        assert!(ping(&bob.namespace, gateway, 5)?.received > 0, "bob no longer reaches {gateway}");
    }
    for address in families {
        wait_until("alice to reach bob again", Duration::from_secs(60), || {
            ping(&alice.namespace, address, 1).is_ok_and(|report| report.is_complete())
        })?;
    }
    daemon.stop()
}

#[test]
fn forged_and_broken_questions_teach_nothing() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    assert!(ping(&alice.namespace, bob.spec.ipv4, 5)?.received > 0, "no way to bob");
    let mut judge = Judge::start(&alice.namespace)?;
    judge.run(
        "
        me, gw6 = '02:00:00:00:0e:0e', args['gw6']
        arp = lambda **fields: Ether(src=me, dst='ff:ff:ff:ff:ff:ff') / ARP(**{
            'op': 1, 'hwsrc': me, 'psrc': '10.0.1.66', 'pdst': args['gw'], **fields})
        ns = lambda hlim=255, src='2001:db8:1::66', **fields: (Ether(src=me, dst='33:33:ff:00:00:01')
            / IPv6(src=src, dst='ff02::1:ff00:1', hlim=hlim) / ICMPv6ND_NS(tgt=gw6, **fields)
            / ICMPv6NDOptSrcLLAddr(lladdr=me))
        zero_length = (Ether(src=me, dst='33:33:ff:00:00:01') / IPv6(src='2001:db8:1::66', dst='ff02::1:ff00:1', hlim=255)
            / ICMPv6ND_NS(tgt=gw6) / Raw(bytes([1, 0]) + bytes.fromhex(me.replace(':', ''))))
        wrong_sum = Ether(bytes(ns()))
        wrong_sum[ICMPv6ND_NS].cksum ^= 0x5555
        send([
            arp(hwtype=6), arp(ptype=0x86dd), arp(op=77),
            arp(psrc='10.0.2.66'),                # not of this link
            arp(hwsrc='ff:ff:ff:ff:ff:ff'),       # a group is nobody's address
            bytes(arp())[:40],
            ns(hlim=254),                         # RFC 4861 section 7.1.1: came through a router
            ns(code=1), wrong_sum,
            bytes(ns())[:70],
            zero_length,
        ])
        # Answered only after all of them.
        result = gateway_mac(args['gw'], args['me'])
        ",
        json!({ "gw": alice.spec.gateway4, "gw6": alice.spec.gateway6, "me": alice.spec.ipv4 }),
    )?;
    let table = daemon.ctl("show neighbors")?;
    assert!(!table.contains("02:00:00:00:0e:0e") && !table.contains("ff:ff:ff:ff:ff:ff"), "{table}");
    daemon.stop()
}
