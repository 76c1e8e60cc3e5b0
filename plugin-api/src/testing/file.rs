//! Descriptors that the image under test has watched.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::abi::{FileEvents, FileRequest, Status, WorkerContext};

#[derive(Default)]
pub(super) struct Files {
    last: u64,
    watched: BTreeMap<u64, Arc<File>>,
}

/// A descriptor that is watched.
pub(super) struct File {
    request: FileRequest,
    fd: OwnedFd,
}

impl Files {
    /// Watches a duplicate of the request's descriptor.
    pub(super) fn add(&mut self, request: FileRequest) -> Result<u64, Errno> {
        if request.fd < 0 {
            return Err(Errno::BADF);
        }
        // SAFETY: the SDK hands over a descriptor that is open while the call lasts.
        let fd = rustix::io::fcntl_dupfd_cloexec(unsafe { BorrowedFd::borrow_raw(request.fd) }, 0)?;
        if rustix::fs::fstat(&fd).is_ok_and(|stat| {
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile
        }) {
            return Err(Errno::PERM);
        }
        self.last += 1;
        // Calls are made by the harness's thread alone, one at a time.
        #[expect(
            clippy::arc_with_non_send_sync,
            reason = "the host is shared as a whole, by its own argument"
        )]
        self.watched.insert(self.last, Arc::new(File { request, fd }));
        Ok(self.last)
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<File>> {
        self.watched.get(&number).cloned()
    }

    /// Takes one out, to be dropped without a lock.
    pub(super) fn remove(&mut self, number: u64) -> Option<Arc<File>> {
        self.watched.remove(&number)
    }

    /// Those that are ready, and for what. Those that are told once are not looked at again.
    pub(super) fn ready(&mut self) -> Vec<(u64, FileEvents)> {
        let numbers: Vec<u64> = self.watched.keys().copied().collect();
        numbers.into_iter().filter_map(|number| Some((number, self.look(number)?))).collect()
    }

    fn look(&mut self, number: u64) -> Option<FileEvents> {
        let file = self.watched.get(&number)?;
        let wants = |event: FileEvents| file.request.events.0 & event.0 != 0;
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, wants(FileEvents::READABLE));
        flags.set(PollFlags::OUT, wants(FileEvents::WRITABLE));
        if flags.is_empty() {
            return None;
        }
        let mut fds = [PollFd::new(&file.fd, flags)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).ok()?;
        let found = fds[0].revents();
        let bits = [
            (PollFlags::IN, FileEvents::READABLE),
            (PollFlags::OUT, FileEvents::WRITABLE),
            (PollFlags::HUP | PollFlags::ERR, FileEvents::HUNG_UP),
        ];
        let events = bits
            .iter()
            .filter(|(flags, _)| found.intersects(*flags))
            .fold(0, |events, (_, event)| events | event.0);
        if events == 0 {
            return None;
        }
        if wants(FileEvents::ONCE) {
            let mut request = file.request;
            request.events = FileEvents(0);
            // The state stays with the entry; only what is waited for changes.
            if let Some(file) = self.watched.get_mut(&number).and_then(Arc::get_mut) {
                file.request = request;
            }
        }
        Some(FileEvents(events))
    }
}

impl File {
    /// The thread on which its function is called.
    pub(super) fn thread(&self) -> usize {
        self.request.thread as usize
    }

    /// Calls its function.
    pub(super) fn call(&self, worker: *mut WorkerContext, events: FileEvents) -> Status {
        // SAFETY: the state is alive until the entry is dropped; the harness's thread simulates the thread.
        unsafe { (self.request.ready)(self.request.state, worker, events) }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: dropped once, when nobody calls it any more.
        unsafe { (self.request.drop)(self.request.state) };
    }
}
