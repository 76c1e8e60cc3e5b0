//! A part of the datagrams in progress, within its bounds: who is the oldest goes first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use raddle_plugin_api::InterfaceIndex;

use super::budget::Budget;
use super::datagram::Datagram;
use super::key::{Key, Source};
use super::list::{Link, List};
use super::reason::ReassemblyError;

/// Bounds of one shard.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Datagrams in progress at a time.
    pub datagrams: usize,
    /// Of these, of one source.
    pub datagrams_per_source: usize,
    /// Fragments of one datagram.
    pub fragments: usize,
    /// Time for all fragments to come, from the first that came, in ns.
    pub timeout_ns: u64,
}

/// What a shard has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams of which a fragment came.
    pub started: u64,
    /// Datagrams of which all fragments came.
    pub completed: u64,
    /// Datagrams that were not complete in time.
    pub timed_out: u64,
    /// Datagrams that went in want of room.
    pub evicted: u64,
    /// Datagrams that were given up for what their fragments said.
    pub condemned: u64,
}

/// What a shard, or a datagram, holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Buffers.
    pub buffers: usize,
    /// Bytes of packets.
    pub bytes: usize,
}

/// Packets that have lost their datagram, and why.
pub type Lost<P> = Vec<(P, ReassemblyError)>;

/// A datagram that was not complete in time.
#[derive(Debug)]
pub struct Expired<P> {
    /// Its first fragment, if that had come.
    pub first: Option<P>,
    /// The others.
    pub others: Vec<P>,
}

#[derive(Debug)]
struct Slot<P> {
    key: Key,
    since_ns: u64,
    interface: InterfaceIndex,
    by_age: Link,
    by_source: Link,
    holding: Holding,
    datagram: Datagram<P>,
}

#[derive(Debug, Default)]
struct OfSource {
    list: List,
    buffers: usize,
}

/// A part of the datagrams in progress.
#[derive(Debug)]
pub struct Shard<P> {
    limits: Limits,
    budget: Arc<Budget>,
    pool: usize,
    by_key: HashMap<Key, u32>,
    by_source: HashMap<Source, OfSource>,
    slots: Vec<Slot<P>>,
    free: Vec<u32>,
    by_age: List,
    holding: Holding,
    counts: Counts,
}

impl<P> Shard<P> {
    /// An empty one, which takes its buffers out of `budget`.
    pub fn new(limits: Limits, budget: Arc<Budget>) -> Self {
        Self {
            limits,
            budget,
            pool: 0,
            by_key: HashMap::new(),
            by_source: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            by_age: List::default(),
            holding: Holding::default(),
            counts: Counts::default(),
        }
    }

    /// Its bounds.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What it has done.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// What it holds.
    pub const fn holding(&self) -> Holding {
        self.holding
    }

    /// Datagrams in progress.
    pub const fn len(&self) -> usize {
        self.by_age.len()
    }

    /// Tells the size of the pool, in buffers, which does not change: before anything is charged.
    pub const fn set_pool(&mut self, pool: usize) {
        self.pool = pool;
    }

    /// The datagram to which `key` belongs. A new one may cost others, the oldest, their place: their packets are lost.
    pub fn find_or_open(
        &mut self,
        key: &Key,
        interface: InterfaceIndex,
        now_ns: u64,
        lost: &mut Lost<P>,
    ) -> u32 {
        if let Some(&slot) = self.by_key.get(key) {
            return slot;
        }
        let of_source = self.by_source.get(&key.source).map(|of| (of.list.len(), of.list.first()));
        if let Some((length, Some(oldest))) = of_source
            && length >= self.limits.datagrams_per_source
        {
            self.evict(oldest, lost);
        }
        if self.by_age.len() >= self.limits.datagrams
            && let Some(oldest) = self.by_age.first()
        {
            self.evict(oldest, lost);
        }
        self.counts.started += 1;
        let fresh = Slot {
            key: *key,
            since_ns: now_ns,
            interface,
            by_age: Link::default(),
            by_source: Link::default(),
            holding: Holding::default(),
            datagram: Datagram::default(),
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = fresh;
            slot
        } else {
            self.slots.push(fresh);
            (self.slots.len() - 1) as u32
        };
        self.by_key.insert(*key, slot);
        self.by_age.push(&mut self.slots, slot, |slot| &mut slot.by_age);
        let of_source = self.by_source.entry(key.source).or_default();
        of_source.list.push(&mut self.slots, slot, |slot| &mut slot.by_source);
        slot
    }

    /// The datagram in a slot.
    pub fn datagram(&mut self, slot: u32) -> &mut Datagram<P> {
        &mut self.slots[slot as usize].datagram
    }

    /// Whether the datagram may hold so much more; then it counts as held. Others, the oldest, may lose their place.
    pub fn charge(&mut self, slot: u32, more: Holding, lost: &mut Lost<P>) -> bool {
        let source = self.slots[slot as usize].key.source;
        loop {
            let Some(of) = self.by_source.get(&source) else { return false };
            if of.buffers + more.buffers <= self.budget.of_source(self.pool) {
                break;
            }
            match of.list.first() {
                Some(oldest) if oldest != slot => self.evict(oldest, lost),
                _ => return false,
            }
        }
        while !self.budget.take(self.pool, self.holding.buffers, more.buffers) {
            match self.by_age.first() {
                Some(oldest) if oldest != slot => self.evict(oldest, lost),
                _ => return false,
            }
        }
        let held = &mut self.slots[slot as usize].holding;
        for held in [held, &mut self.holding] {
            held.buffers += more.buffers;
            held.bytes += more.bytes;
        }
        // Its list is not empty: the slot is in it.
        if let Some(of) = self.by_source.get_mut(&source) {
            of.buffers += more.buffers;
        }
        true
    }

    /// The datagram's packets have left it.
    pub fn discharge(&mut self, slot: u32) {
        let slot = &mut self.slots[slot as usize];
        let Holding { buffers, bytes } = std::mem::take(&mut slot.holding);
        self.budget.give_back(self.pool, self.holding.buffers, buffers);
        self.holding.buffers -= buffers;
        self.holding.bytes -= bytes;
        if let Some(of) = self.by_source.get_mut(&slot.key.source) {
            of.buffers -= buffers;
        }
    }

    /// The datagram is complete: it is given out, and its slot is free.
    pub fn complete(&mut self, slot: u32) -> Datagram<P> {
        self.counts.completed += 1;
        self.close(slot)
    }

    /// Gives the datagram up: its packets are lost for `why`, and what still comes of it will be dropped.
    pub fn condemn(&mut self, slot: u32, why: ReassemblyError, lost: &mut Lost<P>) {
        self.counts.condemned += 1;
        self.discharge(slot);
        let datagram = self.datagram(slot);
        datagram.is_condemned = true;
        lost.extend(datagram.drain().map(|packet| (packet, why)));
    }

    /// Datagrams, at most `most`, that are not complete in time; whether there may be more.
    pub fn expire(&mut self, now_ns: u64, most: usize, expired: &mut Vec<Expired<P>>) -> bool {
        for _ in 0..most {
            let Some(oldest) = self.by_age.first() else { return false };
            let since_ns = self.slots[oldest as usize].since_ns;
            if now_ns.saturating_sub(since_ns) < self.limits.timeout_ns {
                return false;
            }
            let mut datagram = self.close(oldest);
            // One that was given up has been counted.
            self.counts.timed_out += u64::from(!datagram.is_condemned);
            let has_first = datagram.spans.first().is_some_and(Option::is_some);
            let mut packets = datagram.drain();
            let first = if has_first { packets.next() } else { None };
            expired.push(Expired { first, others: packets.collect() });
        }
        true
    }

    /// Drops the datagrams whose first packet came in by an interface that goes; `None`: all.
    pub fn forget(&mut self, interface: Option<InterfaceIndex>, lost: &mut Lost<P>) {
        let of_interface = |slot: &Slot<P>| interface.is_none_or(|interface| interface == slot.interface);
        let gone: Vec<u32> =
            self.by_key.values().copied().filter(|&slot| of_interface(&self.slots[slot as usize])).collect();
        for slot in gone {
            lost.extend(self.close(slot).drain().map(|packet| (packet, ReassemblyError::InterfaceGone)));
        }
    }

    fn evict(&mut self, slot: u32, lost: &mut Lost<P>) {
        self.counts.evicted += 1;
        lost.extend(self.close(slot).drain().map(|packet| (packet, ReassemblyError::Evicted)));
    }

    fn close(&mut self, slot: u32) -> Datagram<P> {
        self.discharge(slot);
        let key = self.slots[slot as usize].key;
        self.by_key.remove(&key);
        self.by_age.remove(&mut self.slots, slot, |slot| &mut slot.by_age);
        if let Entry::Occupied(mut of) = self.by_source.entry(key.source) {
            of.get_mut().list.remove(&mut self.slots, slot, |slot| &mut slot.by_source);
            if of.get().list.len() == 0 {
                of.remove();
            }
        }
        self.free.push(slot);
        std::mem::take(&mut self.slots[slot as usize].datagram)
    }
}
