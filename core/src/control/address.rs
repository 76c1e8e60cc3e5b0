//! Addresses as operators write them: prefixes, interface addresses, hardware addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An address with a prefix length, `10.0.0.1/24` or `2001:db8::1/64`.
///
/// Host bits are kept: the same type names a network (where [`IpPrefix::has_host_bits`] is false) and an interface's
/// address within its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpPrefix {
    address: IpAddr,
    length: u8,
}

impl IpPrefix {
    /// Makes a prefix; `None` when `length` is more than the address has bits.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (length <= bits).then_some(IpPrefix { address, length })
    }

    /// The address, host bits included.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The prefix length in bits.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// The prefix with host bits cleared.
    pub fn network(&self) -> IpPrefix {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        IpPrefix { address, length: self.length }
    }

    /// Whether the address has bits set outside the prefix.
    pub fn has_host_bits(&self) -> bool {
        self.network() != *self
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for IpPrefix {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (address, length) =
            text.split_once('/').ok_or_else(|| AddressError::NoLength { text: text.to_owned() })?;
        let address: IpAddr =
            address.parse().map_err(|_| AddressError::NotIp { text: address.to_owned() })?;
        let limit = if address.is_ipv4() { 32 } else { 128 };
        let bad_length = || AddressError::BadLength { length: length.to_owned(), limit };
        // `u8::from_str` takes a leading plus sign, which no other tool does.
        if !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad_length());
        }
        let length = length.parse().map_err(|_| bad_length())?;
        IpPrefix::new(address, length).ok_or_else(bad_length)
    }
}

/// An Ethernet address, written `02:fe:00:00:00:01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError::NotMac { text: text.to_owned() };
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(error)?;
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() { Err(error()) } else { Ok(MacAddress(bytes)) }
    }
}

/// An IP address, written as usual.
///
/// The same as [`IpAddr`], with a message that quotes what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpAddress(pub IpAddr);

impl fmt::Display for IpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for IpAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        text.parse().map(IpAddress).map_err(|_| AddressError::NotIp { text: text.to_owned() })
    }
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The prefix length is not there.
    #[error("`{text}` has no prefix length; write ADDRESS/LENGTH, for example 10.0.0.1/24")]
    NoLength {
        /// What was written.
        text: String,
    },
    /// The part before the slash is no IP address.
    #[error("`{text}` is not an IP address")]
    NotIp {
        /// What was written.
        text: String,
    },
    /// The prefix length is no number, or too large.
    #[error("prefix length `{length}` is not a number from 0 to {limit}")]
    BadLength {
        /// What was written after the slash.
        length: String,
        /// The largest length of this address family.
        limit: u8,
    },
    /// The text is no Ethernet address.
    #[error("`{text}` is not a MAC address; write six hexadecimal bytes, for example 02:fe:00:00:00:01")]
    NotMac {
        /// What was written.
        text: String,
    },
}

/// Serializes as text, deserializes by [`FromStr`], and has the JSON schema of a string.
macro_rules! text_form {
    ($type:ty, $name:literal, $expecting:literal, $example:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $expecting, "examples": [$example] })
            }
        }
    };
}

text_form!(IpPrefix, "IpPrefix", "an address with a prefix length, as a string", "10.0.0.1/24");
text_form!(IpAddress, "IpAddress", "an IP address, as a string", "10.0.0.1");
text_form!(MacAddress, "MacAddress", "a MAC address, as a string", "02:fe:00:00:00:01");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixes_say_what_is_wrong_with_them() {
        let cases = [
            ("10.0.0.1", "`10.0.0.1` has no prefix length; write ADDRESS/LENGTH, for example 10.0.0.1/24"),
            ("10.0.0.256/24", "`10.0.0.256` is not an IP address"),
            ("10.0.0.1/33", "prefix length `33` is not a number from 0 to 32"),
            ("2001:db8::/129", "prefix length `129` is not a number from 0 to 128"),
            ("10.0.0.1/+8", "prefix length `+8` is not a number from 0 to 32"),
            ("10.0.0.1/", "prefix length `` is not a number from 0 to 32"),
            ("10.0.0.1/999", "prefix length `999` is not a number from 0 to 32"),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<IpPrefix>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn network_clears_host_bits() {
        for (text, network) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3/0", "0.0.0.0/0"),
            ("2001:db8::1/64", "2001:db8::/64"),
            ("::1/0", "::/0"),
        ] {
            let prefix: IpPrefix = text.parse().unwrap();
            assert!(prefix.has_host_bits());
            assert_eq!(prefix.network().to_string(), network);
            assert!(!prefix.network().has_host_bits());
        }
    }

    #[test]
    fn mac_addresses_are_six_pairs_of_digits() {
        assert_eq!("02:FE:00:00:00:0a".parse(), Ok(MacAddress([2, 0xfe, 0, 0, 0, 10])));
        for text in [
            "",
            "02:fe:00:00:00",
            "02:fe:00:00:00:01:02",
            "2:fe:0:0:0:1",
            "02-fe-00-00-00-01",
            "02:fe:00:00:00:+1",
        ] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_form_reads_back(address: IpAddr, length in 0u8..=128, mac: [u8; 6]) {
            let prefix = IpPrefix::new(address, if address.is_ipv4() { length % 33 } else { length }).unwrap();
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
            prop_assert_eq!(MacAddress(mac).to_string().parse(), Ok(MacAddress(mac)));
            prop_assert!(!prefix.network().has_host_bits());
        }
    }
}
