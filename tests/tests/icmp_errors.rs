//! ICMP errors by their rules (RFC 792, RFC 1812 §4.3 and §5.2.7, RFC 4443), judged by scapy.

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

/// The ICMP error about a packet: type, code, second word; or what is wrong with it.
const ASKED: &str = "
    def asked(ip, timeout=10):
        sent = ether / ip
        if IPv6 in sent:
            p = ask(sent, lambda p: IPv6 in p and p[IPv6].nh == 58 and bytes(p)[54] < 128, timeout)
            if p is None:
                return None
            data = bytes(p)[54:]
        else:
            p = ask(sent, lambda p: ICMP in p and p[ICMP].type in (3, 5, 11, 12), timeout)
            if p is None:
                return None
            data = bytes(p)[14 + p[IP].ihl * 4:]
        wrong = wrong_checksums(p)
        return wrong or [data[0], data[1], int.from_bytes(data[4:8], 'big')]
    udp = UDP(sport=4711, dport=9) / Raw(b'quoted' * 10)
    link_local = next(address for address, _, device in in6_getifaddr() if device == 'eth0' and address[:4] == 'fe80')
";

const ROUTES: &str = "
[[route]]
prefix = '203.0.113.0/24'
type = 'prohibit'
[[route]]
prefix = '198.51.100.0/24'
type = 'unreachable'
[[route]]
prefix = '192.0.2.0/24'
type = 'blackhole'
[[route]]
prefix = '2001:db8:100::/48'
type = 'prohibit'
[[route]]
prefix = '2001:db8:200::/48'
type = 'unreachable'
[[route]]
prefix = '2001:db8:300::/48'
type = 'blackhole'
";

#[test]
fn rfc_1812_section_5_2_7_1_each_cause_has_its_type_and_code() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let config = DaemonConfig::routed(&topology).with(ROUTES);
    let daemon = Daemon::start(&topology.router, &config)?;
    let (mut judge, args) = judge_in(&topology, topology.host("alice"))?;
    judge.run(ASKED, args.clone())?;
    for (rule, packet, expected) in [
        (
            "RFC 1812 5.2.7.1: network unreachable",
            "IP(src=args['me'], dst='8.8.8.8') / udp",
            json!([3, 0, 0]),
        ),
        (
            "RFC 1812 5.2.7.1: host unreachable",
            "IP(src=args['me'], dst='198.51.100.1') / udp",
            json!([3, 1, 0]),
        ),
        ("RFC 1812 5.2.7.1: prohibited", "IP(src=args['me'], dst='203.0.113.1') / udp", json!([3, 13, 0])),
        (
            "RFC 1122 3.2.2.1: protocol unreachable",
            "IP(src=args['me'], dst=args['gw'], proto=99) / Raw(b'x' * 16)",
            json!([3, 2, 0]),
        ),
        (
            "RFC 792: source route failed",
            "IP(src=args['me'], dst=args['gw'], options=[IPOption_LSRR(routers=[args['bob']])]) / udp",
            json!([3, 5, 0]),
        ),
        (
            "RFC 1812 4.3.3.5: parameter problem at the octet",
            "IP(src=args['me'], dst=args['bob'], options=[IPOption(b'\\x94\\x01\\x00\\x00')]) / udp",
            json!([12, 0, 21 << 24]),
        ),
        ("RFC 792: time exceeded", "IP(src=args['me'], dst=args['bob'], ttl=1) / udp", json!([11, 0, 0])),
        ("RFC 4443 3.1: no route", "IPv6(src=args['me6'], dst='2a00::1') / udp", json!([1, 0, 0])),
        ("RFC 4443 3.1: prohibited", "IPv6(src=args['me6'], dst='2001:db8:100::1') / udp", json!([1, 1, 0])),
        (
            "RFC 4443 3.1: beyond the scope of the source",
            "IPv6(src=link_local, dst=args['bob6']) / udp",
            json!([1, 2, 0]),
        ),
        (
            "RFC 4443 3.1: reject route",
            "IPv6(src=args['me6'], dst='2001:db8:200::1') / udp",
            json!([1, 6, 0]),
        ),
        (
            "RFC 4443 3.3: hop limit",
            "IPv6(src=args['me6'], dst=args['bob6'], hlim=1) / udp",
            json!([3, 0, 0]),
        ),
        (
            "RFC 4443 3.4: unknown next header",
            "IPv6(src=args['me6'], dst=args['gw6'], nh=99) / Raw(b'x' * 16)",
            json!([4, 1, 6]),
        ),
    ] {
        assert_eq!(judge.run(&format!("result = asked({packet})"), args.clone())?, expected, "{rule}");
    }
    for silent in
        ["IP(src=args['me'], dst='192.0.2.1') / udp", "IPv6(src=args['me6'], dst='2001:db8:300::1') / udp"]
    {
        // What comes before the answer to a last question is all that will come.
        let said = judge.run(
            &format!(
                "
        with Capture() as capture:
            send([ether / {silent}, ether / IP(src=args['me'], dst=args['bob'], ttl=1) / UDP(sport=1, dport=2)])
            p = capture.first(lambda p: ICMP in p and p[ICMP].type in (3, 11) or IPv6 in p and p[IPv6].nh == 58 and bytes(p)[54] < 128)
            result = p[ICMP].type if p is not None and ICMP in p else repr(p)
        "
            ),
            args.clone(),
        )?;
        assert_eq!(said, json!(11), "{silent}");
    }
    daemon.stop()
}

// RFC 1812 section 4.3.2.3 to 4.3.2.5: as much as fits into 576 bytes, from the address that was asked, type of service kept.
#[test]
fn rfc_1812_section_4_3_2_3_quote_source_and_type_of_service_are_by_the_rules() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let (mut judge, args) = judge_in(&topology, topology.host("alice"))?;
    let far = topology.host("bob").spec.gateway4;
    let said = judge.run(
        &format!(
            "
        result = []
        big = Raw(b'x' * 1200)
        p = ask(ether / IP(src=args['me'], dst=args['bob'], ttl=1, tos=0x10) / UDP(sport=1, dport=2) / big,
                lambda p: ICMP in p and p[ICMP].type == 11)
        if (p[IP].len, p[IP].tos, p[IP].src) != (576, 0xd0, args['gw']):
            result.append(f'{{p[IP].len}} {{p[IP].tos:#x}} {{p[IP].src}}')
        # An error about a packet to an own address comes from that address, on whatever interface it is.
        p = ask(ether / IP(src=args['me'], dst='{far}') / UDP(sport=1, dport=2), lambda p: ICMP in p and p[ICMP].type == 3)
        if (p[IP].src, p[ICMP].code) != ('{far}', 3):
            result.append(repr(p))
        "
        ),
        args,
    )?;
    assert_eq!(said, json!([]));
    daemon.stop()
}

// RFC 792: the quote is the packet as it would be on the wire, also where its checksum was left to a device.
#[test]
fn rfc_792_quote_of_a_packet_with_a_partial_checksum_has_the_right_one() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let (mut judge, args) = judge_in(&topology, topology.host("alice"))?;
    let said = judge.run(
        "
        result = []
        for family, to, hops in ((socket.AF_INET, args['bob'], (socket.IPPROTO_IP, socket.IP_TTL)),
                                 (socket.AF_INET6, args['bob6'], (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS))):
            with Capture() as capture, socket.socket(family, socket.SOCK_DGRAM) as s:
                s.setsockopt(*hops, 1)
                s.sendto(b'by the kernel', (to, 4242))
                is_error = lambda p: ICMP in p and p[ICMP].type == 11 or IPv6 in p and p[IPv6].nh == 58 and bytes(p)[54] == 3
                p = capture.first(is_error)
                if p is None:
                    result.append(f'no error about {to}')
                    continue
                at = 14 + (p[IP].ihl * 4 if IP in p else 40) + 8
                quoted = (IP if family == socket.AF_INET else IPv6)(bytes(p)[at:])
                if bytes(quoted[UDP].payload) != b'by the kernel':
                    result.append(repr(quoted))
                result += wrong_checksums(quoted)
        ",
        args,
    )?;
    assert_eq!(said, json!([]));
    daemon.stop()
}

// RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 (f)
#[test]
fn rfc_1812_section_4_3_2_8_errors_are_limited_for_each_interface_and_what_is_not_sent_is_counted()
-> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let config = DaemonConfig::routed(&topology).with("[icmp]\nrate = 1\nburst = 5");
    let daemon = Daemon::start(&topology.router, &config)?;
    for name in ["alice", "bob"] {
        let host = topology.host(name);
        let (mut judge, args) = judge_in(&topology, host)?;
        let said = judge.run(
            "
            with Capture() as capture:
                send([ether / IP(src=args['me'], dst='8.8.8.8', id=n) / UDP(sport=1, dport=2) for n in range(200)])
                send([ether / IP(src=args['me'], dst=args['gw']) / ICMP(id=4711, seq=99)])
                result = 0
                for p in capture.frames(20):
                    if ICMP in p and p[ICMP].type == 0 and p[ICMP].seq == 99:
                        break
                    result += ICMP in p and p[ICMP].type == 3
                else:
                    result = 'no answer to the last question'
            ",
            args,
        )?;
        // One more for each second that it takes.
        let count = said.as_u64().unwrap_or_default();
        assert!((5..20).contains(&count), "{name}: {said}");
    }
    let limited = daemon.ctl("show errors")?;
    assert!(limited.contains("rate-limited"), "{limited}");
    assert_eq!(daemon.ctl_json("show icmp")?["burst"], 5);
    daemon.ctl("set icmp rate 1000 burst 1000")?;
    assert!(daemon.ctl("show config")?.contains("burst = 1000"));
    daemon.stop()
}
