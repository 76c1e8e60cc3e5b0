//! Methods on sections of the configuration that plugins own.

use raddle_plugin_api::Failure;
use raddle_plugin_api::config::RunningSection;
use serde_json::Value;

use super::table::typed;
use crate::host::Engine;

impl Engine {
    pub(super) fn add_section_methods(&self) {
        self.add_method("config.report", |engine, arguments| {
            let RunningSection { section, content } = typed(arguments)?;
            let content =
                content.map(|content| serde_json::from_value(content).map_err(Failure::from)).transpose()?;
            engine.running_sections.borrow_mut().insert(section, content);
            Ok(Value::Null)
        });
    }

    /// The sections whose owners have said what they are now; `None`: the section need not be there.
    pub fn running_sections(&self) -> Vec<(String, Option<toml::Value>)> {
        self.running_sections.borrow().iter().map(|(name, content)| (name.clone(), content.clone())).collect()
    }
}
