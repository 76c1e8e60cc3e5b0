//! Groups on their way through the nodes: what is joined, asked, answered and taken in (RFC 3376, RFC 3810).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use raddle_plugin_api::testing::{Harness, Sample};
use raddle_plugin_api::wire::{
    EthernetHeader, Icmp6Header, Ip4Address, Ip4Header, Ip6Address, Ip6Header, IpProtocol, MacAddress,
    checksum,
};
use serde_json::json;
use zerocopy::IntoBytes;

use super::neighbors::step;
use super::setup::*;
use crate::net::ip4_input::Ip4Input;
use crate::net::ip6_input::Ip6Input;
use crate::net::mac_filter::{Holder, MAX_ADDRESSES, MacFilters};
use crate::net::multicast::Groups;

const LINK_LOCAL: Ip6Address = Ip6Address::from_bits(0xfe80 << 112 | 0x99);

fn router() -> Harness {
    let mut host = Harness::builder()
        .interface("lan", |lan| lan.mac(raddle_plugin_api::wire::MacAddress(LAN_MAC)))
        .build();
    host.load_only(&["forwarding", "local", "mac-filter", "neighbor", "multicast"]).unwrap();
    host.nodes(&[
        "ip4-local",
        "ip4-options",
        "ip4-multicast-lookup",
        "igmp-input",
        "ip6-local",
        "ip6-multicast-lookup",
        "mld-input",
    ]);
    host
}

/// Protocol, destination and message of each IGMP or MLD packet that is sent now.
fn told(host: &mut Harness) -> Vec<(String, Vec<u8>)> {
    let run = step(host);
    let mut told = Vec::new();
    for sent in run.sent() {
        let (ethernet, packet) = EthernetHeader::parse(sent.packet.bytes()).unwrap();
        match packet[0] >> 4 {
            4 if packet[9] == 2 => {
                let ip = Ip4Header::check(packet, packet.len()).unwrap();
                let mac = raddle_plugin_api::wire::MacAddress::from_ip4_multicast(ip.destination().to_std());
                assert_eq!((ethernet.destination, ip.ttl(), ip.header_length()), (mac, 1, 24));
                assert!(checksum::is_valid(&packet[24..]));
                told.push((ip.destination().to_string(), packet[24..].to_vec()));
            }
            6 if packet[6] == 0 => {
                let ip = Ip6Header::check(packet, packet.len()).unwrap();
                let mac = raddle_plugin_api::wire::MacAddress::from_ip6_multicast(ip.destination().to_std());
                assert_eq!((ethernet.destination, ip.hop_limit()), (mac, 1));
                Icmp6Header::check(ip, &packet[48..]).unwrap();
                told.push((ip.destination().to_string(), packet[48..].to_vec()));
            }
            _ => {}
        }
    }
    told
}

/// Lets everything be told that follows from addresses.
fn settle(host: &mut Harness) {
    for _ in 0..6 {
        host.advance(Duration::from_secs(2));
        told(host);
    }
}

fn igmp(to: [u8; 4], mut message: Vec<u8>) -> Vec<u8> {
    let sum = checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let source = Ip4Address([192, 0, 2, 99]);
    let mut header = Ip4Header::new(IpProtocol::IGMP, source, Ip4Address(to), 4 + message.len()).unwrap();
    header.set_ttl(1);
    let alert = [148, 4, 0, 0];
    header.set_options(&alert);
    [header.as_bytes(), &alert, &message].concat()
}

fn mld(to: Ip6Address, mut message: Vec<u8>) -> Vec<u8> {
    let mut header = Ip6Header::new(IpProtocol::HOP_BY_HOP, LINK_LOCAL, to, 8 + message.len()).unwrap();
    header.set_hop_limit(1);
    let pseudo = header.pseudo_header(IpProtocol::ICMP6, message.len() as u32);
    let sum = pseudo.add_bytes(&message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    [header.as_bytes(), &[58, 0, 5, 2, 0, 0, 1, 0], &message].concat()
}

fn hear(host: &mut Harness, packet: Vec<u8>) {
    let lan = host.interface("lan");
    let is_ip6 = packet[0] >> 4 == 6;
    let sample = Sample::new(packet).with_rx_interface(lan);
    let run = if is_ip6 { host.run::<Ip6Input>([sample]) } else { host.run::<Ip4Input>([sample]) };
    run.assert_nothing();
}

// RFC 1112 §7.2, RFC 3376 §5.1; RFC 4291 §2.8, RFC 3810 §6.1
#[test]
fn addresses_bring_their_groups_which_are_told() {
    let mut host = router();
    settle(&mut host);
    address_of(&mut host, "lan", "192.0.2.1/24");
    assert_eq!(
        told(&mut host),
        [("224.0.0.22".to_owned(), vec![0x22, 0, 0xf9, 0xfb, 0, 0, 0, 1, 4, 0, 0, 0, 224, 0, 0, 2])]
            .map(|(to, message)| (to, with_sum(message)))
    );
    address_of(&mut host, "lan", "2001:db8::1/64");
    let messages = told(&mut host);
    let joined = |group: &str| {
        let group = group.parse::<Ipv6Addr>().unwrap().octets();
        messages.iter().any(|(to, message)| {
            to == "ff02::16"
                && message[0] == 143
                && message.chunks(4).skip(2).any(|_| contains(message, &group))
        })
    };
    assert!(joined("ff02::1:ff00:1"), "{messages:?}");
    let shown = host.command("show multicast groups", json!({})).unwrap().json;
    let groups: Vec<_> =
        shown.as_array().unwrap().iter().map(|info| info["group"].as_str().unwrap()).collect();
    for group in ["224.0.0.1", "224.0.0.2", "ff02::1", "ff02::2", "ff02::1:ff00:1"] {
        assert!(groups.contains(&group), "{group} in {groups:?}");
    }
    assert!(shown.as_array().unwrap().iter().any(|info| info["reported"] == "igmp-v3"));
}

fn with_sum(mut message: Vec<u8>) -> Vec<u8> {
    message[2..4].fill(0);
    let sum = checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

// RFC 3376 §5.2, RFC 3810 §6.2
#[test]
fn queries_are_answered_within_the_time_that_they_give() {
    let mut host = router();
    address_of(&mut host, "lan", "192.0.2.1/24");
    settle(&mut host);
    hear(&mut host, igmp([224, 0, 0, 1], vec![0x11, 20, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]));
    host.advance(Duration::from_secs(2));
    let answers = told(&mut host);
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!((answers[0].0.as_str(), &answers[0].1[8..]), ("224.0.0.22", &[2, 0, 0, 0, 224, 0, 0, 2][..]));
    let mut query = vec![130, 0, 0, 0, 0x03, 0xe8, 0, 0];
    query.extend([0; 16]);
    query.extend([2, 125, 0, 0]);
    hear(&mut host, mld(Ip6Address::ALL_NODES, query));
    host.advance(Duration::from_secs(1));
    let answers = told(&mut host);
    assert!(answers.len() == 1 && answers[0].0 == "ff02::16", "{answers:?}");
    assert!(contains(&answers[0].1, &Ip6Address::ALL_ROUTERS.0));
}

// RFC 2236 §3, RFC 3376 §7.2.1
#[test]
fn an_older_querier_gets_older_reports() {
    let mut host = router();
    address_of(&mut host, "lan", "192.0.2.1/24");
    settle(&mut host);
    hear(&mut host, igmp([224, 0, 0, 1], vec![0x11, 10, 0, 0, 0, 0, 0, 0]));
    host.advance(Duration::from_secs(1));
    let answers = told(&mut host);
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!((answers[0].0.as_str(), answers[0].1[0]), ("224.0.0.2", 0x16));
}

#[test]
fn joined_groups_are_taken_in_and_left_ones_are_not() {
    let mut host = router();
    address_of(&mut host, "lan", "192.0.2.1/24");
    settle(&mut host);
    let groups: [std::net::IpAddr; 2] =
        [Ipv4Addr::new(239, 1, 2, 3).into(), Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 7).into()];
    let lan = host.interface("lan");
    let change = |host: &mut Harness, join: bool| {
        host.control(|control| {
            let service = control.resource::<Groups>().unwrap();
            for group in groups {
                if join {
                    service.join(control, lan, group).unwrap();
                } else {
                    service.leave(control, lan, group).unwrap();
                }
            }
        });
        host.quiesce();
    };
    let fate = |host: &mut Harness| {
        let four = Sample::new(ip4("192.0.2.9", "239.1.2.3", 8)).with_rx_interface(lan);
        let six = Sample::new(ip6("2001:db8::9", "ff0e::7", 8)).with_rx_interface(lan);
        let mut all = fates(&host.run::<Ip4Input>([four]));
        all.extend(fates(&host.run::<Ip6Input>([six])));
        all
    };
    assert_eq!(fate(&mut host), ["multicast-not-routed"; 2]);
    change(&mut host, true);
    // Taken in: the transport header of these is rubbish.
    assert_eq!(fate(&mut host), ["udp-length"; 2]);
    let joins = told(&mut host);
    assert!(
        joins
            .iter()
            .any(|(to, message)| to == "224.0.0.22" && contains(message, &[4, 0, 0, 0, 239, 1, 2, 3]))
    );
    change(&mut host, false);
    assert_eq!(fate(&mut host), ["multicast-not-routed"; 2]);
    let leaves = told(&mut host);
    assert!(
        leaves
            .iter()
            .any(|(to, message)| to == "224.0.0.22" && contains(message, &[3, 0, 0, 0, 239, 1, 2, 3]))
    );
    assert!(host.control(|control| {
        control.resource::<Groups>().unwrap().leave(control, lan, groups[0]).is_err()
    }));
}

#[test]
fn nothing_is_told_where_the_operator_does_not_want_that() {
    let mut host = router();
    for protocol in ["igmp", "mld"] {
        let usage = format!("set interface {protocol} <interface> <report:on-off>");
        host.command(&usage, json!({ "interface": "lan", "report": false })).unwrap();
    }
    address_of(&mut host, "lan", "192.0.2.1/24");
    told(&mut host);
    hear(&mut host, igmp([224, 0, 0, 1], vec![0x11, 10, 0, 0, 0, 0, 0, 0]));
    host.advance(Duration::from_secs(2));
    assert_eq!(told(&mut host), []);
}

#[test]
fn what_says_nothing_to_a_host_is_dropped_by_reason() {
    let mut host = router();
    let lan = host.interface("lan");
    let mut wrong = igmp([224, 0, 0, 1], vec![0x11, 10, 0, 0, 0, 0, 0, 0]);
    wrong[25] ^= 1;
    for (packet, reason) in [
        (igmp([224, 0, 0, 22], vec![0x22, 0, 0, 0, 0, 0, 0, 0]), "not-for-hosts"),
        (igmp([224, 0, 0, 1], vec![0x11, 0, 0, 0]), "bad-length"),
        (igmp([224, 0, 0, 5], vec![0x11, 1, 0, 0, 0, 0, 0, 0]), "bad-group"),
        (wrong, "bad-checksum"),
    ] {
        host.run::<Ip4Input>([Sample::new(packet).with_rx_interface(lan)]).assert_all_dropped(reason);
    }
    let mut far = mld(
        Ip6Address::ALL_NODES,
        vec![130, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    far[7] = 2;
    host.run::<Ip6Input>([Sample::new(far).with_rx_interface(lan)]).assert_all_dropped("not-from-link");
    host.assert_no_leaks();
}

// RFC 1112 section 6.4, RFC 2464 section 7
#[test]
fn frames_for_joined_groups_are_wanted_while_any_group_is_sent_there() {
    let mut host = router();
    let lan = host.interface("lan");
    let filters = host.control(|control| control.resource::<MacFilters>()).unwrap();
    let held = || filters.list(lan).into_iter().map(|held| held.mac.to_string()).collect::<Vec<_>>();
    let before = held();
    let group = |host: &mut Harness, change: &str, group: &str| {
        let arguments = json!({ "interface": "lan", change: true, "group": group });
        host.command("multicast join|leave <interface> <group:ip>", arguments).unwrap();
    };
    // 224.1.2.3 and 225.129.2.3 are sent to one address.
    group(&mut host, "join", "224.1.2.3");
    group(&mut host, "join", "225.129.2.3");
    group(&mut host, "join", "ff05::1:3");
    for mac in ["01:00:5e:01:02:03", "33:33:00:01:00:03"] {
        assert!(held().iter().any(|held| held == mac), "{mac}: {:?}", held());
    }
    group(&mut host, "leave", "224.1.2.3");
    assert!(held().contains(&"01:00:5e:01:02:03".to_owned()));
    group(&mut host, "leave", "225.129.2.3");
    group(&mut host, "leave", "ff05::1:3");
    assert_eq!(held(), before);
    host.delete_interface("lan");
    assert_eq!(held(), [] as [&str; 0]);
}

#[test]
fn plugins_hold_addresses_beside_each_other_and_the_operator() {
    let mut host = router();
    let lan = host.interface("lan");
    let filters = host.control(|control| control.resource::<MacFilters>()).unwrap();
    let before = filters.list(lan);
    let station = MacAddress([2, 0, 0x5e, 0, 1, 9]);
    host.control(|control| {
        for _ in 0..2 {
            filters.hold(control, lan, station).unwrap();
        }
        filters.add(control, lan, station).unwrap();
        let held = filters.list(lan).into_iter().find(|held| held.mac == station).unwrap();
        assert_eq!(held.wanted_by, [Holder::Operator, Holder::Plugin]);
        filters.remove(control, lan, station).unwrap();
        filters.release(control, lan, station).unwrap();
        assert!(filters.list(lan).iter().any(|held| held.mac == station), "one more holds it");
        filters.release(control, lan, station).unwrap();
        assert_eq!(filters.list(lan), before);
        assert!(filters.release(control, lan, station).is_err());
        assert!(filters.hold(control, lan, MacAddress::BROADCAST).is_err());
        for number in 0..MAX_ADDRESSES as u8 {
            filters.hold(control, lan, MacAddress([2, 0, 0, 0, 1, number])).unwrap();
        }
        assert!(filters.hold(control, lan, station).is_err(), "no plugin takes all of them");
    });
}

// RFC 4291 section 2.7.1
#[test]
fn an_address_has_its_solicited_node_group_taken() {
    let mut host = router();
    address_of(&mut host, "lan", "2001:db8:a::12:3456/64");
    let lan = host.interface("lan");
    let filters = host.control(|control| control.resource::<MacFilters>()).unwrap();
    let held: Vec<_> = filters.list(lan).into_iter().map(|held| held.mac.to_string()).collect();
    for mac in ["33:33:ff:12:34:56", "33:33:00:00:00:01", "33:33:00:00:00:02"] {
        assert!(held.iter().any(|held| held == mac), "{mac}: {held:?}");
    }
}
