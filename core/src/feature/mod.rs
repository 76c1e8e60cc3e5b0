//! Feature arcs: which features there are, in which order, and where they are on.

mod arcs;
mod holds;

pub use arcs::{Feature, FeatureArcs, FeatureError};
pub use holds::FeatureHolds;
