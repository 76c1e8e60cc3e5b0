//! Descriptors that a thread watches for plugins and the core: its pre-input node `file-poll` calls their functions.
//!
//! A thread that watches any has an epoll set of its own for them, which the set that it sleeps on holds as one descriptor:
//! so it wakes for them, and looks at them only when that one is ready. A lock is taken for a descriptor that is ready,
//! which is off the packets' way.

use std::collections::HashMap;
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use raddle_plugin_api::abi::{
    FileEvents, FileRequest, NodeContext, NodeKind, NodeRegistration, Status, WorkerContext,
};
use raddle_plugin_api::abi::{Frame, Text};
use rustix::event::epoll;

use super::dispatch::shared;
use super::nodes::{registration, thread_of};
use super::{Clock, Poller};

/// Descriptors that are told of at a time.
const MOST_EVENTS: usize = 32;

/// A function that is called when a descriptor is ready, with its state.
pub struct FileBody {
    state: *mut c_void,
    ready: unsafe extern "C" fn(*mut c_void, *mut WorkerContext, FileEvents) -> Status,
    drop: unsafe extern "C" fn(*mut c_void),
    /// Told when the function has panicked.
    on_panic: Box<dyn FnOnce() + Send>,
}

// SAFETY: the ABI has the caller vouch that `ready` may be called on the thread that the watch names; the lock around
// a body has one thread use it at a time.
unsafe impl Send for FileBody {}

impl Drop for FileBody {
    fn drop(&mut self) {
        // SAFETY: the state was handed over with the request; dropped once.
        unsafe { (self.drop)(self.state) };
    }
}

/// A descriptor that is watched.
pub struct File {
    fd: OwnedFd,
    /// `None` once the watch has ended. Locked while the function runs, so that who ends the watch waits for it.
    body: Mutex<Option<FileBody>>,
}

/// The descriptors that a thread watches.
#[derive(Default)]
pub struct FileSet {
    set: OnceLock<OwnedFd>,
    files: Mutex<HashMap<u64, Arc<File>>>,
}

impl FileSet {
    /// Watches a duplicate of the request's descriptor as number `number`. `poller` is what the thread sleeps on. Main thread.
    ///
    /// # Errors
    /// It cannot be watched; the state is still the caller's then.
    ///
    /// # Safety
    /// The request is as the ABI says, and its descriptor is open.
    pub unsafe fn watch(
        &self,
        poller: &Poller,
        number: u64,
        request: &FileRequest,
        on_panic: Box<dyn FnOnce() + Send>,
    ) -> io::Result<()> {
        if request.fd < 0 {
            return Err(io::Error::from(rustix::io::Errno::BADF));
        }
        // SAFETY: open while the call lasts, as the caller vouches.
        let fd = rustix::io::fcntl_dupfd_cloexec(unsafe { BorrowedFd::borrow_raw(request.fd) }, 0)?;
        let set = match self.set.get() {
            Some(set) => set,
            None => {
                let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
                poller.watch(set.as_fd(), Poller::FILES)?;
                // The main thread alone makes sets.
                self.set.get_or_init(|| set)
            }
        };
        let wants = |event: FileEvents| request.events.0 & event.0 != 0;
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN | epoll::EventFlags::RDHUP, wants(FileEvents::READABLE));
        flags.set(epoll::EventFlags::OUT, wants(FileEvents::WRITABLE));
        flags.set(epoll::EventFlags::ONESHOT, wants(FileEvents::ONCE));
        let mut files = self.lock();
        epoll::add(set, &fd, epoll::EventData::new_u64(number), flags)?;
        let FileRequest { state, ready, drop, .. } = *request;
        let body = Mutex::new(Some(FileBody { state, ready, drop, on_panic }));
        files.insert(number, Arc::new(File { fd, body }));
        Ok(())
    }

    /// Ends a watch; returns its function, which is not called any more, to be dropped. Main thread, and not from a function of
    /// a watch.
    pub fn unwatch(&self, number: u64) -> Option<FileBody> {
        let file = self.lock().remove(&number)?;
        if let Some(set) = self.set.get() {
            // The duplicate would stay in the set for as long as its like is open elsewhere.
            let _ = epoll::delete(set, &file.fd);
        }
        file.body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the thread has ever watched one.
    #[inline]
    pub fn is_in_use(&self) -> bool {
        self.set.get().is_some()
    }

    /// Calls the functions of the descriptors that are ready; returns whether there may be more of them.
    ///
    /// # Safety
    /// `worker` is the calling thread's context.
    unsafe fn poll(&self, worker: *mut WorkerContext) -> bool {
        let Some(set) = self.set.get() else { return false };
        let mut events =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
                MOST_EVENTS];
        let at_once = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        let count = epoll::wait(set, &mut events, Some(&at_once)).unwrap_or(0);
        for event in &events[..count] {
            let file = self.lock().get(&event.data.u64()).cloned();
            let Some(file) = file else { continue };
            let mut body = file.body.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(FileBody { state, ready, .. }) = &*body else { continue };
            // SAFETY: the state is alive while the lock is held and the body there; the context is the caller's.
            let status = unsafe { ready(*state, worker, told(event.flags)) };
            if status == Status::PANICKED
                && let Some(mut failed) = body.take()
            {
                let on_panic = std::mem::replace(&mut failed.on_panic, Box::new(|| {}));
                on_panic();
                // The state is dropped here: it may be on a worker, but nobody will call it again.
                drop(failed);
            }
        }
        count == MOST_EVENTS
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<File>>> {
        // No foreign code runs under this lock.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told(flags: epoll::EventFlags) -> FileEvents {
    let bits = [
        (epoll::EventFlags::IN, FileEvents::READABLE),
        (epoll::EventFlags::OUT, FileEvents::WRITABLE),
        (epoll::EventFlags::HUP | epoll::EventFlags::RDHUP | epoll::EventFlags::ERR, FileEvents::HUNG_UP),
    ];
    let found = bits.iter().filter(|(bit, _)| flags.intersects(*bit));
    FileEvents(found.fold(0, |events, (_, event)| events | event.0))
}

/// `file-poll`: the pre-input node that calls the functions of watched descriptors.
pub const fn file_poll_node() -> NodeRegistration {
    registration(Text::new("file-poll"), NodeKind::PRE_INPUT, run_file_poll)
}

unsafe extern "C" fn run_file_poll(node: *mut NodeContext, _: *mut Frame) -> u32 {
    // SAFETY: called by `dispatch` on the thread itself.
    unsafe {
        let thread = thread_of(node);
        if (*thread).files_are_ready {
            let start = Clock::ticks();
            (*thread).files_are_ready = shared(thread).files.poll((*node).worker);
            shared(thread).stats.note((*node).node as usize, 0, Clock::ticks().wrapping_sub(start));
        }
    }
    // No packets come of it.
    0
}
