//! Process nodes: async tasks on the main thread, what wakes them, and descriptors that are watched.

mod executor;
mod watches;

pub use executor::{Cancelled, Executor, InHand, Polled, TaskInfo, WakeQueue};
pub use watches::Watches;
