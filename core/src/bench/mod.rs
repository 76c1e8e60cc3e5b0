//! `raddle bench`: what a packet costs, on the real graph, from an in-memory generator.

mod acl;
mod cases;
mod count;
mod curves;
mod esp;
mod load;
mod machine;
mod measure;
mod nat64;
mod nodes;
mod parts;
mod passes;
mod report;
mod routes;
mod rule_seeds;
mod rule_sets;
mod sessions;
mod stage;
mod start;
mod upgrade;
mod workload;

pub use cases::{Case, cases};
pub use count::pass;
pub use curves::{CurveResult, SeriesResult, run_curves};
pub use measure::{BenchOptions, run};
pub use parts::{PART_CASES, PartResult};
pub use report::{CaseResult, NodeCost};
pub use routes::{ROUTE_CASES, RouteResult};
