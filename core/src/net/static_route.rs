//! Routes as an operator gives them, and what they come to with the interfaces as they are.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use raddle_plugin_api::wire::IpPrefix;
use raddle_plugin_api::{Failure, InterfaceIndex, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fib::{Action, NextHop};
use super::link::Links;

/// The greatest weight of a next hop.
pub const MAX_WEIGHT: u32 = 256;

/// What a route without next hop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
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
    /// Drops them.
    Reject(Rejection),
}

/// One route, or one next hop of a route that has several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// The prefix.
    pub prefix: IpPrefix,
    /// The routing table.
    pub table: u32,
    /// What it does.
    pub target: RouteTarget,
}

/// A route in the configuration file: `[[route]]`. Several with one prefix are next hops of one route.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// The prefix, as `10.0.0.0/8`.
    pub prefix: IpPrefix,
    /// The next hop's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// The interface towards the next hop, which a link-local one needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// What a route without next hop does.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Rejection>,
    /// The routing table.
    #[serde(default, skip_serializing_if = "is_default_table")]
    pub table: u32,
    /// Share of the flows, relative to the prefix's other next hops, from 1 to 256.
    #[serde(default = "default_weight", skip_serializing_if = "is_default_weight")]
    pub weight: u32,
}

fn default_weight() -> u32 {
    1
}

fn is_default_weight(weight: &u32) -> bool {
    *weight == 1
}

fn is_default_table(table: &u32) -> bool {
    *table == 0
}

impl TryFrom<&RouteConfig> for RouteSpec {
    type Error = Failure;

    fn try_from(config: &RouteConfig) -> Result<Self, Failure> {
        let RouteConfig { prefix, table, weight, .. } = *config;
        let target = match (config.rejection, config.via, &config.interface) {
            (Some(rejection), None, None) => RouteTarget::Reject(rejection),
            (Some(_), ..) => bail!("route {prefix} has a type, so it can have neither `via` nor `interface`"),
            (None, None, None) => bail!("route {prefix} needs `via`, `interface` or `type`"),
            (None, via, interface) => {
                RouteTarget::Hop(RouteHop { via, interface: interface.clone(), weight })
            }
        };
        Ok(Self { prefix, table, target })
    }
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hop(hop) => hop.fmt(f),
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

/// All that was given for one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StaticRoute {
    /// Next hops, at least one.
    Hops(Vec<RouteHop>),
    /// No next hop.
    Reject(Rejection),
}

impl StaticRoute {
    /// The route with one more next hop, or a new one.
    ///
    /// # Errors
    /// It is there already, or the other kind of route is.
    pub fn with(present: Option<&Self>, spec: &RouteSpec) -> Result<Self, Failure> {
        let RouteSpec { prefix, target, .. } = spec;
        check(spec)?;
        match (present, target) {
            (None, RouteTarget::Hop(hop)) => Ok(Self::Hops(vec![hop.clone()])),
            (None, RouteTarget::Reject(rejection)) => Ok(Self::Reject(*rejection)),
            (Some(Self::Hops(hops)), RouteTarget::Hop(hop)) => {
                if hops.iter().any(|other| other.is_same_way(hop)) {
                    bail!("route {prefix} {hop} is there already");
                }
                Ok(Self::Hops(hops.iter().chain([hop]).cloned().collect()))
            }
            (Some(Self::Reject(rejection)), RouteTarget::Reject(new)) if rejection == new => {
                bail!("route {prefix} {rejection} is there already")
            }
            (Some(Self::Hops(hops)), RouteTarget::Reject(new)) => {
                // Invariant: there is at least one next hop.
                let hop = hops.first().map(ToString::to_string).unwrap_or_default();
                bail!("route {prefix} cannot be {new}: it is there already, {hop}")
            }
            (Some(Self::Reject(rejection)), _) => {
                bail!("route {prefix} is there already as {rejection}")
            }
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
            (Self::Reject(rejection), RouteTarget::Reject(gone)) if rejection == gone => Ok(None),
            (Self::Reject(rejection), _) => bail!("route {prefix} is {rejection}, not {target}"),
            (Self::Hops(_), _) => bail!("route {prefix} has next hops, it is not {target}"),
        }
    }

    /// What the route does now: only next hops count whose interface passes packets. `None`: nothing.
    pub fn action(&self, links: &Links, networks: &Networks) -> Option<Action> {
        let hops = match self {
            Self::Reject(Rejection::Blackhole) => return Some(Action::Blackhole),
            Self::Reject(Rejection::Unreachable) => return Some(Action::Unreachable),
            Self::Reject(Rejection::Prohibit) => return Some(Action::Prohibit),
            Self::Hops(hops) => hops,
        };
        let next_hops: Vec<NextHop> = hops.iter().filter_map(|hop| hop.next_hop(links, networks)).collect();
        (!next_hops.is_empty()).then_some(Action::Via(next_hops))
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

    fn next_hop(&self, links: &Links, networks: &Networks) -> Option<NextHop> {
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
        Some(NextHop { address: self.via, interface: interface.map(|index| index.0), weight })
    }
}

fn check(spec: &RouteSpec) -> Result<(), Failure> {
    let RouteSpec { prefix, table, target } = spec;
    if *table != 0 {
        bail!("there is no routing table {table}");
    }
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

/// Networks that interfaces are connected to, whether they are up or not.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    by_prefix: BTreeMap<IpPrefix, InterfaceIndex>,
}

impl Networks {
    /// The networks of these interfaces.
    pub fn new(networks: impl IntoIterator<Item = (IpPrefix, InterfaceIndex)>) -> Self {
        Self { by_prefix: networks.into_iter().collect() }
    }

    /// The interface on whose network the address is.
    pub fn containing(&self, address: IpAddr) -> Option<InterfaceIndex> {
        let covering = self.by_prefix.iter().filter(|(prefix, _)| prefix.contains(address));
        covering.max_by_key(|(prefix, _)| prefix.length()).map(|(_, &interface)| interface)
    }
}

#[cfg(test)]
#[path = "static_route_tests.rs"]
mod tests;
