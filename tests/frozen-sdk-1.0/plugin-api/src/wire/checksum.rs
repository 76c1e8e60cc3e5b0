//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! All `u16` checksums here are in host order, as the header types' accessors take and give them.

use zerocopy::transmute;

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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Delta(u16);

impl Delta {
    /// What changes when the words of `old` become those of `new`.
    #[inline]
    pub fn between(old: Sum, new: Sum) -> Self {
        Self(new.subtract_sum(old).partial())
    }

    /// Both differences in one.
    #[inline]
    #[must_use]
    pub const fn then(self, other: Self) -> Self {
        Self(fold(self.0 as u64 + other.0 as u64))
    }

    /// The checksum after the change (RFC 1624 equation 3).
    #[inline]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold(!checksum as u64 + self.0 as u64)
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
    let [a, b, c, d, e]: [[u8; 4]; 5] = transmute!(*header);
    let long = |[a, b, c, d]: [u8; 4], [e, f, g, h]: [u8; 4]| u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
    let (sum, first) = long(a, b).overflowing_add(long(c, d));
    let (sum, second) = sum.overflowing_add(u32::from_ne_bytes(e) as u64 + first as u64);
    fold(sum + second as u64)
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
