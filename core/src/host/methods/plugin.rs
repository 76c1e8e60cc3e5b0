//! Methods on plugins.

use serde::{Deserialize, Serialize};

use crate::host::{Engine, Image, ImageState};

/// A plugin, for `show plugins`. The core is the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PluginReport {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `active`, `quarantined` (it failed, and is kept out of the packets' way) or `refused`.
    pub state: String,
    /// Why it is not active.
    pub reason: Option<String>,
    /// What it does.
    pub summary: String,
    /// Its file.
    pub path: Option<String>,
    /// What built it.
    pub built_with: String,
    /// Its nodes.
    pub nodes: Vec<String>,
    /// Its features.
    pub features: Vec<String>,
}

impl From<&Image> for PluginReport {
    fn from(image: &Image) -> Self {
        let (state, reason) = match &image.state {
            ImageState::Active => ("active", None),
            ImageState::Quarantined(reason) => ("quarantined", Some(reason.clone())),
            ImageState::Refused(reason) => ("refused", Some(reason.clone())),
        };
        let parts = &image.parts;
        Self {
            name: parts.name.clone(),
            version: parts.version.clone(),
            state: state.to_owned(),
            reason,
            summary: parts.summary.clone(),
            path: parts.path.as_ref().map(|path| path.display().to_string()),
            built_with: parts.built_with.clone(),
            nodes: image.nodes.clone(),
            features: image.features.clone(),
        }
    }
}

impl Engine {
    pub(super) fn add_plugin_methods(&self) {
        self.add_method("plugin.list", |engine, _| {
            let mut all = Vec::new();
            engine.for_each_image(|image| all.push(PluginReport::from(image)));
            Ok(serde_json::to_value(all)?)
        });
    }
}
