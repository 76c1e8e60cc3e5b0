//! The daemon: from a configuration to a running engine, and to its end.

mod apply;

pub use apply::apply;
