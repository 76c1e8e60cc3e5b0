//! Subscribers: whom limits and port blocks are for (RFC 6888).

use raddle_plugin_api::table::{HashSeed, TableKey};
use raddle_plugin_api::wire::{Ip4Address, Ip6Address};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A subscriber: a host, or all hosts of a prefix. Plain, as versions of the plugin share it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Subscriber {
    /// The host, or the prefix's first address.
    pub address: Ip6Address,
    /// Its pool address. All its bindings are there, if it has room (RFC 4787 REQ-2).
    pub outside: Ip4Address,
    /// Its sessions.
    pub sessions: u32,
    /// Its bindings.
    pub bindings: u32,
    /// Blocks that are its own; none where ports are given out one by one.
    pub blocks: u32,
    /// Number of the last of them in the list of all blocks.
    pub(super) last_block: u32,
    /// Number of its tenant.
    pub tenant: u8,
    pub(super) reserved: [u8; 3],
}

/// A block of ports of a subscriber's.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Block {
    /// Number of the one that the subscriber got before; of its first one, nothing's.
    pub(super) before: u32,
    /// First port.
    pub(super) first: u16,
    pub(super) reserved: u16,
}

/// What a subscriber is found by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SubscriberKey(pub(super) Ip6Address, pub(super) u8);

impl TableKey for SubscriberKey {
    fn hash(&self, seed: &HashSeed) -> u64 {
        seed.hash([self.0.high(), self.0.low(), u64::from(self.1) << 1 | 1])
    }
}
