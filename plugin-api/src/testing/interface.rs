//! Interfaces of a harness: rows that nodes read, facts that the control side knows.

use std::sync::atomic::Ordering;

use crate::abi::{InterfaceFlags, InterfaceRow, MAX_INTERFACES};
use crate::wire::MacAddress;
use crate::{Failure, InterfaceIndex, InterfaceInfo};

/// What a test says of an interface: up, with an Ethernet header, unless told otherwise.
#[derive(Clone, Debug)]
pub struct InterfaceSpec {
    pub(super) name: String,
    driver: String,
    admin_up: bool,
    link_up: bool,
    mac: Option<MacAddress>,
    mtu: u32,
    flags: u32,
    ip4_fib: u32,
    ip6_fib: u32,
    tx_node: Option<String>,
    xconnect: Option<InterfaceIndex>,
    pub(super) features: Vec<String>,
}

impl InterfaceSpec {
    pub(super) fn new(name: &str, index: InterfaceIndex) -> Self {
        let [.., high, low] = index.0.to_be_bytes();
        Self {
            name: name.to_owned(),
            driver: "harness".to_owned(),
            admin_up: true,
            link_up: true,
            mac: Some(MacAddress([0x02, 0, 0, 0, high, low])),
            mtu: 1500,
            flags: 0,
            ip4_fib: 0,
            ip6_fib: 0,
            tx_node: None,
            xconnect: None,
            features: Vec::new(),
        }
    }

    /// Sets the MAC address (by default `02:00:00:00:00:NN` with the interface's index).
    #[must_use]
    pub fn mac(mut self, mac: impl Into<MacAddress>) -> Self {
        self.mac = Some(mac.into());
        self
    }

    /// Makes it an interface without Ethernet header.
    #[must_use]
    pub fn without_ethernet(mut self) -> Self {
        self.mac = None;
        self
    }

    /// Sets the largest L3 packet, in bytes (by default 1,500).
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Sets it up or down, as the operator does.
    #[must_use]
    pub fn admin_up(mut self, up: bool) -> Self {
        self.admin_up = up;
        self
    }

    /// Sets the link up or down.
    #[must_use]
    pub fn link_up(mut self, up: bool) -> Self {
        self.link_up = up;
        self
    }

    /// Sets both down.
    #[must_use]
    pub fn down(self) -> Self {
        self.admin_up(false).link_up(false)
    }

    /// Takes frames for every MAC address.
    #[must_use]
    pub fn promiscuous(self) -> Self {
        self.flags(InterfaceFlags::PROMISCUOUS)
    }

    /// Adds bits of [`InterfaceFlags`], such as `TX_CHECKSUM` and `TX_GSO`.
    #[must_use]
    pub fn flags(mut self, flags: u32) -> Self {
        self.flags |= flags;
        self
    }

    /// Sets the routing tables for IPv4 and IPv6 (by default 0).
    #[must_use]
    pub fn fibs(mut self, ip4: u32, ip6: u32) -> Self {
        (self.ip4_fib, self.ip6_fib) = (ip4, ip6);
        self
    }

    /// Names its driver (by default `harness`).
    #[must_use]
    pub fn driver(mut self, driver: &str) -> Self {
        self.driver = driver.to_owned();
        self
    }

    /// Names the node that sends for it (by default a sink `NAME-tx`).
    #[must_use]
    pub fn tx_node(mut self, node: &str) -> Self {
        self.tx_node = Some(node.to_owned());
        self
    }

    /// Connects it to another interface, below IP.
    #[must_use]
    pub fn xconnect(mut self, other: InterfaceIndex) -> Self {
        self.xconnect = Some(other);
        self
    }

    /// Switches a feature on, on every arc on which it is.
    #[must_use]
    pub fn feature(mut self, feature: &str) -> Self {
        self.features.push(feature.to_owned());
        self
    }

    pub(super) fn is_up(&self) -> bool {
        self.admin_up && self.link_up
    }

    pub(super) fn tx_node_name(&self) -> String {
        self.tx_node.clone().unwrap_or_else(|| format!("{}-tx", self.name))
    }

    pub(super) fn info(&self, index: InterfaceIndex) -> InterfaceInfo {
        InterfaceInfo {
            index,
            name: self.name.clone(),
            driver: self.driver.clone(),
            admin_up: self.admin_up,
            link_up: self.link_up,
            mac: self.mac,
            mtu: self.mtu,
            fault: None,
            tx_checksum: self.flags & InterfaceFlags::TX_CHECKSUM != 0,
            tx_gso: self.flags & InterfaceFlags::TX_GSO != 0,
        }
    }
}

pub(super) struct Interfaces {
    rows: *mut InterfaceRow,
    specs: Vec<Option<InterfaceSpec>>,
}

impl Interfaces {
    /// None yet, on the rows of a harness's memory.
    pub(super) fn new(rows: *mut InterfaceRow) -> Self {
        Self { rows, specs: Vec::new() }
    }

    /// The row that the next interface gets.
    pub(super) fn next_index(&self) -> InterfaceIndex {
        let free = self.specs.iter().position(Option::is_none);
        InterfaceIndex(free.unwrap_or(self.specs.len()) as u32)
    }

    pub(super) fn spec(&self, index: InterfaceIndex) -> Option<&InterfaceSpec> {
        self.specs.get(index.0 as usize)?.as_ref()
    }

    /// Puts an interface in its row. `tx_node` sends for it.
    pub(super) fn put(
        &mut self,
        index: InterfaceIndex,
        spec: InterfaceSpec,
        tx_node: u16,
    ) -> Result<(), Failure> {
        let place = index.0 as usize;
        if place >= MAX_INTERFACES {
            crate::bail!("more than {MAX_INTERFACES} interfaces");
        }
        if self.find(&spec.name).is_some_and(|(known, _)| known != index) {
            crate::bail!("there is an interface `{}` already", spec.name);
        }
        let row = self.row(index);
        let mut flags = InterfaceFlags::EXISTS | spec.flags;
        for (set, bit) in [
            (spec.admin_up, InterfaceFlags::ADMIN_UP),
            (spec.link_up, InterfaceFlags::LINK_UP),
            (spec.xconnect.is_some(), InterfaceFlags::XCONNECT),
            (spec.mac.is_none(), InterfaceFlags::NO_ETHERNET),
        ] {
            flags |= if set { bit } else { 0 };
        }
        let mut mac = [0; 8];
        mac[..6].copy_from_slice(&spec.mac.unwrap_or(MacAddress::ZERO).0);
        row.mac.store(u64::from_le_bytes(mac), Ordering::Relaxed);
        row.tx_node.store(u32::from(tx_node), Ordering::Relaxed);
        row.mtu.store(spec.mtu, Ordering::Relaxed);
        row.xconnect.store(spec.xconnect.unwrap_or(InterfaceIndex::NONE).0, Ordering::Relaxed);
        row.ip4_fib.store(spec.ip4_fib, Ordering::Relaxed);
        row.ip6_fib.store(spec.ip6_fib, Ordering::Relaxed);
        row.flags.store(flags, Ordering::Release);
        if self.specs.len() <= place {
            self.specs.resize(place + 1, None);
        }
        self.specs[place] = Some(spec);
        Ok(())
    }

    /// Changes bits of [`InterfaceFlags`] of an interface that is there.
    pub(super) fn change_flags(&mut self, index: InterfaceIndex, set: u32, clear: u32) {
        let Some(Some(spec)) = self.specs.get_mut(index.0 as usize) else { return };
        spec.flags = spec.flags & !clear | set;
        let row = self.row(index);
        row.flags.fetch_and(!clear, Ordering::Relaxed);
        row.flags.fetch_or(set, Ordering::Relaxed);
    }

    /// Sets the routing tables of an interface; `false` if there is none.
    pub(super) fn set_fibs(&mut self, index: InterfaceIndex, ip4: u32, ip6: u32) -> bool {
        let Some(spec) = self.specs.get_mut(index.0 as usize).and_then(Option::as_mut) else {
            return false;
        };
        (spec.ip4_fib, spec.ip6_fib) = (ip4, ip6);
        let row = self.row(index);
        row.ip4_fib.store(ip4, Ordering::Relaxed);
        row.ip6_fib.store(ip6, Ordering::Relaxed);
        true
    }

    /// Takes the interface out of its row.
    pub(super) fn remove(&mut self, index: InterfaceIndex) {
        if let Some(place) = self.specs.get_mut(index.0 as usize) {
            *place = None;
            self.row(index).flags.store(0, Ordering::Release);
        }
    }

    /// Keeps the copy of the output arc's mask.
    pub(super) fn set_output_features(&self, index: InterfaceIndex, mask: u64) {
        self.row(index).output_features.store(mask, Ordering::Relaxed);
    }

    pub(super) fn find(&self, name: &str) -> Option<(InterfaceIndex, &InterfaceSpec)> {
        self.all().find(|(_, spec)| spec.name == name)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (InterfaceIndex, &InterfaceSpec)> {
        let numbered = self.specs.iter().enumerate();
        numbered.filter_map(|(index, spec)| Some((InterfaceIndex(index as u32), spec.as_ref()?)))
    }

    fn row(&self, index: InterfaceIndex) -> &InterfaceRow {
        // SAFETY: the harness's memory has `MAX_INTERFACES` rows, all of atomics.
        unsafe { &*self.rows.add(index.0 as usize % MAX_INTERFACES) }
    }
}
