//! IPsec ESP with independent peers: scapy's `SecurityAssociation` both ways, tshark that decrypts, and another raddle with real clients
//! (RFC 4303, RFC 4301, RFC 3948).

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use raddle_tests::iperf::Direction;
use raddle_tests::ping::ping_with;
use raddle_tests::wait::wait_for;
use raddle_tests::{
    Daemon, DaemonConfig, Host, IperfServer, Judge, Need, Topology, command, iperf, ping, requirement,
    target_dir, wait_until,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const NEEDS: &[Need] = &[
    Need::Ping,
    Need::Python,
    Need::Scapy,
    Need::Cryptography,
    Need::Tshark,
    Need::Iperf,
    Need::Raddle,
    Need::Ipsec,
];

/// An algorithm as raddle, scapy and tshark call it, with the bytes of its keys.
struct Algorithm {
    encryption: &'static str,
    integrity: &'static str,
    scapy: (&'static str, &'static str),
    tshark: (&'static str, &'static str),
    key_bytes: (usize, usize),
}

const fn algorithm(
    encryption: &'static str,
    integrity: &'static str,
    scapy: (&'static str, &'static str),
    tshark: (&'static str, &'static str),
    key_bytes: (usize, usize),
) -> Algorithm {
    Algorithm { encryption, integrity, scapy, tshark, key_bytes }
}

const GCM: (&str, &str) = ("AES-GCM with 16 octet ICV [RFC4106]", "NULL");
const SHA1: &str = "HMAC-SHA-1-96 [RFC2404]";
const SHA256: &str = "HMAC-SHA-256-128 [RFC4868]";

const ALGORITHMS: [Algorithm; 12] = [
    algorithm("aes-gcm-128", "", ("AES-GCM", ""), GCM, (20, 0)),
    algorithm("aes-gcm-192", "", ("AES-GCM", ""), GCM, (28, 0)),
    algorithm("aes-gcm-256", "", ("AES-GCM", ""), GCM, (36, 0)),
    algorithm("chacha20-poly1305", "", ("CHACHA20-POLY1305", ""), ("", ""), (36, 0)),
    algorithm(
        "aes-cbc-128",
        "hmac-sha-1",
        ("AES-CBC", "HMAC-SHA1-96"),
        ("AES-CBC [RFC3602]", SHA1),
        (16, 20),
    ),
    algorithm(
        "aes-cbc-192",
        "hmac-sha-256",
        ("AES-CBC", "SHA2-256-128"),
        ("AES-CBC [RFC3602]", SHA256),
        (24, 32),
    ),
    algorithm(
        "aes-cbc-256",
        "hmac-sha-384",
        ("AES-CBC", "SHA2-384-192"),
        ("AES-CBC [RFC3602]", "HMAC-SHA-384-192 [RFC4868]"),
        (32, 48),
    ),
    algorithm(
        "aes-cbc-256",
        "hmac-sha-512",
        ("AES-CBC", "SHA2-512-256"),
        ("AES-CBC [RFC3602]", "HMAC-SHA-512-256 [RFC4868]"),
        (32, 64),
    ),
    algorithm(
        "aes-ctr-128",
        "hmac-sha-256",
        ("AES-CTR", "SHA2-256-128"),
        ("AES-CTR [RFC3686]", SHA256),
        (20, 32),
    ),
    algorithm(
        "aes-ctr-192",
        "hmac-sha-1",
        ("AES-CTR", "HMAC-SHA1-96"),
        ("AES-CTR [RFC3686]", SHA1),
        (28, 20),
    ),
    algorithm(
        "aes-ctr-256",
        "hmac-sha-256",
        ("AES-CTR", "SHA2-256-128"),
        ("AES-CTR [RFC3686]", SHA256),
        (36, 32),
    ),
    algorithm("null", "hmac-sha-256", ("NULL", "SHA2-256-128"), ("NULL", SHA256), (0, 32)),
];

/// A key of so many bytes in hexadecimal digits, told from others by `seed`.
fn key(bytes: usize, seed: u8) -> String {
    (0..bytes).map(|n| format!("{:02x}", (n as u8).wrapping_mul(29).wrapping_add(seed))).collect()
}

/// Writes a key file that only root can read, and gives its path as the configuration wants it.
fn key_file(folder: &Path, name: &str, text: &str) -> Result<String> {
    let path = folder.join(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path.display().to_string())
}

/// An SA in the configuration.
struct Sa<'a> {
    name: String,
    direction: &'a str,
    spi: u32,
    interface: &'a str,
    ends: (IpAddr, IpAddr),
    keys: String,
    more: &'a str,
}

impl Sa<'_> {
    fn section(&self) -> String {
        let Sa { name, direction, spi, interface, ends: (local, remote), keys, more } = self;
        format!(
            "[ipsec.sa.{name}]\ndirection = \"{direction}\"\nspi = {spi}\ninterface = \"{interface}\"\n\
             local = \"{local}\"\nremote = \"{remote}\"\n{keys}{more}\n"
        )
    }
}

/// The lines of an SA with this algorithm, whose keys are told from others by `seed`.
fn keys(folder: &Path, algorithm: &Algorithm, seed: u8) -> Result<String> {
    let Algorithm { encryption, integrity, key_bytes, .. } = algorithm;
    let mut text = format!("encryption = \"{encryption}\"\n");
    if key_bytes.0 > 0 {
        let file = key_file(folder, &format!("cipher-{seed}"), &key(key_bytes.0, seed))?;
        text += &format!("key-file = \"{file}\"\n");
    }
    if key_bytes.1 > 0 {
        let file = key_file(folder, &format!("integrity-{seed}"), &key(key_bytes.1, seed ^ 0x55))?;
        text += &format!("integrity = \"{integrity}\"\nintegrity-key-file = \"{file}\"\n");
    }
    Ok(text)
}

/// The keys as scapy and tshark want them.
fn peer(algorithm: &Algorithm, seed: u8) -> Value {
    json!({
        "crypt": algorithm.scapy.0, "auth": algorithm.scapy.1,
        "crypt_key": key(algorithm.key_bytes.0, seed), "auth_key": key(algorithm.key_bytes.1, seed ^ 0x55),
    })
}

fn errors_of(daemon: &Daemon<'_>, reason: &str) -> Result<u64> {
    let shown = daemon.ctl_json("show errors")?;
    let rows = shown.as_array().cloned().unwrap_or_default();
    let of = |row: &Value| row["count"].as_u64().unwrap_or(0);
    let is_ours = |row: &&Value| row["node"].as_str().is_some_and(|node| node.starts_with("ipsec"));
    let is_it = |row: &&Value| row["reason"] == reason || row["error"] == reason;
    Ok(rows.iter().filter(is_ours).filter(is_it).map(of).sum())
}

/// Functions of the judges: a peer's SA, and what is asked of both ends.
const PEER: &str = "
    from copy import copy
    from scapy.layers.ipsec import ESP, SecurityAssociation
    ether = Ether(src=mac(), dst=args['router'])

    def association(spi, keys, source, target, udp=None, esn=False):
        header = (IPv6 if ':' in source else IP)(src=source, dst=target)
        nat = udp and UDP(sport=udp[0], dport=udp[1])
        sa = SecurityAssociation(ESP, spi=spi, crypt_algo=keys['crypt'], crypt_key=bytes.fromhex(keys['crypt_key']),
            auth_algo=keys['auth'] or None, auth_key=bytes.fromhex(keys['auth_key']) or None, tunnel_header=header,
            nat_t_header=nat, esn_en=esn, esn=0)
        if esn and sa.auth_algo.mac:
            # With ESP scapy leaves the number's high half out of what is authenticated (RFC 4303 section 2.2.1).
            sa.auth_algo = copy(sa.auth_algo)
            plain = sa.auth_algo.new_mac
            sa.auth_algo.new_mac = lambda key: Extended(plain(key))
        return sa

    class Extended:
        def __init__(self, mac):
            self.mac = mac

        def update(self, data):
            self.mac.update(data)

        def finalize(self):
            self.mac.update(bytes(4))
            return self.mac.finalize()

    def is_esp(spi):
        return lambda p: (ESP in p and p[ESP].spi == spi) or (UDP in p and p[UDP].dport in (4500, 5500)
            and bytes(p[UDP].payload)[:4] == spi.to_bytes(4, 'big'))
    result = True
";

fn judge(host: &Host, topology: &Topology) -> Result<Judge> {
    let mut judge = Judge::start(&host.namespace)?;
    judge.run(PEER, json!({ "router": host.router_mac(&topology.router)? }))?;
    Ok(judge)
}

/// What is punted is limited to next to nothing: ESP is not.
fn config(topology: &Topology, workers: u32, section: &str) -> DaemonConfig {
    const LIMITS: &str = "[punt.protocol]\nrate = 1\nburst = 1\n[punt.udp]\nrate = 1\nburst = 1\n";
    let config = DaemonConfig::routed(topology).plugins(&target_dir().join("plugins"));
    config.workers(workers).with(section).with(LIMITS)
}

/// Tunnels from raddle to bob, one for each algorithm in each family of outer headers.
struct Tunnel<'a> {
    number: usize,
    algorithm: &'a Algorithm,
    ends: (IpAddr, IpAddr),
    esn: bool,
    udp: bool,
}

impl Tunnel<'_> {
    fn section(&self, folder: &Path) -> Result<String> {
        let Tunnel { number, algorithm, ends, esn, udp } = self;
        let interface = format!("tun{number}");
        let mut more = if *esn { "esn = true\n".to_owned() } else { String::new() };
        if *udp {
            more += "udp-encapsulation = { local-port = 4500, remote-port = 5500 }\n";
        }
        let mut text = format!(
            "[interface.{interface}]\ndriver = \"ipsec\"\n\
             addresses = [\"10.9.{number}.1/24\", \"2001:db8:9:{number}::1/64\"]\nneighbor.dad = false\n"
        );
        for (direction, seed) in [("out", 2 * number), ("in", 2 * number + 1)] {
            let sa = Sa {
                name: format!("{direction}{number}"),
                direction,
                spi: 0x1000 + seed as u32,
                interface: &interface,
                ends: *ends,
                keys: keys(folder, algorithm, seed as u8)?,
                more: &more,
            };
            text += &sa.section();
        }
        Ok(text)
    }

    fn peer(&self) -> Value {
        let seed = 2 * self.number;
        json!({
            "out": peer(self.algorithm, seed as u8), "in": peer(self.algorithm, seed as u8 + 1),
            "spi": 0x1000 + seed, "router": self.ends.0, "bob": self.ends.1,
            "udp": self.udp.then_some([5500, 4500]), "esn": self.esn, "number": self.number,
        })
    }
}

/// All tunnels of the next test.
fn tunnels(topology: &Topology) -> Vec<Tunnel<'static>> {
    let bob = &topology.host("bob").spec;
    let four: (IpAddr, IpAddr) = (bob.gateway4.into(), bob.ipv4.into());
    let six: (IpAddr, IpAddr) = (bob.gateway6.into(), bob.ipv6.into());
    let mut tunnels = Vec::new();
    for (place, algorithm) in ALGORITHMS.iter().enumerate() {
        tunnels.push(Tunnel { number: place, algorithm, ends: four, esn: false, udp: place % 5 == 0 });
        let number = ALGORITHMS.len() + place;
        tunnels.push(Tunnel { number, algorithm, ends: six, esn: true, udp: false });
    }
    tunnels
}

#[test]
fn scapy_opens_what_raddle_seals_and_the_other_way_round() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let folder = raddle_tests::scratch::directory()?;
    let tunnels = tunnels(&topology);
    let mut section = String::new();
    for tunnel in &tunnels {
        section += &tunnel.section(folder.path())?;
    }
    let daemon = Daemon::start(&topology.router, &config(&topology, 1, &section))?;
    let answers = |host: &Host, address: IpAddr| {
        ping(&host.namespace, address, 3).is_ok_and(|report| report.received > 0)
    };
    wait_until("a way to bob", Duration::from_secs(30), || answers(alice, bob.spec.ipv4.into()))?;
    wait_until("bob's router", Duration::from_secs(30), || answers(bob, bob.spec.gateway6.into()))?;
    let mut inside = judge(alice, &topology)?;
    let mut outside = judge(bob, &topology)?;
    let (alice4, alice6) = (alice.spec.ipv4, alice.spec.ipv6);
    for tunnel in &tunnels {
        let peer = tunnel.peer();
        let name = format!("{} by {}, {peer}", tunnel.algorithm.encryption, tunnel.ends.0);
        for (inner, target) in [
            (IpAddr::from(alice4), format!("10.9.{}.77", tunnel.number)),
            (
                IpAddr::from(alice6),
                format!("2001:db8:9:{}::77", tunnel.number).parse::<Ipv6Addr>()?.to_string(),
            ),
        ] {
            // Out: bob listens before alice sends.
            outside.run(
                "
                peer = args['peer']
                sa = association(peer['spi'], peer['out'], peer['router'], peer['bob'], peer['udp'] and peer['udp'][::-1],
                                 peer['esn'])
                capture = Capture()
                result = True
                ",
                json!({ "peer": peer }),
            )?;
            inside.run(
                "
                ip = (IPv6 if ':' in args['target'] else IP)(src=args['source'], dst=args['target'])
                send([ether / ip / UDP(sport=4000, dport=53) / Raw(b'through the tunnel ' * 7)])
                result = True
                ",
                json!({ "source": inner, "target": target }),
            )?;
            let opened = outside.run(
                "
                found = capture.first(is_esp(peer['spi']))
                capture.close()
                if found is None:
                    result = 'nothing came'
                else:
                    outer = found[IPv6] if IPv6 in found else found[IP]
                    wrong = [] if IPv6 in found or checksum(bytes(outer)[:20]) == 0 else ['outer checksum']
                    inner = sa.decrypt(outer.__class__(bytes(outer)))
                    hops = inner.hlim if IPv6 in inner else inner.ttl
                    result = [inner.src, inner.dst, inner[UDP].dport, bytes(inner[UDP].payload).decode(), hops, wrong,
                              wrong_checksums(inner)]
                ",
                json!({}),
            )?;
            let text = "through the tunnel ".repeat(7);
            assert_eq!(opened, json!([inner, target, 53, text, 63, [], []]), "out: {name}");
            // In: alice listens before bob sends.
            inside.run("capture = Capture(); result = True", json!({}))?;
            outside.run(
                "
                back = association(peer['spi'] + 1, peer['in'], peer['bob'], peer['router'], peer['udp'], peer['esn'])
                ip = (IPv6 if ':' in args['target'] else IP)(src=args['target'], dst=args['source'])
                packet = ip / UDP(sport=53, dport=4000) / Raw(b'and back ' * 9)
                sequence = 1 + (':' in args['target'])
                send([ether / back.encrypt(packet, seq_num=sequence)])
                result = True
                ",
                json!({ "source": inner, "target": target }),
            )?;
            let back = inside.run(
                "
                found = capture.first(lambda p: UDP in p and p[UDP].dport == 4000 and p[UDP].sport == 53)
                capture.close()
                result = found is not None and [bytes(found[UDP].payload).decode(), wrong_checksums(found)]
                ",
                json!({}),
            )?;
            assert_eq!(back, json!(["and back ".repeat(9), []]), "in: {name}");
        }
    }
    let shown = daemon.ctl_json("show ipsec sa out0")?;
    assert_eq!(shown[0]["state"], "active");
    assert!(daemon.ctl("show ipsec tunnels")?.contains("tun0"));
    assert!(daemon.ctl("show ipsec engines")?.contains("aws-lc"));
    // What configuration and commands show has no key in it.
    let said = daemon.ctl("show config")? + &daemon.ctl("show ipsec sa")? + &daemon.log();
    assert!(!said.contains(&key(16, 0)), "a key is shown");
    daemon.stop()
}

/// A folder with the keys of one tunnel with AES-GCM to bob, and its section.
fn one_tunnel(topology: &Topology, more: &str) -> Result<(TempDir, String)> {
    let bob = &topology.host("bob").spec;
    let folder = raddle_tests::scratch::directory()?;
    let ends = (bob.gateway4.into(), bob.ipv4.into());
    let tunnel = Tunnel { number: 0, algorithm: &ALGORITHMS[0], ends, esn: false, udp: false };
    let section = tunnel
        .section(folder.path())?
        .replace("driver = \"ipsec\"\n", &format!("driver = \"ipsec\"\n{more}"));
    Ok((folder, section))
}

#[test]
fn tshark_decrypts_what_raddle_sent() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let folder = raddle_tests::scratch::directory()?;
    let tunnels: Vec<_> = tunnels(&topology)
        .into_iter()
        .filter(|t| t.ends.0.is_ipv4() && !t.udp && !t.algorithm.tshark.0.is_empty())
        .collect();
    let mut section = String::new();
    for tunnel in &tunnels {
        section += &tunnel.section(folder.path())?;
    }
    let daemon = Daemon::start(&topology.router, &config(&topology, 0, &section))?;
    assert!(ping(&alice.namespace, bob.spec.ipv4, 3)?.received > 0, "no way to bob");
    let mut inside = judge(alice, &topology)?;
    let mut outside = judge(bob, &topology)?;
    let file = folder.path().join("sent.pcap");
    outside.run("capture = Capture(); result = True", json!({}))?;
    let targets: Vec<_> = tunnels.iter().map(|tunnel| format!("10.9.{}.77", tunnel.number)).collect();
    inside.run(
        "
        for number, target in enumerate(args['targets']):
            send([ether / IP(src=args['source'], dst=target) / UDP(sport=4000, dport=6000 + number) / Raw(b'seen' * 50)])
        result = True
        ",
        json!({ "source": alice.spec.ipv4, "targets": targets }),
    )?;
    outside.run(
        "
        # Reports of group members, which raddle itself sends, are shorter.
        found = capture.collect(lambda p: ESP in p and len(p) > 200, 10, args['count'])
        wrpcap(args['file'], found)
        result = len(found)
        ",
        json!({ "count": targets.len(), "file": file }),
    )?;
    let mut tshark = bob.namespace.command("tshark");
    tshark.args(["-r", &file.display().to_string(), "-o", "esp.enable_encryption_decode:TRUE"]);
    tshark.args(["-o", "esp.enable_authentication_check:TRUE"]);
    for tunnel in &tunnels {
        let seed = 2 * tunnel.number as u8;
        let (encryption, integrity) = tunnel.algorithm.tshark;
        let hex = |bytes: usize, seed: u8| {
            if bytes == 0 { String::new() } else { format!("0x{}", key(bytes, seed)) }
        };
        let (cipher, auth) =
            (hex(tunnel.algorithm.key_bytes.0, seed), hex(tunnel.algorithm.key_bytes.1, seed ^ 0x55));
        let spi = 0x1000 + 2 * tunnel.number;
        tshark.args([
            "-o",
            &format!(
                "uat:esp_sa:\"IPv4\",\"*\",\"*\",\"{spi:#010x}\",\"{encryption}\",\"{cipher}\",\"{integrity}\",\"{auth}\",\"32-bit\",\"\""
            ),
        ]);
    }
    tshark.args(["-T", "fields", "-e", "ip.dst", "-e", "udp.dstport"]);
    let text = command::run(&mut tshark)?;
    for (number, target) in targets.iter().enumerate() {
        let line = format!("{},{target}\t{}", bob.spec.ipv4, 6000 + number);
        assert!(
            text.lines().any(|found| found == line),
            "{}: {line:?} in:\n{text}",
            tunnels[number].algorithm.encryption
        );
    }
    daemon.stop()
}

// RFC 4303 §3.4: what a peer must not get through, each counted under its reason; and the daemon goes on.
#[test]
fn bad_packets_are_counted_and_nothing_else_comes_of_them() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let (_folder, section) = one_tunnel(&topology, "")?;
    for workers in [0, 2] {
        let daemon = Daemon::start(&topology.router, &config(&topology, workers, &section))?;
        assert!(ping(&alice.namespace, alice.spec.gateway4, 3)?.received > 0, "alice's router");
        assert!(ping(&bob.namespace, bob.spec.gateway4, 3)?.received > 0, "bob's router");
        let mut outside = judge(bob, &topology)?;
        let sent = outside.run(
            "
            keys, router, bob = args['keys'], args['there'], args['bob']
            sa = association(0x1001, keys, bob, router)
            def sealed(sequence, inner=None, by=sa):
                inner = inner or IP(src='10.9.0.77', dst=args['alice']) / UDP(sport=1, dport=9) / Raw(b'x' * 40)
                return by.encrypt(inner, seq_num=sequence)
            good = bytes(sealed(100))
            def cut(length):
                packet = IP(good[:length])
                del packet.len, packet.chksum
                return packet
            wrong_key = dict(keys, crypt_key=keys['crypt_key'][::-1])
            other = association(0x1001, wrong_key, bob, router)
            unknown = association(0x9999, keys, bob, router)
            elsewhere = association(0x1001, keys, '10.0.2.99', router)
            text = IP(src='10.9.0.77', dst=args['alice'])
            send([ether / IP(good), ether / IP(good)])                       # replay
            send([ether / sealed(101, by=other)])                            # integrity
            send([ether / sealed(2 ** 31, by=other)])                        # far future, not authentic
            send([ether / sealed(102, by=unknown)])                          # no-sa
            send([ether / sealed(103, by=elsewhere)])                        # outer-mismatch
            send([ether / cut(length) for length in (21, 28, 40, 52, 53)])   # runt
            send([ether / cut(80)])                                          # replay: looked at before the ICV
            # Authentic, and yet no packet: a tunnel that carries something else.
            import struct
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            key = bytes.fromhex(keys['crypt_key'])
            def raw(sequence, text):
                iv = struct.pack('!Q', sequence)
                head = struct.pack('!LL', 0x1001, sequence)
                body = AESGCM(key[:16]).encrypt(key[16:] + iv, text, head)
                return ether / IP(src=bob, dst=router, proto=50) / Raw(head + iv + body)
            send([raw(104, b'a' * 14 + bytes([9, 4]))])                      # bad-padding: not 1, 2, 3
            send([raw(105, b'a' * 14 + bytes([255, 4]))])                    # bad-padding: longer than the packet
            send([raw(106, b'a' * 14 + bytes([0, 4]))])                      # selector-mismatch: no IP header
            send([raw(107, bytes(text / UDP() / Raw(b'abcd')) + bytes([1, 2, 2, 41]))])  # selector-mismatch: IPv4 named IPv6
            send([raw(108, bytes(UDP() / Raw(b'abcdef')) + bytes([0, 17]))]) # selector-mismatch: transport mode
            send([raw(109, bytes([0, 59]) * 8)])                             # dummy
            result = True
            ",
            json!({
                "keys": peer(&ALGORITHMS[0], 1), "bob": bob.spec.ipv4, "there": bob.spec.gateway4,
                "alice": alice.spec.ipv4,
            }),
        )?;
        assert_eq!(sent, json!(true));
        for (reason, count) in [
            ("replay", 2),
            ("integrity", 2),
            ("no-sa", 1),
            ("outer-mismatch", 1),
            ("runt", 5),
            ("bad-padding", 2),
            ("selector-mismatch", 3),
            ("dummy", 1),
        ] {
            wait_for(reason, Duration::from_secs(20), || {
                Ok((errors_of(&daemon, reason)? >= count).then_some(()))
            })?;
            assert_eq!(errors_of(&daemon, reason)?, count, "{reason} with {workers} workers");
        }
        let shown = daemon.ctl_json("show ipsec sa in0")?;
        assert_eq!((&shown[0]["sequence"], &shown[0]["packets"]), (&json!(109), &json!(1)));
        daemon.stop()?;
    }
    Ok(())
}

// RFC 4303 §3.3.4, §3.4.1: fragments of ESP packets are put together before they are opened, and what is too long for the way is cut after
// it was sealed; RFC 4301 §8.2: senders hear how much fits.
#[test]
fn fragments_and_path_mtu() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let (_folder, section) = one_tunnel(&topology, "")?;
    let daemon = Daemon::start(&topology.router, &config(&topology, 1, &section))?;
    assert!(ping(&alice.namespace, bob.spec.ipv4, 3)?.received > 0, "no way to bob");
    let shown = daemon.ctl_json("show ipsec tunnels")?;
    // 1,500 less 20 of IP, 16 of ESP and IV, 16 of ICV, in blocks of 4, less 2 of trailer.
    assert_eq!(shown[0]["mtu"], 1446, "{shown}");
    let report = ping_with(
        &alice.namespace,
        "10.9.0.77".parse::<IpAddr>()?,
        &["-c", "1", "-W", "5", "-M", "do", "-s", "1472"],
    )?;
    assert!(report.text.contains("mtu = 1446") || report.text.contains("mtu=1446"), "{}", report.text);
    let (mut inside, mut outside) = (judge(alice, &topology)?, judge(bob, &topology)?);
    let arguments = json!({
        "keys": peer(&ALGORITHMS[0], 1), "out": peer(&ALGORITHMS[0], 0), "bob": bob.spec.ipv4,
        "there": bob.spec.gateway4, "alice": alice.spec.ipv4,
    });
    inside.run("capture = Capture(); result = True", json!({}))?;
    outside.run(
        "
        sa = association(0x1001, args['keys'], args['bob'], args['there'])
        inner = IP(src='10.9.0.77', dst=args['alice']) / UDP(sport=1, dport=9) / Raw(b'0123456789' * 300)
        parts = fragment(sa.encrypt(inner, seq_num=5), 1200)
        send([ether / part for part in parts[::-1]])
        result = len(parts)
        ",
        arguments.clone(),
    )?;
    let back = inside.run(
        "
        found = capture.collect(lambda p: IP in p and p[IP].src == '10.9.0.77', 10, 3)
        capture.close()
        whole = defragment(found)
        result = [len(found), [bytes(p[UDP].payload) == b'0123456789' * 300 for p in whole if UDP in p]]
        ",
        json!({}),
    )?;
    // 3,028 bytes leave in three packets of alice's link.
    assert_eq!(back, json!([3, [true]]));
    // A tunnel with an MTU of its own: the ESP packets are cut.
    daemon.ctl("set interface mtu tun0 1500")?;
    outside.run("capture = Capture(); result = True", json!({}))?;
    inside.run(
        "
        send([ether / IP(src=args['alice'], dst='10.9.0.77') / UDP(sport=1, dport=9) / Raw(b'long' * 367)])
        result = True
        ",
        arguments.clone(),
    )?;
    let opened = outside.run(
        "
        found = capture.collect(lambda p: IP in p and p[IP].proto == 50, 10, 2)
        capture.close()
        whole = [p for p in defragment(found) if ESP in p]
        sa = association(0x1000, args['out'], args['there'], args['bob'])
        result = [len(found), [len(sa.decrypt(IP(bytes(p[IP])))[UDP].payload) for p in whole]]
        ",
        arguments,
    )?;
    assert_eq!(opened, json!([2, [1468]]));
    daemon.stop()
}

/// What two raddles with a tunnel between them are told: the first is the router of alice, the second is bob's.
fn two_gateways(topology: &Topology, folder: &Path, algorithm: &Algorithm) -> Result<(String, DaemonConfig)> {
    let bob = &topology.host("bob").spec;
    let (one, two): (IpAddr, IpAddr) = (bob.gateway4.into(), bob.ipv4.into());
    let sas = |ends: (IpAddr, IpAddr), out: u8, more: &str| -> Result<String> {
        let mut text = String::new();
        for (direction, seed) in [("out", out), ("in", 1 - out)] {
            text += &Sa {
                name: direction.to_owned(),
                direction,
                spi: 0x2000 + u32::from(seed),
                interface: "tun",
                ends,
                keys: keys(folder, algorithm, seed)?,
                more,
            }
            .section();
        }
        Ok(text)
    };
    let tunnel = |address: &str, prefix: &str| {
        format!(
            "[interface.tun]\ndriver = \"ipsec\"\naddresses = [\"{address}/30\"]\n\n\
             [[route]]\nprefix = \"{prefix}\"\ninterface = \"tun\"\n"
        )
    };
    let first = tunnel("10.200.0.1", "10.9.9.0/24") + &sas((one, two), 0, "")?;
    let second = DaemonConfig::new()
        .plugins(&target_dir().join("plugins"))
        .with(&format!(
            "[interface.uplink]\ndriver = \"af-packet\"\ndevice = \"eth0\"\naddresses = [\"{two}/24\"]\nneighbor.dad = false\n"
        ))
        .with("[interface.inside]\ndriver = \"tap\"\ndevice = \"inside\"\naddresses = [\"10.9.9.1/24\"]\nhost-addresses = [\"10.9.9.2/24\"]\n")
        .with(&(tunnel("10.200.0.2", "10.0.1.0/24") + &sas((two, one), 1, "")?));
    Ok((first, second))
}

#[test]
fn two_gateways_carry_real_clients_while_keys_are_changed() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    bob.namespace.ip("address flush dev eth0")?;
    let server: IpAddr = "10.9.9.2".parse()?;
    for (algorithm, workers) in [(&ALGORITHMS[0], 2), (&ALGORITHMS[5], 0)] {
        let folder = raddle_tests::scratch::directory()?;
        let (first, second) = two_gateways(&topology, folder.path(), algorithm)?;
        let one = Daemon::start(&topology.router, &config(&topology, workers, &first))?;
        let two = Daemon::start(&bob.namespace, &second)?;
        wait_for("the tap inside", Duration::from_secs(20), || {
            Ok(bob.namespace.interfaces()?.into_iter().find(|name| name == "inside"))
        })?;
        bob.namespace.ip("route replace 10.0.1.0/24 via 10.9.9.1")?;
        assert!(ping(&alice.namespace, server, 10)?.received > 0, "no way through the tunnel");
        {
            let _server = IperfServer::start(&bob.namespace)?;
            for direction in [Direction::Upload, Direction::Download] {
                let moved = iperf(&alice.namespace, server, direction, 1)?;
                assert!(moved.len_bytes > 200_000, "{direction:?}: {moved:?}");
            }
        }
        // New keys, both ways, make before break: not one echo is lost.
        let (a, b) = (bob.spec.gateway4, bob.spec.ipv4);
        let new = [
            key_file(folder.path(), "new-0", &key(20, 200))?,
            key_file(folder.path(), "new-1", &key(20, 201))?,
        ];
        let add = |name: &str, direction: &str, spi: u32, (local, remote), file: &str| {
            format!(
                "ipsec sa add {name} direction {direction} spi {spi} interface tun local {local} remote {remote} \
                 encryption aes-gcm-128 key-file {file}"
            )
        };
        let echoes = std::thread::scope(|scope| -> Result<_> {
            let echoes =
                scope.spawn(|| ping_with(&alice.namespace, server, &["-c", "150", "-i", "0.02", "-W", "5"]));
            two.ctl(&add("in2", "in", 0x3000, (b, a), &new[0]))?;
            one.ctl(&add("in2", "in", 0x3001, (a, b), &new[1]))?;
            one.ctl(&add("out2", "out", 0x3000, (a, b), &new[0]))?;
            two.ctl(&add("out2", "out", 0x3001, (b, a), &new[1]))?;
            for gateway in [&one, &two] {
                wait_for("the new SA", Duration::from_secs(20), || {
                    let shown = gateway.ctl_json("show ipsec sa in2")?;
                    Ok((shown[0]["packets"].as_u64() > Some(0)).then_some(()))
                })?;
            }
            for (gateway, sa) in [(&one, "out"), (&two, "out"), (&one, "in"), (&two, "in")] {
                gateway.ctl(&format!("ipsec sa delete {sa}"))?;
            }
            echoes.join().ok().context("the pings")?
        })?;
        assert!(echoes.is_complete(), "{}", echoes.text);
        let shown = one.ctl_json("show ipsec tunnels")?;
        assert_eq!((&shown[0]["sends-by"], &shown[0]["receives-by"]), (&json!("out2"), &json!(["in2"])));
        assert_eq!(errors_of(&one, "integrity")? + errors_of(&two, "replay")? + errors_of(&two, "no-sa")?, 0);
        two.stop()?;
        one.stop()?;
    }
    Ok(())
}

// RFC 4301 §5: by policies, in place of routes. What must come by the tunnel does not come without it, and what policies let go goes.
#[test]
fn policies_protect_bypass_and_discard() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let (_folder, section) = one_tunnel(&topology, "")?;
    // Bob himself is judged by port: no route leads into the tunnel.
    let policies = format!(
        "[ipsec.policies]\ninterfaces = [\"west\"]\n\
         [[ipsec.policies.out]]\naction = \"protect\"\ntunnel = \"tun0\"\ndestination = \"{bob}/32\"\nprotocol = \"udp\"\ndestination-ports = [7000, 7009]\n\
         [[ipsec.policies.out]]\naction = \"discard\"\nprotocol = \"udp\"\ndestination-ports = [7010, 7010]\n\
         [[ipsec.policies.in]]\naction = \"protect\"\ntunnel = \"tun0\"\nsource = \"{bob}/32\"\nprotocol = \"udp\"\nsource-ports = [7000, 7009]\n",
        bob = bob.spec.ipv4
    );
    let daemon = Daemon::start(&topology.router, &config(&topology, 1, &(section + &policies)))?;
    wait_until("what no policy is for to go", Duration::from_secs(30), || {
        ping(&alice.namespace, bob.spec.ipv4, 3).is_ok_and(|report| report.is_complete())
    })?;
    let (mut inside, mut outside) = (judge(alice, &topology)?, judge(bob, &topology)?);
    let arguments = json!({
        "keys": peer(&ALGORITHMS[0], 1), "out": peer(&ALGORITHMS[0], 0), "bob": bob.spec.ipv4,
        "there": bob.spec.gateway4, "alice": alice.spec.ipv4,
    });
    outside.run("capture = Capture(); result = True", json!({}))?;
    inside.run(
        "
        for port in (7010, 7003, 7011):
            send([ether / IP(src=args['alice'], dst=args['bob']) / UDP(sport=5000, dport=port) / Raw(b'by policy')])
        result = True
        ",
        arguments.clone(),
    )?;
    let seen = outside.run(
        "
        found = capture.collect(
            # Not the errors by which Bob answers.
            lambda p: IP in p and p[IP].dst == args['bob']
                and (p[IP].proto == 50 or UDP in p and 7000 <= p[UDP].dport < 7020), 10, 2)
        capture.close()
        sa = association(0x1000, args['out'], args['there'], args['bob'])
        opened = [sa.decrypt(IP(bytes(p[IP]))) if p[IP].proto == 50 else p for p in found]
        result = sorted([p[UDP].dport, found[n][IP].proto] for n, p in enumerate(opened))
        ",
        arguments.clone(),
    )?;
    assert_eq!(seen, json!([[7003, 50], [7011, 17]]));
    inside.run("capture = Capture(); result = True", json!({}))?;
    outside.run(
        "
        sa = association(0x1001, args['keys'], args['bob'], args['there'])
        def packet(port):
            return IP(src=args['bob'], dst=args['alice']) / UDP(sport=port, dport=5000) / Raw(b'back')
        send([ether / packet(7001)])                               # not-protected
        send([ether / sa.encrypt(packet(7050), seq_num=1)])        # selector-mismatch
        send([ether / sa.encrypt(packet(7002), seq_num=2)])
        send([ether / packet(7051)])
        result = True
        ",
        arguments,
    )?;
    let back = inside.run(
        "
        found = capture.collect(lambda p: UDP in p and p[UDP].dport == 5000, 10, 2)
        capture.close()
        result = sorted(p[UDP].sport for p in found)
        ",
        json!({}),
    )?;
    assert_eq!(back, json!([7002, 7051]));
    for reason in ["not-protected", "selector-mismatch", "discarded"] {
        assert_eq!(errors_of(&daemon, reason)?, 1, "{reason}");
    }
    let shown = daemon.ctl_json("show ipsec spd")?;
    assert_eq!((&shown[0]["action"], &shown[0]["packets"]), (&json!("protect by tun0"), &json!(1)));
    daemon.stop()
}
