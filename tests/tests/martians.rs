//! Special-purpose addresses (RFC 6890), judged by scapy.

use anyhow::Result;
use raddle_tests::{Daemon, DaemonConfig, Host, Judge, Need, Topology, requirement};
use serde_json::{Value, json};

const NEEDS: &[Need] = &[Need::Scapy, Need::Raddle];

/// The names that snippets use, and frames from this host to the router.
fn judge_in(topology: &Topology, host: &Host) -> Result<(Judge, Value)> {
    let bob = topology.host("bob");
    let args = json!({ "router": host.router_mac(&topology.router)?, "me": host.spec.ipv4, "me6": host.spec.ipv6,
        "gw": host.spec.gateway4, "gw6": host.spec.gateway6, "bob": bob.spec.ipv4, "bob6": bob.spec.ipv6 });
    let mut judge = Judge::start(&host.namespace)?;
    judge.run("ether = Ether(src=mac(), dst=args[\"router\"])", args.clone())?;
    Ok((judge, args))
}

/// The reason for which a packet between these addresses is dropped, if it is by the table.
fn fate(daemon: &Daemon<'_>, judge: &mut Judge, args: &Value, from: &str, to: &str) -> Result<String> {
    daemon.ctl("clear errors")?;
    let answered = judge.run(
        &format!(
            "
        ip = IPv6(src='{from}', dst='{to}') if ':' in '{from}' else IP(src='{from}', dst='{to}')
        send([ether / ip / UDP(sport=1, dport=2)])
        p = ask(ether / IP(src=args['me'], dst=args['gw']) / ICMP(id=4711, seq=99), lambda p: ICMP in p and p[ICMP].type == 0)
        result = p is not None
        "
        ),
        args.clone(),
    )?;
    assert_eq!(answered, json!(true), "no answer to the last question");
    let errors = daemon.ctl("show errors")?;
    let reasons = ["martian-source", "martian-destination", "not-forwardable"];
    Ok(reasons.iter().find(|reason| errors.contains(**reason)).unwrap_or(&"").to_string())
}

// RFC 6890 section 2.2.1: source, destination, forwardable
#[test]
fn rfc_6890_section_2_2_1_packets_are_dropped_by_the_columns_of_the_registry() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let config = DaemonConfig::routed(&topology)
        .with("[martians]\ncheck = true\nallow = ['2001:db8::/32']\ndeny = ['172.16.0.0/12']");
    let daemon = Daemon::start(&topology.router, &config)?;
    let alice = topology.host("alice");
    let (mut judge, args) = judge_in(&topology, alice)?;
    let (me, me6) = (alice.spec.ipv4.to_string(), alice.spec.ipv6.to_string());
    let (bob, bob6) =
        (topology.host("bob").spec.ipv4.to_string(), topology.host("bob").spec.ipv6.to_string());
    for (from, to, expected) in [
        (me.as_str(), bob.as_str(), ""),
        (&me6, &bob6, ""),
        ("192.0.2.1", &bob, "martian-source"),
        (&me, "203.0.113.1", "martian-destination"),
        ("169.254.7.7", &bob, "not-forwardable"),
        ("192.0.0.8", &bob, "not-forwardable"),
        (&me, "192.0.0.8", "martian-destination"),
        ("172.16.1.1", &bob, "martian-source"),
        ("100.64.0.1", &bob, ""),
        ("3fff::1", &bob6, "martian-source"),
        (&me6, "::ffff:10.0.2.2", "martian-destination"),
        (&me6, "2001:1::99", "martian-destination"),
    ] {
        assert_eq!(fate(&daemon, &mut judge, &args, from, to)?, expected, "{from} > {to}");
    }
    // Bob's answer goes there, by his interface.
    for interface in ["east", "west"] {
        daemon.ctl(&format!("set interface martians {interface} off"))?;
    }
    assert_eq!(fate(&daemon, &mut judge, &args, "192.0.2.1", &bob)?, "");
    let config = daemon.ctl("show config")?;
    assert!(config.contains("martians = false") && config.contains("deny = [\"172.16.0.0/12\"]"), "{config}");
    daemon.stop()
}

// RFC 1812 section 5.3.7: what is never right is dropped with or without the table
#[test]
fn rfc_1812_section_5_3_7_loopback_and_group_sources_are_dropped_on_every_interface() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let (mut judge, args) = judge_in(&topology, topology.host("alice"))?;
    let (bob, bob6) =
        (topology.host("bob").spec.ipv4.to_string(), topology.host("bob").spec.ipv6.to_string());
    for (from, to, expected) in [
        ("127.0.0.1", &bob, "martian-source"),
        ("224.0.0.1", &bob, "martian-source"),
        ("::1", &bob6, "martian-source"),
        ("ff02::1", &bob6, "martian-source"),
        ("192.0.2.1", &bob, ""),
    ] {
        assert_eq!(fate(&daemon, &mut judge, &args, from, to)?, expected, "{from} > {to}");
    }
    daemon.stop()
}
