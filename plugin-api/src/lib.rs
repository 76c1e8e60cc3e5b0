//! The SDK of raddle.

pub mod wire;
