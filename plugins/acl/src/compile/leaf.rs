//! What a packet is compared with at the end of its way down a tree: four entries at once, without a branch.

use super::classifier::NO_RULE;
use super::entry::{Entry, Key};

/// Entries of a block.
pub(super) const LANES: usize = 4;

/// Entries that are compared together, one a lane, in order. Words are those of [`Entry`]; in place of the last one, which is no
/// word of theirs, stand the ports: below the masks those of the source, below the values those of the destination, each the
/// first one above how many more there are.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(super) struct Block<const W: usize> {
    masks: [[u32; LANES]; W],
    values: [[u32; LANES]; W],
    /// The rules, and [`NO_RULE`] for a packet that matches in no lane.
    rules: [u32; 2 * LANES],
}

impl<const W: usize> Block<W> {
    /// Of these entries, four at most.
    pub(super) fn new(entries: impl Iterator<Item = Entry<W>>) -> Self {
        // A lane without entry compares nothing with what is not nothing.
        let mut block =
            Self { masks: [[0; LANES]; W], values: [[u32::MAX; LANES]; W], rules: [NO_RULE; 2 * LANES] };
        let range = |(first, more): (u16, u16)| u32::from(first) << 16 | u32::from(more);
        for (lane, entry) in entries.take(LANES).enumerate() {
            for word in 0..W - 1 {
                (block.masks[word][lane], block.values[word][lane]) = (entry.masks[word], entry.values[word]);
            }
            block.masks[W - 1][lane] = range(entry.source);
            block.values[W - 1][lane] = range(entry.destination);
            block.rules[lane] = entry.rule;
        }
        block
    }

    /// The rule of the first entry that matches, or [`NO_RULE`].
    #[inline(always)]
    pub(super) fn find(&self, key: &Key<W>) -> u32 {
        let mut differ = [0; LANES];
        for word in 0..W - 1 {
            for (lane, differ) in differ.iter_mut().enumerate() {
                *differ |= (key.words[word] & self.masks[word][lane]) ^ self.values[word][lane];
            }
        }
        let ports = key.words[W - 1];
        let sides = [(ports >> 16, &self.masks[W - 1]), (ports & 0xffff, &self.values[W - 1])];
        for (port, ranges) in sides {
            for (differ, range) in differ.iter_mut().zip(ranges) {
                // Below the first one, or above the last: the sign of one of the two differences says so.
                let above = port.wrapping_sub(range >> 16);
                let below = (range & 0xffff).wrapping_sub(above);
                *differ |= (above | below) & 1 << 31;
            }
        }
        let hits = differ
            .iter()
            .enumerate()
            .fold(1 << LANES, |hits, (lane, &differ)| hits | u32::from(differ == 0) << lane);
        self.rules[hits.trailing_zeros() as usize % (2 * LANES)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Key4, WORDS4};
    use super::*;

    #[test]
    fn the_first_lane_that_matches_counts() {
        let entry = |rule, source, destination| Entry::<WORDS4> {
            values: [0x0a00_0000, 0, 0, 0],
            masks: [0xff00_0000, 0, 0, 0],
            source,
            destination,
            rule,
        };
        let any = (0, u16::MAX);
        let entries =
            [entry(3, any, (80, 0)), entry(5, (1024, u16::MAX - 1024), any), entry(9, any, (65_535, 0))];
        let block = Block::new(entries.into_iter());
        let found =
            |source: u32, port: u32, to: u32| block.find(&Key4 { words: [source, 1, 2, port << 16 | to] });
        assert_eq!(found(0x0a00_0001, 1, 80), 3);
        assert_eq!(found(0x0a00_0001, 1024, 79), 5);
        assert_eq!(found(0x0a00_0001, 65_535, 81), 5);
        assert_eq!(found(0x0a00_0001, 1023, 65_535), 9);
        assert_eq!(found(0x0a00_0001, 1023, 65_534), NO_RULE);
        assert_eq!(found(0x0b00_0001, 1024, 80), NO_RULE);
        assert_eq!(Block::new([].into_iter()).find(&Key4 { words: [u32::MAX; 4] }), NO_RULE);
    }
}
