//! The SDK of raddle.

pub mod config;
