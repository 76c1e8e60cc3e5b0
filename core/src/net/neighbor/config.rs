//! The configuration sections `[[neighbor]]`: entries that stay.

use std::net::IpAddr;

use raddle_plugin_api::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A neighbour that is not asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StaticNeighbor {
    /// The interface on whose link it is.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address.
    pub mac: MacAddress,
}

/// All of them.
pub type StaticNeighbors = Vec<StaticNeighbor>;

config! { "neighbor", StaticNeighbors }
