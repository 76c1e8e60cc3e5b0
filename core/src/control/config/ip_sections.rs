//! The sections of the configuration file that say how raddle deals with IP packets beyond forwarding them: `[icmp]`, `[ip4]`,
//! `[martians]`, and `urpf` of interfaces. Every default serves.

use raddle_plugin_api::wire::IpPrefix;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[icmp]`: limits of what is sent on account of one interface's packets. Workers have equal shares of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct IcmpConfig {
    /// ICMP errors a second.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub rate: u32,
    /// ICMP errors at once after a rest.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: u32,
    /// Redirects a second.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub redirect_rate: u32,
    /// TCP resets a second.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub reset_rate: u32,
}

impl Default for IcmpConfig {
    fn default() -> Self {
        Self { rate: 1000, burst: 100, redirect_rate: 10, reset_rate: 1000 }
    }
}

/// `[ip4]`: IPv4 options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ip4Config {
    /// What becomes of packets with options.
    pub options: Ip4Options,
    /// What becomes of packets with a source route, which is never followed.
    pub source_route: SourceRoute,
}

/// What becomes of packets with options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ip4Options {
    /// They are forwarded with their options untouched.
    #[default]
    Ignore,
    /// Record route and timestamp are filled in.
    Process,
    /// They are dropped.
    Drop,
}

/// What becomes of packets with a source route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceRoute {
    /// Dropped; the sender is told "source route failed".
    #[default]
    Reject,
    /// Dropped silently.
    Drop,
}

/// `[martians]`: packets with special-purpose addresses (RFC 6890).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MartiansConfig {
    /// Whether they are looked for on interfaces that say nothing of it.
    pub check: bool,
    /// Prefixes whose addresses are like any other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<IpPrefix>,
    /// Prefixes whose addresses may not be in packets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<IpPrefix>,
}

/// `urpf` of an interface: whether sources are checked by the way back to them (RFC 3704).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct UrpfConfig {
    /// How IPv4 sources are checked.
    pub ip4: Urpf,
    /// How IPv6 sources are checked.
    pub ip6: Urpf,
    /// Whether the default route counts as a way back.
    pub allow_default: bool,
    /// Whether senders are told by ICMP that the check failed.
    pub notify: bool,
}

impl Default for UrpfConfig {
    fn default() -> Self {
        Self { ip4: Urpf::Off, ip6: Urpf::Off, allow_default: true, notify: false }
    }
}

/// How sources are checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Urpf {
    /// Not at all.
    #[default]
    Off,
    /// There must be a route to the source.
    Loose,
    /// The route to the source must lead out by the interface that the packet came in by.
    Strict,
}
