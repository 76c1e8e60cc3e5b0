//! Methods on plugins.

use serde::{Deserialize, Serialize};

use super::runtime::ratio;
use super::table::typed;
use crate::graph::Owner;
use crate::host::{AbsentPlugin, Engine, Image, Step};
use crate::runtime::NodeTotals;

/// A plugin, for `show plugins`. The core is the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PluginReport {
    /// Its name.
    pub name: String,
    /// Its version; empty where it is not known.
    pub version: String,
    /// `active`; `quarantined`: it failed, and is kept out of the packets' way; `draining`, `retired`: it goes, is gone;
    /// `refused`, `disabled`, `held-back`: it was not loaded.
    pub state: String,
    /// Why it is not active.
    pub reason: Option<String>,
    /// Since when (RFC 3339).
    pub since: Option<String>,
    /// The steps of its life, from its discovery on.
    pub steps: Vec<StepReport>,
    /// What it does.
    pub summary: String,
    /// Its file.
    pub path: Option<String>,
    /// What built it.
    pub built_with: String,
    /// ABI of its SDK.
    pub abi: String,
    /// Plugins that it needs, with their versions.
    pub requires: Vec<String>,
    /// Its nodes.
    pub nodes: Vec<String>,
    /// Its features.
    pub features: Vec<String>,
    /// Its commands.
    pub commands: Vec<String>,
    /// Its tasks.
    pub tasks: Vec<String>,
    /// Bytes of address space that its code and static data are mapped in.
    pub code_bytes: u64,
    /// Bytes of tables that the host keeps for it.
    pub table_bytes: u64,
    /// What its nodes did since the last `clear runtime`, on all threads.
    pub runtime: PluginRuntime,
}

/// A step of a plugin's life.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StepReport {
    /// The state that it came to.
    pub state: String,
    /// When (RFC 3339).
    pub at: String,
    /// Why, if that is not plain.
    pub reason: Option<String>,
}

impl From<&Step> for StepReport {
    fn from(step: &Step) -> Self {
        let at = humantime::format_rfc3339_millis(step.at).to_string();
        Self { state: step.state.to_owned(), at, reason: step.reason.clone() }
    }
}

/// What the nodes of a plugin did: what the plugin costs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PluginRuntime {
    /// Calls of its nodes.
    pub calls: u64,
    /// Packets that its nodes dealt with: a packet counts at each node that it came to.
    pub packets: u64,
    /// Clocks that its nodes took.
    pub clocks: u64,
    /// Clocks a packet.
    pub clocks_per_packet: Option<f64>,
    /// Its part of the clocks of all nodes, in percent.
    pub share_percent: Option<f64>,
}

impl PluginRuntime {
    fn new(own: NodeTotals, all_clocks: u64) -> Self {
        let NodeTotals { calls, packets, clocks, .. } = own;
        Self {
            calls,
            packets,
            clocks,
            clocks_per_packet: ratio(clocks, packets),
            share_percent: ratio(clocks, all_clocks).map(|share| share * 100.0),
        }
    }
}

impl From<&Image> for PluginReport {
    fn from(image: &Image) -> Self {
        let parts = &image.parts;
        let steps: Vec<StepReport> = parts.steps.iter().map(StepReport::from).collect();
        let requires = parts.requires().into_iter();
        Self {
            name: parts.name.clone(),
            version: parts.version.clone(),
            state: image.state.word().to_owned(),
            reason: image.state.reason().map(str::to_owned),
            since: steps.last().map(|step| step.at.clone()),
            steps,
            summary: parts.summary.clone(),
            path: parts.path.as_ref().map(|path| path.display().to_string()),
            built_with: parts.built_with.clone(),
            abi: parts.abi.clone(),
            requires: requires.map(|(name, version)| format!("{name} {version}")).collect(),
            nodes: image.nodes.clone(),
            features: image.features.clone(),
            commands: image.commands.clone(),
            tasks: Vec::new(),
            code_bytes: (parts.mapped.1 - parts.mapped.0) as u64,
            table_bytes: 0,
            runtime: PluginRuntime::default(),
        }
    }
}

impl From<&AbsentPlugin> for PluginReport {
    fn from(plugin: &AbsentPlugin) -> Self {
        let steps: Vec<StepReport> = plugin.steps.iter().map(StepReport::from).collect();
        Self {
            name: plugin.name.clone(),
            version: String::new(),
            state: plugin.state.to_owned(),
            reason: Some(plugin.reason.clone()),
            since: steps.last().map(|step| step.at.clone()),
            steps,
            summary: String::new(),
            path: Some(plugin.path.display().to_string()),
            built_with: String::new(),
            abi: String::new(),
            requires: Vec::new(),
            nodes: Vec::new(),
            features: Vec::new(),
            commands: Vec::new(),
            tasks: Vec::new(),
            code_bytes: 0,
            table_bytes: 0,
            runtime: PluginRuntime::default(),
        }
    }
}

/// A plugin's own word that it panicked where the ABI has no status.
#[derive(Deserialize)]
struct OwnPanic {
    /// Address of the instance.
    instance: u64,
    what: String,
    panic: String,
}

impl Engine {
    pub(super) fn add_plugin_methods(&self) {
        self.add_method("plugin.list", |engine, _| Ok(serde_json::to_value(engine.plugin_reports())?));
        self.add_method("plugin.is-being-replaced", |engine, _| Ok(engine.is_being_replaced().into()));
        self.add_method("plugin.panicked", |engine, arguments| {
            let OwnPanic { instance, what, panic } = typed(arguments)?;
            let owner = {
                let images = engine.images.borrow();
                let own = images.iter().find(|image| image.instance.addr() as u64 == instance);
                own.map(|image| image.owner)
            };
            if let Some(owner) = owner {
                engine.quarantine(owner, &format!("{what} panicked: {panic}"));
            }
            Ok(serde_json::Value::Null)
        });
    }

    fn plugin_reports(&self) -> Vec<PluginReport> {
        let totals = self.owner_totals_since_clearing();
        let clocks = totals.iter().map(|(_, totals)| totals.clocks).sum();
        let tasks = self.executor.borrow().list();
        let mut all = Vec::new();
        self.for_each_image(|image| {
            let own = totals.iter().find(|(owner, _)| *owner == image.owner);
            let own = own.map(|(_, totals)| *totals).unwrap_or_default();
            all.push(PluginReport {
                runtime: PluginRuntime::new(own, clocks),
                tasks: (tasks.iter().filter(|task| task.owner == image.owner))
                    .map(|task| task.name.clone())
                    .collect(),
                table_bytes: self.kept.borrow().bytes_of(image.owner),
                ..image.into()
            });
        });
        all.extend(self.absent.borrow().iter().map(PluginReport::from));
        all
    }

    fn owner_totals_since_clearing(&self) -> Vec<(Owner, NodeTotals)> {
        let baselines = self.baselines.borrow();
        self.owner_totals(|thread, node, totals| baselines.node(thread, node, totals))
    }
}
