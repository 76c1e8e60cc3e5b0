//! Fragments: put together for raddle's own addresses, within bounds, judged by scapy (RFC 791, RFC 792, RFC 5722, RFC 8200 §4.5);
//! and IPv6 extension headers as their destination reads them (RFC 8200 §4).

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use raddle_tests::observe::{buffers_in_use, errors};
use raddle_tests::ping::ping_with;
use raddle_tests::wait::wait_for;
use raddle_tests::{Daemon, DaemonConfig, Host, HostSpec, Judge, Need, Topology, ping, requirement};
use serde_json::{Value, json};

const NEEDS: &[Need] = &[Need::Ping, Need::Scapy, Need::Raddle];

/// Fragments of echo requests with data that tells each byte's place.
const PREAMBLE: &str = "
ether = Ether(src=mac(), dst=args['router'])
def echo4(size, ident, source=None):
    data = bytes((n ^ n >> 8) & 0xff for n in range(size))
    whole = IP(src=source or args['me'], dst=args['gw'], id=ident) / ICMP(id=ident, seq=1) / Raw(data)
    return bytes(whole), data
def cut4(whole, *cuts):
    '''The fragments of an IPv4 packet with these bytes of its data.'''
    data = whole[20:]
    frames = []
    for start, end in cuts:
        ip = IP(whole[:20])
        del ip.len, ip.chksum
        ip.frag, ip.flags = start // 8, 'MF' if end < len(data) else 0
        frames.append(ether / ip / Raw(data[start:end]))
    return frames
def echo6(size, ident):
    data = bytes((n ^ n >> 8) & 0xff for n in range(size))
    return bytes(IPv6(src=args['me6'], dst=args['gw6']) / ICMPv6EchoRequest(id=ident, seq=1, data=data)), data
def cut6(whole, ident, *cuts):
    data = whole[40:]
    ip = lambda: IPv6(src=args['me6'], dst=args['gw6'])
    return [ether / ip() / IPv6ExtHdrFragment(nh=58, offset=start // 8, m=int(end < len(data)), id=ident)
            / Raw(data[start:end]) for start, end in cuts]
def replied(frames, ident, data, timeout=10):
    '''Whether the echo reply with this data comes, after these frames.'''
    def match(p):
        if ICMP in p and p[ICMP].type == 0 and p[ICMP].id == ident:
            return bytes(p[ICMP].payload) == data
        return ICMPv6EchoReply in p and p[ICMPv6EchoReply].id == ident and p[ICMPv6EchoReply].data == data
    with Capture() as capture:
        send(frames)
        return capture.first(match, timeout) is not None
";

fn args(topology: &Topology, host: &Host) -> Result<Value> {
    Ok(json!({ "router": host.router_mac(&topology.router)?, "me": host.spec.ipv4, "me6": host.spec.ipv6,
        "gw": host.spec.gateway4, "gw6": host.spec.gateway6 }))
}

fn judge_in(host: &Host, args: &Value) -> Result<Judge> {
    let mut judge = Judge::start(&host.namespace)?;
    judge.run(PREAMBLE, args.clone())?;
    Ok(judge)
}

/// Demands that raddle knows its neighbours, and the other way round, so that nothing waits for them.
fn demand_reachable(host: &Host) -> Result<()> {
    for address in [host.spec.gateway4.into(), std::net::IpAddr::from(host.spec.gateway6)] {
        assert!(ping(&host.namespace, address, 5)?.received > 0, "no way to {address}");
    }
    Ok(())
}

#[test]
fn pings_of_8000_and_of_65000_bytes_are_answered_over_links_of_1500_and_9000() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let specs = [HostSpec::new("alice", "east", 1), HostSpec::new("bob", "west", 2).with_mtu(9000)];
    let topology = Topology::create(specs)?;
    for workers in [0, 2] {
        let config = DaemonConfig::routed(&topology).workers(workers);
        let daemon = Daemon::start(&topology.router, &config)?;
        for host in topology.hosts() {
            demand_reachable(host)?;
            for address in [host.spec.gateway4.into(), std::net::IpAddr::from(host.spec.gateway6)] {
                for size in ["1472", "1473", "8000", "65000"] {
                    let report = ping_with(
                        &host.namespace,
                        address,
                        &["-c", "3", "-i", "0.05", "-W", "5", "-s", size],
                    )?;
                    assert!(report.is_complete(), "{size} bytes to {address}: {}", report.text);
                }
            }
        }
        wait_for("all buffers to be back", Duration::from_secs(20), || {
            Ok((buffers_in_use(&daemon)? <= 512).then_some(()))
        })?;
        daemon.stop()?;
    }
    Ok(())
}

// RFC 791 §3.2, RFC 8200 §4.5
#[test]
fn rfc_791_section_3_2_fragments_are_put_together_in_whatever_order_they_come() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(2))?;
    demand_reachable(alice)?;
    let args = args(&topology, alice)?;
    let mut judge = judge_in(alice, &args)?;
    let missing = judge.run(
        "
        import itertools
        cuts = [(0, 400), (400, 408), (408, 1000), (1000, 1208)]
        missing = []
        for ident, order in enumerate(itertools.permutations(cuts), 100):
            whole, data = echo4(1200, ident)
            if not replied(cut4(whole, *order), ident, data):
                missing.append(f'IPv4 {order}')
            whole, data = echo6(1200, ident)
            if not replied(cut6(whole, ident, *order), ident, data):
                missing.append(f'IPv6 {order}')
        # An exact duplicate does no harm.
        whole, data = echo4(1200, 99)
        if not replied(cut4(whole, cuts[1], cuts[1], *cuts[2:], cuts[0]), 99, data):
            missing.append('duplicate')
        # RFC 6946: an atomic fragment stands for itself.
        whole, data = echo6(100, 98)
        if not replied(cut6(whole, 98, (0, 108)), 98, data):
            missing.append('atomic')
        result = missing
        ",
        args,
    )?;
    assert_eq!(missing, json!([]));
    daemon.stop()
}

// RFC 8200 §4.5 and §5: routers do not cut IPv6 packets; what a feature wanted whole leaves as its sender cut it.
#[test]
fn rfc_8200_section_5_what_a_feature_put_together_leaves_in_fragments_as_it_came() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let specs = [HostSpec::new("alice", "east", 1), HostSpec::new("bob", "west", 2).with_mtu(9000)];
    let topology = Topology::create(specs)?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let config = DaemonConfig::new()
        .workers(1)
        .interface(&alice.spec, "features = [\"ip6-reassembly\"]\n")
        .interface(&bob.spec, "");
    let daemon = Daemon::start(&topology.router, &config)?;
    demand_reachable(alice)?;
    demand_reachable(bob)?;
    let mut sender = judge_in(alice, &args(&topology, alice)?)?;
    let mut receiver = Judge::start(&bob.namespace)?;
    let args = json!({ "router": alice.router_mac(&topology.router)?, "me6": alice.spec.ipv6, "gw6": bob.spec.ipv6 });
    receiver.run("capture = Capture()", Value::Null)?;
    sender.run(
        "
        whole, _ = echo6(3000, 77)
        send(cut6(whole, 0xabcdef, (1200, 2400), (0, 1200), (2400, 3008)))
        ",
        args.clone(),
    )?;
    let came = receiver.run(
        "
        got = capture.collect(lambda p: IPv6ExtHdrFragment in p and p[IPv6].src == args['me6'], 20, 3)
        result = [[p[IPv6ExtHdrFragment].id, p[IPv6ExtHdrFragment].offset * 8, p[IPv6ExtHdrFragment].m,
                   p[IPv6].plen + 40, p[IPv6].hlim] for p in got]
        ",
        args,
    )?;
    assert_eq!(
        came,
        json!([[0xabcdef, 0, 1, 1248, 63], [0xabcdef, 1200, 1, 1248, 63], [0xabcdef, 2400, 0, 656, 63]]),
        "{}",
        daemon.ctl("show errors")?
    );
    // Linux as it comes: what it cuts itself arrives over the larger link, and over a smaller one once it has heard of that.
    for mtu in [9000, 1280] {
        daemon.ctl(&format!("set interface mtu west {mtu}"))?;
        bob.namespace.ip(&format!("link set eth0 mtu {mtu}"))?;
        bob.namespace.ip(&format!("-6 route replace default via {}", bob.spec.gateway6))?;
        wait_for(
            &format!("large pings to be answered with an MTU of {mtu}"),
            Duration::from_secs(30),
            || {
                let report =
                    ping_with(&alice.namespace, bob.spec.ipv6, &["-c", "3", "-i", "0.1", "-s", "5000"])?;
                Ok((report.is_complete()).then_some(()))
            },
        )?;
    }
    let joined = daemon.ctl_json("show reassembly")?;
    assert!(joined["tables"][1]["completed"].as_u64().is_some_and(|count| count >= 7), "{joined}");
    daemon.stop()
}

/// The queues of an interface belong to different workers, and the fragments of one datagram come by different queues.
#[test]
fn fragments_that_come_to_different_workers_are_put_together() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let config = DaemonConfig::new()
        .workers(2)
        .interface(&alice.spec, "queues = 2\nfanout = \"cpu\"\nrx-slots = 256\n");
    let daemon = Daemon::start(&topology.router, &config)?;
    demand_reachable(alice)?;
    let args = args(&topology, alice)?;
    let mut judge = judge_in(alice, &args)?;
    daemon.ctl("trace add af-packet-input 400")?;
    let answered = judge.run(
        "
        import os
        cpus = sorted(os.sched_getaffinity(0))
        def spread(frames):
            '''Sends each frame from the next CPU, which decides by which queue it comes in.'''
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as output:
                output.bind((DEVICE, 0))
                for number, frame in enumerate(frames):
                    os.sched_setaffinity(0, {cpus[number % len(cpus)]})
                    output.send(bytes(frame))
        def is_reply(p, ident):
            '''The first fragment of the echo reply, which is longer than a packet.'''
            if IP in p:
                return ICMP in p and p[IP].flags & 1 and p[IP].frag == 0 and (p[ICMP].type, p[ICMP].id) == (0, ident)
            fragment = p[IPv6ExtHdrFragment] if IPv6ExtHdrFragment in p else None
            return (fragment is not None and fragment.offset == 0 and fragment.m == 1
                and bytes(p)[62] == 129 and bytes(p)[66:68] == ident.to_bytes(2, 'big'))
        answered = 0
        cuts = [(at, min(at + 1000, 6008)) for at in range(0, 6008, 1000)]
        for ident in range(600, 620):
            for frames in (cut4(echo4(6000, ident)[0], *cuts), cut6(echo6(6000, ident)[0], ident, *cuts)):
                with Capture() as capture:
                    spread(frames)
                    answered += capture.first(lambda p: is_reply(p, ident)) is not None
        os.sched_setaffinity(0, set(cpus))
        result = [answered, len(cpus)]
        ",
        args,
    )?;
    let (answered, cpus) = (answered[0].as_u64(), answered[1].as_u64());
    assert_eq!(answered, Some(40), "{}", daemon.ctl("show errors")?);
    let trace = daemon.ctl_json("show trace max 400")?;
    let packets = trace["packets"].as_array().context("packets")?;
    let threads: BTreeSet<_> = packets.iter().filter_map(|packet| packet["thread"].as_u64()).collect();
    assert!(threads.len() == 2 || cpus == Some(1), "fragments came to threads {threads:?} only");
    daemon.stop()
}

// RFC 5722 §4, RFC 1858, RFC 3128
#[test]
fn rfc_5722_section_4_fragments_that_overlap_cost_the_whole_datagram() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    demand_reachable(alice)?;
    let args = args(&topology, alice)?;
    let mut judge = judge_in(alice, &args)?;
    let answered = judge.run(
        "
        answered = []
        overlaps = [[(0, 400), (392, 800), (400, 808)], [(400, 808), (0, 408), (0, 400)], [(0, 400), (8, 16), (400, 808)]]
        for ident, cuts in enumerate(overlaps, 200):
            whole, data = echo4(800, ident)
            if replied(cut4(whole, *cuts), ident, data, 0.5):
                answered.append(f'IPv4 {cuts}')
            whole, data = echo6(800, ident)
            if replied(cut6(whole, ident, *cuts), ident, data, 0.5):
                answered.append(f'IPv6 {cuts}')
        whole, data = echo4(800, 300)
        if not replied(cut4(whole, (0, 400), (400, 808)), 300, data):
            answered.append('the good one was not')
        result = answered
        ",
        args,
    )?;
    assert_eq!(answered, json!([]));
    let counted = errors(&daemon)?;
    for node in ["ip4-reassembly", "ip6-reassembly"] {
        let of_overlaps = counted.iter().find(|error| error.node == node && error.reason == "overlap");
        assert!(of_overlaps.is_some_and(|error| error.count >= 3), "{node}: {counted:?}");
    }
    daemon.stop()
}

// RFC 792, RFC 4443 §3.3
#[test]
fn rfc_792_senders_are_told_when_the_rest_does_not_come_in_time() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let config = DaemonConfig::routed(&topology)
        .workers(2)
        .with("[reassembly]\nip4-timeout-seconds = 2\nip6-timeout-seconds = 2\n");
    let daemon = Daemon::start(&topology.router, &config)?;
    demand_reachable(alice)?;
    let args = args(&topology, alice)?;
    let mut judge = judge_in(alice, &args)?;
    let told = judge.run(
        "
        whole4, _ = echo4(800, 7)
        whole6, _ = echo6(800, 7)
        with Capture() as capture:
            send(cut4(whole4, (0, 400)) + cut6(whole6, 7, (0, 400)))
            # Without the first fragment nobody is told.
            send(cut4(echo4(800, 8)[0], (400, 800)) + cut6(whole6, 8, (400, 800)))
            errors = capture.collect(lambda p: ICMP in p and p[ICMP].type == 11 or ICMPv6TimeExceeded in p, 20, 2)
            errors += capture.collect(lambda p: ICMP in p and p[ICMP].type == 11 or ICMPv6TimeExceeded in p, 1.5)
        result = sorted([4 if IP in p else 6, p[ICMP].code if IP in p else p[ICMPv6TimeExceeded].code,
                         bytes(p).count(bytes((n ^ n >> 8) & 0xff for n in range(300)))] for p in errors)
        ",
        args,
    )?;
    assert_eq!(told, json!([[4, 1, 1], [6, 1, 1]]));
    let shown = daemon.ctl_json("show reassembly")?;
    let timed_out: Vec<_> = (0..2).map(|row| shown["tables"][row]["timed-out"].as_u64()).collect();
    assert_eq!(timed_out, [Some(2), Some(2)], "{shown}");
    daemon.stop()
}

/// A flood of first fragments, a million in both rounds, of one source and of many, while pings go on; whole ones and those in
/// fragments. In the end every buffer is back.
#[test]
fn floods_that_never_complete_leave_room_for_others_and_no_buffers_behind() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for workers in [1, 2] {
        let config = DaemonConfig::routed(&topology)
            .workers(workers)
            .with("[reassembly]\nip4-timeout-seconds = 3\nip6-timeout-seconds = 3\n");
        let daemon = Daemon::start(&topology.router, &config)?;
        demand_reachable(alice)?;
        demand_reachable(bob)?;
        let at_rest = buffers_in_use(&daemon)?;
        let args = args(&topology, alice)?;
        let flood = std::thread::scope(|scope| {
            let flooding = scope.spawn(|| -> Result<Value> {
                let mut judge = judge_in(alice, &args)?;
                judge.run(
                    "
                    first = bytearray(bytes(cut4(echo4(800, 1)[0], (0, 400))[0]))
                    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as output:
                        output.bind((DEVICE, 0))
                        for count in range(500_000):
                            first[18:20] = (count & 0xffff).to_bytes(2, 'big')
                            # Every other one from a source of its own.
                            first[26:30] = bytes([10, 0, 1, 2]) if count & 1 else bytes([10, 1 + count % 200, count >> 8 & 0xff, 9])
                            first[24:26] = b'\\0\\0'
                            first[24:26] = checksum(bytes(first[14:34])).to_bytes(2, 'big')
                            try:
                                output.send(first)
                            except OSError:
                                pass
                    result = count + 1
                    ",
                    args.clone(),
                )
            });
            let mut answered = (0, 0);
            while !flooding.is_finished() {
                for address in [bob.spec.gateway4.into(), std::net::IpAddr::from(bob.spec.gateway6)] {
                    // What fits into one packet, and what does not.
                    for size in ["56", "1400"] {
                        let options = ["-c", "5", "-i", "0.02", "-W", "5", "-s", size];
                        let report = ping_with(&bob.namespace, address, &options)?;
                        answered = (answered.0 + report.received, answered.1 + report.sent);
                    }
                }
            }
            assert!(answered.1 > 0 && answered.0 * 100 >= answered.1 * 90, "{answered:?} while flooded");
            flooding.join().map_err(|_| anyhow::anyhow!("the flood panicked"))?
        })?;
        assert_eq!(flood, json!(500_000));
        let shown = daemon.ctl_json("show reassembly")?;
        let full4 = &shown["tables"][0];
        let evicted = full4["evicted"].as_u64().context("a number")?;
        assert!(evicted > 1000, "the bounds were reached: {shown}");
        assert!(full4["datagrams"].as_u64().is_some_and(|datagrams| datagrams <= 4096), "{shown}");
        wait_for("all fragments to be aged out", Duration::from_secs(30), || {
            let shown = daemon.ctl_json("show reassembly")?;
            let rows = shown["tables"].as_array().context("tables")?;
            let is_empty = rows.iter().all(|row| row["datagrams"] == 0 && row["buffers"] == 0);
            Ok((is_empty && buffers_in_use(&daemon)? <= at_rest + 64).then_some(()))
        })?;
        demand_reachable(alice)?;
        daemon.stop()?;
    }
    Ok(())
}

// RFC 8200 §4, §4.2, RFC 4443 §3.4, RFC 5095
#[test]
fn rfc_8200_section_4_extension_headers_are_read_as_their_destination_must() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    demand_reachable(alice)?;
    let args = args(&topology, alice)?;
    let mut judge = judge_in(alice, &args)?;
    let wrong = judge.run(
        "
        ip = lambda: IPv6(src=args['me6'], dst=args['gw6'])
        wrong = []
        def outcome(extensions, ident):
            '''What answers an echo request behind these headers.'''
            whole = ether / ip() / extensions / ICMPv6EchoRequest(id=ident, data=b'behind')
            p = ask(whole, lambda p: ICMPv6EchoReply in p and p[ICMPv6EchoReply].id == ident
                    or ICMPv6ParamProblem in p, 2)
            if p is None:
                return None
            if ICMPv6EchoReply in p:
                # RFC 4443 section 4.2: a reply has none of the asker's headers.
                return 'reply' if p[IPv6].nh == 58 and not wrong_checksums(p) else f'odd reply {p!r}'
            return (p[ICMPv6ParamProblem].code, p[ICMPv6ParamProblem].ptr)
        option = lambda kind: HBHOptUnknown(otype=kind, optdata=b'\\0\\0\\0\\0')
        cases = [
            (IPv6ExtHdrHopByHop(options=[RouterAlert()]), 'reply'),
            (IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(segleft=0) / IPv6ExtHdrDestOpt(), 'reply'),
            (IPv6ExtHdrFragment(), 'reply'),
            (IPv6ExtHdrDestOpt(options=[option(0x1e)]), 'reply'),
            (IPv6ExtHdrDestOpt(options=[option(0x5e)]), None),
            (IPv6ExtHdrDestOpt(options=[option(0x9e)]), (2, 42)),
            (IPv6ExtHdrHopByHop(options=[option(0xde)]), (2, 42)),
            (IPv6ExtHdrRouting(type=0, segleft=1, addresses=[args['gw6']]), (0, 42)),
            (IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop(), None),
        ]
        for ident, (extensions, expected) in enumerate(cases, 500):
            got = outcome(extensions, ident)
            if got != expected:
                wrong.append(f'{extensions!r}: {got}, not {expected}')
        # An unknown next header, and where it is named.
        p = ask(ether / ip() / IPv6ExtHdrDestOpt(nh=253) / Raw(b'12345678'), lambda p: ICMPv6ParamProblem in p, 5)
        if p is None or (p[ICMPv6ParamProblem].code, p[ICMPv6ParamProblem].ptr) != (1, 40):
            wrong.append(f'unknown next header: {p!r}')
        result = wrong
        ",
        args,
    )?;
    assert_eq!(wrong, json!([]));
    daemon.stop()
}
