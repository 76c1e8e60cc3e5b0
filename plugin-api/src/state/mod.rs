//! State that outlives an upgrade: tables in the host's memory, and bytes that one version hands to the next.

mod arena;
mod hand_over;
mod kept;
mod table;

pub use arena::Arena;
pub(crate) use hand_over::report_panic;
#[doc(hidden)]
pub use hand_over::{run_export, run_import};
pub use kept::{KeptPerThread, KeptState};
pub use table::KeptTable;
