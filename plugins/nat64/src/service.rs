//! What nodes and commands share.

use std::sync::atomic::AtomicBool;

use raddle_plugin_api::metric::Gauges;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::state::{Arena, KeptPerThread, KeptState};
use raddle_plugin_api::sync::{PerThread, Published};
use raddle_plugin_api::table::{HashSeed, Kept, TableKey};
use raddle_plugin_api::wire::{Ip4Address, Ip6Address};

use crate::held::HeldSyns;
use crate::log::SessionLog;
use crate::state::{Ended, Opened, Protocol, Rules, Shard, ShardPlan, Share, Ticks};

/// Ticks of a second.
pub const TICKS_PER_SECOND: u32 = 4;
/// Nanoseconds of a tick.
pub const TICK_NS: u64 = 1_000_000_000 / TICKS_PER_SECOND as u64;

/// Counters of the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Packets that went out as IPv4.
    To4,
    /// Packets that went in as IPv6.
    To6,
    /// Sessions made.
    Opened,
    /// Sessions that are over.
    Ended,
    /// UDP checksums computed that were not there (RFC 7915 §4.5).
    ChecksumsComputed,
    /// Packets that another thread had to take.
    HandedOff,
    /// Lines of the session log that were lost.
    LogLost,
}

impl Count {
    /// How many there are.
    pub const COUNT: usize = 7;
}

/// How much there is at present, each thread's share of it.
pub struct Level {
    /// Sessions, by protocol.
    pub sessions: Gauges,
    /// Bindings, by protocol.
    pub bindings: Gauges,
    /// Subscribers.
    pub subscribers: Gauges,
}

/// What nodes and commands share.
pub struct Nat64 {
    /// What the operator wants.
    pub rules: Published<Rules>,
    /// Each thread's bindings and sessions, which outlive this version of the plugin.
    pub shards: KeptPerThread<ShardPlans>,
    /// What each thread has beside.
    pub owns: PerThread<Own>,
    /// The counters, by [`Count`].
    pub counters: Counters,
    /// How much there is.
    pub level: Level,
    /// Seed of the hash that says which thread has a host's sessions.
    pub seed: HashSeed,
    /// Ports of a piece, as a power of two.
    pub share_bits: u32,
    /// Sessions that there is room for, on all threads.
    pub most_sessions: u32,
    /// When this version of the plugin began, in ns.
    pub began_ns: u64,
    /// Whether there has ever been anything to translate with. Until then the tables are not touched, so they take no memory.
    pub is_used: AtomicBool,
}

/// What the shards of all threads are made for.
pub struct ShardPlans {
    /// Of the first thread that has packets.
    pub first: ShardPlan,
}

impl KeptState for ShardPlans {
    type Of<'m> = Shard<Kept<'m>>;

    fn place<'m>(&self, thread: u32, arena: &mut Arena<'m>) -> Shard<Kept<'m>> {
        let share = Share { index: thread.saturating_sub(1), ..self.first.share };
        Shard::kept(arena, &ShardPlan { share, ..self.first })
    }
}

/// What a thread has that goes with this version of the plugin.
pub struct Own {
    /// SYNs from outside that wait.
    pub held: HeldSyns,
    /// Its end of the session log.
    pub log: SessionLog,
    /// Number of the last IPv4 packet that may be cut on its way.
    pub identification: u16,
    /// Whether its share of the levels has been told since it was made.
    pub is_told: bool,
}

/// What a thread has, lent to it.
pub struct Local<'a, 'm> {
    /// Bindings and sessions.
    pub shard: &'a mut Shard<Kept<'m>>,
    /// SYNs from outside that wait.
    pub held: &'a mut HeldSyns,
    /// Its end of the session log.
    pub log: &'a mut SessionLog,
    /// Number of the last IPv4 packet that may be cut on its way.
    pub identification: &'a mut u16,
    /// Whether its share of the levels has been told since it was made.
    pub is_told: &'a mut bool,
}

impl Nat64 {
    /// The thread that has the sessions of an inside host.
    #[inline(always)]
    pub fn owner_of_inside(&self, worker: &Worker<'_>, rules: &Rules, inside: Ip6Address) -> u32 {
        match worker.thread_count() {
            0..=2 => worker.thread_of(0),
            _ => worker.thread_of((rules.subscriber_of(inside).to_bits().hash(&self.seed) >> 32) as u32),
        }
    }

    /// The thread that has the sessions of a port outside: who gives it out, or, of a port of the operator's, who has the host that it
    /// belongs to.
    #[inline(always)]
    pub fn owner_of_outside(
        &self,
        worker: &Worker<'_>,
        rules: &Rules,
        outside: Ip4Address,
        port: u16,
        protocol: Protocol,
    ) -> u32 {
        let threads = worker.thread_count();
        if threads <= 2 {
            return worker.thread_of(0);
        }
        if let Some(inside) = rules.statics.inside(outside, port, protocol) {
            return self.owner_of_inside(worker, rules, inside.address);
        }
        1 + Share { index: 0, count: threads - 1, size_bits: self.share_bits }.place_of(port)
    }

    /// Lends what the worker's thread has.
    #[inline(always)]
    pub fn with<R>(&self, worker: &Worker<'_>, use_it: impl FnOnce(&mut Local<'_, '_>) -> R) -> R {
        self.owns.with(worker, |own| {
            self.shards.with(worker, |shard| {
                let Own { held, log, identification, is_told } = own;
                use_it(&mut Local { shard, held, log, identification, is_told })
            })
        })
    }

    /// Counts.
    #[inline(always)]
    pub fn count(&self, worker: &Worker<'_>, what: Count, amount: u64) {
        self.counters.add(worker, what as usize, amount);
    }

    /// A session was made: counts it and notes it in the log.
    pub fn opened(&self, worker: &Worker<'_>, local: &Local<'_, '_>, opened: &Opened) {
        self.count(worker, Count::Opened, 1);
        if let Some(session) = local.shard.session(opened.session) {
            self.tell(worker, local.shard, session.protocol());
        }
        local.log.opened(self, worker, local.shard, opened);
    }

    /// A session is over: counts it and notes it in the log.
    pub fn ended(&self, worker: &Worker<'_>, local: &Local<'_, '_>, ended: &Ended) {
        self.count(worker, Count::Ended, 1);
        self.tell(worker, local.shard, ended.session.protocol());
        local.log.ended(self, worker, ended);
    }

    /// Tells a thread's share of the levels that a session of this protocol has changed.
    fn tell(&self, worker: &Worker<'_>, shard: &Shard<Kept<'_>>, protocol: Protocol) {
        let (figures, at) = (shard.figures(), protocol as usize);
        self.level.sessions.set(worker, at, figures.sessions[at].into());
        self.level.bindings.set(worker, at, figures.bindings[at].into());
        self.level.subscribers.set(worker, 0, figures.subscribers.into());
    }

    /// Tells all of a thread's share.
    pub fn tell_all(&self, worker: &Worker<'_>, shard: &Shard<Kept<'_>>) {
        Protocol::ALL.into_iter().for_each(|protocol| self.tell(worker, shard, protocol));
    }
}

/// The tick at a time.
#[inline(always)]
pub fn ticks(now_ns: u64) -> Ticks {
    (now_ns / TICK_NS) as Ticks
}
