//! Multicast groups that raddle itself is in, as a host is (RFC 3376, RFC 9776, RFC 3810, RFC 9777): who joins, what is told to the
//! link's routers, and what workers take in. IGMP's and MLD's messages are in [`super::igmp`] and [`super::mld`].
#![forbid(unsafe_code)]

mod command;
mod group_table;
mod groups;
mod init;
mod membership;
mod report;

pub use group_table::GroupTable;
pub use groups::{Groups, Heard};
pub use init::interface_event;
pub use membership::{Compatibility, GroupState, Membership, Query};
pub use report::{Record, RecordKind, Report, runs};
