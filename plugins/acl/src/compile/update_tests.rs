//! Lists are replaced while threads judge packets: before, during and after that each verdict is what a look at each rule of the
//! old or of the new list says, and never a bit of both.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::tests::{entry4, in_order, near, scan};
use super::*;

/// What threads go by.
struct Current {
    version: usize,
    classifier: Classifier<WORDS4>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn each_frame_is_judged_by_one_list_while_lists_are_replaced(
        lists in prop::collection::vec(prop::collection::vec(entry4(), 1..80), 2..5),
        keys in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<[u32; 4]>()), 64)
    ) {
        let lists: Vec<_> = lists.into_iter().map(in_order).collect();
        let keys: Vec<_> = keys
            .into_iter()
            .map(|(list, at, noise)| {
                let list = &lists[list.index(lists.len())];
                near(&list[at.index(list.len())], noise)
            })
            .collect();
        let expected: Vec<Vec<u32>> =
            lists.iter().map(|list| keys.iter().map(|key| scan(list, key)).collect()).collect();
        let compile = |version: usize| Arc::new(Current { version, classifier: Classifier::new(&lists[version]) });
        let current = Mutex::new(compile(0));
        let (is_over, wrong, frames) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let (mut found, mut walk) = (vec![0; keys.len()], Walk::default());
                    while !is_over.load(Ordering::Relaxed) {
                        let seen = Arc::clone(&current.lock().unwrap());
                        seen.classifier.find_frame(&keys, &mut found, &mut walk);
                        let one_by_one = keys.iter().map(|key| seen.classifier.find(key));
                        let expected = &expected[seen.version];
                        let is_right = found == *expected && one_by_one.eq(expected.iter().copied());
                        wrong.fetch_add(usize::from(!is_right), Ordering::Relaxed);
                        frames.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for round in 1..40 {
                let next = compile(round % lists.len());
                let before = frames.load(Ordering::Relaxed);
                *current.lock().unwrap() = next;
                while round % 8 == 0 && frames.load(Ordering::Relaxed) < before + 4 {
                    std::thread::yield_now();
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
        prop_assert_eq!(wrong.into_inner(), 0);
    }
}
