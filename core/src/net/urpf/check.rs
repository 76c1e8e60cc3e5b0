//! The rule by which a source is believed.

use std::fmt;

use raddle_plugin_api::{InterfaceIndex, error};
use serde::Serialize;

use crate::net::adjacency::AdjacencyKind;
use crate::net::fib::{Address, LeafIndex};
use crate::net::forwarding::ForwardingTables;
use crate::net::port_policy::UrpfMode;
use crate::net::table_cache::TableCache;
use crate::net::table_hop::follow;

error! {
    /// Why packets are dropped.
    pub enum UrpfError {
        Truncated => "truncated": "shorter than an IP header",
        NoRoute => "no-route-to-source": "no route leads to the source, or one that drops its packets (RFC 3704 section 2.4)",
        OtherInterface => "other-interface": "no path to the source leads out by the interface that the packet came in by (RFC 3704 section 2.2)",
    }
}

/// Whether a packet that came in by `interface` from a source with this leaf is believed. Of several paths (ECMP) any will
/// do: which of them the answer takes is not known (RFC 3704 §2.3).
///
/// # Errors
/// It is not, and why.
pub fn judge<A: Address>(
    tables: &ForwardingTables,
    cache: &TableCache<A>,
    source: A,
    mode: UrpfMode,
    interface: InterfaceIndex,
    leaf: LeafIndex,
) -> Result<(), UrpfError> {
    let leads = |adjacency: u32, by: Option<InterfaceIndex>| {
        let mut row = tables.adjacencies.get(adjacency);
        if row.kind() == AdjacencyKind::Table {
            // Of a route into another table one path is looked at.
            let Some(found) = follow(tables, cache, source, adjacency, || 0) else { return false };
            row = tables.adjacencies.get(found.0);
        }
        matches!(
            row.kind(),
            AdjacencyKind::Rewrite
                | AdjacencyKind::Watched
                | AdjacencyKind::Incomplete
                | AdjacencyKind::Glean
                // What a plugin stands for has no interface of its own.
                | AdjacencyKind::Node
        ) && by.is_none_or(|interface| row.interface() == interface)
    };
    let any = |by| tables.leaves.any(leaf, |adjacency| leads(adjacency, by));
    match mode {
        UrpfMode::Off => Ok(()),
        UrpfMode::Strict if any(Some(interface)) => Ok(()),
        UrpfMode::Strict if any(None) => Err(UrpfError::OtherInterface),
        UrpfMode::Loose if any(None) => Ok(()),
        UrpfMode::Strict | UrpfMode::Loose => Err(UrpfError::NoRoute),
    }
}

/// What is noted of a traced packet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Record {
    pub source: String,
    pub mode: UrpfMode,
    pub believed: bool,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, mode, believed } = self;
        write!(f, "source {source}, {mode}: {}", if *believed { "passes" } else { "fails" })
    }
}
