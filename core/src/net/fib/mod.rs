//! Forwarding tables: longest prefix match for the workers and the route table that feeds it.
//!
//! [`Lpm`] is the structure that workers search, [`Fib`] the control side: routes from several sources, the best of
//! each prefix, shared sets of paths and recursive next hops. Nothing here does I/O or knows time or threads.

#![deny(unsafe_code)]

mod address;
#[allow(unsafe_code)]
mod block;
mod entry;
mod limbo;
mod lookup;
mod lpm;
mod nodes;
mod path;
mod path_set;
mod pinned;
#[allow(unsafe_code)]
mod rank;
mod route;
mod runs;
mod stems;
mod table;
mod trie;

pub use address::{Address, Prefix, PrefixError};
pub use entry::{LeafIndex, MAX_LEAF};
pub use lpm::{Lpm, Lpm4, Lpm6, LpmError, LpmReader, LpmReader4, LpmReader6};
pub use path::{Action, Forwarding, MAX_NEXT_HOPS, NextHop, Path, Source};
pub use pinned::Pinned;
pub use table::{Fib, FibError, Resolver, RouteView};

#[cfg(all(test, loom))]
#[path = "loom_tests.rs"]
mod loom;
