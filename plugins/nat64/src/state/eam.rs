//! Explicit address mappings (RFC 7757): prefixes whose addresses stand for each other without any state.

use std::collections::HashMap;

use raddle_plugin_api::wire::{Ip4Address, Ip4Prefix, Ip6Address, Ip6Prefix};

/// Two prefixes whose addresses stand for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eam {
    /// The IPv4 prefix.
    pub ip4: Ip4Prefix,
    /// The IPv6 prefix, with as many free bits or more.
    pub ip6: Ip6Prefix,
}

impl Eam {
    /// The IPv6 address of an IPv4 address of the prefix (RFC 7757 §3.3.1).
    pub fn to6(&self, address: Ip4Address) -> Ip6Address {
        let suffix = if self.ip4.length() == 32 { 0 } else { address.to_bits() << self.ip4.length() };
        let shifted = u128::from(suffix) << 96;
        let shifted = if self.ip6.length() == 128 { 0 } else { shifted >> self.ip6.length() };
        Ip6Address::from_bits(self.ip6.network().to_bits() | shifted)
    }

    /// The IPv4 address of an IPv6 address of the prefix (RFC 7757 §3.3.2).
    pub fn to4(&self, address: Ip6Address) -> Ip4Address {
        let suffix = if self.ip6.length() == 128 { 0 } else { address.to_bits() << self.ip6.length() };
        let suffix = (suffix >> 96) as u32;
        let suffix = if self.ip4.length() == 32 { 0 } else { suffix >> self.ip4.length() };
        Ip4Address::from_bits(self.ip4.network().to_bits() | suffix)
    }
}

/// All of them, found by the longest prefix that matches (RFC 7757 §3.3), from either side: in a step for each length that
/// is in use.
#[derive(Clone, Debug, Default)]
pub struct EamTable {
    entries: Vec<Eam>,
    by_ip4: LongestMatch,
    by_ip6: LongestMatch,
}

impl EamTable {
    /// The table of these. Of two that begin with the same prefix on a side, the later one counts there.
    pub fn new(entries: Vec<Eam>) -> Self {
        let (mut by_ip4, mut by_ip6) = (LongestMatch::default(), LongestMatch::default());
        for (number, Eam { ip4, ip6 }) in (0..).zip(&entries) {
            by_ip4.insert(high(ip4.network().to_bits()), ip4.length(), number);
            by_ip6.insert(ip6.network().to_bits(), ip6.length(), number);
        }
        Self { entries, by_ip4, by_ip6 }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them.
    pub fn entries(&self) -> &[Eam] {
        &self.entries
    }

    /// The IPv6 address of an IPv4 address.
    pub fn to6(&self, address: Ip4Address) -> Option<Ip6Address> {
        let number = self.by_ip4.find(high(address.to_bits()))?;
        self.entries.get(number as usize).map(|eam| eam.to6(address))
    }

    /// The IPv4 address of an IPv6 address.
    pub fn to4(&self, address: Ip6Address) -> Option<Ip4Address> {
        let number = self.by_ip6.find(address.to_bits())?;
        self.entries.get(number as usize).map(|eam| eam.to4(address))
    }
}

/// An IPv4 address where an IPv6 address has its first bits.
fn high(bits: u32) -> u128 {
    u128::from(bits) << 96
}

/// Numbers by prefix.
#[derive(Clone, Debug, Default)]
struct LongestMatch {
    /// Lengths in use, the longest first.
    lengths: Vec<u8>,
    numbers: HashMap<(u128, u8), u32>,
}

impl LongestMatch {
    fn insert(&mut self, network: u128, length: u8, number: u32) {
        self.numbers.insert((network, length), number);
        if let Err(place) = self.lengths.binary_search_by(|known| length.cmp(known)) {
            self.lengths.insert(place, length);
        }
    }

    fn find(&self, address: u128) -> Option<u32> {
        self.lengths.iter().find_map(|&length| {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            self.numbers.get(&(address & mask, length)).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn four(text: &str) -> Ip4Address {
        text.parse::<Ipv4Addr>().unwrap().into()
    }

    fn six(text: &str) -> Ip6Address {
        text.parse::<Ipv6Addr>().unwrap().into()
    }

    fn eam(ip4: &str, ip6: &str) -> Eam {
        Eam { ip4: ip4.parse().unwrap(), ip6: ip6.parse().unwrap() }
    }

    /// RFC 7757 §3.2, figure 1.
    #[test]
    fn explicit_mappings_are_those_of_rfc_7757() {
        let figure = [
            ("192.0.2.1/32", "2001:db8:aaaa::/128", "192.0.2.1", "2001:db8:aaaa::"),
            ("192.0.2.2/32", "2001:db8:bbbb::b/128", "192.0.2.2", "2001:db8:bbbb::b"),
            ("192.0.2.16/28", "2001:db8:cccc::/124", "192.0.2.17", "2001:db8:cccc::1"),
            ("192.0.2.128/26", "2001:db8:dddd::/64", "192.0.2.129", "2001:db8:dddd:0:400::"),
            ("192.0.2.192/29", "2001:db8:eeee:8::/62", "192.0.2.193", "2001:db8:eeee:8:8000::"),
            ("192.0.2.224/31", "64:ff9b::/127", "192.0.2.225", "64:ff9b::1"),
        ];
        let table = EamTable::new(figure.iter().map(|(ip4, ip6, ..)| eam(ip4, ip6)).collect());
        for (ip4, _, address4, address6) in figure {
            assert_eq!(table.to6(four(address4)), Some(six(address6)), "{ip4}");
            assert_eq!(table.to4(six(address6)), Some(four(address4)), "{ip4}");
        }
        assert_eq!((table.to6(four("203.0.113.9")), table.to4(six("2001:db8::9"))), (None, None));
    }

    /// RFC 7757 §3.3.
    #[test]
    fn longest_prefix_counts_on_either_side() {
        let table = EamTable::new(vec![
            eam("192.0.2.0/24", "2001:db8:a::/120"),
            eam("192.0.2.7/32", "2001:db8:a::99/128"),
        ]);
        assert_eq!(table.to6(four("192.0.2.7")), Some(six("2001:db8:a::99")));
        assert_eq!(table.to6(four("192.0.2.8")), Some(six("2001:db8:a::8")));
        assert_eq!(table.to4(six("2001:db8:a::99")), Some(four("192.0.2.7")));
        assert_eq!(table.to4(six("2001:db8:a::98")), Some(four("192.0.2.152")));
    }

    proptest! {
        #[test]
        fn table_finds_what_a_scan_finds(
            prefixes in prop::collection::vec((any::<u32>(), 0..=32_u8), 0..20), asked: u32,
        ) {
            // Few bits, so that prefixes hold each other.
            let squeeze = |bits: u32| bits & 0xc000_000f;
            let eams: Vec<_> = prefixes.iter().map(|&(bits, length)| Eam {
                ip4: Ip4Prefix::containing(squeeze(bits).into(), length).unwrap(),
                ip6: Ip6Prefix::containing(Ipv6Addr::from_bits(high(squeeze(bits))), length).unwrap(),
            }).collect();
            let asked = Ip4Address::from_bits(squeeze(asked));
            let scan = eams.iter().filter(|eam| eam.ip4.contains(asked.to_std())).max_by_key(|eam| eam.ip4.length());
            let table = EamTable::new(eams.clone());
            prop_assert_eq!(table.to6(asked), scan.map(|eam| eam.to6(asked)));
            if let Some(six) = table.to6(asked) {
                prop_assert_eq!(table.to4(six), Some(asked));
            }
        }
    }
}
