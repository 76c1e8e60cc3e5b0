//! Putting fragments together, or telling them by the ports of their first one.
#![forbid(unsafe_code)]

mod budget;
mod command;
mod config;
mod datagram;
mod fragment;
mod full;
mod init;
mod join;
mod joined;
mod key;
mod list;
mod node;
mod node_virtual;
mod reason;
mod reassembly_drop;
mod service;
mod shallow;
mod shard;
mod spans;
mod table;
mod virtual_role;

pub use fragment::is_first_fragment;
pub use init::interface_event;
pub use joined::{Joined, joined_field};
pub use node::{Feature4, Feature6, Local4, Local6, ReassemblyNode};
pub use node_virtual::VirtualReassemblyNode;
pub use reassembly_drop::ReassemblyDrop;
pub use service::Reassembly;
pub use virtual_role::{Virtual4, Virtual6, VirtualL2};
