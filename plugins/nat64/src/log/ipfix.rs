//! IPFIX messages (RFC 7011) with the records of NAT events (RFC 8158).

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::event::{Event, EventKind};

/// Octets of a message at most: with its headers it fits through every IPv6 path (RFC 7011 §10.3.3).
const MOST_BYTES: usize = 1280 - 48;
const HEADER: usize = 16;
const SET_HEADER: usize = 4;
const VERSION: u16 = 10;
/// Set id of templates (RFC 7011 §3.3.2).
const TEMPLATES: u16 = 2;

/// Where messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpfixTarget {
    /// The collector.
    pub collector: SocketAddr,
    /// The number by which the collector knows who observed.
    pub domain: u32,
    /// How often templates are sent again, as UDP may lose them (RFC 7011 §8.4).
    pub refresh: Duration,
}

/// Information elements, by their number in IANA's registry, and their octets as they are sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
enum Element {
    ProtocolIdentifier = 4,
    SourceTransportPort = 7,
    DestinationTransportPort = 11,
    SourceIPv6Address = 27,
    DestinationIPv6Address = 28,
    PostNatSourceIPv4Address = 225,
    PostNatDestinationIPv4Address = 226,
    PostNaptSourceTransportPort = 227,
    PostNaptDestinationTransportPort = 228,
    NatEvent = 230,
    NatPoolId = 283,
    ObservationTimeMilliseconds = 323,
    PortRangeStart = 361,
    PortRangeEnd = 362,
    NatInstanceId = 463,
    NatQuotaExceededEvent = 466,
    NatThresholdEvent = 467,
    MaxSessionEntries = 471,
    MaxEntriesPerUser = 473,
    AddressPoolHighThreshold = 476,
    AddressPoolLowThreshold = 477,
    AddressPortMappingHighThreshold = 478,
    AddressPortMappingPerUserHighThreshold = 480,
}

impl Element {
    const fn octets(self) -> usize {
        match self {
            Self::ProtocolIdentifier | Self::NatEvent => 1,
            Self::SourceTransportPort
            | Self::DestinationTransportPort
            | Self::PostNaptSourceTransportPort
            | Self::PostNaptDestinationTransportPort
            | Self::PortRangeStart
            | Self::PortRangeEnd => 2,
            Self::PostNatSourceIPv4Address
            | Self::PostNatDestinationIPv4Address
            | Self::NatPoolId
            | Self::NatInstanceId
            | Self::NatThresholdEvent
            | Self::AddressPoolHighThreshold
            | Self::AddressPoolLowThreshold
            | Self::AddressPortMappingHighThreshold
            | Self::AddressPortMappingPerUserHighThreshold
            | Self::NatQuotaExceededEvent
            | Self::MaxSessionEntries
            | Self::MaxEntriesPerUser => 4,
            Self::ObservationTimeMilliseconds => 8,
            Self::SourceIPv6Address | Self::DestinationIPv6Address => 16,
        }
    }
}

use Element as E;

/// A kind of record: the number of its template, and the fields.
struct Template {
    id: u16,
    fields: &'static [Element],
}

/// RFC 8158 §5.6.5: NAT64 session create and delete.
const SESSION: Template = Template {
    id: 256,
    fields: &[
        E::ObservationTimeMilliseconds,
        E::NatEvent,
        E::SourceIPv6Address,
        E::PostNatSourceIPv4Address,
        E::ProtocolIdentifier,
        E::SourceTransportPort,
        E::PostNaptSourceTransportPort,
        E::DestinationIPv6Address,
        E::PostNatDestinationIPv4Address,
        E::DestinationTransportPort,
        E::PostNaptDestinationTransportPort,
        E::NatInstanceId,
    ],
};
/// NAT64 BIB create and delete.
const BINDING: Template = Template {
    id: 257,
    fields: &[
        E::ObservationTimeMilliseconds,
        E::NatEvent,
        E::SourceIPv6Address,
        E::PostNatSourceIPv4Address,
        E::ProtocolIdentifier,
        E::SourceTransportPort,
        E::PostNaptSourceTransportPort,
        E::NatInstanceId,
    ],
};
/// Port block allocation and de-allocation.
const BLOCK: Template = Template {
    id: 258,
    fields: &[
        E::ObservationTimeMilliseconds,
        E::NatEvent,
        E::SourceIPv6Address,
        E::PostNatSourceIPv4Address,
        E::PortRangeStart,
        E::PortRangeEnd,
        E::NatInstanceId,
    ],
};
/// Ports exhausted.
const EXHAUSTED: Template = Template {
    id: 259,
    fields: &[
        E::ObservationTimeMilliseconds,
        E::NatEvent,
        E::PostNatSourceIPv4Address,
        E::ProtocolIdentifier,
        E::NatInstanceId,
    ],
};
/// Quota exceeded: sessions of all.
const FULL: Template = Template {
    id: 260,
    fields: &[
        E::ObservationTimeMilliseconds,
        E::NatEvent,
        E::NatQuotaExceededEvent,
        E::MaxSessionEntries,
        E::NatInstanceId,
    ],
};
/// Quota exceeded: entries of a subscriber.
const SUBSCRIBER: Template = Template {
    id: 261,
    fields: &[
        E::ObservationTimeMilliseconds,
        E::NatEvent,
        E::NatQuotaExceededEvent,
        E::MaxEntriesPerUser,
        E::SourceIPv6Address,
        E::NatInstanceId,
    ],
};
/// Threshold reached: bindings of all.
const MAPPINGS_HIGH: Template = Template {
    id: 262,
    fields: &[
        E::ObservationTimeMilliseconds,
        E::NatEvent,
        E::NatThresholdEvent,
        E::AddressPortMappingHighThreshold,
        E::NatInstanceId,
    ],
};
/// Threshold reached: bindings of a subscriber.
const SUBSCRIBER_HIGH: Template = Template {
    id: 263,
    fields: &[
        E::ObservationTimeMilliseconds,
        E::NatEvent,
        E::NatThresholdEvent,
        E::AddressPortMappingPerUserHighThreshold,
        E::SourceIPv6Address,
        E::NatInstanceId,
    ],
};
/// Threshold reached: addresses of a pool.
const POOL_HIGH: Template = Template {
    id: 264,
    fields: &[
        E::ObservationTimeMilliseconds,
        E::NatEvent,
        E::NatThresholdEvent,
        E::NatPoolId,
        E::AddressPoolHighThreshold,
        E::NatInstanceId,
    ],
};
/// Threshold reached, from above: addresses of a pool.
const POOL_LOW: Template = Template {
    id: 265,
    fields: &[
        E::ObservationTimeMilliseconds,
        E::NatEvent,
        E::NatThresholdEvent,
        E::NatPoolId,
        E::AddressPoolLowThreshold,
        E::NatInstanceId,
    ],
};
const ALL: [&Template; 10] = [
    &SESSION,
    &BINDING,
    &BLOCK,
    &EXHAUSTED,
    &FULL,
    &SUBSCRIBER,
    &MAPPINGS_HIGH,
    &SUBSCRIBER_HIGH,
    &POOL_HIGH,
    &POOL_LOW,
];

impl Template {
    fn of(kind: EventKind) -> &'static Self {
        match kind {
            EventKind::SessionCreated | EventKind::SessionDeleted => &SESSION,
            EventKind::BindingCreated | EventKind::BindingDeleted => &BINDING,
            EventKind::BlockAllocated | EventKind::BlockReleased => &BLOCK,
            EventKind::PortsExhausted => &EXHAUSTED,
            EventKind::TableFull => &FULL,
            EventKind::SubscriberLimit => &SUBSCRIBER,
            EventKind::MappingsHigh => &MAPPINGS_HIGH,
            EventKind::SubscriberMappingsHigh => &SUBSCRIBER_HIGH,
            EventKind::PoolHigh => &POOL_HIGH,
            EventKind::PoolLow => &POOL_LOW,
        }
    }

    fn octets(&self) -> usize {
        self.fields.iter().map(|field| field.octets()).sum()
    }
}

/// The value of natEvent (RFC 8158 §4.3).
const fn nat_event(kind: EventKind) -> u8 {
    match kind {
        EventKind::SessionCreated => 6,
        EventKind::SessionDeleted => 7,
        EventKind::BindingCreated => 10,
        EventKind::BindingDeleted => 11,
        EventKind::PortsExhausted => 12,
        EventKind::TableFull | EventKind::SubscriberLimit => 13,
        EventKind::BlockAllocated => 16,
        EventKind::BlockReleased => 17,
        EventKind::MappingsHigh
        | EventKind::SubscriberMappingsHigh
        | EventKind::PoolHigh
        | EventKind::PoolLow => 18,
    }
}

/// The value of natQuotaExceededEvent: maximum session entries, or maximum entries per user.
const fn quota(kind: EventKind) -> u32 {
    if matches!(kind, EventKind::TableFull) { 1 } else { 3 }
}

/// The value of natThresholdEvent.
const fn threshold(kind: EventKind) -> u32 {
    match kind {
        EventKind::PoolHigh => 1,
        EventKind::PoolLow => 2,
        EventKind::MappingsHigh => 3,
        _ => 4,
    }
}

/// Makes messages of events.
#[derive(Debug)]
pub struct Encoder {
    domain: u32,
    /// Records sent so far (RFC 7011 §3.1).
    sequence: u32,
    records: u32,
    message: Vec<u8>,
    /// Where the set begins that records are appended to, and its template.
    set: Option<(usize, u16)>,
}

impl Encoder {
    /// An encoder whose first message is number 0 of an observation domain.
    pub fn new(domain: u32) -> Self {
        Self { domain, sequence: 0, records: 0, message: vec![0; HEADER], set: None }
    }

    /// The message that says how records look (RFC 7011 §3.4.1).
    pub fn templates(&self, now: SystemTime) -> Vec<u8> {
        let mut message = vec![0; HEADER + SET_HEADER];
        for template in ALL {
            message.extend(template.id.to_be_bytes());
            message.extend((template.fields.len() as u16).to_be_bytes());
            for field in template.fields {
                message.extend((*field as u16).to_be_bytes());
                message.extend((field.octets() as u16).to_be_bytes());
            }
        }
        close_set(&mut message, HEADER, TEMPLATES);
        self.head(&mut message, now);
        message
    }

    /// Appends the record of an event. `false`: it does not fit; what there is has to be sent first.
    pub fn append(&mut self, event: &Event) -> bool {
        let template = Template::of(event.kind);
        let is_open = self.set.is_some_and(|(_, id)| id == template.id);
        let needed = template.octets() + if is_open { 0 } else { SET_HEADER };
        if self.message.len() + needed > MOST_BYTES {
            return false;
        }
        if !is_open {
            self.end_set();
            self.set = Some((self.message.len(), template.id));
            self.message.resize(self.message.len() + SET_HEADER, 0);
        }
        for &field in template.fields {
            self.put(field, event);
        }
        self.records += 1;
        true
    }

    /// The message with all that was appended since the last one; `None` if that is nothing.
    pub fn take(&mut self, now: SystemTime) -> Option<Vec<u8>> {
        if self.records == 0 {
            return None;
        }
        self.end_set();
        let mut message = std::mem::replace(&mut self.message, vec![0; HEADER]);
        self.head(&mut message, now);
        self.sequence = self.sequence.wrapping_add(std::mem::take(&mut self.records));
        Some(message)
    }

    fn end_set(&mut self) {
        if let Some((start, id)) = self.set.take() {
            close_set(&mut self.message, start, id);
        }
    }

    fn put(&mut self, field: Element, event: &Event) {
        let message = &mut self.message;
        let (remote4, remote6, remote_port) = event.remote.unwrap_or((event.outside.0, event.inside.0, 0));
        match field {
            E::ObservationTimeMilliseconds => {
                let since = event.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                message.extend((since.as_millis() as u64).to_be_bytes());
            }
            E::NatEvent => message.push(nat_event(event.kind)),
            E::SourceIPv6Address => message.extend(event.inside.0.0),
            E::DestinationIPv6Address => message.extend(remote6.0),
            E::PostNatSourceIPv4Address => message.extend(event.outside.0.0),
            E::PostNatDestinationIPv4Address => message.extend(remote4.0),
            // As IPv6 names it, from where sessions begin.
            E::ProtocolIdentifier => message.push(event.protocol.map_or(0, |protocol| protocol.to_ip6().0)),
            E::SourceTransportPort => message.extend(event.inside.1.to_be_bytes()),
            E::PostNaptSourceTransportPort | E::PortRangeStart => {
                message.extend(event.outside.1.to_be_bytes());
            }
            E::PortRangeEnd => {
                let end = u32::from(event.outside.1) + event.amount.saturating_sub(1);
                message.extend((end as u16).to_be_bytes());
            }
            E::DestinationTransportPort | E::PostNaptDestinationTransportPort => {
                message.extend(remote_port.to_be_bytes());
            }
            // A tenant's addresses are one pool.
            E::NatInstanceId | E::NatPoolId => message.extend(u32::from(event.tenant).to_be_bytes()),
            E::NatThresholdEvent => message.extend(threshold(event.kind).to_be_bytes()),
            E::NatQuotaExceededEvent => message.extend(quota(event.kind).to_be_bytes()),
            E::MaxSessionEntries
            | E::MaxEntriesPerUser
            | E::AddressPoolHighThreshold
            | E::AddressPoolLowThreshold
            | E::AddressPortMappingHighThreshold
            | E::AddressPortMappingPerUserHighThreshold => message.extend(event.amount.to_be_bytes()),
        }
    }

    /// Writes the message's header (RFC 7011 §3.1).
    fn head(&self, message: &mut [u8], now: SystemTime) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let length = message.len() as u16;
        message[..2].copy_from_slice(&VERSION.to_be_bytes());
        message[2..4].copy_from_slice(&length.to_be_bytes());
        message[4..8].copy_from_slice(&(since.as_secs() as u32).to_be_bytes());
        message[8..12].copy_from_slice(&self.sequence.to_be_bytes());
        message[12..16].copy_from_slice(&self.domain.to_be_bytes());
    }
}

/// Writes a set's header now that its length is known (RFC 7011 §3.3.2).
fn close_set(message: &mut [u8], start: usize, id: u16) {
    let length = (message.len() - start) as u16;
    message[start..start + 2].copy_from_slice(&id.to_be_bytes());
    message[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::exporter::tests::event;
    use super::*;

    fn word(bytes: &[u8], at: usize) -> usize {
        usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
    }

    #[test]
    fn templates_say_of_each_record_what_it_is_made_of() {
        let encoder = Encoder::new(7);
        let message = encoder.templates(SystemTime::UNIX_EPOCH + Duration::from_secs(5));
        assert_eq!((word(&message, 0), word(&message, 2)), (10, message.len()));
        assert_eq!(message[4..16], [0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!((word(&message, 16), word(&message, 18)), (2, message.len() - 16));
        let mut at = 20;
        for template in ALL {
            assert_eq!(
                (word(&message, at), word(&message, at + 2)),
                (template.id.into(), template.fields.len())
            );
            at += 4;
            let octets: usize = (0..template.fields.len()).map(|n| word(&message, at + 4 * n + 2)).sum();
            assert_eq!(octets, template.octets());
            at += 4 * template.fields.len();
        }
        assert_eq!(at, message.len());
    }

    #[test]
    fn records_of_a_kind_share_a_set_and_numbers_count_them() {
        let mut encoder = Encoder::new(1);
        assert_eq!(encoder.take(SystemTime::now()), None);
        let block =
            Event { kind: EventKind::BlockReleased, protocol: None, remote: None, amount: 64, ..event() };
        for event in [event(), event(), block] {
            assert!(encoder.append(&event));
        }
        let message = encoder.take(SystemTime::now()).unwrap();
        assert_eq!(word(&message, 2), message.len());
        assert_eq!((word(&message, 16), word(&message, 18)), (256, 4 + 2 * SESSION.octets()));
        let record = &message[20..20 + SESSION.octets()];
        assert_eq!(u64::from_be_bytes(*record.first_chunk().unwrap()), 1_709_210_096_789);
        assert_eq!(record[8], 6);
        assert_eq!(record[9..25], event().inside.0.0);
        assert_eq!(record[25..34], [192, 0, 2, 1, 6, 0x13, 0x88, 0x17, 0x70]);
        let next = 20 + 2 * SESSION.octets();
        assert_eq!((word(&message, next), word(&message, next + 2)), (258, 4 + BLOCK.octets()));
        assert_eq!(message[next + 4 + 8], 17);
        assert_eq!((word(&message, next + 4 + 29), word(&message, next + 4 + 31)), (6000, 6063));
        encoder.append(&event());
        assert_eq!(encoder.take(SystemTime::now()).unwrap()[8..12], [0, 0, 0, 3]);
    }

    /// RFC 8158 §5.6, IANA's registry of natThresholdEvent.
    #[test]
    fn marks_that_were_reached_have_records_of_their_own() {
        for (kind, number, value, octets) in [
            (EventKind::PoolHigh, 264, 1, 25),
            (EventKind::PoolLow, 265, 2, 25),
            (EventKind::MappingsHigh, 262, 3, 21),
            (EventKind::SubscriberMappingsHigh, 263, 4, 37),
        ] {
            let mut encoder = Encoder::new(1);
            assert!(encoder.append(&Event::of_threshold(kind, 5, event().inside.0, 1000)));
            let message = encoder.take(SystemTime::now()).unwrap();
            assert_eq!((word(&message, 16), word(&message, 18)), (number, 4 + octets), "{kind:?}");
            let record = &message[20..];
            assert_eq!((record[8], &record[9..13]), (18, &[0, 0, 0, value][..]), "{kind:?}");
            let amount = if octets == 25 { 17 } else { 13 };
            assert_eq!(record[amount..amount + 4], 1000_u32.to_be_bytes(), "{kind:?}");
            assert!(record.ends_with(&[0, 0, 0, 5]), "natInstanceID");
        }
    }

    #[test]
    fn messages_are_never_longer_than_a_path_takes() {
        let mut encoder = Encoder::new(1);
        let fitted = (0..1000).take_while(|_| encoder.append(&event())).count();
        let message = encoder.take(SystemTime::now()).unwrap();
        assert!(message.len() <= MOST_BYTES && message.len() + SESSION.octets() > MOST_BYTES);
        assert_eq!(word(&message, 18), 4 + fitted * SESSION.octets());
        assert!(encoder.append(&event()), "the next one is empty");
    }
}
