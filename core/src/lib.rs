//! The raddle dataplane: see the book in `docs/`.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod bench;
pub mod cli;
pub mod control;
pub mod crash;
pub mod daemon;
pub mod driver;
pub mod feature;
pub mod filter;
pub mod graph;
pub mod host;
pub mod interface;
pub mod memory;
pub mod metrics;
pub mod net;
pub mod plugin;
pub mod process;
pub mod runtime;
