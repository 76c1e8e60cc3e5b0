//! How much each worker may ask of the main thread on account of neighbours.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use raddle_plugin_api::InterfaceIndex;

use super::NeighborKey;
use crate::net::rate_limit::TokenBucket;

const SLOTS: usize = 256;
const WINDOW_NS: u64 = 1_000_000_000;
/// Packets a second, and at once, that one worker hands to the main thread over all neighbours of an interface: a scan of
/// one link takes nothing from the others.
const PER_SECOND: u32 = 4096;
const BURST: u32 = 512;

/// A bound per neighbour, so that a flood to one address does not use up what others need, and one per interface. For one
/// thread.
pub struct Throttle {
    hasher: RandomState,
    slots: Box<[Slot; SLOTS]>,
    interfaces: HashMap<InterfaceIndex, TokenBucket>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u64,
    since_ns: u64,
    count: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            slots: Box::new([Slot::default(); SLOTS]),
            interfaces: HashMap::new(),
        }
    }
}

impl Throttle {
    /// Whether the neighbour may be the subject of one more call; `limit` of them pass in a second.
    pub fn allows(&mut self, now_ns: u64, key: &NeighborKey, limit: u32) -> bool {
        let hash = self.hasher.hash_one(key);
        let slot = &mut self.slots[hash as usize % SLOTS];
        if slot.hash != hash || now_ns.saturating_sub(slot.since_ns) >= WINDOW_NS {
            *slot = Slot { hash, since_ns: now_ns, count: 0 };
        }
        slot.count += 1;
        if slot.count > limit {
            return false;
        }
        let all = self.interfaces.entry(key.interface);
        all.or_insert_with(|| TokenBucket::new(PER_SECOND, BURST)).take(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use raddle_plugin_api::InterfaceIndex;

    use super::*;

    fn key(address: u32) -> NeighborKey {
        NeighborKey { interface: InterfaceIndex(1), address: Ipv4Addr::from_bits(address).into() }
    }

    #[test]
    fn bounds_one_neighbor_per_second() {
        let mut throttle = Throttle::default();
        let passed =
            |throttle: &mut Throttle, now| (0..1000).filter(|_| throttle.allows(now, &key(1), 16)).count();
        assert_eq!(passed(&mut throttle, 5), 16);
        assert_eq!(passed(&mut throttle, WINDOW_NS), 0);
        assert_eq!(passed(&mut throttle, WINDOW_NS + 5), 16);
    }

    #[test]
    fn bounds_a_scan_over_all_neighbors() {
        let mut throttle = Throttle::default();
        let passed = (0..100_000).filter(|address| throttle.allows(5, &key(*address), 16)).count();
        assert_eq!(passed, BURST as usize);
        let elsewhere = NeighborKey { interface: InterfaceIndex(2), ..key(1) };
        assert!(throttle.allows(5, &elsewhere, 16), "another interface is not touched");
    }
}
