//! Proxy ARP (RFC 1027) and proxy neighbour discovery (RFC 4861 section 7.2.8, RFC 4389), with Linux hosts that take what is far for
//! near.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use raddle_tests::{Daemon, DaemonConfig, Host, Judge, Need, Topology, ping, requirement, wait_until};
use serde_json::json;

const NEEDS: &[Need] = &[Need::Ping, Need::Scapy, Need::Raddle];

/// Has the host take bob's networks for its own link.
fn mislead(alice: &Host) -> Result<()> {
    let namespace = &alice.namespace;
    namespace.ip("route del default")?;
    namespace.ip("-6 route del default")?;
    namespace.ip("route add 10.0.2.0/24 dev eth0")?;
    namespace.ip("-6 route add 2001:db8:2::/64 dev eth0").map(drop)
}

fn start<'t>(topology: &'t Topology, keys: &str) -> Result<Daemon<'t>> {
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let keys = format!("neighbor.dad = false\n{keys}");
    let config = DaemonConfig::new().interface(&alice.spec, &keys).interface(&bob.spec, "");
    Daemon::start(&topology.router, &config)
}

// RFC 1027 section 2.3, RFC 4389 section 4.1.3
#[test]
fn rfc_1027_section_2_3_hosts_without_a_router_reach_the_other_link() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    for keys in
        ["neighbor.proxy-routed = true\n", "neighbor.proxy = [\"10.0.2.0/24\", \"2001:db8:2::/64\"]\n"]
    {
        let topology = Topology::two_hosts()?;
        let (alice, bob) = (topology.host("alice"), topology.host("bob"));
        mislead(alice)?;
        let daemon = start(&topology, keys)?;
        for address in [IpAddr::from(bob.spec.ipv4), IpAddr::from(bob.spec.ipv6)] {
            assert!(ping(&alice.namespace, address, 5)?.received > 0, "no way to {address} with {keys}");
        }
        let mac = alice.router_mac(&topology.router)?;
        let neighbors = alice.namespace.ip("neigh show")?;
        for address in [bob.spec.ipv4.to_string(), bob.spec.ipv6.to_string()] {
            let line = neighbors.lines().find(|line| line.starts_with(&format!("{address} ")));
            assert!(line.is_some_and(|line| line.contains(&mac)), "{neighbors}");
        }
        daemon.stop()?;
    }
    Ok(())
}

// RFC 4861 section 7.3.3: the host asks the neighbour alone whether it is still there; such a question must not be forwarded.
#[test]
fn rfc_4861_section_7_3_3_neighbor_that_is_answered_for_stays_reachable() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    mislead(alice)?;
    for family in ["ipv4", "ipv6"] {
        alice.namespace.set(&format!("{family}/neigh/eth0/base_reachable_time_ms"), "1000")?;
        alice.namespace.set(&format!("{family}/neigh/eth0/delay_first_probe_time"), "1")?;
    }
    let daemon = start(&topology, "neighbor.proxy-routed = true\n")?;
    for address in [IpAddr::from(bob.spec.ipv4), IpAddr::from(bob.spec.ipv6)] {
        assert!(ping(&alice.namespace, address, 5)?.received > 0, "no way to {address}");
    }
    let mut capture = Judge::start(&bob.namespace)?;
    capture.run("capture = Capture()\nresult = 0", json!({}))?;
    // Linux, used for six seconds, asks again and again.
    for address in [IpAddr::from(bob.spec.ipv4), IpAddr::from(bob.spec.ipv6)] {
        let report = raddle_tests::ping::ping_with(&alice.namespace, address, &["-c", "30", "-i", "0.2"])?;
        assert!(report.is_complete(), "{address}: {} of {}", report.received, report.sent);
    }
    let forwarded = capture.run(
        "
        asked = capture.collect(lambda p: ICMPv6ND_NS in p and p[IPv6].hlim != 255, 1)
        result = len(asked)
        ",
        json!({}),
    )?;
    assert_eq!(forwarded, json!(0), "solicitations arrive on bob's link");
    daemon.stop()
}

// RFC 5227 section 2.1.1, RFC 4862 section 5.4.3
#[test]
fn rfc_5227_section_2_1_1_probes_are_not_answered_for_others_nor_questions_about_the_own_link() -> Result<()>
{
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let alice = topology.host("alice");
    let daemon = start(&topology, "neighbor.proxy-routed = true\n")?;
    let ask = "
        answered = set()
        with Capture() as capture:
            probe = Ether(src=mac(), dst='ff:ff:ff:ff:ff:ff') / ARP(op=1, hwsrc=mac(), psrc='0.0.0.0', pdst='10.0.2.2')
            group = in6_getnsma(inet_pton(socket.AF_INET6, '2001:db8:2::2'))
            tries = (Ether(src=mac(), dst=in6_getnsmac(group)) / IPv6(src='::', dst=inet_ntop(socket.AF_INET6, group), hlim=255)
                / ICMPv6ND_NS(tgt='2001:db8:2::2'))
            send([probe, tries, arp_question('10.0.1.99', args['me']), nd_question('2001:db8:1::99', args['me6']),
                  arp_question('10.9.9.9', args['me']), arp_question('10.0.2.2', args['me'])])
            for p in capture.frames(3):
                if ARP in p and p[ARP].op == 2:
                    answered.add(p[ARP].psrc + ' to ' + p[ARP].pdst)
                if ICMPv6ND_NA in p and p[ICMPv6ND_NA].S:
                    answered.add(p[ICMPv6ND_NA].tgt)
        result = sorted(answered)
    ";
    let mut judge = Judge::start(&alice.namespace)?;
    let args = json!({ "me": alice.spec.ipv4, "me6": alice.spec.ipv6 });
    assert_eq!(judge.run(ask, args.clone())?, json!([format!("10.0.2.2 to {}", alice.spec.ipv4)]));
    // RFC 3069: a link on which hosts do not hear each other.
    let local = daemon.config_file();
    let text = std::fs::read_to_string(&local)?;
    std::fs::write(&local, text.replace("neighbor.proxy-routed = true", "neighbor.local-proxy = true"))?;
    raddle_tests::command::run(std::process::Command::new("kill").args(["-HUP", &daemon.pid().to_string()]))?;
    wait_until("the configuration to be read again", Duration::from_secs(30), || {
        daemon.ctl("show config").is_ok_and(|config| config.contains("local-proxy = true"))
    })?;
    let near = json!([format!("10.0.1.99 to {}", alice.spec.ipv4), "2001:db8:1::99"]);
    assert_eq!(judge.run(ask, args)?, near);
    daemon.stop()
}
