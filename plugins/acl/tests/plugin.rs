//! The plugin as a host sees it, without root and without daemon.

use std::time::Duration;

// The plugin's registrations are in this test only if something names the crate.
use raddle_acl as _;
use raddle_plugin_api::L4Ports;
use raddle_plugin_api::testing::packets::IpPacket;
use raddle_plugin_api::testing::{Harness, Run, packets};
use raddle_plugin_api::wire::{IpProtocol, TcpFlags};
use serde_json::{Value, json};

const ALICE: &str = "10.0.0.2";
const BOB: &str = "192.0.2.2";
const ALICE6: &str = "2001:db8:a::2";
const BOB6: &str = "2001:db8:b::2";

/// A host with interfaces `lan` and `wan`, and this section.
fn host(section: &str) -> Harness {
    let mut host =
        Harness::builder().config(section).interface("lan", |lan| lan).interface("wan", |wan| wan).build();
    host.load();
    host
}

fn udp(from: (&str, u16), to: (&str, u16)) -> IpPacket {
    let end = |(address, port): (&str, u16)| {
        if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
    };
    packets::udp(&end(from), &end(to))
}

fn tcp(from: (&str, u16), to: (&str, u16), flags: TcpFlags) -> IpPacket {
    packets::tcp(&format!("{}:{}", from.0, from.1), &format!("{}:{}", to.0, to.1)).flags(flags)
}

fn come_in(host: &mut Harness, interface: &str, packet: &IpPacket) -> Run {
    let index = host.interface(interface);
    let arc = if packet.to_vec()[0] >> 4 == 4 { "ip4-unicast" } else { "ip6-unicast" };
    host.run_arc(arc, index, [packet])
}

/// Whether a packet that comes in by an interface passes.
fn passes_in(host: &mut Harness, interface: &str, packet: &IpPacket) -> bool {
    let run = come_in(host, interface, packet);
    assert_eq!(run.sent().len() + run.drops().len(), 1, "{}", run.summary());
    run.drops().is_empty()
}

/// Whether a packet that leaves by an interface passes: it has its link-layer header in front.
fn passes_out(host: &mut Harness, interface: &str, packet: &IpPacket) -> bool {
    use raddle_plugin_api::testing::Sample;
    let index = host.interface(interface);
    let is_ip4 = packet.to_vec()[0] >> 4 == 4;
    let mut bytes = vec![2; 12];
    bytes.extend(if is_ip4 { [0x08, 0x00] } else { [0x86, 0xdd] });
    bytes.extend(packet.to_vec());
    let sample = Sample::new(bytes).with_l3_at(14).with_tx_interface(index);
    let arc = if is_ip4 { "ip4-output" } else { "ip6-output" };
    let run = host.run_arc(arc, index, [sample]);
    assert_eq!(run.sent().len() + run.drops().len(), 1, "{}", run.summary());
    run.drops().is_empty()
}

fn command(host: &mut Harness, usage: &str, arguments: Value) -> Value {
    host.command(usage, arguments).unwrap_or_else(|failure| panic!("{usage}: {failure}")).json
}

fn refused(host: &mut Harness, usage: &str, arguments: Value) -> String {
    host.command(usage, arguments)
        .err()
        .map_or_else(|| panic!("{usage} was not refused"), |failure| failure.to_string())
}

const REPLACE: &str = "acl replace <list> rules <rules:string>";
const SESSIONS: &str = "show acl sessions [interface <interface>] [address <address:ip>] [protocol <protocol>] [port <port:u16>] [after <after>]";

const WEB: &str = r#"
[acl.sets]
servers = ["192.0.2.0/24", "2001:db8:b::/64"]
[acl.lists]
web = ["permit tcp to @servers port 80,443", "deny udp from 10.0.0.66", "permit udp to @servers port 53"]
more = ["permit icmp type 8", "permit ip6 from 2001:db8:a::/64 dscp ef"]
[acl.interface.lan]
in = ["web", "more"]
"#;

#[test]
fn first_match_in_order_counts_and_none_is_a_no() {
    let mut host = host(WEB);
    let lan = "lan";
    assert!(passes_in(&mut host, lan, &tcp((ALICE, 1), (BOB, 80), TcpFlags::SYN)));
    assert!(passes_in(&mut host, lan, &udp((ALICE6, 1), (BOB6, 53))));
    assert!(passes_in(&mut host, lan, &packets::echo(ALICE, BOB)));
    for packet in [
        tcp((ALICE, 1), (BOB, 81), TcpFlags::SYN),
        tcp((ALICE, 1), ("198.51.100.1", 80), TcpFlags::SYN),
        udp((ALICE6, 1), (BOB6, 54)),
    ] {
        come_in(&mut host, lan, &packet).assert_all_dropped("no-match");
    }
    come_in(&mut host, lan, &udp(("10.0.0.66", 1), (BOB, 53))).assert_all_dropped("denied");
    // Nothing is applied to what comes in by the other one.
    assert!(passes_in(&mut host, "wan", &tcp((ALICE, 1), (BOB, 81), TcpFlags::SYN)));
    let shown = command(&mut host, "show acl [<list>]", json!({ "list": "web" }));
    assert_eq!(shown[0]["rules"][0]["packets"], 1);
    assert_eq!(shown[0]["rules"][1]["packets"], 1);
    assert_eq!(shown[0]["rules"][2]["bytes"], 48);
}

#[test]
fn what_leaves_is_judged_behind_its_link_layer_header() {
    let mut host =
        host("[acl.lists]\nout = ['permit udp to any port 53']\n[acl.interface.wan]\nout = ['out']");
    assert!(passes_out(&mut host, "wan", &udp((ALICE, 1), (BOB, 53))));
    assert!(passes_out(&mut host, "wan", &udp((ALICE6, 1), (BOB6, 53))));
    assert!(!passes_out(&mut host, "wan", &udp((ALICE, 1), (BOB, 54))));
    assert!(passes_in(&mut host, "wan", &udp((ALICE, 1), (BOB, 54))));
}

const REFLECT: &str = r#"
[acl.timeouts]
udp = 10
tcp-transient = 5
tcp-established = 100
tcp-closing = 2
icmp = 3
[acl.lists]
out = ["reflect ip"]
none = ["deny ip"]
[acl.interface.wan]
out = ["out"]
in = ["none"]
"#;

#[test]
fn answers_pass_while_the_session_lasts_and_nothing_else() {
    let mut host = host(REFLECT);
    let answer = udp((BOB, 53), (ALICE, 4000));
    assert!(!passes_in(&mut host, "wan", &answer));
    assert!(passes_out(&mut host, "wan", &udp((ALICE, 4000), (BOB, 53))));
    assert!(passes_in(&mut host, "wan", &answer));
    assert!(!passes_in(&mut host, "wan", &udp((BOB, 53), (ALICE, 4001))));
    assert!(
        !passes_in(&mut host, "wan", &udp((ALICE, 4000), (BOB, 53))),
        "the first direction, from outside"
    );
    host.advance(Duration::from_secs(9));
    assert!(passes_in(&mut host, "wan", &answer));
    host.advance(Duration::from_secs(9));
    host.poll_named("acl-aging");
    assert!(passes_in(&mut host, "wan", &answer));
    host.advance(Duration::from_secs(11));
    host.poll_named("acl-aging");
    assert!(!passes_in(&mut host, "wan", &answer));
    assert_eq!(command(&mut host, "show acl interfaces", json!({}))[0]["sessions"], 0);
}

#[test]
fn tcp_lasts_by_its_flags() {
    let mut host = host(REFLECT);
    let (client, server) = ((ALICE, 5000), (BOB, 443));
    let (syn, ack, fin) = (TcpFlags::SYN, TcpFlags::ACK, TcpFlags::FIN);
    assert!(passes_out(&mut host, "wan", &tcp(client, server, syn)));
    let state = |host: &mut Harness| command(host, SESSIONS, json!({}))[0]["state"].clone();
    assert_eq!(state(&mut host), "transient");
    assert!(passes_in(&mut host, "wan", &tcp(server, client, syn.union(ack))));
    assert!(passes_out(&mut host, "wan", &tcp(client, server, ack)));
    assert_eq!(state(&mut host), "established");
    host.advance(Duration::from_secs(50));
    host.poll_named("acl-aging");
    assert!(passes_in(&mut host, "wan", &tcp(server, client, fin.union(ack))));
    assert!(passes_out(&mut host, "wan", &tcp(client, server, fin.union(ack))));
    assert_eq!(state(&mut host), "closing");
    host.advance(Duration::from_secs(3));
    host.poll_named("acl-aging");
    assert!(!passes_in(&mut host, "wan", &tcp(server, client, ack)));
}

#[test]
fn echo_is_known_by_its_identifier_and_errors_by_what_they_quote() {
    let mut host = host(REFLECT);
    let reply = |identifier: u16| {
        let mut bytes = packets::echo(BOB, ALICE).identifier(identifier).to_vec();
        bytes[20] = 0;
        raddle_plugin_api::testing::Sample::new(bytes)
    };
    assert!(passes_out(&mut host, "wan", &packets::echo(ALICE, BOB).identifier(7)));
    let wan = host.interface("wan");
    host.run_arc("ip4-unicast", wan, [reply(7)]).assert_all("ip4-lookup");
    host.run_arc("ip4-unicast", wan, [reply(8)]).assert_all_dropped("denied");
    // The peer's own question is no answer.
    assert!(!passes_in(&mut host, "wan", &packets::echo(BOB, ALICE).identifier(7)));

    let sent = udp((ALICE, 4000), (BOB, 33434));
    assert!(passes_out(&mut host, "wan", &sent));
    let error = |quoted: &IpPacket, to: &str| {
        let mut body = vec![11, 0, 0, 0, 0, 0, 0, 0];
        body.extend(&quoted.to_vec()[..28]);
        packets::ip("203.0.113.9", to, IpProtocol::ICMP4).payload(body)
    };
    assert!(passes_in(&mut host, "wan", &error(&sent, ALICE)));
    assert!(!passes_in(&mut host, "wan", &error(&sent, "10.0.0.3")), "it is for who sent the packet");
    assert!(!passes_in(&mut host, "wan", &error(&udp((ALICE, 4001), (BOB, 33434)), ALICE)));
}

#[test]
fn sessions_belong_to_a_thread_and_packets_come_to_it() {
    let mut host = Harness::builder().config(REFLECT).workers(2).interface("wan", |wan| wan).build();
    host.load();
    for port in 1000..1040 {
        assert!(passes_out(&mut host, "wan", &udp((ALICE, port), (BOB, 53))), "{port}");
        assert!(passes_in(&mut host, "wan", &udp((BOB, 53), (ALICE, port))), "{port}");
    }
    let sessions = command(&mut host, SESSIONS, json!({}));
    let sessions = sessions.as_array().unwrap();
    assert_eq!(sessions.len(), 40);
    let of = |thread: u32| sessions.iter().filter(|session| session["thread"] == thread).count();
    assert!(of(1) > 5 && of(2) > 5 && of(0) == 0);
    let some = command(&mut host, SESSIONS, json!({ "port": 1007 }));
    assert_eq!(some[0]["source-port"], 1007);
    let ended = command(
        &mut host,
        "clear acl sessions [interface <interface>] [address <address:ip>] [protocol <protocol>] [port <port:u16>]",
        json!({ "port": 1007 }),
    );
    assert_eq!(ended["ended"], 1);
    assert!(!passes_in(&mut host, "wan", &udp((BOB, 53), (ALICE, 1007))));
    assert!(passes_in(&mut host, "wan", &udp((BOB, 53), (ALICE, 1008))));
}

#[test]
fn interface_has_no_more_sessions_than_it_may() {
    let mut host = host(&format!("{REFLECT}\nmax-sessions = 3"));
    for port in 1..=3 {
        assert!(passes_out(&mut host, "wan", &udp((ALICE, port), (BOB, 53))));
    }
    assert!(!passes_out(&mut host, "wan", &udp((ALICE, 4), (BOB, 53))));
    assert!(passes_out(&mut host, "wan", &udp((ALICE, 1), (BOB, 53))), "what is known passes");
}

#[test]
fn sessions_outlive_a_change_until_they_are_judged_again() {
    let mut host = host(REFLECT);
    assert!(passes_out(&mut host, "wan", &udp((ALICE, 1), (BOB, 53))));
    assert!(passes_out(&mut host, "wan", &udp((ALICE, 1), (BOB, 54))));
    command(&mut host, REPLACE, json!({ "list": "out", "rules": "deny udp to any port 53; reflect ip" }));
    assert!(passes_in(&mut host, "wan", &udp((BOB, 53), (ALICE, 1))));
    command(&mut host, "acl recheck [<interface>]", json!({ "interface": "wan" }));
    assert!(!passes_in(&mut host, "wan", &udp((BOB, 53), (ALICE, 1))));
    assert!(passes_in(&mut host, "wan", &udp((BOB, 54), (ALICE, 1))));
    assert_eq!(command(&mut host, "show acl interfaces", json!({}))[0]["sessions"], 1);
}

#[test]
fn sessions_outlive_lists_that_begin_none_any_more() {
    let mut host = host(REFLECT);
    assert!(passes_out(&mut host, "wan", &udp((ALICE, 1), (BOB, 53))));
    command(&mut host, REPLACE, json!({ "list": "out", "rules": "permit tcp; deny ip" }));
    assert!(passes_in(&mut host, "wan", &udp((BOB, 53), (ALICE, 1))));
    assert!(passes_out(&mut host, "wan", &udp((ALICE, 1), (BOB, 53))));
    assert!(!passes_out(&mut host, "wan", &udp((ALICE, 2), (BOB, 53))));
    // The next version finds them too, and the lists as they are, whatever the file says.
    host.upgrade();
    assert!(!passes_out(&mut host, "wan", &udp((ALICE, 2), (BOB, 53))));
    assert!(passes_in(&mut host, "wan", &udp((BOB, 53), (ALICE, 1))));
    command(&mut host, "acl recheck [<interface>]", json!({ "interface": "wan" }));
    assert!(!passes_in(&mut host, "wan", &udp((BOB, 53), (ALICE, 1))));
    assert_eq!(command(&mut host, "show acl interfaces", json!({}))[0]["sessions"], 0);
}

#[test]
fn later_fragments_pass_by_what_their_first_one_said() {
    let mut host = host("[acl.lists]\nl = ['permit udp to any port 53']\n[acl.interface.lan]\nin = ['l']");
    let lan = host.interface("lan");
    let field = host.control(|control| L4Ports::field(control).unwrap());
    let later = udp((ALICE, 1), (BOB, 53)).fragment(64, false).to_vec();
    let noted = |port: u8| L4Ports::of_first(IpProtocol::UDP, &[0, 1, 0, port, 0, 8, 0, 0]).of_later();
    let in_frame = [&[2; 12][..], &[0x81, 0x00, 0, 7, 0x08, 0x00], &later].concat();
    host.nodes(&["acl-ip4-in", "acl-l2-in"]);
    for (node, bytes) in [("acl-ip4-in", later), ("acl-l2-in", in_frame)] {
        let mut passes = |sample: raddle_plugin_api::testing::Sample| {
            let run = host.run_named(node, [sample.with_rx_interface(lan)]);
            assert_eq!(run.sent().len() + run.drops().len(), 1, "{}", run.summary());
            run.drops().is_empty()
        };
        let sample = || raddle_plugin_api::testing::Sample::new(bytes.clone());
        assert!(passes(sample().with_field(&field, noted(53))), "{node}");
        assert!(!passes(sample().with_field(&field, noted(54))), "{node}");
        // Nothing is known of it: rules about ports do not match.
        assert!(!passes(sample()), "{node}");
    }
}

#[test]
fn malformed_packets_are_dropped_where_lists_are_applied() {
    let mut host = host(WEB);
    let lan = host.interface("lan");
    let cut = raddle_plugin_api::testing::Sample::new(vec![0x45, 0, 0, 20, 0, 0]);
    host.run_arc("ip4-unicast", lan, [cut]).assert_all_dropped("malformed");
}

#[test]
fn a_change_is_whole_or_nothing() {
    let mut host = host(WEB);
    let before = command(&mut host, "show acl [<list>]", json!({}));
    for (usage, arguments, said) in [
        (
            REPLACE,
            json!({ "list": "web", "rules": "permit tcp; permit tpc" }),
            "rule 2: unknown word `tpc`; did you mean `tcp`?",
        ),
        (
            REPLACE,
            json!({ "list": "web", "rules": "permit ip from @serverz" }),
            "rule 1 of list `web`: there is no set `serverz`; did you mean `servers`?",
        ),
        (
            "acl delete list <list>",
            json!({ "list": "web" }),
            "the list `web` is applied to the interface `lan`",
        ),
        ("acl delete list <list>", json!({ "list": "wep" }), "there is no list `wep`; did you mean `web`?"),
        (
            "acl delete set <set>",
            json!({ "set": "servers" }),
            "the set `servers` is in use by the list `web`",
        ),
        (
            "acl apply <interface> in|out <lists:string>",
            json!({ "interface": "lan", "in": true, "lists": "web, gone" }),
            "there is no list `gone`",
        ),
        (
            "acl replace-set <set> addresses <addresses:string>",
            json!({ "set": "servers", "addresses": "10.0.0.0/24 10.0.0.300" }),
            "`10.0.0.300` is not an address, a prefix or `@SET`",
        ),
    ] {
        assert_eq!(refused(&mut host, usage, arguments), said);
    }
    assert_eq!(command(&mut host, "show acl [<list>]", json!({})), before);
    assert!(passes_in(&mut host, "lan", &tcp((ALICE, 1), (BOB, 80), TcpFlags::SYN)));
}

#[test]
fn rules_that_stay_go_on_counting() {
    let mut host = host(WEB);
    assert!(passes_in(&mut host, "lan", &tcp((ALICE, 1), (BOB, 80), TcpFlags::SYN)));
    command(
        &mut host,
        "acl add <list> [at <place:u32:1..60000>] rule <rule:string>",
        json!({ "list": "web", "place": 1, "rule": "deny tcp to any port 443" }),
    );
    assert!(!passes_in(&mut host, "lan", &tcp((ALICE, 1), (BOB, 443), TcpFlags::SYN)));
    let shown = command(&mut host, "show acl [<list>]", json!({ "list": "web" }));
    assert_eq!((&shown[0]["rules"][0]["packets"], &shown[0]["rules"][1]["packets"]), (&json!(1), &json!(1)));
    command(&mut host, "clear acl counters [<list>]", json!({ "list": "web" }));
    let shown = command(&mut host, "show acl [<list>]", json!({ "list": "web" }));
    assert_eq!(shown[0]["rules"][1]["packets"], 0);
    command(&mut host, "acl delete rule <list> <place:u32:1..60000>", json!({ "list": "web", "place": 1 }));
    assert!(passes_in(&mut host, "lan", &tcp((ALICE, 1), (BOB, 443), TcpFlags::SYN)));
}

#[test]
fn sets_change_under_the_lists_that_name_them() {
    let mut host = host(WEB);
    let packet = tcp((ALICE, 1), (BOB, 80), TcpFlags::SYN);
    command(
        &mut host,
        "acl replace-set <set> addresses <addresses:string>",
        json!({ "set": "servers", "addresses": "198.51.100.0/24, 2001:db8:b::/64" }),
    );
    assert!(!passes_in(&mut host, "lan", &packet));
    assert!(passes_in(&mut host, "lan", &tcp((ALICE, 1), ("198.51.100.7", 80), TcpFlags::SYN)));
}

#[test]
fn check_and_test_change_nothing() {
    let mut host = host(WEB);
    let report = command(
        &mut host,
        "acl check [<list>] [rules <rules:string>]",
        json!({ "list": "web", "rules": "permit tcp; deny tcp to any port 80; permit ip" }),
    );
    assert_eq!(report["never-match"][0]["rule"], 2);
    assert_eq!(report["never-match"].as_array().unwrap().len(), 1);
    let mut test = |direction: &str, packet: &str| {
        let mut arguments = json!({ "interface": "lan", "packet": packet });
        arguments[direction] = json!(true);
        host.command("acl test in|out <interface> <packet:string>", arguments).unwrap().text.unwrap()
    };
    assert_eq!(
        test("in", "10.0.0.2 -> 192.0.2.7 tcp 443"),
        "permit: list web rule 1: permit tcp to @servers port 80,443"
    );
    assert_eq!(
        test("in", "10.0.0.66 -> 192.0.2.7 udp 53"),
        "deny: list web rule 2: deny ip4 udp from 10.0.0.66/32"
    );
    assert_eq!(test("in", "10.0.0.2 -> 192.0.2.7 sctp 53"), "deny: no rule matches");
    assert_eq!(test("out", "10.0.0.2 -> 192.0.2.7 sctp 53"), "permit: no lists are applied");
    assert!(!passes_in(&mut host, "lan", &tcp((ALICE, 1), (BOB, 81), TcpFlags::SYN)));
}

#[test]
fn what_changes_is_reported_as_the_section_that_makes_it() {
    let mut host = host(WEB);
    command(
        &mut host,
        "acl replace-set <set> addresses <addresses:string>",
        json!({ "set": "x", "addresses": "::1" }),
    );
    let reported = host.calls("config.report").pop().unwrap();
    assert_eq!(reported["section"], "acl");
    let content = &reported["content"];
    assert_eq!(content["sets"]["x"], json!(["::1/128"]));
    assert_eq!(content["lists"]["web"][1], "deny ip4 udp from 10.0.0.66/32");
    assert_eq!(content["interface"]["lan"]["in"], json!(["web", "more"]));
    // It loads, and makes the same.
    let text = toml_of(content);
    let mut again = self::host(&text);
    assert!(passes_in(&mut again, "lan", &tcp((ALICE, 1), (BOB, 80), TcpFlags::SYN)));
    assert_eq!(&again.calls("config.report").pop().unwrap()["content"], content);
}

/// A section as inline tables, which are TOML as well.
fn toml_of(content: &Value) -> String {
    fn value(of: &Value) -> String {
        match of {
            Value::Object(table) => {
                let keys: Vec<_> =
                    table.iter().map(|(key, of)| format!("\"{key}\" = {}", value(of))).collect();
                format!("{{ {} }}", keys.join(", "))
            }
            Value::Array(list) => format!("[{}]", list.iter().map(value).collect::<Vec<_>>().join(", ")),
            other => other.to_string(),
        }
    }
    let keys = content.as_object().unwrap().iter().map(|(key, of)| format!("{key} = {}", value(of)));
    format!("[acl]\n{}\n", keys.collect::<Vec<_>>().join("\n"))
}

#[test]
fn arp_of_a_routed_interface_is_judged_by_mac_ip_rules_and_ethertypes() {
    use raddle_plugin_api::testing::Sample;
    let mut host = host(
        "[acl.mac-lists]\nhosts = ['permit 02:00:00:00:00:01 10.0.0.0/24']\n[acl.interface.lan]\nmac-list = 'hosts'",
    );
    let arp = |mac: u8, address: [u8; 4]| {
        let mut frame = [[0xff; 6], [2, 0, 0, 0, 0, mac]].concat();
        frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, mac]);
        frame.extend(address);
        frame.extend([0; 10]);
        Sample::new(frame).advanced(14)
    };
    let (lan, wan) = (host.interface("lan"), host.interface("wan"));
    assert_eq!(host.features("arp", lan), ["acl-arp-in"]);
    for (interface, mac, address, reason) in [
        (lan, 1, [10, 0, 0, 7], None),
        (lan, 1, [10, 0, 1, 7], Some("mac-ip")),
        (lan, 2, [10, 0, 0, 7], Some("mac-ip")),
        (wan, 2, [10, 0, 0, 7], None),
    ] {
        let run = host.run_arc("arp", interface, [arp(mac, address)]);
        assert_eq!(run.drops().first().map(|drop| drop.reason.as_str()), reason, "{mac} {address:?}");
    }
    command(
        &mut host,
        "acl apply <interface> ethertypes <ethertypes:string>",
        json!({ "interface": "lan", "ethertypes": "ip4" }),
    );
    host.run_arc("arp", lan, [arp(1, [10, 0, 0, 7])]).assert_all_dropped("ethertype");
    host.assert_no_leaks();
}

#[test]
fn interfaces_that_come_later_have_what_is_said_of_their_name() {
    let mut host = host("[acl.lists]\nl = ['deny ip']\n[acl.interface.late]\nin = ['l']");
    let late = host.add_interface("late", |late| late);
    assert!(host.features("ip4-unicast", late).contains(&"acl-in".to_owned()));
    assert!(!passes_in(&mut host, "late", &packets::echo(ALICE, BOB)));
    host.delete_interface("late");
    let other = host.add_interface("other", |other| other);
    assert_eq!(other, late);
    assert_eq!(host.features("ip4-unicast", other), Vec::<String>::new());
    assert!(passes_in(&mut host, "other", &packets::echo(ALICE, BOB)));
    host.assert_no_leaks();
}

#[test]
fn marked_rules_are_logged_and_traced_packets_tell_their_rule() {
    let mut host = host("[acl.lists]\nl = ['deny udp log', 'permit ip']\n[acl.interface.lan]\nin = ['l']");
    for _ in 0..30 {
        assert!(!passes_in(&mut host, "lan", &udp((ALICE, 9), (BOB, 53))));
    }
    let lines = host.log();
    let lines: Vec<_> = lines.iter().filter(|line| line.message.starts_with("acl action=")).collect();
    assert_eq!(lines.len(), 10, "{lines:?}");
    assert_eq!(
        lines[0].message,
        "acl action=deny list=l rule=1 interface=lan direction=in protocol=udp source=10.0.0.2 source-port=9 \
         destination=192.0.2.2 destination-port=53 bytes=28"
    );
    host.trace(true);
    assert!(passes_in(&mut host, "lan", &tcp((ALICE, 9), (BOB, 80), TcpFlags::SYN)));
    assert_eq!(
        host.trace_texts("acl-ip4-in"),
        ["acl in: tcp 10.0.0.2 port 9 > 192.0.2.2 port 80: permit, list l rule 2"]
    );
}

#[test]
fn section_that_contradicts_itself_is_refused_in_one_sentence() {
    let host = Harness::builder().build();
    let error = host.check_config("[acl.lists]\nl = ['permit ip from @gone']").unwrap_err().to_string();
    assert!(error.contains("rule 1 of list `l` names the set `gone`, which is not there"), "{error}");
}
