//! IPv4 options (RFC 791 §3.1, RFC 1812 §5.2.4, RFC 7126), judged by scapy.

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

/// Sends packets with options from alice and has bob look at what arrives.
fn arrive(topology: &Topology, judge: &mut Judge, args: &Value, options: &str) -> Result<Value> {
    let bob = topology.host("bob");
    let mut receiver = Judge::start(&bob.namespace)?;
    receiver.run("capture = Capture()", args.clone())?;
    judge.run(
        &format!(
            "send([ether / IP(src=args['me'], dst=args['bob'], ttl=9, options=IPOption({options})) / UDP(sport=4711, dport=9)])"
        ),
        args.clone(),
    )?;
    receiver.run(
        "
        p = capture.first(lambda p: UDP in p and p[UDP].sport == 4711)
        result = None
        if p is not None:
            wrong = wrong_checksums(p)
            result = wrong or list(bytes(p)[34:14 + p[IP].ihl * 4])
        ",
        args.clone(),
    )
}

#[test]
fn rfc_1812_section_4_2_2_1_options_pass_untouched_unless_the_operator_wants_them_processed() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let daemon = Daemon::start(&topology.router, &DaemonConfig::routed(&topology))?;
    let (mut judge, args) = judge_in(&topology, topology.host("alice"))?;
    let record_route = "b'\\x07\\x07\\x04\\x00\\x00\\x00\\x00\\x00'";
    let router_alert = "b'\\x94\\x04\\x00\\x00'";
    assert_eq!(arrive(&topology, &mut judge, &args, record_route)?, json!([7, 7, 4, 0, 0, 0, 0, 0]));
    assert_eq!(arrive(&topology, &mut judge, &args, router_alert)?, json!([148, 4, 0, 0]));
    daemon.ctl("set ip4 options process")?;
    // RFC 1812 section 4.2.2.2: the address of the interface by which the packet leaves.
    assert_eq!(arrive(&topology, &mut judge, &args, record_route)?, json!([7, 7, 8, 10, 0, 2, 1, 0]));
    let stamped = arrive(&topology, &mut judge, &args, "b'\\x44\\x0c\\x05\\x01' + b'\\x00' * 8")?;
    assert_eq!(
        stamped.as_array().map(|bytes| bytes[..8].to_vec()),
        json!([68, 12, 13, 1, 10, 0, 2, 1]).as_array().cloned()
    );
    assert!(daemon.ctl("show config")?.contains("options = \"process\""));
    daemon.stop()
}

#[test]
fn packets_with_options_are_dropped_where_the_configuration_says_so() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let config = DaemonConfig::routed(&topology).with("[ip4]\noptions = 'drop'");
    let daemon = Daemon::start(&topology.router, &config)?;
    let (mut judge, args) = judge_in(&topology, topology.host("alice"))?;
    let said = judge.run(
        "
        with Capture() as capture:
            send([ether / IP(src=args['me'], dst=args['gw'], options=IPOption(b'\\x01\\x01\\x01\\x00')) / ICMP(id=1, seq=1),
                  ether / IP(src=args['me'], dst=args['gw']) / ICMP(id=1, seq=2)])
            p = capture.first(lambda p: ICMP in p and p[ICMP].type == 0)
            result = p[ICMP].seq if p is not None else 'silence'
        ",
        args,
    )?;
    assert_eq!(said, json!(2));
    assert!(daemon.ctl("show errors")?.contains("options-dropped"));
    daemon.stop()
}
