//! Interfaces: made, changed, looked after, taken away.

mod change;
mod life;
mod queues;
mod state;

pub use change::Asked;
pub use life::InterfaceRequest;
pub(super) use queues::watch;
pub use state::InterfaceState;
