//! Neighbours: what raddle knows of the stations on its links, by ARP (RFC 826) and neighbour discovery (RFC 4861).
//!
//! ```
//! use raddle_plugin_api::prelude::*;
//!
//! /// How many stations are known behind each interface.
//! fn stations(control: &mut Control<'_>) -> Result<(), Failure> {
//!     for interface in control.interfaces()? {
//!         let known = control.neighbors(Some(interface.index))?;
//!         let known = known.iter().filter(|neighbor| neighbor.mac.is_some()).count();
//!         log_info!(control, "{}: {known} stations", interface.name);
//!     }
//!     Ok(())
//! }
//! # fn main() {}
//! ```

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::wire::MacAddress;
use crate::{Control, Failure, InterfaceIndex};

/// How sure it is that a neighbour is there (RFC 4861 §7.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NeighborStatus {
    /// It was asked for and has not answered yet.
    Incomplete,
    /// It was confirmed lately.
    Reachable,
    /// It was known once; it is used, and checked when it is.
    Stale,
    /// A stale one is in use, and about to be checked.
    Delay,
    /// It is being checked.
    Probe,
    /// Somebody set it, and it stays.
    Static,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Neighbor {
    /// The interface that it is behind.
    pub interface: InterfaceIndex,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address; `None` as long as it has not answered.
    pub mac: Option<MacAddress>,
    /// How sure it is.
    pub status: NeighborStatus,
    /// Whether it has said that it is a router (RFC 4861 §4.4).
    pub is_router: bool,
}

/// Arguments of the methods on one neighbour.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct NeighborChange {
    /// The interface.
    pub interface: InterfaceIndex,
    /// The address.
    pub address: IpAddr,
    /// The MAC address; `None`: it is forgotten.
    pub mac: Option<MacAddress>,
}

impl Control<'_> {
    /// The neighbours behind one interface or all, in the order of interface and address.
    ///
    /// # Errors
    /// The host has no neighbours, as in a harness without a mock of `neighbor.list`.
    pub fn neighbors(&self, interface: Option<InterfaceIndex>) -> Result<Vec<Neighbor>, Failure> {
        self.call("neighbor.list", &interface)
    }

    /// Sets a neighbour, which stays until somebody forgets it or its interface goes.
    ///
    /// # Errors
    /// There is no such interface, the addresses are not those of a station, or there is no room.
    pub fn set_neighbor(
        &self,
        interface: InterfaceIndex,
        address: IpAddr,
        mac: MacAddress,
    ) -> Result<(), Failure> {
        self.call("neighbor.change", &NeighborChange { interface, address, mac: Some(mac) })
    }

    /// Forgets a neighbour, whoever set or learned it; says whether there was one.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn forget_neighbor(&self, interface: InterfaceIndex, address: IpAddr) -> Result<bool, Failure> {
        self.call("neighbor.change", &NeighborChange { interface, address, mac: None })
    }
}
