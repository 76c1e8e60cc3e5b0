//! Values of fields in a template: one, a range, or a prefix; counted up or drawn at random.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use raddle_plugin_api::wire::MacAddress;

/// How a field that has several values goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One after the other, each this far from the one before; then from the start again.
    Step(u64),
    /// By chance.
    Random,
}

/// What kind of number a field holds: how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number of so many bits, in decimal or, with `0x`, hexadecimal.
    Number(u32),
    /// A MAC address.
    Mac,
    /// An IPv4 address.
    Ip4,
    /// An IPv6 address.
    Ip6,
}

impl Kind {
    /// Bits of the number.
    pub fn bits(self) -> u32 {
        match self {
            Kind::Number(bits) => bits,
            Kind::Mac => 48,
            Kind::Ip4 => 32,
            Kind::Ip6 => 128,
        }
    }

    /// What it is called in messages.
    pub fn noun(self) -> String {
        match self {
            Kind::Number(bits) => format!("a number from 0 to {}", last_of(bits)),
            Kind::Mac => "a MAC address".into(),
            Kind::Ip4 => "an IPv4 address".into(),
            Kind::Ip6 => "an IPv6 address".into(),
        }
    }

    fn parse(self, text: &str) -> Option<u128> {
        match self {
            Kind::Number(bits) => {
                let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |hex| (hex, 16));
                if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                u128::from_str_radix(digits, radix).ok().filter(|&value| value <= last_of(bits))
            }
            Kind::Mac => {
                let MacAddress([a, b, c, d, e, f]) = text.parse().ok()?;
                Some(u128::from(u64::from_be_bytes([0, 0, a, b, c, d, e, f])))
            }
            Kind::Ip4 => text.parse::<Ipv4Addr>().ok().map(|address| u128::from(address.to_bits())),
            Kind::Ip6 => text.parse::<Ipv6Addr>().ok().map(Ipv6Addr::to_bits),
        }
    }

    fn print(self, value: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Number(_) => write!(f, "{value}"),
            Kind::Mac => {
                let [.., a, b, c, d, e, g] = value.to_be_bytes();
                write!(f, "{}", MacAddress([a, b, c, d, e, g]))
            }
            Kind::Ip4 => write!(f, "{}", Ipv4Addr::from_bits(value as u32)),
            Kind::Ip6 => write!(f, "{}", Ipv6Addr::from_bits(value)),
        }
    }
}

/// The largest number of so many bits.
pub fn last_of(bits: u32) -> u128 {
    if bits >= 128 { u128::MAX } else { (1 << bits) - 1 }
}

/// Which values a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// This one.
    One(u128),
    /// From the first to the last, both included; fewer than 2^64 apart.
    Range {
        /// The first.
        first: u128,
        /// The last.
        last: u128,
        /// In which order.
        mode: Mode,
    },
    /// Any address of a prefix, at random.
    Prefix {
        /// The prefix's address, without bits behind its length.
        network: u128,
        /// Its length.
        length: u32,
    },
}

/// A field's values and how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// How they are written.
    pub kind: Kind,
    /// Which they are.
    pub span: Span,
}

/// Why a text is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not what the field holds.
    #[error("`{text}` is not {noun}")]
    Not {
        /// What was given.
        text: String,
        /// What is wanted.
        noun: String,
    },
    /// A range from a larger to a smaller value.
    #[error("range `{0}` ends before it starts")]
    Backward(String),
    /// A range of 2^64 values or more.
    #[error("range `{0}` has 2^64 values or more; use a prefix with `random`")]
    Wide(String),
    /// A prefix length beyond the address.
    #[error("`{0}` has no good prefix length")]
    PrefixLength(String),
    /// A step of zero or no number.
    #[error("step `{0}` is not a number from 1 up")]
    Step(String),
    /// `random` or `step` behind a single value.
    #[error("`{0}` is one value: `{1}` goes with a range or prefix")]
    Single(String, String),
    /// `random` alone for a field whose whole range makes no sense.
    #[error("`random` needs a range or prefix here")]
    RandomAddress,
}

impl Value {
    /// A value that stays as it is.
    pub fn one(kind: Kind, value: u128) -> Self {
        Self { kind, span: Span::One(value) }
    }

    /// Reads the value that the words begin with; returns how many words it has.
    ///
    /// # Errors
    /// They begin with none.
    pub fn parse(kind: Kind, words: &[&str]) -> Result<(Self, usize), ValueError> {
        let text = words.first().copied().unwrap_or("");
        let (second, third) = (words.get(1).copied(), words.get(2).copied());
        if text == "random" {
            let Kind::Number(bits) = kind else { return Err(ValueError::RandomAddress) };
            let span = Span::Range { first: 0, last: last_of(bits), mode: Mode::Random };
            return Ok((Self { kind, span }, 1));
        }
        let not = || ValueError::Not { text: text.into(), noun: kind.noun() };
        let (first, last) = if let Some((network, length)) = text.split_once('/') {
            if !matches!(kind, Kind::Ip4 | Kind::Ip6) {
                return Err(not());
            }
            let address = kind.parse(network).ok_or_else(not)?;
            let length: u32 = length
                .parse()
                .ok()
                .filter(|&length| length <= kind.bits())
                .ok_or_else(|| ValueError::PrefixLength(text.into()))?;
            let host = last_of(kind.bits() - length);
            if second == Some("random") {
                let span = Span::Prefix { network: address & !host, length };
                return Ok((Self { kind, span }, 2));
            }
            (address & !host, address | host)
        } else if let Some((first, last)) = text.split_once('-') {
            (kind.parse(first).ok_or_else(not)?, kind.parse(last).ok_or_else(not)?)
        } else {
            let value = kind.parse(text).ok_or_else(not)?;
            return match second {
                Some(word @ ("random" | "step")) => Err(ValueError::Single(text.into(), word.into())),
                _ => Ok((Self::one(kind, value), 1)),
            };
        };
        if first > last {
            return Err(ValueError::Backward(text.into()));
        }
        if last - first >= u128::from(u64::MAX) {
            return Err(ValueError::Wide(text.into()));
        }
        let (mode, words) = match second {
            Some("random") => (Mode::Random, 2),
            Some("step") => {
                let step = third.unwrap_or("");
                let number = step.parse().ok().filter(|&step| step > 0);
                (Mode::Step(number.ok_or_else(|| ValueError::Step(step.into()))?), 3)
            }
            _ => (Mode::Step(1), 1),
        };
        Ok((Self { kind, span: Span::Range { first, last, mode } }, words))
    }

    /// The value, if it is a single one.
    pub fn single(&self) -> Option<u128> {
        match self.span {
            Span::One(value) => Some(value),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.span {
            Span::One(value) => self.kind.print(value, f),
            Span::Range { first, last, mode } => {
                self.kind.print(first, f)?;
                f.write_str("-")?;
                self.kind.print(last, f)?;
                match mode {
                    Mode::Step(1) => Ok(()),
                    Mode::Step(step) => write!(f, " step {step}"),
                    Mode::Random => f.write_str(" random"),
                }
            }
            Span::Prefix { network, length } => {
                self.kind.print(network, f)?;
                write!(f, "/{length} random")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: Kind, text: &str) -> Result<String, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match Value::parse(kind, &words) {
            Ok((value, count)) => {
                assert_eq!(count, words.len(), "{text}");
                Ok(value.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn values_are_read_and_written() {
        let cases: &[(Kind, &str, &str)] = &[
            (Kind::Number(16), "80", "80"),
            (Kind::Number(16), "0xff", "255"),
            (Kind::Number(16), "1-9", "1-9"),
            (Kind::Number(16), "1-9 step 2", "1-9 step 2"),
            (Kind::Number(16), "1-9 random", "1-9 random"),
            (Kind::Number(16), "random", "0-65535 random"),
            (Kind::Mac, "02:00:00:00:00:01-02:00:00:00:00:ff", "02:00:00:00:00:01-02:00:00:00:00:ff"),
            (Kind::Ip4, "10.0.0.9", "10.0.0.9"),
            (Kind::Ip4, "10.0.0.0/30", "10.0.0.0-10.0.0.3"),
            (Kind::Ip4, "10.1.2.3/8 random", "10.0.0.0/8 random"),
            (Kind::Ip6, "2001:db8::1-2001:db8::ff", "2001:db8::1-2001:db8::ff"),
            (Kind::Ip6, "2001:db8::/32 random", "2001:db8::/32 random"),
            (Kind::Ip6, "::/0 random", "::/0 random"),
        ];
        for (kind, text, printed) in cases {
            assert_eq!(parse(*kind, text), Ok((*printed).to_owned()), "{text}");
        }
    }

    #[test]
    fn wrong_values_are_refused_with_the_reason() {
        let cases: &[(Kind, &str, &str)] = &[
            (Kind::Number(8), "256", "`256` is not a number from 0 to 255"),
            (Kind::Number(8), "-1", "`-1` is not a number from 0 to 255"),
            (Kind::Number(8), "+1", "`+1` is not a number from 0 to 255"),
            (Kind::Number(8), "", "`` is not a number from 0 to 255"),
            (Kind::Number(8), "9-3", "range `9-3` ends before it starts"),
            (Kind::Number(8), "1-3 step 0", "step `0` is not a number from 1 up"),
            (Kind::Number(8), "1 random", "`1` is one value: `random` goes with a range or prefix"),
            (Kind::Ip4, "10.0.0.300", "`10.0.0.300` is not an IPv4 address"),
            (Kind::Ip4, "10.0.0.0/33", "`10.0.0.0/33` has no good prefix length"),
            (Kind::Ip4, "random", "`random` needs a range or prefix here"),
            (
                Kind::Ip6,
                "2001:db8::/64",
                "range `2001:db8::/64` has 2^64 values or more; use a prefix with `random`",
            ),
            (Kind::Mac, "02:00:00:00:00", "`02:00:00:00:00` is not a MAC address"),
        ];
        for (kind, text, message) in cases {
            assert_eq!(parse(*kind, text), Err((*message).to_owned()), "{text}");
        }
    }
}
