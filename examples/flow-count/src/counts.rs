//! What nodes, commands and events share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use raddle_plugin_api::prelude::*;

use crate::NAME;
use crate::config::FlowCountConfig;
use crate::table::FlowTable;

/// Counters for each interface: packets and bytes of IPv4, packets and bytes of IPv6.
const PER_INTERFACE: usize = 4;

/// An address family, as a place among the counters of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ip4 = 0,
    /// IPv6.
    Ip6 = 2,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Their bytes, from the IP header on.
    pub bytes: u64,
}

/// What nodes, commands and events share. Nodes touch the counters, their thread's table and the generation; what is
/// behind a lock is the main thread's.
pub struct Counts {
    interfaces: Vec<String>,
    max_flows: usize,
    counters: Counters,
    generation: AtomicU64,
    tables: Mutex<BTreeMap<u32, Arc<FlowTable>>>,
    /// What the counters said when they were cleared: they themselves only rise.
    cleared: Mutex<Cleared>,
}

struct Cleared {
    counters: Vec<u64>,
    refused: u64,
}

impl Counts {
    /// Nothing counted yet. Counters that are there already, from before a reload, begin at zero.
    pub fn new(control: &Control<'_>, config: &FlowCountConfig) -> Result<Self, Failure> {
        let counts = Self {
            interfaces: config.interfaces.clone(),
            max_flows: config.max_flows.count(),
            counters: control.counters(NAME, InterfaceIndex::LIMIT * PER_INTERFACE)?,
            generation: AtomicU64::new(1),
            tables: Mutex::default(),
            cleared: Mutex::new(Cleared { counters: Vec::new(), refused: 0 }),
        };
        counts.clear();
        Ok(counts)
    }

    /// Whether the configuration names the interface.
    pub fn is_wanted(&self, interface: &str) -> bool {
        self.interfaces.iter().any(|name| name == interface)
    }

    /// The table of a thread, which both nodes of that thread count in.
    pub fn table(&self, thread: u32) -> Arc<FlowTable> {
        let mut tables = lock(&self.tables);
        Arc::clone(tables.entry(thread).or_insert_with(|| Arc::new(FlowTable::new(self.max_flows))))
    }

    /// The tables of all threads.
    pub fn tables(&self) -> Vec<Arc<FlowTable>> {
        lock(&self.tables).values().cloned().collect()
    }

    /// Which flows count: those of this generation.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Counts a packet of an interface.
    pub fn add(&self, worker: &Worker<'_>, interface: InterfaceIndex, family: Family, bytes: u64) {
        let first = place(interface, family);
        self.counters.add(worker, first, 1);
        self.counters.add(worker, first + 1, bytes);
    }

    /// What was counted of an interface since the last clear.
    pub fn amount(&self, interface: InterfaceIndex, family: Family) -> Amount {
        let first = place(interface, family);
        let cleared = lock(&self.cleared);
        let since = |index: usize| {
            self.counters.sum(index).wrapping_sub(cleared.counters.get(index).copied().unwrap_or(0))
        };
        Amount { packets: since(first), bytes: since(first + 1) }
    }

    /// Packets since the last clear that were of no flow that there was room for.
    pub fn refused(&self) -> u64 {
        self.refused_ever().wrapping_sub(lock(&self.cleared).refused)
    }

    /// Begins to count at zero again; the workers need not stop for it.
    pub fn clear(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        let counters = (0..self.counters.len()).map(|index| self.counters.sum(index)).collect();
        let refused = self.refused_ever();
        *lock(&self.cleared) = Cleared { counters, refused };
    }

    /// Begins at zero for one interface.
    pub fn clear_interface(&self, interface: InterfaceIndex) {
        let first = place(interface, Family::Ip4);
        let mut cleared = lock(&self.cleared);
        for index in first..first + PER_INTERFACE {
            if let Some(counter) = cleared.counters.get_mut(index) {
                *counter = self.counters.sum(index);
            }
        }
    }

    fn refused_ever(&self) -> u64 {
        self.tables().iter().fold(0, |sum, table| sum.wrapping_add(table.refused()))
    }
}

/// The first counter of an interface and family. Packets of no interface share a place beyond the end, which counts
/// nothing.
fn place(interface: InterfaceIndex, family: Family) -> usize {
    (interface.0 as usize).min(InterfaceIndex::LIMIT) * PER_INTERFACE + family as usize
}

/// Locks; nothing in here panics half-way.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
