//! `ip4-icmp-echo`: turns an echo request for an own address into its reply, in place (RFC 1122 §3.2.2.6).

use std::fmt;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Icmp4Header, Ip4Header};
use serde::Serialize;

next! {
    /// Where replies go.
    pub enum Ip4IcmpEchoNext { Lookup => "ip4-lookup" }
}

error! {
    /// Why a request is not answered.
    pub enum Ip4IcmpEchoError {
        TooShort => "too-short": "IP and ICMP headers are not in the first buffer",
        NotRequest => "not-a-request": "not an echo request",
    }
}

/// TTL of what is made here (RFC 1122 §3.2.1.7).
const TTL: u8 = 64;

/// The node.
pub struct Ip4IcmpEcho;

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
            "{source} > {destination}: ICMP echo reply, id {identifier}, seq {sequence}, length {length}"
        )
    }
}

impl Node for Ip4IcmpEcho {
    const NAME: &'static str = "ip4-icmp-echo";
    type Next = Ip4IcmpEchoNext;
    type Error = Ip4IcmpEchoError;

    fn new(_: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let partial = packet.has_offload();
            if let Err(error) = make_reply(packet.bytes_mut(), partial) {
                return Verdict::Drop(error);
            }
            packet.set_local(true);
            env.trace(packet, || record(packet));
            Verdict::Next(Ip4IcmpEchoNext::Lookup)
        });
    }
}

/// Turns round the request that begins with its IP header. `partial`: the ICMP checksum is left to the device that sends
/// the packet, and its field holds the sum of no pseudo header: nothing.
fn make_reply(bytes: &mut [u8], partial: bool) -> Result<(), Ip4IcmpEchoError> {
    let (ip, _) = Ip4Header::parse_mut(bytes).ok_or(Ip4IcmpEchoError::TooShort)?;
    let header_length = ip.header_length();
    let (source, destination) = (ip.source(), ip.destination());
    ip.set_source(destination);
    ip.set_destination(source);
    ip.set_ttl(TTL);
    let message = bytes.get_mut(header_length..).ok_or(Ip4IcmpEchoError::TooShort)?;
    let (icmp, _) = Icmp4Header::parse_mut(message).ok_or(Ip4IcmpEchoError::TooShort)?;
    let unfinished = icmp.checksum();
    if !icmp.make_echo_reply() {
        return Err(Ip4IcmpEchoError::NotRequest);
    }
    if partial {
        icmp.set_checksum(unfinished);
    }
    Ok(())
}

fn record(packet: &Packet<'_>) -> Record {
    let bytes = packet.bytes();
    let ip = Ip4Header::parse(bytes).map(|(ip, _)| *ip);
    let icmp = ip.and_then(|ip| Icmp4Header::parse(bytes.get(ip.header_length()..)?));
    Record {
        source: ip.map_or_else(String::new, |ip| ip.source().to_string()),
        destination: ip.map_or_else(String::new, |ip| ip.destination().to_string()),
        identifier: icmp.map_or(0, |(icmp, _)| icmp.identifier()),
        sequence: icmp.map_or(0, |(icmp, _)| icmp.sequence()),
        length: ip.map_or(0, |ip| ip.payload_length()),
    }
}

node!(Ip4IcmpEcho);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raddle_plugin_api::wire::{Icmp4Kind, Ip4Address, IpProtocol};

    use super::*;

    const HOST: Ip4Address = Ip4Address([192, 0, 2, 2]);
    const ROUTER: Ip4Address = Ip4Address([192, 0, 2, 1]);

    fn request(identifier: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
        let icmp = Icmp4Header::echo_request(identifier, sequence, data);
        let ip = Ip4Header::new(IpProtocol::ICMP4, HOST, ROUTER, 8 + data.len()).unwrap();
        let mut bytes = vec![0; 28];
        icmp.write_to(ip.write_to(&mut bytes).unwrap()).unwrap();
        bytes.extend(data);
        bytes
    }

    proptest! {
        // RFC 792 "Echo or Echo Reply Message"
        #[test]
        fn a_reply_is_the_request_turned_round(
            identifier: u16, sequence: u16, data in proptest::collection::vec(any::<u8>(), 0..100), ttl in 1u8..,
        ) {
            let mut bytes = request(identifier, sequence, &data);
            Ip4Header::parse_mut(&mut bytes).unwrap().0.set_ttl(ttl);
            make_reply(&mut bytes, false).unwrap();
            let ip = Ip4Header::check(&bytes, bytes.len()).unwrap();
            prop_assert_eq!((ip.source(), ip.destination(), ip.ttl()), (ROUTER, HOST, 64));
            let (icmp, echoed) = Icmp4Header::check(&bytes[20..]).unwrap();
            prop_assert_eq!(icmp.kind(), Icmp4Kind::ECHO_REPLY);
            prop_assert_eq!((icmp.identifier(), icmp.sequence(), echoed), (identifier, sequence, &data[..]));
        }
    }

    #[test]
    fn leaves_a_partial_checksum_to_the_device() {
        let mut bytes = request(1, 2, &[3; 9]);
        bytes[22..24].fill(0);
        make_reply(&mut bytes, true).unwrap();
        assert_eq!(bytes[20..24], [0, 0, 0, 0]);
    }

    #[test]
    fn refuses_what_is_cut_short_or_no_request() {
        let bytes = request(1, 2, &[]);
        for length in 0..bytes.len() {
            let cut = make_reply(&mut bytes[..length].to_vec(), false);
            assert_eq!(cut, Err(Ip4IcmpEchoError::TooShort), "{length}");
        }
        let mut reply = bytes;
        reply[20] = 0;
        assert_eq!(make_reply(&mut reply, false), Err(Ip4IcmpEchoError::NotRequest));
    }
}
