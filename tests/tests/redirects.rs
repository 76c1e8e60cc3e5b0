//! Redirects (RFC 1812 §5.2.7.2, RFC 4861 §8), judged by scapy.

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

/// A better first hop for some prefixes on the link of alice, at a MAC address that nobody has.
const BETTER: &str = "
[[neighbor]]
interface = 'east'
address = '10.0.1.77'
mac = '02:00:00:00:00:77'
[[neighbor]]
interface = 'east'
address = 'fe80::77'
mac = '02:00:00:00:00:77'
[[route]]
prefix = '10.9.0.0/16'
via = '10.0.1.77'
[[route]]
prefix = '2001:db8:9::/48'
via = 'fe80::77'
interface = 'east'
";

#[test]
fn rfc_1812_section_5_2_7_2_host_is_told_of_a_better_first_hop_and_its_packet_is_forwarded() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).with(BETTER))?;
    let (mut judge, args) = judge_in(&topology, topology.host("alice"))?;
    let said = judge.run(
        "
        result = []
        def both(packet, is_redirect, is_forwarded):
            redirect = forwarded = None
            with Capture() as capture:
                send([ether / packet])
                for p in capture.frames(10):
                    redirect = p if is_redirect(p) else redirect
                    forwarded = p if is_forwarded(p) else forwarded
                    if redirect is not None and forwarded is not None:
                        break
            return redirect, forwarded
        packet = IP(src=args['me'], dst='10.9.1.1', ttl=9) / UDP(sport=4711, dport=9) / Raw(b'redirect me')
        redirect, forwarded = both(packet, lambda p: ICMP in p and p[ICMP].type == 5,
                                   lambda p: p.dst == '02:00:00:00:00:77' and IP in p and p[IP].dst == '10.9.1.1')
        if forwarded is None or forwarded[IP].ttl != 8:
            result.append(f'forwarded {forwarded!r}')
        if redirect is None:
            result.append('no redirect')
        else:
            found = (redirect[ICMP].code, redirect[ICMP].gw, redirect[IP].src, redirect[IP].dst)
            if found != (1, '10.0.1.77', args['gw'], args['me']):
                result.append(found)
            if bytes(redirect[ICMP].payload) != bytes(packet):
                result.append(repr(redirect))
            result += wrong_checksums(redirect)
        packet = IPv6(src=args['me6'], dst='2001:db8:9::1', hlim=9) / UDP(sport=4711, dport=9) / Raw(b'redirect me')
        redirect, forwarded = both(packet, lambda p: ICMPv6ND_Redirect in p,
                                   lambda p: p.dst == '02:00:00:00:00:77' and IPv6 in p and p[IPv6].dst == '2001:db8:9::1')
        if forwarded is None or forwarded[IPv6].hlim != 8:
            result.append(f'forwarded {forwarded!r}')
        if redirect is None:
            result.append('no redirect, 6')
        else:
            found = (redirect[ICMPv6ND_Redirect].tgt, redirect[ICMPv6ND_Redirect].dst, redirect[IPv6].hlim, redirect[IPv6].src[:4])
            if found != ('fe80::77', '2001:db8:9::1', 255, 'fe80'):
                result.append(found)
            if redirect[ICMPv6NDOptDstLLAddr].lladdr != '02:00:00:00:00:77':
                result.append(repr(redirect))
            result += wrong_checksums(redirect)
        ",
        args.clone(),
    )?;
    assert_eq!(said, json!([]));
    daemon.ctl("set interface redirects east off")?;
    let quiet = judge.run(
        "
        with Capture() as capture:
            send([ether / IP(src=args['me'], dst='10.9.1.1') / UDP(sport=1, dport=2),
                  ether / IP(src=args['me'], dst=args['gw']) / ICMP(id=4711, seq=99)])
            p = capture.first(lambda p: ICMP in p and p[ICMP].type in (0, 5))
            result = p[ICMP].type if p is not None else 'silence'
        ",
        args,
    )?;
    assert_eq!(quiet, json!(0), "switched off");
    daemon.stop()
}

// RFC 1812 section 5.2.7.2: a router does not follow redirects
#[test]
fn rfc_1812_section_5_2_7_2_redirects_that_come_are_counted_and_change_nothing() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let (mut judge, args) = judge_in(&topology, topology.host("alice"))?;
    let before = daemon.ctl_json("show fib")?;
    judge.run(
        "
        quoted = IP(src=args['gw'], dst=args['bob']) / UDP(sport=1, dport=2)
        send([ether / IP(src=args['me'], dst=args['gw']) / ICMP(type=5, code=1, gw='10.0.1.66') / quoted])
        link_local = next(address for address, _, device in in6_getifaddr() if device == 'eth0' and address[:4] == 'fe80')
        send([ether / IPv6(src=link_local, dst=args['gw6'], hlim=255) / ICMPv6ND_Redirect(tgt='fe80::66', dst=args['bob6'])])
        p = ask(ether / IP(src=args['me'], dst=args['gw']) / ICMP(id=4711, seq=99), lambda p: ICMP in p and p[ICMP].type == 0)
        assert p is not None
        ",
        args,
    )?;
    let errors = daemon.ctl_json("show errors")?;
    let counted = |node: &str| {
        let list = errors.as_array().into_iter().flatten();
        list.filter(|entry| entry.to_string().contains(node) && entry.to_string().contains("redirect"))
            .count()
    };
    assert_eq!((counted("ip4-local"), counted("nd-input")), (1, 1), "{errors}");
    let routes = |fib: &Value| {
        let all = fib.as_array().into_iter().flatten();
        all.filter(|route| route.to_string().contains("static")).count()
    };
    assert_eq!(routes(&daemon.ctl_json("show fib")?), routes(&before));
    daemon.stop()
}
