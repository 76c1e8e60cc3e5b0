//! Addresses of interfaces, and the routing tables that interfaces are bound to.
//!
//! A task that subscribes to the events [`ADDRESSES_CHANGED`] hears of changes, whoever made them.

use serde::{Deserialize, Serialize};

use crate::route::TableKey;
use crate::wire::InterfaceAddress;
use crate::{Control, Failure, InterfaceIndex};

/// Name of the events that tell of changed addresses or tables, with [`AddressesChanged`] as their data.
pub const ADDRESSES_CHANGED: &str = "addresses-changed";

/// An interface has other addresses, or another table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressesChanged {
    /// The interface.
    pub interface: InterfaceIndex,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AddressInfo {
    /// The address with the length of its network.
    pub address: InterfaceAddress,
    /// Whether somebody gave it to the interface: the others are link-local ones that follow from the MAC address.
    pub given: bool,
}

/// Addresses and table of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceNetwork {
    /// The addresses, whether the interface is up or not.
    pub addresses: Vec<AddressInfo>,
    /// Number of the routing table that it is bound to; 0 is the default one.
    pub table: u32,
}

/// Arguments of the method `address.change`.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AddressChange {
    /// The interface.
    pub interface: InterfaceIndex,
    /// The address.
    pub address: InterfaceAddress,
    /// Given, or taken away.
    pub add: bool,
}

/// Arguments of the method `address.set-table`.
#[doc(hidden)]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableChange {
    /// The interface.
    pub interface: InterfaceIndex,
    /// The table.
    pub table: TableKey,
}

impl Control<'_> {
    /// The addresses of an interface, and the routing table that it is bound to.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn network(&self, interface: InterfaceIndex) -> Result<InterfaceNetwork, Failure> {
        self.call("address.list", &interface)
    }

    /// Gives an interface one more address, as the operator does.
    ///
    /// # Errors
    /// No host can have the address, the interface has it, or its network is another interface's.
    pub fn add_address(&self, interface: InterfaceIndex, address: InterfaceAddress) -> Result<(), Failure> {
        self.call("address.change", &AddressChange { interface, address, add: true })
    }

    /// Takes an address from an interface, whoever gave it.
    ///
    /// # Errors
    /// The interface has none such, or it follows from its MAC address.
    pub fn remove_address(
        &self,
        interface: InterfaceIndex,
        address: InterfaceAddress,
    ) -> Result<(), Failure> {
        self.call("address.change", &AddressChange { interface, address, add: false })
    }

    /// Binds an interface to a routing table: what it receives is looked up there, and its addresses move there.
    ///
    /// # Errors
    /// There is no such interface or table, or another interface of the table has one of the networks.
    pub fn set_table(&self, interface: InterfaceIndex, table: TableKey) -> Result<(), Failure> {
        self.call("address.set-table", &TableChange { interface, table })
    }

    /// The number of a routing table.
    ///
    /// # Errors
    /// There is none such; the message names the nearest one.
    pub fn table(&self, table: &TableKey) -> Result<u32, Failure> {
        self.call("route.table", table)
    }
}
