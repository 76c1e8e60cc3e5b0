//! The raddle dataplane.
