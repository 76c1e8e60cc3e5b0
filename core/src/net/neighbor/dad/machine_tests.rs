//! Tests of the trials: the RFCs' rules by virtual time, bounds as a law.

use proptest::prelude::*;
use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::wire::MacAddress;

use super::machine::{Detection, Effect, Word};
use crate::net::neighbor::{NeighborKey, Random};

const SECOND: u64 = 1_000_000_000;
const HOLDER: Option<MacAddress> = Some(MacAddress([2, 0, 0, 0, 0, 9]));

fn key(address: &str) -> NeighborKey {
    NeighborKey { interface: InterfaceIndex(1), address: address.parse().unwrap() }
}

/// Runs until nothing is due any more before `until`; effects with their times in ns.
fn run(detection: &mut Detection, random: &mut Random, until: u64) -> Vec<(u64, Effect)> {
    let mut all = Vec::new();
    while let Some(next) = detection.next_ns().filter(|next| *next <= until) {
        let mut out = Vec::new();
        detection.expire(next, random, &mut out);
        all.extend(out.into_iter().map(|effect| (next, effect)));
    }
    all
}

// RFC 4862 §5.4.2: DupAddrDetectTransmits solicitations, RetransTimer apart, and as long to wait for an answer.
#[test]
fn ip6_address_is_asked_for_as_often_as_configured_then_used() {
    for transmits in [1, 3] {
        let (mut detection, mut random) = (Detection::default(), Random::default());
        let key = key("2001:db8::1");
        detection.begin(0, key, transmits, SECOND, &mut random);
        let effects = run(&mut detection, &mut random, 100 * SECOND);
        let (probes, last) = effects.split_at(transmits as usize);
        assert!(probes[0].0 <= SECOND, "a delay of at most a second");
        for (number, (at, effect)) in probes.iter().enumerate() {
            assert!(matches!(effect, Effect::Probe { .. }));
            assert_eq!(*at, probes[0].0 + number as u64 * SECOND);
        }
        assert_eq!(last, [(probes[0].0 + u64::from(transmits) * SECOND, Effect::Unique { key })]);
        assert_eq!(detection.tried().count(), 0);
    }
}

// RFC 5227 §2.1.1, with the shorter waits that the machine says.
#[test]
fn ip4_address_is_in_use_within_a_second() {
    let (mut detection, mut random) = (Detection::default(), Random::default());
    let key = key("192.0.2.1");
    detection.begin(0, key, 1, SECOND, &mut random);
    let effects = run(&mut detection, &mut random, SECOND);
    assert!(
        matches!(effects[..], [(_, Effect::Probe { .. }), (at, Effect::Unique { .. })] if at <= 7 * SECOND / 10)
    );
}

// RFC 4862 §5.4.3 and §5.4.4, RFC 5227 §2.1.1
#[test]
fn a_claim_or_anothers_probe_makes_it_a_duplicate_which_is_tried_again_later() {
    for word in [Word::Claim, Word::Probe(None), Word::Probe(Some([9; 6]))] {
        let (mut detection, mut random) = (Detection::default(), Random::default());
        let key = key("2001:db8::1");
        detection.begin(0, key, 1, SECOND, &mut random);
        let asked = run(&mut detection, &mut random, SECOND)[0].0;
        let mut out = Vec::new();
        detection.heard_of_tried(asked, key, word, HOLDER, &mut out);
        detection.heard_of_tried(asked, key, word, HOLDER, &mut out);
        assert_eq!(out, [Effect::Duplicate { key, holder: HOLDER, first: true }], "{word:?}");
        assert_eq!(run(&mut detection, &mut random, asked + 59 * SECOND), [], "it is not used");
        let again = run(&mut detection, &mut random, asked + 60 * SECOND);
        assert!(matches!(again[..], [(_, Effect::Probe { .. })]));
        out.clear();
        detection.heard_of_tried(asked + 60 * SECOND, key, word, HOLDER, &mut out);
        assert_eq!(out, [Effect::Duplicate { key, holder: HOLDER, first: false }]);
        let last = run(&mut detection, &mut random, asked + 122 * SECOND);
        assert!(
            matches!(last[..], [(_, Effect::Probe { .. }), (_, Effect::Unique { .. })]),
            "the other is gone"
        );
    }
}

// RFC 7527 §4.1, §4.2
#[test]
fn own_probe_that_is_looped_back_is_no_duplicate_but_needs_three_more() {
    let (mut detection, mut random) = (Detection::default(), Random::default());
    let key = key("fe80::1");
    detection.begin(0, key, 1, SECOND, &mut random);
    let (asked, Effect::Probe { nonce, .. }) = run(&mut detection, &mut random, SECOND)[0] else { panic!() };
    let mut out = Vec::new();
    detection.heard_of_tried(asked + 1, key, Word::Probe(Some(nonce)), None, &mut out);
    detection.heard_of_tried(asked + 2, key, Word::Probe(Some(nonce)), None, &mut out);
    assert_eq!(out, [Effect::Looped { key }], "said once");
    let more = run(&mut detection, &mut random, asked + 10 * SECOND);
    let probes =
        more.iter().filter(|(_, effect)| matches!(effect, Effect::Probe { nonce: n, .. } if *n != nonce));
    assert_eq!(probes.count(), 3);
    assert_eq!(more.last(), Some(&(asked + 4 * SECOND, Effect::Unique { key })));
}

// RFC 5227 §2.4
#[test]
fn an_address_in_use_is_defended_once_in_ten_seconds() {
    let (mut detection, key) = (Detection::default(), key("192.0.2.1"));
    let mut defended = Vec::new();
    for second in 0..25 {
        let mut out = Vec::new();
        detection.heard_of_used(second * SECOND, key, HOLDER, &mut out);
        defended.extend(out.iter().map(|_| second));
    }
    assert_eq!(defended, [0, 10, 20]);
}

// RFC 5227 §2.3
#[test]
fn an_address_is_announced_a_second_time() {
    let (mut detection, mut random) = (Detection::default(), Random::default());
    let key = key("192.0.2.1");
    detection.announced(5, key);
    assert_eq!(run(&mut detection, &mut random, 100 * SECOND), [(2 * SECOND + 5, Effect::Announce { key })]);
    detection.announced(5, key);
    detection.end(&key);
    assert_eq!(run(&mut detection, &mut random, 100 * SECOND), []);
}

proptest! {
    /// Whatever is heard, an address that somebody claimed is not said to be unique before it was tried again, and the machine
    /// always comes to a rest or has a deadline ahead.
    #[test]
    fn never_unique_while_claimed(words in proptest::collection::vec((0u64..3_000_000_000, 0u8..3), 0..60)) {
        let (mut detection, mut random) = (Detection::default(), Random::default());
        let key = key("2001:db8::1");
        detection.begin(0, key, 2, SECOND, &mut random);
        let (mut now, mut claimed_at, mut unique) = (0, None, false);
        for (step, word) in words {
            let until = now + step;
            for (at, effect) in run(&mut detection, &mut random, until) {
                if let Effect::Unique { .. } = effect {
                    prop_assert!(claimed_at.is_none_or(|claimed| at >= claimed + 60 * SECOND));
                    prop_assert!(!unique, "said once");
                    unique = true;
                }
            }
            now = until;
            let mut out = Vec::new();
            let word = [Word::Claim, Word::Probe(None), Word::Probe(Some([7; 6]))][usize::from(word)];
            detection.heard_of_tried(now, key, word, HOLDER, &mut out);
            if !out.is_empty() {
                prop_assert!(!unique);
                claimed_at = Some(now);
            }
            prop_assert!(unique || detection.next_ns().is_some_and(|next| next > now));
        }
    }
}
