//! What rule sets are made from: the parameters of three seeds that were published with ClassBench (Taylor and Turner, IEEE/ACM
//! Transactions on Networking 15(3), 2007): `acl1`, `fw1` and `ipc1`, each taken from one filter set that was in use.
//!
//! They are here as text of our own form, a keyword and its entries a line; lines that begin with a blank go on with the one
//! before. Shares are in ten-thousandths, of the same line's choices. The last two keywords but one describe the prefixes as a
//! binary tree: by length the share of nodes with two children, and how much lighter the lighter one is; `correlation`: by length
//! how often the destination goes on as the source does, having done so until then.

use std::collections::HashMap;
use std::str::FromStr;

use super::workload::Random;

/// Shares are of this.
const WHOLE: u64 = 10_000;

/// A seed.
pub struct Seed {
    /// Rules of the set that it was taken from.
    pub rules: usize,
    /// Protocols; 0 is any.
    pub protocols: Choice<u8>,
    lines: HashMap<&'static str, &'static str>,
    trees: [Tree; 2],
    correlation: Vec<u64>,
}

/// What one of a few things is, each with its share.
#[derive(Clone, Debug)]
pub struct Choice<T> {
    entries: Vec<(T, u64)>,
    total: u64,
}

/// What ports a rule names, source and destination, by ClassBench's five kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortKinds {
    /// The name of both, as in the keyword of their prefixes' lengths.
    pub name: &'static str,
}

/// A branch of prefixes: by length, the share of nodes with two children, and the share of the heavier one of two.
#[derive(Clone, Debug)]
struct Tree {
    levels: [(u64, u64); 32],
}

impl Seed {
    /// Reads a seed, which is one of those beside this file.
    ///
    /// # Panics
    /// It is not in their form.
    pub fn parse(text: &'static str) -> Self {
        let mut lines = HashMap::new();
        let mut rest = text;
        while !rest.is_empty() {
            // Up to the next line that begins with a keyword.
            let end = rest.match_indices('\n').find(|(at, _)| !rest[at + 1..].starts_with(' '));
            let (line, behind) = rest.split_at(end.map_or(rest.len(), |(at, _)| at + 1));
            let (keyword, entries) = line.split_once(' ').expect("a keyword and its entries");
            lines.insert(keyword, entries);
            rest = behind;
        }
        let by_length = |keyword: &str| {
            let entries =
                lines[keyword].split_whitespace().map(|entry| entry.split_once(':').expect("a pair"));
            entries.map(|(length, what)| (number::<usize>(length), what)).collect::<Vec<_>>()
        };
        let tree = |keyword: &str| {
            let mut levels = [(0, WHOLE); 32];
            for (length, what) in by_length(keyword) {
                let (two, lighter) = what.split_once('/').expect("two shares");
                let (two, lighter): (u64, u64) = (number(two), number(lighter));
                // The lighter one has so much less than the heavier one, of what that has.
                levels[length] = (two, WHOLE * WHOLE / (2 * WHOLE - lighter));
            }
            Tree { levels }
        };
        let mut correlation = vec![0; 33];
        by_length("correlation").into_iter().for_each(|(length, share)| correlation[length] = number(share));
        Self {
            rules: number(lines["rules"].trim()),
            protocols: Choice::parse(lines["protocols"], number),
            trees: [tree("source-tree"), tree("destination-tree")],
            correlation,
            lines,
        }
    }

    /// Which kinds of ports the rules of a protocol name.
    pub fn port_kinds(&self, protocol: u8) -> Choice<PortKinds> {
        Choice::parse(self.lines[format!("ports-{protocol}").as_str()], |name| PortKinds { name })
    }

    /// The flags of a protocol's rules: value and mask; of ICMP the type.
    pub fn flags(&self, protocol: u8) -> Choice<(u8, u8)> {
        let hexadecimal = |text| u8::from_str_radix(text, 16).expect("two hexadecimal digits");
        Choice::parse(self.lines[format!("flags-{protocol}").as_str()], |pair| {
            let (value, mask) = pair.split_once('/').expect("value and mask");
            (hexadecimal(value), hexadecimal(mask))
        })
    }

    /// Ports of `side`, `source` or `destination`, of these kinds: first and last.
    pub fn ports(&self, side: &str, kinds: PortKinds, random: &mut Random) -> (u16, u16) {
        let (source, destination) = kinds.name.split_once('-').expect("two kinds");
        match if side == "source" { source } else { destination } {
            "any" => (0, u16::MAX),
            "high" => (1024, u16::MAX),
            "low" => (0, 1023),
            "range" => Choice::parse(self.lines[format!("{side}-ranges").as_str()], |range| {
                let (first, last) = range.split_once('-').expect("two ports");
                (number(first), number(last))
            })
            .pick(random),
            _ => {
                let port = Choice::parse(self.lines[format!("{side}-ports").as_str()], number).pick(random);
                (port, port)
            }
        }
    }

    /// Lengths of both prefixes of a rule with these kinds of ports.
    pub fn lengths(&self, kinds: PortKinds, random: &mut Random) -> (u32, u32) {
        Choice::parse(self.lines[format!("lengths-{}", kinds.name).as_str()], |pair| {
            let (source, destination) = pair.split_once('+').expect("two lengths");
            (number(source), number(destination))
        })
        .pick(random)
    }

    /// Addresses of two prefixes of these lengths, at a site: each has a tree of its own.
    pub fn addresses(&self, site: u64, lengths: (u32, u32), random: &mut Random) -> (u32, u32) {
        let source = self.trees[0].walk(site << 1, 0, 0..lengths.0, random);
        let together = (0..lengths.0.min(lengths.1))
            .find(|&level| random.below(WHOLE) >= self.correlation[level as usize + 1])
            .unwrap_or(lengths.0.min(lengths.1));
        let shared = source & high_bits(together);
        // Where they part the destination takes the other way, if that is not where the source ends.
        let (mut begin, mut parted) = (shared, together);
        if together < lengths.0.min(lengths.1) {
            begin |= !source & (1 << (31 - together));
            parted += 1;
        }
        (source, self.trees[1].walk(site << 1 | 1, begin, parted..lengths.1, random))
    }
}

impl Tree {
    /// Goes down from a prefix, as heavily as the branches are used.
    fn walk(&self, salt: u64, mut prefix: u32, levels: std::ops::Range<u32>, random: &mut Random) -> u32 {
        for level in levels {
            let (two, heavier) = self.levels[level as usize];
            // A node is the same whoever comes by.
            let node = Random(salt << 40 ^ u64::from(level) << 32 ^ u64::from(prefix)).next();
            let has_two = (node >> 8) % WHOLE < two;
            let leaves_the_heavy = has_two && random.below(WHOLE) >= heavier;
            let bit = node as u32 & 1 ^ u32::from(leaves_the_heavy);
            prefix |= bit << (31 - level);
        }
        prefix
    }
}

impl<T: Copy> Choice<T> {
    fn parse(entries: &'static str, read: impl Fn(&'static str) -> T) -> Self {
        let entries: Vec<_> = entries
            .split_whitespace()
            .map(|entry| {
                let (what, share) = entry.rsplit_once(':').expect("each has a share");
                (read(what), number(share))
            })
            .collect();
        let total = entries.iter().map(|(_, share)| share).sum();
        Self { entries, total }
    }

    /// One of them, by chance.
    pub fn pick(&self, random: &mut Random) -> T {
        let mut at = random.below(self.total);
        for &(what, share) in &self.entries {
            if at < share {
                return what;
            }
            at -= share;
        }
        self.entries[0].0
    }
}

/// The mask of a prefix of this length.
pub fn high_bits(length: u32) -> u32 {
    u32::MAX.checked_shl(32 - length).unwrap_or(0)
}

fn number<T: FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a number within its bounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept_to() {
        let mut random = Random(1);
        let choice = Choice::parse("6:7500 17:2500", number::<u8>);
        let tcp = (0..4000).filter(|_| choice.pick(&mut random) == 6).count();
        assert!((2850..3150).contains(&tcp), "{tcp}");
    }

    #[test]
    fn prefixes_meet_in_few_trunks_and_part_below() {
        let seed = Seed::parse(include_str!("rule_seeds/acl.txt"));
        let mut random = Random(2);
        let of = |site, random: &mut Random| seed.addresses(site, (32, 32), random).0;
        let mut tops: Vec<_> = (0..500).map(|_| of(0, &mut random) >> 8).collect();
        let mut hosts: Vec<_> = (0..500).map(|_| of(0, &mut random)).collect();
        for list in [&mut tops, &mut hosts] {
            list.sort_unstable();
            list.dedup();
        }
        assert!(tops.len() < 8 && hosts.len() > 8, "{} {}", tops.len(), hosts.len());
        assert_ne!(of(0, &mut Random(3)) >> 8, of(1, &mut Random(3)) >> 8, "sites lie apart");
    }
}
