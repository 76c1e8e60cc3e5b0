use std::collections::HashMap;

use proptest::prelude::*;

use super::super::{HashSeed, TableKey};
use super::*;

#[test]
fn bucket_is_one_cache_line() {
    assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
}

#[test]
fn index_takes_as_many_as_it_was_made_for() {
    for capacity in [1, 10, 100, 870, 8_700, 69_000, 139_000] {
        let seed = HashSeed::fixed(capacity);
        let mut index = HashIndex::with_capacity(capacity as usize).unwrap();
        for number in 0..capacity as u32 {
            index
                .insert(number.hash(&seed), number)
                .unwrap_or_else(|full| panic!("{number} of {capacity}: {full}"));
        }
        for number in 0..capacity as u32 {
            assert_eq!(index.find(number.hash(&seed), |found| found == number), Some(number));
        }
        assert_eq!(index.find(u32::MAX.hash(&seed), |found| found == u32::MAX), None);
        index.clear();
        assert!(index.is_empty() && index.find(1_u32.hash(&seed), |_| true).is_none());
    }
}

#[test]
fn same_hash_over_and_over_fills_two_buckets_and_is_refused_then() {
    let mut index = HashIndex::with_capacity(1000).unwrap();
    let hash = 0x1234_5678_9abc_def0;
    let taken = (0..100).take_while(|&number| index.insert(hash, number).is_ok()).count();
    assert_eq!(taken, 2 * SLOTS);
    for number in 0..taken as u32 {
        assert_eq!(index.remove(hash, |found| found == number), Some(number));
    }
    assert!(index.is_empty() && index.buckets.iter().all(|bucket| bucket.away == 0));
}

#[test]
fn likely_number_is_the_one_that_is_found_as_good_as_always() {
    let seed = HashSeed::fixed(1);
    let mut index = HashIndex::with_capacity(10_000).unwrap();
    (0..7_000_u32).for_each(|number| index.insert(number.hash(&seed), number).unwrap());
    let right = (0..7_000_u32).filter(|number| index.likely(number.hash(&seed)) == Some(*number)).count();
    assert!(right > 6_800, "{right}");
}

proptest! {
    /// Few hashes, so that buckets fill, send away, and move.
    #[test]
    fn index_does_what_a_map_does(steps in prop::collection::vec((any::<bool>(), 0..160_u32), 1..2000)) {
        let seed = HashSeed::fixed(3);
        // 160 keys on 16 buckets' worth of first places, with repeated tags.
        let hash = |key: u32| (key % 40).hash(&seed) & !(0x3 << 55);
        let mut index = HashIndex::with_capacity(130).unwrap();
        let mut model: HashMap<u32, u64> = HashMap::new();
        for (adds, key) in steps {
            if adds {
                if !model.contains_key(&key) && index.insert(hash(key), key).is_ok() {
                    model.insert(key, hash(key));
                }
            } else {
                let removed = index.remove(hash(key), |found| found == key);
                prop_assert_eq!(removed.is_some(), model.remove(&key).is_some());
            }
            prop_assert_eq!(index.len(), model.len());
        }
        for key in 0..160 {
            prop_assert_eq!(index.find(hash(key), |found| found == key).is_some(), model.contains_key(&key));
        }
        let away: u32 = index.buckets.iter().map(|bucket| u32::from(bucket.away)).sum();
        let moved = index.buckets.iter().flat_map(|bucket| bucket.tags).filter(|tag| tag & MOVED != 0).count();
        prop_assert_eq!(away as usize, moved);
    }
}
