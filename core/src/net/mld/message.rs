//! MLD messages as bytes.

use std::net::{IpAddr, Ipv6Addr};

use raddle_plugin_api::wire::{Ip6Address, Ip6Header, Ip6Options, IpProtocol};
use zerocopy::IntoBytes;

use crate::net::multicast::{Compatibility, Heard, Query, Record, Report, runs};

const QUERY: u8 = 130;
const REPORT_V1: u8 = 131;
const DONE: u8 = 132;
const REPORT_V2: u8 = 143;

/// Where MLDv2 reports go (RFC 3810 §5.2.14).
const ALL_REPORTS: Ip6Address = Ip6Address::from_bits(0xff02 << 112 | 0x16);
/// Hop-by-hop options: router alert for MLD (RFC 2711) and padding; ICMPv6 follows.
const ROUTER_ALERT: [u8; 8] = [IpProtocol::ICMP6.0, 0, ROUTER_ALERT_OPTION, 2, 0, 0, 1, 0];
const ROUTER_ALERT_OPTION: u8 = 5;
/// Records of one report, in bytes, so that it fits the smallest link.
const RECORD_BYTES: usize = 1000;
const MESSAGE_BYTES: usize = 24;
const QUERY_V2_BYTES: usize = 28;
const MS_NS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// Why a message is not heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheeded {
    /// Shorter than the shortest message, or between two versions' lengths.
    Length,
    /// For routers, or of a type that is not known.
    Kind,
    /// About what is no group, or sent to where it should not be.
    Group,
    /// Not from the link, or without router alert (RFC 3810 §6.2).
    NotFromLink,
}

/// What a message, whose checksum is right, says to a host. `packet` begins with its IPv6 header; the message with
/// its extension headers is `message_at` bytes behind that.
///
/// # Errors
/// It says nothing.
pub fn parse(packet: &[u8], message_at: usize) -> Result<Heard, Unheeded> {
    let (ip, behind) = Ip6Header::parse(packet).ok_or(Unheeded::Length)?;
    let message = packet.get(message_at..ip.total_length()).ok_or(Unheeded::Length)?;
    let Some((front, group)) = message
        .split_first_chunk::<8>()
        .and_then(|(front, rest)| Some((front, Ipv6Addr::from(*rest.first_chunk::<16>()?))))
    else {
        return Err(Unheeded::Length);
    };
    let from_link = ip.source().is_link_local()
        && ip.hop_limit() == 1
        && ip.next_header() == IpProtocol::HOP_BY_HOP
        && has_router_alert(behind);
    match front[0] {
        QUERY | REPORT_V1 if !from_link => Err(Unheeded::NotFromLink),
        QUERY => query(ip.destination(), group, u16::from_be_bytes([front[4], front[5]]), message),
        REPORT_V1 if group.is_multicast() && ip.destination().to_std() == group => {
            Ok(Heard::Report(IpAddr::V6(group)))
        }
        REPORT_V1 => Err(Unheeded::Group),
        _ => Err(Unheeded::Kind),
    }
}

fn has_router_alert(hop_by_hop: &[u8]) -> bool {
    let length = hop_by_hop.get(1).map_or(0, |units| (usize::from(*units) + 1) * 8);
    let options = hop_by_hop.get(2..length).unwrap_or_default();
    Ip6Options::new(options)
        .map_while(Result::ok)
        .any(|option| option.kind == ROUTER_ALERT_OPTION && option.data == [0, 0])
}

fn query(to: Ip6Address, group: Ipv6Addr, code: u16, message: &[u8]) -> Result<Heard, Unheeded> {
    // RFC 3810 §8.1: the length tells the version.
    let (version, max_delay_ns, robustness, interval_ns) = match message.len() {
        MESSAGE_BYTES => (Compatibility::Older, u64::from(code) * MS_NS, 0, 0),
        QUERY_V2_BYTES.. => {
            let interval_ns = u64::from(exponential(message[25])) * SECOND_NS;
            (Compatibility::Current, u64::from(delay_ms(code)) * MS_NS, message[24] & 7, interval_ns)
        }
        _ => return Err(Unheeded::Length),
    };
    let group = (!group.is_unspecified()).then_some(group);
    // RFC 3810 §5.1.10: general queries have none.
    let sources = match (version, group) {
        (Compatibility::Current, Some(_)) => sources(message)?,
        _ => Vec::new(),
    };
    let is_right = match group {
        // RFC 3810 §5.1.15: general queries go to all nodes.
        None => to == Ip6Address::ALL_NODES,
        Some(group) => group.is_multicast(),
    };
    if !is_right {
        return Err(Unheeded::Group);
    }
    Ok(Heard::Query6(Query { group, sources, version, max_delay_ns, robustness, interval_ns }))
}

/// The sources that a query asks for (RFC 3810 §5.1.10, §5.1.11).
fn sources(message: &[u8]) -> Result<Vec<Ipv6Addr>, Unheeded> {
    let (front, list) = message.split_at_checked(QUERY_V2_BYTES).ok_or(Unheeded::Length)?;
    let count = usize::from(u16::from_be_bytes([front[26], front[27]]));
    let (sources, _) = list.as_chunks::<16>();
    let sources = sources.get(..count).ok_or(Unheeded::Length)?;
    Ok(sources.iter().map(|source| Ipv6Addr::from(*source)).collect())
}

/// The maximum response code (RFC 3810 §5.1.3), in ms.
fn delay_ms(code: u16) -> u32 {
    if code < 0x8000 {
        return code.into();
    }
    u32::from(code & 0xfff | 0x1000) << ((code >> 12 & 7) + 3)
}

/// The querier's query interval code (RFC 3810 §5.1.9), in s.
fn exponential(code: u8) -> u32 {
    if code < 128 {
        return code.into();
    }
    u32::from(code & 0xf | 0x10) << ((code >> 4 & 7) + 3)
}

/// The packets that say it, from their IPv6 headers on.
pub fn packets(source: Ip6Address, report: &Report<Ipv6Addr>) -> Vec<Vec<u8>> {
    let group_message = |kind: u8, group: &Ipv6Addr| {
        let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        message.extend(group.octets());
        message
    };
    let made = match report {
        Report::Current(records) => {
            let runs = runs(records, RECORD_BYTES).into_iter();
            runs.map(|records| packet(source, ALL_REPORTS, report_v2(records))).collect::<Option<_>>()
        }
        // MLD has one older version.
        Report::Older(group) | Report::Oldest(group) => {
            packet(source, (*group).into(), group_message(REPORT_V1, group)).map(|packet| vec![packet])
        }
        Report::Leave(group) => {
            packet(source, Ip6Address::ALL_ROUTERS, group_message(DONE, group)).map(|packet| vec![packet])
        }
    };
    made.unwrap_or_default()
}

/// RFC 3810 §5.2.
fn report_v2(records: &[Record<Ipv6Addr>]) -> Vec<u8> {
    let mut message = vec![REPORT_V2, 0, 0, 0, 0, 0];
    // Both are few: a run of records is bounded, and so are a record's sources.
    message.extend((records.len() as u16).to_be_bytes());
    for Record { kind, group, sources } in records {
        message.extend([*kind as u8, 0]);
        message.extend((sources.len() as u16).to_be_bytes());
        message.extend(group.octets());
        message.extend(sources.iter().flat_map(Ipv6Addr::octets));
    }
    message
}

fn packet(source: Ip6Address, to: Ip6Address, mut message: Vec<u8>) -> Option<Vec<u8>> {
    let length = ROUTER_ALERT.len() + message.len();
    let mut header = Ip6Header::new(IpProtocol::HOP_BY_HOP, source, to, length)?;
    header.set_hop_limit(1);
    let pseudo = header.pseudo_header(IpProtocol::ICMP6, message.len() as u32);
    let sum = pseudo.add_bytes(&message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Some([header.as_bytes(), &ROUTER_ALERT, &message].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raddle_plugin_api::wire::Icmp6Header;

    use super::*;
    use crate::net::multicast::RecordKind;

    const ROUTER: Ip6Address = Ip6Address::from_bits(0xfe80 << 112 | 9);
    const OWN: Ip6Address = Ip6Address::from_bits(0xfe80 << 112 | 1);
    const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x77);
    const MESSAGE_AT: usize = 48;

    fn query_packet(to: Ip6Address, group: Ipv6Addr, behind: &[u8]) -> Vec<u8> {
        let mut message = vec![QUERY, 0, 0, 0, 0x03, 0xe8, 0, 0];
        message.extend(group.octets());
        message.extend(behind);
        packet(ROUTER, to, message).unwrap()
    }

    // RFC 3810 §5.1, §8.1
    #[test]
    fn length_tells_the_version_of_a_query() {
        let parsed = |packet: &[u8]| match parse(packet, MESSAGE_AT) {
            Ok(Heard::Query6(query)) => Ok((query.version, query.max_delay_ns / MS_NS, query.group)),
            Ok(other) => panic!("{other:?}"),
            Err(unheeded) => Err(unheeded),
        };
        let general = query_packet(Ip6Address::ALL_NODES, Ipv6Addr::UNSPECIFIED, &[]);
        assert_eq!(parsed(&general), Ok((Compatibility::Older, 1000, None)));
        let current = query_packet(GROUP.into(), GROUP, &[2, 125, 0, 0]);
        assert_eq!(parsed(&current), Ok((Compatibility::Current, 1000, Some(GROUP))));
        let between = query_packet(GROUP.into(), GROUP, &[2, 125]);
        assert_eq!(parsed(&between), Err(Unheeded::Length));
        let elsewhere = query_packet(GROUP.into(), Ipv6Addr::UNSPECIFIED, &[]);
        assert_eq!(parsed(&elsewhere), Err(Unheeded::Group));
    }

    // RFC 3810 §5.1.10, §5.1.11
    #[test]
    fn sources_of_a_query_are_read_and_must_be_there() {
        let source = ROUTER.to_std();
        let query =
            |count| query_packet(GROUP.into(), GROUP, &[&[2, 125, 0, count], &source.octets()[..]].concat());
        let Ok(Heard::Query6(parsed)) = parse(&query(1), MESSAGE_AT) else { panic!("no query") };
        assert_eq!(parsed.sources, [source]);
        assert_eq!(parse(&query(2), MESSAGE_AT), Err(Unheeded::Length));
    }

    // RFC 3810 §5.1.14, §6.2
    #[test]
    fn queries_from_beyond_the_link_are_not_heeded() {
        let good = query_packet(Ip6Address::ALL_NODES, Ipv6Addr::UNSPECIFIED, &[]);
        assert!(parse(&good, MESSAGE_AT).is_ok());
        let mut far = good.clone();
        far[7] = 64;
        assert_eq!(parse(&far, MESSAGE_AT), Err(Unheeded::NotFromLink));
        let mut global = good.clone();
        global[8] = 0x20;
        assert_eq!(parse(&global, MESSAGE_AT), Err(Unheeded::NotFromLink));
        let mut silent = good;
        silent[42] = 0x1e;
        assert_eq!(parse(&silent, MESSAGE_AT), Err(Unheeded::NotFromLink));
    }

    // RFC 3810 §5.1.3, §5.1.9
    #[test]
    fn long_times_have_an_exponent() {
        for (code, ms) in [(0, 0), (0x7fff, 32_767), (0x8000, 32_768), (0xffff, 8_387_584)] {
            assert_eq!(delay_ms(code), ms);
        }
        assert_eq!((exponential(127), exponential(128), exponential(255)), (127, 128, 31_744));
    }

    // RFC 3810 §5, §5.2; RFC 2710 §3
    #[test]
    fn reports_are_as_routers_expect_them() {
        let records = vec![Record { kind: RecordKind::IsExclude, group: GROUP, sources: Vec::new() }; 51];
        let made = packets(OWN, &Report::Current(records));
        assert_eq!(made.len(), 2, "as many as fit");
        assert!(made[0].len() <= 1280);
        for (packet, to, kind, message_bytes) in [
            (&made[0], "ff02::16", 143, 8 + 50 * 20),
            (&made[1], "ff02::16", 143, 28),
            (&packets(OWN, &Report::Older(GROUP))[0], "ff02::77", 131, 24),
            (&packets(OWN, &Report::Leave(GROUP))[0], "ff02::2", 132, 24),
        ] {
            let ip = Ip6Header::check(packet, packet.len()).unwrap();
            assert_eq!((ip.source(), ip.hop_limit(), ip.destination().to_string().as_str()), (OWN, 1, to));
            assert!(has_router_alert(&packet[40..]));
            assert_eq!(packet[MESSAGE_AT..].len(), message_bytes);
            let (icmp, _) = Icmp6Header::check(ip, &packet[MESSAGE_AT..]).unwrap();
            assert_eq!(icmp.kind().0, kind);
        }
        assert_eq!(made[1][54..60], [0, 1, 2, 0, 0, 0]);
        let of_source = Record { kind: RecordKind::IsInclude, group: GROUP, sources: vec![ROUTER.to_std()] };
        let made = packets(OWN, &Report::Current(vec![of_source]));
        assert_eq!(made[0][54..60], [0, 1, 1, 0, 0, 1]);
        assert_eq!(made[0][76..], ROUTER.to_std().octets());
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(packet in prop::collection::vec(any::<u8>(), 0..120), at in 0usize..130) {
            let _ = parse(&packet, at);
        }
    }
}
