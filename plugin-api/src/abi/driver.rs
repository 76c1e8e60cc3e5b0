//! Drivers, their devices and queues, as tables of functions.

use std::ffi::c_void;

use super::{Frame, Sink, Status, Text, WorkerContext};

/// A receive queue's functions. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RxTable {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// Fills `frame` from `frame.count` on, at most to `limit`; adds the bytes received to `bytes` and the packets
    /// lost for want of buffers to `lost`. Returns [`Status::OK`], or `PANICKED`.
    pub receive: unsafe extern "C" fn(
        queue: *mut c_void,
        worker: *mut WorkerContext,
        frame: *mut Frame,
        limit: u32,
        bytes: *mut u64,
        lost: *mut u64,
    ) -> Status,
    /// A descriptor that is readable when there is something to receive; -1: none, poll when `wants_polling`.
    pub fd: unsafe extern "C" fn(queue: *mut c_void) -> i32,
    /// Whether the queue must be polled now although its descriptor is silent (a generator that runs).
    pub wants_polling: unsafe extern "C" fn(queue: *mut c_void) -> bool,
    /// Drops the queue.
    pub drop: unsafe extern "C" fn(queue: *mut c_void),
}

/// Bits of [`TxTable::flags`]. Since ABI 1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxFlags;

impl TxFlags {
    /// The queue may keep packets until its device has sent them.
    pub const KEEPS: u32 = 1 << 0;
}

/// A transmit queue's functions. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TxTable {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// See [`TxFlags`]. Since ABI 1.3, before that always 0.
    pub flags: u32,
    /// Sends `count` packets in order; returns how many the device took. The buffers stay the caller's, who frees them: but for
    /// those in whose places a queue with [`TxFlags::KEEPS`] has written `NO_BUFFER`, which it keeps and frees itself.
    pub transmit: unsafe extern "C" fn(
        queue: *mut c_void,
        worker: *mut WorkerContext,
        indices: *const u32,
        count: u32,
    ) -> u32,
    /// Drops the queue.
    pub drop: unsafe extern "C" fn(queue: *mut c_void),
}

/// A device's functions, called on the main thread. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DeviceTable {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// What the device is now, as JSON of `driver::Properties`.
    pub properties: unsafe extern "C" fn(device: *mut c_void, json: Sink) -> Status,
    /// Details for `show interface … verbose`, as JSON.
    pub details: unsafe extern "C" fn(device: *mut c_void, json: Sink) -> Status,
    /// Takes receive queue `index`; null when there is no such queue.
    pub rx_queue: unsafe extern "C" fn(device: *mut c_void, index: u32) -> *mut c_void,
    /// Makes the transmit queue of a thread; null with the reason in the sink when it cannot.
    pub tx_queue: unsafe extern "C" fn(device: *mut c_void, thread: u32, error: Sink) -> *mut c_void,
    /// Changes the device: JSON of `driver::Change`.
    pub change: unsafe extern "C" fn(device: *mut c_void, change: Text, error: Sink) -> Status,
    /// Drops the device; its queues are gone by then.
    pub drop: unsafe extern "C" fn(device: *mut c_void),
    /// Functions of its receive queues.
    pub rx: RxTable,
    /// Functions of its transmit queues.
    pub tx: TxTable,
}

/// A kind of device. Since ABI 1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DriverRegistration {
    /// Bytes of this struct at its maker.
    pub size: u32,
    /// Zero.
    pub reserved: u32,
    /// Name of the driver in the configuration: `tap`; its nodes are `tap-input` and `tap-tx`.
    pub name: Text,
    /// One line for `help`.
    pub summary: Text,
    /// Opens a device: `request` is JSON of `driver::Request`, `options` the driver's keys as JSON. Returns the device
    /// or null with the reason in `error`.
    pub open:
        unsafe extern "C" fn(instance: *mut c_void, request: Text, options: Text, error: Sink) -> *mut c_void,
    /// Checks the driver's keys of an interface in the whole text of a configuration file, without opening anything;
    /// writes JSON of `config::SectionError` where they are wrong.
    pub check: unsafe extern "C" fn(text: Text, interface: Text, error: Sink) -> Status,
    /// JSON Schema of the options.
    pub schema: unsafe extern "C" fn(schema: Sink),
    /// Functions of its devices.
    pub device: DeviceTable,
}
