//! The daemon: from a configuration to a running engine, and to its end.

mod apply;
mod crash_log;
mod ip_policy;
mod methods;
mod neighbor_method;
mod owners;
mod plugins;
mod reload;
mod route_method;
mod run;
mod running;

pub use apply::apply;
pub use owners::owners;
pub use plugins::{bring_in, policy, upgrade};
pub use route_method::add_route_method;
pub use run::{Daemon, engine_config};
pub use running::running;
