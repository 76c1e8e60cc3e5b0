//! A second opinion on stateless translation: what TAYGA makes of a packet, raddle makes, too (RFC 7915, RFC 7757).

use std::fs;
use std::net::Ipv6Addr;

use anyhow::{Result, ensure};
use raddle_tests::{
    Daemon, DaemonConfig, Host, Judge, Namespace, Need, Process, Topology, ping, requirement, scratch,
    target_dir,
};
use serde_json::{Value, json};

const NEEDS: &[Need] = &[Need::Ping, Need::Scapy, Need::Raddle, Need::Nat64, Need::Tayga];
const TAYGA: &str = "/usr/sbin/tayga";
const PREFIX: &str = "2001:db8:64::/96";
/// A host inside, and what it is outside by an explicit mapping.
const MAPPED: [&str; 2] = ["2001:db8:cc::1", "192.0.2.17"];

fn as_inside(host: &Host) -> Ipv6Addr {
    let [a, b, c, d] = host.spec.ipv4.octets();
    let word = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, word(a, b), word(c, d))
}

/// The packets, each with a mark in what it carries: those that go out, and those that come in. What is compared of a packet:
/// all but hops, identification, "don't fragment" and the header's checksum, about which translators may differ.
const PACKETS: &str = "
mapped6, mapped4, bob6, bob4 = args['mapped6'], args['mapped4'], args['bob6'], args['bob4']
def marked(number, length=20):
    return b'mark%02d' % number + bytes(n & 0xff for n in range(length))
out = [
    IPv6(src=mapped6, dst=bob6) / UDP(sport=5000, dport=6000) / Raw(marked(0)),
    IPv6(src=mapped6, dst=bob6, tc=0xb8) / UDP(sport=5000, dport=6000) / Raw(marked(1, 33)),
    IPv6(src=mapped6, dst=bob6) / TCP(sport=5000, dport=80, flags='S', options=[('MSS', 1440), ('WScale', 7)]) / Raw(marked(2)),
    IPv6(src=mapped6, dst=bob6) / ICMPv6EchoRequest(id=7, seq=9, data=marked(3)),
    IPv6(src=mapped6, dst=bob6) / ICMPv6EchoReply(id=7, seq=9, data=marked(4, 21)),
    IPv6(src=mapped6, dst=bob6) / UDP(sport=5000, dport=6000) / Raw(marked(5, 1200)),
    IPv6(src=mapped6, dst=bob6) / ICMPv6DestUnreach(code=4) / IPv6(src=bob6, dst=mapped6) / UDP(sport=1, dport=2) / Raw(marked(6)),
    IPv6(src=mapped6, dst=bob6) / ICMPv6TimeExceeded() / IPv6(src=bob6, dst=mapped6) / TCP(sport=1, dport=2) / Raw(marked(7)),
]
inward = [
    IP(src=bob4, dst=mapped4) / UDP(sport=5000, dport=6000) / Raw(marked(10)),
    IP(src=bob4, dst=mapped4, tos=0x28) / UDP(sport=5000, dport=6000) / Raw(marked(11, 33)),
    IP(src=bob4, dst=mapped4) / TCP(sport=80, dport=5000, flags='SA') / Raw(marked(12)),
    IP(src=bob4, dst=mapped4, flags='DF') / ICMP(type=8, id=7, seq=9) / Raw(marked(13)),
    IP(src=bob4, dst=mapped4, flags='DF') / ICMP(type=0, id=7, seq=9) / Raw(marked(14, 21)),
    IP(src=bob4, dst=mapped4) / ICMP(type=3, code=3) / IP(src=mapped4, dst=bob4) / UDP(sport=1, dport=2) / Raw(marked(16)),
    IP(src=bob4, dst=mapped4) / ICMP(type=11) / IP(src=mapped4, dst=bob4) / TCP(sport=1, dport=2) / Raw(marked(17)),
]
def told(data):
    # The mark and all that is to be the same.
    at = data.find(b'mark')
    if at < 0:
        return None
    mark = int(data[at + 4:at + 6])
    if data[0] >> 4 == 4:
        p = IP(data)
        head = [str(p.src), str(p.dst), p.tos, p.proto, p.len]
        upper = data[p.ihl * 4:p.len]
        is_error = p.proto == 1 and upper[0] in (3, 11)
        quoted = IP(upper[8:]) if is_error else None
        inner = quoted and [quoted.src, quoted.dst, quoted.proto, quoted.len, upper[8 + 20:].hex()]
    else:
        p = IPv6(data)
        head = [str(p.src), str(p.dst), p.tc, p.nh, p.plen]
        upper = data[40:40 + p.plen]
        is_error = p.nh == 58 and upper[0] in (1, 3)
        quoted = IPv6(upper[8:]) if is_error else None
        inner = quoted and [quoted.src, quoted.dst, quoted.nh, quoted.plen, upper[8 + 40:].hex()]
    # An error's checksum covers the quoted header's hops and identification.
    return [mark, head, [upper[0], upper[1], inner] if is_error else upper.hex()]
result = [len(out), len(inward)]
";

fn arguments(bob: &Host) -> Value {
    json!({ "mapped6": MAPPED[0], "mapped4": MAPPED[1], "bob6": as_inside(bob).to_string(), "bob4": bob.spec.ipv4 })
}

/// What TAYGA makes of the packets, in a namespace of its own.
fn by_tayga(bob: &Host) -> Result<Value> {
    let namespace = Namespace::create("tayga")?;
    let folder = scratch::directory()?;
    let file = folder.path().join("tayga.conf");
    let folder_name = folder.path().display();
    fs::write(
        &file,
        format!(
            "tun-device tayga0\nipv4-addr 192.0.2.1\nprefix {PREFIX}\ndata-dir {folder_name}\nmap {} {}\n",
            MAPPED[1], MAPPED[0]
        ),
    )?;
    let name = file.display().to_string();
    namespace.run(&format!("{TAYGA} -c {name} --mktun"))?;
    namespace.ip("link set tayga0 up")?;
    let mut command = namespace.command(TAYGA);
    let _process = Process::start(command.args(["-d", "-c", &name]))?;
    let mut judge = Judge::start(&namespace)?;
    judge.run(PACKETS, arguments(bob))?;
    judge.run(
        "
        import socket as s, time
        device = s.socket(s.AF_PACKET, s.SOCK_DGRAM, s.htons(3))
        device.bind(('tayga0', 3))
        device.settimeout(0.5)
        found = {}
        # It may be not up yet: what is not answered is sent again.
        until = time.time() + 30
        while len(found) < len(out) + len(inward) and time.time() < until:
            for packet in out + inward:
                data = bytes(packet)
                mark = int(data[data.find(b'mark') + 4:][:2])
                if mark in found:
                    continue
                device.sendto(data, ('tayga0', 0x86dd if data[0] >> 4 == 6 else 0x0800))
                try:
                    while mark not in found:
                        got, where = device.recvfrom(4096)
                        if where[2] != s.PACKET_OUTGOING and told(got):
                            found[told(got)[0]] = told(got)
                except TimeoutError:
                    pass
        result = sorted(found.values())
        ",
        Value::Null,
    )
}

/// What raddle makes of them, between alice and bob.
fn by_raddle(topology: &Topology) -> Result<Value> {
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let section = format!(
        "[nat64]\nprefixes = [\"{PREFIX}\"]\npool = [\"192.0.2.1\"]\n\
         eam = [{{ ip4 = \"192.0.2.16/28\", ip6 = \"2001:db8:cc::/124\" }}]\n\n\
         [[route]]\nprefix = \"2001:db8:cc::/64\"\nvia = \"{}\"\n",
        alice.spec.ipv6
    );
    let config =
        DaemonConfig::routed(topology).plugins(&target_dir().join("plugins")).workers(1).with(&section);
    let daemon = Daemon::start(&topology.router, &config)?;
    ensure!(ping(&alice.namespace, as_inside(bob), 5)?.received > 0, "no way to bob");
    ensure!(ping(&bob.namespace, bob.spec.gateway4, 3)?.received > 0, "no way to bob's router");
    let mut all = Vec::new();
    for (sender, receiver, packets) in [(alice, bob, "out"), (bob, alice, "inward")] {
        let (mut one, mut other) = (Judge::start(&sender.namespace)?, Judge::start(&receiver.namespace)?);
        one.run(PACKETS, arguments(bob))?;
        other.run(PACKETS, arguments(bob))?;
        other.run("early = Capture(); result = None", Value::Null)?;
        one.run(
            &format!(
                "ether = Ether(src=mac(), dst=args['router']); send([ether / packet for packet in {packets}]); result = None"
            ),
            json!({ "router": sender.router_mac(&topology.router)? }),
        )?;
        let found = other.run(
            &format!(
                "
                frames = early.collect(lambda p: told(bytes(p.payload)), 10, len({packets}))
                result = sorted(told(bytes(p.payload)) for p in frames)
                early.close()
                "
            ),
            Value::Null,
        )?;
        all.extend(found.as_array().cloned().unwrap_or_default());
    }
    daemon.stop()?;
    Ok(Value::Array(all))
}

#[test]
fn tayga_makes_the_same_of_stateless_packets() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let theirs = by_tayga(topology.host("bob"))?;
    let ours = by_raddle(&topology)?;
    let (Some(theirs), Some(ours)) = (theirs.as_array(), ours.as_array()) else {
        unreachable!("both are lists")
    };
    assert_eq!(theirs.len(), 15, "TAYGA translates all of them: {theirs:?}");
    for (one, other) in ours.iter().zip(theirs) {
        assert_eq!(one, other, "packet {}", one[0]);
    }
    assert_eq!(ours.len(), theirs.len());
    Ok(())
}
