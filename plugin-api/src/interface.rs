//! Interfaces as the control side knows them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::driver::Change;
use crate::wire::MacAddress;
use crate::{Control, Failure, InterfaceIndex};

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InterfaceInfo {
    /// Its row in the interface table.
    pub index: InterfaceIndex,
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Whether the operator wants it up.
    pub admin_up: bool,
    /// Whether its link is up.
    pub link_up: bool,
    /// MAC address; `None` without an Ethernet header.
    pub mac: Option<MacAddress>,
    /// Largest L3 packet, in bytes.
    pub mtu: u32,
    /// What is wrong with it.
    pub fault: Option<String>,
    /// Whether it fills in partial checksums.
    #[serde(default)]
    pub tx_checksum: bool,
    /// Whether it takes GSO packets whole.
    #[serde(default)]
    pub tx_gso: bool,
}

/// What happened to an interface: the event of subject `interface`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceChange {
    /// It was made. It is down.
    Created,
    /// It will be gone when the event functions have returned.
    Deleted,
    /// It passes packets from now on.
    Up,
    /// It passes none from now on.
    Down,
    /// MAC address, MTU or offloads changed.
    Changed,
}

/// An event of subject `interface`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InterfaceEvent {
    /// What happened.
    pub change: InterfaceChange,
    /// The interface, as it is after the change (before it, when it is deleted).
    pub interface: InterfaceInfo,
}

/// An interface that a plugin wants made.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NewInterface<'a> {
    /// Its name: 1 to 63 letters, digits and any of `-_./:`.
    pub name: &'a str,
    /// Its driver, the core's or a plugin's.
    pub driver: &'a str,
    /// MAC address, if not the device's own.
    pub mac: Option<MacAddress>,
    /// MTU in bytes, if not the device's own.
    pub mtu: Option<u32>,
    /// The driver's keys, a table.
    pub options: serde_json::Value,
    /// The plugin that makes it for its own ends: the interface is then no part of the running configuration.
    pub made_by: Option<&'a str>,
}

#[derive(Serialize)]
struct ByIndex {
    interface: InterfaceIndex,
}

#[derive(Serialize)]
struct SetUp {
    interface: InterfaceIndex,
    up: bool,
}

#[derive(Serialize)]
struct SetChange {
    interface: InterfaceIndex,
    change: Change,
}

#[derive(Serialize)]
struct SetXconnect {
    interface: InterfaceIndex,
    peer: Option<InterfaceIndex>,
}

#[derive(Serialize)]
struct ByName<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Feature<'a> {
    interface: InterfaceIndex,
    feature: &'a str,
    enabled: bool,
}

#[derive(Serialize)]
struct Hold<'a> {
    interface: InterfaceIndex,
    feature: &'a str,
    held: bool,
}

impl Control<'_> {
    /// All interfaces, by index.
    ///
    /// # Errors
    /// The host does not answer as it should.
    pub fn interfaces(&self) -> Result<Vec<InterfaceInfo>, Failure> {
        self.call("interface.list", &())
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// There is none; the message names the nearest one.
    pub fn interface(&self, name: &str) -> Result<InterfaceInfo, Failure> {
        self.call("interface.find", &ByName { name })
    }

    /// Makes an interface, which is down.
    ///
    /// # Errors
    /// The name is taken or none, there is no such driver, or the driver's own sentence.
    pub fn create_interface(&self, new: &NewInterface<'_>) -> Result<InterfaceIndex, Failure> {
        self.call("interface.create", new)
    }

    /// Takes an interface away; nothing to do if there is none.
    ///
    /// # Errors
    /// The host does not answer as it should.
    pub fn delete_interface(&self, interface: InterfaceIndex) -> Result<(), Failure> {
        self.call("interface.delete", &ByIndex { interface })
    }

    /// Sets an interface up or down, as the operator does.
    ///
    /// # Errors
    /// The driver's own sentence.
    pub fn set_interface_up(&self, interface: InterfaceIndex, up: bool) -> Result<(), Failure> {
        self.call("interface.up", &SetUp { interface, up })
    }

    /// Changes MTU, MAC address or promiscuity, as the operator does.
    ///
    /// # Errors
    /// The driver's own sentence.
    pub fn change_interface(&self, interface: InterfaceIndex, change: Change) -> Result<(), Failure> {
        self.call("interface.change", &SetChange { interface, change })
    }

    /// Has frames that an interface receives leave unread by another one, or (`None`) not any more. It is for one direction: the
    /// other interface can be a station like any other.
    ///
    /// # Errors
    /// There is no such interface, it is the same, or a port of a bridge.
    pub fn set_xconnect(
        &self,
        interface: InterfaceIndex,
        peer: Option<InterfaceIndex>,
    ) -> Result<(), Failure> {
        self.call("interface.xconnect", &SetXconnect { interface, peer })
    }

    /// Switches a feature on or off on an interface, on every arc on which the feature has a node.
    ///
    /// # Errors
    /// There is no such feature or interface.
    pub fn set_feature(
        &self,
        interface: InterfaceIndex,
        feature: &str,
        enabled: bool,
    ) -> Result<(), Failure> {
        self.call("feature.set", &Feature { interface, feature, enabled })
    }

    /// Has a feature of another image on for as long as this plugin wants it, beside others that do: each call is one more
    /// that [`Self::release_feature`] takes back. A plugin that goes lets go of all that it holds.
    ///
    /// For init functions, commands, event functions and tasks: what a [`crate::task::Remote`] runs is nobody's.
    ///
    /// # Errors
    /// There is no such feature or interface.
    pub fn hold_feature(&self, interface: InterfaceIndex, feature: &str) -> Result<(), Failure> {
        self.call("feature.hold", &Hold { interface, feature, held: true })
    }

    /// Takes back one [`Self::hold_feature`]. The feature goes off with the last one, unless the operator has it on.
    ///
    /// # Errors
    /// This plugin does not hold it.
    pub fn release_feature(&self, interface: InterfaceIndex, feature: &str) -> Result<(), Failure> {
        self.call("feature.hold", &Hold { interface, feature, held: false })
    }
}
