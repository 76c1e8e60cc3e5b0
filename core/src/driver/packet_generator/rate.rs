//! Rates: packets or bits a second.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The highest rate, of packets or bits: above what any thread makes, and far from where arithmetic ends.
const MAX: f64 = 1e12;

/// How fast a stream goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Packets a second.
    Packets(f64),
    /// Bits a second, of the packets' bytes from the first header on.
    Bits(f64),
}

/// Why a text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "rate `{0}` is not packets a second (a number, `10kpps`, `1mpps`) or bits a second (`100mbps`, `1gbps`)"
)]
pub struct RateError(String);

impl Rate {
    /// Packets a second.
    ///
    /// # Errors
    /// Not above zero, or too large.
    pub fn packets(rate: f64) -> Result<Self, RateError> {
        if rate > 0.0 && rate <= MAX { Ok(Self::Packets(rate)) } else { Err(RateError(rate.to_string())) }
    }

    /// One of several equal shares.
    #[must_use]
    pub fn share(self, shares: u32) -> Self {
        let shares = f64::from(shares.max(1));
        match self {
            Self::Packets(rate) => Self::Packets(rate / shares),
            Self::Bits(rate) => Self::Bits(rate / shares),
        }
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let wrong = || RateError(text.chars().take(40).collect());
        let word = text.trim().to_ascii_lowercase();
        let split = word.find(|c: char| c.is_ascii_alphabetic() || c == ' ').unwrap_or(word.len());
        let (number, unit) = word.split_at(split);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.trim();
        let (scale, packets) = match unit {
            "" | "pps" => (1.0, true),
            "kpps" | "k" => (1e3, true),
            "mpps" | "m" => (1e6, true),
            "gpps" => (1e9, true),
            "bps" => (1.0, false),
            "kbps" => (1e3, false),
            "mbps" => (1e6, false),
            "gbps" => (1e9, false),
            "tbps" => (1e12, false),
            _ => return Err(wrong()),
        };
        let rate = number * scale;
        if !(rate > 0.0 && rate <= MAX) {
            return Err(wrong());
        }
        Ok(if packets { Self::Packets(rate) } else { Self::Bits(rate) })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, unit) = match self {
            Self::Packets(rate) => (*rate, "pps"),
            Self::Bits(rate) => (*rate, "bps"),
        };
        match rate {
            rate if rate >= 1e9 => write!(f, "{}g{unit}", rate / 1e9),
            rate if rate >= 1e6 => write!(f, "{}m{unit}", rate / 1e6),
            rate if rate >= 1e3 => write!(f, "{}k{unit}", rate / 1e3),
            rate => write!(f, "{rate}{unit}"),
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a rate: packets a second, or a text as \"10kpps\" or \"1gbps\""
        )]
        enum Form {
            Number(f64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(rate) => Self::packets(rate),
            Form::Text(text) => text.parse(),
        }
        .map_err(de::Error::custom)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "PacketRate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "packets a second (a number, \"10kpps\", \"1mpps\") or bits a second (\"100mbps\", \"1gbps\")",
            "anyOf": [{ "type": "number", "exclusiveMinimum": 0 }, { "type": "string" }]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_in_each_unit() {
        let cases = [
            ("100", Rate::Packets(100.0)),
            ("0.5", Rate::Packets(0.5)),
            ("\"10kpps\"", Rate::Packets(1e4)),
            ("\"1.5 Mpps\"", Rate::Packets(1.5e6)),
            ("\"1gbps\"", Rate::Bits(1e9)),
            ("\"9600bps\"", Rate::Bits(9600.0)),
        ];
        for (text, rate) in cases {
            let read: Rate = serde_json::from_str(text).unwrap();
            assert_eq!(read, rate, "{text}");
            assert_eq!(read.to_string().parse(), Ok(rate), "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in
            ["0", "-1", "\"\"", "\"fast\"", "\"1 furlong\"", "\"inf\"", "\"nan\"", "1e13", "\"9tpps\"", "[]"]
        {
            assert!(serde_json::from_str::<Rate>(text).is_err(), "{text}");
        }
    }
}
