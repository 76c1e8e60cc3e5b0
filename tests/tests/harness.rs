//! The harness itself, with the kernel of the router namespace forwarding in raddle's place.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use raddle_tests::iperf::Direction;
use raddle_tests::{
    HostSpec, IperfServer, Judge, Namespace, Need, Process, Topology, UdpFlow, WebServer, fetch, iperf, ping,
    requirement, sweep, wait_until,
};
use serde_json::{Value, json};

fn routed_by_kernel() -> Result<Topology> {
    let topology = Topology::two_hosts()?;
    topology.forward_by_kernel()?;
    Ok(topology)
}

#[test]
fn hosts_reach_each_other_only_through_the_router() -> Result<()> {
    if !requirement::met(&[Need::Ping]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let without = ping(&alice.namespace, bob.spec.ipv4, 1)?;
    ensure!(without.received == 0, "something forwards that should not: {}", without.text);
    topology.forward_by_kernel()?;
    for address in [IpAddr::from(bob.spec.ipv4), bob.spec.ipv6.into()] {
        wait_until("the router to forward", Duration::from_secs(30), || {
            ping(&alice.namespace, address, 3).is_ok_and(|report| report.is_complete())
        })?;
    }
    Ok(())
}

#[test]
fn web_page_arrives_as_it_was_sent() -> Result<()> {
    if !requirement::met(&[Need::Curl, Need::Python]) {
        return Ok(());
    }
    let topology = routed_by_kernel()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let folder = tempfile::tempdir()?;
    let content: Vec<u8> =
        (0..3_000_000_u32).map(|number| number.to_le_bytes()[number as usize % 3]).collect();
    fs::write(folder.path().join("file"), &content)?;
    let _server = WebServer::start(&bob.namespace, folder.path())?;
    for address in [IpAddr::from(bob.spec.ipv4), bob.spec.ipv6.into()] {
        let to = folder.path().join("fetched");
        let fetched = fetch(&alice.namespace, address, "file", &to)?;
        assert_eq!((fetched.status, fetched.len_bytes), (200, 3_000_000), "{address}");
        assert!(fs::read(&to)? == content, "{address}: the content differs");
    }
    Ok(())
}

#[test]
fn bulk_tcp_flows_both_ways_over_both_families() -> Result<()> {
    if !requirement::met(&[Need::Iperf]) {
        return Ok(());
    }
    let topology = routed_by_kernel()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let _server = IperfServer::start(&bob.namespace)?;
    for address in [IpAddr::from(bob.spec.ipv4), bob.spec.ipv6.into()] {
        for direction in [Direction::Upload, Direction::Download] {
            let sum = iperf(&alice.namespace, address, direction, 1)?;
            eprintln!("{address} {direction:?}: {:.1} Gbit/s", sum.gbit_per_second);
            assert!(sum.len_bytes > 0, "{address} {direction:?}");
        }
    }
    Ok(())
}

#[test]
fn numbered_stream_tells_loss_from_none() -> Result<()> {
    if !requirement::met(&[]) {
        return Ok(());
    }
    let topology = routed_by_kernel()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for ipv6 in [false, true] {
        let flow = UdpFlow::start(alice, bob, ipv6, 2000)?;
        flow.wait_for_more(500)?;
        flow.stop()?.demand_no_loss()?;
    }
    let flow = UdpFlow::start(alice, bob, false, 2000)?;
    topology.router.set("ipv4/ip_forward", "0")?;
    std::thread::sleep(Duration::from_millis(100));
    topology.router.set("ipv4/ip_forward", "1")?;
    flow.wait_for_more(100)?;
    let report = flow.stop()?;
    assert!(report.demand_no_loss().is_err(), "{} sent, none lost in the gap", report.sent);
    assert!(report.longest_gap >= Duration::from_millis(50), "{:?}", report.longest_gap);
    Ok(())
}

#[test]
fn judge_makes_asks_and_decodes() -> Result<()> {
    if !requirement::met(&[Need::Scapy]) {
        return Ok(());
    }
    let topology = routed_by_kernel()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let mut judge = Judge::start(&alice.namespace)?;
    let args = json!({ "me": alice.spec.ipv4, "gw": alice.spec.gateway4, "me6": alice.spec.ipv6, "gw6": alice.spec.gateway6,
        "bob": bob.spec.ipv4, "bob6": bob.spec.ipv6 });
    let router_mac = alice.router_mac(&topology.router)?;

    let macs = judge.run(
        "result = [gateway_mac(args['gw'], args['me']), gateway_mac(args['gw6'], args['me6'])]",
        args.clone(),
    )?;
    assert_eq!(macs, json!([router_mac, router_mac]), "ARP and neighbour discovery");

    let exceeded = judge.run(
        "
        ether = Ether(src=mac(), dst=gateway_mac(args['gw'], args['me']))
        p = ask(ether / IP(src=args['me'], dst=args['bob'], ttl=1) / UDP(sport=7, dport=9) / Raw(b'x' * 32),
                lambda p: ICMP in p and p[ICMP].type == 11)
        p6 = ask(ether / IPv6(src=args['me6'], dst=args['bob6'], hlim=1) / UDP(sport=7, dport=9) / Raw(b'x' * 32),
                 lambda p: ICMPv6TimeExceeded in p)
        result = [p[IP].src, wrong_checksums(p), p6[IPv6].src, wrong_checksums(p6)]
        ",
        args.clone(),
    )?;
    assert_eq!(exceeded, json!([alice.spec.gateway4, [], alice.spec.gateway6, []]));

    let wrong = judge.run(
        "
        p = Ether() / IP(src='1.2.3.4', dst='5.6.7.8') / UDP(sport=1, dport=2) / b'data'
        bad = Ether() / IP(src='1.2.3.4', dst='5.6.7.8', chksum=1) / UDP(sport=1, dport=2, chksum=2) / b'data'
        short = Ether() / IP(src='1.2.3.4', dst='5.6.7.8', len=999) / UDP(sport=1, dport=2) / b'data'
        result = [len(wrong_checksums(Ether(bytes(p)))) for p in (p, bad, short)]
        ",
        Value::Null,
    )?;
    assert_eq!(wrong[0], 0);
    assert_eq!(wrong[1], 2);
    assert!(wrong[2].as_u64() >= Some(1), "{wrong}");

    let error = judge.run("raise ValueError('deliberate')", Value::Null).unwrap_err().to_string();
    assert!(error.contains("deliberate"), "{error}");
    Ok(())
}

#[test]
fn link_comes_back_after_a_cut() -> Result<()> {
    if !requirement::met(&[Need::Ping]) {
        return Ok(());
    }
    let topology = Topology::create([HostSpec::new("alice", "east", 1).with_mtu(9000)])?;
    let alice = topology.host("alice");
    assert_eq!(topology.router.interfaces()?, ["east"]);
    alice.cut()?;
    assert_eq!(topology.router.interfaces()?, [""; 0]);
    alice.connect(&topology.router)?;
    topology.forward_by_kernel()?;
    let report = ping(&alice.namespace, alice.spec.gateway4, 1)?;
    assert!(report.is_complete(), "{}", report.text);
    Ok(())
}

#[test]
fn sweep_takes_a_namespace_with_its_processes() -> Result<()> {
    if !requirement::met(&[]) {
        return Ok(());
    }
    // A process that has ended and was waited for: its id is nobody's.
    let mut child = std::process::Command::new("true").spawn()?;
    let pid = child.id();
    child.wait()?;
    let name = format!("raddle-{pid}-1-left");
    raddle_tests::command::run(&mut raddle_tests::command::words(&format!("ip netns add {name}")))?;
    let mut sleeper =
        Process::start(&mut raddle_tests::command::words(&format!("ip netns exec {name} sleep 600")))?;
    let inside =
        || raddle_tests::command::run(&mut raddle_tests::command::words(&format!("ip netns pids {name}")));
    wait_until("the sleeper to be inside", Duration::from_secs(30), || {
        inside().is_ok_and(|pids| !pids.is_empty())
    })?;
    // It is a child of this process, and must be waited for as soon as it is killed.
    let reaper = std::thread::spawn(move || sleeper.wait(Duration::from_secs(60)));
    sweep::sweep()?;
    assert!(!sweep::namespaces().contains(&name));
    let status = reaper.join().expect("the waiting thread")?;
    assert_eq!(status.code(), None, "the sleeper was killed, not: {status}");
    Ok(())
}

#[test]
fn namespace_goes_with_its_owner() -> Result<()> {
    if !requirement::met(&[]) {
        return Ok(());
    }
    let namespace = Namespace::create("brief")?;
    let name = namespace.name().to_owned();
    assert!(sweep::namespaces().contains(&name));
    drop(namespace);
    assert!(!sweep::namespaces().contains(&name));
    Ok(())
}
