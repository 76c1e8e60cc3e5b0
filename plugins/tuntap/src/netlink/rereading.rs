//! When the routes are read again.

use std::time::{Duration, Instant};

/// How long after something went that may have taken routes with it the routes are read again: more may go with it.
const QUIET: Duration = Duration::from_millis(200);
/// How long that can put it off, and after how long it is tried again when it failed.
const AT_MOST: Duration = Duration::from_secs(1);

/// The next reading that was asked for, if any.
#[derive(Debug, Default)]
pub struct Rereading {
    next: Option<Next>,
}

#[derive(Clone, Copy, Debug)]
struct Next {
    at: Instant,
    by: Instant,
}

impl Rereading {
    /// It is wanted once nothing more goes, or soon after all the same.
    pub fn ask(&mut self, now: Instant) {
        let by = self.next.map_or(now + AT_MOST, |next| next.by);
        self.next = Some(Next { at: by.min(now + QUIET), by });
    }

    /// Something failed: it is tried again after a while, unless it is to be done earlier.
    pub fn ask_after_failure(&mut self, now: Instant) {
        let by = now + AT_MOST;
        self.next.get_or_insert(Next { at: by, by });
    }

    /// How long it is until then.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        self.next.map(|next| next.at.saturating_duration_since(now))
    }

    /// Whether it is time; it is asked for no more then.
    pub fn is_due(&mut self, now: Instant) -> bool {
        self.next.take_if(|next| next.at <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_go_on_put_it_off_for_a_bounded_time() {
        let (begin, mut rereading) = (Instant::now(), Rereading::default());
        let mut done = Vec::new();
        for step in 0..30_u32 {
            let now = begin + QUIET / 2 * step;
            if rereading.is_due(now) {
                done.push(now - begin);
            }
            rereading.ask(now);
        }
        assert_eq!(done, [AT_MOST, AT_MOST * 2], "each time that long after what asked for it first");
        let end = begin + QUIET / 2 * 29;
        assert!(rereading.left(end) <= Some(QUIET));
        assert!(rereading.is_due(end + QUIET) && !rereading.is_due(end + QUIET));
        assert_eq!(rereading.left(end), None);
    }

    #[test]
    fn a_failure_does_not_put_off_what_is_asked_for() {
        let (now, mut rereading) = (Instant::now(), Rereading::default());
        rereading.ask_after_failure(now);
        assert_eq!(rereading.left(now), Some(AT_MOST));
        rereading.ask(now);
        rereading.ask_after_failure(now);
        assert_eq!(rereading.left(now), Some(QUIET));
    }
}
