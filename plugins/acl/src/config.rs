//! The section `[acl]` of the configuration.

use std::collections::BTreeMap;

use raddle_plugin_api::config::InRange;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::link_rule::{MacRule, ethertype};
use crate::name::check_name;
use crate::rule::{Addresses, Rule};
use crate::rule_text::prefix;
use crate::session::{Lifetime, Timeouts};

/// The section `[acl]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", try_from = "Section")]
#[schemars(with = "Section")]
pub struct AclConfig {
    /// Sessions of all interfaces, of each version of IP.
    #[serde(skip_serializing_if = "is_default")]
    pub max_sessions: MaxSessions,
    /// Log lines a second of each node of each thread, for rules that are marked.
    #[serde(skip_serializing_if = "is_default")]
    pub log_rate: LogRate,
    /// How long sessions last that are not used.
    #[serde(skip_serializing_if = "is_default")]
    pub timeouts: TimeoutsConfig,
    /// Named sets of addresses and prefixes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sets: BTreeMap<String, Vec<String>>,
    /// Named lists of rules.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lists: BTreeMap<String, Vec<String>>,
    /// Named lists of MAC-IP rules.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mac_lists: BTreeMap<String, Vec<String>>,
    /// What is applied, by name of the interface.
    #[serde(rename = "interface", skip_serializing_if = "BTreeMap::is_empty")]
    pub interfaces: BTreeMap<String, InterfaceRules>,
}

/// A number of sessions that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct MaxSessions(InRange<64, 16_777_216>);

impl Default for MaxSessions {
    fn default() -> Self {
        Self(const { InRange::new(1_048_576).expect("it is within the bounds") })
    }
}

impl MaxSessions {
    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

/// Log lines a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct LogRate(InRange<0, 10_000>);

impl Default for LogRate {
    fn default() -> Self {
        Self(const { InRange::new(10).expect("it is within the bounds") })
    }
}

impl LogRate {
    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How long sessions last that are not used, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TimeoutsConfig {
    /// UDP.
    pub udp: Seconds,
    /// TCP whose handshake is not over.
    pub tcp_transient: Seconds,
    /// TCP that is established.
    pub tcp_established: Seconds,
    /// TCP that both sides have ended, or one has reset.
    pub tcp_closing: Seconds,
    /// ICMP queries.
    pub icmp: Seconds,
    /// All other protocols.
    pub other: Seconds,
}

impl Default for TimeoutsConfig {
    fn default() -> Self {
        Self {
            udp: Seconds(300.0),
            tcp_transient: Seconds(240.0),
            tcp_established: Seconds(7440.0),
            tcp_closing: Seconds(30.0),
            icmp: Seconds(60.0),
            other: Seconds(300.0),
        }
    }
}

impl TimeoutsConfig {
    /// The same in ns.
    pub fn timeouts(&self) -> Timeouts {
        Timeouts::new(|lifetime| {
            let seconds = match lifetime {
                Lifetime::Udp => self.udp,
                Lifetime::TcpTransient => self.tcp_transient,
                Lifetime::TcpEstablished => self.tcp_established,
                Lifetime::TcpClosing => self.tcp_closing,
                Lifetime::Icmp => self.icmp,
                Lifetime::Other => self.other,
            };
            seconds.nanoseconds()
        })
    }
}

/// A time in seconds: 0.05 to 604,800, a week.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "f64")]
pub struct Seconds(#[schemars(range(min = 0.05, max = 604_800.0))] f64);

impl Seconds {
    fn nanoseconds(self) -> u64 {
        (self.0 * 1e9) as u64
    }
}

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Self, String> {
        if (0.05..=604_800.0).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err(format!("{seconds} seconds, which is not between 0.05 and 604800"))
        }
    }
}

/// What is applied to an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct InterfaceRules {
    /// Lists for packets that come in, in order.
    #[serde(rename = "in", skip_serializing_if = "Vec::is_empty")]
    pub input: Vec<String>,
    /// Lists for packets that leave, in order.
    #[serde(rename = "out", skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
    /// The list of MAC-IP rules for what comes in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_list: Option<String>,
    /// The ethertypes that may come in, by name (`ip4`, `ip6`, `arp`, …) or as `0x88cc`; all, if there is no list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ethertypes: Option<Vec<String>>,
    /// Sessions that the interface may have, of both versions of IP; `max-sessions` of the section, if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
}

impl InterfaceRules {
    /// Whether nothing is applied.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The section as it stands in the file.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Section {
    /// Sessions of all interfaces, of each version of IP.
    max_sessions: MaxSessions,
    /// Log lines a second of each node of each thread, for rules that are marked.
    log_rate: LogRate,
    /// How long sessions last that are not used, in seconds.
    timeouts: TimeoutsConfig,
    /// Named sets of addresses and prefixes.
    sets: BTreeMap<Name, Vec<PrefixText>>,
    /// Named lists of rules, such as `permit tcp from any to @servers port 80,443`.
    lists: BTreeMap<Name, Vec<RuleText>>,
    /// Named lists of MAC-IP rules, such as `permit 02:00:00:00:00:01 10.0.0.0/24`.
    mac_lists: BTreeMap<Name, Vec<MacRuleText>>,
    /// What is applied, by name of the interface.
    interface: BTreeMap<String, InterfaceRules>,
}

/// A text that a check has read: what is wrong is told where it stands.
macro_rules! checked_text {
    ($(#[$meta:meta])* $name:ident, $check:expr) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
        #[serde(try_from = "String")]
        struct $name(String);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let check: fn(&str) -> Result<(), String> = $check;
                check(&text).map(|()| Self(text))
            }
        }
    };
}

checked_text! { Name, |text| check_name(text).map_err(|wrong| wrong.to_string()) }
checked_text! { PrefixText, |text| prefix(text).map(drop).map_err(|wrong| wrong.to_string()) }
checked_text! { RuleText, |text| text.parse::<Rule>().map(drop).map_err(|wrong| wrong.to_string()) }
checked_text! { MacRuleText, |text| text.parse::<MacRule>().map(drop).map_err(|wrong| wrong.to_string()) }

impl TryFrom<Section> for AclConfig {
    type Error = String;

    fn try_from(section: Section) -> Result<Self, String> {
        let Section { max_sessions, log_rate, timeouts, sets, lists, mac_lists, interface: interfaces } =
            section;
        let sets = sets.into_iter().map(|(name, set)| (name.0, set.into_iter().map(|text| text.0).collect()));
        let lists =
            lists.into_iter().map(|(name, list)| (name.0, list.into_iter().map(|text| text.0).collect()));
        let mac_lists =
            mac_lists.into_iter().map(|(name, list)| (name.0, list.into_iter().map(|text| text.0).collect()));
        let config = Self {
            max_sessions,
            log_rate,
            timeouts,
            sets: sets.collect(),
            lists: lists.collect(),
            mac_lists: mac_lists.collect(),
            interfaces,
        };
        config.check()?;
        Ok(config)
    }
}

impl AclConfig {
    /// Whether all that is referred to is there.
    fn check(&self) -> Result<(), String> {
        for (name, list) in &self.lists {
            for (number, text) in list.iter().enumerate() {
                let rule: Rule = text.parse().map_err(|wrong| format!("list `{name}`: {wrong}"))?;
                for side in [&rule.from, &rule.to] {
                    if let Addresses::Set(set) = &side.addresses
                        && !self.sets.contains_key(set)
                    {
                        return Err(format!(
                            "rule {} of list `{name}` names the set `{set}`, which is not there",
                            number + 1
                        ));
                    }
                }
            }
        }
        for (interface, rules) in &self.interfaces {
            for list in rules.input.iter().chain(&rules.output) {
                if !self.lists.contains_key(list) {
                    return Err(format!(
                        "interface `{interface}` names the list `{list}`, which is not there"
                    ));
                }
            }
            if let Some(list) = rules.mac_list.as_ref().filter(|list| !self.mac_lists.contains_key(*list)) {
                return Err(format!(
                    "interface `{interface}` names the MAC list `{list}`, which is not there"
                ));
            }
            for text in rules.ethertypes.iter().flatten() {
                ethertype(text).map_err(|wrong| format!("interface `{interface}`: {wrong}"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::config::parse_section;

    use super::*;

    fn read(text: &str) -> Result<AclConfig, String> {
        parse_section(text, "acl").map(Option::unwrap_or_default).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_reads_as_the_same() {
        let text = r#"
[acl]
max-sessions = 1000
[acl.timeouts]
udp = 30
[acl.sets]
servers = ["10.0.0.0/24", "2001:db8::1"]
[acl.lists]
wan-in = ["permit tcp from any to @servers port 80,443", "deny ip log"]
[acl.mac-lists]
lan = ["permit 02:00:00:00:00:01 10.0.0.5/32"]
[acl.interface.wan]
in = ["wan-in"]
mac-list = "lan"
ethertypes = ["ip4", "arp", "0x88cc"]
"#;
        let config = read(text).unwrap();
        let again: AclConfig = serde_json::from_value(serde_json::to_value(&config).unwrap()).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&config).unwrap());
        assert_eq!(config.timeouts.timeouts().of(Lifetime::Udp), 30_000_000_000);
        assert!(serde_json::to_value(AclConfig::default()).unwrap().as_object().unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_where_it_stands() {
        for (text, said) in [
            ("[acl.lists]\na = [\"permit tpc\"]", "unknown word `tpc`; did you mean `tcp`?"),
            (
                "[acl.lists]\na = [\"permit ip from @x\"]",
                "rule 1 of list `a` names the set `x`, which is not there",
            ),
            ("[acl.interface.wan]\nin = [\"a\"]", "interface `wan` names the list `a`, which is not there"),
            (
                "[acl.interface.wan]\nmac-list = \"a\"",
                "interface `wan` names the MAC list `a`, which is not there",
            ),
            ("[acl.sets]\n\"a b\" = []", "`a b` is not a name"),
            ("[acl.timeouts]\nudp = 0", "0 seconds, which is not between 0.05 and 604800"),
            ("[acl]\nmax-session = 1", "unknown key `max-session`; did you mean `max-sessions`?"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
