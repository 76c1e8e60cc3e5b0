//! Linux hosts as they come: with and without offloads, with small and large MTUs, behind veth pairs and taps. What one
//! sends the other gets, with checksums that it finds right itself.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use raddle_tests::observe::errors;
use raddle_tests::wait::wait_for;
use raddle_tests::{
    Daemon, DaemonConfig, Host, HostSpec, Judge, Need, Topology, WebServer, fetch, ping, requirement,
};
use serde_json::json;

const NEEDS: &[Need] = &[Need::Ping, Need::Curl, Need::Python, Need::Ethtool, Need::Raddle];
const CONTENT_BYTES: u32 = 3_000_000;

fn content() -> Vec<u8> {
    (0..CONTENT_BYTES).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

/// Switches all that a device does for the host's stack.
fn set_offloads(host: &Host, on: bool) -> Result<()> {
    let state = if on { "on" } else { "off" };
    // A device of which a part cannot be switched says so, and switches the others.
    for feature in ["tx", "sg", "tso", "gso", "gro", "rx"] {
        let mut command = host.namespace.command("ethtool");
        command.args(["-K", "eth0", feature, state]);
        raddle_tests::command::finish(&mut command, Duration::from_secs(10))?;
    }
    let features = host.namespace.run("ethtool -k eth0")?;
    for feature in ["tcp-segmentation-offload", "generic-segmentation-offload", "tx-checksumming"] {
        ensure!(features.contains(&format!("{feature}: {state}")), "{feature} is not {state}: {features}");
    }
    Ok(())
}

/// What the host's stack found wrong with packets that came in.
fn complaints(host: &Host) -> Result<Vec<String>> {
    let text = host.namespace.run("nstat --zeros --noupdate --ignore")?;
    let mut found = Vec::new();
    for name in [
        "TcpInErrs",
        "TcpInCsumErrors",
        "UdpInCsumErrors",
        "IpInHdrErrors",
        "IpReasmFails",
        "IpExtInCsumErrors",
    ] {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
        let line = line.with_context(|| format!("nstat knows no {name}: {text}"))?;
        if line.split_whitespace().nth(1) != Some("0") {
            found.push(line.to_owned());
        }
    }
    Ok(found)
}

fn reach(from: &Host, to: IpAddr) -> Result<()> {
    wait_for("a way between the hosts", Duration::from_secs(30), || {
        Ok((ping(&from.namespace, to, 1)?.received > 0).then_some(()))
    })
    .with_context(|| format!("{} to {to}", from.spec.name))
}

/// Has each host fetch the content from the other one, over both families as far as the links have them.
fn exchange(topology: &Topology, folder: &Path, with_ip6: bool) -> Result<()> {
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let content = content();
    for (server, client) in [(bob, alice), (alice, bob)] {
        let _server = WebServer::start(&server.namespace, folder)?;
        let ip6 = with_ip6.then_some(IpAddr::from(server.spec.ipv6));
        for address in [Some(IpAddr::from(server.spec.ipv4)), ip6].into_iter().flatten() {
            reach(client, address)?;
            let to = folder.join("fetched");
            let fetched = fetch(&client.namespace, address, "file", &to)
                .with_context(|| format!("{} from {address}", client.spec.name))?;
            ensure!(fetched.status == 200, "{address}: status {}", fetched.status);
            ensure!(fs::read(&to)? == content, "{address}: the content differs");
        }
        for host in [server, client] {
            let complaints = complaints(host)?;
            ensure!(complaints.is_empty(), "{} complains: {complaints:?}", host.spec.name);
        }
    }
    Ok(())
}

/// Runs one daemon between Alice and Bob, whose offloads are on, off, and on on one side only.
fn demand_exchange(alice: HostSpec, bob: HostSpec) -> Result<()> {
    let case = format!("{:?} {:?} – {:?} {:?}", alice.link, alice.mtu, bob.link, bob.mtu);
    let topology = Topology::create([alice, bob])?;
    let folder = raddle_tests::scratch::directory()?;
    fs::write(folder.path().join("file"), content())?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    topology.await_taps()?;
    for (alice, bob) in [(true, true), (false, false), (true, false)] {
        set_offloads(topology.host("alice"), alice)?;
        set_offloads(topology.host("bob"), bob)?;
        exchange(&topology, folder.path(), true)
            .with_context(|| format!("{case}, offloads {alice} and {bob}"))?;
    }
    daemon.stop()
}

fn alice() -> HostSpec {
    HostSpec::new("alice", "east", 1)
}

fn bob() -> HostSpec {
    HostSpec::new("bob", "west", 2)
}

#[test]
fn content_arrives_intact_over_veth_pairs_of_every_mtu() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    for (east, west) in [(1280, 1280), (1500, 1500), (9000, 9000), (9000, 1500), (1500, 1280)] {
        demand_exchange(alice().with_mtu(east), bob().with_mtu(west))?;
    }
    Ok(())
}

#[test]
fn content_arrives_intact_between_taps_and_veth_pairs() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    for (east, west) in [(1500, 1500), (9000, 9000), (1280, 9000)] {
        demand_exchange(alice().with_mtu(east).with_tap(), bob().with_mtu(west))?;
    }
    demand_exchange(alice().with_mtu(1500).with_tap(), bob().with_mtu(1500).with_tap())
}

// Feature `gro`: segments that come one by one go on together, and arrive as they were sent.
#[test]
fn segments_that_are_merged_on_input_arrive_intact() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::create([alice(), bob()])?;
    let folder = raddle_tests::scratch::directory()?;
    fs::write(folder.path().join("file"), content())?;
    let merging = "features = [\"gro\"]\n";
    let config = DaemonConfig::new().interface(&alice(), merging).interface(&bob(), merging);
    let daemon = Daemon::start(&topology.router, &config)?;
    for host in topology.hosts() {
        set_offloads(host, false)?;
    }
    exchange(&topology, folder.path(), true)?;
    let packets = |name| raddle_tests::observe::interface(&daemon, name)?.context("no such interface");
    let (east, west) = (packets("east")?, packets("west")?);
    // Half of the content goes each way.
    ensure!(east.tx_packets * 3 < west.rx_packets * 2, "{east:?} {west:?}");
    set_offloads(topology.host("alice"), true)?;
    exchange(&topology, folder.path(), true)?;
    daemon.stop()
}

// RFC 1191: whoever sets "don't fragment" learns the MTU, whoever does not is cut up for.
#[test]
fn rfc_1191_content_arrives_intact_over_a_link_of_576_bytes() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::create([alice(), bob()])?;
    topology.host("bob").namespace.ip("link set eth0 mtu 576")?;
    let folder = raddle_tests::scratch::directory()?;
    fs::write(folder.path().join("file"), content())?;
    let west = &bob();
    let config = DaemonConfig::new().interface(&alice(), "").with(&format!(
        "[interface.west]\ndriver = \"af-packet\"\ndevice = \"west\"\naddresses = [\"{}/24\"]\nmtu = 576\n",
        west.gateway4
    ));
    let daemon = Daemon::start(&topology.router, &config)?;
    for on in [true, false] {
        for host in topology.hosts() {
            set_offloads(host, on)?;
            host.namespace.ip("route flush cache")?;
        }
        exchange(&topology, folder.path(), false).with_context(|| format!("offloads {on}"))?;
    }
    // Without "don't fragment": GSO packets are cut into segments, and those into fragments.
    topology.host("alice").namespace.set("ipv4/ip_no_pmtu_disc", "1")?;
    for host in topology.hosts() {
        host.namespace.ip("route flush cache")?;
        set_offloads(host, true)?;
    }
    exchange(&topology, folder.path(), false).context("without path MTU discovery")?;
    daemon.stop()
}

#[test]
fn mtu_is_set_while_traffic_flows() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::create([alice().with_mtu(9000), bob().with_mtu(9000)])?;
    let folder = raddle_tests::scratch::directory()?;
    fs::write(folder.path().join("file"), content())?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    for mtu in [9000, 1280, 4000] {
        daemon.ctl(&format!("set interface mtu west {mtu}"))?;
        topology.host("bob").namespace.ip(&format!("link set eth0 mtu {mtu}"))?;
        topology.host("bob").namespace.ip(&format!("-6 route replace default via {}", bob().gateway6))?;
        let shown = daemon.ctl_json("show interface west")?;
        ensure!(shown.to_string().contains(&format!("\"mtu\":{mtu}")), "{shown}");
        exchange(&topology, folder.path(), true).with_context(|| format!("MTU {mtu}"))?;
    }
    for (mtu, sentence) in [
        ("0", "an MTU of 0 cannot be set: it must be between 68 and 65535 bytes"),
        ("67", "an MTU of 67 cannot be set: it must be between 68 and 65535 bytes"),
        ("70000", "an MTU of 70000 cannot be set: it must be between 68 and 65535 bytes"),
    ] {
        let refused = daemon.try_ctl(&format!("set interface mtu west {mtu}"))?;
        ensure!(refused.stderr.contains(sentence) && refused.code != Some(0), "{}", refused.stderr);
    }
    daemon.stop()
}

// Packets that stand for the fragments of a datagram (UFO): taps do not take them, and packet sockets are never given any, so
// that Linux cuts them before they come. Sent by a packet socket, as guests of old do.
#[test]
fn datagrams_that_a_guest_leaves_uncut_arrive_whole() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Python, Need::Scapy, Need::Raddle]) {
        return Ok(());
    }
    for alice in [alice(), alice().with_tap()] {
        let topology = Topology::create([alice, bob()])?;
        let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
        topology.await_taps()?;
        let (alice, bob) = (topology.host("alice"), topology.host("bob"));
        reach(alice, bob.spec.ipv4.into())?;
        let mut receiver = Judge::start(&bob.namespace)?;
        receiver.run(
            "
            datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            datagrams.bind((args, 4711))
            datagrams.settimeout(20)
            ",
            json!(bob.spec.ipv4),
        )?;
        Judge::start(&alice.namespace)?.run(
            "
            PACKET_VNET_HDR, NEEDS_CSUM, GSO_UDP = 15, 1, 3
            data = bytes(n % 251 for n in range(5000))
            whole = IP(src=args['me'], dst=args['to'], id=7) / UDP(sport=5, dport=4711) / Raw(data)
            frame = bytes(Ether(src=mac(), dst=gateway_mac(args['gw'], args['me'])) / whole)
            # The checksum's field has the sum of the pseudo header.
            pseudo = socket.inet_aton(args['me']) + socket.inet_aton(args['to']) + struct.pack('!BBH', 0, 17, 5008)
            frame = frame[:40] + (~checksum(pseudo) & 0xffff).to_bytes(2, 'big') + frame[42:]
            header = struct.pack('<BBHHHH', NEEDS_CSUM, GSO_UDP, 42, 1480, 34, 6)
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as output:
                output.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
                output.bind((DEVICE, 0x0800))
                output.send(header + frame)
            ",
            json!({ "me": alice.spec.ipv4, "gw": alice.spec.gateway4, "to": bob.spec.ipv4 }),
        )?;
        let arrived = receiver.run(
            "
            got = datagrams.recv(65535)
            result = [len(got), got == bytes(n % 251 for n in range(5000))]
            ",
            json!({}),
        )?;
        assert_eq!(arrived, json!([5000, true]), "{:?}", errors(&daemon)?);
        daemon.stop()?;
    }
    Ok(())
}

// What a device without offloads sends: segments of a datagram train that came whole (UDP_SEGMENT), judged by scapy.
#[test]
fn device_without_offloads_sends_segments_with_right_checksums() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Scapy, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::create([alice()])?;
    let host = topology.host("alice");
    let folder = raddle_tests::scratch::directory()?;
    let capture = folder.path().join("out.pcap");
    let config = DaemonConfig::routed(&topology).with(&format!(
        r#"
        [interface.out]
        driver = "packet-generator"
        capture = "{}"
        addresses = ["10.0.9.1/24", "2001:db8:9::1/64"]

        [[neighbor]]
        interface = "out"
        address = "10.0.9.2"
        mac = "02:00:00:00:09:02"

        [[neighbor]]
        interface = "out"
        address = "2001:db8:9::2"
        mac = "02:00:00:00:09:02"
        "#,
        capture.display()
    ));
    let daemon = Daemon::start(&topology.router, &config)?;
    reach(host, host.spec.gateway4.into())?;
    reach(host, host.spec.gateway6.into())?;
    let mut judge = Judge::start(&host.namespace)?;
    judge.run(
        "
        UDP_SEGMENT = 103
        data = bytes(n % 251 for n in range(5001))
        for family, address in ((socket.AF_INET, '10.0.9.2'), (socket.AF_INET6, '2001:db8:9::2')):
            train = socket.socket(family, socket.SOCK_DGRAM)
            train.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1200)
            train.sendto(data, (address, 4711))
            # A partial checksum alone.
            plain = socket.socket(family, socket.SOCK_DGRAM)
            plain.sendto(data[:77], (address, 4712))
        ",
        json!({}),
    )?;
    wait_for("12 packets to be sent", Duration::from_secs(20), || {
        let sent = raddle_tests::observe::interface(&daemon, "out")?.context("no interface out")?.tx_packets;
        Ok((sent >= 12).then_some(()))
    })?;
    let drops = errors(&daemon)?;
    ensure!(!drops.iter().any(|drop| drop.node == "tx-offload"), "{drops:?}");
    daemon.stop()?;
    let facts = judge.run(
        "
        facts = []
        for version in (IP, IPv6):
            train = [p for p in rdpcap(args['capture']) if version in p and UDP in p and p[UDP].dport == 4711]
            plain = [p for p in rdpcap(args['capture']) if version in p and UDP in p and p[UDP].dport == 4712]
            whole = b''.join(bytes(p[UDP].payload) for p in train)
            wrong = [w for p in train + plain for w in wrong_checksums(p)]
            facts.append([[len(p[UDP].payload) for p in train], whole == data, len(plain), wrong])
        result = facts
        ",
        json!({ "capture": capture }),
    )?;
    let expected = json!([[1200, 1200, 1200, 1200, 201], true, 1, []]);
    assert_eq!(facts, json!([expected, expected]));
    Ok(())
}
