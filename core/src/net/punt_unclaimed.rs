//! `punt-unclaimed`: packets for raddle itself that nobody takes: their senders are told (RFC 1122 §3.2.2.1,
//! RFC 4443 §3.1, §3.4).
#![forbid(unsafe_code)]

use std::fmt;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Ip4Header, Ip6Header, Ip6Upper, IpProtocol};
use serde::Serialize;

use super::icmp_field::{IcmpRequest, icmp_field};

next! {
    /// Where packets go.
    pub enum PuntUnclaimedNext {
        Ip4IcmpError => "ip4-icmp-error",
        Ip6IcmpError => "ip6-icmp-error",
    }
}

error! {
    /// Why packets are dropped.
    pub enum PuntUnclaimedError {
        Tcp => "tcp-no-listener": "TCP segment for an own address, where nobody listens",
        NotIp => "not-ip": "neither an IPv4 nor an IPv6 packet",
        Malformed => "malformed": "headers cut short",
        NoNext => "no-next-header": "nothing behind the IPv6 headers",
    }
}

/// ICMP: destination unreachable, protocol; port.
const IP4_PROTOCOL: IcmpRequest = IcmpRequest::new(3, 2, 0);
const IP4_PORT: IcmpRequest = IcmpRequest::new(3, 3, 0);
/// ICMPv6: destination unreachable, port.
const IP6_PORT: IcmpRequest = IcmpRequest::new(1, 4, 0);

/// The node.
pub struct PuntUnclaimed {
    field: Field<IcmpRequest>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    protocol: String,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nobody takes {} here", self.protocol)
    }
}

impl Node for PuntUnclaimed {
    const NAME: &'static str = "punt-unclaimed";
    type Next = PuntUnclaimedNext;
    type Error = PuntUnclaimedError;

    fn new(init: &NodeInit<'_>) -> Result<Self, Failure> {
        Ok(Self { field: icmp_field(init)? })
    }

    fn process(&mut self, vector: Vector<'_, Self>) {
        vector.each(|env, packet| {
            let (next, protocol, request) = match judge(packet.bytes()) {
                Ok(answer) => answer,
                Err(error) => return Verdict::Drop(error),
            };
            env.trace(packet, || Record { protocol: protocol.to_string() });
            packet.set_field(&self.field, request);
            Verdict::Next(next)
        });
    }
}

/// What the sender of the packet that begins with its IP header is told, and by which node.
fn judge(bytes: &[u8]) -> Result<(PuntUnclaimedNext, IpProtocol, IcmpRequest), PuntUnclaimedError> {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => {
            let (ip, _) = Ip4Header::parse(bytes).ok_or(PuntUnclaimedError::Malformed)?;
            let request = match ip.protocol() {
                IpProtocol::TCP => return Err(PuntUnclaimedError::Tcp),
                IpProtocol::UDP => IP4_PORT,
                _ => IP4_PROTOCOL,
            };
            Ok((PuntUnclaimedNext::Ip4IcmpError, ip.protocol(), request))
        }
        Some(6) => {
            Ip6Header::parse(bytes).ok_or(PuntUnclaimedError::Malformed)?;
            let upper = Ip6Upper::find(bytes).map_err(|_| PuntUnclaimedError::Malformed)?;
            let request = match upper.protocol {
                IpProtocol::TCP => return Err(PuntUnclaimedError::Tcp),
                IpProtocol::NO_NEXT => return Err(PuntUnclaimedError::NoNext),
                IpProtocol::UDP => IP6_PORT,
                // RFC 4443 §3.4: unrecognised next header, and where it is named.
                _ => IcmpRequest::new(4, 1, upper.named_at as u32),
            };
            Ok((PuntUnclaimedNext::Ip6IcmpError, upper.protocol, request))
        }
        _ => Err(PuntUnclaimedError::NotIp),
    }
}

node!(PuntUnclaimed);

#[cfg(test)]
mod tests {
    use raddle_plugin_api::wire::{Ip4Address, Ip6Address};

    use super::*;

    fn ip4(protocol: IpProtocol) -> Vec<u8> {
        let header = Ip4Header::new(protocol, Ip4Address([192, 0, 2, 2]), Ip4Address([192, 0, 2, 1]), 0);
        let mut bytes = vec![0; 20];
        header.unwrap().write_to(&mut bytes).unwrap();
        bytes
    }

    fn ip6(protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let [source, destination] = [2, 1].map(|last| Ip6Address::from_bits(0x2001_0db8 << 96 | last));
        let mut bytes = vec![0; 40];
        Ip6Header::new(protocol, source, destination, payload.len()).unwrap().write_to(&mut bytes).unwrap();
        bytes.extend(payload);
        bytes
    }

    // RFC 1122 §3.2.2.1, RFC 4443 §3.1 and §3.4
    #[test]
    fn tells_senders_what_is_not_here() {
        let options = [IpProtocol::SCTP.0, 0, 1, 4, 0, 0, 0, 0];
        for (bytes, expected) in [
            (ip4(IpProtocol::UDP), Ok(IP4_PORT)),
            (ip4(IpProtocol::GRE), Ok(IP4_PROTOCOL)),
            (ip4(IpProtocol::TCP), Err(PuntUnclaimedError::Tcp)),
            (ip6(IpProtocol::UDP, &[]), Ok(IP6_PORT)),
            (ip6(IpProtocol::SCTP, &[]), Ok(IcmpRequest::new(4, 1, 6))),
            (ip6(IpProtocol::DESTINATION_OPTIONS, &options), Ok(IcmpRequest::new(4, 1, 40))),
            (ip6(IpProtocol::DESTINATION_OPTIONS, &options[..4]), Err(PuntUnclaimedError::Malformed)),
            (ip6(IpProtocol::TCP, &[]), Err(PuntUnclaimedError::Tcp)),
            (ip6(IpProtocol::NO_NEXT, &[]), Err(PuntUnclaimedError::NoNext)),
            (ip4(IpProtocol::UDP)[..19].to_vec(), Err(PuntUnclaimedError::Malformed)),
            (vec![0x50], Err(PuntUnclaimedError::NotIp)),
            (vec![], Err(PuntUnclaimedError::NotIp)),
        ] {
            assert_eq!(judge(&bytes).map(|(_, _, request)| request), expected, "{bytes:?}");
        }
    }
}
