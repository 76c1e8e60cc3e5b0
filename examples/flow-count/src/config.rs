//! The section `[flow-count]` of the configuration.

use schemars::JsonSchema;
use serde::Deserialize;

/// The section `[flow-count]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FlowCountConfig {
    /// Interfaces whose packets are counted, now or when they come.
    pub interfaces: Vec<String>,
    /// Flows that each thread remembers, at most.
    pub max_flows: MaxFlows,
}

/// A number of flows: 64 to 4,194,304 (of 64 bytes each, for each thread).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "u32")]
pub struct MaxFlows(#[schemars(range(min = 64, max = 4_194_304))] u32);

impl MaxFlows {
    /// The number.
    pub fn count(self) -> usize {
        self.0 as usize
    }
}

impl Default for MaxFlows {
    fn default() -> Self {
        Self(65_536)
    }
}

impl TryFrom<u32> for MaxFlows {
    type Error = String;

    fn try_from(count: u32) -> Result<Self, String> {
        if (64..=4_194_304).contains(&count) {
            Ok(Self(count))
        } else {
            Err(format!("{count} flows, which is not between 64 and 4194304"))
        }
    }
}
