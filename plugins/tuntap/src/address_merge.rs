//! Two sets of addresses that are to be the same, each of which somebody may change.

use std::collections::BTreeSet;

use raddle_plugin_api::wire::InterfaceAddress;

/// Addresses.
pub type Addresses = BTreeSet<InterfaceAddress>;

/// What makes both sides the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merge {
    /// To be given to raddle's interface.
    pub add_here: Addresses,
    /// To be taken from it.
    pub remove_here: Addresses,
    /// To be given to the host's.
    pub add_there: Addresses,
    /// To be taken from it.
    pub remove_there: Addresses,
    /// What both have already: what the next merge starts from.
    pub agreed: Addresses,
}

/// Brings the sides together: what either has won or lost since they last agreed, the other wins or loses. Where nothing was agreed
/// on yet (`None`), both get what either has. Only what was seen on both sides is agreed on: what one side refuses to take, or to
/// give up, is not mistaken for a change that somebody made.
pub fn merge(agreed: Option<&Addresses>, here: &Addresses, there: &Addresses) -> Merge {
    let nothing = Addresses::new();
    let agreed = agreed.unwrap_or(&nothing);
    let mut result = Merge::default();
    for &address in here.union(there) {
        let (was, is_here, is_there) =
            (agreed.contains(&address), here.contains(&address), there.contains(&address));
        match (was, is_here, is_there) {
            (_, true, true) => drop(result.agreed.insert(address)),
            // Lost there, or here.
            (true, true, false) => drop(result.remove_here.insert(address)),
            (true, false, true) => drop(result.remove_there.insert(address)),
            // Won here, or there.
            (false, true, false) => drop(result.add_there.insert(address)),
            (false, false, true) => drop(result.add_here.insert(address)),
            (_, false, false) => {}
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(numbers: &[u8]) -> Addresses {
        numbers.iter().map(|n| format!("10.0.0.{n}/24").parse().unwrap()).collect()
    }

    #[test]
    fn either_side_may_change() {
        let (one, two) = (set(&[1]), set(&[1, 2]));
        let first = merge(None, &one, &set(&[2]));
        assert_eq!((first.add_here, first.add_there), (set(&[2]), set(&[1])), "what either has");
        assert_eq!(merge(Some(&one), &two, &one).add_there, set(&[2]));
        assert_eq!(merge(Some(&one), &one, &two).add_here, set(&[2]));
        assert_eq!(merge(Some(&two), &one, &two).remove_there, set(&[2]));
        assert_eq!(merge(Some(&two), &two, &one).remove_here, set(&[2]));
        assert_eq!(merge(Some(&two), &set(&[]), &set(&[])), Merge::default());
    }

    proptest! {
        #[test]
        fn both_sides_are_the_same_then_and_a_second_merge_does_nothing(
            agreed in proptest::collection::btree_set(0u8..12, 0..8),
            here in proptest::collection::btree_set(0u8..12, 0..8),
            there in proptest::collection::btree_set(0u8..12, 0..8),
        ) {
            let set = |numbers: std::collections::BTreeSet<u8>| set(&numbers.into_iter().collect::<Vec<_>>());
            let (agreed, mut here, mut there) = (set(agreed), set(here), set(there));
            let first = merge(Some(&agreed), &here, &there);
            for (side, add, remove) in [
                (&mut here, &first.add_here, &first.remove_here),
                (&mut there, &first.add_there, &first.remove_there),
            ] {
                side.extend(add);
                side.retain(|address| !remove.contains(address));
            }
            prop_assert_eq!(&here, &there);
            let second = merge(Some(&first.agreed), &here, &there);
            prop_assert_eq!(second, Merge { agreed: here, ..Merge::default() });
        }
    }
}
