//! The groups of one family on one interface, and when to tell of them (RFC 3376 §5, §7.2; RFC 3810 §6, §8.2). Time comes in as
//! ns of the monotonic clock, chance as a function.

use std::collections::BTreeMap;

use super::report::{Record, RecordKind, Report};

/// Robustness variable (RFC 3376 §8.1), until a query says another one.
const ROBUSTNESS: u8 = 2;
/// Query interval (RFC 3376 §8.2), until a query says another one.
const QUERY_INTERVAL_NS: u64 = 125 * SECOND_NS;
/// Query response interval (RFC 3376 §8.3).
const RESPONSE_INTERVAL_NS: u64 = 10 * SECOND_NS;
/// Unsolicited report interval (RFC 3376 §8.11, and §8.11 of RFC 2236 for the older version).
const UNSOLICITED_NS: u64 = SECOND_NS;
const UNSOLICITED_OLDER_NS: u64 = 10 * SECOND_NS;
/// The most repetitions that a querier can ask for.
const MAX_ROBUSTNESS: u8 = 7;
/// Sources of one group that are kept in mind: an answer of as many fits the smallest link. Who asks for more is told of the
/// whole group, which says more than was asked.
const MAX_SOURCES: usize = 48;
const SECOND_NS: u64 = 1_000_000_000;

/// Which version the link's querier speaks (RFC 3376 §7.2.1, RFC 3810 §8.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compatibility {
    /// IGMPv1.
    Oldest,
    /// IGMPv2, MLDv1.
    Older,
    /// IGMPv3, MLDv2.
    #[default]
    Current,
}

/// A query, as far as a host needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<A> {
    /// Of which group; `None`: of all.
    pub group: Option<A>,
    /// Of which sources of the group; none: of all.
    pub sources: Vec<A>,
    /// Its version.
    pub version: Compatibility,
    /// How long to wait with the answer at most.
    pub max_delay_ns: u64,
    /// The querier's robustness variable; 0: it does not say.
    pub robustness: u8,
    /// The querier's interval; 0: it does not say.
    pub interval_ns: u64,
}

/// A group.
#[derive(Clone, Debug)]
pub struct GroupState<A> {
    /// How many have joined it; with 0 it has been left, and that is still being told.
    pub references: u32,
    /// Never told of: the link's routers do not ask for it.
    pub is_silent: bool,
    /// Times that the change is still to be told, and when the next time is.
    change: Option<(u8, u64)>,
    /// What a query has asked, and is still to be answered.
    answer: Option<Answer<A>>,
    /// We were the last to report it, as far as we have heard (RFC 2236 §3).
    is_last_reporter: bool,
}

/// An answer to queries of one group.
#[derive(Clone, Debug)]
struct Answer<A> {
    due_ns: u64,
    /// The sources that were asked for; none: the whole group.
    sources: Vec<A>,
}

impl<A> Default for GroupState<A> {
    fn default() -> Self {
        Self { references: 0, is_silent: false, change: None, answer: None, is_last_reporter: false }
    }
}

/// The groups of one family on one interface.
#[derive(Debug)]
pub struct Membership<A> {
    groups: BTreeMap<A, GroupState<A>>,
    general_answer_ns: Option<u64>,
    robustness: u8,
    interval_ns: u64,
    /// Until when queriers of the two older versions count as present.
    older_until_ns: u64,
    oldest_until_ns: u64,
}

impl<A> Default for Membership<A> {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
            general_answer_ns: None,
            robustness: ROBUSTNESS,
            interval_ns: QUERY_INTERVAL_NS,
            older_until_ns: 0,
            oldest_until_ns: 0,
        }
    }
}

impl<A: Copy + Ord> Membership<A> {
    /// Which version is spoken now.
    pub fn compatibility(&self, now_ns: u64) -> Compatibility {
        if now_ns < self.oldest_until_ns {
            Compatibility::Oldest
        } else if now_ns < self.older_until_ns {
            Compatibility::Older
        } else {
            Compatibility::Current
        }
    }

    /// The groups, those that have been left and are still told of included.
    pub fn groups(&self) -> impl Iterator<Item = (A, &GroupState<A>)> {
        self.groups.iter().map(|(group, state)| (*group, state))
    }

    /// Whether the group is joined.
    pub fn contains(&self, group: A) -> bool {
        self.groups.get(&group).is_some_and(|state| state.references > 0)
    }

    /// How many groups are joined.
    pub fn len(&self) -> usize {
        self.groups.values().filter(|state| state.references > 0).count()
    }

    /// Whether no group is joined.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Joins a group, once more or for the first time, which is told; `is_silent`: but not of this group.
    pub fn join(&mut self, now_ns: u64, group: A, is_silent: bool) {
        let robustness = self.robustness;
        let state = self.groups.entry(group).or_default();
        state.references = state.references.saturating_add(1);
        state.is_silent = is_silent;
        if state.references == 1 && !is_silent {
            state.change = Some((robustness, now_ns));
        }
    }

    /// Leaves a group that was joined once less often or for the last time, which is told. `false` if it was not joined.
    pub fn leave(&mut self, now_ns: u64, group: A) -> bool {
        let (robustness, compatibility) = (self.robustness, self.compatibility(now_ns));
        let Some(state) = self.groups.get_mut(&group).filter(|state| state.references > 0) else {
            return false;
        };
        state.references -= 1;
        if state.references == 0 {
            state.answer = None;
            // RFC 2236 §3: who was not the last to report need not say that it leaves; IGMPv1 has no word for it.
            let is_told = match compatibility {
                Compatibility::Current => true,
                Compatibility::Older => state.is_last_reporter,
                Compatibility::Oldest => false,
            };
            if state.is_silent || !is_told {
                self.groups.remove(&group);
            } else {
                let times = if compatibility == Compatibility::Current { robustness } else { 1 };
                state.change = Some((times, now_ns));
            }
        }
        true
    }

    /// The interface has come up: the link's routers are told of all groups anew, and nothing is known of its queriers.
    pub fn restart(&mut self, now_ns: u64) {
        self.groups.retain(|_, state| state.references > 0);
        let groups = std::mem::take(&mut self.groups);
        *self = Self { groups, ..Self::default() };
        for state in self.groups.values_mut() {
            state.answer = None;
            state.change = (!state.is_silent).then_some((ROBUSTNESS, now_ns));
        }
    }

    /// A query has come; `chance(n)` is a number below `n`.
    pub fn query(&mut self, now_ns: u64, query: &Query<A>, mut chance: impl FnMut(u64) -> u64) {
        self.heed_querier(now_ns, query);
        let due_ns = now_ns.saturating_add(chance(query.max_delay_ns.saturating_add(1)));
        // RFC 3376 §5.2, RFC 3810 §6.2, rules 1 to 5; older queries have one timer a group (RFC 2236 §3).
        match query.group {
            None if self.compatibility(now_ns) == Compatibility::Current => {
                self.general_answer_ns = Some(earlier(self.general_answer_ns, due_ns));
            }
            None => {
                for state in self.groups.values_mut().filter(|state| state.is_reported()) {
                    let due_ns = now_ns.saturating_add(chance(query.max_delay_ns.saturating_add(1)));
                    state.ask(due_ns, &[]);
                }
            }
            Some(group) => {
                if self.general_answer_ns.is_some_and(|general_ns| general_ns <= due_ns) {
                    return;
                }
                if let Some(state) = self.groups.get_mut(&group).filter(|state| state.is_reported()) {
                    state.ask(due_ns, &query.sources);
                }
            }
        }
    }

    /// Another host has reported a group: with older versions one is enough (RFC 2236 §3, RFC 2710 §4).
    pub fn heard_report(&mut self, now_ns: u64, group: A) {
        if self.compatibility(now_ns) == Compatibility::Current {
            return;
        }
        if let Some(state) = self.groups.get_mut(&group) {
            state.is_last_reporter = false;
            state.answer = None;
            if state.references > 0 {
                state.change = None;
            }
        }
    }

    /// When there is something to be told.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let of_groups = self.groups.values().flat_map(|state| {
            let answer_ns = state.answer.as_ref().map(|answer| answer.due_ns);
            [answer_ns, state.change.map(|(_, due_ns)| due_ns)].into_iter().flatten()
        });
        of_groups.chain(self.general_answer_ns).min()
    }

    /// What is to be told by now.
    pub fn expire(&mut self, now_ns: u64, mut chance: impl FnMut(u64) -> u64) -> Vec<Report<A>> {
        let compatibility = self.compatibility(now_ns);
        let general = self.general_answer_ns.is_some_and(|due_ns| due_ns <= now_ns);
        if general {
            self.general_answer_ns = None;
        }
        let interval_ns = match compatibility {
            Compatibility::Current => UNSOLICITED_NS,
            _ => UNSOLICITED_OLDER_NS,
        };
        let mut told = Vec::new();
        for (&group, state) in &mut self.groups {
            if let Some((times, due_ns)) = state.change.filter(|(_, due_ns)| *due_ns <= now_ns) {
                let kind = if state.references > 0 { RecordKind::ToExclude } else { RecordKind::ToInclude };
                told.push(Record { kind, group, sources: Vec::new() });
                state.is_last_reporter = true;
                let next_ns = due_ns.max(now_ns).saturating_add(1 + chance(interval_ns));
                state.change = (times > 1).then(|| (times - 1, next_ns));
            }
            let asked = state.answer.take_if(|answer| general || answer.due_ns <= now_ns);
            if (asked.is_some() || general) && state.is_reported() {
                // RFC 3376 §5.2, the table of EXCLUDE ({}): of the sources B it is IS_IN (B), for none is excluded.
                let sources = asked.filter(|_| !general).map(|answer| answer.sources).unwrap_or_default();
                let kind = if sources.is_empty() { RecordKind::IsExclude } else { RecordKind::IsInclude };
                told.push(Record { kind, group, sources });
                state.is_last_reporter = true;
            }
        }
        self.groups.retain(|_, state| state.references > 0 || state.change.is_some());
        as_spoken(told, compatibility)
    }

    /// RFC 3376 §4.1.6, §4.1.7, §7.2.1, §8.12.
    fn heed_querier(&mut self, now_ns: u64, query: &Query<A>) {
        let before = self.compatibility(now_ns);
        if query.robustness > 0 {
            self.robustness = query.robustness.min(MAX_ROBUSTNESS);
        }
        if query.interval_ns > 0 {
            self.interval_ns = query.interval_ns;
        }
        let present_ns = u64::from(self.robustness)
            .saturating_mul(self.interval_ns)
            .saturating_add(RESPONSE_INTERVAL_NS.max(query.max_delay_ns));
        let until_ns = now_ns.saturating_add(present_ns);
        match query.version {
            Compatibility::Oldest => self.oldest_until_ns = until_ns,
            Compatibility::Older => self.older_until_ns = until_ns,
            Compatibility::Current => {}
        }
        // "Whenever a host changes its compatibility mode, it cancels all its pending response and retransmission timers."
        if self.compatibility(now_ns) != before {
            self.general_answer_ns = None;
            for state in self.groups.values_mut() {
                (state.answer, state.change) = (None, None);
            }
            self.groups.retain(|_, state| state.references > 0);
        }
    }
}

impl<A: Copy + PartialEq> GroupState<A> {
    const fn is_reported(&self) -> bool {
        self.references > 0 && !self.is_silent
    }

    /// Has the group answered for by `due_ns`, for these sources or, with none, as a whole (RFC 3376 §5.2, rules 3 to 5).
    fn ask(&mut self, due_ns: u64, sources: &[A]) {
        let Some(answer) = &mut self.answer else {
            let sources = if sources.len() > MAX_SOURCES { Vec::new() } else { sources.to_vec() };
            self.answer = Some(Answer { due_ns, sources });
            return;
        };
        answer.due_ns = answer.due_ns.min(due_ns);
        if answer.sources.is_empty() || sources.is_empty() {
            answer.sources.clear();
            return;
        }
        for source in sources {
            if !answer.sources.contains(source) {
                answer.sources.push(*source);
            }
        }
        if answer.sources.len() > MAX_SOURCES {
            answer.sources.clear();
        }
    }
}

fn earlier(present_ns: Option<u64>, due_ns: u64) -> u64 {
    present_ns.map_or(due_ns, |present_ns| present_ns.min(due_ns))
}

/// The records as messages of the version that is spoken.
fn as_spoken<A: Copy>(records: Vec<Record<A>>, compatibility: Compatibility) -> Vec<Report<A>> {
    if records.is_empty() {
        return Vec::new();
    }
    let older = |record: Record<A>| match (record.kind, compatibility) {
        (RecordKind::ToInclude, Compatibility::Oldest) => None,
        (RecordKind::ToInclude, _) => Some(Report::Leave(record.group)),
        (_, Compatibility::Oldest) => Some(Report::Oldest(record.group)),
        _ => Some(Report::Older(record.group)),
    };
    match compatibility {
        Compatibility::Current => vec![Report::Current(records)],
        _ => records.into_iter().filter_map(older).collect(),
    }
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
