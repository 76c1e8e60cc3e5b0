//! What one interface has of addresses, and which of them are in force.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use raddle_plugin_api::InterfaceInfo;
use raddle_plugin_api::wire::{InterfaceAddress, Ip6Address, Ip6Header, MacAddress};
use serde::Serialize;

/// Length of the prefix that a link-local address is on (RFC 4291 §2.5.6).
const LINK_LOCAL_LENGTH: u8 = 64;

/// How an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressState {
    /// Its interface does not pass packets.
    Down,
    /// It is being tried for duplicates and not used yet (RFC 4862 §2).
    Tentative,
    /// It is in use.
    InUse,
    /// Somebody else on the link has it: it is not used.
    Duplicate,
    /// IPv6 is off on its interface: see [`Port::is_ip6_off`].
    Disabled,
}

/// An interface with its addresses.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) is_up: bool,
    pub(super) mac: Option<MacAddress>,
    /// Whether packets are large enough for IPv6.
    pub(super) has_ip6: bool,
    /// Whether it gives back what is sent to it: nobody else can have its addresses.
    pub(super) is_loopback: bool,
    /// By configuration and command.
    pub(super) given: BTreeSet<InterfaceAddress>,
    /// Addresses that may not be used (yet): `Tentative` or `Duplicate`.
    pub(super) doubtful: BTreeMap<IpAddr, AddressState>,
    /// FIB index of its routing table.
    pub(super) fib: u32,
}

impl Port {
    /// The interface as it is now, with these addresses given, of the table with this FIB index.
    pub(super) fn of(info: &InterfaceInfo, given: BTreeSet<InterfaceAddress>, fib: u32) -> Self {
        Self {
            name: info.name.clone(),
            is_up: info.admin_up && info.link_up,
            mac: info.mac,
            has_ip6: info.mtu as usize >= Ip6Header::MIN_MTU,
            is_loopback: info.driver == "loopback",
            given,
            doubtful: BTreeMap::new(),
            fib,
        }
    }

    /// What was given, and the link-local address that follows from the MAC address, unless one was given. None of IPv6 on a
    /// link whose packets are too small for it (RFC 8200 §5).
    pub(super) fn addresses(&self) -> BTreeSet<InterfaceAddress> {
        let mut addresses = self.given.clone();
        if !self.has_ip6 {
            addresses.retain(|address| address.address().is_ipv4());
            return addresses;
        }
        if let Some(address) = self.address_of_mac()
            && !addresses.iter().any(|address| is_link_local(address.address()))
        {
            // 64 is no more than 128.
            addresses.extend(InterfaceAddress::new(address, LINK_LOCAL_LENGTH).ok());
        }
        addresses
    }

    /// The link-local address that follows from the MAC address (RFC 4291 appendix A).
    fn address_of_mac(&self) -> Option<IpAddr> {
        self.mac.map(|mac| Ip6Address::link_local_from_mac(mac).to_std().into())
    }

    /// Whether IPv6 is off for want of a MAC address of its own: who has the link-local address that follows from it has, it must
    /// be feared, the MAC address too (RFC 4862 §5.4.5).
    pub(super) fn is_ip6_off(&self) -> bool {
        let state = self.address_of_mac().and_then(|address| self.doubtful.get(&address));
        state == Some(&AddressState::Duplicate)
    }

    /// Addresses of an interface that is up. Where IPv6 is off the one at fault is tried again and no other.
    pub(super) fn wanted(&self) -> BTreeSet<InterfaceAddress> {
        if !self.is_up {
            return BTreeSet::new();
        }
        let mut addresses = self.addresses();
        if self.is_ip6_off() {
            let at_fault = self.address_of_mac();
            addresses.retain(|address| address.address().is_ipv4() || Some(address.address()) == at_fault);
        }
        addresses
    }

    /// Addresses in use.
    pub(super) fn in_force(&self) -> BTreeSet<InterfaceAddress> {
        let mut addresses = self.wanted();
        addresses.retain(|address| !self.doubtful.contains_key(&address.address()));
        addresses
    }

    /// Addresses of which routes follow: those of tentative ones are there, so that what leads over them is too.
    pub(super) fn routed(&self) -> BTreeSet<InterfaceAddress> {
        let (mut addresses, is_ip6_off) = (self.addresses(), self.is_ip6_off());
        addresses.retain(|address| {
            self.doubtful.get(&address.address()) != Some(&AddressState::Duplicate)
                && !(is_ip6_off && address.address().is_ipv6())
        });
        addresses
    }

    /// How one of its addresses stands.
    pub(super) fn state(&self, address: IpAddr) -> AddressState {
        match self.doubtful.get(&address) {
            Some(state) => *state,
            None if self.is_up && address.is_ipv6() && self.is_ip6_off() => AddressState::Disabled,
            None if self.is_up => AddressState::InUse,
            None => AddressState::Down,
        }
    }
}

/// Whether an address is on its link alone.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if Ipv6Addr::is_unicast_link_local(&ip))
}
