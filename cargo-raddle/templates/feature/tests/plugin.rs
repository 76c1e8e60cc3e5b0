//! The plugin as a host sees it, without root and without daemon.

use proptest::prelude::*;
use raddle_plugin_api::testing::{Harness, packets, strategy};
// The plugin's registrations are in this test only if something names the crate.
use sample_plugin as _;
use serde_json::json;

fn host(config: &str) -> Harness {
    let mut host =
        Harness::builder().config(config).interface("wan", |wan| wan.feature("sample-plugin")).build();
    host.load();
    host
}

#[test]
fn packets_with_a_low_ttl_are_dropped_and_others_go_on() {
    let mut host = host("");
    let wan = host.interface("wan");
    let ip4 = packets::udp("192.0.2.2:4242", "198.51.100.2:53");
    let out = host.run_arc("ip4-unicast", wan, [ip4.clone().ttl(5), ip4.ttl(4)]);
    assert_eq!((out.to("ip4-lookup").len(), out.dropped("low-ttl")), (1, 1));
    let ip6 = packets::udp("[2001:db8::1]:4242", "[2001:db8::2]:53");
    let out = host.run_arc("ip6-unicast", wan, [ip6.clone().ttl(5), ip6.ttl(4)]);
    assert_eq!((out.to("ip6-lookup").len(), out.dropped("low-ttl")), (1, 1));
    host.assert_no_leaks();
}

#[test]
fn the_configuration_says_what_is_low() {
    let mut host = host("[sample-plugin]\nmin-ttl = 64\n");
    let wan = host.interface("wan");
    let packet = packets::echo("192.0.2.2", "198.51.100.2");
    host.run_arc("ip4-unicast", wan, [packet.clone().ttl(63)]).assert_all_dropped("low-ttl");
    host.run_arc("ip4-unicast", wan, [packet.ttl(64)]).assert_all("ip4-lookup");
}

#[test]
fn wrong_configuration_is_told_with_its_place() {
    let host = Harness::builder().build();
    let wrong = host.check_config("[sample-plugin]\nmin-tll = 4\n").unwrap_err().to_string();
    assert_eq!(wrong, "2:1: unknown key `min-tll`; did you mean `min-ttl`?");
}

#[test]
fn the_command_shows_what_was_counted() {
    let mut host = host("");
    let wan = host.interface("wan");
    let packet = packets::echo("192.0.2.2", "198.51.100.2");
    host.run_arc("ip4-unicast", wan, [packet.clone(), packet.clone(), packet.ttl(1)]);
    let answer = host.command("sample-plugin show", json!({})).unwrap();
    assert_eq!(answer.json, json!({ "min-ttl": 5, "passed": 2, "dropped": 1 }));
}

#[test]
fn traces_tell_the_ttl() {
    let mut host = host("");
    let wan = host.interface("wan");
    host.trace(true);
    host.run_arc("ip4-unicast", wan, [packets::echo("192.0.2.2", "198.51.100.2").ttl(3)]);
    assert_eq!(host.trace_texts("sample-plugin-ip4"), ["ttl 3 is too low"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_packet_is_lost_whatever_its_bytes(
        packets in proptest::collection::vec(strategy::hostile_ip4(), 1..40),
    ) {
        let mut host = host("");
        let (wan, count) = (host.interface("wan"), packets.len());
        let out = host.run_arc("ip4-unicast", wan, packets);
        prop_assert_eq!(out.sent().len() + out.drops().len(), count);
        host.assert_no_leaks();
    }
}
