//! The section `[tuntap]` of the configuration.

use std::collections::{BTreeMap, BTreeSet};

use raddle_plugin_api::config::InRange;
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::{Failure, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The main table of the kernel (`RT_TABLE_MAIN`).
const MAIN_TABLE: u32 = 254;

/// `[tuntap]`: the host on the other side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TuntapConfig {
    /// Network namespace, as `ip netns` names it, of the host's side of all that names none. Without it: raddle's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Ways to the host, by the interface of raddle's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub interface: BTreeMap<String, InterfaceConfig>,
    /// Tuns, by the routing table of raddle's: what interfaces in mode `tun` use.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tun: BTreeMap<String, TunConfig>,
    /// Routing tables of the kernel that are followed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirror: Vec<MirrorConfig>,
}

/// How an interface's packets reach the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// By a tap of its own: an interface of the host with its MAC address, MTU, link state and addresses.
    #[default]
    Tap,
    /// By the tun of its routing table.
    Tun,
}

/// `[tuntap.interface.NAME]`: an interface's way to the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct InterfaceConfig {
    /// How its packets reach the host.
    pub mode: Mode,
    /// Name of the tap on the host. Without it: the interface's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Network namespace of the tap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whether the tap, and the kernel's routes by it, stay when raddle ends.
    pub persist: bool,
}

/// `[tuntap.tun.TABLE]`: the tun of a routing table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TunConfig {
    /// Name of the tun on the host. Without it: `raddle-` and the table's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Network namespace of the tun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whether the tun, and the kernel's routes by it, stay when raddle ends.
    pub persist: bool,
    /// MTU in bytes.
    pub mtu: InRange<1280, 65_535>,
}

impl Default for TunConfig {
    fn default() -> Self {
        // Within its bounds.
        let mtu = InRange::new(1500).expect("1500 is within the bounds");
        Self { device: None, namespace: None, persist: false, mtu }
    }
}

/// `[[tuntap.mirror]]`: a routing table of the kernel that is followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct MirrorConfig {
    /// Network namespace of the kernel's table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Number of the kernel's table; 254 is the main one.
    pub kernel_table: u32,
    /// Name of the VRF device whose table it is, in place of `kernel-table`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// The routing table of raddle's, by name or number.
    pub table: TableKey,
    /// Which of several sources' routes to a prefix is used: the least wins. Interfaces, static routes and neighbours come before.
    pub preference: InRange<10, 255>,
}

impl Default for MirrorConfig {
    fn default() -> Self {
        // Within its bounds.
        let preference = InRange::new(100).expect("100 is within the bounds");
        Self { namespace: None, kernel_table: MAIN_TABLE, vrf: None, table: TableKey::DEFAULT, preference }
    }
}

impl TuntapConfig {
    /// The namespace of something that names this one, or none.
    pub fn namespace_of<'c>(&'c self, own: &'c Option<String>) -> Option<&'c str> {
        own.as_deref().or(self.namespace.as_deref())
    }

    /// What the types alone do not say.
    ///
    /// # Errors
    /// Two mirrors would write the same routes, or a key has no use where it stands.
    pub fn check(&self) -> Result<(), Failure> {
        for (name, interface) in &self.interface {
            let is_tap = interface.mode == Mode::Tap;
            if !is_tap && (interface.device.is_some() || interface.namespace.is_some() || interface.persist) {
                bail!(
                    "tuntap.interface.{name} is in mode `tun`, whose device, namespace and persist are those of \
                     [tuntap.tun.TABLE]"
                );
            }
        }
        let mut targets = BTreeSet::new();
        for mirror in &self.mirror {
            if !targets.insert((mirror.table.clone(), mirror.preference.get())) {
                bail!(
                    "two tables are mirrored into table {} with preference {}: give one of them another preference",
                    mirror.table,
                    mirror.preference.get()
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::config::parse_section;

    use super::*;

    #[test]
    fn defaults_serve() {
        let text = "[tuntap.interface.wan]\n[[tuntap.mirror]]\n";
        let config: TuntapConfig = parse_section(text, "tuntap").unwrap().unwrap();
        config.check().unwrap();
        assert_eq!(config.interface["wan"].mode, Mode::Tap);
        let mirror = &config.mirror[0];
        assert_eq!(
            (mirror.kernel_table, mirror.table.is_default(), mirror.preference.get()),
            (254, true, 100)
        );
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let check = |text: &str| {
            let config: TuntapConfig = parse_section(text, "tuntap").unwrap().unwrap();
            config.check().unwrap_err().to_string()
        };
        let tun = check("[tuntap.interface.wan]\nmode = 'tun'\ndevice = 'x'\n");
        assert!(tun.contains("tuntap.interface.wan is in mode `tun`"), "{tun}");
        let twice = check("[[tuntap.mirror]]\n[[tuntap.mirror]]\nvrf = 'blue'\n");
        assert!(twice.contains("give one of them another preference"), "{twice}");
        let error =
            parse_section::<TuntapConfig>("[tuntap.interface.wan]\nmod = 'tap'\n", "tuntap").unwrap_err();
        assert!(error.to_string().contains("did you mean `mode`?"), "{error}");
    }
}
