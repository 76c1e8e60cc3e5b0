//! The neighbour table under scans and floods (RFC 6583) while live traffic goes on.

use std::time::Duration;

use anyhow::Result;
use raddle_tests::observe::{buffers_in_use, errors};
use raddle_tests::{Daemon, DaemonConfig, Judge, Need, Topology, ping, requirement, wait_until};
use serde_json::{Value, json};

const NEEDS: &[Need] = &[Need::Ping, Need::Scapy, Need::Raddle];

fn usage(daemon: &Daemon<'_>, interface: &str, key: &str) -> Result<u64> {
    let rows = daemon.ctl_json("show neighbor-table")?;
    let row = rows.as_array().into_iter().flatten().find(|row| row["interface"] == interface);
    Ok(row.and_then(|row| row[key].as_u64()).unwrap_or(u64::MAX))
}

// RFC 6583 section 6, RFC 4861 section 7.2.2
#[test]
fn rfc_6583_section_6_scan_of_a_prefix_neither_fills_the_table_nor_pushes_out_live_neighbors() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let limits = "neighbor = { dad = false, max-entries = 100, max-incomplete = 40, max-queued = 4, \
                  max-queued-total = 60, solicitations-per-second = 200 }\n";
    let config = DaemonConfig::new().interface(&alice.spec, "").interface(&bob.spec, limits);
    let daemon = Daemon::start(&topology.router, &config)?;
    for address in [std::net::IpAddr::from(bob.spec.ipv4), bob.spec.ipv6.into()] {
        assert!(ping(&alice.namespace, address, 5)?.received > 0, "no way to {address}");
    }
    let idle = buffers_in_use(&daemon)?;
    let router = alice.router_mac(&topology.router)?;
    let mut listener = Judge::start(&bob.namespace)?;
    listener.run("capture = Capture()\nresult = 0", json!({}))?;
    // A thousand addresses of bob's /64 and all of his /24, over and over, for as long as the pings below take.
    let scan = "
        import threading, random
        stop = threading.Event()
        ether = Ether(src=mac(), dst=args['router'])
        frames6 = [bytes(ether / IPv6(src=args['me6'], dst=f'2001:db8:2::{n:x}') / UDP(sport=9, dport=9))
                   for n in range(0x1000, 0x1400)]
        frames4 = [bytes(ether / IP(src=args['me'], dst=f'10.0.2.{n}') / UDP(sport=9, dport=9)) for n in range(3, 255)]
        def scan():
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as output:
                output.bind((DEVICE, 0))
                while not stop.is_set():
                    for frame in frames6 + frames4:
                        output.send(frame)
                    time.sleep(0.2)
        scanner = threading.Thread(target=scan, daemon=True)
        scanner.start()
        result = 0
    ";
    let mut judge = Judge::start(&alice.namespace)?;
    judge.run(scan, json!({ "router": router, "me": alice.spec.ipv4, "me6": alice.spec.ipv6 }))?;
    wait_until("the scan to reach its bound", Duration::from_secs(30), || {
        usage(&daemon, "west", "incomplete").is_ok_and(|count| count >= 30)
    })?;
    for address in [std::net::IpAddr::from(bob.spec.ipv4), bob.spec.ipv6.into()] {
        let report = raddle_tests::ping::ping_with(&alice.namespace, address, &["-c", "20", "-i", "0.2"])?;
        assert!(report.received >= 19, "{address}: {} of {} during the scan", report.received, report.sent);
        assert!(usage(&daemon, "west", "entries")? <= 100);
        assert!(usage(&daemon, "west", "incomplete")? <= 40);
        assert!(usage(&daemon, "west", "queued")? <= 60);
    }
    let table: Value = daemon.ctl_json("show neighbors west")?;
    for address in [bob.spec.ipv4.to_string(), bob.spec.ipv6.to_string()] {
        let known = table
            .as_array()
            .into_iter()
            .flatten()
            .any(|row| row["address"] == address.as_str() && row["state"] != "incomplete");
        assert!(known, "{address} was pushed out: {table}");
    }
    judge.run("stop.set()\nscanner.join()\nresult = 0", json!({}))?;
    // At most 200 questions a second to everyone, over the eight seconds and what it took besides.
    let asked = listener.run(
        "
        asked = [p.time for p in capture.collect(lambda p: ICMPv6ND_NS in p or (ARP in p and p[ARP].op == 1), 2)
                 if p.dst == 'ff:ff:ff:ff:ff:ff' or p.dst.startswith('33:33')]
        result = [len(asked), (max(asked) - min(asked)) if asked else 0]
        ",
        json!({}),
    )?;
    assert!(asked[0].as_u64().is_some_and(|count| count > 40), "nothing was asked: {asked}");
    wait_until("the table to forget the scan and give its buffers back", Duration::from_secs(60), || {
        usage(&daemon, "west", "incomplete").is_ok_and(|count| count == 0)
            && buffers_in_use(&daemon).is_ok_and(|used| used <= idle + 64)
    })?;
    let counted: Vec<_> = errors(&daemon)?.into_iter().map(|error| format!("{error:?}")).collect();
    assert!(
        counted.iter().any(|line| line.contains("too-many-neighbors")
            || line.contains("solicitations-limited")
            || line.contains("throttled")),
        "nothing is counted: {counted:?}"
    );
    daemon.stop()
}

// RFC 826, RFC 6583 section 4: who names himself by the thousand fills his own interface's share at most.
#[test]
fn rfc_826_forged_senders_do_not_push_out_confirmed_neighbors() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let limits = "neighbor = { dad = false, max-entries = 50 }\n";
    let config = DaemonConfig::new().interface(&alice.spec, limits).interface(&bob.spec, limits);
    let daemon = Daemon::start(&topology.router, &config)?;
    assert!(ping(&bob.namespace, alice.spec.ipv4, 5)?.received > 0, "no way to alice");
    let mut judge = Judge::start(&alice.namespace)?;
    judge.run(
        "
        forged = [bytes(Ether(src=f'02:00:00:01:00:{n:02x}', dst='ff:ff:ff:ff:ff:ff')
                  / ARP(op=1, hwsrc=f'02:00:00:01:00:{n:02x}', psrc=f'10.0.1.{n}', pdst=args['gw'])) for n in range(3, 250)]
        forged += [bytes(Ether(src=f'02:00:00:02:00:{n:02x}', dst='33:33:ff:00:00:01')
                  / IPv6(src=f'2001:db8:1::{n:x}', dst='ff02::1:ff00:1', hlim=255) / ICMPv6ND_NS(tgt=args['gw6'])
                  / ICMPv6NDOptSrcLLAddr(lladdr=f'02:00:00:02:00:{n:02x}')) for n in range(3, 250)]
        for _ in range(10):
            send(forged)
        # Answered after all of them.
        result = gateway_mac(args['gw'], args['me'])
        ",
        json!({ "gw": alice.spec.gateway4, "gw6": alice.spec.gateway6, "me": alice.spec.ipv4 }),
    )?;
    assert!(usage(&daemon, "east", "entries")? <= 50);
    assert!(usage(&daemon, "west", "entries")? >= 1, "another interface is not touched");
    let table = daemon.ctl_json("show neighbors east")?;
    let alice4 = alice.spec.ipv4.to_string();
    let known = table.as_array().into_iter().flatten().any(|row| row["address"] == alice4.as_str());
    assert!(known, "alice was pushed out: {table}");
    assert!(ping(&bob.namespace, alice.spec.ipv4, 3)?.is_complete(), "no way to alice any more");
    daemon.stop()
}
