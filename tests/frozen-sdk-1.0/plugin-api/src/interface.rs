//! Interfaces as the control side knows them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// MAC address or MTU changed.
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
}
