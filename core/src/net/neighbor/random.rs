//! Random numbers for delays and nonces.

use std::hash::{BuildHasher, RandomState};

/// A source of random numbers that nobody outside can foresee: a keyed hash of a counter, the key from the system.
#[derive(Debug, Default)]
pub struct Random {
    state: RandomState,
    drawn: u64,
}

impl Random {
    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.drawn += 1;
        self.state.hash_one(self.drawn)
    }

    /// A number from 0 to `most`, each as likely as the others, to within one in 2^64.
    pub fn up_to(&mut self, most: u64) -> u64 {
        // The upper half of the product is at most `most`.
        ((u128::from(self.number()) * (u128::from(most) + 1)) >> 64) as u64
    }

    /// A nonce (RFC 7527 §4.1).
    pub fn nonce(&mut self) -> [u8; 6] {
        let [_, _, nonce @ ..] = self.number().to_be_bytes();
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_bound_and_reaches_both_ends() {
        let mut random = Random::default();
        let drawn: Vec<_> = (0..1000).map(|_| random.up_to(3)).collect();
        assert!((0..=3).all(|number| drawn.contains(&number)) && drawn.iter().all(|number| *number <= 3));
        assert_eq!(random.up_to(0), 0);
        assert_ne!(random.nonce(), random.nonce());
    }
}
