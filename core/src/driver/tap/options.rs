//! The keys of a `tap` interface.

use raddle_plugin_api::wire::{InterfaceAddress, MacAddress};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Queues of a tap, at most (`MAX_TAP_QUEUES` of the kernel is 256).
const MAX_QUEUES: u32 = 64;
/// The longest name of a host's device, in bytes.
const NAME_BYTES: usize = 15;

/// The keys of a `tap` interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Options {
    /// Name of the tap on the host, made if it is not there. Without it: the interface's name.
    #[serde(default)]
    pub device: Option<String>,
    /// Network namespace of the host, as `ip netns` names it, in which the tap is made. Without it: raddle's own.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Queues, 1 to 64.
    #[serde(default = "one")]
    pub queues: u32,
    /// Whether the tap stays on the host when raddle ends.
    #[serde(default)]
    pub persist: bool,
    /// Addresses that the host's side is given.
    #[serde(default)]
    pub host_addresses: Vec<InterfaceAddress>,
    /// Whether the host's side is set up.
    #[serde(default = "yes")]
    pub host_up: bool,
    /// MAC address that the host's side is given. Without it the kernel chooses one.
    #[serde(default)]
    pub host_mac: Option<MacAddress>,
}

/// The keys of a `tun` interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct TunOptions {
    /// Name of the tun on the host, made if it is not there. Without it: the interface's name.
    #[serde(default)]
    pub device: Option<String>,
    /// Network namespace of the host, as `ip netns` names it, in which the tun is made. Without it: raddle's own.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Queues, 1 to 64.
    #[serde(default = "one")]
    pub queues: u32,
    /// Whether the tun stays on the host when raddle ends.
    #[serde(default)]
    pub persist: bool,
    /// Addresses that the host's side is given.
    #[serde(default)]
    pub host_addresses: Vec<InterfaceAddress>,
    /// Whether the host's side is set up.
    #[serde(default = "yes")]
    pub host_up: bool,
}

impl From<TunOptions> for Options {
    fn from(options: TunOptions) -> Self {
        let TunOptions { device, namespace, queues, persist, host_addresses, host_up } = options;
        Self { device, namespace, queues, persist, host_addresses, host_up, host_mac: None }
    }
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

/// Why the keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The number of queues is out of range.
    #[error("queues = {0} is out of range, it can be 1 to {MAX_QUEUES}")]
    Queues(u32),
    /// The host cannot have a device of this name.
    #[error(
        "the host cannot have a device named {0:?}: it takes 1 to {NAME_BYTES} bytes without space, '/', ':' and '%'"
    )]
    Name(String),
    /// The address is none of one device.
    #[error("host-mac = {0} is not a unicast address")]
    HostMac(MacAddress),
}

impl Options {
    /// Checks the keys and returns the name of the tap for the interface `interface`.
    ///
    /// # Errors
    /// A number is out of range, or a name or an address is impossible.
    pub fn check(&self, interface: &str) -> Result<String, OptionsError> {
        if !(1..=MAX_QUEUES).contains(&self.queues) {
            return Err(OptionsError::Queues(self.queues));
        }
        if let Some(mac) = self.host_mac.filter(|mac| !mac.is_unicast()) {
            return Err(OptionsError::HostMac(mac));
        }
        let name = self.device.as_deref().unwrap_or(interface);
        let bad = |letter: char| letter.is_whitespace() || letter.is_control() || "/:%".contains(letter);
        if name.is_empty() || name.len() > NAME_BYTES || name.contains(bad) || name == "." || name == ".." {
            return Err(OptionsError::Name(name.to_owned()));
        }
        Ok(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Options {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn nothing_need_be_said() {
        let options = options("");
        assert!(options.host_up && !options.persist && options.queues == 1);
        assert_eq!(options.check("lan").unwrap(), "lan");
    }

    #[test]
    fn all_that_can_be_said_is_understood() {
        let options = options(
            r#"
            device = "tap7"
            namespace = "blue"
            queues = 2
            persist = true
            host-addresses = ["192.0.2.2/24", "2001:db8::2/64"]
            host-up = false
            host-mac = "02:00:00:00:00:09"
            "#,
        );
        assert_eq!(options.check("lan").unwrap(), "tap7");
        assert_eq!(options.host_addresses.len(), 2);
        assert_eq!(options.host_mac, Some(MacAddress([2, 0, 0, 0, 0, 9])));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, interface, message) in [
            ("queues = 0", "lan", "queues = 0 is out of range, it can be 1 to 64"),
            (
                "host-mac = \"01:00:5e:00:00:01\"",
                "lan",
                "host-mac = 01:00:5e:00:00:01 is not a unicast address",
            ),
        ] {
            assert_eq!(options(text).check(interface).unwrap_err().to_string(), message);
        }
        for name in ["", "sixteen-letters!", "a b", "a/b", "tap%d", "a:1", ".", ".."] {
            assert_eq!(options("").check(name), Err(OptionsError::Name(name.to_owned())));
        }
    }
}
