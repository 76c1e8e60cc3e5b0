//! Routing tables as plugins and the operator name them, and routes of plugins.

mod packed;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::task::{self, TaskControl};
use crate::wire::IpPrefix;
use crate::{Control, Failure, InterfaceIndex};

/// A routing table by its number or its name. The default table is 0, `default`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TableKey {
    /// Its number.
    Id(u32),
    /// Its name, which does not begin with a digit.
    Name(String),
}

impl TableKey {
    /// The table of interfaces and routes that name none.
    pub const DEFAULT: Self = Self::Id(0);

    /// Whether this is the default table.
    pub fn is_default(&self) -> bool {
        match self {
            Self::Id(id) => *id == 0,
            Self::Name(name) => name == Self::DEFAULT_NAME,
        }
    }

    /// The default table's name.
    pub const DEFAULT_NAME: &'static str = "default";
}

impl Default for TableKey {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Digits are a number, all else is a name.
impl FromStr for TableKey {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id))
    }
}

impl fmt::Display for TableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// Routes that one batch has at most: so many take the main thread ten milliseconds and more.
pub const MAX_BATCH: usize = 8192;
/// Routes that [`change_routes`] changes in one turn: less than half a millisecond of the main thread's time.
pub const ROUTES_PER_TURN: usize = 128;

/// One next hop of a plugin's route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RouteHop {
    /// The router; `None` where the destinations themselves are on the interface's link.
    pub address: Option<IpAddr>,
    /// The interface; `None`: whatever leads to the router.
    pub interface: Option<InterfaceIndex>,
    /// Share of the flows, relative to the other next hops; 1 or more.
    pub weight: u16,
}

impl RouteHop {
    /// A router that other routes or networks lead to. When they change, all routes by it follow at once.
    pub fn recursive(address: IpAddr) -> Self {
        Self { address: Some(address), interface: None, weight: 1 }
    }

    /// A router on the link of an interface.
    pub fn on_link(address: IpAddr, interface: InterfaceIndex) -> Self {
        Self { address: Some(address), interface: Some(interface), weight: 1 }
    }
}

/// What a plugin's route does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteTarget {
    /// Sends by flow to one of these next hops.
    Via(Vec<RouteHop>),
    /// Looks the destination up again in another table.
    Table(TableKey),
    /// Sends to a node, whose packets begin with the IP header: what a translator or a tunnel does. Own packets take it too, such as ICMP
    /// errors. The plugin takes its routes away before its nodes go.
    Node(String),
    /// Drops silently.
    Blackhole,
    /// Drops and tells the sender that the destination cannot be reached.
    Unreachable,
    /// Drops and tells the sender that it is forbidden.
    Prohibit,
}

/// Changes of a plugin's routes, made by one call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteBatch {
    /// The table.
    pub table: TableKey,
    /// Which of several sources' routes to a prefix is used: the least wins. From 10 to 255; interfaces, the operator,
    /// neighbours and loaded files come before.
    pub preference: u8,
    /// Tells sources of one preference apart; a plugin keeps to one number.
    pub owner: u16,
    /// What routes do, each once.
    pub targets: Vec<RouteTarget>,
    /// Prefixes with the place of their target: added, or given another target. `None`: the source's route goes, if there is
    /// one. At most [`MAX_BATCH`]. In JSON a text, `10.0.0.0/8=0 192.0.2.0/24`, or a list of pairs.
    #[serde(with = "packed")]
    pub routes: Vec<(IpPrefix, Option<u32>)>,
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteDone {
    /// Changes that were made.
    pub routes: usize,
}

impl Control<'_> {
    /// Adds, replaces and removes routes; workers see each at once and never wait. The main thread does nothing else meanwhile: a
    /// plugin with many routes uses [`change_routes`].
    ///
    /// # Errors
    /// There is no such table, a target makes no sense, a route would be reached through itself, or memory has run out; the message
    /// says how many of the changes were made before.
    pub fn change_routes(&self, batch: &RouteBatch) -> Result<usize, Failure> {
        self.call::<_, RouteDone>("route.change", batch).map(|done| done.routes)
    }

    /// The FIB index of a table: what [`Packet::fib_index`](crate::Packet::fib_index) of its packets is, for both families.
    ///
    /// # Errors
    /// There is none such; the message names the nearest one.
    pub fn fib_index(&self, table: &TableKey) -> Result<u32, Failure> {
        self.call("route.fib-index", table)
    }
}

/// As [`Control::change_routes`], of any number of changes, for tasks: in turns between which the main thread does all else. The
/// changes are made in order.
///
/// # Errors
/// As [`Control::change_routes`]; what was changed by earlier turns stays.
pub async fn change_routes(task: TaskControl, mut batch: RouteBatch) -> Result<usize, Failure> {
    let changes = std::mem::take(&mut batch.routes);
    let mut done = 0;
    for part in changes.chunks(ROUTES_PER_TURN) {
        if done > 0 {
            // Behind what else there is to be done.
            task::yield_now().await;
        }
        batch.routes.clear();
        batch.routes.extend_from_slice(part);
        done += task
            .with(|control| control.change_routes(&batch))
            .map_err(|failure| failure.context(format_args!("behind {done} routes, which stay")))?;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_named_by_number_or_name() {
        for (text, expected, is_default) in [
            ("0", TableKey::Id(0), true),
            ("4294967295", TableKey::Id(u32::MAX), false),
            ("default", TableKey::Name("default".into()), true),
            ("blue", TableKey::Name("blue".into()), false),
        ] {
            let key: TableKey = text.parse().unwrap();
            assert_eq!((&key, key.is_default(), key.to_string()), (&expected, is_default, text.to_owned()));
        }
        let keys: Vec<TableKey> = serde_json::from_str(r#"[7, "red"]"#).unwrap();
        assert_eq!(keys, [TableKey::Id(7), TableKey::Name("red".into())]);
    }
}
