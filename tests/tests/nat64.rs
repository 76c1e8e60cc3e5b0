//! NAT64 between an IPv6 host and an IPv4 host, with real clients and judged by scapy (RFC 6146, RFC 7915, RFC 6052).

use std::fs;
use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::Result;
use raddle_tests::iperf::Direction;
use raddle_tests::ping::ping_with;
use raddle_tests::wait::wait_for;
use raddle_tests::{
    Daemon, DaemonConfig, Host, HostSpec, IperfServer, Judge, Need, Topology, WebServer, fetch, iperf, ping,
    requirement, target_dir, wait_until,
};
use serde_json::{Value, json};

const NEEDS: &[Need] =
    &[Need::Ping, Need::Curl, Need::Iperf, Need::Python, Need::Scapy, Need::Raddle, Need::Nat64];
/// A prefix of the operator's own: bob's address is private, for which the well-known one must not stand.
const SECTION: &str = "[nat64]\nprefixes = [\"2001:db8:64::/96\"]\npool = [\"192.0.2.1\"]\n";

/// Bob, as alice knows him.
fn bob6(bob: &Host) -> Ipv6Addr {
    let [a, b, c, d] = bob.spec.ipv4.octets();
    let word = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, word(a, b), word(c, d))
}

fn config(topology: &Topology, workers: u32, section: &str) -> DaemonConfig {
    DaemonConfig::routed(topology).plugins(&target_dir().join("plugins")).workers(workers).with(section)
}

/// Takes alice's IPv4 and bob's IPv6 away, so that nothing but NAT64 is between them.
fn separate(topology: &Topology) -> Result<()> {
    topology.host("alice").namespace.ip("-4 address flush dev eth0")?;
    topology.host("bob").namespace.ip("-6 address flush dev eth0")?;
    Ok(())
}

#[test]
fn ping_curl_and_iperf3_go_from_an_ip6_only_host_to_an_ip4_only_server() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    separate(&topology)?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let folder = raddle_tests::scratch::directory()?;
    let page: Vec<u8> = (0..3_000_000_u32).map(|n| (n ^ n >> 8) as u8).collect();
    fs::write(folder.path().join("page"), &page)?;
    for workers in [0, 1, 2] {
        let daemon = Daemon::start(&topology.router, &config(&topology, workers, SECTION))?;
        assert!(ping(&alice.namespace, bob6(bob), 5)?.received > 0, "no way to bob with {workers} workers");
        let report =
            ping_with(&alice.namespace, bob6(bob), &["-c", "20", "-i", "0.02", "-W", "5", "-s", "1200"])?;
        assert!(report.is_complete(), "{}", report.text);
        {
            let _server = WebServer::start(&bob.namespace, folder.path())?;
            let to = folder.path().join("fetched");
            assert_eq!(fetch(&alice.namespace, bob6(bob), "page", &to)?.status, 200);
            assert!(fs::read(&to)? == page, "another page came");
        }
        let _server = IperfServer::start(&bob.namespace)?;
        for direction in [Direction::Upload, Direction::Download] {
            let moved = iperf(&alice.namespace, bob6(bob), direction, 1)?;
            assert!(moved.len_bytes > 1_000_000, "{direction:?}: {moved:?}");
        }
        let summary = daemon.ctl_json("show nat64 summary")?;
        assert!(summary["sessions"]["tcp"].as_u64() >= Some(3), "{summary}");
        let sessions = daemon.ctl_json("show nat64 sessions protocol icmp")?;
        let inside = format!("[{}]", alice.spec.ipv6);
        assert!(sessions[0]["inside"].as_str().is_some_and(|text| text.starts_with(&inside)), "{sessions}");
        assert!(daemon.ctl("show nat64 bib")?.contains("192.0.2.1:"));
        assert_eq!(daemon.ctl_json("show nat64 pools")?[0]["address"], "192.0.2.1");
        assert!(daemon.ctl_json("show nat64 subscribers")?[0]["sessions"].as_u64() >= Some(3));
        daemon.ctl("clear nat64 sessions protocol icmp")?;
        assert_eq!(daemon.ctl_json("show nat64 summary")?["sessions"]["icmp"], 0);
        daemon.stop()?;
    }
    Ok(())
}

// RFC 7915 sections 4 and 5: errors of raddle's own links, and of hosts.
#[test]
fn errors_reach_whom_they_are_for() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let specs = [HostSpec::new("alice", "east", 1), HostSpec::new("bob", "west", 2).with_mtu(1400)];
    let topology = Topology::create(specs)?;
    separate(&topology)?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &config(&topology, 2, SECTION))?;
    assert!(ping(&alice.namespace, bob6(bob), 5)?.received > 0, "no way to bob");
    // 1,480 bytes are too many for bob's link, which raddle says itself, as an IPv4 router to the pool address.
    let report = ping_with(&alice.namespace, bob6(bob), &["-c", "3", "-W", "5", "-M", "do", "-s", "1440"])?;
    assert!(report.text.contains("mtu=1420") || report.text.contains("mtu 1420"), "{}", report.text);
    let report = ping_with(&alice.namespace, bob6(bob), &["-c", "1", "-W", "5", "-t", "1"])?;
    assert!(report.text.contains("Time exceeded"), "{}", report.text);
    let mut judge = Judge::start(&alice.namespace)?;
    let refused = judge.run(
        "
        import socket as s
        def refused():
            with s.socket(s.AF_INET6, s.SOCK_DGRAM) as client:
                client.settimeout(10)
                client.connect((args['bob'], 9))
                client.send(b'anybody?')
                try:
                    client.recv(100)
                except ConnectionRefusedError:
                    return True
                except Exception as error:
                    return repr(error)
        result = refused()
        ",
        json!({ "bob": bob6(bob).to_string() }),
    )?;
    assert_eq!(refused, json!(true), "bob's port unreachable");
    daemon.stop()
}

/// What bob sees and answers as himself, in scapy: he gives each packet's fields, and sends what he is told.
fn judge_in(host: &Host, router: &Topology, bob: &Host) -> Result<Judge> {
    let mut judge = Judge::start(&host.namespace)?;
    judge.run(
        "
        ether = Ether(src=mac(), dst=args['router'])
        bob4, bob6, alice6 = args['bob4'], args['bob6'], args['alice6']
        result = None
        ",
        json!({
            "router": host.router_mac(&router.router)?,
            "bob4": bob.spec.ipv4, "bob6": bob6(bob),
            "alice6": router.host("alice").spec.ipv6,
        }),
    )?;
    Ok(judge)
}

fn errors_of(daemon: &Daemon<'_>, reason: &str) -> Result<u64> {
    let shown = daemon.ctl_json("show errors")?;
    let rows = shown.as_array().cloned().unwrap_or_default();
    let of = |row: &Value| row["count"].as_u64().unwrap_or(0);
    Ok(rows.iter().filter(|row| row["reason"] == reason || row["error"] == reason).map(of).sum())
}

/// The pool's port that stands for a UDP port inside, once there is one.
fn outside_port(daemon: &Daemon<'_>, inside: u16) -> Result<u16> {
    wait_for("a binding", Duration::from_secs(30), || {
        let bindings = daemon.ctl_json("show nat64 bib protocol udp")?;
        let ends =
            |row: &&Value| row["inside"].as_str().is_some_and(|text| text.ends_with(&format!("]:{inside}")));
        let row = bindings.as_array().into_iter().flatten().find(ends).cloned().unwrap_or_default();
        let port = row["outside"].as_str().and_then(|text| text.rsplit_once(':'));
        Ok(port.and_then(|(_, port)| port.parse().ok()))
    })
}

#[test]
fn scapy_judges_fragments_hairpins_and_what_must_not_pass() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for workers in [0, 2] {
        let daemon = Daemon::start(&topology.router, &config(&topology, workers, SECTION))?;
        assert!(ping(&alice.namespace, bob6(bob), 5)?.received > 0, "no way to bob");
        assert!(ping(&bob.namespace, bob.spec.gateway4, 3)?.received > 0, "bob's router");
        let mut inside = judge_in(alice, &topology, bob)?;
        let mut outside = judge_in(bob, &topology, bob)?;
        // Hairpin: two ports of alice's, by the pool's address; and fragments inside in any order, put together by bob's kernel.
        inside.run(
            "
            pool6 = args['pool6']
            result = send([ether / IPv6(src=alice6, dst=bob6) / UDP(sport=7001, dport=9)])
            ",
            json!({ "pool6": "2001:db8:64::c000:201" }),
        )?;
        // Each worker has its share of the ports, so 7001 may be another one outside.
        let hole = outside_port(&daemon, 7001)?;
        let found = inside.run(
            "
            frame = ether / IPv6(src=alice6, dst=pool6) / UDP(sport=7000, dport=args['hole']) / Raw(b'hairpin')
            def match(p):
                return UDP in p and p[UDP].dport == 7001 and IPv6 in p and p[IPv6].src == pool6
            back = ask(frame, match)
            result = back is not None and [back[UDP].sport, bytes(back[UDP].payload).decode()]
            ",
            json!({ "hole": hole }),
        )?;
        assert_eq!(found, json!([outside_port(&daemon, 7000)?, "hairpin"]), "{workers} workers");
        let listening = outside.run(
            "
            import socket as s
            listener = s.socket(s.AF_INET, s.SOCK_DGRAM)
            listener.settimeout(20)
            listener.bind(('0.0.0.0', 4000))
            result = True
            ",
            Value::Null,
        )?;
        assert_eq!(listening, json!(true));
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            inside.run(
                "
                data = bytes((n ^ n >> 8) & 0xff for n in range(3000))
                whole = bytes(IPv6(src=alice6, dst=bob6) / UDP(sport=5555, dport=4000) / Raw(data))[40:]
                ident = args['ident']
                cuts = [(0, 1000), (1000, 2000), (2000, len(whole))]
                parts = [ether / IPv6(src=alice6, dst=bob6) / IPv6ExtHdrFragment(nh=17, offset=a // 8, m=int(b < len(whole)), id=ident)
                         / Raw(whole[a:b]) for a, b in cuts]
                result = send([parts[n] for n in args['order']])
                ",
                json!({ "order": order, "ident": 70_000 + order[0] * 10 + order[1] }),
            )?;
            let got = outside.run(
                "
                got, peer = listener.recvfrom(65535)
                result = [got == bytes((n ^ n >> 8) & 0xff for n in range(3000)), peer[0]]
                ",
                Value::Null,
            )?;
            assert_eq!(got, json!([true, "192.0.2.1"]), "{order:?} with {workers} workers");
        }
        // The answer, longer than bob's link: he cuts it, raddle translates the parts, alice's kernel puts it together.
        inside.run(
            "
            import socket as s
            client = s.socket(s.AF_INET6, s.SOCK_DGRAM)
            client.settimeout(20)
            client.sendto(b'please', (bob6, 4000))
            result = None
            ",
            Value::Null,
        )?;
        outside.run(
            "
            listener.setsockopt(s.IPPROTO_IP, 10, 0)
            got, peer = listener.recvfrom(65535)
            listener.sendto(bytes((n ^ n >> 8) & 0xff for n in range(4000)), peer)
            listener.close()
            result = None
            ",
            Value::Null,
        )?;
        let got = inside.run(
            "
            got, peer = client.recvfrom(65535)
            client.close()
            result = [got == bytes((n ^ n >> 8) & 0xff for n in range(4000)), peer[0]]
            ",
            Value::Null,
        )?;
        assert_eq!(got, json!([true, bob6(bob).to_string()]), "{workers} workers");
        // Routing headers with segments left are refused with the place (RFC 7915 section 5.1).
        let pointer = inside.run(
            "
            frame = ether / IPv6(src=alice6, dst=bob6) / IPv6ExtHdrRouting(type=4, segleft=1, addresses=['::1']) / UDP(sport=1, dport=2)
            back = ask(frame, lambda p: ICMPv6ParamProblem in p)
            result = back is not None and [back[ICMPv6ParamProblem].code, back[ICMPv6ParamProblem].ptr]
            ",
            Value::Null,
        )?;
        assert_eq!(pointer, json!([0, 43]));
        // UDP without a checksum comes in with one (RFC 7915 section 4.5).
        inside.run(
            "send([ether / IPv6(src=alice6, dst=bob6) / UDP(sport=6001, dport=6002)]); result = None",
            Value::Null,
        )?;
        let hole = outside_port(&daemon, 6001)?;
        inside.run("early = Capture(); result = None", Value::Null)?;
        outside.run(
            "send([ether / IP(src=bob4, dst='192.0.2.1') / UDP(sport=6002, dport=args['hole'], chksum=0) / Raw(b'none')]); result = None",
            json!({ "hole": hole }),
        )?;
        let got = inside.run(
            "
            back = early.first(lambda p: UDP in p and p[UDP].dport == 6001)
            early.close()
            if back is None:
                result = None
            else:
                was = back[UDP].chksum
                del back[UDP].chksum
                result = [was == IPv6(bytes(back[IPv6]))[UDP].chksum, was != 0]
            ",
            Value::Null,
        )?;
        assert_eq!(got, json!([true, true]));
        // What claims to come from outside is not let in, and headers cut short at any byte do no harm.
        inside.run(
            "
            send([ether / IPv6(src=bob6, dst=bob6) / UDP(sport=1, dport=2)] * 3)
            for whole in (IPv6(src=alice6, dst=bob6) / TCP(sport=1, dport=2, flags='S'),
                          IPv6(src=alice6, dst=bob6) / IPv6ExtHdrFragment(nh=17, m=1) / UDP(sport=1, dport=2),
                          IPv6(src=alice6, dst=bob6) / ICMPv6DestUnreach() / IPv6(src=bob6, dst=alice6) / UDP()):
                data = bytes(whole)
                for length in range(40, len(data)):
                    cut = bytearray(data[:length])
                    cut[4:6] = (length - 40).to_bytes(2, 'big')
                    send([bytes(ether) + bytes(cut)])
            result = None
            ",
            Value::Null,
        )?;
        outside.run(
            "
            for whole in (IP(src=bob4, dst='192.0.2.1') / TCP(sport=1, dport=2, flags='S'),
                          IP(src=bob4, dst='192.0.2.1') / ICMP(type=3) / IP(src='192.0.2.1', dst=bob4) / UDP()):
                data = bytes(whole)
                for length in range(20, len(data)):
                    cut = IP(data[:length])
                    cut.len = length
                    del cut.chksum
                    send([ether / cut])
            result = None
            ",
            Value::Null,
        )?;
        wait_until("the lies to be counted", std::time::Duration::from_secs(30), || {
            errors_of(&daemon, "illegal-source").is_ok_and(|count| count >= 3)
        })?;
        assert!(ping(&alice.namespace, bob6(bob), 3)?.is_complete(), "all is well afterwards");
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn operators_mappings_let_servers_inside_be_reached() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let folder = raddle_tests::scratch::directory()?;
    fs::write(folder.path().join("page"), "from inside")?;
    let section = format!(
        "{SECTION}filtering = \"address-dependent\"\n\
         static = [{{ protocol = \"tcp\", inside = \"[{}]:8080\", outside = \"192.0.2.1:8080\" }}]\n\
         [nat64.subscribers]\nport-block-size = 256\nmax-sessions = 100\n",
        alice.spec.ipv6
    );
    let daemon = Daemon::start(&topology.router, &config(&topology, 2, &section))?;
    assert!(ping(&alice.namespace, bob6(bob), 5)?.received > 0, "no way to bob");
    let _server = WebServer::start(&alice.namespace, folder.path())?;
    let to = folder.path().join("fetched");
    let address: std::net::Ipv4Addr = "192.0.2.1".parse()?;
    assert_eq!(fetch(&bob.namespace, address, "page", &to)?.status, 200);
    assert_eq!(fs::read_to_string(&to)?, "from inside");
    let bib = daemon.ctl_json("show nat64 bib protocol tcp")?;
    assert_eq!((&bib[0]["outside"], &bib[0]["is-static"]), (&json!("192.0.2.1:8080"), &json!(true)), "{bib}");
    daemon.stop()
}

#[test]
fn sighup_changes_the_pool_and_sessions_survive() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &config(&topology, 1, SECTION))?;
    assert!(ping(&alice.namespace, bob6(bob), 5)?.received > 0, "no way to bob");
    let before = daemon.ctl_json("show nat64 sessions")?;
    let text = fs::read_to_string(daemon.config_file())?;
    fs::write(daemon.config_file(), text.replace("\"192.0.2.1\"", "\"192.0.2.9\""))?;
    alice.namespace.run(&format!("kill -HUP {}", daemon.pid()))?;
    wait_until("the new pool", std::time::Duration::from_secs(30), || {
        daemon.ctl_json("show nat64 pools").is_ok_and(|pools| pools.to_string().contains("192.0.2.9"))
    })?;
    assert_eq!(daemon.ctl_json("show nat64 sessions")?[0]["outside"], before[0]["outside"]);
    assert!(ping(&alice.namespace, bob6(bob), 3)?.is_complete(), "by the new pool");
    let after = daemon.ctl_json("show nat64 sessions protocol icmp")?;
    assert!(after.to_string().contains("192.0.2.9:"), "{after}");
    daemon.stop()
}

// One-armed: alice has both families on her one link, and speaks to herself by way of raddle.
#[test]
fn one_interface_is_enough() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::create([HostSpec::new("alice", "east", 1)])?;
    let alice = topology.host("alice");
    for workers in [0, 2] {
        let daemon = Daemon::start(&topology.router, &config(&topology, workers, SECTION))?;
        let report = ping(&alice.namespace, bob6(alice), 5)?;
        assert!(report.received > 0, "{}\n{}", report.text, daemon.ctl("show errors")?);
        let folder = raddle_tests::scratch::directory()?;
        fs::write(folder.path().join("page"), "by one arm")?;
        let _server = WebServer::start(&alice.namespace, folder.path())?;
        let to = folder.path().join("fetched");
        assert_eq!(fetch(&alice.namespace, bob6(alice), "page", &to)?.status, 200);
        assert_eq!(fs::read_to_string(&to)?, "by one arm");
        let sessions = daemon.ctl_json("show nat64 sessions protocol tcp")?;
        assert_eq!(sessions[0]["remote"], json!(format!("{}:8080", alice.spec.ipv4)), "{sessions}");
        daemon.stop()?;
    }
    Ok(())
}
