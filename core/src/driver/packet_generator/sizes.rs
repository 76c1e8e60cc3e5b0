//! Sizes of packets: one, several in turn, a range, or the Internet mix.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// The longest packet that is made, in bytes.
pub const MAX_PACKET_BYTES: usize = 65_535;
/// Sizes that a list may have.
const MAX_LIST: usize = 4096;

/// Frame sizes in bytes, from the first header's first byte, without a frame check sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// These, in turn; one of them may stand more than once.
    Cycle(Vec<u32>),
    /// From the first to the last, both included, in turn or at random.
    Range {
        /// The least.
        first: u32,
        /// The largest.
        last: u32,
        /// Whether by chance.
        random: bool,
    },
}

/// Why something is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizesError {
    /// Neither number, range nor `imix`.
    #[error(
        "size `{0}` is not a number of bytes from 1 to {MAX_PACKET_BYTES}, a range as `64-1514` or `64-1514 random`, or `imix`"
    )]
    Not(String),
    /// An empty list or one too long.
    #[error("a list of {0} sizes; it has from 1 to {MAX_LIST}")]
    List(usize),
}

impl Sizes {
    /// One size.
    ///
    /// # Errors
    /// Not from 1 to 65,535.
    pub fn one(size: u64) -> Result<Self, SizesError> {
        Self::list(&[size])
    }

    /// Sizes in turn.
    ///
    /// # Errors
    /// None, too many, or one that is not from 1 to 65,535.
    pub fn list(sizes: &[u64]) -> Result<Self, SizesError> {
        if sizes.is_empty() || sizes.len() > MAX_LIST {
            return Err(SizesError::List(sizes.len()));
        }
        let check = |&size: &u64| {
            let good = u32::try_from(size).ok().filter(|&size| size > 0 && size as usize <= MAX_PACKET_BYTES);
            good.ok_or_else(|| SizesError::Not(size.to_string()))
        };
        Ok(Self::Cycle(sizes.iter().map(check).collect::<Result<_, _>>()?))
    }

    /// The simple Internet mix: 7 of 60, 4 of 590 and 1 of 1,514 bytes (64, 594 and 1,518 on the wire).
    pub fn imix() -> Self {
        Self::Cycle(vec![60, 590, 60, 60, 590, 60, 1514, 60, 590, 60, 60, 590])
    }

    /// The sizes as they come in turn, or to be drawn from.
    pub fn cycle(&self) -> Vec<u32> {
        match self {
            Self::Cycle(sizes) => sizes.clone(),
            Self::Range { first, last, .. } => (*first..=*last).collect(),
        }
    }

    /// Whether they come at random.
    pub fn is_random(&self) -> bool {
        matches!(self, Self::Range { random: true, .. })
    }
}

impl std::str::FromStr for Sizes {
    type Err = SizesError;

    fn from_str(text: &str) -> Result<Self, SizesError> {
        let text = text.trim();
        let not = || SizesError::Not(text.chars().take(40).collect());
        if text == "imix" {
            return Ok(Self::imix());
        }
        let number = |text: &str| -> Result<u32, SizesError> {
            let size: u32 = text.trim().parse().map_err(|_| not())?;
            if size == 0 || size as usize > MAX_PACKET_BYTES { Err(not()) } else { Ok(size) }
        };
        let (range, random) = match text.strip_suffix("random") {
            Some(range) => (range.trim(), true),
            None => (text, false),
        };
        match range.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last { Err(not()) } else { Ok(Self::Range { first, last, random }) }
            }
            None if random => Err(not()),
            None => Ok(Self::Cycle(vec![number(text)?])),
        }
    }
}

impl<'de> Deserialize<'de> for Sizes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a size in bytes, a list of sizes, a range as \"64-1514\", or \"imix\""
        )]
        enum Form {
            One(u64),
            List(Vec<u64>),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::One(size) => Self::one(size),
            Form::List(sizes) => Self::list(&sizes),
            Form::Text(text) => text.parse(),
        }
        .map_err(de::Error::custom)
    }
}

impl JsonSchema for Sizes {
    fn schema_name() -> Cow<'static, str> {
        "PacketSizes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "frame sizes in bytes: a number, a list in turn, a range \"64-1514\" or \"64-1514 random\", \
                            or \"imix\"",
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": MAX_PACKET_BYTES },
                { "type": "array", "items": { "type": "integer", "minimum": 1, "maximum": MAX_PACKET_BYTES } },
                { "type": "string" }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_each_form() {
        let range = |first, last, random| Sizes::Range { first, last, random };
        let cases = [
            ("64", Sizes::Cycle(vec![64])),
            ("\"64\"", Sizes::Cycle(vec![64])),
            ("[64, 1514]", Sizes::Cycle(vec![64, 1514])),
            ("\"64-128\"", range(64, 128, false)),
            ("\"64 - 128 random\"", range(64, 128, true)),
            ("\"imix\"", Sizes::imix()),
        ];
        for (text, sizes) in cases {
            assert_eq!(serde_json::from_str::<Sizes>(text).unwrap(), sizes, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in
            ["0", "65536", "[]", "[0]", "\"9-3\"", "\"64 random\"", "\"mix\"", "\"-\"", "true", "-1", "1.5"]
        {
            assert!(serde_json::from_str::<Sizes>(text).is_err(), "{text}");
        }
    }
}
