//! Addresses are tried before they are used, and defended while they are.

use raddle_plugin_api::abi::LogLevel;
use raddle_plugin_api::testing::Harness;
use raddle_plugin_api::wire::{
    ArpPacket, EtherType, Ip6Address, Ip6Header, MacAddress, NdMessage, NeighborFlags,
    write_neighbor_advertisement,
};
use serde_json::json;
use zerocopy::IntoBytes;

use super::neighbors::*;
use super::setup::*;
use crate::net::local::Ip6Local;
use crate::net::neighbor::ArpInput;

fn host() -> Harness {
    let mut host = with(&["duplicate-detection"]);
    // The link-local addresses are there already, untried: the interfaces were there before.
    step(&mut host);
    host
}

fn state(host: &mut Harness, address: &str) -> String {
    let shown = host.command("show interface address", json!({ "interface": "lan" })).unwrap();
    let list = shown.json.as_array().unwrap().clone();
    let row = list.into_iter().find(|row| row["address"] == address).unwrap();
    row["state"].as_str().unwrap().to_owned()
}

/// What is sent from now on for `tenths` tenths of a second: ARP packets and messages of neighbour discovery, in words.
fn sent(host: &mut Harness, tenths: u32) -> Vec<String> {
    let mut words = Vec::new();
    for _ in 0..tenths {
        host.advance(SECOND / 10);
        for sent in step(host).sent() {
            let (header, payload) = ethernet(&sent.packet);
            if header.ethertype() == EtherType::ARP {
                let arp = ArpPacket::parse(payload).unwrap();
                words.push(format!("arp {} for {}", arp.sender_ip, arp.target_ip));
            } else {
                let ip = Ip6Header::check(payload, payload.len()).unwrap();
                words.push(match NdMessage::parse(ip, &payload[40..]).unwrap() {
                    NdMessage::NeighborSolicitation { target, .. } => {
                        format!("ns {} for {target}", ip.source())
                    }
                    NdMessage::NeighborAdvertisement { target, .. } => format!("na {target}"),
                    other => panic!("{other:?}"),
                });
            }
        }
    }
    words
}

// RFC 5227 §2.1.1, §2.3
#[test]
fn ip4_address_is_probed_then_announced_twice() {
    let mut host = host();
    address_of(&mut host, "lan", "192.0.2.1/24");
    assert_eq!(state(&mut host, "192.0.2.1/24"), "tentative");
    let request = ArpPacket::request(PEER_MAC, ip4_address("192.0.2.7"), ip4_address("192.0.2.1"));
    let asked = on(&host, "lan", request.as_bytes());
    assert_eq!(host.run::<ArpInput>([asked]).dropped("sender-ip"), 1, "it is not answered for yet");
    let words = sent(&mut host, 40);
    let announcement = "arp 192.0.2.1 for 192.0.2.1";
    assert_eq!(words, ["arp 0.0.0.0 for 192.0.2.1", announcement, announcement]);
    assert_eq!(state(&mut host, "192.0.2.1/24"), "in-use");
    let asked = on(&host, "lan", request.as_bytes());
    assert_eq!(host.run::<ArpInput>([asked]).one().node, "interface-output");
}

// RFC 4862 §5.4.2, RFC 4861 §7.2.6
#[test]
fn ip6_address_is_solicited_for_then_announced_twice() {
    let mut host = host();
    address_of(&mut host, "lan", "2001:db8:a::1/64");
    assert_eq!(state(&mut host, "2001:db8:a::1/64"), "tentative");
    let words = sent(&mut host, 50);
    assert_eq!(words, ["ns :: for 2001:db8:a::1", "na 2001:db8:a::1", "na 2001:db8:a::1"]);
    assert_eq!(state(&mut host, "2001:db8:a::1/64"), "in-use");
}

// RFC 5227 §2.1.1, RFC 4862 §5.4.4, §5.4.5
#[test]
fn duplicate_address_is_not_used_until_its_holder_is_gone() {
    let mut host = host();
    for address in ["192.0.2.1/24", "2001:db8:a::1/64"] {
        address_of(&mut host, "lan", address);
    }
    let flags = NeighborFlags { overrides: true, ..NeighborFlags::default() };
    let claims = |host: &mut Harness| {
        let taken = ArpPacket::request(PEER_MAC, ip4_address("192.0.2.1"), ip4_address("192.0.2.9"));
        let taken = on(host, "lan", taken.as_bytes());
        assert_eq!(host.run::<ArpInput>([taken]).dropped("address-conflict"), 1);
        let advertised = nd("2001:db8:a::1", "ff02::1", |out, source, destination| {
            write_neighbor_advertisement(out, source, destination, flags, source, Some(PEER_MAC))
        });
        let advertised = on(host, "lan", advertised);
        host.run::<Ip6Local>([advertised]);
        step(host);
    };
    claims(&mut host);
    for address in ["192.0.2.1/24", "2001:db8:a::1/64"] {
        assert_eq!(state(&mut host, address), "duplicate", "{address}");
        let ip = address.split('/').next().unwrap();
        let line = format!("address {ip} of lan is not used: the station at {PEER_MAC} has it");
        assert!(host.logged(LogLevel::ERROR, &line), "{:?}", host.log());
    }
    let words = sent(&mut host, 500);
    assert!(words.is_empty(), "nothing is said from it: {words:?}");
    let said = sent(&mut host, 150);
    assert!(said.contains(&"arp 192.0.2.1 for 192.0.2.1".into()), "tried again after a minute: {said:?}");
    assert_eq!(state(&mut host, "192.0.2.1/24"), "in-use");
}

// RFC 4862 §5.4.5
#[test]
fn duplicate_of_the_address_that_follows_from_the_mac_takes_ip6_off_the_interface() {
    let mut host = host();
    for address in ["192.0.2.1/24", "2001:db8:a::1/64"] {
        address_of(&mut host, "lan", address);
    }
    sent(&mut host, 60);
    host.change_interface("lan", |lan| lan.link_up(false));
    host.change_interface("lan", |lan| lan.link_up(true));
    let own = Ip6Address::link_local_from_mac(MacAddress(LAN_MAC)).to_string();
    let flags = NeighborFlags { overrides: true, ..NeighborFlags::default() };
    let claim = nd(&own, "ff02::1", |out, source, destination| {
        write_neighbor_advertisement(out, source, destination, flags, source, Some(PEER_MAC))
    });
    let claim = on(&host, "lan", claim);
    host.run::<Ip6Local>([claim]);
    step(&mut host);
    assert!(
        host.logged(LogLevel::ERROR, "IPv6 is off on lan: the link-local address that follows from its MAC")
    );
    let said = sent(&mut host, 500);
    assert!(said.iter().all(|words| words.starts_with("arp ")), "{said:?}");
    assert_eq!(state(&mut host, &format!("{own}/64")), "duplicate");
    assert_eq!(state(&mut host, "2001:db8:a::1/64"), "disabled");
    assert_eq!(state(&mut host, "192.0.2.1/24"), "in-use", "IPv4 goes on");
    let (lan, wan) = (host.interface("lan"), host.interface("wan"));
    host.nodes(&["ip6-off"]);
    let transit = || ip6("2001:db8:a::7", "2001:db8:b::9", 64);
    host.run_arc("ip6-unicast", lan, [transit()]).assert_all_dropped("duplicate-link-local");
    host.run_arc("ip6-output", lan, [transit()]).assert_all_dropped("duplicate-link-local");
    assert!(host.run_arc("ip6-unicast", wan, [transit()]).drops().is_empty());
    // Tried again after a minute, nobody has it any more.
    sent(&mut host, 150);
    assert!(host.logged(LogLevel::INFO, "IPv6 is back on lan"), "{:?}", host.log());
    assert_eq!(state(&mut host, "2001:db8:a::1/64"), "in-use");
    assert!(host.run_arc("ip6-unicast", lan, [transit()]).drops().is_empty());
}

#[test]
fn duplicate_link_local_address_that_was_given_takes_nothing_but_itself() {
    let mut host = host();
    for address in ["fe80::1/64", "2001:db8:a::1/64"] {
        address_of(&mut host, "lan", address);
    }
    let flags = NeighborFlags { overrides: true, ..NeighborFlags::default() };
    let claim = nd("fe80::1", "ff02::1", |out, source, destination| {
        write_neighbor_advertisement(out, source, destination, flags, source, Some(PEER_MAC))
    });
    let claim = on(&host, "lan", claim);
    host.run::<Ip6Local>([claim]);
    sent(&mut host, 60);
    assert_eq!(state(&mut host, "fe80::1/64"), "duplicate");
    assert_eq!(state(&mut host, "2001:db8:a::1/64"), "in-use");
}

// RFC 4862 §5.4.3, RFC 7527 §4.2
#[test]
fn own_probe_that_comes_back_is_no_duplicate() {
    let mut host = host();
    address_of(&mut host, "lan", "2001:db8:a::1/64");
    let mut looped = 0;
    for _ in 0..60 {
        host.advance(SECOND / 10);
        for sent in step(&mut host).sent() {
            let (_, payload) = ethernet(&sent.packet);
            // It goes back as it is, once.
            if looped == 0 {
                looped = 1;
                let back = on(&host, "lan", payload);
                host.run::<Ip6Local>([back]);
                step(&mut host);
                assert_eq!(state(&mut host, "2001:db8:a::1/64"), "tentative");
            }
        }
    }
    assert!(host.logged(LogLevel::WARN, "lan gives back what is sent to it"), "{:?}", host.log());
    assert_eq!(state(&mut host, "2001:db8:a::1/64"), "in-use");
}

// RFC 5227 §2.4 c
#[test]
fn address_in_use_is_defended_once_in_ten_seconds() {
    let mut host = host();
    address_of(&mut host, "lan", "192.0.2.1/24");
    sent(&mut host, 40);
    let mut announced = 0;
    for _ in 0..15 {
        let rival = on(&host, "lan", ArpPacket::announcement(PEER_MAC, ip4_address("192.0.2.1")).as_bytes());
        host.run::<ArpInput>([rival]);
        announced += step(&mut host).sent().len();
        host.advance(SECOND);
    }
    assert_eq!(announced, 2);
    assert!(host.logged(LogLevel::WARN, "uses address 192.0.2.1 of lan too; it is defended"));
    assert_eq!(state(&mut host, "192.0.2.1/24"), "in-use");
}

#[test]
fn interface_that_goes_down_ends_the_trial_and_one_that_comes_up_begins_it() {
    let mut host = host();
    address_of(&mut host, "lan", "192.0.2.1/24");
    host.change_interface("lan", |lan| lan.link_up(false));
    assert_eq!(state(&mut host, "192.0.2.1/24"), "down");
    assert!(sent(&mut host, 30).is_empty());
    host.change_interface("lan", |lan| lan.link_up(true));
    assert_eq!(state(&mut host, "192.0.2.1/24"), "tentative");
    assert!(sent(&mut host, 20).contains(&"arp 0.0.0.0 for 192.0.2.1".into()));
    assert_eq!(state(&mut host, "192.0.2.1/24"), "in-use");
}

#[test]
fn without_trials_an_address_is_in_use_at_once() {
    let mut host = host();
    host.command("set interface dad", json!({ "interface": "lan", "transmits": 0 })).unwrap();
    address_of(&mut host, "lan", "192.0.2.1/24");
    assert_eq!(state(&mut host, "192.0.2.1/24"), "in-use");
}
