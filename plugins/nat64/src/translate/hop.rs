//! The address of a router inside, told in an ICMP error that leaves by another source (RFC 6791 §4): as the address of the interface
//! by which the packet came to it (RFC 5837 §4.1, RFC 4884 §7).

use raddle_plugin_api::wire::Ip6Address;
use raddle_plugin_api::wire::checksum::{Delta, Sum, checksum};

/// Version 2 of the extension structure, before the reserved bits.
const VERSION: u8 = 2 << 4;
/// Header of the extension structure, and of an object in it.
const HEADER: usize = 4;
/// Bytes of the object.
const OBJECT: usize = HEADER + 4 + 16;
/// Interface information.
const CLASS: u8 = 2;
/// Of the incoming interface: its address and nothing else.
const ADDRESS_OF_INCOMING: u8 = 0b0000_0100;
/// AFI of IPv6.
const IP6: u8 = 2;
/// The longest extension structure to which an object is added.
const MOST: usize = 256;

/// An extension structure with the address of a router.
#[derive(Clone, Copy)]
pub struct HopExtension {
    bytes: [u8; MOST + OBJECT],
    length: usize,
}

impl HopExtension {
    /// The structure that a message came with, which is empty if it had none, with the router's address behind. `None`: it is none
    /// to which something can be added.
    pub fn appended_to(extension: &[u8], hop: Ip6Address) -> Option<Self> {
        let mut bytes = [0; MOST + OBJECT];
        let begin = match extension {
            [] => HEADER,
            _ => extension.len(),
        };
        let is_whole = (HEADER..=MOST).contains(&begin) && begin.is_multiple_of(4);
        if !is_whole || extension.first().is_some_and(|first| first & 0xf0 != VERSION) {
            return None;
        }
        bytes[0] = VERSION;
        bytes[..extension.len()].copy_from_slice(extension);
        let length = begin + OBJECT;
        let object = &mut bytes[begin..length];
        object[..HEADER + 4].copy_from_slice(&[0, OBJECT as u8, CLASS, ADDRESS_OF_INCOMING, 0, IP6, 0, 0]);
        object[HEADER + 4..].copy_from_slice(&hop.0);
        let was = u16::from_be_bytes([bytes[2], bytes[3]]);
        let sum = match (extension, was) {
            ([], _) => checksum(&bytes[..length]),
            // RFC 4884 §7: it was not computed.
            (_, 0) => 0,
            // One that was wrong stays wrong.
            _ => Delta::between(Sum::new(), Sum::new().add_bytes(&bytes[begin..length])).apply(was),
        };
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        Some(Self { bytes, length })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use raddle_plugin_api::wire::checksum::is_valid;

    use super::*;

    fn hop() -> Ip6Address {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xff).into()
    }

    /// RFC 5837 §4.1 to §4.3, RFC 4884 §7 and §7.1.
    #[test]
    fn address_is_an_object_of_the_incoming_interface() {
        let made = HopExtension::appended_to(&[], hop()).unwrap();
        let bytes = made.bytes();
        assert_eq!((bytes.len(), &bytes[..2]), (28, &[0x20, 0][..]));
        assert_eq!(bytes[4..12], [0, 24, 2, 4, 0, 2, 0, 0]);
        assert_eq!(bytes[12..], hop().0);
        assert!(is_valid(bytes));
    }

    #[test]
    fn object_stands_behind_those_that_are_there() {
        let first = HopExtension::appended_to(&[], Ip6Address::from_bits(1)).unwrap();
        let both = HopExtension::appended_to(first.bytes(), hop()).unwrap();
        assert_eq!((both.bytes().len(), &both.bytes()[4..28]), (52, &first.bytes()[4..]));
        assert!(is_valid(both.bytes()));
        let mut wrong = first.bytes().to_vec();
        wrong[20] ^= 1;
        assert!(!is_valid(HopExtension::appended_to(&wrong, hop()).unwrap().bytes()));
        wrong[2..4].fill(0);
        assert_eq!(HopExtension::appended_to(&wrong, hop()).unwrap().bytes()[2..4], [0, 0]);
    }

    #[test]
    fn what_is_no_extension_is_left_alone() {
        for bytes in [&[0x20, 0, 0][..], &[0x10, 0, 0, 0], &[0x20, 0, 0, 0, 0, 0], &[0x20; 260]] {
            assert!(HopExtension::appended_to(bytes, hop()).is_none(), "{bytes:?}");
        }
    }
}
