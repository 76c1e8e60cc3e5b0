//! Bindings: the entries of the binding information bases (RFC 6146 §3.1).

use raddle_plugin_api::table::{HashSeed, TableKey};
use raddle_plugin_api::wire::{Ip4Address, Ip6Address};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::session::Protocol;

/// What a host's port is outside, for as long as sessions use it. Plain, as versions of the plugin share it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Binding {
    /// The inside host: X'.
    pub inside: Ip6Address,
    /// The pool address: T.
    pub outside: Ip4Address,
    /// x.
    pub inside_port: u16,
    /// t.
    pub outside_port: u16,
    /// Sessions that use it.
    pub sessions: u32,
    /// Number of its subscriber.
    pub(super) subscriber: u32,
    pub(super) protocol: u8,
    pub(super) flags: u8,
    /// Number of the tenant whose host it is.
    pub tenant: u8,
    pub(super) reserved: u8,
}

/// The port is the operator's to give, not the pool's.
pub(super) const IS_STATIC: u8 = 1 << 0;
/// The host has asked for it: anybody may come in by it.
pub(super) const IS_ASKED: u8 = 1 << 1;

impl Binding {
    /// Protocol.
    pub fn protocol(&self) -> Protocol {
        Protocol::from_number(self.protocol)
    }

    /// Whether the port is the operator's to give, not the pool's.
    pub fn is_static(&self) -> bool {
        self.flags & IS_STATIC != 0
    }

    /// Whether anybody may come in by it, whatever is filtered.
    pub(super) fn is_open(&self) -> bool {
        self.flags & (IS_STATIC | IS_ASKED) != 0
    }

    /// What finds it from inside.
    pub(super) fn key6(&self) -> Key6 {
        Key6 { inside: self.inside, port: self.inside_port, protocol: self.protocol(), tenant: self.tenant }
    }

    /// What finds it from outside.
    pub(super) fn key4(&self) -> Key4 {
        Key4 { outside: self.outside, port: self.outside_port, protocol: self.protocol() }
    }
}

/// A host's port.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key6 {
    pub(super) inside: Ip6Address,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    pub(super) tenant: u8,
}

impl TableKey for Key6 {
    fn hash(&self, seed: &HashSeed) -> u64 {
        let rest = u64::from(self.tenant) << 24 | u64::from(self.port) << 8 | self.protocol as u64;
        seed.hash([self.inside.high(), self.inside.low(), rest])
    }
}

/// A port of a pool address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key4 {
    pub(super) outside: Ip4Address,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
}

impl TableKey for Key4 {
    fn hash(&self, seed: &HashSeed) -> u64 {
        let bits = u64::from(self.outside.to_bits()) << 32 | u64::from(self.port) << 8;
        seed.hash([bits | self.protocol as u64])
    }
}
