//! Readers on other threads beside a writer: what they see was valid before or after the change in progress.

use std::sync::atomic::{AtomicBool, AtomicU64};

use super::*;

/// Prefixes of all lengths around a few addresses; each prefix's leaf tells its length, so that a reader can judge it.
fn prefixes<A: Address>(addresses: &[A]) -> Vec<Prefix<A>> {
    let mut all: Vec<_> = addresses
        .iter()
        .flat_map(|address| (1..=A::BITS).map(|len| Prefix::containing(*address, len)))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A prefix's leaf: its length and a mark of its own.
fn leaf_of(index: usize, len: u8) -> LeafIndex {
    (index as LeafIndex + 1) << 8 | LeafIndex::from(len)
}

/// Adds and removes prefixes at random while readers look up. A prefix that stays must never be undercut by what they see, and
/// each leaf seen must be a prefix that covers the address.
fn readers_beside_a_writer<A: Address>(addresses: &[A], stays: u8, changes: usize) {
    let all = prefixes(addresses);
    let mut lpm = Lpm::<A>::new().unwrap();
    let mut present = vec![false; all.len()];
    for (i, prefix) in all.iter().enumerate().filter(|(_, prefix)| prefix.len() == stays) {
        present[i] = true;
        lpm.insert(*prefix, leaf_of(i, stays)).unwrap();
    }
    let stop = AtomicBool::new(false);
    let epoch = AtomicU64::new(0);
    let quiescent = [const { AtomicU64::new(0) }; 2];
    std::thread::scope(|scope| {
        for reader_quiescent in &quiescent {
            let reader = lpm.reader();
            let (stop, epoch, all) = (&stop, &epoch, &all);
            scope.spawn(move || {
                let mut leaves = vec![0; addresses.len()];
                while !stop.load(Ordering::Relaxed) {
                    reader.shared.lookup_passes(addresses, &mut leaves);
                    for (address, leaf) in addresses.iter().zip(&leaves) {
                        for leaf in [*leaf, reader.lookup(*address)] {
                            let prefix = all[(leaf >> 8) as usize - 1];
                            assert!(prefix.contains(*address), "{prefix} for {}", address.to_ip());
                            assert_eq!(
                                leaf & 0xff,
                                LeafIndex::from(prefix.len()),
                                "a leaf that was never written"
                            );
                            assert!(prefix.len() >= stays, "{prefix} although /{stays} stays");
                        }
                    }
                    reader_quiescent.store(epoch.load(Ordering::Acquire), Ordering::Release);
                }
            });
        }
        let mut random = 1_u64;
        for change in 0..changes {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let i = (random >> 33) as usize % all.len();
            let prefix = all[i];
            if prefix.len() == stays {
                continue;
            }
            if present[i] {
                let covers = all
                    .iter()
                    .enumerate()
                    .filter(|(j, cover)| present[*j] && cover.len() < prefix.len() && cover.covers(prefix));
                let cover = covers.max_by_key(|(_, cover)| cover.len());
                lpm.remove(prefix, cover.map(|(j, cover)| (*cover, leaf_of(j, cover.len())))).unwrap();
            } else {
                lpm.insert(prefix, leaf_of(i, prefix.len())).unwrap();
            }
            present[i] = !present[i];
            if change % 64 == 0 {
                // A reader's mark names an epoch that had begun when the reader stood between two passes.
                let seen = quiescent.iter().map(|mark| mark.load(Ordering::Acquire)).min().unwrap_or(0);
                lpm.reclaim(seen);
                let next = epoch.load(Ordering::Relaxed) + 1;
                lpm.set_epoch(next);
                epoch.store(next, Ordering::Release);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn ip4_readers_see_before_or_after() {
    let addresses: Vec<u32> = (0..24).map(|i| 0x0a00_0000 | (i * 0x0001_0305) | (i & 3) << 28).collect();
    readers_beside_a_writer(&addresses, 12, 60_000);
    let one_stratum: Vec<u32> = (0..48).map(|i| 0x0a00_0000 | ((i * 0x0305) & 0xffff)).collect();
    readers_beside_a_writer(&one_stratum, 20, 60_000);
}

#[test]
fn ip6_readers_see_before_or_after() {
    let base = 0x2001_0db8_u128 << 96;
    let addresses: Vec<u128> =
        (0..12).map(|i| base | i << 84 | (i & 3) << 70 | (i * 0x0103) << 50 | i).collect();
    readers_beside_a_writer(&addresses, 40, 40_000);
}
