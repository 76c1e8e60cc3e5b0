//! ICMP errors as bytes (RFC 792, RFC 1812 §4.3.2).

use raddle_plugin_api::wire::{Icmp4Error, Icmp4Header, Ip4Address, Ip4Header, IpProtocol, checksum};

use crate::net::icmp_field::IcmpRequest;

/// The longest error, IP header included, in bytes (RFC 1812 §4.3.2.3).
pub const MAX_ERROR_BYTES: usize = Ip4Header::MIN_REASSEMBLY;

/// Precedence 6, "internetwork control", where the type of service is that of the packet (RFC 1812 §4.3.2.5),
/// without the bits that ECN has taken from it since (RFC 3168 §22).
const PRECEDENCE: u8 = 0xc0;
const TYPE_OF_SERVICE: u8 = 0x1c;

/// Writes the error about the packet whose front is `about` (from its IP header on, at least as much as is quoted, if the
/// packet is that long), and returns its bytes. `None` if `about` is no IPv4 packet.
pub fn write_error<'o>(
    out: &'o mut [u8; MAX_ERROR_BYTES],
    request: IcmpRequest,
    source: Ip4Address,
    about: &[u8],
    identification: u16,
) -> Option<&'o [u8]> {
    let (ip, _) = Ip4Header::parse(about)?;
    let quote = Icmp4Error::quote(about);
    let mut header =
        Ip4Header::new(IpProtocol::ICMP4, source, ip.source(), Icmp4Header::LENGTH + quote.len())?;
    header.set_traffic_class(PRECEDENCE | ip.traffic_class() & TYPE_OF_SERVICE);
    header.set_identification(identification);
    let length = usize::from(header.total_length());
    let message = header.write_to(out)?;
    let (icmp, rest) = message.split_at_mut_checked(Icmp4Header::LENGTH)?;
    icmp[..4].copy_from_slice(&[request.kind, request.code, 0, 0]);
    icmp[4..].copy_from_slice(&request.data.to_be_bytes());
    rest.get_mut(..quote.len())?.copy_from_slice(quote);
    let message = out.get_mut(Ip4Header::LENGTH..length)?;
    let sum = checksum::checksum(message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    out.get(..length)
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::wire::Icmp4Kind;

    use super::*;

    const ROUTER: Ip4Address = Ip4Address([192, 0, 2, 1]);
    const HOST: Ip4Address = Ip4Address([192, 0, 2, 2]);

    fn packet(payload: usize) -> Vec<u8> {
        let header = Ip4Header::new(IpProtocol::UDP, HOST, Ip4Address([203, 0, 113, 9]), payload).unwrap();
        let mut bytes = vec![0x5a; Ip4Header::LENGTH + payload];
        header.write_to(&mut bytes).unwrap();
        bytes
    }

    // RFC 1812 §4.3.2.3 and §4.3.2.4
    #[test]
    fn quotes_as_much_as_fits_in_576_bytes() {
        for (payload, expected) in [(0, 48), (8, 56), (528, 576), (529, 576), (1400, 576)] {
            let about = packet(payload);
            let mut out = [0; MAX_ERROR_BYTES];
            let error = write_error(&mut out, IcmpRequest::IP4_TIME_EXCEEDED, ROUTER, &about, 7).unwrap();
            assert_eq!(error.len(), expected);
            let ip = Ip4Header::check(error, error.len()).unwrap();
            assert_eq!((ip.source(), ip.destination(), ip.ttl()), (ROUTER, HOST, 64));
            assert_eq!((ip.traffic_class(), ip.identification()), (0xc0, 7));
            let (icmp, quote) = Icmp4Header::check(&error[20..]).unwrap();
            assert_eq!((icmp.kind(), icmp.code(), icmp.rest()), (Icmp4Kind::TIME_EXCEEDED, 0, 0));
            assert_eq!(quote, &about[..quote.len()]);
        }
    }

    // RFC 1191 §4
    #[test]
    fn tells_the_next_hops_mtu() {
        let mut out = [0; MAX_ERROR_BYTES];
        let request = IcmpRequest::ip4_fragmentation_needed(1400);
        let error = write_error(&mut out, request, ROUTER, &packet(100), 0).unwrap();
        let (icmp, _) = Icmp4Header::check(&error[20..]).unwrap();
        assert_eq!((icmp.kind(), icmp.code(), icmp.next_hop_mtu()), (Icmp4Kind(3), 4, 1400));
    }

    // RFC 1812 §4.3.2.5
    #[test]
    fn keeps_the_type_of_service_and_raises_the_precedence() {
        for (traffic_class, expected) in [(0, 0xc0), (0xff, 0xdc), (0x10, 0xd0), (0x20, 0xc0), (0x03, 0xc0)] {
            let mut about = packet(8);
            Ip4Header::parse_mut(&mut about).unwrap().0.set_traffic_class(traffic_class);
            let mut out = [0; MAX_ERROR_BYTES];
            let error = write_error(&mut out, IcmpRequest::IP4_TIME_EXCEEDED, ROUTER, &about, 0).unwrap();
            assert_eq!(Ip4Header::parse(error).unwrap().0.traffic_class(), expected);
        }
    }

    #[test]
    fn makes_nothing_of_what_is_too_short() {
        let mut out = [0; MAX_ERROR_BYTES];
        let about = packet(0);
        for length in 0..20 {
            let request = IcmpRequest::IP4_HOST_UNREACHABLE;
            assert!(write_error(&mut out, request, ROUTER, &about[..length], 0).is_none());
        }
    }
}
