//! Lists that are replaced: what a list says of packets is what a look at each of its rules says, before and after, the short way
//! of a frame and the long way of its packets alike.

use proptest::prelude::*;
// The plugin's registrations are in this test only if something names the crate.
use raddle_acl as _;
use raddle_plugin_api::testing::{Harness, packets};
use raddle_plugin_api::wire::TcpFlags;
use serde_json::json;

const REPLACE: &str = "acl replace <list> rules <rules:string>";

/// A rule of this test: its text, and what it says of a packet.
#[derive(Clone, Copy, Debug)]
struct Model {
    action: &'static str,
    is_tcp: Option<bool>,
    /// The third octet of the destination's /24.
    net: Option<u8>,
    /// Destination ports.
    ports: Option<(u16, u16)>,
    is_logged: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    is_tcp: bool,
    net: u8,
    port: u16,
}

impl Model {
    fn text(&self) -> String {
        let mut text = format!("{} ip4", self.action);
        text += self.is_tcp.map_or("", |is_tcp| if is_tcp { " tcp" } else { " udp" });
        match (self.net, self.ports) {
            (None, None) => {}
            (Some(net), None) => text += &format!(" to 192.0.{net}.0/24"),
            (None, Some((first, last))) => text += &format!(" to any port {first}-{last}"),
            (Some(net), Some((first, last))) => text += &format!(" to 192.0.{net}.0/24 port {first}-{last}"),
        }
        text + if self.is_logged { " log" } else { "" }
    }

    fn matches(&self, sent: &Sent) -> bool {
        self.is_tcp.is_none_or(|is_tcp| is_tcp == sent.is_tcp)
            && self.net.is_none_or(|net| net == sent.net)
            && self.ports.is_none_or(|(first, last)| (first..=last).contains(&sent.port))
    }
}

/// Whether a packet passes, by a look at each rule in turn.
fn passes(rules: &[Model], sent: &Sent) -> bool {
    rules.iter().find(|rule| rule.matches(sent)).is_some_and(|rule| rule.action == "permit")
}

fn rule() -> impl Strategy<Value = Model> {
    let ports = prop_oneof![
        2 => Just(None),
        3 => (0..8_u16, 0..4_u16).prop_map(|(first, more)| Some((first, first + more))),
    ];
    (any::<bool>(), any::<Option<bool>>(), prop::option::of(0..4_u8), ports, prop::bool::weighted(0.1))
        .prop_map(|(permits, is_tcp, net, ports, is_logged)| {
            // Ports are of protocols that have some.
            let is_tcp = if ports.is_some() { is_tcp.or(Some(true)) } else { is_tcp };
            Model { action: if permits { "permit" } else { "deny" }, is_tcp, net, ports, is_logged }
        })
}

fn sent() -> impl Strategy<Value = Sent> {
    (any::<bool>(), 0..4_u8, 0..12_u16).prop_map(|(is_tcp, net, port)| Sent { is_tcp, net, port })
}

fn bytes(number: usize, sent: &Sent) -> Vec<u8> {
    let (from, to) = ("10.0.0.2:1000".to_owned(), format!("192.0.{}.7:{}", sent.net, sent.port));
    let packet =
        if sent.is_tcp { packets::tcp(&from, &to).flags(TcpFlags::SYN) } else { packets::udp(&from, &to) };
    packet.identification(number as u16).payload([0; 20]).to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn lists_that_are_replaced_judge_as_a_scan_of_their_rules(
        lists in prop::collection::vec(prop::collection::vec(rule(), 1..40), 2..5),
        frame in prop::collection::vec(sent(), 1..100),
    ) {
        let mut host = Harness::builder()
            .config("[acl.lists]\nl = ['deny ip']\n[acl.interface.lan]\nin = ['l']")
            .interface("lan", |lan| lan)
            .build();
        host.load();
        let lan = host.interface("lan");
        let packets: Vec<_> = frame.iter().enumerate().map(|(number, sent)| bytes(number, sent)).collect();
        for rules in &lists {
            let texts: Vec<_> = rules.iter().map(Model::text).collect();
            host.command(REPLACE, json!({ "list": "l", "rules": texts.join("; ") })).unwrap();
            let run = host.run_arc("ip4-unicast", lan, packets.clone());
            let mut passed: Vec<_> = run
                .sent()
                .iter()
                .map(|sent| usize::from(u16::from_be_bytes([sent.packet.bytes()[4], sent.packet.bytes()[5]])))
                .collect();
            passed.sort_unstable();
            let meant: Vec<_> = (0..frame.len()).filter(|&at| passes(rules, &frame[at])).collect();
            prop_assert_eq!(passed, meant, "{:?}", texts);
        }
        host.assert_no_leaks();
    }
}
