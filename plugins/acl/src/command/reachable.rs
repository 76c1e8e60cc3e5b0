//! Rules that can never match: all that they match is matched by rules before them.

use crate::compile::Entry;

/// Pieces that one entry is cut into before it is given up.
const MOST_PIECES: usize = 4000;

/// Whether the earlier entries together match all that an entry does. `None`: to say would take too long.
pub fn is_covered<const W: usize>(entry: &Entry<W>, earlier: &[Entry<W>]) -> Option<bool> {
    let earlier: Vec<_> = earlier.iter().filter(|other| !are_disjoint(entry, other)).copied().collect();
    let mut left = MOST_PIECES;
    covered(*entry, &earlier, &mut left)
}

/// Cuts off what the first of the earlier entries does not match, piece by piece: each must be matched by the others.
fn covered<const W: usize>(mut entry: Entry<W>, earlier: &[Entry<W>], left: &mut usize) -> Option<bool> {
    *left = left.checked_sub(1)?;
    let Some(at) = earlier.iter().position(|other| !are_disjoint(&entry, other)) else { return Some(false) };
    let (cutter, rest) = (earlier[at], &earlier[at + 1..]);
    for word in 0..W {
        let mut open = cutter.masks[word] & !entry.masks[word];
        while open != 0 {
            let bit = 1 << (31 - open.leading_zeros());
            open &= !bit;
            entry.masks[word] |= bit;
            let mut piece = entry;
            piece.values[word] |= !cutter.values[word] & bit;
            if !covered(piece, rest, left)? {
                return Some(false);
            }
            entry.values[word] |= cutter.values[word] & bit;
        }
    }
    for is_source in [true, false] {
        let (own, of) =
            if is_source { (entry.source, cutter.source) } else { (entry.destination, cutter.destination) };
        let (first, last) = (own.0, own.0 + own.1);
        let (from, to) = (of.0, of.0 + of.1);
        let mut pieces = Vec::new();
        if first < from {
            pieces.push((first, from - 1 - first));
        }
        if last > to {
            pieces.push((to + 1, last - to - 1));
        }
        let set = |entry: &mut Entry<W>, range| {
            if is_source {
                entry.source = range;
            } else {
                entry.destination = range;
            }
        };
        for range in pieces {
            let mut piece = entry;
            set(&mut piece, range);
            if !covered(piece, rest, left)? {
                return Some(false);
            }
        }
        let (first, last) = (first.max(from), last.min(to));
        set(&mut entry, (first, last - first));
    }
    Some(true)
}

fn are_disjoint<const W: usize>(one: &Entry<W>, other: &Entry<W>) -> bool {
    let apart = |one: (u16, u16), other: (u16, u16)| {
        u32::from(one.0) + u32::from(one.1) < u32::from(other.0)
            || u32::from(other.0) + u32::from(other.1) < u32::from(one.0)
    };
    (0..W).any(|word| (one.values[word] ^ other.values[word]) & one.masks[word] & other.masks[word] != 0)
        || apart(one.source, other.source)
        || apart(one.destination, other.destination)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{Expanded, expand};

    fn covered(rules: &[&str]) -> Option<bool> {
        let mut expanded = Expanded::default();
        for (place, rule) in rules.iter().enumerate() {
            expand(&mut expanded, &rule.parse().unwrap(), place as u32, |_| &[]).unwrap();
        }
        let (last, earlier) = expanded.ip4.split_last().unwrap();
        is_covered(last, earlier)
    }

    #[test]
    fn one_rule_or_several_together_hide_another() {
        for (rules, hidden) in [
            (&["permit ip", "deny tcp"][..], true),
            (&["permit tcp", "deny ip"], false),
            (&["permit ip from 0.0.0.0/1", "permit ip from 128.0.0.0/1", "deny ip4"], true),
            (&["permit ip from 0.0.0.0/1", "permit ip from 128.0.0.0/2", "deny ip4"], false),
            (
                &[
                    "permit tcp to any port 0-1000",
                    "permit tcp to any port 1001-60000",
                    "deny ip4 tcp from any port 7",
                ],
                false,
            ),
            (
                &[
                    "permit tcp to any port 0-1000",
                    "permit tcp to any port 1001-65535",
                    "deny ip4 tcp from any port 7 to any port 5-2000",
                ],
                true,
            ),
            (&["permit icmp type 0-7", "permit icmp type 8-255", "deny icmp type 3"], true),
        ] {
            assert_eq!(covered(rules), Some(hidden), "{rules:?}");
        }
    }
}
