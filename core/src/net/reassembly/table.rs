//! The datagrams in progress, of all threads.
//!
//! Fragments of one datagram may come to different workers: where a queue's packets go is decided by ports, which later
//! fragments do not have. So the datagrams are shared, behind a lock per shard, and whoever brings the last fragment
//! carries the datagram on. The lock is off the plain path: only fragments for own addresses, or on interfaces that asked for
//! it, come here. It is held for the time of a hash look-up and a search among a datagram's fragments; packets are joined,
//! sent and dropped without it. The main thread, which ages the datagrams, passes by a shard that is locked, and takes it
//! next time.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::budget::Budget;
use super::key::Key;
use super::shard::{Limits, Shard};

/// Shards of a table. A source's datagrams are all in one, for the bounds on sources.
pub const SHARDS: usize = 8;

/// The datagrams in progress, of all threads.
#[derive(Debug)]
pub struct Table<P> {
    hash: RandomState,
    shards: [Mutex<Shard<P>>; SHARDS],
}

impl<P> Table<P> {
    /// An empty table; the limits are for the whole of it.
    pub fn new(limits: Limits, budget: &Arc<Budget>) -> Self {
        let limits = Limits { datagrams: limits.datagrams.div_ceil(SHARDS), ..limits };
        let shard = |_| Mutex::new(Shard::new(limits, Arc::clone(budget)));
        Self { hash: RandomState::new(), shards: std::array::from_fn(shard) }
    }

    /// The shard with the datagrams of a key's source.
    pub fn shard(&self, key: &Key) -> MutexGuard<'_, Shard<P>> {
        let hash = self.hash.hash_one(key.source);
        self.shards[hash as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All shards, one after the other.
    pub fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard<P>>> {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shard number `index`, unless somebody has it.
    pub fn try_shard(&self, index: usize) -> Option<MutexGuard<'_, Shard<P>>> {
        match self.shards[index % SHARDS].try_lock() {
            Ok(shard) => Some(shard),
            Err(TryLockError::Poisoned(shard)) => Some(shard.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}
