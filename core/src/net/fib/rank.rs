//! Finding the run of a slot: how many of a node's run starts are not after it.
//!
//! A node keeps the starts of its second and later runs, ascending, in the first 16 bytes of its cache line; what is
//! unused holds the greatest value.

#[cfg(target_arch = "x86_64")]
pub(super) use sse2::{Head, rank8, rank16};
#[cfg(not(target_arch = "x86_64"))]
pub(super) use swar::{Head, rank8, rank16};

#[cfg(all(any(test, loom), target_arch = "x86_64"))]
pub(super) use sse2::head_of;
#[cfg(all(any(test, loom), not(target_arch = "x86_64")))]
pub(super) use swar::head_of;

/// Starts that a packed node holds.
pub(super) const PACKED_STARTS: usize = 11;
/// Starts that a sparse node holds.
pub(super) const SPARSE_STARTS: usize = 8;

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use core::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmpeq_epi16, _mm_max_epu8, _mm_movemask_epi8, _mm_set1_epi8,
        _mm_set1_epi16, _mm_setzero_si128, _mm_subs_epu16,
    };

    /// 16 bytes of starts.
    pub(in super::super) type Head = __m128i;

    /// The head with these bytes, the first in the lowest bits.
    #[cfg(any(test, loom))]
    pub(in super::super) fn head_of(bytes: u128) -> Head {
        // SAFETY: SSE2, all that the intrinsic needs, is part of x86-64.
        unsafe { core::arch::x86_64::_mm_set_epi64x((bytes >> 64) as i64, bytes as i64) }
    }

    /// How many of the first [`PACKED_STARTS`](super::PACKED_STARTS) bytes are at most `slot`.
    #[inline(always)]
    pub(in super::super) fn rank8(starts: Head, slot: usize) -> usize {
        // SAFETY: SSE2, all that the intrinsics need, is part of x86-64.
        let not_after = unsafe {
            let slot = _mm_set1_epi8(slot as i8);
            _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_max_epu8(starts, slot), slot)) as u32
        };
        (!not_after | 1 << super::PACKED_STARTS).trailing_zeros() as usize
    }

    /// How many of the 8 words of 16 bits are at most `slot`.
    #[inline(always)]
    pub(in super::super) fn rank16(starts: Head, slot: usize) -> usize {
        // SAFETY: SSE2, all that the intrinsics need, is part of x86-64.
        let not_after = unsafe {
            let slot = _mm_set1_epi16(slot as i16);
            _mm_movemask_epi8(_mm_cmpeq_epi16(_mm_subs_epu16(starts, slot), _mm_setzero_si128())) as u32
        };
        ((!not_after | 1 << (2 * super::SPARSE_STARTS)).trailing_zeros() / 2) as usize
    }
}

#[cfg(any(all(test, not(loom)), not(target_arch = "x86_64")))]
mod swar {
    /// 16 bytes of starts.
    #[cfg_attr(target_arch = "x86_64", expect(dead_code, reason = "the other architectures' type"))]
    pub(in super::super) type Head = u128;

    #[cfg(all(any(test, loom), not(target_arch = "x86_64")))]
    pub(in super::super) fn head_of(bytes: u128) -> u128 {
        bytes
    }

    #[inline(always)]
    pub(in super::super) fn rank8(starts: u128, slot: usize) -> usize {
        let mut rank = 0;
        for i in 0..super::PACKED_STARTS {
            rank += usize::from((starts >> (8 * i)) as u8 as usize <= slot);
        }
        rank
    }

    #[inline(always)]
    pub(in super::super) fn rank16(starts: u128, slot: usize) -> usize {
        let mut rank = 0;
        for i in 0..super::SPARSE_STARTS {
            rank += usize::from((starts >> (16 * i)) as u16 as usize <= slot);
        }
        rank
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rank_counts_the_starts_not_after_the_slot(mut starts in proptest::collection::vec(any::<u16>(), 8), slot: u16) {
            starts.sort_unstable();
            let bytes = starts.iter().rev().fold(0_u128, |bytes, start| bytes << 16 | u128::from(*start));
            let expected = starts.iter().filter(|start| **start <= slot).count();
            prop_assert_eq!(rank16(head_of(bytes), slot as usize), expected);
            prop_assert_eq!(swar::rank16(bytes, slot as usize), expected);
        }

        #[test]
        fn rank_of_a_byte_counts_eleven_starts(mut starts in proptest::collection::vec(any::<u8>(), 11), slot: u8) {
            starts.sort_unstable();
            let filler = [0xff_u8; 5];
            let bytes = starts.iter().chain(&filler).rev().fold(0_u128, |bytes, start| bytes << 8 | u128::from(*start));
            let expected = starts.iter().filter(|start| **start <= slot).count();
            prop_assert_eq!(rank8(head_of(bytes), slot as usize), expected);
            prop_assert_eq!(swar::rank8(bytes, slot as usize), expected);
        }
    }
}
