//! The commands: changes, dry runs, and what is to be seen.

mod change;
mod check;
mod reachable;
mod sessions;
mod show;

pub use sessions::{end_sessions_later, report_metrics};
