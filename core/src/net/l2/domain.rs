//! A bridge as the main thread keeps it, and what is wrong with one that is asked for.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use raddle_plugin_api::driver::Driver as _;
use raddle_plugin_api::{Failure, InterfaceInfo, bail};

use super::bvi::Bvi;
use super::config::{BridgeConfig, BridgesConfig};
use super::tables::{Domain, Port};

/// A bridge.
pub(super) struct Bridge {
    /// Its number, from 1.
    pub(super) id: u16,
    /// What it was asked to be.
    pub(super) config: BridgeConfig,
    /// Addresses that it has learned.
    pub(super) learned: Arc<AtomicU32>,
}

impl Bridge {
    /// Its ports that are up: members first, then the BVI if one of them is.
    pub(super) fn ports(&self, interfaces: &HashMap<String, InterfaceInfo>) -> Vec<Port> {
        let mut ports = Vec::new();
        for member in &self.config.members {
            let Some(info) = interfaces.get(&member.interface).filter(|info| passes(info)) else { continue };
            ports.push(Port {
                interface: info.index,
                bridge: self.id,
                group: member.split_horizon,
                is_bvi: false,
            });
        }
        let bvi = self.config.bvi.as_ref().and_then(|name| interfaces.get(name));
        if let Some(info) = bvi.filter(|info| !ports.is_empty() && info.admin_up) {
            ports.push(Port { interface: info.index, bridge: self.id, group: 0, is_bvi: true });
        }
        ports
    }

    /// What workers read of it.
    pub(super) fn domain(&self, ports: Vec<Port>) -> Domain {
        let config = &self.config;
        Domain {
            learn: config.learn,
            forward: config.forward,
            flood: config.flood,
            unknown_unicast_flood: config.unknown_unicast_flood,
            flood_limit: config.flood_limit,
            mac_limit: config.mac_limit,
            learned: Arc::clone(&self.learned),
            ports,
        }
    }
}

/// Whether an interface passes packets.
pub(super) fn passes(info: &InterfaceInfo) -> bool {
    info.admin_up && info.link_up
}

/// Finds what is wrong with bridges, each by itself and beside the others.
pub(super) fn check_all(
    configs: &BridgesConfig,
    interfaces: &HashMap<String, InterfaceInfo>,
) -> Result<(), Failure> {
    configs.iter().try_for_each(|(name, config)| {
        // Two that share a port are told of once, by the later one.
        let others = configs.iter().take_while(|(other, _)| *other != name);
        check(name, config, &others.collect::<Vec<_>>(), interfaces)
    })
}

fn check(
    name: &str,
    config: &BridgeConfig,
    others: &[(&String, &BridgeConfig)],
    interfaces: &HashMap<String, InterfaceInfo>,
) -> Result<(), Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if name.is_empty() || name.len() > 63 || !name.chars().all(fits) {
        bail!("`{name}` is not a bridge name: 1 to 63 letters, digits and any of `-_./:`");
    }
    if config.mac_limit > BridgeConfig::MOST_ADDRESSES {
        bail!(
            "a mac-limit of {} is too high: it is at most {}",
            config.mac_limit,
            BridgeConfig::MOST_ADDRESSES
        );
    }
    for (index, member) in config.members.iter().enumerate() {
        let interface = &member.interface;
        if config.members[..index].iter().any(|earlier| earlier.interface == *interface) {
            bail!("`{interface}` is a port of the bridge `{name}` twice");
        }
        if config.bvi.as_ref() == Some(interface) {
            bail!("`{interface}` is the BVI of the bridge `{name}` and cannot be a port too");
        }
        let info = interfaces.get(interface);
        if info.is_some_and(|info| info.driver == Bvi::NAME) {
            bail!("`{interface}` is a BVI and cannot be a port; `bvi` names it");
        }
        if info.is_some_and(|info| info.mac.is_none()) {
            bail!("`{interface}` has no Ethernet header and cannot be a port of a bridge");
        }
        let has = |other: &BridgeConfig| other.members.iter().any(|port| port.interface == *interface);
        if let Some(other) = others.iter().find(|(_, other)| has(other)) {
            bail!("`{interface}` is a port of the bridge `{}` already", other.0);
        }
    }
    if let Some(bvi) = &config.bvi {
        if interfaces.get(bvi).is_some_and(|info| info.driver != Bvi::NAME) {
            bail!("`{bvi}` cannot be a BVI: its driver is not `{}`", Bvi::NAME);
        }
        if let Some(other) = others.iter().find(|(_, other)| other.bvi.as_ref() == Some(bvi)) {
            bail!("`{bvi}` is the BVI of the bridge `{}` already", other.0);
        }
    }
    let mut macs = Vec::new();
    for fixed in &config.macs {
        if !fixed.mac.is_unicast() {
            bail!("`{}` is not the address of a station", fixed.mac);
        }
        if macs.contains(&fixed.mac) {
            bail!("{} is known to the bridge `{name}` twice", fixed.mac);
        }
        macs.push(fixed.mac);
        if !config.members.iter().any(|member| member.interface == fixed.interface) {
            bail!(
                "`{}`, behind which {} is said to be, is no port of the bridge `{name}`",
                fixed.interface,
                fixed.mac
            );
        }
    }
    Ok(())
}
