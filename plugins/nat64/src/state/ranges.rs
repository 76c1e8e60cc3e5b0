//! Sets of IPv4 addresses, as ranges: asked of every packet.

use raddle_plugin_api::wire::Ip4Address;

/// Pool addresses that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolRange {
    /// The first.
    pub first: Ip4Address,
    /// The last.
    pub last: Ip4Address,
}

impl PoolRange {
    /// One address.
    pub const fn one(address: Ip4Address) -> Self {
        Self { first: address, last: address }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        u64::from(self.last.to_bits()) - u64::from(self.first.to_bits()) + 1
    }

    /// Of ranges that do not overlap the address at a place, which is taken modulo how many there are; `None` if there are none.
    pub fn nth(ranges: &[Self], place: u64) -> Option<Ip4Address> {
        let total: u64 = ranges.iter().map(Self::count).sum();
        let mut at = place.checked_rem(total)?;
        for range in ranges {
            if at < range.count() {
                return Some(Ip4Address::from_bits(range.first.to_bits() + at as u32));
            }
            at -= range.count();
        }
        None
    }

    /// Whether an address is one of them.
    pub fn contains(&self, address: Ip4Address) -> bool {
        let bits = address.to_bits();
        self.first.to_bits() <= bits && bits <= self.last.to_bits()
    }
}

/// A set of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSet {
    /// Least and greatest of all; the wrong way round when there is none.
    span: (u32, u32),
    /// Ascending, without overlaps and without neighbours.
    ranges: Vec<(u32, u32)>,
}

impl Default for AddressSet {
    fn default() -> Self {
        Self { span: (u32::MAX, 0), ranges: Vec::new() }
    }
}

impl AddressSet {
    /// The set of what is in any of the ranges.
    pub fn of(ranges: impl IntoIterator<Item = PoolRange>) -> Self {
        let mut all: Vec<_> =
            ranges.into_iter().map(|range| (range.first.to_bits(), range.last.to_bits())).collect();
        all.sort_unstable();
        let mut ranges: Vec<(u32, u32)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match ranges.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => ranges.push((first, last)),
            }
        }
        let span = match (ranges.first(), ranges.last()) {
            (Some(&(first, _)), Some(&(_, last))) => (first, last),
            _ => (u32::MAX, 0),
        };
        Self { span, ranges }
    }

    /// Whether an address is in the set. Most are not, and of those most are beyond the least and the greatest.
    #[inline(always)]
    pub fn contains(&self, address: Ip4Address) -> bool {
        let bits = address.to_bits();
        self.span.0 <= bits && bits <= self.span.1 && (self.ranges.len() == 1 || self.search(bits))
    }

    #[inline(never)]
    fn search(&self, bits: u32) -> bool {
        let at = self.ranges.partition_point(|&(_, last)| last < bits);
        self.ranges.get(at).is_some_and(|&(first, _)| first <= bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range((first, length): (u8, u8)) -> PoolRange {
        let address = |bits: u32| Ip4Address::from_bits(bits);
        PoolRange { first: address(first.into()), last: address(u32::from(first) + u32::from(length)) }
    }

    #[test]
    fn ends_of_the_address_space_are_addresses_too() {
        let all = PoolRange { first: Ip4Address::from_bits(0), last: Ip4Address::from_bits(u32::MAX) };
        assert_eq!(all.count(), 1 << 32);
        assert!(AddressSet::of([all]).contains(Ip4Address::from_bits(u32::MAX)));
        assert!(!AddressSet::default().contains(Ip4Address::from_bits(0)));
    }

    proptest! {
        #[test]
        fn set_is_what_its_ranges_are(ranges in prop::collection::vec((any::<u8>(), 0..20_u8), 0..8), asked: u16) {
            let ranges: Vec<_> = ranges.into_iter().map(range).collect();
            let asked = Ip4Address::from_bits(u32::from(asked % 300));
            let expected = ranges.iter().any(|range| range.contains(asked));
            prop_assert_eq!(AddressSet::of(ranges).contains(asked), expected);
        }
    }
}
