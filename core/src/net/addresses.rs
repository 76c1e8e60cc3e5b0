//! Addresses of interfaces: by configuration and command, and the link-local ones that every interface has.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use raddle_plugin_api::address::{ADDRESSES_CHANGED, AddressesChanged};
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::route::TableKey;
use raddle_plugin_api::sync::Published;
use raddle_plugin_api::wire::{InterfaceAddress, Ip6Header};
use raddle_plugin_api::{InterfaceChange, InterfaceEvent, InterfaceInfo};

use super::address_port::{Port, is_link_local};
use super::connected::edges;
use super::ip6_off::IP6_OFF;
use super::link::Link;
use super::routes::Routes;

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

/// Tries addresses before they are used.
pub trait AddressCheck: Send + Sync {
    /// The address is wanted on the interface, which is up: whether it must be tried first. What comes of it is told by
    /// [`Addresses::decide`], later.
    fn begin(&self, control: &Control<'_>, interface: InterfaceIndex, address: IpAddr) -> bool;
    /// The address is not wanted any more.
    fn end(&self, control: &Control<'_>, interface: InterfaceIndex, address: IpAddr);
}

pub use super::address_port::AddressState;

/// Addresses in force, by interface, as workers see them. Link-local ones come last.
pub type AddressesInForce = HashMap<InterfaceIndex, Vec<InterfaceAddress>>;

/// The addresses of all interfaces. A resource of the core.
pub struct Addresses {
    routes: Arc<Routes>,
    ports: Mutex<BTreeMap<InterfaceIndex, Port>>,
    in_force: Published<AddressesInForce>,
    listeners: Mutex<Vec<Arc<AddressListener>>>,
    check: OnceLock<Arc<dyn AddressCheck>>,
}

impl Addresses {
    /// No addresses yet; they go into `routes`.
    pub fn new(control: &Control<'_>, routes: Arc<Routes>) -> Self {
        Self {
            routes,
            ports: Mutex::default(),
            in_force: Published::new(control, AddressesInForce::new()),
            listeners: Mutex::default(),
            check: OnceLock::new(),
        }
    }

    /// Has addresses tried from now on before they are used. Only the first check counts.
    pub fn set_check(&self, check: Arc<dyn AddressCheck>) {
        // There is one module that does it.
        let _ = self.check.set(check);
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
        self.know(control, interface)?;
        let ports = self.ports();
        let fib = ports.get(&interface).map_or(0, |port| port.fib);
        refuse_conflict(&ports, interface, fib, address)?;
        drop(ports);
        self.change(control, interface, |port| {
            port.given.insert(address);
        });
        signal(control, interface);
        Ok(())
    }

    /// Binds an interface to a routing table: its addresses, networks and neighbours move there, and what it receives is
    /// looked up there. Listeners hear that its addresses go and come.
    ///
    /// # Errors
    /// There is no such table or interface, or another interface of the table has one of the addresses or networks.
    pub fn set_table(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        table: &TableKey,
    ) -> Result<(), Failure> {
        let (_, fib) = self.routes.find_table(table)?;
        self.know(control, interface)?;
        let ports = self.ports();
        let Some(port) = ports.get(&interface).filter(|port| port.fib != fib) else {
            return Ok(());
        };
        for &address in &port.given {
            refuse_conflict(&ports, interface, fib, address)?;
        }
        let in_force = port.in_force();
        drop(ports);
        self.routes.bind(control, interface, table)?;
        if let Some(port) = self.ports().get_mut(&interface) {
            port.fib = fib;
        }
        self.tell(control, interface, &in_force, &BTreeSet::new());
        self.tell(control, interface, &BTreeSet::new(), &in_force);
        signal(control, interface);
        Ok(())
    }

    /// FIB indices of interfaces that are bound to another table than the default one.
    pub fn bindings(&self) -> HashMap<InterfaceIndex, u32> {
        let ports = self.ports();
        ports
            .iter()
            .filter(|(_, port)| port.fib != 0)
            .map(|(&interface, port)| (interface, port.fib))
            .collect()
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
        signal(control, interface);
        Ok(())
    }

    /// The addresses of an interface, whether it is up or not.
    pub fn of(&self, interface: InterfaceIndex) -> Vec<InterfaceAddress> {
        self.ports().get(&interface).map(|port| port.addresses().into_iter().collect()).unwrap_or_default()
    }

    /// The addresses of an interface, and how they stand.
    pub fn states(&self, interface: InterfaceIndex) -> Vec<(InterfaceAddress, AddressState)> {
        let ports = self.ports();
        let Some(port) = ports.get(&interface) else { return Vec::new() };
        port.addresses().into_iter().map(|address| (address, port.state(address.address()))).collect()
    }

    /// The interface's name.
    pub fn name(&self, interface: InterfaceIndex) -> String {
        self.ports().get(&interface).map_or_else(|| format!("#{interface}"), |port| port.name.clone())
    }

    /// An address that was tried is nobody else's, or is.
    pub fn decide(&self, control: &Control<'_>, interface: InterfaceIndex, address: IpAddr, unique: bool) {
        self.change(control, interface, |port| {
            if unique {
                port.doubtful.remove(&address);
            } else if let Some(state) = port.doubtful.get_mut(&address) {
                *state = AddressState::Duplicate;
            }
        });
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
            self.end_checks(control, interface, port.wanted().into_iter());
            self.routes.remove_link(control, interface);
            self.publish(control);
            self.tell(control, interface, &port.in_force(), &BTreeSet::new());
            return;
        }
        self.warn_of_mtu(control, info);
        self.ports().entry(interface).or_insert_with(|| Port {
            is_up: false,
            mac: None,
            ..Port::of(info, BTreeSet::new(), 0)
        });
        self.routes.set_link(control, interface, Link::from(info));
        self.change(control, interface, |port| {
            let doubtful = std::mem::take(&mut port.doubtful);
            *port = Port { doubtful, ..Port::of(info, std::mem::take(&mut port.given), port.fib) };
        });
    }

    /// Takes an interface in that has not told of itself yet.
    fn know(&self, control: &Control<'_>, interface: InterfaceIndex) -> Result<(), Failure> {
        if self.ports().contains_key(&interface) {
            return Ok(());
        }
        let info = control.interfaces()?.into_iter().find(|info| info.index == interface);
        let Some(info) = info else {
            bail!("there is no interface {interface}");
        };
        self.ports().insert(interface, Port::of(&info, BTreeSet::new(), 0));
        self.routes.set_link(control, interface, Link::from(&info));
        Ok(())
    }

    /// Says when the MTU takes an interface's IPv6 addresses away, or gives them back.
    fn warn_of_mtu(&self, control: &Control<'_>, info: &InterfaceInfo) {
        let ports = self.ports();
        let Some(port) = ports.get(&info.index) else { return };
        let (had_ip6, has_ip6) = (port.has_ip6, info.mtu as usize >= Ip6Header::MIN_MTU);
        if had_ip6 == has_ip6 || port.given.iter().all(|address| address.address().is_ipv4()) {
            return;
        }
        let (name, mtu, least) = (&info.name, info.mtu, Ip6Header::MIN_MTU);
        if has_ip6 {
            control.log(LogLevel::INFO, format_args!("IPv6 is back on {name}: its MTU is {mtu} bytes"));
        } else {
            let text = format_args!("IPv6 is off on {name}: its MTU is {mtu} bytes, and IPv6 needs {least}");
            control.log(LogLevel::WARN, text);
        }
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
        let (wanted_before, before, was_off) = (port.wanted(), port.in_force(), port.is_ip6_off());
        change(port);
        let wanted = port.wanted();
        let can_be_anothers = port.mac.is_some() && !port.is_loopback;
        drop(ports);
        self.end_checks(control, interface, wanted_before.difference(&wanted).copied());
        let come = wanted.difference(&wanted_before).filter(|_| can_be_anothers);
        self.begin_checks(control, interface, come.copied());
        let mut ports = self.ports();
        // It is on this thread that ports come and go.
        let Some(port) = ports.get_mut(&interface) else {
            return;
        };
        let (addresses, after, is_off) = (port.routed(), port.in_force(), port.is_ip6_off());
        drop(ports);
        if was_off != is_off {
            self.switch_ip6(control, interface, is_off);
        }
        self.routes.set_addresses(control, interface, addresses);
        if before != after {
            self.publish(control);
            self.tell(control, interface, &before, &after);
        }
    }

    /// Has IPv6 packets dropped that come in by the interface or would leave by it, or not any more, and says so.
    fn switch_ip6(&self, control: &Control<'_>, interface: InterfaceIndex, is_off: bool) {
        let name = self.name(interface);
        if let Err(failure) = control.set_feature(interface, IP6_OFF, is_off) {
            control.log(LogLevel::ERROR, format_args!("IPv6 of {name} is not switched: {failure}"));
        }
        if is_off {
            let text = format_args!(
                "IPv6 is off on {name}: the link-local address that follows from its MAC address is another station's, and so may be \
                 the MAC address (RFC 4862 section 5.4.5)"
            );
            control.log(LogLevel::ERROR, text);
        } else if self.ports().get(&interface).is_some_and(|port| port.is_up) {
            control.log(LogLevel::INFO, format_args!("IPv6 is back on {name}"));
        }
    }

    /// These addresses are wanted from now on: those that must be tried first are tentative.
    fn begin_checks(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        come: impl Iterator<Item = InterfaceAddress>,
    ) {
        let Some(check) = self.check.get() else { return };
        for address in come.map(InterfaceAddress::address) {
            if check.begin(control, interface, address)
                && let Some(port) = self.ports().get_mut(&interface)
            {
                port.doubtful.insert(address, AddressState::Tentative);
            }
        }
    }

    /// These addresses are not wanted any more.
    fn end_checks(
        &self,
        control: &Control<'_>,
        interface: InterfaceIndex,
        gone: impl Iterator<Item = InterfaceAddress>,
    ) {
        let Some(check) = self.check.get() else { return };
        for address in gone.map(InterfaceAddress::address) {
            check.end(control, interface, address);
            if let Some(port) = self.ports().get_mut(&interface) {
                port.doubtful.remove(&address);
            }
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

/// Tells tasks that wait for it that the addresses of an interface, or its table, are others now.
fn signal(control: &Control<'_>, interface: InterfaceIndex) {
    // Who waits for it looks for himself; where the host has no events nobody waits.
    let _ = control.signal(ADDRESSES_CHANGED, &AddressesChanged { interface });
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

/// Within a table an address and a network are one interface's.
fn refuse_conflict(
    ports: &BTreeMap<InterfaceIndex, Port>,
    interface: InterfaceIndex,
    fib: u32,
    address: InterfaceAddress,
) -> Result<(), Failure> {
    for (&index, port) in ports {
        for &other in &port.given {
            if index == interface {
                if other.address() == address.address() && port.fib == fib {
                    bail!("{} has address {other} already", port.name);
                }
            } else if is_link_local(address.address()) || port.fib != fib {
                // The same one may be on every link, and in every table.
            } else if other.address() == address.address() {
                bail!("{} is an address of {} already", address.address(), port.name);
            } else if other.prefix() == address.prefix() {
                bail!("{} is on the network of {} already, by {other}", address.prefix(), port.name);
            }
        }
    }
    Ok(())
}
