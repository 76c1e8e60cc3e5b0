//! What workers read of sub-interfaces: which one a tagged frame belongs to, and what one puts on what it sends.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use raddle_plugin_api::sync::Published;
use raddle_plugin_api::wire::EtherType;
use raddle_plugin_api::{Control, InterfaceIndex, Worker};

use super::{Selection, TAG_BYTES, TagProtocol, Tags};

/// VLANs in the 12 bits of a tag.
const VLANS: usize = 4096;
/// The VLAN "none": a tag that says a priority only (802.1Q §9.6).
const PRIORITY_ONLY: u16 = 0;
const VLAN_MASK: u16 = 0x0fff;

/// A sub-interface that is there, as the tables take it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its index.
    pub interface: InterfaceIndex,
    /// Its parent's.
    pub parent: InterfaceIndex,
    /// Which frames it takes.
    pub selection: Selection,
    /// Priority code point of what it sends.
    pub priority: u8,
    /// Whether frames keep their tags on their way in and out, for a tag rewrite to see them.
    pub keeps_tags: bool,
}

/// Where a frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The sub-interface; `None` where the frame counts as untagged and no sub-interface takes those.
    pub interface: Option<InterfaceIndex>,
    /// Tags that are to be taken off.
    pub tags: usize,
}

/// What a sub-interface does to what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// By which interface it sends.
    pub parent: InterfaceIndex,
    count: u8,
    tags: [[u8; TAG_BYTES]; 2],
}

impl Sending {
    /// The tags that are put on, outermost first.
    #[inline]
    pub fn tags(&self) -> &[[u8; TAG_BYTES]] {
        &self.tags[..usize::from(self.count).min(self.tags.len())]
    }
}

/// The tables, which the main thread replaces when sub-interfaces come and go.
pub struct VlanTables {
    receiving: Published<Receiving>,
    sending: Published<Vec<Option<Sending>>>,
}

/// By index of the parent.
type Receiving = Vec<Option<Arc<Parent>>>;

impl VlanTables {
    /// Without sub-interfaces.
    pub fn new(control: &Control<'_>) -> Self {
        Self {
            receiving: Published::new(control, Receiving::new()),
            sending: Published::new(control, Vec::new()),
        }
    }

    /// Takes these sub-interfaces for all that there are.
    pub fn publish(&self, control: &Control<'_>, entries: &[Entry]) {
        let mut parents: HashMap<InterfaceIndex, Parent> = HashMap::new();
        let mut sending: Vec<Option<Sending>> = Vec::new();
        for entry in entries {
            parents.entry(entry.parent).or_default().add(entry);
            *slot(&mut sending, entry.interface) = Some(sending_of(entry));
        }
        let mut receiving = Receiving::new();
        for (index, parent) in parents {
            *slot(&mut receiving, index) = Some(Arc::new(parent));
        }
        self.receiving.publish(control, receiving);
        self.sending.publish(control, sending);
    }

    /// Where a tagged frame of `parent` belongs, by its first tag's kind and control word and the bytes behind that tag's
    /// ethertype, which is `behind`. `None`: nowhere.
    #[inline]
    pub fn receive(
        &self,
        worker: &Worker<'_>,
        parent: InterfaceIndex,
        first: (TagProtocol, u16, EtherType),
        second: Option<u16>,
    ) -> Option<Received> {
        let found = self.receiving.read(worker).get(parent.0 as usize).and_then(Option::as_ref);
        match found {
            Some(parent) => parent.find(first, second),
            None => Parent::priority_only(first),
        }
    }

    /// The sub-interface of `parent` that takes untagged frames.
    #[inline]
    pub fn untagged(&self, worker: &Worker<'_>, parent: InterfaceIndex) -> Option<InterfaceIndex> {
        self.receiving.read(worker).get(parent.0 as usize)?.as_ref()?.untagged
    }

    /// What the sub-interface does to what it sends; `None` while its parent is not there.
    #[inline]
    pub fn sending<'w>(&'w self, worker: &'w Worker<'_>, interface: InterfaceIndex) -> Option<&'w Sending> {
        self.sending.read(worker).get(interface.0 as usize)?.as_ref()
    }
}

fn slot<T>(list: &mut Vec<Option<T>>, index: InterfaceIndex) -> &mut Option<T> {
    let index = index.0 as usize;
    if list.len() <= index {
        list.resize_with(index + 1, || None);
    }
    &mut list[index]
}

fn sending_of(entry: &Entry) -> Sending {
    let mut sending = Sending { parent: entry.parent, count: 0, tags: [[0; TAG_BYTES]; 2] };
    if entry.keeps_tags {
        return sending;
    }
    for (room, tag) in sending.tags.iter_mut().zip(entry.selection.tags()) {
        *room = tag.bytes(entry.priority << 1);
        sending.count += 1;
    }
    sending
}

/// The sub-interfaces of one interface.
#[derive(Default)]
struct Parent {
    /// By kind of the outer tag: index into `outer` by VLAN, 0 for none.
    by_vlan: [Option<Box<[u16; VLANS]>>; 2],
    outer: Vec<Outer>,
    default: Option<InterfaceIndex>,
    untagged: Option<InterfaceIndex>,
}

/// What is known of one outer VLAN.
#[derive(Default)]
struct Outer {
    one: Option<Received>,
    any_inner: Option<Received>,
    inner: HashMap<u16, Received>,
}

impl Parent {
    fn add(&mut self, entry: &Entry) {
        let tags = match entry.selection {
            Selection::Default => return self.default = Some(entry.interface),
            Selection::Untagged => return self.untagged = Some(entry.interface),
            Selection::Tags(tags) => tags,
        };
        let (outer, inner) = (tags.outer(), tags.inner());
        let count = if entry.keeps_tags { 0 } else { 1 + usize::from(inner.is_some()) };
        let received = Received { interface: Some(entry.interface), tags: count };
        let by_vlan = self.by_vlan[outer.protocol as usize].get_or_insert_with(|| Box::new([0; VLANS]));
        let place = &mut by_vlan[usize::from(outer.vlan) % VLANS];
        if *place == 0 {
            self.outer.push(Outer::default());
            // There are no more than 2 × 4,096 outer VLANs.
            *place = self.outer.len() as u16;
        }
        let found = &mut self.outer[usize::from(*place) - 1];
        match tags {
            Tags::One(_) => found.one = Some(received),
            Tags::OneOfTwo(_) => found.any_inner = Some(received),
            Tags::Two(_, vlan) => {
                found.inner.insert(vlan, received);
            }
        }
    }

    /// A first tag that says no more than a priority: the frame counts as untagged.
    fn priority_only(first: (TagProtocol, u16, EtherType)) -> Option<Received> {
        let is_priority = first.1 & VLAN_MASK == PRIORITY_ONLY && !first.2.is_tag();
        is_priority.then_some(Received { interface: None, tags: 1 })
    }

    #[inline]
    fn find(&self, first: (TagProtocol, u16, EtherType), second: Option<u16>) -> Option<Received> {
        let (protocol, control, _) = first;
        if let Some(received) = Self::priority_only(first) {
            return Some(Received { interface: self.untagged, ..received });
        }
        let default = || self.default.map(|interface| Received { interface: Some(interface), tags: 0 });
        let place = self.by_vlan[protocol as usize]
            .as_ref()
            .map_or(0, |by_vlan| by_vlan[usize::from(control & VLAN_MASK) % VLANS]);
        let Some(outer) = usize::from(place).checked_sub(1).and_then(|place| self.outer.get(place)) else {
            return default();
        };
        let found = match second.map(|control| control & VLAN_MASK) {
            None => outer.one,
            // A second tag without a VLAN says no more than the first: it is taken off with it.
            Some(PRIORITY_ONLY) if outer.one.is_some_and(|one| one.tags > 0) => {
                outer.one.map(|one| Received { tags: one.tags + 1, ..one })
            }
            Some(inner) => outer.inner.get(&inner).copied().or(outer.any_inner).or(outer.one),
        };
        found.or_else(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::vlan::Tag;

    const CUSTOMER: TagProtocol = TagProtocol::Customer;
    const SERVICE: TagProtocol = TagProtocol::Service;

    fn parent(selections: &[(u32, Selection)]) -> Parent {
        let mut parent = Parent::default();
        for &(index, selection) in selections {
            parent.add(&Entry {
                interface: InterfaceIndex(index),
                parent: InterfaceIndex(0),
                selection,
                priority: 0,
                keeps_tags: false,
            });
        }
        parent
    }

    fn tag(protocol: TagProtocol, vlan: u16) -> Tag {
        Tag { protocol, vlan }
    }

    /// Interface and tags taken off.
    fn found(parent: &Parent, protocol: TagProtocol, outer: u16, inner: Option<u16>) -> Option<(u32, usize)> {
        let behind = if inner.is_some() { EtherType::VLAN } else { EtherType::IP4 };
        let received = parent.find((protocol, outer, behind), inner)?;
        Some((received.interface.map_or(99, |interface| interface.0), received.tags))
    }

    #[test]
    fn the_narrowest_selection_takes_a_frame() {
        let all = parent(&[
            (1, Selection::Tags(Tags::One(tag(CUSTOMER, 100)))),
            (2, Selection::Tags(Tags::OneOfTwo(tag(SERVICE, 100)))),
            (3, Selection::Tags(Tags::Two(tag(SERVICE, 100), 7))),
            (4, Selection::Tags(Tags::One(tag(SERVICE, 100)))),
            (5, Selection::Default),
            (6, Selection::Untagged),
        ]);
        for (protocol, outer, inner, expected) in [
            (CUSTOMER, 100, None, Some((1, 1))),
            // Priority and drop eligibility are not the VLAN's.
            (CUSTOMER, 0xf000 | 100, None, Some((1, 1))),
            (CUSTOMER, 100, Some(7), Some((1, 1))),
            (CUSTOMER, 100, Some(0x6000), Some((1, 2))),
            (SERVICE, 100, None, Some((4, 1))),
            (SERVICE, 100, Some(7), Some((3, 2))),
            (SERVICE, 100, Some(0xe007), Some((3, 2))),
            (SERVICE, 100, Some(8), Some((2, 1))),
            (CUSTOMER, 101, None, Some((5, 0))),
            (CUSTOMER, 4095, None, Some((5, 0))),
            (CUSTOMER, 0, None, Some((6, 1))),
            (SERVICE, 0xe000, None, Some((6, 1))),
            (SERVICE, 0, Some(100), Some((5, 0))),
        ] {
            assert_eq!(found(&all, protocol, outer, inner), expected, "{protocol} {outer:#x} {inner:?}");
        }
    }

    #[test]
    fn what_nobody_takes_belongs_nowhere() {
        let two = parent(&[(3, Selection::Tags(Tags::Two(tag(SERVICE, 100), 7)))]);
        assert_eq!(found(&two, SERVICE, 100, None), None);
        assert_eq!(found(&two, SERVICE, 100, Some(8)), None);
        assert_eq!(found(&two, CUSTOMER, 100, Some(7)), None);
        assert_eq!(found(&two, CUSTOMER, 0, None), Some((99, 1)), "the parent itself");
    }

    #[test]
    fn tags_are_put_on_with_the_priority() {
        let entry = Entry {
            interface: InterfaceIndex(2),
            parent: InterfaceIndex(1),
            selection: Selection::Tags(Tags::Two(tag(SERVICE, 0xabc), 7)),
            priority: 5,
            keeps_tags: false,
        };
        assert_eq!(sending_of(&entry).tags(), [[0x88, 0xa8, 0xaa, 0xbc], [0x81, 0, 0xa0, 7]]);
        assert_eq!(sending_of(&Entry { keeps_tags: true, ..entry }).tags().len(), 0);
        assert_eq!(sending_of(&Entry { selection: Selection::Default, ..entry }).tags().len(), 0);
    }
}
