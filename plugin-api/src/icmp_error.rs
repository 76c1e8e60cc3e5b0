//! What a node asks of `ip4-icmp-error` and `ip6-icmp-error`: the per-packet field by which they are told.

use crate::{Control, Failure, Field};
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
    /// Destination unreachable, protocol (RFC 792).
    pub const IP4_PROTOCOL_UNREACHABLE: Self = Self::new(3, 2, 0);
    /// Destination unreachable, port (RFC 792).
    pub const IP4_PORT_UNREACHABLE: Self = Self::new(3, 3, 0);
    /// Destination unreachable, source route failed (RFC 792): source routes are not followed.
    pub const IP4_SOURCE_ROUTE_FAILED: Self = Self::new(3, 5, 0);
    /// Destination unreachable, communication administratively prohibited (RFC 1812 §5.2.7.1).
    pub const IP4_PROHIBITED: Self = Self::new(3, 13, 0);
    /// Time exceeded in transit (RFC 792).
    pub const IP4_TIME_EXCEEDED: Self = Self::new(11, 0, 0);
    /// Fragment reassembly time exceeded (RFC 792).
    pub const IP4_REASSEMBLY_TIME_EXCEEDED: Self = Self::new(11, 1, 0);
    /// Destination unreachable, no route (RFC 4443 §3.1).
    pub const IP6_NO_ROUTE: Self = Self::new(1, 0, 0);
    /// Destination unreachable, administratively prohibited (RFC 4443 §3.1).
    pub const IP6_PROHIBITED: Self = Self::new(1, 1, 0);
    /// Destination unreachable, beyond the scope of the source address (RFC 4443 §3.1).
    pub const IP6_BEYOND_SCOPE: Self = Self::new(1, 2, 0);
    /// Destination unreachable, address (RFC 4443 §3.1).
    pub const IP6_ADDRESS_UNREACHABLE: Self = Self::new(1, 3, 0);
    /// Destination unreachable, port (RFC 4443 §3.1).
    pub const IP6_PORT_UNREACHABLE: Self = Self::new(1, 4, 0);
    /// Destination unreachable, source address failed ingress or egress policy (RFC 4443 §3.1).
    pub const IP6_SOURCE_POLICY: Self = Self::new(1, 5, 0);
    /// Destination unreachable, the route rejects its packets (RFC 4443 §3.1).
    pub const IP6_REJECT_ROUTE: Self = Self::new(1, 6, 0);
    /// Hop limit exceeded in transit (RFC 4443 §3.3).
    pub const IP6_TIME_EXCEEDED: Self = Self::new(3, 0, 0);

    /// Fragment reassembly time exceeded (RFC 4443 §3.3).
    pub const IP6_REASSEMBLY_TIME_EXCEEDED: Self = Self::new(3, 1, 0);

    /// Any error.
    pub const fn new(kind: u8, code: u8, data: u32) -> Self {
        Self { kind, code, reserved: [0; 2], data }
    }

    /// Fragmentation needed and "don't fragment" set, with the next hop's MTU in bytes (RFC 1191 §4).
    pub const fn ip4_fragmentation_needed(mtu: u32) -> Self {
        Self::new(3, 4, mtu)
    }

    /// Parameter problem (RFC 792): the byte at fault, counted from the header's first.
    pub const fn ip4_parameter_problem(pointer: u8) -> Self {
        Self::new(12, 0, (pointer as u32) << 24)
    }

    /// Redirect for the host (RFC 1812 §5.2.7.2): the better first hop, as a number.
    pub const fn ip4_redirect(gateway: u32) -> Self {
        Self::new(5, 1, gateway)
    }

    /// Parameter problem, erroneous header field (RFC 4443 §3.4): the byte at fault, from the IPv6 header on.
    pub const fn ip6_erroneous_header(pointer: u32) -> Self {
        Self::new(4, 0, pointer)
    }

    /// Parameter problem, next header not known here (RFC 4443 §3.4): where it is named, from the IPv6 header on.
    pub const fn ip6_unknown_next_header(pointer: u32) -> Self {
        Self::new(4, 1, pointer)
    }

    /// Parameter problem, option not known here (RFC 4443 §3.4): where it stands, from the IPv6 header on.
    pub const fn ip6_unknown_option(pointer: u32) -> Self {
        Self::new(4, 2, pointer)
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
