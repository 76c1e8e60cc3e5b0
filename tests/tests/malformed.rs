//! Packets that are not what they say: dropped, counted by reason, never forwarded, never answered.

use std::time::Duration;

use anyhow::{Context, Result};
use raddle_tests::observe::{ErrorCount, errors};
use raddle_tests::wait::wait_for;
use raddle_tests::{Daemon, DaemonConfig, Judge, Need, Topology, ping, requirement};
use serde_json::{Value, json};

const NEEDS: &[Need] = &[Need::Ping, Need::Scapy, Need::Raddle];

/// The frames that snippets start from.
const PREAMBLE: &str = "
ether = Ether(src=mac(), dst=args['router'])
udp = UDP(sport=4711, dport=4711) / Raw(b'malformed')
frame4 = bytes(ether / IP(src=args['me'], dst=args['bob']) / udp)
frame6 = bytes(ether / IPv6(src=args['me6'], dst=args['bob6']) / udp)
good = [ether / IP(src=args['me'], dst=args['bob']) / UDP(sport=4711, dport=4711) / Raw(b'good'),
        ether / IPv6(src=args['me6'], dst=args['bob6']) / UDP(sport=4711, dport=4711) / Raw(b'good')]
def header4(offset, values):
    '''The IPv4 frame with a changed header whose checksum is right again.'''
    data = bytearray(patched(frame4, 14 + offset, values))
    data[24:26] = b'\\0\\0'
    data[24:26] = checksum(bytes(data[14:34])).to_bytes(2, 'big')
    return bytes(data)
";

/// Sends what `frames` (a Python list) holds from Alice to Bob, then good packets; demands that only those arrive, that
/// raddle counted at least as many errors as frames, and returns the reasons that grew.
fn demand_dropped(frames: &str) -> Result<Vec<ErrorCount>> {
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    for address in [bob.spec.ipv4.into(), std::net::IpAddr::from(bob.spec.ipv6)] {
        assert!(ping(&alice.namespace, address, 5)?.received > 0, "no way to {address}");
    }
    let (mut sender, mut receiver) = (Judge::start(&alice.namespace)?, Judge::start(&bob.namespace)?);
    let args = json!({ "router": alice.router_mac(&topology.router)?, "me": alice.spec.ipv4, "me6": alice.spec.ipv6,
        "gw": alice.spec.gateway4, "gw6": alice.spec.gateway6, "bob": bob.spec.ipv4, "bob6": bob.spec.ipv6 });
    sender.run(PREAMBLE, args.clone())?;
    receiver.run("capture = Capture()", Value::Null)?;
    // Somebody takes the good packets, or Bob himself would answer with errors.
    let _taker = bob.namespace.udp("[::]:4711")?;
    let before = errors(&daemon)?;
    let answered = sender.run(
        &format!("frames = ({frames})\ncapture = Capture()\nsend(frames)\nsend(good)\nresult = len(frames)"),
        args.clone(),
    )?;
    let sent = answered.as_u64().context("the number of frames")?;
    let arrived = receiver.run(
        "
        result, good = [], 0
        for p in capture.frames(20):
            if b'good' in bytes(p):
                good += 1
                if good == 2:
                    break
            elif p.type in (0x800, 0x86dd) and not (IPv6 in p and p[IPv6].nh in (0, 58) or IP in p and p[IP].proto == 2):
                result.append(repr(p))
        result.append(good)
        ",
        Value::Null,
    )?;
    assert_eq!(arrived, json!([2]), "of all frames only the two good ones may arrive");
    let grown = wait_for("errors to be counted", Duration::from_secs(20), || {
        let grown = difference(&before, &errors(&daemon)?);
        Ok((grown.iter().map(|error| error.count).sum::<u64>() >= sent).then_some(grown))
    })
    .with_context(|| {
        format!("{sent} frames sent; show errors:\n{}", daemon.ctl("show errors").unwrap_or_default())
    })?;
    let answers = sender.run(
        "result = [repr(p) for p in capture.collect(lambda p: ICMP in p or IPv6 in p and p[IPv6].nh == 58
            and not any(layer in p for layer in (ICMPv6ND_NS, ICMPv6ND_NA)), 0.2)]",
        args,
    )?;
    assert_eq!(answers, json!([]), "malformed packets must not be answered");
    daemon.stop()?;
    Ok(grown)
}

fn difference(before: &[ErrorCount], after: &[ErrorCount]) -> Vec<ErrorCount> {
    let earlier = |error: &ErrorCount| {
        let same = before.iter().find(|other| other.node == error.node && other.reason == error.reason);
        same.map_or(0, |other| other.count)
    };
    let grown = after.iter().map(|error| ErrorCount { count: error.count - earlier(error), ..error.clone() });
    grown.filter(|error| error.count > 0).collect()
}

#[test]
fn ipv4_packet_cut_at_any_byte_is_dropped() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    demand_dropped("truncations(frame4, 14, len(frame4))").map(drop)
}

#[test]
fn ipv6_packet_cut_at_any_byte_is_dropped() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    demand_dropped("truncations(frame6, 14, len(frame6))").map(drop)
}

#[test]
fn rfc_1812_section_5_2_2_each_broken_ipv4_header_field_has_its_own_reason() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    // RFC 1812 section 5.2.2: checksum, version, header length, total length.
    let grown = demand_dropped(
        "[
            patched(frame4, 14 + 10, [0x12, 0x34]),
            header4(0, [0x55]), header4(0, [0x65]), header4(0, [0x05]),
            header4(0, [0x44]), header4(0, [0x40]), header4(0, [0x4f]),
            header4(2, [0, 0]), header4(2, [0, 19]), header4(2, [0xff, 0xff]), header4(2, [0, len(frame4) - 14 + 1]),
        ]",
    )?;
    let reasons: Vec<_> = grown.iter().filter(|error| error.node.starts_with("ip4")).collect();
    assert!(reasons.len() >= 3, "checksum, version and length should be told apart: {grown:?}");
    Ok(())
}

#[test]
fn rfc_8200_section_3_each_broken_ipv6_header_field_is_dropped() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    demand_dropped(
        "[
            patched(frame6, 14, [0x40]), patched(frame6, 14, [0x50]), patched(frame6, 14, [0x00]),
            patched(frame6, 14 + 4, [0xff, 0xff]), patched(frame6, 14 + 4, [0, len(frame6) - 54 + 1]),
        ]",
    )
    .map(drop)
}

#[test]
fn broken_icmp_for_raddle_is_not_answered() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    demand_dropped(
        "[
            ether / IP(src=args['me'], dst=args['gw']) / ICMP(id=1, seq=1, chksum=0x1234) / Raw(b'x' * 20),
            ether / IPv6(src=args['me6'], dst=args['gw6']) / ICMPv6EchoRequest(id=1, seq=1, cksum=0x1234, data=b'x' * 20),
        ] + [ether / IP(src=args['me'], dst=args['gw'], proto=1) / Raw(bytes([8, 0, 0xf7, 0xff, 0, 0, 0, 0])[:length])
             for length in range(8)]
          + [ether / IPv6(src=args['me6'], dst=args['gw6'], nh=58) / Raw(bytes([128, 0, 0, 0, 0, 0, 0, 0])[:length])
             for length in range(8)]",
    )
    .map(drop)
}

#[test]
fn frames_of_unknown_kinds_are_counted() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    demand_dropped(
        "[Ether(src=mac(), dst=args['router'], type=kind) / Raw(b'x' * 64) for kind in (0x88b5, 0x0900, 0xffff)]
         + [Dot3(src=mac(), dst=args['router']) / LLC() / Raw(b'x' * 40)]",
    )
    .map(drop)
}

#[test]
fn padding_after_the_packet_is_harmless() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let mut judge = Judge::start(&alice.namespace)?;
    let replies = judge.run(
        "
        ether = Ether(src=mac(), dst=args['router'])
        p = ask(ether / IP(src=args['me'], dst=args['gw']) / ICMP(id=7, seq=8) / Raw(b'ab') / Padding(b'P' * 18),
                lambda p: ICMP in p and p[ICMP].type == 0)
        p6 = ask(ether / IPv6(src=args['me6'], dst=args['gw6']) / ICMPv6EchoRequest(data=b'ab') / Padding(b'P' * 18),
                 lambda p: ICMPv6EchoReply in p)
        result = [p[IP].len, wrong_checksums(p), p6[IPv6].plen, wrong_checksums(p6)]
        ",
        json!({ "router": alice.router_mac(&topology.router)?, "me": alice.spec.ipv4, "me6": alice.spec.ipv6,
            "gw": alice.spec.gateway4, "gw6": alice.spec.gateway6 }),
    )?;
    assert_eq!(replies, json!([30, [], 10, []]));
    daemon.stop()
}

#[test]
fn rfc_8200_section_4_ipv6_extension_chains_are_forwarded_and_survived() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    assert!(ping(&alice.namespace, bob.spec.ipv6, 5)?.received > 0, "no way to bob");
    let (mut sender, mut receiver) = (Judge::start(&alice.namespace)?, Judge::start(&bob.namespace)?);
    receiver.run("capture = Capture()", Value::Null)?;
    let args = json!({ "router": alice.router_mac(&topology.router)?, "me6": alice.spec.ipv6, "gw6": alice.spec.gateway6,
        "bob6": bob.spec.ipv6 });
    sender.run(
        "
        ether = Ether(src=mac(), dst=args['router'])
        udp = UDP(sport=4711, dport=4711) / Raw(b'chained')
        def chain(dst, count):
            p = IPv6(src=args['me6'], dst=dst)
            for _ in range(count):
                p = p / IPv6ExtHdrDestOpt(options=[PadN(optdata=b'\\0' * 4)])
            return p
        send([ether / chain(args['bob6'], count) / udp for count in (1, 2, 8, 40)])
        # Chains that end nowhere, headers longer than the packet, and forty headers for raddle itself.
        last = bytes(ether / chain(args['gw6'], 3))
        send([ether / chain(args['gw6'], 40) / udp, last[:-1], patched(last, len(last) - 7, [255]),
              ether / IPv6(src=args['me6'], dst=args['gw6'], nh=0) / Raw(b''),
              ether / IPv6(src=args['me6'], dst=args['gw6']) / IPv6ExtHdrFragment(offset=8, m=1) / Raw(b'x' * 8),
              ether / IPv6(src=args['me6'], dst=args['gw6']) / IPv6ExtHdrRouting(type=0, addresses=['::1'] * 3) / udp])
        ",
        args.clone(),
    )?;
    let arrived = receiver.run(
        "result = [wrong_checksums(p) for p in capture.collect(lambda p: b'chained' in bytes(p), 20, 4)]",
        Value::Null,
    )?;
    assert_eq!(arrived, json!([[], [], [], []]));
    let echo = sender.run(
        "
        p = ask(ether / chain(args['gw6'], 2) / ICMPv6EchoRequest(data=b'behind'), lambda p: ICMPv6EchoReply in p)
        result = p is not None and p[ICMPv6EchoReply].data == b'behind'
        ",
        args,
    )?;
    assert_eq!(echo, json!(true), "destination options before an echo request are skipped");
    daemon.stop()
}
