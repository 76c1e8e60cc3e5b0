//! Methods on the graph: nodes, arcs with their features, init functions.

use raddle_plugin_api::abi::NodeKind;
use raddle_plugin_api::config::nearest;
use raddle_plugin_api::{Failure, failure};
use serde::{Deserialize, Serialize};

use super::table::typed;
use crate::graph::Owner;
use crate::host::Engine;

/// A node, for `show node`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeReport {
    /// Its index.
    pub index: u16,
    /// Its name.
    pub name: String,
    /// When it runs: `internal`, `input`, `pre-input`.
    pub kind: String,
    /// The plugin that brought it.
    pub plugin: String,
    /// The nodes that it sends to, by slot.
    pub nexts: Vec<String>,
    /// The nodes that send to it by a slot of theirs.
    pub previous: Vec<String>,
    /// Its reasons to drop packets.
    pub errors: Vec<NodeErrorReport>,
}

/// A reason of a node to drop packets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeErrorReport {
    /// Its name.
    pub reason: String,
    /// What it means.
    pub text: String,
}

/// A feature arc, for `show features`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ArcReport {
    /// Its name.
    pub arc: String,
    /// The node at its end.
    pub end: String,
    /// The plugin that brought it.
    pub plugin: String,
    /// Its features, in the order in which they run.
    pub features: Vec<FeatureReport>,
}

/// A feature of an arc.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FeatureReport {
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: String,
    /// The plugin that brought it.
    pub plugin: String,
    /// Features that it comes after.
    pub runs_after: Vec<String>,
    /// Features that it comes before.
    pub runs_before: Vec<String>,
    /// Whether packets are dropped when its plugin has failed.
    pub fail_closed: bool,
    /// Interfaces on which it is on.
    pub interfaces: Vec<String>,
}

/// An init function that was run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InitReport {
    /// Its place in the order, from 1.
    pub order: usize,
    /// Its name.
    pub name: String,
    /// The plugin that brought it.
    pub plugin: String,
}

#[derive(Deserialize)]
struct ByName {
    name: String,
}

fn kind_word(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::INPUT => "input",
        NodeKind::PRE_INPUT => "pre-input",
        _ => "internal",
    }
}

impl Engine {
    pub(super) fn add_graph_methods(&self) {
        self.add_method("node.list", |engine, _| {
            let count = engine.graph.borrow().nodes().len();
            let all: Vec<_> = (0..count as u16).filter_map(|index| engine.node_report(index)).collect();
            Ok(serde_json::to_value(all)?)
        });
        self.add_method("node.find", |engine, arguments| {
            let index = engine.find_node(&typed::<ByName>(arguments)?.name)?;
            Ok(serde_json::to_value(engine.node_report(index))?)
        });
        self.add_method("feature.list", |engine, _| Ok(serde_json::to_value(engine.arc_reports())?));
        self.add_method("init.list", |engine, _| {
            let run = engine.inits_run.borrow();
            let rows = run.iter().enumerate().map(|(index, (name, plugin, _))| InitReport {
                order: index + 1,
                name: name.clone(),
                plugin: plugin.clone(),
            });
            Ok(serde_json::to_value(rows.collect::<Vec<_>>())?)
        });
    }

    /// Index of the node with this name.
    ///
    /// # Errors
    /// There is none; the message names the nearest.
    pub fn find_node(&self, name: &str) -> Result<u16, Failure> {
        let graph = self.graph.borrow();
        graph.find(name).ok_or_else(|| {
            let names = graph.nodes().iter().filter(|node| node.alive).map(|node| node.name.as_str());
            match nearest(name, names) {
                Some(nearest) => failure!("there is no node `{name}`; did you mean `{nearest}`?"),
                None => failure!("there is no node `{name}`"),
            }
        })
    }

    /// Name of the plugin that an owner is.
    pub(in crate::host) fn owner_name(&self, owner: Owner) -> String {
        self.owner_names.borrow().get(&owner).cloned().unwrap_or_default()
    }

    fn node_report(&self, index: u16) -> Option<NodeReport> {
        let graph = self.graph.borrow();
        let node = graph.nodes().get(usize::from(index)).filter(|node| node.alive)?;
        let own = node.error_base as usize..(node.error_base + node.error_count) as usize;
        let errors = graph.errors().get(own).unwrap_or_default();
        Some(NodeReport {
            index,
            name: node.name.clone(),
            kind: kind_word(node.kind).to_owned(),
            plugin: self.owner_name(node.owner),
            nexts: node.next_names.clone(),
            previous: graph.previous(index).into_iter().map(str::to_owned).collect(),
            errors: (errors.iter())
                .map(|error| NodeErrorReport { reason: error.name.clone(), text: error.text.clone() })
                .collect(),
        })
    }

    fn arc_reports(&self) -> Vec<ArcReport> {
        let (arcs, interfaces) = (self.features.borrow(), self.interfaces.borrow());
        let on: Vec<_> = interfaces
            .iter()
            .map(|(index, interface)| (interface.name.clone(), arcs.enabled(index)))
            .collect();
        let is_on = |arc: &str, feature: &str, enabled: &[(&str, Vec<&str>)]| {
            enabled.iter().any(|(name, features)| *name == arc && features.contains(&feature))
        };
        let report = |(arc, end, features): (&str, &str, &[crate::feature::Feature])| ArcReport {
            arc: arc.to_owned(),
            end: end.to_owned(),
            plugin: self.owner_name(arcs.arc_owner(arc).unwrap_or(Owner::CORE)),
            features: (features.iter())
                .map(|feature| FeatureReport {
                    name: feature.name.clone(),
                    node: feature.node.clone(),
                    plugin: self.owner_name(feature.owner),
                    runs_after: feature.runs_after.clone(),
                    runs_before: feature.runs_before.clone(),
                    fail_closed: feature.fail_closed,
                    interfaces: (on.iter())
                        .filter(|(_, enabled)| is_on(arc, &feature.name, enabled))
                        .map(|(name, _)| name.clone())
                        .collect(),
                })
                .collect(),
        };
        arcs.list().map(report).collect()
    }
}
