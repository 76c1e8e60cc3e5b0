//! What is in the engine by name: nodes with their nexts and errors, arcs with their features, sections of the
//! configuration.

use raddle_plugin_api::abi::{ConfigRegistration, NodeKind, sink_into};
use serde::Serialize;

use super::engine::Engine;
use super::images::registered;

/// A node, as its author registered it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeEntry {
    /// Its name.
    pub name: String,
    /// When it runs: `internal`, `input` or `pre-input`.
    pub kind: &'static str,
    /// Names of the nodes it sends to, `drop` not counted.
    pub nexts: Vec<String>,
    /// Its reasons to drop packets: name and meaning.
    pub errors: Vec<(String, String)>,
}

/// A feature arc.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArcEntry {
    /// Its name.
    pub name: String,
    /// The node at which packets arrive that no feature kept.
    pub end: String,
    /// Names of its features, in the order in which they run.
    pub features: Vec<String>,
}

impl Engine {
    /// The nodes of the graph, by name.
    pub fn node_entries(&self) -> Vec<NodeEntry> {
        let graph = self.graph.borrow();
        let mut entries: Vec<NodeEntry> = (graph.nodes().iter().filter(|node| node.alive))
            .map(|node| {
                let errors = graph.errors().iter().skip(node.error_base as usize);
                NodeEntry {
                    name: node.name.clone(),
                    kind: kind_name(node.kind),
                    nexts: node.next_names.iter().skip(1).cloned().collect(),
                    errors: (errors.take(node.error_count as usize))
                        .map(|error| (error.name.clone(), error.text.clone()))
                        .collect(),
                }
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    /// The feature arcs, by name.
    pub fn arc_entries(&self) -> Vec<ArcEntry> {
        let arcs = self.features.borrow();
        let mut entries: Vec<ArcEntry> = arcs
            .list()
            .map(|(name, end, features)| ArcEntry {
                name: name.to_owned(),
                end: end.to_owned(),
                features: features.iter().map(|feature| feature.name.clone()).collect(),
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }
}

fn kind_name(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::INPUT => "input",
        NodeKind::PRE_INPUT => "pre-input",
        _ => "internal",
    }
}

/// The sections of the configuration that the core's own modules registered: name and JSON Schema.
pub fn section_schemas() -> Vec<(&'static str, serde_json::Value)> {
    let own = raddle_plugin_api::registration::registrations();
    let sections = registered::<ConfigRegistration>(&own.configs, |config| config.section);
    let schema = |(name, config): (&'static str, ConfigRegistration)| {
        // SAFETY: the function is of this image; the sink lives until the call returns.
        let ((), schema) = sink_into(|sink| unsafe { (config.schema)(sink) });
        (name, serde_json::from_str(&schema).unwrap_or_default())
    };
    sections.into_iter().map(schema).collect()
}
