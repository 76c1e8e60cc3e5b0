//! IGMP messages as bytes.

use std::net::{IpAddr, Ipv4Addr};

use raddle_plugin_api::wire::{
    EtherType, EthernetHeader, Ip4Address, Ip4Header, IpProtocol, MacAddress, checksum,
};
use zerocopy::IntoBytes;

use crate::net::multicast::{Compatibility, Heard, Query, Record, Report, runs};

const QUERY: u8 = 0x11;
const REPORT_V1: u8 = 0x12;
const REPORT_V2: u8 = 0x16;
const LEAVE: u8 = 0x17;
const REPORT_V3: u8 = 0x22;

const ALL_ROUTERS: Ip4Address = Ip4Address([224, 0, 0, 2]);
/// Where IGMPv3 reports go (RFC 3376 §4.2.14).
const ALL_REPORTS: Ip4Address = Ip4Address([224, 0, 0, 22]);
/// RFC 2113; RFC 3376 §4.
const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];
/// Precedence "internetwork control" (RFC 3376 §4).
const TRAFFIC_CLASS: u8 = 0xc0;
/// Records of one report, in bytes, so that it fits the smallest link that is met.
const RECORD_BYTES: usize = 480;
const MESSAGE_BYTES: usize = 8;
const QUERY_V3_BYTES: usize = 12;
const TENTH_NS: u64 = 100_000_000;
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
}

/// What a message, whose checksum is right, says to a host; `to` is where it was sent.
///
/// # Errors
/// It says nothing.
pub fn parse(to: Ip4Address, message: &[u8]) -> Result<Heard, Unheeded> {
    let Some(&[kind, code, _, _, a, b, c, d]) = message.first_chunk::<MESSAGE_BYTES>() else {
        return Err(Unheeded::Length);
    };
    let group = Ipv4Addr::new(a, b, c, d);
    match kind {
        QUERY => query(to, group, code, message),
        REPORT_V1 | REPORT_V2 if group.is_multicast() && to.to_std() == group => {
            Ok(Heard::Report(IpAddr::V4(group)))
        }
        REPORT_V1 | REPORT_V2 => Err(Unheeded::Group),
        _ => Err(Unheeded::Kind),
    }
}

fn query(to: Ip4Address, group: Ipv4Addr, code: u8, message: &[u8]) -> Result<Heard, Unheeded> {
    // RFC 3376 §7.1: the length tells the version.
    let (version, max_delay_ns, robustness, interval_ns) = match message.len() {
        MESSAGE_BYTES if code == 0 => (Compatibility::Oldest, 100 * TENTH_NS, 0, 0),
        MESSAGE_BYTES => (Compatibility::Older, u64::from(code) * TENTH_NS, 0, 0),
        QUERY_V3_BYTES.. => {
            let delay_ns = u64::from(exponential(code)) * TENTH_NS;
            let interval_ns = u64::from(exponential(message[9])) * SECOND_NS;
            (Compatibility::Current, delay_ns, message[8] & 7, interval_ns)
        }
        _ => return Err(Unheeded::Length),
    };
    let group = (!group.is_unspecified()).then_some(group);
    // RFC 3376 §4.1.10: general queries have none.
    let sources = match (version, group) {
        (Compatibility::Current, Some(_)) => sources(message)?,
        _ => Vec::new(),
    };
    let is_right = match group {
        // RFC 3376 §4.1.12, §9.1: general queries go to all hosts.
        None => to == Ip4Address([224, 0, 0, 1]),
        Some(group) => group.is_multicast(),
    };
    if !is_right {
        return Err(Unheeded::Group);
    }
    Ok(Heard::Query4(Query { group, sources, version, max_delay_ns, robustness, interval_ns }))
}

/// The sources that a query asks for (RFC 3376 §4.1.8, §4.1.9).
fn sources(message: &[u8]) -> Result<Vec<Ipv4Addr>, Unheeded> {
    let (front, list) = message.split_at_checked(QUERY_V3_BYTES).ok_or(Unheeded::Length)?;
    let count = usize::from(u16::from_be_bytes([front[10], front[11]]));
    let (sources, _) = list.as_chunks::<4>();
    let sources = sources.get(..count).ok_or(Unheeded::Length)?;
    Ok(sources.iter().map(|source| Ipv4Addr::from(*source)).collect())
}

/// A time as a number with exponent (RFC 3376 §4.1.1, §4.1.7).
fn exponential(code: u8) -> u32 {
    if code < 128 {
        return code.into();
    }
    u32::from(code & 0xf | 0x10) << ((code >> 4 & 7) + 3)
}

/// The packets that say it, from their IPv4 headers on.
pub fn packets(source: Ip4Address, report: &Report<Ipv4Addr>) -> Vec<Vec<u8>> {
    let group_message = |kind: u8, group: &Ipv4Addr| {
        let [a, b, c, d] = group.octets();
        [kind, 0, 0, 0, a, b, c, d].to_vec()
    };
    let made = match report {
        Report::Current(records) => {
            let runs = runs(records, RECORD_BYTES).into_iter();
            runs.map(|records| packet(source, ALL_REPORTS, report_v3(records))).collect::<Option<_>>()
        }
        Report::Older(group) => {
            packet(source, (*group).into(), group_message(REPORT_V2, group)).map(|packet| vec![packet])
        }
        Report::Oldest(group) => {
            packet(source, (*group).into(), group_message(REPORT_V1, group)).map(|packet| vec![packet])
        }
        Report::Leave(group) => {
            packet(source, ALL_ROUTERS, group_message(LEAVE, group)).map(|packet| vec![packet])
        }
    };
    made.unwrap_or_default()
}

/// RFC 3376 §4.2.
fn report_v3(records: &[Record<Ipv4Addr>]) -> Vec<u8> {
    let mut message = vec![REPORT_V3, 0, 0, 0, 0, 0];
    // Both are few: a run of records is bounded, and so are a record's sources.
    message.extend((records.len() as u16).to_be_bytes());
    for Record { kind, group, sources } in records {
        message.extend([*kind as u8, 0]);
        message.extend((sources.len() as u16).to_be_bytes());
        message.extend(group.octets());
        message.extend(sources.iter().flat_map(Ipv4Addr::octets));
    }
    message
}

fn packet(source: Ip4Address, to: Ip4Address, mut message: Vec<u8>) -> Option<Vec<u8>> {
    let sum = checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let length = ROUTER_ALERT.len() + message.len();
    let mut header = Ip4Header::new(IpProtocol::IGMP, source, to, length)?;
    header.set_ttl(1);
    header.set_traffic_class(TRAFFIC_CLASS);
    header.set_options(&ROUTER_ALERT);
    Some([header.as_bytes(), &ROUTER_ALERT, &message].concat())
}

/// A packet in an Ethernet frame.
pub fn framed(to: MacAddress, from: MacAddress, packet: &[u8]) -> Vec<u8> {
    let is_ip6 = packet.first().is_some_and(|first| first >> 4 == 6);
    let ethertype = if is_ip6 { EtherType::IP6 } else { EtherType::IP4 };
    [EthernetHeader::new(to, from, ethertype).as_bytes(), packet].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::net::multicast::RecordKind;

    const ALL_HOSTS: Ip4Address = Ip4Address([224, 0, 0, 1]);
    const OWN: Ip4Address = Ip4Address([192, 0, 2, 1]);
    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

    // RFC 3376 §4.1, §7.1
    #[test]
    fn length_and_code_tell_the_version_of_a_query() {
        let parsed = |message: &[u8]| match parse(ALL_HOSTS, message) {
            Ok(Heard::Query4(query)) => Ok((query.version, query.max_delay_ns / TENTH_NS, query.group)),
            Ok(other) => panic!("{other:?}"),
            Err(unheeded) => Err(unheeded),
        };
        assert_eq!(parsed(&[0x11, 0, 0, 0, 0, 0, 0, 0]), Ok((Compatibility::Oldest, 100, None)));
        assert_eq!(parsed(&[0x11, 50, 0, 0, 0, 0, 0, 0]), Ok((Compatibility::Older, 50, None)));
        let current = [0x11, 0x8a, 0, 0, 239, 1, 2, 3, 2, 125, 0, 0];
        assert_eq!(parsed(&current), Ok((Compatibility::Current, 208, Some(GROUP))));
        assert_eq!(parsed(&current[..10]), Err(Unheeded::Length));
        assert_eq!(parsed(&[0x11, 50, 0, 0, 10, 0, 0, 1]), Err(Unheeded::Group));
        assert_eq!(parse(OWN, &[0x11, 50, 0, 0, 0, 0, 0, 0]), Err(Unheeded::Group));
        assert_eq!(parse(ALL_HOSTS, &[0x22, 0, 0, 0, 0, 0, 0, 0]), Err(Unheeded::Kind));
        let report = [0x16, 0, 0, 0, 239, 1, 2, 3];
        assert_eq!(parse(GROUP.into(), &report), Ok(Heard::Report(IpAddr::V4(GROUP))));
        assert_eq!(parse(ALL_HOSTS, &report), Err(Unheeded::Group));
    }

    // RFC 3376 §4.1.8, §4.1.9
    #[test]
    fn sources_of_a_query_are_read_and_must_be_there() {
        let mut query = vec![0x11, 10, 0, 0, 239, 1, 2, 3, 2, 125, 0, 2, 192, 0, 2, 9, 192, 0, 2, 10];
        let Ok(Heard::Query4(parsed)) = parse(GROUP.into(), &query) else { panic!("no query") };
        assert_eq!(parsed.sources, [Ipv4Addr::new(192, 0, 2, 9), Ipv4Addr::new(192, 0, 2, 10)]);
        query[11] = 3;
        assert_eq!(parse(GROUP.into(), &query), Err(Unheeded::Length));
    }

    // RFC 3376 §4.1.1
    #[test]
    fn times_have_an_exponent_from_128_on() {
        for (code, time) in [(0, 0), (127, 127), (128, 128), (0x8f, 248), (0x90, 256), (0xff, 31_744)] {
            assert_eq!(exponential(code), time);
        }
    }

    // RFC 3376 §4, §4.2; RFC 2236 §2
    #[test]
    fn reports_are_as_routers_expect_them() {
        let records = vec![Record { kind: RecordKind::ToExclude, group: GROUP, sources: Vec::new() }; 61];
        let made = packets(OWN, &Report::Current(records));
        assert_eq!(made.len(), 2, "as many as fit");
        for (packet, to, message_bytes) in [
            (&made[0], "224.0.0.22", 8 + 60 * 8),
            (&made[1], "224.0.0.22", 16),
            (&packets(OWN, &Report::Older(GROUP))[0], "239.1.2.3", 8),
            (&packets(OWN, &Report::Oldest(GROUP))[0], "239.1.2.3", 8),
            (&packets(OWN, &Report::Leave(GROUP))[0], "224.0.0.2", 8),
        ] {
            let ip = Ip4Header::check(packet, packet.len()).unwrap();
            assert_eq!((ip.source(), ip.ttl(), ip.traffic_class()), (OWN, 1, 0xc0));
            assert_eq!((ip.destination().to_string().as_str(), ip.header_length()), (to, 24));
            assert_eq!(packet[20..24], ROUTER_ALERT);
            assert_eq!(packet[24..].len(), message_bytes);
            assert!(checksum::is_valid(&packet[24..]));
        }
        assert_eq!(made[1][24], 0x22);
        assert_eq!(made[1][30..40], [0, 1, 4, 0, 0, 0, 239, 1, 2, 3]);
        let of_source =
            Record { kind: RecordKind::IsInclude, group: GROUP, sources: vec![Ipv4Addr::new(192, 0, 2, 9)] };
        let made = packets(OWN, &Report::Current(vec![of_source]));
        assert_eq!(made[0][30..], [0, 1, 1, 0, 0, 1, 239, 1, 2, 3, 192, 0, 2, 9]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(message in prop::collection::vec(any::<u8>(), 0..40), to: [u8; 4]) {
            let _ = parse(Ip4Address(to), &message);
        }
    }
}
