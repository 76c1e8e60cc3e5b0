//! Commands for routes and adjacencies.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::net::IpAddr;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::IpPrefix;
use serde::{Deserialize, Serialize};

use super::adjacency::{AdjacencyIndex, AdjacencyInfo, AdjacencyKind, AdjacencyTable, Family};
use super::forwarding::ForwardingTables;
use super::route_view::RouteInfo;
use super::routes::Routes;
use super::static_route::{Rejection, RouteHop, RouteSpec, RouteTarget};

command! {
    "route add <prefix> via <next-hop:ip> [interface <interface>] [weight <weight:u32:1..256>]",
    "adds a route, or one more next hop to it",
    add_hop
}
command! {
    "route add <prefix> blackhole|unreachable|prohibit",
    "adds a route that drops its packets",
    add_rejection
}
command! {
    "route del <prefix> via <next-hop:ip> [interface <interface>]",
    "removes a next hop of a route, and the route with the last one",
    remove_hop
}
command! {
    "route del <prefix> blackhole|unreachable|prohibit",
    "removes a route that drops its packets",
    remove_rejection
}
command! { "show fib [ip4|ip6]", "shows the routes", show_routes }
command! { "show fib <prefix>", "shows the route of a prefix, or the one that covers it", show_route }
command! { "show adjacency", "shows what is done with packets of each next hop", show_adjacencies }

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Hop {
    prefix: IpPrefix,
    next_hop: IpAddr,
    interface: Option<String>,
    weight: Option<u32>,
}

impl Hop {
    fn spec(self) -> RouteSpec {
        let hop = RouteHop {
            via: Some(self.next_hop),
            interface: self.interface,
            weight: self.weight.unwrap_or(1),
        };
        RouteSpec { prefix: self.prefix, table: 0, target: RouteTarget::Hop(hop) }
    }
}

fn add_hop(control: &mut Control<'_>, arguments: Hop) -> Result<(), Failure> {
    control.resource::<Routes>()?.add(control, &arguments.spec())
}

fn remove_hop(control: &mut Control<'_>, arguments: Hop) -> Result<(), Failure> {
    control.resource::<Routes>()?.remove(control, &arguments.spec())
}

#[derive(Deserialize)]
struct Reject {
    prefix: IpPrefix,
    #[serde(default)]
    blackhole: bool,
    #[serde(default)]
    unreachable: bool,
}

impl Reject {
    fn spec(&self) -> RouteSpec {
        let rejection = match (self.blackhole, self.unreachable) {
            (true, _) => Rejection::Blackhole,
            (_, true) => Rejection::Unreachable,
            _ => Rejection::Prohibit,
        };
        RouteSpec { prefix: self.prefix, table: 0, target: RouteTarget::Reject(rejection) }
    }
}

fn add_rejection(control: &mut Control<'_>, arguments: Reject) -> Result<(), Failure> {
    control.resource::<Routes>()?.add(control, &arguments.spec())
}

fn remove_rejection(control: &mut Control<'_>, arguments: Reject) -> Result<(), Failure> {
    control.resource::<Routes>()?.remove(control, &arguments.spec())
}

#[derive(Deserialize)]
struct ShowRoutes {
    #[serde(default)]
    ip4: bool,
    #[serde(default)]
    ip6: bool,
}

/// Routes, one a line.
#[derive(Serialize)]
#[serde(transparent)]
struct RouteList(Vec<RouteInfo>);

impl CommandOutput for RouteList {
    fn text(&self) -> Option<String> {
        let width = self.0.iter().map(|route| route.prefix.len()).max().unwrap_or(0);
        let mut text = String::new();
        for route in &self.0 {
            let RouteInfo { prefix, source, route, .. } = route;
            // Writing to a string does not fail.
            let _ = writeln!(text, "{prefix:width$}  {source:9}  {route}");
        }
        Some(text)
    }
}

fn show_routes(control: &mut Control<'_>, arguments: ShowRoutes) -> Result<RouteList, Failure> {
    let family = match (arguments.ip4, arguments.ip6) {
        (true, _) => Some(Family::Ip4),
        (_, true) => Some(Family::Ip6),
        _ => None,
    };
    Ok(RouteList(control.resource::<Routes>()?.list(family)))
}

#[derive(Deserialize)]
struct ShowRoute {
    prefix: IpPrefix,
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
    let Some(route) = routes.find(arguments.prefix) else {
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
