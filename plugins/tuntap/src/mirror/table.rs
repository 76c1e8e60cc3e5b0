//! The kernel's routes of one table, and which of them are over here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use raddle_plugin_api::route::RouteTarget;
use raddle_plugin_api::wire::IpPrefix;

use super::kernel_route::{Devices, KernelRoute, KernelTarget, Object, Objects};
use super::prefix_routes::PrefixRoutes;
use crate::netlink::Edit;

/// Refused routes of which it is known why.
const MOST_REASONS: usize = 1000;
/// Refused routes that are tried again at a time.
const RETRIED: usize = 1024;
/// Prefixes for which there is always room.
const LEAST_ROOM: usize = 4096;

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

/// What a prefix is to do over here; `None`: its route goes.
pub type Changed = (IpPrefix, Option<Arc<RouteTarget>>);

/// What is known of a prefix.
#[derive(Default)]
struct Entry {
    /// The kernel's routes.
    kernel: PrefixRoutes,
    /// What is over here; many prefixes do the same.
    here: Option<Arc<RouteTarget>>,
    /// The reading that has seen it last.
    seen: u32,
    is_dirty: bool,
    is_foreign: bool,
}

/// How far what is refused was tried again.
#[derive(Default)]
struct Retry {
    /// The last one that was, if there is more behind it.
    after: Option<IpPrefix>,
    /// How many were at a time, and how many were refused since.
    tried: usize,
    refused: usize,
}

impl Retry {
    /// Whether more of it is worth the trouble.
    fn goes_well(&self) -> bool {
        self.after.is_some() && self.refused < self.tried.div_ceil(2)
    }
}

/// The table.
#[derive(Default)]
pub struct MirrorTable {
    entries: HashMap<IpPrefix, Entry>,
    objects: Objects,
    /// Prefixes by the objects that they need, directly.
    users: HashMap<u32, HashSet<IpPrefix>>,
    devices: Devices,
    /// What is to be looked at, each prefix once.
    dirty: VecDeque<IpPrefix>,
    /// What is refused over here, and why, of some of it.
    refused: BTreeSet<IpPrefix>,
    reasons: BTreeMap<IpPrefix, String>,
    retry: Retry,
    /// Entries with routes of the kernel's, with one over here, with one over here that is to be looked at, and foreign ones.
    kernel: usize,
    here: usize,
    dirty_here: usize,
    foreign: usize,
    /// Changes that were taken and are not made yet.
    under_way: usize,
    /// Prefixes whose routes these take away.
    going: Vec<IpPrefix>,
    /// Numbers of the readings of both families, and whether one of each was ever done.
    readings: [u32; 2],
    was_read: [bool; 2],
    /// Routes of one prefix, as they are read.
    run: Option<(IpPrefix, Vec<KernelRoute>)>,
}

impl MirrorTable {
    /// A change of one route; `false`: which one is meant is not certain, and the routes are to be read again.
    pub fn edit(&mut self, prefix: IpPrefix, route: KernelRoute, edit: Edit) -> bool {
        let entry = self.entries.entry(prefix).or_default();
        let had = !entry.kernel.as_slice().is_empty();
        let before = objects_of(entry.kernel.as_slice());
        let edited = entry.kernel.edit(matches!(prefix, IpPrefix::V6(_)), route, edit);
        if edited.is_different {
            self.note_change(prefix, had, &before);
        } else {
            self.forget_if_empty(prefix);
        }
        !edited.is_guess
    }

    /// Begins to read the routes of one family, from the first on: what differs is changed, what is the same stays untouched.
    pub fn begin_reading(&mut self, is_ip6: bool) {
        let reading = &mut self.readings[usize::from(is_ip6)];
        // What was made without a reading has 0.
        *reading = reading.wrapping_add(1).max(1);
        self.run = None;
    }

    /// A route of the family that is read.
    pub fn read(&mut self, prefix: IpPrefix, route: KernelRoute) {
        match &mut self.run {
            // The kernel tells of all routes of a prefix together.
            Some((of, routes)) if *of == prefix => routes.push(route),
            _ => {
                let mut routes = self.end_run();
                routes.push(route);
                self.run = Some((prefix, routes));
            }
        }
    }

    /// All routes of the family were read. Returns the prefixes of which there was none, for [`Self::forget`].
    #[must_use]
    pub fn end_reading(&mut self, is_ip6: bool) -> Vec<IpPrefix> {
        self.end_run();
        self.was_read[usize::from(is_ip6)] = true;
        let unseen = |(prefix, entry): (&IpPrefix, &Entry)| {
            let is_meant = matches!(prefix, IpPrefix::V6(_)) == is_ip6;
            (is_meant && entry.seen != self.readings[usize::from(is_ip6)]).then_some(*prefix)
        };
        self.entries.iter().filter_map(unseen).collect()
    }

    /// The kernel has no routes of these prefixes. What is over here of them goes, also what was there before this table was.
    pub fn forget(&mut self, prefixes: &[IpPrefix]) {
        for &prefix in prefixes {
            self.put(prefix, PrefixRoutes::None);
        }
    }

    /// The same when the kernel has no routes: what is over here is to go.
    #[must_use]
    pub fn emptied(mut self) -> Self {
        let all: Vec<_> = self.entries.keys().copied().collect();
        self.forget(&all);
        self
    }

    /// An object is another one now, or gone. Returns the prefixes whose routes need it, for [`Self::look_at`].
    #[must_use]
    pub fn set_object(&mut self, number: u32, object: Option<Object>) -> Vec<IpPrefix> {
        match object {
            Some(object) if self.objects.get(&number) == Some(&object) => return Vec::new(),
            Some(object) => drop(self.objects.insert(number, object)),
            None => drop(self.objects.remove(&number)),
        }
        let groups: Vec<u32> = self
            .objects
            .iter()
            .filter(|(_, object)| {
                matches!(object, Object::Group(members) if members.iter().any(|(member, _)| *member == number))
            })
            .map(|(group, _)| *group)
            .collect();
        std::iter::once(number)
            .chain(groups)
            .filter_map(|user| self.users.get(&user))
            .flatten()
            .copied()
            .collect()
    }

    /// All objects, as they were read. Returns what [`Self::set_object`] does.
    #[must_use]
    pub fn replace_objects(&mut self, objects: &Objects) -> Vec<IpPrefix> {
        let gone: Vec<u32> =
            self.objects.keys().filter(|number| !objects.contains_key(number)).copied().collect();
        let mut users: Vec<_> = gone.into_iter().flat_map(|number| self.set_object(number, None)).collect();
        for (&number, object) in objects {
            users.extend(self.set_object(number, Some(object.clone())));
        }
        users
    }

    /// The kernel's devices are others over here now. Returns the prefixes with routes, for [`Self::look_at`].
    #[must_use]
    pub fn set_devices(&mut self, devices: &Devices) -> Vec<IpPrefix> {
        if self.devices == *devices {
            return Vec::new();
        }
        self.devices.clone_from(devices);
        let with_routes =
            |(prefix, entry): (&IpPrefix, &Entry)| (!entry.kernel.as_slice().is_empty()).then_some(*prefix);
        self.entries.iter().filter_map(with_routes).collect()
    }

    /// What these prefixes are to do is to be worked out again.
    pub fn look_at(&mut self, prefixes: &[IpPrefix]) {
        prefixes.iter().for_each(|prefix| self.mark(*prefix));
    }

    /// Routes of these prefixes are over here from before this table was: what they do is not known. They stay until the kernel's are
    /// read.
    pub fn adopt(&mut self, prefixes: impl IntoIterator<Item = IpPrefix>) {
        // None of the kernel's is like it, so that each is put in its place.
        let unknown = Arc::new(RouteTarget::Node(String::new()));
        for prefix in prefixes {
            let entry = self.entries.entry(prefix).or_default();
            if entry.here.is_none() {
                entry.here = Some(Arc::clone(&unknown));
                self.here += 1;
                self.dirty_here += usize::from(entry.is_dirty);
            }
            if self.was_read[usize::from(matches!(prefix, IpPrefix::V6(_)))] {
                self.mark(prefix);
            }
        }
    }

    /// Up to `most` changes that make this side what the other is. They count as under way until [`Self::settled`], and as made until
    /// [`Self::refused`] says otherwise.
    pub fn take_changes(&mut self, most: usize) -> Vec<Changed> {
        if self.is_in_sync() && self.retry.goes_well() {
            self.retry();
        }
        let mut changes = Vec::new();
        let mut known = Resolved::default();
        while changes.len() < most
            && let Some(prefix) = self.dirty.pop_front()
        {
            if !self.refused.is_empty() && self.refused.remove(&prefix) {
                self.reasons.remove(&prefix);
            }
            let Some(entry) = self.entries.get_mut(&prefix) else { continue };
            entry.is_dirty = false;
            self.dirty_here -= usize::from(entry.here.is_some());
            let routes = entry.kernel.as_slice();
            let wanted = routes.iter().find_map(|route| known.target(route, &self.devices, &self.objects));
            let is_foreign = !routes.is_empty() && wanted.is_none();
            self.foreign = self.foreign + usize::from(is_foreign) - usize::from(entry.is_foreign);
            entry.is_foreign = is_foreign;
            if entry.here != wanted {
                self.here = self.here + usize::from(wanted.is_some()) - usize::from(entry.here.is_some());
                entry.here.clone_from(&wanted);
                if wanted.is_none() {
                    self.going.push(prefix);
                }
                changes.push((prefix, wanted));
            }
            if routes.is_empty() {
                self.forget_if_empty(prefix);
            }
        }
        self.under_way += changes.len();
        if self.dirty.is_empty() {
            self.give_room_back();
        }
        changes
    }

    /// So many of the changes that were taken are made by now, or refused.
    pub fn settled(&mut self, count: usize) {
        self.under_way = self.under_way.saturating_sub(count);
        if self.under_way == 0 {
            self.going.clear();
        }
    }

    /// A change was refused over here, where the prefix has no route of ours now.
    pub fn refused(&mut self, prefix: IpPrefix, reason: String) {
        let Some(entry) = self.entries.get_mut(&prefix) else { return };
        if entry.here.take().is_some() {
            self.here -= 1;
            self.dirty_here -= usize::from(entry.is_dirty);
        }
        if entry.kernel.as_slice().is_empty() {
            self.forget_if_empty(prefix);
        } else {
            self.retry.refused += 1;
            self.refused.insert(prefix);
            if self.reasons.len() < MOST_REASONS || self.reasons.contains_key(&prefix) {
                self.reasons.insert(prefix, reason);
            }
        }
    }

    /// Some of what was refused is tried again: the next time what comes behind it, and at once while most of it goes well.
    pub fn retry(&mut self) {
        let after = self.retry.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.refused.range((after, Bound::Unbounded));
        let some: Vec<_> = rest.by_ref().take(RETRIED).copied().collect();
        let after = rest.next().and(some.last().copied());
        self.retry = Retry { after, tried: some.len(), refused: 0 };
        self.look_at(&some);
    }

    /// Whether there is anything to be changed.
    pub fn is_in_sync(&self) -> bool {
        self.dirty.is_empty() && self.under_way == 0
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        Standing {
            kernel: self.kernel,
            in_sync: (self.here - self.dirty_here).saturating_sub(self.under_way),
            pending: self.dirty.len() + self.under_way,
            failed: self.refused.len(),
            foreign: self.foreign,
        }
    }

    /// What is refused, and why: all of it, or some.
    pub fn failures(&self) -> impl Iterator<Item = (&IpPrefix, &str)> {
        self.reasons.iter().map(|(prefix, reason)| (prefix, reason.as_str()))
    }

    /// What leads by devices that are none of ours.
    pub fn foreign(&self) -> BTreeSet<IpPrefix> {
        self.entries.iter().filter(|(_, entry)| entry.is_foreign).map(|(prefix, _)| *prefix).collect()
    }

    /// All prefixes that are over here.
    pub fn here(&self) -> impl Iterator<Item = (&IpPrefix, &RouteTarget)> {
        self.entries.iter().filter_map(|(prefix, entry)| Some((prefix, &**entry.here.as_ref()?)))
    }

    /// Prefixes whose routes are over here, or may be: what is under way may never be made.
    pub fn adoptable(&self) -> Vec<IpPrefix> {
        self.here().map(|(prefix, _)| prefix).chain(&self.going).copied().collect()
    }

    fn mark(&mut self, prefix: IpPrefix) {
        let Some(entry) = self.entries.get_mut(&prefix) else { return };
        if !entry.is_dirty {
            entry.is_dirty = true;
            self.dirty_here += usize::from(entry.here.is_some());
            self.dirty.push_back(prefix);
        }
    }

    /// Takes up the routes that were read of one prefix; returns an empty list for the next.
    fn end_run(&mut self) -> Vec<KernelRoute> {
        let Some((prefix, mut routes)) = self.run.take() else { return Vec::new() };
        let reading = self.readings[usize::from(matches!(prefix, IpPrefix::V6(_)))];
        let entry = self.entries.entry(prefix).or_default();
        if entry.seen == reading {
            // It was told of in two places, maybe of the same.
            let more = std::mem::replace(&mut routes, entry.kernel.as_slice().to_vec());
            for route in more {
                if !routes.contains(&route) {
                    routes.push(route);
                }
            }
        }
        entry.seen = reading;
        // Stable: those of one metric stay in their order.
        routes.sort_by_key(|route| route.metric);
        if entry.kernel.as_slice() != routes {
            let new = match routes.len() {
                1 => routes.pop().map_or(PrefixRoutes::None, PrefixRoutes::One),
                _ => std::mem::take(&mut routes).into(),
            };
            self.put(prefix, new);
        }
        routes.clear();
        routes
    }

    /// The kernel's routes of a prefix are these, which differ from those before, or were not known.
    fn put(&mut self, prefix: IpPrefix, routes: PrefixRoutes) {
        let Some(entry) = self.entries.get_mut(&prefix) else { return };
        let old = std::mem::replace(&mut entry.kernel, routes);
        self.note_change(prefix, !old.as_slice().is_empty(), &objects_of(old.as_slice()));
    }

    /// Counts and marks a prefix whose routes have changed, with what they were before.
    fn note_change(&mut self, prefix: IpPrefix, had: bool, before: &[u32]) {
        let Some(entry) = self.entries.get(&prefix) else { return };
        let routes = entry.kernel.as_slice();
        self.kernel = self.kernel + usize::from(!routes.is_empty()) - usize::from(had);
        let after = objects_of(routes);
        for object in before {
            if let Some(users) = self.users.get_mut(object) {
                users.remove(&prefix);
                if users.is_empty() {
                    self.users.remove(object);
                }
            }
        }
        for object in after {
            self.users.entry(object).or_default().insert(prefix);
        }
        self.mark(prefix);
    }

    /// Nothing is left to be known of a prefix.
    fn forget_if_empty(&mut self, prefix: IpPrefix) {
        let is_empty = self.entries.get(&prefix).is_some_and(|entry| {
            entry.kernel.as_slice().is_empty() && entry.here.is_none() && !entry.is_dirty
        });
        if is_empty {
            self.entries.remove(&prefix);
        }
    }

    /// A table that was large once does not keep its memory.
    fn give_room_back(&mut self) {
        if self.entries.capacity() > LEAST_ROOM && self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to(LEAST_ROOM.max(self.entries.len() * 2));
        }
        if self.dirty.capacity() > LEAST_ROOM {
            self.dirty.shrink_to(LEAST_ROOM);
        }
    }
}

fn objects_of(routes: &[KernelRoute]) -> Vec<u32> {
    routes.iter().filter_map(KernelRoute::object).collect()
}

/// What routes come to, worked out once for all that do the same.
#[derive(Default)]
struct Resolved {
    last: Option<(*const KernelTarget, Option<Arc<RouteTarget>>)>,
    all: HashMap<*const KernelTarget, Option<Arc<RouteTarget>>>,
}

impl Resolved {
    /// As [`KernelRoute::target`]. The routes, the devices and the objects stay the same meanwhile.
    fn target(
        &mut self,
        route: &KernelRoute,
        devices: &Devices,
        objects: &Objects,
    ) -> Option<Arc<RouteTarget>> {
        let key = Arc::as_ptr(&route.target);
        if let Some((last, target)) = &self.last
            && *last == key
        {
            return target.clone();
        }
        let target = self.all.entry(key).or_insert_with(|| route.target(devices, objects).map(Arc::new));
        self.last = Some((key, target.clone()));
        target.clone()
    }
}
