//! Tests of the neighbour table: the RFC's transitions by table, bounds and conservation of packets as laws.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::wire::MacAddress;

use super::action::{Action, DropReason, Heard};
use super::entry::{NeighborKey, NeighborState};
use super::settings::Settings;
use super::table::Table;

const SECOND: u64 = 1_000_000_000;
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const OTHER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

type Actions = Vec<Action<u32>>;

fn key(last: u8) -> NeighborKey {
    key_on(1, last)
}

fn key_on(interface: u32, last: u8) -> NeighborKey {
    NeighborKey { interface: InterfaceIndex(interface), address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)) }
}

fn answer(mac: Option<MacAddress>, solicited: bool, overrides: bool) -> Heard {
    Heard::Answer { mac, solicited, overrides, router: None }
}

fn table() -> Table<u32> {
    Table::new(65_536, Settings::default())
}

fn state(table: &Table<u32>) -> Option<(NeighborState, Option<MacAddress>)> {
    table.get(&key(1)).map(|entry| (entry.state(), entry.mac()))
}

/// A table with `key(1)` at `MAC` in that state, at time 0.
fn table_in(wanted: NeighborState) -> Table<u32> {
    let (mut table, mut out) = (table(), Actions::new());
    match wanted {
        NeighborState::Incomplete => table.packet(0, key(1), 1, &mut out),
        NeighborState::Static => assert!(table.set_static(0, key(1), MAC, &mut out)),
        _ => table.heard(0, key(1), Heard::Request { mac: MAC }, &mut out),
    }
    if wanted == NeighborState::Reachable {
        table.heard(0, key(1), answer(Some(MAC), true, true), &mut out);
    }
    if matches!(wanted, NeighborState::Delay | NeighborState::Probe) {
        table.used(0, key(1), &mut out);
    }
    if wanted == NeighborState::Probe {
        table.expire(5 * SECOND, &mut out);
    }
    assert_eq!(table.get(&key(1)).unwrap().state(), wanted);
    table
}

fn out_of(run: impl FnOnce(&mut Actions)) -> Actions {
    let mut out = Actions::new();
    run(&mut out);
    out
}

// RFC 4861 §7.2.2
#[test]
fn asks_three_times_a_second_apart_then_reports_every_queued_packet() {
    let mut table = table();
    let ask = Action::Solicit { key: key(1), mac: None };
    assert_eq!(out_of(|out| table.packet(0, key(1), 1, out)), [ask]);
    assert_eq!(out_of(|out| table.packet(1, key(1), 2, out)), []);
    assert_eq!(out_of(|out| table.expire(SECOND - 1, out)), []);
    assert_eq!(out_of(|out| table.expire(SECOND, out)), [ask]);
    assert_eq!(table.next_deadline_ns(), Some(2 * SECOND));
    assert_eq!(out_of(|out| table.expire(2 * SECOND, out)), [ask]);
    let failed = Action::Failed { key: key(1) };
    let unreachable = |packet| Action::Unreachable { key: key(1), packet };
    assert_eq!(out_of(|out| table.expire(3 * SECOND, out)), [failed, unreachable(1), unreachable(2)]);
    assert!(table.is_empty() && table.next_deadline_ns().is_none());
}

// RFC 4861 §7.2.5, RFC 826
#[test]
fn an_answer_links_the_neighbor_before_its_packets_go() {
    let mut table = table_in(NeighborState::Incomplete);
    let out = out_of(|out| table.heard(5, key(1), answer(Some(MAC), true, true), out));
    let link = Action::Link { key: key(1), mac: MAC, watch: false };
    assert_eq!(out, [link, Action::Send { key: key(1), packet: 1 }]);
    assert_eq!(state(&table), Some((NeighborState::Reachable, Some(MAC))));
    assert_eq!(
        out_of(|out| table.packet(6, key(1), 2, out)),
        [Action::Send { key: key(1), packet: 2 }],
        "a packet that was on its way meanwhile goes at once"
    );
}

// RFC 4861 §7.2.5: every state against every kind of answer.
#[test]
fn answers_change_entries_as_the_rfc_says() {
    use NeighborState::{Delay, Incomplete, Probe, Reachable, Stale, Static};
    let (same, other) = (Some(MAC), Some(OTHER_MAC));
    for (from, mac, solicited, overrides, expected) in [
        (Incomplete, None, true, true, (Incomplete, None)),
        (Incomplete, same, true, false, (Reachable, same)),
        (Incomplete, same, false, false, (Delay, same)),
        (Reachable, same, false, true, (Reachable, same)),
        (Reachable, None, true, false, (Reachable, same)),
        (Reachable, other, true, false, (Stale, same)),
        (Reachable, other, true, true, (Reachable, other)),
        (Reachable, other, false, true, (Stale, other)),
        (Stale, same, true, false, (Reachable, same)),
        (Stale, same, false, true, (Stale, same)),
        (Stale, other, true, false, (Stale, same)),
        (Stale, other, false, true, (Stale, other)),
        (Delay, same, true, true, (Reachable, same)),
        (Delay, other, true, false, (Delay, same)),
        (Probe, same, true, false, (Reachable, same)),
        (Probe, None, true, false, (Reachable, same)),
        (Probe, other, false, true, (Stale, other)),
        (Probe, same, false, true, (Probe, same)),
        (Static, other, true, true, (Static, same)),
    ] {
        let mut table = table_in(from);
        table.heard(6 * SECOND, key(1), answer(mac, solicited, overrides), &mut Actions::new());
        assert_eq!(
            state(&table),
            Some(expected),
            "{from:?} {mac:?} solicited {solicited} overrides {overrides}"
        );
    }
}

// RFC 4861 §7.2.5, RFC 5227 §2.6 (gratuitous ARP)
#[test]
fn an_answer_makes_no_entry() {
    let mut table = table();
    assert_eq!(out_of(|out| table.heard(0, key(1), answer(Some(MAC), false, true), out)), []);
    assert!(table.is_empty());
}

// RFC 4861 §7.2.3, RFC 826
#[test]
fn a_request_makes_a_stale_entry_or_corrects_one() {
    let mut table = table();
    let link = |mac, watch| Action::Link { key: key(1), mac, watch };
    let request = |mac| Heard::Request { mac };
    assert_eq!(out_of(|out| table.heard(0, key(1), request(MAC), out)), [link(MAC, true)]);
    assert_eq!(out_of(|out| table.heard(1, key(1), request(MAC), out)), []);
    assert_eq!(out_of(|out| table.heard(2, key(1), request(OTHER_MAC), out)), [link(OTHER_MAC, true)]);
    let mut table = table_in(NeighborState::Incomplete);
    let out = out_of(|out| table.heard(0, key(1), request(MAC), out));
    assert_eq!(out, [link(MAC, false), Action::Send { key: key(1), packet: 1 }]);
    assert_eq!(state(&table), Some((NeighborState::Delay, Some(MAC))));
}

// RFC 4861 §7.3.3
#[test]
fn a_used_neighbor_ages_by_stale_delay_and_probe() {
    let mut table = table_in(NeighborState::Reachable);
    let out = out_of(|out| table.expire(30 * SECOND, out));
    assert_eq!(out, [Action::Link { key: key(1), mac: MAC, watch: true }]);
    let out = out_of(|out| table.used(40 * SECOND, key(1), out));
    assert_eq!(out, [Action::Link { key: key(1), mac: MAC, watch: false }]);
    assert_eq!(out_of(|out| table.used(41 * SECOND, key(1), out)), [], "word of use is asked for once");
    let ask = Action::Solicit { key: key(1), mac: Some(MAC) };
    for second in [45, 46, 47] {
        assert_eq!(out_of(|out| table.expire(second * SECOND, out)), [ask], "{second}");
    }
    let gone = [Action::Unlink { key: key(1) }, Action::Failed { key: key(1) }];
    assert_eq!(out_of(|out| table.expire(48 * SECOND, out)), gone);
    assert!(table.is_empty());
}

#[test]
fn an_unused_neighbor_is_collected_without_a_question() {
    let mut table = table_in(NeighborState::Reachable);
    table.expire(30 * SECOND, &mut Actions::new());
    assert_eq!(out_of(|out| table.expire(629 * SECOND, out)), []);
    assert_eq!(out_of(|out| table.expire(630 * SECOND, out)), [Action::Unlink { key: key(1) }]);
}

#[test]
fn a_static_neighbor_stays_until_removed() {
    let mut table = table_in(NeighborState::Static);
    assert_eq!(table.next_deadline_ns(), None);
    assert_eq!(out_of(|out| table.heard(0, key(1), Heard::Request { mac: OTHER_MAC }, out)), []);
    let send = Action::Send { key: key(1), packet: 9 };
    assert_eq!(out_of(|out| table.packet(0, key(1), 9, out)), [send]);
    assert_eq!(table.remove_where(|_, state| state != NeighborState::Static, &mut Actions::new()), 0);
    assert!(table.remove(key(1), &mut Actions::new()) && !table.remove(key(1), &mut Actions::new()));
}

#[test]
fn a_static_entry_lets_go_what_waited_for_a_dynamic_one() {
    let mut table = table_in(NeighborState::Incomplete);
    let out = out_of(|out| assert!(table.set_static(0, key(1), MAC, out)));
    let link = Action::Link { key: key(1), mac: MAC, watch: false };
    assert_eq!(out, [link, Action::Send { key: key(1), packet: 1 }]);
}

#[test]
fn the_oldest_packet_makes_room_for_a_new_one() {
    let mut table = Table::new(100, Settings { max_queued: 2, ..Settings::default() });
    let mut out = Actions::new();
    (1..=3).for_each(|packet| table.packet(0, key(1), packet, &mut out));
    assert_eq!(out[1..], [Action::Drop { packet: 1, reason: DropReason::QueueFull }]);
}

#[test]
fn a_scan_pushes_out_its_own_oldest_addresses_on_its_own_interface() {
    let mut table = Table::new(100, Settings { max_incomplete: 2, ..Settings::default() });
    let mut out = Actions::new();
    table.packet(0, key_on(2, 1), 100, &mut out);
    (1..=3).for_each(|last| table.packet(0, key(last), u32::from(last), &mut out));
    assert!(out.contains(&Action::Drop { packet: 1, reason: DropReason::TooMany }));
    assert!(table.get(&key(1)).is_none() && table.get(&key(3)).is_some());
    assert!(table.get(&key_on(2, 1)).is_some(), "another interface is not touched");
}

#[test]
fn a_full_table_gives_up_stale_entries_first_and_never_static_ones() {
    let mut table = Table::new(2, Settings::default());
    let mut out = Actions::new();
    table.heard(0, key(1), Heard::Request { mac: MAC }, &mut out);
    assert!(table.set_static(0, key(2), MAC, &mut out));
    table.packet(0, key(3), 3, &mut out);
    assert!(table.get(&key(1)).is_none());
    assert!(table.set_static(0, key(4), MAC, &mut out));
    assert!(table.get(&key(3)).is_none());
    assert!(!table.set_static(0, key(5), MAC, &mut out));
    let drop = Action::Drop { packet: 6, reason: DropReason::TooMany };
    assert_eq!(out_of(|out| table.packet(0, key(6), 6, out)), [drop]);
}

// RFC 6583 §6: a flood of forged requests, and a scan, cost those who are known least.
#[test]
fn the_least_worth_goes_first_and_confirmed_ones_stay() {
    let mut table = Table::new(4, Settings::default());
    let mut out = Actions::new();
    // 1: named itself only. 2: confirmed once, stale by now. 3: confirmed lately. 4: asked for.
    for last in [1, 2] {
        table.heard(0, key(last), Heard::Request { mac: MAC }, &mut out);
    }
    table.heard(0, key(2), answer(Some(MAC), true, true), &mut out);
    table.expire(31 * SECOND, &mut out);
    table.heard(32 * SECOND, key(3), Heard::Request { mac: MAC }, &mut out);
    table.heard(32 * SECOND, key(3), answer(Some(MAC), true, true), &mut out);
    table.packet(33 * SECOND, key(4), 4, &mut out);
    let mut gone = Vec::new();
    for last in 5..9 {
        let before: Vec<_> = (1..5).filter(|known| table.get(&key(*known)).is_some()).collect();
        table.heard(34 * SECOND, key(last), Heard::Request { mac: MAC }, &mut out);
        gone.extend(before.into_iter().filter(|known| table.get(&key(*known)).is_none()));
        // Those that come must not be what goes next.
        table.heard(34 * SECOND, key(last), answer(Some(MAC), true, true), &mut out);
    }
    assert_eq!(gone, [1, 4, 2], "unproven, incomplete, idle; the confirmed one stays");
    assert!(table.get(&key(3)).is_some() && table.get(&key(8)).is_none(), "the table is full of live ones");
}

#[test]
fn a_full_interface_costs_only_its_own() {
    let mut table = Table::new(100, Settings::default());
    let mut out = Actions::new();
    table.set_settings(InterfaceIndex(1), Settings { max_entries: 3, ..Settings::default() });
    table.heard(0, key_on(2, 1), Heard::Request { mac: MAC }, &mut out);
    for last in 1..20 {
        table.heard(1, key(last), Heard::Request { mac: MAC }, &mut out);
    }
    assert_eq!(table.iter().filter(|(key, _)| key.interface.0 == 1).count(), 3);
    assert!(table.get(&key_on(2, 1)).is_some() && table.get(&key(19)).is_some());
    table.forget_interface(InterfaceIndex(1));
    assert_eq!(table.settings(InterfaceIndex(1)), Settings::default());
}

#[test]
fn everyone_is_asked_no_more_often_than_the_interface_may_and_one_always() {
    let settings = Settings { solicitations_per_second: 8, max_incomplete: 500, ..Settings::default() };
    let mut table = Table::new(1000, settings);
    let mut out = Actions::new();
    table.heard(0, key_on(1, 250), Heard::Request { mac: MAC }, &mut out);
    out.clear();
    for last in 0..100 {
        table.packet(0, key(last), u32::from(last), &mut out);
    }
    let asked = |out: &Actions| out.iter().filter(|action| matches!(action, Action::Solicit { .. })).count();
    let refused =
        |action: &&Action<u32>| matches!(action, Action::Drop { reason: DropReason::RateLimited, .. });
    assert_eq!((asked(&out), out.iter().filter(refused).count()), (2, 98), "a quarter at once");
    out.clear();
    table.packet(0, key_on(2, 1), 1, &mut out);
    assert_eq!(asked(&out), 1, "another interface is not touched");
    out.clear();
    table.used(0, key_on(1, 250), &mut out);
    for _ in 0..50 {
        table.packet(5 * SECOND, key_on(1, 77), 1, &mut out);
        table.packet(5 * SECOND, key_on(1, 78), 1, &mut out);
        table.packet(5 * SECOND, key_on(1, 79), 1, &mut out);
    }
    out.clear();
    table.expire(5 * SECOND, &mut out);
    let alone = Action::Solicit { key: key_on(1, 250), mac: Some(MAC) };
    assert!(out.contains(&alone), "who is known is asked alone, whatever is scanned");
}

#[test]
fn a_neighbor_is_asked_for_without_a_packet_and_its_failure_is_told() {
    let mut table = table();
    let ask = Action::Solicit { key: key(1), mac: None };
    assert_eq!(out_of(|out| table.resolve(0, key(1), out)), [ask]);
    assert_eq!(out_of(|out| table.resolve(1, key(1), out)), [], "it is asked for already");
    let out = out_of(|out| (1..4).for_each(|second| table.expire(second * SECOND, out)));
    assert_eq!(out, [ask, ask, Action::Failed { key: key(1) }]);
    assert!(table.is_empty());
}

// RFC 4861 §7.3.1, §7.3.3
#[test]
fn word_from_above_confirms_what_is_known_and_nothing_else() {
    use NeighborState::{Delay, Incomplete, Probe, Reachable, Stale, Static};
    for (from, expected) in [
        (Incomplete, Incomplete),
        (Reachable, Reachable),
        (Stale, Reachable),
        (Delay, Reachable),
        (Probe, Reachable),
        (Static, Static),
    ] {
        let mut table = table_in(from);
        table.confirm(20 * SECOND, key(1), &mut Actions::new());
        assert_eq!(table.get(&key(1)).unwrap().state(), expected, "{from:?}");
        if expected == Reachable {
            assert_eq!(table.next_deadline_ns(), Some(50 * SECOND), "{from:?}");
        }
    }
    let mut table = table();
    table.confirm(0, key(1), &mut Actions::new());
    assert!(table.is_empty());
}

#[derive(Clone, Debug)]
enum Event {
    Packet(u32, u8),
    Request(u32, u8, u8),
    Answer(u32, u8, Option<u8>, bool, bool),
    Used(u32, u8),
    SetStatic(u32, u8),
    Remove(u32, u8),
    Down(u32),
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let key = || (1..3u32, 0..12u8);
    prop_oneof![
        6 => key().prop_map(|(i, a)| Event::Packet(i, a)),
        1 => (key(), 0..3u8).prop_map(|((i, a), m)| Event::Request(i, a, m)),
        2 => (key(), proptest::option::of(0..3u8), any::<bool>(), any::<bool>())
            .prop_map(|((i, a), m, s, o)| Event::Answer(i, a, m, s, o)),
        1 => key().prop_map(|(i, a)| Event::Used(i, a)),
        1 => key().prop_map(|(i, a)| Event::SetStatic(i, a)),
        1 => key().prop_map(|(i, a)| Event::Remove(i, a)),
        1 => (1..3u32).prop_map(Event::Down),
        3 => (0..20_000u64).prop_map(Event::Wait),
    ]
}

proptest! {
    /// Bounds hold after every event; every packet ends sent, dropped or reported, once; and whoever carries out the
    /// actions knows exactly the neighbours that the table holds as resolved.
    #[test]
    fn keeps_bounds_and_loses_no_packet(events in proptest::collection::vec(event(), 0..200)) {
        let settings = Settings {
            max_entries: 9, max_incomplete: 4, max_queued: 3, max_queued_interface: 8, ..Settings::default()
        };
        let mut table = Table::new(12, settings);
        let (mut now, mut number) = (0, 0);
        let mut ended = std::collections::HashMap::new();
        let mut linked = std::collections::HashMap::new();
        let mac = |last: u8| MacAddress([2, 0, 0, 0, 1, last]);
        for event in events.into_iter().chain([Event::Down(1), Event::Down(2)]) {
            let mut out = Actions::new();
            match event {
                Event::Packet(i, a) => {
                    number += 1;
                    table.packet(now, key_on(i, a), number, &mut out);
                }
                Event::Request(i, a, m) => table.heard(now, key_on(i, a), Heard::Request { mac: mac(m) }, &mut out),
                Event::Answer(i, a, m, s, o) => {
                    table.heard(now, key_on(i, a), answer(m.map(mac), s, o), &mut out);
                }
                Event::Used(i, a) => table.used(now, key_on(i, a), &mut out),
                Event::SetStatic(i, a) => { table.set_static(now, key_on(i, a), mac(9), &mut out); }
                Event::Remove(i, a) => { table.remove(key_on(i, a), &mut out); }
                Event::Down(i) => { table.remove_where(|key, _| key.interface.0 == i, &mut out); }
                Event::Wait(ms) => {
                    now += ms * 1_000_000;
                    table.expire(now, &mut out);
                    prop_assert!(table.next_deadline_ns().is_none_or(|deadline| deadline > now));
                }
            }
            for action in out {
                match action {
                    Action::Send { key, packet } => {
                        prop_assert!(linked.contains_key(&key));
                        prop_assert!(ended.insert(packet, "sent").is_none());
                    }
                    Action::Unreachable { packet, .. } => prop_assert!(ended.insert(packet, "unreachable").is_none()),
                    Action::Drop { packet, .. } => prop_assert!(ended.insert(packet, "dropped").is_none()),
                    Action::Link { key, mac, .. } => { linked.insert(key, mac); }
                    Action::Failed { key } => prop_assert!(!linked.contains_key(&key)),
                    Action::Unlink { key } => prop_assert!(linked.remove(&key).is_some()),
                    Action::Solicit { key, mac } => prop_assert_eq!(linked.get(&key).copied(), mac),
                }
            }
            prop_assert!(table.len() <= 12);
            let resolved = table.iter().filter(|(_, entry)| entry.state().is_resolved());
            prop_assert_eq!(resolved.clone().count(), linked.len());
            for (key, entry) in resolved {
                prop_assert_eq!(linked.get(key).copied(), entry.mac());
                prop_assert_eq!(entry.queued(), 0);
            }
            let mut queued = 0;
            for interface in [1, 2] {
                prop_assert!(table.iter().filter(|(key, _)| key.interface.0 == interface).count() <= 9);
                let waiting = table.iter().filter(|(key, entry)| {
                    key.interface.0 == interface && entry.state() == NeighborState::Incomplete
                });
                prop_assert!(waiting.clone().count() <= 4);
                prop_assert!(waiting.clone().all(|(_, entry)| entry.queued() <= 3));
                let on_interface: usize = waiting.map(|(_, entry)| entry.queued()).sum();
                prop_assert!(on_interface <= 8);
                queued += on_interface;
            }
            prop_assert_eq!(ended.len() + queued, number as usize);
        }
        prop_assert!(table.is_empty() && table.next_deadline_ns().is_none());
    }
}
