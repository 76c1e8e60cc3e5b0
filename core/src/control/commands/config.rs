//! `show config`.

use raddle_plugin_api::command::{NoArguments, Output};
use raddle_plugin_api::{Control, Failure, command};
use serde::{Deserialize, Serialize};

/// The running configuration.
#[derive(Debug, Serialize, Deserialize)]
struct RunningConfig {
    /// As the file that would make it.
    toml: String,
}

impl Output for RunningConfig {
    fn text(&self) -> Option<String> {
        Some(self.toml.clone())
    }
}

fn show(control: &mut Control<'_>, _: NoArguments) -> Result<RunningConfig, Failure> {
    control.call("config.show", &())
}

command! { "show config", "shows the running configuration as the file that would make it", show }
