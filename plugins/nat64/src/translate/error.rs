//! ICMP errors with the packet that they are about, in either direction (RFC 7915 §4.2, §4.3, §5.2, §5.3; RFC 4884).

use raddle_plugin_api::wire::checksum::{Delta, Sum, never_zero};
use raddle_plugin_api::wire::{
    Icmp4Header, Icmp6Header, Ip4Header, Ip6Address, Ip6FragmentHeader, Ip6Header, Ip6Upper, IpProtocol,
};
use zerocopy::IntoBytes;

use super::hop::HopExtension;
use super::icmp::{IcmpErrorKind, translate_kind4, translate_kind6};
use super::ip::{Ends4, Ends6, Fragment4, Outgoing4, Outgoing6, ip4_header, ip6_header, pseudo4, pseudo6};

/// Bytes of the ICMP header.
const HEADER: usize = 8;
/// Where the checksum is.
const CHECKSUM: std::ops::Range<usize> = 2..4;
/// The quoted packet is filled up to so many bytes before extensions follow (RFC 4884 §5.1).
const LEAST_QUOTE_BEFORE_EXTENSION: usize = 128;
/// The longest ICMPv6 error (RFC 4443 §2.4 c).
const MAX_ERROR6: usize = Ip6Header::MIN_MTU - Ip6Header::LENGTH;

/// Why an ICMP error is not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The message or what it quotes is cut short, or says what cannot be.
    Bytes,
    /// There is no such error in the other protocol, or it is of no use there.
    Untranslatable,
}

/// A message that was translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translated {
    /// Its bytes at the front of the output.
    pub length: usize,
    /// Its type and code.
    pub kind: IcmpErrorKind,
}

/// Translates an ICMPv6 error. `message` is the whole of it, `ip` its IPv6 header, `inner` what the ends of the quoted packet are as
/// IPv4. The message is written to the front of `into`, which is at least as long. `hop` is the address of who sent it, to be named
/// in it (RFC 6791 §4).
///
/// A checksum that was wrong stays wrong: it is updated by what changes.
///
/// # Errors
/// See [`Malformed`].
pub fn translate_error6(
    ip: &Ip6Header,
    message: &[u8],
    inner: &Ends4,
    hop: Option<Ip6Address>,
    into: &mut [u8],
) -> Result<Translated, Malformed> {
    let (header, quote) = Icmp6Header::parse(message).ok_or(Malformed::Bytes)?;
    let from = IcmpErrorKind { kind: header.kind().0, code: header.code(), rest: header.rest() };
    let kind = translate_kind6(from).ok_or(Malformed::Untranslatable)?;
    // RFC 4884 §4.4: destination unreachable and time exceeded, in units of 64 bits.
    let (quote, extension) = match from.kind {
        1 | 3 => split(quote, usize::from(message[4]) * 8),
        _ => (quote, &[][..]),
    };
    let body = into.get_mut(HEADER..).ok_or(Malformed::Bytes)?;
    let quoted = quote6_as_4(quote, inner, body)?;
    // All ICMPv4 errors that are made here may have extensions (RFC 4884 §4).
    let named = hop.and_then(|hop| HopExtension::appended_to(extension, hop));
    let extension = named.as_ref().map_or(extension, HopExtension::bytes);
    // RFC 4884 §4.1 to §4.3: units of 32 bits.
    let (end, words) = append_extension(body, quoted, extension, 4, usize::MAX).ok_or(Malformed::Bytes)?;
    let length = HEADER + end;
    into[..HEADER].copy_from_slice(&[kind.kind, kind.code, 0, 0, 0, 0, 0, 0]);
    into[4..8].copy_from_slice(&kind.rest.to_be_bytes());
    if words != 0 {
        into[5] = words;
    }
    let before = ip
        .pseudo_header(IpProtocol::ICMP6, message.len() as u32)
        .add_bytes(&message[..2])
        .add_bytes(&message[4..]);
    let after = Sum::new().add_bytes(&into[..length]);
    let checksum = Delta::between(before, after).apply(header.checksum());
    into[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    Ok(Translated { length, kind })
}

/// Translates an ICMPv4 error; as [`translate_error6`]. `ends` are the addresses of the IPv6 packet that will carry it, whose
/// pseudo header the checksum is about. It is cut down to what an ICMPv6 error may have.
///
/// # Errors
/// See [`Malformed`].
pub fn translate_error4(
    message: &[u8],
    ends: (&Ends6, &Ends6),
    into: &mut [u8],
) -> Result<Translated, Malformed> {
    let (outer, inner) = ends;
    let (header, quote) = Icmp4Header::parse(message).ok_or(Malformed::Bytes)?;
    let from = IcmpErrorKind { kind: header.kind().0, code: header.code(), rest: header.rest() };
    let quoted_total = Ip4Header::parse(quote).ok_or(Malformed::Bytes)?.0.total_length();
    let kind = translate_kind4(from, quoted_total).ok_or(Malformed::Untranslatable)?;
    let (quote, extension) = split(quote, usize::from(message[5]) * 4);
    // RFC 4884 §4.4: only these may have extensions in ICMPv6.
    let extension = if matches!(kind.kind, 1 | 3) { extension } else { &[] };
    let body = into.get_mut(HEADER..).ok_or(Malformed::Bytes)?;
    let quoted = quote4_as_6(quote, inner, body)?;
    let (end, words) =
        append_extension(body, quoted, extension, 8, MAX_ERROR6 - HEADER).ok_or(Malformed::Bytes)?;
    let length = HEADER + end;
    into[..HEADER].copy_from_slice(&[kind.kind, kind.code, 0, 0, 0, 0, 0, 0]);
    into[4..8].copy_from_slice(&kind.rest.to_be_bytes());
    if words != 0 {
        into[4] = words;
    }
    let before = Sum::new().add_bytes(&message[..2]).add_bytes(&message[4..]);
    let after = Sum::pseudo_ip6(outer.source, outer.destination, IpProtocol::ICMP6, length as u32)
        .add_bytes(&into[..length]);
    let checksum = Delta::between(before, after).apply(header.checksum());
    into[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    Ok(Translated { length, kind })
}

/// What is quoted, and the extensions behind it, if there are any: `length` is what the message says the quoted packet to take.
fn split(quote: &[u8], length: usize) -> (&[u8], &[u8]) {
    if length < LEAST_QUOTE_BEFORE_EXTENSION || length >= quote.len() {
        return (quote, &[]);
    }
    quote.split_at(length)
}

/// Puts the extensions behind a quoted packet of `quoted` bytes, which is filled up with zeros or cut for them. Returns where it
/// all ends, at most at `limit`, and the length of the quoted packet in units of `unit` bytes: 0 without extensions.
fn append_extension(
    body: &mut [u8],
    quoted: usize,
    extension: &[u8],
    unit: usize,
    limit: usize,
) -> Option<(usize, u8)> {
    if extension.is_empty() || extension.len() > limit.saturating_sub(LEAST_QUOTE_BEFORE_EXTENSION) {
        return Some((quoted.min(limit), 0));
    }
    let most = (limit.min(0xff * unit + extension.len()) - extension.len()) / unit * unit;
    let padded = quoted.max(LEAST_QUOTE_BEFORE_EXTENSION).next_multiple_of(unit).min(most);
    if padded > quoted {
        body.get_mut(quoted..padded)?.fill(0);
    }
    body.get_mut(padded..padded + extension.len())?.copy_from_slice(extension);
    Some((padded + extension.len(), (padded / unit) as u8))
}

/// Writes the quoted IPv6 packet, as far as it is there, as the IPv4 packet that its sender sent. Returns its length.
fn quote6_as_4(quote: &[u8], ends: &Ends4, into: &mut [u8]) -> Result<usize, Malformed> {
    let (ip, _) = Ip6Header::parse(quote).ok_or(Malformed::Bytes)?;
    let upper = Ip6Upper::find(quote).map_err(|_| Malformed::Bytes)?;
    let payload = (ip.total_length()).checked_sub(upper.offset).ok_or(Malformed::Bytes)?;
    let fragment = match upper.fragment {
        Some(fragment) => {
            Fragment4::of_fragment(fragment.identification, fragment.offset, fragment.more_fragments)
        }
        None => Fragment4::of_whole(payload + Ip4Header::LENGTH, 0),
    };
    let protocol = protocol_as_4(upper.protocol);
    let header = ip4_header(&Outgoing4 {
        source: ends.source,
        destination: ends.destination,
        protocol,
        ttl: ip.hop_limit(),
        traffic_class: ip.traffic_class(),
        payload,
        fragment,
    });
    let data = &quote[upper.offset..];
    let length = header.len() + data.len();
    let target = into.get_mut(..length).ok_or(Malformed::Bytes)?;
    let (front, behind) = target.split_at_mut(header.len());
    front.copy_from_slice(&header);
    behind.copy_from_slice(data);
    let mut before = pseudo6(ip.source(), ip.destination());
    let mut after = pseudo4(ends.source, ends.destination);
    if upper.protocol == IpProtocol::ICMP6 {
        before = ip.pseudo_header(IpProtocol::ICMP6, payload as u32);
        after = Sum::new();
    }
    set_upper(protocol, behind, (ends.source_port, ends.destination_port), before, after)?;
    Ok(length)
}

/// Writes the quoted IPv4 packet, as far as it is there, as the IPv6 packet that its sender sent. Returns its length.
fn quote4_as_6(quote: &[u8], ends: &Ends6, into: &mut [u8]) -> Result<usize, Malformed> {
    let (ip, _) = Ip4Header::parse(quote).ok_or(Malformed::Bytes)?;
    let header_length = ip.header_length();
    let payload = usize::from(ip.total_length()).checked_sub(header_length).ok_or(Malformed::Bytes)?;
    if ip.version() != 4 || header_length < Ip4Header::LENGTH || header_length > quote.len() {
        return Err(Malformed::Bytes);
    }
    let protocol = protocol_as_6(ip.protocol());
    let data = &quote[header_length..];
    let behind_ip = if ip.is_fragment() { Ip6FragmentHeader::LENGTH } else { 0 };
    let header = ip6_header(&Outgoing6 {
        source: ends.source,
        destination: ends.destination,
        next_header: if ip.is_fragment() { IpProtocol::FRAGMENT } else { protocol },
        hop_limit: ip.ttl(),
        traffic_class: ip.traffic_class(),
        payload: payload + behind_ip,
    });
    let length = header.len() + behind_ip + data.len();
    let target = into.get_mut(..length).ok_or(Malformed::Bytes)?;
    let (front, behind) = target.split_at_mut(header.len());
    front.copy_from_slice(&header);
    let (fragment, behind) = behind.split_at_mut(behind_ip);
    if ip.is_fragment() {
        let (offset, identification) = (ip.fragment_offset(), u32::from(ip.identification()));
        let header = Ip6FragmentHeader::new(protocol, offset, ip.more_fragments(), identification);
        fragment.copy_from_slice(header.as_bytes());
    }
    behind.copy_from_slice(data);
    let mut before = pseudo4(ip.source(), ip.destination());
    let mut after = pseudo6(ends.source, ends.destination);
    if protocol == IpProtocol::ICMP6 {
        before = Sum::new();
        after = Sum::pseudo_ip6(ends.source, ends.destination, IpProtocol::ICMP6, payload as u32);
    }
    set_upper(protocol, behind, (ends.source_port, ends.destination_port), before, after)?;
    Ok(length)
}

/// Sets ports or identifier of a transport header that may be cut short, and its checksum, if that is there, by what changes.
fn set_upper(
    protocol: IpProtocol,
    bytes: &mut [u8],
    ports: (u16, u16),
    before: Sum,
    after: Sum,
) -> Result<(), Malformed> {
    let (changed, checksum_at) = match protocol {
        IpProtocol::TCP => (0..4, 16),
        IpProtocol::UDP => (0..4, 6),
        IpProtocol::ICMP4 | IpProtocol::ICMP6 => (4..6, 2),
        _ => return Err(Malformed::Bytes),
    };
    if bytes.len() < HEADER {
        return Err(Malformed::Bytes);
    }
    let (mut before, mut after) = (before.add_bytes(&bytes[changed.clone()]), after);
    let mut new = [0; 4];
    new[..2].copy_from_slice(&ports.0.to_be_bytes());
    new[2..].copy_from_slice(&ports.1.to_be_bytes());
    let is_icmp = checksum_at == 2;
    if is_icmp {
        before = before.add_bytes(&bytes[..2]);
        // Only queries are quoted: nobody answers errors with errors.
        bytes[0] = match (protocol, bytes[0]) {
            (IpProtocol::ICMP4, 128) => 8,
            (IpProtocol::ICMP4, 129) => 0,
            (IpProtocol::ICMP6, 8) => 128,
            (IpProtocol::ICMP6, 0) => 129,
            _ => return Err(Malformed::Untranslatable),
        };
        after = after.add_bytes(&bytes[..2]);
    }
    let width = changed.len();
    bytes[changed].copy_from_slice(&new[..width]);
    after = after.add_bytes(&new[..width]);
    if let Some(field) = bytes.get_mut(checksum_at..checksum_at + 2) {
        let old = u16::from_be_bytes([field[0], field[1]]);
        // RFC 768: zero is "none".
        if !(protocol == IpProtocol::UDP && old == 0) {
            let updated = Delta::between(before, after).apply(old);
            let updated = if protocol == IpProtocol::UDP { never_zero(updated) } else { updated };
            field.copy_from_slice(&updated.to_be_bytes());
        }
    }
    Ok(())
}

/// The protocol as IPv4 names it.
pub(crate) fn protocol_as_4(protocol: IpProtocol) -> IpProtocol {
    if protocol == IpProtocol::ICMP6 { IpProtocol::ICMP4 } else { protocol }
}

/// The protocol as IPv6 names it.
pub(crate) fn protocol_as_6(protocol: IpProtocol) -> IpProtocol {
    if protocol == IpProtocol::ICMP4 { IpProtocol::ICMP6 } else { protocol }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
