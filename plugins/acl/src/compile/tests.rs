//! The classifier finds what a look at each rule in turn finds, whatever the rules and the packets.

use proptest::prelude::*;

use super::*;
use crate::rule::Rule;

/// The first entry that matches, by a look at each.
pub(super) fn scan<const W: usize>(entries: &[Entry<W>], key: &Key<W>) -> u32 {
    entries.iter().find(|entry| entry.matches(key)).map_or(NO_RULE, |entry| entry.rule)
}

/// Values from which rules and packets are made: few, so that they meet.
const ADDRESSES: [u32; 8] =
    [0, 0x0a00_0001, 0x0a00_0102, 0x0a01_0000, 0xc0a8_0101, 0xc0a8_0180, 0x8000_0000, u32::MAX];

fn address() -> impl Strategy<Value = u32> {
    prop_oneof![4 => prop::sample::select(ADDRESSES.to_vec()), 1 => any::<u32>()]
}

fn ports() -> impl Strategy<Value = (u16, u16)> {
    prop_oneof![
        3 => Just((0, u16::MAX)),
        2 => prop::sample::select(vec![0_u16, 53, 80, 443, 1024, 65535]).prop_map(|port| (port, 0)),
        2 => (any::<u16>(), any::<u16>()).prop_map(|(one, other)| (one.min(other), one.abs_diff(other))),
    ]
}

fn meta_match() -> impl Strategy<Value = (u32, u32)> {
    let protocol = prop::sample::select(vec![(0_u8, 0_u8), (255, 6), (255, 17), (255, 1)]);
    let flags =
        prop_oneof![4 => Just((0_u8, 0_u8)), 1 => (any::<u8>(), any::<u8>()).prop_map(|(v, m)| (m, v & m))];
    let dscp = prop_oneof![4 => Just((0_u8, 0_u8)), 1 => Just((63_u8, 46_u8))];
    let bits =
        prop_oneof![4 => Just((0_u32, 0_u32)), 1 => (0..8_u32, 0..8_u32).prop_map(|(v, m)| (m, v & m))];
    (protocol, flags, dscp, bits)
        .prop_map(|(p, f, d, b)| (meta(p.0, f.0, d.0, b.0), meta(p.1, f.1, d.1, b.1)))
}

fn mask(length: u32) -> u32 {
    u32::MAX.checked_shl(32 - length).unwrap_or(0)
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![2 => Just(0_u32), 2 => Just(32_u32), 2 => 1..32_u32]
}

pub(super) fn entry4() -> impl Strategy<Value = Entry<WORDS4>> {
    (address(), length(), address(), length(), meta_match(), ports(), ports()).prop_map(
        |(from, from_length, to, to_length, (meta_mask, meta_value), source, destination)| {
            let masks = [mask(from_length), mask(to_length), meta_mask, 0];
            Entry {
                values: [from & masks[0], to & masks[1], meta_value, 0],
                masks,
                source,
                destination,
                rule: 0,
            }
        },
    )
}

fn entry6() -> impl Strategy<Value = Entry<WORDS6>> {
    let side = || (prop::array::uniform4(address()), prop_oneof![Just(0_u32), Just(128), 1..128_u32]);
    (side(), side(), meta_match(), ports(), ports()).prop_map(
        |(from, to, (meta_mask, meta_value), source, destination)| {
            let mut entry = Entry { values: [0; WORDS6], masks: [0; WORDS6], source, destination, rule: 0 };
            for (side, (words, length)) in [from, to].into_iter().enumerate() {
                for (at, word) in words.into_iter().enumerate() {
                    let bits = mask(length.saturating_sub(32 * at as u32).min(32));
                    (entry.masks[side * 4 + at], entry.values[side * 4 + at]) = (bits, word & bits);
                }
            }
            (entry.masks[META6], entry.values[META6]) = (meta_mask, meta_value);
            entry
        },
    )
}

pub(super) fn in_order<const W: usize>(mut entries: Vec<Entry<W>>) -> Vec<Entry<W>> {
    entries.iter_mut().enumerate().for_each(|(place, entry)| entry.rule = place as u32);
    entries
}

/// A packet that an entry matches, but for the bits of `noise`.
pub(super) fn near<const W: usize>(entry: &Entry<W>, noise: [u32; W]) -> Key<W> {
    let mut key = Key { words: noise };
    for (word, noise) in noise.iter().enumerate() {
        key.words[word] = entry.values[word] | noise & !entry.masks[word];
    }
    let port =
        |(first, more): (u16, u16), noise: u16| u32::from(first) + u32::from(noise) % (u32::from(more) + 1);
    let noise = noise[W - 1];
    key.words[W - 1] = port(entry.source, (noise >> 16) as u16) << 16 | port(entry.destination, noise as u16);
    key
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn finds_what_a_scan_finds_in_ip4(
        entries in prop::collection::vec(entry4(), 0..120),
        keys in prop::collection::vec((any::<prop::sample::Index>(), any::<[u32; 4]>(), any::<bool>()), 200)
    ) {
        let entries = in_order(entries);
        let classifier = Classifier::new(&entries);
        let keys: Vec<_> = keys
            .into_iter()
            .map(|(at, noise, random)| match random || entries.is_empty() {
                true => Key { words: noise },
                false => near(&entries[at.index(entries.len())], noise),
            })
            .collect();
        let mut found = vec![0; keys.len()];
        classifier.find_frame(&keys, &mut found, &mut Walk::default());
        for (key, found) in keys.iter().zip(found) {
            prop_assert_eq!((classifier.find(key), found), (scan(&entries, key), scan(&entries, key)));
        }
    }

    #[test]
    fn finds_what_a_scan_finds_in_ip6(
        entries in prop::collection::vec(entry6(), 0..80),
        keys in prop::collection::vec((any::<prop::sample::Index>(), any::<[u32; 10]>(), any::<bool>()), 100)
    ) {
        let entries = in_order(entries);
        let classifier = Classifier::new(&entries);
        let keys: Vec<_> = keys
            .into_iter()
            .map(|(at, noise, random)| match random || entries.is_empty() {
                true => Key { words: noise },
                false => near(&entries[at.index(entries.len())], noise),
            })
            .collect();
        let mut found = vec![0; keys.len()];
        classifier.find_frame(&keys, &mut found, &mut Walk::default());
        for (key, found) in keys.iter().zip(found) {
            prop_assert_eq!((classifier.find(key), found), (scan(&entries, key), scan(&entries, key)));
        }
    }
}

#[test]
fn ten_thousand_rules_are_found_as_by_a_scan_and_without_many_copies() {
    // A fixed linear congruence: the same rules on every run.
    let mut state = 7_u64;
    let mut next = move |bound: u32| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 33) as u32) % bound
    };
    let mut entries = Vec::new();
    for _ in 0..10_000 {
        let any = next(10);
        let (from, to) = (0x0a00_0000 | next(1 << 24), 0xac10_0000 | next(1 << 20));
        let masks = [
            if any < 2 { 0 } else { mask(16 + next(17)) },
            if any == 9 { 0 } else { mask(16 + next(17)) },
            meta(255, 0, 0, 0),
            0,
        ];
        let destination =
            if next(3) == 0 { (0, u16::MAX) } else { (next(2000) as u16, next(2) as u16 * 100) };
        let protocol = if next(2) == 0 { 6 } else { 17 };
        let values = [from & masks[0], to & masks[1], meta(protocol, 0, 0, 0), 0];
        entries.push(Entry { values, masks, source: (0, u16::MAX), destination, rule: 0 });
    }
    let entries = in_order(entries);
    let classifier = Classifier::new(&entries);
    assert!(classifier.bytes() < 16 << 20, "{} bytes", classifier.bytes());
    let mut walk = Walk::default();
    for _ in 0..12 {
        let keys: Vec<_> = (0..256)
            .map(|_| {
                let noise = [next(u32::MAX), next(u32::MAX), next(u32::MAX), next(u32::MAX)];
                near(&entries[next(10_000) as usize], noise)
            })
            .collect();
        let mut found = vec![0; keys.len()];
        classifier.find_frame(&keys, &mut found, &mut walk);
        for (key, found) in keys.iter().zip(found) {
            assert_eq!((classifier.find(key), found), (scan(&entries, key), scan(&entries, key)));
        }
    }
}

#[test]
fn sets_and_ports_multiply_up_to_a_bound() {
    let rule: Rule = "permit tcp from @many to @many port 1,2".parse().unwrap();
    let many: Vec<_> =
        (0..200_u32).map(|at| crate::rule_text::prefix(&format!("10.0.0.{at}")).unwrap()).collect();
    assert_eq!(expand(&mut Expanded::default(), &rule, 0, |_| &many), Err(TooManyEntries));
    let mut expanded = Expanded::default();
    expand(&mut expanded, &rule, 0, |_| &many[..3]).unwrap();
    assert_eq!((expanded.ip4.len(), expanded.ip6.len()), (18, 0));
}
