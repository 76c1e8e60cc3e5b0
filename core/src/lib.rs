//! The raddle dataplane.

pub mod cli;
pub mod control;
