//! Hashes of keys, which strangers choose: seeded, so that nobody outside can tell which keys collide.

use std::hash::{BuildHasher, RandomState};

use crate::{Control, Failure};

/// The seed of a table's hashes.
#[derive(Clone, Copy, Debug)]
pub struct HashSeed(
    /// What hashing starts from, and an odd factor.
    [u64; 2],
);

/// Odd, with as many ones as zeros.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl HashSeed {
    /// A seed that nobody can guess.
    pub fn random() -> Self {
        // The standard library seeds itself from the system.
        Self([RandomState::new().hash_one(0), RandomState::new().hash_one(1) | 1])
    }

    /// A seed that nobody can guess, and that the next version of the plugin gets by the same name: for tables in the
    /// host's memory ([`crate::state::KeptPerThread`]).
    ///
    /// # Errors
    /// The host keeps nothing, or has no memory.
    pub fn kept(control: &Control<'_>, name: &str) -> Result<Self, Failure> {
        let seed = control.kept_once(name, || Self::random().0)?;
        // Odd, whoever wrote it.
        Ok(Self([seed[0], seed[1] | 1]))
    }

    /// A given seed: for tests, and for tables whose order must be the same on several threads.
    pub const fn fixed(seed: u64) -> Self {
        Self([seed, seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ SPREAD | 1])
    }

    /// The hash of a key that is given in words. All bits of it depend on all bits of all words. What is kept over upgrades
    /// is found by it: who changes it raises the format of kept tables (`state/arena.rs`).
    #[inline(always)]
    pub fn hash<const N: usize>(&self, words: [u64; N]) -> u64 {
        let [mut state, factor] = self.0;
        // Two words a multiplication: both factors are unknown to whoever chooses the words.
        let mut pairs = words.chunks_exact(2);
        for pair in &mut pairs {
            state = fold(state ^ pair[0], factor ^ pair[1]);
        }
        if let [word] = pairs.remainder() {
            state = fold(state ^ word, factor);
        }
        fold(state, SPREAD)
    }
}

/// The two halves of the product, mixed.
#[inline(always)]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

/// What entries of a table are found by.
pub trait TableKey: Copy + Eq {
    /// The key's hash.
    fn hash(&self, seed: &HashSeed) -> u64;
}

impl TableKey for u32 {
    #[inline(always)]
    fn hash(&self, seed: &HashSeed) -> u64 {
        seed.hash([u64::from(*self)])
    }
}

impl TableKey for u64 {
    #[inline(always)]
    fn hash(&self, seed: &HashSeed) -> u64 {
        seed.hash([*self])
    }
}

impl TableKey for u128 {
    #[inline(always)]
    fn hash(&self, seed: &HashSeed) -> u64 {
        seed.hash([*self as u64, (*self >> 64) as u64])
    }
}

impl<const N: usize> TableKey for [u64; N] {
    #[inline(always)]
    fn hash(&self, seed: &HashSeed) -> u64 {
        seed.hash(*self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_of_a_key_turns_half_of_the_hash() {
        let seed = HashSeed::fixed(7);
        for bit in 0..128 {
            let turned: u32 = (0..200_u64)
                .map(|number| {
                    let key = [number.wrapping_mul(SPREAD), number];
                    let mut other = key;
                    other[bit / 64] ^= 1 << (bit % 64);
                    (seed.hash(key) ^ seed.hash(other)).count_ones()
                })
                .sum();
            assert!((28..=36).contains(&(turned / 200)), "bit {bit}: {} of 64", turned / 200);
        }
    }

    #[test]
    fn seeds_differ_and_so_do_their_hashes() {
        let (one, other) = (HashSeed::random(), HashSeed::random());
        assert_ne!(1_u64.hash(&one), 1_u64.hash(&other));
        assert_eq!(1_u64.hash(&one), 1_u64.hash(&one));
        assert_ne!(HashSeed::fixed(1).hash([1, 2]), HashSeed::fixed(1).hash([2, 1]));
    }
}
