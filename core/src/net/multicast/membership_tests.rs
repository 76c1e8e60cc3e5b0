use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
const GROUP: u8 = 7;
const OTHER: u8 = 9;

fn query(group: Option<u8>) -> Query<u8> {
    Query {
        group,
        sources: Vec::new(),
        version: Compatibility::Current,
        max_delay_ns: 1000 * MS,
        robustness: 0,
        interval_ns: 0,
    }
}

fn older(group: Option<u8>) -> Query<u8> {
    Query { version: Compatibility::Older, ..query(group) }
}

fn current(kind: RecordKind, group: u8) -> Vec<Report<u8>> {
    vec![Report::Current(vec![Record { kind, group, sources: Vec::new() }])]
}

/// A membership of one group, of which everything has been told.
fn joined() -> Membership<u8> {
    let mut membership = Membership::default();
    membership.join(0, GROUP, false);
    while membership.next_deadline_ns().is_some() {
        membership.expire(membership.next_deadline_ns().unwrap(), |n| n / 2);
    }
    membership
}

// RFC 3376 §5.1, §8.1
#[test]
fn a_change_is_told_at_once_and_again_robustness_times() {
    let mut membership = Membership::default();
    membership.join(5, GROUP, false);
    assert_eq!(membership.expire(5, |_| 3), current(RecordKind::ToExclude, GROUP));
    assert_eq!(membership.next_deadline_ns(), Some(9));
    assert_eq!(membership.expire(8, |_| 3), []);
    assert_eq!(membership.expire(9, |_| 3), current(RecordKind::ToExclude, GROUP));
    assert_eq!(membership.next_deadline_ns(), None);
    assert!(membership.leave(20, GROUP) && !membership.contains(GROUP));
    assert_eq!(membership.expire(20, |_| 0), current(RecordKind::ToInclude, GROUP));
    assert_eq!(membership.expire(30, |_| 0), current(RecordKind::ToInclude, GROUP));
    assert_eq!(membership.groups().count(), 0);
    assert!(!membership.leave(40, GROUP));
}

#[test]
fn only_the_first_join_and_the_last_leave_are_told() {
    let mut membership = joined();
    membership.join(1, GROUP, false);
    assert_eq!(membership.next_deadline_ns(), None);
    assert!(membership.leave(2, GROUP) && membership.contains(GROUP));
    assert_eq!(membership.next_deadline_ns(), None);
    assert!(membership.leave(3, GROUP) && !membership.contains(GROUP));
    assert_eq!(membership.next_deadline_ns(), Some(3));
}

// RFC 3376 §6.1, RFC 3810 §6: the group of all hosts is never reported
#[test]
fn silent_groups_are_never_told_of() {
    let mut membership = Membership::default();
    membership.join(0, GROUP, true);
    membership.query(1, &query(None), |_| 0);
    assert_eq!(membership.expire(1, |_| 0), []);
    assert!(membership.leave(2, GROUP));
    assert_eq!((membership.next_deadline_ns(), membership.groups().count()), (None, 0));
}

// RFC 3376 §5.2
#[test]
fn queries_are_answered_within_their_time() {
    let mut membership = joined();
    membership.join(0, OTHER, false);
    for _ in 0..2 {
        let due_ns = membership.next_deadline_ns().unwrap();
        membership.expire(due_ns, |_| 0);
    }
    let now_ns = 100 * SECOND_NS;
    membership.query(now_ns, &query(None), |n| n - 1);
    assert_eq!(membership.next_deadline_ns(), Some(now_ns + 1000 * MS));
    // Rule 1: an answer to all that comes sooner serves for one.
    membership.query(now_ns, &query(Some(GROUP)), |n| n - 1);
    // Rule 3: else the group has a time of its own.
    membership.query(now_ns, &query(Some(OTHER)), |_| 5);
    assert_eq!(membership.expire(now_ns + 5, |_| 0), current(RecordKind::IsExclude, OTHER));
    let all = membership.expire(now_ns + 1000 * MS, |_| 0);
    let record = |group| Record { kind: RecordKind::IsExclude, group, sources: Vec::new() };
    assert_eq!(all, [Report::Current(vec![record(GROUP), record(OTHER)])]);
    membership.query(now_ns, &query(Some(55)), |_| 0);
    assert_eq!(membership.next_deadline_ns(), None, "not our group");
}

// RFC 3376 §5.2, RFC 3810 §6.2: rules 3 to 5
#[test]
fn a_query_of_sources_is_answered_with_those_sources() {
    let mut membership = joined();
    let of = |sources: &[u8]| Query { sources: sources.to_vec(), ..query(Some(GROUP)) };
    let answer = |sources: &[u8]| {
        let record = Record { kind: RecordKind::IsInclude, group: GROUP, sources: sources.to_vec() };
        vec![Report::Current(vec![record])]
    };
    let now_ns = 100 * SECOND_NS;
    membership.query(now_ns, &of(&[1, 2]), |_| 5);
    assert_eq!(membership.expire(now_ns + 5, |_| 0), answer(&[1, 2]));
    // Rule 5: further sources are answered with the first ones, and as soon as the sooner of both is due.
    membership.query(now_ns, &of(&[1, 2]), |_| 5);
    membership.query(now_ns, &of(&[2, 3]), |_| 9);
    assert_eq!(membership.next_deadline_ns(), Some(now_ns + 5));
    assert_eq!(membership.expire(now_ns + 9, |_| 0), answer(&[1, 2, 3]));
    // Rule 4: who asks for the group as well gets one answer, of the group; in either order.
    for queries in [[of(&[1]), query(Some(GROUP))], [query(Some(GROUP)), of(&[1])]] {
        queries.iter().for_each(|query| membership.query(now_ns, query, |_| 5));
        assert_eq!(membership.expire(now_ns + 5, |_| 0), current(RecordKind::IsExclude, GROUP));
    }
    // Rule 1: an answer of everything serves for them too.
    membership.query(now_ns, &of(&[1]), |_| 9);
    membership.query(now_ns, &query(None), |_| 5);
    assert_eq!(membership.expire(now_ns + 5, |_| 0), current(RecordKind::IsExclude, GROUP));
    assert_eq!(membership.next_deadline_ns(), None);
}

#[test]
fn more_sources_than_are_kept_in_mind_are_answered_with_the_group() {
    let mut membership = joined();
    let many: Vec<u8> = (0..=MAX_SOURCES as u8).collect();
    for parts in [vec![&many[..]], vec![&many[..MAX_SOURCES], &many[MAX_SOURCES..]]] {
        for sources in parts {
            membership.query(0, &Query { sources: sources.to_vec(), ..query(Some(GROUP)) }, |_| 5);
        }
        assert_eq!(membership.expire(5, |_| 0), current(RecordKind::IsExclude, GROUP));
    }
}

// RFC 3376 §7.2.1, §8.12
#[test]
fn an_older_querier_is_spoken_to_in_its_version_until_it_is_gone() {
    let mut membership = joined();
    membership.query(0, &older(None), |_| 0);
    assert_eq!(membership.compatibility(0), Compatibility::Older);
    assert_eq!(membership.expire(0, |_| 0), [Report::Older(GROUP)]);
    membership.query(1, &Query { version: Compatibility::Oldest, ..query(Some(GROUP)) }, |_| 0);
    assert_eq!(membership.expire(1, |_| 0), [Report::Oldest(GROUP)]);
    let present_ns = 2 * QUERY_INTERVAL_NS + RESPONSE_INTERVAL_NS;
    assert_eq!(membership.compatibility(present_ns), Compatibility::Oldest);
    assert_eq!(membership.compatibility(present_ns + 1), Compatibility::Current);
}

// RFC 2236 §3
#[test]
fn a_report_of_another_host_answers_for_us() {
    let mut membership = joined();
    membership.query(0, &older(None), |_| 9);
    membership.heard_report(5, GROUP);
    assert_eq!(membership.next_deadline_ns(), None);
    // Who did not report last leaves without a word.
    membership.leave(6, GROUP);
    assert_eq!(membership.next_deadline_ns(), None);
    let mut membership = joined();
    membership.query(0, &older(None), |_| 0);
    membership.expire(0, |_| 0);
    membership.leave(1, GROUP);
    assert_eq!(membership.expire(1, |_| 0), [Report::Leave(GROUP)]);
    assert_eq!(membership.next_deadline_ns(), None);
    let mut membership = joined();
    membership.query(0, &query(None), |_| 9);
    membership.heard_report(5, GROUP);
    assert_eq!(membership.next_deadline_ns(), Some(9), "not with the present versions");
}

#[test]
fn a_link_that_comes_back_is_told_of_all_groups() {
    let mut membership = joined();
    membership.query(0, &older(None), |_| 9);
    membership.restart(50);
    assert_eq!(membership.compatibility(50), Compatibility::Current);
    assert_eq!(membership.expire(50, |_| 0), current(RecordKind::ToExclude, GROUP));
}

proptest! {
    #[test]
    fn what_is_told_ends_and_nothing_is_kept_of_what_was_left(
        steps in prop::collection::vec((0u8..4, 0u8..5, 0u64..20_000), 0..60), seed: u64,
    ) {
        let mut membership = Membership::default();
        let mut state = seed | 1;
        let mut chance = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n.max(1)
        };
        let mut now_ns = 0;
        for (step, group, wait_ms) in steps {
            now_ns += wait_ms * MS;
            match step {
                0 => membership.join(now_ns, group, group == 0),
                1 => { membership.leave(now_ns, group); }
                2 => membership.query(now_ns, &query((group > 0).then_some(group)), &mut chance),
                _ => membership.query(now_ns, &older((group > 0).then_some(group)), &mut chance),
            }
            membership.expire(now_ns, &mut chance);
        }
        for group in 0..5 {
            while membership.leave(now_ns, group) {}
        }
        let mut rounds = 0;
        while let Some(due_ns) = membership.next_deadline_ns() {
            now_ns = now_ns.max(due_ns);
            membership.expire(now_ns, &mut chance);
            rounds += 1;
            prop_assert!(rounds < 100);
        }
        prop_assert_eq!(membership.groups().count(), 0);
    }
}
