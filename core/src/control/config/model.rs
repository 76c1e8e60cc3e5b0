//! A whole configuration as typed values.

use super::sections::{
    BuffersConfig, ControlConfig, InterfaceConfig, LogConfig, NeighborConfig, PluginsConfig, RouteConfig,
    RuntimeConfig,
};

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
    /// Interfaces, in the order of the file.
    pub interfaces: Vec<InterfaceSection>,
    /// Paths of routes, in the order of the file.
    pub routes: Vec<RouteConfig>,
    /// Known neighbours, in the order of the file.
    pub neighbors: Vec<NeighborConfig>,
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
