//! Packets that are followed on trial: from the input on, until they come to what was asked for (a node, or `drop`) and
//! are kept, or their place is needed for another.

use super::trace::PacketTrace;
use crate::filter::{Filter, Link};

/// Pursuits at a time.
pub(super) const MOST_PURSUITS: usize = 8;
/// Packets that a thread follows on trial at a time. Those of a few passes: later ones have met their end.
const SLOTS: usize = 1024;
/// Values of a slot's generation, by which a packet that has lost its place knows it.
pub(super) const GENERATIONS: u32 = 1 << 10;

/// Where packets of a pursuit must come to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// To this node.
    Node(u16),
    /// To `drop`.
    Drop,
}

/// Packets that are wanted: those that pass the filter at the input and come to the goal.
#[derive(Clone, Debug)]
pub struct Pursuit {
    /// Where they must come.
    pub goal: Goal,
    /// Without one, all packets are followed.
    pub filter: Option<Filter>,
    /// How many more are kept.
    pub left: u32,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    /// The pursuits whose filter the packet has passed, one bit each.
    pursuits: u8,
    /// Where it is kept, once it has come to a goal.
    kept: Option<u32>,
    trace: PacketTrace,
}

/// What a thread follows on trial.
#[derive(Default)]
pub struct Trials {
    pursuits: Vec<Pursuit>,
    slots: Vec<Slot>,
    next: usize,
}

/// What became of a packet that came to a goal.
pub(super) enum Arrival {
    /// Nothing new.
    None,
    /// It is to be kept.
    Keep(PacketTrace),
}

impl Trials {
    /// Whether another pursuit can be added.
    pub(super) fn has_room(&self) -> bool {
        self.pursuits.iter().filter(|pursuit| pursuit.left > 0).count() < MOST_PURSUITS
    }

    /// Adds a pursuit, in the place of one that has what it wanted. One more than there is room for is left out.
    pub(super) fn add(&mut self, pursuit: Pursuit) {
        self.pursuits.retain(|pursuit| pursuit.left > 0);
        if self.pursuits.len() >= MOST_PURSUITS {
            return;
        }
        // Bits of packets that are under way mean other pursuits now: they start anew.
        self.slots.iter_mut().for_each(|slot| slot.pursuits = 0);
        self.pursuits.push(pursuit);
    }

    /// Whether packets are still wanted.
    pub(super) fn is_open(&self) -> bool {
        self.pursuits.iter().any(|pursuit| pursuit.left > 0)
    }

    /// Whether some pursuit has its goal at this node.
    pub(super) fn is_goal(&self, goal: Goal) -> bool {
        self.pursuits.iter().any(|pursuit| pursuit.left > 0 && pursuit.goal == goal)
    }

    /// Gives a packet that was received a place, if some pursuit wants it; returns slot and generation.
    pub(super) fn begin(&mut self, link: Link, bytes: &[u8], length: u32, now_ns: u64) -> Option<(u32, u32)> {
        let mut pursuits = 0;
        for (bit, pursuit) in self.pursuits.iter().enumerate().filter(|(_, pursuit)| pursuit.left > 0) {
            if pursuit.filter.as_ref().is_none_or(|filter| filter.matches(link, bytes, length)) {
                pursuits |= 1 << bit;
            }
        }
        if pursuits == 0 {
            return None;
        }
        if self.slots.len() < SLOTS {
            self.slots.push(Slot::default());
            self.next = self.slots.len() - 1;
        }
        let index = self.next;
        self.next = (index + 1) % SLOTS;
        let slot = &mut self.slots[index];
        slot.generation = (slot.generation + 1) % GENERATIONS;
        (slot.pursuits, slot.kept) = (pursuits, None);
        slot.trace.start_ns = now_ns;
        slot.trace.entries.clear();
        Some((index as u32, slot.generation))
    }

    /// The trace of a packet that still has its place, or the number under which it is kept.
    pub(super) fn trace(&mut self, slot: u32, generation: u32) -> Option<Result<u32, &mut PacketTrace>> {
        let slot = self.slots.get_mut(slot as usize).filter(|slot| slot.generation == generation)?;
        Some(match slot.kept {
            Some(kept) => Ok(kept),
            None => Err(&mut slot.trace),
        })
    }

    /// A packet has come to a goal: counts it for the pursuit that wants it there. If it is to be kept,
    /// [`Self::kept`] says where.
    pub(super) fn arrive(&mut self, slot: u32, generation: u32, goal: Goal) -> Arrival {
        let found = self.slots.get_mut(slot as usize);
        let Some(slot) = found.filter(|slot| slot.generation == generation && slot.kept.is_none()) else {
            return Arrival::None;
        };
        let wanted =
            self.pursuits.iter_mut().enumerate().find(|(bit, pursuit)| {
                pursuit.goal == goal && pursuit.left > 0 && slot.pursuits & 1 << bit != 0
            });
        let Some((_, pursuit)) = wanted else { return Arrival::None };
        pursuit.left -= 1;
        Arrival::Keep(std::mem::take(&mut slot.trace))
    }

    /// Says under which number the packet of a slot is kept.
    pub(super) fn kept(&mut self, slot: u32, number: u32) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.kept = Some(number);
        }
    }

    /// Counts a packet that was not followed (made here, or received before) and comes to `drop`; returns whether it is
    /// wanted. A filter has not seen it, so only pursuits without one want it.
    pub(super) fn take_stray(&mut self) -> bool {
        let wanted = self
            .pursuits
            .iter_mut()
            .find(|pursuit| pursuit.goal == Goal::Drop && pursuit.left > 0 && pursuit.filter.is_none());
        wanted.is_some_and(|pursuit| {
            pursuit.left -= 1;
            true
        })
    }

    /// Ends all pursuits. Packets on trial have no place any more.
    pub(super) fn clear(&mut self) {
        self.pursuits.clear();
        for slot in &mut self.slots {
            slot.generation = (slot.generation + 1) % GENERATIONS;
            (slot.pursuits, slot.kept) = (0, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drops(left: u32) -> Trials {
        let mut trials = Trials::default();
        trials.add(Pursuit { goal: Goal::Drop, filter: None, left });
        trials
    }

    #[test]
    fn a_packet_is_kept_when_it_comes_to_the_goal_and_counts_once() {
        let mut trials = drops(1);
        let (slot, generation) = trials.begin(Link::Ethernet, &[], 0, 7).expect("wanted");
        assert!(matches!(trials.arrive(slot, generation, Goal::Node(3)), Arrival::None));
        let Arrival::Keep(trace) = trials.arrive(slot, generation, Goal::Drop) else { panic!("not kept") };
        assert_eq!(trace.start_ns, 7);
        trials.kept(slot, 5);
        assert!(matches!(trials.trace(slot, generation), Some(Ok(5))));
        assert!(matches!(trials.arrive(slot, generation, Goal::Drop), Arrival::None));
        assert!(!trials.is_open() && trials.begin(Link::Ethernet, &[], 0, 8).is_none());
    }

    #[test]
    fn a_packet_that_lost_its_place_is_not_taken_for_the_one_that_has_it() {
        let mut trials = drops(2);
        let first = trials.begin(Link::Ethernet, &[], 0, 0).expect("wanted");
        let last = (0..SLOTS).filter_map(|_| trials.begin(Link::Ethernet, &[], 0, 0)).last().expect("wanted");
        assert_eq!(last.0, first.0);
        assert!(trials.trace(first.0, first.1).is_none() && trials.trace(last.0, last.1).is_some());
        assert!(matches!(trials.arrive(first.0, first.1, Goal::Drop), Arrival::None));
        trials.clear();
        assert!(trials.trace(last.0, last.1).is_none());
    }

    #[test]
    fn pursuits_are_bounded_and_make_room_when_they_are_done() {
        let mut trials = drops(1);
        (1..MOST_PURSUITS).for_each(|_| trials.add(Pursuit { goal: Goal::Node(1), filter: None, left: 1 }));
        assert!(!trials.has_room());
        assert!(trials.take_stray() && trials.has_room());
        trials.add(Pursuit { goal: Goal::Drop, filter: None, left: 1 });
        assert!(!trials.has_room() && trials.is_goal(Goal::Drop));
    }

    #[test]
    fn strays_are_wanted_where_no_filter_is() {
        assert!(drops(1).take_stray());
        let mut trials = Trials::default();
        let filter =
            serde_json::from_str(r#"{"text":"","ethernet":[[6,0,0,1]],"ip":null}"#).expect("a filter");
        trials.add(Pursuit { goal: Goal::Drop, filter: Some(filter), left: 1 });
        assert!(!trials.take_stray() && trials.begin(Link::Ip, &[], 0, 0).is_none());
        assert!(trials.begin(Link::Ethernet, &[], 0, 0).is_some());
    }
}
