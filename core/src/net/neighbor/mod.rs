//! Neighbours: who is where on the link (ARP, RFC 826; neighbour discovery, RFC 4861).
#![forbid(unsafe_code)]

mod action;
mod arp_input;
mod command;
mod config;
pub mod dad;
mod entry;
mod event;
mod init;
mod ip4_neighbor;
mod ip6_neighbor;
mod links;
mod message;
mod nd_input;
mod nd_proxy;
mod neighbor_drop;
mod option;
mod order;
mod proxied;
mod random;
mod sender;
mod service;
mod settings;
mod table;
#[cfg(test)]
mod table_tests;
mod throttle;
mod unresolved;

pub use action::{Action, DropReason, Heard};
pub use arp_input::ArpInput;
pub use command::set_static;
pub use config::{StaticNeighbor, StaticNeighbors};
pub use entry::{Entry, NeighborKey, NeighborState};
pub use event::{NeighborChange, NeighborEvent, NeighborListener};
pub(super) use init::interface_event;
pub use ip4_neighbor::Ip4Neighbor;
pub use ip6_neighbor::Ip6Neighbor;
pub use nd_input::NdInput;
pub use nd_proxy::NdProxy;
pub use neighbor_drop::NeighborDrop;
pub use option::{DetectionSetting, NeighborOptions, NeighborTableConfig};
pub use random::Random;
pub use sender::Sender;
pub use service::Neighbors;
pub use settings::Settings;
pub use table::Table;
