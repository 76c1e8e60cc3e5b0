//! `ip6-icmp-echo`: turns an echo request for an own address or group into its reply, in place (RFC 4443 §4.2).

use std::fmt;
use std::sync::Arc;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::checksum::Sum;
use raddle_plugin_api::wire::{Icmp6Header, Ip6Address, Ip6Header, Ip6Upper};
use serde::Serialize;

use crate::net::local::OwnTable;

next! {
    /// Where replies go.
    pub enum Ip6IcmpEchoNext { Lookup => "ip6-lookup" }
}

error! {
    /// Why a request is not answered.
    pub enum Ip6IcmpEchoError {
        TooShort => "too-short": "IPv6 and ICMPv6 headers are not in the first buffer",
        NotRequest => "not-a-request": "not an echo request",
        NoSource => "no-source": "no own address to answer from what was sent to a group or to any router",
    }
}

/// Hop limit of what is made here.
const HOP_LIMIT: u8 = 64;

/// The node.
pub struct Ip6IcmpEcho {
    own: Arc<OwnTable>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    source: String,
    destination: String,
    identifier: u16,
    sequence: u16,
    length: usize,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, identifier, sequence, length } = self;
        write!(
            f,
            "{source} > {destination}: ICMP6, echo reply, id {identifier}, seq {sequence}, length {length}"
        )
    }
}

impl Node for Ip6IcmpEcho {
    const NAME: &'static str = "ip6-icmp-echo";
    type Next = Ip6IcmpEchoNext;
    type Error = Ip6IcmpEchoError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { own: init.resource()? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let (partial, interface) = (packet.has_offload(), packet.rx_interface());
            let own = self.own.read(env.worker());
            let source = |asked: Ip6Address, asker| {
                if own.is_own(asked.to_std().into()) { Some(asked) } else { own.source6(interface, asker) }
            };
            if strip_extensions(packet).is_none() {
                return Verdict::Drop(Ip6IcmpEchoError::TooShort);
            }
            if let Err(error) = make_reply(packet.bytes_mut(), partial, source) {
                return Verdict::Drop(error);
            }
            packet.set_local(true);
            // A link-local sender is on the link that its packet came in by.
            packet.set_tx_interface(interface);
            env.trace(packet, || record(packet));
            Verdict::Next(Ip6IcmpEchoNext::Lookup)
        });
    }
}

/// Takes the extension headers off a request: a reply is a packet of our own, which has none of the asker's options,
/// segments or fragments. `None` if headers are cut short.
fn strip_extensions(packet: &mut Packet<'_>) -> Option<()> {
    let upper = Ip6Upper::find_as_destination(packet.bytes()).ok()?;
    let count = upper.offset - Ip6Header::LENGTH;
    if count == 0 {
        return Some(());
    }
    packet.bytes_mut().copy_within(..Ip6Header::LENGTH, count);
    packet.advance(count).then_some(())?;
    packet.mark_l3();
    let (ip, _) = Ip6Header::parse_mut(packet.bytes_mut())?;
    ip.set_next_header(upper.protocol);
    // It was longer.
    ip.set_payload_length(ip.payload_length().checked_sub(count as u16)?);
    Some(())
}

/// Turns round the request that begins with its IPv6 header. The answer to what was asked, and by whom, comes from the
/// address that `source_of` gives: of a group or an anycast address a unicast one (RFC 4443 §2.2 b). `partial`: the checksum
/// is left to the device that sends the packet, and its field holds the sum of the pseudo header.
fn make_reply(
    bytes: &mut [u8],
    partial: bool,
    source_of: impl FnOnce(Ip6Address, Ip6Address) -> Option<Ip6Address>,
) -> Result<(), Ip6IcmpEchoError> {
    let upper = Ip6Upper::find(bytes).map_err(|_| Ip6IcmpEchoError::TooShort)?;
    let (ip, _) = Ip6Header::parse_mut(bytes).ok_or(Ip6IcmpEchoError::TooShort)?;
    let (asker, asked) = (ip.source(), ip.destination());
    let source = source_of(asked, asker).ok_or(Ip6IcmpEchoError::NoSource)?;
    ip.set_source(source);
    ip.set_destination(asker);
    ip.set_hop_limit(HOP_LIMIT);
    let message = bytes.get_mut(upper.offset..).ok_or(Ip6IcmpEchoError::TooShort)?;
    let (icmp, _) = Icmp6Header::parse_mut(message).ok_or(Ip6IcmpEchoError::TooShort)?;
    let unfinished = icmp.checksum();
    if !icmp.make_echo_reply() {
        return Err(Ip6IcmpEchoError::NotRequest);
    }
    // The pseudo header holds both addresses: their order does not matter, another source does.
    let moved = |sum: Sum| sum.subtract_bytes(&asked.0).add_bytes(&source.0);
    if partial {
        icmp.set_checksum(moved(Sum::from_checksum(!unfinished)).partial());
    } else if source != asked {
        icmp.set_checksum(moved(Sum::from_checksum(icmp.checksum())).checksum());
    }
    Ok(())
}

fn record(packet: &Packet<'_>) -> Record {
    let bytes = packet.bytes();
    let ip = Ip6Header::parse(bytes).map(|(ip, _)| *ip);
    let at = Ip6Upper::find(bytes).map_or(bytes.len(), |upper| upper.offset);
    let icmp = Icmp6Header::parse(bytes.get(at..).unwrap_or_default());
    Record {
        source: ip.map_or_else(String::new, |ip| ip.source().to_string()),
        destination: ip.map_or_else(String::new, |ip| ip.destination().to_string()),
        identifier: icmp.map_or(0, |(icmp, _)| icmp.identifier()),
        sequence: icmp.map_or(0, |(icmp, _)| icmp.sequence()),
        length: ip.map_or(0, |ip| ip.total_length().saturating_sub(at)),
    }
}

node!(Ip6IcmpEcho);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raddle_plugin_api::wire::{Icmp6Kind, IpProtocol};

    use super::*;

    const HOST: Ip6Address = Ip6Address::from_bits(0xfe80 << 112 | 2);
    const ROUTER: Ip6Address = Ip6Address::from_bits(0xfe80 << 112 | 1);

    fn request(to: Ip6Address, data: &[u8]) -> Vec<u8> {
        let ip = Ip6Header::new(IpProtocol::ICMP6, HOST, to, 8 + data.len()).unwrap();
        let icmp = Icmp6Header::echo_request(&ip, 7, 9, data);
        let mut bytes = vec![0; 48];
        icmp.write_to(ip.write_to(&mut bytes).unwrap()).unwrap();
        bytes.extend(data);
        bytes
    }

    proptest! {
        // RFC 4443 §4.2: from the address that was asked, or a unicast one if that was a group.
        #[test]
        fn a_reply_is_the_request_turned_round(to_group: bool, data in proptest::collection::vec(any::<u8>(), 0..99)) {
            let mut bytes = request(if to_group { Ip6Address::ALL_NODES } else { ROUTER }, &data);
            make_reply(&mut bytes, false, |_, _| Some(ROUTER)).unwrap();
            let ip = Ip6Header::check(&bytes, bytes.len()).unwrap();
            prop_assert_eq!((ip.source(), ip.destination(), ip.hop_limit()), (ROUTER, HOST, 64));
            let (icmp, echoed) = Icmp6Header::check(ip, &bytes[40..]).unwrap();
            prop_assert_eq!(icmp.kind(), Icmp6Kind::ECHO_REPLY);
            prop_assert_eq!((icmp.identifier(), icmp.sequence(), echoed), (7, 9, &data[..]));
        }

        #[test]
        fn a_partial_checksum_stays_the_sum_of_the_pseudo_header(to_group: bool, length in 0usize..99) {
            let asked = if to_group { Ip6Address::ALL_NODES } else { ROUTER };
            let mut bytes = request(asked, &vec![1; length]);
            let pseudo = |from| Sum::pseudo_ip6(from, HOST, IpProtocol::ICMP6, length as u32 + 8).partial();
            bytes[42..44].copy_from_slice(&pseudo(asked).to_be_bytes());
            make_reply(&mut bytes, true, |_, _| Some(ROUTER)).unwrap();
            prop_assert_eq!(&bytes[42..44], pseudo(ROUTER).to_be_bytes());
        }
    }

    #[test]
    fn refuses_what_is_cut_short_or_no_request_or_cannot_be_answered() {
        let bytes = request(ROUTER, &[]);
        for length in 0..bytes.len() {
            let cut = make_reply(&mut bytes[..length].to_vec(), false, |asked, _| Some(asked));
            assert_eq!(cut, Err(Ip6IcmpEchoError::TooShort), "{length}");
        }
        let mut reply = bytes;
        reply[40] = 129;
        assert_eq!(make_reply(&mut reply, false, |asked, _| Some(asked)), Err(Ip6IcmpEchoError::NotRequest));
        let mut group = request(Ip6Address::ALL_NODES, &[]);
        assert_eq!(make_reply(&mut group, false, |_, _| None), Err(Ip6IcmpEchoError::NoSource));
    }
}
