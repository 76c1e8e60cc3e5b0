//! The raddle dataplane: see the book in `docs/`.
#![deny(unsafe_op_in_unsafe_fn)]

pub mod graph;
pub mod memory;
pub mod plugin;
pub mod runtime;
