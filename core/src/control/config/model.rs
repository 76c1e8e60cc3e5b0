//! A whole configuration as typed values.

use std::collections::BTreeMap;

use super::ip_sections::{IcmpConfig, Ip4Config, MartiansConfig};
use super::sections::{
    BuffersConfig, ControlConfig, EcmpConfig, InterfaceConfig, LogConfig, MetricsConfig, NeighborConfig,
    NeighborTableConfig, PluginsConfig, RouteConfig, RuntimeConfig, TableConfig,
};

use crate::net::l2::BridgesConfig;

/// A configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Threads.
    pub runtime: RuntimeConfig,
    /// Packet memory.
    pub buffers: BuffersConfig,
    /// The control socket.
    pub control: ControlConfig,
    /// What is loaded.
    pub plugins: PluginsConfig,
    /// What is told.
    pub log: LogConfig,
    /// Where metrics are served.
    pub metrics: MetricsConfig,
    /// How flows are spread.
    pub ecmp: EcmpConfig,
    /// Routing tables beside the default one, by name.
    pub tables: BTreeMap<String, TableConfig>,
    /// Limits of ICMP.
    pub icmp: IcmpConfig,
    /// IPv4 options.
    pub ip4: Ip4Config,
    /// Special-purpose addresses.
    pub martians: MartiansConfig,
    /// Interfaces, in the order of the file.
    pub interfaces: Vec<InterfaceSection>,
    /// Paths of routes, in the order of the file.
    pub routes: Vec<RouteConfig>,
    /// Bridges, by name.
    pub bridges: BridgesConfig,
    /// Known neighbours, in the order of the file.
    pub neighbors: Vec<NeighborConfig>,
    /// Bounds and times of the neighbour table.
    pub neighbor_table: NeighborTableConfig,
    /// Sections of plugins and drivers, as they stand in the file.
    pub others: toml::Table,
}

/// An interface of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct InterfaceSection {
    /// Its name.
    pub name: String,
    /// What is the same for every driver.
    pub common: InterfaceConfig,
    /// The driver's own keys, as they stand in the file; the driver reads them by [`Document::interface_options`](super::Document::interface_options).
    pub options: toml::Table,
}
