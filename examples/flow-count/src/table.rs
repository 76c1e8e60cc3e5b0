//! Flows and their counts: one table a thread, of fixed size, written by its thread and read by any.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::flow::Key;

/// Slots in which a flow may stand: what a lookup costs at most.
const PROBES: usize = 8;

/// A flow's slot: one cache line.
///
/// `stamp` is `generation << 1` while the slot holds a flow of that generation, and odd while it is written. What is
/// stamped otherwise is empty: so a table is cleared by counting its generation on, and nobody need touch the slots.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot {
    stamp: AtomicU64,
    key: [AtomicU64; 5],
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// The flows of one thread. Only that thread calls [`FlowTable::count`]; any may read.
#[derive(Debug)]
pub struct FlowTable {
    slots: Box<[Slot]>,
    /// So that a peer cannot tell which flows share slots.
    seed: u64,
    refused: AtomicU64,
}

/// What was counted of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The flow.
    pub key: Key,
    /// Its packets.
    pub packets: u64,
    /// Their bytes, from the IP header on.
    pub bytes: u64,
}

impl FlowTable {
    /// An empty table for `flows` flows, rounded up to a power of two.
    pub fn new(flows: usize) -> Self {
        let count = flows.next_power_of_two().max(PROBES);
        Self {
            slots: (0..count).map(|_| Slot::default()).collect(),
            seed: RandomState::new().hash_one(count),
            refused: AtomicU64::new(0),
        }
    }

    /// Counts a packet of a flow; returns which of the flow it is, or `None` if there is no room for the flow.
    pub fn count(&self, generation: u64, key: Key, bytes: u64) -> Option<u64> {
        let stamp = generation << 1;
        let first = self.hash(&key) as usize;
        for step in 0..PROBES {
            let slot = &self.slots[first.wrapping_add(step) % self.slots.len()];
            if slot.stamp.load(Ordering::Relaxed) != stamp {
                slot.fill(stamp, key, bytes);
                return Some(1);
            }
            if slot.holds(&key) {
                // Only this thread writes, so that reading and writing apart loses nothing.
                let packets = slot.packets.load(Ordering::Relaxed).wrapping_add(1);
                slot.packets.store(packets, Ordering::Relaxed);
                let bytes = slot.bytes.load(Ordering::Relaxed).wrapping_add(bytes);
                slot.bytes.store(bytes, Ordering::Relaxed);
                return Some(packets);
            }
        }
        let refused = self.refused.load(Ordering::Relaxed).wrapping_add(1);
        self.refused.store(refused, Ordering::Relaxed);
        None
    }

    /// The flows of a generation.
    pub fn flows(&self, generation: u64) -> impl Iterator<Item = Counted> {
        self.slots.iter().filter_map(move |slot| slot.read(generation << 1))
    }

    /// Packets that were of no flow that there was room for, since the table was made.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn hash(&self, key: &Key) -> u64 {
        key.iter().fold(self.seed, |hash, word| {
            let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^ mixed >> 32
        })
    }
}

impl Slot {
    fn holds(&self, key: &Key) -> bool {
        self.key.iter().zip(key).all(|(word, wanted)| word.load(Ordering::Relaxed) == *wanted)
    }

    fn fill(&self, stamp: u64, key: Key, bytes: u64) {
        self.stamp.store(stamp | 1, Ordering::Relaxed);
        // Readers that see a word from below see the odd stamp as well, or the one after.
        fence(Ordering::Release);
        for (word, value) in self.key.iter().zip(key) {
            word.store(value, Ordering::Relaxed);
        }
        self.packets.store(1, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.stamp.store(stamp, Ordering::Release);
    }

    fn read(&self, stamp: u64) -> Option<Counted> {
        if self.stamp.load(Ordering::Acquire) != stamp {
            return None;
        }
        let key = std::array::from_fn(|word| self.key[word].load(Ordering::Relaxed));
        let packets = self.packets.load(Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        (self.stamp.load(Ordering::Relaxed) == stamp).then_some(Counted { key, packets, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        [0, number, 0, 1, 4 << 40]
    }

    #[test]
    fn packets_of_a_flow_are_numbered_and_summed() {
        let table = FlowTable::new(64);
        assert_eq!(table.count(1, key(1), 100), Some(1));
        assert_eq!(table.count(1, key(2), 10), Some(1));
        assert_eq!(table.count(1, key(1), 50), Some(2));
        let mut flows: Vec<Counted> = table.flows(1).collect();
        flows.sort_by_key(|flow| flow.key);
        let wanted =
            [Counted { key: key(1), packets: 2, bytes: 150 }, Counted { key: key(2), packets: 1, bytes: 10 }];
        assert_eq!(flows, wanted);
    }

    #[test]
    fn a_new_generation_begins_empty_and_reuses_the_slots() {
        let table = FlowTable::new(64);
        for number in 0..10_000 {
            table.count(1, key(number), 1);
        }
        assert!(table.refused() > 0);
        assert_eq!(table.flows(2).count(), 0);
        assert_eq!(table.count(2, key(1), 7), Some(1));
        assert_eq!(table.flows(2).collect::<Vec<_>>(), [Counted { key: key(1), packets: 1, bytes: 7 }]);
    }

    #[test]
    fn a_full_table_refuses_new_flows_and_keeps_counting_the_old() {
        let table = FlowTable::new(PROBES);
        let room = (0..1000).filter(|&number| table.count(1, key(number), 1).is_some()).count();
        assert_eq!((room, table.refused()), (PROBES, 1000 - PROBES as u64));
        assert_eq!(table.count(1, key(0), 1), Some(2));
    }

    #[test]
    fn a_reader_beside_the_writer_never_sees_a_flow_in_halves() {
        let table = FlowTable::new(64);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for generation in 1..2000 {
                    for number in 0..16 {
                        table.count(generation, [number, number, number, number, number | 1 << 40], number);
                    }
                }
            });
            for generation in (1..2000).cycle().take(20_000) {
                for flow in table.flows(generation) {
                    let [a, b, c, d, e] = flow.key;
                    assert!(a == b && b == c && c == d && e == a | 1 << 40, "{flow:?}");
                }
            }
        });
    }
}
