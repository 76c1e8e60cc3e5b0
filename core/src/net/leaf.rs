//! Leaves of the forwarding tables: an adjacency itself, or a set of paths of which each flow takes one.
//!
//! A leaf below [`PATH_SET`] is the index of an adjacency. Any other is the row of a path set, whose content the main thread
//! changes while the leaf stays in the table: one word, which is the adjacency of a single path, or names a run of
//! buckets, a power of two of them, over which the paths are spread by weight. The word changes as a whole; buckets that it
//! named are used again only after every thread has passed a quiescent point.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zerocopy::FromZeros;

use super::adjacency::AdjacencyIndex;
use super::fib::LeafIndex;

/// Leaves from here on are path sets.
pub const PATH_SET: LeafIndex = 1 << 23;
/// Path sets that can exist at a time.
pub const MAX_PATH_SETS: usize = 1 << 18;
/// Buckets of all path sets together.
pub const MAX_BUCKETS: usize = 1 << 20;
/// Buckets of one path set: weights are kept to 1 in that many.
pub const MAX_SET_BUCKETS: usize = 1024;

/// Buckets that a path gets at least, on average, so that weights that are no power of two are kept well.
const BUCKETS_PER_PATH: usize = 8;

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
struct Run {
    start: u32,
    /// A power of two.
    length: u32,
}

/// What a leaf held until it was changed, to be given back when no thread can know it any more.
#[must_use = "what a leaf held is given back after a quiescent point"]
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Former {
    /// References to be released.
    pub adjacencies: Vec<AdjacencyIndex>,
    run: Option<Run>,
}

#[derive(Default)]
struct Held {
    adjacencies: Vec<AdjacencyIndex>,
    run: Option<Run>,
}

#[derive(Default)]
struct Writer {
    held: HashMap<LeafIndex, Held>,
    free_sets: Vec<LeafIndex>,
    untouched_sets: u32,
    /// By the length's logarithm.
    free_runs: [Vec<u32>; MAX_SET_BUCKETS.ilog2() as usize + 1],
    untouched_buckets: u32,
}

/// The leaves of all forwarding tables. Workers read without a lock; the main thread writes.
pub struct LeafTable {
    sets: Vec<AtomicU64>,
    buckets: Vec<AtomicU32>,
    writer: Mutex<Writer>,
}

impl LeafTable {
    /// A table without path sets. Memory is taken as they are made.
    ///
    /// # Errors
    /// The process has no address space for it.
    pub fn new() -> Result<Self, LeafError> {
        Ok(Self {
            sets: AtomicU64::new_vec_zeroed(MAX_PATH_SETS).map_err(|_| LeafError::Memory)?,
            buckets: AtomicU32::new_vec_zeroed(MAX_BUCKETS).map_err(|_| LeafError::Memory)?,
            writer: Mutex::default(),
        })
    }

    /// The adjacency of a leaf for a flow, whose hash is asked for only where there are several paths. 0 of a leaf that
    /// is not in use is [`AdjacencyIndex::NO_ROUTE`].
    #[inline(always)]
    pub fn adjacency(&self, leaf: LeafIndex, hash: impl FnOnce() -> u32) -> u32 {
        if leaf < PATH_SET {
            return leaf;
        }
        let word = self.sets[leaf as usize % MAX_PATH_SETS].load(Ordering::Acquire);
        let mask = (word >> 32) as u32;
        if mask == 0 {
            return word as u32;
        }
        let bucket = (word as u32).wrapping_add(hash() & mask);
        self.buckets[bucket as usize % MAX_BUCKETS].load(Ordering::Relaxed)
    }

    /// Has the line fetched that [`Self::adjacency`] reads first.
    #[inline(always)]
    pub fn prefetch(&self, leaf: LeafIndex) {
        if leaf >= PATH_SET {
            raddle_plugin_api::prefetch_read(&self.sets[leaf as usize % MAX_PATH_SETS]);
        }
    }

    /// A new path set with these adjacencies and weights, to whose references it holds from now on. No paths: no route.
    ///
    /// # Errors
    /// The table is full; the references are still the caller's.
    pub fn create(&self, paths: &[(AdjacencyIndex, u32)]) -> Result<LeafIndex, LeafError> {
        let mut writer = self.writer();
        let set = match writer.free_sets.pop() {
            Some(leaf) => leaf,
            None if (writer.untouched_sets as usize) < MAX_PATH_SETS => {
                writer.untouched_sets += 1;
                PATH_SET + writer.untouched_sets - 1
            }
            None => return Err(LeafError::Sets),
        };
        match self.fill(&mut writer, set, paths) {
            Ok(_) => Ok(set),
            Err(error) => {
                writer.free_sets.push(set);
                Err(error)
            }
        }
    }

    /// Changes what a path set holds; readers see the old or the new.
    ///
    /// # Errors
    /// There are no buckets left: nothing has changed, the references are still the caller's.
    pub fn update(&self, leaf: LeafIndex, paths: &[(AdjacencyIndex, u32)]) -> Result<Former, LeafError> {
        self.fill(&mut self.writer(), leaf, paths)
    }

    /// Frees a path set that no reader can meet any more; what it held may be given back at once.
    pub fn release(&self, leaf: LeafIndex) -> Former {
        let mut writer = self.writer();
        let Some(held) = writer.held.remove(&leaf) else {
            return Former::default();
        };
        self.sets[leaf as usize % MAX_PATH_SETS].store(0, Ordering::Release);
        writer.free_sets.push(leaf);
        Former { adjacencies: held.adjacencies, run: held.run }
    }

    /// Gives back the buckets of a former content, which no reader can meet any more.
    pub fn reuse(&self, former: &Former) {
        if let Some(run) = former.run {
            self.writer().free_runs[run.length.ilog2() as usize].push(run.start);
        }
    }

    /// The adjacencies of a leaf with the share of flows that each has, in buckets; of an adjacency itself, that.
    pub fn paths(&self, leaf: LeafIndex) -> Vec<(AdjacencyIndex, u32)> {
        if leaf < PATH_SET {
            return vec![(AdjacencyIndex(leaf), 1)];
        }
        let writer = self.writer();
        let Some(held) = writer.held.get(&leaf) else {
            return Vec::new();
        };
        let share = |adjacency: AdjacencyIndex| {
            let Some(run) = held.run else { return 1 };
            let buckets = &self.buckets[run.start as usize..(run.start + run.length) as usize];
            buckets.iter().filter(|bucket| bucket.load(Ordering::Relaxed) == adjacency.0).count() as u32
        };
        held.adjacencies.iter().map(|&adjacency| (adjacency, share(adjacency))).collect()
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(
        &self,
        writer: &mut Writer,
        leaf: LeafIndex,
        paths: &[(AdjacencyIndex, u32)],
    ) -> Result<Former, LeafError> {
        let (word, run) = match paths {
            [] => (u64::from(AdjacencyIndex::NO_ROUTE.0), None),
            [(adjacency, _)] => (u64::from(adjacency.0), None),
            several => {
                let shares = spread(several);
                let run = writer.take_run(shares.iter().sum()).ok_or(LeafError::Buckets)?;
                let mut bucket = run.start as usize;
                for (&(adjacency, _), &share) in several.iter().zip(&shares) {
                    for cell in &self.buckets[bucket..bucket + share as usize] {
                        cell.store(adjacency.0, Ordering::Relaxed);
                    }
                    bucket += share as usize;
                }
                (u64::from(run.start) | u64::from(run.length - 1) << 32, Some(run))
            }
        };
        self.sets[leaf as usize % MAX_PATH_SETS].store(word, Ordering::Release);
        let adjacencies = paths.iter().map(|&(adjacency, _)| adjacency).collect();
        let former = writer.held.insert(leaf, Held { adjacencies, run }).unwrap_or_default();
        Ok(Former { adjacencies: former.adjacencies, run: former.run })
    }
}

impl Writer {
    fn take_run(&mut self, length: u32) -> Option<Run> {
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
}

/// How many buckets each path gets: one at least, the rest by weight, the largest remainders first. The sum is a power of
/// two, at most [`MAX_SET_BUCKETS`].
fn spread(paths: &[(AdjacencyIndex, u32)]) -> Vec<u32> {
    let whole: u64 = paths.iter().map(|&(_, weight)| u64::from(weight)).sum::<u64>().max(1);
    // Where the weights sum up to a small power of two, that many buckets keep them exactly.
    let wanted = if whole.is_power_of_two() && whole <= MAX_SET_BUCKETS as u64 {
        (whole as usize).max(paths.len())
    } else {
        paths.len() * BUCKETS_PER_PATH
    };
    let total = wanted.next_power_of_two().min(MAX_SET_BUCKETS) as u64;
    let mut shares: Vec<u32> =
        paths.iter().map(|&(_, weight)| ((u64::from(weight) * total / whole) as u32).max(1)).collect();
    // A path that was lifted to one bucket has more than its share already.
    let is_whole = |at: &usize| u64::from(paths[*at].1) * total >= whole;
    let mut order: Vec<usize> = (0..paths.len()).filter(is_whole).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(u64::from(paths[at].1) * total % whole));
    let mut given: u64 = shares.iter().map(|&share| u64::from(share)).sum();
    for &at in order.iter().cycle() {
        if given >= total {
            break;
        }
        shares[at] += 1;
        given += 1;
    }
    while given > total {
        // The paths that were lifted to one bucket are paid for by the largest; there is one with more than one bucket,
        // as there are more buckets than paths.
        let Some(largest) = shares.iter_mut().max() else { break };
        *largest -= 1;
        given -= 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: AdjacencyIndex = AdjacencyIndex(10);
    const B: AdjacencyIndex = AdjacencyIndex(11);
    const C: AdjacencyIndex = AdjacencyIndex(12);

    fn never() -> u32 {
        panic!("one path needs no hash")
    }

    #[test]
    fn leaf_of_one_path_is_its_adjacency() {
        let leaves = LeafTable::new().unwrap();
        assert_eq!(leaves.adjacency(5, never), 5);
        let leaf = leaves.create(&[(A, 1)]).unwrap();
        assert!((PATH_SET..=super::super::fib::MAX_LEAF).contains(&leaf));
        assert_eq!(leaves.adjacency(leaf, never), A.0);
        let former = leaves.update(leaf, &[(B, 7)]).unwrap();
        assert_eq!(former.adjacencies, [A]);
        assert_eq!(leaves.adjacency(leaf, never), B.0);
        assert_eq!(leaves.update(leaf, &[]).unwrap().adjacencies, [B]);
        assert_eq!(leaves.adjacency(leaf, never), AdjacencyIndex::NO_ROUTE.0);
    }

    #[test]
    fn flows_are_spread_by_weight() {
        let leaves = LeafTable::new().unwrap();
        let leaf = leaves.create(&[(A, 1), (B, 3)]).unwrap();
        let of = |adjacency: AdjacencyIndex| {
            (0..1000).filter(|&hash| leaves.adjacency(leaf, || hash) == adjacency.0).count()
        };
        assert_eq!((of(A), of(B)), (250, 750));
        assert_eq!(leaves.paths(leaf), [(A, 1), (B, 3)]);
    }

    #[test]
    fn buckets_are_used_again_only_when_given_back() {
        let leaves = LeafTable::new().unwrap();
        let leaf = leaves.create(&[(A, 1), (B, 1)]).unwrap();
        let former = leaves.update(leaf, &[(B, 1), (C, 1)]).unwrap();
        assert_eq!(former.run, Some(Run { start: 0, length: 2 }));
        assert_eq!(leaves.update(leaf, &[(A, 1), (C, 1)]).unwrap().run, Some(Run { start: 2, length: 2 }));
        leaves.reuse(&former);
        assert_eq!(leaves.update(leaf, &[(A, 1), (B, 1)]).unwrap().run, Some(Run { start: 4, length: 2 }));
        let gone = leaves.release(leaf);
        assert_eq!((gone.adjacencies.as_slice(), gone.run), ([A, B].as_slice(), former.run));
        assert_eq!(leaves.adjacency(leaf, never), AdjacencyIndex::NO_ROUTE.0);
        assert_eq!(leaves.create(&[(A, 1)]), Ok(leaf));
    }

    proptest! {
        #[test]
        fn every_path_has_a_bucket_and_weights_are_kept(weights in prop::collection::vec(1_u32..=1000, 2..=256)) {
            let paths: Vec<_> = weights.iter().map(|&weight| (A, weight)).collect();
            let shares = spread(&paths);
            let total: u32 = shares.iter().sum();
            prop_assert!(total.is_power_of_two() && total as usize <= MAX_SET_BUCKETS);
            prop_assert!(shares.iter().all(|&share| share >= 1));
            let whole: u32 = weights.iter().sum();
            for (at, &share) in shares.iter().enumerate() {
                let exact = f64::from(weights[at]) * f64::from(total) / f64::from(whole);
                prop_assert!(f64::from(share) <= exact + 1.0, "{share} of {exact}");
            }
        }
    }
}
