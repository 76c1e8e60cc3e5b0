//! Commands that show routes, tables and adjacencies.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::net::IpAddr;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::IpPrefix;
use serde::{Deserialize, Serialize};

use super::adjacency::{AdjacencyIndex, AdjacencyInfo, AdjacencyKind, AdjacencyTable, Family};
use super::forwarding::ForwardingTables;
use super::route_view::RouteInfo;
use super::routes::{PAGE_ROUTES, Routes};

command! {
    "show fib [ip4|ip6] [table <table:word>] [after <after:prefix>]",
    "shows the routes of a table",
    show_routes
}
command! {
    "show fib <prefix> [table <table:word>]",
    "shows the route of a prefix, or the one that covers it",
    show_route
}
command! { "show adjacency", "shows what is done with packets of each next hop", show_adjacencies }

#[derive(Deserialize)]
struct ShowRoutes {
    #[serde(default)]
    ip4: bool,
    #[serde(default)]
    ip6: bool,
    table: Option<String>,
    after: Option<IpPrefix>,
}

/// The table that was named, or the default one.
fn table(name: Option<&str>) -> TableKey {
    // Any text names a table, whether there is one or not.
    name.and_then(|name| name.parse().ok()).unwrap_or_default()
}

/// Routes, one a line; a table of many in parts.
#[derive(Serialize)]
#[serde(transparent)]
struct RouteList {
    routes: Vec<RouteInfo>,
    #[serde(skip)]
    rest: Option<String>,
}

/// Room for a prefix, so that the parts of a long list stand alike.
const PREFIX_WIDTH: usize = 20;

impl CommandOutput for RouteList {
    fn text(&self) -> Option<String> {
        let width = self.routes.iter().map(|route| route.prefix.len()).max().unwrap_or(0).max(PREFIX_WIDTH);
        let mut text = String::new();
        for route in &self.routes {
            let RouteInfo { prefix, source, route, .. } = route;
            // Writing to a string does not fail.
            let _ = writeln!(text, "{prefix:width$}  {source:9}  {route}");
        }
        text.truncate(text.trim_end().len());
        Some(text)
    }

    fn rest(&self) -> Option<String> {
        self.rest.clone()
    }
}

fn show_routes(control: &mut Control<'_>, arguments: ShowRoutes) -> Result<RouteList, Failure> {
    let family = match (arguments.ip4, arguments.ip6) {
        (true, _) => Some(Family::Ip4),
        (_, true) => Some(Family::Ip6),
        _ => None,
    };
    let table = table(arguments.table.as_deref());
    let page = control.resource::<Routes>()?.page(&table, family, arguments.after, PAGE_ROUTES)?;
    let rest = page.more_after.map(|after| {
        let family = match family {
            Some(Family::Ip4) => "ip4 ",
            Some(Family::Ip6) => "ip6 ",
            None => "",
        };
        format!("show fib {family}table {table} after {after}")
    });
    Ok(RouteList { routes: page.routes, rest })
}

#[derive(Deserialize)]
struct ShowRoute {
    prefix: IpPrefix,
    table: Option<String>,
}

/// A route with what packets meet at its leaf.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RouteDetail {
    #[serde(flatten)]
    route: RouteInfo,
    adjacencies: Vec<Share>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Share {
    adjacency: AdjacencyIndex,
    kind: AdjacencyKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_hop: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    buckets: u32,
}

impl CommandOutput for RouteDetail {
    fn text(&self) -> Option<String> {
        let RouteInfo { prefix, source, route, forwarding, others, .. } = &self.route;
        let mut text = format!("{prefix} {source}: {route}\n  forwarding: {forwarding}\n");
        for share in &self.adjacencies {
            // Writing to a string does not fail.
            let _ = write!(text, "  adjacency {} {}", share.adjacency.0, share.kind);
            if let Some(next_hop) = share.next_hop {
                let _ = write!(text, " {next_hop}");
            }
            if let Some(interface) = &share.interface {
                let _ = write!(text, " on {interface}");
            }
            let _ = writeln!(text, ", buckets {}", share.buckets);
        }
        for other in others {
            let _ = writeln!(text, "  not in use: {other}");
        }
        Some(text)
    }
}

fn show_route(control: &mut Control<'_>, arguments: ShowRoute) -> Result<RouteDetail, Failure> {
    let routes = control.resource::<Routes>()?;
    let tables = control.resource::<ForwardingTables>()?;
    let Some(route) = routes.find(&table(arguments.table.as_deref()), arguments.prefix)? else {
        bail!("no route covers {}", arguments.prefix);
    };
    let share = |(adjacency, buckets): (AdjacencyIndex, u32)| {
        let row = tables.adjacencies.get(adjacency.0);
        let interface = row.interface();
        let interface = (interface != InterfaceIndex::NONE).then(|| routes.interface_name(interface));
        Share { adjacency, kind: row.kind(), next_hop: row.next_hop(), interface, buckets }
    };
    let adjacencies = tables.leaves.paths(route.leaf).into_iter().map(share).collect();
    Ok(RouteDetail { route, adjacencies })
}

/// An adjacency with the name of its interface.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct AdjacencyLine {
    index: AdjacencyIndex,
    interface: String,
    next_hop: Option<IpAddr>,
    kind: AdjacencyKind,
    family: Family,
    mtu: u32,
    rewrite: String,
    references: u32,
}

fn show_adjacencies(control: &mut Control<'_>, _: NoArguments) -> Result<Vec<AdjacencyLine>, Failure> {
    let routes = control.resource::<Routes>()?;
    let line = |info: AdjacencyInfo| AdjacencyLine {
        index: info.index,
        interface: routes.interface_name(info.interface),
        next_hop: info.next_hop,
        kind: info.kind,
        family: info.family,
        mtu: info.mtu,
        rewrite: info.rewrite.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        }),
        references: info.references,
    };
    Ok(control.resource::<AdjacencyTable>()?.list(None).into_iter().map(line).collect())
}
