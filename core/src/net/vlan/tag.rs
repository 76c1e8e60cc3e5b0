//! VLAN tags of packets: put on, taken off (IEEE 802.1Q §9).
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use raddle_plugin_api::wire::EtherType;
use raddle_plugin_api::{Failure, Packet, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes of a tag.
pub const TAG_BYTES: usize = 4;
/// Bytes in front of a frame's tags: both MAC addresses.
const ADDRESSES: usize = 12;

/// The kind of a tag, by its ethertype.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum TagProtocol {
    /// Customer tag, 0x8100.
    #[default]
    #[serde(rename = "802.1q")]
    Customer,
    /// Service tag, 0x88a8, the outer one of two.
    #[serde(rename = "802.1ad")]
    Service,
}

impl TagProtocol {
    /// The tag's ethertype.
    pub const fn ethertype(self) -> EtherType {
        match self {
            Self::Customer => EtherType::VLAN,
            Self::Service => EtherType::SERVICE_VLAN,
        }
    }

    /// The kind with this ethertype.
    #[inline]
    pub const fn of(ethertype: EtherType) -> Option<Self> {
        match ethertype {
            EtherType::VLAN => Some(Self::Customer),
            EtherType::SERVICE_VLAN => Some(Self::Service),
            _ => None,
        }
    }
}

impl fmt::Display for TagProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Customer => "802.1q",
            Self::Service => "802.1ad",
        })
    }
}

/// A tag without its priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    /// Its kind.
    pub protocol: TagProtocol,
    /// The VLAN, 1…4094.
    pub vlan: u16,
}

impl Tag {
    /// The VLANs that there are: 0 says "no VLAN", 4095 is reserved (802.1Q §9.6).
    pub const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;

    /// The four bytes as they stand in front of the next ethertype, with this priority and drop eligibility: the upper
    /// four bits of the second half-word.
    #[inline]
    pub const fn bytes(self, priority: u8) -> [u8; TAG_BYTES] {
        let [a, b] = self.protocol.ethertype().0.to_be_bytes();
        let [c, d] = self.vlan.to_be_bytes();
        [a, b, (priority << 4) | (c & 0x0f), d]
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.protocol, self.vlan)
    }
}

/// `100`, which is a customer tag, `802.1q:100`, `802.1ad:100`.
impl FromStr for Tag {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let (protocol, vlan) = match text.split_once(':') {
            None => (TagProtocol::Customer, text),
            Some(("802.1q" | "dot1q", vlan)) => (TagProtocol::Customer, vlan),
            Some(("802.1ad" | "dot1ad", vlan)) => (TagProtocol::Service, vlan),
            Some((other, _)) => bail!("`{other}` is no kind of VLAN tag; there are `802.1q` and `802.1ad`"),
        };
        match vlan.parse() {
            Ok(vlan) if Self::VLANS.contains(&vlan) => Ok(Self { protocol, vlan }),
            _ => bail!("`{vlan}` is no VLAN: they are numbered from 1 to 4094"),
        }
    }
}

/// The first tag of a frame: its kind, its control word (priority and VLAN), and the ethertype behind it. `None` if there
/// is none, or it is cut short.
#[inline]
pub fn first_tag(frame: &[u8]) -> Option<(TagProtocol, u16, EtherType)> {
    let bytes = frame.get(ADDRESSES..ADDRESSES + TAG_BYTES + 2)?;
    let half = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    Some((TagProtocol::of(EtherType(half(0)))?, half(2), EtherType(half(4))))
}

/// Takes the first `count` tags off a frame, without a look at them. `false`, and nothing done, if it is too short to
/// have so many. Checksum and GSO positions stay with their bytes.
#[inline]
pub fn take_tags(packet: &mut Packet<'_>, count: usize) -> bool {
    let length = count * TAG_BYTES;
    let bytes = packet.bytes_mut();
    if bytes.len() < ADDRESSES + length + 2 {
        return false;
    }
    bytes.copy_within(..ADDRESSES, length);
    packet.advance(length)
}

/// Puts tags behind a frame's addresses, the first one outermost. `false`, and nothing done, if it has no addresses or
/// the headroom is too small.
#[inline]
pub fn put_tags(packet: &mut Packet<'_>, tags: &[[u8; TAG_BYTES]]) -> bool {
    if packet.bytes().len() < ADDRESSES + 2 {
        return false;
    }
    if let [tag] = tags {
        return put_one(packet, *tag);
    }
    let length = tags.len() * TAG_BYTES;
    let Some(bytes) = packet.prepend(length) else { return false };
    bytes.copy_within(length..length + ADDRESSES, 0);
    for (room, tag) in bytes[ADDRESSES..].chunks_exact_mut(TAG_BYTES).zip(tags) {
        room.copy_from_slice(tag);
    }
    true
}

/// The usual case in moves of a length that the compiler knows.
#[inline(always)]
fn put_one(packet: &mut Packet<'_>, tag: [u8; TAG_BYTES]) -> bool {
    if packet.prepend_array::<TAG_BYTES>().is_none() {
        return false;
    }
    let Some(front) = packet.bytes_mut().first_chunk_mut::<{ TAG_BYTES + ADDRESSES }>() else { return false };
    let [.., a, b, c, d, e, f, g, h, i, j, k, l] = *front;
    let [m, n, o, p] = tag;
    *front = [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p];
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_written_as_people_say_them() {
        for (text, protocol, vlan) in [
            ("1", TagProtocol::Customer, 1),
            ("802.1q:4094", TagProtocol::Customer, 4094),
            ("802.1ad:100", TagProtocol::Service, 100),
            ("dot1ad:7", TagProtocol::Service, 7),
        ] {
            assert_eq!(text.parse::<Tag>().unwrap(), Tag { protocol, vlan }, "{text}");
        }
        for wrong in ["", "0", "4095", "70000", "x", "802.1x:1", "802.1q:", "-1"] {
            assert!(wrong.parse::<Tag>().is_err(), "{wrong}");
        }
    }

    // 802.1Q §9.6: PCP in the upper three bits, then DEI, then the VLAN.
    #[test]
    fn priority_and_vlan_share_the_control_word() {
        let tag = Tag { protocol: TagProtocol::Service, vlan: 0x123 };
        assert_eq!(tag.bytes(0b1011), [0x88, 0xa8, 0xb1, 0x23]);
        let mut frame = [0; 18];
        frame[12..16].copy_from_slice(&tag.bytes(0));
        frame[16..].copy_from_slice(&[8, 0]);
        assert_eq!(first_tag(&frame), Some((TagProtocol::Service, 0x123, EtherType::IP4)));
        assert_eq!(first_tag(&frame[..17]), None);
    }
}
