//! `[bridge.NAME]`: a bridge domain.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use raddle_plugin_api::wire::MacAddress;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::mac_table::MAX_ADDRESSES;

/// All bridges, by name.
pub type BridgesConfig = BTreeMap<String, BridgeConfig>;

/// Seconds after which an address is forgotten that was not seen (IEEE 802.1Q table 8-6).
const AGEING_SECONDS: u32 = 300;
const MAC_LIMIT: u32 = 16_384;

/// `[bridge.NAME]`: a bridge between interfaces, by learned MAC addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct BridgeConfig {
    /// Its ports: names of interfaces, or `{ interface = "NAME", split-horizon = GROUP }`. What comes in by a port of a
    /// group leaves by none of the same group; group 0, the usual one, is no group.
    pub members: Vec<BridgeMember>,
    /// The interface, of driver `bvi`, by which raddle itself is a station on the bridge, and routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bvi: Option<String>,
    /// Whether it learns by which port an address is reached.
    #[serde(skip_serializing_if = "is_true")]
    pub learn: bool,
    /// Whether frames for addresses that it knows are forwarded.
    #[serde(skip_serializing_if = "is_true")]
    pub forward: bool,
    /// Whether frames for groups, broadcast among them, go to all ports.
    #[serde(skip_serializing_if = "is_true")]
    pub flood: bool,
    /// Whether frames for addresses that it does not know go to all ports.
    #[serde(skip_serializing_if = "is_true")]
    pub unknown_unicast_flood: bool,
    /// Seconds after which an address is forgotten that was not seen; 0: never.
    #[serde(skip_serializing_if = "is_usual_ageing")]
    pub ageing: u32,
    /// Addresses that it learns at most.
    #[serde(skip_serializing_if = "is_usual_limit")]
    #[schemars(range(max = 65536))]
    pub mac_limit: u32,
    /// Frames a second that each worker sends to all ports at most; 0: as many as come.
    #[serde(skip_serializing_if = "is_zero")]
    pub flood_limit: u32,
    /// Addresses that are known without being learned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<BridgeMac>,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            bvi: None,
            learn: true,
            forward: true,
            flood: true,
            unknown_unicast_flood: true,
            ageing: AGEING_SECONDS,
            mac_limit: MAC_LIMIT,
            flood_limit: 0,
            macs: Vec::new(),
        }
    }
}

impl BridgeConfig {
    /// Largest value of `mac-limit`.
    pub const MOST_ADDRESSES: u32 = MAX_ADDRESSES as u32;
}

/// A port of a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeMember {
    /// The interface.
    pub interface: String,
    /// Split-horizon group; 0 is none.
    pub split_horizon: u8,
}

/// An address that is known without being learned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BridgeMac {
    /// The address.
    pub mac: MacAddress,
    /// The port behind which it is.
    pub interface: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct MemberTable {
    interface: String,
    #[serde(default)]
    split_horizon: u8,
}

struct MemberVisitor;

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = BridgeMember;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an interface, or `{ interface = \"NAME\", split-horizon = GROUP }`")
    }

    fn visit_str<E: Error>(self, interface: &str) -> Result<BridgeMember, E> {
        Ok(BridgeMember { interface: interface.to_owned(), split_horizon: 0 })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<BridgeMember, A::Error> {
        let MemberTable { interface, split_horizon } =
            MemberTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(BridgeMember { interface, split_horizon })
    }
}

impl<'de> Deserialize<'de> for BridgeMember {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor)
    }
}

impl Serialize for BridgeMember {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.split_horizon {
            0 => serializer.serialize_str(&self.interface),
            split_horizon => {
                MemberTable { interface: self.interface.clone(), split_horizon }.serialize(serializer)
            }
        }
    }
}

impl JsonSchema for BridgeMember {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "BridgeMember".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string" },
            {
                "type": "object",
                "properties": {
                    "interface": { "type": "string" },
                    "split-horizon": { "type": "integer", "minimum": 0, "maximum": 255 },
                },
                "required": ["interface"],
                "additionalProperties": false,
            },
        ] })
    }
}

fn is_true(value: &bool) -> bool {
    *value
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn is_usual_ageing(value: &u32) -> bool {
    *value == AGEING_SECONDS
}

fn is_usual_limit(value: &u32) -> bool {
    *value == MAC_LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_names_or_tables_and_read_back_as_written() {
        let text = "members = [\"a\", { interface = \"b\", split-horizon = 3 }]\nbvi = \"v\"\nageing = 10\n";
        let config: BridgeConfig = toml::from_str(text).unwrap();
        assert_eq!(config.members[1], BridgeMember { interface: "b".to_owned(), split_horizon: 3 });
        assert!(config.learn && config.flood && config.mac_limit == MAC_LIMIT);
        assert_eq!(toml::from_str::<BridgeConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
        for wrong in
            ["members = [1]", "members = [{ split-horizon = 1 }]", "members = [{ interface = 'a', x = 1 }]"]
        {
            assert!(toml::from_str::<BridgeConfig>(wrong).is_err(), "{wrong}");
        }
    }
}
