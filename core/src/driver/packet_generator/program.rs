//! A template made ready to run: the packet's bytes, and the few stores that make the next packet of it.

use std::sync::Arc;

use super::random::Random;

/// Checksums that a packet may have filled in.
pub(super) const MAX_CHECKS: usize = 8;

/// A compiled template. It is shared; each queue walks through its values with a [`Cursor`] of its own.
#[derive(Debug)]
pub struct Program {
    /// The packet, as long as the longest of its sizes.
    pub(super) image: Vec<u8>,
    /// What depends on the size, one for each.
    pub(super) variants: Vec<Variant>,
    /// Positions in `variants`, gone through again and again; empty: there is one.
    pub(super) cycle: Vec<u32>,
    /// Whether sizes are drawn from `cycle` at random.
    pub(super) random_size: bool,
    /// Fields that have several values.
    pub(super) patches: Vec<Patch>,
    /// Where lengths are stored that depend on the size.
    pub(super) length_offsets: Vec<usize>,
    /// Checksums, the innermost first.
    pub(super) checks: Vec<Check>,
    /// Whether all fields go on with each packet, in place of one after the other has gone around.
    pub(super) in_step: bool,
}

/// What depends on a packet's size.
#[derive(Debug)]
pub(super) struct Variant {
    /// The packet's length in bytes.
    pub(super) length: usize,
    /// Values for `length_offsets`.
    pub(super) lengths: Vec<u16>,
    /// For each checksum, the sum of all that does not change from packet to packet.
    pub(super) sums: [u64; MAX_CHECKS],
}

/// A field that has several values.
#[derive(Debug)]
pub(super) struct Patch {
    pub(super) offset: usize,
    /// Bytes: 1, 2, 4, 6 or 16.
    pub(super) width: usize,
    /// What is added to `base`.
    pub(super) draw: Draw,
    /// The first value, in its place among the bits that stay.
    pub(super) base: u128,
    /// Checksums that cover it.
    pub(super) feeds: Vec<Feed>,
}

/// How a field's next value is found.
#[derive(Debug)]
pub(super) enum Draw {
    /// A digit that counts from 0 to below `count`, `unit` each.
    Count {
        /// How many values.
        count: u64,
        /// From one to the next.
        unit: u128,
    },
    /// A random number below `count`, `unit` each.
    Range {
        /// How many values.
        count: u64,
        /// From one to the next.
        unit: u128,
    },
    /// Random bits under the mask.
    Bits(u128),
}

/// A checksum that covers something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Feed {
    /// Which checksum, by position.
    pub(super) check: usize,
    /// 8 if the bytes end on the high half of a word that is summed, else 0.
    pub(super) shift: u32,
}

/// A checksum to fill in.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) offset: usize,
    /// Zero is stored as all ones (UDP).
    pub(super) never_zero: bool,
    /// A wrong one is stored.
    pub(super) bad: bool,
    /// Checksums of outer layers that cover it.
    pub(super) feeds: Vec<Feed>,
}

impl Program {
    /// Bytes of the packet of a variant, before it is written.
    #[inline(always)]
    pub(super) fn bytes(&self, variant: usize) -> &[u8] {
        &self.image[..self.variants[variant].length]
    }

    /// Makes a packet of the variant's bytes: what varies, lengths and checksums. `digits` are those of the patches.
    #[inline]
    pub(super) fn finish(&self, variant: usize, digits: &[u64], random: &mut Random, bytes: &mut [u8]) {
        let facts = &self.variants[variant];
        let mut sums = facts.sums;
        if self.variants.len() > 1 {
            for (&offset, &length) in self.length_offsets.iter().zip(&facts.lengths) {
                store(bytes, offset, length.to_be_bytes());
            }
        }
        for (patch, &digit) in self.patches.iter().zip(digits) {
            let value = patch.base
                + match patch.draw {
                    Draw::Count { unit, .. } => u128::from(digit) * unit,
                    Draw::Range { count, unit } => u128::from(random.below(count)) * unit,
                    Draw::Bits(mask) => (u128::from(random.next()) << 64 | u128::from(random.next())) & mask,
                };
            match patch.width {
                1 => store(bytes, patch.offset, (value as u8).to_be_bytes()),
                2 => store(bytes, patch.offset, (value as u16).to_be_bytes()),
                4 => store(bytes, patch.offset, (value as u32).to_be_bytes()),
                6 => {
                    let [.., a, b, c, d, e, f] = value.to_be_bytes();
                    store(bytes, patch.offset, [a, b, c, d, e, f]);
                }
                _ => store(bytes, patch.offset, value.to_be_bytes()),
            }
            for feed in &patch.feeds {
                sums[feed.check % MAX_CHECKS] += words(value) << feed.shift;
            }
        }
        for (position, check) in self.checks.iter().enumerate() {
            let mut checksum = !fold(sums[position % MAX_CHECKS]);
            if check.never_zero && checksum == 0 {
                checksum = 0xffff;
            }
            if check.bad {
                checksum = wrong(checksum);
            }
            store(bytes, check.offset, checksum.to_be_bytes());
            for feed in &check.feeds {
                sums[feed.check % MAX_CHECKS] += u64::from(checksum) << feed.shift;
            }
        }
    }

    /// The longest packet in bytes.
    pub fn longest(&self) -> usize {
        self.image.len()
    }
}

/// Where a queue stands in a program.
#[derive(Debug)]
pub struct Cursor {
    program: Arc<Program>,
    digits: Vec<u64>,
    size_at: usize,
    stride: u64,
    random: Random,
}

impl Cursor {
    /// The start of share number `share` of `shares`: it makes packets number `share`, `share + shares` and so on.
    pub fn new(program: Arc<Program>, seed: u64, share: u32, shares: u32) -> Self {
        let stride = u64::from(shares.max(1));
        let mut cursor = Self {
            digits: vec![0; program.patches.len()],
            size_at: share as usize % program.cycle.len().max(1),
            stride,
            random: Random::new(seed ^ u64::from(share).wrapping_mul(0xd6e8_feb8_6659_fd93)),
            program,
        };
        cursor.advance_digits(u64::from(share));
        cursor
    }

    /// Which of the program's variants comes next.
    #[inline(always)]
    pub(super) fn variant(&mut self) -> usize {
        let cycle = &self.program.cycle;
        if cycle.is_empty() {
            return 0;
        }
        let at = if self.program.random_size {
            self.random.below(cycle.len() as u64) as usize
        } else {
            self.size_at
        };
        cycle[at] as usize
    }

    /// The program.
    #[inline(always)]
    pub(super) fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Makes the next packet of the variant's bytes, and goes on. Bytes behind the end of `bytes` are left out.
    #[inline]
    pub(super) fn write(&mut self, variant: usize, bytes: &mut [u8]) {
        self.program.finish(variant, &self.digits, &mut self.random, bytes);
        if !self.digits.is_empty() {
            self.advance_digits(self.stride);
        }
        let sizes = self.program.cycle.len();
        if sizes > 0 {
            self.size_at = (self.size_at + self.stride as usize) % sizes;
        }
    }

    #[inline]
    fn advance_digits(&mut self, by: u64) {
        let mut carry = by;
        for (patch, digit) in self.program.patches.iter().zip(&mut self.digits) {
            let Draw::Count { count, .. } = patch.draw else { continue };
            let add = if self.program.in_step { by } else { carry };
            if add < count - *digit {
                *digit += add;
                carry = 0;
            } else {
                let total = u128::from(*digit) + u128::from(add);
                *digit = (total % u128::from(count)) as u64;
                carry = (total / u128::from(count)) as u64;
            }
            if carry == 0 && !self.program.in_step {
                break;
            }
        }
    }
}

#[inline(always)]
fn store<const N: usize>(bytes: &mut [u8], offset: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(offset..offset + N) {
        place.copy_from_slice(&value);
    }
}

/// The sum of a number's big-endian 16-bit words, not folded: below 2^34.
#[inline(always)]
fn words(value: u128) -> u64 {
    let (high, low) = ((value >> 64) as u64, value as u64);
    (high >> 32) + (high & 0xffff_ffff) + (low >> 32) + (low & 0xffff_ffff)
}

/// One's complement addition down to 16 bits (RFC 1071).
#[inline(always)]
pub(super) fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum + (sum >> 16)) as u16
}

/// A checksum that is not this one, nor zero, which for UDP means none.
fn wrong(checksum: u16) -> u16 {
    match checksum ^ 0x8000 {
        0 => 0x1234,
        other => other,
    }
}
