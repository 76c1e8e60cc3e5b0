use std::collections::BTreeMap;

use proptest::prelude::*;

use super::share::{settle, spread};
use super::*;
use crate::net::adjacency::AdjacencyIndex;
use crate::net::fib::LeafIndex;

const A: AdjacencyIndex = AdjacencyIndex(10);
const B: AdjacencyIndex = AdjacencyIndex(11);
const C: AdjacencyIndex = AdjacencyIndex(12);

fn never() -> u32 {
    panic!("one path needs no hash")
}

/// Where each of many flows goes.
fn ways(leaves: &LeafTable, leaf: LeafIndex) -> Vec<u32> {
    (0..4096).map(|hash| leaves.adjacency(leaf, || hash)).collect()
}

fn count(ways: &[u32], adjacency: AdjacencyIndex) -> usize {
    ways.iter().filter(|way| **way == adjacency.0).count()
}

#[test]
fn leaf_of_one_path_is_its_adjacency() {
    let leaves = LeafTable::new().unwrap();
    assert_eq!(leaves.adjacency(5, never), 5);
    let leaf = leaves.create(&[(A, 1)], None).unwrap();
    assert!((PATH_SET..=crate::net::fib::MAX_LEAF).contains(&leaf));
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
    let leaf = leaves.create(&[(A, 1), (B, 3)], None).unwrap();
    let ways = ways(&leaves, leaf);
    assert_eq!((count(&ways, A), count(&ways, B)), (1024, 3072));
    assert_eq!(leaves.paths(leaf), [(A, 16), (B, 48)]);
}

#[test]
fn any_asks_every_path_of_a_leaf() {
    let leaves = LeafTable::new().unwrap();
    let leaf = leaves.create(&[(A, 1), (B, 3), (C, 2)], None).unwrap();
    let mut asked = std::collections::BTreeSet::new();
    assert!(!leaves.any(leaf, |adjacency| {
        asked.insert(adjacency);
        false
    }));
    assert_eq!(asked, [A.0, B.0, C.0].into());
    assert!(leaves.any(leaf, |adjacency| adjacency == C.0) && leaves.any(5, |adjacency| adjacency == 5));
    let one = leaves.create(&[(A, 1)], None).unwrap();
    assert!(leaves.any(one, |adjacency| adjacency == A.0));
}

#[test]
fn only_the_flows_of_a_path_that_goes_move() {
    let leaves = LeafTable::new().unwrap();
    let leaf = leaves.create(&[(A, 1), (B, 1), (C, 1)], None).unwrap();
    let before = ways(&leaves, leaf);
    let _ = leaves.update(leaf, &[(A, 1), (C, 1)]).unwrap();
    let after = ways(&leaves, leaf);
    for (before, after) in before.iter().zip(&after).filter(|(before, _)| **before != B.0) {
        assert_eq!(before, after);
    }
    assert_eq!((count(&after, A), count(&after, B), count(&after, C)), (2048, 0, 2048));
}

#[test]
fn only_the_share_of_a_path_that_comes_moves() {
    let leaves = LeafTable::new().unwrap();
    let leaf = leaves.create(&[(A, 1)], None).unwrap();
    let mut before = vec![A.0; 4096];
    for paths in [&[(A, 1), (B, 1)][..], &[(A, 1), (B, 1), (C, 1)][..]] {
        let _ = leaves.update(leaf, paths).unwrap();
        let after = ways(&leaves, leaf);
        let (comer, _) = paths[paths.len() - 1];
        let moved: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
        assert!(moved.iter().all(|(_, after)| **after == comer.0));
        assert!(moved.len().abs_diff(4096 / paths.len()) <= 64, "{} of 4096 flows moved", moved.len());
        before = after;
    }
}

#[test]
fn leaf_that_takes_the_place_of_another_keeps_its_flows_paths() {
    let leaves = LeafTable::new().unwrap();
    let two = leaves.create(&[(A, 1), (B, 1)], None).unwrap();
    let three = leaves.create(&[(A, 1), (B, 1), (C, 1)], Some(two)).unwrap();
    let (before, after) = (ways(&leaves, two), ways(&leaves, three));
    assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == C.0));
    let again = leaves.create(&[(A, 1), (B, 1)], Some(three)).unwrap();
    assert!(after.iter().zip(&ways(&leaves, again)).all(|(before, after)| before == after || *before == C.0));
    let one = leaves.create(&[(A, 1), (C, 1)], Some(A.0)).unwrap();
    assert_eq!(count(&ways(&leaves, one), C), 2048);
}

#[test]
fn run_that_grows_moves_no_flow_of_paths_that_stay_in_their_share() {
    let leaves = LeafTable::new().unwrap();
    let leaf = leaves.create(&[(A, 1), (B, 1)], None).unwrap();
    let before = ways(&leaves, leaf);
    let many: Vec<_> = (10..50).map(|adjacency| (AdjacencyIndex(adjacency), 1)).collect();
    let former = leaves.update(leaf, &many).unwrap();
    assert!(former.run.is_some(), "the shorter run is given back");
    let after = ways(&leaves, leaf);
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
    assert!(
        moved.clone().all(|(_, after)| *after != A.0 && *after != B.0),
        "nothing moves between those that were there"
    );
}

#[test]
fn path_that_cannot_be_used_is_left_out_while_there_is_another() {
    let leaves = LeafTable::new().unwrap();
    let leaf = leaves.create(&[(A, 1), (B, 1), (C, 1)], None).unwrap();
    let single = leaves.create(&[(B, 1)], None).unwrap();
    let before = ways(&leaves, leaf);
    assert!(leaves.set_usable(B, false).is_empty(), "the same buckets");
    let without = ways(&leaves, leaf);
    assert_eq!(count(&without, B), 0);
    assert!(before.iter().zip(&without).all(|(before, after)| *before == B.0 || before == after));
    assert_eq!(leaves.adjacency(single, never), B.0, "there is no other");
    assert_eq!(leaves.paths(leaf), [(A, 32), (B, 0), (C, 32)]);
    let gone = leaves.set_usable(A, false);
    assert_eq!(gone.len(), 1);
    assert_eq!(leaves.adjacency(leaf, never), C.0);
    let _ = leaves.set_usable(C, false);
    assert!(ways(&leaves, leaf).iter().all(|way| [A.0, B.0, C.0].contains(way)), "none can: all are tried");
    for adjacency in [A, B, C] {
        let _ = leaves.set_usable(adjacency, true);
    }
    assert_eq!(leaves.paths(leaf).iter().map(|(_, share)| share).sum::<u32>(), 64);
    assert!(leaves.paths(leaf).iter().all(|(_, share)| (21..=22).contains(share)));
    // What nobody has beside others is forgotten: its index may become another next hop's.
    let _ = leaves.set_usable(B, false);
    let _ = leaves.release(leaf);
    assert!(!leaves.is_shared(B));
    let again = leaves.create(&[(A, 1), (B, 1)], None).unwrap();
    assert_eq!(leaves.paths(again), [(A, 32), (B, 32)]);
}

#[test]
fn buckets_are_used_again_only_when_given_back() {
    let leaves = LeafTable::new().unwrap();
    let leaf = leaves.create(&[(A, 1), (B, 1)], None).unwrap();
    let former = leaves.update(leaf, &[(B, 1)]).unwrap();
    let first = former.run.unwrap();
    assert_eq!((first.start, first.length), (0, 64));
    let other = leaves.create(&[(A, 1), (C, 1)], None).unwrap();
    assert_eq!(leaves.release(other).run.unwrap().start, 64);
    leaves.reuse(&former);
    let other = leaves.create(&[(A, 1), (C, 1)], None).unwrap();
    let gone = leaves.release(other);
    assert_eq!((gone.adjacencies.as_slice(), gone.run), ([A, C].as_slice(), Some(first)));
    assert_eq!(leaves.adjacency(other, never), AdjacencyIndex::NO_ROUTE.0);
    assert_eq!(leaves.create(&[(A, 1)], None), Ok(other));
}

proptest! {
    #[test]
    fn every_path_has_a_bucket_and_weights_are_kept(weights in prop::collection::vec(1_u32..=1000, 2..=256)) {
        let paths: Vec<_> = weights.iter().map(|&weight| (A, weight)).collect();
        let total = super::share::wanted_buckets(paths.len());
        let shares = spread(&paths, total);
        prop_assert!(total.is_power_of_two() && total as usize <= MAX_SET_BUCKETS);
        prop_assert_eq!(shares.iter().sum::<u32>(), total);
        prop_assert!(shares.iter().all(|&share| share >= 1));
        let whole: u32 = weights.iter().sum();
        for (at, &share) in shares.iter().enumerate() {
            let exact = f64::from(weights[at]) * f64::from(total) / f64::from(whole);
            prop_assert!(f64::from(share) <= exact + 1.0, "{share} of {exact}");
        }
    }

    #[test]
    fn as_few_buckets_change_as_the_shares_allow(
        before in prop::collection::vec(1_u32..=8, 2..=12),
        after in prop::collection::btree_map(0_u32..16, 1_u32..=8, 2..=12),
    ) {
        let before: Vec<_> = (0..).map(AdjacencyIndex).zip(before).collect();
        let after: Vec<_> = after.into_iter().map(|(at, weight)| (AdjacencyIndex(at), weight)).collect();
        let (old_shares, shares) = (spread(&before, 256), spread(&after, 256));
        let mut buckets = vec![AdjacencyIndex(99); 256];
        settle(&mut buckets, &before, &old_shares);
        let old = buckets.clone();
        settle(&mut buckets, &after, &shares);
        let mut counts: BTreeMap<AdjacencyIndex, u32> = BTreeMap::new();
        buckets.iter().for_each(|bucket| *counts.entry(*bucket).or_default() += 1);
        let expected: BTreeMap<_, _> = after.iter().map(|(at, _)| *at).zip(shares.iter().copied()).collect();
        prop_assert_eq!(&counts, &expected);
        let kept: u32 = before.iter().zip(&old_shares).map(|((at, _), share)| *share.min(expected.get(at).unwrap_or(&0))).sum();
        let stayed = old.iter().zip(&buckets).filter(|(old, new)| old == new).count() as u32;
        prop_assert_eq!(stayed, kept);
    }
}
