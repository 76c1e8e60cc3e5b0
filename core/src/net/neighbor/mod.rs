//! Neighbours: who is where on the link (ARP, RFC 826; neighbour discovery, RFC 4861).
#![forbid(unsafe_code)]

mod arp_input;
mod command;
mod config;
mod entry;
mod init;
mod ip4_neighbor;
mod ip6_neighbor;
mod links;
mod message;
mod nd_input;
mod neighbor_drop;
mod order;
mod service;
mod settings;
mod table;
#[cfg(test)]
mod table_tests;
mod throttle;
mod unresolved;

pub use arp_input::ArpInput;
pub use config::{StaticNeighbor, StaticNeighbors};
pub use entry::{Entry, NeighborKey, NeighborState};
pub(super) use init::interface_event;
pub use ip4_neighbor::Ip4Neighbor;
pub use ip6_neighbor::Ip6Neighbor;
pub use nd_input::NdInput;
pub use neighbor_drop::NeighborDrop;
pub use service::Neighbors;
pub use settings::Settings;
pub use table::{Action, DropReason, Heard, Table};
