//! What is shared by all nodes of reassembly: the tables, their ageing, and the end of what they hold.

use std::sync::Arc;

use raddle_plugin_api::{Control, Failure, Field, HeldPacket, InterfaceIndex, Packet};

use super::budget::Budget;
use super::config::ReassemblyConfig;
use super::reason::ReassemblyError;
use super::reassembly_drop::mark;
use super::shard::{Expired, Limits};
use super::table::{SHARDS, Table};
use crate::net::icmp_field::{IcmpRequest, icmp_field};
use crate::net::local::{LocalNext, LocalOutput};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ip4,
    /// IPv6.
    Ip6,
}

/// What is done with fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They are put together.
    Full,
    /// They go on one by one, with ports noted.
    Virtual,
}

/// All tables, with what they are for.
pub const TABLES: [(Family, Kind); 4] = [
    (Family::Ip4, Kind::Full),
    (Family::Ip6, Kind::Full),
    (Family::Ip4, Kind::Virtual),
    (Family::Ip6, Kind::Virtual),
];

/// Datagrams that are aged out of a shard while it is locked, at most.
const PER_LOCK: usize = 64;
/// Senders told of datagrams that were not complete, at most, each time. The ICMP nodes have their own bounds.
const TOLD_AT_A_TIME: usize = 256;

/// The datagrams in progress. A resource of the core.
pub struct Reassembly {
    tables: [Table<HeldPacket>; 4],
    budget: Arc<Budget>,
    limits: [Limits; 2],
    output: Arc<LocalOutput>,
    icmp: Field<IcmpRequest>,
}

impl Reassembly {
    /// Nothing in progress.
    ///
    /// # Errors
    /// What it stands on is not there.
    pub fn new(control: &Control<'_>, config: &ReassemblyConfig) -> Result<Self, Failure> {
        let limits = [config.ip4_timeout_seconds, config.ip6_timeout_seconds].map(|seconds| Limits {
            datagrams: config.datagrams as usize,
            datagrams_per_source: config.datagrams_per_source as usize,
            fragments: config.fragments as usize,
            timeout_ns: u64::from(seconds) * 1_000_000_000,
        });
        let budget = Arc::new(Budget::new(config.buffers_percent as usize, TABLES.len() * SHARDS));
        let tables = TABLES.map(|(family, _)| Table::new(limits[family as usize], &budget));
        Ok(Self { tables, budget, limits, output: control.resource()?, icmp: icmp_field(control)? })
    }

    /// The table of a family and kind.
    pub const fn table(&self, family: Family, kind: Kind) -> &Table<HeldPacket> {
        &self.tables[family as usize + 2 * (kind as usize)]
    }

    /// The bounds of a family's tables.
    pub const fn limits(&self, family: Family) -> &Limits {
        &self.limits[family as usize]
    }

    /// Buffers of a pool of so many that fragments may hold.
    pub fn most_buffers(&self, pool: usize) -> usize {
        self.budget.total(pool)
    }

    /// Gives up what was not complete in time, and tells senders whose first fragment had come (RFC 792, RFC 4443 §3.3).
    pub(super) fn expire(&self, now_ns: u64) {
        let mut left = TOLD_AT_A_TIME;
        for (family, kind) in TABLES {
            for shard in 0..SHARDS {
                self.expire_shard(now_ns, (family, kind), shard, &mut left);
            }
        }
    }

    /// Ages one shard, a part at a time, and not while a worker has it.
    fn expire_shard(&self, now_ns: u64, (family, kind): (Family, Kind), shard: usize, left: &mut usize) {
        let mut expired = Vec::new();
        let mut has_more = true;
        while has_more {
            let Some(mut shard) = self.table(family, kind).try_shard(shard) else { return };
            has_more = shard.expire(now_ns, PER_LOCK, &mut expired);
            drop(shard);
            for Expired { first, others } in expired.drain(..) {
                match first {
                    // Of virtual reassembly the destination tells.
                    Some(first) if kind == Kind::Full && *left > 0 => {
                        *left -= 1;
                        self.tell(family, first);
                    }
                    first => self.lose(first.into_iter().map(|packet| (packet, ReassemblyError::Timeout))),
                }
                self.lose(others.into_iter().map(|packet| (packet, ReassemblyError::Timeout)));
            }
        }
    }

    /// Drops what came in by an interface that goes; `None`: all.
    pub fn forget(&self, interface: Option<InterfaceIndex>) {
        for table in &self.tables {
            let mut lost = Vec::new();
            table.shards().for_each(|mut shard| shard.forget(interface, &mut lost));
            self.lose(lost);
        }
    }

    /// Drops everything, without a count.
    pub(super) fn clear(&self) {
        for table in &self.tables {
            let mut lost = Vec::new();
            table.shards().for_each(|mut shard| shard.forget(None, &mut lost));
        }
    }

    fn tell(&self, family: Family, first: HeldPacket) {
        let (next, request) = match family {
            Family::Ip4 => (LocalNext::Ip4IcmpError, IcmpRequest::IP4_REASSEMBLY_TIME_EXCEEDED),
            Family::Ip6 => (LocalNext::Ip6IcmpError, IcmpRequest::IP6_REASSEMBLY_TIME_EXCEEDED),
        };
        let field = self.icmp;
        self.output.send(first, next, move |packet| packet.set_field(&field, request));
    }

    fn lose(&self, lost: impl IntoIterator<Item = (HeldPacket, ReassemblyError)>) {
        for (packet, why) in lost {
            self.output
                .send(packet, LocalNext::ReassemblyDrop, move |packet: &mut Packet<'_>| mark(packet, why));
        }
    }
}
