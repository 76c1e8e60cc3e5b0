//! `show node`, `show features`, `show init-function`.

use std::fmt::Write;

use raddle_plugin_api::command::{NoArguments, Output};
use raddle_plugin_api::{Control, Failure, command};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::layout::{Align, Table, list};
use crate::host::methods::{ArcReport, InitReport, NodeReport};

#[derive(Deserialize)]
struct ShowNode {
    node: Option<String>,
}

/// All nodes, or one.
#[derive(Serialize)]
#[serde(untagged)]
enum Nodes {
    All(Vec<NodeReport>),
    One(Box<NodeReport>),
}

impl Output for Nodes {
    fn text(&self) -> Option<String> {
        Some(match self {
            Self::One(node) => node_text(node),
            Self::All(nodes) => {
                let mut table = Table::new(&[
                    ("index", Align::Right),
                    ("node", Align::Left),
                    ("kind", Align::Left),
                    ("plugin", Align::Left),
                    ("nexts", Align::Left),
                ]);
                for node in nodes {
                    let (index, nexts) = (node.index.to_string(), list(&node.nexts));
                    table.row([index, node.name.clone(), node.kind.clone(), node.plugin.clone(), nexts]);
                }
                table.to_string()
            }
        })
    }
}

fn node_text(node: &NodeReport) -> String {
    let mut text = format!("{}: {} node, index {}, of {}", node.name, node.kind, node.index, node.plugin);
    // Writing to a string cannot fail.
    text.push_str("\n  sends to:");
    for (slot, next) in node.nexts.iter().enumerate() {
        let _ = write!(text, "\n    {slot:>3}  {next}");
    }
    let _ = write!(text, "\n  is sent to by: {}", list(&node.previous));
    if !node.errors.is_empty() {
        text.push_str("\n  drops for:");
        let width = node.errors.iter().map(|error| error.reason.chars().count()).max().unwrap_or(0);
        for error in &node.errors {
            let _ = write!(text, "\n    {:width$}  {}", error.reason, error.text);
        }
    }
    text
}

fn show_node(control: &mut Control<'_>, arguments: ShowNode) -> Result<Nodes, Failure> {
    Ok(match arguments.node {
        Some(name) => Nodes::One(control.call("node.find", &json!({"name": name}))?),
        None => Nodes::All(control.call("node.list", &())?),
    })
}

command! { "show node [<node>]", "shows the nodes of the graph, or one with its nexts and errors", show_node }

#[derive(Deserialize)]
struct ShowFeatures {
    interface: Option<String>,
}

/// Arcs with their features: all, or those that are on for an interface.
#[derive(Serialize)]
#[serde(transparent)]
struct Features {
    arcs: Vec<ArcReport>,
    #[serde(skip)]
    interface: Option<String>,
}

impl Output for Features {
    fn text(&self) -> Option<String> {
        let blocks: Vec<String> = self.arcs.iter().map(|arc| self.arc_text(arc)).collect();
        if blocks.is_empty() {
            return Some(match &self.interface {
                Some(interface) => format!("no feature is on for interface `{interface}`"),
                None => "no arc".to_owned(),
            });
        }
        Some(blocks.join("\n"))
    }
}

impl Features {
    fn arc_text(&self, arc: &ArcReport) -> String {
        let mut text = format!("{} (ends at {})", arc.arc, arc.end);
        if arc.features.is_empty() {
            text.push_str("\n  no feature");
            return text;
        }
        let mut table = Table::new(&[
            ("feature", Align::Left),
            ("node", Align::Left),
            ("plugin", Align::Left),
            ("when its plugin fails", Align::Left),
            ("on for", Align::Left),
        ]);
        for feature in &arc.features {
            table.row([
                feature.name.clone(),
                feature.node.clone(),
                feature.plugin.clone(),
                if feature.fail_closed { "drops" } else { "passes" }.to_owned(),
                list(&feature.interfaces),
            ]);
        }
        for line in table.to_string().lines() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {line}");
        }
        text
    }
}

fn show_features(control: &mut Control<'_>, arguments: ShowFeatures) -> Result<Features, Failure> {
    let mut arcs: Vec<ArcReport> = control.call("feature.list", &())?;
    let interface = arguments.interface;
    if let Some(name) = &interface {
        control.interface(name)?;
        for arc in &mut arcs {
            arc.features.retain(|feature| feature.interfaces.contains(name));
        }
        arcs.retain(|arc| !arc.features.is_empty());
    }
    Ok(Features { arcs, interface })
}

command! {
    "show features [interface <interface>]",
    "shows the feature arcs with their features in order, or those that are on for an interface", show_features
}

fn show_init(control: &mut Control<'_>, _: NoArguments) -> Result<Vec<InitReport>, Failure> {
    control.call("init.list", &())
}

command! { "show init-function", "shows the init functions in the order in which they ran", show_init }
