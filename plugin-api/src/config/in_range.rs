//! Numbers with bounds that the reader of the configuration checks.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

/// A whole number from `MIN` to `MAX`. Any other is refused where it stands in the file.
///
/// ```
/// use raddle_plugin_api::config::{InRange, parse_section};
///
/// #[derive(Debug, serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Limits {
///     tries: InRange<1, 10>,
/// }
///
/// assert_eq!(parse_section::<Limits>("[x]\ntries = 3", "x").unwrap().unwrap().tries.get(), 3);
/// let error = parse_section::<Limits>("[x]\ntries = 0", "x").unwrap_err();
/// assert_eq!(error.problems()[0].to_string(), "2:9: expected a number from 1 to 10, found integer `0`");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(transparent)]
pub struct InRange<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> InRange<MIN, MAX> {
    /// The number, if it is within the bounds.
    pub const fn new(number: u64) -> Option<Self> {
        if number >= MIN && number <= MAX { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for InRange<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> Visitor<'_> for Reader<MIN, MAX> {
            type Value = InRange<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number from {MIN} to {MAX}")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                InRange::new(number).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                let known = u64::try_from(number).ok().and_then(InRange::new);
                known.ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
            }
        }
        deserializer.deserialize_u64(Reader)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for InRange<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("InRange{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}
