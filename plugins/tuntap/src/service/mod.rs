//! What there is of taps, tuns, monitors and mirrors, and how it is brought to what is asked for: as a whole, each time that anything
//! has happened. Main thread only, but for the monitors' threads.

mod mirrors;
mod monitors;
mod report;
mod taps;
mod tuns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::InterfaceInfo;
use raddle_plugin_api::prelude::*;

pub use self::mirrors::{Adoptable, Mirror};
use self::monitors::Watched;
pub use self::report::Report;
use self::taps::Tap;
use self::tuns::Tun;
use crate::NAME;
use crate::config::TuntapConfig;
use crate::targets::{Target, Targets};

/// Who the mirrors' routes are from.
pub const OWNER: u16 = 0x7475;

/// A namespace by its name; `None` is raddle's own.
type NamespaceName = Option<String>;

/// All of it. A resource of the plugin.
pub struct Service {
    config: Mutex<TuntapConfig>,
    /// What the configuration's file said when it was last read.
    read: Mutex<TuntapConfig>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Taps, by the interface whose packets they carry.
    taps: BTreeMap<String, Tap>,
    /// Tuns, by the number of their routing table.
    tuns: BTreeMap<u32, Tun>,
    /// Interfaces on which packets are taken from the punt.
    held: BTreeSet<InterfaceIndex>,
    monitors: BTreeMap<NamespaceName, Watched>,
    mirrors: Vec<Arc<Mirror>>,
    /// Mirrors that are not wanted any more, until their routes are gone.
    leaving: Vec<Arc<Mirror>>,
    /// Interfaces in mode `tun`, with the number of their routing table.
    users_of_tuns: Vec<(InterfaceIndex, u32)>,
    /// When routes that were refused are tried again.
    retry_at_ns: u64,
    /// What was said of things that do not work, so that it is said once.
    said: BTreeMap<String, String>,
}

impl Service {
    /// Nothing is there yet.
    pub fn new(_: &Control<'_>, config: TuntapConfig) -> Self {
        Self { config: Mutex::new(config.clone()), read: Mutex::new(config), state: Mutex::default() }
    }

    /// What is asked for.
    pub fn config(&self) -> TuntapConfig {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for something else, which the task brings about.
    pub fn set_config(&self, config: TuntapConfig) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Takes up what the configuration's file says now; `false`: it is what it said before, and what commands changed stays.
    pub fn take_up(&self, config: &TuntapConfig) -> bool {
        let before =
            std::mem::replace(&mut *self.read.lock().unwrap_or_else(PoisonError::into_inner), config.clone());
        let is_new = before != *config;
        if is_new {
            self.set_config(config.clone());
        }
        is_new
    }

    /// Brings everything to what is asked for, as far as it can be done now; returns the mirrors whose routes are to be looked at, in that
    /// order.
    pub fn reconcile(&self, control: &Control<'_>) -> Vec<Arc<Mirror>> {
        let config = self.config();
        let interfaces = match control.interfaces() {
            Ok(interfaces) => interfaces,
            Err(failure) => {
                log_error!(control, "tuntap: {failure}");
                return Vec::new();
            }
        };
        let mut state = self.state();
        let by_name = |name: &str| interfaces.iter().find(|info| info.name == name);
        state.bring_taps(control, &config, &by_name);
        state.bring_tuns(control, &config, &by_name);
        state.bring_mirrors(control, &config);
        state.bring_monitors(control);
        state.follow_hosts(control);
        state.publish(control, &by_name);
        let to_follow = state.to_follow();
        state.leaving.retain(|mirror| !mirror.routes().is_in_sync());
        to_follow
    }

    /// Reads all of the kernel's routes again, and tries again what was refused.
    pub fn resync(&self) -> usize {
        let mut state = self.state();
        for mirror in &state.mirrors {
            mirror.routes().retry();
        }
        state.monitors.values_mut().map(Watched::resync).filter(|told| *told).count()
    }

    /// The mirrors.
    pub fn mirrors(&self) -> Vec<Arc<Mirror>> {
        self.state().mirrors.clone()
    }

    /// Which routes are from here, for another version of the plugin.
    pub fn adoptable(&self) -> Vec<Adoptable> {
        let state = self.state();
        state.mirrors.iter().chain(&state.leaving).map(|mirror| mirror.adoptable()).collect()
    }

    /// Routes are here from another version of the plugin.
    pub fn adopt(&self, adopted: Vec<Adoptable>) {
        let mut state = self.state();
        for adoptable in adopted {
            match state.mirrors.iter().find(|mirror| adoptable.is_of(mirror)) {
                Some(mirror) => mirror.routes().adopt(adoptable.prefixes),
                None => state.leaving.push(Arc::new(adoptable.leaving())),
            }
        }
    }

    /// Ends: the threads stop; the taps and tuns go, unless another version of the plugin takes them over. So do the routes, which raddle
    /// itself withdraws from a plugin that has gone.
    pub fn end(&self, control: &Control<'_>) {
        let mut state = std::mem::take(&mut *self.state());
        state.monitors.clear();
        if control.is_being_replaced() {
            return;
        }
        let taps = state.taps.values().filter_map(|tap| tap.index);
        for index in taps.chain(state.tuns.values().filter_map(|tun| tun.index)) {
            // One that is gone is gone.
            let _ = control.delete_interface(index);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells the workers where packets go, and has those of the interfaces taken from the punt.
    fn publish<'i>(&mut self, control: &Control<'_>, by_name: &impl Fn(&str) -> Option<&'i InterfaceInfo>) {
        let mut targets: BTreeMap<InterfaceIndex, Target> = BTreeMap::new();
        for (name, tap) in &self.taps {
            if let (Some(info), Some(index)) = (by_name(name), tap.index) {
                targets.insert(info.index, Target::Tap(index));
            }
        }
        for &(interface, table) in &self.users_of_tuns {
            if let Some(index) = self.tuns.get(&table).and_then(|tun| tun.index) {
                targets.insert(interface, Target::Tun(index));
            }
        }
        match control.resource::<Targets>() {
            Ok(published) => {
                published.set(control, targets.iter().map(|(&interface, &target)| (interface, target)))
            }
            Err(failure) => log_error!(control, "tuntap: {failure}"),
        }
        let wanted: BTreeSet<_> = targets.into_keys().collect();
        for &gone in self.held.difference(&wanted) {
            // An interface that is gone holds nothing any more.
            let _ = control.release_feature(gone, NAME);
        }
        let mut held: BTreeSet<_> = self.held.intersection(&wanted).copied().collect();
        let new: Vec<_> = wanted.difference(&self.held).copied().collect();
        for new in new {
            match control.hold_feature(new, NAME) {
                Ok(()) => drop(held.insert(new)),
                Err(failure) => self.say(control, &format!("feature {new}"), Some(failure.to_string())),
            }
        }
        self.held = held;
    }

    /// Logs what is wrong with something when that changes.
    fn say(&mut self, control: &Control<'_>, what: &str, fault: Option<String>) {
        match fault {
            Some(fault) if self.said.get(what) != Some(&fault) => {
                log_warn!(control, "tuntap: {what}: {fault}");
                self.said.insert(what.to_owned(), fault);
            }
            Some(_) => {}
            None => {
                if self.said.remove(what).is_some() {
                    log_info!(control, "tuntap: {what}: in order again");
                }
            }
        }
    }
}
