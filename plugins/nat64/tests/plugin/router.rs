//! A router of the harness with the plugin in it, and what its packets are.

use nat64 as _;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::testing::{Harness, Run, Sample};
use raddle_plugin_api::wire::{Ip4Header, Ip6Header, IpProtocol, TcpHeader, UdpHeader, checksum};
use serde_json::{Value, json};

pub const CONFIG: &str = "[nat64]\npool = ['192.0.2.1']\ninterfaces = ['lan', 'wan']\n";
pub const HOST: &str = "[2001:db8::1]:5000";
pub const SERVER6: &str = "[64:ff9b::198.51.100.2]:80";
pub const SERVER4: &str = "198.51.100.2:80";

pub const SHOW_SESSIONS: &str = "show nat64 sessions [protocol <protocol:word>] [tenant <tenant:word>] [inside <inside:word>] [outside <outside:word>] [remote <remote:word>] [count <count:u32>]";
pub const CLEAR_SESSIONS: &str = "clear nat64 sessions [protocol <protocol:word>] [tenant <tenant:word>] [inside <inside:word>] [outside <outside:word>] [remote <remote:word>]";

/// A router with two interfaces.
pub struct Router {
    pub host: Harness,
    pub lan: InterfaceIndex,
    pub wan: InterfaceIndex,
}

impl Router {
    pub fn new(config: &str) -> Self {
        Self::with_workers(config, 0)
    }

    pub fn with_workers(config: &str, workers: usize) -> Self {
        Self::made(config, workers, |_| {})
    }

    pub fn made(config: &str, workers: usize, prepare: impl FnOnce(&mut Harness)) -> Self {
        let mut host = Harness::builder()
            .config(config)
            .workers(workers)
            .interface("lan", |lan| lan)
            .interface("wan", |wan| wan)
            .build();
        host.mock("route.change", |_| Ok(json!({ "routes": 0 })));
        host.mock("address.list", |_| Ok(json!({ "addresses": [], "table": 0 })));
        prepare(&mut host);
        host.load();
        host.nodes(&["nat64-4to6-routed"]);
        let (lan, wan) = (host.interface("lan"), host.interface("wan"));
        Self { host, lan, wan }
    }

    pub fn out(&mut self, packet: impl Into<Sample>) -> Run {
        self.host.run_arc("ip6-unicast", self.lan, [packet.into()])
    }

    pub fn inward(&mut self, packet: impl Into<Sample>) -> Run {
        self.host.run_arc("ip4-unicast", self.wan, [packet.into()])
    }

    pub fn show(&mut self, what: &str) -> Value {
        let usage = match what {
            "sessions" => SHOW_SESSIONS,
            "bib" => {
                "show nat64 bib [protocol <protocol:word>] [tenant <tenant:word>] [inside <inside:word>] [outside <outside:word>] [count <count:u32>]"
            }
            "pools" => "show nat64 pools",
            _ => "show nat64 summary",
        };
        self.host.command(usage, json!({})).unwrap().json.clone()
    }
}

/// The one packet that went to a node.
pub fn sent(run: &Run, to: &str) -> Vec<u8> {
    let found = run.to(to);
    assert_eq!(found.len(), 1, "{}", run.summary());
    found[0].bytes().to_vec()
}

/// The transport checksum of an IPv4 packet is right.
pub fn is_right4(bytes: &[u8]) -> bool {
    let ip = Ip4Header::check(bytes, bytes.len()).unwrap();
    let upper = &bytes[20..usize::from(ip.total_length())];
    assert!(checksum::is_valid(&bytes[..20]));
    match ip.protocol() {
        IpProtocol::ICMP4 => checksum::is_valid(upper),
        IpProtocol::UDP => UdpHeader::is_checksum_valid(ip.pseudo_header(upper.len() as u16), upper),
        _ => TcpHeader::is_checksum_valid(ip.pseudo_header(upper.len() as u16), upper),
    }
}

/// The same of an IPv6 packet.
pub fn is_right6(bytes: &[u8]) -> bool {
    let ip = Ip6Header::check(bytes, bytes.len()).unwrap();
    let upper = &bytes[40..];
    let pseudo = ip.pseudo_header(ip.next_header(), upper.len() as u32);
    pseudo.add_bytes(upper).is_valid()
}

/// Source and destination.
pub fn addresses4(bytes: &[u8]) -> (String, String) {
    let (ip, _) = Ip4Header::parse(bytes).unwrap();
    (ip.source().to_string(), ip.destination().to_string())
}

/// The same of an IPv6 packet.
pub fn addresses6(bytes: &[u8]) -> (String, String) {
    let (ip, _) = Ip6Header::parse(bytes).unwrap();
    (ip.source().to_string(), ip.destination().to_string())
}
