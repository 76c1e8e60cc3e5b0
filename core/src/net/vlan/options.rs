//! The keys of a sub-interface in `[interface.NAME]`.

use std::borrow::Cow;
use std::fmt;

use raddle_plugin_api::{Failure, bail};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Selection, Tag, TagProtocol, Tags};

/// A sub-interface: which frames of which interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VlanOptions {
    /// The interface whose frames it takes. It may come later, or go and come back: the link is down meanwhile.
    pub parent: String,
    /// The VLAN, from 1 to 4094, or `default`: tagged frames that no other sub-interface takes, tags and all; or
    /// `untagged`: frames without a tag.
    pub vlan: OuterVlan,
    /// The VLAN of a second tag, from 1 to 4094, or `any`: frames with a second tag, which they keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner_vlan: Option<InnerVlan>,
    /// The kind of the tag, of two the outer one: `802.1q`, or `802.1ad`, which is what two tags have by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<TagProtocol>,
    /// The priority code point of frames that it sends, 0 to 7.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(max = 7))]
    pub priority: u8,
}

/// What `vlan` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OuterVlan {
    /// Frames with this VLAN.
    Vlan(u16),
    /// Tagged frames that no other sub-interface takes.
    Default,
    /// Frames without a tag.
    Untagged,
}

/// What `inner-vlan` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InnerVlan {
    /// Frames with this second VLAN.
    Vlan(u16),
    /// Frames with any second VLAN.
    Any,
}

impl VlanOptions {
    /// What the options say together.
    ///
    /// # Errors
    /// They contradict each other.
    pub fn selection(&self) -> Result<Selection, Failure> {
        if self.priority > 7 {
            bail!("a priority of {} is too high: the highest is 7", self.priority);
        }
        let outer = match self.vlan {
            OuterVlan::Vlan(vlan) => vlan,
            _ if self.inner_vlan.is_some() => bail!("`inner-vlan` needs a `vlan` that is a number"),
            _ if self.protocol.is_some() => bail!("`protocol` needs a `vlan` that is a number"),
            OuterVlan::Default => return Ok(Selection::Default),
            OuterVlan::Untagged => return Ok(Selection::Untagged),
        };
        let usual = if self.inner_vlan.is_some() { TagProtocol::Service } else { TagProtocol::Customer };
        let outer = Tag { protocol: self.protocol.unwrap_or(usual), vlan: outer };
        Ok(Selection::Tags(match self.inner_vlan {
            None => Tags::One(outer),
            Some(InnerVlan::Any) => Tags::OneOfTwo(outer),
            Some(InnerVlan::Vlan(inner)) => Tags::Two(outer, inner),
        }))
    }
}

fn is_zero(value: &u8) -> bool {
    *value == 0
}

/// A number of a VLAN, or one of some words.
struct NumberOr<T: 'static> {
    number: fn(u16) -> T,
    words: &'static [(&'static str, T)],
}

impl<T: Copy> NumberOr<T> {
    fn number<E: Error>(&self, number: u64) -> Result<T, E> {
        match u16::try_from(number) {
            Ok(vlan) if Tag::VLANS.contains(&vlan) => Ok((self.number)(vlan)),
            _ => Err(E::custom(format_args!("`{number}` is no VLAN: they are numbered from 1 to 4094"))),
        }
    }
}

impl<T: Copy> Visitor<'_> for NumberOr<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a VLAN from 1 to 4094")?;
        self.words.iter().try_for_each(|(word, _)| write!(f, " or `{word}`"))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.number(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let positive = u64::try_from(number);
        positive.map_or_else(|_| Err(E::invalid_value(Unexpected::Signed(number), &self)), |n| self.number(n))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let found = self.words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

const OUTER: NumberOr<OuterVlan> = NumberOr {
    number: OuterVlan::Vlan,
    words: &[("default", OuterVlan::Default), ("untagged", OuterVlan::Untagged)],
};

const INNER: NumberOr<InnerVlan> = NumberOr { number: InnerVlan::Vlan, words: &[("any", InnerVlan::Any)] };

impl<'de> Deserialize<'de> for OuterVlan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OUTER)
    }
}

impl<'de> Deserialize<'de> for InnerVlan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(INNER)
    }
}

impl Serialize for OuterVlan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Vlan(vlan) => serializer.serialize_u16(*vlan),
            Self::Default => serializer.serialize_str("default"),
            Self::Untagged => serializer.serialize_str("untagged"),
        }
    }
}

impl Serialize for InnerVlan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Vlan(vlan) => serializer.serialize_u16(*vlan),
            Self::Any => serializer.serialize_str("any"),
        }
    }
}

impl JsonSchema for OuterVlan {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "OuterVlan".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 4094 },
            { "type": "string", "enum": ["default", "untagged"] },
        ] })
    }
}

impl JsonSchema for InnerVlan {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "InnerVlan".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 4094 },
            { "type": "string", "enum": ["any"] },
        ] })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(mut keys: serde_json::Value) -> Result<VlanOptions, serde_json::Error> {
        keys["parent"] = "wan".into();
        serde_json::from_value(keys)
    }

    #[test]
    fn keys_select_frames() {
        let customer = |vlan| Tag { protocol: TagProtocol::Customer, vlan };
        let service = |vlan| Tag { protocol: TagProtocol::Service, vlan };
        for (keys, selection) in [
            (json!({"vlan": 100}), Selection::Tags(Tags::One(customer(100)))),
            (json!({"vlan": 100, "protocol": "802.1ad"}), Selection::Tags(Tags::One(service(100)))),
            (json!({"vlan": 100, "inner-vlan": 7}), Selection::Tags(Tags::Two(service(100), 7))),
            (
                json!({"vlan": 1, "inner-vlan": "any", "protocol": "802.1q"}),
                Selection::Tags(Tags::OneOfTwo(customer(1))),
            ),
            (json!({"vlan": "default"}), Selection::Default),
            (json!({"vlan": "untagged"}), Selection::Untagged),
        ] {
            let read = options(keys.clone()).unwrap();
            assert_eq!(read.selection().unwrap(), selection, "{keys}");
            assert_eq!(options(serde_json::to_value(&read).unwrap()).unwrap(), read, "{keys}");
        }
    }

    #[test]
    fn wrong_keys_are_told_what_was_expected() {
        for (keys, expected) in [
            (json!({"vlan": 0}), "`0` is no VLAN: they are numbered from 1 to 4094"),
            (json!({"vlan": 4095}), "`4095` is no VLAN: they are numbered from 1 to 4094"),
            (json!({"vlan": 70_000}), "`70000` is no VLAN: they are numbered from 1 to 4094"),
            (json!({"vlan": "any"}), "expected a VLAN from 1 to 4094 or `default` or `untagged`"),
            (json!({"vlan": 1, "inner-vlan": -1}), "expected a VLAN from 1 to 4094 or `any`"),
            (json!({"vlan": 1, "protocol": "802.1x"}), "expected `802.1q` or `802.1ad`"),
        ] {
            let error = options(keys.clone()).unwrap_err().to_string();
            assert!(error.contains(expected), "{keys}: {error}");
        }
        for (keys, message) in [
            (json!({"vlan": "default", "inner-vlan": 1}), "`inner-vlan` needs a `vlan` that is a number"),
            (json!({"vlan": "untagged", "protocol": "802.1q"}), "`protocol` needs a `vlan` that is a number"),
            (json!({"vlan": 1, "priority": 8}), "a priority of 8 is too high: the highest is 7"),
        ] {
            let error = options(keys.clone()).unwrap().selection().unwrap_err().to_string();
            assert_eq!(error, message, "{keys}");
        }
    }
}
