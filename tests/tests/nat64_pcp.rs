//! NAT64 and a host that asks for a port outside (RFC 6887).

use std::net::Ipv6Addr;

use anyhow::{Context, Result};
use raddle_tests::{Daemon, DaemonConfig, Judge, Need, Topology, ping, requirement, target_dir};
use serde_json::{Value, json};

const NEEDS: &[Need] = &[Need::Ping, Need::Python, Need::Scapy, Need::Raddle, Need::Nat64];
const SECTION: &str = "[nat64]\nprefixes = [\"2001:db8:64::/96\"]\npool = [\"192.0.2.1\"]\npcp = [\"east\"]\n\
                       filtering = \"address-dependent\"\n";

// A server inside asks raddle for a port outside, and is reached by it, from whoever comes.
#[test]
fn server_inside_asks_for_a_port_and_is_reached() -> Result<()> {
    if !requirement::met(NEEDS) {
        return Ok(());
    }
    let topology = Topology::two_hosts()?;
    let (alice, bob) = (topology.host("alice"), topology.host("bob"));
    for workers in [0, 2] {
        let plugins = target_dir().join("plugins");
        let config = DaemonConfig::routed(&topology).plugins(&plugins).workers(workers).with(SECTION);
        let daemon = Daemon::start(&topology.router, &config)?;
        assert!(ping(&alice.namespace, alice.spec.gateway6, 5)?.received > 0, "no way to raddle");
        assert!(ping(&bob.namespace, bob.spec.gateway4, 5)?.received > 0, "no way to raddle");
        let (mut inside, mut outside) = (Judge::start(&alice.namespace)?, Judge::start(&bob.namespace)?);
        // Who is outside is not heard, for itself or in alice's name (RFC 6887 §8.2).
        assert!(ping(&bob.namespace, bob.spec.gateway6, 5)?.received > 0, "no way to raddle");
        let sent = outside.run(
            "
            ether = Ether(src=mac(), dst=args['mac'])
            def request(own):
                message = struct.pack('!BBHI16s12sB3xHH16s', 2, 1, 0, 600, inet_pton(socket.AF_INET6, own), bytes(12), 6, 22, 0, bytes(16))
                return ether / IPv6(src=own, dst=args['router']) / UDP(sport=7777, dport=5351) / Raw(message)
            result = send([request(own) for own in args['own']])
            ",
            json!({
                "own": [bob.spec.ipv6, alice.spec.ipv6],
                "mac": bob.router_mac(&topology.router)?,
                "router": bob.spec.gateway6,
            }),
        )?;
        assert_eq!(sent, json!(2));
        let given = inside.run(
            "
            import ipaddress, socket as s, struct
            listener = s.socket(s.AF_INET6, s.SOCK_STREAM)
            listener.setsockopt(s.SOL_SOCKET, s.SO_REUSEADDR, 1)
            listener.bind(('::', 8080))
            listener.listen()
            listener.settimeout(30)
            own = ipaddress.ip_address(args['own']).packed
            def ask(lifetime, nonce=b'0123456789ab'):
                request = struct.pack('!BBHI16s12sB3xHH16s', 2, 1, 0, lifetime, own, nonce, 6, 8080, 0, bytes(16))
                with s.socket(s.AF_INET6, s.SOCK_DGRAM) as client:
                    client.bind((args['own'], 0))
                    client.connect((args['router'], 5351))
                    client.settimeout(2)
                    for _ in range(10):
                        client.send(request)
                        try:
                            answer = client.recv(1200)
                        except s.timeout:
                            continue
                        version, opcode, result, lifetime = struct.unpack('!BBxBI', answer[:8])
                        port = struct.unpack('!H', answer[42:44])[0] if len(answer) >= 60 else 0
                        address = ipaddress.ip_address(answer[44:60]).ipv4_mapped if len(answer) >= 60 else None
                        return [version, opcode, result, lifetime, str(address), port]
            result = ask(600)
            ",
            json!({ "own": alice.spec.ipv6, "router": alice.spec.gateway6 }),
        )?;
        // What bob has sent came long before.
        let bindings = daemon.ctl_json("show nat64 bib")?;
        assert_eq!(bindings.as_array().map(Vec::len), Some(1), "{bindings}");
        let port = given[5].as_u64().with_context(|| format!("{given}"))?;
        assert_eq!(given, json!([2, 0x81, 0, 600, "192.0.2.1", port]), "{workers} workers");
        outside.run(
            "
            import socket as s
            client = s.create_connection(('192.0.2.1', args['port']), timeout=30)
            client.sendall(b'from outside')
            result = None
            ",
            json!({ "port": port }),
        )?;
        let seen = inside.run(
            "
            peer, address = listener.accept()
            peer.settimeout(30)
            got = peer.recv(100).decode()
            peer.close()
            result = [got, address[0]]
            ",
            Value::Null,
        )?;
        let [a, b, c, d] = bob.spec.ipv4.octets();
        let word = |high, low| u16::from_be_bytes([high, low]);
        let bob6 = Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, word(a, b), word(c, d));
        assert_eq!(seen, json!(["from outside", bob6]), "{workers} workers");
        outside.run("client.close(); result = None", Value::Null)?;
        assert!(daemon.ctl("show nat64 sessions")?.contains("as the host has asked"));
        // Another program on the host has not asked for it, so it cannot end it; alice's own can.
        let args = json!({ "own": alice.spec.ipv6, "router": alice.spec.gateway6 });
        assert_eq!(inside.run("result = ask(0, b'another one!')[2]", args.clone())?, json!(2));
        assert_eq!(inside.run("result = ask(0)[2:4]", args)?, json!([0, 0]));
        let sessions = daemon.ctl("show nat64 sessions")?;
        assert!(!sessions.contains("as the host has asked"), "{sessions}");
        inside.run("listener.close(); result = None", Value::Null)?;
        daemon.stop()?;
    }
    Ok(())
}
