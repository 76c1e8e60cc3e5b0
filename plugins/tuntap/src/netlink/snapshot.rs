//! What there is in a namespace at one moment, routes apart.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use raddle_plugin_api::wire::{InterfaceAddress, MacAddress};

/// A link with its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// The kernel's number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether the host's operator has set it up.
    pub up: bool,
    /// How often it was seen down, or may have been: each time it may have lost addresses that nobody took from it.
    pub downs: u64,
    /// Its MAC address; `None` of a tun.
    pub mac: Option<MacAddress>,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: BTreeSet<InterfaceAddress>,
    /// Number of the routing table, if it is a VRF.
    pub vrf_table: Option<u32>,
}

/// A neighbour that the host's operator has fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PermanentNeighbor {
    /// The kernel's number of the link.
    pub device: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address.
    pub mac: MacAddress,
}

/// A namespace's links, addresses and fixed neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Number of the last command that was done before this was read.
    pub done: u64,
    /// The links, by name.
    pub links: BTreeMap<String, LinkState>,
    /// Neighbours that stay.
    pub neighbors: BTreeSet<PermanentNeighbor>,
}
