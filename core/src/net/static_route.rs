//! Routes as an operator gives them, and what they come to with the interfaces as they are.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::IpPrefix;
use raddle_plugin_api::{Failure, InterfaceIndex, bail};

use super::fib::{Action, NextHop};
use super::link::Links;

/// The greatest weight of a next hop.
pub const MAX_WEIGHT: u32 = 256;

/// What a route without next hop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Drops without a word.
    Blackhole,
    /// Tells the sender that the destination cannot be reached.
    Unreachable,
    /// Tells the sender that it may not.
    Prohibit,
}

/// One next hop of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteHop {
    /// The router; `None` where the destinations themselves are on the interface's link.
    pub via: Option<IpAddr>,
    /// The interface's name; `None`: the one whose network the router is on, or what the routes to it say.
    pub interface: Option<String>,
    /// Share of the flows, relative to the prefix's other next hops, from 1 to [`MAX_WEIGHT`].
    pub weight: u32,
}

/// What a route does with its packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// Sends them to a next hop.
    Hop(RouteHop),
    /// Looks them up again in another table.
    Table(TableKey),
    /// Drops them.
    Reject(Rejection),
}

/// One route, or one next hop of a route that has several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// The prefix.
    pub prefix: IpPrefix,
    /// The routing table that it is in.
    pub table: TableKey,
    /// What it does.
    pub target: RouteTarget,
}

impl Rejection {
    /// What a route does that says so.
    pub fn action(self) -> Action {
        match self {
            Self::Blackhole => Action::Blackhole,
            Self::Unreachable => Action::Unreachable,
            Self::Prohibit => Action::Prohibit,
        }
    }
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hop(hop) => hop.fmt(f),
            Self::Table(table) => write!(f, "via table {table}"),
            Self::Reject(rejection) => rejection.fmt(f),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
        })
    }
}

impl fmt::Display for RouteHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.via, &self.interface) {
            (Some(via), None) => write!(f, "via {via}"),
            (Some(via), Some(interface)) => write!(f, "via {via} interface {interface}"),
            (None, Some(interface)) => write!(f, "interface {interface}"),
            (None, None) => f.write_str("nowhere"),
        }
    }
}

impl fmt::Display for StaticRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // There is at least one next hop.
            Self::Hops(hops) => hops.first().map_or(Ok(()), |hop| hop.fmt(f)),
            Self::Table(table) => write!(f, "via table {table}"),
            Self::Reject(rejection) => rejection.fmt(f),
        }
    }
}

/// All that was given for one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StaticRoute {
    /// Next hops, at least one.
    Hops(Vec<RouteHop>),
    /// Another table, by its number.
    Table(u32),
    /// No next hop.
    Reject(Rejection),
}

impl StaticRoute {
    /// The route with one more next hop, or a new one. Tables are named by number.
    ///
    /// # Errors
    /// It is there already, or another kind of route is.
    pub fn with(present: Option<&Self>, spec: &RouteSpec) -> Result<Self, Failure> {
        let RouteSpec { prefix, target, .. } = spec;
        check(spec)?;
        let Some(present) = present else {
            return Ok(match target {
                RouteTarget::Hop(hop) => Self::Hops(vec![hop.clone()]),
                RouteTarget::Table(table) => Self::Table(number(table)?),
                RouteTarget::Reject(rejection) => Self::Reject(*rejection),
            });
        };
        match (present, target) {
            (Self::Hops(hops), RouteTarget::Hop(hop)) => {
                if hops.iter().any(|other| other.is_same_way(hop)) {
                    bail!("route {prefix} {hop} is there already");
                }
                Ok(Self::Hops(hops.iter().chain([hop]).cloned().collect()))
            }
            (present, target) if present.is_what(target) => bail!("route {prefix} {target} is there already"),
            (present, _) => bail!("route {prefix} is there already, {present}"),
        }
    }

    /// The route without a next hop; `None` if it was the only one.
    ///
    /// # Errors
    /// It does not have it.
    pub fn without(&self, spec: &RouteSpec) -> Result<Option<Self>, Failure> {
        let RouteSpec { prefix, target, .. } = spec;
        match (self, target) {
            (Self::Hops(hops), RouteTarget::Hop(hop)) => {
                let Some(at) = hops.iter().position(|other| other.is_way_of(hop)) else {
                    bail!("route {prefix} has no next hop {hop}");
                };
                let mut left = hops.clone();
                left.remove(at);
                Ok((!left.is_empty()).then_some(Self::Hops(left)))
            }
            (present, target) if present.is_what(target) => Ok(None),
            (present, target) => bail!("route {prefix} is not {target}, but {present}"),
        }
    }

    /// Its next hops.
    pub fn hops(&self) -> &[RouteHop] {
        match self {
            Self::Hops(hops) => hops,
            Self::Table(_) | Self::Reject(_) => &[],
        }
    }

    /// The number of the table that it leads to.
    pub fn table(&self) -> Option<u32> {
        match self {
            Self::Table(table) => Some(*table),
            Self::Hops(_) | Self::Reject(_) => None,
        }
    }

    /// Whether this is the route that the target makes; of next hops: never.
    fn is_what(&self, target: &RouteTarget) -> bool {
        match (self, target) {
            (Self::Reject(present), RouteTarget::Reject(target)) => present == target,
            (Self::Table(present), RouteTarget::Table(target)) => *target == TableKey::Id(*present),
            _ => false,
        }
    }

    /// What the route does now: only next hops count whose interface passes packets. `None`: nothing.
    pub fn action(&self, prefix: IpPrefix, links: &Links, networks: &Networks) -> Option<Action> {
        let hops = match self {
            Self::Reject(rejection) => return Some(rejection.action()),
            Self::Table(table) => return Some(Action::Table { table: *table }),
            Self::Hops(hops) => hops,
        };
        let next_hops: Vec<NextHop> =
            hops.iter().filter_map(|hop| hop.next_hop(prefix, links, networks)).collect();
        match next_hops.as_slice() {
            [] => None,
            [NextHop { address: None, interface: Some(interface), .. }] => {
                Some(Action::Connected { interface: *interface })
            }
            _ => Some(Action::Via(next_hops)),
        }
    }
}

impl RouteHop {
    fn is_same_way(&self, other: &Self) -> bool {
        (self.via, &self.interface) == (other.via, &other.interface)
    }

    /// As who removes it says it: the interface may be left out.
    fn is_way_of(&self, other: &Self) -> bool {
        self.via == other.via && (other.interface.is_none() || self.interface == other.interface)
    }

    fn next_hop(&self, prefix: IpPrefix, links: &Links, networks: &Networks) -> Option<NextHop> {
        // `check` keeps weights within a u16.
        let weight = self.weight as u16;
        let interface = match (&self.interface, self.via) {
            (Some(name), _) => Some(links.find(name).filter(|&index| links.is_up(index))?),
            (None, Some(via)) => match networks.containing(via) {
                Some(index) if links.is_up(index) => Some(index),
                Some(_) => return None,
                None => None,
            },
            (None, None) => return None,
        };
        // A route to one host on the link is a neighbour's.
        let host = || (prefix == IpPrefix::host(prefix.network())).then(|| prefix.network());
        Some(NextHop { address: self.via.or_else(host), interface: interface.map(|index| index.0), weight })
    }
}

fn check(spec: &RouteSpec) -> Result<(), Failure> {
    let RouteSpec { prefix, target, .. } = spec;
    let RouteTarget::Hop(RouteHop { via, interface, weight }) = target else {
        return Ok(());
    };
    if !(1..=MAX_WEIGHT).contains(weight) {
        bail!("weight {weight} of route {prefix} is not in 1..={MAX_WEIGHT}");
    }
    let Some(via) = via else {
        return Ok(());
    };
    if via.is_ipv4() != prefix.network().is_ipv4() {
        bail!("next hop {via} is of another family than route {prefix}");
    }
    if via.is_unspecified() || via.is_multicast() || via.is_loopback() {
        bail!("next hop {via} of route {prefix} is no router's address");
    }
    if interface.is_none() && matches!(via, IpAddr::V6(via) if via.is_unicast_link_local()) {
        bail!("next hop {via} of route {prefix} is link-local, so it needs an interface");
    }
    Ok(())
}

/// The number of a table that was looked up.
fn number(table: &TableKey) -> Result<u32, Failure> {
    match table {
        TableKey::Id(id) => Ok(*id),
        TableKey::Name(name) => bail!("there is no routing table `{name}`"),
    }
}

/// Networks that interfaces are connected to, whether they are up or not.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    by_prefix: BTreeMap<IpPrefix, InterfaceIndex>,
    /// Lengths of the prefixes.
    lengths: BTreeSet<u8>,
}

impl Networks {
    /// None.
    pub const fn new() -> Self {
        Self { by_prefix: BTreeMap::new(), lengths: BTreeSet::new() }
    }

    /// Takes an interface's network in.
    pub fn insert(&mut self, network: IpPrefix, interface: InterfaceIndex) {
        self.lengths.insert(network.length());
        self.by_prefix.insert(network, interface);
    }

    /// The interface on whose network the address is.
    pub fn containing(&self, address: IpAddr) -> Option<InterfaceIndex> {
        let networks =
            self.lengths.iter().rev().filter_map(|&length| IpPrefix::containing(address, length).ok());
        networks.filter_map(|network| self.by_prefix.get(&network)).next().copied()
    }
}

#[cfg(test)]
#[path = "static_route_tests.rs"]
mod tests;
