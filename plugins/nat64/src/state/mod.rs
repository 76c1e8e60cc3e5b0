//! Bindings and sessions (RFC 6146 §3.1 to §3.5). No packet, no clock, no thread: time comes in as ticks, and each thread has a
//! [`Shard`] of its own.

mod asked;
mod bib;
mod eam;
mod endings;
mod look_ups;
mod openings;
mod permits;
mod pool;
mod port_choice;
mod port_hold;
mod ranges;
mod rules;
mod session;
mod shard;
mod statics;
mod subscriber;
mod tcp;

#[cfg(test)]
mod shard_laws;

pub use asked::{Asked, AskedRefusal, Given};
pub use bib::Binding;
pub use eam::{Eam, EamTable};
pub use endings::Ended;
pub use openings::{Opened, Refusal};
pub use pool::{PoolUse, Ports, Share};
pub use port_hold::{Reuse, WantedPort};
pub use ranges::{AddressSet, PoolRange};
pub use rules::{Filtering, FoundPrefix, KnownPrefix, Limits, Rules, Tenant, Timeouts};
pub use session::{Flow4, Flow6, Protocol, Session};
pub use shard::{Figures, Shard, ShardPlan, ShardSize, Ticks, bytes_per_session};
pub use statics::{Inside, StaticMap, Statics};
pub use subscriber::Subscriber;
pub use tcp::{Side, TcpState};
