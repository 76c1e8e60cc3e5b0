//! What a mirror makes of what the kernel tells.

use std::collections::HashMap;
use std::sync::Arc;

use raddle_plugin_api::InterfaceIndex;
use raddle_plugin_api::route::{RouteHop, RouteTarget};
use raddle_plugin_api::wire::IpPrefix;

use super::*;
use crate::netlink::Edit;

fn prefix(text: &str) -> IpPrefix {
    text.parse().unwrap()
}

fn hop(gateway: &str, device: u32) -> Hop {
    Hop { gateway: Some(gateway.parse().unwrap()), device, weight: 1 }
}

fn route(metric: u32, hops: &[Hop]) -> KernelRoute {
    KernelRoute { metric, protocol: 12, variant: 0, target: Arc::new(KernelTarget::Hops(hops.to_vec())) }
}

/// All routes of the kernel, as they are read anew.
pub fn reread(table: &mut MirrorTable, routes: HashMap<IpPrefix, Vec<KernelRoute>>) {
    for is_ip6 in [false, true] {
        table.begin_reading(is_ip6);
        for (&prefix, routes) in
            routes.iter().filter(|(prefix, _)| matches!(prefix, IpPrefix::V6(_)) == is_ip6)
        {
            routes.iter().for_each(|route| table.read(prefix, route.clone()));
        }
        let gone = table.end_reading(is_ip6);
        table.forget(&gone);
    }
}

pub fn set_devices(table: &mut MirrorTable, devices: Devices) {
    let users = table.set_devices(&devices);
    table.look_at(&users);
}

fn set_object(table: &mut MirrorTable, number: u32, object: Option<Object>) {
    let users = table.set_object(number, object);
    table.look_at(&users);
}

fn table() -> MirrorTable {
    let mut table = MirrorTable::default();
    reread(&mut table, HashMap::new());
    set_devices(&mut table, [(3, Device::Interface(InterfaceIndex(1))), (4, Device::Table)].into());
    table
}

/// Takes changes, which are made at once.
pub fn take(table: &mut MirrorTable, most: usize) -> Vec<(IpPrefix, Option<RouteTarget>)> {
    let changes = table.take_changes(most);
    table.settled(changes.len());
    changes.into_iter().map(|(prefix, target)| (prefix, target.map(Arc::unwrap_or_clone))).collect()
}

fn via(table: &mut MirrorTable) -> Vec<String> {
    let text = |(prefix, target): (IpPrefix, Option<RouteTarget>)| match target {
        Some(RouteTarget::Via(hops)) => {
            let hops: Vec<_> = hops
                .iter()
                .map(|hop| {
                    let interface = hop.interface.map_or_else(String::new, |index| format!("%{index}"));
                    format!(
                        "{}{interface}*{}",
                        hop.address.map_or_else(|| "link".into(), |ip| ip.to_string()),
                        hop.weight
                    )
                })
                .collect();
            format!("{prefix} {}", hops.join(" "))
        }
        Some(other) => format!("{prefix} {other:?}"),
        None => format!("{prefix} -"),
    };
    let mut changes: Vec<_> = take(table, 100).into_iter().map(text).collect();
    changes.sort();
    changes
}

#[test]
fn lowest_metric_wins_and_the_next_one_takes_over() {
    let (mut table, net) = (table(), prefix("192.0.2.0/24"));
    table.edit(net, route(32, &[hop("10.0.0.1", 3)]), Edit::Prepend);
    table.edit(net, route(20, &[hop("10.0.0.2", 3)]), Edit::Prepend);
    assert_eq!(via(&mut table), ["192.0.2.0/24 10.0.0.2%1*1"]);
    table.edit(net, route(20, &[hop("10.0.0.2", 3)]), Edit::Remove);
    assert_eq!(via(&mut table), ["192.0.2.0/24 10.0.0.1%1*1"]);
    table.edit(net, route(32, &[hop("10.0.0.1", 3)]), Edit::Remove);
    assert_eq!(via(&mut table), ["192.0.2.0/24 -"]);
    assert_eq!(table.standing(), Standing::default());
    table.edit(net, route(32, &[hop("10.0.0.1", 3)]), Edit::Remove);
    assert!(via(&mut table).is_empty(), "it was gone");
}

#[test]
fn ip6_next_hops_come_and_go_one_by_one() {
    let (mut table, net) = (table(), prefix("2001:db8::/32"));
    let (a, b) = (hop("fe80::1", 3), hop("fe80::2", 3));
    table.edit(net, route(1024, &[a]), Edit::Prepend);
    table.edit(net, route(1024, &[b]), Edit::Append);
    assert_eq!(via(&mut table), ["2001:db8::/32 fe80::1%1*1 fe80::2%1*1"]);
    table.edit(net, route(1024, &[a, b]), Edit::Append);
    assert!(via(&mut table).is_empty(), "they are known");
    table.edit(net, route(1024, &[a]), Edit::Remove);
    assert_eq!(via(&mut table), ["2001:db8::/32 fe80::2%1*1"]);
    table.edit(net, route(1024, &[a, b]), Edit::Replace);
    table.edit(net, route(1024, &[a, b]), Edit::Remove);
    assert_eq!(via(&mut table), ["2001:db8::/32 -"]);
}

#[test]
fn ip4_routes_of_one_metric_keep_their_order() {
    let (mut table, net) = (table(), prefix("192.0.2.0/24"));
    table.edit(net, route(0, &[hop("10.0.0.1", 3)]), Edit::Prepend);
    table.edit(net, route(0, &[hop("10.0.0.2", 3)]), Edit::Append);
    assert_eq!(via(&mut table), ["192.0.2.0/24 10.0.0.1%1*1"]);
    table.edit(net, route(0, &[hop("10.0.0.1", 3)]), Edit::Remove);
    assert_eq!(via(&mut table), ["192.0.2.0/24 10.0.0.2%1*1"]);
    table.edit(net, route(0, &[hop("10.0.0.3", 3)]), Edit::Prepend);
    assert_eq!(via(&mut table), ["192.0.2.0/24 10.0.0.3%1*1"]);
}

#[test]
fn devices_say_where_a_route_leads_over_here() {
    let (mut table, net, far) = (table(), prefix("192.0.2.0/24"), prefix("198.51.100.0/24"));
    table.edit(net, route(0, &[hop("10.0.0.1", 9)]), Edit::Prepend);
    table.edit(far, route(0, &[hop("10.0.0.1", 4), hop("10.0.0.2", 9)]), Edit::Prepend);
    assert_eq!(via(&mut table), ["198.51.100.0/24 10.0.0.1*1"]);
    assert_eq!((table.standing().foreign, table.foreign()), (1, [net].into()));
    set_devices(&mut table, [(9, Device::Interface(InterfaceIndex(2)))].into());
    assert_eq!(via(&mut table), ["192.0.2.0/24 10.0.0.1%2*1", "198.51.100.0/24 10.0.0.2%2*1"]);
    assert_eq!(table.standing().foreign, 0);
}

#[test]
fn objects_change_all_routes_that_use_them() {
    let mut table = table();
    let object = |number| KernelRoute {
        metric: 0,
        protocol: 11,
        variant: 0,
        target: Arc::new(KernelTarget::Object(number)),
    };
    table.edit(prefix("192.0.2.0/24"), object(1), Edit::Prepend);
    table.edit(prefix("198.51.100.0/24"), object(7), Edit::Prepend);
    assert!(via(&mut table).is_empty());
    set_object(&mut table, 1, Some(Object::Hop(hop("10.0.0.1", 3))));
    set_object(&mut table, 2, Some(Object::Hop(hop("10.0.0.2", 3))));
    set_object(&mut table, 7, Some(Object::Group(vec![(1, 1), (2, 3)])));
    assert_eq!(via(&mut table), ["192.0.2.0/24 10.0.0.1%1*1", "198.51.100.0/24 10.0.0.1%1*1 10.0.0.2%1*3"]);
    set_object(&mut table, 1, Some(Object::Hop(hop("10.0.0.9", 3))));
    assert_eq!(via(&mut table), ["192.0.2.0/24 10.0.0.9%1*1", "198.51.100.0/24 10.0.0.9%1*1 10.0.0.2%1*3"]);
    set_object(&mut table, 1, Some(Object::Blackhole));
    assert_eq!(via(&mut table), ["192.0.2.0/24 Blackhole", "198.51.100.0/24 Blackhole"]);
    // A group in itself, which the kernel does not allow, ends.
    set_object(&mut table, 7, Some(Object::Group(vec![(7, 1)])));
    assert_eq!(via(&mut table), ["198.51.100.0/24 -"]);
}

#[test]
fn a_new_reading_changes_what_differs_and_nothing_else() {
    let mut table = table();
    let (same, gone, new) = (prefix("10.1.0.0/16"), prefix("10.2.0.0/16"), prefix("10.3.0.0/16"));
    table.edit(same, route(5, &[hop("10.0.0.1", 3)]), Edit::Prepend);
    table.edit(gone, route(5, &[hop("10.0.0.1", 3)]), Edit::Prepend);
    assert_eq!(via(&mut table).len(), 2);
    let read = [(same, vec![route(5, &[hop("10.0.0.1", 3)])]), (new, vec![route(5, &[hop("10.0.0.2", 3)])])];
    reread(&mut table, read.into());
    assert_eq!(via(&mut table), ["10.2.0.0/16 -", "10.3.0.0/16 10.0.0.2%1*1"]);
}

#[test]
fn a_large_table_withdrawn_at_once_goes_in_bounded_pieces() {
    let mut table = table();
    let all = (0..200_000_u32).map(|number| {
        let prefix = IpPrefix::new(std::net::Ipv4Addr::from(0x1400_0000 + number).into(), 32).unwrap();
        (prefix, vec![route(0, &[hop("10.0.0.1", 3)])])
    });
    reread(&mut table, all.collect());
    let mut changed = 0;
    for here in [200_000, 0] {
        while let count @ 1.. = take(&mut table, 8192).len() {
            assert!(count <= 8192);
            changed += count;
        }
        assert_eq!((table.standing().in_sync, table.is_in_sync()), (here, true));
        reread(&mut table, HashMap::new());
    }
    assert_eq!(changed, 400_000);
}

// Graceful restart: what was valid before stays until the kernel's routes are known.
#[test]
fn what_is_adopted_stays_until_the_kernel_was_read_and_then_if_it_is_there() {
    let (stays, goes) = (prefix("10.1.0.0/16"), prefix("10.2.0.0/16"));
    let mut table = MirrorTable::default();
    set_devices(&mut table, [(3, Device::Interface(InterfaceIndex(1)))].into());
    table.adopt([stays, goes]);
    assert!(via(&mut table).is_empty());
    assert_eq!(table.here().count(), 2);
    reread(&mut table, [(stays, vec![route(5, &[hop("10.0.0.1", 3)])])].into());
    assert_eq!(via(&mut table), ["10.1.0.0/16 10.0.0.1%1*1", "10.2.0.0/16 -"]);
    assert_eq!(table.standing(), Standing { kernel: 1, in_sync: 1, ..Standing::default() });
}

// An upgrade may come between two turns of what was taken.
#[test]
fn what_is_about_to_go_is_handed_on_until_it_is_gone() {
    let (mut table, net) = (table(), prefix("192.0.2.0/24"));
    table.edit(net, route(0, &[hop("10.0.0.1", 3)]), Edit::Prepend);
    assert_eq!(via(&mut table).len(), 1);
    table.edit(net, route(0, &[hop("10.0.0.1", 3)]), Edit::Remove);
    let changes = table.take_changes(9);
    assert_eq!((changes.len(), table.adoptable()), (1, vec![net]));
    let mut next = MirrorTable::default();
    next.adopt(table.adoptable());
    reread(&mut next, HashMap::new());
    assert_eq!(via(&mut next), ["192.0.2.0/24 -"]);
    table.settled(1);
    assert!(table.adoptable().is_empty());
}

#[test]
fn what_is_under_way_is_not_in_sync_yet() {
    let (mut table, net) = (table(), prefix("192.0.2.0/24"));
    table.edit(net, route(0, &[hop("10.0.0.1", 3)]), Edit::Prepend);
    assert_eq!(table.take_changes(9).len(), 1);
    assert!(!table.is_in_sync());
    assert_eq!((table.standing().in_sync, table.standing().pending), (0, 1));
    table.settled(1);
    assert!(table.is_in_sync());
    assert_eq!((table.standing().in_sync, table.standing().pending), (1, 0));
}

#[test]
fn what_is_refused_is_told_and_tried_again() {
    let (mut table, net) = (table(), prefix("192.0.2.0/24"));
    table.edit(net, route(0, &[hop("10.0.0.1", 3)]), Edit::Prepend);
    assert_eq!(table.standing().pending, 1);
    take(&mut table, 9);
    assert_eq!((table.standing().in_sync, table.standing().failed), (1, 0));
    table.refused(net, "no room".into());
    assert_eq!((table.standing().in_sync, table.standing().failed), (0, 1));
    assert_eq!(table.failures().next().unwrap().1, "no room");
    table.retry();
    let again = take(&mut table, 9);
    let expected = RouteTarget::Via(vec![RouteHop {
        address: Some("10.0.0.1".parse().unwrap()),
        interface: Some(InterfaceIndex(1)),
        weight: 1,
    }]);
    assert_eq!(again, [(net, Some(expected))]);
    assert_eq!(table.standing(), Standing { kernel: 1, in_sync: 1, ..Standing::default() });
}

/// A table with so many routes, all of which were refused.
fn refused_table(count: usize) -> MirrorTable {
    let mut table = table();
    let number = |number: usize| std::net::Ipv4Addr::from(0x1400_0000 + number as u32);
    let all = (0..count).map(|at| IpPrefix::new(number(at).into(), 32).unwrap());
    reread(&mut table, all.map(|prefix| (prefix, vec![route(0, &[hop("10.0.0.1", 3)])])).collect());
    assert_eq!(refuse(&mut table), count);
    table
}

/// Refuses all that is to be changed; returns how much that is.
fn refuse(table: &mut MirrorTable) -> usize {
    let mut count = 0;
    while let changes @ [_, ..] = take(table, 500).as_slice() {
        changes.iter().for_each(|(prefix, _)| table.refused(*prefix, "no table".into()));
        count += changes.len();
    }
    count
}

#[test]
fn however_much_is_refused_all_of_it_is_tried_again() {
    const COUNT: usize = 5000;
    let mut table = refused_table(COUNT);
    assert_eq!((table.standing().failed, table.failures().count()), (COUNT, 1000));
    // It goes in pieces while it does not go, and in one go once it does.
    let pieces: Vec<_> = (0..6).map(|_| (table.retry(), refuse(&mut table)).1).collect();
    assert_eq!(pieces, [1024, 1024, 1024, 1024, 904, 1024]);
    table.retry();
    while !take(&mut table, 500).is_empty() {}
    table.retry();
    while !take(&mut table, 500).is_empty() {}
    assert_eq!(table.standing(), Standing { kernel: COUNT, in_sync: COUNT, ..Standing::default() });
    assert_eq!(table.failures().count(), 0);
}

#[test]
fn what_is_refused_and_then_gone_is_forgotten() {
    let mut table = refused_table(2000);
    reread(&mut table, HashMap::new());
    assert!(take(&mut table, usize::MAX).is_empty(), "none of it was over here");
    assert_eq!((table.standing(), table.failures().count()), (Standing::default(), 0));
}

#[test]
fn routes_of_a_prefix_that_are_told_of_in_two_places_belong_together() {
    let (mut table, net, other) = (table(), prefix("10.1.0.0/16"), prefix("10.2.0.0/16"));
    for round in 0..2 {
        table.begin_reading(false);
        table.read(net, route(5, &[hop("10.0.0.1", 3)]));
        table.read(other, route(5, &[hop("10.0.0.1", 3)]));
        table.read(net, route(2, &[hop("10.0.0.2", 3)]));
        assert_eq!(table.end_reading(false), []);
        let changes = via(&mut table);
        if round == 0 {
            assert_eq!(changes, ["10.1.0.0/16 10.0.0.2%1*1", "10.2.0.0/16 10.0.0.1%1*1"]);
        }
        assert_eq!(table.standing(), Standing { kernel: 2, in_sync: 2, ..Standing::default() });
    }
}

// The kernel's events wait in one socket while its list is read from another.
#[test]
fn what_was_told_before_a_reading_changes_nothing_behind_it() {
    let [(a, b), (a6, b6)] =
        [("10.0.0.1", "10.0.0.2"), ("fe80::1", "fe80::2")].map(|(a, b)| (hop(a, 3), hop(b, 3)));
    let (four, six) = (prefix("10.1.0.0/16"), prefix("2001:db8::/32"));
    for edit in [Edit::Prepend, Edit::Append, Edit::Replace] {
        let mut table = table();
        reread(&mut table, [(four, vec![route(5, &[a])]), (six, vec![route(5, &[a6, b6])])].into());
        assert_eq!(via(&mut table).len(), 2);
        table.edit(four, route(5, &[a]), edit);
        table.edit(six, route(5, &[a6, b6]), edit);
        assert!(via(&mut table).is_empty(), "they are known");
        table.edit(four, route(5, &[a]), Edit::Remove);
        table.edit(six, route(5, &[a6, b6]), Edit::Remove);
        assert_eq!(via(&mut table), ["10.1.0.0/16 -", "2001:db8::/32 -"], "{edit:?}");
    }
    // Of two the first is gone, and then its removal is told.
    let mut table = table();
    reread(&mut table, [(four, vec![route(5, &[b])]), (six, vec![route(5, &[b6])])].into());
    assert_eq!(via(&mut table).len(), 2);
    assert!(table.edit(four, route(5, &[a]), Edit::Remove));
    assert!(table.edit(six, route(5, &[a6]), Edit::Remove));
    assert!(via(&mut table).is_empty(), "the others stay");
}

#[test]
fn a_route_that_was_read_in_two_places_is_there_once() {
    let (mut table, net, other) = (table(), prefix("10.1.0.0/16"), prefix("10.2.0.0/16"));
    let twice = route(5, &[hop("10.0.0.1", 3)]);
    table.begin_reading(false);
    for prefix in [net, other, net] {
        table.read(prefix, twice.clone());
    }
    assert_eq!(table.end_reading(false), []);
    assert_eq!(via(&mut table).len(), 2);
    table.edit(net, twice, Edit::Remove);
    assert_eq!(via(&mut table), ["10.1.0.0/16 -"]);
}

#[test]
fn routes_of_one_target_that_are_two_to_the_kernel_go_one_by_one() {
    let (mut table, net) = (table(), prefix("10.1.0.0/16"));
    let [one, two] = [1, 2].map(|variant| KernelRoute { variant, ..route(5, &[hop("10.0.0.1", 3)]) });
    table.edit(net, one.clone(), Edit::Append);
    table.edit(net, two.clone(), Edit::Append);
    assert_eq!(via(&mut table).len(), 1);
    table.edit(net, two, Edit::Remove);
    assert!(via(&mut table).is_empty());
    table.edit(net, one, Edit::Remove);
    assert_eq!(via(&mut table), ["10.1.0.0/16 -"]);
}

// Next hops that are dead are left out of what the kernel tells, and so they are of one side only.
#[test]
fn an_ip4_route_whose_next_hops_were_dead_for_a_while_goes_and_all_is_read_again() {
    let (a, b) = (hop("10.0.0.1", 3), hop("10.0.0.2", 3));
    for (known, gone) in [(&[a][..], &[a, b][..]), (&[a, b], &[a]), (&[a], &[])] {
        let (mut table, net) = (table(), prefix("192.0.2.0/24"));
        table.edit(net, route(0, known), Edit::Append);
        assert_eq!(via(&mut table).len(), 1);
        assert!(!table.edit(net, route(0, gone), Edit::Remove), "it is a guess");
        assert_eq!(via(&mut table), ["192.0.2.0/24 -"]);
    }
}

#[test]
fn a_family_that_is_read_leaves_the_other_alone() {
    let (mut table, four, six) = (table(), prefix("10.1.0.0/16"), prefix("2001:db8::/32"));
    table.edit(four, route(5, &[hop("10.0.0.1", 3)]), Edit::Prepend);
    table.edit(six, route(5, &[hop("fe80::1", 3)]), Edit::Prepend);
    table.begin_reading(false);
    let gone = table.end_reading(false);
    assert_eq!(gone, [four]);
    table.forget(&gone);
    assert_eq!(via(&mut table), ["2001:db8::/32 fe80::1%1*1"]);
    assert_eq!(table.standing().kernel, 1);
}

#[test]
fn what_was_adopted_late_goes_if_the_kernel_has_it_not() {
    let (mut table, net) = (table(), prefix("10.1.0.0/16"));
    table.adopt([net]);
    assert_eq!(via(&mut table), ["10.1.0.0/16 -"]);
    assert!(table.is_in_sync());
}
