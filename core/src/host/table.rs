//! The host's functions, as plugins call them.

use std::ffi::c_void;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU64, Ordering};

use raddle_plugin_api::Failure;
use raddle_plugin_api::abi::{
    BufferArena, CounterMemory, FileRequest, HostTable, LogLevel, Sink, Status, TaskTable, Text, read_prefix,
};
use serde_json::Value;

use super::engine::{Answer, AnyThread, Engine};
use crate::runtime::{self, Clock};

/// Lets so many log lines through in a second, and counts the others.
pub struct LogLimit {
    /// Lines a second; 0 lets all through.
    most: u64,
    second: AtomicU64,
    lines: AtomicU64,
}

impl LogLimit {
    pub(super) fn new(most: u32) -> Self {
        Self { most: most.into(), second: AtomicU64::new(0), lines: AtomicU64::new(0) }
    }

    pub(super) fn lets_through(&self, now_ns: u64) -> bool {
        let second = now_ns / 1_000_000_000;
        if self.second.swap(second, Ordering::Relaxed) != second {
            let suppressed = self.lines.swap(0, Ordering::Relaxed).saturating_sub(self.most);
            if self.most > 0 && suppressed > 0 {
                tracing::warn!(suppressed, "log lines of plugins were left out");
            }
        }
        self.lines.fetch_add(1, Ordering::Relaxed) < self.most || self.most == 0
    }
}

/// The table; `data` is filled in by the engine.
pub fn table() -> HostTable {
    HostTable {
        size: size_of::<HostTable>() as u32,
        thread_count: 1,
        data: std::ptr::null_mut(),
        enqueue: runtime::enqueue,
        enqueue_frame: runtime::enqueue_frame,
        buffers_allocate: runtime::buffers_allocate,
        buffers_free: runtime::buffers_free,
        buffers_free_remote,
        trace: runtime::trace_call,
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
        handoff: runtime::handoff,
        wake_thread_at: runtime::wake_thread_at,
        count: runtime::count_interface,
        watch_file,
        unwatch_file,
        memory,
        arena,
    }
}

/// The engine, on the main thread.
///
/// # Safety
/// `data` is the table's own, and the caller is the main thread between two passes of its loop.
unsafe fn engine<'a>(data: *mut c_void) -> &'a Engine {
    // SAFETY: the engine outlives its table's users.
    unsafe { &*data.cast::<Engine>() }
}

/// What any thread may use.
///
/// # Safety
/// `data` is the table's own.
unsafe fn any<'a>(data: *mut c_void) -> &'a AnyThread {
    // SAFETY: as above; only this part is touched.
    unsafe { &(*data.cast::<Engine>()).any }
}

/// The text, or nothing where it is none.
///
/// # Safety
/// The text lives until the call returns.
unsafe fn text<'a>(text: Text) -> &'a str {
    // SAFETY: as the caller vouches.
    unsafe { text.as_str() }.unwrap_or_default()
}

unsafe extern "C" fn buffers_free_remote(data: *mut c_void, indices: *const u32, count: u32) {
    // SAFETY: the caller owns the packets, as the ABI says.
    unsafe { runtime::buffers_free_remote(&any(data).pool, indices, count) };
}

unsafe extern "C" fn log(data: *mut c_void, level: LogLevel, _: Text, message: Text) {
    // SAFETY: as the ABI says.
    let (any, message) = unsafe { (any(data), text(message)) };
    if !any.log_limit.lets_through(Clock.now_ns()) {
        return;
    }
    match level {
        LogLevel::ERROR => tracing::error!("{message}"),
        LogLevel::WARN => tracing::warn!("{message}"),
        LogLevel::INFO => tracing::info!("{message}"),
        _ => tracing::debug!("{message}"),
    }
}

unsafe extern "C" fn call(data: *mut c_void, method: Text, arguments: Text, answer: Sink) -> Status {
    // SAFETY: as the ABI says.
    let (engine, method, arguments) = unsafe { (engine(data), text(method), text(arguments)) };
    let outcome = serde_json::from_str::<Value>(arguments)
        .map_err(Failure::from)
        .and_then(|arguments| engine.call(method, arguments));
    let (status, written) = match outcome {
        Ok(value) => (Status::OK, value.to_string()),
        Err(failure) => (Status::FAILED, failure.to_string()),
    };
    // SAFETY: the sink lives until this returns.
    unsafe { answer.write(&written) };
    status
}

unsafe extern "C" fn reply(data: *mut c_void, command: u64, status: Status, json: Text, words: Text) {
    // SAFETY: as the ABI says.
    let (engine, json, words) = unsafe { (engine(data), text(json), text(words)) };
    let Some((owner, usage, reply)) = engine.replies.borrow_mut().remove(&command) else { return };
    let (words, rest) = match words.rsplit_once(raddle_plugin_api::command::CONTINUES) {
        Some((words, rest)) if status == Status::OK => (words, Some(rest.to_owned())),
        _ => (words, None),
    };
    reply(match status {
        Status::OK => serde_json::from_str(json).map_err(Failure::from).map(|data| Answer {
            data,
            text: (words != raddle_plugin_api::command::LAY_OUT).then(|| words.to_owned()),
            rest,
        }),
        Status::PANICKED => Err(Failure::new(format!("the command panicked: {words}"))),
        _ => Err(Failure::new(words)),
    });
    if status == Status::PANICKED {
        engine.quarantine(owner, &format!("its command `{usage}` panicked: {words}"));
    }
}

unsafe extern "C" fn config_text(data: *mut c_void, sink: Sink) {
    // SAFETY: as the ABI says.
    unsafe { sink.write(&engine(data).config_text()) };
}

unsafe extern "C" fn spawn(data: *mut c_void, name: Text, task: TaskTable) -> u64 {
    // SAFETY: as the ABI says.
    let (engine, name) = unsafe { (engine(data), text(name)) };
    engine.executor.borrow_mut().spawn(engine.current_owner.get(), name, task)
}

unsafe extern "C" fn wake(data: *mut c_void, task: u64) {
    // SAFETY: as the ABI says.
    unsafe { any(data) }.wakes.wake(task);
}

unsafe extern "C" fn wake_at(data: *mut c_void, task: u64, at_ns: u64) {
    // SAFETY: as the ABI says.
    unsafe { engine(data) }.executor.borrow_mut().wake_at(task, at_ns);
}

unsafe extern "C" fn now_ns(_: *mut c_void) -> u64 {
    Clock.now_ns()
}

struct RemoteCall {
    state: *mut c_void,
    run: unsafe extern "C" fn(*mut c_void),
}
// SAFETY: the ABI has the caller vouch that `run(state)` may run on the main thread.
unsafe impl Send for RemoteCall {}

unsafe extern "C" fn run_on_main(
    data: *mut c_void,
    state: *mut c_void,
    run: unsafe extern "C" fn(*mut c_void),
) {
    let call = RemoteCall { state, run };
    // SAFETY: as the ABI says.
    unsafe { any(data) }.main.push(Box::new(move || {
        let call = call;
        // SAFETY: as `RemoteCall` says.
        unsafe { (call.run)(call.state) };
    }));
}

unsafe extern "C" fn retire(data: *mut c_void, state: *mut c_void, drop: unsafe extern "C" fn(*mut c_void)) {
    // SAFETY: as the ABI says.
    unsafe { engine(data) }.retired.borrow_mut().push(state, drop);
}

unsafe extern "C" fn barrier_acquire(data: *mut c_void, cause: Text) {
    // SAFETY: as the ABI says.
    let (engine, cause) = unsafe { (engine(data), text(cause)) };
    engine.threads.borrow_mut().acquire(cause);
}

unsafe extern "C" fn barrier_release(data: *mut c_void) {
    // SAFETY: as the ABI says.
    unsafe { engine(data) }.threads.borrow_mut().release();
}

unsafe extern "C" fn counters(data: *mut c_void, name: Text, length: usize) -> CounterMemory {
    // SAFETY: as the ABI says.
    let (engine, name) = unsafe { (engine(data), text(name)) };
    engine.counters.borrow_mut().find_or_make(name, length)
}

unsafe extern "C" fn field(data: *mut c_void, name: Text, size: u32, align: u32) -> u32 {
    // SAFETY: as the ABI says.
    let (engine, name) = unsafe { (engine(data), text(name)) };
    engine.fields.borrow_mut().find_or_make(name, size, align)
}

unsafe extern "C" fn arc(data: *mut c_void, name: Text) -> u32 {
    // SAFETY: as the ABI says.
    let (engine, name) = unsafe { (engine(data), text(name)) };
    engine.features.borrow().find_arc(name).map_or(u32::MAX, |index| index as u32)
}

unsafe extern "C" fn node(data: *mut c_void, name: Text) -> u32 {
    // SAFETY: as the ABI says.
    let (engine, name) = unsafe { (engine(data), text(name)) };
    engine.graph.borrow().find(name).map_or(u32::MAX, u32::from)
}

unsafe extern "C" fn watch_file(data: *mut c_void, request: *const FileRequest, error: Sink) -> u64 {
    // SAFETY: as the ABI says; a request begins with its size.
    let (engine, request) = unsafe { (engine(data), read_prefix(request, size_of::<FileRequest>())) };
    let outcome = match request {
        // SAFETY: as the ABI says.
        Some(request) => unsafe { engine.watch_file(engine.current_owner.get(), &request) },
        None => Err(Failure::new("the request to watch a descriptor is not one")),
    };
    outcome.unwrap_or_else(|failure| {
        // SAFETY: the sink lives until this returns.
        unsafe { error.write(&failure.to_string()) };
        0
    })
}

unsafe extern "C" fn unwatch_file(data: *mut c_void, watch: u64) {
    // SAFETY: as the ABI says.
    unsafe { engine(data) }.unwatch_file(watch);
}

unsafe extern "C" fn memory(
    data: *mut c_void,
    name: Text,
    layout: u64,
    bytes: usize,
    align: usize,
) -> *mut u8 {
    // SAFETY: as the ABI says.
    let (engine, name) = unsafe { (engine(data), text(name)) };
    let owner = engine.current_owner.get();
    let plugin = engine.owner_name(owner);
    engine.kept.borrow_mut().find_or_make(owner, &plugin, name, layout, (bytes, align))
}

unsafe extern "C" fn arena(data: *mut c_void, into: *mut BufferArena) {
    // SAFETY: as the ABI says.
    let (pool, size) = unsafe { (&any(data).pool, (*into).size as usize) };
    let memory = pool.arena();
    let size = size.min(size_of::<BufferArena>());
    let arena = BufferArena {
        size: size as u32,
        stride: pool.stride() as u32,
        count: pool.count() as u32,
        fd: memory.file().as_raw_fd(),
        base: memory.base().as_ptr(),
        length: memory.length(),
        page_bytes: memory.pages().bytes(),
    };
    // SAFETY: the caller has room for the size that it gave.
    unsafe { std::ptr::copy_nonoverlapping((&raw const arena).cast::<u8>(), into.cast::<u8>(), size) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_so_many_lines_through_in_each_second() {
        let limit = LogLimit::new(2);
        let second = |at: u64| (0..3).filter(|_| limit.lets_through(at * 1_000_000_000)).count();
        assert_eq!((second(7), second(8)), (2, 2));
        assert!((0..100).all(|_| LogLimit::new(0).lets_through(1)));
    }
}
