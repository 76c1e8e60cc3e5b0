//! Indices as types, so that one is not taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An interface, by its row in the interface table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InterfaceIndex(pub u32);

impl InterfaceIndex {
    /// No interface.
    pub const NONE: Self = Self(crate::abi::NO_INTERFACE);
    /// Interfaces that can exist at a time: each index is below it.
    pub const LIMIT: usize = crate::abi::MAX_INTERFACES;
}

impl fmt::Display for InterfaceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A node of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeIndex(pub(crate) u16);

impl NodeIndex {
    /// The node that a core's table names; only host code has such numbers.
    #[doc(hidden)]
    pub const fn from_host(index: u16) -> Self {
        Self(index)
    }

    /// The number, as `show node` prints it.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// A feature arc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArcIndex(pub(crate) u8);

impl ArcIndex {
    /// The number of the arc.
    pub const fn number(self) -> u8 {
        self.0
    }
}
