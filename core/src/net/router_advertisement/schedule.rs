//! When advertisements go out on one interface (RFC 4861 §6.2.4 to §6.2.6). Time and chance come in as arguments.

const SECOND_NS: u64 = 1_000_000_000;
/// MAX_INITIAL_RTR_ADVERT_INTERVAL
const INITIAL_INTERVAL_NS: u64 = 16 * SECOND_NS;
/// MAX_INITIAL_RTR_ADVERTISEMENTS
const INITIAL_COUNT: u32 = 3;
/// MAX_FINAL_RTR_ADVERTISEMENTS
const FINAL_COUNT: u32 = 3;
/// MIN_DELAY_BETWEEN_RAS
const MIN_DELAY_NS: u64 = 3 * SECOND_NS;
/// MAX_RA_DELAY_TIME
const MAX_ANSWER_DELAY_NS: u64 = SECOND_NS / 2;

/// What is to be sent now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// An advertisement.
    Advertisement,
    /// One that says that this is no default router any more.
    Final,
}

/// The advertisements of one interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    min_ns: u64,
    max_ns: u64,
    initial: u32,
    /// How many final ones are to come; `None`: it advertises.
    finals: Option<u32>,
    last_ns: Option<u64>,
    next_ns: Option<u64>,
}

impl Schedule {
    /// Begins to advertise, at once (§6.2.4).
    pub fn start(now_ns: u64, min_seconds: u64, max_seconds: u64) -> Self {
        Self {
            min_ns: min_seconds * SECOND_NS,
            max_ns: max_seconds * SECOND_NS,
            initial: INITIAL_COUNT,
            finals: None,
            last_ns: None,
            next_ns: Some(now_ns),
        }
    }

    /// Whether it advertises: it has not been ended.
    pub fn is_active(&self) -> bool {
        self.finals.is_none()
    }

    /// When [`Schedule::due`] has something to say next; `None`: never more.
    pub fn next_ns(&self) -> Option<u64> {
        self.next_ns
    }

    /// Other intervals, or another content: hosts hear soon, as at the start.
    pub fn restart(&mut self, now_ns: u64, min_seconds: u64, max_seconds: u64) {
        let last_ns = self.last_ns;
        *self = Self::start(now_ns, min_seconds, max_seconds);
        self.last_ns = last_ns;
        // §6.2.6: however often the operator changes his mind.
        self.next_ns = Some(last_ns.map_or(now_ns, |last| now_ns.max(last.saturating_add(MIN_DELAY_NS))));
    }

    /// Ends: the last ones say so (§6.2.5), the first of them at once.
    pub fn end(&mut self, now_ns: u64) {
        if self.finals.is_none() {
            // Who was never told needs no farewell.
            self.finals = Some(if self.last_ns.is_some() { FINAL_COUNT } else { 0 });
            self.next_ns = self.last_ns.map(|_| now_ns);
        }
    }

    /// A host asks (§6.2.6). `random(most)` gives a number from 0 to `most`.
    pub fn solicited(&mut self, now_ns: u64, random: impl FnOnce(u64) -> u64) {
        if !self.is_active() {
            return;
        }
        let earliest = self.last_ns.map_or(now_ns, |last| now_ns.max(last.saturating_add(MIN_DELAY_NS)));
        let answer = earliest.saturating_add(random(MAX_ANSWER_DELAY_NS));
        // One that is to come sooner answers all.
        self.next_ns = Some(self.next_ns.map_or(answer, |next| next.min(answer)));
    }

    /// What is to be sent by now, if anything is; to be asked until it says `None`.
    pub fn due(&mut self, now_ns: u64, random: impl FnOnce(u64) -> u64) -> Option<Due> {
        self.next_ns.filter(|next| *next <= now_ns)?;
        self.last_ns = Some(now_ns);
        match self.finals {
            Some(left) => {
                let left = left.saturating_sub(1);
                self.finals = Some(left);
                self.next_ns = (left > 0).then(|| now_ns.saturating_add(MIN_DELAY_NS));
                Some(Due::Final)
            }
            None => {
                let mut wait = self.min_ns.saturating_add(random(self.max_ns.saturating_sub(self.min_ns)));
                self.initial = self.initial.saturating_sub(1);
                if self.initial > 0 {
                    wait = wait.min(INITIAL_INTERVAL_NS);
                }
                self.next_ns = Some(now_ns.saturating_add(wait));
                Some(Due::Advertisement)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEAST: fn(u64) -> u64 = |_| 0;
    const MOST: fn(u64) -> u64 = |most| most;

    fn sent(schedule: &mut Schedule, until_seconds: u64, random: fn(u64) -> u64) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some(next) = schedule.next_ns().filter(|next| *next <= until_seconds * SECOND_NS) {
            assert!(schedule.due(next, random).is_some());
            times.push(next / SECOND_NS);
        }
        times
    }

    // RFC 4861 §6.2.4
    #[test]
    fn the_first_three_come_fast_the_others_between_the_intervals() {
        let mut schedule = Schedule::start(0, 200, 600);
        assert_eq!(sent(&mut schedule, 1300, MOST), [0, 16, 32, 632, 1232]);
        let mut schedule = Schedule::start(0, 200, 600);
        assert_eq!(sent(&mut schedule, 500, LEAST), [0, 16, 32, 232, 432]);
        let mut schedule = Schedule::start(0, 3, 4);
        assert_eq!(sent(&mut schedule, 13, MOST), [0, 4, 8, 12]);
    }

    // RFC 4861 §6.2.6
    #[test]
    fn a_host_is_answered_soon_but_not_within_three_seconds_of_the_last() {
        let mut schedule = Schedule::start(0, 200, 600);
        sent(&mut schedule, 100, MOST);
        schedule.solicited(100 * SECOND_NS, MOST);
        assert_eq!(schedule.next_ns(), Some(100 * SECOND_NS + SECOND_NS / 2));
        let at = schedule.next_ns().unwrap();
        assert_eq!(schedule.due(at, LEAST), Some(Due::Advertisement));
        schedule.solicited(at + 1, LEAST);
        schedule.solicited(at + 2, MOST);
        assert_eq!(schedule.next_ns(), Some(at + 3 * SECOND_NS), "one answers both");
    }

    // RFC 4861 §6.2.5
    #[test]
    fn the_end_is_told_three_times() {
        let mut schedule = Schedule::start(0, 200, 600);
        sent(&mut schedule, 10, MOST);
        schedule.end(11 * SECOND_NS);
        schedule.solicited(12 * SECOND_NS, LEAST);
        assert!(!schedule.is_active());
        for second in [11, 14, 17] {
            assert_eq!(schedule.next_ns(), Some(second * SECOND_NS));
            assert_eq!(schedule.due(second * SECOND_NS, LEAST), Some(Due::Final));
        }
        assert_eq!(schedule.next_ns(), None);
        let mut silent = Schedule::start(5, 200, 600);
        silent.end(5);
        assert_eq!(silent.next_ns(), None, "nobody was told of it");
    }

    #[test]
    fn a_change_is_told_soon() {
        let mut schedule = Schedule::start(0, 200, 600);
        sent(&mut schedule, 40, MOST);
        schedule.restart(33 * SECOND_NS, 3, 4);
        assert_eq!(schedule.next_ns(), Some(35 * SECOND_NS), "three seconds after the last");
        assert_eq!(sent(&mut schedule, 40, MOST), [35, 39]);
    }

    proptest! {
        // RFC 4861 §6.2.6: whatever hosts ask, no more than one in three seconds.
        #[test]
        fn no_two_within_three_seconds(
            steps in proptest::collection::vec((0u64..5_000_000_000, any::<bool>(), any::<u64>()), 1..200),
        ) {
            let mut schedule = Schedule::start(0, 3, 4);
            let (mut now, mut last) = (0, None::<u64>);
            for (step, asked, chance) in steps {
                now += step;
                let random = |most: u64| chance % (most + 1);
                if asked {
                    schedule.solicited(now, random);
                }
                if schedule.due(now, random).is_some() {
                    prop_assert!(last.is_none_or(|last| now - last >= 3 * SECOND_NS));
                    last = Some(now);
                    prop_assert!(schedule.due(now, random).is_none());
                }
            }
        }
    }
}
