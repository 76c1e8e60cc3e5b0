//! Feature arcs: which features there are, in which order, and where they are on.

mod arcs;

pub use arcs::{Feature, FeatureArcs, FeatureError};
