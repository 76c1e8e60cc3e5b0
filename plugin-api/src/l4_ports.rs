//! Ports of a packet that may be a fragment: what `ip4-virtual-reassembly` and `ip6-virtual-reassembly` note.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::wire::IpProtocol;
use crate::{Control, Failure, Field, Packet};

/// Protocol and ports of a datagram, known of each of its fragments once its first one has come.
///
/// A feature that reads ports, such as a filter or a translator, asks for virtual reassembly by
/// [`Control::hold_feature`] (`"ip4-virtual-reassembly"`, `"ip6-virtual-reassembly"`) and runs after it. Then no fragment
/// comes to it before the first one of its datagram, none that would overwrite the transport header (RFC 1858,
/// RFC 3128) or overlaps another (RFC 5722), and each has this value in the field of [`L4Ports::field`]. Packets
/// that are whole have nothing there: their headers are read instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct L4Ports {
    source: u16,
    destination: u16,
    protocol: u8,
    flags: u8,
    kind: u8,
    code: u8,
}

impl L4Ports {
    const IS_FIRST: u8 = 1 << 0;
    const HAS_PORTS: u8 = 1 << 1;

    /// What the first fragment of a datagram with this protocol, whose transport header begins at the front of `bytes`,
    /// says. Of protocols without ports, and headers cut short, only the protocol is known.
    pub fn of_first(protocol: IpProtocol, bytes: &[u8]) -> Self {
        let word = |at: usize| bytes.get(at..at + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        let mut ports =
            Self { source: 0, destination: 0, protocol: protocol.0, flags: Self::IS_FIRST, kind: 0, code: 0 };
        let pair = match protocol {
            IpProtocol::TCP | IpProtocol::UDP | IpProtocol::UDP_LITE | IpProtocol::SCTP => {
                ports.kind = bytes.get(13).copied().filter(|_| protocol == IpProtocol::TCP).unwrap_or(0);
                word(0).zip(word(2))
            }
            IpProtocol::ICMP4 | IpProtocol::ICMP6 => {
                ports.kind = bytes.first().copied().unwrap_or(0);
                ports.code = bytes.get(1).copied().unwrap_or(0);
                let is_echo = if protocol == IpProtocol::ICMP4 {
                    matches!(ports.kind, 0 | 8 | 13..=18)
                } else {
                    matches!(ports.kind, 128 | 129)
                };
                word(4).filter(|_| is_echo).map(|identifier| (identifier, identifier))
            }
            _ => None,
        };
        if let Some(pair) = pair {
            (ports.source, ports.destination) = pair;
            ports.flags |= Self::HAS_PORTS;
        }
        ports
    }

    /// The same, as another fragment of the datagram has it.
    #[must_use]
    pub const fn of_later(self) -> Self {
        Self { flags: self.flags & !Self::IS_FIRST, ..self }
    }

    /// The transport protocol.
    #[inline]
    pub const fn protocol(&self) -> IpProtocol {
        IpProtocol(self.protocol)
    }

    /// Source and destination port, in host order; of an ICMP query its identifier, twice. `None` of protocols without.
    #[inline]
    pub const fn ports(&self) -> Option<(u16, u16)> {
        if self.flags & Self::HAS_PORTS != 0 { Some((self.source, self.destination)) } else { None }
    }

    /// ICMP type and code; of TCP its flags, and 0.
    #[inline]
    pub const fn detail(&self) -> (u8, u8) {
        (self.kind, self.code)
    }

    /// Whether the packet is the datagram's first fragment, which has the transport header itself.
    #[inline]
    pub const fn is_first(&self) -> bool {
        self.flags & Self::IS_FIRST != 0
    }

    /// The per-packet field in which they stand: every caller gets the same one.
    ///
    /// # Errors
    /// There is no room for it in the packet's metadata.
    pub fn field(control: &Control<'_>) -> Result<Field<Self>, Failure> {
        control.packet_field("l4-ports")
    }

    /// What was noted of a packet that is a fragment.
    #[inline]
    pub fn of(packet: &Packet<'_>, field: &Field<Self>) -> Self {
        packet.field(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ports_identifiers_and_what_has_none() {
        let tcp = [0, 80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12];
        let echo = [8, 0, 0, 0, 0x12, 0x34];
        let unreachable = [3, 1, 0, 0, 0x12, 0x34];
        for (protocol, bytes, ports, detail) in [
            (IpProtocol::TCP, &tcp[..], Some((80, 256)), (0x12, 0)),
            (IpProtocol::UDP, &tcp, Some((80, 256)), (0, 0)),
            (IpProtocol::UDP, &tcp[..3], None, (0, 0)),
            (IpProtocol::ICMP4, &echo, Some((0x1234, 0x1234)), (8, 0)),
            (IpProtocol::ICMP4, &unreachable, None, (3, 1)),
            (IpProtocol::ICMP6, &[129, 0, 0, 0, 0, 7], Some((7, 7)), (129, 0)),
            (IpProtocol::ESP, &tcp, None, (0, 0)),
        ] {
            let first = L4Ports::of_first(protocol, bytes);
            assert_eq!((first.protocol(), first.ports(), first.detail()), (protocol, ports, detail));
            assert!(first.is_first() && !first.of_later().is_first());
            assert_eq!(first.of_later().ports(), ports);
        }
    }
}
