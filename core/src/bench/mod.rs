//! `raddle bench`: what a packet costs, on the real graph, from an in-memory generator.

mod cases;
mod machine;
mod measure;
mod report;

pub use cases::{Case, cases};
pub use measure::{BenchOptions, run};
pub use report::{CaseResult, NodeCost};
