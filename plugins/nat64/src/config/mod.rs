//! The section `[nat64]` of the configuration: `text.rs` reads what stands in it as text, `rules.rs` makes of it what nodes go by.

mod rules;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use raddle_plugin_api::config::InRange;
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::{Ip4Prefix, Ip6Prefix};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use rules::Surroundings;
pub use text::{PoolText, PrefixText};

use crate::log::{IpfixTarget, LogWhat, Targets};
use crate::state::Filtering;
use crate::translate::Nat64Prefix;

/// The section.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Nat64Config {
    /// NAT64 prefixes: /32, /40, /48, /56, /64 or /96 (RFC 6052).
    pub prefixes: Vec<PrefixText>,
    /// IPv4 addresses that hosts inside share: addresses, prefixes, or ranges such as 192.0.2.1-192.0.2.9.
    pub pool: Vec<PoolText>,
    /// Interfaces whose own IPv4 addresses hosts inside share, too, as they come and go.
    pub pool_interfaces: Vec<String>,
    /// Interfaces whose packets are translated, on both sides; all, if none is named.
    pub interfaces: Vec<String>,
    /// Which packets from outside may use a binding.
    pub filtering: Filtering,
    /// Sessions at a time, of all workers together. A change takes effect at the next start.
    pub max_sessions: InRange<64, 67_108_864>,
    /// How long sessions live without packets.
    pub timeouts: TimeoutConfig,
    /// What a subscriber may have.
    pub subscribers: SubscriberConfig,
    /// How ports that came back come into use again.
    pub port_reuse: PortReuseConfig,
    /// Mappings that always hold.
    #[serde(rename = "static")]
    pub statics: Vec<StaticConfig>,
    /// Customers with prefixes, pools and routing tables of their own, by their names.
    pub tenant: BTreeMap<String, TenantConfig>,
    /// Explicit address mappings without state (RFC 7757).
    pub eam: Vec<EamConfig>,
    /// Interfaces whose hosts may ask raddle for bindings, by the Port Control Protocol (RFC 6887); none, if none is named. One that
    /// comes later is taken up then.
    pub pcp: Vec<String>,
    /// IPv4 addresses by which routers inside send ICMP errors to hosts outside, each time another one, as they have none of their own
    /// (RFC 6791): addresses, prefixes, or ranges. Without any they send as the host behind them does.
    pub hop_addresses: Vec<PoolText>,
    /// Whether such an error names the router's own IPv6 address (RFC 6791 section 4, RFC 5837).
    pub hop_names: bool,
    /// What becomes of UDP datagrams from outside that have no checksum.
    pub udp_zero_checksum: ZeroChecksum,
    /// What becomes of TCP connections from outside that nobody inside asked for.
    pub incoming_syn: IncomingSyn,
    /// Whether the well-known prefix 64:ff9b::/96 may stand for private IPv4 addresses, which RFC 6052 forbids.
    pub translate_non_global: bool,
    /// IPv6 packets larger than this are cut, if they came without "don't fragment".
    pub lowest_ipv6_mtu: InRange<1280, 65_535>,
    /// The session log.
    pub log: Option<LogConfig>,
}

impl Nat64Config {
    /// Whether there is anything to translate with. Where not, as without a section, the plugin leaves all packets alone.
    pub fn is_used(&self) -> bool {
        let has_pool = |pool: &[PoolText], interfaces: &[String]| !(pool.is_empty() && interfaces.is_empty());
        has_pool(&self.pool, &self.pool_interfaces)
            || self.tenant.values().any(|tenant| has_pool(&tenant.pool, &tenant.pool_interfaces))
            || !(self.statics.is_empty() && self.eam.is_empty())
    }

    /// Whether packets of an interface are translated.
    pub fn translates(&self, interface: &str) -> bool {
        self.is_used() && self.looks_at(interface)
    }

    /// Whether hosts of an interface may ask for bindings.
    pub fn answers(&self, interface: &str) -> bool {
        self.translates(interface) && self.pcp.iter().any(|name| name == interface)
    }

    fn looks_at(&self, interface: &str) -> bool {
        self.interfaces.is_empty() || self.interfaces.iter().any(|name| name == interface)
    }

    /// The routing tables that tenants name.
    pub fn tables(&self) -> impl Iterator<Item = &TableKey> {
        self.tenant.values().flat_map(|tenant| tenant.table.iter().chain(&tenant.outside_table))
    }
}

impl Default for Nat64Config {
    fn default() -> Self {
        Self {
            prefixes: vec![PrefixText(Nat64Prefix::WELL_KNOWN)],
            pool: Vec::new(),
            pool_interfaces: Vec::new(),
            interfaces: Vec::new(),
            filtering: Filtering::default(),
            max_sessions: in_range(1 << 20),
            timeouts: TimeoutConfig::default(),
            subscribers: SubscriberConfig::default(),
            port_reuse: PortReuseConfig::default(),
            statics: Vec::new(),
            tenant: BTreeMap::new(),
            eam: Vec::new(),
            pcp: Vec::new(),
            hop_addresses: Vec::new(),
            hop_names: true,
            udp_zero_checksum: ZeroChecksum::default(),
            incoming_syn: IncomingSyn::default(),
            translate_non_global: false,
            lowest_ipv6_mtu: in_range(1280),
            log: None,
        }
    }
}

/// A default, which is within its bounds.
fn in_range<const MIN: u64, const MAX: u64>(number: u64) -> InRange<MIN, MAX> {
    InRange::new(number).expect("defaults are within their bounds")
}

/// Seconds without a packet after which sessions end. None is below what the RFCs allow (RFC 6146 section 4).
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TimeoutConfig {
    /// UDP (RFC 4787 REQ-5).
    pub udp: InRange<120, 86_400>,
    /// TCP with data going (RFC 5382 REQ-5).
    pub tcp_established: InRange<7440, 604_800>,
    /// TCP that begins, ends or was reset (RFC 5382 REQ-5).
    pub tcp_transitory: InRange<240, 86_400>,
    /// A SYN from outside that waits for one from inside.
    pub tcp_incoming_syn: InRange<6, 60>,
    /// ICMP queries (RFC 5508 REQ-2).
    pub icmp: InRange<60, 86_400>,
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self {
            udp: in_range(300),
            tcp_established: in_range(7440),
            tcp_transitory: in_range(240),
            tcp_incoming_syn: in_range(6),
            icmp: in_range(60),
        }
    }
}

/// What a subscriber is, and may have (RFC 6888).
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SubscriberConfig {
    /// Bits of an inside address that say whose it is: 128 makes each host a subscriber, 56 or 64 each customer's network.
    pub prefix_length: InRange<32, 128>,
    /// Sessions of a subscriber; no limit without it.
    pub max_sessions: Option<InRange<1, 4_294_967_295>>,
    /// Bindings (ports of all protocols) of a subscriber; no limit without it.
    pub max_bindings: Option<InRange<1, 4_294_967_295>>,
    /// Gives ports to subscribers in blocks of so many: 64, 128, 256, 512, 1024, 2048 or 4096. A change takes effect at the next
    /// start.
    pub port_block_size: Option<InRange<64, 4096>>,
    /// Blocks of a subscriber.
    pub max_blocks: InRange<1, 1024>,
}

impl Default for SubscriberConfig {
    fn default() -> Self {
        Self {
            prefix_length: in_range(128),
            max_sessions: None,
            max_bindings: None,
            port_block_size: None,
            max_blocks: in_range(4),
        }
    }
}

/// How ports of UDP and identifiers of ICMP queries come into use again after a host had them (RFC 6888 REQ-8).
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PortReuseConfig {
    /// Seconds for which such a port is nobody's; it may be up to twice as long. 0: none.
    pub after: InRange<0, 3600>,
    /// Ports of an address and a protocol that are nobody's at a time; others come into use again at once.
    pub max_waiting: InRange<0, 65_536>,
}

impl Default for PortReuseConfig {
    fn default() -> Self {
        Self { after: in_range(120), max_waiting: in_range(32_768) }
    }
}

/// A customer: its hosts are in a routing table of their own, where they may have addresses that others' hosts have, too.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TenantConfig {
    /// Its NAT64 prefixes; tenants in different tables may have the same ones.
    pub prefixes: Vec<PrefixText>,
    /// Its pool addresses, which are nobody else's.
    pub pool: Vec<PoolText>,
    /// Interfaces whose own IPv4 addresses are in its pool, too.
    pub pool_interfaces: Vec<String>,
    /// The routing table in which its hosts are. Without one the tenant is told by its prefixes alone.
    pub table: Option<TableKey>,
    /// The routing table in which those are whom they talk to; without one, that of the interface by which a packet comes.
    pub outside_table: Option<TableKey>,
}

impl Default for TenantConfig {
    fn default() -> Self {
        Self {
            prefixes: vec![PrefixText(Nat64Prefix::WELL_KNOWN)],
            pool: Vec::new(),
            pool_interfaces: Vec::new(),
            table: None,
            outside_table: None,
        }
    }
}

/// A mapping that always holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StaticConfig {
    /// With ports: of which protocol.
    pub protocol: Option<StaticProtocol>,
    /// The host inside: `2001:db8::1`, or `[2001:db8::1]:8080` with a protocol.
    pub inside: String,
    /// Its address outside: `192.0.2.1`, or `192.0.2.1:80` with a protocol.
    pub outside: String,
    /// The tenant whose host it is; none, if it is nobody's in particular.
    pub tenant: Option<String>,
}

/// Protocols with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StaticProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// An explicit address mapping.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EamConfig {
    /// The IPv4 prefix.
    pub ip4: Ip4Prefix,
    /// The IPv6 prefix.
    pub ip6: Ip6Prefix,
}

/// What becomes of UDP without a checksum (RFC 7915 section 4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ZeroChecksum {
    /// It is given one.
    #[default]
    Compute,
    /// It is dropped.
    Drop,
}

/// What becomes of SYNs from outside that nobody inside asked for (RFC 6146 section 3.5.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IncomingSyn {
    /// They wait for a SYN from inside, and are answered if none comes.
    #[default]
    Hold,
    /// They are dropped.
    Drop,
}

/// The session log. A change takes effect at the next start.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogConfig {
    /// The collector to which lines of syslog go over UDP (RFC 5424, RFC 5426): `[2001:db8::5]:514`.
    pub syslog: Option<SocketAddr>,
    /// The collector to which IPFIX messages go over UDP (RFC 7011, RFC 8158): `[2001:db8::5]:4739`.
    pub ipfix: Option<SocketAddr>,
    /// The observation domain in IPFIX messages, by which the collector knows this raddle.
    #[serde(default = "default_domain")]
    pub ipfix_domain: u32,
    /// Seconds after which IPFIX templates are sent again.
    #[serde(default = "default_refresh")]
    pub ipfix_template_refresh: InRange<1, 86_400>,
    /// What is logged.
    #[serde(default)]
    pub what: LogWhat,
    /// Marks at which the log says how full tables and pools are.
    #[serde(default)]
    pub thresholds: ThresholdConfig,
}

/// Marks at which the log says how full tables and pools are (RFC 8158); it says nothing of those that are not given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ThresholdConfig {
    /// Bindings of all hosts together: told when there are as many.
    pub mappings_high: Option<InRange<1, 67_108_864>>,
    /// Bindings of a subscriber: told each time that a new one makes it as many.
    pub subscriber_mappings_high: Option<InRange<1, 4_294_967_295>>,
    /// Addresses of a pool of which ports are in use: told when there are as many.
    pub pool_high: Option<InRange<1, 67_108_864>>,
    /// The same: told when there are no more than these again.
    pub pool_low: Option<InRange<0, 67_108_864>>,
}

fn default_domain() -> u32 {
    1
}

fn default_refresh() -> InRange<1, 86_400> {
    in_range(600)
}

impl LogConfig {
    /// The mark of a subscriber's bindings; no number of them is 0.
    pub fn subscriber_mark(&self) -> u32 {
        self.thresholds.subscriber_mappings_high.as_ref().map_or(0, |mark| mark.get() as u32)
    }

    /// Where the log goes.
    pub fn targets(&self) -> Targets {
        let refresh = Duration::from_secs(self.ipfix_template_refresh.get());
        let ipfix = self.ipfix.map(|collector| IpfixTarget { collector, domain: self.ipfix_domain, refresh });
        Targets { syslog: self.syslog, ipfix }
    }
}
