//! Windows: some neighbouring bits of a key's words, by which a node of the tree tells its children apart.

use super::entry::Entry;

/// Bits of a key: `width` bits of word `word`, from bit `shift` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) word: u8,
    pub(super) shift: u8,
    pub(super) width: u8,
}

/// Children that an entry belongs to: `count` of them from `first` on, round the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) first: u32,
    pub(super) count: u32,
}

impl Window {
    pub(super) fn mask(self) -> u32 {
        (1 << self.width) - 1
    }

    /// Where packets can be that an entry matches.
    pub(super) fn share<const W: usize>(self, entry: &Entry<W>) -> Share {
        if usize::from(self.word) == W - 1 {
            let (low, more) = if self.shift >= 16 { entry.source } else { entry.destination };
            return self.of_range(low, more);
        }
        let mask = entry.masks[usize::from(self.word)] >> self.shift & self.mask();
        let value = entry.values[usize::from(self.word)] >> self.shift & self.mask();
        let free = self.mask() & !mask;
        // The bits that are not compared are the low ones, or the entry counts as one that compares none.
        if free & (free + 1) == 0 {
            Share { first: value, count: free + 1 }
        } else {
            Share { first: 0, count: self.mask() + 1 }
        }
    }

    fn of_range(self, low: u16, more: u16) -> Share {
        let shift = u32::from(self.shift) % 16;
        let (first, last) = (u32::from(low) >> shift, (u32::from(low) + u32::from(more)) >> shift);
        let count = last - first + 1;
        if count > self.mask() {
            Share { first: 0, count: self.mask() + 1 }
        } else {
            Share { first: first & self.mask(), count }
        }
    }
}

/// Every window of about `width` bits that is worth a look.
pub(super) fn candidates<const W: usize>(width: u8) -> impl Iterator<Item = Window> {
    (0..W).flat_map(move |word| {
        // Addresses are told apart by any bits; ports by those of one of the two; the rest by protocol, flags, DSCP and
        // fragments.
        let (low, high): (&'static [u8], u8) = if word == W - 1 {
            (&[0, 16], 16)
        } else if word == W - 2 {
            (&[0, 8, 16, 24], 8)
        } else {
            (&[0], 32)
        };
        low.iter().flat_map(move |&base| {
            let width = width.min(high);
            (0..=(high - width) / 2).map(move |step| Window {
                word: word as u8,
                shift: base + step * 2,
                width,
            })
        })
    })
}
