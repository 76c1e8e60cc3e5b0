//! `[interface.NAME.router-advertisement]`: what hosts on a link are told (RFC 4861 §6.2.1).

use std::net::Ipv6Addr;

use raddle_plugin_api::config::{InRange, Step};
use raddle_plugin_api::wire::{Ip6Prefix, NdPref64, RouterPreference, write_domain_name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Seconds for which a prefix is on the link (AdvValidLifetime, 30 days), and for which addresses of it are preferred
/// (AdvPreferredLifetime, 7 days).
const VALID_SECONDS: u32 = 2_592_000;
const PREFERRED_SECONDS: u32 = 604_800;
/// MaxRtrAdvInterval by default, and the longest lifetime of a router (AdvDefaultLifetime), in seconds.
const MAX_INTERVAL_SECONDS: u64 = 600;
const MAX_LIFETIME_SECONDS: u64 = 9000;
const HOP_LIMIT: u8 = 64;
/// So many of each make a message that fits the smallest MTU of IPv6.
const MAX_PREFIXES: usize = 16;
const MAX_ROUTES: usize = 8;
const MAX_DNS_SERVERS: usize = 8;
const MAX_SEARCH_BYTES: usize = 160;
const MAX_PREF64: usize = 4;

/// `[interface.NAME.router-advertisement]`: that raddle is a router on the link, and what hosts are told besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RouterAdvertisementConfig {
    /// Whether it is told at all (AdvSendAdvertisements); true by default.
    #[serde(skip_serializing_if = "is_true")]
    pub enabled: bool,
    /// Seconds at most from one unasked advertisement to the next (MaxRtrAdvInterval); 600 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_interval_seconds: Option<InRange<4, 1800>>,
    /// Seconds at least (MinRtrAdvInterval); a third of `max-interval-seconds` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_interval_seconds: Option<InRange<3, 1350>>,
    /// Seconds for which hosts may use it as default router, 0: not at all (AdvDefaultLifetime); three times
    /// `max-interval-seconds` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_seconds: Option<InRange<0, 9000>>,
    /// How much hosts prefer it to other routers (RFC 4191); `medium` by default.
    #[serde(skip_serializing_if = "is_medium")]
    pub preference: Preference,
    /// Whether hosts get addresses by DHCPv6 (AdvManagedFlag).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub managed: bool,
    /// Whether hosts get other settings by DHCPv6 (AdvOtherConfigFlag).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub other: bool,
    /// Hop limit of what hosts send, 0: theirs (AdvCurHopLimit); 64 by default.
    #[serde(skip_serializing_if = "is_hop_limit")]
    pub hop_limit: u8,
    /// MTU in bytes that hosts use on the link (AdvLinkMTU); the interface's own by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<InRange<1280, 65_535>>,
    /// Milliseconds for which hosts take a neighbour for reachable, 0: theirs (AdvReachableTime).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reachable_ms: Option<InRange<0, 3_600_000>>,
    /// Milliseconds between the solicitations of hosts, 0: theirs (AdvRetransTimer).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmit_ms: Option<InRange<0, 3_600_000>>,
    /// The prefixes of the link; by default those of the interface's addresses, each for autonomous configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefixes: Option<Vec<PrefixConfig>>,
    /// Routes by this router (RFC 4191).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteConfig>,
    /// DNS servers (RFC 8106).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_servers: Vec<Ipv6Addr>,
    /// Domains in which hosts look for short names (RFC 8106).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// Seconds for which hosts use DNS servers and search list; three times `max-interval-seconds` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_lifetime_seconds: Option<u32>,
    /// Prefixes by which a translator (NAT64) reaches IPv4 (RFC 8781).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pref64: Vec<Pref64Config>,
}

/// A prefix of the link (RFC 4861 §6.2.1, AdvPrefixList).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PrefixConfig {
    /// The prefix.
    pub prefix: Ip6Prefix,
    /// Whether its addresses are on the link; true by default.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub on_link: bool,
    /// Whether hosts make addresses of it (RFC 4862); true by default.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub autonomous: bool,
    /// Seconds for which it is valid; 30 days by default. 4,294,967,295: without end.
    #[serde(default = "valid_seconds")]
    pub valid_seconds: u32,
    /// Seconds for which addresses made of it are preferred; 7 days by default.
    #[serde(default = "preferred_seconds")]
    pub preferred_seconds: u32,
}

/// A route by this router (RFC 4191).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RouteConfig {
    /// Where it leads.
    pub prefix: Ip6Prefix,
    /// How much hosts prefer it; `medium` by default.
    #[serde(default, skip_serializing_if = "is_medium")]
    pub preference: Preference,
    /// Seconds for which it is valid; the router's lifetime by default. 4,294,967,295: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_seconds: Option<u32>,
}

/// The prefix of a translator (RFC 8781).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pref64Config {
    /// The prefix, of length 32, 40, 48, 56, 64 or 96.
    pub prefix: Ip6Prefix,
    /// Seconds for which it is valid, told in steps of 8; three times `max-interval-seconds` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_seconds: Option<InRange<0, 65_528>>,
}

/// How much a router, or a route by it, is preferred (RFC 4191 §2.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preference {
    /// Used if there is no other.
    Low,
    /// As routers that do not say.
    #[default]
    Medium,
    /// Used before others.
    High,
}

impl From<Preference> for RouterPreference {
    fn from(preference: Preference) -> Self {
        match preference {
            Preference::Low => Self::Low,
            Preference::Medium => Self::Medium,
            Preference::High => Self::High,
        }
    }
}

/// Something that is wrong between the keys of a section.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, below the section.
    pub path: Vec<Step<'static>>,
    /// What.
    pub message: String,
}

impl Default for RouterAdvertisementConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            max_interval_seconds: None,
            min_interval_seconds: None,
            lifetime_seconds: None,
            preference: Preference::Medium,
            managed: false,
            other: false,
            hop_limit: HOP_LIMIT,
            mtu: None,
            reachable_ms: None,
            retransmit_ms: None,
            prefixes: None,
            routes: Vec::new(),
            dns_servers: Vec::new(),
            dns_search: Vec::new(),
            dns_lifetime_seconds: None,
            pref64: Vec::new(),
        }
    }
}

impl RouterAdvertisementConfig {
    /// MaxRtrAdvInterval in seconds.
    pub fn max_interval(&self) -> u64 {
        self.max_interval_seconds.map_or(MAX_INTERVAL_SECONDS, InRange::get)
    }

    /// MinRtrAdvInterval in seconds: at least 3, and not more than MaxRtrAdvInterval.
    pub fn min_interval(&self) -> u64 {
        let by_default = (self.max_interval() / 3).max(3);
        self.min_interval_seconds.map_or(by_default, InRange::get).min(self.max_interval())
    }

    /// AdvDefaultLifetime in seconds.
    pub fn lifetime(&self) -> u16 {
        let by_default = (3 * self.max_interval()).min(MAX_LIFETIME_SECONDS);
        // At most 9,000.
        self.lifetime_seconds.map_or(by_default, InRange::get) as u16
    }

    /// Lifetime of DNS servers and search list, in seconds.
    pub fn dns_lifetime(&self) -> u32 {
        // At most 5,400.
        self.dns_lifetime_seconds.unwrap_or(3 * self.max_interval() as u32)
    }

    /// Lifetime of a translator's prefix, in seconds.
    pub fn pref64_lifetime(&self, config: &Pref64Config) -> u16 {
        // At most 65,528.
        config.lifetime_seconds.map_or(3 * self.max_interval(), InRange::get) as u16
    }

    /// What is wrong between the keys.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut tell = |path: &[Step<'static>], message: String| {
            mistakes.push(Mistake { path: path.to_vec(), message });
        };
        let max = self.max_interval();
        // RFC 4861 §6.2.1: no more than three quarters of the longest.
        if let Some(min) = self.min_interval_seconds
            && min.get() * 4 > max * 3
        {
            let message =
                format!("expected at most three quarters of `max-interval-seconds`, which is {max}");
            tell(&[Step::Key("min-interval-seconds")], message);
        }
        if let Some(lifetime) = self.lifetime_seconds
            && (1..max).contains(&lifetime.get())
        {
            let message = format!("expected 0, or at least `max-interval-seconds`, which is {max}");
            tell(&[Step::Key("lifetime-seconds")], message);
        }
        let mut too_many = |key: &'static str, count: usize, most: usize| {
            if count > most {
                tell(&[Step::Key(key)], format!("{count} are too many for one message; at most {most}"));
            }
        };
        too_many("prefixes", self.prefixes.as_ref().map_or(0, Vec::len), MAX_PREFIXES);
        too_many("routes", self.routes.len(), MAX_ROUTES);
        too_many("dns-servers", self.dns_servers.len(), MAX_DNS_SERVERS);
        too_many("pref64", self.pref64.len(), MAX_PREF64);
        for (index, config) in self.prefixes.iter().flatten().enumerate() {
            let at = |key| [Step::Key("prefixes"), Step::Index(index), Step::Key(key)];
            let network = config.prefix.network();
            if network.is_multicast() || network.is_unicast_link_local() {
                tell(&at("prefix"), format!("`{}` is no prefix that hosts make addresses of", config.prefix));
            }
            if config.preferred_seconds > config.valid_seconds {
                let message = format!("expected at most `valid-seconds`, which is {}", config.valid_seconds);
                tell(&at("preferred-seconds"), message);
            }
            let earlier = self.prefixes.iter().flatten().take(index);
            if earlier.into_iter().any(|other| other.prefix == config.prefix) {
                tell(&at("prefix"), format!("prefix {} is listed twice", config.prefix));
            }
        }
        for (index, server) in self.dns_servers.iter().enumerate() {
            if server.is_multicast() || server.is_unspecified() || server.is_loopback() {
                let message = format!("`{server}` cannot be the address of a server");
                tell(&[Step::Key("dns-servers"), Step::Index(index)], message);
            }
        }
        let mut names = Vec::new();
        for (index, name) in self.dns_search.iter().enumerate() {
            if !write_domain_name(name, &mut names) {
                let message = format!("`{name}` is no domain name");
                tell(&[Step::Key("dns-search"), Step::Index(index)], message);
            }
        }
        if names.len() > MAX_SEARCH_BYTES {
            let message = format!("the names are too long for one message: at most {MAX_SEARCH_BYTES} bytes");
            tell(&[Step::Key("dns-search")], message);
        }
        for (index, config) in self.pref64.iter().enumerate() {
            if NdPref64::new(config.prefix, 0).is_none() {
                let path = [Step::Key("pref64"), Step::Index(index), Step::Key("prefix")];
                tell(&path, "expected a prefix of length 32, 40, 48, 56, 64 or 96".to_owned());
            }
        }
        mistakes
    }
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

fn is_medium(preference: &Preference) -> bool {
    *preference == Preference::Medium
}

fn is_hop_limit(value: &u8) -> bool {
    *value == HOP_LIMIT
}

fn valid_seconds() -> u32 {
    VALID_SECONDS
}

fn preferred_seconds() -> u32 {
    PREFERRED_SECONDS
}

/// A prefix of the interface's own, as it is told by default.
pub fn own_prefix(prefix: Ip6Prefix) -> PrefixConfig {
    PrefixConfig {
        prefix,
        on_link: true,
        // RFC 4862 §5.5.3 d: with interface identifiers of 64 bits, hosts make addresses of prefixes of 64 bits only.
        autonomous: prefix.length() == 64,
        valid_seconds: VALID_SECONDS,
        preferred_seconds: PREFERRED_SECONDS,
    }
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::config::parse_section;

    use super::*;

    fn read(text: &str) -> RouterAdvertisementConfig {
        parse_section(&format!("[ra]\n{text}"), "ra").unwrap().unwrap()
    }

    // RFC 4861 §6.2.1
    #[test]
    fn defaults_are_the_rfcs() {
        let config = read("");
        assert_eq!((config.min_interval(), config.max_interval(), config.lifetime()), (200, 600, 1800));
        let fast = read("max-interval-seconds = 4");
        assert_eq!((fast.min_interval(), fast.max_interval(), fast.lifetime()), (3, 4, 12));
        assert_eq!(read("max-interval-seconds = 1800").lifetime(), 5400);
        let prefix = read("prefixes = [{ prefix = '2001:db8::/64' }]").prefixes.unwrap()[0];
        assert!(prefix.on_link && prefix.autonomous);
        assert_eq!((prefix.valid_seconds, prefix.preferred_seconds), (2_592_000, 604_800));
        assert!(config.mistakes().is_empty() && fast.mistakes().is_empty());
    }

    #[test]
    fn mistakes_between_keys_are_found() {
        for (text, path, part) in [
            ("min-interval-seconds = 451", "min-interval-seconds", "three quarters"),
            ("lifetime-seconds = 599", "lifetime-seconds", "expected 0, or at least"),
            ("prefixes = [{ prefix = 'fe80::/64' }]", "prefixes.0.prefix", "no prefix that hosts"),
            (
                "prefixes = [{ prefix = '2001:db8::/64', valid-seconds = 1 }]",
                "prefixes.0.preferred-seconds",
                "at most `valid-seconds`",
            ),
            (
                "prefixes = [{ prefix = '2001:db8::/64' }, { prefix = '2001:db8::/64' }]",
                "prefixes.1.prefix",
                "listed twice",
            ),
            ("dns-servers = ['::']", "dns-servers.0", "cannot be the address of a server"),
            ("dns-search = ['ok', 'a..b']", "dns-search.1", "is no domain name"),
            ("pref64 = [{ prefix = '64:ff9b::/80' }]", "pref64.0.prefix", "of length 32"),
        ] {
            let mistakes = read(text).mistakes();
            let [mistake] = &mistakes[..] else { panic!("{text}: {mistakes:?}") };
            let words: Vec<_> = mistake
                .path
                .iter()
                .map(|step| match step {
                    Step::Key(key) => (*key).to_owned(),
                    Step::Index(index) => index.to_string(),
                })
                .collect();
            assert_eq!(words.join("."), path);
            assert!(mistake.message.contains(part), "{}", mistake.message);
        }
    }

    #[test]
    fn what_is_written_reads_back_as_the_same() {
        let config = read(
            "max-interval-seconds = 30\npreference = 'high'\nmtu = 1400\nprefixes = []\ndns-servers = ['2001:db8::1']\n\
             routes = [{ prefix = '2001:db8:5::/48', preference = 'low' }]\npref64 = [{ prefix = '64:ff9b::/96' }]",
        );
        let text = toml::to_string(&std::collections::BTreeMap::from([("ra", &config)])).unwrap();
        assert_eq!(parse_section(&text, "ra").unwrap(), Some(config));
    }
}
