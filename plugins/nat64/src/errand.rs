//! What the main thread has other threads do for it, each among its own sessions and between its packets: so nobody stands
//! still while something is shown or cleared.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use raddle_plugin_api::Worker;
use raddle_plugin_api::file::{FileWatch, Interest};
use raddle_plugin_api::prelude::*;

use crate::service::{Local, Nat64};

/// Numbers of entries that are looked at in one pass of a thread's loop: some tens of microseconds.
const NUMBERS_PER_PASS: u32 = 2048;

/// A walk through numbers, in portions. It ends where numbers ended when it began: who makes entries meanwhile does not lead it on.
#[derive(Clone, Copy, Default)]
pub struct Walk {
    /// The number from which the next portion begins.
    pub next: u32,
    end: Option<u32>,
}

impl Walk {
    /// The next portion; `numbers` are there at present.
    pub fn portion(&mut self, numbers: u32) -> Range<u32> {
        self.portion_of(NUMBERS_PER_PASS, numbers)
    }

    /// As [`Self::portion`], of at most so many, for entries that take longer than others.
    pub fn portion_of(&mut self, most: u32, numbers: u32) -> Range<u32> {
        let end = *self.end.get_or_insert(numbers);
        let first = self.next;
        self.next = first.saturating_add(most).min(end);
        first..self.next
    }

    /// Whether there are no more.
    pub fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }
}

/// Called once a pass until it says that it is done.
type Errand = Box<dyn FnMut(&Worker<'_>, &mut Local<'_, '_>) -> bool + Send>;

type Queue = Arc<Mutex<VecDeque<Errand>>>;

/// A thread's errands, and how it is told of them.
struct Inbox {
    queue: Queue,
    bell: UnixStream,
    _watch: FileWatch,
}

/// The errands of all threads.
pub struct Errands {
    inboxes: Vec<Inbox>,
}

impl Errands {
    /// No errands yet.
    ///
    /// # Errors
    /// There are no descriptors left for the bells.
    pub fn new(control: &Control<'_>, nat: &Arc<Nat64>) -> Result<Self, Failure> {
        let inboxes = (0..control.thread_count()).map(|thread| Inbox::new(control, nat, thread));
        Ok(Self { inboxes: inboxes.collect::<Result<_, _>>()? })
    }

    /// Has a thread call `step` once a pass of its loop until it returns something, and returns that.
    pub async fn ask<T: Send + 'static>(
        &self,
        thread: u32,
        mut step: impl FnMut(&Worker<'_>, &mut Local<'_, '_>) -> Option<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let Some(inbox) = self.inboxes.get(thread as usize) else { bail!("there is no thread {thread}") };
        let answer = Arc::new(Mutex::new((None::<T>, None::<Waker>)));
        let into = Arc::clone(&answer);
        let errand: Errand = Box::new(move |worker, local| {
            let Some(value) = step(worker, local) else { return false };
            let mut into = lock(&into);
            into.0 = Some(value);
            if let Some(waker) = into.1.take() {
                waker.wake();
            }
            true
        });
        lock(&inbox.queue).push_back(errand);
        // A bell that is full rings already.
        let _ = (&inbox.bell).write(&[1]);
        Ok(std::future::poll_fn(move |context| {
            let mut answer = lock(&answer);
            match answer.0.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    answer.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await)
    }
}

impl Inbox {
    fn new(control: &Control<'_>, nat: &Arc<Nat64>, thread: u32) -> Result<Self, Failure> {
        let (bell, mut heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let queue = Queue::default();
        let (own, nat) = (Arc::clone(&queue), Arc::clone(nat));
        let fd = heard.try_clone()?;
        let watch = control.watch_file(fd.as_fd(), Interest::Readable, thread, move |worker, _| {
            // The queue is not locked while the errand runs: it may take a while.
            let Some(mut errand) = lock(&own).pop_front() else {
                // Nothing is left to be done: the bell falls silent, unless it rings for what has just come.
                let mut rung = [0; 64];
                let _ = heard.read(&mut rung);
                return;
            };
            let is_done = nat.with(worker, |local| errand(worker, local));
            if !is_done {
                lock(&own).push_front(errand);
            }
        })?;
        Ok(Self { queue, bell, _watch: watch })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walk_ends_where_numbers_ended_when_it_began() {
        let mut walk = Walk::default();
        assert_eq!(walk.portion(NUMBERS_PER_PASS + 1), 0..NUMBERS_PER_PASS);
        assert!(!walk.is_over());
        assert_eq!(walk.portion(10 * NUMBERS_PER_PASS), NUMBERS_PER_PASS..NUMBERS_PER_PASS + 1);
        assert!(walk.is_over());
        let mut none = Walk::default();
        assert_eq!((none.portion(0), none.is_over()), (0..0, true));
    }
}
