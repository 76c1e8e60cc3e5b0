//! The plugin `af-xdp`: what is its own. What every driver must do is tried in `forwarding.rs`.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use raddle_tests::command::Finished;
use raddle_tests::observe::{buffers_in_use, thread_cpu};
use raddle_tests::topology::Link;
use raddle_tests::wait::wait_for;
use raddle_tests::{
    Daemon, DaemonConfig, Host, HostSpec, Judge, Namespace, Need, Topology, UdpFlow, ping, requirement,
    target_dir, wait_until,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const NEEDS: [Need; 3] = [Need::Ping, Need::AfXdp, Need::Raddle];

fn topology() -> Result<Topology> {
    Topology::two_hosts_by(Link::AfXdp)
}

fn reaches(from: &Host, to: impl Into<IpAddr>) -> bool {
    ping(&from.namespace, to, 1).is_ok_and(|report| report.is_complete())
}

fn demand_reach(from: &Host, to: &Host) -> Result<()> {
    for address in [IpAddr::from(to.spec.ipv4), to.spec.ipv6.into()] {
        wait_until(&format!("{address} to be reached"), PATIENCE, || reaches(from, address))?;
    }
    Ok(())
}

/// Whether the device has an XDP program.
fn has_program(namespace: &Namespace, device: &str) -> Result<bool> {
    Ok(namespace.ip(&format!("link show {device}"))?.contains("prog/xdp"))
}

fn shown(daemon: &Daemon<'_>, interface: &str) -> Result<Value> {
    let all = daemon.ctl_json(&format!("show af-xdp {interface}"))?;
    all.get(0).cloned().ok_or_else(|| anyhow!("{interface} is not shown: {all}"))
}

fn sum(shown: &Value, key: &str) -> u64 {
    shown["queues"].as_array().into_iter().flatten().filter_map(|queue| queue[key].as_u64()).sum()
}

fn refused(daemon: &Daemon<'_>, line: &str, parts: &[&str]) -> Result<()> {
    let Finished { code, stderr, .. } = daemon.try_ctl(line)?;
    ensure!(code != Some(0), "`{line}` was done");
    let lines = stderr.trim().lines().count();
    ensure!(lines == 1 && parts.iter().all(|part| stderr.contains(part)), "`{line}`: {stderr}");
    Ok(())
}

/// A daemon with the plugin and no interface.
fn bare() -> DaemonConfig {
    let plugins = target_dir().join("plugins");
    DaemonConfig::new().with(&format!(
        "[plugins]\npath = \"{}\"\nonly = [\"af-xdp\"]\nrequire = [\"af-xdp\"]",
        plugins.display()
    ))
}

#[test]
fn interface_is_made_seen_and_deleted_by_command_and_its_plugin_unloaded() -> Result<()> {
    if !requirement::met(&NEEDS) {
        return Ok(());
    }
    let topology = topology()?;
    let alice = topology.host("alice");
    let daemon = Daemon::start(&topology.router, &bare().workers(1))?;
    let before = buffers_in_use(&daemon)?;
    for round in 0..3 {
        daemon.ctl("interface create east driver af-xdp device east rx-slots 256 up")?;
        daemon.ctl("set interface address east add 10.0.1.1/24")?;
        wait_until("raddle to be reached", PATIENCE, || reaches(alice, alice.spec.gateway4))?;
        assert!(has_program(&topology.router, "east")?);
        let seen = shown(&daemon, "east")?;
        assert_eq!(
            (&seen["mode"], &seen["program"], &seen["held-by"]),
            (&json!("copy"), &json!("native"), &json!("process"))
        );
        assert_eq!(seen["queues"].as_array().map(Vec::len), Some(1), "{seen}");
        assert!(sum(&seen, "rx-frames") > 0, "{seen}");
        assert!(
            seen["queues"][0]["fill-ring"].as_str().is_some_and(|ring| ring.ends_with("of 512")),
            "{seen}"
        );
        let details = daemon.ctl("show interface east verbose")?;
        assert!(details.contains("mode") && details.contains("copy"), "{details}");
        refused(&daemon, "plugin unload af-xdp", &["`af-xdp` is in use", "`east`"])?;
        daemon.ctl("interface delete east")?;
        assert!(!has_program(&topology.router, "east")?, "round {round}");
        assert_eq!(daemon.ctl_json("show af-xdp")?, json!([]));
        wait_until("all buffers to be back", PATIENCE, || {
            buffers_in_use(&daemon).is_ok_and(|now| now <= before)
        })?;
    }
    daemon.ctl("plugin unload af-xdp")?;
    let gone = daemon.try_ctl("interface create east driver af-xdp device east")?;
    assert!(gone.stderr.contains("af-xdp"), "{gone:?}");
    let file = target_dir().join("plugins/libaf_xdp.so");
    daemon.ctl(&format!("plugin load {}", file.display()))?;
    daemon.ctl("interface create east driver af-xdp device east up")?;
    daemon.ctl("set interface address east add 10.0.1.1/24")?;
    wait_until("raddle to be reached again", PATIENCE, || reaches(alice, alice.spec.gateway4))?;
    daemon.stop()?;
    ensure!(!has_program(&topology.router, "east")?, "the program is left");
    Ok(())
}

#[test]
fn what_cannot_be_is_refused_in_a_sentence() -> Result<()> {
    if !requirement::met(&NEEDS) {
        return Ok(());
    }
    let topology = topology()?;
    let daemon = Daemon::start(&topology.router, &bare())?;
    for (keys, parts) in [
        ("device lo", &["the host's interface lo is not an Ethernet device"][..]),
        ("device east rx-slots 1000", &["rx-slots = 1000 is not a power of two, 512 and 1024 are"]),
        ("device east tx-slots 32", &["tx-slots = 32 is out of range, it can be 64 to 32768"]),
        (
            "device east rx-slots 32768",
            &["the receive rings would take 65536 packet buffers", "raise buffers.count"],
        ),
        ("device east queues 9", &["the host's interface east has 1 queue, not 9"]),
        ("device east mode zero-copy", &["needs the packet buffers on hugepages"]),
        ("device east mtu 9999", &["9999", "9216"]),
    ] {
        refused(&daemon, &format!("interface create x driver af-xdp {keys}"), parts)?;
        assert!(!has_program(&topology.router, "east")?, "{keys}");
    }
    // One that is not there yet is waited for.
    daemon.ctl("interface create x driver af-xdp device eats up")?;
    let text = daemon.ctl("show interface")?;
    assert!(text.contains("the host has no interface eats, did you mean east?"), "{text}");
    daemon.ctl("interface delete x")?;
    // The second to come says who is there.
    daemon.ctl("interface create first driver af-xdp device east")?;
    refused(
        &daemon,
        "interface create second driver af-xdp device east",
        &["queue 0 of the host's interface east is used through AF_XDP by another program"],
    )?;
    daemon.stop()
}

#[test]
fn program_goes_with_a_process_that_is_killed_and_one_that_a_link_holds_is_replaced() -> Result<()> {
    if !requirement::met(&NEEDS) {
        return Ok(());
    }
    let topology = topology()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for (extra, stays) in [("", false), ("attach-by = \"link\"\n", true)] {
        let config = DaemonConfig::new().interface(&alice.spec, extra).interface(&bob.spec, extra);
        for round in 0..2 {
            let daemon = Daemon::start(&topology.router, &config)?;
            demand_reach(alice, bob)?;
            let held_by = shown(&daemon, "east")?["held-by"].clone();
            assert_eq!(held_by, if stays { "link" } else { "process" });
            daemon.kill()?;
            for side in ["east", "west"] {
                wait_until("the program to be gone, or not", PATIENCE, || {
                    has_program(&topology.router, side).is_ok_and(|there| there == stays)
                })?;
            }
            eprintln!("{extra:?}, round {round}: killed and started anew");
        }
        let daemon = Daemon::start(&topology.router, &config)?;
        demand_reach(alice, bob)?;
        daemon.stop()?;
        for side in ["east", "west"] {
            assert!(!has_program(&topology.router, side)?, "{extra:?}: the program is left on {side}");
        }
    }
    Ok(())
}

#[test]
fn flows_are_spread_over_two_queues_and_keep_their_order() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Ethtool, Need::AfXdp, Need::Raddle]) {
        return Ok(());
    }
    let topology = topology()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for (host, device) in [(alice, "east"), (bob, "west")] {
        topology.router.run(&format!("ethtool -L {device} rx 2 tx 2"))?;
        host.namespace.run("ethtool -L eth0 rx 2 tx 2")?;
    }
    for workers in [0, 2] {
        let config = DaemonConfig::routed(&topology).workers(workers);
        let daemon = Daemon::start(&topology.router, &config)?;
        demand_reach(alice, bob)?;
        assert_eq!(shown(&daemon, "east")?["queues"].as_array().map(Vec::len), Some(2));
        let flows: Vec<_> =
            (0..8).map(|flow| UdpFlow::start(alice, bob, flow % 2 == 1, 200)).collect::<Result<_>>()?;
        wait_until("both queues to receive", PATIENCE, || {
            shown(&daemon, "east").is_ok_and(|seen| {
                (0..2)
                    .all(|queue| seen["queues"][queue]["rx-frames"].as_u64().is_some_and(|count| count > 50))
            })
        })?;
        for flow in flows {
            flow.wait_for_more(100)?;
            flow.stop()?.demand_no_loss()?;
        }
        daemon.stop()?;
    }
    // Queues without a socket are the host's.
    let one = DaemonConfig::new().interface(&alice.spec, "queues = 1\n");
    let daemon = Daemon::start(&topology.router, &one)?;
    assert_eq!(shown(&daemon, "east")?["queues"].as_array().map(Vec::len), Some(1));
    daemon.stop()
}

#[test]
fn chosen_traffic_stays_with_the_host() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Scapy, Need::AfXdp, Need::Raddle]) {
        return Ok(());
    }
    let topology = topology()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let rules = "leave-to-host = [\"address 10.0.1.9\", \"address 2001:db8:1::9\", \"udp 4711\", \"lldp\"]\n";
    let config = DaemonConfig::new().interface(&alice.spec, rules).interface(&bob.spec, "");
    let router = &topology.router;
    let daemon = Daemon::start(router, &config)?;
    demand_reach(alice, bob)?;
    // The host's kernel has addresses of its own on the same device.
    router.set("ipv6/conf/east/disable_ipv6", "0")?;
    router.ip("address add 10.0.1.9/24 dev east")?;
    router.ip("address add 2001:db8:1::9/64 dev east nodad")?;
    for address in ["10.0.1.9", "2001:db8:1::9"] {
        let address: IpAddr = address.parse()?;
        wait_until(&format!("the host's {address} to be reached"), PATIENCE, || reaches(alice, address))?;
    }
    demand_reach(alice, bob)?;
    let shown_rules = shown(&daemon, "east")?["leave-to-host"].clone();
    assert_eq!(shown_rules, json!(["address 10.0.1.9", "address 2001:db8:1::9", "udp 4711", "lldp"]));
    // What is sent to bob's port 4711 is not forwarded, to 4712 it is.
    let (mut sender, mut receiver) = (Judge::start(&alice.namespace)?, Judge::start(&bob.namespace)?);
    receiver.run("capture = Capture()", Value::Null)?;
    sender.run(
        "
        ether = Ether(src=mac(), dst=args['router'])
        ports = [4711, 4712] * 20
        send([ether / IP(src=args['alice'], dst=args['bob']) / UDP(sport=5, dport=port) for port in ports])
        ",
        json!({ "router": alice.router_mac(router)?, "alice": alice.spec.ipv4, "bob": bob.spec.ipv4 }),
    )?;
    let arrived = receiver.run(
        "
        ours = lambda p: UDP in p and p[UDP].dport in (4711, 4712)
        seen = capture.collect(ours, 20, 20) + capture.collect(ours, 0.3)
        result = [p[UDP].dport for p in seen]
        ",
        Value::Null,
    )?;
    assert_eq!(arrived, json!(vec![4712; 20]));
    daemon.stop()
}

#[test]
fn odd_frames_do_no_harm_and_nothing_leaks() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Scapy, Need::AfXdp, Need::Raddle]) {
        return Ok(());
    }
    let topology = topology()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(1))?;
    demand_reach(alice, bob)?;
    let before = sum(&shown(&daemon, "east")?, "rx-frames");
    let mut sender = Judge::start(&alice.namespace)?;
    sender.run(
        "
        import random
        random.seed(7)
        good = bytes(Ether(src=mac(), dst=args['router']) / IP(src=args['alice'], dst=args['bob']) / UDP(sport=5, dport=9) / Raw(b'x' * 200))
        frames = []
        for _ in range(2000):
            frame = bytearray(good[:random.randrange(14, len(good))])
            for _ in range(random.randrange(6)):
                frame[random.randrange(12, len(frame))] = random.randrange(256)
            frames.append(Raw(bytes(frame)))
        send(frames)
        ",
        json!({ "router": alice.router_mac(&topology.router)?, "alice": alice.spec.ipv4, "bob": bob.spec.ipv4 }),
    )?;
    wait_until("the frames to come", PATIENCE, || {
        shown(&daemon, "east").is_ok_and(|seen| {
            let counted = ["rx-frames", "rx-ring-full", "rx-dropped"].map(|key| sum(&seen, key));
            // The kernel loses some on the way to the program, where they come faster than it runs.
            counted.iter().sum::<u64>() >= before + 1000
        })
    })
    .with_context(|| daemon.ctl("show af-xdp").unwrap_or_default())?;
    demand_reach(alice, bob)?;
    let seen = shown(&daemon, "east")?;
    for key in ["rx-invalid", "tx-invalid"] {
        assert_eq!(sum(&seen, key), 0, "{key}: {seen}");
    }
    assert_eq!((&seen["counts"]["rx-malformed"], &seen["counts"]["broken-rings"]), (&json!(0), &json!(0)));
    daemon.stop()
}

#[test]
fn what_came_while_an_interface_was_down_is_not_forwarded_later() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Scapy, Need::AfXdp, Need::Raddle]) {
        return Ok(());
    }
    let topology = topology()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(1))?;
    demand_reach(alice, bob)?;
    let (mut sender, mut receiver) = (Judge::start(&alice.namespace)?, Judge::start(&bob.namespace)?);
    receiver.run("capture = Capture()", Value::Null)?;
    let args = json!({ "router": alice.router_mac(&topology.router)?, "alice": alice.spec.ipv4, "bob": bob.spec.ipv4 });
    let send = "send([Ether(src=mac(), dst=args['router']) / IP(src=args['alice'], dst=args['bob']) / UDP(sport=5, dport=args['port'])] * 50)";
    let to = |port: u16| {
        let mut args = args.clone();
        args["port"] = json!(port);
        args
    };
    daemon.ctl("set interface state east down")?;
    sender.run(send, to(4711))?;
    daemon.ctl("set interface state east up")?;
    demand_reach(alice, bob)?;
    sender.run(send, to(4712))?;
    let arrived = receiver.run(
        "
        ours = lambda p: UDP in p and p[UDP].dport in (4711, 4712)
        result = [p[UDP].dport for p in capture.collect(ours, 20, 50) + capture.collect(ours, 0.3)]
        ",
        Value::Null,
    )?;
    assert_eq!(arrived, json!(vec![4712; 50]));
    daemon.stop()
}

#[test]
fn mtu_is_set_on_the_device_and_put_back() -> Result<()> {
    if !requirement::met(&NEEDS) {
        return Ok(());
    }
    let topology = topology()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    demand_reach(alice, bob)?;
    let mtu = || -> Result<bool> { Ok(topology.router.ip("link show west")?.contains("mtu 1300")) };
    daemon.ctl("set interface mtu west 1300")?;
    assert!(mtu()?);
    demand_reach(alice, bob)?;
    refused(&daemon, "set interface mtu west 9300", &["9300", "9216"])?;
    daemon.stop()?;
    assert!(!mtu()?, "the device has its own MTU back");
    Ok(())
}

#[test]
fn device_that_goes_is_taken_up_when_it_comes_back() -> Result<()> {
    if !requirement::met(&NEEDS) {
        return Ok(());
    }
    let topology = topology()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(1))?;
    for _ in 0..3 {
        demand_reach(alice, bob)?;
        bob.cut()?;
        wait_for("raddle to say so", PATIENCE, || {
            Ok(daemon.ctl("show interface")?.contains("the host's interface west went away").then_some(()))
        })?;
        bob.connect(&topology.router)?;
    }
    demand_reach(alice, bob)?;
    daemon.stop()
}

#[test]
fn generic_programs_and_busy_polling_and_receive_modes_forward_all_the_same() -> Result<()> {
    if !requirement::met(&NEEDS) {
        return Ok(());
    }
    let topology = topology()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let rules: Vec<_> = (0..64)
        .map(|number| match number % 4 {
            0 => format!("\"tcp {}\"", 1000 + number),
            1 => format!("\"udp from {}\"", 1000 + number),
            2 => format!("\"address 10.9.9.{number}\""),
            _ => format!("\"address 2001:db8:9::{number}\""),
        })
        .collect();
    let many_rules = format!("leave-to-host = [{}]\n", rules.join(", "));
    for (extra, key, value) in [
        (many_rules.as_str(), "program", json!("native")),
        (
            "leave-to-host = [\"lldp\", \"tcp 22\", \"udp from 53\", \"protocol 89\", \"ethertype 0x88b5\"]\n",
            "program",
            json!("native"),
        ),
        ("attach = \"generic\"\n", "program", json!("generic")),
        ("busy-poll-us = 20\nbusy-poll-budget = 32\n", "busy-poll-us", json!(20)),
        ("rx-mode = \"polling\"\n", "program", json!("native")),
        ("rx-mode = \"interrupt\"\nfill-checksums = \"never\"\n", "fills-checksums", json!(false)),
    ] {
        let config = DaemonConfig::new().interface(&alice.spec, extra).interface(&bob.spec, extra).workers(1);
        let daemon = Daemon::start(&topology.router, &config)?;
        demand_reach(alice, bob)?;
        assert_eq!(shown(&daemon, "east")?[key], value, "{extra}");
        let report = ping(&alice.namespace, bob.spec.ipv4, 20)?;
        assert!(report.is_complete(), "{extra}: {}", report.text);
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn idle_interfaces_leave_the_processor_alone() -> Result<()> {
    if !requirement::met(&NEEDS) {
        return Ok(());
    }
    const WINDOW: Duration = Duration::from_secs(5);
    let topology = topology()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology).workers(1))?;
    demand_reach(topology.host("alice"), topology.host("bob"))?;
    // The first windows may have what the hosts say on new links.
    wait_for("every thread to take less than 1 % of a core", 3 * PATIENCE, || {
        let before = thread_cpu(daemon.pid())?;
        std::thread::sleep(WINDOW);
        let after = thread_cpu(daemon.pid())?;
        let most =
            after.iter().map(|(thread, time)| time.saturating_sub(*before.get(thread).unwrap_or(time))).max();
        Ok((most.is_some_and(|most| most < WINDOW / 100)).then_some(()))
    })?;
    daemon.stop()
}

#[test]
fn tagged_frames_go_by_vlans() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::AfXdp, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::create([HostSpec::new("alice", "east", 1).with_link(Link::AfXdp)])?;
    let alice = topology.host("alice");
    let config = DaemonConfig::routed(&topology).with(
        "[interface.\"east.7\"]\ndriver = \"vlan\"\nparent = \"east\"\nvlan = 7\n\
         addresses = [\"10.0.7.1/24\"]\nneighbor.dad = false",
    );
    let daemon = Daemon::start(&topology.router, &config)?;
    let mut judge = Judge::start(&alice.namespace)?;
    judge.run("capture = Capture()", Value::Null)?;
    let asked = json!({ "tagged": "10.0.7.1", "untagged": "10.0.1.1" });
    let answers = wait_for("an answer on the VLAN", PATIENCE, || {
        let answers = judge.run(
            "
            to = Ether(src=mac(), dst='ff:ff:ff:ff:ff:ff')
            ask = lambda target: ARP(op=1, hwsrc=mac(), psrc=target[:-1] + '2', pdst=target)
            send([to / Dot1Q(vlan=7) / ask(args['tagged']), to / ask(args['tagged']), to / ask(args['untagged'])])
            found = capture.collect(lambda p: ARP in p and p[ARP].op == 2, 2, 2)
            result = sorted([[p[ARP].psrc, Dot1Q in p and p[Dot1Q].vlan] for p in found])
            ",
            asked.clone(),
        )?;
        Ok((answers.as_array().map(Vec::len) == Some(2)).then_some(answers))
    })?;
    assert_eq!(answers, json!([["10.0.1.1", false], ["10.0.7.1", 7]]));
    daemon.stop()
}
