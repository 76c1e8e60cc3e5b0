//! `punt-unclaimed`: packets for raddle itself that nobody takes: their senders are told (RFC 1122 §3.2.2.1,
//! RFC 4443 §3.1, §3.4, RFC 9293 §3.10.7.1).
#![forbid(unsafe_code)]

use std::fmt;

use raddle_plugin_api::prelude::*;
use raddle_plugin_api::wire::{Ip4Header, Ip6Header, Ip6Upper, IpProtocol};
use serde::Serialize;

use crate::net::icmp_field::{IcmpRequest, icmp_field};

next! {
    /// Where packets go.
    pub enum PuntUnclaimedNext {
        Ip4IcmpError => "ip4-icmp-error",
        Ip6IcmpError => "ip6-icmp-error",
        TcpReset => "tcp-reset",
    }
}

error! {
    /// Why packets are dropped.
    pub enum PuntUnclaimedError {
        NotIp => "not-ip": "neither an IPv4 nor an IPv6 packet",
        Malformed => "malformed": "headers cut short",
        NoNext => "no-next-header": "nothing behind the IPv6 headers",
        Message => "message": "an ICMP or IGMP message, which is not answered (RFC 1122 section 3.2.2)",
    }
}

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
            if let Some(request) = request {
                packet.set_field(&self.field, request);
            }
            Verdict::Next(next)
        });
    }
}

/// Who tells the sender of the packet that begins with its IP header, and what by ICMP.
fn judge(bytes: &[u8]) -> Result<(PuntUnclaimedNext, IpProtocol, Option<IcmpRequest>), PuntUnclaimedError> {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => {
            let (ip, _) = Ip4Header::parse(bytes).ok_or(PuntUnclaimedError::Malformed)?;
            let (next, request) = match ip.protocol() {
                IpProtocol::ICMP4 | IpProtocol::IGMP => return Err(PuntUnclaimedError::Message),
                IpProtocol::TCP => (PuntUnclaimedNext::TcpReset, None),
                IpProtocol::UDP => (PuntUnclaimedNext::Ip4IcmpError, Some(IcmpRequest::IP4_PORT_UNREACHABLE)),
                _ => (PuntUnclaimedNext::Ip4IcmpError, Some(IcmpRequest::IP4_PROTOCOL_UNREACHABLE)),
            };
            Ok((next, ip.protocol(), request))
        }
        Some(6) => {
            Ip6Header::parse(bytes).ok_or(PuntUnclaimedError::Malformed)?;
            let upper = Ip6Upper::find_as_destination(bytes).map_err(|_| PuntUnclaimedError::Malformed)?;
            let (next, request) = match upper.protocol {
                IpProtocol::TCP => (PuntUnclaimedNext::TcpReset, None),
                IpProtocol::ICMP6 => return Err(PuntUnclaimedError::Message),
                IpProtocol::NO_NEXT => return Err(PuntUnclaimedError::NoNext),
                IpProtocol::UDP => (PuntUnclaimedNext::Ip6IcmpError, Some(IcmpRequest::IP6_PORT_UNREACHABLE)),
                _ => {
                    let request = IcmpRequest::ip6_unknown_next_header(upper.named_at as u32);
                    (PuntUnclaimedNext::Ip6IcmpError, Some(request))
                }
            };
            Ok((next, upper.protocol, request))
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
            (ip4(IpProtocol::UDP), Ok(Some(IcmpRequest::IP4_PORT_UNREACHABLE))),
            (ip4(IpProtocol::GRE), Ok(Some(IcmpRequest::IP4_PROTOCOL_UNREACHABLE))),
            (ip4(IpProtocol::TCP), Ok(None)),
            (ip4(IpProtocol::ICMP4), Err(PuntUnclaimedError::Message)),
            (ip6(IpProtocol::ICMP6, &[]), Err(PuntUnclaimedError::Message)),
            (ip6(IpProtocol::UDP, &[]), Ok(Some(IcmpRequest::IP6_PORT_UNREACHABLE))),
            (ip6(IpProtocol::SCTP, &[]), Ok(Some(IcmpRequest::ip6_unknown_next_header(6)))),
            (
                ip6(IpProtocol::DESTINATION_OPTIONS, &options),
                Ok(Some(IcmpRequest::ip6_unknown_next_header(40))),
            ),
            (ip6(IpProtocol::DESTINATION_OPTIONS, &options[..4]), Err(PuntUnclaimedError::Malformed)),
            (ip6(IpProtocol::TCP, &[]), Ok(None)),
            (ip6(IpProtocol::NO_NEXT, &[]), Err(PuntUnclaimedError::NoNext)),
            (ip4(IpProtocol::UDP)[..19].to_vec(), Err(PuntUnclaimedError::Malformed)),
            (vec![0x50], Err(PuntUnclaimedError::NotIp)),
            (vec![], Err(PuntUnclaimedError::NotIp)),
        ] {
            assert_eq!(judge(&bytes).map(|(_, _, request)| request), expected, "{bytes:?}");
        }
    }
}
