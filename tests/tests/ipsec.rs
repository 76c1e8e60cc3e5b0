//! IPsec ESP with independent peers: scapy's `SecurityAssociation` both ways, and tshark that decrypts (RFC 4303, RFC 4301, RFC 3948).

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use anyhow::Result;
use raddle_tests::esp::{ALGORITHMS, NEEDS, config, errors_of, judge, key, one_tunnel, peer, tunnels};
use raddle_tests::wait::wait_for;
use raddle_tests::{Daemon, Host, Topology, command, ping, requirement, wait_until};
use serde_json::json;

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
