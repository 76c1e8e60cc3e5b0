//! Pings that are under way, and the answers that workers find for them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use raddle_plugin_api::Control;
use raddle_plugin_api::task::Remote;

use super::request::Answer;

/// Pings that can be under way at a time.
const MAX_PINGS: usize = 16;
/// In a slot: it is taken. The low 16 bits are the identifier.
const TAKEN: u32 = 1 << 16;
/// Answers that wait for a ping at most.
const MAX_EVENTS: usize = 4096;

/// All pings under way. A resource of the core.
pub struct Pings {
    remote: Remote,
    slots: [AtomicU32; MAX_PINGS],
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    next: u16,
    by_identifier: HashMap<u16, Arc<Session>>,
}

/// What happened to a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The request with this sequence number left at this time.
    Sent { sequence: u16, at_ns: u64 },
    /// An answer came at this time.
    Answered { answer: Answer, at_ns: u64 },
}

/// One ping.
#[derive(Default)]
pub(super) struct Session {
    state: Mutex<(VecDeque<Event>, Option<Waker>)>,
}

impl Session {
    /// Notes what happened. Events beyond a bound are lost.
    pub(super) fn push(&self, event: Event) {
        let mut state = lock(&self.state);
        if state.0.len() < MAX_EVENTS {
            state.0.push_back(event);
        }
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }

    /// What happened next.
    pub(super) async fn next(&self) -> Event {
        std::future::poll_fn(|context| {
            let mut state = lock(&self.state);
            if let Some(event) = state.0.pop_front() {
                return Poll::Ready(event);
            }
            state.1 = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// Ends the ping when it is dropped.
pub(super) struct Running {
    pings: Arc<Pings>,
    pub(super) identifier: u16,
    pub(super) session: Arc<Session>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let taken = TAKEN | u32::from(self.identifier);
        for slot in &self.pings.slots {
            // Only the slot that holds it changes; others fail, as they should.
            let _ = slot.compare_exchange(taken, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
        lock(&self.pings.sessions).by_identifier.remove(&self.identifier);
    }
}

impl Pings {
    /// None yet.
    pub fn new(control: &Control<'_>) -> Self {
        Self { remote: control.remote(), slots: Default::default(), sessions: Mutex::default() }
    }

    /// Begins a ping; `None` if too many are under way.
    pub(super) fn start(self: &Arc<Self>) -> Option<Running> {
        let mut sessions = lock(&self.sessions);
        let slot = self.slots.iter().find(|slot| slot.load(Ordering::Relaxed) == 0)?;
        // At most 16 are taken: one of the next 17 is free.
        let identifier = loop {
            sessions.next = sessions.next.wrapping_add(1);
            if !sessions.by_identifier.contains_key(&sessions.next) {
                break sessions.next;
            }
        };
        slot.store(TAKEN | u32::from(identifier), Ordering::Relaxed);
        let session = Arc::new(Session::default());
        sessions.by_identifier.insert(identifier, Arc::clone(&session));
        drop(sessions);
        Some(Running { pings: Arc::clone(self), identifier, session })
    }

    /// Whether a ping with this identifier is under way. Any thread.
    pub(super) fn is_running(&self, identifier: u16) -> bool {
        let taken = TAKEN | u32::from(identifier);
        self.slots.iter().any(|slot| slot.load(Ordering::Relaxed) == taken)
    }

    /// An answer came. Any thread.
    pub(super) fn report(&self, answer: Answer, at_ns: u64) {
        self.remote.run(move |control| {
            let Ok(pings) = control.resource::<Self>() else { return };
            let session = lock(&pings.sessions).by_identifier.get(&answer.identifier).cloned();
            if let Some(session) = session {
                session.push(Event::Answered { answer, at_ns });
            }
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
