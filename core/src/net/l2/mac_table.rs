//! The MAC addresses that all bridges have learned, where workers look them up without a lock.
//!
//! # Who reads, who writes
//!
//! A slot is a key (bridge and address), the port, and when the address was last seen as a source. The main thread alone
//! sets keys and ports; workers read them at any time, and note the second of their frames in `seen`, at most once a second
//! and slot.
//!
//! Slots stand in lines of four, which are searched from the key's home line on until a line has a slot that was never used.
//! A slot that is taken back is marked as used before unless its line has an unused one, so that no search ends too early.
//!
//! A reader that finds its key reads the port and then the key once more: if the slot was given to another key meanwhile, it
//! sees that. The writer therefore takes the old key out before it sets a port, and sets the new key after. (Were the slot
//! given away and back between a reader's two looks at it, one frame would take the way of the key in between.)
#![forbid(unsafe_code)]

#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use raddle_plugin_api::Failure;
use raddle_plugin_api::wire::MacAddress;

/// Addresses that all bridges together can know.
pub const MAX_ADDRESSES: usize = 1 << 16;
const LINES: usize = 1 << 16;
const SLOTS_PER_LINE: usize = 4;
/// Lines that a search looks at, at most: the bound of a lookup's time.
const REACH: usize = 8;
/// Addresses whose lines stay in a core's own cache: a line each, in a quarter of a mebibyte.
const CACHED_ADDRESSES: u32 = 4096;
/// A slot that was never used.
const UNUSED: u64 = 0;
/// A slot that was used. No key is that small, as bridges count from 1.
const FREED: u64 = 1;

/// An address in a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacKey(u64);

impl MacKey {
    /// The address, as the first six bytes of a frame read as a little-endian word, in the bridge with this number, from 1.
    #[inline(always)]
    pub const fn new(bridge: u16, mac: u64) -> Self {
        Self((bridge as u64) << 48 | mac & 0xffff_ffff_ffff)
    }

    /// The address in the bridge with this number.
    pub fn of(bridge: u16, mac: MacAddress) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        Self::new(bridge, u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// The bridge's number.
    pub const fn bridge(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The address.
    pub fn mac(self) -> MacAddress {
        let [a, b, c, d, e, f, _, _] = self.0.to_le_bytes();
        MacAddress([a, b, c, d, e, f])
    }
}

/// Where an address is, as a slot holds it: the port's interface, and whether that is not to change by learning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    const FIXED: u32 = 1 << 31;

    /// Behind this interface.
    pub const fn new(interface: u32, fixed: bool) -> Self {
        Self(interface & !Self::FIXED | if fixed { Self::FIXED } else { 0 })
    }

    /// The interface.
    #[inline(always)]
    pub const fn interface(self) -> u32 {
        self.0 & !Self::FIXED
    }

    /// Whether what is learned does not change it.
    #[inline(always)]
    pub const fn is_fixed(self) -> bool {
        self.0 & Self::FIXED != 0
    }
}

#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
struct Slot {
    key: AtomicU64,
    place: AtomicU32,
    seen: AtomicU32,
}

#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
struct Line([Slot; SLOTS_PER_LINE]);

/// A slot that was found.
#[derive(Clone, Copy)]
pub struct Found<'t> {
    slot: &'t Slot,
    /// Where the address is.
    pub place: Place,
}

impl Found<'_> {
    /// Notes that the address was seen in this second.
    #[inline(always)]
    pub fn touch(&self, second: u32) {
        // The line stays shared among the workers but for one store a second.
        if self.slot.seen.load(Ordering::Relaxed) != second {
            self.slot.seen.store(second, Ordering::Relaxed);
        }
    }

    /// When the address was last seen as a source, in seconds.
    pub fn seen(&self) -> u32 {
        self.slot.seen.load(Ordering::Relaxed)
    }
}

/// The table. Memory is taken as it is used.
pub struct MacTable {
    lines: Vec<Line>,
    seeds: [u64; 2],
    count: AtomicU32,
}

impl MacTable {
    /// An empty table, which places keys as nobody else can foresee.
    ///
    /// # Errors
    /// The process has no address space for it.
    pub fn new() -> Result<Self, Failure> {
        Self::with_lines(LINES)
    }

    /// A power of two of lines.
    fn with_lines(lines: usize) -> Result<Self, Failure> {
        let [first, second] = seeds();
        Ok(Self { lines: unused(lines)?, seeds: [first, second | 1], count: AtomicU32::new(0) })
    }

    #[inline(always)]
    fn home(&self, key: MacKey) -> usize {
        let mixed = (key.0 ^ self.seeds[0]).wrapping_mul(self.seeds[1]);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(self.seeds[1]);
        (mixed >> 32) as usize
    }

    #[inline(always)]
    fn line(&self, home: usize, step: usize) -> &[Slot; SLOTS_PER_LINE] {
        &self.lines[(home + step) & (self.lines.len() - 1)].0
    }

    /// Whether lookups miss the cache, so that those of a whole frame are worth to be prepared together.
    #[inline(always)]
    pub fn is_large(&self) -> bool {
        self.count.load(Ordering::Relaxed) > CACHED_ADDRESSES
    }

    /// Has the key's home line fetched.
    #[inline(always)]
    pub fn prefetch(&self, key: MacKey) {
        raddle_plugin_api::prefetch_read(self.line(self.home(key), 0));
    }

    /// Looks an address up. Any thread.
    #[inline]
    pub fn find(&self, key: MacKey) -> Option<Found<'_>> {
        let home = self.home(key);
        for step in 0..REACH {
            let mut ends = false;
            for slot in self.line(home, step) {
                let there = slot.key.load(Ordering::Acquire);
                if there == key.0 {
                    let place = Place(slot.place.load(Ordering::Acquire));
                    if slot.key.load(Ordering::Relaxed) == key.0 {
                        return Some(Found { slot, place });
                    }
                }
                ends |= there == UNUSED;
            }
            if ends {
                return None;
            }
        }
        None
    }

    /// Puts an address in or gives it another place. `false` if there is no room for it. The main thread only.
    pub fn insert(&self, key: MacKey, place: Place, second: u32) -> bool {
        if let Some(found) = self.find(key) {
            found.slot.place.store(place.0, Ordering::Release);
            found.slot.seen.store(second, Ordering::Relaxed);
            return true;
        }
        let home = self.home(key);
        let is_free = |slot: &&Slot| slot.key.load(Ordering::Relaxed) <= FREED;
        let Some(slot) = (0..REACH).find_map(|step| self.line(home, step).iter().find(is_free)) else {
            return false;
        };
        // Whoever has read the old key sees by now that it is gone, if he sees what follows.
        slot.place.store(place.0, Ordering::Release);
        slot.seen.store(second, Ordering::Relaxed);
        slot.key.store(key.0, Ordering::Release);
        self.count.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Takes an address out. The main thread only.
    pub fn remove(&self, key: MacKey) {
        let home = self.home(key);
        for step in 0..REACH {
            let line = self.line(home, step);
            let mut keys = line.iter().map(|slot| slot.key.load(Ordering::Relaxed));
            let ends = keys.any(|there| there == UNUSED);
            if let Some(slot) = line.iter().find(|slot| slot.key.load(Ordering::Relaxed) == key.0) {
                slot.key.store(if ends { UNUSED } else { FREED }, Ordering::Release);
                self.count.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            if ends {
                return;
            }
        }
    }
}

/// Lines that were never used, in memory that is taken only as they are.
#[cfg(not(loom))]
fn unused(lines: usize) -> Result<Vec<Line>, Failure> {
    use zerocopy::FromZeros as _;
    Line::new_vec_zeroed(lines).map_err(|_| Failure::new("no memory for the table of MAC addresses"))
}

#[cfg(loom)]
fn unused(lines: usize) -> Result<Vec<Line>, Failure> {
    Ok((0..lines).map(|_| Line::default()).collect())
}

/// What nobody else can foresee.
#[cfg(not(loom))]
fn seeds() -> [u64; 2] {
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new();
    [1, 2].map(|number: u8| random.hash_one(number))
}

/// Each run of a model must be like the last.
#[cfg(loom)]
fn seeds() -> [u64; 2] {
    [0, 1]
}

#[cfg(all(test, loom))]
#[path = "mac_table_loom_tests.rs"]
mod loom_tests;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::AtomicBool;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_bridge_and_address() {
        let mac = MacAddress([2, 1, 2, 3, 4, 0xff]);
        let key = MacKey::of(9, mac);
        assert_eq!((key.bridge(), key.mac()), (9, mac));
        assert_ne!(key, MacKey::of(10, mac));
    }

    #[test]
    fn a_place_is_an_interface_and_may_be_fixed() {
        let (fixed, learned) = (Place::new(4095, true), Place::new(4095, false));
        assert_eq!((fixed.interface(), fixed.is_fixed()), (4095, true));
        assert_eq!((learned.interface(), learned.is_fixed()), (4095, false));
    }

    /// A table of few lines.
    fn small() -> MacTable {
        MacTable::with_lines(32).unwrap()
    }

    /// Keys of a small table with one home line.
    fn neighbours(table: &MacTable, count: usize) -> Vec<MacKey> {
        let home = |key| table.home(key) % table.lines.len();
        let first = home(MacKey::new(1, 0));
        (0_u64..).map(|mac| MacKey::new(1, mac)).filter(|&key| home(key) == first).take(count).collect()
    }

    #[test]
    fn lines_overflow_to_the_next_and_a_full_reach_is_told() {
        let table = small();
        let most = REACH * SLOTS_PER_LINE;
        let keys = neighbours(&table, most + 1);
        for (index, &key) in keys[..most].iter().enumerate() {
            assert!(table.insert(key, Place::new(index as u32, false), 0), "{index}");
        }
        assert!(!table.insert(keys[most], Place::new(99, false), 0));
        assert!(table.find(keys[most]).is_none());
        // Those behind a freed slot are still found, and the slot is used again.
        table.remove(keys[0]);
        assert!(table.find(keys[0]).is_none());
        assert_eq!(table.find(keys[most - 1]).unwrap().place.interface(), most as u32 - 1);
        assert!(table.insert(keys[most], Place::new(99, false), 0));
        assert_eq!(table.find(keys[most]).unwrap().place.interface(), 99);
    }

    #[test]
    fn holds_as_many_as_it_promises() {
        let table = MacTable::new().unwrap();
        let keys = (0..MAX_ADDRESSES as u64)
            .map(|mac| MacKey::new(1 + (mac % 7) as u16, mac.wrapping_mul(0x9e37_79b9)));
        let refused = keys.filter(|&key| !table.insert(key, Place::new(1, false), 0)).count();
        assert_eq!(refused, 0);
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in proptest::collection::vec((0u64..40, 0u32..5, any::<bool>()), 1..400)) {
            let table = small();
            let keys = neighbours(&table, 40);
            let mut model = HashMap::new();
            for (key, interface, insert) in steps {
                let key = keys[key as usize];
                if insert {
                    if table.insert(key, Place::new(interface, false), 7) {
                        model.insert(key, interface);
                    } else {
                        prop_assert!(!model.contains_key(&key) && model.len() >= REACH * SLOTS_PER_LINE);
                    }
                } else {
                    table.remove(key);
                    model.remove(&key);
                }
                for &key in &keys {
                    prop_assert_eq!(table.find(key).map(|found| found.place.interface()), model.get(&key).copied());
                }
            }
        }
    }

    /// Each key always has the same port, whichever slot it is in: a reader must never see another's.
    #[test]
    fn readers_never_see_the_port_of_another_key() {
        let table = small();
        let keys = neighbours(&table, 24);
        let port = |key: MacKey| keys.iter().position(|&other| other == key).unwrap() as u32;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        for &key in &keys {
                            if let Some(found) = table.find(key) {
                                assert_eq!(found.place.interface(), port(key));
                                found.touch(3);
                            }
                        }
                    }
                });
            }
            for round in 0..20_000_usize {
                table.insert(keys[round * 7 % 24], Place::new(port(keys[round * 7 % 24]), false), 0);
                table.remove(keys[(round * 5 + 3) % 24]);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
