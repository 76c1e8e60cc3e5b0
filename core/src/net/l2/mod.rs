//! Switching below IP: cross-connects, bridges, rewriting of VLAN tags.

mod bridges;
mod bvi;
mod bvi_tx;
mod command;
mod config;
mod domain;
mod init;
pub mod l2_bridge;
pub mod l2_flood;
mod l2_input;
mod l2_rewrite_input;
mod l2_rewrite_output;
pub mod l2_xconnect;
mod learned;
mod learning;
mod mac_table;
mod report;
mod rewrites;
mod tables;
mod tag_rewrite;

pub use bridges::Bridges;
pub use bvi::Bvi;
pub use config::{BridgeConfig, BridgeMac, BridgeMember, BridgesConfig};
pub use init::interface_event;
pub use report::{BridgeReport, MacReport, PortReport};
pub use rewrites::Rewrites;
pub use tag_rewrite::TagRewrite;
