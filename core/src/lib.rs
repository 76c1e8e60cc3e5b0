//! The raddle dataplane.

pub mod net;
