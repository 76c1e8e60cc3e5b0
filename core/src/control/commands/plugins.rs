//! `show plugins`, `plugin load`, `show version`.

use std::fmt::Write;

use raddle_plugin_api::abi::{ABI_MAJOR, ABI_MINOR};
use raddle_plugin_api::command::{NoArguments, Output};
use raddle_plugin_api::{Control, Failure, command};
use serde::{Deserialize, Serialize};

use super::layout::{Align, Shown, Table, list, or_dash};
use crate::host::methods::PluginReport;

#[derive(Deserialize)]
struct Show {
    #[serde(default)]
    verbose: bool,
}

impl Output for Shown<Vec<PluginReport>> {
    fn text(&self) -> Option<String> {
        if self.verbose {
            return Some(self.data.iter().map(block).collect::<Vec<_>>().join("\n\n"));
        }
        let mut table = Table::new(&[
            ("plugin", Align::Left),
            ("version", Align::Left),
            ("state", Align::Left),
            ("what it does, or why it does not", Align::Left),
        ]);
        for plugin in &self.data {
            let line = plugin.reason.as_ref().unwrap_or(&plugin.summary).clone();
            table.row([plugin.name.clone(), plugin.version.clone(), plugin.state.clone(), line]);
        }
        Some(table.to_string())
    }
}

fn block(plugin: &PluginReport) -> String {
    let mut text = format!("{} {} is {}", plugin.name, plugin.version, plugin.state);
    if let Some(reason) = &plugin.reason {
        let _ = write!(text, ": {reason}");
    }
    for (key, value) in [
        ("summary", plugin.summary.clone()),
        ("path", or_dash(plugin.path.as_ref())),
        ("built with", plugin.built_with.clone()),
        ("nodes", list(&plugin.nodes)),
        ("features", list(&plugin.features)),
    ] {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {key:<10}  {value}");
    }
    text
}

fn show(control: &mut Control<'_>, arguments: Show) -> Result<Shown<Vec<PluginReport>>, Failure> {
    Ok(Shown { data: control.call("plugin.list", &())?, verbose: arguments.verbose })
}

command! { "show plugins [verbose]", "shows the plugins; `verbose`: with their files, nodes and features", show }

#[derive(Deserialize)]
struct Load {
    path: String,
}

/// A plugin that was loaded.
#[derive(Serialize)]
struct LoadedPlugin {
    plugin: String,
}

impl Output for LoadedPlugin {
    fn text(&self) -> Option<String> {
        Some(format!("plugin `{}` is active", self.plugin))
    }
}

fn load(control: &mut Control<'_>, arguments: Load) -> Result<LoadedPlugin, Failure> {
    Ok(LoadedPlugin { plugin: control.call("plugin.load", &arguments.path)? })
}

command! {
    "plugin load <path:path>",
    "loads a plugin from a file where raddle runs, while traffic flows", load
}

/// What is running.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Version {
    name: &'static str,
    version: &'static str,
    abi: String,
    built_with: &'static str,
}

impl Output for Version {
    fn text(&self) -> Option<String> {
        let Self { name, version, abi, built_with } = self;
        Some(format!("{name} {version}, plugin ABI {abi}, built with {built_with}"))
    }
}

fn show_version(_: &mut Control<'_>, _: NoArguments) -> Result<Version, Failure> {
    Ok(Version {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        abi: format!("{ABI_MAJOR}.{ABI_MINOR}"),
        built_with: raddle_plugin_api::BUILT_WITH,
    })
}

command! { "show version", "shows which raddle this is, and which plugins it takes", show_version }
