//! Frames for further stations and for groups: taken, or dropped and counted.

use std::time::Duration;

use anyhow::Result;
use raddle_tests::{Daemon, DaemonConfig, Judge, Need, Topology, observe, ping, requirement, wait_until};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
const EXTRA: &str = "02:00:00:00:00:77";
const OTHER: &str = "02:00:00:00:00:78";

fn config(topology: &Topology, extra: &str) -> DaemonConfig {
    let config = DaemonConfig::new().interface(&topology.host("alice").spec, extra);
    config.interface(&topology.host("bob").spec, "")
}

/// Which of these stations answer an echo request.
fn answering(judge: &mut Judge, topology: &Topology, stations: &[&str]) -> Result<Value> {
    let spec = &topology.host("alice").spec;
    judge.run(
        "
        result = []
        for number, station in enumerate(args['stations']):
            echo = IP(src=args['me'], dst=args['gw']) / ICMP(id=4711, seq=number)
            # What is not answered by the time that a request to the router's own address is will not be.
            last = IP(src=args['me'], dst=args['gw']) / ICMP(id=4711, seq=100 + number)
            with Capture() as capture:
                send([Ether(src=mac(), dst=station) / echo, Ether(src=mac(), dst=args['router']) / last])
                p = capture.first(lambda p: ICMP in p and p[ICMP].type == 0 and p[ICMP].id == 4711)
                if p is not None and p[ICMP].seq == number:
                    result.append(station)
        ",
        json!({ "stations": stations, "me": spec.ipv4, "gw": spec.gateway4,
            "router": topology.host("alice").router_mac(&topology.router)? }),
    )
}

#[test]
fn frames_for_a_further_station_are_answered_and_for_others_not() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let with = config(&topology, &format!("mac-addresses = [\"{EXTRA}\"]\n"));
    let daemon = Daemon::start(&topology.router, &with)?;
    let mut judge = Judge::start(&topology.host("alice").namespace)?;
    assert_eq!(answering(&mut judge, &topology, &[EXTRA, OTHER])?, json!([EXTRA]));
    daemon.ctl(&format!("set interface mac-address east add {OTHER}"))?;
    assert_eq!(answering(&mut judge, &topology, &[EXTRA, OTHER])?, json!([EXTRA, OTHER]));
    let shown = daemon.ctl("show interface east verbose")?;
    assert!(shown.contains(&format!("{EXTRA} (operator), {OTHER} (operator)")), "{shown}");
    let config_shown = daemon.ctl("show config")?;
    assert!(config_shown.contains(&format!("mac-addresses = [\"{EXTRA}\", \"{OTHER}\"]")), "{config_shown}");
    daemon.ctl(&format!("set interface mac-address east del {EXTRA}"))?;
    assert_eq!(answering(&mut judge, &topology, &[EXTRA, OTHER])?, json!([OTHER]));
    daemon.stop()
}

#[test]
fn further_stations_change_by_reading_the_file_again() -> Result<()> {
    if !requirement::met(&[Need::Scapy, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let with = config(&topology, &format!("mac-addresses = [\"{EXTRA}\"]\n"));
    let daemon = Daemon::start(&topology.router, &with)?;
    let before = observe::interface(&daemon, "east")?.expect("east").rx_packets;
    let mut judge = Judge::start(&topology.host("alice").namespace)?;
    assert_eq!(answering(&mut judge, &topology, &[EXTRA, OTHER])?, json!([EXTRA]));
    let text = std::fs::read_to_string(daemon.config_file())?;
    std::fs::write(daemon.config_file(), text.replace(EXTRA, OTHER))?;
    raddle_tests::command::run(std::process::Command::new("kill").args(["-HUP", &daemon.pid().to_string()]))?;
    wait_until("the other address", PATIENCE, || {
        daemon.ctl("show interface east verbose").is_ok_and(|text| text.contains(OTHER))
    })?;
    assert_eq!(answering(&mut judge, &topology, &[EXTRA, OTHER])?, json!([OTHER]));
    // Not made anew: it would count from nothing.
    assert!(observe::interface(&daemon, "east")?.expect("east").rx_packets >= before + 4);
    daemon.stop()
}

/// How many frames for groups that were not joined were dropped.
fn dropped(daemon: &Daemon<'_>) -> Result<u64> {
    let rows = daemon.ctl_json("show errors")?;
    let row = rows.as_array().into_iter().flatten().find(|row| row["reason"] == "group-not-joined");
    Ok(row.and_then(|row| row["count"].as_u64()).unwrap_or(0))
}

// RFC 4861 section 7.2, RFC 4291 section 2.7.1, RFC 4862 section 5.4.2: what raddle itself needs is joined
#[test]
fn rfc_4861_section_7_2_with_the_group_filter_neighbours_are_found_and_other_groups_dropped() -> Result<()> {
    if !requirement::met(&[Need::Ping, Need::Scapy, Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for detection in ["false", "true"] {
        let filtered = config(&topology, &format!("multicast-filter = true\nneighbor.dad = {detection}\n"));
        let daemon = Daemon::start(&topology.router, &filtered)?;
        alice.namespace.ip("neigh flush all")?;
        wait_until("alice to find raddle", PATIENCE, || {
            ping(&alice.namespace, alice.spec.gateway6, 1).is_ok_and(|report| report.is_complete())
        })?;
        assert!(ping(&alice.namespace, bob.spec.ipv6, 3)?.is_complete());
        assert!(ping(&alice.namespace, bob.spec.ipv4, 3)?.is_complete());
        let before = dropped(&daemon)?;
        let mut judge = Judge::start(&alice.namespace)?;
        let send = "send([Ether(src=mac(), dst=d) / IP(dst='239.1.2.3', ttl=1) / UDP() for d in args])";
        judge.run(send, json!(["01:00:5e:01:02:03", "01:00:5e:01:02:04", "01:00:5e:01:02:03"]))?;
        wait_until("three drops", PATIENCE, || dropped(&daemon).is_ok_and(|count| count >= before + 3))?;
        daemon.ctl("multicast join east 239.1.2.3")?;
        let before = dropped(&daemon)?;
        let mut frames = vec!["01:00:5e:01:02:03"; 50];
        frames.push("01:00:5e:01:02:04");
        judge.run(send, json!(frames))?;
        wait_until("a drop", PATIENCE, || dropped(&daemon).is_ok_and(|count| count > before))?;
        // Alice's kernel may say something to groups of its own meanwhile.
        let more = dropped(&daemon)? - before;
        assert!(more < 25, "{more} frames dropped, though the group is joined");
        daemon.ctl("set interface multicast-filter east off")?;
        assert!(!daemon.ctl("show config")?.contains("multicast-filter"));
        daemon.stop()?;
    }
    Ok(())
}

// RFC 4862 section 5.4.2: the groups of an address are listened to before it is known to be nobody else's
#[test]
fn rfc_4862_section_5_4_2_with_the_group_filter_duplicates_are_found() -> Result<()> {
    if !requirement::met(&[Need::Raddle]) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    alice.namespace.ip("address add 2001:db8:1::1/64 dev eth0 nodad")?;
    let filtered = config(&topology, "multicast-filter = true\nneighbor.dad = true\n");
    let daemon = Daemon::start(&topology.router, &filtered)?;
    wait_until("the duplicate", PATIENCE, || {
        daemon.ctl_json("show interface address east").is_ok_and(|rows| {
            let mut rows = rows.as_array().into_iter().flatten();
            rows.any(|row| row["address"] == "2001:db8:1::1/64" && row["state"] == "duplicate")
        })
    })?;
    daemon.stop()
}
