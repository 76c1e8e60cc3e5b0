//! Which traffic stays with the host.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Rules of an interface, at most.
pub const MOST_RULES: usize = 64;

/// A kind of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Those with this EtherType, behind up to two VLAN tags.
    EtherType(u16),
    /// IPv4 and IPv6 with this protocol, in IPv6 right behind the header.
    Protocol(u8),
    /// TCP (6) or UDP (17) to this port.
    To {
        /// The protocol.
        protocol: u8,
        /// The destination port.
        port: u16,
    },
    /// TCP (6) or UDP (17) from this port.
    From {
        /// The protocol.
        protocol: u8,
        /// The source port.
        port: u16,
    },
    /// IP packets to this address, and what asks for its MAC address or answers it.
    Address(IpAddr),
}

/// A rule that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no traffic: it can be `arp`, `lldp`, `icmp`, `icmp6`, `ethertype 0x88cc`, `protocol 89`, `tcp 22`, `udp 53`, \
     `tcp from 443`, `udp from 53` or `address 192.0.2.1`"
)]
pub struct RuleError(String);

const TCP: u8 = 6;
const UDP: u8 = 17;

impl std::str::FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let words: Vec<_> = text.split_whitespace().collect();
        let protocol = |word: &str| match word {
            "tcp" => Some(TCP),
            "udp" => Some(UDP),
            _ => None,
        };
        let port = |word: &str| word.parse::<u16>().ok().filter(|port| *port > 0);
        let rule = match words[..] {
            ["arp"] => Some(Self::EtherType(0x0806)),
            ["lldp"] => Some(Self::EtherType(0x88cc)),
            ["icmp"] => Some(Self::Protocol(1)),
            ["icmp6"] => Some(Self::Protocol(58)),
            ["ethertype", word] => ether_type(word).map(Self::EtherType),
            ["protocol", word] => word.parse().ok().map(Self::Protocol),
            ["address", word] => word.parse().ok().map(Self::Address),
            [name, "from", word] => {
                protocol(name).and_then(|protocol| Some(Self::From { protocol, port: port(word)? }))
            }
            [name, word] => {
                protocol(name).and_then(|protocol| Some(Self::To { protocol, port: port(word)? }))
            }
            _ => None,
        };
        rule.ok_or_else(|| RuleError(text.to_owned()))
    }
}

/// An EtherType, which is no length (IEEE 802.3 §3.2.6), nor a tag that is looked behind.
fn ether_type(word: &str) -> Option<u16> {
    let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"))?;
    let value = u16::from_str_radix(digits, 16).ok()?;
    (value >= 0x0600 && !TAGS.contains(&value)).then_some(value)
}

/// EtherTypes of VLAN tags.
pub const TAGS: [u16; 2] = [0x8100, 0x88a8];

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |protocol: u8| if protocol == TCP { "tcp" } else { "udp" };
        match *self {
            Self::EtherType(0x0806) => f.write_str("arp"),
            Self::EtherType(0x88cc) => f.write_str("lldp"),
            Self::EtherType(value) => write!(f, "ethertype {value:#06x}"),
            Self::Protocol(1) => f.write_str("icmp"),
            Self::Protocol(58) => f.write_str("icmp6"),
            Self::Protocol(value) => write!(f, "protocol {value}"),
            Self::To { protocol, port } => write!(f, "{} {port}", name(protocol)),
            Self::From { protocol, port } => write!(f, "{} from {port}", name(protocol)),
            Self::Address(address) => write!(f, "address {address}"),
        }
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Rule {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HostTraffic".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "`arp`, `lldp`, `icmp`, `icmp6`, `ethertype 0x88cc`, `protocol 89`, `tcp 22` (to port 22), `tcp from 443`, `udp 53`, `udp from 53`, or `address 192.0.2.1` (to that address)"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_as_they_are_written() {
        for text in [
            "arp",
            "lldp",
            "icmp",
            "icmp6",
            "ethertype 0x8847",
            "protocol 89",
            "tcp 22",
            "udp 53",
            "tcp from 443",
            "udp from 53",
            "address 192.0.2.1",
            "address 2001:db8::1",
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        assert_eq!("  TCP".parse::<Rule>(), Err(RuleError("  TCP".to_owned())));
        assert_eq!("ethertype 0x0806".parse::<Rule>().unwrap().to_string(), "arp");
    }

    #[test]
    fn what_names_no_traffic_is_told_what_can() {
        for text in [
            "",
            "ssh",
            "tcp",
            "tcp 0",
            "tcp 65536",
            "tcp to 22",
            "ethertype 88cc",
            "ethertype 0x0040",
            "ethertype 0x8100",
            "protocol 256",
            "address 192.0.2",
        ] {
            let error = text.parse::<Rule>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} names no traffic: it can be `arp`")), "{error}");
        }
    }
}
