//! What routes need to know of interfaces.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use raddle_plugin_api::{InterfaceIndex, InterfaceInfo};

/// An interface as routes see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Whether it passes packets.
    pub is_up: bool,
    /// Largest L3 packet, in bytes.
    pub mtu: u32,
    /// Whether packets carry an Ethernet header on it.
    pub has_ethernet: bool,
}

impl From<&InterfaceInfo> for Link {
    fn from(info: &InterfaceInfo) -> Self {
        Self {
            name: info.name.clone(),
            is_up: info.admin_up && info.link_up,
            mtu: info.mtu,
            has_ethernet: info.mac.is_some(),
        }
    }
}

/// All interfaces.
#[derive(Clone, Debug, Default)]
pub struct Links {
    by_index: BTreeMap<InterfaceIndex, Link>,
}

impl Links {
    /// Takes an interface in, or what has become of it.
    pub fn set(&mut self, index: InterfaceIndex, link: Link) {
        self.by_index.insert(index, link);
    }

    /// Forgets an interface.
    pub fn remove(&mut self, index: InterfaceIndex) {
        self.by_index.remove(&index);
    }

    /// The interface, if it exists.
    pub fn get(&self, index: InterfaceIndex) -> Option<&Link> {
        self.by_index.get(&index)
    }

    /// All of them, by index.
    pub fn iter(&self) -> impl Iterator<Item = (InterfaceIndex, &Link)> {
        self.by_index.iter().map(|(&index, link)| (index, link))
    }

    /// Whether the interface passes packets.
    pub fn is_up(&self, index: InterfaceIndex) -> bool {
        self.get(index).is_some_and(|link| link.is_up)
    }

    /// The interface of this name.
    pub fn find(&self, name: &str) -> Option<InterfaceIndex> {
        self.by_index.iter().find(|(_, link)| link.name == name).map(|(&index, _)| index)
    }

    /// The interface's name, or its number if it is gone.
    pub fn name(&self, index: InterfaceIndex) -> String {
        self.get(index).map_or_else(|| format!("#{index}"), |link| link.name.clone())
    }
}
