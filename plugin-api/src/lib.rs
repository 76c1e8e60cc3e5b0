//! The SDK of raddle: write a dataplane plugin in safe Rust, test it without root or daemon.
//!
//! A plugin is a `cdylib` crate that declares what it brings, by one macro a thing:
//!
//! - [`plugin!`]: name and summary of the plugin, once;
//! - [`node!`] for types that implement [`Node`], [`feature!`] to hang them into an arc such as `ip4-unicast`;
//! - [`init!`] and [`exit!`] for functions that run at load and before unload;
//! - [`config!`] for its section of the configuration file, [`command!`] for commands, [`driver!`] for interface
//!   drivers, [`on_event!`] to hear of interfaces that come and go.
//!
//! The host checks the plugin's header, orders its init functions among all others by name, and splices its nodes into
//! the running graph. What crosses between the two is in [`abi`]; an author needs none of it, nor `unsafe`.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod abi;
pub mod address;
mod chain;
pub mod command;
pub mod config;
mod control;
mod counter;
pub mod cpu;
pub mod driver;
mod each;
pub mod event;
mod failure;
pub mod file;
mod group;
mod guard;
pub mod icmp_error;
mod index;
#[doc(hidden)]
pub mod instance;
pub mod interface;
mod l4_ports;
mod lent;
pub mod log;
mod mac_address;
pub mod metric;
pub mod namespace;
pub mod neighbor;
pub mod next_hop;
mod node;
mod offload;
mod packet;
#[doc(hidden)]
pub mod plugin;
pub mod prelude;
pub mod punt;
mod reader;
#[doc(hidden)]
pub mod registration;
pub mod route;
pub mod service;
pub mod state;
pub mod sync;
pub mod table;
mod tally;
pub mod task;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod timer;
mod vector;
pub mod wire;
mod worker;

#[doc(hidden)]
pub use linkme;

pub use control::{Control, NodeInit};
pub use counter::Counters;
pub use failure::Failure;
pub use index::{ArcIndex, InterfaceIndex, NodeIndex};
pub use interface::{InterfaceChange, InterfaceEvent, InterfaceInfo};
pub use l4_ports::L4Ports;
pub use lent::{BufferMemory, Lent, LentPiece};
pub use next_hop::NextHop;
pub use node::{Errors, InputNode, Next, NoError, NoNext, Node, TraceRecord, Verdict};
pub use packet::{Field, HeldPacket, Packet, Segments};
pub use reader::Reader;
pub use tally::Tally;
pub use vector::{Env, Output, Vector, prefetch_read};
pub use worker::{Interface, Worker};

/// The crate's README, whose example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// Compiler and profile that built this SDK.
pub const BUILT_WITH: &str = env!("RADDLE_BUILT_WITH");
