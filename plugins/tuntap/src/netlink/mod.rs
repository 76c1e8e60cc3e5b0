//! The kernel's links, addresses, neighbours and routes over rtnetlink, of one network namespace.
//!
//! The `rtnetlink` crate is a client for an async runtime of its own; its parts that know the messages are used here, on a plain
//! socket: a lost event (`ENOBUFS`) must not go unseen, and a plugin has no runtime.

mod command;
mod event;
mod kernel;
mod monitor;
mod next_hop_object;
mod rereading;
mod route;
mod snapshot;
mod socket;

pub use command::{Command, LinkChange, MirrorSpec, Role, Status, Table};
pub use kernel::Kernel;
pub use monitor::Monitor;
pub use route::{Change, Edit, RouteReader};
pub use snapshot::{LinkState, PermanentNeighbor, Snapshot};
pub use socket::{NetlinkError, Received, Socket};
