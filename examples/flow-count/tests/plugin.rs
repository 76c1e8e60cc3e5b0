//! The plugin as a host sees it, without root and without daemon.

// The plugin's registrations are in this test only if something names the crate.
use flow_count as _;
use proptest::prelude::*;
use raddle_plugin_api::testing::{Harness, Sample, packets, strategy};
use raddle_plugin_api::wire::IpProtocol;
use serde_json::{Value, json};

const CONFIG: &str = "[flow-count]\ninterfaces = ['lan', 'late']\nmax-flows = 64\n";

fn host() -> Harness {
    let mut host =
        Harness::builder().config(CONFIG).workers(2).interface("lan", |i| i).interface("wan", |i| i).build();
    host.load();
    host
}

fn show(host: &mut Harness, arguments: Value) -> Value {
    host.command("flow-count show", arguments).unwrap().json
}

#[test]
fn is_on_where_the_configuration_names_the_interface() {
    let host = host();
    for arc in ["ip4-unicast", "ip6-unicast"] {
        assert_eq!(host.features(arc, host.interface("lan")), ["flow-count"]);
        assert_eq!(host.features(arc, host.interface("wan")), Vec::<String>::new());
    }
}

#[test]
fn comes_to_interfaces_that_come_later() {
    let mut host = host();
    let late = host.add_interface("late", |i| i.down());
    let other = host.add_interface("other", |i| i);
    assert_eq!(host.features("ip4-unicast", late), ["flow-count"]);
    assert_eq!(host.features("ip4-unicast", other), Vec::<String>::new());
}

#[test]
fn counts_by_interface_and_family_and_lets_packets_go_on() {
    let mut host = host();
    let lan = host.interface("lan");
    let ip4 = packets::udp("192.0.2.2:1", "198.51.100.2:53").payload_length(72);
    let ip6 = packets::udp("[2001:db8::1]:1", "[2001:db8::2]:53").payload_length(52);
    host.run_arc("ip4-unicast", lan, [&ip4, &ip4]).assert_all("ip4-lookup");
    host.run_arc("ip6-unicast", lan, [&ip6]).assert_all("ip6-lookup");
    let interfaces = &show(&mut host, json!({}))["interfaces"];
    let expected = json!([
        { "name": "lan", "ip4-packets": 2, "ip4-bytes": 200, "ip6-packets": 1, "ip6-bytes": 100 }
    ]);
    assert_eq!(*interfaces, expected);
    host.assert_no_leaks();
}

#[test]
fn interfaces_without_the_feature_are_not_counted() {
    let mut host = host();
    let wan = host.interface("wan");
    host.run_arc("ip4-unicast", wan, [packets::echo("192.0.2.2", "192.0.2.3")]).assert_all("ip4-lookup");
    assert_eq!(show(&mut host, json!({}))["known-flows"], 0);
}

#[test]
fn shows_the_busiest_flows_first() {
    let mut host = host();
    let lan = host.interface("lan");
    let big = packets::tcp("192.0.2.2:4242", "198.51.100.2:80").payload_length(1000);
    let small = packets::udp("192.0.2.2:5353", "198.51.100.2:53");
    host.run_arc("ip4-unicast", lan, [&small, &small, &big, &small]);
    let answer = host.command("flow-count show", json!({ "top": true, "count": 1 })).unwrap();
    let expected = json!([{
        "protocol": 6, "source": "192.0.2.2", "source-port": 4242,
        "destination": "198.51.100.2", "destination-port": 80, "packets": 1, "bytes": 1040
    }]);
    assert_eq!((&answer.json["flows"], &answer.json["known-flows"]), (&expected, &json!(2)));
    let text = answer.text.unwrap();
    assert!(text.contains("1           1040  tcp 192.0.2.2:4242 > 198.51.100.2:80\n"), "{text}");
    assert!(text.contains("busiest of 2 flows"), "{text}");
}

#[test]
fn flows_of_all_workers_are_summed() {
    let mut host = host();
    let packet = packets::tcp("192.0.2.2:4242", "198.51.100.2:80");
    host.nodes(&["flow-count-ip4"]);
    for thread in 0..=2 {
        host.run_named_on(thread, "flow-count-ip4", [&packet]);
    }
    assert_eq!(show(&mut host, json!({}))["flows"][0]["packets"], 3);
    assert_eq!(show(&mut host, json!({}))["known-flows"], 1);
}

#[test]
fn clear_begins_at_zero_again() {
    let mut host = host();
    let lan = host.interface("lan");
    let packet = packets::echo("192.0.2.2", "198.51.100.2");
    host.run_arc("ip4-unicast", lan, [&packet, &packet]);
    host.command("flow-count clear", json!({})).unwrap();
    let cleared = show(&mut host, json!({}));
    assert_eq!((&cleared["known-flows"], &cleared["interfaces"][0]["ip4-packets"]), (&json!(0), &json!(0)));
    host.run_arc("ip4-unicast", lan, [&packet]);
    assert_eq!(show(&mut host, json!({}))["flows"][0]["packets"], 1);
}

#[test]
fn an_interface_in_the_place_of_another_begins_at_zero() {
    let mut host = host();
    let lan = host.interface("lan");
    host.run_arc("ip4-unicast", lan, [packets::echo("192.0.2.2", "198.51.100.2")]);
    host.delete_interface("lan");
    assert_eq!(host.add_interface("lan", |i| i), lan);
    assert_eq!(show(&mut host, json!({}))["interfaces"][0]["ip4-packets"], 0);
}

#[test]
fn traces_tell_flow_and_number() {
    let mut host = host();
    let lan = host.interface("lan");
    host.trace(true);
    let packet = packets::tcp("192.0.2.2:4242", "198.51.100.2:80");
    host.run_arc("ip4-unicast", lan, vec![packet; 7]);
    let texts = host.trace_texts("flow-count-ip4");
    assert_eq!(texts[6], "flow-count: tcp 192.0.2.2:4242 > 198.51.100.2:80, packet 7 of the flow");
}

#[test]
fn flows_beyond_the_table_are_counted_as_such_and_pass() {
    let mut host = host();
    let lan = host.interface("lan");
    let many = (1..=1000).map(|port| packets::udp(&format!("192.0.2.2:{port}"), "198.51.100.2:53"));
    assert_eq!(host.run_arc("ip4-unicast", lan, many).to("ip4-lookup").len(), 1000);
    let answer = show(&mut host, json!({ "count": 2000 }));
    let known = answer["known-flows"].as_u64().unwrap();
    assert!((32..=64).contains(&known), "{known} flows are known");
    assert_eq!(answer["packets-without-flow"], 1000 - known);
    assert_eq!(answer["flows"].as_array().unwrap().len() as u64, known);
}

#[test]
fn malformed_packets_are_dropped_by_reason() {
    let mut host = host();
    let lan = host.interface("lan");
    let udp4 = packets::udp("192.0.2.2:1", "198.51.100.2:53").to_vec();
    let udp6 = packets::udp("[2001:db8::1]:1", "[2001:db8::2]:53").to_vec();
    let short4 = packets::ip("192.0.2.2", "198.51.100.2", IpProtocol::TCP).payload([1, 2, 3]).to_vec();
    for (arc, packet, reason) in [
        ("ip4-unicast", vec![], "bad-header"),
        ("ip4-unicast", udp4[..19].to_vec(), "bad-header"),
        ("ip4-unicast", udp6.clone(), "bad-header"),
        ("ip4-unicast", short4, "no-ports"),
        ("ip6-unicast", udp6[..39].to_vec(), "bad-header"),
        ("ip6-unicast", udp4, "bad-header"),
    ] {
        host.run_arc(arc, lan, [packet]).assert_all_dropped(reason);
    }
    host.assert_no_leaks();
}

#[test]
fn ports_in_a_later_buffer_are_found() {
    let mut host = host();
    let lan = host.interface("lan");
    let packet = Sample::new(packets::tcp("192.0.2.2:4242", "198.51.100.2:80").to_vec());
    host.run_arc("ip4-unicast", lan, [packet.in_segments(&[22, 1])]).assert_all("ip4-lookup");
    assert_eq!(show(&mut host, json!({}))["flows"][0]["destination-port"], 80);
}

#[test]
fn fragments_without_ports_are_a_flow_of_their_own() {
    let mut host = host();
    let lan = host.interface("lan");
    let later4 = packets::udp("192.0.2.2:1", "198.51.100.2:53").payload([0xff; 8]).fragment(1480, false);
    let later6 = packets::udp("[2001:db8::1]:1", "[2001:db8::2]:53").payload([0xff; 8]).fragment(1480, true);
    host.run_arc("ip4-unicast", lan, [later4]).assert_all("ip4-lookup");
    host.run_arc("ip6-unicast", lan, [later6]).assert_all("ip6-lookup");
    for flow in show(&mut host, json!({}))["flows"].as_array().unwrap() {
        assert_eq!((&flow["source-port"], &flow["protocol"]), (&json!(0), &json!(17)));
    }
}

#[test]
fn wrong_configuration_is_told_with_its_place() {
    let host = Harness::builder().build();
    for (text, message) in [
        ("[flow-count]\ninterface = ['lan']\n", "2:1: unknown key `interface`; did you mean `interfaces`?"),
        ("[flow-count]\nmax-flows = 1\n", "2:13: 1 flows, which is not between 64 and 4194304"),
        ("[flow-count]\ninterfaces = 'lan'\n", "2:14: "),
    ] {
        let found = host.check_config(text).unwrap_err().to_string();
        assert!(found.starts_with(message), "{found}");
    }
    host.check_config("").unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_packet_is_lost_whatever_its_bytes(
        ip4 in proptest::collection::vec(strategy::hostile_ip4(), 1..40),
        ip6 in proptest::collection::vec(strategy::hostile_ip6(), 1..40),
    ) {
        let mut host = host();
        let lan = host.interface("lan");
        for (arc, packets) in [("ip4-unicast", ip4), ("ip6-unicast", ip6)] {
            let count = packets.len();
            let out = host.run_arc(arc, lan, packets);
            prop_assert_eq!(out.sent().len() + out.drops().len(), count);
        }
        host.assert_no_leaks();
    }
}
