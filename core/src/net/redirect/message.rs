//! The redirect message of neighbour discovery (RFC 4861 §4.5).

use raddle_plugin_api::wire::{Icmp6Error, Icmp6Kind, Ip6Address, Ip6Header, IpProtocol, MacAddress};

/// The longest redirect with its IPv6 header, in bytes (RFC 4861 §4.6.3).
pub const MAX_REDIRECT_BYTES: usize = Ip6Header::MIN_MTU;

/// RFC 4861 §8.1: it cannot come from another link.
const HOP_LIMIT: u8 = 255;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
const REDIRECTED_HEADER: u8 = 4;
/// Type, code, checksum, reserved, target, destination.
const MESSAGE_BYTES: usize = 40;
const LINK_LAYER_OPTION_BYTES: usize = 8;
const OPTION_HEADER_BYTES: usize = 8;

/// Who tells whom of what.
#[derive(Clone, Copy, Debug)]
pub struct Redirect {
    /// The own link-local address that hosts know the router by.
    pub source: Ip6Address,
    /// The better first hop: a router's link-local address, or the destination itself.
    pub target: Ip6Address,
    /// Its link-layer address, if it is known.
    pub target_mac: Option<MacAddress>,
}

/// Writes the redirect about the packet whose front is `about`, to its source, and returns its bytes. `None` if `about` is no
/// IPv6 packet.
pub fn write_redirect<'o>(
    out: &'o mut [u8; MAX_REDIRECT_BYTES],
    redirect: Redirect,
    about: &[u8],
) -> Option<&'o [u8]> {
    let (ip, _) = Ip6Header::parse(about)?;
    let (to, destination) = (ip.source(), ip.destination());
    let link_layer = if redirect.target_mac.is_some() { LINK_LAYER_OPTION_BYTES } else { 0 };
    let front = MESSAGE_BYTES + link_layer + OPTION_HEADER_BYTES;
    // Options are whole units of 8 bytes: what is quoted is cut, not padded.
    let room = MAX_REDIRECT_BYTES - Ip6Header::LENGTH - front;
    let quote = Icmp6Error::quote(about);
    let quote = &quote[..quote.len().min(room) / 8 * 8];
    let length = front + quote.len();
    let mut header = Ip6Header::new(IpProtocol::ICMP6, redirect.source, to, length)?;
    header.set_hop_limit(HOP_LIMIT);
    let message = header.write_to(out)?.get_mut(..length)?;
    message[..8].copy_from_slice(&[Icmp6Kind::REDIRECT.0, 0, 0, 0, 0, 0, 0, 0]);
    message[8..24].copy_from_slice(&redirect.target.0);
    message[24..MESSAGE_BYTES].copy_from_slice(&destination.0);
    let mut at = MESSAGE_BYTES;
    if let Some(MacAddress(mac)) = redirect.target_mac {
        message[at..at + 2].copy_from_slice(&[TARGET_LINK_LAYER_ADDRESS, 1]);
        message[at + 2..at + LINK_LAYER_OPTION_BYTES].copy_from_slice(&mac);
        at += LINK_LAYER_OPTION_BYTES;
    }
    // At most 1,280 bytes are 160 units.
    let units = ((OPTION_HEADER_BYTES + quote.len()) / 8) as u8;
    message[at..at + OPTION_HEADER_BYTES].copy_from_slice(&[REDIRECTED_HEADER, units, 0, 0, 0, 0, 0, 0]);
    message[at + OPTION_HEADER_BYTES..].copy_from_slice(quote);
    let sum = header.pseudo_header(IpProtocol::ICMP6, length as u32).add_bytes(message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    out.get(..header.total_length())
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::wire::NdMessage;

    use super::*;

    const ROUTER: Ip6Address = Ip6Address::from_bits(0xfe80 << 112 | 1);
    const BETTER: Ip6Address = Ip6Address::from_bits(0xfe80 << 112 | 2);
    const HOST: Ip6Address = Ip6Address::from_bits(0x2001_0db8 << 96 | 2);
    const FAR: Ip6Address = Ip6Address::from_bits(0x2001_0db9 << 96 | 9);

    fn packet(payload: usize) -> Vec<u8> {
        let header = Ip6Header::new(IpProtocol::UDP, HOST, FAR, payload).unwrap();
        let mut bytes = vec![0x5a; Ip6Header::LENGTH + payload];
        header.write_to(&mut bytes).unwrap();
        bytes
    }

    // RFC 4861 §4.5, §4.6.3, §8.1
    #[test]
    fn redirects_are_as_receivers_check_them() {
        for target_mac in [None, Some(MacAddress([2, 0, 0, 0, 0, 7]))] {
            for payload in [0, 8, 13, 1100, 1200, 1460] {
                let mut out = [0; MAX_REDIRECT_BYTES];
                let redirect = Redirect { source: ROUTER, target: BETTER, target_mac };
                let about = packet(payload);
                let bytes = write_redirect(&mut out, redirect, &about).unwrap();
                assert!(bytes.len() <= 1280);
                let ip = Ip6Header::check(bytes, bytes.len()).unwrap();
                assert_eq!((ip.source(), ip.destination(), ip.hop_limit()), (ROUTER, HOST, 255));
                let NdMessage::Redirect { target, destination, .. } =
                    NdMessage::parse(ip, &bytes[40..]).unwrap()
                else {
                    panic!("a redirect");
                };
                assert_eq!((target, destination), (BETTER, FAR));
            }
        }
    }
}
