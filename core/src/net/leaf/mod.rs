//! Leaves of the forwarding tables: an adjacency itself, or a set of paths of which each flow takes one.
//!
//! A leaf below [`PATH_SET`] is the index of an adjacency. Any other is the row of a path set, whose content the main thread
//! changes while the leaf stays in the table: one word, which is the adjacency of a single path, or names a run of
//! buckets, a power of two of them, over which the paths are spread by weight. A flow's hash chooses its bucket.
//!
//! # What moves when paths change
//!
//! A bucket keeps its path as long as the path is there and has not more buckets than its share: when a path goes, its flows
//! alone go to others; when one comes, it takes buckets of the others up to its share, and all other flows stay. A run
//! becomes twice as long by repetition, which moves no flow.
//!
//! # Who reads, who writes
//!
//! Word and buckets are atomics. A change of the same length is made in place, bucket by bucket; another one in a new run, whose
//! buckets are written before the word names it. A run that is named no more is used again only after every thread has
//! passed a quiescent point, and so is a reference to an adjacency given back.

mod share;
mod table;
mod writer;

pub use share::MAX_SET_BUCKETS;
pub use table::LeafTable;
pub use writer::{Former, LeafError, MAX_BUCKETS, MAX_PATH_SETS, PATH_SET};

#[cfg(test)]
mod tests;
