//! What raddle does as a host: TCP resets, IGMP and MLD, judged by scapy.

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

// RFC 9293 section 3.10.7.1
#[test]
fn rfc_9293_section_3_10_7_1_tcp_segments_where_nobody_listens_are_answered_by_resets() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let (mut judge, args) = judge_in(&topology, topology.host("alice"))?;
    let said = judge.run(
        "
        result = []
        for ip in (IP(src=args['me'], dst=args['gw']), IPv6(src=args['me6'], dst=args['gw6'])):
            for flags, data, expected in (('S', b'', (0, 1001, 'RA')), ('', b'12345', (0, 1005, 'RA')), ('A', b'12', (77, 0, 'R')),
                                          ('SA', b'', (77, 0, 'R')), ('FA', b'', (77, 0, 'R')), ('F', b'', (0, 1001, 'RA'))):
                segment = TCP(sport=4711, dport=81, flags=flags, seq=1000, ack=77) / Raw(data)
                p = ask(ether / ip / segment, lambda p: TCP in p and p[TCP].dport == 4711 and p[TCP].sport == 81)
                if p is None:
                    result.append(f'no reset for {flags} over {ip.name}')
                    continue
                found = (p[TCP].seq, p[TCP].ack, str(p[TCP].flags))
                if found != expected:
                    result.append(f'{ip.name} {flags}: {found}')
                result += wrong_checksums(p)
            # A reset is not answered; what comes before the next answer is all that will come.
            silent = TCP(sport=4712, dport=81, flags='R', seq=1000)
            last = TCP(sport=4713, dport=81, flags='S', seq=1)
            with Capture() as capture:
                send([ether / ip / silent, ether / ip / last])
                p = capture.first(lambda p: TCP in p)
                if p is None or p[TCP].dport != 4713:
                    result.append(repr(p))
        ",
        args,
    )?;
    assert_eq!(said, json!([]));
    daemon.stop()
}

// RFC 3376 section 5, RFC 3810 section 6: reports for the groups that addresses bring, answers to queries
#[test]
fn rfc_3376_section_5_groups_of_addresses_are_reported_and_queries_answered() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let (mut judge, args) = judge_in(&topology, topology.host("alice"))?;
    let said = judge.run(
        "
        result = []
        alert = IPOption(b'\\x94\\x04\\x00\\x00')
        body = bytes([0x11, 10, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0])
        body = body[:2] + checksum(body).to_bytes(2, 'big') + body[4:]
        query = Ether(src=mac(), dst='01:00:5e:00:00:01') / IP(src=args['me'], dst='224.0.0.1', ttl=1, proto=2, options=[alert]) / Raw(body)
        def is_answer(p):
            return IP in p and p[IP].proto == 2 and bytes(p)[38] == 0x22 and bytes([2, 0, 0, 0, 224, 0, 0, 2]) in bytes(p)
        p = ask(query, is_answer)
        if p is None:
            result.append('no answer to a query by IGMPv3')
        else:
            found = (p.dst, p[IP].dst, p[IP].ttl, p[IP].ihl, bytes(p)[34:38])
            if found != ('01:00:5e:00:00:16', '224.0.0.22', 1, 6, b'\\x94\\x04\\x00\\x00'):
                result.append(found)
            if checksum(bytes(p)[38:14 + p[IP].len]) != 0:
                result.append('IGMP checksum')
        link_local = next(address for address, _, device in in6_getifaddr() if device == 'eth0' and address[:4] == 'fe80')
        hop = IPv6ExtHdrHopByHop(options=[RouterAlert(value=0)])
        query6 = Ether(src=mac(), dst='33:33:00:00:00:01') / IPv6(src=link_local, dst='ff02::1', hlim=1) / hop / ICMPv6MLQuery2(mrd=500)
        group = inet_pton(socket.AF_INET6, args['gw6'])
        solicited = in6_getnsma(group)
        is_answer6 = lambda p: IPv6 in p and p[IPv6].nh == 0 and bytes(p)[62] == 143 and bytes([2, 0, 0, 0]) + solicited in bytes(p)
        p = ask(query6, is_answer6)
        if p is None:
            result.append('no answer to a query by MLDv2')
        else:
            if (p.dst, p[IPv6].dst, p[IPv6].hlim, p[IPv6].src[:4]) != ('33:33:00:00:00:16', 'ff02::16', 1, 'fe80'):
                result.append(repr(p))
            result += wrong_checksums(p)
        # RFC 3376 section 5.2, RFC 3810 section 6.2: who asks for sources is told of those.
        body = bytes([0x11, 10, 0, 0, 224, 0, 0, 2, 2, 125, 0, 2, 192, 0, 2, 9, 192, 0, 2, 10])
        body = body[:2] + checksum(body).to_bytes(2, 'big') + body[4:]
        query = Ether(src=mac(), dst='01:00:5e:00:00:02') / IP(src=args['me'], dst='224.0.0.2', ttl=1, proto=2, options=[alert]) / Raw(body)
        told = bytes([1, 0, 0, 2, 224, 0, 0, 2, 192, 0, 2, 9, 192, 0, 2, 10])
        p = ask(query, lambda p: IP in p and p[IP].proto == 2 and bytes(p)[38] == 0x22 and told in bytes(p))
        if p is None:
            result.append('no answer to a query of sources by IGMPv3')
        sources = [inet_pton(socket.AF_INET6, f'2001:db8::{n}') for n in (9, 10)]
        query6 = (Ether(src=mac(), dst=in6_getnsmac(solicited)) / IPv6(src=link_local, dst=inet_ntop(socket.AF_INET6, solicited), hlim=1)
            / hop / ICMPv6MLQuery2(mrd=500, mladdr=inet_ntop(socket.AF_INET6, solicited), sources=['2001:db8::9', '2001:db8::10']))
        told6 = bytes([1, 0, 0, 2]) + solicited
        p = ask(query6, lambda p: IPv6 in p and p[IPv6].nh == 0 and bytes(p)[62] == 143 and told6 in bytes(p))
        if p is None:
            result.append('no answer to a query of sources by MLDv2')
        else:
            result += wrong_checksums(p)
        # RFC 3376 section 7.2.1: an older querier gets older reports.
        body = bytes([0x11, 10, 0, 0, 0, 0, 0, 0])
        body = body[:2] + checksum(body).to_bytes(2, 'big') + body[4:]
        query = Ether(src=mac(), dst='01:00:5e:00:00:01') / IP(src=args['me'], dst='224.0.0.1', ttl=1, proto=2, options=[alert]) / Raw(body)
        p = ask(query, lambda p: IP in p and p[IP].proto == 2 and bytes(p)[38] == 0x16)
        if p is None or p[IP].dst != '224.0.0.2':
            result.append(repr(p))
        ",
        args,
    )?;
    assert_eq!(said, json!([]));
    let groups = daemon.ctl("show multicast groups east")?;
    for group in ["224.0.0.1", "224.0.0.2", "ff02::1", "ff02::2"] {
        assert!(groups.contains(group), "{group} in {groups}");
    }
    daemon.stop()
}

// RFC 3376 section 5.1, RFC 3810 section 6.1: joins and leaves are told at once
#[test]
fn rfc_3376_section_5_1_a_group_that_is_joined_and_left_is_told() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let (mut judge, args) = judge_in(&topology, topology.host("alice"))?;
    judge.run("listening = Capture()", args.clone())?;
    for (command, kind) in [("join", 4), ("leave", 3)] {
        daemon.ctl(&format!("multicast {command} east 239.1.2.3"))?;
        let heard = judge.run(
            &format!(
                "
            told = bytes([{kind}, 0, 0, 0, 239, 1, 2, 3])
            p = listening.first(lambda p: IP in p and p[IP].proto == 2 and told in bytes(p))
            result = p is not None
            "
            ),
            args.clone(),
        )?;
        assert_eq!(heard, json!(true), "{command}");
    }
    let refused = daemon.try_ctl("multicast leave east 239.1.2.3")?;
    assert!(refused.stderr.contains("is not in group"), "{refused:?}");
    daemon.stop()
}
