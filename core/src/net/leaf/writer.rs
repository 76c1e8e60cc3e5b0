//! The main thread's side of the leaves.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap, HashSet};

use super::share::MAX_SET_BUCKETS;
use crate::net::adjacency::AdjacencyIndex;
use crate::net::fib::LeafIndex;

/// Leaves from here on are path sets.
pub const PATH_SET: LeafIndex = 1 << 23;
/// Path sets that can exist at a time.
pub const MAX_PATH_SETS: usize = 1 << 18;
/// Buckets of all path sets together.
pub const MAX_BUCKETS: usize = 1 << 22;

/// Why a path set could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// all {MAX_PATH_SETS} path sets are in use
    #[error("all {MAX_PATH_SETS} path sets are in use")]
    Sets,
    /// all {MAX_BUCKETS} buckets of path sets are in use
    #[error("all {MAX_BUCKETS} buckets of path sets are in use")]
    Buckets,
    /// the process has no address space for the leaves
    #[error("the process has no address space for the leaves")]
    Memory,
}

/// A run of buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: u32,
    /// A power of two.
    pub(super) length: u32,
}

/// What a leaf held until it was changed, to be given back when no thread can know it any more.
#[must_use = "what a leaf held is given back after a quiescent point"]
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Former {
    /// References to be released.
    pub adjacencies: Vec<AdjacencyIndex>,
    pub(super) run: Option<Run>,
}

impl Former {
    /// Whether there is anything to give back.
    pub fn is_empty(&self) -> bool {
        self.adjacencies.is_empty() && self.run.is_none()
    }
}

/// What a path set holds.
#[derive(Clone, Default)]
pub(super) struct Held {
    /// Adjacencies with their weights.
    pub(super) paths: Vec<(AdjacencyIndex, u32)>,
    /// Buckets, where more than one path is in use.
    pub(super) run: Option<Run>,
}

#[derive(Default)]
pub(super) struct Writer {
    pub(super) held: HashMap<LeafIndex, Held>,
    pub(super) free_sets: Vec<LeafIndex>,
    pub(super) untouched_sets: u32,
    /// By the length's logarithm.
    free_runs: [Vec<u32>; MAX_SET_BUCKETS.ilog2() as usize + 1],
    untouched_buckets: u32,
    /// Path sets of more than one path, by adjacency.
    users: HashMap<AdjacencyIndex, BTreeSet<LeafIndex>>,
    /// Adjacencies with users that no flow is sent to while there is another.
    unusable: HashSet<AdjacencyIndex>,
}

impl Writer {
    /// Another run of this length.
    pub(super) fn take_run(&mut self, length: u32) -> Option<Run> {
        if let Some(start) = self.free_runs[length.ilog2() as usize].pop() {
            return Some(Run { start, length });
        }
        let start = self.untouched_buckets;
        if (start + length) as usize > MAX_BUCKETS {
            return None;
        }
        self.untouched_buckets += length;
        Some(Run { start, length })
    }

    pub(super) fn give_run(&mut self, run: Run) {
        self.free_runs[run.length.ilog2() as usize].push(run.start);
    }

    /// The paths that flows are sent to: those that can be used, or all if none can.
    pub(super) fn usable(&self, paths: &[(AdjacencyIndex, u32)]) -> Vec<(AdjacencyIndex, u32)> {
        let usable: Vec<_> =
            paths.iter().filter(|(adjacency, _)| !self.unusable.contains(adjacency)).copied().collect();
        if usable.is_empty() { paths.to_vec() } else { usable }
    }

    /// Notes who uses adjacencies beside others.
    pub(super) fn enlist(&mut self, leaf: LeafIndex, paths: &[(AdjacencyIndex, u32)]) {
        if paths.len() > 1 {
            for (adjacency, _) in paths {
                self.users.entry(*adjacency).or_default().insert(leaf);
            }
        }
    }

    /// The reverse of [`Self::enlist`]. What nobody uses counts as usable: its index may be another next hop's soon.
    pub(super) fn strike(&mut self, leaf: LeafIndex, paths: &[(AdjacencyIndex, u32)]) {
        for (adjacency, _) in paths {
            if let Some(leaves) = self.users.get_mut(adjacency) {
                leaves.remove(&leaf);
                if leaves.is_empty() {
                    self.users.remove(adjacency);
                    self.unusable.remove(adjacency);
                }
            }
        }
    }

    /// Notes whether an adjacency can be used; returns the path sets that this changes.
    pub(super) fn note(&mut self, adjacency: AdjacencyIndex, usable: bool) -> Vec<LeafIndex> {
        let Some(leaves) = self.users.get(&adjacency) else { return Vec::new() };
        let changed = if usable { self.unusable.remove(&adjacency) } else { self.unusable.insert(adjacency) };
        if changed { leaves.iter().copied().collect() } else { Vec::new() }
    }

    pub(super) fn is_shared(&self, adjacency: AdjacencyIndex) -> bool {
        self.users.contains_key(&adjacency)
    }
}
