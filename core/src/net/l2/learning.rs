//! Learning: what a worker notes of the sources of frames, and hands to the main thread.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use raddle_plugin_api::{InterfaceIndex, Worker};

use super::bridges::Bridges;
use super::mac_table::MacKey;
use super::tables::{BridgeTables, Domain, Port};

/// Addresses that may be on their way to the main thread at a time, over all workers.
const MAX_BACKLOG: usize = 8192;
/// Addresses that a worker remembers to have handed over.
const REMEMBERED: usize = 1024;

/// Addresses on their way to the main thread.
#[derive(Debug, Default)]
pub struct Backlog(AtomicUsize);

impl Backlog {
    /// Takes up to `count` places; returns how many there were.
    fn admit(&self, count: usize) -> usize {
        let room = MAX_BACKLOG.saturating_sub(self.0.load(Ordering::Relaxed));
        let count = count.min(room);
        self.0.fetch_add(count, Ordering::Relaxed);
        count
    }

    /// Gives places back.
    pub fn done(&self, count: usize) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }
}

/// An address that was seen behind a port where it was not known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The address and its bridge.
    pub key: MacKey,
    /// The port.
    pub interface: InterfaceIndex,
}

/// What one thread notes.
pub struct Learner {
    bridges: Arc<Bridges>,
    tables: Arc<BridgeTables>,
    /// What was handed over lately, by hash: a burst from a new address is one sighting.
    lately: Box<[Option<(Sighting, u32)>; REMEMBERED]>,
    sightings: Vec<Sighting>,
}

impl Learner {
    /// For one thread.
    pub fn new(bridges: Arc<Bridges>) -> Self {
        let tables = Arc::clone(bridges.tables());
        Self { bridges, tables, lately: Box::new([None; REMEMBERED]), sightings: Vec::new() }
    }

    /// Notes that a frame from `source` came in by `port` in this second.
    #[inline]
    pub fn see(&mut self, port: &Port, domain: &Domain, source: u64, second: u32) {
        let key = MacKey::new(port.bridge, source);
        match self.tables.macs.find(key) {
            Some(found) if found.place.is_fixed() => {}
            Some(found) if found.place.interface() == port.interface.0 => found.touch(second),
            Some(_) => self.note(Sighting { key, interface: port.interface }, second),
            None if domain.has_room() => self.note(Sighting { key, interface: port.interface }, second),
            None => {}
        }
    }

    #[cold]
    fn note(&mut self, sighting: Sighting, second: u32) {
        let [a, b, c, d, e, f] = sighting.key.mac().0;
        let low = u32::from_le_bytes([c, d, e, f]) ^ u32::from(a) ^ u32::from(b) << 8;
        let slot = &mut self.lately[low.wrapping_mul(0x9e37_79b9) as usize >> 22 & (REMEMBERED - 1)];
        if *slot != Some((sighting, second)) {
            *slot = Some((sighting, second));
            self.sightings.push(sighting);
        }
    }

    /// Hands over what was noted. What is too much is seen again by later frames.
    pub fn hand_over(&mut self, _: &Worker<'_>) {
        if self.sightings.is_empty() {
            return;
        }
        let admitted = self.bridges.backlog().admit(self.sightings.len());
        self.sightings.truncate(admitted);
        if admitted > 0 {
            self.bridges.report(std::mem::take(&mut self.sightings));
        }
    }
}
