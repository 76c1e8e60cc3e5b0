//! What raddle itself says by ICMP (RFC 792, RFC 1122 §3.2.2, RFC 1812 §4.3) and ICMPv6 (RFC 4443), judged by scapy.

use anyhow::Result;
use raddle_tests::{Daemon, DaemonConfig, Host, HostSpec, Judge, Need, Topology, ping, requirement};
use serde_json::{Value, json};

/// The names that snippets use.
fn args(topology: &Topology, host: &Host) -> Result<Value> {
    let bob = topology.host("bob");
    Ok(json!({ "router": host.router_mac(&topology.router)?, "me": host.spec.ipv4, "me6": host.spec.ipv6,
        "gw": host.spec.gateway4, "gw6": host.spec.gateway6, "bob": bob.spec.ipv4, "bob6": bob.spec.ipv6 }))
}

/// What every snippet begins with: packets from this host to the router.
const PREAMBLE: &str = "ether = Ether(src=mac(), dst=args['router'])";

fn judge_in(host: &Host, args: &Value) -> Result<Judge> {
    let mut judge = Judge::start(&host.namespace)?;
    judge.run(PREAMBLE, args.clone())?;
    Ok(judge)
}

const NEEDS: &[Need] = &[Need::Ping, Need::Scapy, Need::Raddle];

#[test]
fn rfc_792_echo_reply_mirrors_id_sequence_and_data() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let args = args(&topology, alice)?;
    let mut judge = judge_in(alice, &args)?;
    let replies = judge.run(
        "
        result = []
        for length in (0, 1, 56, 57, 1400):
            data = bytes(n % 251 for n in range(length))
            p = ask(ether / IP(src=args['me'], dst=args['gw'], ttl=3) / ICMP(id=0xBEEF, seq=length) / Raw(data),
                    lambda p: ICMP in p and p[ICMP].type == 0 and p[ICMP].seq == length)
            p6 = ask(ether / IPv6(src=args['me6'], dst=args['gw6']) / ICMPv6EchoRequest(id=0xBEEF, seq=length, data=data),
                     lambda p: ICMPv6EchoReply in p and p[ICMPv6EchoReply].seq == length)
            if p is None or p6 is None:
                result.append(f'no reply of {length} bytes: {p} {p6}')
                continue
            ok4 = (p[IP].src, p[IP].dst, p[ICMP].id, bytes(p[ICMP].payload)) == (args['gw'], args['me'], 0xBEEF, data)
            ok6 = (p6[IPv6].src, p6[IPv6].dst, p6[ICMPv6EchoReply].id, p6[ICMPv6EchoReply].data) == (
                args['gw6'], args['me6'], 0xBEEF, data)
            if not (ok4 and ok6):
                result.append(f'{p!r} {p6!r}')
            # A reply is a packet of raddle's own: its time to live does not depend on the request's (RFC 1122 3.2.2.6).
            if p[IP].ttl < 32 or p6[IPv6].hlim < 32:
                result.append(f'{p[IP].ttl} {p6[IPv6].hlim}')
            result += wrong_checksums(p) + wrong_checksums(p6)
        ",
        args,
    )?;
    assert_eq!(replies, json!([]));
    daemon.stop()
}

#[test]
fn rfc_1812_section_4_3_3_6_every_own_address_answers_from_every_side() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    for from in topology.hosts() {
        for to in topology.hosts() {
            for address in [to.spec.gateway4.into(), std::net::IpAddr::from(to.spec.gateway6)] {
                let report = ping(&from.namespace, address, 5)?;
                assert!(report.is_complete(), "{} to {address}: {}", from.spec.name, report.text);
            }
        }
    }
    daemon.stop()
}

// RFC 4291 section 2.6.1, RFC 4443 section 2.2 b, RFC 4861 section 7.2.7, RFC 6164 section 5
#[test]
fn rfc_4291_section_2_6_1_any_router_of_a_network_answers_to_its_first_address() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    daemon.ctl("set interface address east add 2001:db8:77::1/127")?;
    let args = args(&topology, alice)?;
    let said = judge_in(alice, &args)?.run(
        "
        result = []
        near, far = '2001:db8:1::', '2001:db8:2::'
        p = ask(nd_question(near, args['me6']), lambda p: ICMPv6ND_NA in p and p[ICMPv6ND_NA].tgt == near)
        if p is None:
            result.append('its neighbours do not find it')
        elif (p[ICMPv6ND_NA].R, p[ICMPv6ND_NA].S, p[ICMPv6ND_NA].O, p.src) != (1, 1, 0, args['router']):
            result.append(repr(p))
        def echo(to):
            return ask(ether / IPv6(src=args['me6'], dst=to) / ICMPv6EchoRequest(id=7, data=b'any'),
                       lambda p: ICMPv6EchoReply in p, 3)
        for to in (near, far):
            p = echo(to)
            if p is None or p[IPv6].src != args['gw6']:
                result.append(f'{to}: {p!r}')
            else:
                result += wrong_checksums(p)
        if echo('2001:db8:77::') is not None:
            result.append('a network of two has none')
        ",
        args,
    )?;
    assert_eq!(said, json!([]), "{}", daemon.ctl("show errors")?);
    daemon.stop()
}

#[test]
fn rfc_1812_section_4_3_2_error_names_its_cause_and_quotes_the_packet() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let specs = [HostSpec::new("alice", "east", 1), HostSpec::new("bob", "west", 2).with_mtu(1300)];
    let topology = Topology::create(specs)?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    for address in [bob.spec.ipv4.into(), std::net::IpAddr::from(bob.spec.ipv6)] {
        assert!(ping(&alice.namespace, address, 5)?.received > 0, "no way to {address}");
    }
    let args = args(&topology, alice)?;
    let mut judge = judge_in(alice, &args)?;
    judge.run(
        "
        def asked(ip, payload=None):
            '''The ICMP error that answers this packet: its type, code and extra field, or what is wrong with it.'''
            sent = ether / ip / (payload or UDP(sport=4711, dport=9) / Raw(b'quoted' * 10))
            original = bytes(sent)[14:]
            if IPv6 in sent:
                p = ask(sent, lambda p: IPv6 in p and p[IPv6].nh == 58 and bytes(p)[54] < 128)
                if p is None:
                    return 'no error'
                data = bytes(p)[54:]
                wrong = wrong_checksums(p)
                # RFC 4443 section 2.4 (c): as much as fits into the minimum MTU; the hop limit may have been counted down.
                quoted, expected = data[8:], original[:1232]
                same = quoted[:7] == expected[:7] and quoted[8:] == expected[8:]
                source = p[IPv6].src == args['gw6'] and p[IPv6].dst == args['me6']
            else:
                p = ask(sent, lambda p: ICMP in p and p[ICMP].type in (3, 11, 12))
                if p is None:
                    return 'no error'
                header = 14 + p[IP].ihl * 4
                data = bytes(p)[header:14 + p[IP].len]
                wrong = wrong_checksums(p)
                # RFC 1812 section 4.3.2.3: at least header and 8 bytes, at most 576 in all; the TTL may have been counted down.
                quoted = data[8:]
                same = len(quoted) >= 28 and p[IP].len <= 576 and quoted[:8] == original[:8] \\
                    and quoted[12:] == original[12:len(quoted)]
                source = p[IP].src == args['gw'] and p[IP].dst == args['me']
            if wrong or not same or not source:
                return f'wrong: {wrong} quote {same} addresses {source}: {p!r}'
            return [data[0], data[1], int.from_bytes(data[4:8], 'big')]
        ",
        args.clone(),
    )?;
    for (cause, packet, expected) in [
        ("time exceeded", "IP(src=args['me'], dst=args['bob'], ttl=1)", json!([11, 0, 0])),
        ("hop limit exceeded", "IPv6(src=args['me6'], dst=args['bob6'], hlim=1)", json!([3, 0, 0])),
        ("network unreachable", "IP(src=args['me'], dst='203.0.113.9')", json!([3, 0, 0])),
        ("no route", "IPv6(src=args['me6'], dst='2001:db8:dead::9')", json!([1, 0, 0])),
        ("port unreachable", "IP(src=args['me'], dst=args['gw'])", json!([3, 3, 0])),
        ("port unreachable", "IPv6(src=args['me6'], dst=args['gw6'])", json!([1, 4, 0])),
        (
            "fragmentation needed",
            "IP(src=args['me'], dst=args['bob'], flags='DF'), UDP(sport=4711, dport=9) / Raw(b'x' * 1400)",
            json!([3, 4, 1300]),
        ),
        (
            "packet too big",
            "IPv6(src=args['me6'], dst=args['bob6']), UDP(sport=4711, dport=9) / Raw(b'x' * 1400)",
            json!([2, 0, 1300]),
        ),
    ] {
        let said = judge.run(&format!("result = asked({packet})"), args.clone())?;
        assert_eq!(said, expected, "{cause}: {packet}");
    }
    daemon.stop()
}

#[test]
fn rfc_1812_section_4_3_2_7_no_error_answers_what_must_not_be_answered() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let args = args(&topology, alice)?;
    let mut judge = judge_in(alice, &args)?;
    // RFC 1122 section 3.2.2 and RFC 4443 section 2.4 (e).
    let answers = judge.run(
        "
        quoted = IP(src=args['bob'], dst=args['me']) / UDP(sport=1, dport=2)
        quoted6 = IPv6(src=args['bob6'], dst=args['me6']) / UDP(sport=1, dport=2)
        udp = UDP(sport=4711, dport=9) / Raw(b'silence')
        nowhere, nowhere6 = '203.0.113.9', '2001:db8:dead::9'
        silent = {
            'error about an error': IP(src=args['me'], dst=nowhere) / ICMP(type=3, code=1) / quoted,
            'error about an error, 6': IPv6(src=args['me6'], dst=nowhere6) / ICMPv6DestUnreach() / quoted6,
            'later fragment': IP(src=args['me'], dst=nowhere, frag=5) / Raw(b'x' * 32),
            'multicast destination': IP(src=args['me'], dst='224.1.2.3', ttl=1) / udp,
            'multicast source': IP(src='224.1.2.3', dst=nowhere) / udp,
            'broadcast source': IP(src='255.255.255.255', dst=nowhere) / udp,
            'loopback source': IP(src='127.0.0.1', dst=nowhere) / udp,
            'no source': IP(src='0.0.0.0', dst=nowhere) / udp,
            'unspecified source, 6': IPv6(src='::', dst=nowhere6) / udp,
            'multicast source, 6': IPv6(src='ff02::1', dst=nowhere6) / udp,
            'multicast destination, 6': IPv6(src=args['me6'], dst='ff0e::4711', hlim=1) / udp,
        }
        frames = [ether / packet for packet in silent.values()]
        frames.append(Ether(src=mac(), dst='ff:ff:ff:ff:ff:ff') / IP(src=args['me'], dst=nowhere) / udp)
        is_error = lambda p: ICMP in p and p[ICMP].type in (3, 4, 5, 11, 12) or IPv6 in p and p[IPv6].nh == 58 and bytes(p)[54] < 128
        with Capture() as capture:
            send(frames)
            # What comes before the answer to a last question is all that will come.
            last = ether / IP(src=args['me'], dst=args['gw']) / ICMP(id=4711, seq=99)
            send([last])
            result = []
            for p in capture.frames(20):
                if ICMP in p and p[ICMP].type == 0 and p[ICMP].seq == 99:
                    break
                if is_error(p):
                    result.append(repr(p))
            else:
                result.append('no answer to the last question')
        ",
        args,
    )?;
    assert_eq!(answers, json!([]));
    daemon.stop()
}
