//! The leaves of all forwarding tables.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zerocopy::FromZeros;

use super::share::{settle, spread, wanted_buckets};
use super::writer::{Former, Held, LeafError, MAX_BUCKETS, MAX_PATH_SETS, PATH_SET, Run, Writer};
use crate::net::adjacency::AdjacencyIndex;
use crate::net::fib::LeafIndex;

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

    /// Whether `test` holds for any of the leaf's adjacencies, whichever flow takes them.
    pub fn any(&self, leaf: LeafIndex, mut test: impl FnMut(u32) -> bool) -> bool {
        if leaf < PATH_SET {
            return test(leaf);
        }
        let word = self.sets[leaf as usize % MAX_PATH_SETS].load(Ordering::Acquire);
        let mask = (word >> 32) as u32;
        if mask == 0 {
            return test(word as u32);
        }
        let mut last = None;
        (0..=mask).any(|at| {
            let bucket = (word as u32).wrapping_add(at) as usize % MAX_BUCKETS;
            let adjacency = self.buckets[bucket].load(Ordering::Relaxed);
            last.replace(adjacency) != Some(adjacency) && test(adjacency)
        })
    }

    /// Has the line fetched that [`Self::adjacency`] reads first.
    #[inline(always)]
    pub fn prefetch(&self, leaf: LeafIndex) {
        if leaf >= PATH_SET {
            raddle_plugin_api::prefetch_read(&self.sets[leaf as usize % MAX_PATH_SETS]);
        }
    }

    /// A new path set with these adjacencies and weights, to whose references it holds from now on. No paths: no route.
    /// Flows keep the paths that they have by `instead_of`, as far as these are among the new ones.
    ///
    /// # Errors
    /// The table is full; the references are still the caller's.
    pub fn create(
        &self,
        paths: &[(AdjacencyIndex, u32)],
        instead_of: Option<LeafIndex>,
    ) -> Result<LeafIndex, LeafError> {
        let mut writer = self.writer();
        let before = match instead_of {
            Some(leaf) if leaf < PATH_SET => vec![AdjacencyIndex(leaf)],
            Some(leaf) => self.content(leaf, writer.held.get(&leaf).and_then(|held| held.run)),
            None => vec![AdjacencyIndex::NO_ROUTE],
        };
        let set = match writer.free_sets.pop() {
            Some(leaf) => leaf,
            None if (writer.untouched_sets as usize) < MAX_PATH_SETS => {
                writer.untouched_sets += 1;
                PATH_SET + writer.untouched_sets - 1
            }
            None => return Err(LeafError::Sets),
        };
        match self.fill(&mut writer, set, paths, before) {
            Ok(_) => Ok(set),
            Err(error) => {
                writer.free_sets.push(set);
                Err(error)
            }
        }
    }

    /// Changes what a path set holds; readers see the old or the new, each flow by itself.
    ///
    /// # Errors
    /// There are no buckets left: nothing has changed, the references are still the caller's.
    pub fn update(&self, leaf: LeafIndex, paths: &[(AdjacencyIndex, u32)]) -> Result<Former, LeafError> {
        let mut writer = self.writer();
        let before = self.content(leaf, writer.held.get(&leaf).and_then(|held| held.run));
        self.fill(&mut writer, leaf, paths, before)
    }

    /// Says whether an adjacency can be used: path sets with others send no flow to one that cannot. What is returned is to
    /// be given back.
    pub fn set_usable(&self, adjacency: AdjacencyIndex, usable: bool) -> Vec<Former> {
        let mut writer = self.writer();
        let leaves = writer.note(adjacency, usable);
        let again = |leaf: LeafIndex| {
            let Held { paths, run } = writer.held.get(&leaf)?.clone();
            let before = self.content(leaf, run);
            // Without buckets flows stay where they are.
            let former = self.fill(&mut writer, leaf, &paths, before).ok()?;
            // The set holds the same references as before.
            Some(Former { adjacencies: Vec::new(), run: former.run }).filter(|former| !former.is_empty())
        };
        leaves.into_iter().filter_map(again).collect()
    }

    /// Whether some path set has the adjacency beside others.
    pub fn is_shared(&self, adjacency: AdjacencyIndex) -> bool {
        self.writer().is_shared(adjacency)
    }

    /// Frees a path set that no reader can meet any more; what it held may be given back at once.
    pub fn release(&self, leaf: LeafIndex) -> Former {
        let mut writer = self.writer();
        let Some(held) = writer.held.remove(&leaf) else {
            return Former::default();
        };
        writer.strike(leaf, &held.paths);
        self.sets[leaf as usize % MAX_PATH_SETS].store(0, Ordering::Release);
        writer.free_sets.push(leaf);
        Former { adjacencies: adjacencies(&held), run: held.run }
    }

    /// Gives back the buckets of a former content, which no reader can meet any more.
    pub fn reuse(&self, former: &Former) {
        if let Some(run) = former.run {
            self.writer().give_run(run);
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
        let buckets = self.content(leaf, held.run);
        let share = |adjacency: AdjacencyIndex| buckets.iter().filter(|bucket| **bucket == adjacency).count();
        adjacencies(held).into_iter().map(|adjacency| (adjacency, share(adjacency) as u32)).collect()
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path of each bucket, or the one path.
    fn content(&self, leaf: LeafIndex, run: Option<Run>) -> Vec<AdjacencyIndex> {
        let cells = match run {
            Some(run) => &self.buckets[run.start as usize..(run.start + run.length) as usize],
            None => {
                let word = self.sets[leaf as usize % MAX_PATH_SETS].load(Ordering::Relaxed);
                return vec![AdjacencyIndex(word as u32)];
            }
        };
        cells.iter().map(|bucket| AdjacencyIndex(bucket.load(Ordering::Relaxed))).collect()
    }

    /// Fills a path set, whose flows had these paths before, by bucket: a power of two of them.
    fn fill(
        &self,
        writer: &mut Writer,
        leaf: LeafIndex,
        paths: &[(AdjacencyIndex, u32)],
        before: Vec<AdjacencyIndex>,
    ) -> Result<Former, LeafError> {
        let old = writer.held.get(&leaf).cloned().unwrap_or_default();
        let usable = writer.usable(paths);
        let word = &self.sets[leaf as usize % MAX_PATH_SETS];
        let run = match usable.as_slice() {
            [] => {
                word.store(u64::from(AdjacencyIndex::NO_ROUTE.0), Ordering::Release);
                None
            }
            [(adjacency, _)] => {
                word.store(u64::from(adjacency.0), Ordering::Release);
                None
            }
            several => {
                // A run never becomes shorter: that would move flows.
                let length = wanted_buckets(paths.len()).max(before.len() as u32);
                let mut buckets = before;
                while buckets.len() < length as usize {
                    buckets.extend_from_within(..);
                }
                settle(&mut buckets, several, &spread(several, length));
                let run = match old.run {
                    Some(run) if run.length == length => run,
                    _ => writer.take_run(length).ok_or(LeafError::Buckets)?,
                };
                for (cell, adjacency) in self.buckets[run.start as usize..].iter().zip(&buckets) {
                    if cell.load(Ordering::Relaxed) != adjacency.0 {
                        cell.store(adjacency.0, Ordering::Relaxed);
                    }
                }
                word.store(u64::from(run.start) | u64::from(run.length - 1) << 32, Ordering::Release);
                Some(run)
            }
        };
        // In this order, so that what is known of paths that stay is not forgotten.
        writer.enlist(leaf, paths);
        let gone: Vec<_> = old
            .paths
            .iter()
            .filter(|(gone, _)| paths.len() < 2 || paths.iter().all(|(path, _)| path != gone))
            .copied()
            .collect();
        writer.strike(leaf, &gone);
        let former = Former { adjacencies: adjacencies(&old), run: old.run.filter(|_| old.run != run) };
        writer.held.insert(leaf, Held { paths: paths.to_vec(), run });
        Ok(former)
    }
}

fn adjacencies(held: &Held) -> Vec<AdjacencyIndex> {
    held.paths.iter().map(|&(adjacency, _)| adjacency).collect()
}
