//! What routers tell hosts besides prefixes: route information (RFC 4191), DNS servers and search lists (RFC 8106), the prefix of
//! a translator (RFC 8781).

use super::{Ip6Address, Ip6Prefix};

/// Options of neighbour discovery that routers send.
pub(super) const ROUTE_INFORMATION: u8 = 24;
pub(super) const RDNSS: u8 = 25;
pub(super) const DNSSL: u8 = 31;
pub(super) const PREF64: u8 = 38;

/// The longest domain name on the wire (RFC 1035 §2.3.4).
const MAX_NAME_BYTES: usize = 255;
const MAX_LABEL_BYTES: usize = 63;

/// How much a router, or a route by it, is preferred (RFC 4191 §2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RouterPreference {
    /// Used if there is no other.
    Low,
    /// As routers that do not say.
    #[default]
    Medium,
    /// Used before others.
    High,
}

impl RouterPreference {
    /// From the two bits; `None`: the reserved value, by which a route is to be ignored and a router counts as medium.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits & 3 {
            0 => Some(Self::Medium),
            1 => Some(Self::High),
            3 => Some(Self::Low),
            _ => None,
        }
    }

    /// The two bits.
    pub const fn to_bits(self) -> u8 {
        match self {
            Self::Medium => 0,
            Self::High => 1,
            Self::Low => 3,
        }
    }
}

/// A route that hosts are told of (RFC 4191 §2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NdRoute {
    /// Where it leads.
    pub prefix: Ip6Prefix,
    /// How much it is preferred.
    pub preference: RouterPreference,
    /// How long it is valid, in seconds; `u32::MAX`: without end.
    pub lifetime_seconds: u32,
}

impl NdRoute {
    /// Reads what is behind the option's length byte. `None`: it is to be ignored.
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        let (&[length, flags, a, b, c, d], rest) = data.split_first_chunk()?;
        let needed = match length {
            0 => 0,
            1..=64 => 8,
            65..=128 => 16,
            _ => return None,
        };
        let mut bytes = [0; 16];
        let present = rest.len().min(16);
        if present < needed {
            return None;
        }
        bytes[..present].copy_from_slice(&rest[..present]);
        Some(Self {
            prefix: Ip6Prefix::containing(Ip6Address(bytes).to_std(), length).ok()?,
            preference: RouterPreference::from_bits(flags >> 3)?,
            lifetime_seconds: u32::from_be_bytes([a, b, c, d]),
        })
    }

    /// The option's bytes, and how many of them it has.
    pub(super) fn write(&self) -> ([u8; 24], usize) {
        let length = self.prefix.length();
        let bytes = match length {
            0 => 8,
            1..=64 => 16,
            _ => 24,
        };
        let mut out = [0; 24];
        out[..4].copy_from_slice(&[
            ROUTE_INFORMATION,
            bytes as u8 / 8,
            length,
            self.preference.to_bits() << 3,
        ]);
        out[4..8].copy_from_slice(&self.lifetime_seconds.to_be_bytes());
        out[8..].copy_from_slice(&self.prefix.network().octets());
        (out, bytes)
    }
}

/// The prefix by which a translator reaches IPv4 (RFC 8781).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NdPref64 {
    prefix: Ip6Prefix,
    lifetime_seconds: u16,
}

impl NdPref64 {
    /// The lengths that a prefix may have, by their code (RFC 8781 §4).
    pub const LENGTHS: [u8; 6] = [96, 64, 56, 48, 40, 32];
    /// The longest lifetime in seconds: 13 bits of 8 seconds each.
    pub const MAX_LIFETIME_SECONDS: u16 = 8191 * 8;

    /// A prefix of one of [`Self::LENGTHS`]; the lifetime is rounded up to a multiple of 8 seconds, within the longest. `None`
    /// with another length.
    pub fn new(prefix: Ip6Prefix, lifetime_seconds: u16) -> Option<Self> {
        let lifetime = lifetime_seconds.min(Self::MAX_LIFETIME_SECONDS).next_multiple_of(8);
        Self::LENGTHS.contains(&prefix.length()).then_some(Self { prefix, lifetime_seconds: lifetime })
    }

    /// The prefix.
    pub const fn prefix(&self) -> Ip6Prefix {
        self.prefix
    }

    /// How long it is valid, in seconds.
    pub const fn lifetime_seconds(&self) -> u16 {
        self.lifetime_seconds
    }

    /// Reads what is behind the option's length byte. `None`: it is to be ignored.
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        let (&scaled, rest) = data.split_first_chunk::<2>()?;
        let scaled = u16::from_be_bytes(scaled);
        let length = *Self::LENGTHS.get(usize::from(scaled & 7))?;
        let high: &[u8; 12] = rest.try_into().ok()?;
        let mut bytes = [0; 16];
        bytes[..12].copy_from_slice(high);
        let prefix = Ip6Prefix::containing(Ip6Address(bytes).to_std(), length).ok()?;
        Some(Self { prefix, lifetime_seconds: (scaled >> 3) * 8 })
    }

    /// The option's bytes.
    pub(super) fn write(&self) -> [u8; 16] {
        let code = Self::LENGTHS.iter().position(|length| *length == self.prefix.length());
        // The length is one of them, and its code has three bits.
        let scaled = ((self.lifetime_seconds / 8) << 3) | code.unwrap_or(0) as u16;
        let mut out = [0; 16];
        out[..2].copy_from_slice(&[PREF64, 2]);
        out[2..4].copy_from_slice(&scaled.to_be_bytes());
        out[4..].copy_from_slice(&self.prefix.network().octets()[..12]);
        out
    }
}

/// Recursive DNS servers (RFC 8106 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NdDnsServers<'a> {
    /// How long they may be used, in seconds; `u32::MAX`: without end.
    pub lifetime_seconds: u32,
    addresses: &'a [u8],
}

impl<'a> NdDnsServers<'a> {
    /// Reads what is behind the option's length byte. `None`: it is to be ignored.
    pub(super) fn read(data: &'a [u8]) -> Option<Self> {
        let (&[_, _, a, b, c, d], addresses) = data.split_first_chunk()?;
        let whole = !addresses.is_empty() && addresses.len() % 16 == 0;
        whole.then_some(Self { lifetime_seconds: u32::from_be_bytes([a, b, c, d]), addresses })
    }

    /// Their addresses.
    pub fn addresses(&self) -> impl Iterator<Item = Ip6Address> + 'a {
        self.addresses.chunks_exact(16).filter_map(|bytes| Some(Ip6Address(bytes.try_into().ok()?)))
    }
}

/// A DNS search list (RFC 8106 §5.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NdSearchList<'a> {
    /// How long it may be used, in seconds; `u32::MAX`: without end.
    pub lifetime_seconds: u32,
    names: &'a [u8],
}

impl<'a> NdSearchList<'a> {
    /// Reads what is behind the option's length byte. `None`: it is to be ignored.
    pub(super) fn read(data: &'a [u8]) -> Option<Self> {
        let (&[_, _, a, b, c, d], names) = data.split_first_chunk()?;
        (!names.is_empty()).then_some(Self { lifetime_seconds: u32::from_be_bytes([a, b, c, d]), names })
    }

    /// The names in text, without the final dot; ends at the first that is malformed (compressed, too long, not ASCII).
    pub fn names(&self) -> impl Iterator<Item = String> + 'a {
        let mut rest = self.names;
        std::iter::from_fn(move || {
            let (name, behind) = read_name(rest)?;
            rest = behind;
            Some(name)
        })
    }
}

/// One name, and what is behind it; `None` at the padding, or where it is malformed.
fn read_name(mut bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut name = String::new();
    loop {
        let (&length, rest) = bytes.split_first()?;
        if length == 0 {
            return (!name.is_empty()).then_some((name, rest));
        }
        let (label, rest) = rest.split_at_checked(length.into())?;
        let plain = usize::from(length) <= MAX_LABEL_BYTES && label.iter().all(u8::is_ascii_graphic);
        if !plain || name.len() + label.len() + 2 > MAX_NAME_BYTES {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|byte| char::from(*byte)));
        bytes = rest;
    }
}

/// Appends a domain name as DNS writes it (RFC 1035 §3.1). `false` if it is none: an empty label, one of more than 63 bytes, more
/// than 255 bytes in all, or other characters than letters, digits, `-` and `_`. A final dot may be there.
pub fn write_domain_name(name: &str, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let name = name.strip_suffix('.').unwrap_or(name);
    for label in name.split('.') {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !plain || label.is_empty() || label.len() > MAX_LABEL_BYTES {
            out.truncate(start);
            return false;
        }
        // At most 63.
        out.push(label.len() as u8);
        out.extend(label.bytes());
    }
    out.push(0);
    let fits = out.len() - start <= MAX_NAME_BYTES;
    if !fits {
        out.truncate(start);
    }
    fits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Ip6Prefix {
        text.parse().unwrap()
    }

    // RFC 4191 §2.1
    #[test]
    fn preferences_are_two_bits_signed() {
        for (bits, preference) in [
            (0, Some(RouterPreference::Medium)),
            (1, Some(RouterPreference::High)),
            (2, None),
            (3, Some(RouterPreference::Low)),
        ] {
            assert_eq!(RouterPreference::from_bits(bits), preference);
            assert!(preference.is_none_or(|preference| preference.to_bits() == bits));
        }
    }

    // RFC 4191 §2.3
    #[test]
    fn routes_are_as_long_as_their_prefix_needs() {
        for (text, bytes) in
            [("::/0", 8), ("2001:db8::/32", 16), ("2001:db8:1:2::/64", 16), ("2001:db8::1/128", 24)]
        {
            let route =
                NdRoute { prefix: prefix(text), preference: RouterPreference::High, lifetime_seconds: 77 };
            let (out, length) = route.write();
            assert_eq!((length, out[1] as usize * 8), (bytes, bytes), "{text}");
            assert_eq!(NdRoute::read(&out[2..length]), Some(route));
        }
        assert_eq!(NdRoute::read(&[64, 0, 0, 0, 0, 9]), None, "a prefix that is not there");
        assert_eq!(NdRoute::read(&[129, 0, 0, 0, 0, 9]), None);
        assert_eq!(NdRoute::read(&[0, 2 << 3, 0, 0, 0, 9]), None, "the reserved preference");
    }

    // RFC 8781 §4
    #[test]
    fn pref64_has_one_of_six_lengths_and_a_lifetime_of_eights() {
        let well_known = NdPref64::new(prefix("64:ff9b::/96"), 1801).unwrap();
        assert_eq!(well_known.lifetime_seconds(), 1808);
        let out = well_known.write();
        assert_eq!(out, [38, 2, 0x07, 0x10, 0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(NdPref64::read(&out[2..]), Some(well_known));
        for (code, length) in NdPref64::LENGTHS.into_iter().enumerate() {
            let option =
                NdPref64::new(Ip6Prefix::containing("2001:db8::".parse().unwrap(), length).unwrap(), 16);
            let out = option.unwrap().write();
            assert_eq!(usize::from(out[3] & 7), code);
            assert_eq!(NdPref64::read(&out[2..]), option);
        }
        assert_eq!(NdPref64::new(prefix("2001:db8::/33"), 16), None);
        assert_eq!(NdPref64::new(prefix("64:ff9b::/96"), 65_535).unwrap().lifetime_seconds(), 65_528);
        assert_eq!(NdPref64::read(&[0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None, "an unknown length");
        assert_eq!(NdPref64::read(&[0, 0, 0, 0]), None);
    }

    // RFC 8106 §5.1
    #[test]
    fn dns_servers_are_whole_addresses() {
        let one = [[0, 0, 0, 0, 0, 9].as_slice(), &[0x20; 16]].concat();
        let servers = NdDnsServers::read(&one).unwrap();
        assert_eq!(servers.lifetime_seconds, 9);
        assert_eq!(servers.addresses().collect::<Vec<_>>(), [Ip6Address([0x20; 16])]);
        assert_eq!(NdDnsServers::read(&one[..14]), None);
        assert_eq!(NdDnsServers::read(&one[..6]), None);
    }

    // RFC 8106 §5.2, RFC 1035 §3.1
    #[test]
    fn names_are_read_as_they_were_written() {
        let mut data = vec![0, 0, 0, 0, 0, 9];
        assert!(write_domain_name("example.org", &mut data) && write_domain_name("lan.", &mut data));
        data.extend([0; 5]);
        let list = NdSearchList::read(&data).unwrap();
        assert_eq!(list.names().collect::<Vec<_>>(), ["example.org", "lan"]);
        let mut none = Vec::new();
        for name in ["", ".", "a..b", "ex ample", "ö", &"x".repeat(64), &"abcdefg.".repeat(32)] {
            assert!(!write_domain_name(name, &mut none) && none.is_empty(), "{name}");
        }
        let pointer = [[0, 0, 0, 0, 0, 9].as_slice(), &[0xc0, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(NdSearchList::read(&pointer).unwrap().names().count(), 0);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(data in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = NdRoute::read(&data);
            let _ = NdPref64::read(&data);
            let _ = NdDnsServers::read(&data).map(|servers| servers.addresses().count());
            if let Some(list) = NdSearchList::read(&data) {
                prop_assert!(list.names().all(|name| !name.is_empty() && name.len() < 255));
            }
        }
    }
}
