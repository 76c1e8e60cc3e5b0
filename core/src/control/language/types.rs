//! Types of command arguments: how their text is read, and what they are called.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use raddle_plugin_api::wire::{InterfaceAddress, MacAddress};
use serde_json::Value;

/// The type of an argument in a usage string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgumentType {
    /// One word (`word`, the default): a string.
    Word,
    /// Text (`string`): one quoted token, or at the end of a usage the rest of the line as it was typed.
    Text,
    /// A whole number (`u16`, `u32`, `u64`), optionally within bounds, both included (`<n:u32:1..256>`). Hexadecimal
    /// with `0x`.
    Number {
        /// Bits of the type: 16, 32 or 64.
        bits: u8,
        /// Least value.
        min: u64,
        /// Greatest value.
        max: u64,
    },
    /// An IPv4 or IPv6 address (`ip`): a string in canonical form.
    Ip,
    /// An IPv4 address (`ip4`).
    Ip4,
    /// An IPv6 address (`ip6`).
    Ip6,
    /// An address with a prefix length (`prefix`), host bits kept.
    Prefix,
    /// An IPv4 prefix (`ip4-prefix`).
    Ip4Prefix,
    /// An IPv6 prefix (`ip6-prefix`).
    Ip6Prefix,
    /// An Ethernet address (`mac`).
    Mac,
    /// The name of an interface (`interface`); whether it exists is for the command to say.
    Interface,
    /// The name of a graph node (`node`).
    Node,
    /// The name of a plugin (`plugin`).
    Plugin,
    /// A path in the file system (`path`).
    Path,
    /// A time span (`duration`), `10s`, `500ms`, `1m30s`: a number of nanoseconds.
    Duration,
    /// `on` or `off` (`on-off`): a boolean.
    OnOff,
}

/// Names of all types, as they stand in usage strings.
pub const TYPE_NAMES: &[&str] = &[
    "word",
    "string",
    "u16",
    "u32",
    "u64",
    "ip",
    "ip4",
    "ip6",
    "prefix",
    "ip4-prefix",
    "ip6-prefix",
    "mac",
    "interface",
    "node",
    "plugin",
    "path",
    "duration",
    "on-off",
];

impl ArgumentType {
    /// The type of that name; numbers with their whole range.
    pub fn by_name(name: &str) -> Option<Self> {
        let number = |bits: u8| ArgumentType::Number { bits, min: 0, max: greatest(bits) };
        Some(match name {
            "word" => ArgumentType::Word,
            "string" => ArgumentType::Text,
            "u16" => number(16),
            "u32" => number(32),
            "u64" => number(64),
            "ip" => ArgumentType::Ip,
            "ip4" => ArgumentType::Ip4,
            "ip6" => ArgumentType::Ip6,
            "prefix" => ArgumentType::Prefix,
            "ip4-prefix" => ArgumentType::Ip4Prefix,
            "ip6-prefix" => ArgumentType::Ip6Prefix,
            "mac" => ArgumentType::Mac,
            "interface" => ArgumentType::Interface,
            "node" => ArgumentType::Node,
            "plugin" => ArgumentType::Plugin,
            "path" => ArgumentType::Path,
            "duration" => ArgumentType::Duration,
            "on-off" => ArgumentType::OnOff,
            _ => return None,
        })
    }

    /// The name of the type in usage strings, without bounds.
    pub fn name(&self) -> &'static str {
        match self {
            ArgumentType::Word => "word",
            ArgumentType::Text => "string",
            ArgumentType::Number { bits: 16, .. } => "u16",
            ArgumentType::Number { bits: 32, .. } => "u32",
            ArgumentType::Number { .. } => "u64",
            ArgumentType::Ip => "ip",
            ArgumentType::Ip4 => "ip4",
            ArgumentType::Ip6 => "ip6",
            ArgumentType::Prefix => "prefix",
            ArgumentType::Ip4Prefix => "ip4-prefix",
            ArgumentType::Ip6Prefix => "ip6-prefix",
            ArgumentType::Mac => "mac",
            ArgumentType::Interface => "interface",
            ArgumentType::Node => "node",
            ArgumentType::Plugin => "plugin",
            ArgumentType::Path => "path",
            ArgumentType::Duration => "duration",
            ArgumentType::OnOff => "on-off",
        }
    }

    /// Bounds of a number, when they are narrower than its type.
    pub fn bounds(&self) -> Option<(u64, u64)> {
        match *self {
            ArgumentType::Number { bits, min, max } if min > 0 || max < greatest(bits) => Some((min, max)),
            _ => None,
        }
    }

    /// Says in words what is expected.
    pub fn describe(&self) -> String {
        match self {
            ArgumentType::Word => "a word".into(),
            ArgumentType::Text => "text".into(),
            ArgumentType::Number { min, max, .. } => format!("a number from {min} to {max}"),
            ArgumentType::Ip => "an IP address".into(),
            ArgumentType::Ip4 => "an IPv4 address".into(),
            ArgumentType::Ip6 => "an IPv6 address".into(),
            ArgumentType::Prefix => "an IP prefix (ADDRESS/LENGTH)".into(),
            ArgumentType::Ip4Prefix => "an IPv4 prefix (ADDRESS/LENGTH)".into(),
            ArgumentType::Ip6Prefix => "an IPv6 prefix (ADDRESS/LENGTH)".into(),
            ArgumentType::Mac => "a MAC address (02:fe:00:00:00:01)".into(),
            ArgumentType::Interface => "the name of an interface".into(),
            ArgumentType::Node => "the name of a node".into(),
            ArgumentType::Plugin => "the name of a plugin".into(),
            ArgumentType::Path => "a path".into(),
            ArgumentType::Duration => "a duration (10s, 500ms, 1m30s)".into(),
            ArgumentType::OnOff => "`on` or `off`".into(),
        }
    }

    /// Reads the text of a token; `None` when it is not of this type.
    pub fn read(&self, text: &str) -> Option<Value> {
        let prefix = || text.parse::<InterfaceAddress>().ok();
        Some(match *self {
            ArgumentType::Text => text.into(),
            ArgumentType::Word
            | ArgumentType::Interface
            | ArgumentType::Node
            | ArgumentType::Plugin
            | ArgumentType::Path => {
                if text.is_empty() {
                    return None;
                }
                text.into()
            }
            ArgumentType::Number { min, max, .. } => {
                read_number(text).filter(|number| (min..=max).contains(number))?.into()
            }
            ArgumentType::Ip => text.parse::<IpAddr>().ok()?.to_string().into(),
            ArgumentType::Ip4 => text.parse::<Ipv4Addr>().ok()?.to_string().into(),
            ArgumentType::Ip6 => text.parse::<Ipv6Addr>().ok()?.to_string().into(),
            ArgumentType::Prefix => prefix()?.to_string().into(),
            ArgumentType::Ip4Prefix => {
                prefix().filter(|prefix| prefix.address().is_ipv4())?.to_string().into()
            }
            ArgumentType::Ip6Prefix => {
                prefix().filter(|prefix| prefix.address().is_ipv6())?.to_string().into()
            }
            ArgumentType::Mac => text.parse::<MacAddress>().ok()?.to_string().into(),
            ArgumentType::Duration => read_duration_ns(text)?.into(),
            ArgumentType::OnOff => match text {
                "on" => true.into(),
                "off" => false.into(),
                _ => return None,
            },
        })
    }
}

impl fmt::Display for ArgumentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self.bounds() {
            Some((min, max)) => write!(f, ":{min}..{max}"),
            None => Ok(()),
        }
    }
}

/// The greatest number of `bits` bits.
pub(super) fn greatest(bits: u8) -> u64 {
    match bits {
        16 => u16::MAX.into(),
        32 => u32::MAX.into(),
        _ => u64::MAX,
    }
}

fn read_number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // `from_str_radix` takes a sign.
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// Reads `1m30s` and the like; the units are h, m, s, ms, us and ns, each part a whole number.
fn read_duration_ns(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let unit_ns: u64 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit_ns)?)?;
        rest = next;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_name_leads_to_its_type_and_back() {
        for name in TYPE_NAMES {
            assert_eq!(ArgumentType::by_name(name).unwrap().to_string(), *name);
        }
        assert_eq!(ArgumentType::by_name("u8"), None);
    }

    #[test]
    fn reads_values_of_each_type() {
        let cases = [
            ("word", "a-b", json!("a-b")),
            ("string", "", json!("")),
            ("u16", "65535", json!(65535)),
            ("u32", "0x10", json!(16)),
            ("u64", "18446744073709551615", json!(u64::MAX)),
            ("ip", "2001:DB8:0::1", json!("2001:db8::1")),
            ("ip4", "10.0.0.1", json!("10.0.0.1")),
            ("ip6", "::1", json!("::1")),
            ("prefix", "10.0.0.1/24", json!("10.0.0.1/24")),
            ("ip4-prefix", "0.0.0.0/0", json!("0.0.0.0/0")),
            ("ip6-prefix", "::/0", json!("::/0")),
            ("mac", "02:FE:00:00:00:01", json!("02:fe:00:00:00:01")),
            ("mac", "02-fe-00-00-00-01", json!("02:fe:00:00:00:01")),
            ("interface", "tap0", json!("tap0")),
            ("path", "/tmp/x y", json!("/tmp/x y")),
            ("duration", "500ms", json!(500_000_000)),
            ("duration", "1m30s", json!(90_000_000_000_u64)),
            ("on-off", "on", json!(true)),
        ];
        for (name, text, value) in cases {
            assert_eq!(ArgumentType::by_name(name).unwrap().read(text), Some(value), "{name} {text}");
        }
    }

    #[test]
    fn refuses_what_is_not_of_the_type() {
        let cases: &[(&str, &[&str])] = &[
            ("word", &[""]),
            ("u16", &["65536", "-1", "+1", "", "1.5", "x", "0x", "0x+1", "1 "]),
            ("u32", &["4294967296"]),
            ("u64", &["18446744073709551616"]),
            ("ip", &["10.0.0", "10.0.0.1/24", "x"]),
            ("ip4", &["::1"]),
            ("ip6", &["10.0.0.1"]),
            ("ip4-prefix", &["::/0", "10.0.0.1", "10.0.0.0/33"]),
            ("ip6-prefix", &["0.0.0.0/0"]),
            ("mac", &["02:fe", "02:fe:00:00:00:1", "02:fe:00:00:00:0g"]),
            ("duration", &["", "10", "s", "10x", "-1s", "99999999999999h", "1s2"]),
            ("on-off", &["yes", "1", ""]),
        ];
        for (name, texts) in cases {
            for text in *texts {
                assert_eq!(ArgumentType::by_name(name).unwrap().read(text), None, "{name} {text}");
            }
        }
    }
}
