//! The sub-interfaces as the main thread keeps them: which there are, and how their parents are.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::abi::InterfaceFlags;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::task::Remote;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent, InterfaceInfo};
use serde_json::json;

use super::tables::Entry;
use super::{Selection, VlanTables};

/// The sub-interfaces of all interfaces. A resource of the core.
pub struct Vlans {
    tables: Arc<VlanTables>,
    remote: Remote,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// All interfaces that there are, by name.
    interfaces: HashMap<String, InterfaceInfo>,
    /// Sub-interfaces by name, from the opening of their devices on.
    subs: BTreeMap<String, Sub>,
    /// Flags that parents have for their sub-interfaces' sake.
    flagged: HashMap<InterfaceIndex, u32>,
}

struct Sub {
    parent: String,
    selection: Selection,
    priority: u8,
    /// Whether its parent is to take frames for every MAC address.
    promiscuous: bool,
    keeps_tags: bool,
}

impl Vlans {
    /// None yet.
    pub fn new(control: &Control<'_>) -> Result<Self, Failure> {
        let mut state = State::default();
        for info in control.interfaces()? {
            state.interfaces.insert(info.name.clone(), info);
        }
        let tables = Arc::new(VlanTables::new(control));
        Ok(Self { tables, remote: control.remote(), state: Mutex::new(state) })
    }

    /// What workers read.
    pub fn tables(&self) -> &Arc<VlanTables> {
        &self.tables
    }

    /// Takes a sub-interface in whose device is being opened.
    ///
    /// # Errors
    /// Its parent cannot have it.
    pub fn open(&self, name: &str, parent: &str, selection: Selection, priority: u8) -> Result<(), Failure> {
        let mut state = self.state();
        if parent == name {
            bail!("a sub-interface cannot be its own parent");
        }
        if state.subs.contains_key(parent) {
            bail!("`{parent}` is a sub-interface itself; `inner-vlan` is for a second tag");
        }
        if let Some(child) = state.subs.iter().find(|(_, sub)| sub.parent == name).map(|(child, _)| child) {
            bail!("`{name}` cannot be a sub-interface: it is the parent of `{child}`");
        }
        if state.interfaces.get(parent).is_some_and(|info| info.mac.is_none()) {
            bail!("`{parent}` has no Ethernet header, and so no VLANs");
        }
        let same = |sub: &Sub| sub.parent == parent && sub.selection == selection;
        if let Some((other, _)) = state.subs.iter().find(|(_, sub)| same(sub)) {
            bail!("{selection} of `{parent}` belongs to sub-interface `{other}` already");
        }
        let sub =
            Sub { parent: parent.to_owned(), selection, priority, promiscuous: false, keeps_tags: false };
        state.subs.insert(name.to_owned(), sub);
        Ok(())
    }

    /// Forgets a sub-interface whose device is closed.
    pub(super) fn close(&self, name: &str) {
        let mut state = self.state();
        if let Some(sub) = state.subs.remove(name)
            && sub.promiscuous
        {
            drop(state);
            self.ask_of_parent(&sub.parent, name, false);
        }
    }

    /// The interface of this name, if it is there.
    pub fn interface(&self, name: &str) -> Option<InterfaceInfo> {
        self.state().interfaces.get(name).cloned()
    }

    /// Which frames a sub-interface takes; `None` of an interface that is none.
    pub fn selection(&self, name: &str) -> Option<Selection> {
        self.state().subs.get(name).map(|sub| sub.selection)
    }

    /// Has the parent take frames for every MAC address for this sub-interface's sake, or not any more.
    pub(super) fn set_promiscuous(&self, name: &str, on: bool) {
        let mut state = self.state();
        let Some(sub) = state.subs.get_mut(name) else { return };
        if sub.promiscuous == on {
            return;
        }
        sub.promiscuous = on;
        let parent = sub.parent.clone();
        drop(state);
        self.ask_of_parent(&parent, name, on);
    }

    /// Has a sub-interface leave tags on frames, both ways, or not any more.
    pub fn set_keeps_tags(&self, control: &Control<'_>, name: &str, on: bool) {
        if let Some(sub) = self.state().subs.get_mut(name) {
            sub.keeps_tags = on;
        }
        self.publish(control);
    }

    /// Hears what has become of an interface.
    ///
    /// # Errors
    /// The host does not answer as it should.
    pub fn interface_event(&self, control: &Control<'_>, event: &InterfaceEvent) -> Result<(), Failure> {
        let info = &event.interface;
        let is_sub = {
            let mut state = self.state();
            if event.change == InterfaceChange::Deleted {
                state.interfaces.remove(&info.name);
                state.flagged.remove(&info.index);
            } else {
                state.interfaces.insert(info.name.clone(), info.clone());
            }
            state.subs.contains_key(&info.name)
        };
        let children = self.children(&info.name);
        let comes_or_goes = matches!(event.change, InterfaceChange::Created | InterfaceChange::Deleted);
        if comes_or_goes && (is_sub || !children.is_empty()) {
            self.publish(control);
        }
        for (child, promiscuous) in children {
            if promiscuous && event.change == InterfaceChange::Created {
                self.ask_of_parent(&info.name, &child, true);
            }
            if let Some(child) = self.interface(&child) {
                control
                    .call::<_, serde_json::Value>("interface.refresh", &json!({"interface": child.index}))?;
            }
        }
        Ok(())
    }

    fn children(&self, parent: &str) -> Vec<(String, bool)> {
        let state = self.state();
        let own = state.subs.iter().filter(|(_, sub)| sub.parent == parent);
        own.map(|(name, sub)| (name.clone(), sub.promiscuous)).collect()
    }

    fn ask_of_parent(&self, parent: &str, child: &str, on: bool) {
        let (parent, by) = (parent.to_owned(), format!("sub-interface {child}"));
        self.remote.run(move |control| {
            // Without the parent there is nobody to ask; it is asked when it comes.
            let Ok(parent) = control.interface(&parent) else { return };
            let arguments = json!({"interface": parent.index, "by": by, "on": on});
            if let Err(failure) = control.call::<_, serde_json::Value>("interface.promiscuous", &arguments) {
                control
                    .log(LogLevel::WARN, format_args!("{by} needs all frames of {}: {failure}", parent.name));
            }
        });
    }

    /// Brings the workers' tables and the parents' flags in line with what there is.
    fn publish(&self, control: &Control<'_>) {
        let (entries, changes) = {
            let mut state = self.state();
            let entries = state.entries();
            let changes = state.change_flags(&entries);
            (entries, changes)
        };
        self.tables.publish(control, &entries);
        for (interface, set, clear) in changes {
            let arguments = json!({"interface": interface, "set": set, "clear": clear});
            if let Err(failure) = control.call::<_, serde_json::Value>("interface.flags", &arguments) {
                control
                    .log(LogLevel::WARN, format_args!("sub-interfaces of interface {interface}: {failure}"));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The sub-interfaces that are there with their parents.
    fn entries(&self) -> Vec<Entry> {
        let entry = |(name, sub): (&String, &Sub)| {
            Some(Entry {
                interface: self.interfaces.get(name)?.index,
                parent: self.interfaces.get(&sub.parent)?.index,
                selection: sub.selection,
                priority: sub.priority,
                keeps_tags: sub.keeps_tags,
            })
        };
        self.subs.iter().filter_map(entry).collect()
    }

    /// Flags to be set and to be cleared, by interface.
    fn change_flags(&mut self, entries: &[Entry]) -> Vec<(InterfaceIndex, u32, u32)> {
        let mut wanted: HashMap<InterfaceIndex, u32> = HashMap::new();
        for entry in entries {
            let untagged = match entry.selection {
                Selection::Untagged => InterfaceFlags::HAS_UNTAGGED_SUB_INTERFACE,
                _ => 0,
            };
            *wanted.entry(entry.parent).or_default() |= InterfaceFlags::HAS_SUB_INTERFACES | untagged;
        }
        let touched: BTreeSet<_> = self.flagged.keys().chain(wanted.keys()).copied().collect();
        let change = |interface| {
            let flags = |all: &HashMap<_, u32>| all.get(&interface).copied().unwrap_or_default();
            let (old, new) = (flags(&self.flagged), flags(&wanted));
            (old != new).then_some((interface, new, old & !new))
        };
        let changes = touched.into_iter().filter_map(change).collect();
        self.flagged = wanted;
        changes
    }
}
