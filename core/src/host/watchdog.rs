//! Looks every second whether a node, or a call on the main thread, does not return, and says which.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::crash::{calls, current_call, node_label};
use crate::runtime::Shared;

/// From one look to the next.
const LOOK: Duration = Duration::from_secs(1);
/// Looks after which what has not moved is said not to return.
const MOST_LOOKS: u32 = 3;

/// The thread that looks.
pub struct Watchdog {
    ended: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts to look after these threads, the main one first.
    ///
    /// # Errors
    /// The system starts no more threads.
    pub fn start(threads: Vec<Arc<Shared>>) -> std::io::Result<Self> {
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let wait = Arc::clone(&ended);
        let run = move || {
            let mut watched: Vec<Watched> = threads.into_iter().enumerate().map(Watched::new).collect();
            let mut main = Stay::default();
            let (ended, bell) = &*wait;
            let mut guard = ended.lock().unwrap_or_else(PoisonError::into_inner);
            while !*guard {
                guard = bell.wait_timeout(guard, LOOK).unwrap_or_else(PoisonError::into_inner).0;
                watched.iter_mut().for_each(Watched::look);
                look_at_calls(&mut main);
            }
        };
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(run)?;
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *self.ended.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ended.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // It only looks and logs.
            let _ = thread.join();
        }
    }
}

/// How long something has not moved.
#[derive(Default)]
struct Stay {
    /// What it was at, and how far it was.
    at: Option<(u32, u64)>,
    looks: u32,
}

/// What a look has shown.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Nothing,
    /// It does not return.
    Stuck,
    /// What did not return did after so many looks.
    Back(u32),
}

impl Stay {
    /// Another look at it: `at` is what it is at, `None` nothing.
    fn look(&mut self, at: Option<(u32, u64)>) -> Finding {
        if at.is_some() && at == self.at {
            self.looks += 1;
            return if self.looks == MOST_LOOKS { Finding::Stuck } else { Finding::Nothing };
        }
        self.at = at;
        let looks = std::mem::take(&mut self.looks);
        if looks >= MOST_LOOKS { Finding::Back(looks) } else { Finding::Nothing }
    }
}

/// A thread of the graph.
struct Watched {
    thread: usize,
    shared: Arc<Shared>,
    stay: Stay,
    /// What was said of it.
    said: String,
}

impl Watched {
    fn new((thread, shared): (usize, Arc<Shared>)) -> Self {
        Self { thread, shared, stay: Stay::default(), said: String::new() }
    }

    fn look(&mut self) {
        let node = self.shared.current.load(Ordering::Relaxed);
        let passes = self.shared.passes.load(Ordering::Relaxed);
        match self.stay.look((node != u32::MAX).then_some((node, passes))) {
            Finding::Nothing => {}
            Finding::Stuck => {
                self.said = node_label(node).map_or_else(
                    || format!("node {node}"),
                    |label| {
                        format!(
                            "node `{}` of plugin `{}` {}",
                            label.name, label.plugin.name, label.plugin.version
                        )
                    },
                );
                tracing::error!(
                    thread = self.thread,
                    "{} does not return: its thread has been in it for {} s, and forwards nothing meanwhile",
                    self.said,
                    MOST_LOOKS
                );
            }
            Finding::Back(looks) => tracing::warn!("{} has returned, after about {looks} s", self.said),
        }
    }
}

fn look_at_calls(stay: &mut Stay) {
    let call = current_call().filter(|call| call.plugin.name != super::images::CORE);
    let number = calls();
    if stay.look(call.map(|_| (0, number))) == Finding::Stuck
        && let Some(call) = call
    {
        tracing::error!(
            "plugin `{}` {} does not return from its {}: the main thread has waited for {} s",
            call.plugin.name,
            call.plugin.version,
            call.doing,
            MOST_LOOKS
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_move_is_said_once_and_so_is_its_return() {
        let mut stay = Stay::default();
        let at = Some((7, 100));
        let findings: Vec<_> = (0..6).map(|_| stay.look(at)).collect();
        assert_eq!(findings.iter().filter(|&finding| *finding == Finding::Stuck).count(), 1);
        assert_eq!(findings[3], Finding::Stuck);
        assert_eq!(stay.look(Some((7, 101))), Finding::Back(5));
        assert_eq!(stay.look(None), Finding::Nothing);
        assert!((0..9).all(|_| stay.look(None) == Finding::Nothing), "a thread that sleeps is not stuck");
        assert!(
            (0..9).all(|pass| stay.look(Some((7, pass))) == Finding::Nothing),
            "a thread that passes is not stuck"
        );
    }
}
