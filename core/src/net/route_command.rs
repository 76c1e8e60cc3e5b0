//! Commands that add and remove routes.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::IpPrefix;
use serde::Deserialize;

use super::routes::Routes;
use super::static_route::{Rejection, RouteHop, RouteSpec, RouteTarget};

command! {
    "route add <prefix> via <next-hop:ip> [interface <interface>] [weight <weight:u32:1..256>] [table <table:word>]",
    "adds a route, or one more next hop to it",
    add_hop
}
command! {
    "route add <prefix> interface <interface> [weight <weight:u32:1..256>] [table <table:word>]",
    "adds a route to neighbours on an interface's link",
    add_link
}
command! {
    "route add <prefix> via table <target:word> [table <table:word>]",
    "adds a route whose destinations are looked up in another table",
    add_table
}
command! {
    "route add <prefix> blackhole|unreachable|prohibit [table <table:word>]",
    "adds a route that drops its packets",
    add_rejection
}
command! {
    "route del <prefix> via <next-hop:ip> [interface <interface>] [table <table:word>]",
    "removes a next hop of a route, and the route with the last one",
    remove_hop
}
command! {
    "route del <prefix> interface <interface> [table <table:word>]",
    "removes a route to neighbours on an interface's link",
    remove_link
}
command! {
    "route del <prefix> via table <target:word> [table <table:word>]",
    "removes a route whose destinations are looked up in another table",
    remove_table
}
command! {
    "route del <prefix> blackhole|unreachable|prohibit [table <table:word>]",
    "removes a route that drops its packets",
    remove_rejection
}
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Hop {
    prefix: IpPrefix,
    /// `None`: the destinations are on the interface's link.
    next_hop: Option<IpAddr>,
    interface: Option<String>,
    weight: Option<u32>,
    table: Option<String>,
}

/// The table that was named, or the default one.
fn table(name: Option<&str>) -> TableKey {
    // Any text names a table, whether there is one or not.
    name.and_then(|name| name.parse().ok()).unwrap_or_default()
}

impl Hop {
    fn spec(self) -> RouteSpec {
        let hop =
            RouteHop { via: self.next_hop, interface: self.interface, weight: self.weight.unwrap_or(1) };
        RouteSpec { prefix: self.prefix, table: table(self.table.as_deref()), target: RouteTarget::Hop(hop) }
    }
}

fn add_hop(control: &mut Control<'_>, arguments: Hop) -> Result<(), Failure> {
    control.resource::<Routes>()?.add(control, &arguments.spec())
}

fn remove_hop(control: &mut Control<'_>, arguments: Hop) -> Result<(), Failure> {
    control.resource::<Routes>()?.remove(control, &arguments.spec())
}

fn add_link(control: &mut Control<'_>, arguments: Hop) -> Result<(), Failure> {
    add_hop(control, arguments)
}

fn remove_link(control: &mut Control<'_>, arguments: Hop) -> Result<(), Failure> {
    remove_hop(control, arguments)
}

#[derive(Deserialize)]
struct ViaTable {
    prefix: IpPrefix,
    target: String,
    table: Option<String>,
}

impl ViaTable {
    fn spec(&self) -> RouteSpec {
        let target = RouteTarget::Table(table(Some(&self.target)));
        RouteSpec { prefix: self.prefix, table: table(self.table.as_deref()), target }
    }
}

fn add_table(control: &mut Control<'_>, arguments: ViaTable) -> Result<(), Failure> {
    control.resource::<Routes>()?.add(control, &arguments.spec())
}

fn remove_table(control: &mut Control<'_>, arguments: ViaTable) -> Result<(), Failure> {
    control.resource::<Routes>()?.remove(control, &arguments.spec())
}

#[derive(Deserialize)]
struct Reject {
    prefix: IpPrefix,
    #[serde(default)]
    blackhole: bool,
    #[serde(default)]
    unreachable: bool,
    table: Option<String>,
}

impl Reject {
    fn spec(&self) -> RouteSpec {
        let rejection = match (self.blackhole, self.unreachable) {
            (true, _) => Rejection::Blackhole,
            (_, true) => Rejection::Unreachable,
            _ => Rejection::Prohibit,
        };
        let table = table(self.table.as_deref());
        RouteSpec { prefix: self.prefix, table, target: RouteTarget::Reject(rejection) }
    }
}

fn add_rejection(control: &mut Control<'_>, arguments: Reject) -> Result<(), Failure> {
    control.resource::<Routes>()?.add(control, &arguments.spec())
}

fn remove_rejection(control: &mut Control<'_>, arguments: Reject) -> Result<(), Failure> {
    control.resource::<Routes>()?.remove(control, &arguments.spec())
}
