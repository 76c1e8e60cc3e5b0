//! Hosts whose addresses are mapped explicitly, and routers without an address outside, with real clients (RFC 7757, RFC 6791).

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use raddle_tests::ping::ping_with;
use raddle_tests::{
    Daemon, DaemonConfig, HostSpec, Judge, Need, Topology, WebServer, fetch, ping, requirement, target_dir,
};
use serde_json::{Value, json};

const NEEDS: &[Need] = &[Need::Ping, Need::Curl, Need::Python, Need::Scapy, Need::Raddle, Need::Nat64];
const PREFIX: &str = "2001:db8:64::/96";
/// What alice and bob are outside.
const ALICE4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 18);
const BOB4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 19);
/// By which routers inside speak.
const HOP: &str = "203.0.113.9";

fn as_inside(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = address.octets();
    let word = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, word(a, b), word(c, d))
}

fn start<'t>(topology: &'t Topology, workers: u32, more: &str) -> Result<Daemon<'t>> {
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    let section = format!(
        "[nat64]\nprefixes = [\"{PREFIX}\"]\neam = [{{ ip4 = \"{ALICE4}/32\", ip6 = \"{}/128\" }}, \
         {{ ip4 = \"{BOB4}/32\", ip6 = \"{}/128\" }}]\n{more}",
        alice.spec.ipv6, bob.spec.ipv6
    );
    let plugins = target_dir().join("plugins");
    let config = DaemonConfig::routed(topology).plugins(&plugins).workers(workers).with(&section);
    Daemon::start(&topology.router, &config)
}

// RFC 7757 section 4: two mapped hosts reach each other by the addresses that they have outside.
#[test]
fn mapped_hosts_reach_each_other_by_their_outside_addresses() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for host in [alice, bob] {
        host.namespace.ip("-4 address flush dev eth0")?;
    }
    let folder = raddle_tests::scratch::directory()?;
    let page: Vec<u8> = (0..300_000_u32).map(|n| (n ^ n >> 8) as u8).collect();
    fs::write(folder.path().join("page"), &page)?;
    for workers in [0, 2] {
        let daemon = start(&topology, workers, "")?;
        assert!(ping(&alice.namespace, as_inside(BOB4), 5)?.received > 0, "{}", daemon.ctl("show errors")?);
        assert!(ping(&bob.namespace, as_inside(ALICE4), 3)?.is_complete(), "the other way round");
        let _server = WebServer::start(&bob.namespace, folder.path())?;
        let to = folder.path().join("fetched");
        assert_eq!(fetch(&alice.namespace, as_inside(BOB4), "page", &to)?.status, 200);
        assert!(fs::read(&to)? == page, "another page came");
        // Bob sees alice as hosts outside are seen, and what he refuses comes back to her as from where she has sent it.
        let mut inside = Judge::start(&alice.namespace)?;
        let refused = inside.run(
            "
            import socket as s
            def refused():
                with s.socket(s.AF_INET6, s.SOCK_DGRAM) as client:
                    client.settimeout(20)
                    client.connect((args['bob'], 9))
                    client.send(b'anybody?')
                    try:
                        client.recv(100)
                    except ConnectionRefusedError:
                        return True
                    except Exception as error:
                        return repr(error)
            result = refused()
            ",
            json!({ "bob": as_inside(BOB4) }),
        )?;
        assert_eq!(refused, json!(true), "bob's port unreachable, {workers} workers");
        let mut outside = Judge::start(&bob.namespace)?;
        outside.run(
            "
            import socket as s
            listener = s.socket(s.AF_INET6, s.SOCK_DGRAM)
            listener.settimeout(20)
            listener.bind(('::', 4000))
            result = None
            ",
            Value::Null,
        )?;
        inside.run(
            "
            client = s.socket(s.AF_INET6, s.SOCK_DGRAM)
            client.sendto(b'hello', (args['bob'], 4000))
            client.close()
            result = None
            ",
            json!({ "bob": as_inside(BOB4) }),
        )?;
        let seen = outside.run(
            "got, peer = listener.recvfrom(100); listener.close(); result = [got.decode(), peer[0]]",
            Value::Null,
        )?;
        assert_eq!(seen, json!(["hello", as_inside(ALICE4)]), "{workers} workers");
        assert_eq!(daemon.ctl_json("show nat64 sessions")?, json!([]));
        daemon.stop()?;
    }
    Ok(())
}

// RFC 6791: the link to alice is narrow, which raddle says as the IPv6 router before her; bob's kernel takes it for that of an IPv4
// router, and scapy finds out who it was.
#[test]
fn routers_without_an_address_outside_have_one_in_their_errors_and_are_named() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let specs = [HostSpec::new("alice", "east", 1).with_mtu(1400), HostSpec::new("bob", "west", 2)];
    let topology = Topology::create(specs)?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    alice.namespace.ip("-4 address flush dev eth0")?;
    for (workers, names) in [(0, true), (2, false)] {
        let more = format!("hop-addresses = [\"{HOP}\"]\nhop-names = {names}\n");
        let daemon = start(&topology, workers, &more)?;
        assert!(ping(&bob.namespace, ALICE4, 5)?.received > 0, "{}", daemon.ctl("show errors")?);
        // Bob's kernel remembers how narrow the way was.
        bob.namespace.ip("route flush cache")?;
        let mut judge = Judge::start(&bob.namespace)?;
        judge.run("early = Capture(); result = None", Value::Null)?;
        let report = ping_with(&bob.namespace, ALICE4, &["-c", "3", "-W", "5", "-M", "do", "-s", "1440"])?;
        assert!(report.text.contains("mtu=1380") || report.text.contains("mtu = 1380"), "{}", report.text);
        assert!(report.text.contains(HOP), "{}", report.text);
        let found = judge.run(
            "
            error = early.first(lambda p: ICMP in p and p[ICMP].type == 3 and p[ICMP].code == 4)
            early.close()
            if error is None:
                result = None
            else:
                ip = error[IP]
                message = bytes(ip.payload)[:ip.len - ip.ihl * 4]
                quoted = message[5] * 4
                structure = message[8 + quoted:]
                def summed(data):
                    total = sum(int.from_bytes(data[n:n + 2], 'big') for n in range(0, len(data), 2))
                    while total >> 16:
                        total = (total & 0xffff) + (total >> 16)
                    return total
                object = structure[4:]
                import ipaddress
                result = [ip.src, summed(message + bytes(len(message) % 2)) == 0xffff, IP(message[8:]).dst,
                    quoted != 0 and [summed(structure) == 0xffff, list(object[:8]), str(ipaddress.ip_address(object[8:]))]]
            ",
            Value::Null,
        )?;
        // raddle speaks by the interface by which the packet came.
        let named = json!([true, [0, 24, 2, 4, 0, 2, 0, 0], bob.spec.gateway6]);
        let named = if names { named } else { json!(false) };
        assert_eq!(found, json!([HOP, true, ALICE4, named]), "{workers} workers");
        daemon.stop()?;
    }
    Ok(())
}
