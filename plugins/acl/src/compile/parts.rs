//! Parting entries by how much of a packet they name: each part has a table in which what all of it name, bits of the addresses,
//! protocol, exact ports, is looked for by a hash.
//!
//! Few tables make few looks, and tables by much that is named few entries to compare: parts are put together as long as that
//! costs a packet less (as the tables of TupleMerge are: Daly et al., IEEE/ACM Transactions on Networking 27(4), 2019).

use std::collections::HashMap;

use super::entry::Entry;

/// Clocks for a look into a table.
const LOOK: f64 = 16.0;
/// Clocks for the comparison with a few entries.
const COMPARE: f64 = 20.0;
/// Clocks by which a bucket costs more that has [`FEW`] times as many entries: windows tell them apart, some of them only after
/// many, for what leaves a window's bits open is behind all its values. With half of this rule sets of ten thousand come to be
/// in one table, and are copied until there is no room.
const STEP: f64 = 80.0;
/// Entries that are compared at the end of one way.
const FEW: f64 = 8.0;
/// Entries by which parts are judged.
const SAMPLE: usize = 2048;
/// How seldom packets of others come upon entries that name something of the kind.
const SELDOM: [f64; 5] = [0.5, 0.5, 0.7, 0.5, 0.5];
/// Into so many steps the lengths of prefixes are rounded.
const GRID: u32 = 8;

/// Entries that all name certain bits.
pub(super) struct Part<const W: usize> {
    /// The bits.
    pub(super) masks: [u32; W],
    /// The entries, by their numbers.
    pub(super) numbers: Vec<u32>,
}

/// Bits that are named: of source, destination, protocol, source port, destination port.
type Lengths = [u32; 5];

/// A part in the making.
struct Draft {
    lengths: Lengths,
    numbers: Vec<u32>,
    cost: f64,
}

/// The entries in parts.
pub(super) fn parts<const W: usize>(entries: &[Entry<W>]) -> Vec<Part<W>> {
    let mut by_lengths: HashMap<Lengths, Vec<u32>> = HashMap::new();
    for (number, entry) in entries.iter().enumerate() {
        by_lengths.entry(lengths(entry)).or_default().push(number as u32);
    }
    let stride = entries.len().div_ceil(SAMPLE).max(1);
    let cost = |lengths: Lengths, numbers: &[u32]| cost(entries, lengths, numbers, stride);
    let mut drafts: Vec<_> = by_lengths
        .into_iter()
        .map(|(lengths, numbers)| Draft { lengths, cost: cost(lengths, &numbers), numbers })
        .collect();
    // The order does not hang on that of the map.
    drafts.sort_unstable_by_key(|draft| draft.lengths);
    let mut gains: HashMap<(usize, usize), (f64, f64)> = HashMap::new();
    // A draft that went into another one is empty.
    loop {
        let mut best: Option<(f64, f64, usize, usize)> = None;
        for one in 0..drafts.len() {
            for other in one + 1..drafts.len() {
                let (a, b) = (&drafts[one], &drafts[other]);
                if a.numbers.is_empty() || b.numbers.is_empty() {
                    continue;
                }
                let (gain, together) = *gains.entry((one, other)).or_insert_with(|| {
                    let numbers: Vec<_> = a.numbers.iter().chain(&b.numbers).copied().collect();
                    let together = cost(common(a.lengths, b.lengths), &numbers);
                    (a.cost + b.cost - together, together)
                });
                if gain >= best.map_or(0.0, |(gain, ..)| gain) {
                    best = Some((gain, together, one, other));
                }
            }
        }
        let Some((_, together, one, other)) = best else { break };
        let taken = std::mem::take(&mut drafts[other].numbers);
        let lengths = common(drafts[one].lengths, drafts[other].lengths);
        drafts[one].numbers.extend(taken);
        (drafts[one].lengths, drafts[one].cost) = (lengths, together);
        gains.retain(|pair, _| pair.0 != one && pair.1 != one);
    }
    let of = |draft: Draft| {
        let mut numbers = draft.numbers;
        numbers.sort_unstable();
        Part { masks: masks(draft.lengths), numbers }
    };
    drafts.into_iter().filter(|draft| !draft.numbers.is_empty()).map(of).collect()
}

/// Words of source and destination.
fn sides<const W: usize>() -> [std::ops::Range<usize>; 2] {
    let half = (W - 2) / 2;
    [0..half, half..W - 2]
}

/// Bits of an address.
const fn width<const W: usize>() -> u32 {
    (W as u32 - 2) / 2 * 32
}

/// What an entry names.
fn lengths<const W: usize>(entry: &Entry<W>) -> Lengths {
    let step = width::<W>() / GRID;
    let [source, destination] = sides::<W>().map(|words| {
        let length: u32 = entry.masks[words].iter().map(|mask| mask.count_ones()).sum();
        length / step * step
    });
    let port = |(_, more): (u16, u16)| if more == 0 { 16 } else { 0 };
    let protocol = if entry.masks[W - 2] >> 24 == 0xff { 8 } else { 0 };
    [source, destination, protocol, port(entry.source), port(entry.destination)]
}

/// What both name.
fn common(one: Lengths, other: Lengths) -> Lengths {
    std::array::from_fn(|at| one[at].min(other[at]))
}

/// The bits that are named.
fn masks<const W: usize>([source, destination, protocol, from, to]: Lengths) -> [u32; W] {
    let mut masks = [0; W];
    for (words, length) in sides::<W>().into_iter().zip([source, destination]) {
        for (at, mask) in masks[words].iter_mut().enumerate() {
            *mask = high_bits(length.saturating_sub(32 * at as u32).min(32));
        }
    }
    masks[W - 2] = high_bits(protocol);
    masks[W - 1] = high_bits(from) | high_bits(to) >> 16;
    masks
}

fn high_bits(count: u32) -> u32 {
    u32::MAX.checked_shl(32 - count).unwrap_or(0)
}

/// What a packet spends on a part: a look, and what it finds there.
fn cost<const W: usize>(entries: &[Entry<W>], lengths: Lengths, numbers: &[u32], stride: usize) -> f64 {
    let masks = masks::<W>(lengths);
    let mut places: Vec<u64> = numbers
        .iter()
        .step_by(stride)
        .map(|&number| hash(&entry_words(&entries[number as usize]), &masks))
        .collect();
    places.sort_unstable();
    let work: f64 = places
        .chunk_by(|one, other| one == other)
        .map(|bucket| {
            let windows = ((bucket.len() * stride) as f64 / FEW).log(FEW).max(0.0);
            bucket.len() as f64 * (COMPARE + STEP * windows)
        })
        .sum();
    let (own, average) = (numbers.len() as f64 / entries.len() as f64, work / places.len() as f64);
    // Packets that are not its own come upon entries all the same, the more seldom the more these name.
    let others: f64 =
        lengths.iter().zip(SELDOM).filter(|(length, _)| **length > 0).map(|(_, seldom)| seldom).product();
    LOOK + average * (own + (1.0 - own) * others)
}

/// The words of a packet that an entry matches, as far as it names them.
pub(super) fn entry_words<const W: usize>(entry: &Entry<W>) -> [u32; W] {
    let mut words = entry.values;
    words[W - 1] = u32::from(entry.source.0) << 16 | u32::from(entry.destination.0);
    words
}

/// A hash of the words of a packet or of an entry, as far as they are under the masks; its high bits are good ones.
#[inline(always)]
pub(super) fn hash<const W: usize>(words: &[u32; W], masks: &[u32; W]) -> u64 {
    let mut hash = 0;
    for at in (0..W).step_by(2) {
        let both = u64::from(words[at] & masks[at]) << 32 | u64::from(words[at + 1] & masks[at + 1]);
        hash = (hash ^ both).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
    }
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::super::WORDS4;
    use super::*;

    fn entry(source: u32, destination: u32, address: u32) -> Entry<WORDS4> {
        let masks = masks::<WORDS4>([source, destination, 0, 0, 0]);
        let values = [address & masks[0], address & masks[1], 0, 0];
        Entry { values, masks, source: (0, u16::MAX), destination: (0, u16::MAX), rule: 0 }
    }

    #[test]
    fn hosts_of_either_side_are_told_apart_in_tables_of_their_own() {
        let address = |at: u32| 0x0a00_0000 + at * 7;
        let sources = (0..300).map(|at| entry(32, 0, address(at)));
        let destinations = (0..300).map(|at| entry(0, 32, address(at)));
        let few = (0..3).map(|at| entry(8, 24, address(at)));
        let entries: Vec<_> = sources.chain(destinations).chain(few).collect();
        let mut found: Vec<_> =
            parts(&entries).iter().map(|part| (part.masks[0], part.masks[1], part.numbers.len())).collect();
        found.sort_unstable();
        assert!(found.contains(&(0, u32::MAX, 300)) && found.contains(&(u32::MAX, 0, 300)), "{found:?}");
        assert_eq!(found.iter().map(|part| part.2).sum::<usize>(), 603);
    }

    #[test]
    fn few_entries_are_not_worth_a_table_of_their_own() {
        let many = (0..300).map(|at| entry(24, 32, 0x0a00_0000 + at * 7));
        let few = (0..3).map(|at| entry(20, 28, 0x0a00_0000 + at * 77_777));
        let entries: Vec<_> = many.chain(few).collect();
        assert_eq!(parts(&entries).len(), 1);
    }

    #[test]
    fn masks_are_those_of_prefixes() {
        assert_eq!(masks::<WORDS4>([0, 28, 0, 0, 0]), [0, 0xffff_fff0, 0, 0]);
        assert_eq!(
            masks::<10>([48, 128, 8, 0, 16])[..8],
            [u32::MAX, 0xffff_0000, 0, 0, u32::MAX, u32::MAX, u32::MAX, u32::MAX]
        );
    }
}
