//! State that workers read without a lock.

mod barrier;
mod per_thread;
mod published;

pub use barrier::{BarrierCell, BarrierGuard};
pub use per_thread::PerThread;
pub use published::Published;
