//! The addresses that bridges know, on the main thread: learned, aged, fixed, forgotten.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use raddle_plugin_api::{Failure, InterfaceIndex};

use super::bridges::{Bridges, second};
use super::learning::Sighting;
use super::mac_table::{MacKey, Place};

impl Bridges {
    /// Addresses that a worker has seen. Any thread.
    pub(super) fn report(&self, sightings: Vec<Sighting>) {
        self.remote.run(move |control| {
            let Ok(bridges) = control.resource::<Self>() else { return };
            bridges.backlog.done(sightings.len());
            bridges.learn(&sightings, control.now_ns());
        });
    }

    fn learn(&self, sightings: &[Sighting], now_ns: u64) {
        let mut state = self.state();
        for sighting in sightings {
            // The port may have gone meanwhile, or be another bridge's.
            let bridge = sighting.key.bridge();
            if state.ports.get(&sighting.interface).is_none_or(|port| port.bridge != bridge) {
                continue;
            }
            let Some(learned) = state.learned(bridge) else { continue };
            let place = Place::new(sighting.interface.0, false);
            match state.macs.get(&sighting.key) {
                Some(known) if known.is_fixed() => continue,
                Some(_) => {}
                None if learned.1 <= learned.0.load(Ordering::Relaxed) => continue,
                None => {
                    learned.0.fetch_add(1, Ordering::Relaxed);
                }
            }
            if self.tables.macs.insert(sighting.key, place, second(now_ns)) {
                state.macs.insert(sighting.key, place);
            } else {
                learned.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Forgets addresses that were not seen for their bridge's ageing time.
    pub(super) fn age(&self, now_ns: u64) {
        let now = second(now_ns);
        let ages: HashMap<u16, u32> =
            self.state().bridges.values().map(|bridge| (bridge.id, bridge.config.ageing)).collect();
        self.forget(|key, _| {
            let limit = ages.get(&key.bridge()).copied().unwrap_or_default();
            let seen = self.tables.macs.find(key).map_or(now, |found| found.seen());
            limit > 0 && now.saturating_sub(seen) > limit
        });
    }

    /// Forgets what one bridge, or all, have learned; returns how many addresses that were.
    ///
    /// # Errors
    /// There is no bridge of this name.
    pub fn clear(&self, name: Option<&str>) -> Result<usize, Failure> {
        if let Some(name) = name {
            self.config(name)?;
        }
        let only = name.and_then(|name| Some(self.state().bridges.get(name)?.id));
        Ok(self.forget(|key, _| only.is_none_or(|only| key.bridge() == only)))
    }

    /// Takes learned addresses out of the table for which `which` holds.
    fn forget(&self, which: impl Fn(MacKey, Place) -> bool) -> usize {
        let mut state = self.state();
        let gone: Vec<MacKey> = (state.macs.iter())
            .filter(|(key, place)| !place.is_fixed() && which(**key, **place))
            .map(|(key, _)| *key)
            .collect();
        for key in &gone {
            state.macs.remove(key);
            self.tables.macs.remove(*key);
            if let Some((learned, _)) = state.learned(key.bridge()) {
                learned.fetch_sub(1, Ordering::Relaxed);
            }
        }
        gone.len()
    }

    /// Forgets addresses of ports that are gone or down, and puts those in that are fixed.
    pub(super) fn follow_addresses(&self, now_ns: u64) {
        let mut state = self.state();
        let mut fixed: HashMap<MacKey, Place> = HashMap::new();
        for bridge in state.bridges.values() {
            for mac in &bridge.config.macs {
                if let Some(info) = state.interfaces.get(&mac.interface) {
                    fixed.insert(MacKey::of(bridge.id, mac.mac), Place::new(info.index.0, true));
                }
            }
            let bvi = bridge.config.bvi.as_ref().and_then(|bvi| state.interfaces.get(bvi));
            if let Some((info, mac)) = bvi.and_then(|info| Some((info, info.mac?))) {
                fixed.insert(MacKey::of(bridge.id, mac), Place::new(info.index.0, true));
            }
        }
        let stale: Vec<MacKey> = (state.macs.iter())
            .filter(|(key, place)| match place.is_fixed() {
                true => fixed.get(*key) != Some(*place),
                false => {
                    let port = state.ports.get(&InterfaceIndex(place.interface()));
                    fixed.contains_key(*key) || port.is_none_or(|port| port.bridge != key.bridge())
                }
            })
            .map(|(key, _)| *key)
            .collect();
        for key in stale {
            self.tables.macs.remove(key);
            if state.macs.remove(&key).is_some_and(|place| !place.is_fixed())
                && let Some((learned, _)) = state.learned(key.bridge())
            {
                learned.fetch_sub(1, Ordering::Relaxed);
            }
        }
        for (key, place) in fixed {
            if self.tables.macs.insert(key, place, second(now_ns)) {
                state.macs.insert(key, place);
            }
        }
    }
}
