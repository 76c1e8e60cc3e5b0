//! What fragments of one datagram share.

use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::wire::{Ip4Address, Ip6Address};

/// For whom fragments are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// An own address.
    Local,
    /// Features of the interface that the first fragment came in by.
    Feature,
}

/// What fragments of one datagram share (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Who sent it.
    pub source: Source,
    /// Destination; IPv4 in the low 32 bits.
    pub destination: u128,
    /// Identification.
    pub identification: u32,
    /// Protocol; 0 with IPv6, where it is none of the key.
    pub protocol: u8,
    /// For whom they are put together.
    pub scope: Scope,
}

/// The sender of fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Its address; IPv4 in the low 32 bits.
    pub address: u128,
    /// Where the address means this sender: the routing table, and the interface for link-local addresses.
    pub zone: (u32, u32),
}

impl Source {
    /// A sender in a routing table.
    pub fn ip4(address: Ip4Address, fib: u32) -> Self {
        Self { address: address.to_bits().into(), zone: (fib, InterfaceIndex::NONE.0) }
    }

    /// A sender in a routing table, or, with a link-local address, on the link of `interface`.
    pub fn ip6(address: Ip6Address, fib: u32, interface: InterfaceIndex) -> Self {
        let link = if address.is_link_local() { interface } else { InterfaceIndex::NONE };
        Self { address: address.to_bits(), zone: (fib, link.0) }
    }
}
