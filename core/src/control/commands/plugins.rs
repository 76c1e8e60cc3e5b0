//! `show plugins`, `plugin …`, `show version`.

use std::collections::BTreeMap;
use std::fmt::Write;

use raddle_plugin_api::abi::{ABI_MAJOR, ABI_MINOR};
use raddle_plugin_api::command::{NoArguments, Output};
use raddle_plugin_api::{Control, Failure, command};
use serde::{Deserialize, Serialize};

use super::layout::{Align, Shown, Table, figure, list, or_dash};
use crate::host::methods::{PluginReport, PluginRuntime};

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
            let version = if plugin.version.is_empty() { "-" } else { &plugin.version };
            table.row([plugin.name.clone(), version.to_owned(), plugin.state.clone(), line]);
        }
        Some(table.to_string())
    }
}

fn block(plugin: &PluginReport) -> String {
    let version = if plugin.version.is_empty() { String::new() } else { format!(" {}", plugin.version) };
    let mut text = format!("{}{version} is {}", plugin.name, plugin.state);
    if let Some(reason) = &plugin.reason {
        let _ = write!(text, ": {reason}");
    }
    let steps = plugin.steps.iter().map(|step| format!("{} {}", step.state, step.at)).collect::<Vec<_>>();
    let memory = format!("{} bytes of code, {} bytes of tables", plugin.code_bytes, plugin.table_bytes);
    let is_loaded = !plugin.abi.is_empty();
    for (key, value) in [
        ("summary", plugin.summary.clone()),
        ("path", or_dash(plugin.path.as_ref())),
        ("built with", plugin.built_with.clone()),
        ("abi", plugin.abi.clone()),
        ("life", if steps.is_empty() { String::new() } else { steps.join(", ") }),
        ("requires", if plugin.requires.is_empty() { String::new() } else { list(&plugin.requires) }),
        ("nodes", if is_loaded { list(&plugin.nodes) } else { String::new() }),
        ("features", if is_loaded { list(&plugin.features) } else { String::new() }),
        ("commands", if is_loaded { list(&plugin.commands) } else { String::new() }),
        ("tasks", if is_loaded { list(&plugin.tasks) } else { String::new() }),
        ("memory", if plugin.code_bytes > 0 { memory } else { String::new() }),
        ("cost", if is_loaded { cost(&plugin.runtime) } else { String::new() }),
    ] {
        if !value.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {key:<10}  {value}");
        }
    }
    text
}

fn cost(runtime: &PluginRuntime) -> String {
    let PluginRuntime { calls, packets, clocks, clocks_per_packet, share_percent } = runtime;
    if *calls == 0 {
        return "none: no node of it has run".to_owned();
    }
    format!(
        "{clocks} clocks for {packets} packets in {calls} calls: {} clocks/packet, {} % of all clocks",
        figure(*clocks_per_packet, 1),
        figure(*share_percent, 1)
    )
}

/// What each plugin costs, by clocks.
#[derive(Serialize)]
#[serde(transparent)]
struct Costs(Vec<PluginReport>);

impl Output for Costs {
    fn text(&self) -> Option<String> {
        let figures = ["calls", "packets", "clocks", "clocks/packet", "% of clocks"];
        let columns: Vec<_> =
            [("plugin", Align::Left)].into_iter().chain(figures.map(|name| (name, Align::Right))).collect();
        let mut table = Table::new(&columns);
        for PluginReport { name, runtime, .. } in &self.0 {
            table.row([
                name.clone(),
                runtime.calls.to_string(),
                runtime.packets.to_string(),
                runtime.clocks.to_string(),
                figure(runtime.clocks_per_packet, 1),
                figure(runtime.share_percent, 1),
            ]);
        }
        Some(table.to_string())
    }
}

fn show_costs(control: &mut Control<'_>, _: NoArguments) -> Result<Costs, Failure> {
    let mut plugins: Vec<PluginReport> = control.call("plugin.list", &())?;
    plugins.retain(|plugin| matches!(&*plugin.state, "active" | "quarantined"));
    plugins.sort_by_key(|plugin| std::cmp::Reverse(plugin.runtime.clocks));
    Ok(Costs(plugins))
}

command! {
    "show runtime plugins",
    "shows what each plugin costs: packets and clocks of all its nodes since the last `clear runtime`", show_costs
}

fn show(control: &mut Control<'_>, arguments: Show) -> Result<Shown<Vec<PluginReport>>, Failure> {
    Ok(Shown { data: control.call("plugin.list", &())?, verbose: arguments.verbose })
}

command! {
    "show plugins [verbose]",
    "shows the plugins and their states; `verbose`: with their files, lives, nodes, features, commands, memory and cost",
    show
}

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

#[derive(Deserialize)]
struct Named {
    plugin: String,
}

fn unload(control: &mut Control<'_>, arguments: Named) -> Result<(), Failure> {
    control.call("plugin.unload", &arguments.plugin)
}

command! {
    "plugin unload <plugin>",
    "takes a plugin out, while traffic flows; refused while others, interfaces or features need it", unload
}

fn disable(control: &mut Control<'_>, arguments: Named) -> Result<(), Failure> {
    control.call("plugin.disable", &arguments.plugin)
}

command! {
    "plugin disable <plugin>",
    "takes a plugin out until `plugin enable`; features stay remembered where they were on", disable
}

fn enable(control: &mut Control<'_>, arguments: Named) -> Result<LoadedPlugin, Failure> {
    Ok(LoadedPlugin { plugin: control.call("plugin.enable", &arguments.plugin)? })
}

command! {
    "plugin enable <plugin>",
    "loads a plugin that is disabled or held back, with its features where they were on", enable
}

#[derive(Deserialize)]
struct Upgrade {
    plugin: String,
}

/// A plugin in whose place another version is.
#[derive(Serialize, Deserialize)]
struct UpgradedPlugin {
    plugin: String,
    from: String,
    to: String,
    states: Vec<String>,
}

impl Output for UpgradedPlugin {
    fn text(&self) -> Option<String> {
        let Self { plugin, from, to, states } = self;
        let states = match states.as_slice() {
            [] => String::new(),
            states => format!(", with its state: {}", states.join(", ")),
        };
        Some(format!("plugin `{plugin}` {to} is in the place of {from}{states}"))
    }
}

fn upgrade(control: &mut Control<'_>, arguments: Upgrade) -> Result<UpgradedPlugin, Failure> {
    control.call("plugin.upgrade", &arguments.plugin)
}

command! {
    "plugin upgrade <plugin:path>",
    "puts what is in the file of a plugin (by its name), or in another file (by its path), in the place of the plugin \
     that runs, with its configuration and state, while traffic flows", upgrade
}

/// Crashes of a plugin.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Crashes {
    version: String,
    in_a_row: u32,
    report: String,
}

fn show_crashes(
    control: &mut Control<'_>,
    _: NoArguments,
) -> Result<Shown<BTreeMap<String, Crashes>>, Failure> {
    Ok(Shown { data: control.call("plugin.crashes", &())?, verbose: false })
}

impl Output for Shown<BTreeMap<String, Crashes>> {
    fn text(&self) -> Option<String> {
        if self.data.is_empty() {
            return Some("no plugin has crashed raddle lately".to_owned());
        }
        let mut table = Table::new(&[
            ("plugin", Align::Left),
            ("version", Align::Left),
            ("crashes in a row", Align::Right),
            ("last report", Align::Left),
        ]);
        for (plugin, Crashes { version, in_a_row, report }) in &self.data {
            table.row([plugin.clone(), version.clone(), in_a_row.to_string(), report.clone()]);
        }
        Some(table.to_string())
    }
}

command! {
    "show plugin-crashes",
    "shows the plugins that crashed raddle in its last runs, which after too many in a row are held back", show_crashes
}

#[derive(Deserialize)]
struct ClearCrashes {
    plugin: Option<String>,
}

/// Plugins whose crashes are forgotten.
#[derive(Serialize)]
struct Cleared(Vec<String>);

impl Output for Cleared {
    fn text(&self) -> Option<String> {
        match self.0.as_slice() {
            [] => Some("there were none".to_owned()),
            names => Some(format!("forgotten: {}", names.join(", "))),
        }
    }
}

fn clear_crashes(control: &mut Control<'_>, arguments: ClearCrashes) -> Result<Cleared, Failure> {
    Ok(Cleared(control.call("plugin.clear-crashes", &arguments.plugin)?))
}

command! {
    "clear plugin-crashes [<plugin>]",
    "forgets the crashes of a plugin, or of all: the next start loads one that is held back", clear_crashes
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
