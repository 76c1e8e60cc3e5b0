//! Hosts that ask for bindings (RFC 6887).

use std::time::Duration;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::packets;
use raddle_plugin_api::wire::{Ip6Header, IpProtocol, TcpFlags, UdpHeader};
use serde_json::json;

use crate::router::*;

/// raddle's own address inside.
const OWN: &str = "[2001:db8::fe]:5351";

/// A request for a mapping; the nonce is the same byte throughout.
fn map(nonce: u8, protocol: IpProtocol, port: u16, lifetime: u32) -> Vec<u8> {
    let mut bytes = vec![2, 1, 0, 0];
    bytes.extend(lifetime.to_be_bytes());
    bytes.extend("2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    bytes.extend([nonce; 12]);
    bytes.extend([protocol.0, 0, 0, 0]);
    bytes.extend(port.to_be_bytes());
    bytes.extend([0; 18]);
    bytes
}

/// What a host is told: the result, the lifetime, the port outside.
fn told(router: &mut Router, request: Vec<u8>) -> (u8, u32, u16) {
    let packet = packets::udp("[2001:db8::1]:7777", OWN).payload(request);
    let bytes = sent(&router.host.run_arc("punt", router.lan, [packet]), "ip6-lookup");
    assert!(is_right6(&bytes));
    assert_eq!(addresses6(&bytes), ("2001:db8::fe".into(), "2001:db8::1".into()));
    let udp = UdpHeader::parse(&bytes[Ip6Header::LENGTH..]).unwrap().0;
    assert_eq!((udp.source_port(), udp.destination_port()), (5351, 7777));
    let message = &bytes[48..];
    let lifetime = u32::from_be_bytes(*message[4..].first_chunk().unwrap());
    let port = if message.len() < 60 { 0 } else { u16::from_be_bytes([message[42], message[43]]) };
    (message[3], lifetime, port)
}

#[test]
fn host_is_given_a_port_by_which_anybody_comes_in() {
    for workers in [0, 2] {
        let config = format!("{CONFIG}pcp = ['lan']\nfiltering = 'address-dependent'\n");
        let mut router = Router::with_workers(&config, workers);
        let (code, lifetime, port) = told(&mut router, map(1, IpProtocol::TCP, 8080, 600));
        assert_eq!((code, lifetime), (0, 600));
        assert!(workers > 0 || port == 8080);
        let syn = packets::tcp(SERVER4, &format!("192.0.2.1:{port}")).flags(TcpFlags::SYN);
        let bytes = sent(&router.inward(syn.clone()), "ip6-lookup");
        assert_eq!(bytes, packets::tcp(SERVER6, "[2001:db8::1]:8080").flags(TcpFlags::SYN).to_vec());
        assert_eq!(router.show("sessions").as_array().unwrap().len(), 2);
        // Again: the same one. By another nonce: not authorized.
        assert_eq!(told(&mut router, map(1, IpProtocol::TCP, 8080, 300)), (0, 300, port));
        assert_eq!(told(&mut router, map(2, IpProtocol::TCP, 8080, 300)).0, 2);
        assert_eq!(told(&mut router, map(2, IpProtocol::TCP, 8080, 0)).0, 2);
        // It ends when the host says so, or in its time.
        router.host.command(CLEAR_SESSIONS, json!({ "remote": "198.51.100.2" })).unwrap();
        assert_eq!(told(&mut router, map(1, IpProtocol::TCP, 8080, 0)), (0, 0, 0));
        assert_eq!(router.show("bib"), json!([]));
        assert_eq!(told(&mut router, map(1, IpProtocol::UDP, 9000, 1)).1, 120, "no shorter than that");
        router.host.advance(Duration::from_secs(119));
        router.host.poll_named("nat64-age");
        assert_eq!(router.show("bib").as_array().unwrap().len(), 1);
        router.host.advance(Duration::from_secs(2));
        router.host.poll_named("nat64-age");
        assert_eq!(router.show("bib"), json!([]));
        router.host.assert_no_leaks();
    }
}

#[test]
fn what_cannot_be_is_told() {
    let config = format!("{CONFIG}pcp = ['lan']\nsubscribers = {{ max-bindings = 1 }}\n");
    let mut router = Router::new(&config);
    assert_eq!(told(&mut router, map(1, IpProtocol::TCP, 8080, 600)).0, 0);
    let (code, lifetime, _) = told(&mut router, map(1, IpProtocol::TCP, 8081, 600));
    assert_eq!((code, lifetime), (10, 30), "as many as it may");
    assert_eq!(told(&mut router, map(1, IpProtocol::OSPF, 1, 600)).0, 9);
    let mut other = map(1, IpProtocol::TCP, 8080, 600);
    other[23] = 9;
    assert_eq!(told(&mut router, other).0, 12, "another host's address");
    assert_eq!(told(&mut router, vec![2, 0, 0, 0]).0, 3);
    // What is no request goes on to whoever takes it.
    let lan = router.lan;
    let other_port = packets::udp("[2001:db8::1]:7777", "[2001:db8::fe]:53");
    router.host.run_arc("punt", lan, [other_port]).assert_all("punt-end");
    let answer = packets::udp("[2001:db8::1]:7777", OWN).payload([2, 0x81, 0, 0]);
    assert_eq!(router.host.run_arc("punt", lan, [answer]).dropped("malformed"), 1);
    router.host.assert_no_leaks();
}

#[test]
fn nobody_is_answered_unless_the_operator_wants_it() {
    let mut router = Router::new(CONFIG);
    let (lan, wan) = (router.lan, router.wan);
    let packet = packets::udp("[2001:db8::1]:7777", OWN).payload(map(1, IpProtocol::TCP, 8080, 600));
    assert!(router.host.features("punt", lan).is_empty());
    router.host.run_arc("punt", lan, [packet.clone()]).assert_all("punt-end");
    router.host.set_config(format!("{CONFIG}pcp = ['lan']\n"));
    router.host.event("config", &()).unwrap();
    assert_eq!(router.host.features("punt", lan), ["nat64-pcp"]);
    assert_eq!(told(&mut router, map(1, IpProtocol::TCP, 8080, 600)).0, 0);
    router.host.set_config(CONFIG);
    router.host.event("config", &()).unwrap();
    assert!(router.host.features("punt", lan).is_empty() && router.host.features("punt", wan).is_empty());
    router.host.run_arc("punt", lan, [packet]).assert_all("punt-end");
}

/// RFC 6887 §8.2: who is outside is not heard, whosever address it sends from.
#[test]
fn request_by_another_interface_is_not_answered() {
    let config = format!("{CONFIG}pcp = ['lan']\n");
    let mut router = Router::new(&config);
    let wan = router.wan;
    let spoofed = packets::udp("[2001:db8::1]:7777", OWN).payload(map(1, IpProtocol::TCP, 22, 600));
    let mut own = map(1, IpProtocol::TCP, 22, 600);
    own[23] = 9;
    let own = packets::udp("[2001:db8::9]:7777", OWN).payload(own);
    router.host.run_arc("punt", wan, [spoofed, own]).assert_all("punt-end");
    assert_eq!(router.show("bib"), json!([]));
    router.host.assert_no_leaks();
}

#[test]
fn interface_that_comes_later_is_taken_up_then() {
    let mut router = Router::new("[nat64]\npool = ['192.0.2.1']\npcp = ['guests', 'lan']\n");
    router.host.quiesce();
    assert!(router.host.logged(LogLevel::WARN, "nat64: the interface guests, which pcp names, is not there"));
    assert!(!router.host.logged(LogLevel::WARN, "the interface lan"));
    let (guests, other) =
        (router.host.add_interface("guests", |it| it), router.host.add_interface("other", |it| it));
    assert_eq!(router.host.features("punt", guests), ["nat64-pcp"]);
    assert!(router.host.features("punt", other).is_empty());
}
