//! What a plugin says of itself, for people and programs.

use std::fmt;

use semver::{Version, VersionReq};
use serde::Serialize;

/// What a plugin says of itself: its header, and the names of what it registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Description {
    /// Its name, also of its configuration section.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// What it does, in a line.
    pub summary: String,
    /// Compiler and profile that built it.
    pub built_with: String,
    /// ABI version of its SDK.
    pub abi: String,
    /// What it registers.
    #[serde(flatten)]
    pub registered: Registered,
}

/// Names of everything that a plugin registers, in the order of its lists, which says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Registered {
    /// Plugins that must be there.
    pub requires: Vec<Requirement>,
    /// Nodes.
    pub nodes: Vec<String>,
    /// Features.
    pub features: Vec<FeatureDescription>,
    /// Feature arcs.
    pub arcs: Vec<String>,
    /// Usages of its commands.
    pub commands: Vec<String>,
    /// Sections of the configuration file.
    pub configs: Vec<String>,
    /// Interface drivers.
    pub drivers: Vec<String>,
    /// Subjects of the events that it hears of.
    pub events: Vec<String>,
    /// Init functions.
    pub inits: Vec<String>,
    /// Exit functions.
    pub exits: Vec<String>,
    /// State that is handed over in an upgrade.
    pub states: Vec<String>,
}

/// A feature that a plugin registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FeatureDescription {
    /// Its name in the configuration.
    pub name: String,
    /// Its arc.
    pub arc: String,
    /// Its node.
    pub node: String,
    /// Whether packets are dropped rather than passed on when the plugin is quarantined.
    pub fail_closed: bool,
}

/// A plugin that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// Its name.
    pub name: String,
    /// Versions of it that will do.
    pub version: VersionReq,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.name, self.version, self.summary)?;
        line(f, "built with", [&self.built_with])?;
        line(f, "abi", [&self.abi])?;
        let Registered {
            requires,
            nodes,
            features,
            arcs,
            commands,
            configs,
            drivers,
            events,
            inits,
            exits,
            states,
        } = &self.registered;
        line(f, "requires", requires)?;
        line(f, "nodes", nodes)?;
        line(f, "features", features)?;
        line(f, "arcs", arcs)?;
        for command in commands {
            line(f, "command", [command])?;
        }
        line(f, "config", configs)?;
        line(f, "drivers", drivers)?;
        line(f, "events", events)?;
        line(f, "init", inits)?;
        line(f, "exit", exits)?;
        line(f, "state", states)
    }
}

/// A line `  label       item, item`, nothing when there are no items.
fn line<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    label: &str,
    items: impl IntoIterator<Item = T>,
) -> fmt::Result {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() {
        return Ok(());
    }
    write!(f, "\n  {label:<10}  {}", items.join(", "))
}

impl fmt::Display for FeatureDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closed = if self.fail_closed { ", fail-closed" } else { "" };
        write!(f, "{} (node {} on {}{closed})", self.name, self.node, self.arc)
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}
