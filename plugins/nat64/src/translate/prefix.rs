//! IPv4 addresses within IPv6 prefixes (RFC 6052).

use std::fmt;
use std::str::FromStr;

use raddle_plugin_api::wire::{Ip4Address, Ip6Address, Ip6Prefix};

/// Why a prefix cannot be a NAT64 prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// RFC 6052 §2.2.
    #[error("a NAT64 prefix is 32, 40, 48, 56, 64 or 96 bits long (RFC 6052), not {0}")]
    Length(u8),
    /// RFC 6052 §2.2: bits 64 to 71 are zero.
    #[error("bits 64 to 71 of a NAT64 prefix are zero (RFC 6052), those of {0} are not")]
    Octet8(Ip6Prefix),
    /// No unicast addresses are there.
    #[error("{0} holds no unicast addresses")]
    NotUnicast(Ip6Prefix),
    /// Not a prefix at all.
    #[error(transparent)]
    Text(#[from] raddle_plugin_api::wire::PrefixError),
}

/// A prefix in which every IPv4 address has an IPv6 address (RFC 6052 §2.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Nat64Prefix {
    bits: u128,
    length: u8,
}

impl Nat64Prefix {
    /// `64:ff9b::/96` (RFC 6052 §2.1).
    pub const WELL_KNOWN: Self = Self { bits: 0x0064_ff9b << 96, length: 96 };

    /// A prefix of one of the six lengths.
    ///
    /// # Errors
    /// It has another length, or bits where none may be.
    pub fn new(prefix: Ip6Prefix) -> Result<Self, PrefixError> {
        let (network, length) = (prefix.network(), prefix.length());
        if !matches!(length, 32 | 40 | 48 | 56 | 64 | 96) {
            return Err(PrefixError::Length(length));
        }
        if network.octets()[8] != 0 {
            return Err(PrefixError::Octet8(prefix));
        }
        if !Ip6Address::from(network).is_valid_source() && !network.is_unspecified()
            || network.is_unspecified()
        {
            return Err(PrefixError::NotUnicast(prefix));
        }
        Ok(Self { bits: network.to_bits(), length })
    }

    /// As an ordinary prefix.
    pub fn to_prefix(self) -> Ip6Prefix {
        // The length is one of six, and no bits are behind it.
        Ip6Prefix::containing(self.bits.into(), self.length).unwrap_or(Ip6Prefix::DEFAULT)
    }

    /// Whether this is the well-known prefix.
    pub fn is_well_known(self) -> bool {
        self == Self::WELL_KNOWN
    }

    /// The network's address, and the mask of its bits.
    pub(crate) fn network_and_mask(self) -> (Ip6Address, Ip6Address) {
        let mask = u128::MAX << (128 - u32::from(self.length));
        (Ip6Address::from_bits(self.bits), Ip6Address::from_bits(mask))
    }

    /// Whether an address is within the prefix.
    #[inline(always)]
    pub fn contains(self, address: Ip6Address) -> bool {
        (address.to_bits() ^ self.bits) >> (128 - u32::from(self.length)) == 0
    }

    /// The IPv6 address of an IPv4 address (RFC 6052 §2.3).
    #[inline(always)]
    pub fn embed(self, address: Ip4Address) -> Ip6Address {
        let value = u128::from(address.to_bits());
        let bits = match self.length {
            96 => value,
            64 => value << 24,
            length => {
                // The IPv4 address goes around octet 8: so many of its bits are in front of it.
                let front = 64 - u32::from(length);
                let (high, low) = (value >> (32 - front), value & ((1 << (32 - front)) - 1));
                high << 64 | low << (56 - (32 - front))
            }
        };
        Ip6Address::from_bits(self.bits | bits)
    }

    /// The IPv4 address in an IPv6 address of this prefix; bits that should be zero are not looked at (RFC 6052 §2.3).
    #[inline(always)]
    pub fn extract(self, address: Ip6Address) -> Ip4Address {
        let bits = address.to_bits();
        let value = match self.length {
            96 => bits as u32,
            64 => (bits >> 24) as u32,
            length => {
                let front = 64 - u32::from(length);
                let back = 32 - front;
                let high = (bits >> 64) as u64 & ((1 << front) - 1);
                let low = (bits >> (56 - back)) as u64 & ((1 << back) - 1);
                (high << back | low) as u32
            }
        };
        Ip4Address::from_bits(value)
    }
}

impl FromStr for Nat64Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text.parse()?)
    }
}

impl fmt::Display for Nat64Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_prefix().fmt(f)
    }
}

/// Whether an IPv4 address is one that the well-known prefix must not stand for, as it is not global (RFC 6052 §3.1). Blocks
/// for documentation and benchmarks (RFC 5737, RFC 2544) are let pass: nothing real is there, and examples would not run.
pub fn is_non_global(address: Ip4Address) -> bool {
    matches!(
        address.0,
        [0 | 10 | 127 | 240..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0, _]
            | [192, 168, ..]
    )
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    /// RFC 6052 §2.4, tables 2 and 3.
    #[test]
    fn embeds_the_examples_of_rfc_6052() {
        for (prefix, expected) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
            ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
        ] {
            let prefix: Nat64Prefix = prefix.parse().unwrap();
            let four = Ip4Address::from(Ipv4Addr::new(192, 0, 2, 33));
            let six = Ip6Address::from(expected.parse::<Ipv6Addr>().unwrap());
            assert_eq!(prefix.embed(four), six, "{prefix}");
            assert_eq!(prefix.extract(six), four, "{prefix}");
            assert!(prefix.contains(six));
        }
    }

    #[test]
    fn refuses_what_is_no_nat64_prefix() {
        for (text, part) in [
            ("2001:db8::/33", "32, 40, 48, 56, 64 or 96"),
            ("2001:db8:0:0:100::/96", "bits 64 to 71"),
            ("ff00::/32", "unicast"),
            ("::/96", "unicast"),
            ("nonsense", "no length"),
        ] {
            let error = text.parse::<Nat64Prefix>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn private_addresses_are_not_global() {
        for (address, expected) in [
            ([10, 1, 2, 3], true),
            ([100, 64, 0, 1], true),
            ([172, 31, 0, 1], true),
            ([172, 32, 0, 1], false),
            ([8, 8, 8, 8], false),
            ([192, 0, 2, 1], false),
        ] {
            assert_eq!(is_non_global(Ip4Address(address)), expected, "{address:?}");
        }
    }

    proptest! {
        #[test]
        fn extracting_gives_back_what_was_embedded(bits: u128, four: u32, at in 0_usize..6) {
            let length = [32, 40, 48, 56, 64, 96][at];
            let network = Ipv6Addr::from_bits(bits & !(0xff << 56) & (u128::MAX >> 3) | 1 << 125);
            let prefix = Nat64Prefix::new(Ip6Prefix::containing(network, length).unwrap()).unwrap();
            let six = prefix.embed(Ip4Address::from_bits(four));
            prop_assert_eq!(prefix.extract(six).to_bits(), four);
            prop_assert!(prefix.contains(six));
            prop_assert_eq!(six.0[8] , if length == 96 { prefix.to_prefix().network().octets()[8] } else { 0 });
        }
    }
}
