//! Who wants frames for which further address of an interface.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::abi::InterfaceFlags;
use raddle_plugin_api::driver::Change;
use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{Control, Failure, InterfaceIndex, bail};
use serde::Serialize;
use serde_json::{Value, json};

use super::MacTable;
use super::table::{ALL_SOLICITED, word};

/// Further addresses that the operator can give an interface.
pub const MAX_ADDRESSES: usize = 64;

/// Where neighbours are asked for by multicast (RFC 4291 §2.7.1, RFC 2464 §7). Held by [`Holder::Proxy`] it stands for all of
/// these groups, of which each has the last three octets of the addresses that are asked for there.
pub const SOLICITED_NODES: MacAddress = MacAddress([0x33, 0x33, 0xff, 0, 0, 0]);

/// Who wants frames for an address. An interface takes them while anybody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// The configuration, or a command.
    Operator,
    /// A multicast group that was joined.
    Group,
    /// An address that is being tried for duplicates.
    Tentative,
    /// IPv6 addresses of others that are answered for; it wants [`SOLICITED_NODES`].
    Proxy,
    /// Plugins.
    Plugin,
}

/// An address that an interface takes frames for besides its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HeldAddress {
    /// The address.
    pub mac: MacAddress,
    /// Who wants it.
    pub wanted_by: Vec<Holder>,
}

impl fmt::Display for HeldAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holders = self.wanted_by.iter().map(|holder| match holder {
            Holder::Operator => "operator",
            Holder::Group => "group",
            Holder::Tentative => "tentative",
            Holder::Proxy => "proxy, with all that begin with 33:33:ff",
            Holder::Plugin => "plugin",
        });
        write!(f, "{} ({})", self.mac, holders.collect::<Vec<_>>().join(", "))
    }
}

/// The filters of all interfaces. A resource of the core; the main thread changes it.
pub struct MacFilters {
    table: Arc<MacTable>,
    ports: Mutex<BTreeMap<InterfaceIndex, Port>>,
}

/// An interface on which there is something to filter by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Port {
    held: BTreeMap<Holder, BTreeSet<MacAddress>>,
    /// How often plugins hold each of the addresses of [`Holder::Plugin`].
    held_by_plugins: BTreeMap<MacAddress, u32>,
    filters_groups: bool,
}

impl Port {
    fn addresses(&self) -> BTreeSet<MacAddress> {
        self.held.values().flatten().copied().collect()
    }

    /// What frames are looked up in: no groups where all of them are taken.
    fn looked_up(&self) -> BTreeSet<u64> {
        let mut addresses = self.addresses();
        addresses.retain(|mac| self.filters_groups || mac.is_unicast());
        let all_solicited = self.filters_groups && self.held.contains_key(&Holder::Proxy);
        addresses.into_iter().map(word).chain(all_solicited.then_some(ALL_SOLICITED)).collect()
    }

    /// The bits of the interface's row.
    fn flags(&self) -> u32 {
        let has_more = self.held.values().flatten().any(|mac| mac.is_unicast());
        let more = if has_more { InterfaceFlags::HAS_MORE_ADDRESSES } else { 0 };
        more | if self.filters_groups { InterfaceFlags::FILTERS_GROUPS } else { 0 }
    }
}

impl MacFilters {
    /// No further addresses, and all groups taken.
    pub fn new(control: &Control<'_>) -> Self {
        Self { table: Arc::new(MacTable::new(control)), ports: Mutex::default() }
    }

    /// What workers read.
    pub fn table(&self) -> &Arc<MacTable> {
        &self.table
    }

    /// Has the interface take frames for one address more.
    ///
    /// # Errors
    /// No address to filter by, one that the operator has given already, too many, or what its driver says.
    pub fn add(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        mac: MacAddress,
    ) -> Result<(), Failure> {
        check_address(mac).map_err(Failure::new)?;
        let mut wanted = self.given(interface);
        if wanted.len() >= MAX_ADDRESSES {
            bail!("an interface takes at most {MAX_ADDRESSES} further MAC addresses");
        }
        if !wanted.insert(mac) {
            bail!("frames for {mac} are taken already");
        }
        self.set(control, interface, Holder::Operator, wanted)
    }

    /// Undoes [`Self::add`].
    ///
    /// # Errors
    /// The operator has not given the address, or what the driver says.
    pub fn remove(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        mac: MacAddress,
    ) -> Result<(), Failure> {
        let mut wanted = self.given(interface);
        if !wanted.remove(&mac) {
            bail!("{mac} is no further MAC address that was given");
        }
        self.set(control, interface, Holder::Operator, wanted)
    }

    /// These are the addresses from now on that `holder` wants frames for on the interface.
    ///
    /// # Errors
    /// A driver neither takes frames for a station's address nor for all.
    pub fn set(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        holder: Holder,
        wanted: BTreeSet<MacAddress>,
    ) -> Result<(), Failure> {
        self.change(control, interface, |port| {
            if wanted.is_empty() {
                port.held.remove(&holder);
            } else {
                port.held.insert(holder, wanted);
            }
        })
    }

    /// Has the interface take frames for an address for the sake of a plugin; each call is undone by one of [`Self::release`].
    ///
    /// # Errors
    /// No address to filter by, too many, or what its driver says.
    pub fn hold(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        mac: MacAddress,
    ) -> Result<(), Failure> {
        check_address(mac).map_err(Failure::new)?;
        self.change_plugins(control, interface, |held| {
            if held.len() >= MAX_ADDRESSES && !held.contains_key(&mac) {
                bail!("an interface takes at most {MAX_ADDRESSES} further MAC addresses for plugins");
            }
            let count = held.entry(mac).or_default();
            *count = count.saturating_add(1);
            Ok(())
        })
    }

    /// Undoes one [`Self::hold`].
    ///
    /// # Errors
    /// There was none, or what the driver says.
    pub fn release(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        mac: MacAddress,
    ) -> Result<(), Failure> {
        self.change_plugins(control, interface, |held| {
            let Some(count) = held.get_mut(&mac) else {
                bail!("no plugin takes frames for {mac} on interface {interface}");
            };
            *count -= 1;
            if *count == 0 {
                held.remove(&mac);
            }
            Ok(())
        })
    }

    fn change_plugins(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        change: impl FnOnce(&mut BTreeMap<MacAddress, u32>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut held =
            self.ports().get(&interface).map(|port| port.held_by_plugins.clone()).unwrap_or_default();
        change(&mut held)?;
        self.change(control, interface, |port| {
            let wanted: BTreeSet<_> = held.keys().copied().collect();
            if wanted.is_empty() {
                port.held.remove(&Holder::Plugin);
            } else {
                port.held.insert(Holder::Plugin, wanted);
            }
            port.held_by_plugins = held;
        })
    }

    /// Drops frames for groups that nobody wants, or takes those of all groups.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn set_filters_groups(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        on: bool,
    ) -> Result<(), Failure> {
        self.change(control, interface, |port| port.filters_groups = on)
    }

    /// Whether frames for groups that nobody wants are dropped.
    pub fn filters_groups(&self, interface: InterfaceIndex) -> bool {
        self.ports().get(&interface).is_some_and(|port| port.filters_groups)
    }

    /// The addresses that the operator has given.
    pub fn given(&self, interface: InterfaceIndex) -> BTreeSet<MacAddress> {
        let ports = self.ports();
        let given = ports.get(&interface).and_then(|port| port.held.get(&Holder::Operator));
        given.cloned().unwrap_or_default()
    }

    /// All further addresses, and who wants them.
    pub fn list(&self, interface: InterfaceIndex) -> Vec<HeldAddress> {
        let ports = self.ports();
        let Some(port) = ports.get(&interface) else { return Vec::new() };
        let holders = |mac| port.held.iter().filter(move |(_, held)| held.contains(&mac));
        let held = |mac| HeldAddress { mac, wanted_by: holders(mac).map(|(holder, _)| *holder).collect() };
        port.addresses().into_iter().map(held).collect()
    }

    /// The interface is gone, and its device with it.
    pub(super) fn forget(&self, control: &Control<'_>, interface: InterfaceIndex) {
        let gone = self.ports().remove(&interface);
        if gone.is_some_and(|port| !port.looked_up().is_empty()) {
            self.table.set(control, interface, std::iter::empty());
        }
    }

    /// Changes an interface, and brings workers, its row and its device in line.
    fn change(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        change: impl FnOnce(&mut Port),
    ) -> Result<(), Failure> {
        let before = self.ports().get(&interface).cloned().unwrap_or_default();
        let mut after = before.clone();
        change(&mut after);
        if before == after {
            return Ok(());
        }
        let (was, is) = (before.addresses(), after.addresses());
        // What the device refuses is not there.
        for &mac in is.difference(&was) {
            if let Err(failure) = tell_device(control, interface, mac, true) {
                for &taken in is.difference(&was).take_while(|taken| **taken != mac) {
                    // It was taken a moment ago; what cannot be undone is dropped by `ethernet-input`.
                    let _ = tell_device(control, interface, taken, false);
                }
                return Err(failure);
            }
        }
        if before.looked_up() != after.looked_up() {
            self.table.set(control, interface, after.looked_up().into_iter());
        }
        let (old, new) = (before.flags(), after.flags());
        if after == Port::default() {
            self.ports().remove(&interface);
        } else {
            self.ports().insert(interface, after);
        }
        if old != new {
            let flags = json!({ "interface": interface, "set": new & !old, "clear": old & !new });
            control.call::<_, Value>("interface.flags", &flags)?;
        }
        for &mac in was.difference(&is) {
            tell_device(control, interface, mac, false)?;
        }
        Ok(())
    }

    fn ports(&self) -> MutexGuard<'_, BTreeMap<InterfaceIndex, Port>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says why an address is none to filter by.
///
/// # Errors
/// The sentence.
pub fn check_address(mac: MacAddress) -> Result<(), String> {
    if mac == MacAddress::ZERO {
        return Err(format!("`{mac}` is the address of no station and no group"));
    }
    if mac.is_broadcast() {
        return Err(format!("frames for `{mac}` are always taken"));
    }
    Ok(())
}

/// Has the device take frames for an address, or not any more. One that cannot tell stations apart takes all frames instead;
/// those of groups come from every device.
fn tell_device(
    control: &Control<'_>,
    interface: InterfaceIndex,
    mac: MacAddress,
    on: bool,
) -> Result<(), Failure> {
    let change = json!({ "interface": interface, "change": Change::Address { mac, on } });
    let done = control.call::<_, Value>("interface.change", &change);
    if mac.is_multicast() || (on && done.is_ok()) {
        return Ok(());
    }
    let promiscuous = json!({ "interface": interface, "by": format!("mac address {mac}"), "on": on });
    control.call::<_, Value>("interface.promiscuous", &promiscuous).map(drop)
}
