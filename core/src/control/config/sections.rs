//! The core's sections of the configuration file. Every default serves: an empty file starts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::wire::{InterfaceAddress, IpPrefix, MacAddress};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ip_sections::UrpfConfig;
use crate::control::server::default_path;
use crate::net::l2::TagRewrite;
use crate::net::neighbor::NeighborOptions;
pub use crate::net::neighbor::NeighborTableConfig;
use crate::net::router_advertisement::RouterAdvertisementConfig;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Public keys, as `raddle plugin keygen` prints them. If there are any, only plugins are loaded that
    /// `raddle plugin sign` has signed with one of their private keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_keys: Vec<String>,
    /// Crashes in a row after which a plugin is not loaded at the next start; 0: none is held back.
    pub hold_after_crashes: u32,
    /// Directory of crash reports and of the count of crashes; by default `$STATE_DIRECTORY`, else `/var/lib/raddle` as
    /// root, else `raddle` in the user's state directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_directory: Option<PathBuf>,
}

impl Default for PluginsConfig {
    fn default() -> Self {
        Self {
            path: None,
            disable: Vec::new(),
            only: Vec::new(),
            require: Vec::new(),
            trusted_keys: Vec::new(),
            hold_after_crashes: 3,
            state_directory: None,
        }
    }
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

/// `[metrics]`: OpenMetrics over HTTP; off unless `listen` or `socket` is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MetricsConfig {
    /// Address and port on which `/metrics` is served; with a port alone it is 127.0.0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<ListenAddress>,
    /// Path of a Unix socket on which the same is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
}

/// An address and port to listen on: `127.0.0.1:9100`, `[::1]:9100`, or `9100` for that port of 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct ListenAddress(pub SocketAddr);

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let port = text.strip_prefix(':').unwrap_or(&text).parse::<u16>();
        let address = port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        address.or_else(|_| text.parse()).map(Self).map_err(|_| {
            format!("`{text}` is not an address to listen on: expected ADDRESS:PORT, or a port alone for 127.0.0.1")
        })
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl MetricsConfig {
    /// Whether anything is served.
    pub fn is_on(&self) -> bool {
        self.listen.is_some() || self.socket.is_some()
    }
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
    /// Hardware addresses that it takes frames for besides its own: of stations, and of groups for `multicast-filter`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub mac_addresses: Vec<MacAddress>,
    /// Features that are enabled on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The interface to which all packets that it receives are sent as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2_xconnect: Option<String>,
    /// What is done to the VLAN tags of frames that it switches, as `pop 1`, `push 100`, `translate 1-1 802.1ad:200`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_rewrite: Option<TagRewrite>,
    /// Whether it takes frames for every hardware address.
    #[serde(default, skip_serializing_if = "is_false")]
    pub promiscuous: bool,
    /// Whether frames for groups that were not joined on it are dropped; bridges and routing daemons need all groups.
    #[serde(default, skip_serializing_if = "is_false")]
    pub multicast_filter: bool,
    /// How packets are waited for; `adaptive` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_mode: Option<RxMode>,
    /// The same of the first receive queues, one after the other, where they differ from `rx-mode`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rx_modes: Vec<RxMode>,
    /// The routing table for what it receives, and of its addresses, by name or number; the default one by default.
    #[serde(default, skip_serializing_if = "TableKey::is_default")]
    pub table: TableKey,
    /// Whether sources are checked by the way back to them; not by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urpf: Option<UrpfConfig>,
    /// Whether hosts on its link are told of better first hops there; they are by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirects: Option<bool>,
    /// Whether special-purpose addresses are looked for; as `[martians]` says by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub martians: Option<bool>,
    /// Whether IPv4 groups are reported to the link's routers by IGMP; they are by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub igmp: Option<bool>,
    /// Whether IPv6 groups are reported to the link's routers by MLD; they are by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mld: Option<bool>,
    /// How neighbours are found on it, and for whom is answered there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub neighbor: NeighborOptions,
    /// What hosts on the link are told of raddle as their router; nothing without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_advertisement: Option<RouterAdvertisementConfig>,
}

/// `[ecmp]`: how flows are spread over several next hops.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct EcmpConfig {
    /// Seed of the hash over addresses, protocol and ports; at random by default, so that routers in a row choose
    /// independently. Routers with the same seed choose alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// Whether IPv6 flows are told apart by their flow label in place of protocol and ports.
    #[serde(skip_serializing_if = "is_off")]
    pub flow_label: bool,
}

/// `[table.NAME]`: a routing table beside the default one (a VRF), for both families.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TableConfig {
    /// Its number, by which it may be named too; 0 is the default table.
    #[schemars(range(min = 1, max = 4_294_967_294_u32))]
    pub id: u32,
}

/// How packets are waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RxMode {
    /// By looking again and again.
    Polling,
    /// By sleeping until one comes.
    Interrupt,
    /// By the one or the other, as the load goes.
    #[default]
    Adaptive,
}

impl From<RxMode> for crate::runtime::RxMode {
    fn from(mode: RxMode) -> Self {
        match mode {
            RxMode::Polling => Self::Polling,
            RxMode::Interrupt => Self::Interrupt,
            RxMode::Adaptive => Self::Adaptive,
        }
    }
}

impl From<crate::runtime::RxMode> for RxMode {
    fn from(mode: crate::runtime::RxMode) -> Self {
        match mode {
            crate::runtime::RxMode::Polling => Self::Polling,
            crate::runtime::RxMode::Interrupt => Self::Interrupt,
            crate::runtime::RxMode::Adaptive => Self::Adaptive,
        }
    }
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
    /// The routing table that the route is in, by name or number; the default one by default.
    #[serde(default, skip_serializing_if = "TableKey::is_default")]
    pub table: TableKey,
    /// The routing table in which the destinations are looked up again, instead of a next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via_table: Option<TableKey>,
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

    /// The directory of crash reports; `None` where no place for one is known.
    pub fn state_directory(&self) -> Option<PathBuf> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(directory) = &self.state_directory {
            return Some(directory.clone());
        }
        if let Some(directories) = variable("STATE_DIRECTORY") {
            return std::env::split_paths(&directories).next();
        }
        if rustix::process::geteuid().is_root() {
            return Some(PathBuf::from("/var/lib/raddle"));
        }
        let own = variable("XDG_STATE_HOME").map(PathBuf::from);
        let own = own.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".local/state")));
        own.map(|directory| directory.join("raddle"))
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

fn is_off(value: &bool) -> bool {
    !*value
}

fn one() -> u8 {
    1
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_one(value: &u8) -> bool {
    *value == 1
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
    fn a_port_alone_is_listened_on_by_loopback_only() {
        let read = |text: &str| ListenAddress::try_from(text.to_owned()).map(|listen| listen.0.to_string());
        for (text, address) in [
            ("9100", "127.0.0.1:9100"),
            (":9100", "127.0.0.1:9100"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[::1]:9100", "[::1]:9100"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(address), "{text}");
        }
        for text in ["", "localhost:9100", "127.0.0.1", "::1:x", "65536"] {
            assert!(read(text).is_err(), "{text}");
        }
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
