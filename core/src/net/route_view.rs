//! Routes as commands show them.
#![forbid(unsafe_code)]

use raddle_plugin_api::InterfaceIndex;
use serde::Serialize;

use super::fib::{Action, Address, Forwarding, NextHop, RouteView, Source};
use super::link::Links;
use super::routes::{RouteOwners, TableIndex};

/// By what numbers are called.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// Interfaces.
    pub links: &'a Links,
    /// Tables.
    pub tables: &'a TableIndex,
    /// Plugins that have routes.
    pub owners: &'a RouteOwners,
}

/// The routes of a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RouteInfo {
    /// The prefix.
    pub prefix: String,
    /// Who gave the route in use.
    pub source: String,
    /// What it says.
    pub route: String,
    /// What it comes to now.
    pub forwarding: String,
    /// Its leaf.
    pub leaf: u32,
    /// Routes of other sources, which are not in use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
}

impl RouteInfo {
    /// Makes the interfaces' indices names.
    pub fn of<A: Address>(view: &RouteView<'_, A>, names: Names<'_>) -> Self {
        let (others, Names { links, tables, owners }) = (view.others.iter(), names);
        Self {
            prefix: view.prefix.to_string(),
            source: source(view.source, owners),
            route: action(view.action, links, tables),
            forwarding: forwarding(view.forwarding, links, tables),
            leaf: view.leaf,
            others: others
                .map(|(from, what)| format!("{}: {}", source(*from, owners), action(what, links, tables)))
                .collect(),
        }
    }
}

fn source(source: Source, owners: &RouteOwners) -> String {
    match source {
        Source::INTERFACE => "interface".into(),
        Source::STATIC => "static".into(),
        Source::NEIGHBOR => "neighbor".into(),
        Source::LOADED => "loaded".into(),
        of_plugin => owners.name(of_plugin),
    }
}

fn action(action: &Action, links: &Links, tables: &TableIndex) -> String {
    match action {
        Action::Via(next_hops) => {
            next_hops.iter().map(|next_hop| hop(next_hop, links)).collect::<Vec<_>>().join(", ")
        }
        Action::Connected { interface } => format!("connected {}", name(*interface, links)),
        Action::Local { interface: Some(interface) } => format!("local {}", name(*interface, links)),
        Action::Local { interface: None } => "local".into(),
        Action::Blackhole => "blackhole".into(),
        Action::Unreachable => "unreachable".into(),
        Action::Prohibit => "prohibit".into(),
        Action::Table { table: super::leaf_resolver::LINK_LOCAL_TABLE } => "by interface".into(),
        Action::Table { table } => format!("via table {}", tables.name(*table)),
        Action::Node { name, .. } => format!("node {name}"),
    }
}

fn hop(next_hop: &NextHop, links: &Links) -> String {
    let via = next_hop.address.map(|address| format!("via {address}"));
    let interface = next_hop.interface.map(|interface| format!("interface {}", name(interface, links)));
    let weight = (next_hop.weight != 1).then(|| format!("weight {}", next_hop.weight));
    [via, interface, weight].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn forwarding(forwarding: &Forwarding, links: &Links, tables: &TableIndex) -> String {
    match forwarding {
        Forwarding::Paths(paths) => {
            let path = |path: &super::fib::Path| {
                let to = path.address.map_or_else(String::new, |address| format!("{address} "));
                let weight =
                    if path.weight == 1 { String::new() } else { format!(" weight {}", path.weight) };
                format!("{to}on {}{weight}", name(path.interface, links))
            };
            paths.iter().map(path).collect::<Vec<_>>().join(", ")
        }
        Forwarding::Glean { interface } => format!("resolve on {}", name(*interface, links)),
        Forwarding::Receive { .. } => "receive".into(),
        Forwarding::Blackhole => "drop".into(),
        Forwarding::Unreachable => "unreachable".into(),
        Forwarding::Prohibit => "prohibit".into(),
        Forwarding::Table { table: super::leaf_resolver::LINK_LOCAL_TABLE } => "by interface".into(),
        Forwarding::Table { table } => format!("look up in table {}", tables.name(*table)),
        Forwarding::Node { .. } => "to the node".into(),
    }
}

fn name(interface: u32, links: &Links) -> String {
    links.name(InterfaceIndex(interface))
}
