//! The tag rewrites of interfaces: set by name, read by workers.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::abi::InterfaceFlags;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::sync::Published;
use raddle_plugin_api::{InterfaceChange, InterfaceEvent};
use serde_json::{Value, json};

use super::tag_rewrite::{TagChange, TagRewrite};
use crate::net::vlan::Vlans;

/// What is done both ways.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changes {
    pub(super) input: TagChange,
    pub(super) output: TagChange,
}

/// All rewrites. A resource of the core.
pub struct Rewrites {
    vlans: Arc<Vlans>,
    /// By index of the interface.
    changes: Published<Vec<Option<Changes>>>,
    asked: Mutex<BTreeMap<InterfaceIndex, (TagRewrite, Changes)>>,
}

impl Rewrites {
    /// The feature by which frames are changed that leave.
    pub const FEATURE: &str = "l2-tag-rewrite";

    /// None yet.
    ///
    /// # Errors
    /// There are no sub-interfaces to ask.
    pub fn new(control: &Control<'_>) -> Result<Self, Failure> {
        let changes = Published::new(control, Vec::new());
        Ok(Self { vlans: control.resource()?, changes, asked: Mutex::default() })
    }

    /// What is done to frames of an interface.
    #[inline]
    pub(super) fn changes<'w>(
        &'w self,
        worker: &'w Worker<'_>,
        interface: InterfaceIndex,
    ) -> Option<&'w Changes> {
        self.changes.read(worker).get(interface.0 as usize)?.as_ref()
    }

    /// What was asked for an interface.
    pub fn of(&self, interface: InterfaceIndex) -> Option<TagRewrite> {
        self.asked().get(&interface).map(|(rewrite, _)| *rewrite)
    }

    /// Has the tags of an interface's frames rewritten where they are switched, or not any more. A sub-interface then leaves
    /// its own tags to the rewrite.
    ///
    /// # Errors
    /// The rewrite takes off what nobody could put on again.
    pub fn set(&self, control: &Control<'_>, name: &str, rewrite: Option<TagRewrite>) -> Result<(), Failure> {
        let interface = control.interface(name)?.index;
        let selection = self.vlans.selection(name);
        match rewrite {
            Some(rewrite) => {
                let changes = Changes { input: rewrite.input(), output: rewrite.output(selection)? };
                self.asked().insert(interface, (rewrite, changes));
            }
            None => {
                self.asked().remove(&interface);
            }
        }
        self.publish(control);
        self.vlans.set_keeps_tags(control, name, rewrite.is_some());
        control.set_feature(interface, Self::FEATURE, rewrite.is_some())?;
        let (set, clear) = match rewrite {
            Some(_) => (InterfaceFlags::TAG_REWRITE, 0),
            None => (0, InterfaceFlags::TAG_REWRITE),
        };
        let flags = json!({ "interface": interface, "set": set, "clear": clear });
        control.call::<_, Value>("interface.flags", &flags).map(drop)
    }

    /// Hears what has become of an interface.
    pub(super) fn interface_event(&self, control: &Control<'_>, event: &InterfaceEvent) {
        if event.change == InterfaceChange::Deleted && self.asked().remove(&event.interface.index).is_some() {
            self.publish(control);
        }
    }

    fn publish(&self, control: &Control<'_>) {
        let mut list = Vec::new();
        for (interface, (_, changes)) in self.asked().iter() {
            let index = interface.0 as usize;
            list.resize(list.len().max(index + 1), None);
            list[index] = Some(*changes);
        }
        self.changes.publish(control, list);
    }

    fn asked(&self) -> MutexGuard<'_, BTreeMap<InterfaceIndex, (TagRewrite, Changes)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
