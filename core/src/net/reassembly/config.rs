//! The configuration section `[reassembly]`.

use std::fmt;

use raddle_plugin_api::config;
use schemars::JsonSchema;
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};

/// `[reassembly]`: bounds of putting fragments together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReassemblyConfig {
    /// Time for all fragments of an IPv4 datagram to come, in seconds.
    #[serde(deserialize_with = "within::<1, 120, _>")]
    #[schemars(range(min = 1, max = 120))]
    pub ip4_timeout_seconds: u32,
    /// Time for all fragments of an IPv6 datagram to come, in seconds.
    #[serde(deserialize_with = "within::<1, 120, _>")]
    #[schemars(range(min = 1, max = 120))]
    pub ip6_timeout_seconds: u32,
    /// Datagrams in progress at a time, of each family, full and virtual. The oldest goes first.
    #[serde(deserialize_with = "within::<8, 1_048_576, _>")]
    #[schemars(range(min = 8, max = 1_048_576))]
    pub datagrams: u32,
    /// Datagrams in progress of one source. Its oldest goes first.
    #[serde(deserialize_with = "within::<1, 65_536, _>")]
    #[schemars(range(min = 1, max = 65_536))]
    pub datagrams_per_source: u32,
    /// Fragments of one datagram.
    #[serde(deserialize_with = "within::<2, 1024, _>")]
    #[schemars(range(min = 2, max = 1024))]
    pub fragments: u32,
    /// Buffers that fragments may hold in all, in percent of the pool.
    #[serde(deserialize_with = "within::<1, 75, _>")]
    #[schemars(range(min = 1, max = 75))]
    pub buffers_percent: u32,
}

impl Default for ReassemblyConfig {
    fn default() -> Self {
        Self {
            // RFC 1122 §3.3.2 lets it be 60 to 120 s, RFC 791 §3.2 has 15 s; today's networks are faster.
            ip4_timeout_seconds: 30,
            // RFC 8200 §4.5
            ip6_timeout_seconds: 60,
            datagrams: 4096,
            datagrams_per_source: 256,
            fragments: 128,
            buffers_percent: 25,
        }
    }
}

config! { "reassembly", ReassemblyConfig }

/// A number within bounds, both included.
fn within<'de, const LEAST: u32, const MOST: u32, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    struct Expected<const LEAST: u32, const MOST: u32>;

    impl<const LEAST: u32, const MOST: u32> serde::de::Expected for Expected<LEAST, MOST> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a number from {LEAST} to {MOST}")
        }
    }

    let number = i64::deserialize(from)?;
    u32::try_from(number)
        .ok()
        .filter(|number| (LEAST..=MOST).contains(number))
        .ok_or_else(|| D::Error::invalid_value(Unexpected::Signed(number), &Expected::<LEAST, MOST>))
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::config::parse_section;

    use super::*;

    #[test]
    fn numbers_out_of_bounds_are_told_with_their_bounds() {
        let text = "[reassembly]\nfragments = 1\n";
        let error = parse_section::<ReassemblyConfig>(text, "reassembly").unwrap_err();
        assert_eq!(error.to_string(), "2:13: expected a number from 2 to 1024, found integer `1`");
        let text = "[reassembly]\nip4-timeout-seconds = 15\nbuffers-percent = 75\n";
        let config = parse_section::<ReassemblyConfig>(text, "reassembly").unwrap().unwrap();
        let expected =
            ReassemblyConfig { ip4_timeout_seconds: 15, buffers_percent: 75, ..ReassemblyConfig::default() };
        assert_eq!(config, expected);
    }
}
