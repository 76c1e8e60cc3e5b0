//! Addresses as they lie in headers: MAC, IPv4, IPv6, each without alignment and in network order.
//!
//! The control plane speaks `std::net` addresses; these convert to and from them for free.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An Ethernet address. Text form `02:00:5e:10:00:01`, in lower case; `-` is read as `:`.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct MacAddress(pub [u8; 6]);

/// Why a text is not a MAC address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MacAddressError {
    /// Not six groups.
    #[error("mac address \"{text}\" has {groups} groups, expected 6 as in 02:00:00:00:00:01")]
    GroupCount {
        /// What was given.
        text: String,
        /// How many groups it has.
        groups: usize,
    },
    /// A group that is not two hexadecimal digits.
    #[error("mac address \"{text}\": group {position} is \"{group}\", expected two hexadecimal digits")]
    Group {
        /// What was given.
        text: String,
        /// Which group, from 1.
        position: usize,
        /// The group.
        group: String,
    },
}

impl MacAddress {
    /// All ones: every station.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// All zeros, which no station has.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether the group bit is set: multicast and broadcast.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether this is the all-ones address.
    #[inline]
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// Whether a station may have this address: neither multicast nor zero.
    #[inline]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::ZERO
    }

    /// Whether the address was made up locally (the U/L bit), not assigned by a vendor.
    #[inline]
    pub const fn is_local(self) -> bool {
        self.0[0] & 2 != 0
    }

    /// Where an IPv4 multicast group is sent: 01:00:5e and its low 23 bits (RFC 1112 §6.4).
    #[inline]
    pub const fn from_ip4_multicast(group: Ipv4Addr) -> Self {
        let [_, b, c, d] = group.octets();
        Self([0x01, 0x00, 0x5e, b & 0x7f, c, d])
    }

    /// Where an IPv6 multicast group is sent: 33:33 and its low 32 bits (RFC 2464 §7).
    #[inline]
    pub const fn from_ip6_multicast(group: Ipv6Addr) -> Self {
        let [.., a, b, c, d] = group.octets();
        Self([0x33, 0x33, a, b, c, d])
    }

    /// The modified EUI-64 interface identifier (RFC 4291 appendix A).
    #[inline]
    pub const fn interface_identifier(self) -> [u8; 8] {
        let [a, b, c, d, e, f] = self.0;
        [a ^ 2, b, c, 0xff, 0xfe, d, e, f]
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let groups = text.split([':', '-']).count();
        if groups != 6 {
            return Err(MacAddressError::GroupCount { text: text.into(), groups });
        }
        let mut bytes = [0; 6];
        for (position, (byte, group)) in bytes.iter_mut().zip(text.split([':', '-'])).enumerate() {
            let digits = group.len() == 2 && group.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(group, 16).ok().filter(|_| digits).ok_or_else(|| {
                MacAddressError::Group { text: text.into(), position: position + 1, group: group.into() }
            })?;
        }
        Ok(Self(bytes))
    }
}

string_form!(
    MacAddress,
    "MacAddress",
    "an Ethernet address, as 02:00:00:00:00:01",
    "^([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}$"
);

/// An IPv4 address inside a header.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct Ip4Address(pub [u8; 4]);

impl Ip4Address {
    /// 0.0.0.0.
    pub const UNSPECIFIED: Self = Self([0; 4]);
    /// 255.255.255.255.
    pub const BROADCAST: Self = Self([255; 4]);

    /// As a number in host order: what a prefix table looks up.
    #[inline]
    pub const fn to_bits(self) -> u32 {
        u32::from_be_bytes(self.0)
    }

    /// From a number in host order.
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits.to_be_bytes())
    }

    /// As the standard library's type.
    #[inline]
    pub const fn to_std(self) -> Ipv4Addr {
        Ipv4Addr::from_octets(self.0)
    }

    /// 224.0.0.0/4.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 0xf0 == 0xe0
    }

    /// 127.0.0.0/8.
    #[inline]
    pub const fn is_loopback(self) -> bool {
        self.0[0] == 127
    }

    /// 169.254.0.0/16 (RFC 3927).
    #[inline]
    pub const fn is_link_local(self) -> bool {
        self.0[0] == 169 && self.0[1] == 254
    }

    /// Whether a router may take it as the source of a packet to forward: not 0/8, 127/8, multicast, class E
    /// or broadcast (RFC 1812 §5.3.7).
    #[inline]
    pub const fn is_valid_source(self) -> bool {
        self.0[0] < 224 && self.0[0] != 0 && self.0[0] != 127
    }
}

impl From<Ipv4Addr> for Ip4Address {
    #[inline]
    fn from(address: Ipv4Addr) -> Self {
        Self(address.octets())
    }
}

impl From<Ip4Address> for Ipv4Addr {
    #[inline]
    fn from(address: Ip4Address) -> Self {
        address.to_std()
    }
}

impl fmt::Display for Ip4Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_std(), f)
    }
}

impl fmt::Debug for Ip4Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An IPv6 address inside a header.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct Ip6Address(pub [u8; 16]);

impl Ip6Address {
    /// `::`.
    pub const UNSPECIFIED: Self = Self([0; 16]);
    /// `::1`.
    pub const LOOPBACK: Self = Self::from_bits(1);
    /// `ff02::1`, every node on the link.
    pub const ALL_NODES: Self = Self::from_bits(0xff02_0000_0000_0000_0000_0000_0000_0001);
    /// `ff02::2`, every router on the link.
    pub const ALL_ROUTERS: Self = Self::from_bits(0xff02_0000_0000_0000_0000_0000_0000_0002);

    /// As a number in host order: what a prefix table looks up.
    #[inline]
    pub const fn to_bits(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// From a number in host order.
    #[inline]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits.to_be_bytes())
    }

    /// The first 64 bits in host order: the subnet's, usually.
    #[inline]
    pub const fn high(self) -> u64 {
        (self.to_bits() >> 64) as u64
    }

    /// The last 64 bits in host order: the interface identifier, usually.
    #[inline]
    pub const fn low(self) -> u64 {
        self.to_bits() as u64
    }

    /// As the standard library's type.
    #[inline]
    pub const fn to_std(self) -> Ipv6Addr {
        Ipv6Addr::from_octets(self.0)
    }

    /// `::`.
    #[inline]
    pub const fn is_unspecified(self) -> bool {
        self.to_bits() == 0
    }

    /// `::1`.
    #[inline]
    pub const fn is_loopback(self) -> bool {
        self.to_bits() == 1
    }

    /// `ff00::/8` (RFC 4291 §2.7).
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] == 0xff
    }

    /// `fe80::/10` (RFC 4291 §2.5.6).
    #[inline]
    pub const fn is_link_local(self) -> bool {
        self.0[0] == 0xfe && self.0[1] & 0xc0 == 0x80
    }

    /// A multicast group that does not leave its link: scope 1 (interface) or 2 (link) (RFC 4291 §2.7).
    #[inline]
    pub const fn is_link_scope_multicast(self) -> bool {
        self.is_multicast() && matches!(self.0[1] & 0xf, 1 | 2)
    }

    /// `ff02::1:ff00:0/104` (RFC 4291 §2.7.1).
    #[inline]
    pub const fn is_solicited_node(self) -> bool {
        self.to_bits() >> 24 == SOLICITED_NODE >> 24
    }

    /// The group on which the owner of this address hears neighbour solicitations (RFC 4291 §2.7.1).
    #[inline]
    pub const fn solicited_node(self) -> Self {
        Self::from_bits(SOLICITED_NODE | (self.to_bits() & 0xff_ffff))
    }

    /// Whether a router may take it as the source of a packet to forward: not unspecified, loopback,
    /// multicast or link-local (RFC 4291 §2.5.2, §2.5.3, §2.5.6, §2.7).
    #[inline]
    pub const fn is_valid_source(self) -> bool {
        !self.is_multicast() && !self.is_link_local() && self.to_bits() > 1
    }

    /// `fe80::/64` with the interface identifier that the MAC address gives (RFC 4291 §2.5.6, appendix A).
    #[inline]
    pub const fn link_local_from_mac(mac: MacAddress) -> Self {
        Self::from_bits((0xfe80 << 112) | u64::from_be_bytes(mac.interface_identifier()) as u128)
    }
}

const SOLICITED_NODE: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;

impl From<Ipv6Addr> for Ip6Address {
    #[inline]
    fn from(address: Ipv6Addr) -> Self {
        Self(address.octets())
    }
}

impl From<Ip6Address> for Ipv6Addr {
    #[inline]
    fn from(address: Ip6Address) -> Self {
        address.to_std()
    }
}

impl fmt::Display for Ip6Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_std(), f)
    }
}

impl fmt::Debug for Ip6Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
