//! Frames of many packets, which are judged together, and what outlives another version or another configuration.

use proptest::prelude::*;
// The plugin's registrations are in this test only if something names the crate.
use raddle_acl as _;
use raddle_plugin_api::testing::packets::IpPacket;
use raddle_plugin_api::testing::{Harness, packets};
use raddle_plugin_api::wire::TcpFlags;
use serde_json::{Value, json};

const RULES: &str = r#"
[acl.lists]
mixed = ["deny udp to any port 9", "reflect udp to any port 0-99", "reflect tcp flags syn/syn+ack", "permit tcp to any port 7", "reflect icmp"]
plain = ["deny udp to any port 9", "permit udp to any port 0-99", "permit tcp", "deny icmp log", "permit ip to 198.51.100.0/24"]
[acl.interface.reflexive]
in = ["mixed"]
[acl.interface.stateless]
in = ["plain"]
"#;

fn host(section: &str) -> Harness {
    let mut host = Harness::builder()
        .config(section)
        .interface("reflexive", |interface| interface)
        .interface("stateless", |interface| interface)
        .build();
    host.load();
    host
}

fn command(host: &mut Harness, usage: &str, arguments: Value) -> Value {
    host.command(usage, arguments).unwrap_or_else(|failure| panic!("{usage}: {failure}")).json
}

/// What becomes of packets that come in together: for each whether it passes, by its bytes.
fn judged(host: &mut Harness, interface: &str, frame: &[Vec<u8>]) -> Vec<(Vec<u8>, bool)> {
    let index = host.interface(interface);
    let run = host.run_arc("ip4-unicast", index, frame.to_vec());
    let passed = run.sent().iter().map(|sent| (sent.packet.bytes().to_vec(), true));
    let dropped = run.drops().iter().map(|drop| (drop.packet.bytes().to_vec(), false));
    let mut all: Vec<_> = passed.chain(dropped).collect();
    assert_eq!(all.len(), frame.len(), "{}", run.summary());
    all.sort();
    all
}

/// A packet of a few flows, of a few kinds, with a number of its own in the identification.
fn packet(number: u16, (kind, from, port, flags): (u8, u8, u16, u8)) -> Vec<u8> {
    let (source, destination) = (format!("10.0.0.{}:{}", from, 1000 + port), format!("192.0.2.7:{port}"));
    let of = |packet: IpPacket| packet.identification(number).payload([0; 20]).to_vec();
    match kind {
        0..3 => of(packets::udp(&source, &destination)),
        3..6 => of(packets::tcp(&source, &destination).flags(TcpFlags(flags))),
        6 => of(packets::echo(&format!("10.0.0.{from}"), "192.0.2.7")),
        // Too short for the short way, and no IP at all.
        7 => packets::udp(&source, &destination).identification(number).to_vec(),
        _ => [vec![0x65], number.to_be_bytes().to_vec(), vec![0; 40]].concat(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// The short way of a frame is the long way of its packets: verdicts, rules' counts, sessions and their counts.
    #[test]
    fn a_frame_is_judged_as_its_packets_are_one_by_one(
        kinds in prop::collection::vec((0..9_u8, 1..4_u8, 5..12_u16, prop::sample::select(vec![2_u8, 16, 17, 4, 24])), 1..120),
        frame in 1..120_usize,
        interface in prop::sample::select(vec!["reflexive", "stateless"]),
    ) {
        let packets: Vec<_> = kinds.iter().enumerate().map(|(number, kind)| packet(number as u16, *kind)).collect();
        let (mut together, mut apart) = (host(RULES), host(RULES));
        for frame in packets.chunks(frame) {
            let mut one_by_one: Vec<_> =
                frame.iter().flat_map(|packet| judged(&mut apart, interface, std::slice::from_ref(packet))).collect();
            one_by_one.sort();
            prop_assert_eq!(judged(&mut together, interface, frame), one_by_one);
        }
        for shown in ["show acl [<list>]", "show acl interfaces"] {
            prop_assert_eq!(command(&mut together, shown, json!({})), command(&mut apart, shown, json!({})));
        }
        let sessions = |host: &mut Harness| {
            let shown = command(host, SESSIONS, json!({}));
            let mut sessions = shown.as_array().unwrap().clone();
            sessions.sort_by_key(ToString::to_string);
            sessions
        };
        prop_assert_eq!(sessions(&mut together), sessions(&mut apart));
        together.assert_no_leaks();
    }
}

const SESSIONS: &str = "show acl sessions [interface <interface>] [address <address:ip>] [protocol <protocol>] [port <port:u16>] [after <after>]";
const REPLACE: &str = "acl replace <list> rules <rules:string>";
const REFLECT: &str = "[acl.lists]\nfirst = ['deny ip']\nout = ['reflect udp', 'permit tcp']\n[acl.interface.reflexive]\nin = ['out']\n";

fn udp(port: u16) -> Vec<u8> {
    packets::udp(&format!("10.0.0.1:{port}"), "192.0.2.7:53").payload([0; 20]).to_vec()
}

fn passes(host: &mut Harness, packet: Vec<u8>) -> bool {
    judged(host, "reflexive", &[packet])[0].1
}

/// Another version goes on with sessions, their numbers and limits, and what rules have counted.
#[test]
fn sessions_and_counts_outlive_an_upgrade() {
    let mut host = host(&format!("{REFLECT}max-sessions = 6\n"));
    // The list's number is another one than the configuration gives it.
    command(&mut host, "acl delete list <list>", json!({ "list": "first" }));
    (1..=5).for_each(|port| assert!(passes(&mut host, udp(port))));
    // From now on nothing is allowed but what has a session, which nobody has asked to judge again.
    command(&mut host, REPLACE, json!({ "list": "out", "rules": "reflect udp to any port 99" }));
    let config = host.calls("config.report").pop().unwrap();
    assert_eq!(config["content"]["lists"]["out"], json!(["reflect udp to any port 99"]));
    host.set_config("[acl.lists]\nfirst = ['deny ip']\nout = ['reflect udp to any port 99']\n[acl.interface.reflexive]\nin = ['out']\nmax-sessions = 6\n");
    host.upgrade();
    (1..=5).for_each(|port| assert!(passes(&mut host, udp(port)), "{port}"));
    assert!(!passes(&mut host, udp(6)));
    host.poll_node("acl-aging");
    assert_eq!(command(&mut host, "show acl interfaces", json!({}))[0]["sessions"], 5);
    let sessions = command(&mut host, SESSIONS, json!({}));
    assert!(sessions.as_array().unwrap().iter().all(|session| session["packets"] == 2));
    // The limit counts those that were there.
    let to_99 =
        |port: u16| packets::udp(&format!("10.0.0.1:{port}"), "192.0.2.7:99").payload([0; 20]).to_vec();
    assert!(passes(&mut host, to_99(1)) && !passes(&mut host, to_99(2)));
    let rechecked = command(&mut host, "acl recheck [<interface>]", json!({}));
    assert_eq!(rechecked["sessions"], 6);
    assert!(!passes(&mut host, udp(1)) && passes(&mut host, to_99(1)));
    // Their time goes on.
    host.advance(std::time::Duration::from_secs(301));
    for _ in 0..3 {
        host.poll_node("acl-aging");
    }
    assert_eq!(command(&mut host, "show acl interfaces", json!({}))[0]["sessions"], 0);
    host.assert_no_leaks();
}

#[test]
fn counts_of_rules_outlive_an_upgrade() {
    let mut host = host(RULES);
    (0..3).for_each(|_| assert!(judged(&mut host, "stateless", &[udp(1)])[0].1));
    host.upgrade();
    assert!(judged(&mut host, "stateless", &[udp(1)])[0].1);
    let shown = command(&mut host, "show acl [<list>]", json!({ "list": "plain" }));
    assert_eq!((&shown[0]["rules"][1]["packets"], &shown[0]["rules"][0]["packets"]), (&json!(4), &json!(0)));
}

#[test]
fn section_that_is_read_again_takes_the_place_of_the_old_one_and_sessions_stay() {
    let mut host = host(REFLECT);
    assert!(passes(&mut host, udp(1)));
    command(
        &mut host,
        "acl add <list> [at <place:u32:1..60000>] rule <rule:string>",
        json!({ "list": "made", "rule": "permit ip" }),
    );
    // The same section again: what commands have made stays.
    host.event("config", &()).unwrap();
    assert_eq!(command(&mut host, "show acl [<list>]", json!({})).as_array().unwrap().len(), 3);
    host.set_config("[acl.sets]\nhosts = ['10.0.0.9']\n[acl.lists]\nout = ['reflect udp from @hosts']\n[acl.timeouts]\nudp = 5\n[acl.interface.reflexive]\nin = ['out']\n[acl.interface.stateless]\nin = ['out']\n");
    host.event("config", &()).unwrap();
    assert!(passes(&mut host, udp(1)), "it has a session");
    assert!(!passes(&mut host, udp(2)));
    assert!(!judged(&mut host, "stateless", &[udp(2)])[0].1);
    assert_eq!(command(&mut host, "show acl [<list>]", json!({})).as_array().unwrap().len(), 1);
    // The new timeout holds for what a session begins or does from now on.
    let other = packets::udp("10.0.0.9:1", "192.0.2.7:53").payload([0; 20]).to_vec();
    assert!(passes(&mut host, other));
    host.advance(std::time::Duration::from_secs(6));
    host.poll_node("acl-aging");
    let left = command(&mut host, "show acl interfaces", json!({}));
    assert_eq!(left[0]["sessions"], 1, "{left}");
    // What is wrong changes nothing.
    host.set_config("[acl.lists]\nout = ['permit ip from @gone']\n");
    assert!(host.event("config", &()).unwrap_err().to_string().contains("the set `gone`"));
    assert!(!passes(&mut host, udp(2)));
    host.assert_no_leaks();
}

#[test]
fn sessions_and_matches_are_metrics() {
    let mut host = host(RULES);
    (1..=3).for_each(|port| assert!(judged(&mut host, "reflexive", &[udp(port)])[0].1));
    assert!(judged(&mut host, "stateless", &[udp(1)])[0].1);
    host.event("metrics", &()).unwrap();
    let reports = host.calls("metric.report");
    let report = |name: &str| {
        reports
            .iter()
            .find(|report| report["metric"]["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {reports:?}"))
    };
    let sessions = report("sessions");
    assert_eq!(sessions["values"], json!([3.0, 0.0]), "{sessions}");
    assert_eq!(report("list_packets")["values"], json!([3.0, 1.0]));
    assert_eq!(report("list_packets")["kind"], "counter");
}
