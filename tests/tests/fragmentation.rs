//! What raddle does with packets that are larger than a link's MTU (RFC 791, RFC 1191, RFC 1812, RFC 8200), judged by
//! scapy and by Linux' own reassembly.

use anyhow::{Result, ensure};
use raddle_tests::ping::ping_with;
use raddle_tests::{Daemon, DaemonConfig, Host, HostSpec, Judge, Need, Topology, ping, requirement};
use serde_json::{Value, json};

const NEEDS: &[Need] = &[Need::Ping, Need::Scapy, Need::Raddle];

/// Alice with large frames before Bob with small ones: his link has MTU 576, at which Linux has no IPv6.
fn topology() -> Result<Topology> {
    let specs = [HostSpec::new("alice", "east", 1).with_mtu(9000), HostSpec::new("bob", "west", 2)];
    let topology = Topology::create(specs)?;
    topology.host("bob").namespace.ip("link set eth0 mtu 576")?;
    Ok(topology)
}

fn config(topology: &Topology) -> DaemonConfig {
    let [alice, bob] = ["alice", "bob"].map(|name| &topology.host(name).spec);
    let HostSpec { gateway4, .. } = bob;
    DaemonConfig::new().interface(alice, "").with(&format!(
        "[interface.west]\ndriver = \"af-packet\"\ndevice = \"west\"\naddresses = [\"{gateway4}/24\"]\nmtu = 576\n"
    ))
}

/// What every snippet knows.
fn args(topology: &Topology) -> Result<Value> {
    let [alice, bob] = ["alice", "bob"].map(|name| topology.host(name));
    Ok(json!({ "router": alice.router_mac(&topology.router)?, "alice": alice.spec.ipv4, "bob": bob.spec.ipv4,
        "alice6": alice.spec.ipv6, "bob6": bob.spec.ipv6, "gw": alice.spec.gateway4,
        "gw6": alice.spec.gateway6 }))
}

/// Has Bob listen, Alice send, and Bob tell what came.
struct Ways {
    alice: Judge,
    bob: Judge,
    args: Value,
}

impl Ways {
    fn new(topology: &Topology) -> Result<Self> {
        let [alice, bob] = ["alice", "bob"].map(|name| topology.host(name));
        let args = args(topology)?;
        let mut ways =
            Self { alice: Judge::start(&alice.namespace)?, bob: Judge::start(&bob.namespace)?, args };
        ways.alice.run("ether = Ether(src=mac(), dst=args['router'])", ways.args.clone())?;
        ways.bob.run(
            "
            def joined(fragments):
                '''The payload of IPv4 fragments, put together by their offsets alone; what is wrong with them else.'''
                fragments = sorted(fragments, key=lambda p: p[IP].frag)
                whole = b''
                for number, p in enumerate(fragments):
                    data = bytes(p)[14 + p[IP].ihl * 4:14 + p[IP].len]
                    last = number + 1 == len(fragments)
                    if p[IP].frag * 8 != len(whole) or bool(p[IP].flags.MF) == last or (not last and len(data) % 8):
                        return repr(p)
                    header = bytes(p)[14:14 + p[IP].ihl * 4]
                    if p[IP].len > 576 or checksum(header) != 0:
                        return f'{p[IP].len} {p!r}'
                    whole += data
                return whole
            ",
            ways.args.clone(),
        )?;
        Ok(ways)
    }

    /// `send` makes the list `frames` from `ether`; `tell` makes `result` from the list `got` of IPv4 packets from
    /// Alice of which `count` came.
    fn judge(&mut self, send: &str, count: usize, tell: &str) -> Result<Value> {
        self.bob.run("capture = Capture()", Value::Null)?;
        self.alice.run(send, self.args.clone())?;
        self.alice.run("send(frames)", self.args.clone())?;
        self.bob.run(
            &format!(
                "got = capture.collect(lambda p: IP in p and p[IP].src == args['alice'], 10, {count})\n\
                 assert len(got) == {count}, f'{{len(got)}} came'"
            ),
            self.args.clone(),
        )?;
        self.bob.run(tell, self.args.clone())
    }
}

fn reach(from: &Host, to: std::net::Ipv4Addr) -> Result<()> {
    let report = ping(&from.namespace, to, 5)?;
    ensure!(report.received > 0, "no way from {} to {to}: {}", from.spec.name, report.text);
    Ok(())
}

#[test]
fn rfc_791_packet_without_dont_fragment_is_cut_and_its_facts_stay() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = topology()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &config(&topology))?;
    reach(alice, bob.spec.ipv4)?;
    let mut ways = Ways::new(&topology)?;
    for (length, count) in [(548, 1), (549, 2), (1472, 3), (8000, 15)] {
        let facts = ways.judge(
            &format!(
                "
                data = bytes(n % 251 for n in range({length}))
                ip = IP(src=args['alice'], dst=args['bob'], ttl=9, tos=0xb9, id=0xbeef)
                frames = [ether / ip / UDP(sport=5, dport=4711) / Raw(data)]
                "
            ),
            count,
            "
            whole = joined(got)
            facts = set((p[IP].id, p[IP].ttl, p[IP].tos, int(p[IP].flags.DF), p[IP].proto) for p in got)
            result = [sorted(facts), len(whole), whole[8:] == bytes(n % 251 for n in range(len(whole) - 8))]
            ",
        )?;
        assert_eq!(facts, json!([[[0xbeef, 8, 0xb9, 0, 17]], length + 8, true]), "{length} bytes");
    }
    daemon.stop()
}

#[test]
fn rfc_791_section_3_1_options_are_copied_by_their_copied_bit() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = topology()?;
    let daemon = Daemon::start(&topology.router, &config(&topology))?;
    reach(topology.host("alice"), topology.host("bob").spec.ipv4)?;
    let facts = Ways::new(&topology)?.judge(
        "
        # Stream id (136) has the copied bit, an unknown option of class 2 (94) has not.
        options = bytes([94, 6, 1, 2, 3, 4, 136, 4, 0, 7, 1, 0])
        ip = IP(src=args['alice'], dst=args['bob'], id=7, options=IPOption(options))
        frames = [ether / ip / UDP(sport=5, dport=4711) / Raw(bytes(1400))]
        ",
        3,
        "
        heads = [bytes(p)[34:14 + p[IP].ihl * 4].hex() for p in got]
        result = heads if isinstance(joined(got), bytes) else joined(got)
        ",
    )?;
    assert_eq!(facts, json!(["5e0601020304880400070100", "88040007", "88040007"]));
    daemon.stop()
}

#[test]
fn rfc_791_fragment_is_cut_again_from_its_own_offset() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = topology()?;
    let daemon = Daemon::start(&topology.router, &config(&topology))?;
    reach(topology.host("alice"), topology.host("bob").spec.ipv4)?;
    let facts = Ways::new(&topology)?.judge(
        "
        data = bytes(UDP(sport=5, dport=4711, len=8 + 3000) / Raw(bytes(n % 251 for n in range(3000))))
        ip = IP(src=args['alice'], dst=args['bob'], id=7, proto=17)
        frames = []
        for start in range(0, len(data), 1400):
            part = ip.copy()
            part.frag, part.flags = start // 8, 'MF' if start + 1400 < len(data) else 0
            frames.append(ether / part / Raw(data[start:start + 1400]))
        ",
        7,
        "
        whole = joined(got)
        result = [len(whole), whole[8:] == bytes(n % 251 for n in range(3000))]
        ",
    )?;
    assert_eq!(facts, json!([3008, true]));
    daemon.stop()
}

#[test]
fn rfc_1191_packet_with_dont_fragment_is_answered_with_the_mtu() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = topology()?;
    let daemon = Daemon::start(&topology.router, &config(&topology))?;
    reach(topology.host("alice"), topology.host("bob").spec.ipv4)?;
    let mut ways = Ways::new(&topology)?;
    let result = ways.alice.run(
        "
        ip = IP(src=args['alice'], dst=args['bob'], flags='DF', id=99)
        p = ask(ether / ip / UDP(sport=5, dport=4711) / Raw(bytes(549)), lambda p: ICMP in p and p[ICMP].type == 3)
        result = [p[IP].src, p[ICMP].code, p[ICMP].nexthopmtu, p[ICMP].payload.id, wrong_checksums(p)]
        ",
        ways.args.clone(),
    )?;
    assert_eq!(result, json!([topology.host("alice").spec.gateway4, 4, 576, 99, []]));
    daemon.stop()
}

// The peer's own reassembly takes what raddle cuts, and raddle cuts what it says itself.
#[test]
fn linux_puts_together_what_raddle_cuts() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = topology()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &config(&topology))?;
    reach(alice, bob.spec.ipv4)?;
    let options = |size: &'static str| ["-c", "10", "-i", "0.05", "-W", "2", "-M", "dont", "-s", size];
    for size in ["1000", "8000"] {
        let report = ping_with(&alice.namespace, bob.spec.ipv4, &options(size))?;
        assert!(report.is_complete(), "{size} bytes on their way: {}", report.text);
    }
    daemon.stop()
}

#[test]
fn own_ip4_answers_leave_in_fragments() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = topology()?;
    let daemon = Daemon::start(&topology.router, &config(&topology))?;
    reach(topology.host("alice"), topology.host("bob").spec.ipv4)?;
    let mut ways = Ways::new(&topology)?;
    ways.bob.run("capture = Capture()", Value::Null)?;
    // A question in Bob's name, which is answered over the link that it does not fit.
    ways.alice.run(
        "send([ether / IP(src=args['bob'], dst=args['gw']) / ICMP(id=9, seq=1) / Raw(bytes(3000))])",
        ways.args.clone(),
    )?;
    let answer = ways.bob.run(
        "
        got = capture.collect(lambda p: IP in p and p[IP].src == args['gw'], 10, 6)
        whole = joined(got)
        result = [len(whole), whole[0], checksum(whole)]
        ",
        ways.args.clone(),
    )?;
    assert_eq!(answer, json!([3008, 0, 0]));
    daemon.stop()
}

#[test]
fn rfc_8200_section_4_5_own_ip6_answers_leave_in_fragments_and_others_packets_are_answered_too_big()
-> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let specs =
        [HostSpec::new("alice", "east", 1).with_mtu(9000), HostSpec::new("bob", "west", 2).with_mtu(1280)];
    let topology = Topology::create(specs)?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    for address in [bob.spec.ipv6, alice.spec.gateway6] {
        let report = ping(&alice.namespace, address, 5)?;
        assert!(report.received > 0, "no way to {address}: {}", report.text);
    }
    let mut ways = Ways::new(&topology)?;
    let too_big = ways.alice.run(
        "
        ip = IPv6(src=args['alice6'], dst=args['bob6'])
        p = ask(ether / ip / UDP(sport=5, dport=4711) / Raw(bytes(1233)), lambda p: ICMPv6PacketTooBig in p)
        result = [p[IPv6].src, p[ICMPv6PacketTooBig].mtu, wrong_checksums(p)]
        ",
        ways.args.clone(),
    )?;
    assert_eq!(too_big, json!([alice.spec.gateway6, 1280, []]));
    ways.bob.run("capture = Capture()", Value::Null)?;
    // A question in Bob's name, which is answered over the link that it does not fit.
    ways.alice.run(
        "
        data = bytes(n % 251 for n in range(4000))
        send([ether / IPv6(src=args['bob6'], dst=args['gw6']) / ICMPv6EchoRequest(id=9, seq=1, data=data)])
        ",
        ways.args.clone(),
    )?;
    let fragments = ways.bob.run(
        "
        got = capture.collect(lambda p: IPv6ExtHdrFragment in p, 10, 4)
        got.sort(key=lambda p: p[IPv6ExtHdrFragment].offset)
        whole = b''
        for number, p in enumerate(got):
            assert p[IPv6ExtHdrFragment].offset * 8 == len(whole), repr(p)
            assert p[IPv6ExtHdrFragment].m == (number + 1 < len(got)) and p[IPv6].plen <= 1240, repr(p)
            whole += bytes(p)[62:54 + p[IPv6].plen]
        ids = set(p[IPv6ExtHdrFragment].id for p in got)
        # The checksum over the whole.
        pseudo = inet_pton(socket.AF_INET6, got[0][IPv6].src) + inet_pton(socket.AF_INET6, got[0][IPv6].dst)
        pseudo += struct.pack('!II', len(whole), 58)
        same = whole[8:] == bytes(n % 251 for n in range(4000))
        result = [len(got), len(ids), whole[0], same, checksum(pseudo + whole)]
        ",
        ways.args.clone(),
    )?;
    assert_eq!(fragments, json!([4, 1, 129, true, 0]));
    daemon.stop()
}
