//! The bridges as the main thread keeps them: asked for by name, brought in line with the interfaces that there are.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::abi::InterfaceFlags;
use raddle_plugin_api::driver::Driver as _;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::task::Remote;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent, InterfaceInfo};
use serde_json::{Value, json};

use super::bvi::Bvi;
use super::config::{BridgeConfig, BridgesConfig};
use super::domain::{Bridge, check_all, passes};
use super::learning::Backlog;
use super::mac_table::{MacKey, Place};
use super::tables::{BridgeTables, Port, Ports};

/// All bridges. A resource of the core.
pub struct Bridges {
    pub(super) tables: Arc<BridgeTables>,
    pub(super) remote: Remote,
    pub(super) backlog: Backlog,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) bridges: BTreeMap<String, Bridge>,
    /// All interfaces that there are, by name.
    pub(super) interfaces: HashMap<String, InterfaceInfo>,
    /// Addresses in the table.
    pub(super) macs: HashMap<MacKey, Place>,
    /// Ports of the last publication, by interface.
    pub(super) ports: HashMap<InterfaceIndex, Port>,
    /// Interfaces whose frames go to a bridge.
    bridged: BTreeSet<InterfaceIndex>,
}

impl Bridges {
    /// None yet.
    ///
    /// # Errors
    /// No memory for the table of addresses.
    pub fn new(control: &Control<'_>) -> Result<Self, Failure> {
        let interfaces = control.interfaces()?.into_iter().map(|info| (info.name.clone(), info)).collect();
        let state = State { interfaces, ..State::default() };
        Ok(Self {
            tables: Arc::new(BridgeTables::new(control)?),
            remote: control.remote(),
            backlog: Backlog::default(),
            state: Mutex::new(state),
        })
    }

    pub(super) fn tables(&self) -> &Arc<BridgeTables> {
        &self.tables
    }

    pub(super) fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Makes all bridges into what is asked for: those that are not asked for go. Interfaces that are not there become
    /// ports when they come.
    ///
    /// # Errors
    /// A bridge contradicts itself or another, and nothing is changed; or a port cannot be one now, and the rest is done.
    pub fn set_all(&self, control: &Control<'_>, configs: BridgesConfig) -> Result<(), Failure> {
        {
            let mut state = self.state();
            check_all(&configs, &state.interfaces)?;
            let mut before = std::mem::take(&mut state.bridges);
            before.retain(|name, _| configs.contains_key(name));
            state.bridges = before;
            for (name, config) in configs {
                if let Some(bridge) = state.bridges.get_mut(&name) {
                    bridge.config = config;
                    continue;
                }
                let bridge = Bridge { id: state.free_id()?, config, learned: Arc::new(AtomicU32::new(0)) };
                state.bridges.insert(name, bridge);
            }
        }
        self.settle(control)
    }

    /// Makes a bridge without ports.
    ///
    /// # Errors
    /// There is one of this name, or the name cannot be one.
    pub fn add(&self, control: &Control<'_>, name: &str) -> Result<(), Failure> {
        let mut configs = self.configs();
        if configs.insert(name.to_owned(), BridgeConfig::default()).is_some() {
            bail!("there is a bridge `{name}` already");
        }
        self.set_all(control, configs)
    }

    /// Changes a bridge. What cannot be is not done at all.
    ///
    /// # Errors
    /// There is none of this name; that of `change`; the bridge contradicts itself or another; a port cannot be one.
    pub fn change(
        &self,
        control: &Control<'_>,
        name: &str,
        change: impl FnOnce(&mut BridgeConfig) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut config = self.config(name)?;
        change(&mut config)?;
        let before = self.configs();
        let mut configs = before.clone();
        configs.insert(name.to_owned(), config);
        self.set_all(control, configs).inspect_err(|_| {
            // It was so a moment ago.
            let _ = self.set_all(control, before);
        })
    }

    /// Takes a bridge away.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn remove(&self, control: &Control<'_>, name: &str) -> Result<(), Failure> {
        self.config(name)?;
        let mut configs = self.configs();
        configs.remove(name);
        self.set_all(control, configs)
    }

    /// What the bridge was asked to be.
    ///
    /// # Errors
    /// There is none of this name; the message names the nearest.
    pub fn config(&self, name: &str) -> Result<BridgeConfig, Failure> {
        let state = self.state();
        if let Some(bridge) = state.bridges.get(name) {
            return Ok(bridge.config.clone());
        }
        match raddle_plugin_api::config::nearest(name, state.bridges.keys().map(String::as_str)) {
            Some(nearest) => bail!("there is no bridge `{name}`; did you mean `{nearest}`?"),
            None => bail!("there is no bridge `{name}`"),
        }
    }

    /// What all bridges were asked to be.
    pub fn configs(&self) -> BridgesConfig {
        let state = self.state();
        state.bridges.iter().map(|(name, bridge)| (name.clone(), bridge.config.clone())).collect()
    }

    /// Whether a port of the bridge is up whose BVI this is.
    pub(super) fn carries(&self, bvi: &str) -> bool {
        let state = self.state();
        let up = |name: &String| state.interfaces.get(name).is_some_and(passes);
        let own = |bridge: &&Bridge| bridge.config.bvi.as_deref() == Some(bvi);
        let bridge = state.bridges.values().find(own);
        bridge.is_some_and(|bridge| bridge.config.members.iter().any(|member| up(&member.interface)))
    }

    /// Name of the bridge whose BVI this is.
    pub(super) fn bridge_of_bvi(&self, bvi: &str) -> Option<String> {
        let state = self.state();
        let found = state.bridges.iter().find(|(_, bridge)| bridge.config.bvi.as_deref() == Some(bvi));
        found.map(|(name, _)| name.clone())
    }

    /// Hears what has become of an interface.
    pub(super) fn interface_event(&self, control: &Control<'_>, event: &InterfaceEvent) {
        let info = &event.interface;
        {
            let mut state = self.state();
            if event.change == InterfaceChange::Deleted {
                state.interfaces.remove(&info.name);
                state.bridged.remove(&info.index);
            } else {
                state.interfaces.insert(info.name.clone(), info.clone());
            }
            let concerned = |bridge: &Bridge| {
                bridge.config.bvi.as_ref() == Some(&info.name)
                    || bridge.config.members.iter().any(|member| member.interface == info.name)
            };
            let Some((name, _)) = state.bridges.iter().find(|(_, bridge)| concerned(bridge)) else { return };
            if event.change == InterfaceChange::Deleted {
                let message = format!("bridge `{name}` loses its port `{}`, which goes away", info.name);
                control.log(LogLevel::WARN, message);
            }
        }
        if let Err(failure) = self.settle(control) {
            control.log(LogLevel::WARN, failure);
        }
    }

    /// Brings ports, addresses and the interfaces' flags in line with what is asked for and what there is.
    fn settle(&self, control: &Control<'_>) -> Result<(), Failure> {
        let outcome = self.follow_flags(control);
        {
            let mut state = self.state();
            let refused =
                |state: &State, port: &Port| !port.is_bvi && !state.bridged.contains(&port.interface);
            let mut ports = Ports::default();
            state.ports.clear();
            let all: Vec<(u16, Vec<Port>)> =
                state.bridges.values().map(|bridge| (bridge.id, bridge.ports(&state.interfaces))).collect();
            for (id, mut own) in all {
                own.retain(|port| !refused(&state, port));
                for port in &own {
                    *place(&mut ports.by_interface, port.interface.0) = Some(*port);
                    state.ports.insert(port.interface, *port);
                }
                let bridge = state.bridges.values().find(|bridge| bridge.id == id);
                *place(&mut ports.domains, u32::from(id)) = bridge.map(|bridge| bridge.domain(own));
            }
            self.tables.publish(control, ports);
        }
        self.follow_addresses(control.now_ns());
        let bvis: Vec<InterfaceIndex> = {
            let state = self.state();
            let bvis = state.interfaces.values().filter(|info| info.driver == Bvi::NAME);
            bvis.map(|info| info.index).collect()
        };
        for bvi in bvis {
            control.call::<_, Value>("interface.refresh", &json!({ "interface": bvi }))?;
        }
        outcome
    }

    /// Has members' frames go to bridges, and those of former members not any more.
    fn follow_flags(&self, control: &Control<'_>) -> Result<(), Failure> {
        let (wanted, had) = {
            let state = self.state();
            let members = state.bridges.values().flat_map(|bridge| &bridge.config.members);
            let wanted: BTreeSet<InterfaceIndex> =
                members.filter_map(|member| Some(state.interfaces.get(&member.interface)?.index)).collect();
            (wanted, state.bridged.clone())
        };
        let mut outcome = Ok(());
        for &interface in had.difference(&wanted) {
            switch(control, interface, false)?;
            self.state().bridged.remove(&interface);
        }
        for &interface in wanted.difference(&had) {
            match switch(control, interface, true) {
                Ok(()) => {
                    self.state().bridged.insert(interface);
                }
                Err(failure) => outcome = Err(failure),
            }
        }
        outcome
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn free_id(&self) -> Result<u16, Failure> {
        let taken: BTreeSet<u16> = self.bridges.values().map(|bridge| bridge.id).collect();
        (1..u16::MAX)
            .find(|id| !taken.contains(id))
            .ok_or_else(|| failure!("there are {} bridges already", u16::MAX - 1))
    }

    /// How many addresses the bridge has learned, and how many it may.
    pub(super) fn learned(&self, id: u16) -> Option<(Arc<AtomicU32>, u32)> {
        let bridge = self.bridges.values().find(|bridge| bridge.id == id)?;
        Some((Arc::clone(&bridge.learned), bridge.config.mac_limit))
    }
}

/// Has an interface's frames go to its bridge, or not any more.
fn switch(control: &Control<'_>, interface: InterfaceIndex, on: bool) -> Result<(), Failure> {
    let (set, clear) = if on { (InterfaceFlags::BRIDGED, 0) } else { (0, InterfaceFlags::BRIDGED) };
    let flags = json!({ "interface": interface, "set": set, "clear": clear });
    control.call::<_, Value>("interface.flags", &flags)?;
    let promiscuous = json!({ "interface": interface, "by": "bridge", "on": on });
    control.call::<_, Value>("interface.promiscuous", &promiscuous).map(drop)
}

fn place<T>(list: &mut Vec<Option<T>>, index: u32) -> &mut Option<T> {
    let index = index as usize;
    if list.len() <= index {
        list.resize_with(index + 1, || None);
    }
    &mut list[index]
}

/// Monotonic seconds.
pub(super) fn second(now_ns: u64) -> u32 {
    (now_ns / 1_000_000_000) as u32
}
