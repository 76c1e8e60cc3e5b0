//! Addresses of either family as unsigned numbers in host order, and prefixes over them.

use core::fmt;
use core::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A family's address as a number in host order: `u32` for IPv4, `u128` for IPv6.
pub trait Address: Copy + Ord + Eq + Hash + fmt::Debug + Send + Sync + 'static {
    /// Length of an address in bits.
    const BITS: u8;
    /// The address 0.
    const ZERO: Self;

    /// The first 16 bits.
    fn top16(self) -> usize;
    /// The first 32 bits.
    fn top32(self) -> u32;
    /// 64 bits of the address from bit `from` on, zeros behind its end.
    fn window(self, from: u32) -> u64;
    /// The address shifted left, zeros coming in; a shift by all bits or more gives zero.
    #[must_use]
    fn shifted_left(self, bits: u32) -> Self;
    /// The address with all but its first `len` bits cleared.
    #[must_use]
    fn masked(self, len: u8) -> Self;
    /// The address with all but its first `len` bits set.
    #[must_use]
    fn filled(self, len: u8) -> Self;
    /// Number of leading bits that two addresses share.
    fn common_bits(self, other: Self) -> u8;
    /// The address as the standard library's type.
    fn to_ip(self) -> IpAddr;
    /// The address of this family in `ip`, if it is of this family.
    fn from_ip(ip: IpAddr) -> Option<Self>;
}

macro_rules! address {
    ($number:ty, $ip:ty, $variant:ident) => {
        impl Address for $number {
            const BITS: u8 = <$number>::BITS as u8;
            const ZERO: Self = 0;

            #[inline(always)]
            fn top16(self) -> usize {
                (self >> (<$number>::BITS - 16)) as usize
            }

            #[inline(always)]
            fn top32(self) -> u32 {
                (self >> (<$number>::BITS - 32)) as u32
            }

            #[inline(always)]
            fn window(self, from: u32) -> u64 {
                if <$number>::BITS <= 64 {
                    (self as u64).checked_shl(64 - <$number>::BITS + from).unwrap_or(0)
                } else {
                    (self.checked_shl(from).unwrap_or(0) >> (<$number>::BITS / 2)) as u64
                }
            }

            #[inline(always)]
            fn shifted_left(self, bits: u32) -> Self {
                self.checked_shl(bits).unwrap_or(0)
            }

            #[inline]
            fn masked(self, len: u8) -> Self {
                self & !<$number>::MAX.checked_shr(u32::from(len)).unwrap_or(0)
            }

            #[inline]
            fn filled(self, len: u8) -> Self {
                self | <$number>::MAX.checked_shr(u32::from(len)).unwrap_or(0)
            }

            #[inline]
            fn common_bits(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }

            fn to_ip(self) -> IpAddr {
                IpAddr::$variant(<$ip>::from_bits(self))
            }

            fn from_ip(ip: IpAddr) -> Option<Self> {
                match ip {
                    IpAddr::$variant(ip) => Some(ip.to_bits()),
                    _ => None,
                }
            }
        }
    };
}

address!(u32, Ipv4Addr, V4);
address!(u128, Ipv6Addr, V6);

/// A prefix: an address whose bits past the length are zero, and the length in bits.
///
/// Prefixes order by address, then by length, so a prefix comes before all that it covers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix<A> {
    address: A,
    len: u8,
}

/// Why an address and a length are no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// prefix length {len} is greater than {max}
    #[error("prefix length {len} is greater than {max}")]
    Length {
        /// The length given.
        len: u8,
        /// The family's address length.
        max: u8,
    },
    /// {address}/{len} has bits set past its length
    #[error("{address}/{len} has bits set past its length")]
    HostBits {
        /// The address given.
        address: IpAddr,
        /// The length given.
        len: u8,
    },
}

impl<A: Address> Prefix<A> {
    /// The prefix that covers every address.
    pub const DEFAULT: Self = Self { address: A::ZERO, len: 0 };

    /// A prefix of exactly this address and length.
    ///
    /// # Errors
    /// When the length is greater than the family's, or bits past it are set.
    pub fn new_checked(address: A, len: u8) -> Result<Self, PrefixError> {
        if len > A::BITS {
            return Err(PrefixError::Length { len, max: A::BITS });
        }
        if address.masked(len) != address {
            return Err(PrefixError::HostBits { address: address.to_ip(), len });
        }
        Ok(Self { address, len })
    }

    /// The prefix of `len` bits (at most the family's) that `address` lies in.
    pub fn containing(address: A, len: u8) -> Self {
        let len = len.min(A::BITS);
        Self { address: address.masked(len), len }
    }

    /// The prefix of one address.
    pub fn host(address: A) -> Self {
        Self { address, len: A::BITS }
    }

    /// The first address.
    pub fn address(self) -> A {
        self.address
    }

    /// The last address.
    pub fn last_address(self) -> A {
        self.address.filled(self.len)
    }

    /// The length in bits.
    #[expect(clippy::len_without_is_empty, reason = "a prefix's length is not a number of items")]
    pub fn len(self) -> u8 {
        self.len
    }

    /// Whether `address` lies in the prefix.
    pub fn contains(self, address: A) -> bool {
        address.masked(self.len) == self.address
    }

    /// Whether all of `other` lies in the prefix.
    pub fn covers(self, other: Self) -> bool {
        self.len <= other.len && self.contains(other.address)
    }
}

impl<A: Address> fmt::Display for Prefix<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address.to_ip(), self.len)
    }
}

impl<A: Address> fmt::Debug for Prefix<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
