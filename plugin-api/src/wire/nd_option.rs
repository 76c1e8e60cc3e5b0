//! Options of neighbour discovery (RFC 4861 §4.6).

use zerocopy::byteorder::network_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::nd_router::{DNSSL, PREF64, RDNSS, ROUTE_INFORMATION};
use super::{Ip6Address, MacAddress, NdDnsServers, NdMalformed, NdPref64, NdRoute, NdSearchList};

pub(super) const SOURCE_LINK_LAYER: u8 = 1;
pub(super) const TARGET_LINK_LAYER: u8 = 2;
pub(super) const PREFIX_INFORMATION: u8 = 3;
pub(super) const REDIRECTED_HEADER: u8 = 4;
pub(super) const MTU: u8 = 5;
pub(super) const NONCE: u8 = 14;

/// An option that raddle understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NdOption<'a> {
    /// The sender's MAC address.
    SourceLinkLayer(MacAddress),
    /// The target's MAC address.
    TargetLinkLayer(MacAddress),
    /// A prefix of the link.
    Prefix(&'a NdPrefix),
    /// The packet that caused a redirect, cut short.
    RedirectedHeader(&'a [u8]),
    /// The link's MTU in bytes.
    Mtu(u32),
    /// A number by which the sender knows its own message again (RFC 3971 §5.3.2, RFC 7527); 6 bytes or more.
    Nonce(&'a [u8]),
    /// A route by the sender.
    Route(NdRoute),
    /// DNS servers.
    DnsServers(NdDnsServers<'a>),
    /// Domains in which short names are looked for.
    SearchList(NdSearchList<'a>),
    /// The prefix of a translator to IPv4.
    Pref64(NdPref64),
    /// Any other, or one of these with a length that is not its own.
    Other {
        /// What it is.
        kind: u8,
        /// What is behind its length byte.
        data: &'a [u8],
    },
}

/// The prefix information option as it lies on the wire, kind and length included (RFC 4861 §4.6.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NdPrefix {
    kind: u8,
    units: u8,
    prefix_length: u8,
    flags: u8,
    valid_seconds: U32,
    preferred_seconds: U32,
    reserved: U32,
    prefix: Ip6Address,
}

wire_header!(NdPrefix, 32);

impl NdPrefix {
    /// A lifetime without end.
    pub const INFINITE: u32 = u32::MAX;

    /// A prefix with its lifetimes in seconds; `on_link` and `autonomous` say what hosts may take it for.
    pub fn new(
        prefix: super::Ip6Prefix,
        on_link: bool,
        autonomous: bool,
        valid_seconds: u32,
        preferred_seconds: u32,
    ) -> Self {
        Self {
            kind: PREFIX_INFORMATION,
            units: 4,
            prefix_length: prefix.length(),
            flags: (on_link as u8) << 7 | (autonomous as u8) << 6,
            valid_seconds: U32::new(valid_seconds),
            preferred_seconds: U32::new(preferred_seconds),
            reserved: U32::ZERO,
            prefix: prefix.network().into(),
        }
    }

    /// The prefix; host bits are cleared, as RFC 4861 §4.6.2 asks of receivers. `None` when its length is
    /// beyond 128.
    pub fn prefix(&self) -> Option<super::Ip6Prefix> {
        super::Ip6Prefix::containing(self.prefix.to_std(), self.prefix_length).ok()
    }

    /// Whether addresses of the prefix are on the link.
    pub const fn is_on_link(&self) -> bool {
        self.flags & 0x80 != 0
    }

    /// Whether hosts may make addresses of it (RFC 4862).
    pub const fn is_autonomous(&self) -> bool {
        self.flags & 0x40 != 0
    }

    /// How long it is on the link, in seconds.
    pub const fn valid_seconds(&self) -> u32 {
        self.valid_seconds.get()
    }

    /// How long addresses made of it are preferred, in seconds.
    pub const fn preferred_seconds(&self) -> u32 {
        self.preferred_seconds.get()
    }
}

/// Iterates over options. Ends after an error; those of a parsed `NdMessage` have none.
#[derive(Clone, Debug)]
pub struct NdOptions<'a> {
    bytes: &'a [u8],
}

impl<'a> NdOptions<'a> {
    /// Iterates over the options in `bytes`, which end where the message does.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The first source link-layer address, if there is one.
    #[inline]
    pub fn source_link_layer(&self) -> Option<MacAddress> {
        self.clone().find_map(|option| match option {
            Ok(NdOption::SourceLinkLayer(mac)) => Some(mac),
            _ => None,
        })
    }

    /// The first target link-layer address, if there is one.
    #[inline]
    pub fn target_link_layer(&self) -> Option<MacAddress> {
        self.clone().find_map(|option| match option {
            Ok(NdOption::TargetLinkLayer(mac)) => Some(mac),
            _ => None,
        })
    }

    /// The nonce, if there is one.
    #[inline]
    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.clone().find_map(|option| match option {
            Ok(NdOption::Nonce(nonce)) => Some(nonce),
            _ => None,
        })
    }

    /// All of them, or the first fault.
    pub(super) fn checked(bytes: &'a [u8]) -> Result<Self, NdMalformed> {
        let options = Self::new(bytes);
        options.clone().try_for_each(|option| option.map(drop)).map(|()| options)
    }
}

impl<'a> Iterator for NdOptions<'a> {
    type Item = Result<NdOption<'a>, NdMalformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.bytes);
        let &[kind, units, ..] = bytes else {
            return Some(Err(NdMalformed::OptionTruncated));
        };
        if units == 0 {
            return Some(Err(NdMalformed::OptionLengthZero));
        }
        let Some((option, rest)) = bytes.split_at_checked(units as usize * 8) else {
            return Some(Err(NdMalformed::OptionTruncated));
        };
        self.bytes = rest;
        Some(Ok(read(kind, option)))
    }
}

/// Reads an option of at least 8 bytes.
fn read(kind: u8, option: &[u8]) -> NdOption<'_> {
    let data = &option[2..];
    match (kind, data) {
        (SOURCE_LINK_LAYER, &[a, b, c, d, e, f]) => NdOption::SourceLinkLayer(MacAddress([a, b, c, d, e, f])),
        (TARGET_LINK_LAYER, &[a, b, c, d, e, f]) => NdOption::TargetLinkLayer(MacAddress([a, b, c, d, e, f])),
        (MTU, &[_, _, a, b, c, d]) => NdOption::Mtu(u32::from_be_bytes([a, b, c, d])),
        // RFC 4861 §4.6.3: six reserved bytes before the packet.
        (REDIRECTED_HEADER, _) => NdOption::RedirectedHeader(&data[6..]),
        (PREFIX_INFORMATION, _) => match NdPrefix::parse(option) {
            Some((prefix, [])) => NdOption::Prefix(prefix),
            _ => NdOption::Other { kind, data },
        },
        (NONCE, _) => NdOption::Nonce(data),
        (ROUTE_INFORMATION, _) => known(kind, data, NdRoute::read(data).map(NdOption::Route)),
        (RDNSS, _) => known(kind, data, NdDnsServers::read(data).map(NdOption::DnsServers)),
        (DNSSL, _) => known(kind, data, NdSearchList::read(data).map(NdOption::SearchList)),
        (PREF64, _) => known(kind, data, NdPref64::read(data).map(NdOption::Pref64)),
        _ => NdOption::Other { kind, data },
    }
}

fn known<'a>(kind: u8, data: &'a [u8], option: Option<NdOption<'a>>) -> NdOption<'a> {
    option.unwrap_or(NdOption::Other { kind, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_kind_of_option() {
        let prefix = NdPrefix::new("2001:db8:1::/64".parse().unwrap(), true, false, 100, NdPrefix::INFINITE);
        let mut bytes = vec![1, 1, 2, 0, 0, 0, 0, 1, 2, 1, 2, 0, 0, 0, 0, 2, 5, 1, 0, 0, 0, 0, 5, 0xdc];
        bytes.extend(prefix.as_bytes());
        bytes.extend([4, 2, 0, 0, 0, 0, 0, 0, 0x60, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([14, 1, 1, 2, 3, 4, 5, 6, 99, 1, 6, 5, 4, 3, 2, 1]);
        let options: Vec<_> = NdOptions::new(&bytes).map(Result::unwrap).collect();
        assert_eq!(
            options,
            [
                NdOption::SourceLinkLayer(MacAddress([2, 0, 0, 0, 0, 1])),
                NdOption::TargetLinkLayer(MacAddress([2, 0, 0, 0, 0, 2])),
                NdOption::Mtu(1500),
                NdOption::Prefix(&prefix),
                NdOption::RedirectedHeader(&[0x60, 0, 0, 0, 0, 0, 0, 0]),
                NdOption::Nonce(&[1, 2, 3, 4, 5, 6]),
                NdOption::Other { kind: 99, data: &[6, 5, 4, 3, 2, 1] },
            ]
        );
        let options = NdOptions::new(&bytes);
        assert_eq!(options.source_link_layer(), Some(MacAddress([2, 0, 0, 0, 0, 1])));
        assert_eq!(options.target_link_layer(), Some(MacAddress([2, 0, 0, 0, 0, 2])));
        assert_eq!(prefix.prefix().unwrap().to_string(), "2001:db8:1::/64");
        assert!(prefix.is_on_link() && !prefix.is_autonomous());
        assert_eq!((prefix.valid_seconds(), prefix.preferred_seconds()), (100, u32::MAX));
    }

    #[test]
    fn stops_after_an_error() {
        for (bytes, reason) in [
            (&[1][..], NdMalformed::OptionTruncated),
            (&[1, 1, 0, 0, 0, 0, 0], NdMalformed::OptionTruncated),
            (&[1, 0, 0, 0, 0, 0, 0, 0], NdMalformed::OptionLengthZero),
            (&[1, 2, 0, 0, 0, 0, 0, 0], NdMalformed::OptionTruncated),
        ] {
            assert_eq!(NdOptions::new(bytes).collect::<Vec<_>>(), [Err(reason)]);
            assert_eq!(NdOptions::checked(bytes).unwrap_err(), reason);
        }
    }

    #[test]
    fn wrong_length_makes_it_another_option() {
        let bytes = [[1, 2].as_slice(), &[0; 14]].concat();
        let option = NdOptions::new(&bytes).next().unwrap().unwrap();
        assert_eq!(option, NdOption::Other { kind: 1, data: &[0; 14] });
        assert_eq!(
            NdOptions::new(&[3, 1, 0, 0, 0, 0, 0, 0]).next(),
            Some(Ok(NdOption::Other { kind: 3, data: &[0; 6] }))
        );
    }
}
