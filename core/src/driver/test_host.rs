//! A host for tests of drivers: a pool of buffers, one thread's context, and the queues' functions as the graph calls
//! them.

use std::collections::HashSet;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::sync::Mutex;

use raddle_plugin_api::abi::{
    BufferArena, BufferHeader, Counted, CounterMemory, FileRequest, Frame, HostTable, LogLevel, NodeContext,
    RxTable, Sink, Status, TaskTable, Text, TxTable, WorkerContext,
};
use raddle_plugin_api::driver::{Device, Driver, Request};
use raddle_plugin_api::instance::Instance;
use raddle_plugin_api::wire::Offload;
use raddle_plugin_api::{Control, Failure, Packet};

const STRIDE: usize = 2368;
const BUFFERS: u32 = 2048;

/// Says that a test needs root: it fails in CI and is left out elsewhere.
pub fn needs_root(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "this test needs root for {what}");
    eprintln!("left out: this test needs root for {what}");
}

/// Whether the tests may change the host's network.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

struct Pool {
    base: *mut u8,
    free: Mutex<(Vec<u32>, HashSet<u32>)>,
}

impl Pool {
    fn header(&self, index: u32) -> *mut BufferHeader {
        assert!(index < BUFFERS, "buffer {index}");
        // SAFETY: the arena has `BUFFERS` buffers of `STRIDE` bytes.
        unsafe { self.base.add(index as usize * STRIDE).cast() }
    }

    fn allocate(&self) -> Option<u32> {
        let mut free = self.free.lock().unwrap();
        let index = free.0.pop()?;
        free.1.remove(&index);
        Some(index)
    }

    fn free(&self, first: u32) {
        let mut next = Some(first);
        while let Some(index) = next {
            // SAFETY: whoever frees a packet owns its buffers.
            let header = unsafe { &mut *self.header(index) };
            next = (header.flags & 1 != 0).then_some(header.next_buffer);
            // What is in the pool is plain.
            header.flags = 0;
            let mut free = self.free.lock().unwrap();
            assert!(free.1.insert(index), "buffer {index} was given back twice");
            free.0.push(index);
        }
    }
}

/// The host.
pub struct TestHost {
    arena: *mut [u128],
    pool: *mut Pool,
    table: *mut HostTable,
    worker: *mut WorkerContext,
    scratch: *mut BufferHeader,
}

// SAFETY: the pool is behind a lock, the rest does not change; a test uses the worker's context from one thread.
unsafe impl Send for TestHost {}

/// A packet that came in, copied out of its buffers.
pub struct ReceivedPacket {
    pub bytes: Vec<u8>,
    pub offload: Offload,
    pub buffers: usize,
}

/// What a call of `receive` gave.
pub struct Received {
    pub packets: Vec<ReceivedPacket>,
    pub bytes: u64,
    pub lost: u64,
}

impl TestHost {
    pub fn new() -> Self {
        let arena = Box::into_raw(vec![0_u128; STRIDE * BUFFERS as usize / 16 + 8].into_boxed_slice());
        let start = arena.cast::<u8>();
        // SAFETY: the arena has room for the alignment.
        let base = unsafe { start.add(start.align_offset(64)) };
        let free = Mutex::new(((0..BUFFERS).rev().collect(), (0..BUFFERS).collect()));
        let pool = Box::into_raw(Box::new(Pool { base, free }));
        let table = Box::into_raw(Box::new(table(pool.cast())));
        let scratch = Box::into_raw(Box::new(BufferHeader::empty()));
        let worker = Box::into_raw(Box::new(WorkerContext {
            size: size_of::<WorkerContext>() as u32,
            thread_index: 0,
            host: table,
            buffers: base,
            buffer_stride: STRIDE as u32,
            buffer_count: BUFFERS,
            now_ns: 0,
            interfaces: std::ptr::null(),
            arcs: std::ptr::null(),
            scratch: scratch.cast(),
            host_state: pool.cast(),
        }));
        Self { arena, pool, table, worker, scratch }
    }

    /// Opens a device of driver `D`.
    pub fn open<D: Driver>(&self, name: &str, options: D::Options) -> Result<D::Device, Failure> {
        self.open_as::<D>(&Request { name: name.to_owned(), mac: None, mtu: None, threads: 1 }, options)
    }

    /// Opens a device of driver `D`.
    pub fn open_as<D: Driver>(&self, request: &Request, options: D::Options) -> Result<D::Device, Failure> {
        // SAFETY: the table lives as long as the host.
        let instance = unsafe { Instance::new(self.table) };
        // SAFETY: tests have one thread that is main and worker at once.
        D::open(&mut unsafe { Control::new(&instance) }, request, options)
    }

    /// Buffers that are free.
    pub fn free_buffers(&self) -> usize {
        // SAFETY: the pool lives as long as the host.
        unsafe { &*self.pool }.free.lock().unwrap().0.len()
    }

    /// Takes all buffers but `count` out of the pool until the result is dropped.
    pub fn exhaust(&self, count: usize) -> Exhausted<'_> {
        // SAFETY: as above.
        let mut free = unsafe { &*self.pool }.free.lock().unwrap();
        let keep = count.min(free.0.len());
        let taken = free.0.split_off(keep);
        for index in &taken {
            free.1.remove(index);
        }
        Exhausted { host: self, taken }
    }

    /// A receive queue of driver `D`, called as the graph does.
    pub fn rx_queue<D: Driver>(&self, queue: <D::Device as Device>::Rx) -> TestRx<'_> {
        let table = raddle_plugin_api::driver::driver_registration::<D>().device.rx;
        TestRx { host: self, table, queue: Box::into_raw(Box::new(queue)).cast(), life: PhantomData }
    }

    /// A transmit queue of driver `D`, called as the graph does.
    pub fn tx_queue<D: Driver>(&self, queue: <D::Device as Device>::Tx) -> TestTx<'_> {
        let table = raddle_plugin_api::driver::driver_registration::<D>().device.tx;
        TestTx { host: self, table, queue: Box::into_raw(Box::new(queue)).cast(), life: PhantomData }
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        // SAFETY: all were made by `new` and are dropped once; queues borrow the host.
        unsafe {
            drop(Box::from_raw(self.worker));
            drop(Box::from_raw(self.table));
            drop(Box::from_raw(self.pool));
            drop(Box::from_raw(self.scratch));
            drop(Box::from_raw(self.arena));
        }
    }
}

/// Buffers held back.
pub struct Exhausted<'h> {
    host: &'h TestHost,
    taken: Vec<u32>,
}

impl Drop for Exhausted<'_> {
    fn drop(&mut self) {
        // SAFETY: the pool lives as long as the host.
        let mut free = unsafe { &*self.host.pool }.free.lock().unwrap();
        free.1.extend(&self.taken);
        free.0.append(&mut self.taken);
    }
}

/// A receive queue.
pub struct TestRx<'h> {
    host: &'h TestHost,
    table: RxTable,
    queue: *mut c_void,
    life: PhantomData<&'h TestHost>,
}

impl TestRx<'_> {
    /// Receives up to `limit` packets.
    pub fn receive(&mut self, limit: u32) -> Received {
        let mut frame = Frame::empty();
        let (mut bytes, mut lost) = (0, 0);
        // SAFETY: the queue is this table's; worker and frame are this call's.
        let status = unsafe {
            (self.table.receive)(self.queue, self.host.worker, &mut frame, limit, &mut bytes, &mut lost)
        };
        assert_eq!(status, Status::OK, "receive panicked");
        assert!(frame.count <= limit);
        let packets = frame.packets().iter().map(|index| self.copy_out(*index)).collect();
        for index in frame.packets() {
            // SAFETY: the packets in the frame are ours, and the pool lives as long as the host.
            unsafe { &*self.host.pool }.free(*index);
        }
        Received { packets, bytes, lost }
    }

    /// Receives until `count` packets have come or two seconds are over.
    pub fn wait_for(&mut self, count: usize) -> Vec<ReceivedPacket> {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(2);
        let mut packets = Vec::new();
        while packets.len() < count && std::time::Instant::now() < end {
            packets.extend(self.receive(256).packets);
            std::thread::yield_now();
        }
        packets
    }

    /// Whether the queue's descriptor is readable within `milliseconds`.
    pub fn is_readable(&self, milliseconds: i64) -> bool {
        // SAFETY: the queue is this table's.
        let fd = unsafe { (self.table.fd)(self.queue) };
        // SAFETY: the descriptor is the queue's, which is alive.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        let timeout =
            rustix::time::Timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 };
        rustix::event::poll(&mut fds, Some(&timeout)).unwrap() > 0
    }

    fn copy_out(&self, index: u32) -> ReceivedPacket {
        with_packet(self.host.worker, index, |packet| {
            let mut bytes = vec![0; packet.len()];
            assert_eq!(packet.copy_out(0, &mut bytes), bytes.len());
            let offload = packet.offload();
            ReceivedPacket { offload, buffers: packet.segments().count(), bytes }
        })
    }
}

impl Drop for TestRx<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `rx_queue`, dropped once.
        unsafe { (self.table.drop)(self.queue) };
    }
}

/// A transmit queue.
pub struct TestTx<'h> {
    host: &'h TestHost,
    table: TxTable,
    queue: *mut c_void,
    life: PhantomData<&'h TestHost>,
}

impl TestTx<'_> {
    /// Sends packets with these bytes and offloads; returns how many were taken.
    pub fn transmit(&mut self, packets: &[(&[u8], Offload)]) -> usize {
        // SAFETY: the pool lives as long as the host.
        let pool = unsafe { &*self.host.pool };
        let mut indices = Vec::new();
        for (bytes, offload) in packets {
            let index = make_chain(pool, bytes);
            with_packet(self.host.worker, index, |packet| packet.set_offload(offload));
            indices.push(index);
        }
        // SAFETY: the queue is this table's; the packets are this call's.
        let sent = unsafe {
            (self.table.transmit)(self.queue, self.host.worker, indices.as_ptr(), indices.len() as u32)
        };
        for index in indices {
            pool.free(index);
        }
        sent as usize
    }
}

impl Drop for TestTx<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `tx_queue`, dropped once.
        unsafe { (self.table.drop)(self.queue) };
    }
}

/// Makes a packet of full buffers.
fn make_chain(pool: &Pool, bytes: &[u8]) -> u32 {
    let mut pieces: Vec<_> = bytes.chunks(2048).collect();
    if pieces.is_empty() {
        pieces.push(&[]);
    }
    let indices: Vec<_> =
        pieces.iter().map(|_| pool.allocate().expect("a buffer for a test packet")).collect();
    for (position, piece) in pieces.iter().enumerate() {
        let header = pool.header(indices[position]);
        let mut content = BufferHeader::empty();
        content.current_length = piece.len() as u16;
        if let Some(next) = indices.get(position + 1) {
            content.next_buffer = *next;
            content.flags = 1;
        }
        if position == 0 {
            content.rest_length = (bytes.len() - piece.len()) as u32;
        }
        // SAFETY: the buffer was just allocated.
        unsafe { header.write(content) };
        // SAFETY: a buffer has room for 2,048 bytes behind header and headroom.
        unsafe {
            std::ptr::copy_nonoverlapping(piece.as_ptr(), header.cast::<u8>().add(256), piece.len());
        }
    }
    indices[0]
}

/// Shows a packet to `look` by way of the only public view of one packet: that of a transmit queue.
fn with_packet<R>(worker: *mut WorkerContext, index: u32, look: impl FnOnce(&mut Packet<'_>) -> R) -> R {
    use raddle_plugin_api::driver::{Properties, Receive, RxQueue, Transmit, TxQueue};

    type Look<'l> = &'l mut dyn FnMut(&mut Packet<'_>);
    struct Looker(Look<'static>);
    // SAFETY: used on the thread that made it, in the call below.
    unsafe impl Send for Looker {}
    impl TxQueue for Looker {
        fn transmit(&mut self, tx: &mut Transmit<'_>) -> usize {
            (self.0)(&mut tx.packet(0));
            1
        }
    }
    struct NoRx;
    impl RxQueue for NoRx {
        fn receive(&mut self, _: &mut Receive<'_>) {}
        fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
            None
        }
    }
    struct NoDevice;
    impl Device for NoDevice {
        type Rx = NoRx;
        type Tx = Looker;
        fn properties(&mut self) -> Properties {
            unreachable!("not a device")
        }
        fn rx_queue(&mut self, _: u32) -> Option<NoRx> {
            None
        }
        fn tx_queue(&mut self, _: u32) -> Result<Looker, Failure> {
            unreachable!("not a device")
        }
        fn change(&mut self, _: raddle_plugin_api::driver::Change) -> Result<(), Failure> {
            Ok(())
        }
    }
    struct NoDriver;
    impl Driver for NoDriver {
        const NAME: &'static str = "none";
        const SUMMARY: &'static str = "";
        type Options = ();
        type Device = NoDevice;
        fn open(_: &mut Control<'_>, _: &Request, (): ()) -> Result<NoDevice, Failure> {
            Ok(NoDevice)
        }
    }
    let mut look = Some(look);
    let mut result = None;
    let mut call = |packet: &mut Packet<'_>| result = look.take().map(|look| look(packet));
    let call: Look<'_> = &mut call;
    // SAFETY: the looker is used in the call below only, while `call` is alive.
    let mut looker = Looker(unsafe { std::mem::transmute::<Look<'_>, Look<'static>>(call) });
    let table = raddle_plugin_api::driver::driver_registration::<NoDriver>().device.tx;
    // SAFETY: the queue is of the table's type; worker and packet are the caller's.
    let sent = unsafe { (table.transmit)((&raw mut looker).cast(), worker, &index, 1) };
    assert_eq!(sent, 1, "looking at a packet panicked");
    result.expect("the packet was shown")
}

fn table(data: *mut c_void) -> HostTable {
    unsafe extern "C" fn enqueue(_: *mut NodeContext, _: *const u32, _: *const u16, _: u32) {}
    unsafe extern "C" fn enqueue_frame(_: *mut NodeContext, _: *mut Frame, _: u16) {}
    unsafe extern "C" fn allocate(worker: *mut WorkerContext, indices: *mut u32, count: u32) -> u32 {
        // SAFETY: the state of a test worker is its pool.
        let pool = unsafe { &*(*worker).host_state.cast::<Pool>() };
        for made in 0..count {
            let Some(index) = pool.allocate() else { return made };
            // SAFETY: there is room for `count` indices.
            unsafe { indices.add(made as usize).write(index) };
        }
        count
    }
    unsafe extern "C" fn free(worker: *mut WorkerContext, indices: *const u32, count: u32) {
        // SAFETY: as above.
        unsafe { free_remote((*worker).host_state, indices, count) };
    }
    unsafe extern "C" fn free_remote(data: *mut c_void, indices: *const u32, count: u32) {
        // SAFETY: the data of a test host is its pool; `count` indices are readable.
        let (pool, indices) =
            unsafe { (&*data.cast::<Pool>(), std::slice::from_raw_parts(indices, count as usize)) };
        for index in indices {
            pool.free(*index);
        }
    }
    unsafe extern "C" fn trace(_: *mut NodeContext, _: u32, _: u16, _: Text, _: Text) {}
    unsafe extern "C" fn log(_: *mut c_void, _: LogLevel, _: Text, message: Text) {
        // SAFETY: the text lives until the call returns.
        eprintln!("{}", unsafe { message.as_str() }.unwrap_or("?"));
    }
    unsafe extern "C" fn call(_: *mut c_void, _: Text, _: Text, _: Sink) -> Status {
        Status::FAILED
    }
    unsafe extern "C" fn reply(_: *mut c_void, _: u64, _: Status, _: Text, _: Text) {}
    unsafe extern "C" fn config_text(_: *mut c_void, _: Sink) {}
    unsafe extern "C" fn spawn(_: *mut c_void, _: Text, _: TaskTable) -> u64 {
        0
    }
    unsafe extern "C" fn wake(_: *mut c_void, _: u64) {}
    unsafe extern "C" fn wake_at(_: *mut c_void, _: u64, _: u64) {}
    unsafe extern "C" fn now_ns(_: *mut c_void) -> u64 {
        0
    }
    unsafe extern "C" fn run(_: *mut c_void, _: *mut c_void, _: unsafe extern "C" fn(*mut c_void)) {}
    unsafe extern "C" fn barrier_acquire(_: *mut c_void, _: Text) {}
    unsafe extern "C" fn barrier_release(_: *mut c_void) {}
    unsafe extern "C" fn counters(_: *mut c_void, _: Text, _: usize) -> CounterMemory {
        CounterMemory { base: std::ptr::null_mut(), stride: 0, length: 0, threads: 0 }
    }
    unsafe extern "C" fn field(_: *mut c_void, _: Text, _: u32, _: u32) -> u32 {
        u32::MAX
    }
    unsafe extern "C" fn handoff(_: *mut NodeContext, _: u32, _: u32, _: u16) -> u32 {
        0
    }
    unsafe extern "C" fn wake_thread_at(_: *mut WorkerContext, _: u64) {}
    unsafe extern "C" fn by_name(_: *mut c_void, _: Text) -> u32 {
        u32::MAX
    }
    unsafe extern "C" fn count(_: *mut WorkerContext, _: u32, _: Counted, _: u64, _: u64) {}
    unsafe extern "C" fn watch_file(_: *mut c_void, _: *const FileRequest, _: Sink) -> u64 {
        0
    }
    unsafe extern "C" fn unwatch_file(_: *mut c_void, _: u64) {}
    unsafe extern "C" fn memory(_: *mut c_void, _: Text, _: u64, _: usize, _: usize) -> *mut u8 {
        std::ptr::null_mut()
    }
    unsafe extern "C" fn arena(_: *mut c_void, _: *mut BufferArena) {}
    HostTable {
        size: size_of::<HostTable>() as u32,
        thread_count: 1,
        data,
        enqueue,
        enqueue_frame,
        buffers_allocate: allocate,
        buffers_free: free,
        buffers_free_remote: free_remote,
        trace,
        log,
        call,
        reply,
        config_text,
        spawn,
        wake,
        wake_at,
        now_ns,
        run_on_main: run,
        retire: run,
        barrier_acquire,
        barrier_release,
        counters,
        field,
        arc: by_name,
        node: by_name,
        handoff,
        wake_thread_at,
        count,
        watch_file,
        unwatch_file,
        memory,
        arena,
    }
}

#[test]
fn packets_come_back_as_they_were_made() {
    let host = TestHost::new();
    // SAFETY: the pool lives as long as the host.
    let pool = unsafe { &*host.pool };
    let bytes: Vec<u8> = (0..5000).map(|number| number as u8).collect();
    let index = make_chain(pool, &bytes);
    let read = with_packet(host.worker, index, |packet| {
        let mut read = vec![0; packet.len()];
        packet.copy_out(0, &mut read);
        read
    });
    assert_eq!(read, bytes);
    pool.free(index);
    assert_eq!(host.free_buffers(), BUFFERS as usize);
}
