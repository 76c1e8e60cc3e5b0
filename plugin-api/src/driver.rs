//! Drivers: a plugin that brings interfaces.

use std::ffi::c_void;
use std::io::IoSliceMut;
use std::os::fd::BorrowedFd;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::abi::{
    BUFFER_DATA_BYTES, BUFFER_HEADROOM_BYTES, DeviceTable, DriverRegistration, FRAME_SIZE, Frame, NO_BUFFER,
    RxTable, Sink, Status, Text, TxFlags, TxTable, WorkerContext,
};
use crate::chain::append_bytes;
use crate::guard::{boxed, guard, status};
use crate::instance::Instance;
use crate::wire::MacAddress;
use crate::{Control, Failure, HeldPacket, Packet, Worker};

/// A queue that has brought this many bytes in one call has no more room in it.
pub const RECEIVE_BYTES: u64 = 512 * 1024;

/// A kind of device. Register it with [`driver!`](crate::driver!).
pub trait Driver: 'static {
    /// Name in the configuration, `driver = "tap"`; its nodes are then `tap-input` and `tap-tx`.
    const NAME: &'static str;
    /// What it drives, in a line.
    const SUMMARY: &'static str;
    /// Its keys in an interface's table, `deny_unknown_fields`.
    type Options: DeserializeOwned + JsonSchema;
    /// Its devices.
    type Device: Device;

    /// Opens a device.
    ///
    /// # Errors
    /// It cannot be opened; the interface is then not made.
    fn open(
        control: &mut Control<'_>,
        request: &Request,
        options: Self::Options,
    ) -> Result<Self::Device, Failure>;
}

/// What is asked of a new device, whatever its kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The interface's name.
    pub name: String,
    /// The MAC address that it should have, if the operator said one.
    pub mac: Option<MacAddress>,
    /// The MTU that it should have, in bytes, if the operator said one.
    pub mtu: Option<u32>,
    /// Threads of the graph, each of which gets a transmit queue.
    pub threads: u32,
}

/// What a device is at present. The host asks about once a second, and after each change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// MAC address; `None` for a device without an Ethernet header.
    pub mac: Option<MacAddress>,
    /// Largest L3 packet at present, in bytes.
    pub mtu: u32,
    /// Largest L3 packet that can be set, in bytes.
    pub max_mtu: u32,
    /// Whether the link is up. A device that is gone says `false` and tries to come back on each question.
    pub link_up: bool,
    /// Receive queues.
    pub rx_queues: u32,
    /// Whether it fills in partial checksums.
    pub tx_checksum: bool,
    /// Whether it takes GSO packets whole.
    pub tx_gso: bool,
    /// Counts how often the device was opened: when it changes, the host takes new queues.
    pub generation: u32,
    /// What is wrong with it, for `show interface`.
    pub fault: Option<String>,
}

/// A change that the operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Set up or down.
    Up(bool),
    /// Another MTU, in bytes, at most `max_mtu`.
    Mtu(u32),
    /// Another MAC address.
    Mac(MacAddress),
    /// Take frames for every MAC address, or not.
    Promiscuous(bool),
    /// Take frames for one address more, a station's or a group's, or not any more. A device that takes them anyway has nothing to
    /// do; one that refuses a station's address is asked for the frames of all. Since ABI 1.1.
    Address {
        /// The address.
        mac: MacAddress,
        /// Whether frames for it are wanted.
        on: bool,
    },
}

/// A device: made by its driver, used on the main thread.
pub trait Device: 'static {
    /// Its receive queues.
    type Rx: RxQueue;
    /// Its transmit queues.
    type Tx: TxQueue;

    /// What it is at present.
    fn properties(&mut self) -> Properties;

    /// Details for `show interface … verbose`.
    fn details(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Takes receive queue `index`, of those that [`Properties`] counts. Each is taken once a generation.
    fn rx_queue(&mut self, index: u32) -> Option<Self::Rx>;

    /// Makes the transmit queue of a thread.
    ///
    /// # Errors
    /// It cannot be made; the thread then sends nothing to this interface.
    fn tx_queue(&mut self, thread: u32) -> Result<Self::Tx, Failure>;

    /// Changes the device.
    ///
    /// # Errors
    /// It cannot be changed so, and is as it was.
    fn change(&mut self, change: Change) -> Result<(), Failure>;
}

/// A receive queue: used by one thread at a time.
pub trait RxQueue: Send + 'static {
    /// Puts what has come in into `rx`, as long as there is room.
    fn receive(&mut self, rx: &mut Receive<'_>);

    /// A descriptor that is readable when there is something to receive.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// Whether the queue must be polled now although its descriptor is silent.
    fn wants_polling(&self) -> bool {
        false
    }
}

/// A transmit queue: used by one thread.
pub trait TxQueue: Send + 'static {
    /// Whether it keeps packets by [`Transmit::keep`], which other queues copy by it. Since ABI 1.3.
    const KEEPS: bool = false;

    /// Sends the packets in order and returns how many of them the device took: the rest counts as lost. The buffers
    /// stay the caller's, but for those of packets that the queue keeps.
    fn transmit(&mut self, tx: &mut Transmit<'_>) -> usize;
}

/// The queues of a device that has none: its packets come from a node and go to one. There is no value of it.
///
/// A driver whose plugin registers a node `NAME-tx` of its own sends by that node instead of transmit queues; its
/// [`Properties::rx_queues`] is 0. Such a node counts by [`crate::Tally`]. Since ABI 1.1.
#[derive(Clone, Copy, Debug)]
pub enum NoQueue {}

impl RxQueue for NoQueue {
    fn receive(&mut self, _: &mut Receive<'_>) {
        match *self {}
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match *self {}
    }
}

impl TxQueue for NoQueue {
    fn transmit(&mut self, _: &mut Transmit<'_>) -> usize {
        match *self {}
    }
}

/// Where a receive queue puts packets.
pub struct Receive<'a> {
    worker: Worker<'a>,
    frame: &'a mut Frame,
    limit: usize,
    spare: [u32; FRAME_SIZE],
    spare_count: usize,
    bytes: u64,
    lost: u64,
}

impl<'a> Receive<'a> {
    /// # Safety
    /// `worker` is the calling thread's context; `frame` is this call's.
    pub(crate) unsafe fn new(worker: *mut WorkerContext, frame: &'a mut Frame, limit: u32) -> Self {
        // SAFETY: as the caller vouches; a receive call lies between two quiescent points.
        let worker = unsafe { Worker::from_context(worker) };
        let limit = (limit as usize).min(FRAME_SIZE);
        Self { worker, frame, limit, spare: [0; FRAME_SIZE], spare_count: 0, bytes: 0, lost: 0 }
    }

    /// Bytes received and packets lost so far.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.bytes, self.lost)
    }

    /// The thread.
    pub fn worker(&self) -> &Worker<'a> {
        &self.worker
    }

    /// Packets that may still be put in: none once those that are in it have [`RECEIVE_BYTES`] bytes together, so that
    /// they are still in the processor's cache when they are sent.
    #[inline]
    pub fn room(&self) -> usize {
        if self.bytes >= RECEIVE_BYTES {
            return 0;
        }
        self.limit.saturating_sub(self.frame.count as usize)
    }

    /// Counts packets that the device lost before they reached a queue's room.
    pub fn count_lost(&mut self, packets: u64) {
        self.lost += packets;
    }

    /// Puts in a packet with these bytes, of as many buffers as it takes, and shows it to `finish` (for offloads).
    /// `false` if there is no room or no buffer; the latter is counted.
    #[inline]
    pub fn push(&mut self, bytes: &[u8], finish: impl FnOnce(&mut Packet<'_>)) -> bool {
        if self.room() == 0 {
            return false;
        }
        let Some(mut held) = self.take_spare() else {
            self.lost += 1;
            return false;
        };
        let mut packet = self.worker.open(&mut held);
        let fits = if bytes.len() <= BUFFER_DATA_BYTES {
            packet.append(bytes)
        } else {
            append_bytes(&self.worker, &mut packet, bytes)
        };
        if !fits {
            self.lost += 1;
            return false;
        }
        finish(&mut packet);
        let length = packet.len() as u64;
        self.put(held, length);
        true
    }

    /// Puts in a packet that is already in buffers. Without room it is dropped and counted as lost.
    pub fn push_held(&mut self, mut held: HeldPacket) {
        if self.room() == 0 {
            self.lost += 1;
            return;
        }
        let length = self.worker.open(&mut held).len() as u64;
        self.put(held, length);
    }

    #[inline(always)]
    fn put(&mut self, held: HeldPacket, length: u64) {
        self.bytes += length;
        self.frame.indices[self.frame.count as usize] = held.into_index();
        self.frame.count += 1;
    }

    #[inline(always)]
    fn take_spare(&mut self) -> Option<HeldPacket> {
        if self.spare_count == 0 {
            let wanted = self.room().min(64) as u32;
            // SAFETY: the context is this thread's; `spare` has room for what is asked for.
            self.spare_count = unsafe {
                ((*self.worker.host()).buffers_allocate)(
                    self.worker.context(),
                    self.spare.as_mut_ptr(),
                    wanted,
                )
            } as usize;
        }
        self.spare_count = self.spare_count.checked_sub(1)?;
        // SAFETY: the host gave these buffers to us; each is handed out once.
        Some(unsafe { HeldPacket::from_new(self.worker.context(), self.spare[self.spare_count]) })
    }

    /// Reads one packet of up to `most` bytes straight into buffers: `read` fills the pieces and returns how many bytes
    /// it read, or `None` when there is nothing. The first `front` bytes (a header of the device) lie in the headroom,
    /// so that what follows stands where packets begin; `advance` over them. Without buffers, `read` gets no pieces at
    /// all (so that it can throw the packet away), and the packet counts as lost.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read<E>(
        &mut self,
        spare: &mut SpareBuffers,
        front: usize,
        most: usize,
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<Option<usize>, E>,
    ) -> Result<Option<HeldPacket>, E> {
        let front = front.min(BUFFER_HEADROOM_BYTES);
        let count =
            most.saturating_sub(front).div_ceil(BUFFER_DATA_BYTES).clamp(1, crate::packet::MAX_SEGMENTS);
        self.worker.allocate_many(count.saturating_sub(spare.buffers.len()), &mut spare.buffers);
        if spare.buffers.len() < count {
            if read(&mut [])?.is_some() {
                self.lost += 1;
            }
            return Ok(None);
        }
        let chain = spare.buffers.len() - count;
        match crate::chain::read_into(&self.worker, &mut spare.buffers[chain..], front, read)? {
            Some(length) => Ok(crate::chain::join(&self.worker, &mut spare.buffers, count, front, length)),
            None => Ok(None),
        }
    }
}

impl Drop for Receive<'_> {
    fn drop(&mut self) {
        if self.spare_count > 0 {
            // SAFETY: these buffers are ours and were not handed out.
            unsafe {
                ((*self.worker.host()).buffers_free)(
                    self.worker.context(),
                    self.spare.as_ptr(),
                    self.spare_count as u32,
                );
            }
        }
    }
}

/// Buffers that a queue keeps ready to read into.
#[derive(Default)]
pub struct SpareBuffers {
    buffers: Vec<HeldPacket>,
}

/// What a transmit queue is to send.
pub struct Transmit<'a> {
    worker: Worker<'a>,
    indices: Indices<'a>,
}

/// Packets that are the caller's, or from which some may be taken.
enum Indices<'a> {
    Lent(&'a [u32]),
    Given(&'a mut [u32]),
}

impl Indices<'_> {
    #[inline(always)]
    fn all(&self) -> &[u32] {
        match self {
            Self::Lent(indices) => indices,
            Self::Given(indices) => indices,
        }
    }
}

impl<'a> Transmit<'a> {
    /// # Safety
    /// `worker` is the calling thread's context; the packets with these indices are this call's.
    pub(crate) unsafe fn new(worker: *mut WorkerContext, indices: &'a [u32]) -> Self {
        // SAFETY: as the caller vouches; a transmit call lies between two quiescent points.
        Self { worker: unsafe { Worker::from_context(worker) }, indices: Indices::Lent(indices) }
    }

    /// As [`Transmit::new`], where the queue may keep packets: `NO_BUFFER` then stands in their places.
    ///
    /// # Safety
    /// As [`Transmit::new`].
    pub(crate) unsafe fn giving(worker: *mut WorkerContext, indices: &'a mut [u32]) -> Self {
        // SAFETY: as above.
        Self { worker: unsafe { Worker::from_context(worker) }, indices: Indices::Given(indices) }
    }

    /// The thread.
    pub fn worker(&self) -> &Worker<'a> {
        &self.worker
    }

    /// Number of packets.
    #[inline]
    pub fn len(&self) -> usize {
        self.indices.all().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index of packet number `position`, which was not kept.
    #[inline(always)]
    fn index(&self, position: usize) -> u32 {
        let index = self.indices.all()[position];
        assert!(index != NO_BUFFER, "a packet that was kept is not looked at again");
        index
    }

    /// Packet number `position`.
    ///
    /// # Panics
    /// There are not that many, or it was kept.
    #[inline]
    pub fn packet(&mut self, position: usize) -> Packet<'_> {
        // SAFETY: the packets are this call's, and `self` is borrowed for as long as the view lives.
        unsafe { Packet::lent(self.worker.context(), self.index(position)) }
    }

    /// Takes packet number `position`, to keep it until the device has sent it: for queues that say [`TxQueue::KEEPS`]. Where
    /// it cannot be taken it is a copy; `None` without buffers for that. Since ABI 1.3.
    ///
    /// # Panics
    /// There are not that many, or it was kept.
    #[inline]
    pub fn keep(&mut self, position: usize) -> Option<HeldPacket> {
        let index = self.index(position);
        match &mut self.indices {
            Indices::Lent(_) => self.copy(position),
            Indices::Given(indices) => {
                indices[position] = NO_BUFFER;
                // SAFETY: the packet was this call's; its owner sees by the mark that it is given up.
                Some(unsafe { HeldPacket::from_index(index, self.worker.host()) })
            }
        }
    }

    /// A copy of packet number `position` as a whole, to be kept; `None` without buffers.
    ///
    /// # Panics
    /// There are not that many, or it was kept.
    pub fn copy(&mut self, position: usize) -> Option<HeldPacket> {
        let worker = self.worker.context();
        // SAFETY: the packets are this call's, and `self` is borrowed for as long as the view lives.
        let packet = unsafe { Packet::lent(worker, self.index(position)) };
        self.worker.copy(&packet, usize::MAX)
    }
}

/// The registration of driver `D`.
#[doc(hidden)]
pub const fn driver_registration<D: Driver>() -> DriverRegistration {
    DriverRegistration {
        size: size_of::<DriverRegistration>() as u32,
        reserved: 0,
        name: Text::new(D::NAME),
        summary: Text::new(D::SUMMARY),
        open: open::<D>,
        check: check::<D>,
        schema: crate::registration::write_schema::<D::Options>,
        device: DeviceTable {
            size: size_of::<DeviceTable>() as u32,
            reserved: 0,
            properties: properties::<D::Device>,
            details: details::<D::Device>,
            rx_queue: rx_queue::<D::Device>,
            tx_queue: tx_queue::<D::Device>,
            change: change::<D::Device>,
            drop: drop_box::<D::Device>,
            rx: RxTable {
                size: size_of::<RxTable>() as u32,
                reserved: 0,
                receive: receive::<<D::Device as Device>::Rx>,
                fd: fd::<<D::Device as Device>::Rx>,
                wants_polling: wants_polling::<<D::Device as Device>::Rx>,
                drop: drop_box::<<D::Device as Device>::Rx>,
            },
            tx: TxTable {
                size: size_of::<TxTable>() as u32,
                flags: if <<D::Device as Device>::Tx as TxQueue>::KEEPS { TxFlags::KEEPS } else { 0 },
                transmit: transmit::<<D::Device as Device>::Tx>,
                drop: drop_box::<<D::Device as Device>::Tx>,
            },
        },
    }
}

unsafe extern "C" fn open<D: Driver>(
    instance: *mut c_void,
    request: Text,
    options: Text,
    error: Sink,
) -> *mut c_void {
    // SAFETY: the host hands over the plugin's instance on its main thread; texts and sink live until the call returns.
    let (request, options, mut control) =
        unsafe { (request.as_str(), options.as_str(), Control::new(Instance::from_ptr(instance))) };
    let opened = guard(|| {
        let request: Request = serde_json::from_str(request.unwrap_or(""))?;
        let options: D::Options = serde_json::from_str(options.unwrap_or("{}"))?;
        D::open(&mut control, &request, options)
    });
    let reason = match opened {
        Ok(Ok(device)) => return Box::into_raw(Box::new(device)).cast(),
        Ok(Err(failure)) => failure.to_string(),
        Err(panic) => {
            crate::state::report_panic(&mut control, "its driver's `open`", &panic);
            format!("the driver panicked: {panic}")
        }
    };
    // SAFETY: the sink lives until the call returns.
    unsafe { error.write(&reason) };
    std::ptr::null_mut()
}

unsafe extern "C" fn check<D: Driver>(text: Text, interface: Text, error: Sink) -> Status {
    // SAFETY: texts and sink live until the call returns.
    unsafe {
        crate::registration::checked(error, || {
            let (text, interface) = (text.as_str().unwrap_or(""), interface.as_str().unwrap_or(""));
            crate::config::parse_interface_options::<D::Options>(text, interface).map(drop)
        })
    }
}

unsafe extern "C" fn properties<D: Device>(device: *mut c_void, json: Sink) -> Status {
    // SAFETY: `device` was boxed by `open`; the host calls on its main thread only.
    let device = unsafe { &mut *device.cast::<D>() };
    // SAFETY: the sink lives until the call returns.
    unsafe {
        status(json, || {
            let text = serde_json::to_string(&device.properties())?;
            json.write(&text);
            Ok(())
        })
    }
}

unsafe extern "C" fn details<D: Device>(device: *mut c_void, json: Sink) -> Status {
    // SAFETY: as in `properties`.
    let device = unsafe { &*device.cast::<D>() };
    // SAFETY: the sink lives until the call returns.
    unsafe {
        status(json, || {
            json.write(&device.details().to_string());
            Ok(())
        })
    }
}

unsafe extern "C" fn rx_queue<D: Device>(device: *mut c_void, index: u32) -> *mut c_void {
    // SAFETY: as in `properties`.
    let device = unsafe { &mut *device.cast::<D>() };
    match guard(|| device.rx_queue(index)) {
        Ok(Some(queue)) => Box::into_raw(Box::new(queue)).cast(),
        Ok(None) | Err(_) => std::ptr::null_mut(),
    }
}

unsafe extern "C" fn tx_queue<D: Device>(device: *mut c_void, thread: u32, error: Sink) -> *mut c_void {
    // SAFETY: as in `properties`; the sink lives until the call returns.
    unsafe {
        let device = &mut *device.cast::<D>();
        boxed(error, || device.tx_queue(thread))
    }
}

unsafe extern "C" fn change<D: Device>(device: *mut c_void, change: Text, error: Sink) -> Status {
    // SAFETY: as in `properties`; text and sink live until the call returns.
    unsafe {
        let device = &mut *device.cast::<D>();
        status(error, || device.change(serde_json::from_str(change.as_str().unwrap_or(""))?))
    }
}

unsafe extern "C" fn drop_box<T>(value: *mut c_void) {
    // SAFETY: boxed by `open`, `rx_queue` or `tx_queue`; the host drops it once.
    let drop_it = || drop(unsafe { Box::from_raw(value.cast::<T>()) });
    let _ = guard(drop_it);
}

unsafe extern "C" fn receive<Q: RxQueue>(
    queue: *mut c_void,
    worker: *mut WorkerContext,
    frame: *mut Frame,
    limit: u32,
    bytes: *mut u64,
    lost: *mut u64,
) -> Status {
    let outcome = guard(|| {
        // SAFETY: `queue` was boxed by `rx_queue` and is used by this thread only; worker, frame and sums are the
        // host's, for this call.
        unsafe {
            let mut rx = Receive::new(worker, &mut *frame, limit);
            (*queue.cast::<Q>()).receive(&mut rx);
            let totals = rx.totals();
            *bytes += totals.0;
            *lost += totals.1;
        }
    });
    outcome.map_or(Status::PANICKED, |()| Status::OK)
}

unsafe extern "C" fn fd<Q: RxQueue>(queue: *mut c_void) -> i32 {
    use std::os::fd::AsRawFd as _;
    // SAFETY: as in `receive`.
    let queue = unsafe { &*queue.cast::<Q>() };
    guard(|| queue.fd().map_or(-1, |fd| fd.as_raw_fd())).unwrap_or(-1)
}

unsafe extern "C" fn wants_polling<Q: RxQueue>(queue: *mut c_void) -> bool {
    // SAFETY: as in `receive`.
    let queue = unsafe { &*queue.cast::<Q>() };
    guard(|| queue.wants_polling()).unwrap_or(false)
}

unsafe extern "C" fn transmit<Q: TxQueue>(
    queue: *mut c_void,
    worker: *mut WorkerContext,
    indices: *const u32,
    count: u32,
) -> u32 {
    let outcome = guard(|| {
        // SAFETY: as in `receive`; `count` indices are readable, and writable where the table says that the queue may keep
        // packets; the packets are this call's.
        unsafe {
            let mut tx = if Q::KEEPS && crate::lent::lends_buffers((*worker).host) {
                let indices = std::slice::from_raw_parts_mut(indices.cast_mut(), count as usize);
                Transmit::giving(worker, indices)
            } else {
                Transmit::new(worker, std::slice::from_raw_parts(indices, count as usize))
            };
            (*queue.cast::<Q>()).transmit(&mut tx)
        }
    });
    outcome.map_or(0, |sent| sent.min(count as usize) as u32)
}

/// Registers a type that implements [`Driver`](crate::driver::Driver).
#[macro_export]
macro_rules! driver {
    ($driver:ty) => {
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::registration::DRIVERS)]
            #[linkme(crate = $crate::linkme)]
            static DRIVER: $crate::abi::DriverRegistration = $crate::driver::driver_registration::<$driver>();
        };
    };
}
