//! Descriptors that are watched: a function is called on a thread of one's choice, or a task goes on, when one is ready.
//!
//! Each thread that watches descriptors polls them in its pre-input node `file-poll`, before packets come in, and wakes
//! for them when it sleeps. The host watches a duplicate, so a descriptor may be closed at any time; what it belonged to
//! stays open until the watch ends.
//!
//! ```
//! use std::os::fd::AsFd;
//! use std::os::unix::net::UnixDatagram;
//! use raddle_plugin_api::file::{Interest, readable};
//! use raddle_plugin_api::prelude::*;
//!
//! fn listen(control: &Control<'_>, socket: UnixDatagram) {
//!     control.spawn("listener", move |_task| async move {
//!         let mut message = [0; 1500];
//!         while readable(socket.as_fd()).await.is_ok() {
//!             let Ok(length) = socket.recv(&mut message) else { break };
//!             println!("{length} bytes");
//!         }
//!     });
//! }
//! # fn main() {}
//! ```

use std::ffi::c_void;
use std::future::Future;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use crate::abi::{FileEvents, FileRequest, HostTable, Status, WorkerContext, sink_into};
use crate::guard::guard;
use crate::{Control, Failure, Worker};

/// What of a descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// That there is something to read, or that the other side has gone.
    Readable,
    /// That something can be written, or that nobody reads any more.
    Writable,
    /// Either.
    Both,
}

impl Interest {
    fn events(self) -> FileEvents {
        match self {
            Self::Readable => FileEvents::READABLE,
            Self::Writable => FileEvents::WRITABLE,
            Self::Both => FileEvents(FileEvents::READABLE.0 | FileEvents::WRITABLE.0),
        }
    }
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// There is something to read.
    pub readable: bool,
    /// Something can be written.
    pub writable: bool,
    /// The other side has gone, or there is an error: the next read or write says which.
    pub hung_up: bool,
}

type Body = Box<dyn FnMut(&Worker<'_>, Ready) + Send>;

/// A watch that goes on until [`Control::unwatch_file`], or until the plugin goes.
#[derive(Debug, PartialEq, Eq)]
pub struct FileWatch {
    number: u64,
}

unsafe extern "C" fn file_ready(
    state: *mut c_void,
    worker: *mut WorkerContext,
    events: FileEvents,
) -> Status {
    let has = |event: FileEvents| events.0 & event.0 != 0;
    let ready = Ready {
        readable: has(FileEvents::READABLE),
        writable: has(FileEvents::WRITABLE),
        hung_up: has(FileEvents::HUNG_UP),
    };
    let outcome = guard(|| {
        // SAFETY: the state is the boxed `Body` of `watch`, called by one thread at a time; the context is that of the
        // calling thread, between two of its quiescent points.
        let (body, worker) = unsafe { (&mut *state.cast::<Body>(), Worker::from_context(worker)) };
        body(&worker, ready);
    });
    if outcome.is_ok() { Status::OK } else { Status::PANICKED }
}

unsafe extern "C" fn drop_file(state: *mut c_void) {
    // SAFETY: made by `Box::into_raw` in `watch`; the host drops it once, when no thread calls it any more.
    let drop_it = || drop(unsafe { Box::from_raw(state.cast::<Body>()) });
    let _ = guard(drop_it);
}

/// Has the host watch a descriptor.
///
/// # Safety
/// `host` is alive, and this is its main thread.
unsafe fn watch(
    host: *const HostTable,
    fd: BorrowedFd<'_>,
    events: FileEvents,
    thread: u32,
    body: Body,
) -> Result<u64, Failure> {
    let state: *mut Body = Box::into_raw(Box::new(body));
    let request = FileRequest {
        size: size_of::<FileRequest>() as u32,
        fd: fd.as_raw_fd(),
        events,
        thread,
        state: state.cast(),
        ready: file_ready,
        drop: drop_file,
    };
    // SAFETY: as the caller vouches; request and sink live until the call returns, the state is handed over.
    let (number, error) =
        sink_into(|sink| unsafe { ((*host).watch_file)((*host).data, &raw const request, sink) });
    if number != 0 {
        return Ok(number);
    }
    // SAFETY: the host refused, so the state is still ours.
    drop(unsafe { Box::from_raw(state) });
    Err(Failure::new(error))
}

impl Control<'_> {
    /// Watches a descriptor on a thread (0 is the main one, workers count from 1): `ready` is called there before packets
    /// come in, again and again as long as the descriptor is ready; so it should read, or write, until there is no more.
    ///
    /// # Errors
    /// The descriptor cannot be watched (a plain file is always ready), or there is no such thread.
    pub fn watch_file(
        &self,
        fd: BorrowedFd<'_>,
        interest: Interest,
        thread: u32,
        ready: impl FnMut(&Worker<'_>, Ready) + Send + 'static,
    ) -> Result<FileWatch, Failure> {
        // SAFETY: a `Control` is on the host's main thread.
        let number = unsafe { watch(self.host(), fd, interest.events(), thread, Box::new(ready)) }?;
        Ok(FileWatch { number })
    }

    /// Ends a watch; its function is not called any more when this returns, and is dropped.
    pub fn unwatch_file(&self, watch: FileWatch) {
        // SAFETY: a `Control` is on the host's main thread.
        unsafe { (self.host().unwatch_file)(self.host().data, watch.number) };
    }
}

/// Waits, in a task, until there is something to read, or the other side has gone.
///
/// # Panics
/// Polled outside a task of this SDK.
pub fn readable(fd: BorrowedFd<'_>) -> FileReady<'_> {
    FileReady { fd, interest: Interest::Readable, armed: None }
}

/// Waits, in a task, until something can be written, or nobody reads any more.
///
/// # Panics
/// Polled outside a task of this SDK.
pub fn writable(fd: BorrowedFd<'_>) -> FileReady<'_> {
    FileReady { fd, interest: Interest::Writable, armed: None }
}

/// The future of [`readable`] and [`writable`]: an error if the descriptor cannot be watched.
#[must_use = "a future does nothing unless it is awaited"]
pub struct FileReady<'f> {
    fd: BorrowedFd<'f>,
    interest: Interest,
    armed: Option<Armed>,
}

struct Armed {
    host: *const HostTable,
    number: u64,
    fired: Arc<AtomicBool>,
    waker: Waker,
}

impl Drop for Armed {
    fn drop(&mut self) {
        // SAFETY: a task and what it holds is polled and dropped on the main thread, while its host is alive.
        unsafe { ((*self.host).unwatch_file)((*self.host).data, self.number) };
    }
}

impl Future for FileReady<'_> {
    type Output = Result<(), Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(armed) = &self.armed {
            if armed.fired.load(Ordering::Acquire) {
                self.armed = None;
                return Poll::Ready(Ok(()));
            }
            if armed.waker.will_wake(context.waker()) {
                return Poll::Pending;
            }
            self.armed = None;
        }
        let host = crate::task::current_host();
        let events = FileEvents(self.interest.events().0 | FileEvents::ONCE.0);
        let (fired, waker) = (Arc::new(AtomicBool::new(false)), context.waker().clone());
        let (tell, woken) = (Arc::clone(&fired), waker.clone());
        let body = move |_: &Worker<'_>, _: Ready| {
            tell.store(true, Ordering::Release);
            woken.wake_by_ref();
        };
        // SAFETY: tasks are polled on the main thread of their host, which is alive.
        match unsafe { watch(host, self.fd, events, 0, Box::new(body)) } {
            Ok(number) => {
                self.armed = Some(Armed { host, number, fired, waker });
                Poll::Pending
            }
            Err(failure) => Poll::Ready(Err(failure)),
        }
    }
}
