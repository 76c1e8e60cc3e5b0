//! The table against a linear model, under random changes and under concurrent readers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Prefixes and their leaves, looked up by scanning them all.
struct Model<A: Address>(BTreeMap<Prefix<A>, LeafIndex>);

impl<A: Address> Model<A> {
    fn best(&self, matches: impl Fn(&Prefix<A>) -> bool) -> Option<(Prefix<A>, LeafIndex)> {
        let found =
            self.0.iter().filter(|(prefix, _)| matches(prefix)).max_by_key(|(prefix, _)| prefix.len());
        found.map(|(prefix, leaf)| (*prefix, *leaf))
    }

    fn lookup(&self, address: A) -> LeafIndex {
        self.best(|prefix| prefix.contains(address)).map_or(0, |(_, leaf)| leaf)
    }

    fn insert(&mut self, lpm: &mut Lpm<A>, prefix: Prefix<A>, leaf: LeafIndex) {
        self.0.insert(prefix, leaf);
        lpm.insert(prefix, leaf).unwrap();
    }

    fn remove(&mut self, lpm: &mut Lpm<A>, prefix: Prefix<A>) {
        if self.0.remove(&prefix).is_some() {
            lpm.remove(prefix, self.best(|cover| cover.covers(prefix))).unwrap();
        }
    }

    /// Compares at both ends of every prefix, and just outside.
    fn check(&self, lpm: &Lpm<A>, step: impl Fn(A, bool) -> A, extra: &[A]) {
        let mut addresses = extra.to_vec();
        for prefix in self.0.keys() {
            let (first, last) = (prefix.address(), prefix.last_address());
            addresses.extend([first, last, step(first, false), step(last, true)]);
        }
        let (mut leaves, mut passes) = (vec![0; addresses.len()], vec![0; addresses.len()]);
        lpm.lookup_frame(&addresses, &mut leaves);
        lpm.shared.lookup_passes(&addresses, &mut passes);
        for ((address, leaf), pass) in addresses.iter().zip(leaves).zip(passes) {
            let expected = self.lookup(*address);
            assert_eq!(lpm.lookup(*address), expected, "{}", address.to_ip());
            assert_eq!(leaf, expected, "{} in a frame of a small table", address.to_ip());
            assert_eq!(pass, expected, "{} in a frame of a large table", address.to_ip());
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert { address: u128, len: u8, leaf: LeafIndex },
    Remove { pick: usize },
    Reclaim,
}

/// Addresses that share leading bits, so that prefixes nest and nodes fill.
fn clustered() -> impl Strategy<Value = u128> {
    (any::<u128>(), any::<u128>(), 0..9_u32, any::<bool>()).prop_map(|(noise, small, shared, dense)| {
        let base = 0x0a01_0203_0405_0607_0809_0a0b_0c0d_0e0f_u128;
        let kept = u128::MAX.checked_shl(128 - 16 * shared).unwrap_or(0);
        let spread = if dense { small & 0x0007_0003_0007_0001_0007_0007_0003_0007 } else { noise };
        (base & kept) | ((base ^ spread) & !kept)
    })
}

fn steps(bits: u8) -> impl Strategy<Value = Vec<Step>> {
    let len = prop_oneof![3 => 0..=bits, 2 => (1..=bits / 8).prop_map(|bytes| bytes * 8), 1 => Just(bits)];
    let step = prop_oneof![
        6 => (clustered(), len, 1..50_u32).prop_map(|(address, len, leaf)| Step::Insert { address, len, leaf }),
        4 => any::<usize>().prop_map(|pick| Step::Remove { pick }),
        1 => Just(Step::Reclaim),
    ];
    prop::collection::vec(step, 1..160)
}

fn run<A: Address>(
    steps: &[Step],
    narrow: impl Fn(u128) -> A,
    step: impl Fn(A, bool) -> A + Copy,
    extra: &[u128],
) {
    let mut lpm = Lpm::<A>::new().unwrap();
    let mut model = Model::<A>(BTreeMap::new());
    let extra: Vec<A> = extra.iter().map(|address| narrow(*address)).collect();
    let mut epoch = 0;
    for (count, change) in steps.iter().enumerate() {
        match change {
            Step::Insert { address, len, leaf } => {
                model.insert(&mut lpm, Prefix::containing(narrow(*address), *len), *leaf);
            }
            Step::Remove { pick } => {
                let picked = model.0.keys().nth(pick % model.0.len().max(1)).copied();
                if let Some(prefix) = picked {
                    model.remove(&mut lpm, prefix);
                }
            }
            Step::Reclaim => {
                epoch += 1;
                lpm.set_epoch(epoch);
                lpm.reclaim(epoch);
            }
        }
        if count % 8 == 0 {
            model.check(&lpm, step, &extra);
        }
    }
    model.check(&lpm, step, &extra);
    for prefix in model.0.keys().copied().collect::<Vec<_>>() {
        model.remove(&mut lpm, prefix);
    }
    model.check(&lpm, step, &extra);
    lpm.set_epoch(epoch + 1);
    lpm.reclaim(epoch + 1);
    assert_eq!((lpm.used_bytes(), lpm.retired_nodes()), (0, 0), "memory of an empty table");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn ip4_equals_the_linear_model(steps in steps(32), extra in prop::collection::vec(clustered(), 16)) {
        run::<u32>(
            &steps,
            |address| (address >> 96) as u32,
            |address, up| if up { address.wrapping_add(1) } else { address.wrapping_sub(1) },
            &extra,
        );
    }

    #[test]
    fn ip4_equals_the_linear_model_within_one_stratum(steps in steps(32), extra in prop::collection::vec(clustered(), 16)) {
        run::<u32>(
            &steps,
            |address| 0xc0a8_0000 | (address as u32 & 0xffff),
            |address, up| if up { address.wrapping_add(1) } else { address.wrapping_sub(1) },
            &extra,
        );
    }

    #[test]
    fn ip6_equals_the_linear_model(steps in steps(128), extra in prop::collection::vec(clustered(), 16)) {
        run::<u128>(
            &steps,
            |address| address,
            |address, up| if up { address.wrapping_add(1) } else { address.wrapping_sub(1) },
            &extra,
        );
    }
}
