//! Cases of the plugin `acl`: packets routed from `in` to `out`, with lists on what comes in.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use raddle_plugin_api::wire::{
    EtherType, EthernetHeader, Ip4Header, IpProtocol, MacAddress, TcpFlags, TcpHeader, UdpHeader,
};
use zerocopy::IntoBytes as _;

use super::cases::{
    ADDRESSES4, IN_MAC, NEXT_HOP4, NEXT_MAC, Packets, SOURCE_MAC, interfaces, neighbor, route, stream,
};
use super::rule_sets::{Flow, Kind, Pattern, rule_set};
use super::workload::{Random, Workload};

/// Flows of the stateless cases.
const FLOWS: usize = 1 << 16;
/// Where they come from, network and mask.
const FLOW_SOURCES: (u32, u32) = (0x1400_0000, 0xfff0_0000);
/// Where they go.
const FLOW_DESTINATIONS: (u32, u32) = (0x1480_0000, 0xfff0_0000);

/// Routes for all of it, the lists, and `more` of the section.
fn configuration(workers: usize, packets: &Packets<'_>, rules: &[String], more: &str) -> String {
    let mut text = interfaces(workers, &stream(packets, ""), ADDRESSES4)
        + &neighbor(NEXT_HOP4, NEXT_MAC)
        + &route("0.0.0.0/0", NEXT_HOP4)
        + "\n[acl]\n"
        + more
        + "\n[acl.interface.in]\nin = [\"case\"]\n[acl.lists]\ncase = [\n";
    for rule in rules {
        // Writing to a string does not fail.
        let _ = writeln!(text, "\"{rule}\",");
    }
    text + "]\n"
}

/// Rules of which no packet of the case meets one, and one behind them that all do.
fn missed(count: usize) -> Vec<String> {
    let missing = rule_set(Kind::Acl, count + count / 8 + 8)
        .into_iter()
        .filter(|rule| rule.misses(FLOW_SOURCES, FLOW_DESTINATIONS));
    let mut rules: Vec<_> = missing.take(count - 1).map(|rule| rule.text("deny")).collect();
    rules.push("permit ip".to_owned());
    rules
}

/// One rule, for all packets.
pub fn acl_1(workers: usize, packets: &Packets<'_>) -> String {
    configuration(workers, packets, &["permit ip".to_owned()], "")
}

/// 49 rules that miss, and one for all packets.
pub fn acl_50(workers: usize, packets: &Packets<'_>) -> String {
    acl_rules(workers, packets, 50)
}

/// 999 rules that miss, and one for all packets.
pub fn acl_1000(workers: usize, packets: &Packets<'_>) -> String {
    acl_rules(workers, packets, 1000)
}

/// 9,999 rules that miss, and one for all packets.
pub fn acl_10000(workers: usize, packets: &Packets<'_>) -> String {
    acl_rules(workers, packets, 10_000)
}

/// Flows that meet none of the rules: between any hosts of two networks that no rule names.
pub fn random_flows() -> Workload {
    flows(FLOWS)
}

pub(super) fn flows(count: usize) -> Workload {
    let mut random = Random(50);
    let frames = (0..count).map(|_| {
        frame(&Flow {
            source: FLOW_SOURCES.0 | random.below(1 << 20) as u32,
            destination: FLOW_DESTINATIONS.0 | random.below(1 << 20) as u32,
            source_port: 1024 + random.below(60_000) as u16,
            destination_port: 1 + random.below(1023) as u16,
            protocol: if random.below(2) == 0 { 6 } else { 17 },
            flags: TcpFlags::SYN.0,
        })
    });
    Workload::of_frames(frames.collect())
}

macro_rules! rule_set_cases {
    ($($name:ident, $flows:ident, $kind:expr, $count:literal;)*) => {
        $(
            /// A rule set, all of it permitted.
            pub fn $name(workers: usize, packets: &Packets<'_>) -> String {
                let mut rules: Vec<_> = rule_set($kind, $count).iter().map(|rule| rule.text("permit")).collect();
                rules.push("deny ip".to_owned());
                configuration(workers, packets, &rules, "")
            }

            /// Packets each of which some rule of the set matches.
            pub fn $flows() -> Workload {
                of_rules(&rule_set($kind, $count))
            }
        )*
    };
}

rule_set_cases! {
    acl_kind_50, acl_kind_50_flows, Kind::Acl, 50;
    acl_kind_1k, acl_kind_1k_flows, Kind::Acl, 1_000;
    acl_kind_10k, acl_kind_10k_flows, Kind::Acl, 10_000;
    fw_kind_50, fw_kind_50_flows, Kind::Fw, 50;
    fw_kind_1k, fw_kind_1k_flows, Kind::Fw, 1_000;
    fw_kind_10k, fw_kind_10k_flows, Kind::Fw, 10_000;
    ipc_kind_50, ipc_kind_50_flows, Kind::Ipc, 50;
    ipc_kind_1k, ipc_kind_1k_flows, Kind::Ipc, 1_000;
    ipc_kind_10k, ipc_kind_10k_flows, Kind::Ipc, 10_000;
}

fn of_rules(rules: &[Pattern]) -> Workload {
    let mut random = Random(51);
    let frames = (0..FLOWS).map(|_| {
        let rule = &rules[random.below(rules.len() as u64) as usize];
        frame(&rule.flow(&mut random))
    });
    Workload::of_frames(frames.collect())
}

/// As many rules as said, of which all but the last miss.
pub(super) fn acl_rules(workers: usize, packets: &Packets<'_>, count: usize) -> String {
    configuration(workers, packets, &missed(count), "")
}

/// One rule that begins sessions.
pub fn acl_reflect(workers: usize, packets: &Packets<'_>) -> String {
    configuration(workers, packets, &["reflect ip".to_owned()], "max-sessions = 2097152")
}

/// Ten thousand flows, in random order.
pub fn flows_10k() -> Workload {
    flows(10_000)
}

/// A million flows, in random order.
pub fn flows_1m() -> Workload {
    flows(1_000_000)
}

/// Sessions that end before their flow's next packet comes, so that each packet begins one.
pub fn acl_reflect_create(workers: usize, packets: &Packets<'_>) -> String {
    let more = "max-sessions = 2097152\ntimeouts = { udp = 0.05, tcp-transient = 0.05 }";
    configuration(workers, packets, &["reflect ip".to_owned()], more)
}

/// The commands that replace a list of ten thousand rules, again and again.
pub fn updates() -> Vec<(&'static str, serde_json::Value)> {
    let rules = missed(10_000).join(";");
    vec![("acl replace", serde_json::json!({ "list": "case", "rules": rules }))]
}

/// A frame of 64 bytes without FCS.
fn frame(flow: &Flow) -> Vec<u8> {
    const BYTES: usize = 64;
    let [source, router]: [MacAddress; 2] =
        [SOURCE_MAC, IN_MAC].map(|mac| mac.parse().expect("the constants are addresses"));
    let mut frame = EthernetHeader::new(router, source, EtherType::IP4).as_bytes().to_vec();
    let length = BYTES - EthernetHeader::LENGTH - Ip4Header::LENGTH;
    let (from, to) = (Ipv4Addr::from_bits(flow.source), Ipv4Addr::from_bits(flow.destination));
    let ip = Ip4Header::new(IpProtocol(flow.protocol), from.into(), to.into(), length).expect("it is short");
    frame.extend(ip.as_bytes());
    match IpProtocol(flow.protocol) {
        IpProtocol::TCP => {
            let tcp = TcpHeader::new(flow.source_port, flow.destination_port, 1, 0, TcpFlags(flow.flags));
            frame.extend(tcp.as_bytes());
        }
        IpProtocol::UDP => {
            let udp = UdpHeader::new(flow.source_port, flow.destination_port, length - UdpHeader::LENGTH);
            frame.extend(udp.expect("it is short").as_bytes());
        }
        _ => frame.extend([flow.flags, 0, 0, 0, 0, 1, 0, 1]),
    }
    frame.resize(BYTES, 0);
    frame
}
