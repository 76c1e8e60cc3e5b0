//! Sleeping until there is something to do.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, epoll, eventfd};

/// Key of the alarm itself among the descriptors.
const ALARM: u64 = u64::MAX;
/// Descriptors that are told of at a time.
const MOST_EVENTS: usize = 32;

/// A thread's epoll set, with an alarm that other threads ring.
#[derive(Clone)]
pub struct Poller {
    parts: Arc<Parts>,
}

struct Parts {
    set: OwnedFd,
    alarm: OwnedFd,
}

impl Poller {
    /// Key of the set of descriptors that are watched for plugins.
    pub const FILES: u64 = u64::MAX - 1;

    /// An empty set.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn create() -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let alarm = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&set, &alarm, epoll::EventData::new_u64(ALARM), epoll::EventFlags::IN)?;
        Ok(Self { parts: Arc::new(Parts { set, alarm }) })
    }

    /// Watches `fd` for something to read.
    ///
    /// # Errors
    /// The descriptor cannot be watched.
    pub fn watch(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN;
        Ok(epoll::add(&self.parts.set, fd, epoll::EventData::new_u64(key), flags)?)
    }

    /// Watches `fd` no longer. A descriptor that is not watched is no error: it may have been closed before.
    pub fn unwatch(&self, fd: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.parts.set, fd);
    }

    /// Ends the sleep of the thread, or its next one. Any thread.
    pub fn wake(&self) {
        let _ = rustix::io::write(&self.parts.alarm, &1_u64.to_ne_bytes());
    }

    /// Sleeps until a descriptor is ready, the alarm rings, or the time is over.
    pub fn sleep(&self, most: Option<Duration>) -> Events {
        let events = self.wait(most);
        if events.alarm {
            let _ = rustix::io::read(&self.parts.alarm, &mut [0; 8]);
        }
        events
    }

    /// Looks for descriptors that are ready. The alarm goes on ringing: it is for who sleeps.
    pub fn look(&self) -> Events {
        self.wait(Some(Duration::ZERO))
    }

    fn wait(&self, most: Option<Duration>) -> Events {
        let timeout = most.map(|most| rustix::time::Timespec {
            tv_sec: most.as_secs().min(3600) as i64,
            tv_nsec: i64::from(most.subsec_nanos()),
        });
        let mut raw = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
            MOST_EVENTS];
        // An error (a signal, usually) is a wake-up like another.
        let count = epoll::wait(&self.parts.set, &mut raw, timeout.as_ref()).unwrap_or(0);
        let mut events = Events { keys: [0; MOST_EVENTS], count: 0, alarm: false };
        for event in &raw[..count] {
            match event.data.u64() {
                ALARM => events.alarm = true,
                key => {
                    events.keys[events.count] = key;
                    events.count += 1;
                }
            }
        }
        events
    }
}

/// What a poller found ready. What finds no room in it comes next time.
pub struct Events {
    keys: [u64; MOST_EVENTS],
    count: usize,
    alarm: bool,
}

impl Events {
    /// Keys of the descriptors that are ready.
    pub fn keys(&self) -> &[u64] {
        &self.keys[..self.count]
    }
}
