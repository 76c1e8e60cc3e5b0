//! The SDK of raddle.
