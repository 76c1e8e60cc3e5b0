//! IPsec gateways at work: lengths and fragments, two raddles with real clients between them, and policies (RFC 4301, RFC 4303).

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use raddle_tests::esp::{
    ALGORITHMS, Algorithm, NEEDS, Sa, config, errors_of, judge, key, key_file, keys, one_tunnel, peer,
};
use raddle_tests::iperf::Direction;
use raddle_tests::ping::ping_with;
use raddle_tests::wait::wait_for;
use raddle_tests::{
    Daemon, DaemonConfig, IperfServer, Topology, iperf, ping, requirement, target_dir, wait_until,
};
use serde_json::json;

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
