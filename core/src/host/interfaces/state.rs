//! What `show interface` shows.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use raddle_plugin_api::abi::InterfaceFlags;
use raddle_plugin_api::wire::MacAddress;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::host::Engine;
use crate::runtime::{InterfaceCounter, RxMode};

/// An interface as `show interface` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InterfaceState {
    /// Its row.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// In a word: `up`, `down` (its link is), `admin-down` (the operator wants it so).
    pub state: String,
    /// Its driver.
    pub driver: String,
    /// Whether the operator wants it up.
    pub admin_up: bool,
    /// Whether its link is up.
    pub link_up: bool,
    /// MAC address.
    pub mac: Option<MacAddress>,
    /// MTU in bytes.
    pub mtu: u32,
    /// The other side of an L2 cross-connect.
    pub l2_xconnect: Option<String>,
    /// Whether frames for every MAC address are taken.
    pub promiscuous: bool,
    /// How its receive queues are looked after.
    #[serde(default)]
    pub rx_mode: RxMode,
    /// The modes of the first receive queues, if one of them has a mode of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rx_modes: Vec<RxMode>,
    /// Threads of its receive queues.
    pub rx_placement: Vec<usize>,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets lost before they could be received.
    pub rx_lost: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that the device did not take.
    pub tx_lost: u64,
    /// The plugin that made it for its own ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// What is wrong with it.
    pub fault: Option<String>,
    /// Features that are on, in order, by arc; arcs without any are left out.
    pub features: BTreeMap<String, Vec<String>>,
    /// Details of its device.
    #[serde(default)]
    pub details: Value,
}

impl Engine {
    /// What `show interface` shows.
    pub fn interface_states(&self, only: Option<u32>, verbose: bool) -> Vec<InterfaceState> {
        let all: Vec<u32> = self.interfaces.borrow().iter().map(|(index, _)| index).collect();
        all.into_iter()
            .filter(|index| only.is_none_or(|only| only == *index))
            .filter_map(|index| {
                let details = if verbose {
                    self.with_device(index, |device| Ok(device.details())).unwrap_or_default()
                } else {
                    Value::Null
                };
                self.interface_state(index, details)
            })
            .collect()
    }

    fn interface_state(&self, index: u32, details: Value) -> Option<InterfaceState> {
        let (interfaces, threads) = (self.interfaces.borrow(), self.threads.borrow());
        let interface = interfaces.get(index)?;
        let row = interfaces.row(index);
        let flags = row.flags.load(Ordering::Relaxed);
        let cleared = self.baselines.borrow().interfaces.get(&index).copied().unwrap_or_default();
        let sum = |counter: InterfaceCounter| {
            let all: u64 = threads.all_shared().map(|shared| shared.interfaces.read(index, counter)).sum();
            all.saturating_sub(cleared[counter as usize])
        };
        let features = (self.features.borrow().enabled(index).into_iter())
            .filter(|(_, on)| !on.is_empty())
            .map(|(arc, on)| (arc.to_owned(), on.into_iter().map(str::to_owned).collect()))
            .collect();
        Some(InterfaceState {
            index,
            name: interface.name.clone(),
            state: state_word(interface.admin_up, interface.properties.link_up).to_owned(),
            driver: interface.driver.clone(),
            admin_up: interface.admin_up,
            link_up: interface.properties.link_up,
            mac: interface.properties.mac,
            mtu: interface.properties.mtu,
            l2_xconnect: interface.xconnect.clone(),
            promiscuous: flags & InterfaceFlags::PROMISCUOUS != 0,
            rx_mode: interface.rx_modes.all(),
            rx_modes: interface.rx_modes.list(),
            rx_placement: interface.placement.clone(),
            rx_packets: sum(InterfaceCounter::RxPackets),
            rx_bytes: sum(InterfaceCounter::RxBytes),
            rx_lost: sum(InterfaceCounter::RxLost),
            tx_packets: sum(InterfaceCounter::TxPackets),
            tx_bytes: sum(InterfaceCounter::TxBytes),
            tx_lost: sum(InterfaceCounter::TxLost),
            made_by: interface.made_by.clone(),
            fault: interface.properties.fault.clone(),
            features,
            details,
        })
    }
}

fn state_word(admin_up: bool, link_up: bool) -> &'static str {
    match (admin_up, link_up) {
        (true, true) => "up",
        (true, false) => "down",
        (false, _) => "admin-down",
    }
}
