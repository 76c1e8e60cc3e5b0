//! What is wrong with the host's side is said or counted, and disturbs nothing else.

use anyhow::{Context, Result, ensure};
use raddle_tests::host_side::{
    TAPS, WAIT, addresses, config, in_sync, raddles_addresses, reached, route, same_addresses,
};
use raddle_tests::wait::wait_for;
use raddle_tests::{Daemon, HostSpec, Namespace, Need, Topology, UdpFlow, requirement};

const NEEDS: &[Need] = &[Need::Ping, Need::Raddle, Need::Tuntap];

#[test]
fn what_is_wrong_is_said_and_disturbs_nothing() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let host = Namespace::create("host")?;
    // The name of one tap is taken, another interface is none, and a namespace and a VRF are missing.
    host.ip("link add east type veth peer name spare")?;
    let lines = format!(
        "{TAPS}[tuntap.interface.nowhere]\n[[tuntap.mirror]]\nnamespace = \"no-such-namespace\"\n\
         [[tuntap.mirror]]\nvrf = \"blue\"\npreference = 101\n"
    );
    let daemon = Daemon::start(&topology.router, &config(&topology, &host, &lines))?;
    same_addresses(&daemon, &host, "west", "10.0.2.1/24", true)?;
    let shown = wait_for("the faults", WAIT, || {
        let shown = daemon.ctl("show tuntap")?;
        let all = [
            "the name east is taken on the host by a device that is no tap",
            "there is no interface of this name",
            "there is no network namespace \"no-such-namespace\"",
            "there is no VRF device blue",
        ];
        Ok(all.iter().all(|part| shown.contains(part)).then_some(shown))
    });
    shown.with_context(|| daemon.ctl("show tuntap").unwrap_or_default())?;
    reached(&alice.namespace, bob.spec.ipv4)?;
    host.ip("link delete east")?;
    same_addresses(&daemon, &host, "east", "10.0.1.1/24", true)?;
    let refused = daemon.try_ctl("set tuntap interface nobody tap")?;
    ensure!(refused.stderr.contains("there is no interface `nobody`"), "{refused:?}");
    // The host floods its tap; the others are served.
    let flood = host.udp("0.0.0.0:0")?;
    flood.connect("10.0.1.2:9")?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = flood.send(&[0; 1000]);
            }
        });
        let outcome = reached(&bob.namespace, bob.spec.gateway4);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        outcome
    })?;
    daemon.stop()
}

#[test]
fn without_the_tun_device_it_says_so_and_forwards() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::create([HostSpec::new("alice", "east", 1), HostSpec::new("bob", "west", 2)])?;
    let host = Namespace::create("host")?;
    let config = config(&topology, &host, "[tuntap.interface.east]\n");
    // A device directory of its own hides /dev/net/tun from this daemon alone.
    let hidden = Daemon::start_without_tun(&topology.router, &config)?;
    let outcome = wait_for("the fault", WAIT, || {
        let shown = hidden.ctl("show tuntap")?;
        Ok(shown.contains("/dev/net/tun is not there: load the kernel's module `tun`").then_some(()))
    });
    outcome.with_context(|| hidden.ctl("show tuntap").unwrap_or_default())?;
    reached(&topology.host("alice").namespace, topology.host("bob").spec.ipv4)?;
    hidden.stop()
}

#[test]
fn without_permission_it_says_so_and_forwards() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let host = Namespace::create("host")?;
    for (capability, message) in [
        ("sys_admin", "cannot enter the network namespace (CAP_SYS_ADMIN is needed)"),
        ("net_admin", "no permission to make the tap east, CAP_NET_ADMIN is needed"),
    ] {
        let config = config(&topology, &host, "[tuntap.interface.east]\n");
        let daemon = Daemon::start_without_capability(&topology.router, &config, capability)?;
        let outcome =
            wait_for("the fault", WAIT, || Ok(daemon.ctl("show tuntap")?.contains(message).then_some(())));
        outcome.with_context(|| daemon.ctl("show tuntap").unwrap_or_default())?;
        reached(&alice.namespace, bob.spec.ipv4).with_context(|| capability.to_owned())?;
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn a_tun_that_somebody_removes_comes_back() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let host = Namespace::create("host")?;
    let lines = "[tuntap.interface.east]\nmode = \"tun\"\n[tuntap.interface.west]\nmode = \"tun\"\n\
                 [tuntap.tun.default]\ndevice = \"raddle0\"\n";
    let daemon = Daemon::start(&topology.router, &config(&topology, &host, lines))?;
    for round in 0..2 {
        wait_for("the addresses of both interfaces", WAIT, || {
            let all = addresses(&host, "raddle0")?;
            let wanted = ["10.0.1.1/24", "10.0.2.1/24", "2001:db8:1::1/64", "2001:db8:2::1/64"];
            Ok(wanted.iter().all(|wanted| all.iter().any(|address| address == wanted)).then_some(()))
        })?;
        reached(&host, alice.spec.ipv4)?;
        if round == 0 {
            let flow = UdpFlow::start(alice, bob, false, 500)?;
            host.ip("link delete raddle0")?;
            flow.wait_for_more(100)?;
            flow.stop()?.demand_no_loss()?;
        }
    }
    daemon.stop()
}

#[test]
fn a_namespace_that_is_removed_and_made_anew_is_set_up_anew() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let host = Namespace::create("host")?;
    let lines = format!("{TAPS}[[tuntap.mirror]]\n");
    let daemon = Daemon::start(&topology.router, &config(&topology, &host, &lines))?;
    let both_sides = || {
        for (device, address) in [("east", "10.0.1.1/24"), ("west", "2001:db8:2::1/64")] {
            same_addresses(&daemon, &host, device, address, true)?;
        }
        anyhow::Ok(())
    };
    both_sides()?;
    let before = raddles_addresses(&daemon, "east")?;
    host.ip("route add 192.0.2.0/24 via 10.0.2.2")?;
    in_sync(&daemon, 1, 1)?;
    let says = |text: &'static str| {
        let outcome =
            wait_for("what is said", WAIT, || Ok(daemon.ctl("show tuntap")?.contains(text).then_some(())));
        outcome.with_context(|| format!("{text}: {}", daemon.ctl("show tuntap").unwrap_or_default()))
    };
    let flow = UdpFlow::start(alice, bob, false, 500)?;
    host.remove()?;
    says("the namespace was removed: what is in it goes on until another one has the name")?;
    ensure!(route(&daemon, "192.0.2.0/24")?.contains("10.0.2.2"), "what was learnt stays");
    host.make()?;
    both_sides()?;
    assert_eq!(raddles_addresses(&daemon, "east")?, before, "raddle has lost no address");
    says("replaced 1 times")?;
    ensure!(!daemon.ctl("show tuntap")?.contains("the namespace was removed"), "it is there again");
    ensure!(daemon.log().contains("is another one now"), "{}", daemon.log());
    reached(&host, bob.spec.ipv4)?;
    // The new one has no routes until somebody puts them there.
    in_sync(&daemon, 0, 0)?;
    host.ip("route add 192.0.2.0/24 via 10.0.1.2")?;
    in_sync(&daemon, 1, 1)?;
    ensure!(route(&daemon, "192.0.2.0/24")?.contains("10.0.1.2"));
    flow.wait_for_more(100)?;
    flow.stop()?.demand_no_loss()?;
    daemon.stop()?;
    assert_eq!(host.interfaces()?, Vec::<String>::new(), "the taps go with raddle");
    Ok(())
}

#[test]
fn sighup_changes_the_limits_of_the_punt_and_the_ways_to_the_host() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let host = Namespace::create("host")?;
    let lines = "[tuntap.interface.east]\n[punt.udp]\nrate = 100\nburst = 10\n";
    let daemon = Daemon::start(&topology.router, &config(&topology, &host, lines))?;
    let limit = |reason: &str| {
        let shown = daemon.ctl_json("show punt")?;
        let row = shown.as_array().into_iter().flatten().find(|row| row["reason"] == reason);
        let row = row.with_context(|| format!("{reason}: {shown}"))?;
        anyhow::Ok((row["rate"].as_u64(), row["burst"].as_u64()))
    };
    let until = |reason: &'static str, rate: u64, burst: u64| {
        let outcome =
            wait_for("the limit", WAIT, || Ok((limit(reason)? == (Some(rate), Some(burst))).then_some(())));
        outcome.with_context(|| format!("{reason}: {:?}", limit(reason)))
    };
    until("udp", 100, 10)?;
    daemon.ctl("set punt arp rate 7 burst 8")?;
    same_addresses(&daemon, &host, "east", "10.0.1.1/24", true)?;
    // Another limit, one more, and another interface with a way to the host.
    daemon.reload(|text| {
        text.replace("rate = 100\n", "rate = 200\n")
            + "[punt.icmp]\nrate = 5\nburst = 6\n[tuntap.interface.west]\ndevice = \"other\"\n"
    })?;
    until("udp", 200, 10)?;
    until("icmp", 5, 6)?;
    until("arp", 7, 8).context("the file says nothing of it, the command has")?;
    wait_for("the new tap", WAIT, || {
        Ok(addresses(&host, "other")?.iter().any(|address| address == "10.0.2.1/24").then_some(()))
    })?;
    let shown = daemon.ctl("show config")?;
    ensure!(shown.contains("[punt.icmp]") && shown.contains("[tuntap.interface.west]"), "{shown}");
    // A command's change outlives a reading in which the section says what it said.
    daemon.ctl("set tuntap interface west off")?;
    wait_for(
        "the tap to go",
        WAIT,
        || Ok((!host.interfaces()?.contains(&"other".to_owned())).then_some(())),
    )?;
    // The sections go: as usual again, and no way to the host.
    daemon.reload(|text| text.replace("[punt.icmp]\nrate = 5\nburst = 6\n", ""))?;
    until("icmp", 10_000, 1000)?;
    ensure!(!host.interfaces()?.contains(&"other".to_owned()), "the section is as it was");
    // What is wrong changes nothing, and is told.
    daemon.reload(|text| text + "[[tuntap.mirror]]\n[[tuntap.mirror]]\n[punt.udb]\nrate = 1\nburst = 1\n")?;
    wait_for("the faults in the log", WAIT, || {
        let log = daemon.log();
        let all =
            ["give one of them another preference", "there is no punt reason `udb`; did you mean `udp`?"];
        Ok(all.iter().all(|part| log.contains(part)).then_some(()))
    })?;
    until("udp", 200, 10)?;
    ensure!(host.interfaces()?.contains(&"east".to_owned()));
    ensure!(!daemon.log().contains("takes effect at the next start"), "{}", daemon.log());
    daemon.stop()
}

#[test]
fn a_flood_of_one_kind_starves_neither_the_host_nor_forwarding() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    const FLOOD: usize = 20_000;
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let host = Namespace::create("host")?;
    let lines = format!("{TAPS}[punt.udp]\nrate = 10\nburst = 20\n");
    let daemon = Daemon::start(&topology.router, &config(&topology, &host, &lines))?;
    for (device, address) in [("east", "10.0.1.1/24"), ("west", "10.0.2.1/24")] {
        same_addresses(&daemon, &host, device, address, true)?;
    }
    reached(&alice.namespace, alice.spec.gateway4)?;
    let service = host.tcp("10.0.1.1:7000")?;
    let receiver = host.udp("10.0.2.1:7000")?;
    receiver.set_read_timeout(Some(WAIT))?;
    let flow = UdpFlow::start(bob, alice, false, 200)?;
    let flood = alice.namespace.udp("0.0.0.0:0")?;
    for number in 0..FLOOD {
        flood.send_to(b"flood", (alice.spec.gateway4, 7000))?;
        if number % 64 == 0 {
            // No more than what a busy machine takes: it is the punt that is to be flooded.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    // Another reason, and the same one on another interface, are served; and so is who is only passing through.
    alice.namespace.enter(|| std::net::TcpStream::connect((alice.spec.gateway4, 7000)))??;
    service.accept()?;
    bob.namespace.udp("0.0.0.0:0")?.send_to(b"hello", (bob.spec.gateway4, 7000))?;
    assert_eq!(receiver.recv(&mut [0; 16])?, 5);
    flow.wait_for_more(50)?;
    flow.stop()?.demand_no_loss()?;
    let shown = daemon.ctl_json("show punt")?;
    let udp = shown.as_array().into_iter().flatten().find(|row| row["reason"] == "udp").context("udp")?;
    let (taken, limited) = (udp["taken"].as_u64().unwrap_or(0), udp["limited"].as_u64().unwrap_or(0));
    ensure!(taken > 0 && limited > taken, "{udp}");
    daemon.stop()
}
