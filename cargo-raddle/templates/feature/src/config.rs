//! The section `[sample-plugin]` of the configuration.

use schemars::JsonSchema;
use serde::Deserialize;

/// The section `[sample-plugin]`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SamplePluginConfig {
    /// The lowest TTL or hop limit that passes.
    pub min_ttl: u8,
}

impl Default for SamplePluginConfig {
    fn default() -> Self {
        Self { min_ttl: 5 }
    }
}
