//! MAC addresses that an interface takes frames for besides its own: further stations, and groups.

mod command;
mod filters;
mod init;
mod table;

pub use filters::{HeldAddress, Holder, MAX_ADDRESSES, MacFilters, SOLICITED_NODES, check_address};
pub use init::interface_event;
pub use table::{MacTable, word};
