//! What is punted, why, how much of it, and to whom.

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::punt::{PuntLimit, PuntReason, PuntReasonRequest};
use raddle_plugin_api::testing::{Harness, Sample};
use raddle_plugin_api::wire::{
    ArpPacket, EtherType, EthernetHeader, Icmp4Header, Ip4Address, Ip4Header, Ip6Address, Ip6Header,
    IpProtocol, TcpFlags, TcpHeader, UdpHeader, checksum::Sum,
};
use serde_json::json;
use zerocopy::IntoBytes;

use super::neighbors::router;
use super::setup::{WAN_MAC, fates};
use crate::net::ip4_multicast::Ip4MulticastLookup;
use crate::net::local::{Ip4Local, Ip6Local};
use crate::net::neighbor::{ArpInput, NdInput};
use crate::net::ping::PingInput;
use crate::net::punt::{Punt, PuntReasons};

/// A plugin's hook, as far as the tests need one.
struct Taker;

impl Node for Taker {
    const NAME: &'static str = "punt-test-taker";
    type Next = NoNext;
    type Error = NoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, packet| {
            drop(packet.take());
            Verdict::Continue
        });
    }
}

node!(Taker);
feature! { "punt-test-taker", node: Taker, arc: "punt" }

const HOST4: Ip4Address = Ip4Address([198, 51, 100, 9]);
const OWN4: Ip4Address = Ip4Address([198, 51, 100, 1]);
const HOST6: Ip6Address = Ip6Address::from_bits(0xfe80 << 112 | 9);

fn taken() -> Harness {
    let mut host = router();
    let wan = host.interface("wan");
    host.control(|control| control.set_feature(wan, "punt-test-taker", true)).unwrap();
    host
}

fn packet4(destination: Ip4Address, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    [Ip4Header::new(protocol, HOST4, destination, payload.len()).unwrap().as_bytes(), payload].concat()
}

fn udp4(port: u16) -> Vec<u8> {
    packet4(OWN4, IpProtocol::UDP, UdpHeader::new(1000, port, 0).unwrap().as_bytes())
}

fn ospf6(destination: Ip6Address) -> Vec<u8> {
    [Ip6Header::new(IpProtocol::OSPF, HOST6, destination, 24).unwrap().as_bytes(), &[3; 24]].concat()
}

fn from_wan(host: &Harness, bytes: impl Into<Vec<u8>>) -> Sample {
    Sample::new(bytes).with_rx_interface(host.interface("wan"))
}

fn counts(host: &mut Harness, reason: &str) -> (u64, u64, u64) {
    let reports = host.control(|control| control.resource::<PuntReasons>().unwrap().reports());
    let report = reports.into_iter().find(|report| report.reason == reason).unwrap();
    (report.taken, report.limited, report.unclaimed)
}

#[test]
fn packets_of_an_interface_that_nobody_hooked_are_counted_and_their_senders_told() {
    let mut host = router();
    let udp = from_wan(&host, udp4(9));
    let out = host.run::<Ip4Local>([udp]);
    assert_eq!(out.to("interface-output").len(), 1, "port unreachable, {:?}", fates(&out));
    assert_eq!(counts(&mut host, "udp"), (0, 0, 1));
}

#[test]
fn hook_gets_what_nothing_here_answers_with_its_reason() {
    // An echo reply (RFC 792): type 0, which is 8 less than the request's.
    let mut echo = Icmp4Header::echo_request(7, 9, &[]).as_bytes().to_vec();
    echo[0] = 0;
    let sum = Sum::new().add_bytes(&[&[0; 4], &echo[4..]].concat()).checksum();
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    let reply = packet4(OWN4, IpProtocol::ICMP4, &echo);
    for (packet, reason) in [
        (udp4(9), "udp"),
        (udp4(520), "routing"),
        (packet4(OWN4, IpProtocol::GRE, &[0; 8]), "protocol"),
        (packet4(Ip4Address([224, 0, 0, 5]), IpProtocol::OSPF, &[2; 24]), "routing"),
        (reply, "icmp"),
    ] {
        let mut host = taken();
        let packet = from_wan(&host, packet);
        let out = host.run::<Ip4Local>([packet]);
        assert_eq!(fates(&out), ["punt-test-taker"], "{reason}");
        assert_eq!(counts(&mut host, reason), (1, 0, 0), "{reason}");
    }
}

#[test]
fn groups_that_only_the_host_is_in_reach_the_hook_and_are_dropped_without_it() {
    let all_ospf = Ip6Address::from_bits(0xff02 << 112 | 5);
    for (mut host, fate, routing) in
        [(taken(), "punt-test-taker", (1, 0, 0)), (router(), "not-own-address", (0, 0, 0))]
    {
        let hello = from_wan(&host, ospf6(all_ospf));
        let out = host.run::<Ip6Local>([hello]);
        assert_eq!(fates(&out), [fate]);
        assert_eq!(counts(&mut host, "routing"), routing);
        let far = from_wan(&host, packet4(Ip4Address([239, 1, 2, 3]), IpProtocol::UDP, &[0; 8]));
        let out = host.run::<Ip4MulticastLookup>([far]);
        assert_eq!(fates(&out).len(), 1);
        assert_eq!(counts(&mut host, "multicast").0, routing.0);
    }
    let mut host = taken();
    let lan = host.interface("lan");
    let other = Sample::new(ospf6(all_ospf)).with_rx_interface(lan);
    let out = host.run::<Ip6Local>([other]);
    assert_eq!(fates(&out), ["not-own-address"], "the hook is on another interface");
}

#[test]
fn arp_of_neighbours_is_copied_to_the_hook_and_what_raddle_answers_is_not() {
    let (own_mac, mac) = (MacAddress(WAN_MAC), MacAddress([2, 0, 0, 0, 0, 0x99]));
    let header = EthernetHeader::new(MacAddress::BROADCAST, mac, EtherType::ARP);
    for (arp, copies) in [
        (ArpPacket::request(mac, HOST4, OWN4), 0),
        (ArpPacket::request(own_mac, OWN4, HOST4).reply(mac), 1),
        (ArpPacket::request(mac, HOST4, Ip4Address([198, 51, 100, 77])), 1),
    ] {
        let mut host = taken();
        let packet = from_wan(&host, [header.as_bytes(), arp.as_bytes()].concat()).advanced(14);
        let out = host.run::<ArpInput>([packet]);
        let taken = fates(&out).iter().filter(|fate| *fate == "punt-test-taker").count();
        assert_eq!((taken, counts(&mut host, "arp").0), (copies, copies as u64), "{arp:?}");
        if copies == 0 {
            assert_eq!(out.to("interface-output").len(), 1, "raddle's own answer");
        }
    }
}

#[test]
fn each_interface_and_reason_has_tokens_of_its_own() {
    let mut host = taken();
    let (lan, wan) = (host.interface("lan"), host.interface("wan"));
    host.control(|control| control.set_feature(lan, "punt-test-taker", true)).unwrap();
    let limit = json!({ "reason": "udp", "rate": 10, "burst": 3 });
    host.mock("config.report", |_| Ok(serde_json::Value::Null));
    host.command("set punt <reason:word> rate <rate:u32:1..10000000> burst <burst:u32:1..10000000>", limit)
        .unwrap();
    let send = |host: &mut Harness, interface, port| {
        let packets: Vec<_> = (0..5).map(|_| Sample::new(udp4(port)).with_rx_interface(interface)).collect();
        let out = host.run::<Ip4Local>(packets);
        fates(&out).iter().filter(|fate| *fate == "punt-test-taker").count()
    };
    assert_eq!(send(&mut host, wan, 9), 3);
    assert_eq!(counts(&mut host, "udp"), (3, 2, 0));
    assert_eq!(send(&mut host, lan, 9), 3, "the other interface is not starved");
    assert_eq!(send(&mut host, wan, 520), 5, "nor is another reason");
    assert_eq!(send(&mut host, wan, 9), 0);
}

#[test]
fn plugins_register_reasons_by_name() {
    let mut host = router();
    let register = |host: &mut Harness, name: &str, rate| {
        let request = PuntReasonRequest {
            name: name.into(),
            summary: "a test".into(),
            limit: PuntLimit { rate, burst: 1 },
        };
        host.control(|control| control.resource::<PuntReasons>().unwrap().register(&request))
    };
    let mirror = register(&mut host, "mirror", 7).unwrap();
    assert_eq!(register(&mut host, "mirror", 8).unwrap(), mirror, "the same name is the same reason");
    assert_eq!(register(&mut host, "arp", 8).unwrap(), PuntReason::ARP);
    assert!(register(&mut host, "Mirror", 7).is_err() && register(&mut host, "x", 0).is_err());
    // As `PuntReasonField` writes it.
    let field = host.control(|control| control.packet_field::<[u16; 2]>("punt-reason")).unwrap();
    let wan = host.interface("wan");
    host.control(|control| control.set_feature(wan, "punt-test-taker", true)).unwrap();
    let packet = from_wan(&host, udp4(9)).with_field(&field, [0x5075, mirror.number()]);
    host.run::<Punt>([packet]);
    assert_eq!(counts(&mut host, "mirror"), (1, 0, 0));
    let shown = host.command("show punt", json!({})).unwrap();
    assert!(shown.json.to_string().contains("mirror"));
    let config = host.control(|control| control.resource::<PuntReasons>().unwrap().config());
    assert!(config.0.is_empty(), "what is as usual is not written down");
    assert!(host.control(|control| control.resource::<PuntReasons>().unwrap().unknown()).is_empty());
    let wrong = host
        .control(|control| {
            control.resource::<PuntReasons>().unwrap().set("tpc", PuntLimit { rate: 1, burst: 1 })
        })
        .unwrap_err();
    assert_eq!(wrong.to_string(), "there is no punt reason `tpc`; did you mean `tcp`?");
}

#[test]
fn messages_about_what_raddle_did_not_send_reach_the_hook() {
    let tcp = TcpHeader::new(80, 1025, 1, 1, TcpFlags::ACK);
    let quoted =
        [Ip4Header::new(IpProtocol::TCP, OWN4, HOST4, 20).unwrap().as_bytes(), tcp.as_bytes()].concat();
    let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
    message.extend(quoted);
    let sum = Sum::new().add_bytes(&message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    for (mut host, fate) in [(taken(), "punt-test-taker"), (router(), "not-expected")] {
        let packet = from_wan(&host, packet4(OWN4, IpProtocol::ICMP4, &message));
        let out = host.run::<PingInput>([packet]);
        assert_eq!(fates(&out), [fate]);
    }
}

#[test]
fn word_of_routers_is_copied_to_the_hook() {
    // A router solicitation without options (RFC 4861 §4.1).
    let body = [133, 0, 0, 0, 0, 0, 0, 0];
    let to = Ip6Address::from_bits(0xff02 << 112 | 2);
    let mut ip = Ip6Header::new(IpProtocol::ICMP6, HOST6, to, body.len()).unwrap();
    ip.set_hop_limit(255);
    let mut body = body;
    let sum = ip.pseudo_header(IpProtocol::ICMP6, 8).add_bytes(&body).checksum();
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut host = taken();
    let packet = from_wan(&host, [ip.as_bytes(), &body].concat());
    let out = host.run::<NdInput>([packet]);
    assert_eq!(fates(&out), ["punt-test-taker"]);
    assert_eq!(counts(&mut host, "nd"), (1, 0, 0));
}

#[test]
fn limits_of_reasons_that_nobody_has_are_told_and_wait_for_them() {
    let limit = |rate| raddle_plugin_api::punt::PuntLimitConfig {
        rate: raddle_plugin_api::config::InRange::new(rate).unwrap(),
        burst: raddle_plugin_api::config::InRange::new(1).unwrap(),
    };
    let config =
        crate::net::punt::PuntConfig([("upd".to_owned(), limit(5)), ("late".to_owned(), limit(7))].into());
    let mut host = router();
    host.control(|control| {
        let reasons = PuntReasons::new(control, config).unwrap();
        let told: Vec<_> = reasons.unknown().iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2);
        assert_eq!(told[1], "there is no punt reason `upd`; did you mean `udp`?");
        let usual = PuntLimit { rate: 1000, burst: 100 };
        let late = PuntReasonRequest { name: "late".into(), summary: "a test".into(), limit: usual };
        reasons.register(&late).unwrap();
        let report = reasons.reports().into_iter().find(|report| report.reason == "late").unwrap();
        assert_eq!((report.rate, report.burst), (7, 1), "the file was there before the plugin");
        assert_eq!(reasons.config().0.len(), 1);
    });
}

#[test]
fn a_file_read_again_changes_the_limits_that_it_changes() {
    let limit = |rate| raddle_plugin_api::punt::PuntLimitConfig {
        rate: raddle_plugin_api::config::InRange::new(rate).unwrap(),
        burst: raddle_plugin_api::config::InRange::new(1).unwrap(),
    };
    let file = |limits: &[(&str, u64)]| {
        crate::net::punt::PuntConfig(
            limits.iter().map(|(name, rate)| ((*name).to_owned(), limit(*rate))).collect(),
        )
    };
    let mut host = router();
    host.control(|control| {
        let reasons = PuntReasons::new(control, file(&[("udp", 5), ("tcp", 6)])).unwrap();
        let rate = |name: &str| reasons.reports().into_iter().find(|one| one.reason == name).unwrap().rate;
        reasons.set("arp", PuntLimit { rate: 9, burst: 9 }).unwrap();
        reasons.set("tcp", PuntLimit { rate: 9, burst: 9 }).unwrap();
        reasons.take_up(file(&[("icmp", 7), ("tcp", 6)]));
        assert_eq!((rate("udp"), rate("icmp")), (100_000, 7), "as usual again, and as the file says");
        assert_eq!((rate("arp"), rate("tcp")), (9, 9), "of these the file says what it said");
        reasons.take_up(file(&[]));
        assert_eq!((rate("icmp"), rate("tcp"), rate("arp")), (10_000, 500_000, 9));
    });
}
