//! Timers by the million: a hierarchical timer wheel (Varghese and Lauck, 1987).
//!
//! Time runs in ticks. Slots of the lowest level stand for single ticks, those of each further level for 64 times as
//! many; a timer stands at the lowest level at which its slot is not the present one, and moves down as its time comes
//! near, at most once a level. So starting and stopping cost the same for one timer and for a million, and so does,
//! but for those moves, expiry. A bit for each slot that is not empty lets idle time pass in one step.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::state::Arena;
use crate::table::sealed::List as _;
use crate::table::{Array, Kept, KeptList, Memory, Own, Plain};

/// Bits of a tick's number that choose a slot of one level.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Levels, enough for every 64-bit number of ticks.
const LEVELS: usize = u64::BITS.div_ceil(SLOT_BITS) as usize;
/// The list of timers that are due, behind those of the slots.
const DUE: usize = LEVELS * SLOTS;
/// "Not on a list": the entry is free.
const FREE: u32 = u32::MAX;
/// End of a list.
const NONE: u32 = u32::MAX;

/// A timer that was started, by which it is stopped. One that has expired names nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Timer {
    index: u32,
    generation: u32,
}

#[repr(C)]
struct Entry<K> {
    /// The tick at which it is due.
    when: u64,
    key: K,
    next: u32,
    previous: u32,
    /// The list that it is on.
    list: u32,
    /// Counts the uses of the entry.
    generation: u32,
}

/// Timers that each stand for a key, such as the number of a session. A node keeps one in its state, a task likewise.
///
/// A timer is never early, and late by one tick at most beyond the call of [`Self::expire`] that finds it. Keys of the
/// same tick come in no particular order.
///
/// ```
/// use raddle_plugin_api::timer::TimerWheel;
///
/// let mut wheel = TimerWheel::new(1_000_000, 0);
/// let first = wheel.start(5_000_000, "first");
/// wheel.start(9_000_000, "second");
/// wheel.stop(first);
/// assert_eq!(wheel.expire(8_999_999), None);
/// assert_eq!(wheel.expire(9_000_000), Some("second"));
/// ```
pub struct TimerWheel<K, M: Memory = Own> {
    tick_ns: u64,
    /// One of it; none only where an arena is measured.
    hub: Array<Hub, M>,
    entries: M::List<Entry<K>>,
}

#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Hub {
    /// The tick up to which timers have been moved to the list of those that are due.
    elapsed: u64,
    /// Slots that are not empty, a word for each level.
    occupied: [u64; LEVELS],
    /// First entry of each list.
    heads: [u32; DUE + 1],
    /// First entry that is free.
    free: u32,
    /// Number of timers.
    length: u32,
    reserved: u32,
}

impl Hub {
    /// No timers, at this tick.
    fn begin(&mut self, elapsed: u64) {
        (self.elapsed, self.free, self.length) = (elapsed, NONE, 0);
        (self.occupied, self.heads) = ([0; LEVELS], [NONE; DUE + 1]);
    }
}

impl<K: Copy> TimerWheel<K> {
    /// A wheel without timers whose ticks are `tick_ns` long, at least 1; its time begins at `now_ns` of the monotonic
    /// clock.
    pub fn new(tick_ns: u64, now_ns: u64) -> Self {
        let tick_ns = tick_ns.max(1);
        let mut hub: Array<Hub> = Array::zeroed(1).expect("there is memory for three kilobytes");
        hub[0].begin(now_ns / tick_ns);
        Self { tick_ns, hub, entries: Vec::new() }
    }
}

impl<'m, K: Copy + Plain> TimerWheel<K, Kept<'m>> {
    /// A wheel for `most` timers in the host's memory, whose time begins at 0, with the timers that another version
    /// left there, which run on.
    pub fn kept(arena: &mut Arena<'m>, tick_ns: u64, most: u32) -> Self {
        let tick_ns = tick_ns.max(1);
        let mut hub: Array<Hub, Kept<'m>> = arena.array(1);
        let parts = [[size_of::<K>(), align_of::<K>()], [tick_ns as usize, 0]];
        // SAFETY: any bytes are an entry, as they are a `K`, and what else it has are numbers; with `repr(C)` size and
        // alignment of the key say where each part is.
        let room = unsafe { arena.array_of(most as usize, &parts) };
        let entries = KeptList::new(room, arena.array(1));
        if let Some(hub) = hub.first_mut().filter(|_| !arena.is_adopted()) {
            hub.begin(0);
        }
        Self { tick_ns, hub, entries }
    }
}

impl<K: Copy, M: Memory> TimerWheel<K, M> {
    #[inline(always)]
    fn hub(&self) -> &Hub {
        &self.hub[0]
    }

    #[inline(always)]
    fn hub_mut(&mut self) -> &mut Hub {
        &mut self.hub[0]
    }

    /// Number of timers.
    pub fn len(&self) -> usize {
        self.hub().length as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Starts a timer for `at_ns` of the monotonic clock; one for a time that is over is due at once.
    ///
    /// # Panics
    /// There are 2³² timers, or as many as a kept wheel is for.
    pub fn start(&mut self, at_ns: u64, key: K) -> Timer {
        let when = at_ns.div_ceil(self.tick_ns);
        let index = self.take_entry(when, key);
        self.link(index);
        self.hub_mut().length += 1;
        Timer { index, generation: self.entries[index as usize].generation }
    }

    /// Stops a timer; returns its key, or `None` if it has expired or was stopped.
    pub fn stop(&mut self, timer: Timer) -> Option<K> {
        self.find(timer)?;
        self.unlink(timer.index);
        Some(self.release(timer.index))
    }

    /// Has a timer stand for another key; `false` if it has expired or was stopped.
    pub fn set_key(&mut self, timer: Timer, key: K) -> bool {
        if self.find(timer).is_none() {
            return false;
        }
        self.entries[timer.index as usize].key = key;
        true
    }

    /// Has a timer expire at another time; `false` if it has expired or was stopped.
    pub fn restart(&mut self, timer: Timer, at_ns: u64) -> bool {
        if self.find(timer).is_none() {
            return false;
        }
        self.unlink(timer.index);
        self.entries[timer.index as usize].when = at_ns.div_ceil(self.tick_ns);
        self.link(timer.index);
        true
    }

    /// The key of a timer whose time has come by `now_ns`, one a call; its timer is over. `None`: there is none left.
    pub fn expire(&mut self, now_ns: u64) -> Option<K> {
        let now = now_ns / self.tick_ns;
        while self.hub().heads[DUE] == NONE {
            match self.next_slot() {
                Some((level, slot, start)) if start <= now => {
                    self.hub_mut().elapsed = start;
                    self.empty(level, slot);
                }
                _ => {
                    let hub = self.hub_mut();
                    hub.elapsed = hub.elapsed.max(now);
                    return None;
                }
            }
        }
        let index = self.hub().heads[DUE];
        self.unlink(index);
        Some(self.release(index))
    }

    /// When [`Self::expire`] is worth a call, in ns of the monotonic clock: not after the next timer is due, and not much
    /// earlier if that is near. `None`: there are no timers.
    pub fn next_ns(&self) -> Option<u64> {
        let hub = self.hub();
        if hub.heads[DUE] != NONE {
            return Some(hub.elapsed.saturating_mul(self.tick_ns));
        }
        self.next_slot().map(|(_, _, start)| start.saturating_mul(self.tick_ns))
    }

    /// The slot that comes next, and the tick at which it begins. Those of lower levels come before those of higher ones,
    /// which are beyond the present slot of their level.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let hub = self.hub();
        let level = hub.occupied.iter().position(|&slots| slots != 0)?;
        let slot = hub.occupied[level].trailing_zeros();
        let shift = level as u32 * SLOT_BITS;
        let above = hub.elapsed.checked_shr(shift + SLOT_BITS).unwrap_or(0);
        let start = above.checked_shl(shift + SLOT_BITS).unwrap_or(0) | u64::from(slot) << shift;
        Some((level, slot as usize, start))
    }

    /// Puts a slot's timers where they belong now that its time has come.
    fn empty(&mut self, level: usize, slot: usize) {
        let list = level * SLOTS + slot;
        let hub = self.hub_mut();
        let mut index = std::mem::replace(&mut hub.heads[list], NONE);
        hub.occupied[level] &= !(1 << slot);
        while index != NONE {
            let next = self.entries[index as usize].next;
            self.link(index);
            index = next;
        }
    }

    fn link(&mut self, index: u32) {
        let when = self.entries[index as usize].when;
        let hub = self.hub_mut();
        let list = if when <= hub.elapsed {
            DUE
        } else {
            let level = (when ^ hub.elapsed).ilog2() / SLOT_BITS;
            let slot = (when >> (level * SLOT_BITS)) as usize % SLOTS;
            hub.occupied[level as usize] |= 1 << slot;
            level as usize * SLOTS + slot
        };
        let head = std::mem::replace(&mut hub.heads[list], index);
        if head != NONE {
            self.entries[head as usize].previous = index;
        }
        let entry = &mut self.entries[index as usize];
        (entry.next, entry.previous, entry.list) = (head, NONE, list as u32);
    }

    fn unlink(&mut self, index: u32) {
        let Entry { next, previous, list, .. } = self.entries[index as usize];
        let list = list as usize;
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize].next = next;
        } else {
            let hub = self.hub_mut();
            hub.heads[list] = next;
            if next == NONE && list != DUE {
                hub.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
            }
        }
    }

    fn find(&self, timer: Timer) -> Option<&Entry<K>> {
        let entry = self.entries.get(timer.index as usize)?;
        (entry.generation == timer.generation && entry.list != FREE).then_some(entry)
    }

    fn take_entry(&mut self, when: u64, key: K) -> u32 {
        let free = self.hub().free;
        if free != NONE {
            let entry = &mut self.entries[free as usize];
            let next = entry.next;
            (entry.when, entry.key) = (when, key);
            self.hub_mut().free = next;
            return free;
        }
        let index = u32::try_from(self.entries.len()).ok().filter(|&index| index != NONE);
        let index = index.expect("fewer than 2^32 timers");
        let added =
            self.entries.add(Entry { when, key, next: NONE, previous: NONE, list: FREE, generation: 0 });
        assert!(added, "no more timers than a kept wheel is for");
        index
    }

    fn release(&mut self, index: u32) -> K {
        let free = std::mem::replace(&mut self.hub_mut().free, index);
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        (entry.list, entry.next) = (FREE, free);
        let key = entry.key;
        let hub = self.hub_mut();
        hub.length = hub.length.saturating_sub(1);
        key
    }
}

#[cfg(test)]
#[path = "timer_tests.rs"]
mod tests;
