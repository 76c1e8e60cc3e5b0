//! What fragments of one datagram share.

use raddle_plugin_api::wire::{Ip4Address, Ip6Address};
use raddle_plugin_api::{InterfaceIndex, Packet};

/// For whom fragments are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// An own address.
    Local,
    /// Features of the interface that the first fragment came in by.
    Feature,
    /// Features of an interface that is switched.
    Switched {
        /// The interface.
        interface: InterfaceIndex,
        /// The VLANs of its frames' tags.
        vlans: u32,
    },
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
    /// Where the address means this sender: the routing table, and the interface for link-local addresses and of frames that
    /// are switched.
    pub zone: (u32, u32),
}

impl Source {
    /// The sender of an IPv4 packet.
    pub fn ip4(address: Ip4Address, packet: &Packet<'_>, scope: Scope) -> Self {
        Self::new(address.to_bits().into(), false, packet, scope)
    }

    /// The sender of an IPv6 packet.
    pub fn ip6(address: Ip6Address, packet: &Packet<'_>, scope: Scope) -> Self {
        Self::new(address.to_bits(), address.is_link_local(), packet, scope)
    }

    fn new(address: u128, is_of_link: bool, packet: &Packet<'_>, scope: Scope) -> Self {
        let zone = match scope {
            // Below IP there is no table.
            Scope::Switched { interface, .. } => (u32::MAX, interface.0),
            _ if is_of_link => (packet.fib_index(), packet.rx_interface().0),
            _ => (packet.fib_index(), InterfaceIndex::NONE.0),
        };
        Self { address, zone }
    }
}
