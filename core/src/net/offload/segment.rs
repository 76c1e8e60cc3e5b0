//! Cutting a GSO packet into the packets that it stands for.
#![forbid(unsafe_code)]

use raddle_plugin_api::wire::checksum::Sum;
use raddle_plugin_api::wire::{
    ChecksumOffload, Ip4Header, Ip6Header, IpProtocol, Offload, TcpFlags, TcpHeader, UdpHeader,
};
use raddle_plugin_api::wire::{Gso, GsoKind};
use raddle_plugin_api::{HeldPacket, Packet, Worker};

use super::gso_headers::{GsoHeaders, Network, Transport};
use super::part::part;

/// A GSO packet that stands for more packets than this is refused: 64 KiB in segments of the smallest MSS that Linux
/// uses (48 bytes) are fewer.
const MAX_SEGMENTS: usize = 1400;

/// Flags that only the last segment has (RFC 9293 §3.5, §3.9.1).
const LAST_ONLY: u8 = TcpFlags::FIN.0 | TcpFlags::PSH.0;

/// What is done about the segments' transport checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// They are computed.
    Complete,
    /// They are left to the device that sends the segments.
    Partial,
}

/// Why a GSO packet cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentRefusal {
    /// It is none, or its headers are not of the kind that it is said to be.
    Malformed,
    /// It stands for too many packets.
    TooMany,
    /// It stands for the IP fragments of a UDP datagram.
    Unsupported,
    /// There are no buffers left.
    NoBuffer,
}

/// Cuts `packet`, whose IP header stands at `network_at`, into segments that go its way; what is in front of the IP header
/// stands in front of each.
///
/// # Errors
/// It cannot be cut. Some segments may be in `into`.
pub fn segment(
    worker: &Worker<'_>,
    packet: &Packet<'_>,
    network_at: usize,
    checksums: Checksums,
    into: &mut Vec<HeldPacket>,
) -> Result<(), SegmentRefusal> {
    let offload = packet.offload();
    let gso = offload.gso.ok_or(SegmentRefusal::Malformed)?;
    let headers = GsoHeaders::find(packet, network_at).ok_or(SegmentRefusal::Malformed)?;
    check_kind(&headers, &gso)?;
    let (size, total) = (usize::from(gso.size), packet.len() - headers.payload_at);
    if size == 0 || total == 0 {
        return Err(SegmentRefusal::Malformed);
    }
    if total.div_ceil(size) > MAX_SEGMENTS {
        return Err(SegmentRefusal::TooMany);
    }
    // A UDP datagram may be sent without a checksum (RFC 768); its parts then are, too.
    let wants_checksum = headers.transport == Transport::Tcp
        || offload.checksum.is_some()
        || UdpHeader::parse(&headers.bytes()[headers.transport_at..])
            .is_some_and(|(udp, _)| udp.has_checksum());
    let mut reader = packet.reader();
    reader.skip(headers.payload_at);
    let mut done = 0;
    while done < total {
        let count = size.min(total - done);
        let place = Place { number: done / size, offset: done, count, is_last: done + count == total };
        let header = place.headers(&headers, wants_checksum).ok_or(SegmentRefusal::Malformed)?;
        let mut held =
            part(worker, packet, header.bytes(), &mut reader, count).ok_or(SegmentRefusal::NoBuffer)?;
        if wants_checksum {
            let mut made = worker.open(&mut held);
            let checksum = ChecksumOffload {
                // Headers end within `MAX_HEADER_BYTES`.
                start: headers.transport_at as u16,
                offset: headers.checksum_offset(),
            };
            made.set_offload(&Offload { checksum: Some(checksum), ..Offload::default() });
            if checksums == Checksums::Complete {
                // The field is within the headers that were just put there.
                made.complete_checksum();
            }
        }
        into.push(held);
        done += count;
    }
    Ok(())
}

fn check_kind(headers: &GsoHeaders, gso: &Gso) -> Result<(), SegmentRefusal> {
    match (gso.kind, headers.network, headers.transport) {
        (GsoKind::Tcp4, Network::Ip4, Transport::Tcp)
        | (GsoKind::Tcp6, Network::Ip6, Transport::Tcp)
        | (GsoKind::UdpSegments, _, Transport::Udp) => Ok(()),
        (GsoKind::UdpFragments, ..) => Err(SegmentRefusal::Unsupported),
        _ => Err(SegmentRefusal::Malformed),
    }
}

/// A segment's place in the packet.
struct Place {
    number: usize,
    offset: usize,
    count: usize,
    is_last: bool,
}

impl Place {
    /// The headers of the segment; its checksum field holds the sum of the pseudo header, or 0 if it is to have none.
    fn headers(&self, whole: &GsoHeaders, wants_checksum: bool) -> Option<GsoHeaders> {
        let mut headers = *whole;
        let from_transport = headers.payload_at - headers.transport_at + self.count;
        let from_network = headers.payload_at - headers.network_at + self.count;
        let (network_at, transport_at) = (headers.network_at, headers.transport_at);
        let protocol = match headers.transport {
            Transport::Tcp => IpProtocol::TCP,
            Transport::Udp => IpProtocol::UDP,
        };
        let transport_length = u16::try_from(from_transport).ok()?;
        let pseudo = match headers.network {
            Network::Ip4 => {
                let (ip, _) = Ip4Header::parse_mut(headers.bytes_mut().get_mut(network_at..)?)?;
                ip.set_total_length(u16::try_from(from_network).ok()?);
                ip.set_identification(ip.identification().wrapping_add(self.number as u16));
                ip.pseudo_header(transport_length)
            }
            Network::Ip6 => {
                let (ip, _) = Ip6Header::parse_mut(headers.bytes_mut().get_mut(network_at..)?)?;
                ip.set_payload_length(u16::try_from(from_network - Ip6Header::LENGTH).ok()?);
                ip.pseudo_header(protocol, u32::from(transport_length))
            }
        };
        let behind = headers.bytes_mut().get_mut(transport_at..)?;
        match whole.transport {
            Transport::Tcp => self.set_tcp(behind, pseudo)?,
            Transport::Udp => {
                let (udp, _) = UdpHeader::parse_mut(behind)?;
                udp.set_length(transport_length);
                udp.set_checksum(if wants_checksum { pseudo.partial() } else { 0 });
            }
        }
        Some(headers)
    }

    fn set_tcp(&self, bytes: &mut [u8], pseudo: Sum) -> Option<()> {
        let (tcp, _) = TcpHeader::parse_mut(bytes)?;
        tcp.set_sequence(tcp.sequence().wrapping_add(self.offset as u32));
        let mut flags = tcp.flags().0;
        if !self.is_last {
            flags &= !LAST_ONLY;
        }
        // RFC 3168 §6.1.2: congestion window reduced is said once.
        if self.number > 0 {
            flags &= !TcpFlags::CWR.0;
        }
        tcp.set_flags(TcpFlags(flags));
        tcp.set_checksum(pseudo.partial());
        Some(())
    }
}
