//! When to try again what the kernel could not send at once: the thread that has sent it, and that of the queue, may sleep.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

/// How long the link is given meanwhile, in ns.
const PAUSE_NS: i64 = 1_000_000;

/// A timer by whose descriptor the main thread is woken.
#[derive(Debug)]
pub struct Retry(OwnedFd);

impl Retry {
    /// A timer that is not set.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub fn new() -> Result<Self, Errno> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags).map(Self)
    }

    /// Has the main thread try again a little later.
    #[cold]
    pub fn soon(&self) {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let time = Itimerspec { it_interval: never, it_value: Timespec { tv_nsec: PAUSE_NS, ..never } };
        // Cannot fail: the descriptor is a timer, and the time is in range.
        let _ = rustix::time::timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &time);
    }

    /// Makes the descriptor silent.
    pub fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Retry {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn wakes(retry: &Retry, wait_ms: i64) -> bool {
        let wait = Timespec { tv_sec: 0, tv_nsec: wait_ms * 1_000_000 };
        let wait = if wait_ms < 0 { None } else { Some(&wait) };
        poll(&mut [PollFd::new(retry, PollFlags::IN)], wait).unwrap() > 0
    }

    #[test]
    fn wakes_once_for_each_time_that_it_is_set() {
        let retry = Retry::new().unwrap();
        assert!(!wakes(&retry, 5));
        for _ in 0..2 {
            retry.soon();
            assert!(wakes(&retry, -1));
            retry.clear();
            assert!(!wakes(&retry, 5));
        }
    }
}
