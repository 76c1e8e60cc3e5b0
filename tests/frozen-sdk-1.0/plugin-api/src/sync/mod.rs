//! State that workers read without a lock.

mod barrier;
mod published;

pub use barrier::{BarrierCell, BarrierGuard};
pub use published::Published;
