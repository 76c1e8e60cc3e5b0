//! ICMPv6 errors as bytes (RFC 4443 §2.2 to §2.4).

use raddle_plugin_api::wire::{Icmp6Error, Icmp6Header, Ip6Address, Ip6Header, IpProtocol};

use crate::net::icmp_field::IcmpRequest;

/// The longest error, IPv6 header included, in bytes (RFC 4443 §2.4 c).
pub const MAX_ERROR_BYTES: usize = Ip6Header::MIN_MTU;

/// Whether this error may be sent about the packet whose front is `about` (RFC 4443 §2.4 e). That it did not come as a
/// link-layer multicast is for the caller to know, with [`is_allowed_for_groups`].
pub fn is_allowed(request: IcmpRequest, about: &[u8]) -> bool {
    let rule = match (request.kind, request.code) {
        (2, _) => Icmp6Error::PacketTooBig { mtu: request.data },
        (4, 2) => Icmp6Error::UnknownOption { pointer: request.data },
        _ => Icmp6Error::NoRoute,
    };
    rule.is_allowed_for(about)
}

/// Whether the error may be sent even about a packet to a group (RFC 4443 §2.4 e.3): "packet too big", and parameter
/// problems with code 2.
pub fn is_allowed_for_groups(request: IcmpRequest) -> bool {
    matches!((request.kind, request.code), (2, _) | (4, 2))
}

/// Writes the error about the packet whose front is `about` (from its IPv6 header on, at least as much as is quoted, if
/// the packet is that long), and returns its bytes. `None` if `about` is no IPv6 packet.
pub fn write_error<'o>(
    out: &'o mut [u8; MAX_ERROR_BYTES],
    request: IcmpRequest,
    source: Ip6Address,
    about: &[u8],
) -> Option<&'o [u8]> {
    let (ip, _) = Ip6Header::parse(about)?;
    let quote = Icmp6Error::quote(about);
    let upper = Icmp6Header::LENGTH + quote.len();
    let header = Ip6Header::new(IpProtocol::ICMP6, source, ip.source(), upper)?;
    let message = header.write_to(out)?.get_mut(..upper)?;
    let (icmp, rest) = message.split_at_mut_checked(Icmp6Header::LENGTH)?;
    icmp[..4].copy_from_slice(&[request.kind, request.code, 0, 0]);
    icmp[4..].copy_from_slice(&request.data.to_be_bytes());
    rest.copy_from_slice(quote);
    let sum = header.pseudo_header(IpProtocol::ICMP6, upper as u32).add_bytes(message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    out.get(..header.total_length())
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::wire::Icmp6Kind;

    use super::*;

    const ROUTER: Ip6Address = Ip6Address::from_bits(0x2001_0db8 << 96 | 1);
    const HOST: Ip6Address = Ip6Address::from_bits(0x2001_0db8 << 96 | 2);
    const FAR: Ip6Address = Ip6Address::from_bits(0x2001_0db9 << 96 | 9);

    fn packet(to: Ip6Address, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let header = Ip6Header::new(protocol, HOST, to, payload.len()).unwrap();
        let mut bytes = vec![0; Ip6Header::LENGTH];
        header.write_to(&mut bytes).unwrap();
        bytes.extend(payload);
        bytes
    }

    // RFC 4443 §2.4 c
    #[test]
    fn quotes_as_much_as_fits_in_1280_bytes() {
        for (payload, expected) in [(0, 88), (1192, 1280), (1193, 1280), (1460, 1280)] {
            let about = packet(FAR, IpProtocol::UDP, &vec![0x5a; payload]);
            let mut out = [0; MAX_ERROR_BYTES];
            let error = write_error(&mut out, IcmpRequest::ip6_packet_too_big(1400), ROUTER, &about).unwrap();
            assert_eq!(error.len(), expected);
            let ip = Ip6Header::check(error, error.len()).unwrap();
            assert_eq!((ip.source(), ip.destination(), ip.hop_limit()), (ROUTER, HOST, 64));
            let (icmp, quote) = Icmp6Header::check(ip, &error[40..]).unwrap();
            assert_eq!((icmp.kind(), icmp.code(), icmp.rest()), (Icmp6Kind::PACKET_TOO_BIG, 0, 1400));
            assert_eq!(quote, &about[..quote.len()]);
        }
    }

    // RFC 4443 §2.4 e
    #[test]
    fn no_error_about_errors_redirects_or_groups() {
        let group = Ip6Address::ALL_NODES;
        let too_big = IcmpRequest::ip6_packet_too_big(1280);
        let exceeded = IcmpRequest::IP6_TIME_EXCEEDED;
        for (about, request, allowed) in [
            (packet(FAR, IpProtocol::UDP, &[0; 8]), exceeded, true),
            (packet(FAR, IpProtocol::ICMP6, &[128, 0, 0, 0]), exceeded, true),
            (packet(FAR, IpProtocol::ICMP6, &[1, 0, 0, 0]), exceeded, false),
            (packet(FAR, IpProtocol::ICMP6, &[127, 0, 0, 0]), too_big, false),
            (packet(FAR, IpProtocol::ICMP6, &[137, 0, 0, 0]), exceeded, false),
            (packet(FAR, IpProtocol::ICMP6, &[]), exceeded, false),
            (packet(group, IpProtocol::UDP, &[0; 8]), exceeded, false),
            (packet(group, IpProtocol::UDP, &[0; 8]), too_big, true),
            (packet(group, IpProtocol::UDP, &[0; 8]), IcmpRequest::new(4, 2, 42), true),
            (packet(group, IpProtocol::UDP, &[0; 8]), IcmpRequest::new(4, 1, 6), false),
        ] {
            assert_eq!(is_allowed(request, &about), allowed, "{request:?} {about:?}");
        }
        assert!(is_allowed_for_groups(too_big) && !is_allowed_for_groups(exceeded));
    }
}
