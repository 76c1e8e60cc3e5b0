//! Interfaces: made, changed, looked after, taken away.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use raddle_plugin_api::abi::InterfaceFlags;
use raddle_plugin_api::driver::{Change, Properties, Request};
use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{Failure, InterfaceChange, InterfaceEvent, InterfaceIndex, bail, failure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::engine::Engine;
use crate::graph::DROP_NODE;
use crate::interface::{Device, DriverEntry, Interface};
use crate::runtime::{InterfaceCounter, RxMode, RxSlot, TxSlot};

/// What is asked of a new interface.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct InterfaceRequest {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// MAC address, if not the device's own.
    #[serde(default)]
    pub mac: Option<MacAddress>,
    /// MTU in bytes, if not the device's own.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// The driver's keys.
    #[serde(default)]
    pub options: Value,
}

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

/// An interface as `show interface` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InterfaceState {
    /// Its row.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// In a word: `up`, `down` (its link is), `admin-down` (the operator wants it so).
    pub state: String,
    /// Its driver.
    pub driver: String,
    /// Whether the operator wants it up.
    pub admin_up: bool,
    /// Whether its link is up.
    pub link_up: bool,
    /// MAC address.
    pub mac: Option<MacAddress>,
    /// MTU in bytes.
    pub mtu: u32,
    /// The other side of an L2 cross-connect.
    pub l2_xconnect: Option<String>,
    /// Whether frames for every MAC address are taken.
    pub promiscuous: bool,
    /// How its receive queues are looked after.
    #[serde(default)]
    pub rx_mode: RxMode,
    /// Threads of its receive queues.
    pub rx_placement: Vec<usize>,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets lost before they could be received.
    pub rx_lost: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that the device did not take.
    pub tx_lost: u64,
    /// What is wrong with it.
    pub fault: Option<String>,
    /// Features that are on, in order, by arc; arcs without any are left out.
    pub features: BTreeMap<String, Vec<String>>,
    /// Details of its device.
    #[serde(default)]
    pub details: Value,
}

impl Engine {
    fn driver(&self, name: &str) -> Result<DriverEntry, Failure> {
        let drivers = self.drivers.borrow();
        drivers.iter().find(|driver| driver.name == name).cloned().ok_or_else(|| {
            let names = drivers.iter().map(|driver| driver.name.as_str());
            let nearest = raddle_plugin_api::config::nearest(name, names.clone());
            match nearest {
                Some(nearest) => failure!("there is no driver `{name}`; did you mean `{nearest}`?"),
                None => failure!(
                    "there is no driver `{name}`; there are: {}",
                    names.collect::<Vec<_>>().join(", ")
                ),
            }
        })
    }

    /// The drivers: name, summary, schema of the options.
    pub fn drivers(&self) -> Vec<(String, String, Value)> {
        let drivers = self.drivers.borrow();
        drivers.iter().map(|driver| (driver.name.clone(), driver.summary.clone(), driver.schema())).collect()
    }

    /// Makes an interface, down.
    ///
    /// # Errors
    /// Name taken, no such driver, or the driver's own sentence.
    pub fn add_interface(&self, request: InterfaceRequest) -> Result<InterfaceIndex, Failure> {
        self.interfaces.borrow().check_name(&request.name)?;
        let driver = self.driver(&request.driver)?;
        let options =
            if request.options.is_null() { Value::Object(Default::default()) } else { request.options };
        check_keys(&driver, &options)?;
        let threads = self.threads.borrow().count() as u32;
        let asked = Request { name: request.name.clone(), mac: request.mac, mtu: request.mtu, threads };
        let device = self
            .enter(driver.owner, || driver.open(&asked, &options))
            .map_err(|failure| failure.context(format_args!("interface `{}`", request.name)))?;
        let properties = device.properties()?;
        if let Some(fault) = &properties.fault {
            tracing::warn!(interface = request.name, "{fault}");
        }
        let interface = Interface {
            name: request.name,
            driver: request.driver,
            owner: driver.owner,
            device: Some(device),
            properties,
            admin_up: false,
            options,
            mac: request.mac,
            mtu: request.mtu,
            rx_mode: RxMode::default(),
            placement: Vec::new(),
        };
        let index = self.interfaces.borrow_mut().add(interface)?;
        self.interfaces.borrow().row(index).tx_node.store(u32::from(driver.tx_node), Ordering::Relaxed);
        for shared in self.threads.borrow().all_shared() {
            shared.interfaces.clear(index);
        }
        self.baselines.borrow_mut().interfaces.remove(&index);
        self.place_queues(index);
        self.emit_change(index, InterfaceChange::Created);
        Ok(InterfaceIndex(index))
    }

    /// Takes an interface away.
    pub fn remove_interface(&self, index: u32) {
        if self.interfaces.borrow().get(index).is_none() {
            return;
        }
        let _ = self.set_interface_up(index, false);
        self.emit_change(index, InterfaceChange::Deleted);
        {
            let interfaces = self.interfaces.borrow();
            for (other, _) in interfaces.iter() {
                let row = interfaces.row(other);
                if row.xconnect.load(Ordering::Relaxed) == index {
                    row.flags.fetch_and(!InterfaceFlags::XCONNECT, Ordering::Relaxed);
                }
            }
            interfaces.row(index).flags.store(0, Ordering::Relaxed);
            self.features.borrow().clear(interfaces.rows(), index);
        }
        self.drop_queues(index);
        let interface = self.interfaces.borrow_mut().remove(index);
        drop(interface);
    }

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

    /// Changes MTU, MAC address or promiscuity.
    ///
    /// # Errors
    /// The driver's own sentence.
    pub fn change_interface(&self, index: u32, change: Change) -> Result<(), Failure> {
        if let Change::Mtu(mtu) = change {
            let most =
                self.interfaces.borrow().get(index).map_or(0, |interface| interface.properties.max_mtu);
            if mtu < 68 || mtu > most {
                bail!("an MTU of {mtu} cannot be set: it must be between 68 and {most} bytes");
            }
        }
        self.with_device(index, |device| device.change(change))?;
        if let Some(interface) = self.interfaces.borrow_mut().get_mut(index) {
            match change {
                Change::Mtu(mtu) => interface.mtu = Some(mtu),
                Change::Mac(mac) => interface.mac = Some(mac),
                Change::Up(_) | Change::Promiscuous(_) => {}
            }
        }
        if let Change::Promiscuous(on) = change {
            let interfaces = self.interfaces.borrow();
            let flags = &interfaces.row(index).flags;
            if on {
                flags.fetch_or(InterfaceFlags::PROMISCUOUS, Ordering::Relaxed);
            } else {
                flags.fetch_and(!InterfaceFlags::PROMISCUOUS, Ordering::Relaxed);
            }
        }
        self.refresh_interface(index);
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

    /// Says how an interface's receive queues are looked after.
    pub fn set_rx_mode(&self, index: u32, mode: RxMode) {
        if let Some(interface) = self.interfaces.borrow_mut().get_mut(index) {
            interface.rx_mode = mode;
        }
        let mut all = self.threads.borrow_mut();
        all.hold("interface rx mode").each(|thread| {
            for slot in thread.rx_mut().iter_mut().filter(|slot| slot.interface == index) {
                slot.mode = mode;
            }
        });
        all.all_shared().for_each(|shared| shared.poller.wake());
    }

    /// Cross-connects an interface to another (frames received go there unread), or ends that.
    ///
    /// # Errors
    /// To itself.
    pub fn set_xconnect(&self, index: u32, peer: Option<u32>) -> Result<(), Failure> {
        if peer == Some(index) {
            bail!("an interface cannot be cross-connected to itself");
        }
        let interfaces = self.interfaces.borrow();
        let row = interfaces.row(index);
        match peer {
            Some(peer) => {
                row.xconnect.store(peer, Ordering::Relaxed);
                row.flags.fetch_or(InterfaceFlags::XCONNECT, Ordering::Release);
            }
            None => {
                row.flags.fetch_and(!InterfaceFlags::XCONNECT, Ordering::Relaxed);
            }
        }
        drop(interfaces);
        // Frames for the other side carry its addresses, not ours.
        self.with_device(index, |device| device.change(Change::Promiscuous(peer.is_some())))
    }

    /// Switches a feature on or off on an interface.
    ///
    /// # Errors
    /// No such feature.
    pub fn set_feature(&self, index: u32, feature: &str, enabled: bool) -> Result<(), Failure> {
        if let Some(deferred) = self.deferred_features.borrow_mut().as_mut() {
            deferred.push((index, feature.to_owned(), enabled));
            return Ok(());
        }
        let interfaces = self.interfaces.borrow();
        if interfaces.get(index).is_none() {
            bail!("there is no interface with index {index}");
        }
        self.features.borrow().set(interfaces.rows(), index, feature, enabled)?;
        Ok(())
    }

    /// Index of the interface with this name.
    ///
    /// # Errors
    /// There is none.
    pub fn find_interface(&self, name: &str) -> Result<u32, Failure> {
        Ok(self.interfaces.borrow().find(name)?)
    }

    /// Calls `call` with an interface's device, which nobody else has meanwhile.
    fn with_device<R>(
        &self,
        index: u32,
        call: impl FnOnce(&Device) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let (device, owner) = {
            let mut interfaces = self.interfaces.borrow_mut();
            let interface = interfaces
                .get_mut(index)
                .ok_or_else(|| failure!("there is no interface with index {index}"))?;
            (interface.device.take(), interface.owner)
        };
        let device = device.ok_or_else(|| Failure::new("the interface is being changed already"))?;
        let result = self.enter(owner, || call(&device));
        match self.interfaces.borrow_mut().get_mut(index) {
            Some(interface) => interface.device = Some(device),
            None => drop(device),
        }
        result
    }

    /// Asks the device what it is now, and passes on what has changed.
    pub fn refresh_interface(&self, index: u32) {
        let now = match self.with_device(index, Device::properties) {
            Ok(now) => now,
            Err(failure) => {
                tracing::warn!("interface {index}: {failure}");
                return;
            }
        };
        let mut changes = Vec::new();
        let (was_up, is_up, new_queues) = {
            let mut interfaces = self.interfaces.borrow_mut();
            let was_up = is_passing(interfaces.row(index).flags.load(Ordering::Relaxed));
            let Some(interface) = interfaces.get_mut(index) else { return };
            let old = std::mem::replace(&mut interface.properties, now.clone());
            if old.fault != now.fault {
                match &now.fault {
                    Some(fault) => tracing::warn!(interface = interface.name, "{fault}"),
                    None => tracing::info!(interface = interface.name, "in order again"),
                }
            }
            if old.mac != now.mac || old.mtu != now.mtu {
                changes.push(InterfaceChange::Changed);
            }
            interfaces.refresh(index);
            let is_up = is_passing(interfaces.row(index).flags.load(Ordering::Relaxed));
            (was_up, is_up, old.generation != now.generation)
        };
        if new_queues {
            self.drop_queues(index);
            self.place_queues(index);
        }
        if was_up != is_up {
            self.enable_queues(index);
            changes.push(if is_up { InterfaceChange::Up } else { InterfaceChange::Down });
        }
        for change in changes {
            self.emit_change(index, change);
        }
    }

    pub(super) fn look_after_interfaces(&self) {
        let all: Vec<u32> = self.interfaces.borrow().iter().map(|(index, _)| index).collect();
        for index in all {
            self.refresh_interface(index);
        }
    }

    fn emit_change(&self, index: u32, change: InterfaceChange) {
        // At the end of all, nobody needs to find another way for what went through the interface.
        if self.any.stop.load(Ordering::Acquire) {
            return;
        }
        let Some(interface) = self.interfaces.borrow().info(index) else { return };
        self.emit("interface", &InterfaceEvent { change, interface });
    }

    /// Takes the device's queues and puts them into the threads.
    fn place_queues(&self, index: u32) {
        let (queues, driver, mode, is_faulty) = {
            let interfaces = self.interfaces.borrow();
            let Some(interface) = interfaces.get(index) else { return };
            let Properties { rx_queues, fault, .. } = &interface.properties;
            (*rx_queues, interface.driver.clone(), interface.rx_mode, fault.is_some())
        };
        let Ok(driver) = self.driver(&driver) else { return };
        let threads = self.threads.borrow().count();
        let taken = self.with_device(index, |device| {
            let rx: Vec<_> =
                (0..queues).filter_map(|number| Some((number, device.rx_queue(number)?))).collect();
            let tx: Vec<_> = (0..threads as u32).map(|thread| device.tx_queue(thread)).collect();
            Ok((rx, tx))
        });
        let Ok((rx, tx)) = taken else { return };
        let target = self.graph.borrow().find("ethernet-input").unwrap_or(DROP_NODE);
        let enabled = {
            let interfaces = self.interfaces.borrow();
            is_passing(interfaces.row(index).flags.load(Ordering::Relaxed))
        };
        let mut placement = Vec::new();
        {
            let mut all = self.threads.borrow_mut();
            let pollers: Vec<_> = all.all_shared().map(|shared| shared.poller.clone()).collect();
            let mut held = all.hold("interface queues");
            for (number, queue) in rx {
                let thread = self.next_rx_place(threads);
                placement.push(thread);
                watch(&pollers[thread], &queue, index, enabled);
                let slot = RxSlot {
                    queue,
                    interface: index,
                    number,
                    node: driver.input_node,
                    target,
                    enabled,
                    mode,
                };
                held.thread(thread).rx_mut().push(slot);
            }
            for (thread, queue) in tx.into_iter().enumerate() {
                match queue {
                    Ok(queue) => drop(held.thread(thread).set_tx(index, Some(TxSlot { queue }))),
                    // What is wrong with the device has been said.
                    Err(_) if is_faulty => {}
                    Err(failure) => tracing::warn!(interface = index, thread, "no transmit queue: {failure}"),
                }
            }
        }
        if let Some(interface) = self.interfaces.borrow_mut().get_mut(index) {
            interface.placement = placement;
        }
    }

    /// The thread of the next receive queue: the workers in turn, or the main thread where there are none.
    fn next_rx_place(&self, threads: usize) -> usize {
        if threads == 1 {
            return 0;
        }
        let next = self.next_rx_thread.get();
        self.next_rx_thread.set((next + 1) % (threads - 1));
        1 + next
    }

    /// Takes the interface's queues out of the threads.
    fn drop_queues(&self, index: u32) {
        let (mut rx, mut tx) = (Vec::new(), Vec::new());
        {
            let mut all = self.threads.borrow_mut();
            let mut held = all.hold("interface queues");
            held.each(|thread| {
                rx.extend(thread.rx_mut().extract_if(.., |slot| slot.interface == index));
                tx.extend(thread.set_tx(index, None));
            });
        }
        let threads = self.threads.borrow();
        for slot in &rx {
            if let Some(fd) = slot.queue.fd() {
                threads.all_shared().for_each(|shared| shared.poller.unwatch(fd));
            }
        }
        drop(threads);
        drop((rx, tx));
    }

    /// Has the queues polled, or not, as the interface passes packets.
    fn enable_queues(&self, index: u32) {
        let enabled = is_passing(self.interfaces.borrow().row(index).flags.load(Ordering::Relaxed));
        let mut all = self.threads.borrow_mut();
        let pollers: Vec<_> = all.all_shared().map(|shared| shared.poller.clone()).collect();
        let mut held = all.hold("interface state");
        held.each(|thread| {
            let poller = &pollers[thread.index() as usize];
            for slot in thread.rx_mut().iter_mut().filter(|slot| slot.interface == index) {
                slot.enabled = enabled;
                watch(poller, &slot.queue, index, enabled);
            }
        });
        drop(held);
        pollers.iter().for_each(crate::runtime::Poller::wake);
    }

    /// What `show interface` shows.
    pub fn interface_states(&self, only: Option<u32>, verbose: bool) -> Vec<InterfaceState> {
        let all: Vec<u32> = self.interfaces.borrow().iter().map(|(index, _)| index).collect();
        all.into_iter()
            .filter(|index| only.is_none_or(|only| only == *index))
            .filter_map(|index| {
                let details = if verbose {
                    self.with_device(index, |device| Ok(device.details())).unwrap_or_default()
                } else {
                    Value::Null
                };
                self.interface_state(index, details)
            })
            .collect()
    }

    fn interface_state(&self, index: u32, details: Value) -> Option<InterfaceState> {
        let (interfaces, threads) = (self.interfaces.borrow(), self.threads.borrow());
        let interface = interfaces.get(index)?;
        let row = interfaces.row(index);
        let flags = row.flags.load(Ordering::Relaxed);
        let cleared = self.baselines.borrow().interfaces.get(&index).copied().unwrap_or_default();
        let sum = |counter: InterfaceCounter| {
            let all: u64 = threads.all_shared().map(|shared| shared.interfaces.read(index, counter)).sum();
            all.saturating_sub(cleared[counter as usize])
        };
        let peer = (flags & InterfaceFlags::XCONNECT != 0)
            .then(|| interfaces.get(row.xconnect.load(Ordering::Relaxed)).map(|peer| peer.name.clone()))
            .flatten();
        let features = (self.features.borrow().enabled(index).into_iter())
            .filter(|(_, on)| !on.is_empty())
            .map(|(arc, on)| (arc.to_owned(), on.into_iter().map(str::to_owned).collect()))
            .collect();
        Some(InterfaceState {
            index,
            name: interface.name.clone(),
            state: state_word(interface.admin_up, interface.properties.link_up).to_owned(),
            driver: interface.driver.clone(),
            admin_up: interface.admin_up,
            link_up: interface.properties.link_up,
            mac: interface.properties.mac,
            mtu: interface.properties.mtu,
            l2_xconnect: peer,
            promiscuous: flags & InterfaceFlags::PROMISCUOUS != 0,
            rx_mode: interface.rx_mode,
            rx_placement: interface.placement.clone(),
            rx_packets: sum(InterfaceCounter::RxPackets),
            rx_bytes: sum(InterfaceCounter::RxBytes),
            rx_lost: sum(InterfaceCounter::RxLost),
            tx_packets: sum(InterfaceCounter::TxPackets),
            tx_bytes: sum(InterfaceCounter::TxBytes),
            tx_lost: sum(InterfaceCounter::TxLost),
            fault: interface.properties.fault.clone(),
            features,
            details,
        })
    }
}

fn state_word(admin_up: bool, link_up: bool) -> &'static str {
    match (admin_up, link_up) {
        (true, true) => "up",
        (true, false) => "down",
        (false, _) => "admin-down",
    }
}

fn is_passing(flags: u32) -> bool {
    flags & InterfaceFlags::UP == InterfaceFlags::UP
}

fn watch(poller: &crate::runtime::Poller, queue: &crate::runtime::RxQueue, interface: u32, enabled: bool) {
    let Some(fd) = queue.fd() else { return };
    poller.unwatch(fd);
    if enabled && let Err(error) = poller.watch(fd, u64::from(interface)) {
        tracing::warn!(interface, %error, "a receive queue cannot be slept on");
    }
}

/// Checks the names of a driver's keys against its schema, so that a misspelt one is said.
fn check_keys(driver: &DriverEntry, options: &Value) -> Result<(), Failure> {
    let schema = driver.schema();
    let known: Vec<&str> = schema["properties"]
        .as_object()
        .map(|all| all.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let Some(options) = options.as_object() else {
        bail!("the options of driver `{}` are not a table", driver.name)
    };
    let Some(unknown) = options.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    match raddle_plugin_api::config::nearest(unknown, known.iter().copied()) {
        Some(nearest) => bail!("driver `{}` has no key `{unknown}`; did you mean `{nearest}`?", driver.name),
        None => bail!("driver `{}` has no key `{unknown}`; its keys are: {}", driver.name, known.join(", ")),
    }
}
