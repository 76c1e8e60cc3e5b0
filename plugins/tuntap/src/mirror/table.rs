//! The kernel's routes of one table, and which of them are over here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use raddle_plugin_api::route::RouteTarget;
use raddle_plugin_api::wire::IpPrefix;

use super::kernel_route::{Device, Devices, KernelRoute, KernelTarget, Object, Objects};
use crate::netlink::Edit;

/// Routes that are told of one by one when they cannot be over here.
const MOST_FAILURES: usize = 1000;

/// How a mirror stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Prefixes of which the kernel has routes.
    pub kernel: usize,
    /// Prefixes whose routes are over here as the kernel has them.
    pub in_sync: usize,
    /// Prefixes whose routes are to be changed over here.
    pub pending: usize,
    /// Prefixes whose routes are refused over here.
    pub failed: usize,
    /// Prefixes whose routes lead by devices that are none of ours.
    pub foreign: usize,
}

/// The table.
#[derive(Default)]
pub struct MirrorTable {
    /// Of each prefix the routes, those with the lowest metric first.
    kernel: HashMap<IpPrefix, Vec<KernelRoute>>,
    objects: Objects,
    /// Prefixes by the objects that they need, directly.
    users: HashMap<u32, HashSet<IpPrefix>>,
    devices: Devices,
    /// What is over here.
    here: HashMap<IpPrefix, RouteTarget>,
    /// What is to be looked at, each prefix once.
    dirty: VecDeque<IpPrefix>,
    is_dirty: HashSet<IpPrefix>,
    failed: BTreeMap<IpPrefix, String>,
    foreign: HashSet<IpPrefix>,
    /// Changes that were taken and are not made yet.
    under_way: usize,
    /// Whether all of the kernel's routes were read once: before that, a route that is not known yet is not one that is gone.
    is_read: bool,
}

impl MirrorTable {
    /// A change of one route.
    pub fn edit(&mut self, prefix: IpPrefix, route: KernelRoute, edit: Edit) {
        let routes = self.kernel.entry(prefix).or_default();
        let before = routes.clone();
        let same = routes.iter().position(|known| known.metric == route.metric);
        match (edit, same) {
            (Edit::Remove, None) => {}
            (Edit::Remove, Some(at)) => remove(routes, &route, at),
            (Edit::Replace, Some(at)) if matches!(prefix, IpPrefix::V6(_)) => {
                // There is one of a metric, with all its next hops.
                routes.retain(|known| known.metric != route.metric);
                routes.insert(at.min(routes.len()), route);
            }
            (Edit::Replace, Some(at)) => routes[at] = route,
            (Edit::Append | Edit::Prepend, Some(at)) if matches!(prefix, IpPrefix::V6(_)) => {
                join(&mut routes[at], route)
            }
            (Edit::Append, Some(_)) => {
                let end = routes.iter().rposition(|known| known.metric == route.metric);
                routes.insert(end.map_or(0, |end| end + 1), route);
            }
            (Edit::Prepend, Some(at)) => routes.insert(at, route),
            (Edit::Replace | Edit::Append | Edit::Prepend, None) => {
                let at = routes.partition_point(|known| known.metric < route.metric);
                routes.insert(at, route);
            }
        }
        let after = routes.clone();
        if after.is_empty() {
            self.kernel.remove(&prefix);
        }
        if before != after {
            self.note_users(prefix, &before, &after);
            self.mark(prefix);
        }
    }

    /// All routes of the table, as they were read: what differs is changed, what is the same stays untouched.
    pub fn replace(&mut self, mut routes: HashMap<IpPrefix, Vec<KernelRoute>>) {
        for known in routes.values_mut() {
            // Stable: those of one metric stay in their order.
            known.sort_by_key(|route| route.metric);
        }
        self.is_read = true;
        let old = std::mem::replace(&mut self.kernel, routes);
        let gone: Vec<_> = old.iter().filter(|(prefix, _)| !self.kernel.contains_key(*prefix)).collect();
        let changed: Vec<_> = self
            .kernel
            .iter()
            .filter(|(prefix, routes)| old.get(*prefix) != Some(*routes))
            .map(|(prefix, routes)| (*prefix, routes.clone()))
            .collect();
        let gone: Vec<_> = gone.into_iter().map(|(prefix, routes)| (*prefix, routes.clone())).collect();
        for (prefix, routes) in gone {
            self.note_users(prefix, &routes, &[]);
            self.mark(prefix);
        }
        for (prefix, routes) in changed {
            self.note_users(prefix, old.get(&prefix).map_or(&[], Vec::as_slice), &routes);
            self.mark(prefix);
        }
        // What is over here and was never told of, such as what was put there before this table was.
        let strays: Vec<_> =
            self.here.keys().filter(|prefix| !self.kernel.contains_key(*prefix)).copied().collect();
        strays.into_iter().for_each(|prefix| self.mark(prefix));
    }

    /// The same when the kernel has no routes: what is over here is to go.
    #[must_use]
    pub fn emptied(mut self) -> Self {
        self.replace(HashMap::new());
        self
    }

    /// An object is another one now, or gone.
    pub fn set_object(&mut self, number: u32, object: Option<Object>) {
        let old = match object {
            Some(object) if self.objects.get(&number) == Some(&object) => return,
            Some(object) => self.objects.insert(number, object),
            None => self.objects.remove(&number),
        };
        drop(old);
        let groups: Vec<u32> = self
            .objects
            .iter()
            .filter(|(_, object)| {
                matches!(object, Object::Group(members) if members.iter().any(|(member, _)| *member == number))
            })
            .map(|(group, _)| *group)
            .collect();
        for user in std::iter::once(number).chain(groups) {
            let prefixes: Vec<_> = self.users.get(&user).into_iter().flatten().copied().collect();
            prefixes.into_iter().for_each(|prefix| self.mark(prefix));
        }
    }

    /// All objects, as they were read.
    pub fn replace_objects(&mut self, objects: &Objects) {
        let gone: Vec<u32> =
            self.objects.keys().filter(|number| !objects.contains_key(number)).copied().collect();
        gone.into_iter().for_each(|number| self.set_object(number, None));
        objects.iter().for_each(|(number, object)| self.set_object(*number, Some(object.clone())));
    }

    /// The kernel's devices are others over here now.
    pub fn set_devices(&mut self, devices: Devices) {
        if self.devices == devices {
            return;
        }
        let changed = |number: &u32, device: &Device| self.devices.get(number) != Some(device);
        let differs = devices.iter().any(|(number, device)| changed(number, device))
            || self.devices.keys().any(|number| !devices.contains_key(number));
        self.devices = devices;
        if differs {
            let all: Vec<_> = self.kernel.keys().copied().collect();
            all.into_iter().for_each(|prefix| self.mark(prefix));
        }
    }

    /// Routes of these prefixes are over here from before this table was: what they do is not known.
    pub fn adopt(&mut self, prefixes: impl IntoIterator<Item = IpPrefix>) {
        for prefix in prefixes {
            // None of the kernel's is like it, so that each is put in its place.
            self.here.entry(prefix).or_insert_with(|| RouteTarget::Node(String::new()));
            self.mark(prefix);
        }
    }

    /// Up to `most` changes that make this side what the other is: what each prefix is to do, `None`: its route goes. They count as
    /// made until [`Self::refused`] says otherwise. None before the kernel's routes were all read once.
    pub fn take_changes(&mut self, most: usize) -> Vec<(IpPrefix, Option<RouteTarget>)> {
        let mut changes = Vec::new();
        while self.is_read
            && changes.len() < most
            && let Some(prefix) = self.dirty.pop_front()
        {
            self.is_dirty.remove(&prefix);
            self.failed.remove(&prefix);
            let routes = self.kernel.get(&prefix);
            let wanted = routes.and_then(|routes| {
                routes.iter().find_map(|route| route.target(&self.devices, &self.objects))
            });
            if routes.is_some() && wanted.is_none() {
                self.foreign.insert(prefix);
            } else {
                self.foreign.remove(&prefix);
            }
            if self.here.get(&prefix) == wanted.as_ref() {
                continue;
            }
            match &wanted {
                Some(target) => drop(self.here.insert(prefix, target.clone())),
                None => drop(self.here.remove(&prefix)),
            }
            changes.push((prefix, wanted));
        }
        self.under_way += changes.len();
        changes
    }

    /// So many of the changes that were taken are made by now, or refused.
    pub fn settled(&mut self, count: usize) {
        self.under_way = self.under_way.saturating_sub(count);
    }

    /// A change was refused over here, where the prefix has no route of ours now.
    pub fn refused(&mut self, prefix: IpPrefix, reason: String) {
        self.here.remove(&prefix);
        if self.kernel.contains_key(&prefix)
            && (self.failed.len() < MOST_FAILURES || self.failed.contains_key(&prefix))
        {
            self.failed.insert(prefix, reason);
        }
    }

    /// What was refused is tried again.
    pub fn retry(&mut self) {
        let failed: Vec<_> = self.failed.keys().copied().collect();
        failed.into_iter().for_each(|prefix| self.mark(prefix));
    }

    /// Whether there is anything to be changed.
    pub fn is_in_sync(&self) -> bool {
        self.dirty.is_empty() && self.under_way == 0
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let is_here = |prefix: &&IpPrefix| self.here.contains_key(*prefix);
        let pending_here = self.is_dirty.iter().filter(is_here).count();
        Standing {
            kernel: self.kernel.len(),
            in_sync: (self.here.len() - pending_here).saturating_sub(self.under_way),
            pending: self.dirty.len() + self.under_way,
            failed: self.failed.len(),
            foreign: self.foreign.len(),
        }
    }

    /// What is refused, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&IpPrefix, &str)> {
        self.failed.iter().map(|(prefix, reason)| (prefix, reason.as_str()))
    }

    /// What leads by devices that are none of ours.
    pub fn foreign(&self) -> BTreeSet<IpPrefix> {
        self.foreign.iter().copied().collect()
    }

    /// All prefixes that are over here.
    pub fn here(&self) -> impl Iterator<Item = (&IpPrefix, &RouteTarget)> {
        self.here.iter()
    }

    fn mark(&mut self, prefix: IpPrefix) {
        if self.is_dirty.insert(prefix) {
            self.dirty.push_back(prefix);
        }
    }

    fn note_users(&mut self, prefix: IpPrefix, before: &[KernelRoute], after: &[KernelRoute]) {
        for object in before.iter().filter_map(KernelRoute::object) {
            if let Some(users) = self.users.get_mut(&object) {
                users.remove(&prefix);
                if users.is_empty() {
                    self.users.remove(&object);
                }
            }
        }
        for object in after.iter().filter_map(KernelRoute::object) {
            self.users.entry(object).or_default().insert(prefix);
        }
    }
}

/// Takes a route away, or of one with several next hops those that are named: so the kernel tells of IPv6.
fn remove(routes: &mut Vec<KernelRoute>, route: &KernelRoute, first: usize) {
    let exact = routes.iter().position(|known| known.metric == route.metric && known.target == route.target);
    if let Some(at) = exact {
        routes.remove(at);
        return;
    }
    if let (KernelTarget::Hops(known), KernelTarget::Hops(gone)) = (&mut routes[first].target, &route.target)
    {
        let is_gone = |hop: &super::Hop| {
            gone.iter().any(|gone| gone.gateway == hop.gateway && gone.device == hop.device)
        };
        if known.iter().any(is_gone) && !known.iter().all(is_gone) {
            known.retain(|hop| !is_gone(hop));
            return;
        }
    }
    routes.remove(first);
}

/// One more next hop of an IPv6 route, or all of them again.
fn join(known: &mut KernelRoute, route: KernelRoute) {
    match (&mut known.target, route.target) {
        (KernelTarget::Hops(known), KernelTarget::Hops(more)) => {
            for hop in more {
                let same =
                    known.iter_mut().find(|known| known.gateway == hop.gateway && known.device == hop.device);
                match same {
                    Some(same) => *same = hop,
                    None => known.push(hop),
                }
            }
        }
        (known, target) => *known = target,
    }
}

#[cfg(test)]
mod tests {
    use raddle_plugin_api::InterfaceIndex;
    use raddle_plugin_api::route::RouteHop;

    use super::super::Hop;
    use super::*;

    fn prefix(text: &str) -> IpPrefix {
        text.parse().unwrap()
    }

    fn hop(gateway: &str, device: u32) -> Hop {
        Hop { gateway: Some(gateway.parse().unwrap()), device, weight: 1 }
    }

    fn route(metric: u32, hops: &[Hop]) -> KernelRoute {
        KernelRoute { metric, protocol: 12, target: KernelTarget::Hops(hops.to_vec()) }
    }

    fn table() -> MirrorTable {
        let mut table = MirrorTable::default();
        table.replace(HashMap::new());
        table.set_devices([(3, Device::Interface(InterfaceIndex(1))), (4, Device::Table)].into());
        table
    }

    /// Takes changes, which are made at once.
    fn take(table: &mut MirrorTable, most: usize) -> Vec<(IpPrefix, Option<RouteTarget>)> {
        let changes = table.take_changes(most);
        table.settled(changes.len());
        changes
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
        table.set_devices([(9, Device::Interface(InterfaceIndex(2)))].into());
        assert_eq!(via(&mut table), ["192.0.2.0/24 10.0.0.1%2*1", "198.51.100.0/24 10.0.0.2%2*1"]);
        assert_eq!(table.standing().foreign, 0);
    }

    #[test]
    fn objects_change_all_routes_that_use_them() {
        let mut table = table();
        let object = |number| KernelRoute { metric: 0, protocol: 11, target: KernelTarget::Object(number) };
        table.edit(prefix("192.0.2.0/24"), object(1), Edit::Prepend);
        table.edit(prefix("198.51.100.0/24"), object(7), Edit::Prepend);
        assert!(via(&mut table).is_empty());
        table.set_object(1, Some(Object::Hop(hop("10.0.0.1", 3))));
        table.set_object(2, Some(Object::Hop(hop("10.0.0.2", 3))));
        table.set_object(7, Some(Object::Group(vec![(1, 1), (2, 3)])));
        assert_eq!(
            via(&mut table),
            ["192.0.2.0/24 10.0.0.1%1*1", "198.51.100.0/24 10.0.0.1%1*1 10.0.0.2%1*3"]
        );
        table.set_object(1, Some(Object::Hop(hop("10.0.0.9", 3))));
        assert_eq!(
            via(&mut table),
            ["192.0.2.0/24 10.0.0.9%1*1", "198.51.100.0/24 10.0.0.9%1*1 10.0.0.2%1*3"]
        );
        table.set_object(1, Some(Object::Blackhole));
        assert_eq!(via(&mut table), ["192.0.2.0/24 Blackhole", "198.51.100.0/24 Blackhole"]);
        // A group in itself, which the kernel does not allow, ends.
        table.set_object(7, Some(Object::Group(vec![(7, 1)])));
        assert_eq!(via(&mut table), ["198.51.100.0/24 -"]);
    }

    #[test]
    fn a_new_reading_changes_what_differs_and_nothing_else() {
        let mut table = table();
        let (same, gone, new) = (prefix("10.1.0.0/16"), prefix("10.2.0.0/16"), prefix("10.3.0.0/16"));
        table.edit(same, route(5, &[hop("10.0.0.1", 3)]), Edit::Prepend);
        table.edit(gone, route(5, &[hop("10.0.0.1", 3)]), Edit::Prepend);
        assert_eq!(via(&mut table).len(), 2);
        let read =
            [(same, vec![route(5, &[hop("10.0.0.1", 3)])]), (new, vec![route(5, &[hop("10.0.0.2", 3)])])];
        table.replace(read.into());
        assert_eq!(via(&mut table), ["10.2.0.0/16 -", "10.3.0.0/16 10.0.0.2%1*1"]);
    }

    #[test]
    fn a_large_table_withdrawn_at_once_goes_in_bounded_pieces() {
        let mut table = table();
        let all = (0..200_000_u32).map(|number| {
            let prefix = IpPrefix::new(std::net::Ipv4Addr::from(0x1400_0000 + number).into(), 32).unwrap();
            (prefix, vec![route(0, &[hop("10.0.0.1", 3)])])
        });
        table.replace(all.collect());
        let mut changed = 0;
        for here in [200_000, 0] {
            while let count @ 1.. = take(&mut table, 8192).len() {
                assert!(count <= 8192);
                changed += count;
            }
            assert_eq!((table.standing().in_sync, table.is_in_sync()), (here, true));
            table.replace(HashMap::new());
        }
        assert_eq!(changed, 400_000);
    }

    // Graceful restart: what was valid before stays until the kernel's routes are known.
    #[test]
    fn what_is_adopted_stays_until_the_kernel_was_read_and_then_if_it_is_there() {
        let (stays, goes) = (prefix("10.1.0.0/16"), prefix("10.2.0.0/16"));
        let mut table = MirrorTable::default();
        table.set_devices([(3, Device::Interface(InterfaceIndex(1)))].into());
        table.adopt([stays, goes]);
        table.edit(prefix("10.3.0.0/16"), route(5, &[hop("10.0.0.1", 3)]), Edit::Prepend);
        assert!(via(&mut table).is_empty());
        table.replace([(stays, vec![route(5, &[hop("10.0.0.1", 3)])])].into());
        assert_eq!(via(&mut table), ["10.1.0.0/16 10.0.0.1%1*1", "10.2.0.0/16 -"]);
        assert_eq!(table.standing(), Standing { kernel: 1, in_sync: 1, ..Standing::default() });
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
}
