//! How the buckets of a path set are shared out.
#![forbid(unsafe_code)]

use crate::net::adjacency::AdjacencyIndex;

/// Buckets of one path set: weights are kept to 1 in that many.
pub const MAX_SET_BUCKETS: usize = 4096;
/// Buckets of a path set of more than one path at least, so that a path that comes takes a fair part of each other's.
const LEAST_BUCKETS: usize = 64;
/// Buckets that a path gets at least, on average, so that weights that are no power of two are kept well.
const BUCKETS_PER_PATH: usize = 16;

/// How many buckets a set of so many paths wants: a power of two.
pub(super) fn wanted_buckets(paths: usize) -> u32 {
    (paths * BUCKETS_PER_PATH).next_power_of_two().clamp(LEAST_BUCKETS, MAX_SET_BUCKETS) as u32
}

/// How many of `total` buckets each path gets: one at least, the rest by weight, the largest remainders first.
pub(super) fn spread(paths: &[(AdjacencyIndex, u32)], total: u32) -> Vec<u32> {
    let total = u64::from(total);
    let whole: u64 = paths.iter().map(|&(_, weight)| u64::from(weight)).sum::<u64>().max(1);
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

/// Brings buckets to these shares; those that may stay do.
pub(super) fn settle(buckets: &mut [AdjacencyIndex], paths: &[(AdjacencyIndex, u32)], shares: &[u32]) {
    let mut left: std::collections::BTreeMap<AdjacencyIndex, u32> = std::collections::BTreeMap::new();
    for (&(adjacency, _), &share) in paths.iter().zip(shares) {
        *left.entry(adjacency).or_default() += share;
    }
    let mut vacant = Vec::new();
    for (at, bucket) in buckets.iter().enumerate() {
        match left.get_mut(bucket) {
            Some(share) if *share > 0 => *share -= 1,
            _ => vacant.push(at),
        }
    }
    // In turns, so that what is vacant of one path is shared by all others.
    while !vacant.is_empty() {
        let before = vacant.len();
        for (&adjacency, share) in left.iter_mut().filter(|(_, share)| **share > 0) {
            let Some(at) = vacant.pop() else { break };
            buckets[at] = adjacency;
            *share -= 1;
        }
        if vacant.len() == before {
            break;
        }
    }
}
