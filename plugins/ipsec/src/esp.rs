//! The ESP packet (RFC 4303 §2): what is put in front of a payload and behind it, and what is found there again.
//!
//! All of it works in place, on bytes that the caller has made room in.

use std::net::IpAddr;

use raddle_plugin_api::wire::{Ip4Header, Ip6Header, Ip6Upper, IpProtocol, UdpHeader};

use crate::algorithm::{Kind, Suite};
use crate::engine::{ESP_BYTES, Parts};
use crate::sa::{Description, DontFragment, Dscp, Mode, Outbound};

/// Hop limit of outer headers (RFC 4301 §5.1.2.1 leaves it to us).
const HOP_LIMIT: u8 = 64;
/// The largest IP packet.
const MOST_BYTES: usize = 65_535;
/// IVs of CBC that are drawn at once.
const IVS: usize = 64;

/// What a packet is, as far as wrapping it needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// 4 or 6, as a protocol number.
    pub protocol: IpProtocol,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The bit of IPv4; IPv6 packets are never fragmented on the way.
    pub dont_fragment: bool,
    /// Its length by its header.
    pub length: usize,
}

impl Inner {
    /// Of a packet that begins with its IP header; `None` if the header is cut short or not one, or says more than `length`.
    #[inline(always)]
    pub fn of(bytes: &[u8], length: usize) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => {
                let (ip, _) = Ip4Header::parse(bytes)?;
                let total = usize::from(ip.total_length());
                (ip.header_length() >= 20 && total >= ip.header_length() && total <= length).then_some(Self {
                    protocol: IpProtocol::IP4,
                    traffic_class: ip.traffic_class(),
                    dont_fragment: ip.dont_fragment(),
                    length: total,
                })
            }
            6 => {
                let (ip, _) = Ip6Header::parse(bytes)?;
                (ip.total_length() <= length).then_some(Self {
                    protocol: IpProtocol::IP6,
                    traffic_class: ip.traffic_class(),
                    dont_fragment: true,
                    length: ip.total_length(),
                })
            }
            _ => None,
        }
    }
}

impl Inner {
    /// Whether a packet that begins with its IP header is from one address to another.
    pub fn is_between(bytes: &[u8], source: IpAddr, destination: IpAddr) -> bool {
        let ends: Option<(IpAddr, IpAddr)> = match bytes.first().map(|first| first >> 4) {
            Some(4) => Ip4Header::parse(bytes)
                .map(|(ip, _)| (ip.source().to_std().into(), ip.destination().to_std().into())),
            _ => Ip6Header::parse(bytes)
                .map(|(ip, _)| (ip.source().to_std().into(), ip.destination().to_std().into())),
        };
        ends == Some((source, destination))
    }
}

/// Bytes in front of a payload and behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// In front: outer IP of tunnels, UDP, ESP, IV.
    pub front: usize,
    /// Padding against traffic analysis, of zeros (RFC 4303 §2.7).
    pub tfc: usize,
    /// Padding to whole blocks (RFC 4303 §2.4).
    pub pad: usize,
    /// Behind: both paddings, pad length, next header, ICV.
    pub behind: usize,
}

impl Layout {
    /// For a payload of so many bytes.
    #[inline(always)]
    pub fn of(sa: &Outbound, payload: usize) -> Self {
        let description = &sa.description;
        let tfc = sa.pad_to.saturating_sub(payload);
        let block = description.suite.encryption.block_bytes();
        let text = payload + tfc + 2;
        let pad = text.next_multiple_of(block) - text;
        let behind = tfc + pad + 2 + description.suite.icv_bytes();
        Self { front: description.front_bytes(), tfc, pad, behind }
    }
}

/// IVs that nobody can foretell (RFC 3602 §3), drawn many at a time. One for each thread.
pub struct IvSource {
    bytes: [u8; 16 * IVS],
    left: usize,
}

impl Default for IvSource {
    fn default() -> Self {
        Self { bytes: [0; 16 * IVS], left: 0 }
    }
}

impl IvSource {
    /// One that was never given before; `None` if the system has no randomness to give.
    #[inline]
    pub fn draw(&mut self) -> Option<[u8; 16]> {
        if self.left == 0 {
            aws_lc_rs::rand::fill(&mut self.bytes).ok()?;
            self.left = IVS;
        }
        self.left -= 1;
        let at = 16 * self.left;
        self.bytes[at..at + 16].try_into().ok()
    }
}

/// A packet could not be wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwrappable {
    /// It would be longer than an IP packet can be.
    TooLong,
    /// It is cut short.
    Malformed,
    /// The system has no randomness.
    NoRandomness,
}

/// Wraps a whole packet. `bytes` has `layout.front` bytes of room, the packet, and `layout.behind` bytes of room. Returns where the ESP
/// header is; the ICV is still to come.
///
/// # Errors
/// It cannot be wrapped, and its room holds anything.
#[inline(always)]
pub fn wrap_tunnel(
    sa: &Outbound,
    sequence: u64,
    ivs: &mut IvSource,
    bytes: &mut [u8],
    layout: Layout,
    inner: &Inner,
) -> Result<usize, Unwrappable> {
    let description = &sa.description;
    let esp = layout.front - ESP_BYTES - description.suite.encryption.iv_bytes();
    if bytes.len() > MOST_BYTES {
        return Err(Unwrappable::TooLong);
    }
    write_behind(bytes, layout, description.suite, inner.protocol);
    write_esp(description, sequence, ivs, &mut bytes[esp..])?;
    let dscp = match sa.dscp {
        Dscp::Copy => inner.traffic_class & 0xfc,
        Dscp::Value(value) => value << 2,
    };
    // RFC 6040 §4.1.
    let ecn = if sa.copies_ecn { inner.traffic_class & 3 } else { 0 };
    let upper_length = bytes.len() - if description.local.is_ipv4() { 20 } else { 40 };
    let protocol = if description.udp.is_some() { IpProtocol::UDP } else { IpProtocol::ESP };
    match (description.local, description.remote) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            let Some(mut ip) = Ip4Header::new(protocol, local.into(), remote.into(), upper_length) else {
                return Err(Unwrappable::TooLong);
            };
            ip.set_ttl(HOP_LIMIT);
            ip.set_traffic_class(dscp | ecn);
            let dont_fragment = match sa.dont_fragment {
                DontFragment::Copy => inner.dont_fragment && inner.protocol == IpProtocol::IP4,
                DontFragment::Set => true,
                DontFragment::Clear => false,
            };
            ip.set_dont_fragment(dont_fragment);
            // Fragments of packets are told apart by it (RFC 6864 §4.1).
            ip.set_identification(if dont_fragment { 0 } else { sequence as u16 });
            ip.write_to(bytes).ok_or(Unwrappable::Malformed)?;
        }
        (IpAddr::V6(local), IpAddr::V6(remote)) => {
            let Some(mut ip) = Ip6Header::new(protocol, local.into(), remote.into(), upper_length) else {
                return Err(Unwrappable::TooLong);
            };
            ip.set_hop_limit(HOP_LIMIT);
            ip.set_traffic_class(dscp | ecn);
            // RFC 6438 §2: what tells tunnels apart on the way is all that a hash there can see.
            ip.set_flow_label(description.spi & 0xf_ffff);
            ip.write_to(bytes).ok_or(Unwrappable::Malformed)?;
        }
        _ => return Err(Unwrappable::Malformed),
    }
    if let Some(ports) = description.udp {
        let length = upper_length - 8;
        // RFC 3948 §2.1: the checksum is zero.
        let udp = UdpHeader::new(ports.local, ports.remote, length).ok_or(Unwrappable::TooLong)?;
        udp.write_to(&mut bytes[esp - 8..]).ok_or(Unwrappable::Malformed)?;
    }
    Ok(esp)
}

/// Where the payload of a packet is that is wrapped in transport mode, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// Bytes of the IP header with its options or extensions.
    pub offset: usize,
    /// Where the protocol is named.
    pub named_at: usize,
    /// The protocol.
    pub protocol: IpProtocol,
}

impl Upper {
    /// Of a packet that begins with its IP header; `None` if it is malformed or a fragment, which cannot be wrapped (RFC 4303 §3.3.4).
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => {
                let (ip, _) = Ip4Header::parse(bytes)?;
                let offset = ip.header_length();
                let fits = offset >= 20 && offset <= bytes.len() && !ip.is_fragment();
                fits.then_some(Self { offset, named_at: 9, protocol: ip.protocol() })
            }
            _ => {
                let found = Ip6Upper::find(bytes).ok()?;
                let fits = found.offset <= bytes.len() && !found.is_fragment();
                fits.then_some(Self {
                    offset: found.offset,
                    named_at: found.named_at,
                    protocol: found.protocol,
                })
            }
        }
    }
}

/// Wraps what is behind the IP header. `bytes` has `layout.front` bytes of room, the packet, and `layout.behind` bytes of room. Returns where
/// the ESP header is; the ICV is still to come.
///
/// # Errors
/// As [`wrap_tunnel`].
pub fn wrap_transport(
    sa: &Outbound,
    sequence: u64,
    ivs: &mut IvSource,
    bytes: &mut [u8],
    layout: Layout,
    upper: &Upper,
) -> Result<usize, Unwrappable> {
    if bytes.len() > MOST_BYTES {
        return Err(Unwrappable::TooLong);
    }
    let esp = upper.offset;
    bytes.copy_within(layout.front..layout.front + esp, 0);
    write_behind(bytes, layout, sa.description.suite, upper.protocol);
    write_esp(&sa.description, sequence, ivs, &mut bytes[esp..])?;
    bytes[upper.named_at] = IpProtocol::ESP.0;
    set_length(bytes).ok_or(Unwrappable::Malformed)?;
    Ok(esp)
}

/// Makes an IP header say the length of all bytes, and its checksum fit.
fn set_length(bytes: &mut [u8]) -> Option<()> {
    let length = bytes.len();
    if bytes.first()? >> 4 == 6 {
        let (ip, _) = Ip6Header::parse_mut(bytes)?;
        ip.set_payload_length(u16::try_from(length.checked_sub(40)?).ok()?);
        return Some(());
    }
    let header = usize::from(bytes.first()? & 15) * 4;
    let total = u16::try_from(length).ok()?;
    bytes.get_mut(2..4)?.copy_from_slice(&total.to_be_bytes());
    bytes.get_mut(10..12)?.fill(0);
    let sum = raddle_plugin_api::wire::checksum::checksum(bytes.get(..header)?);
    bytes.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
    Some(())
}

#[inline(always)]
fn write_behind(bytes: &mut [u8], layout: Layout, suite: Suite, next_header: IpProtocol) {
    let start = bytes.len() - layout.behind;
    let (trailer, _) = bytes[start..].split_at_mut(layout.behind - suite.icv_bytes());
    let (tfc, trailer) = trailer.split_at_mut(layout.tfc);
    tfc.fill(0);
    // RFC 4303 §2.4: 1, 2, 3 …
    for (byte, number) in trailer[..layout.pad].iter_mut().zip(1..) {
        *byte = number;
    }
    trailer[layout.pad] = layout.pad as u8;
    trailer[layout.pad + 1] = next_header.0;
}

#[inline(always)]
fn write_esp(
    description: &Description,
    sequence: u64,
    ivs: &mut IvSource,
    bytes: &mut [u8],
) -> Result<(), Unwrappable> {
    bytes[..4].copy_from_slice(&description.spi.to_be_bytes());
    bytes[4..8].copy_from_slice(&(sequence as u32).to_be_bytes());
    match description.suite.encryption.kind() {
        // The sequence number never comes twice with one key, so neither does the IV (RFC 4106 §3.1, RFC 3686 §3.1).
        Kind::Aead | Kind::Gmac | Kind::Ctr => bytes[8..16].copy_from_slice(&sequence.to_be_bytes()),
        Kind::Cbc => bytes[8..24].copy_from_slice(&ivs.draw().ok_or(Unwrappable::NoRandomness)?),
        Kind::Null => {}
    }
    Ok(())
}

/// What an authentic packet is found not to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The padding is not 1, 2, 3 …, or longer than the packet (RFC 4303 §2.4).
    Padding,
    /// Its next header is "none": it was sent to be seen, and holds nothing (RFC 4303 §2.6).
    Dummy,
    /// What is in it is not what its SA carries.
    Inner,
    /// The outer header says that there was congestion, and the inner one that nobody is to be told so (RFC 6040 §4.2).
    Congestion,
}

/// Where the payload of an open packet ends, and what it is.
///
/// # Errors
/// The trailer is not as it should be.
#[inline(always)]
pub fn trailer(packet: &[u8], parts: &Parts) -> Result<(usize, IpProtocol), Malformed> {
    let text = &packet[parts.text.clone()];
    let [.., pad, next_header] = *text else { return Err(Malformed::Padding) };
    let end = text.len().checked_sub(2 + usize::from(pad)).ok_or(Malformed::Padding)?;
    let padding = &text[end..text.len() - 2];
    if padding.iter().zip(1_u16..).any(|(&byte, number)| u16::from(byte) != number) {
        return Err(Malformed::Padding);
    }
    match IpProtocol(next_header) {
        IpProtocol::NO_NEXT => Err(Malformed::Dummy),
        protocol => Ok((parts.text.start + end, protocol)),
    }
}

/// Checks the packet that was in a tunnel, and gives it the ECN that it has after what happened on the way (RFC 6040 §4.2). Returns its
/// length: what is behind it is padding.
///
/// # Errors
/// It is no IP packet of the family that the trailer says, or must not go on.
#[inline(always)]
pub fn unwrap_tunnel(
    payload: &mut [u8],
    protocol: IpProtocol,
    outer_class: u8,
    follows_ecn: bool,
) -> Result<usize, Malformed> {
    let inner = Inner::of(payload, payload.len()).ok_or(Malformed::Inner)?;
    if inner.protocol != protocol {
        return Err(Malformed::Inner);
    }
    if follows_ecn {
        let ecn = decapsulated_ecn(inner.traffic_class & 3, outer_class & 3).ok_or(Malformed::Congestion)?;
        if ecn != inner.traffic_class & 3 {
            set_ecn(payload, ecn);
        }
    }
    Ok(inner.length)
}

/// The ECN of a packet that leaves a tunnel; `None`: it is dropped (RFC 6040 figure 4).
#[inline(always)]
pub const fn decapsulated_ecn(inner: u8, outer: u8) -> Option<u8> {
    const NOT_ECT: u8 = 0;
    const ECT1: u8 = 1;
    const ECT0: u8 = 2;
    const CE: u8 = 3;
    match (inner, outer) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (CE, _) | (_, CE) => Some(CE),
        (ECT0, ECT1) => Some(ECT1),
        (inner, _) => Some(inner),
    }
}

#[cold]
fn set_ecn(payload: &mut [u8], ecn: u8) {
    if payload.first().is_some_and(|first| first >> 4 == 4) {
        if let Some((ip, _)) = Ip4Header::parse_mut(payload) {
            ip.set_ecn(ecn);
        }
    } else if let Some((ip, _)) = Ip6Header::parse_mut(payload) {
        ip.set_ecn(ecn);
    }
}

/// Takes ESP out of a packet in transport mode: `bytes` begins with the IP header, of `header` bytes; the payload is at `payload`. Returns
/// how many bytes are to be dropped at the front, and how many there are then.
///
/// # Errors
/// The packet is none any more.
pub fn unwrap_transport(
    bytes: &mut [u8],
    upper: &Upper,
    payload: std::ops::Range<usize>,
    protocol: IpProtocol,
) -> Result<(usize, usize), Malformed> {
    if protocol == IpProtocol::IP4 || protocol == IpProtocol::IP6 {
        // RFC 4301 §4.1: what is in a tunnel needs an SA for tunnels, which checks it.
        return Err(Malformed::Inner);
    }
    let shift = payload.start.checked_sub(upper.offset).ok_or(Malformed::Inner)?;
    *bytes.get_mut(upper.named_at).ok_or(Malformed::Inner)? = protocol.0;
    bytes.copy_within(..upper.offset, shift);
    let packet = bytes.get_mut(shift..payload.end).ok_or(Malformed::Inner)?;
    let length = packet.len();
    set_length(packet).ok_or(Malformed::Inner)?;
    Ok((shift, length))
}

/// The mode of an SA that carries this protocol.
pub const fn carries(mode: Mode, protocol: IpProtocol) -> bool {
    let is_ip = protocol.0 == IpProtocol::IP4.0 || protocol.0 == IpProtocol::IP6.0;
    is_ip == matches!(mode, Mode::Tunnel)
}
