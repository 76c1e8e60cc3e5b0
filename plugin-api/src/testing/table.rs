//! The functions of the host, as the ABI has them. None of them panics: they are called across the ABI.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use super::host::{Host, LogLine, Parcel, RawTrace, Reply, lock};
use super::pool::Owner;
use super::schedule::Call;
use crate::abi::{
    BufferArena, Counted, CounterMemory, FileRequest, Frame, HostTable, LogLevel, NodeContext, Sink, Status,
    TaskTable, Text, WorkerContext,
};

/// The table, whose `data` is still to be set.
pub(super) fn functions() -> HostTable {
    HostTable {
        size: size_of::<HostTable>() as u32,
        thread_count: 1,
        data: std::ptr::null_mut(),
        enqueue,
        enqueue_frame,
        buffers_allocate,
        buffers_free,
        buffers_free_remote,
        trace,
        log,
        call,
        reply,
        config_text,
        spawn,
        wake,
        wake_at,
        now_ns,
        run_on_main,
        retire,
        barrier_acquire,
        barrier_release,
        counters,
        field,
        arc,
        node,
        handoff,
        wake_thread_at,
        count,
        watch_file,
        unwatch_file,
        memory,
        arena,
    }
}

/// # Safety
/// `data` is the `data` of a table of this module.
unsafe fn host(data: *mut c_void) -> &'static Host {
    // SAFETY: as the caller vouches; hosts are never freed.
    unsafe { &*data.cast::<Host>() }
}

/// # Safety
/// `worker` is a context of a harness that is still there.
unsafe fn host_of(worker: *const WorkerContext) -> &'static Host {
    // SAFETY: as the caller vouches; the context names the host's table.
    unsafe { host((*(*worker).host).data) }
}

/// # Safety
/// The text lives for the caller's use of it.
unsafe fn text(text: Text) -> String {
    // SAFETY: as the caller vouches.
    unsafe { text.as_str() }.unwrap_or("").to_owned()
}

/// # Safety
/// `node` is a context of a harness that is still there; `count` indices and targets are readable.
unsafe fn send(node: *mut NodeContext, indices: *const u32, targets: impl Fn(usize) -> u16, count: usize) {
    // SAFETY: as the caller vouches.
    let own = unsafe { (*(*node).worker).thread_index as usize };
    for position in 0..count {
        // SAFETY: below `count`, as the caller vouches.
        unsafe { send_one(node, *indices.add(position), own, targets(position)) };
    }
}

/// # Safety
/// `node` is a context of a harness that is still there.
unsafe fn send_one(node: *mut NodeContext, index: u32, to: usize, target: u16) {
    // SAFETY: as the caller vouches.
    let (host, sender, thread) = unsafe {
        let worker = (*node).worker;
        (host_of(worker), (*node).node as u16, (*worker).thread_index as usize)
    };
    let name = host.node_name(sender);
    let Some(outbox) = host.outboxes.get(thread) else { return };
    if !host.pool.pass(index, &[Owner::Frame, Owner::Held], Owner::Sent, &name) {
        return;
    }
    if lock(&host.nodes).name(target).is_none() {
        host.pool.complain(format!("{name} sent packet {index} to node {target}, which does not exist"));
    }
    lock(outbox).push(Parcel { thread: to, target, buffer: index });
}

unsafe extern "C" fn handoff(node: *mut NodeContext, buffer: u32, thread: u32, target: u16) -> u32 {
    // SAFETY: the SDK hands over the context of the node that runs.
    let host = unsafe { host_of((*node).worker) };
    let takes =
        host.congested.get(thread as usize).is_some_and(|congested| !congested.load(Ordering::Acquire));
    if takes {
        // SAFETY: as above.
        unsafe { send_one(node, buffer, thread as usize, target) };
    }
    u32::from(takes)
}

unsafe extern "C" fn enqueue(node: *mut NodeContext, indices: *const u32, nodes: *const u16, count: u32) {
    // SAFETY: the SDK hands over the context of the node that runs, and `count` indices and targets.
    unsafe { send(node, indices, |position| *nodes.add(position), count as usize) };
}

unsafe extern "C" fn enqueue_frame(node: *mut NodeContext, frame: *mut Frame, target: u16) {
    // SAFETY: the SDK hands over the context of the node that runs, and its frame.
    let (indices, count) = unsafe { (&raw const (*frame).indices, (*frame).count) };
    // SAFETY: as above; `count` indices of the frame are in use.
    unsafe { send(node, indices.cast(), |_| target, count as usize) };
}

unsafe extern "C" fn wake_thread_at(worker: *mut WorkerContext, at_ns: u64) {
    // SAFETY: the SDK hands over the calling thread's context.
    let (host, thread) = unsafe { (host_of(worker), (*worker).thread_index as usize) };
    if let Some(wake) = host.wakes.get(thread) {
        let mut wake = lock(wake);
        *wake = Some(wake.map_or(at_ns, |earlier| earlier.min(at_ns)));
    }
}

unsafe extern "C" fn buffers_allocate(worker: *mut WorkerContext, indices: *mut u32, count: u32) -> u32 {
    // SAFETY: the SDK hands over the calling thread's context.
    let host = unsafe { host_of(worker) };
    for position in 0..count {
        let Some(index) = host.pool.allocate() else { return position };
        // SAFETY: the SDK has room for `count` indices.
        unsafe { indices.add(position as usize).write(index) };
    }
    count
}

unsafe extern "C" fn buffers_free(worker: *mut WorkerContext, indices: *const u32, count: u32) {
    // SAFETY: the SDK hands over the calling thread's context.
    let host = unsafe { host_of(worker) };
    for position in 0..count {
        // SAFETY: `count` indices are readable.
        host.pool.free(unsafe { *indices.add(position as usize) }, "a node");
    }
}

unsafe extern "C" fn buffers_free_remote(data: *mut c_void, indices: *const u32, count: u32) {
    // SAFETY: the SDK hands over the table's `data`.
    let host = unsafe { host(data) };
    for position in 0..count {
        // SAFETY: `count` indices are readable.
        host.pool.free(unsafe { *indices.add(position as usize) }, "the holder of a packet");
    }
}

unsafe extern "C" fn trace(node: *mut NodeContext, buffer: u32, target: u16, json: Text, record: Text) {
    // SAFETY: the SDK hands over the context of the node that runs.
    let (host, node) = unsafe { (host_of((*node).worker), (*node).node as u16) };
    // SAFETY: the texts live until the call returns.
    let (json, text) = unsafe { (text(json), text(record)) };
    // A packet that was sent and given back in between has no header to read any more.
    if matches!(host.pool.owner(buffer), None | Some(Owner::Pool)) {
        host.pool.complain(format!("{} traced packet {buffer}, which is not its own", host.node_name(node)));
        return;
    }
    // SAFETY: the packet is the running node's.
    let packet = unsafe { (*host.pool.header(buffer)).trace };
    let target = (target != u16::MAX).then_some(target);
    lock(&host.traces).push(RawTrace { packet, node, target, json, text });
}

unsafe extern "C" fn log(data: *mut c_void, level: LogLevel, _: Text, message: Text) {
    // SAFETY: the SDK hands over the table's `data`, and a text that lives until the call returns.
    let (host, message) = unsafe { (host(data), text(message)) };
    lock(&host.log).push(LogLine { level, message });
}

unsafe extern "C" fn call(data: *mut c_void, method: Text, arguments: Text, answer: Sink) -> Status {
    // SAFETY: the SDK hands over the table's `data`, and texts that live until the call returns.
    let (host, method, arguments) = unsafe { (host(data), text(method), text(arguments)) };
    let outcome = crate::guard::guard(|| super::method::call(host, &method, &arguments));
    let (status, answer_text) = match outcome {
        Ok(Ok(value)) => (Status::OK, value.to_string()),
        Ok(Err(failure)) => (Status::FAILED, failure.to_string()),
        Err(panic) => (Status::PANICKED, panic),
    };
    // SAFETY: the call is still being served.
    unsafe { answer.write(&answer_text) };
    status
}

unsafe extern "C" fn reply(data: *mut c_void, command: u64, status: Status, json: Text, answer: Text) {
    // SAFETY: the SDK hands over the table's `data`, and texts that live until the call returns.
    let (host, json, text) = unsafe { (host(data), text(json), text(answer)) };
    if lock(&host.replies).insert(command, Reply { status, json, text }).is_some() {
        host.pool.complain(format!("command {command} was answered twice"));
    }
}

unsafe extern "C" fn config_text(data: *mut c_void, sink: Sink) {
    // SAFETY: the SDK hands over the table's `data`.
    let config = lock(&unsafe { host(data) }.config).clone();
    // SAFETY: the call is still being served.
    unsafe { sink.write(&config) };
}

unsafe extern "C" fn spawn(data: *mut c_void, name: Text, task: TaskTable) -> u64 {
    // SAFETY: the SDK hands over the table's `data`, and a name that lives until the call returns.
    let (host, name) = unsafe { (host(data), text(name)) };
    lock(&host.schedule).spawn(name, task)
}

unsafe extern "C" fn wake(data: *mut c_void, task: u64) {
    // SAFETY: the SDK hands over the table's `data`.
    lock(&unsafe { host(data) }.schedule).wake(task);
}

unsafe extern "C" fn wake_at(data: *mut c_void, task: u64, at_ns: u64) {
    // SAFETY: the SDK hands over the table's `data`.
    lock(&unsafe { host(data) }.schedule).wake_at(task, at_ns);
}

unsafe extern "C" fn now_ns(data: *mut c_void) -> u64 {
    // SAFETY: the SDK hands over the table's `data`.
    unsafe { host(data) }.now_ns.load(Ordering::Acquire)
}

unsafe extern "C" fn run_on_main(
    data: *mut c_void,
    state: *mut c_void,
    run: unsafe extern "C" fn(*mut c_void),
) {
    // SAFETY: the SDK hands over the table's `data`.
    let host = unsafe { host(data) };
    // A closed host has no main thread any more; the call is then never made.
    if !host.is_closed() {
        lock(&host.schedule).call(Call { state, run });
    }
}

unsafe extern "C" fn retire(data: *mut c_void, state: *mut c_void, drop: unsafe extern "C" fn(*mut c_void)) {
    // SAFETY: the SDK hands over the table's `data`.
    lock(&unsafe { host(data) }.schedule).retire(Call { state, run: drop });
}

unsafe extern "C" fn barrier_acquire(data: *mut c_void, cause: Text) {
    // SAFETY: the SDK hands over the table's `data`, and a text that lives until the call returns.
    let (host, cause) = unsafe { (host(data), text(cause)) };
    if host.running.load(Ordering::Acquire) {
        host.pool.complain(format!("the barrier was taken while a node ran: {cause}"));
    }
    let mut barriers = lock(&host.barriers);
    barriers.depth += 1;
    barriers.causes.push(cause);
}

unsafe extern "C" fn barrier_release(data: *mut c_void) {
    // SAFETY: the SDK hands over the table's `data`.
    let host = unsafe { host(data) };
    let mut barriers = lock(&host.barriers);
    match barriers.depth.checked_sub(1) {
        Some(depth) => barriers.depth = depth,
        None => host.pool.complain("the barrier was released more often than taken".to_owned()),
    }
}

unsafe extern "C" fn counters(data: *mut c_void, name: Text, length: usize) -> CounterMemory {
    // SAFETY: the SDK hands over the table's `data`, and a name that lives until the call returns.
    let (host, name) = unsafe { (host(data), text(name)) };
    let threads = host.outboxes.len();
    match host.counter_set(&name, length) {
        Some((base, stride)) => CounterMemory { base, stride, length, threads },
        None => CounterMemory { base: std::ptr::null_mut(), stride: 0, length: 0, threads: 0 },
    }
}

unsafe extern "C" fn field(data: *mut c_void, name: Text, size: u32, align: u32) -> u32 {
    // SAFETY: the SDK hands over the table's `data`, and a name that lives until the call returns.
    let (host, name) = unsafe { (host(data), text(name)) };
    lock(&host.fields).offset(&name, size, align).unwrap_or(u32::MAX)
}

unsafe extern "C" fn arc(data: *mut c_void, name: Text) -> u32 {
    // SAFETY: the SDK hands over the table's `data`, and a name that lives until the call returns.
    let (host, name) = unsafe { (host(data), text(name)) };
    lock(&host.arcs).index(&name).map_or(u32::MAX, u32::from)
}

unsafe extern "C" fn node(data: *mut c_void, name: Text) -> u32 {
    // SAFETY: the SDK hands over the table's `data`, and a name that lives until the call returns.
    let (host, name) = unsafe { (host(data), text(name)) };
    lock(&host.nodes).find(&name).map_or(u32::MAX, u32::from)
}

unsafe extern "C" fn watch_file(data: *mut c_void, request: *const FileRequest, error: Sink) -> u64 {
    // SAFETY: the SDK hands over the table's `data`, and a request that lives until the call returns.
    let (host, request) = unsafe { (host(data), *request) };
    let refusal = if request.thread as usize >= host.outboxes.len() {
        Some(format!("there is no thread {}", request.thread))
    } else {
        match lock(&host.files).add(request) {
            Ok(number) => return number,
            Err(refusal) => Some(refusal.to_string()),
        }
    };
    // SAFETY: the call is still being served.
    unsafe { error.write(&refusal.unwrap_or_default()) };
    0
}

unsafe extern "C" fn unwatch_file(data: *mut c_void, watch: u64) {
    // SAFETY: the SDK hands over the table's `data`.
    let gone = lock(&unsafe { host(data) }.files).remove(watch);
    drop(gone);
}

unsafe extern "C" fn memory(
    data: *mut c_void,
    name: Text,
    layout: u64,
    bytes: usize,
    align: usize,
) -> *mut u8 {
    // SAFETY: the SDK hands over the table's `data`, and a name that lives until the call returns.
    let (host, name) = unsafe { (host(data), text(name)) };
    host.kept_memory(name, layout, bytes, align)
}

unsafe extern "C" fn arena(data: *mut c_void, into: *mut BufferArena) {
    // SAFETY: the SDK hands over the table's `data`.
    let arena = unsafe { host(data) }.pool.arena();
    // SAFETY: the SDK has room for the whole struct.
    unsafe { into.write(arena) };
}

unsafe extern "C" fn count(
    worker: *mut WorkerContext,
    interface: u32,
    what: Counted,
    packets: u64,
    bytes: u64,
) {
    // SAFETY: the SDK hands over the calling thread's context.
    let host = unsafe { host_of(worker) };
    let mut counts = lock(&host.interface_counts);
    let entry = counts.entry((interface, what.0)).or_default();
    entry.0 += packets;
    entry.1 += bytes;
}
