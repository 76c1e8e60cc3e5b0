//! The core's sections of the configuration file. Every default serves: an empty file starts.

use std::net::IpAddr;
use std::path::PathBuf;

use raddle_plugin_api::wire::{InterfaceAddress, IpPrefix, MacAddress};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::server::default_path;

/// `[runtime]`: threads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RuntimeConfig {
    /// Worker threads; with none the main thread does all.
    pub workers: u32,
    /// Cores that the workers are pinned to, in their order; empty: not pinned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cores: Vec<u16>,
    /// Core that the main thread is pinned to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub main_core: Option<u16>,
}

/// `[buffers]`: packet memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BuffersConfig {
    /// Buffers in the pool, about 2.3 kB each.
    pub count: u32,
    /// Whether to use hugepages.
    pub hugepages: Hugepages,
}

/// When to use hugepages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hugepages {
    /// If there are any.
    #[default]
    Auto,
    /// Not at all.
    Never,
    /// Always; do not start without.
    Require,
}

/// `[control]`: the control socket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ControlConfig {
    /// Path of the socket; by default `/run/raddle/raddle.sock`, for other users than root
    /// `$XDG_RUNTIME_DIR/raddle.sock`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
}

/// `[plugins]`: what is loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PluginsConfig {
    /// Directory of the plugins; by default `plugins` beside the executable if it is there, else
    /// `/usr/lib/raddle/plugins`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Plugins that are not loaded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disable: Vec<String>,
    /// If not empty, the only plugins that are loaded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// Plugins without which raddle does not start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<String>,
}

/// `[log]`: what is told on stderr or to the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogConfig {
    /// The least severe messages told.
    pub level: LogLevel,
    /// Messages a second that traffic may cause, per kind; 0: no limit.
    pub rate_limit: u32,
}

/// Severity of messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Something does not work.
    Error,
    /// Something is not as it should be.
    Warn,
    /// What an operator wants to know.
    #[default]
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

/// `[interface.NAME]`: what is the same for every driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct InterfaceConfig {
    /// Name of the driver: `tap`, `af-packet`, `loopback`, `packet-generator`, or one of a plugin's.
    pub driver: String,
    /// Whether it is up from the start.
    #[serde(default = "yes")]
    pub up: bool,
    /// Its addresses with the length of their networks' prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<InterfaceAddress>,
    /// Largest packet in bytes, layer 2 header not counted; the driver's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 68, max = 65535))]
    pub mtu: Option<u32>,
    /// Hardware address; the driver's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// Features that are enabled on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The interface to which all packets that it receives are sent as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2_xconnect: Option<String>,
    /// How packets are waited for; the driver's own choice by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_mode: Option<RxMode>,
}

/// How packets are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RxMode {
    /// By looking again and again.
    Polling,
    /// By sleeping until one comes.
    Interrupt,
    /// By the one or the other, as the load goes.
    Adaptive,
}

/// `[[route]]`: one path of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RouteConfig {
    /// The destinations.
    pub prefix: IpPrefix,
    /// The next hop; without one the destinations are neighbours on the interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// The interface; without one it is that on which the next hop is a neighbour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Set for destinations that no packet is sent to.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<RouteKind>,
    /// The FIB; 0 by default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub table: u32,
    /// Share of the packets among paths to the same prefix; 1 by default.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1))]
    pub weight: u8,
}

/// What happens to packets of a route that leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RouteKind {
    /// Dropped silently.
    Blackhole,
    /// Dropped, the sender is told "host unreachable".
    Unreachable,
    /// Dropped, the sender is told "administratively prohibited".
    Prohibit,
}

/// `[[neighbor]]`: a neighbour that is known without asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NeighborConfig {
    /// The interface behind which it is.
    pub interface: String,
    /// Its IP address.
    pub address: IpAddr,
    /// Its hardware address.
    pub mac: MacAddress,
}

impl Default for BuffersConfig {
    fn default() -> Self {
        BuffersConfig { count: 16_384, hugepages: Hugepages::Auto }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { level: LogLevel::Info, rate_limit: 10 }
    }
}

impl ControlConfig {
    /// The path of the socket.
    pub fn socket_path(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(default_path)
    }
}

impl PluginsConfig {
    /// The directory of the plugins.
    pub fn directory(&self) -> PathBuf {
        if let Some(path) = &self.path {
            return path.clone();
        }
        let beside =
            std::env::current_exe().ok().and_then(|executable| Some(executable.parent()?.join("plugins")));
        match beside {
            Some(directory) if directory.is_dir() => directory,
            _ => PathBuf::from("/usr/lib/raddle/plugins"),
        }
    }

    /// Whether the plugin of that name is loaded.
    pub fn wants(&self, name: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|known| known == name);
        !named(&self.disable) && (self.only.is_empty() || named(&self.only) || named(&self.require))
    }
}

impl LogLevel {
    /// The level's name.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

fn yes() -> bool {
    true
}

fn one() -> u8 {
    1
}

fn is_one(value: &u8) -> bool {
    *value == 1
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::config::INTERFACE_KEYS;

    use super::*;

    #[test]
    fn the_sdk_knows_the_keys_that_are_common_to_all_drivers() {
        let schema = serde_json::to_value(schemars::schema_for!(InterfaceConfig)).unwrap();
        let keys: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, INTERFACE_KEYS);
    }

    #[test]
    fn a_plugin_is_wanted_unless_the_lists_say_otherwise() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let all = PluginsConfig::default();
        assert!(all.wants("acl"));
        let but = PluginsConfig { disable: list(&["acl"]), ..all.clone() };
        assert!(!but.wants("acl") && but.wants("nat64"));
        let only = PluginsConfig { only: list(&["acl"]), require: list(&["ipsec"]), ..all };
        assert!(only.wants("acl") && only.wants("ipsec") && !only.wants("nat64"));
    }
}
