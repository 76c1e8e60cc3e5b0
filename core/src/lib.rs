//! The raddle dataplane.
pub mod driver;
