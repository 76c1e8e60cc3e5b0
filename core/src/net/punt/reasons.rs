//! The reasons that there are, their limits and their counts.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raddle_plugin_api::abi::MAX_INTERFACES;
use raddle_plugin_api::config::{InRange, nearest};
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::punt::{
    MAX_PUNT_RATE, MAX_PUNT_REASONS, PuntLimit, PuntLimitConfig, PuntReason, PuntReasonRequest,
};
use serde::Serialize;

use super::PuntConfig;
use crate::net::rate_limit::{Rate, TokenBucket};

/// What became of a punted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A plugin took it.
    Taken,
    /// There were too many.
    Limited,
    /// No plugin wants packets of its interface.
    Unclaimed,
}

/// Fates that there are.
const FATES: usize = 3;

/// The core's reasons, by number.
const OF_THE_CORE: [(PuntReason, &str, &str, PuntLimit); 10] = [
    (PuntReason::OTHER, "other", "punted without a reason", limit(10_000, 1000)),
    (PuntReason::ARP, "arp", "copies of ARP packets", limit(2000, 500)),
    (PuntReason::ND, "nd", "copies of neighbour discovery", limit(2000, 500)),
    (PuntReason::GROUPS, "groups", "copies of IGMP and MLD messages", limit(1000, 200)),
    (PuntReason::MULTICAST, "multicast", "to groups that raddle has not joined", limit(10_000, 1000)),
    (PuntReason::ICMP, "icmp", "ICMP messages about what raddle did not send", limit(10_000, 1000)),
    (PuntReason::ROUTING, "routing", "routing protocols", limit(50_000, 10_000)),
    // Bulk transfers to the host are welcome, and each packet may be a large one.
    (PuntReason::TCP, "tcp", "TCP to own addresses", limit(500_000, 50_000)),
    (PuntReason::UDP, "udp", "UDP to own addresses", limit(100_000, 10_000)),
    (PuntReason::PROTOCOL, "protocol", "other protocols to own addresses", limit(50_000, 5000)),
];

const fn limit(rate: u32, burst: u32) -> PuntLimit {
    PuntLimit { rate, burst }
}

#[derive(Clone, Debug)]
struct Reason {
    name: String,
    summary: String,
    usual: PuntLimit,
    limit: PuntLimit,
}

/// The reasons. A resource of the core.
pub struct PuntReasons {
    all: Mutex<Vec<Reason>>,
    /// What the operator says of reasons, also of those that nobody has registered yet.
    wanted: Mutex<BTreeMap<String, PuntLimitConfig>>,
    /// By reason: a thread's time between two tokens in ns, and how many there are at most.
    shares: [(AtomicU64, AtomicU32); MAX_PUNT_REASONS],
    threads: u32,
    counters: Counters,
}

/// A reason, as `show punt` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReasonReport {
    /// Its name.
    pub reason: String,
    /// Packets a second on account of one interface.
    pub rate: u32,
    /// Packets at once.
    pub burst: u32,
    /// Packets that a plugin took.
    pub taken: u64,
    /// Packets that were too many.
    pub limited: u64,
    /// Packets that no plugin wanted.
    pub unclaimed: u64,
    /// What it is.
    pub summary: String,
}

impl PuntReasons {
    /// The core's reasons, with the limits that the operator wants.
    ///
    /// # Errors
    /// The host has no memory for the counters.
    pub fn new(control: &Control<'_>, config: PuntConfig) -> Result<Self, Failure> {
        // The main thread forwards only where there are no workers.
        let threads = control.thread_count().saturating_sub(1).max(1);
        let reasons = Self {
            all: Mutex::default(),
            wanted: Mutex::new(config.0),
            shares: std::array::from_fn(|_| Default::default()),
            threads,
            counters: control.counters("punt", MAX_PUNT_REASONS * FATES)?,
        };
        for (number, name, summary, limit) in OF_THE_CORE {
            let request = PuntReasonRequest { name: name.into(), summary: summary.into(), limit };
            let given = reasons.register(&request)?;
            debug_assert_eq!(given, number);
        }
        Ok(reasons)
    }

    /// The reason of this name, made if it is not there.
    ///
    /// # Errors
    /// The name is none, the limit is out of its bounds, or there are too many.
    pub fn register(&self, request: &PuntReasonRequest) -> Result<PuntReason, Failure> {
        let PuntReasonRequest { name, summary, limit } = request;
        check(*limit)?;
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 31 || !name.bytes().all(fits) {
            bail!("{name:?} is no name of a punt reason: up to 31 lower-case letters, digits and `-`");
        }
        let mut all = self.all();
        let known = all.iter().position(|reason| reason.name == *name);
        let at = match known {
            Some(at) => at,
            None if all.len() == MAX_PUNT_REASONS => {
                bail!("there is no room for punt reason `{name}`: there are {MAX_PUNT_REASONS} already")
            }
            None => {
                let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
                all.push(Reason {
                    name: name.clone(),
                    summary: summary.clone(),
                    usual: *limit,
                    limit: wanted.map_or(*limit, PuntLimit::from),
                });
                self.share_out(all.len() - 1, all[all.len() - 1].limit);
                all.len() - 1
            }
        };
        // There are no more than 64.
        Ok(PuntReason::from_number(at as u16))
    }

    /// Sets the limit of a reason.
    ///
    /// # Errors
    /// There is none of this name, or the limit is out of its bounds.
    pub fn set(&self, name: &str, limit: PuntLimit) -> Result<(), Failure> {
        check(limit)?;
        let mut all = self.all();
        let Some(at) = all.iter().position(|reason| reason.name == name) else {
            return Err(unknown(name, &all));
        };
        all[at].limit = limit;
        self.share_out(at, limit);
        Ok(())
    }

    /// The operator's file says `config` now: reasons of which it says something else than before get that limit, or the usual one where
    /// it says nothing any more. Others keep theirs, also those that a command has set.
    pub fn take_up(&self, config: PuntConfig) {
        let mut all = self.all();
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, reason) in all.iter_mut().enumerate() {
            let new = config.0.get(&reason.name);
            if wanted.get(&reason.name) != new {
                reason.limit = new.copied().map_or(reason.usual, PuntLimit::from);
                self.share_out(at, reason.limit);
            }
        }
        *wanted = config.0;
    }

    /// The limits that differ from the usual ones, as the section of the configuration has them.
    pub fn config(&self) -> PuntConfig {
        let all = self.all();
        let changed = all.iter().filter(|reason| reason.limit != reason.usual);
        let bounds = |limit: PuntLimit| {
            let rate = InRange::new(limit.rate.into())?;
            Some(PuntLimitConfig { rate, burst: InRange::new(limit.burst.into())? })
        };
        PuntConfig(changed.filter_map(|reason| Some((reason.name.clone(), bounds(reason.limit)?))).collect())
    }

    /// Names in the configuration of which there is no reason.
    pub fn unknown(&self) -> Vec<Failure> {
        let all = self.all();
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = wanted.keys().filter(|name| all.iter().all(|reason| reason.name != **name));
        missing.map(|name| unknown(name, &all)).collect()
    }

    /// The reasons with their counts, by number.
    pub fn reports(&self) -> Vec<ReasonReport> {
        let count = |at: usize, fate: Fate| self.counters.sum(at * FATES + fate as usize);
        let report = |(at, reason): (usize, &Reason)| ReasonReport {
            reason: reason.name.clone(),
            rate: reason.limit.rate,
            burst: reason.limit.burst,
            taken: count(at, Fate::Taken),
            limited: count(at, Fate::Limited),
            unclaimed: count(at, Fate::Unclaimed),
            summary: reason.summary.clone(),
        };
        self.all().iter().enumerate().map(report).collect()
    }

    /// The name of a reason.
    pub fn name(&self, reason: PuntReason) -> String {
        let all = self.all();
        all.get(usize::from(reason.number())).map_or_else(|| "other".to_owned(), |reason| reason.name.clone())
    }

    /// Counts a packet.
    #[inline]
    pub fn count(&self, worker: &Worker<'_>, reason: PuntReason, fate: Fate) {
        let at = usize::from(reason.number()).min(MAX_PUNT_REASONS - 1);
        self.counters.add(worker, at * FATES + fate as usize, 1);
    }

    fn share_out(&self, at: usize, limit: PuntLimit) {
        let share = Rate::new(limit.rate.div_ceil(self.threads), limit.burst.div_ceil(self.threads));
        let (interval_ns, burst) = &self.shares[at];
        interval_ns.store(share.interval_ns(), Ordering::Relaxed);
        burst.store(share.burst(), Ordering::Relaxed);
    }

    fn share(&self, at: usize) -> Rate {
        let (interval_ns, burst) = &self.shares[at];
        Rate::from_interval(interval_ns.load(Ordering::Relaxed), burst.load(Ordering::Relaxed))
    }

    fn all(&self) -> MutexGuard<'_, Vec<Reason>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(limit: PuntLimit) -> Result<(), Failure> {
    for number in [limit.rate, limit.burst] {
        if !(1..=MAX_PUNT_RATE).contains(&u64::from(number)) {
            bail!("{number} punted packets a second or at once: expected a number from 1 to {MAX_PUNT_RATE}");
        }
    }
    Ok(())
}

fn unknown(name: &str, all: &[Reason]) -> Failure {
    let names = || all.iter().map(|reason| reason.name.as_str());
    match nearest(name, names()) {
        Some(nearest) => failure!("there is no punt reason `{name}`; did you mean `{nearest}`?"),
        None => {
            failure!(
                "there is no punt reason `{name}`; there are: {}",
                names().collect::<Vec<_>>().join(", ")
            )
        }
    }
}

/// One thread's buckets: of each interface one for each reason, made when its first packet is punted.
pub struct PuntBuckets {
    reasons: Arc<PuntReasons>,
    interfaces: Box<[Option<Box<[TokenBucket]>>]>,
}

impl PuntBuckets {
    /// Full buckets.
    pub fn new(reasons: Arc<PuntReasons>) -> Self {
        Self { reasons, interfaces: (0..=MAX_INTERFACES).map(|_| None).collect() }
    }

    /// Takes a token of the interface for the reason; `false` if there is none.
    #[inline]
    pub fn take(&mut self, reason: PuntReason, interface: InterfaceIndex, now_ns: u64) -> bool {
        let at = usize::from(reason.number()).min(MAX_PUNT_REASONS - 1);
        let share = self.reasons.share(at);
        let row = &mut self.interfaces[(interface.0 as usize).min(MAX_INTERFACES)];
        let full = TokenBucket::with_rate(Rate::new(1, 1));
        let bucket = &mut row.get_or_insert_with(|| vec![full; MAX_PUNT_REASONS].into())[at];
        bucket.set_rate(share);
        bucket.take(now_ns)
    }
}
