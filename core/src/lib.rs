//! The raddle dataplane.

pub mod control;
