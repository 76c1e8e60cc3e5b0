//! How many buffers of the pool fragments may hold, over all tables and threads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A share of the pool. Half of it is divided evenly among the shards, so that a flood that fills some of them leaves the
/// others room; the other half is for those that need more.
#[derive(Debug)]
pub struct Budget {
    percent: usize,
    shards: usize,
    common: AtomicUsize,
}

impl Budget {
    /// `percent` of the pool, for so many shards, which is not 0.
    pub const fn new(percent: usize, shards: usize) -> Self {
        Self { percent, shards, common: AtomicUsize::new(0) }
    }

    /// Buffers of a pool of `pool` that may be held in all.
    pub const fn total(&self, pool: usize) -> usize {
        pool * self.percent / 100
    }

    /// Buffers that each shard may hold whatever the others do.
    const fn guaranteed(&self, pool: usize) -> usize {
        self.total(pool) / 2 / self.shards
    }

    /// Buffers that one source may have held: an eighth of all, so that no one fills all by itself.
    pub const fn of_source(&self, pool: usize) -> usize {
        self.total(pool) / 8
    }

    /// Whether a shard that holds `held` buffers may hold `more`; then they count as held.
    #[must_use]
    pub fn take(&self, pool: usize, held: usize, more: usize) -> bool {
        let guaranteed = self.guaranteed(pool);
        let extra = Self::beyond(held + more, guaranteed) - Self::beyond(held, guaranteed);
        let most = self.total(pool) - guaranteed * self.shards;
        extra == 0
            || (self.common)
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                    (used + extra <= most).then_some(used + extra)
                })
                .is_ok()
    }

    /// A shard that held `held` buffers has given `less` of them back.
    pub fn give_back(&self, pool: usize, held: usize, less: usize) {
        let guaranteed = self.guaranteed(pool);
        let extra = Self::beyond(held, guaranteed) - Self::beyond(held - less, guaranteed);
        if extra > 0 {
            self.common.fetch_sub(extra, Ordering::Relaxed);
        }
    }

    const fn beyond(held: usize, guaranteed: usize) -> usize {
        held.saturating_sub(guaranteed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_greedy_shard_leaves_the_others_their_part() {
        let budget = Budget::new(25, 4);
        let greedy = (0..1000).take_while(|&held| budget.take(400, held, 1)).count();
        assert_eq!((budget.total(400), greedy), (100, 12 + 52));
        for held in 0..12 {
            assert!(budget.take(400, held, 1));
        }
        assert!(!budget.take(400, 12, 1));
        budget.give_back(400, greedy, 1);
        assert!(budget.take(400, 12, 1));
    }

    proptest! {
        #[test]
        fn holds_its_bound_and_ends_empty(
            pool in 0usize..3000, steps in proptest::collection::vec((0usize..4, 1usize..60, any::<bool>()), 0..100),
        ) {
            let budget = Budget::new(25, 4);
            let mut held = [0; 4];
            for (shard, amount, takes) in steps {
                if takes {
                    if budget.take(pool, held[shard], amount) {
                        held[shard] += amount;
                    }
                } else {
                    let amount = amount.min(held[shard]);
                    budget.give_back(pool, held[shard], amount);
                    held[shard] -= amount;
                }
                prop_assert!(held.iter().sum::<usize>() <= budget.total(pool));
            }
            for held in held {
                budget.give_back(pool, held, held);
            }
            prop_assert_eq!(budget.common.load(Ordering::Relaxed), 0);
        }
    }
}
