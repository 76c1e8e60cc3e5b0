//! What a node asks of `ip4-icmp-error` and `ip6-icmp-error`: the per-packet field by which they are told.
#![forbid(unsafe_code)]

use raddle_plugin_api::{Control, Failure, Field};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The ICMP error that the sender of a packet is to be told.
///
/// A node sets it, with [`icmp_field`]'s field, on a packet whose first byte is that of the IP header, and sends the
/// packet to `ip4-icmp-error` or `ip6-icmp-error`, after the packet's family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct IcmpRequest {
    /// ICMP type of the packet's family.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// Zero.
    reserved: [u8; 2],
    /// The second word of the error's header, in host order: the next hop's MTU in bytes (RFC 1191 §4, RFC 4443 §3.2) or
    /// the offset of the wrong byte (RFC 4443 §3.4; RFC 792 has it in the top eight bits). Else 0.
    pub data: u32,
}

impl IcmpRequest {
    /// Destination unreachable, network (RFC 792).
    pub const IP4_NET_UNREACHABLE: Self = Self::new(3, 0, 0);
    /// Destination unreachable, host (RFC 792).
    pub const IP4_HOST_UNREACHABLE: Self = Self::new(3, 1, 0);
    /// Destination unreachable, communication administratively prohibited (RFC 1812 §5.2.7.1).
    pub const IP4_PROHIBITED: Self = Self::new(3, 13, 0);
    /// Time exceeded in transit (RFC 792).
    pub const IP4_TIME_EXCEEDED: Self = Self::new(11, 0, 0);
    /// Destination unreachable, no route (RFC 4443 §3.1).
    pub const IP6_NO_ROUTE: Self = Self::new(1, 0, 0);
    /// Destination unreachable, administratively prohibited (RFC 4443 §3.1).
    pub const IP6_PROHIBITED: Self = Self::new(1, 1, 0);
    /// Destination unreachable, beyond the scope of the source address (RFC 4443 §3.1).
    pub const IP6_BEYOND_SCOPE: Self = Self::new(1, 2, 0);
    /// Destination unreachable, address (RFC 4443 §3.1).
    pub const IP6_ADDRESS_UNREACHABLE: Self = Self::new(1, 3, 0);
    /// Hop limit exceeded in transit (RFC 4443 §3.3).
    pub const IP6_TIME_EXCEEDED: Self = Self::new(3, 0, 0);

    /// Any error.
    pub const fn new(kind: u8, code: u8, data: u32) -> Self {
        Self { kind, code, reserved: [0; 2], data }
    }

    /// Fragmentation needed and "don't fragment" set, with the next hop's MTU in bytes (RFC 1191 §4).
    pub const fn ip4_fragmentation_needed(mtu: u32) -> Self {
        Self::new(3, 4, mtu)
    }

    /// Packet too big, with the next hop's MTU in bytes (RFC 4443 §3.2).
    pub const fn ip6_packet_too_big(mtu: u32) -> Self {
        Self::new(2, 0, mtu)
    }
}

/// The field, to set and to read: every caller gets the same one.
///
/// # Errors
/// There is no room for it in the packet's metadata.
pub fn icmp_field(control: &Control<'_>) -> Result<Field<IcmpRequest>, Failure> {
    control.packet_field("icmp-error")
}
