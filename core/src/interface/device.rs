//! Drivers and devices behind their tables of functions.

use std::cell::RefCell;
use std::ffi::c_void;

use raddle_plugin_api::abi::{DeviceTable, DriverRegistration, Status, Text, sink_into};
use raddle_plugin_api::config::{Problem, SectionError};
use raddle_plugin_api::driver::{Change, Properties, Request};
use raddle_plugin_api::{Failure, failure};

use crate::graph::Owner;
use crate::runtime::{RxQueue, TxQueue};

/// A driver that can be asked for devices.
#[derive(Clone)]
pub struct DriverEntry {
    /// Its name.
    pub name: String,
    /// What it drives.
    pub summary: String,
    /// Who registered it.
    pub owner: Owner,
    /// The plugin's instance.
    pub instance: *mut c_void,
    /// Its functions.
    pub registration: DriverRegistration,
    /// Its input node.
    pub input_node: u16,
    /// Its transmit node.
    pub tx_node: u16,
    /// Whether its devices have queues; without, `tx_node` is a node of its owner's.
    pub has_queues: bool,
}

impl DriverEntry {
    /// Opens a device.
    ///
    /// # Errors
    /// The driver's own sentence.
    pub fn open(&self, request: &Request, options: &serde_json::Value) -> Result<Device, Failure> {
        let (request, options) = (serde_json::to_string(request)?, options.to_string());
        // SAFETY: the instance is the driver's own and alive; texts and sink live until the call returns; this is the
        // main thread between two passes.
        let (device, error) = sink_into(|sink| unsafe {
            (self.registration.open)(self.instance, Text::new(&request), Text::new(&options), sink)
        });
        if device.is_null() {
            return Err(Failure::new(error));
        }
        Ok(Device { device, table: self.registration.device, panic: RefCell::default() })
    }

    /// The JSON Schema of its options.
    pub fn schema(&self) -> serde_json::Value {
        // SAFETY: the sink lives until the call returns.
        let ((), text) = sink_into(|sink| unsafe { (self.registration.schema)(sink) });
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Checks the driver's keys of an interface in the whole text of a configuration file.
    ///
    /// # Errors
    /// All that is wrong with them, each with its position.
    pub fn check(&self, text: &str, interface: &str) -> Result<(), SectionError> {
        // SAFETY: texts and sink live until the call returns.
        let (status, error) = sink_into(|sink| unsafe {
            (self.registration.check)(Text::new(text), Text::new(interface), sink)
        });
        if status == Status::OK {
            return Ok(());
        }
        Err(serde_json::from_str(&error).unwrap_or_else(|_| Problem::at(text, 0..0, error).into()))
    }
}

/// A device, owned. Its queues must be gone before it is.
pub struct Device {
    device: *mut c_void,
    table: DeviceTable,
    /// Where it panicked, and what it said.
    panic: RefCell<Option<String>>,
}

impl Device {
    /// What it is at present.
    ///
    /// # Errors
    /// The driver failed.
    pub fn properties(&self) -> Result<Properties, Failure> {
        // SAFETY: the device is alive; main thread; the sink lives until the call returns.
        let (status, json) = sink_into(|sink| unsafe { (self.table.properties)(self.device, sink) });
        self.note(status, "properties", &json);
        if status != Status::OK {
            return Err(Failure::new(json));
        }
        serde_json::from_str(&json)
            .map_err(|error| failure!("the driver's properties are not as they should be: {error}"))
    }

    /// Details for people.
    pub fn details(&self) -> serde_json::Value {
        // SAFETY: as in `properties`.
        let (_, json) = sink_into(|sink| unsafe { (self.table.details)(self.device, sink) });
        serde_json::from_str(&json).unwrap_or(serde_json::Value::Null)
    }

    /// Takes a receive queue.
    pub fn rx_queue(&self, index: u32) -> Option<RxQueue> {
        // SAFETY: as in `properties`; the queue is ours then.
        let queue = unsafe { (self.table.rx_queue)(self.device, index) };
        // SAFETY: as above.
        (!queue.is_null()).then(|| unsafe { RxQueue::new(queue, self.table.rx) })
    }

    /// Makes a thread's transmit queue.
    ///
    /// # Errors
    /// The driver's own sentence.
    pub fn tx_queue(&self, thread: u32) -> Result<TxQueue, Failure> {
        // SAFETY: as in `properties`.
        let (queue, error) = sink_into(|sink| unsafe { (self.table.tx_queue)(self.device, thread, sink) });
        if queue.is_null() {
            return Err(Failure::new(error));
        }
        // SAFETY: the queue is ours.
        Ok(unsafe { TxQueue::new(queue, self.table.tx) })
    }

    /// Changes the device.
    ///
    /// # Errors
    /// The driver's own sentence.
    pub fn change(&self, change: Change) -> Result<(), Failure> {
        let change = serde_json::to_string(&change)?;
        // SAFETY: as in `properties`.
        let (status, error) =
            sink_into(|sink| unsafe { (self.table.change)(self.device, Text::new(&change), sink) });
        self.note(status, "change", &error);
        if status == Status::OK { Ok(()) } else { Err(Failure::new(error)) }
    }

    fn note(&self, status: Status, function: &str, message: &str) {
        if status == Status::PANICKED {
            *self.panic.borrow_mut() = Some(format!("its driver's `{function}` panicked: {message}"));
        }
    }

    /// What it panicked by since it was last asked.
    pub fn take_panic(&self) -> Option<String> {
        self.panic.take()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: owned, dropped once, after its queues.
        unsafe { (self.table.drop)(self.device) };
    }
}
