//! The raddle daemon.
fn main() {}
