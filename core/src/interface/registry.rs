//! The interfaces that there are, and their rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use raddle_plugin_api::abi::{InterfaceFlags, InterfaceRow, MAX_INTERFACES};
use raddle_plugin_api::driver::Properties;
use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{InterfaceIndex, InterfaceInfo};

use super::Device;
use crate::graph::Owner;
use crate::runtime::{RxMode, RxStatus};

/// Longest name of an interface, in bytes.
const LONGEST_NAME: usize = 63;

/// Flags that follow from what is known of an interface; the others are set one by one and stay.
const FROM_PROPERTIES: u32 =
    InterfaceFlags::UP | InterfaceFlags::TX_CHECKSUM | InterfaceFlags::TX_GSO | InterfaceFlags::NO_ETHERNET;

/// Why an interface cannot be as asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterfaceError {
    /// The name is taken.
    #[error("interface `{0}` exists already")]
    Exists(String),
    /// The name cannot be one.
    #[error("`{0}` is not an interface name: 1 to {LONGEST_NAME} letters, digits and any of `-_./:`")]
    BadName(String),
    /// No interface of this name.
    #[error("there is no interface `{name}`{}", nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// All rows are in use.
    #[error("there are {MAX_INTERFACES} interfaces already")]
    TooMany,
}

/// An interface.
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Name of its driver.
    pub driver: String,
    /// Who brought the driver.
    pub owner: Owner,
    /// The device; taken out while it is called, since it may ask for interfaces itself.
    pub device: Option<Device>,
    /// What the device was when it was last asked.
    pub properties: Properties,
    /// Whether the operator wants it up.
    pub admin_up: bool,
    /// The keys that its driver was given.
    pub options: serde_json::Value,
    /// The MAC address that the operator asked for.
    pub mac: Option<MacAddress>,
    /// The MTU that the operator asked for, in bytes.
    pub mtu: Option<u32>,
    /// The plugin that made it for its own ends.
    pub made_by: Option<String>,
    /// Who wants frames for every MAC address to be taken by its device.
    pub promiscuous: BTreeSet<String>,
    /// Name of the interface to which it is cross-connected, whether that is there or not.
    pub xconnect: Option<String>,
    /// How its receive queues are looked after.
    pub rx_modes: RxModes,
    /// Where its receive queues are: thread by queue.
    pub placement: Vec<usize>,
    /// What its receive queues do: by queue.
    pub rx_status: Vec<Arc<RxStatus>>,
}

/// The modes of an interface's receive queues, which outlive the queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RxModes {
    all: RxMode,
    /// Those that differ, by queue.
    own: BTreeMap<u32, RxMode>,
}

impl RxModes {
    /// The mode of a queue.
    pub fn of(&self, queue: u32) -> RxMode {
        self.own.get(&queue).copied().unwrap_or(self.all)
    }

    /// The mode of all queues that have none of their own.
    pub fn all(&self) -> RxMode {
        self.all
    }

    /// Sets the mode of all queues.
    pub fn set_all(&mut self, mode: RxMode) {
        (self.all, self.own) = (mode, BTreeMap::new());
    }

    /// Sets the mode of all queues, and those of the first ones.
    pub fn set(&mut self, all: RxMode, first: &[RxMode]) {
        self.all = all;
        self.own = (0..).zip(first.iter().copied()).filter(|&(_, mode)| mode != all).collect();
    }

    /// Sets the mode of one queue.
    pub fn set_one(&mut self, queue: u32, mode: RxMode) {
        self.own.insert(queue, mode);
    }

    /// The modes of the first queues, up to the last that has one of its own; none if none has.
    pub fn list(&self) -> Vec<RxMode> {
        let count = self.own.last_key_value().map_or(0, |(&last, _)| last + 1);
        (0..count).map(|queue| self.of(queue)).collect()
    }
}

/// All interfaces, by index.
pub struct Registry {
    rows: Box<[InterfaceRow]>,
    interfaces: Vec<Option<Interface>>,
    /// Names of the indices used so far, so that an interface that comes back gets its old one.
    last_names: Vec<String>,
}

impl Default for Registry {
    fn default() -> Self {
        let row = || InterfaceRow {
            flags: Default::default(),
            tx_node: Default::default(),
            mac: Default::default(),
            mtu: Default::default(),
            xconnect: Default::default(),
            ip4_fib: Default::default(),
            ip6_fib: Default::default(),
            output_features: Default::default(),
            reserved: Default::default(),
        };
        let rows = (0..MAX_INTERFACES).map(|_| row()).collect();
        Self { rows, interfaces: Vec::new(), last_names: Vec::new() }
    }
}

impl Registry {
    /// The rows, at an address that stays.
    pub fn rows(&self) -> &[InterfaceRow] {
        &self.rows
    }

    /// The row of an interface.
    pub fn row(&self, index: u32) -> &InterfaceRow {
        &self.rows[index as usize % MAX_INTERFACES]
    }

    /// Checks that an interface of this name can be made.
    ///
    /// # Errors
    /// It cannot.
    pub fn check_name(&self, name: &str) -> Result<(), InterfaceError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(fits) {
            return Err(InterfaceError::BadName(name.to_owned()));
        }
        if self.find(name).is_ok() {
            return Err(InterfaceError::Exists(name.to_owned()));
        }
        Ok(())
    }

    /// Adds an interface, down; returns its index. An interface that comes back under its name gets its old index if
    /// that is free.
    ///
    /// # Errors
    /// The name cannot be used, or there are too many.
    pub fn add(&mut self, interface: Interface) -> Result<u32, InterfaceError> {
        self.check_name(&interface.name)?;
        let free = |index: &usize| self.interfaces.get(*index).is_none_or(Option::is_none);
        let old = self.last_names.iter().position(|name| *name == interface.name).filter(free);
        let unused = self.last_names.len();
        let index = match old {
            Some(index) => index,
            None if unused < MAX_INTERFACES => unused,
            None => (0..MAX_INTERFACES).find(free).ok_or(InterfaceError::TooMany)?,
        };
        if index >= self.interfaces.len() {
            self.interfaces.resize_with(index + 1, || None);
            self.last_names.resize(index + 1, String::new());
        }
        self.last_names[index].clone_from(&interface.name);
        let row = &self.rows[index];
        row.flags.store(InterfaceFlags::EXISTS, Ordering::Relaxed);
        row.xconnect.store(0, Ordering::Relaxed);
        row.ip4_fib.store(0, Ordering::Relaxed);
        row.ip6_fib.store(0, Ordering::Relaxed);
        self.interfaces[index] = Some(interface);
        self.refresh(index as u32);
        Ok(index as u32)
    }

    /// Takes an interface away; its row stops to exist.
    pub fn remove(&mut self, index: u32) -> Option<Interface> {
        let interface = self.interfaces.get_mut(index as usize)?.take()?;
        self.rows[index as usize].flags.store(0, Ordering::Relaxed);
        Some(interface)
    }

    /// Writes what is known of an interface into its row.
    pub fn refresh(&self, index: u32) {
        let Some(interface) = self.get(index) else { return };
        let (row, properties) = (self.row(index), &interface.properties);
        let mac = properties.mac.map_or([0; 6], |mac| mac.0);
        let mac = u64::from_le_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0]);
        row.mac.store(mac, Ordering::Relaxed);
        row.mtu.store(properties.mtu, Ordering::Relaxed);
        let mut flags = row.flags.load(Ordering::Relaxed) & !FROM_PROPERTIES | InterfaceFlags::EXISTS;
        let mut set = |flag, on| flags |= if on { flag } else { 0 };
        set(InterfaceFlags::ADMIN_UP, interface.admin_up);
        set(InterfaceFlags::LINK_UP, properties.link_up);
        set(InterfaceFlags::TX_CHECKSUM, properties.tx_checksum);
        set(InterfaceFlags::TX_GSO, properties.tx_gso);
        set(InterfaceFlags::NO_ETHERNET, properties.mac.is_none());
        row.flags.store(flags, Ordering::Relaxed);
    }

    /// The interface with this index.
    pub fn get(&self, index: u32) -> Option<&Interface> {
        self.interfaces.get(index as usize)?.as_ref()
    }

    /// The interface with this index.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Interface> {
        self.interfaces.get_mut(index as usize)?.as_mut()
    }

    /// Index of the interface with this name.
    ///
    /// # Errors
    /// There is none; the error names the nearest.
    pub fn find(&self, name: &str) -> Result<u32, InterfaceError> {
        self.iter().find(|(_, interface)| interface.name == name).map(|(index, _)| index).ok_or_else(|| {
            let names = self.iter().map(|(_, interface)| interface.name.as_str());
            let nearest = raddle_plugin_api::config::nearest(name, names).map(str::to_owned);
            InterfaceError::Unknown { name: name.to_owned(), nearest }
        })
    }

    /// All interfaces, by index.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Interface)> {
        let all = self.interfaces.iter().enumerate();
        all.filter_map(|(index, interface)| Some((index as u32, interface.as_ref()?)))
    }

    /// What plugins are told of an interface.
    pub fn info(&self, index: u32) -> Option<InterfaceInfo> {
        let interface = self.get(index)?;
        Some(InterfaceInfo {
            index: InterfaceIndex(index),
            name: interface.name.clone(),
            driver: interface.driver.clone(),
            admin_up: interface.admin_up,
            link_up: interface.properties.link_up,
            mac: interface.properties.mac,
            mtu: interface.properties.mtu,
            fault: interface.properties.fault.clone(),
            tx_checksum: interface.properties.tx_checksum,
            tx_gso: interface.properties.tx_gso,
        })
    }
}
