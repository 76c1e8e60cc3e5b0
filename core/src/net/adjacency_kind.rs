//! What is done with packets of an adjacency.
#![forbid(unsafe_code)]

use serde::Serialize;

/// What is done with packets of an adjacency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum AdjacencyKind {
    /// Dropped; also what a row is that nobody uses.
    Drop = 0,
    /// No route: the sender is told that the network cannot be reached.
    NoRoute = 1,
    /// Dropped without a word, as a route says.
    Blackhole = 2,
    /// As a route says, the sender is told that the destination cannot be reached.
    Unreachable = 3,
    /// As a route says, the sender is told that it may not.
    Prohibit = 4,
    /// For an own address: to `ip4-local` or `ip6-local`.
    Local = 5,
    /// To `punt`.
    Punt = 6,
    /// A link-local destination, which is looked up with its interface.
    LinkLocal = 7,
    /// On a connected network, neighbour not known yet: to `ip4-neighbor` or `ip6-neighbor`.
    Glean = 8,
    /// A next hop whose link-layer address is not known: to `ip4-neighbor` or `ip6-neighbor`.
    Incomplete = 9,
    /// A next hop in full: the rewrite is put in front.
    Rewrite = 10,
    /// As `Rewrite`, and its next use is of interest: to `ip4-neighbor` or `ip6-neighbor`, which tells the main thread and
    /// sends the packet on to the rewriting node, where this is the same as `Rewrite`.
    Watched = 11,
    /// The destination is looked up again, in another table.
    Table = 12,
    /// To a node that a plugin's route names.
    Node = 13,
}

impl std::fmt::Display for AdjacencyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Drop => "drop",
            Self::NoRoute => "no-route",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
            Self::Local => "local",
            Self::Punt => "punt",
            Self::LinkLocal => "link-local",
            Self::Glean => "glean",
            Self::Incomplete => "incomplete",
            Self::Rewrite => "rewrite",
            Self::Watched => "watched",
            Self::Table => "table",
            Self::Node => "node",
        })
    }
}

impl AdjacencyKind {
    #[inline(always)]
    /// The kind in the low byte of a row's word.
    pub(super) const fn from_bits(bits: u64) -> Self {
        match bits as u8 {
            13 => Self::Node,
            12 => Self::Table,
            11 => Self::Watched,
            10 => Self::Rewrite,
            9 => Self::Incomplete,
            8 => Self::Glean,
            7 => Self::LinkLocal,
            6 => Self::Punt,
            5 => Self::Local,
            4 => Self::Prohibit,
            3 => Self::Unreachable,
            2 => Self::Blackhole,
            1 => Self::NoRoute,
            _ => Self::Drop,
        }
    }
}
