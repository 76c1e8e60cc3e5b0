//! The daemon: from a configuration to a running engine, and to its end.

mod apply;
mod owners;
mod plugins;
mod reload;
mod run;
mod running;

pub use apply::apply;
pub use owners::owners;
pub use plugins::{bring_in, load, policy};
pub use run::{Daemon, engine_config};
pub use running::running;
