//! Hosts hear of the router and of what it tells them.

use raddle_plugin_api::abi::LogLevel;
use raddle_plugin_api::config::parse_section;
use raddle_plugin_api::testing::Harness;
use raddle_plugin_api::wire::{
    Icmp6Header, Icmp6Kind, Ip6Address, Ip6Header, IpProtocol, NdMessage, RouterAdvertisement,
};
use serde_json::json;
use zerocopy::IntoBytes;

use super::neighbors::*;
use super::setup::*;
use crate::net::local::Ip6Local;
use crate::net::router_advertisement::RouterAdvertisements;

fn host(config: &str) -> Harness {
    let mut host = with(&["router-advertisement"]);
    address_of(&mut host, "lan", "2001:db8:a::1/64");
    step(&mut host);
    configure(&mut host, Some(config));
    host
}

fn configure(host: &mut Harness, config: Option<&str>) {
    let lan = host.interface("lan");
    let config = config.map(|text| parse_section(&format!("[ra]\n{text}"), "ra").unwrap().unwrap());
    host.control(|control| {
        let advertisements = control.resource::<RouterAdvertisements>().unwrap();
        advertisements.set_config(control, lan, config);
    });
}

/// Lifetimes of the router in the advertisements that are sent within so many tenths of a second, with the tenth.
fn told(host: &mut Harness, tenths: u32) -> Vec<(u32, u16)> {
    let mut lifetimes = Vec::new();
    for tenth in 0..tenths {
        for sent in step(host).sent() {
            let (_, payload) = ethernet(&sent.packet);
            let ip = Ip6Header::check(payload, payload.len()).unwrap();
            match NdMessage::parse(ip, &payload[40..]).unwrap() {
                NdMessage::RouterAdvertisement { lifetime_seconds, .. } => {
                    assert!(ip.source().is_link_local() && ip.destination() == Ip6Address::ALL_NODES);
                    lifetimes.push((tenth, lifetime_seconds));
                }
                other => panic!("{other:?}"),
            }
        }
        host.advance(SECOND / 10);
    }
    lifetimes
}

fn solicitation() -> Vec<u8> {
    let (source, destination) = (Ip6Address::UNSPECIFIED, Ip6Address::ALL_ROUTERS);
    let mut ip = Ip6Header::new(IpProtocol::ICMP6, source, destination, Icmp6Header::LENGTH).unwrap();
    ip.set_hop_limit(255);
    let mut message = [Icmp6Kind::ROUTER_SOLICITATION.0, 0, 0, 0, 0, 0, 0, 0];
    let sum = ip.pseudo_header(IpProtocol::ICMP6, 8).add_bytes(&message).checksum();
    Icmp6Header::parse_mut(&mut message).unwrap().0.set_checksum(sum);
    [ip.as_bytes(), &message].concat()
}

// RFC 4861 §6.2.4
#[test]
fn advertises_at_once_and_again_within_sixteen_seconds() {
    let mut host = host("");
    let told = told(&mut host, 400);
    let times: Vec<_> = told.iter().map(|(at, _)| at / 10).collect();
    assert_eq!(times, [0, 16, 32]);
    assert!(told.iter().all(|(_, lifetime)| *lifetime == 1800));
}

// RFC 4861 §6.2.6
#[test]
fn a_solicitation_is_answered_within_half_a_second_but_not_a_flood_of_them() {
    let mut host = host("");
    told(&mut host, 100);
    for _ in 0..30 {
        let asked = on(&host, "lan", solicitation());
        host.run::<Ip6Local>([asked]).assert_nothing();
    }
    let answers = told(&mut host, 20);
    assert!(matches!(answers[..], [(at, 1800)] if at <= 6), "{answers:?}");
}

// RFC 4861 §6.2.5
#[test]
fn switched_off_it_says_that_it_is_no_router_any_more() {
    let mut host = host("");
    told(&mut host, 10);
    let off = json!({ "interface": "lan", "enabled": false });
    host.command("set interface router-advertisement", off).unwrap();
    let lifetimes: Vec<_> = told(&mut host, 200).into_iter().map(|(_, lifetime)| lifetime).collect();
    assert_eq!(lifetimes, [0, 0, 0]);
    let asked = on(&host, "lan", solicitation());
    host.run::<Ip6Local>([asked]);
    assert_eq!(told(&mut host, 50), []);
    let shown = host.command("show router-advertisements", json!({ "interface": "lan" })).unwrap();
    assert_eq!((&shown.json[0]["state"], &shown.json[0]["sent"]), (&json!("off"), &json!(4)));
}

// RFC 4861 §6.2.5
#[test]
fn a_section_that_is_gone_is_an_end_too() {
    let mut host = host("");
    told(&mut host, 10);
    configure(&mut host, None);
    let lifetimes: Vec<_> = told(&mut host, 200).into_iter().map(|(_, lifetime)| lifetime).collect();
    assert_eq!(lifetimes, [0, 0, 0]);
}

#[test]
fn farewell_is_said_at_once_and_only_where_something_was_told() {
    let mut host = host("");
    told(&mut host, 10);
    let said = host.control(|control| control.resource::<RouterAdvertisements>().unwrap().farewell(control));
    assert!(said);
    assert_eq!(told(&mut host, 1), [(0, 0)]);
    let mut silent = with(&["router-advertisement"]);
    step(&mut silent);
    let said =
        silent.control(|control| control.resource::<RouterAdvertisements>().unwrap().farewell(control));
    assert!(!said);
}

#[test]
fn an_interface_that_is_down_is_silent_and_begins_anew() {
    let mut host = host("");
    told(&mut host, 10);
    host.change_interface("lan", |lan| lan.link_up(false));
    assert_eq!(told(&mut host, 600), []);
    host.change_interface("lan", |lan| lan.link_up(true));
    // Its addresses are announced besides.
    step(&mut host);
    host.advance(SECOND * 16);
    assert_eq!(told(&mut host, 10).len(), 1);
}

// RFC 4861 §6.2.7
#[test]
fn another_router_that_contradicts_is_told_of_once() {
    let mut host = host("");
    told(&mut host, 10);
    let source = Ip6Address::link_local_from_mac(PEER_MAC);
    let other = RouterAdvertisement { hop_limit: 32, lifetime_seconds: 60, ..Default::default() };
    for _ in 0..3 {
        let heard = nd(&source.to_string(), "ff02::1", |out, source, to| other.write_to(out, source, to));
        let heard = on(&host, "lan", heard);
        host.run::<Ip6Local>([heard]).assert_nothing();
        step(&mut host);
    }
    let lines = host.log().into_iter().filter(|line| line.level == LogLevel::WARN).count();
    assert_eq!(lines, 1, "{:?}", host.log());
    let shown = host.command("show router-advertisements", json!({})).unwrap();
    let router = &shown.json[0]["routers"][0];
    assert_eq!(router["address"], source.to_string());
    assert_eq!(router["contradictions"], json!(["hop limit 32, ours is 64"]));
}
