//! Prefixes and interface addresses: an address with a length, in text `a.b.c.d/len` or `x::y/len`.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text or a pair of address and length is not a prefix.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PrefixError {
    /// No `/length`.
    #[error("\"{text}\" has no length, expected address/length as in {example}")]
    NoLength {
        /// What was given.
        text: String,
        /// A good one of that kind.
        example: &'static str,
    },
    /// The part before the `/` is not an address of the wanted family.
    #[error("\"{text}\" is not an {family} address")]
    Address {
        /// What stands before the `/`.
        text: String,
        /// What was wanted: `IPv4`, `IPv6` or `IP`.
        family: &'static str,
    },
    /// The part behind the `/` is not a number.
    #[error("prefix length \"{text}\" is not a number from 0 to {max}")]
    LengthText {
        /// What stands behind the `/`.
        text: String,
        /// The longest that the family allows.
        max: u8,
    },
    /// The length is longer than the address.
    #[error("prefix length {length} is beyond {max}")]
    LengthRange {
        /// What was given.
        length: u8,
        /// The longest that the family allows.
        max: u8,
    },
    /// The address has bits set behind the prefix.
    #[error("{address}/{length} has host bits set, the network is {network}/{length}")]
    HostBits {
        /// What was given.
        address: IpAddr,
        /// Its length.
        length: u8,
        /// The same address with the host bits cleared.
        network: IpAddr,
    },
}

macro_rules! prefix {
    ($name:ident, $address:ident, $bits:ty, $max:literal, $family:literal, $example:literal, $variant:ident) => {
        impl $name {
            /// The longest prefix: one address.
            pub const MAX_LENGTH: u8 = $max;
            /// Every address, `/0`.
            pub const DEFAULT: Self = Self { network: $address::UNSPECIFIED, length: 0 };

            /// A prefix from its network address and length in bits.
            ///
            /// # Errors
            /// When the length is out of range or the address has host bits set.
            pub fn new(network: $address, length: u8) -> Result<Self, PrefixError> {
                let prefix = Self::containing(network, length)?;
                if prefix.network != network {
                    return Err(PrefixError::HostBits {
                        address: network.into(),
                        length,
                        network: prefix.network.into(),
                    });
                }
                Ok(prefix)
            }

            /// The prefix of that length around an address: host bits are cleared.
            ///
            /// # Errors
            /// When the length is out of range.
            pub const fn containing(address: $address, length: u8) -> Result<Self, PrefixError> {
                if length > $max {
                    return Err(PrefixError::LengthRange { length, max: $max });
                }
                let network = $address::from_bits(address.to_bits() & Self::mask_bits(length));
                Ok(Self { network, length })
            }

            /// The prefix of one address.
            pub const fn host(address: $address) -> Self {
                Self { network: address, length: $max }
            }

            /// The first address; its host bits are zero.
            #[inline]
            pub const fn network(self) -> $address {
                self.network
            }

            /// Length in bits.
            #[inline]
            pub const fn length(self) -> u8 {
                self.length
            }

            /// The length as a mask, in host order when taken as a number.
            #[inline]
            pub const fn mask(self) -> $address {
                $address::from_bits(Self::mask_bits(self.length))
            }

            /// The last address; for IPv4 up to `/30` that is the directed broadcast address.
            #[inline]
            pub const fn last(self) -> $address {
                $address::from_bits(self.network.to_bits() | !Self::mask_bits(self.length))
            }

            /// Whether the address lies in the prefix.
            #[inline]
            pub const fn contains(self, address: $address) -> bool {
                address.to_bits() & Self::mask_bits(self.length) == self.network.to_bits()
            }

            /// Whether the other prefix lies in this one; a prefix covers itself.
            #[inline]
            pub const fn covers(self, other: Self) -> bool {
                self.length <= other.length && self.contains(other.network)
            }

            #[inline]
            const fn mask_bits(length: u8) -> $bits {
                if length == 0 { 0 } else { <$bits>::MAX << ($max - length) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{}/{}", self.network, self.length))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = PrefixError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let (address, length) = split(text, $example)?;
                let address = address
                    .parse()
                    .map_err(|_| PrefixError::Address { text: address.into(), family: $family })?;
                Self::new(address, parse_length(length, $max)?)
            }
        }

        impl From<$name> for IpPrefix {
            fn from(prefix: $name) -> Self {
                Self::$variant(prefix)
            }
        }
    };
}

/// An IPv4 prefix; host bits are zero by construction. Ordered by network, then length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ip4Prefix {
    network: Ipv4Addr,
    length: u8,
}

prefix!(Ip4Prefix, Ipv4Addr, u32, 32, "IPv4", "10.0.0.0/8", V4);
string_form!(Ip4Prefix, "Ip4Prefix", "an IPv4 prefix, as 10.0.0.0/8", "^[0-9.]+/[0-9]+$");

/// An IPv6 prefix; host bits are zero by construction. Ordered by network, then length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ip6Prefix {
    network: Ipv6Addr,
    length: u8,
}

prefix!(Ip6Prefix, Ipv6Addr, u128, 128, "IPv6", "2001:db8::/32", V6);
string_form!(Ip6Prefix, "Ip6Prefix", "an IPv6 prefix, as 2001:db8::/32", "^[0-9a-fA-F:.]+/[0-9]+$");

/// A prefix of either family. IPv4 sorts before IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpPrefix {
    /// IPv4.
    V4(Ip4Prefix),
    /// IPv6.
    V6(Ip6Prefix),
}

impl IpPrefix {
    /// A prefix from its network address and length in bits.
    ///
    /// # Errors
    /// When the length is out of range or the address has host bits set.
    pub fn new(network: IpAddr, length: u8) -> Result<Self, PrefixError> {
        match network {
            IpAddr::V4(network) => Ip4Prefix::new(network, length).map(Self::V4),
            IpAddr::V6(network) => Ip6Prefix::new(network, length).map(Self::V6),
        }
    }

    /// The prefix of that length around an address: host bits are cleared.
    ///
    /// # Errors
    /// When the length is out of range.
    pub fn containing(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        match address {
            IpAddr::V4(address) => Ip4Prefix::containing(address, length).map(Self::V4),
            IpAddr::V6(address) => Ip6Prefix::containing(address, length).map(Self::V6),
        }
    }

    /// The prefix of one address.
    pub const fn host(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(Ip4Prefix::host(address)),
            IpAddr::V6(address) => Self::V6(Ip6Prefix::host(address)),
        }
    }

    /// The first address; its host bits are zero.
    pub const fn network(self) -> IpAddr {
        match self {
            Self::V4(prefix) => IpAddr::V4(prefix.network),
            Self::V6(prefix) => IpAddr::V6(prefix.network),
        }
    }

    /// Length in bits.
    pub const fn length(self) -> u8 {
        match self {
            Self::V4(prefix) => prefix.length,
            Self::V6(prefix) => prefix.length,
        }
    }

    /// Whether the address is of this family and lies in the prefix.
    pub const fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(prefix), IpAddr::V4(address)) => prefix.contains(address),
            (Self::V6(prefix), IpAddr::V6(address)) => prefix.contains(address),
            _ => false,
        }
    }

    /// Whether the other prefix is of this family and lies in this one; a prefix covers itself.
    pub const fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::V4(prefix), Self::V4(other)) => prefix.covers(other),
            (Self::V6(prefix), Self::V6(other)) => prefix.covers(other),
            _ => false,
        }
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(prefix) => prefix.fmt(f),
            Self::V6(prefix) => prefix.fmt(f),
        }
    }
}

impl fmt::Debug for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for IpPrefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, length) = parse_either(text)?;
        Self::new(address, length)
    }
}

string_form!(
    IpPrefix,
    "IpPrefix",
    "an IPv4 or IPv6 prefix, as 10.0.0.0/8 or 2001:db8::/32",
    "^[0-9a-fA-F:.]+/[0-9]+$"
);

/// An interface's address with the length of the prefix that it is on; the host bits are the address's own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceAddress {
    address: IpAddr,
    length: u8,
}

impl InterfaceAddress {
    /// An address on a prefix of that length in bits.
    ///
    /// # Errors
    /// When the length is out of range.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        IpPrefix::containing(address, length)?;
        Ok(Self { address, length })
    }

    /// The address itself.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Length in bits of the prefix that it is on.
    pub const fn length(self) -> u8 {
        self.length
    }

    /// The prefix that it is on, host bits cleared.
    pub fn prefix(self) -> IpPrefix {
        match self.address {
            IpAddr::V4(address) => {
                let mask = Ip4Prefix::mask_bits(self.length);
                IpPrefix::V4(Ip4Prefix {
                    network: Ipv4Addr::from_bits(address.to_bits() & mask),
                    length: self.length,
                })
            }
            IpAddr::V6(address) => {
                let mask = Ip6Prefix::mask_bits(self.length);
                IpPrefix::V6(Ip6Prefix {
                    network: Ipv6Addr::from_bits(address.to_bits() & mask),
                    length: self.length,
                })
            }
        }
    }

    /// The address by which hosts reach any router of the network: its first one (RFC 4291 §2.6.1). None where the address
    /// itself is that one, of a network of one or two (RFC 6164 §5), of a link-local network, which every link has, and of
    /// IPv4.
    pub fn subnet_router_anycast(self) -> Option<Ipv6Addr> {
        match self.prefix() {
            IpPrefix::V6(Ip6Prefix { network, length })
                if length < 127
                    && self.address != IpAddr::V6(network)
                    && !network.is_unicast_link_local() =>
            {
                Some(network)
            }
            _ => None,
        }
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.address, self.length))
    }
}

impl fmt::Debug for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for InterfaceAddress {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, length) = parse_either(text)?;
        Self::new(address, length)
    }
}

string_form!(
    InterfaceAddress,
    "InterfaceAddress",
    "an address with its prefix length, as 192.0.2.1/24 or 2001:db8::1/64",
    "^[0-9a-fA-F:.]+/[0-9]+$"
);

fn parse_either(text: &str) -> Result<(IpAddr, u8), PrefixError> {
    let (address, length) = split(text, "192.0.2.0/24 or 2001:db8::/32")?;
    let address: IpAddr =
        address.parse().map_err(|_| PrefixError::Address { text: address.into(), family: "IP" })?;
    let max = if address.is_ipv4() { Ip4Prefix::MAX_LENGTH } else { Ip6Prefix::MAX_LENGTH };
    Ok((address, parse_length(length, max)?))
}

fn split<'a>(text: &'a str, example: &'static str) -> Result<(&'a str, &'a str), PrefixError> {
    text.split_once('/').ok_or_else(|| PrefixError::NoLength { text: text.into(), example })
}

fn parse_length(text: &str, max: u8) -> Result<u8, PrefixError> {
    let digits = text.bytes().all(|digit| digit.is_ascii_digit());
    let length = text.parse().ok().filter(|length| digits && *length <= max);
    length.ok_or_else(|| PrefixError::LengthText { text: text.into(), max })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // RFC 4291 §2.6.1, RFC 6164 §5
    #[test]
    fn networks_of_three_and_more_have_a_subnet_router_anycast_address() {
        for (address, anycast) in [
            ("2001:db8:a::1/64", Some("2001:db8:a::")),
            ("2001:db8:a::5/126", Some("2001:db8:a::4")),
            ("2001:db8:a::5/127", None),
            ("2001:db8:a::5/128", None),
            ("2001:db8:a::/64", None),
            ("fe80::1/64", None),
            ("192.0.2.1/24", None),
        ] {
            let address: InterfaceAddress = address.parse().unwrap();
            assert_eq!(
                address.subnet_router_anycast(),
                anycast.map(|text| text.parse().unwrap()),
                "{address}"
            );
        }
    }

    #[test]
    fn prefix_errors_name_the_fact() {
        for (text, message) in [
            ("10.0.0.0", "\"10.0.0.0\" has no length, expected address/length as in 10.0.0.0/8"),
            ("10.0.0/8", "\"10.0.0\" is not an IPv4 address"),
            ("2001:db8::/32", "\"2001:db8::\" is not an IPv4 address"),
            ("10.0.0.0/33", "prefix length \"33\" is not a number from 0 to 32"),
            ("10.0.0.0/", "prefix length \"\" is not a number from 0 to 32"),
            ("10.0.0.0/+8", "prefix length \"+8\" is not a number from 0 to 32"),
            ("10.0.0.1/8", "10.0.0.1/8 has host bits set, the network is 10.0.0.0/8"),
        ] {
            assert_eq!(text.parse::<Ip4Prefix>().unwrap_err().to_string(), message);
        }
        let error = "2001:db8::1/64".parse::<Ip6Prefix>().unwrap_err().to_string();
        assert_eq!(error, "2001:db8::1/64 has host bits set, the network is 2001:db8::/64");
        let error = "x/8".parse::<IpPrefix>().unwrap_err().to_string();
        assert_eq!(error, "\"x\" is not an IP address");
        assert_eq!(
            Ip4Prefix::containing(Ipv4Addr::UNSPECIFIED, 40).unwrap_err().to_string(),
            "prefix length 40 is beyond 32"
        );
    }

    #[test]
    fn default_prefix_contains_everything_and_host_only_itself() {
        let all: Ip4Prefix = "0.0.0.0/0".parse().unwrap();
        assert_eq!(all, Ip4Prefix::DEFAULT);
        assert!(all.contains(Ipv4Addr::BROADCAST) && all.last() == Ipv4Addr::BROADCAST);
        let host = Ip6Prefix::host(Ipv6Addr::LOCALHOST);
        assert!(host.contains(Ipv6Addr::LOCALHOST) && !host.contains(Ipv6Addr::UNSPECIFIED));
        assert!(Ip6Prefix::DEFAULT.covers(host) && !host.covers(Ip6Prefix::DEFAULT));
        assert_eq!("10.1.0.0/16".parse::<Ip4Prefix>().unwrap().mask(), Ipv4Addr::new(255, 255, 0, 0));
    }

    #[test]
    fn interface_address_keeps_its_host_bits() {
        let address: InterfaceAddress = serde_json::from_str("\"192.0.2.17/24\"").unwrap();
        assert_eq!(address.to_string(), "192.0.2.17/24");
        assert_eq!(address.prefix().to_string(), "192.0.2.0/24");
        assert!("192.0.2.17".parse::<InterfaceAddress>().is_err());
        assert!(InterfaceAddress::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 33).is_err());
    }

    #[test]
    fn families_never_contain_each_other() {
        let v4: IpPrefix = "0.0.0.0/0".parse().unwrap();
        let v6: IpPrefix = "::/0".parse().unwrap();
        assert!(!v4.contains(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) && !v6.covers(v4));
        assert_eq!(format!("{v4:>12}|{v6:<6}|"), "   0.0.0.0/0|::/0  |");
    }

    proptest! {
        #[test]
        fn prefix_text_round_trips(bits: u128, length in 0u8..=128, v4: bool) {
            let prefix = if v4 {
                IpPrefix::containing(Ipv4Addr::from_bits(bits as u32).into(), length.min(32)).unwrap()
            } else {
                IpPrefix::containing(Ipv6Addr::from_bits(bits).into(), length).unwrap()
            };
            prop_assert_eq!(prefix.to_string().parse::<IpPrefix>().unwrap(), prefix);
            let json = serde_json::to_string(&prefix).unwrap();
            prop_assert_eq!(serde_json::from_str::<IpPrefix>(&json).unwrap(), prefix);
        }

        #[test]
        fn contains_agrees_with_the_ends(network: u32, length in 0u8..=32, address: u32) {
            let prefix = Ip4Prefix::containing(Ipv4Addr::from_bits(network), length).unwrap();
            let address = Ipv4Addr::from_bits(address);
            prop_assert_eq!(prefix.contains(address), prefix.network() <= address && address <= prefix.last());
        }
    }
}
