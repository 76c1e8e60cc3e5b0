//! Interfaces: made, changed, looked after, taken away.

use std::sync::atomic::Ordering;

use raddle_plugin_api::abi::InterfaceFlags;
use raddle_plugin_api::driver::{Properties, Request};
use raddle_plugin_api::wire::MacAddress;
use raddle_plugin_api::{Failure, InterfaceChange, InterfaceEvent, InterfaceIndex, bail, failure};
use serde::Deserialize;
use serde_json::Value;

use super::change::{LEAST_MTU, MOST_MTU};
use crate::host::{Engine, ImageState};
use crate::interface::{Device, DriverEntry, Interface};

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
    /// The plugin that makes it for its own ends, and takes it away: it is no part of the configuration then.
    #[serde(default)]
    pub made_by: Option<String>,
}

impl Engine {
    pub(super) fn driver(&self, name: &str) -> Result<DriverEntry, Failure> {
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
        if let Some(mtu) = request.mtu.filter(|mtu| !(LEAST_MTU..=MOST_MTU).contains(mtu)) {
            bail!(
                "interface `{}`: an MTU of {mtu} cannot be set: it must be between {LEAST_MTU} and {MOST_MTU} bytes",
                request.name
            );
        }
        let driver = self.driver(&request.driver)?;
        let options =
            if request.options.is_null() { Value::Object(Default::default()) } else { request.options };
        check_keys(&driver, &options)?;
        let threads = self.threads.borrow().count() as u32;
        let asked = Request { name: request.name.clone(), mac: request.mac, mtu: request.mtu, threads };
        let device = self
            .enter(driver.owner, "driver", || driver.open(&asked, &options))
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
            made_by: request.made_by,
            promiscuous: Default::default(),
            xconnect: None,
            rx_modes: Default::default(),
            placement: Vec::new(),
            rx_status: Vec::new(),
        };
        let index = self.interfaces.borrow_mut().add(interface)?;
        self.interfaces.borrow().row(index).tx_node.store(u32::from(driver.tx_node), Ordering::Relaxed);
        for shared in self.threads.borrow().all_shared() {
            shared.interfaces.clear(index);
        }
        self.baselines.borrow_mut().interfaces.remove(&index);
        self.place_queues(index);
        self.join_xconnects(index);
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
        self.part_xconnects(index);
        {
            let interfaces = self.interfaces.borrow();
            interfaces.row(index).flags.store(0, Ordering::Relaxed);
            self.features.borrow().clear(interfaces.rows(), index);
            self.holds.borrow_mut().forget_interface(index);
        }
        self.drop_queues(index);
        let interface = self.interfaces.borrow_mut().remove(index);
        drop(interface);
    }

    /// Index of the interface with this name.
    ///
    /// # Errors
    /// There is none.
    pub fn find_interface(&self, name: &str) -> Result<u32, Failure> {
        Ok(self.interfaces.borrow().find(name)?)
    }

    /// Calls `call` with an interface's device, which nobody else has meanwhile.
    pub(super) fn with_device<R>(
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
        let quarantined = self
            .images
            .borrow()
            .iter()
            .any(|image| image.owner == owner && matches!(image.state, ImageState::Quarantined(_)));
        let result = if quarantined {
            Err(failure!("the plugin `{}` of its driver is quarantined", self.owner_name(owner)))
        } else {
            self.enter(owner, "driver", || call(&device))
        };
        let panic = device.take_panic();
        match self.interfaces.borrow_mut().get_mut(index) {
            Some(interface) => interface.device = Some(device),
            None => drop(device),
        }
        if let Some(panic) = panic {
            self.quarantine(owner, &panic);
        }
        result
    }

    /// Asks the device what it is now, and passes on what has changed.
    pub fn refresh_interface(&self, index: u32) {
        let now = match self.with_device(index, Device::properties) {
            Ok(now) => now,
            Err(failure) => {
                // Once, not each second.
                let fault = failure.to_string();
                let mut interfaces = self.interfaces.borrow_mut();
                if let Some(interface) = interfaces.get_mut(index)
                    && interface.properties.fault.as_ref() != Some(&fault)
                {
                    tracing::warn!(interface = interface.name, "{fault}");
                    interface.properties.fault = Some(fault);
                }
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
            let told = |properties: &Properties| {
                (properties.mac, properties.mtu, properties.tx_checksum, properties.tx_gso)
            };
            if told(&old) != told(&now) {
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

    pub(in crate::host) fn look_after_interfaces(&self) {
        let all: Vec<u32> = self.interfaces.borrow().iter().map(|(index, _)| index).collect();
        for index in all {
            self.refresh_interface(index);
        }
    }

    pub(super) fn emit_change(&self, index: u32, change: InterfaceChange) {
        // At the end of all, nobody needs to find another way for what went through the interface.
        if self.any.stop.load(Ordering::Acquire) {
            return;
        }
        let Some(interface) = self.interfaces.borrow().info(index) else { return };
        self.emit("interface", &InterfaceEvent { change, interface });
    }
}

/// Whether an interface with these flags passes packets.
pub(super) fn is_passing(flags: u32) -> bool {
    flags & InterfaceFlags::UP == InterfaceFlags::UP
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
