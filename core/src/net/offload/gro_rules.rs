//! Which TCP segments may be merged into one packet that stands for them: those that cutting it up gives back as they were.
#![forbid(unsafe_code)]

use raddle_plugin_api::Packet;
use raddle_plugin_api::wire::checksum::Sum;
use raddle_plugin_api::wire::{Ip4Header, Ip6Header, IpProtocol, TcpFlags, TcpHeader};

/// Options of a segment that is merged: none, or timestamps as every stack sends them (RFC 7323 appendix A).
const TIMESTAMPS: [u8; 4] = [1, 1, 8, 10];
const TIMESTAMPS_BYTES: usize = 12;
/// The longest headers of a segment that is merged: IPv6, TCP, timestamps.
const MAX_HEADERS: usize = Ip6Header::LENGTH + TcpHeader::LENGTH + TIMESTAMPS_BYTES;

/// A segment that may be merged, by what its headers say.
#[derive(Clone, Copy)]
pub struct GroSegment {
    /// The headers, with zeros in place of what may differ from segment to segment.
    common: [u8; MAX_HEADERS],
    /// Bytes of IP header.
    pub transport_at: usize,
    /// Bytes of IP and TCP headers.
    pub payload_at: usize,
    /// Bytes behind them.
    pub payload: usize,
    /// Number of the first of them.
    pub sequence: u32,
    /// Whether the sender wants them handed over at once.
    pub push: bool,
    /// IPv4 identification that the next segment must have; `None` if it does not matter.
    next_identification: Option<u16>,
    identification: u16,
}

impl GroSegment {
    /// Of the packet, which begins with its IP header. `None` if it is not to be merged with any other.
    pub fn read(packet: &Packet<'_>) -> Option<Self> {
        let bytes = packet.bytes();
        if packet.is_chained() || packet.is_gso() || packet.is_traced() || packet.is_local() {
            return None;
        }
        let (transport_at, total, identification, next_identification) = match bytes.first()? >> 4 {
            4 => {
                let (ip, _) = Ip4Header::parse(bytes)?;
                let is_plain = !ip.has_options() && !ip.is_fragment() && ip.protocol() == IpProtocol::TCP;
                let id = ip.identification();
                // Of packets that are never cut the identification means nothing (RFC 6864 §4.1).
                let next = (!ip.dont_fragment()).then_some(id.wrapping_add(1));
                is_plain.then_some((Ip4Header::LENGTH, usize::from(ip.total_length()), id, next))?
            }
            6 => {
                let (ip, _) = Ip6Header::parse(bytes)?;
                let is_plain = ip.next_header() == IpProtocol::TCP;
                is_plain.then_some((Ip6Header::LENGTH, ip.total_length(), 0, None))?
            }
            _ => return None,
        };
        let (tcp, _) = TcpHeader::parse(bytes.get(transport_at..)?)?;
        let payload_at = transport_at + tcp.header_length();
        let options = bytes.get(transport_at + TcpHeader::LENGTH..payload_at)?;
        let is_plain =
            options.is_empty() || options.len() == TIMESTAMPS_BYTES && options.starts_with(&TIMESTAMPS);
        let flags = tcp.flags().0;
        let is_data = flags & !TcpFlags::PSH.0 == TcpFlags::ACK.0;
        if !is_plain || !is_data || total != bytes.len() || total <= payload_at {
            return None;
        }
        let mut common = [0; MAX_HEADERS];
        common[..payload_at].copy_from_slice(&bytes[..payload_at]);
        let differs: [std::ops::Range<usize>; 2] =
            if transport_at == Ip4Header::LENGTH { [2..6, 10..12] } else { [4..6, 4..6] };
        for range in differs {
            common[range].fill(0);
        }
        common[transport_at + 4..transport_at + 8].fill(0);
        common[transport_at + 13] &= !TcpFlags::PSH.0;
        common[transport_at + 16..transport_at + 18].fill(0);
        Some(Self {
            common,
            transport_at,
            payload_at,
            payload: total - payload_at,
            sequence: tcp.sequence(),
            push: flags & TcpFlags::PSH.0 != 0,
            next_identification,
            identification,
        })
    }

    /// Whether its checksum is right, or known to be. A device that leaves it to be filled in has seen no wrong one.
    pub fn is_checksum_right(&self, packet: &Packet<'_>) -> bool {
        packet.checksum_is_trusted()
            || pseudo_header(packet.bytes()).is_some_and(|pseudo| {
                packet
                    .bytes()
                    .get(self.transport_at..)
                    .is_some_and(|segment| TcpHeader::is_checksum_valid(pseudo, segment))
            })
    }

    /// Whether `other` is of the same connection, in the same direction.
    pub fn is_same_flow(&self, other: &Self) -> bool {
        let addresses = |segment: &Self| match segment.transport_at {
            Ip4Header::LENGTH => 12..20,
            _ => 8..40,
        };
        let ports = self.transport_at..self.transport_at + 4;
        self.transport_at == other.transport_at
            && self.common[addresses(self)] == other.common[addresses(other)]
            && self.common[ports.clone()] == other.common[ports]
    }

    /// Whether all headers but those that count on are the same.
    pub fn has_same_headers(&self, other: &Self) -> bool {
        self.payload_at == other.payload_at && self.common == other.common
    }

    /// Whether `next` has the identification that cutting up gives it.
    pub fn is_identified_by(&self, next: &Self) -> bool {
        self.next_identification.is_none_or(|expected| expected == next.identification)
    }
}

/// The sum of the pseudo header of the TCP packet in `bytes`, whose IP header has no options or extensions.
pub fn pseudo_header(bytes: &[u8]) -> Option<Sum> {
    match bytes.first()? >> 4 {
        4 => {
            let (ip, _) = Ip4Header::parse(bytes)?;
            Some(ip.pseudo_header(ip.payload_length() as u16))
        }
        _ => {
            let (ip, _) = Ip6Header::parse(bytes)?;
            Some(ip.pseudo_header(IpProtocol::TCP, u32::from(ip.payload_length())))
        }
    }
}
