//! Sessions: what a reflexive rule has let pass, and the answers to it.

mod flow;
mod key;
mod table;
mod timeouts;

pub use flow::{Flow, Passing, Side};
pub use key::{FlowKey4, FlowKey6, flow_key4, flow_key6, interface4, interface6, open4, open6};
pub use table::{Counts, SessionSizes, Sessions};
pub use timeouts::{Lifetime, Timeouts};
