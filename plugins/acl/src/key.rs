//! What a packet is to rules and to sessions.

use raddle_plugin_api::L4Ports;
use raddle_plugin_api::wire::{Ip4Header, Ip6Header, Ip6Upper, IpProtocol};

use crate::compile::{
    FIRST_FRAGMENT, Key, Key4, Key6, LATER_FRAGMENT, META4, META6, TRANSPORT, WORDS4, WORDS6, meta,
};

/// What becomes of a packet as a part of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// It is of a flow both of whose sides may send anything.
    #[default]
    Flow,
    /// An ICMP query, which is answered.
    Request,
    /// The answer to an ICMP query.
    Reply,
    /// An ICMP error, which belongs to the session of the packet that it quotes.
    Error,
    /// It is of no flow: its transport header is not known, or it is ICMP that is not answered.
    None,
}

/// What was read of a packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen<const W: usize> {
    /// What it is classified by.
    pub key: Key<W>,
    /// The ports of its flow, source above destination; of an ICMP query its identifier, twice.
    pub flow_ports: u32,
    /// What it is to sessions.
    pub kind: Kind,
    /// Where its transport header stands, from the IP header on.
    pub transport_at: u16,
}

/// Of an IPv4 packet.
pub type Seen4 = Seen<WORDS4>;
/// Of an IPv6 packet.
pub type Seen6 = Seen<WORDS6>;

/// The IP header, or an IPv6 extension header, is cut short or out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What of a transport header is matched.
#[derive(Clone, Copy, Default)]
struct Transport {
    flags: u8,
    ports: u32,
    flow_ports: u32,
    kind: Kind,
    known: u32,
}

/// A packet of a flow, as far as a session that is there wants to know it.
#[derive(Clone, Copy)]
pub struct Flowing<A> {
    /// Its protocol.
    pub protocol: u8,
    /// Flags of TCP, 0 of other protocols.
    pub flags: u8,
    /// Source and destination.
    pub addresses: [A; 2],
    /// Ports, source above destination; 0 of protocols without.
    pub ports: u32,
}

/// From the IPv4 header on, through the flags of TCP.
const PLAIN4: usize = Ip4Header::LENGTH + 14;
/// As [`PLAIN4`], of IPv6.
const PLAIN6: usize = Ip6Header::LENGTH + 14;

/// Protocols whose header begins with two ports, a bit each.
const WITH_PORTS: [u64; 4] = {
    let mut bits = [0; 4];
    let protocols = [IpProtocol::TCP, IpProtocol::UDP, IpProtocol::UDP_LITE, IpProtocol::SCTP];
    let mut at = 0;
    while at < protocols.len() {
        bits[protocols[at].0 as usize / 64] |= 1 << (protocols[at].0 % 64);
        at += 1;
    }
    bits
};

/// 1 of protocols with ports, 0 of others: without a branch, as protocols come mixed.
#[inline(always)]
fn has_ports(protocol: u8) -> u32 {
    (WITH_PORTS[usize::from(protocol >> 6)] >> (protocol & 63)) as u32 & 1
}

/// Flags and ports of a transport header of which there are 14 bytes at least; `None` of ICMP, where types decide.
#[inline(always)]
fn flow_transport(protocol: u8, ports: u32, flags: u8) -> Option<(u8, u32)> {
    let is = |other: IpProtocol| IpProtocol(protocol) == other;
    if is(IpProtocol::ICMP4) | is(IpProtocol::ICMP6) {
        return None;
    }
    let of_tcp = u8::from(is(IpProtocol::TCP)).wrapping_neg();
    Some((flags & of_tcp, ports & has_ports(protocol).wrapping_neg()))
}

/// The flow of an IPv4 packet that is plain: no options, no fragment, no ICMP, 14 bytes of transport header. Of others
/// [`read4`] tells it.
#[inline(always)]
pub fn flow4(bytes: &[u8]) -> Option<Flowing<u32>> {
    let header: &[u8; PLAIN4] = bytes.first_chunk()?;
    let long = |at: usize| header[at..].first_chunk().map_or(0, |long| u64::from_be_bytes(*long));
    let (first, ends, protocol) = (long(0), long(12), header[9]);
    let ports = u32::from_be_bytes([header[20], header[21], header[22], header[23]]);
    if first >> 56 != 0x45 || first & 0x3fff != 0 || usize::from((first >> 32) as u16) < PLAIN4 {
        return None;
    }
    let (flags, ports) = flow_transport(protocol, ports, header[PLAIN4 - 1])?;
    Some(Flowing { protocol, flags, addresses: [(ends >> 32) as u32, ends as u32], ports })
}

/// As [`flow4`], of an IPv6 packet without extension headers.
#[inline(always)]
pub fn flow6(bytes: &[u8]) -> Option<Flowing<[u64; 2]>> {
    let header: &[u8; PLAIN6] = bytes.first_chunk()?;
    let long = |at: usize| header[at..].first_chunk().map_or(0, |long| u64::from_be_bytes(*long));
    let (first, protocol) = (long(0), header[6]);
    let ports = u32::from_be_bytes([header[40], header[41], header[42], header[43]]);
    let payload = usize::from((first >> 16) as u16);
    if first >> 60 != 6 || payload < PLAIN6 - Ip6Header::LENGTH || IpProtocol(protocol).is_extension() {
        return None;
    }
    let (flags, ports) = flow_transport(protocol, ports, header[PLAIN6 - 1])?;
    Some(Flowing { protocol, flags, addresses: [[long(8), long(16)], [long(24), long(32)]], ports })
}

/// What a packet of a flow is classified by.
#[inline(always)]
fn plain_meta<A>(flow: &Flowing<A>, dscp: u8) -> u32 {
    meta(flow.protocol, flow.flags, dscp, TRANSPORT * has_ports(flow.protocol))
}

/// Writes the key of an IPv4 packet whose [`flow4`] is this, word by word: one that is put together elsewhere and copied
/// as a whole is read before its words have got there, which the processor has to wait for.
#[inline(always)]
pub fn write_key4(bytes: &[u8], flow: &Flowing<u32>, key: &mut Key4) {
    let dscp = bytes.get(1).map_or(0, |class| class >> 2);
    [key.words[0], key.words[1]] = flow.addresses;
    key.words[META4] = plain_meta(flow, dscp);
    key.words[WORDS4 - 1] = flow.ports;
}

/// As [`write_key4`], of an IPv6 packet whose [`flow6`] is this.
#[inline(always)]
pub fn write_key6(bytes: &[u8], flow: &Flowing<[u64; 2]>, key: &mut Key6) {
    let first = bytes.first_chunk().map_or(0, |pair| u16::from_be_bytes(*pair));
    for (at, long) in flow.addresses.iter().flatten().enumerate() {
        (key.words[at * 2], key.words[at * 2 + 1]) = ((long >> 32) as u32, *long as u32);
    }
    key.words[META6] = plain_meta(flow, (first >> 6) as u8 & 0x3f);
    key.words[WORDS6 - 1] = flow.ports;
}

const fn pair(first: u16, second: u16) -> u32 {
    (first as u32) << 16 | second as u32
}

/// Reads a transport header at the front of `bytes`, which end where the datagram does.
#[inline(always)]
fn transport(protocol: u8, bytes: &[u8]) -> Transport {
    match (IpProtocol(protocol), bytes) {
        (IpProtocol::TCP, &[a, b, c, d, _, _, _, _, _, _, _, _, _, flags, ..]) => {
            let ports = u32::from_be_bytes([a, b, c, d]);
            Transport { flags, ports, flow_ports: ports, kind: Kind::Flow, known: TRANSPORT }
        }
        (IpProtocol::UDP | IpProtocol::UDP_LITE | IpProtocol::SCTP, &[a, b, c, d, _, _, _, _, ..]) => {
            let ports = u32::from_be_bytes([a, b, c, d]);
            Transport { flags: 0, ports, flow_ports: ports, kind: Kind::Flow, known: TRANSPORT }
        }
        (IpProtocol::ICMP4 | IpProtocol::ICMP6, &[kind, code, _, _, a, b, _, _, ..]) => {
            icmp(protocol, kind, code, u16::from_be_bytes([a, b]))
        }
        (IpProtocol::TCP | IpProtocol::UDP | IpProtocol::UDP_LITE | IpProtocol::SCTP, _)
        | (IpProtocol::ICMP4 | IpProtocol::ICMP6, _) => {
            Transport { kind: Kind::None, ..Transport::default() }
        }
        // Without ports, two addresses and a protocol are a flow.
        _ => Transport::default(),
    }
}

fn icmp(protocol: u8, kind: u8, code: u8, identifier: u16) -> Transport {
    // RFC 792, RFC 950, RFC 1256; RFC 4443.
    let of = match (IpProtocol(protocol), kind) {
        (IpProtocol::ICMP4, 8 | 13 | 15 | 17) | (IpProtocol::ICMP6, 128) => Kind::Request,
        (IpProtocol::ICMP4, 0 | 14 | 16 | 18) | (IpProtocol::ICMP6, 129) => Kind::Reply,
        (IpProtocol::ICMP4, 3 | 4 | 5 | 11 | 12) | (IpProtocol::ICMP6, 1..=4) => Kind::Error,
        _ => Kind::None,
    };
    let flow_ports = if matches!(of, Kind::Request | Kind::Reply) { pair(identifier, identifier) } else { 0 };
    Transport { flags: 0, ports: pair(kind.into(), code.into()), flow_ports, kind: of, known: TRANSPORT }
}

/// What was noted of the datagram that a fragment is of.
#[cold]
fn noted(protocol: u8, ports: Option<L4Ports>) -> Transport {
    let unknown = Transport { kind: Kind::None, ..Transport::default() };
    let Some(ports) = ports else { return unknown };
    let (detail, pair_of) = (ports.detail(), ports.ports());
    match (ports.protocol(), pair_of) {
        (IpProtocol::ICMP4 | IpProtocol::ICMP6, _) => {
            icmp(ports.protocol().0, detail.0, detail.1, pair_of.map_or(0, |(identifier, _)| identifier))
        }
        (IpProtocol::TCP, Some((source, destination))) => {
            let both = pair(source, destination);
            Transport { flags: detail.0, ports: both, flow_ports: both, kind: Kind::Flow, known: TRANSPORT }
        }
        (_, Some((source, destination))) => {
            let both = pair(source, destination);
            Transport { flags: 0, ports: both, flow_ports: both, kind: Kind::Flow, known: TRANSPORT }
        }
        (of, None) if of.0 == protocol => transport(protocol, &[]),
        _ => unknown,
    }
}

/// Reads an IPv4 packet at the front of `bytes`. Of a fragment other than the first, `ports` has what is known of its
/// transport header.
///
/// # Errors
/// There is no whole IPv4 header.
#[inline(always)]
pub fn read4(bytes: &[u8], ports: impl FnOnce() -> Option<L4Ports>) -> Result<Seen4, Malformed> {
    let Some(header) = bytes.first_chunk::<{ Ip4Header::LENGTH }>() else { return Err(Malformed) };
    let header_length = usize::from(header[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_length < Ip4Header::LENGTH || total < header_length {
        return Err(Malformed);
    }
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let protocol = header[9];
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    let (transport, bits) = if fragment & 0x1fff == 0 {
        // What is behind the datagram's end is padding.
        let behind = bytes.get(header_length..total.min(bytes.len())).unwrap_or_default();
        (transport(protocol, behind), if fragment == 0 { 0 } else { FIRST_FRAGMENT })
    } else {
        (noted(protocol, ports()), LATER_FRAGMENT)
    };
    let mut key = Key4::default();
    key.words[0] = word(12);
    key.words[1] = word(16);
    key.words[META4] = meta(protocol, transport.flags, header[1] >> 2, bits | transport.known);
    key.words[WORDS4 - 1] = transport.ports;
    Ok(Seen {
        key,
        flow_ports: transport.flow_ports,
        kind: transport.kind,
        transport_at: header_length as u16,
    })
}

/// Reads an IPv6 packet at the front of `bytes`, with its extension headers. As [`read4`].
///
/// # Errors
/// There is no whole IPv6 header, or the chain of extension headers is cut short, out of order, or too long.
#[inline(always)]
pub fn read6(bytes: &[u8], ports: impl FnOnce() -> Option<L4Ports>) -> Result<Seen6, Malformed> {
    let Some(header) = bytes.first_chunk::<{ Ip6Header::LENGTH }>() else { return Err(Malformed) };
    if header[0] >> 4 != 6 {
        return Err(Malformed);
    }
    let total = Ip6Header::LENGTH + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let bytes = &bytes[..total.min(bytes.len())];
    let (transport, protocol, at, bits) = if IpProtocol(header[6]).is_extension() {
        behind_extensions(bytes, ports)?
    } else {
        (transport(header[6], &bytes[Ip6Header::LENGTH..]), header[6], Ip6Header::LENGTH as u16, 0)
    };
    let mut key = Key6::default();
    for at in 0..8 {
        key.words[at] = word(8 + at * 4);
    }
    let dscp = (header[0] & 15) << 2 | header[1] >> 6;
    key.words[META6] = meta(protocol, transport.flags, dscp, bits | transport.known);
    key.words[WORDS6 - 1] = transport.ports;
    Ok(Seen { key, flow_ports: transport.flow_ports, kind: transport.kind, transport_at: at })
}

#[cold]
fn behind_extensions(
    bytes: &[u8],
    ports: impl FnOnce() -> Option<L4Ports>,
) -> Result<(Transport, u8, u16, u32), Malformed> {
    let upper = Ip6Upper::find(bytes).map_err(|_| Malformed)?;
    let (at, named) = (upper.offset as u16, upper.protocol.0);
    if upper.is_later_fragment() {
        let ports = ports();
        let protocol = ports.map_or(named, |ports| ports.protocol().0);
        return Ok((noted(protocol, ports), protocol, at, LATER_FRAGMENT));
    }
    let behind = bytes.get(upper.offset..).unwrap_or_default();
    let bits = if upper.is_fragment() { FIRST_FRAGMENT } else { 0 };
    Ok((transport(named, behind), named, at, bits))
}

/// The packet that an ICMPv4 error quotes, whose own transport header begins at the front of `bytes`.
#[cold]
pub fn quoted4(bytes: &[u8]) -> Option<Seen4> {
    let inner = bytes.get(8..)?;
    let header = inner.first_chunk::<{ Ip4Header::LENGTH }>()?;
    let header_length = usize::from(header[0] & 15) * 4;
    let is_first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
    if header[0] >> 4 != 4 || header_length < Ip4Header::LENGTH || !is_first {
        return None;
    }
    let transport = quoted_transport(header[9], inner.get(header_length..)?)?;
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let mut key = Key4::default();
    key.words[0] = word(12);
    key.words[1] = word(16);
    key.words[META4] = meta(header[9], 0, 0, TRANSPORT);
    Some(Seen { key, flow_ports: transport.flow_ports, kind: transport.kind, transport_at: 0 })
}

/// As [`quoted4`], of an ICMPv6 error.
#[cold]
pub fn quoted6(bytes: &[u8]) -> Option<Seen6> {
    let inner = bytes.get(8..)?;
    let header = inner.first_chunk::<{ Ip6Header::LENGTH }>()?;
    let upper = Ip6Upper::find(inner).ok()?;
    if header[0] >> 4 != 6 || upper.is_later_fragment() {
        return None;
    }
    let transport = quoted_transport(upper.protocol.0, inner.get(upper.offset..)?)?;
    let mut key = Key6::default();
    for (word, at) in (8..40).step_by(4).enumerate() {
        key.words[word] = u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    }
    key.words[META6] = meta(upper.protocol.0, 0, 0, TRANSPORT);
    Some(Seen { key, flow_ports: transport.flow_ports, kind: transport.kind, transport_at: 0 })
}

/// What a flow is told by: at least 8 bytes of the transport header are quoted (RFC 792), of TCP not the flags.
fn quoted_transport(protocol: u8, bytes: &[u8]) -> Option<Transport> {
    let found = match (IpProtocol(protocol), bytes) {
        (IpProtocol::TCP, &[a, b, c, d, ..]) => {
            let ports = u32::from_be_bytes([a, b, c, d]);
            Transport { flags: 0, ports, flow_ports: ports, kind: Kind::Flow, known: TRANSPORT }
        }
        _ => transport(protocol, bytes),
    };
    matches!(found.kind, Kind::Flow | Kind::Request | Kind::Reply).then_some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raddle_plugin_api::testing::packets;

    use super::*;

    #[test]
    fn reads_what_is_behind_the_header_and_not_behind_the_datagram() {
        let mut bytes = packets::udp("192.0.2.1:1000", "198.51.100.1:53").to_vec();
        let seen = read4(&bytes, || None).unwrap();
        assert_eq!(seen.key.words, [0xc000_0201, 0xc633_6401, meta(17, 0, 0, TRANSPORT), 1000 << 16 | 53]);
        assert_eq!(seen.kind, Kind::Flow);
        // The datagram ends behind its header: ports that follow are padding.
        bytes[2..4].copy_from_slice(&20_u16.to_be_bytes());
        let seen = read4(&bytes, || None).unwrap();
        assert_eq!((seen.key.words[META4] & TRANSPORT, seen.key.words[3], seen.kind), (0, 0, Kind::None));
        bytes[2..4].copy_from_slice(&19_u16.to_be_bytes());
        assert_eq!(read4(&bytes, || None).unwrap_err(), Malformed);
    }

    #[test]
    fn later_fragment_is_known_by_what_was_noted() {
        let mut bytes = packets::udp("192.0.2.1:1000", "198.51.100.1:53").to_vec();
        bytes[6..8].copy_from_slice(&2_u16.to_be_bytes());
        let unknown = read4(&bytes, || None).unwrap();
        assert_eq!((unknown.key.words[META4], unknown.kind), (meta(17, 0, 0, LATER_FRAGMENT), Kind::None));
        let first = L4Ports::of_first(IpProtocol::UDP, &[0, 7, 0, 9, 0, 0, 0, 0]);
        let known = read4(&bytes, || Some(first.of_later())).unwrap();
        assert_eq!(known.key.words[META4], meta(17, 0, 0, LATER_FRAGMENT | TRANSPORT));
        assert_eq!((known.key.words[3], known.kind), (7 << 16 | 9, Kind::Flow));
    }

    /// Whether the short way of a plain packet says what the long one does.
    fn ways_agree(bytes: &[u8]) -> Result<bool, TestCaseError> {
        let (four, six) = (flow4(bytes), flow6(bytes));
        if let Some(flow) = &four {
            let seen = read4(bytes, || None).unwrap();
            prop_assert_eq!((seen.kind, seen.flow_ports), (Kind::Flow, flow.ports));
            let mut key = Key4::default();
            write_key4(bytes, flow, &mut key);
            prop_assert_eq!(key, seen.key);
        }
        if let Some(flow) = &six {
            let seen = read6(bytes, || None).unwrap();
            prop_assert_eq!((seen.kind, seen.flow_ports), (Kind::Flow, flow.ports));
            let mut key = Key6::default();
            write_key6(bytes, flow, &mut key);
            prop_assert_eq!(key, seen.key);
        }
        Ok(four.is_some() || six.is_some())
    }

    #[test]
    fn plain_packets_go_the_short_way() {
        for plain in [
            packets::udp("192.0.2.1:1", "192.0.2.2:2").payload([0; 20]).to_vec(),
            packets::tcp("192.0.2.1:1", "192.0.2.2:2").to_vec(),
            packets::udp("[2001:db8::1]:1", "[2001:db8::2]:2").payload([0; 20]).to_vec(),
            packets::tcp("[2001:db8::1]:1", "[2001:db8::2]:2").to_vec(),
        ] {
            assert!(ways_agree(&plain).unwrap());
        }
        assert!(!ways_agree(&packets::echo("192.0.2.1", "192.0.2.2").payload([0; 20]).to_vec()).unwrap());
    }

    proptest! {
        #[test]
        fn short_way_says_what_the_long_one_does(
            bytes in prop::collection::vec(any::<u8>(), 30..80),
            six in any::<bool>(),
            protocol in prop::sample::select(vec![6_u8, 17, 1, 58, 132, 136, 50, 0, 44]),
            length in 0..80_u16,
        ) {
            let mut bytes = bytes;
            if six {
                (bytes[0], bytes[6]) = (0x60 | bytes[0] & 15, protocol);
                bytes[4..6].copy_from_slice(&length.to_be_bytes());
            } else {
                (bytes[0], bytes[9], bytes[6], bytes[7]) = (0x45, protocol, bytes[6] & 0x40, 0);
                bytes[2..4].copy_from_slice(&length.to_be_bytes());
            }
            ways_agree(&bytes)?;
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), first in 0..4_u8) {
            let mut bytes = bytes;
            if let Some(byte) = bytes.first_mut() {
                *byte = [0x45, 0x4f, 0x60, *byte][usize::from(first)];
            }
            let _ = read4(&bytes, || None);
            let _ = read6(&bytes, || None);
            let _ = (quoted4(&bytes), quoted6(&bytes));
        }
    }
}
