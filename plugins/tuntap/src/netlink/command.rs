//! What a monitor is told, and how it fares.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::wire::{InterfaceAddress, MacAddress};
use serde::Serialize;

use super::snapshot::Snapshot;
use crate::mirror::SharedTable;

/// What a device of the host, by its name, is over here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The host's side of an interface.
    Interface(InterfaceIndex),
    /// The tun of a routing table.
    Tun,
}

/// Which table of the kernel a mirror follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// By its number.
    Number(u32),
    /// That of a VRF device.
    Vrf(String),
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Vrf(name) => write!(f, "vrf {name}"),
        }
    }
}

impl Table {
    /// Its number; `None`: there is no such VRF.
    pub fn number(&self, snapshot: &Snapshot) -> Option<u32> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Vrf(name) => snapshot.links.get(name)?.vrf_table,
        }
    }
}

/// A mirror, as its monitor knows it.
#[derive(Clone)]
pub struct MirrorSpec {
    /// The kernel's table.
    pub table: Table,
    /// What it says.
    pub routes: Arc<SharedTable>,
}

/// A change of a link of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// Its name.
    pub device: String,
    /// Another MAC address.
    pub mac: Option<MacAddress>,
    /// Up, and without a link-local address of the kernel's own.
    pub bring_up: bool,
    /// Addresses that it is given.
    pub add: Vec<InterfaceAddress>,
    /// Addresses that it loses.
    pub remove: Vec<InterfaceAddress>,
}

/// What a monitor is told.
#[derive(Clone)]
pub enum Command {
    /// To change a link.
    Change(LinkChange),
    /// Which devices are ours.
    Roles(BTreeMap<String, Role>),
    /// Which tables to follow.
    Mirrors(Vec<MirrorSpec>),
    /// To read everything again.
    Resync,
    /// To end.
    Stop,
}

/// How a monitor fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Events that were dealt with.
    pub events: u64,
    /// Times that the kernel lost events for want of room.
    pub overruns: u64,
    /// Times that all routes were read.
    pub resyncs: u64,
    /// What went wrong last.
    pub fault: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::LinkState;
    use super::*;

    #[test]
    fn a_vrf_is_a_table_while_its_device_is_there() {
        let link = |name: &str, vrf_table| LinkState { name: name.into(), vrf_table, ..LinkState::default() };
        let links = [link("blue", Some(100)), link("east", None)];
        let links = links.map(|link| (link.name.clone(), link)).into();
        let snapshot = Snapshot { links, ..Snapshot::default() };
        for (table, number, text) in [
            (Table::Number(254), Some(254), "254"),
            (Table::Vrf("blue".into()), Some(100), "vrf blue"),
            (Table::Vrf("east".into()), None, "vrf east"),
            (Table::Vrf("red".into()), None, "vrf red"),
        ] {
            assert_eq!((table.number(&snapshot), table.to_string()), (number, text.to_owned()));
        }
    }
}
