//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! All `u16` checksums here are in host order, as the header types' accessors take and give them.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Ip4Address, Ip6Address, IpProtocol};

/// A running one's complement sum. Bytes may be added in parts of any length, odd ones too.
///
/// ```
/// use raddle_plugin_api::wire::checksum::{Sum, checksum};
///
/// let whole = checksum(&[1, 2, 3, 4, 5]);
/// assert_eq!(Sum::new().add_bytes(&[1, 2, 3]).add_bytes(&[4, 5]).checksum(), whole);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    // Sum of 16-bit words as they lie in memory, not yet folded.
    words: u64,
    // An odd number of bytes was added: the next one is the low half of a word.
    odd: bool,
}

impl Sum {
    /// The sum of nothing.
    #[inline]
    pub const fn new() -> Self {
        Self { words: 0, odd: false }
    }

    /// The sum that a stored checksum stands for, to be changed by `subtract_*` and `add_*` (RFC 1624
    /// equation 3).
    #[inline]
    pub const fn from_checksum(checksum: u16) -> Self {
        Self { words: (!checksum).to_be() as u64, odd: false }
    }

    /// The sum of the pseudo header of TCP and UDP over IPv4 (RFC 9293 §3.1, RFC 768); `length` is that of
    /// the transport header and payload.
    #[inline]
    pub fn pseudo_ip4(
        source: Ip4Address,
        destination: Ip4Address,
        protocol: IpProtocol,
        length: u16,
    ) -> Self {
        let words = u32::from_ne_bytes(source.0) as u64
            + u32::from_ne_bytes(destination.0) as u64
            + (protocol.0 as u16).to_be() as u64
            + length.to_be() as u64;
        Self { words, odd: false }
    }

    /// The sum of the IPv6 pseudo header (RFC 8200 §8.1); `length` is that of the upper header and payload.
    #[inline]
    pub fn pseudo_ip6(
        source: Ip6Address,
        destination: Ip6Address,
        protocol: IpProtocol,
        length: u32,
    ) -> Self {
        let words = sum_16(source.0)
            + sum_16(destination.0)
            + (protocol.0 as u16).to_be() as u64
            + length.to_be() as u64;
        Self { words, odd: false }
    }

    /// Adds bytes behind those added so far.
    #[inline]
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        let sum = self.add_words(sum_bytes(bytes) as u64);
        Self { words: sum.words, odd: self.odd ^ (bytes.len() % 2 == 1) }
    }

    /// Adds a 16-bit number as its two big-endian bytes.
    #[inline]
    #[must_use]
    pub fn add_u16(self, value: u16) -> Self {
        self.add_words(value.to_be() as u64)
    }

    /// Adds a 32-bit number as its four big-endian bytes.
    #[inline]
    #[must_use]
    pub fn add_u32(self, value: u32) -> Self {
        self.add_words(value.to_be() as u64)
    }

    /// Takes away bytes that were part of the sum, beginning at an even offset.
    #[inline]
    #[must_use]
    pub fn subtract_bytes(self, bytes: &[u8]) -> Self {
        self.add_words(!sum_bytes(bytes) as u64)
    }

    /// Takes away a 16-bit number at an even offset.
    #[inline]
    #[must_use]
    pub fn subtract_u16(self, value: u16) -> Self {
        self.add_words((!value).to_be() as u64)
    }

    /// Takes away a 32-bit number at an even offset.
    #[inline]
    #[must_use]
    pub fn subtract_u32(self, value: u32) -> Self {
        self.add_words((!value).to_be() as u64)
    }

    /// Adds what another sum holds, as of an even offset; with `Delta` this moves a checksum between pseudo
    /// headers.
    #[inline]
    #[must_use]
    pub fn add_sum(self, other: Self) -> Self {
        self.add_words(fold(other.words) as u64)
    }

    /// Takes away what another sum holds.
    #[inline]
    #[must_use]
    pub fn subtract_sum(self, other: Self) -> Self {
        self.add_words(!fold(other.words) as u64)
    }

    /// The checksum to store: the complement of the sum.
    #[inline]
    pub const fn checksum(self) -> u16 {
        u16::from_be(!fold(self.words))
    }

    /// As `checksum`, with UDP's rule that zero, which means "none", is sent as all ones (RFC 768).
    #[inline]
    pub const fn udp_checksum(self) -> u16 {
        never_zero(self.checksum())
    }

    /// The sum itself, not complemented: what a partially checksummed packet (virtio-net NEEDS_CSUM) has
    /// stored.
    #[inline]
    pub const fn partial(self) -> u16 {
        u16::from_be(fold(self.words))
    }

    /// Whether a sum over data that includes its checksum is right.
    #[inline]
    pub const fn is_valid(self) -> bool {
        fold(self.words) == 0xffff
    }

    #[inline]
    fn add_words(self, words: u64) -> Self {
        // 32 bits at a time, so that 2^32 additions cannot overflow; behind an odd part the halves swap.
        let words = if self.odd { fold(words).swap_bytes() as u64 } else { words };
        Self { words: self.words + words, odd: self.odd }
    }
}

/// The difference between two contents of a checksummed range, kept to be applied to many packets: a NAT
/// session's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable)]
#[repr(transparent)]
pub struct Delta(u16);

impl Delta {
    /// What changes when the words of `old` become those of `new`; either may have an odd number of bytes.
    #[inline]
    pub const fn between(old: Sum, new: Sum) -> Self {
        Self(u16::from_be(fold(fold(new.words) as u64 + !fold(old.words) as u64)))
    }

    /// Both differences in one.
    #[inline]
    #[must_use]
    pub const fn then(self, other: Self) -> Self {
        Self(fold(self.0 as u64 + other.0 as u64))
    }

    /// The difference the other way round: what undoes the change.
    #[inline]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self(!self.0)
    }

    /// The checksum after the change (RFC 1624 equation 3).
    #[inline]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold(!checksum as u64 + self.0 as u64)
    }

    /// The sum after the change: of a checksum that a device is to finish, whose field holds the pseudo header's sum
    /// (virtio-net NEEDS_CSUM).
    #[inline]
    pub const fn apply_to_partial(self, partial: u16) -> u16 {
        fold(partial as u64 + self.0 as u64)
    }
}

/// The checksum over bytes: what to store in a field that was zero when summed.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    u16::from_be(!sum_bytes(bytes))
}

/// Whether bytes that include their checksum sum up right.
#[inline]
pub fn is_valid(bytes: &[u8]) -> bool {
    sum_bytes(bytes) == 0xffff
}

/// Whether a 20-byte header that includes its checksum sums up right: three loads, no loop.
#[inline]
pub fn is_valid_20(header: &[u8; 20]) -> bool {
    sum_20(header) == 0xffff
}

/// The checksum of a 20-byte header whose checksum field is zero.
#[inline]
pub fn checksum_20(header: &[u8; 20]) -> u16 {
    u16::from_be(!sum_20(header))
}

/// The checksum after a 16-bit word changed (RFC 1624 equation 3).
///
/// It equals the full checksum, except over data that is now all zero: there RFC 1071 gives 0xffff and this
/// 0x0000, which are the same number in one's complement, but a receiver takes only the first. No IP, TCP or
/// UDP checksum covers such data; that of an ICMP echo may: see `never_zero`.
#[inline]
pub const fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// The checksum after a 32-bit number at an even offset changed.
#[inline]
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// The checksum after bytes at an even offset changed; the lengths may differ if both are even.
#[inline]
pub fn update_bytes(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    Sum::from_checksum(checksum).subtract_bytes(old).add_bytes(new).checksum()
}

/// The checksum of an IPv4 header after its TTL went down by one: one addition (RFC 1624 §4).
#[inline]
pub const fn after_ttl_decrement(checksum: u16) -> u16 {
    let sum = checksum as u32 + 0x0100;
    (sum + (sum >= 0xffff) as u32) as u16
}

/// All ones for zero, the same number in one's complement: for UDP, where zero means "none", and after an
/// update of a checksum whose data may now be all zero. Every receiver takes it.
#[inline]
pub const fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// One's complement of 16 bits from a sum of words.
#[inline]
const fn fold(sum: u64) -> u16 {
    // Adding a number to itself with halves swapped leaves in the upper half the sum of both with its carry
    // added.
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

#[inline]
fn sum_20(header: &[u8; 20]) -> u16 {
    // Each word is loaded as one.
    let long = |at: usize| header[at..].first_chunk().map_or(0, |word| u64::from_ne_bytes(*word));
    let last = header.last_chunk().map_or(0, |word| u32::from_ne_bytes(*word));
    let (sum, first) = long(0).overflowing_add(long(8));
    let (sum, second) = sum.overflowing_add(u64::from(last) + u64::from(first));
    fold(sum + u64::from(second))
}

#[inline]
fn sum_16(address: [u8; 16]) -> u64 {
    let mut sum = 0;
    for word in address.as_chunks::<4>().0 {
        sum += u32::from_ne_bytes(*word) as u64;
    }
    sum
}

/// Sum of the 16-bit words as they lie in memory, folded; an odd last byte counts as if a zero followed.
fn sum_bytes(bytes: &[u8]) -> u16 {
    let (blocks, rest) = bytes.as_chunks::<32>();
    // Four 64-bit lanes of 32-bit halves: no carries to chase, so that the compiler may use wide registers.
    // They could overflow together behind 16 GiB, far beyond any packet.
    let mut lanes = [0u64; 4];
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            let word = u64::from_ne_bytes(*word);
            *lane += (word & 0xffff_ffff) + (word >> 32);
        }
    }
    let mut sum = lanes.iter().sum::<u64>();
    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        sum += u32::from_ne_bytes(*word) as u64;
    }
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    fold(sum + u32::from_ne_bytes(last) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 §1, word by word.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]) as u32;
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn sums_the_example_of_rfc_1071_section_3() {
        assert_eq!(!checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn updates_the_example_of_rfc_1624_section_4() {
        assert_eq!(update_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
        assert_eq!(update_bytes(0xdd2f, &[0x55, 0x55], &[0x32, 0x85]), 0x0000);
    }

    #[test]
    fn empty_sum_is_zero() {
        assert_eq!(checksum(&[]), 0xffff);
        assert_eq!(Sum::new().checksum(), 0xffff);
        assert_eq!(Sum::new().add_bytes(&[0xff, 0xff]).udp_checksum(), 0xffff);
    }

    #[test]
    fn folds_every_carry() {
        assert_eq!(fold(u64::MAX), 0xffff);
        assert_eq!(fold(0xffff_ffff_0000_0001), 1);
        assert_eq!(
            (fold(0), fold(0xffff), fold(0xffff_0000_0000), fold(0xfffe_0000_0001)),
            (0, 0xffff, 0xffff, 0xffff)
        );
        assert_eq!(checksum(&[0xff; 65_535]), reference(&[0xff; 65_535]));
    }

    #[test]
    fn differences_are_those_of_whole_ranges_of_any_length() {
        let (old, new) = ([1, 2, 3, 4, 5], [9, 8, 7]);
        let delta = Delta::between(Sum::new().add_bytes(&old), Sum::new().add_bytes(&new));
        assert_eq!(delta.apply(checksum(&old)), checksum(&new));
        assert_eq!(delta.reversed().apply(checksum(&new)), checksum(&old));
    }

    #[test]
    fn ttl_decrement_is_the_general_update_for_every_checksum() {
        // 0xffff never stands in a header that is not all zero.
        for checksum in 0..0xffffu16 {
            assert_eq!(after_ttl_decrement(checksum), update_u16(checksum, 0x4006, 0x3f06), "{checksum:#x}");
        }
    }

    proptest! {
        #[test]
        fn full_checksum_is_word_by_word(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(checksum(&bytes), reference(&bytes));
        }

        #[test]
        fn parts_of_any_length_sum_to_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), first in 0usize..200, second in 0usize..200,
        ) {
            let first = first.min(bytes.len());
            let second = second.clamp(first, bytes.len().max(first));
            let sum = Sum::new()
                .add_bytes(&bytes[..first])
                .add_bytes(&bytes[first..second])
                .add_bytes(&bytes[second..]);
            prop_assert_eq!(sum.checksum(), reference(&bytes));
        }

        #[test]
        fn header_of_20_bytes_is_the_general_case(header: [u8; 20]) {
            prop_assert_eq!(checksum_20(&header), reference(&header));
            prop_assert_eq!(is_valid_20(&header), is_valid(&header));
        }

        #[test]
        fn incremental_is_full(
            mut bytes in proptest::collection::vec(any::<u8>(), 8..100), offset in 0usize..46, new: [u8; 8],
        ) {
            bytes.push(1); // Not all zero, see `update_u16`.
            let offset = (offset * 2).min((bytes.len() - 9) & !1);
            let before = reference(&bytes);
            let old: [u8; 8] = bytes[offset..offset + 8].try_into().unwrap();
            let word = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());

            bytes[offset..offset + 2].copy_from_slice(&new[..2]);
            let short = (word(&old) >> 16) as u16;
            prop_assert_eq!(update_u16(before, short, (word(&new) >> 16) as u16), reference(&bytes));
            bytes[offset..offset + 4].copy_from_slice(&new[..4]);
            prop_assert_eq!(update_u32(before, word(&old), word(&new)), reference(&bytes));
            bytes[offset..offset + 8].copy_from_slice(&new);
            prop_assert_eq!(update_bytes(before, &old, &new), reference(&bytes));
            let delta = Delta::between(Sum::new().add_bytes(&old), Sum::new().add_bytes(&new));
            prop_assert_eq!(delta.apply(before), reference(&bytes));
            prop_assert_eq!(delta.apply_to_partial(!before), !reference(&bytes));
            prop_assert_eq!(delta.reversed().apply(reference(&bytes)), before);
        }

        #[test]
        fn pseudo_headers_are_their_bytes(source: [u8; 16], destination: [u8; 16], protocol: u8, length: u32) {
            let mut bytes = [source, destination].concat();
            bytes.extend(length.to_be_bytes());
            bytes.extend([0, 0, 0, protocol]);
            let sum = Sum::pseudo_ip6(Ip6Address(source), Ip6Address(destination), IpProtocol(protocol), length);
            prop_assert_eq!(sum.checksum(), reference(&bytes));

            let mut bytes = [&source[..4], &destination[..4], &[0, protocol]].concat();
            bytes.extend((length as u16).to_be_bytes());
            let source = Ip4Address(source[..4].try_into().unwrap());
            let destination = Ip4Address(destination[..4].try_into().unwrap());
            let sum = Sum::pseudo_ip4(source, destination, IpProtocol(protocol), length as u16);
            prop_assert_eq!(sum.checksum(), reference(&bytes));
        }
    }
}
