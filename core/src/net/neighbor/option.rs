//! What the configuration says of neighbours: `[neighbor-table]` for all interfaces, `[interface.NAME.neighbor]` for one.
#![forbid(unsafe_code)]

use raddle_plugin_api::config::InRange;
use raddle_plugin_api::wire::IpPrefix;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::Settings;

const MILLISECOND_NS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// `[neighbor-table]`: the neighbours of all interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NeighborTableConfig {
    /// Entries at most, over all interfaces; 65,536 by default.
    pub max_entries: InRange<16, 4_194_304>,
    /// What holds on interfaces that say nothing else.
    #[serde(skip_serializing_if = "is_default")]
    pub defaults: NeighborOptions,
}

impl Default for NeighborTableConfig {
    fn default() -> Self {
        Self { max_entries: number(65_536), defaults: NeighborOptions::default() }
    }
}

/// `[interface.NAME.neighbor]`: how neighbours are found on an interface, and for whom is answered there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NeighborOptions {
    /// Whether an address is tried for duplicates before it is used, or how often it is asked for; `true`, which is once,
    /// by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dad: Option<DetectionSetting>,
    /// Entries at most; 32,768 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_entries: Option<InRange<1, 4_194_304>>,
    /// Neighbours at most that are asked for at a time; 512 by default. The oldest makes room for a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_incomplete: Option<InRange<1, 65_536>>,
    /// Packets at most that wait for one neighbour; 16 by default. The oldest makes room for a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queued: Option<InRange<1, 1024>>,
    /// Packets at most that wait for all neighbours; 1,024 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queued_total: Option<InRange<1, 65_536>>,
    /// Questions a second at most to everyone on the link; 1,000 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solicitations_per_second: Option<InRange<1, 100_000>>,
    /// How often a neighbour is asked for before it counts as unreachable; 3 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solicitations: Option<InRange<1, 100>>,
    /// Milliseconds between two such questions; 1,000 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmit_ms: Option<InRange<10, 3_600_000>>,
    /// Seconds for which a neighbour counts as reachable after it was heard of; 30 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reachable_seconds: Option<InRange<1, 86_400>>,
    /// Seconds from the use of an aged entry to the question whether the neighbour is still there; 5 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<InRange<1, 3600>>,
    /// Seconds after which an aged entry that is not used is forgotten; 600 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_seconds: Option<InRange<1, 604_800>>,
    /// Prefixes for whose addresses is answered here, as if they were own ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proxy: Vec<IpPrefix>,
    /// Whether is answered here for all addresses that are reached by another interface (RFC 1027).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub proxy_routed: bool,
    /// Whether is answered for neighbours on this interface itself too, for links on which they do not hear each other
    /// (RFC 3069).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub local_proxy: bool,
}

/// How an address is tried for duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected `true`, `false`, or a number from 0 to 16")]
pub enum DetectionSetting {
    /// Once, or not at all.
    Switch(bool),
    /// That often (DupAddrDetectTransmits, RFC 4862 §5.1).
    Transmits(InRange<0, 16>),
}

impl DetectionSetting {
    /// How often the address is asked for; 0: it is used untried.
    pub fn transmits(self) -> u32 {
        match self {
            Self::Switch(on) => u32::from(on),
            // At most 16.
            Self::Transmits(count) => count.get() as u32,
        }
    }
}

impl NeighborOptions {
    /// These, and where they say nothing, `defaults`.
    pub fn or(&self, defaults: &Self) -> Self {
        Self {
            dad: self.dad.or(defaults.dad),
            max_entries: self.max_entries.or(defaults.max_entries),
            max_incomplete: self.max_incomplete.or(defaults.max_incomplete),
            max_queued: self.max_queued.or(defaults.max_queued),
            max_queued_total: self.max_queued_total.or(defaults.max_queued_total),
            solicitations_per_second: self.solicitations_per_second.or(defaults.solicitations_per_second),
            solicitations: self.solicitations.or(defaults.solicitations),
            retransmit_ms: self.retransmit_ms.or(defaults.retransmit_ms),
            reachable_seconds: self.reachable_seconds.or(defaults.reachable_seconds),
            delay_seconds: self.delay_seconds.or(defaults.delay_seconds),
            stale_seconds: self.stale_seconds.or(defaults.stale_seconds),
            proxy: if self.proxy.is_empty() { defaults.proxy.clone() } else { self.proxy.clone() },
            proxy_routed: self.proxy_routed || defaults.proxy_routed,
            local_proxy: self.local_proxy || defaults.local_proxy,
        }
    }

    /// How often an address is asked for before it is used.
    pub fn transmits(&self) -> u32 {
        self.dad.unwrap_or(DetectionSetting::Switch(true)).transmits()
    }

    /// Times and bounds of the neighbour table.
    pub fn settings(&self) -> Settings {
        let default = Settings::default();
        // Within their bounds all numbers fit, and no product overflows.
        Settings {
            max_entries: self.max_entries.map_or(default.max_entries, |n| n.get() as usize),
            max_incomplete: self.max_incomplete.map_or(default.max_incomplete, |n| n.get() as usize),
            max_queued: self.max_queued.map_or(default.max_queued, |n| n.get() as usize),
            max_queued_interface: self
                .max_queued_total
                .map_or(default.max_queued_interface, |n| n.get() as usize),
            solicitations_per_second: self
                .solicitations_per_second
                .map_or(default.solicitations_per_second, |n| n.get() as u32),
            solicitations: self.solicitations.map_or(default.solicitations, |n| n.get() as u32),
            retransmit_ns: self.retransmit_ms.map_or(default.retransmit_ns, |n| n.get() * MILLISECOND_NS),
            reachable_ns: self.reachable_seconds.map_or(default.reachable_ns, |n| n.get() * SECOND_NS),
            delay_ns: self.delay_seconds.map_or(default.delay_ns, |n| n.get() * SECOND_NS),
            stale_ns: self.stale_seconds.map_or(default.stale_ns, |n| n.get() * SECOND_NS),
        }
    }
}

fn is_default(options: &NeighborOptions) -> bool {
    *options == NeighborOptions::default()
}

/// A number of the program's own text, which is within its bounds.
fn number<const MIN: u64, const MAX: u64>(number: u64) -> InRange<MIN, MAX> {
    InRange::new(number).unwrap_or_else(|| unreachable!("{number} is within {MIN} and {MAX}"))
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::config::parse_section;

    use super::*;

    fn read(text: &str) -> Result<NeighborTableConfig, String> {
        let read = parse_section(&format!("[neighbor-table]\n{text}"), "neighbor-table");
        read.map(Option::unwrap).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_section_gives_the_defaults() {
        let config = read("").unwrap();
        assert_eq!(config, NeighborTableConfig::default());
        assert_eq!(config.defaults.settings(), Settings::default());
        assert_eq!(config.defaults.transmits(), 1);
    }

    #[test]
    fn mistakes_are_told_where_they_stand() {
        for (text, expected) in [
            ("max-entries = 3", "2:15: expected a number from 16 to 4194304, found integer `3`"),
            ("defaults.max-queued = 0", "2:23: expected a number from 1 to 1024, found integer `0`"),
            ("defaults.dad = 17", "2:16: expected `true`, `false`, or a number from 0 to 16"),
            ("defaults.dad = 'no'", "2:16: expected `true`, `false`, or a number from 0 to 16"),
            ("defaults.max-queue = 1", "2:10: unknown key `max-queue`; did you mean `max-queued`?"),
        ] {
            assert_eq!(read(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_interface_says_what_differs_from_the_defaults() {
        let config = read("defaults = { dad = false, max-queued = 3, retransmit-ms = 20 }").unwrap();
        let own: NeighborTableConfig =
            read("defaults = { dad = 2, max-queued = 5, proxy-routed = true }").unwrap();
        let both = own.defaults.or(&config.defaults);
        assert_eq!((both.transmits(), both.settings().max_queued), (2, 5));
        assert_eq!(both.settings().retransmit_ns, 20_000_000);
        assert!(both.proxy_routed && !both.local_proxy);
    }
}
