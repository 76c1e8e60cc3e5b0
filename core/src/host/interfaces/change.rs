//! Interfaces changed by the operator: state, MTU, MAC address, promiscuity, features.

use std::sync::atomic::Ordering;

use raddle_plugin_api::abi::{InterfaceFlags, NO_INTERFACE};
use raddle_plugin_api::driver::Change;
use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{Failure, bail, failure};
use serde_json::Value;

use crate::host::Engine;
use crate::interface::Interface;

/// The smallest MTU of an IPv4 link, in bytes (RFC 791 §3.2).
pub(super) const LEAST_MTU: u32 = 68;
/// The largest MTU that there is, in bytes: the length of an IPv4 packet has 16 bits.
pub(super) const MOST_MTU: u32 = 65_535;
/// Bits of an interface's row that its sub-interfaces, bridges and filters set.
pub const SWITCHING: u32 = InterfaceFlags::BRIDGED
    | InterfaceFlags::HAS_SUB_INTERFACES
    | InterfaceFlags::HAS_UNTAGGED_SUB_INTERFACE
    | InterfaceFlags::TAG_REWRITE
    | InterfaceFlags::FILTERS_GROUPS
    | InterfaceFlags::HAS_MORE_ADDRESSES;
/// Who wants a device to be promiscuous.
const OPERATOR: &str = "operator";
const CROSS_CONNECT: &str = "cross-connect";

/// What the operator asked of an interface.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The MAC address, if he said one.
    pub mac: Option<MacAddress>,
    /// The MTU in bytes, if he said one.
    pub mtu: Option<u32>,
    /// The driver's keys.
    pub options: Value,
}

impl Engine {
    /// Sets an interface up or down.
    ///
    /// # Errors
    /// The driver's own sentence.
    pub fn set_interface_up(&self, index: u32, up: bool) -> Result<(), Failure> {
        self.with_device(index, |device| device.change(Change::Up(up)))?;
        if let Some(interface) = self.interfaces.borrow_mut().get_mut(index) {
            interface.admin_up = up;
        }
        self.refresh_interface(index);
        Ok(())
    }

    /// Changes MTU, MAC addresses or promiscuity, as the operator wants it.
    ///
    /// # Errors
    /// The driver's own sentence.
    pub fn change_interface(&self, index: u32, change: Change) -> Result<(), Failure> {
        match change {
            Change::Up(up) => return self.set_interface_up(index, up),
            Change::Promiscuous(on) => {
                self.set_promiscuous(index, OPERATOR, on)?;
                return self.set_flag(index, InterfaceFlags::PROMISCUOUS, on);
            }
            Change::Mtu(mtu) => {
                let most =
                    self.interfaces.borrow().get(index).map_or(0, |interface| interface.properties.max_mtu);
                if mtu < LEAST_MTU || mtu > most {
                    bail!("an MTU of {mtu} cannot be set: it must be between {LEAST_MTU} and {most} bytes");
                }
            }
            Change::Address { .. } => return self.with_device(index, |device| device.change(change)),
            Change::Mac(_) => {}
        }
        self.with_device(index, |device| device.change(change))?;
        if let Some(interface) = self.interfaces.borrow_mut().get_mut(index) {
            match change {
                Change::Mtu(mtu) => interface.mtu = Some(mtu),
                Change::Mac(mac) => interface.mac = Some(mac),
                Change::Up(_) | Change::Promiscuous(_) | Change::Address { .. } => {}
            }
        }
        self.refresh_interface(index);
        Ok(())
    }

    /// Has the device take frames for every MAC address for the sake of `by`, or not any more: it does so while anybody
    /// wants it.
    ///
    /// # Errors
    /// The driver's own sentence.
    pub fn set_promiscuous(&self, index: u32, by: &str, on: bool) -> Result<(), Failure> {
        let (was, is) = {
            let mut interfaces = self.interfaces.borrow_mut();
            let interface = interfaces
                .get_mut(index)
                .ok_or_else(|| failure!("there is no interface with index {index}"))?;
            let was = !interface.promiscuous.is_empty();
            if on {
                interface.promiscuous.insert(by.to_owned());
            } else {
                interface.promiscuous.remove(by);
            }
            (was, !interface.promiscuous.is_empty())
        };
        if was == is {
            return Ok(());
        }
        self.with_device(index, |device| device.change(Change::Promiscuous(is)))
    }

    /// Sets bits of an interface's row that say what becomes of its frames, and clears others.
    ///
    /// # Errors
    /// The bits are not among [`SWITCHING`], or the interface would be bridged and cross-connected at once.
    pub fn change_flags(&self, index: u32, set: u32, clear: u32) -> Result<(), Failure> {
        if (set | clear) & !SWITCHING != 0 {
            bail!("the flags {:#x} of an interface are not set one by one", (set | clear) & !SWITCHING);
        }
        let interfaces = self.interfaces.borrow();
        let Some(interface) = interfaces.get(index) else {
            bail!("there is no interface with index {index}")
        };
        let row = interfaces.row(index);
        let crossed = row.flags.load(Ordering::Relaxed) & InterfaceFlags::XCONNECT != 0;
        if set & InterfaceFlags::BRIDGED != 0 && crossed {
            bail!("interface `{}` is cross-connected; `set interface l3` ends that", interface.name);
        }
        row.flags.fetch_and(!clear, Ordering::Relaxed);
        row.flags.fetch_or(set, Ordering::Release);
        Ok(())
    }

    fn set_flag(&self, index: u32, flag: u32, on: bool) -> Result<(), Failure> {
        let interfaces = self.interfaces.borrow();
        let flags = &interfaces.row(index).flags;
        if on {
            flags.fetch_or(flag, Ordering::Relaxed);
        } else {
            flags.fetch_and(!flag, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What the operator asked of an interface that its state does not tell.
    pub fn asked_of_interface(&self, index: u32) -> Asked {
        let interfaces = self.interfaces.borrow();
        let asked = |interface: &Interface| Asked {
            mac: interface.mac,
            mtu: interface.mtu,
            options: interface.options.clone(),
        };
        interfaces.get(index).map(asked).unwrap_or_default()
    }

    /// Cross-connects an interface to another (frames received go there unread), or ends that. If the other one goes, what
    /// is received is dropped until it comes back.
    ///
    /// # Errors
    /// To itself, or of a port of a bridge.
    pub fn set_xconnect(&self, index: u32, peer: Option<u32>) -> Result<(), Failure> {
        if peer == Some(index) {
            bail!("an interface cannot be cross-connected to itself");
        }
        {
            let mut interfaces = self.interfaces.borrow_mut();
            let peer_name = peer.and_then(|peer| Some(interfaces.get(peer)?.name.clone()));
            if peer.is_some() && peer_name.is_none() {
                bail!("the interface to be connected to is gone");
            }
            let bridged = interfaces.row(index).flags.load(Ordering::Relaxed) & InterfaceFlags::BRIDGED != 0;
            let interface = interfaces
                .get_mut(index)
                .ok_or_else(|| failure!("there is no interface with index {index}"))?;
            if peer.is_some() && bridged {
                bail!("interface `{}` is a port of a bridge, and cannot be cross-connected", interface.name);
            }
            interface.xconnect = peer_name;
            let row = interfaces.row(index);
            row.xconnect.store(peer.unwrap_or(NO_INTERFACE), Ordering::Relaxed);
        }
        self.set_flag(index, InterfaceFlags::XCONNECT, peer.is_some())?;
        // Frames for the other side carry its addresses, not ours.
        self.set_promiscuous(index, CROSS_CONNECT, peer.is_some())
    }

    /// Connects those to an interface that has come (again) that wait for it.
    pub(super) fn join_xconnects(&self, index: u32) {
        let interfaces = self.interfaces.borrow();
        let Some(name) = interfaces.get(index).map(|interface| interface.name.as_str()) else { return };
        for (other, interface) in interfaces.iter() {
            if interface.xconnect.as_deref() == Some(name) {
                interfaces.row(other).xconnect.store(index, Ordering::Relaxed);
            }
        }
    }

    /// Has those wait that are cross-connected to an interface that goes.
    pub(super) fn part_xconnects(&self, index: u32) {
        let interfaces = self.interfaces.borrow();
        let Some(gone) = interfaces.get(index).map(|interface| interface.name.as_str()) else { return };
        for (other, interface) in interfaces.iter() {
            if interface.xconnect.as_deref() == Some(gone) {
                interfaces.row(other).xconnect.store(NO_INTERFACE, Ordering::Relaxed);
                tracing::warn!(
                    interface = interface.name,
                    "what it receives is dropped: `{gone}`, to which it is cross-connected, goes away"
                );
            }
        }
    }

    /// Says in which FIBs the packets that an interface receives are looked up.
    ///
    /// # Errors
    /// No such interface.
    pub fn set_interface_fib(&self, index: u32, ip4: u32, ip6: u32) -> Result<(), Failure> {
        let interfaces = self.interfaces.borrow();
        if interfaces.get(index).is_none() {
            bail!("there is no interface with index {index}");
        }
        let row = interfaces.row(index);
        row.ip4_fib.store(ip4, Ordering::Relaxed);
        row.ip6_fib.store(ip6, Ordering::Relaxed);
        Ok(())
    }
}
