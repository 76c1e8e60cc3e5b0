//! Source checks by the way back (RFC 3704), judged by scapy.

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

/// Whether bob gets an answer to a packet with this source: the echo reply leaves by the route to the source, so it is looked
/// for in the counters instead.
fn dropped(daemon: &Daemon<'_>, reason: &str) -> Result<bool> {
    Ok(daemon.ctl("show errors")?.contains(reason))
}

/// Sends from alice with a source, then asks something that is answered: then the first has been dealt with.
fn send_from(judge: &mut Judge, args: &Value, source: &str) -> Result<()> {
    let said = judge.run(
        &format!(
            "
        source = '{source}'
        to = args['bob6'] if ':' in source else args['bob']
        ip = IPv6(src=source, dst=to) if ':' in source else IP(src=source, dst=to)
        send([ether / ip / UDP(sport=1, dport=2)])
        p = ask(ether / IP(src=args['me'], dst=args['gw']) / ICMP(id=4711, seq=99), lambda p: ICMP in p and p[ICMP].type == 0)
        result = p is not None
        "
        ),
        args.clone(),
    )?;
    assert_eq!(said, json!(true), "no answer to the last question");
    Ok(())
}

// RFC 3704 section 2.2
#[test]
fn rfc_3704_section_2_2_strict_check_drops_sources_that_live_behind_another_interface() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let config = DaemonConfig::new()
        .interface(&alice.spec, "urpf.ip4 = 'strict'\nurpf.ip6 = 'strict'")
        .interface(&bob.spec, "");
    let daemon = Daemon::start(&topology.router, &config)?;
    let (mut judge, args) = judge_in(&topology, alice)?;
    send_from(&mut judge, &args, &alice.spec.ipv4.to_string())?;
    send_from(&mut judge, &args, &alice.spec.ipv6.to_string())?;
    assert!(!dropped(&daemon, "other-interface")? && !dropped(&daemon, "no-route-to-source")?);
    send_from(&mut judge, &args, &bob.spec.ipv4.to_string())?;
    assert!(dropped(&daemon, "other-interface")?);
    daemon.ctl("clear errors")?;
    send_from(&mut judge, &args, &bob.spec.ipv6.to_string())?;
    assert!(dropped(&daemon, "other-interface")?);
    send_from(&mut judge, &args, "8.8.8.8")?;
    assert!(dropped(&daemon, "no-route-to-source")?);
    assert!(daemon.ctl("show config")?.contains("ip4 = \"strict\""));
    daemon.stop()
}

// RFC 3704 section 2.4
#[test]
fn rfc_3704_section_2_4_loose_check_drops_sources_without_a_route_and_can_be_set_while_running() -> Result<()>
{
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let (mut judge, args) = judge_in(&topology, alice)?;
    send_from(&mut judge, &args, "8.8.8.8")?;
    assert!(!dropped(&daemon, "no-route-to-source")?, "not by default");
    daemon.ctl("set interface urpf east both loose")?;
    send_from(&mut judge, &args, &bob.spec.ipv4.to_string())?;
    assert!(!dropped(&daemon, "no-route-to-source")?);
    send_from(&mut judge, &args, "8.8.8.8")?;
    assert!(dropped(&daemon, "no-route-to-source")?);
    let shown = daemon.ctl_json("show interface policy east")?;
    assert_eq!(shown[0]["ip4-urpf"], "loose");
    daemon.stop()
}
