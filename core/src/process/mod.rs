//! Process nodes: async tasks on the main thread.

mod executor;

pub use executor::{Executor, InHand, Polled, TaskInfo, WakeQueue};
