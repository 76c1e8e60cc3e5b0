//! Neighbours: who is where on the link (ARP, RFC 826; neighbour discovery, RFC 4861).

mod entry;
mod order;
mod settings;
mod table;
#[cfg(test)]
mod table_tests;

pub use entry::{Entry, NeighborKey, NeighborState};
pub use settings::Settings;
pub use table::{Action, DropReason, Heard, Table};
