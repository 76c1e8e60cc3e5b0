//! Packets that raddle has no use for itself, to the plugin that has: why, how many, and to whom.

mod command;
mod config;
mod node;
mod offer;
mod reason;
mod reasons;
mod unclaimed;

pub use config::PuntConfig;
pub use node::{Punt, PuntError, PuntNext};
pub use offer::PuntOffer;
pub use reason::{of_ip4, of_ip6};
pub use reasons::{Fate, PuntReasons, ReasonReport};
pub use unclaimed::{PuntUnclaimed, PuntUnclaimedError, PuntUnclaimedNext};
