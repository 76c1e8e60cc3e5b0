//! What another version of the plugin is told in an upgrade, beside the sessions that it finds: what is applied, what numbers in
//! sessions mean, when they were last judged, and what rules have counted.

use std::collections::{BTreeMap, BTreeSet};

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::state;
use serde::{Deserialize, Serialize};

use crate::acl::acl;
use crate::config::AclConfig;
use crate::hits::Amount;

state! { "acl", version: 1, oldest: 1, export: export, import: import }

/// What is told. Grows by fields that may be missing.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Handover {
    /// Sets, lists and where they are applied, as they are: commands may have changed what the file says.
    pub section: Option<AclConfig>,
    /// By index of the interface: the epoch of its sessions.
    pub epochs: BTreeMap<u32, u32>,
    /// The last epoch that was given out.
    pub last_epoch: u32,
    /// Indices of interfaces that may have sessions.
    pub stateful: BTreeSet<u32>,
    /// The lists by name.
    pub lists: BTreeMap<String, ListState>,
    /// The last number that a list was given.
    pub last_list: u16,
}

/// What is told of a list.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct ListState {
    /// Its number, by which sessions name it.
    pub number: u16,
    /// Packets and bytes of each rule, by its text.
    pub rules: Vec<(String, u64, u64)>,
}

impl ListState {
    /// What rules with this text have counted, in the order in which they stand in the list.
    pub fn amounts(&self) -> BTreeMap<&str, Vec<Amount>> {
        let mut amounts: BTreeMap<&str, Vec<Amount>> = BTreeMap::new();
        for (text, packets, bytes) in self.rules.iter().rev() {
            amounts.entry(text).or_default().push(Amount { packets: *packets, bytes: *bytes });
        }
        amounts
    }
}

fn export(control: &mut Control<'_>) -> Result<Vec<u8>, Failure> {
    let handover = acl(control)?.store().hand_over();
    serde_json::to_vec(&handover).map_err(|error| failure!("what rules have counted: {error}"))
}

fn import(control: &mut Control<'_>, _version: u32, bytes: &[u8]) -> Result<(), Failure> {
    let handover: Handover = serde_json::from_slice(bytes)
        .map_err(|error| failure!("what the version before has told: {error}"))?;
    acl(control)?.change(control, |store| {
        if let Some(section) = &handover.section {
            store.read_again(section)?;
        }
        store.take_over(&handover);
        Ok(())
    })
}
