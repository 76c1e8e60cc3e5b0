//! Packets in place: the transport header by what a session says, then the IP header.

use raddle_plugin_api::Packet;
use raddle_plugin_api::wire::checksum::{Delta, never_zero, update_u16};
use raddle_plugin_api::wire::{
    GsoKind, Ip4Address, Ip4Header, Ip6Address, Ip6FragmentHeader, Ip6Header, Ip6Upper, IpProtocol,
};
use zerocopy::IntoBytes;

use crate::state::{Protocol, Session};
use crate::translate::{Fragment4, Nat64Prefix, Outgoing4, Outgoing6, ip4_header, ip6_header};

/// Bytes of a TCP header that are read or written.
pub const TCP_BYTES: usize = 20;
/// Bytes of a UDP or ICMP header.
pub const SHORT_BYTES: usize = 8;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const ICMP_CHECKSUM: usize = 2;

/// Why a packet cannot be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A header is cut short.
    Malformed,
    /// An ICMP message that has no equivalent.
    IcmpKind,
    /// UDP without a checksum.
    ZeroChecksum,
    /// Too long for the other protocol.
    TooLong,
}

/// What becomes of a transport header.
#[derive(Clone, Copy, Debug)]
pub struct UpperChange {
    /// Protocol.
    pub protocol: Protocol,
    /// The new source port or identifier.
    pub source: Option<u16>,
    /// The new destination port.
    pub destination: Option<u16>,
    /// What changes in the checksum.
    pub delta: Delta,
    /// The part of it that is in the pseudo header.
    pub pseudo_delta: Delta,
}

/// From IPv6 to IPv4.
#[derive(Clone, Copy, Debug)]
pub struct To4 {
    /// The new source.
    pub source: Ip4Address,
    /// The new destination.
    pub destination: Ip4Address,
    /// The transport header.
    pub upper: UpperChange,
}

/// From IPv4 to IPv6.
#[derive(Clone, Copy, Debug)]
pub struct To6 {
    /// The new source.
    pub source: Ip6Address,
    /// The new destination.
    pub destination: Ip6Address,
    /// The transport header.
    pub upper: UpperChange,
}

impl To4 {
    /// As [`Self::of`], of packets of TCP or UDP, which are known to be of this protocol.
    #[inline(always)]
    pub fn plain(session: &Session, protocol: Protocol) -> Self {
        let upper = UpperChange {
            protocol,
            source: Some(session.outside_port),
            destination: None,
            delta: session.delta,
            pseudo_delta: session.pseudo_delta,
        };
        Self { source: session.outside, destination: session.remote, upper }
    }

    /// What a session says of packets from inside.
    pub fn of(session: &Session) -> Self {
        let upper = UpperChange {
            protocol: session.protocol(),
            source: Some(session.outside_port),
            destination: None,
            delta: session.delta,
            pseudo_delta: session.pseudo_delta,
        };
        Self { source: session.outside, destination: session.remote, upper }
    }
}

impl To6 {
    /// As [`Self::of`], of packets of TCP or UDP, which are known to be of this protocol and from this source.
    #[inline(always)]
    pub fn plain(session: &Session, protocol: Protocol, source: Ip6Address) -> Self {
        let upper = UpperChange {
            protocol,
            source: None,
            destination: Some(session.inside_port),
            delta: session.delta.reversed(),
            pseudo_delta: session.pseudo_delta.reversed(),
        };
        Self { source, destination: session.inside, upper }
    }

    /// What a session says of packets from outside.
    pub fn of(session: &Session, prefix: Nat64Prefix) -> Self {
        let is_icmp = session.protocol() == Protocol::Icmp;
        let upper = UpperChange {
            protocol: session.protocol(),
            source: is_icmp.then_some(session.inside_port),
            destination: (!is_icmp).then_some(session.inside_port),
            delta: session.delta.reversed(),
            pseudo_delta: session.pseudo_delta.reversed(),
        };
        Self { source: prefix.embed(session.remote), destination: session.inside, upper }
    }
}

/// Rewrites a packet that [`plain6`](crate::flow::plain6) has seen: the IPv4 header takes the place of the IPv6 header's second
/// half.
#[inline(always)]
pub fn plain_to4(packet: &mut Packet<'_>, change: &To4, identification: &mut u16) -> Option<()> {
    let (ip, upper) = packet.bytes_mut().split_first_chunk_mut::<{ Ip6Header::LENGTH }>()?;
    let first = u64::from_be_bytes(*ip.first_chunk()?);
    let (traffic_class, payload, hop_limit) =
        ((first >> 52) as u8, usize::from((first >> 16) as u16), first as u8);
    if payload + Ip4Header::LENGTH > usize::from(u16::MAX) {
        return None;
    }
    change_plain(upper, &change.upper)?;
    let fragment = Fragment4::of_whole(payload + Ip4Header::LENGTH, *identification);
    *identification = identification.wrapping_add(u16::from(!fragment.dont_fragment));
    *ip.last_chunk_mut()? = ip4_header(&Outgoing4 {
        source: change.source,
        destination: change.destination,
        protocol: change.upper.protocol.to_ip4(),
        ttl: hop_limit,
        traffic_class,
        payload,
        fragment,
    });
    packet.advance(Ip6Header::LENGTH - Ip4Header::LENGTH).then_some(())
}

/// Rewrites any packet of TCP, UDP or ICMP queries.
pub fn any_to4(
    packet: &mut Packet<'_>,
    found: &Ip6Upper,
    change: &To4,
    identification: &mut u16,
) -> Result<(), Unfit> {
    let Some((ip, _)) = Ip6Header::parse(packet.bytes()) else { return Err(Unfit::Malformed) };
    let (hop_limit, traffic_class) = (ip.hop_limit(), ip.traffic_class());
    let payload = ip.total_length().checked_sub(found.offset).ok_or(Unfit::Malformed)?;
    if payload + Ip4Header::LENGTH > usize::from(u16::MAX) {
        return Err(Unfit::TooLong);
    }
    if !found.is_later_fragment() {
        change_upper(packet, found.offset, payload, change.upper)?;
    }
    set_gso(packet, GsoKind::Tcp6, GsoKind::Tcp4);
    let fragment = match found.fragment {
        Some(fragment) => {
            Fragment4::of_fragment(fragment.identification, fragment.offset, fragment.more_fragments)
        }
        None => {
            *identification = identification.wrapping_add(1);
            Fragment4::of_whole(payload + Ip4Header::LENGTH, *identification)
        }
    };
    if !packet.advance(found.offset - Ip4Header::LENGTH) {
        return Err(Unfit::Malformed);
    }
    put4(packet, change, change.upper.protocol.to_ip4(), hop_limit, traffic_class, payload, fragment)
}

/// Rewrites a packet that [`plain4`](crate::flow::plain4) has seen.
#[inline(always)]
pub fn plain_to6(packet: &mut Packet<'_>, change: &To6) -> Option<()> {
    const LONGER: usize = Ip6Header::LENGTH - Ip4Header::LENGTH;
    if packet.headroom() < LONGER {
        return None;
    }
    let (ip, upper) = packet.bytes_mut().split_first_chunk_mut::<{ Ip4Header::LENGTH }>()?;
    let (traffic_class, total, ttl) = (ip[1], u16::from_be_bytes([ip[2], ip[3]]), ip[8]);
    let payload = usize::from(total).checked_sub(Ip4Header::LENGTH)?;
    change_plain(upper, &change.upper)?;
    packet.prepend_array::<LONGER>()?;
    *packet.bytes_mut().first_chunk_mut()? = ip6_header(&Outgoing6 {
        source: change.source,
        destination: change.destination,
        next_header: change.upper.protocol.to_ip6(),
        hop_limit: ttl,
        traffic_class,
        payload,
    });
    Some(())
}

/// Changes ports and checksum of a TCP or UDP header. `None`, and nothing done: there is no checksum to change, or no header.
#[inline(always)]
fn change_plain(upper: &mut [u8], change: &UpperChange) -> Option<()> {
    let is_tcp = change.protocol == Protocol::Tcp;
    let at = if is_tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
    let field: &mut [u8; 2] = upper.get_mut(at..at + 2)?.first_chunk_mut()?;
    let old = u16::from_be_bytes(*field);
    if old == 0 && !is_tcp {
        return None;
    }
    let new = change.delta.apply(old);
    *field = (if is_tcp { new } else { never_zero(new) }).to_be_bytes();
    let ports = upper.first_chunk_mut::<4>()?;
    if let Some(port) = change.source {
        [ports[0], ports[1]] = port.to_be_bytes();
    }
    if let Some(port) = change.destination {
        [ports[2], ports[3]] = port.to_be_bytes();
    }
    Some(())
}

/// What the IPv4 header of a packet said, which is off by now.
#[derive(Clone, Copy, Debug)]
pub struct Was4 {
    /// TTL.
    pub ttl: u8,
    /// Traffic class.
    pub traffic_class: u8,
    /// Bytes behind the header.
    pub payload: usize,
    /// What fragments share.
    pub identification: u16,
    /// Where a fragment belongs.
    pub offset: u16,
    /// Whether it is not the last one.
    pub more_fragments: bool,
    /// Whether it is one.
    pub is_fragment: bool,
}

impl Was4 {
    /// What a header says.
    pub fn of(ip: &Ip4Header) -> Self {
        Self {
            ttl: ip.ttl(),
            traffic_class: ip.traffic_class(),
            payload: ip.payload_length(),
            identification: ip.identification(),
            offset: ip.fragment_offset(),
            more_fragments: ip.more_fragments(),
            is_fragment: ip.is_fragment(),
        }
    }

    /// The headers of an IPv6 packet with `payload` bytes of this one, from `from` on: with a fragment header if it is part of
    /// something (RFC 7915 §4.1), and how many bytes they are.
    pub fn headers(
        &self,
        change: &To6,
        from: usize,
        payload: usize,
    ) -> ([u8; Ip6Header::LENGTH + Ip6FragmentHeader::LENGTH], usize) {
        let is_part = self.is_fragment || payload < self.payload;
        let behind = if is_part { Ip6FragmentHeader::LENGTH } else { 0 };
        let protocol = change.upper.protocol.to_ip6();
        let header = ip6_header(&Outgoing6 {
            source: change.source,
            destination: change.destination,
            next_header: if is_part { IpProtocol::FRAGMENT } else { protocol },
            hop_limit: self.ttl,
            traffic_class: self.traffic_class,
            payload: payload + behind,
        });
        let mut bytes = [0; Ip6Header::LENGTH + Ip6FragmentHeader::LENGTH];
        let (front, back) = bytes.split_at_mut(Ip6Header::LENGTH);
        front.copy_from_slice(&header);
        let more = self.more_fragments || from + payload < self.payload;
        let offset = self.offset.saturating_add(from as u16);
        let fragment = Ip6FragmentHeader::new(protocol, offset, more, self.identification.into());
        back.copy_from_slice(fragment.as_bytes());
        (bytes, Ip6Header::LENGTH + behind)
    }
}

/// Takes the IPv4 header off any packet of TCP, UDP or ICMP queries and changes what is behind it.
pub fn any_from4(packet: &mut Packet<'_>, change: &UpperChange, computes: bool) -> Result<Was4, Unfit> {
    let Some((ip, _)) = Ip4Header::parse(packet.bytes()) else { return Err(Unfit::Malformed) };
    let (header, was) = (ip.header_length(), Was4::of(ip));
    if was.offset == 0 {
        if was.is_fragment || !computes {
            // RFC 7915 §4.5: of a fragment it cannot be computed.
            let field = packet.bytes().get(header + UDP_CHECKSUM..header + UDP_CHECKSUM + 2);
            let is_partial = packet.has_offload();
            if change.protocol == Protocol::Udp && field == Some(&[0, 0][..]) && !is_partial {
                return Err(Unfit::ZeroChecksum);
            }
        }
        change_upper(packet, header, was.payload, *change)?;
    }
    set_gso(packet, GsoKind::Tcp4, GsoKind::Tcp6);
    if packet.advance(header) { Ok(was) } else { Err(Unfit::Malformed) }
}

fn put4(
    packet: &mut Packet<'_>,
    change: &To4,
    protocol: IpProtocol,
    ttl: u8,
    traffic_class: u8,
    payload: usize,
    fragment: Fragment4,
) -> Result<(), Unfit> {
    let header = ip4_header(&Outgoing4 {
        source: change.source,
        destination: change.destination,
        protocol,
        ttl,
        traffic_class,
        payload,
        fragment,
    });
    packet.bytes_mut().first_chunk_mut().map(|front| *front = header).ok_or(Unfit::Malformed)
}

/// Changes ports or identifier, and the checksum, of the transport header that stands at `at`.
fn change_upper(packet: &mut Packet<'_>, at: usize, length: usize, change: UpperChange) -> Result<(), Unfit> {
    if change.protocol == Protocol::Icmp {
        return change_query(packet, at, length, change);
    }
    if packet.has_offload() && change_partial(packet, at, change)? {
        return Ok(());
    }
    let upper = packet.bytes_mut().get_mut(at..).ok_or(Unfit::Malformed)?;
    if change.protocol == Protocol::Udp && upper.get(UDP_CHECKSUM..SHORT_BYTES) == Some(&[0, 0]) {
        return compute_udp(packet, at, length, change);
    }
    change_ports(upper, change)
}

fn change_ports(upper: &mut [u8], change: UpperChange) -> Result<(), Unfit> {
    let field = if change.protocol == Protocol::Tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
    let Some(header) = upper.get_mut(..field + 2) else { return Err(Unfit::Malformed) };
    let old = u16::from_be_bytes([header[field], header[field + 1]]);
    let mut new = change.delta.apply(old);
    if field == UDP_CHECKSUM {
        if old == 0 {
            return Err(Unfit::ZeroChecksum);
        }
        new = never_zero(new);
    }
    set_ports(header, change);
    header[field..].copy_from_slice(&new.to_be_bytes());
    Ok(())
}

fn set_ports(header: &mut [u8], change: UpperChange) {
    if let Some(port) = change.source {
        header[..2].copy_from_slice(&port.to_be_bytes());
    }
    if let Some(port) = change.destination {
        header[2..4].copy_from_slice(&port.to_be_bytes());
    }
}

/// Of a checksum that a device is to fill in, the field holds the pseudo header's sum: ports are none of it. `false`: there is no
/// such checksum.
#[cold]
fn change_partial(packet: &mut Packet<'_>, at: usize, change: UpperChange) -> Result<bool, Unfit> {
    let Some(checksum) = packet.offload().checksum else { return Ok(false) };
    let field = if change.protocol == Protocol::Tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
    if usize::from(checksum.start) != at || usize::from(checksum.offset) != field {
        return Err(Unfit::Malformed);
    }
    let header = packet.bytes_mut().get_mut(at..at + field + 2).ok_or(Unfit::Malformed)?;
    set_ports(header, change);
    let old = u16::from_be_bytes([header[field], header[field + 1]]);
    header[field..].copy_from_slice(&change.pseudo_delta.apply_to_partial(old).to_be_bytes());
    Ok(true)
}

/// GSO packets are the other family's from here on; UDP's kinds are of no family.
#[cold]
fn set_gso(packet: &mut Packet<'_>, from: GsoKind, to: GsoKind) {
    let mut offload = packet.offload();
    if let Some(gso) = &mut offload.gso
        && gso.kind == from
    {
        gso.kind = to;
        packet.set_offload(&offload);
    }
}

/// An echo request or reply; its checksum covers the type, and in IPv6 a pseudo header with the length.
fn change_query(packet: &mut Packet<'_>, at: usize, length: usize, change: UpperChange) -> Result<(), Unfit> {
    if packet.is_gso() || !packet.complete_checksum() {
        return Err(Unfit::Malformed);
    }
    let to_4 = packet.bytes().first().is_some_and(|first| first >> 4 == 6);
    let header = packet.bytes_mut().get_mut(at..at + SHORT_BYTES).ok_or(Unfit::Malformed)?;
    let new = match (to_4, header[0], header[1]) {
        (true, 128, 0) => 8,
        (true, 129, 0) => 0,
        (false, 8, 0) => 128,
        (false, 0, 0) => 129,
        _ => return Err(Unfit::IcmpKind),
    };
    let old = u16::from_be_bytes([header[ICMP_CHECKSUM], header[ICMP_CHECKSUM + 1]]);
    let word = |kind: u8| u16::from(kind) << 8;
    let length = length as u16;
    let sum = update_u16(change.delta.apply(old), word(header[0]), word(new));
    let sum = if to_4 { update_u16(sum, length, 0) } else { update_u16(sum, 0, length) };
    header[0] = new;
    // An echo reply with nothing but zeros in it: see `update_u16`.
    let sum = if to_4 { never_zero_over(header, sum) } else { sum };
    header[ICMP_CHECKSUM..ICMP_CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    if let Some(identifier) = change.source {
        header[4..6].copy_from_slice(&identifier.to_be_bytes());
    }
    Ok(())
}

/// RFC 1624 §3: over data of zeros alone the sum is zero, and its complement all ones.
fn never_zero_over(header: &[u8], sum: u16) -> u16 {
    if header[0] == 0 { never_zero(sum) } else { sum }
}

/// Gives a datagram the checksum that it lacks (RFC 7915 §4.5).
#[cold]
fn compute_udp(packet: &mut Packet<'_>, at: usize, length: usize, change: UpperChange) -> Result<(), Unfit> {
    use raddle_plugin_api::wire::checksum::Sum;
    if packet.is_gso() || length < SHORT_BYTES {
        return Err(Unfit::ZeroChecksum);
    }
    let (ip, _) = Ip4Header::parse(packet.bytes()).ok_or(Unfit::ZeroChecksum)?;
    let mut sum = ip.pseudo_header(length as u16);
    let mut reader = packet.reader();
    if !reader.skip(at) {
        return Err(Unfit::Malformed);
    }
    let mut left = length;
    while let Some(chunk) = reader.next_chunk(left) {
        sum = sum.add_bytes(chunk);
        left -= chunk.len();
    }
    // As its sender would have computed it; from there on it is like any other.
    let right = Sum::udp_checksum(sum);
    let upper = packet.bytes_mut().get_mut(at..).ok_or(Unfit::Malformed)?;
    let field = upper.get_mut(UDP_CHECKSUM..SHORT_BYTES).ok_or(Unfit::Malformed)?;
    field.copy_from_slice(&right.to_be_bytes());
    change_ports(upper, change)
}
