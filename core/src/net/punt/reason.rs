//! The reason for which a packet to an own address is punted, by its protocol and port.
#![forbid(unsafe_code)]

use raddle_plugin_api::punt::PuntReason;
use raddle_plugin_api::wire::{Ip4Header, Ip6Upper, IpProtocol};

/// Protocols by which routers talk to each other: IGP (Cisco), EIGRP, OSPF, PIM, VRRP.
const ROUTING_PROTOCOLS: [u8; 5] = [9, 88, 89, 103, 112];
/// Ports of such protocols: BGP, RIP, RIPng, LDP, BFD (RFC 5881 §4, RFC 5883 §5).
const ROUTING_PORTS: [u16; 7] = [179, 520, 521, 646, 3784, 3785, 4784];

/// The reason for an IPv4 packet, which begins with its header.
pub fn of_ip4(bytes: &[u8]) -> PuntReason {
    match Ip4Header::parse(bytes) {
        Some((ip, _)) => of(ip.protocol(), bytes.get(ip.header_length()..).unwrap_or_default()),
        None => PuntReason::OTHER,
    }
}

/// The reason for an IPv6 packet, which begins with its header.
pub fn of_ip6(bytes: &[u8]) -> PuntReason {
    match Ip6Upper::find_as_destination(bytes) {
        Ok(upper) => of(upper.protocol, bytes.get(upper.offset..).unwrap_or_default()),
        Err(_) => PuntReason::OTHER,
    }
}

fn of(protocol: IpProtocol, transport: &[u8]) -> PuntReason {
    if ROUTING_PROTOCOLS.contains(&protocol.0) {
        return PuntReason::ROUTING;
    }
    let usual = match protocol {
        IpProtocol::TCP => PuntReason::TCP,
        IpProtocol::UDP => PuntReason::UDP,
        IpProtocol::ICMP4 | IpProtocol::ICMP6 => return PuntReason::ICMP,
        IpProtocol::IGMP => return PuntReason::GROUPS,
        _ => return PuntReason::PROTOCOL,
    };
    // Either end: what answers comes from that port.
    let is_routing = transport.first_chunk::<4>().is_some_and(|&[a, b, c, d]| {
        [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
            .iter()
            .any(|port| ROUTING_PORTS.contains(port))
    });
    if is_routing { PuntReason::ROUTING } else { usual }
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::wire::{Ip4Address, Ip6Address, Ip6Header};
    use zerocopy::IntoBytes;

    use super::*;

    #[test]
    fn routing_protocols_are_apart_from_what_else_is_sent_to_the_host() {
        let bgp = [0, 179, 0xc0, 0];
        let web = [0xc0, 0, 0, 80];
        for (protocol, transport, expected) in [
            (IpProtocol::OSPF, &web, PuntReason::ROUTING),
            (IpProtocol::VRRP, &web, PuntReason::ROUTING),
            (IpProtocol::TCP, &bgp, PuntReason::ROUTING),
            (IpProtocol::TCP, &[0xc0, 0, 0, 179], PuntReason::ROUTING),
            (IpProtocol::UDP, &[0x0e, 0xc8, 0x0e, 0xc8], PuntReason::ROUTING),
            (IpProtocol::TCP, &web, PuntReason::TCP),
            (IpProtocol::UDP, &bgp, PuntReason::ROUTING),
            (IpProtocol::UDP, &web, PuntReason::UDP),
            (IpProtocol::ICMP4, &web, PuntReason::ICMP),
            (IpProtocol::GRE, &web, PuntReason::PROTOCOL),
        ] {
            let (a, b) = (Ip4Address([192, 0, 2, 1]), Ip4Address([192, 0, 2, 2]));
            let ip4 = Ip4Header::new(protocol, a, b, 4).unwrap();
            assert_eq!(of_ip4(&[ip4.as_bytes(), transport].concat()), expected);
            let ip6 =
                Ip6Header::new(protocol, Ip6Address::from_bits(1), Ip6Address::from_bits(2), 4).unwrap();
            assert_eq!(of_ip6(&[ip6.as_bytes(), transport].concat()), expected);
        }
        for (short, expected) in [(&[0x45][..], PuntReason::OTHER), (&[], PuntReason::OTHER)] {
            assert_eq!((of_ip4(short), of_ip6(short)), (expected, expected));
        }
    }
}
