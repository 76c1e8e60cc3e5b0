//! Next-hop objects of the kernel (Linux `include/uapi/linux/nexthop.h`), which the netlink crates do not know yet.

use std::net::IpAddr;

use netlink_packet_core::NlasIterator;

use crate::mirror::{Hop, Object};

/// `RTM_NEWNEXTHOP`, `RTM_DELNEXTHOP`, `RTM_GETNEXTHOP`.
pub const NEW: u16 = 104;
/// See [`NEW`].
pub const DEL: u16 = 105;
/// See [`NEW`].
pub const GET: u16 = 106;
/// Bytes of `struct nhmsg`.
pub const HEADER_BYTES: usize = 8;

const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
/// Bytes of `struct nexthop_grp`.
const MEMBER_BYTES: usize = 8;

/// The object of a message behind its netlink header, with its number. `None`: it is cut short.
pub fn parse(payload: &[u8]) -> Option<(u32, Object)> {
    let attributes = payload.get(HEADER_BYTES..)?;
    let (mut id, mut object, mut device, mut gateway) = (None, None, 0, None);
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute.ok()?;
        let value = attribute.value();
        match attribute.kind() {
            NHA_ID => id = Some(u32::from_ne_bytes(*value.first_chunk()?)),
            NHA_OIF => device = u32::from_ne_bytes(*value.first_chunk()?),
            NHA_BLACKHOLE => object = Some(Object::Blackhole),
            NHA_GATEWAY => {
                gateway = Some(match value.len() {
                    4 => IpAddr::from(<[u8; 4]>::try_from(value).ok()?),
                    16 => IpAddr::from(<[u8; 16]>::try_from(value).ok()?),
                    _ => return None,
                });
            }
            NHA_GROUP => {
                let (members, rest) = value.as_chunks::<MEMBER_BYTES>();
                if !rest.is_empty() {
                    return None;
                }
                let member = |bytes: &[u8; MEMBER_BYTES]| {
                    let [a, b, c, d, weight, high, ..] = *bytes;
                    // What is written is one less; the upper byte is there since Linux 6.12.
                    (u32::from_ne_bytes([a, b, c, d]), u16::from_le_bytes([weight, high]).saturating_add(1))
                };
                object = Some(Object::Group(members.iter().map(member).collect()));
            }
            _ => {}
        }
    }
    Some((id?, object.unwrap_or(Object::Hop(Hop { gateway, device, weight: 1 }))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        for (kind, value) in attributes {
            bytes.extend((value.len() as u16 + 4).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn hops_groups_and_blackholes_are_read() {
        let id = 7_u32.to_ne_bytes();
        let hop = message(&[(NHA_ID, &id), (NHA_OIF, &3_u32.to_ne_bytes()), (NHA_GATEWAY, &[10, 0, 0, 1])]);
        let expected = Hop { gateway: Some("10.0.0.1".parse().unwrap()), device: 3, weight: 1 };
        assert_eq!(parse(&hop), Some((7, Object::Hop(expected))));
        let members =
            [[1_u32.to_ne_bytes(), [0, 0, 0, 0]].concat(), [2_u32.to_ne_bytes(), [4, 0, 0, 0]].concat()];
        let group = message(&[(NHA_ID, &id), (NHA_GROUP, &members.concat())]);
        assert_eq!(parse(&group), Some((7, Object::Group(vec![(1, 1), (2, 5)]))));
        assert_eq!(parse(&message(&[(NHA_ID, &id), (NHA_BLACKHOLE, &[])])), Some((7, Object::Blackhole)));
    }

    #[test]
    fn what_is_cut_short_is_none() {
        let id = 7_u32.to_ne_bytes();
        for bytes in [
            vec![0; 7],
            message(&[]),
            message(&[(NHA_ID, &[1])]),
            message(&[(NHA_ID, &id), (NHA_GATEWAY, &[1, 2, 3])]),
            message(&[(NHA_ID, &id), (NHA_GROUP, &[0; 9])]),
            [message(&[(NHA_ID, &id)]), vec![200, 0, 1, 0]].concat(),
        ] {
            assert_eq!(parse(&bytes), None, "{bytes:?}");
        }
    }
}
