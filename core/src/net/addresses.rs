//! Addresses of interfaces: by configuration and command, and the link-local ones that every interface has.
#![forbid(unsafe_code)]

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::sync::Published;
use raddle_plugin_api::wire::{InterfaceAddress, Ip6Address};
use raddle_plugin_api::{InterfaceChange, InterfaceEvent, InterfaceInfo};

use super::connected::edges;
use super::link::Link;
use super::routes::Routes;

/// Length of the prefix that a link-local address is on (RFC 4291 §2.5.6).
const LINK_LOCAL_LENGTH: u8 = 64;

/// An address came into force on an interface, or is not in force any more: it was added or removed, or its interface went
/// up, down or away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressEvent {
    /// The interface.
    pub interface: InterfaceIndex,
    /// The address.
    pub address: InterfaceAddress,
    /// Whether it is in force from now on.
    pub in_force: bool,
}

/// A function that hears of addresses. Routes have changed already when it is called.
pub type AddressListener = dyn Fn(&Control<'_>, &AddressEvent) + Send + Sync;

/// Addresses in force, by interface, as workers see them. Link-local ones come last.
pub type AddressesInForce = HashMap<InterfaceIndex, Vec<InterfaceAddress>>;

/// The addresses of all interfaces. A resource of the core.
pub struct Addresses {
    routes: Arc<Routes>,
    ports: Mutex<BTreeMap<InterfaceIndex, Port>>,
    in_force: Published<AddressesInForce>,
    listeners: Mutex<Vec<Arc<AddressListener>>>,
}

#[derive(Clone, Debug)]
struct Port {
    name: String,
    is_up: bool,
    mac: Option<MacAddress>,
    /// By configuration and command.
    given: BTreeSet<InterfaceAddress>,
}

impl Port {
    fn of(info: &InterfaceInfo, given: BTreeSet<InterfaceAddress>) -> Self {
        Self { name: info.name.clone(), is_up: info.admin_up && info.link_up, mac: info.mac, given }
    }

    /// What was given, and the link-local address that follows from the MAC address, unless one was given.
    fn addresses(&self) -> BTreeSet<InterfaceAddress> {
        let mut addresses = self.given.clone();
        if let Some(mac) = self.mac
            && !addresses.iter().any(|address| is_link_local(address.address()))
        {
            let address = Ip6Address::link_local_from_mac(mac).to_std().into();
            // 64 is no more than 128.
            addresses.extend(InterfaceAddress::new(address, LINK_LOCAL_LENGTH).ok());
        }
        addresses
    }

    fn in_force(&self) -> BTreeSet<InterfaceAddress> {
        if self.is_up { self.addresses() } else { BTreeSet::new() }
    }
}

impl Addresses {
    /// No addresses yet; they go into `routes`.
    pub fn new(control: &Control<'_>, routes: Arc<Routes>) -> Self {
        Self {
            routes,
            ports: Mutex::default(),
            in_force: Published::new(control, AddressesInForce::new()),
            listeners: Mutex::default(),
        }
    }

    /// Has `listener` called from now on when an address comes or goes.
    pub fn subscribe(&self, listener: impl Fn(&Control<'_>, &AddressEvent) + Send + Sync + 'static) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(listener));
    }

    /// Gives an interface one more address.
    ///
    /// # Errors
    /// No host can have the address, the interface has it, or its network is another interface's.
    pub fn add(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        address: InterfaceAddress,
    ) -> Result<(), Failure> {
        check(address)?;
        let mut ports = self.ports();
        if let Entry::Vacant(vacant) = ports.entry(interface) {
            let info = control.interfaces()?.into_iter().find(|info| info.index == interface);
            let Some(info) = info else {
                bail!("there is no interface {interface} for address {address}");
            };
            vacant.insert(Port::of(&info, BTreeSet::new()));
            self.routes.set_link(control, interface, Link::from(&info));
        }
        refuse_conflict(&ports, interface, address)?;
        drop(ports);
        self.change(control, interface, |port| {
            port.given.insert(address);
        });
        Ok(())
    }

    /// Takes an address from an interface.
    ///
    /// # Errors
    /// It has none such; of a link-local one that no one gave: that it cannot be taken.
    pub fn remove(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        address: InterfaceAddress,
    ) -> Result<(), Failure> {
        let ports = self.ports();
        let Some(port) = ports.get(&interface) else {
            bail!("interface {interface} has no address {address}");
        };
        if !port.given.contains(&address) {
            if port.addresses().contains(&address) {
                bail!("{address} follows from the MAC address of {} and cannot be removed", port.name);
            }
            bail!("{} has no address {address}", port.name);
        }
        drop(ports);
        self.change(control, interface, |port| {
            port.given.remove(&address);
        });
        Ok(())
    }

    /// The addresses of an interface, whether it is up or not.
    pub fn of(&self, interface: InterfaceIndex) -> Vec<InterfaceAddress> {
        self.ports().get(&interface).map(|port| port.addresses().into_iter().collect()).unwrap_or_default()
    }

    /// The addresses that were given to an interface by configuration or command.
    pub fn given(&self, interface: InterfaceIndex) -> Vec<InterfaceAddress> {
        self.ports().get(&interface).map(|port| port.given.iter().copied().collect()).unwrap_or_default()
    }

    /// The addresses in force, for workers.
    #[inline]
    pub fn read<'w>(&'w self, worker: &'w Worker<'_>) -> &'w AddressesInForce {
        self.in_force.read(worker)
    }

    /// The addresses in force, for the main thread.
    pub fn in_force<'c>(&'c self, control: &'c Control<'_>) -> &'c AddressesInForce {
        self.in_force.get(control)
    }

    /// What has become of an interface.
    pub fn interface_changed(&self, control: &Control<'_>, event: &InterfaceEvent) {
        let (interface, info) = (event.interface.index, &event.interface);
        if event.change == InterfaceChange::Deleted {
            let Some(port) = self.ports().remove(&interface) else {
                return;
            };
            self.routes.remove_link(control, interface);
            self.publish(control);
            self.tell(control, interface, &port.in_force(), &BTreeSet::new());
            return;
        }
        self.ports().entry(interface).or_insert_with(|| Port {
            is_up: false,
            mac: None,
            ..Port::of(info, BTreeSet::new())
        });
        self.routes.set_link(control, interface, Link::from(info));
        self.change(control, interface, |port| *port = Port::of(info, std::mem::take(&mut port.given)));
    }

    fn ports(&self) -> MutexGuard<'_, BTreeMap<InterfaceIndex, Port>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes an interface that is there, and brings routes, workers and listeners in line.
    fn change(&self, control: &Control<'_>, interface: InterfaceIndex, change: impl FnOnce(&mut Port)) {
        let mut ports = self.ports();
        let Some(port) = ports.get_mut(&interface) else {
            return;
        };
        let before = port.in_force();
        change(port);
        let (addresses, after) = (port.addresses(), port.in_force());
        drop(ports);
        self.routes.set_addresses(control, interface, addresses);
        if before != after {
            self.publish(control);
            self.tell(control, interface, &before, &after);
        }
    }

    fn publish(&self, control: &Control<'_>) {
        let in_force = |(&interface, port): (&InterfaceIndex, &Port)| {
            let mut addresses: Vec<_> = port.in_force().into_iter().collect();
            addresses.sort_by_key(|address| is_link_local(address.address()));
            (interface, addresses)
        };
        let view = self.ports().iter().map(in_force).collect();
        self.in_force.publish(control, view);
    }

    fn tell(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        before: &BTreeSet<InterfaceAddress>,
        after: &BTreeSet<InterfaceAddress>,
    ) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let gone = before.difference(after).map(|&address| (address, false));
        let come = after.difference(before).map(|&address| (address, true));
        for (address, in_force) in gone.chain(come) {
            for listener in &listeners {
                listener(control, &AddressEvent { interface, address, in_force });
            }
        }
    }
}

/// Whether a host can have the address.
fn check(address: InterfaceAddress) -> Result<(), Failure> {
    let ip = address.address();
    let no_host = match ip {
        IpAddr::V4(ip) => {
            ip.octets()[0] == 0 || ip.is_loopback() || ip.to_bits() >= Ipv4Addr::new(224, 0, 0, 0).to_bits()
        }
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_loopback() || ip.is_multicast(),
    };
    if no_host {
        bail!("{ip} is no host's address");
    }
    if address.length() == 0 {
        bail!("{address} is on no network: the prefix length is 0");
    }
    if edges(address).contains(&ip) {
        bail!("{ip} is the first or last address of {}, which no host has", address.prefix());
    }
    Ok(())
}

fn refuse_conflict(
    ports: &BTreeMap<InterfaceIndex, Port>,
    interface: InterfaceIndex,
    address: InterfaceAddress,
) -> Result<(), Failure> {
    for (&index, port) in ports {
        for &other in &port.given {
            if index == interface {
                if other.address() == address.address() {
                    bail!("{} has address {other} already", port.name);
                }
            } else if is_link_local(address.address()) {
                // The same one may be on every link.
            } else if other.address() == address.address() {
                bail!("{} is an address of {} already", address.address(), port.name);
            } else if other.prefix() == address.prefix() {
                bail!("{} is on the network of {} already, by {other}", address.prefix(), port.name);
            }
        }
    }
    Ok(())
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if Ipv6Addr::is_unicast_link_local(&ip))
}
