//! Features that choose a packet's way in place of its interface's routing table, by the SDK alone.

use std::sync::Arc;

use raddle_plugin_api::NextHop;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Sample};
use raddle_plugin_api::wire::{EthernetHeader, Ip4Header, Ip6Header};
use serde_json::json;

use super::neighbors::{add_neighbor, router};
use super::setup::*;
use crate::net::adjacency::AdjacencyIndex;
use crate::net::ip4_input::Ip4Input;
use crate::net::ip6_input::Ip6Input;

const FIREWALL_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x55]);

/// What the operator would say of packets: to which next hop, or by which table.
struct Policy {
    ip4: NextHop,
    ip6: NextHop,
    diverted: InterfaceIndex,
}

next! {
    enum SteerNext {
        Ip4Adjacency => "ip4-adjacency",
        Ip6Adjacency => "ip6-adjacency",
    }
}

/// Sends UDP of both families to a firewall, and what comes in by another interface by a table that is empty.
///
/// Without a policy, as in the engines of other tests of this image, it lets everything pass.
struct Steer {
    policy: Option<Arc<Policy>>,
}

impl Node for Steer {
    const NAME: &'static str = "test-steer";
    type Next = SteerNext;
    type Error = NoError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { policy: init.resource().ok() })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|_, packet| {
            let Some(policy) = &self.policy else { return Verdict::Continue };
            if packet.rx_interface() != policy.diverted {
                packet.set_fib_index(77);
                return Verdict::Continue;
            }
            if packet.bytes()[0] >> 4 == 4 {
                policy.ip4.choose(packet);
                Verdict::Next(SteerNext::Ip4Adjacency)
            } else {
                policy.ip6.choose(packet);
                Verdict::Next(SteerNext::Ip6Adjacency)
            }
        });
    }
}

node!(Steer);
feature! { "test-steer", node: Steer, arc: "ip4-unicast" }
feature! { "test-steer6", node: Steer, arc: "ip6-unicast" }

/// A router whose feature sends packets of `lan` to a firewall on `wan`.
fn steered() -> Harness {
    let mut host = router();
    let (lan, wan) = (host.interface("lan"), host.interface("wan"));
    let mut made = Vec::new();
    for address in ["198.51.100.55", "2001:db8:b::55"] {
        add_neighbor(&mut host, "wan", address, FIREWALL_MAC);
        let address = address.parse().unwrap();
        made.push(host.control(|control| crate::net::next_hop::acquire(control, wan, address).unwrap()));
    }
    // As the daemon answers it; the harness has no daemon.
    host.mock("next-hop.acquire", move |arguments| {
        let is_ip6 = arguments["address"].as_str().is_some_and(|address| address.contains(':'));
        Ok(json!({ "adjacency": made[usize::from(is_ip6)].0 }))
    });
    host.mock("next-hop.release", |_| Ok(json!(null)));
    host.control(|control| {
        let policy = Policy {
            ip4: control.acquire_next_hop(wan, "198.51.100.55".parse().unwrap()).unwrap(),
            ip6: control.acquire_next_hop(wan, "2001:db8:b::55".parse().unwrap()).unwrap(),
            diverted: lan,
        };
        control.provide(Arc::new(policy)).unwrap();
    });
    host.nodes(&["test-steer", "ip4-adjacency", "ip6-adjacency"]);
    for interface in [lan, wan] {
        host.set_feature(interface, "test-steer", true);
        host.set_feature(interface, "test-steer6", true);
    }
    host
}

#[test]
fn feature_sends_packets_to_a_next_hop_of_its_own() {
    let mut host = steered();
    let lan = host.interface("lan");
    // The routing table knows no way to these.
    let packet = Sample::new(ip4("192.0.2.7", "8.8.8.8", 8)).with_rx_interface(lan);
    let run = host.run::<Ip4Input>([packet]);
    let (ethernet, sent) = EthernetHeader::parse(run.one().packet.bytes()).unwrap();
    assert_eq!(ethernet.destination, FIREWALL_MAC);
    assert_eq!(Ip4Header::check(sent, sent.len()).unwrap().ttl(), 63);
    let packet = Sample::new(ip6("2001:db8:a::7", "2a00::1", 8)).with_rx_interface(lan);
    let run = host.run::<Ip6Input>([packet]);
    let (ethernet, sent) = EthernetHeader::parse(run.one().packet.bytes()).unwrap();
    assert_eq!(ethernet.destination, FIREWALL_MAC);
    assert_eq!(Ip6Header::check(sent, sent.len()).unwrap().hop_limit(), 63);
    // Hops are counted as for any packet.
    add_neighbor(&mut host, "lan", "192.0.2.7", MacAddress(ROUTER_MAC));
    let last = with4(ip4("192.0.2.7", "198.51.100.9", 8), |header| header.set_ttl(1));
    let run = host.run::<Ip4Input>([Sample::new(last).with_rx_interface(lan)]);
    assert_eq!(run.dropped("time-exceeded-sent"), 1, "{}", run.summary());
    host.assert_no_leaks();
}

#[test]
fn feature_chooses_the_table_of_the_lookup() {
    let mut host = steered();
    let wan = host.interface("wan");
    let packet = Sample::new(ip4("198.51.100.9", "192.0.2.1", 8)).with_rx_interface(wan);
    // The interface's own table would take it for an own address.
    let run = host.run::<Ip4Input>([packet]);
    assert_eq!(run.dropped("unreachable-sent"), 1, "{}", run.summary());
}

#[test]
fn a_next_hop_that_was_given_back_drops() {
    let mut host = router();
    let wan = host.interface("wan");
    let address = "198.51.100.77".parse().unwrap();
    let adjacency: AdjacencyIndex =
        host.control(|control| crate::net::next_hop::acquire(control, wan, address).unwrap());
    host.control(|control| crate::net::next_hop::release(control, adjacency).unwrap());
    host.nodes(&["ip4-adjacency"]);
    let packet = Sample::new(ip4("192.0.2.7", "8.8.8.8", 8)).with_adjacency(adjacency.0);
    let run = host.run::<crate::net::ip4_adjacency::Ip4Adjacency>([packet]);
    run.assert_all_dropped("adjacency-drop");
    for refused in ["0.0.0.0", "224.0.0.1", "::1"] {
        let refused = refused.parse().unwrap();
        assert!(host.control(|control| crate::net::next_hop::acquire(control, wan, refused).is_err()));
    }
}
