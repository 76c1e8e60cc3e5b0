//! NAT64 with its neighbours: a DNS64 resolver, access lists, collectors of its log, and another version of itself.

use std::fs;
use std::net::{Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use raddle_tests::command::run;
use raddle_tests::{
    Daemon, DaemonConfig, Dns64, Host, HostSpec, Judge, Need, Topology, WebServer, ping, requirement,
    scratch, target_dir, wait_until,
};
use serde_json::{Value, json};

const NEEDS: &[Need] = &[Need::Ping, Need::Curl, Need::Python, Need::Scapy, Need::Raddle, Need::Nat64];
const PREFIX: &str = "2001:db8:64::/96";
/// A prefix of the operator's own: bob's address is private, for which the well-known one must not stand.
const SECTION: &str = "[nat64]\nprefixes = [\"2001:db8:64::/96\"]\npool = [\"192.0.2.1\"]\n";
const LIMIT: Duration = Duration::from_secs(30);

/// An IPv4 host, as those inside know it.
fn as_inside(host: &Host) -> Ipv6Addr {
    let [a, b, c, d] = host.spec.ipv4.octets();
    let word = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, word(a, b), word(c, d))
}

fn config(topology: &Topology, workers: u32, section: &str) -> DaemonConfig {
    DaemonConfig::routed(topology).plugins(&target_dir().join("plugins")).workers(workers).with(section)
}

fn ready(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf").join(name)
}

// RFC 6147: the ready configuration of unbound beside that of NAT64.
#[test]
fn ip6_only_host_browses_an_ip4_only_server_by_its_name() -> Result<()> {
    if !requirement::met(&[NEEDS, &[Need::Unbound]].concat()) {
        return Ok(());
    }
    let specs = [
        HostSpec::new("alice", "east", 1),
        HostSpec::new("bob", "west", 2),
        HostSpec::new("carol", "south", 3),
    ];
    let topology = Topology::create(specs)?;
    let (alice, bob, carol) = (topology.host("alice"), topology.host("bob"), topology.host("carol"));
    alice.namespace.ip("-4 address flush dev eth0")?;
    bob.namespace.ip("-6 address flush dev eth0")?;
    let daemon = Daemon::start(&topology.router, &config(&topology, 2, SECTION))?;
    ensure!(ping(&alice.namespace, carol.spec.ipv6, 5)?.received > 0, "no way to the resolver");
    let names = [("web", bob.spec.ipv4)];
    let resolver =
        Dns64::start(&carol.namespace, carol.spec.ipv6, PREFIX, &names, &ready("nat64-unbound.conf"))?;
    let found = resolver.addresses(&alice.namespace, "web")?;
    assert!(found.contains(&as_inside(bob).to_string()), "{found}");
    let folder = scratch::directory()?;
    fs::write(folder.path().join("page"), "by name")?;
    let _server = WebServer::start(&bob.namespace, folder.path())?;
    let to = folder.path().join("fetched");
    assert_eq!(resolver.fetch(&alice.namespace, "web", "page", &to)?.status, 200);
    assert_eq!(fs::read_to_string(&to)?, "by name");
    let sessions = daemon.ctl_json("show nat64 sessions protocol tcp")?;
    assert_eq!(sessions[0]["remote"], json!(format!("{}:8080", bob.spec.ipv4)), "{sessions}");
    daemon.stop()
}

// Lists see packets before they are translated on the way in, and after that on the way out: for both directions on one interface.
#[test]
fn access_lists_see_ip6_before_and_ip4_after_translation() -> Result<()> {
    if !requirement::met(&[NEEDS, &[Need::Acl]].concat()) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for workers in [0, 2] {
        let section = format!(
            "{SECTION}
[acl.lists]
inside = ['permit icmp6', 'permit udp to {prefix} port 4000-4002', 'deny ip log']
back-inside = ['permit icmp6', 'permit udp from {prefix} port 4000', 'deny ip']
outside = ['permit icmp from 192.0.2.1', 'permit udp from 192.0.2.1 to {bob} port 4000-4001', 'deny ip']
back-outside = ['permit icmp to 192.0.2.1', 'permit udp from {bob} to 192.0.2.1', 'deny ip']
[acl.interface.east]
in = ['inside']
out = ['back-inside']
[acl.interface.west]
in = ['back-outside']
out = ['outside']
",
            prefix = PREFIX,
            bob = bob.spec.ipv4
        );
        let daemon = Daemon::start(&topology.router, &config(&topology, workers, &section))?;
        assert!(ping(&alice.namespace, as_inside(bob), 5)?.received > 0, "{}", daemon.ctl("show errors")?);
        let mut outside = Judge::start(&bob.namespace)?;
        // Bob answers whatever comes, on four ports.
        outside.run(
            "
            import socket as s, threading
            def answer(port):
                with s.socket(s.AF_INET, s.SOCK_DGRAM) as server:
                    server.bind(('0.0.0.0', port))
                    while True:
                        data, peer = server.recvfrom(100)
                        server.sendto(data, peer)
            for port in range(4000, 4004):
                threading.Thread(target=answer, args=[port], daemon=True).start()
            result = None
            ",
            Value::Null,
        )?;
        let mut inside = Judge::start(&alice.namespace)?;
        let answered = |judge: &mut Judge, port: u16| {
            judge.run(
                "
                import socket as s
                with s.socket(s.AF_INET6, s.SOCK_DGRAM) as client:
                    client.bind(('::', 5000))
                    client.settimeout(args['wait'])
                    result = False
                    for _ in range(args['tries']):
                        client.sendto(b'hello', (args['bob'], args['port']))
                        try:
                            result = client.recvfrom(100)[0] == b'hello'
                            break
                        except s.timeout:
                            pass
                ",
                json!({
                    "bob": as_inside(bob).to_string(), "port": port,
                    "wait": if port == 4000 { 10.0 } else { 0.3 }, "tries": if port == 4000 { 3 } else { 2 },
                }),
            )
        };
        // 4000 passes everywhere; 4001 is stopped on its way back inside, as IPv6; 4002 going out, as IPv4; 4003 coming in, as IPv6.
        for port in 4000..4004 {
            let expected = port == 4000;
            assert_eq!(answered(&mut inside, port)?, json!(expected), "port {port}, {workers} workers");
        }
        let matched = |list: &str, rule: usize| -> Result<u64> {
            let shown = daemon.ctl_json(&format!("show acl {list}"))?;
            shown[0]["rules"][rule]["packets"].as_u64().with_context(|| format!("{shown}"))
        };
        for (list, rule) in [("inside", 2), ("back-inside", 2), ("outside", 2)] {
            wait_until("the denied to be counted", LIMIT, || {
                matched(list, rule).is_ok_and(|count| count >= 2)
            })?;
        }
        assert!(matched("back-outside", 1)? >= 2, "bob's answers, by the pool's address");
        daemon.stop()?;
    }
    Ok(())
}

// RFC 8158, RFC 7011, RFC 5424: judged by Wireshark.
#[test]
fn wireshark_reads_the_log_as_ipfix() -> Result<()> {
    if !requirement::met(&[NEEDS, &[Need::Tshark]].concat()) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let collector = topology.router.udp("127.0.0.1:0")?;
    let lines = topology.router.udp("127.0.0.1:0")?;
    let section = format!(
        "{SECTION}subscribers = {{ port-block-size = 256, max-sessions = 3 }}\n\
         [nat64.log]\nipfix = \"{}\"\nipfix-domain = 77\nsyslog = \"{}\"\nwhat = \"sessions\"\n\
         [nat64.log.thresholds]\nmappings-high = 3\nsubscriber-mappings-high = 2\npool-high = 1\npool-low = 0\n",
        collector.local_addr()?,
        lines.local_addr()?
    );
    let daemon = Daemon::start(&topology.router, &config(&topology, 1, &section))?;
    assert!(ping(&alice.namespace, as_inside(bob), 3)?.received > 0, "no way to bob");
    let mut inside = Judge::start(&alice.namespace)?;
    inside.run(
        "
        import socket as s
        for port in range(7000, 7006):
            with s.socket(s.AF_INET6, s.SOCK_DGRAM) as client:
                client.bind(('::', port))
                client.sendto(b'hello', (args['bob'], 9))
        result = None
        ",
        json!({ "bob": as_inside(bob).to_string() }),
    )?;
    let has = |all: &[Vec<u8>], set, event| all.iter().any(|message| has_event(message, set, event));
    // Templates 262, 264 and 265: a mark of all bindings, of the pool from below, and of the pool from above, which are looked at once
    // a second.
    let mut messages = received(&collector, |all| has(all, 262, 18) && has(all, 264, 18))?;
    let sessions = daemon.ctl_json("show nat64 sessions")?;
    daemon.ctl("clear nat64 sessions")?;
    messages.extend(received(&collector, |all| has(all, 258, 17) && has(all, 265, 18))?);
    let rows = decoded(&messages)?;
    let of = |event: &str| rows.iter().filter(|row| row[0] == event).collect::<Vec<_>>();
    // natEvent: 6 and 7 sessions, 16 and 17 blocks, 13 a quota, 18 a mark that was reached.
    assert_eq!((of("16").len(), of("17").len()), (1, 1), "{rows:?}");
    assert_eq!((of("6").len(), of("7").len()), (3, 3), "{rows:?}");
    assert!(!of("13").is_empty(), "{rows:?}");
    let inside6 = alice.spec.ipv6.to_string();
    for row in of("6") {
        assert_eq!((&row[1], &row[2]), (&inside6, &"192.0.2.1".to_owned()), "{row:?}");
        assert_eq!((&row[3], &row[4]), (&as_inside(bob).to_string(), &bob.spec.ipv4.to_string()), "{row:?}");
        let outside = format!("192.0.2.1:{}", row[6]);
        assert!(
            sessions.as_array().is_some_and(|all| all.iter().any(|row| row["outside"] == *outside)),
            "{row:?}"
        );
    }
    let mut marks: Vec<_> = of("18").iter().map(|row| row[10..].join(" ")).collect();
    marks.sort();
    // natThresholdEvent, and the mark where it has its place: of the pool's addresses, of all bindings, of a subscriber's.
    assert_eq!(marks, ["1 1   ", "2  0  ", "3   3 ", "4    2"], "{rows:?}");
    let block = of("16")[0];
    let first: u16 = block[7].parse()?;
    assert_eq!((first % 256, block[8].parse::<u16>()?), (0, first + 255), "{block:?}");
    assert!(rows.iter().all(|row| row[9] == "77"), "{rows:?}");
    let mut bytes = [0; 2048];
    lines.set_read_timeout(Some(LIMIT))?;
    let length = lines.recv(&mut bytes)?;
    let line = String::from_utf8_lossy(&bytes[..length]).into_owned();
    assert!(line.starts_with("<134>1 ") && line.contains("[nat64@32473 "), "{line}");
    daemon.stop()
}

/// Messages of a collector until there are enough.
fn received(collector: &UdpSocket, is_enough: impl Fn(&[Vec<u8>]) -> bool) -> Result<Vec<Vec<u8>>> {
    collector.set_read_timeout(Some(LIMIT))?;
    let mut messages = Vec::new();
    while !is_enough(&messages) {
        let mut bytes = [0; 2048];
        let length =
            collector.recv(&mut bytes).with_context(|| format!("after {} messages", messages.len()))?;
        messages.push(bytes[..length].to_vec());
    }
    Ok(messages)
}

/// Whether a message has a record of this template whose first one is of this event: natEvent comes behind the 8 octets of the time in
/// each of them.
fn has_event(message: &[u8], template: u16, event: u8) -> bool {
    let mut sets = message.get(16..).unwrap_or_default();
    while let [a, b, c, d, ..] = *sets {
        let (id, end) = (u16::from_be_bytes([a, b]), usize::from(u16::from_be_bytes([c, d])).max(4));
        if id == template && sets.get(4 + 8) == Some(&event) {
            return true;
        }
        sets = sets.get(end..).unwrap_or_default();
    }
    false
}

/// What Wireshark reads in the messages, a row for each record.
fn decoded(messages: &[Vec<u8>]) -> Result<Vec<Vec<String>>> {
    const FIELDS: [&str; 15] = [
        "cflow.nat_event",
        "cflow.srcaddrv6",
        "cflow.post_natsource_ipv4_address",
        "cflow.dstaddrv6",
        "cflow.post_natdestination_ipv4_address",
        "cflow.srcport",
        "cflow.post_naptsource_transport_port",
        "cflow.port_range_start",
        "cflow.port_range_end",
        "cflow.od_id",
        "cflow.nat_threshold_event",
        "cflow.addresspool_highthreshold",
        "cflow.addresspool_lowthreshold",
        "cflow.addressport_mapping_highthreshold",
        "cflow.addressport_mapping_per_user_highthreshold",
    ];
    let folder = scratch::directory()?;
    let file = folder.path().join("log.pcap");
    // Each in a packet of its own, of UDP to the port that IPFIX has.
    let mut pcap = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        pcap.extend(word.to_ne_bytes());
    }
    for message in messages {
        let length = (28 + message.len()) as u16;
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        packet.extend(5000_u16.to_be_bytes());
        packet.extend(4739_u16.to_be_bytes());
        packet.extend((length - 20).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(message);
        for word in [0, 0, packet.len() as u32, packet.len() as u32] {
            pcap.extend(word.to_ne_bytes());
        }
        pcap.extend(packet);
    }
    fs::write(&file, pcap)?;
    let mut command = Command::new("tshark");
    command
        .args(["-d", "udp.port==4739,cflow", "-T", "json", "-J", "cflow", "--no-duplicate-keys", "-r"])
        .arg(&file);
    let text = run(&mut command)?;
    let packets: Value = serde_json::from_str(&text).with_context(|| format!("tshark said {text}"))?;
    let mut rows = Vec::new();
    for packet in packets.as_array().into_iter().flatten() {
        let cflow = &packet["_source"]["layers"]["cflow"];
        assert!(!cflow.to_string().contains("_ws.malformed"), "{cflow}");
        collect(cflow, cflow["cflow.od_id"].as_str().unwrap_or_default(), &FIELDS, &mut rows);
    }
    Ok(rows)
}

/// The records in what Wireshark says of a message: whatever has an event.
fn collect(value: &Value, domain: &str, fields: &[&str], rows: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(map) if map.contains_key("cflow.nat_event") => {
            let text = |field: &&str| match map.get(*field) {
                Some(Value::String(text)) => text.clone(),
                _ if *field == "cflow.od_id" => domain.to_owned(),
                _ => String::new(),
            };
            rows.push(fields.iter().map(text).collect());
        }
        Value::Object(map) => map.values().for_each(|value| collect(value, domain, fields, rows)),
        Value::Array(list) => list.iter().for_each(|value| collect(value, domain, fields, rows)),
        _ => {}
    }
}

// A connection lives on while another version of the plugin takes over, with the ports that it has.
#[test]
fn connections_outlive_a_plugin_upgrade() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for workers in [0, 2] {
        let directory = scratch::directory()?;
        let file = directory.path().join("libnat64.so");
        fs::copy(target_dir().join("plugins/libnat64.so"), &file)?;
        let config = DaemonConfig::routed(&topology).plugins(directory.path()).workers(workers).with(SECTION);
        let daemon = Daemon::start(&topology.router, &config)?;
        assert!(ping(&alice.namespace, as_inside(bob), 5)?.received > 0, "no way to bob");
        let (mut inside, mut outside) = (Judge::start(&alice.namespace)?, Judge::start(&bob.namespace)?);
        outside.run(
            "
            import socket as s
            listener = s.socket(s.AF_INET, s.SOCK_STREAM)
            listener.setsockopt(s.SOL_SOCKET, s.SO_REUSEADDR, 1)
            listener.bind(('0.0.0.0', 4100))
            listener.listen()
            listener.settimeout(30)
            result = None
            ",
            Value::Null,
        )?;
        inside.run(
            "
            import socket as s
            client = s.create_connection((args['bob'], 4100), timeout=30)
            result = None
            ",
            json!({ "bob": as_inside(bob).to_string() }),
        )?;
        outside.run("peer, _ = listener.accept(); peer.settimeout(30); result = None", Value::Null)?;
        let before = daemon.ctl_json("show nat64 sessions protocol tcp")?;
        for round in 0..2 {
            fs::copy(target_dir().join("plugins/libnat64.so"), directory.path().join("new"))?;
            fs::rename(directory.path().join("new"), &file)?;
            daemon.ctl("plugin upgrade nat64")?;
            // From outside first: nothing from inside could have made the session anew.
            outside.run("peer.sendall(b'from outside'); result = None", Value::Null)?;
            assert_eq!(inside.run("result = client.recv(100).decode()", Value::Null)?, json!("from outside"));
            inside.run("client.sendall(b'from inside'); result = None", Value::Null)?;
            assert_eq!(outside.run("result = peer.recv(100).decode()", Value::Null)?, json!("from inside"));
            let after = daemon.ctl_json("show nat64 sessions protocol tcp")?;
            assert_eq!(
                (&after[0]["outside"], &after[0]["state"], after.as_array().map(Vec::len)),
                (&before[0]["outside"], &json!("established"), Some(1)),
                "round {round}, {workers} workers: {after}"
            );
            assert!(ping(&alice.namespace, as_inside(bob), 3)?.is_complete(), "new ones begin, too");
        }
        wait_until("the metrics", LIMIT, || {
            daemon
                .ctl("show metrics")
                .is_ok_and(|text| text.contains("raddle_nat64_sessions{protocol=\"tcp\"} 1"))
        })?;
        daemon.stop()?;
    }
    Ok(())
}

// A tenant's hosts are in a table of their own, from which the way out leads by its own pool and back.
#[test]
fn tenants_have_tables_pools_and_the_same_prefix() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let specs = [
        HostSpec::new("alice", "east", 1),
        HostSpec::new("bob", "west", 2),
        HostSpec::new("carol", "south", 3),
    ];
    let topology = Topology::create(specs)?;
    let (alice, bob, carol) = (topology.host("alice"), topology.host("bob"), topology.host("carol"));
    for workers in [0, 2] {
        let section = format!(
            "{SECTION}\n[nat64.tenant.red]\nprefixes = [\"{PREFIX}\"]\npool = [\"192.0.2.2\"]\ntable = \"red\"\n\
             outside-table = \"default\"\n\n[table.red]\nid = 7\n"
        );
        let config = DaemonConfig::new()
            .interface(&alice.spec, "")
            .interface(&bob.spec, "")
            .interface(&carol.spec, "table = \"red\"\n")
            .plugins(&target_dir().join("plugins"))
            .workers(workers)
            .with(&section);
        let daemon = Daemon::start(&topology.router, &config)?;
        for host in [alice, carol] {
            assert!(ping(&host.namespace, as_inside(bob), 5)?.received > 0, "{}", daemon.ctl("show errors")?);
        }
        // They do not reach each other.
        assert_eq!(ping(&carol.namespace, alice.spec.ipv6, 2)?.received, 0);
        let sessions = daemon.ctl_json("show nat64 sessions tenant red")?;
        assert!(
            sessions[0]["inside"].as_str().is_some_and(|text| text.contains(&carol.spec.ipv6.to_string()))
        );
        assert!(
            sessions[0]["outside"].as_str().is_some_and(|text| text.starts_with("192.0.2.2:")),
            "{sessions}"
        );
        let tenants = daemon.ctl_json("show nat64 tenants")?;
        assert_eq!(
            (&tenants[1]["name"], &tenants[1]["status"]),
            (&json!("red"), &json!("in force")),
            "{tenants}"
        );
        daemon.stop()?;
    }
    Ok(())
}

// Hosts inside share the address that raddle has outside, and what is for raddle itself still comes to it.
#[test]
fn pool_is_the_address_of_an_interface_as_it_changes() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for workers in [0, 2] {
        let section = format!("[nat64]\nprefixes = [\"{PREFIX}\"]\npool-interfaces = [\"west\"]\n");
        let daemon = Daemon::start(&topology.router, &config(&topology, workers, &section))?;
        assert!(ping(&alice.namespace, as_inside(bob), 5)?.received > 0, "{}", daemon.ctl("show errors")?);
        let own = bob.spec.gateway4;
        let outside = |daemon: &Daemon<'_>| -> Result<String> {
            let sessions = daemon.ctl_json("show nat64 sessions protocol icmp")?;
            Ok(sessions[0]["outside"].as_str().unwrap_or_default().to_owned())
        };
        assert!(outside(&daemon)?.starts_with(&format!("{own}:")), "{}", outside(&daemon)?);
        assert!(ping(&bob.namespace, own, 3)?.is_complete(), "raddle itself answers");
        // Another address comes, and the first one goes.
        let octets = own.octets();
        let other = std::net::Ipv4Addr::new(octets[0], octets[1], octets[2], 200);
        daemon.ctl(&format!("set interface address west add {other}/24"))?;
        daemon.ctl(&format!("set interface address west del {own}/24"))?;
        wait_until("the pool to follow", LIMIT, || {
            daemon.ctl_json("show nat64 pools").is_ok_and(|pools| {
                pools.as_array().is_some_and(|rows| {
                    rows.iter().any(|row| row["address"] == json!(other) && row["is-shared"] == true)
                        && !rows.iter().any(|row| row["address"] == json!(own) && row["in-pool"] == true)
                })
            })
        })?;
        daemon.ctl("clear nat64 sessions")?;
        assert!(ping(&alice.namespace, as_inside(bob), 5)?.received > 0, "{}", daemon.ctl("show errors")?);
        assert!(outside(&daemon)?.starts_with(&format!("{other}:")), "{}", outside(&daemon)?);
        daemon.stop()?;
    }
    Ok(())
}
