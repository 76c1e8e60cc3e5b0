//! IPv4 options on their way through the nodes (RFC 791 §3.1, RFC 1812 §5.2.4, RFC 7126).

use raddle_plugin_api::testing::{Harness, Run};
use raddle_plugin_api::wire::Ip4Header;
use serde_json::json;

use super::setup::*;
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::ip4_input::Ip4Input;

const HOST: &str = "192.0.2.7";
const FAR: &str = "203.0.113.9";

fn with_options(destination: &str, options: &[u8]) -> Vec<u8> {
    let mut bytes = ip4(HOST, destination, 48);
    bytes[20..20 + options.len()].copy_from_slice(options);
    with4(bytes, |header| header.set_options(options))
}

fn way(host: &mut Harness, destination: &str, options: &[u8]) -> Run {
    host.nodes(&["ip4-options", "ip4-lookup", "ip4-rewrite"]);
    let lan = host.interface("lan");
    let packet = raddle_plugin_api::testing::Sample::new(with_options(destination, options));
    host.run::<Ip4Input>([packet.with_rx_interface(lan)])
}

fn set(host: &mut Harness, word: &str) {
    host.command("set ip4 options ignore|process|drop", json!({ word: true })).unwrap();
}

fn told(host: &mut Harness, run: &Run) -> IcmpRequest {
    let field = host.control(|control| icmp_field(control).unwrap());
    assert_eq!(run.one().node, "ip4-icmp-error", "{}", run.summary());
    run.one().packet.field(&field).unwrap()
}

// RFC 1812 §4.2.2.6: what is not known is carried on
#[test]
fn options_are_carried_untouched_by_default() {
    let mut host = routed();
    for options in [&[148, 4, 0, 0][..], &[7, 7, 4, 0, 0, 0, 0, 0], &[158, 4, 1, 2], &[1, 1, 1, 0]] {
        let run = way(&mut host, FAR, options);
        assert_eq!(run.one().node, "interface-output", "{options:?}: {}", run.summary());
        let sent = &run.one().packet.bytes()[14..];
        let ip = Ip4Header::check(sent, sent.len()).unwrap();
        assert_eq!((ip.ttl(), &sent[20..20 + options.len()]), (63, options));
    }
}

// RFC 1812 §4.2.2.2, §5.2.4
#[test]
fn record_route_and_timestamp_are_filled_in_where_the_operator_wants_that() {
    let mut host = routed();
    set(&mut host, "process");
    let run = way(&mut host, FAR, &[7, 7, 4, 0, 0, 0, 0, 0]);
    let sent = &run.one().packet.bytes()[14..];
    // The address of the interface by which the packet leaves.
    assert_eq!(sent[20..28], [7, 7, 8, 198, 51, 100, 1, 0]);
    Ip4Header::check(sent, sent.len()).unwrap();
    let run = way(&mut host, FAR, &[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let sent = &run.one().packet.bytes()[14..];
    assert_eq!((sent[22], &sent[24..28]), (13, &[198, 51, 100, 1][..]));
    let ms = u32::from_be_bytes([sent[28], sent[29], sent[30], sent[31]]);
    assert!(ms < 86_400_000, "ms since midnight: {ms}");
    let run = way(&mut host, FAR, &[68, 8, 9, 0xf0, 0, 0, 0, 0]);
    assert_eq!(told(&mut host, &run), IcmpRequest::ip4_parameter_problem(23));
}

// RFC 7126 §4.3, §4.4: source routes are not followed; RFC 792: code 5
#[test]
fn source_routes_are_refused_with_or_without_a_word() {
    let mut host = routed();
    let run = way(&mut host, FAR, &[131, 7, 4, 10, 0, 0, 1, 0]);
    assert_eq!(told(&mut host, &run), IcmpRequest::IP4_SOURCE_ROUTE_FAILED);
    host.command("set ip4 source-route reject|drop", json!({ "drop": true })).unwrap();
    let run = way(&mut host, FAR, &[137, 7, 4, 10, 0, 0, 1, 0]);
    run.assert_all_dropped("source-route");
}

// RFC 792 "Parameter Problem Message", RFC 1812 §4.3.3.5
#[test]
fn malformed_options_are_told_with_a_pointer_to_the_octet() {
    let mut host = routed();
    for (options, pointer) in
        [(&[148, 1, 0, 0][..], 21), (&[1, 1, 148, 99], 23), (&[7, 7, 3, 0, 0, 0, 0, 0], 22)]
    {
        let run = way(&mut host, FAR, options);
        assert_eq!(told(&mut host, &run), IcmpRequest::ip4_parameter_problem(pointer));
    }
}

#[test]
fn packets_with_options_are_dropped_where_the_operator_wants_that() {
    let mut host = routed();
    set(&mut host, "drop");
    way(&mut host, FAR, &[1, 1, 1, 0]).assert_all_dropped("options-dropped");
    let shown = host.command("show ip4 options", json!({})).unwrap();
    assert_eq!(shown.json["options"], "drop");
}

#[test]
fn options_do_not_keep_packets_from_groups_and_own_addresses() {
    let mut host = routed();
    for (destination, node) in
        [("224.0.0.1", "ip4-multicast-lookup"), ("255.255.255.255", "ip4-local"), ("192.0.2.1", "ip4-local")]
    {
        let run = way(&mut host, destination, &[148, 4, 0, 0]);
        assert_eq!(run.one().node, node, "{destination}");
    }
}
