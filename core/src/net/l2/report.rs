//! Bridges and their addresses as commands show them.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{Failure, InterfaceInfo};
use serde::Serialize;

use super::bridges::{Bridges, second};
use super::config::BridgeConfig;
use super::domain::{Bridge, passes};
use super::mac_table::{MacKey, Place};

/// A bridge, as `show bridge` shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BridgeReport {
    /// Its name.
    pub name: String,
    /// Its number, which traces name.
    pub number: u16,
    /// What it was asked to be.
    #[serde(flatten)]
    pub config: BridgeConfig,
    /// Its ports and their states.
    pub ports: Vec<PortReport>,
    /// Addresses that it has learned.
    pub learned: u32,
}

/// A port of a bridge, as `show bridge` shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PortReport {
    /// Its interface.
    pub interface: String,
    /// `up`, `down`, or `absent` while there is no such interface.
    pub state: &'static str,
    /// Split-horizon group; 0 is none.
    pub split_horizon: u8,
    /// Whether it is the BVI.
    pub bvi: bool,
}

/// An address that a bridge knows, as `show bridge NAME macs` shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MacReport {
    /// The address.
    pub mac: MacAddress,
    /// The port behind which it is.
    pub interface: String,
    /// `learned`, `static`, or `bvi`.
    pub kind: &'static str,
    /// Seconds since it was seen; none of those that do not age.
    pub age_seconds: Option<u32>,
}

impl Bridges {
    /// The bridges, or one of them.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn reports(&self, name: Option<&str>) -> Result<Vec<BridgeReport>, Failure> {
        if let Some(name) = name {
            self.config(name)?;
        }
        let state = self.state();
        let chosen = state.bridges.iter().filter(|(own, _)| name.is_none_or(|name| name == own.as_str()));
        let report = |(name, bridge): (&String, &Bridge)| {
            let port = |interface: &String, split_horizon, bvi| PortReport {
                interface: interface.clone(),
                state: match state.interfaces.get(interface) {
                    Some(info) if passes(info) => "up",
                    Some(_) => "down",
                    None => "absent",
                },
                split_horizon,
                bvi,
            };
            let members = bridge.config.members.iter();
            let mut ports: Vec<_> =
                members.map(|member| port(&member.interface, member.split_horizon, false)).collect();
            ports.extend(bridge.config.bvi.as_ref().map(|bvi| port(bvi, 0, true)));
            BridgeReport {
                name: name.clone(),
                number: bridge.id,
                config: bridge.config.clone(),
                ports,
                learned: bridge.learned.load(Ordering::Relaxed),
            }
        };
        Ok(chosen.map(report).collect())
    }

    /// The addresses that a bridge knows.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn macs(&self, name: &str, now_ns: u64) -> Result<Vec<MacReport>, Failure> {
        self.config(name)?;
        let state = self.state();
        let Some(bridge) = state.bridges.get(name) else { return Ok(Vec::new()) };
        let names: HashMap<u32, &InterfaceInfo> =
            state.interfaces.values().map(|info| (info.index.0, info)).collect();
        let mut list: Vec<_> = state.macs.iter().filter(|(key, _)| key.bridge() == bridge.id).collect();
        list.sort_unstable_by_key(|(key, _)| key.mac());
        let report = |(key, place): (&MacKey, &Place)| {
            let info = names.get(&place.interface());
            let is_bvi = info.is_some_and(|info| bridge.config.bvi.as_ref() == Some(&info.name));
            let seen = self.tables.macs.find(*key).map(|found| found.seen());
            MacReport {
                mac: key.mac(),
                interface: info.map_or_else(|| format!("#{}", place.interface()), |info| info.name.clone()),
                kind: match (place.is_fixed(), is_bvi) {
                    (true, true) => "bvi",
                    (true, false) => "static",
                    (false, _) => "learned",
                },
                age_seconds: seen
                    .filter(|_| !place.is_fixed())
                    .map(|seen| second(now_ns).saturating_sub(seen)),
            }
        };
        Ok(list.into_iter().map(report).collect())
    }
}
