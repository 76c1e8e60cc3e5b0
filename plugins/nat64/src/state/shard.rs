//! The bindings and sessions of one thread: `look_ups.rs` finds and uses them, `openings.rs` makes them, with ports that
//! `port_choice.rs` chooses, and `endings.rs` ends them.

use std::ops::Range;

use raddle_plugin_api::state::Arena;
use raddle_plugin_api::table::{Array, HashIndex, HashSeed, IndexFull, Kept, Memory, Own, Slab};
use raddle_plugin_api::timer::TimerWheel;
use raddle_plugin_api::wire::Ip4Address;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::bib::Binding;
use super::permits::Permits;
use super::pool::{PoolUse, Ports, Share};
use super::rules::{Filtering, Rules};
use super::session::{Protocol, Session};
use super::subscriber::{Block, Subscriber};

/// Time, in quarters of a second.
pub type Ticks = u32;

/// Room of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardSize {
    /// Sessions.
    pub sessions: u32,
    /// Bindings.
    pub bindings: u32,
}

/// Figures for `show`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Figures {
    /// Sessions now, by protocol.
    pub sessions: [u32; 3],
    /// Bindings now, by protocol.
    pub bindings: [u32; 3],
    /// Subscribers now.
    pub subscribers: u32,
}

/// The bindings and sessions of one thread: in memory of its own, or in the host's, where the next version of the plugin finds
/// them.
pub struct Shard<M: Memory = Own> {
    pub(super) seed: HashSeed,
    pub(super) share: Share,
    pub(super) sessions6: HashIndex<M>,
    pub(super) sessions4: HashIndex<M>,
    pub(super) sessions: Slab<Session, M>,
    pub(super) timers: TimerWheel<u32, M>,
    pub(super) bindings6: HashIndex<M>,
    pub(super) bindings4: HashIndex<M>,
    pub(super) bindings: Slab<Binding, M>,
    pub(super) subscribers_by_address: HashIndex<M>,
    pub(super) subscribers: Slab<Subscriber, M>,
    pub(super) blocks: Slab<Block, M>,
    pub(super) ports: Ports<M>,
    /// Whom bindings let in, where that matters.
    pub(super) permits: Option<Permits<M>>,
    /// One word.
    pub(super) random: Array<u64, M>,
    /// One of it.
    figures: Array<Figures, M>,
}

/// What a shard is made for.
#[derive(Clone, Copy, Debug)]
pub struct ShardPlan {
    /// Room.
    pub size: ShardSize,
    /// Ports.
    pub share: Share,
    /// What makes hashes nobody's to guess.
    pub seed: HashSeed,
    /// Who may come in.
    pub filtering: Filtering,
}

/// Bytes that a session with a binding and a subscriber of its own takes in a shard of that size, all told: entries, timer, the indexes
/// by which they are found, and what tells which entries are in use. What is left out does not come with each session: a bit for
/// its port, and what address-dependent filtering needs.
pub fn bytes_per_session<M: Memory>(shard: &Shard<M>, size: ShardSize) -> usize {
    // What the wheel keeps of a timer; see its own test.
    const TIMER: usize = 32;
    // Of each slab a bit that says that the entry is there.
    const BITS: usize = 2;
    let entries = size_of::<Session>() + size_of::<Binding>() + TIMER + BITS.div_ceil(8);
    let indexes = shard.sessions6.bytes() + shard.sessions4.bytes();
    let binding_indexes = shard.bindings6.bytes() + shard.bindings4.bytes();
    entries + indexes.div_ceil(size.sessions as usize) + binding_indexes.div_ceil(size.bindings as usize)
}

impl Shard {
    /// An empty shard in memory of its own, which comes as it fills.
    ///
    /// # Errors
    /// There is no address space for it.
    pub fn new(plan: &ShardPlan) -> Result<Self, IndexFull> {
        let ShardPlan { size, share, seed, filtering } = *plan;
        let (sessions, bindings) = (size.sessions as usize, size.bindings as usize);
        let is_strict = filtering == Filtering::AddressDependent;
        Ok(Self {
            seed,
            share,
            sessions6: HashIndex::with_capacity(sessions)?,
            sessions4: HashIndex::with_capacity(sessions)?,
            sessions: Slab::try_with_capacity(size.sessions).ok_or(IndexFull)?,
            timers: TimerWheel::new(1, 0),
            bindings6: HashIndex::with_capacity(bindings)?,
            bindings4: HashIndex::with_capacity(bindings)?,
            bindings: Slab::try_with_capacity(size.bindings).ok_or(IndexFull)?,
            subscribers_by_address: HashIndex::with_capacity(bindings)?,
            subscribers: Slab::try_with_capacity(size.bindings).ok_or(IndexFull)?,
            blocks: Slab::try_with_capacity(size.bindings).ok_or(IndexFull)?,
            ports: Ports::new(seed)?,
            permits: if is_strict { Some(Permits::new(size.sessions, seed)?) } else { None },
            random: Array::zeroed(1).ok_or(IndexFull)?,
            figures: Array::zeroed(1).ok_or(IndexFull)?,
        })
    }
}

impl<'m> Shard<Kept<'m>> {
    /// A shard in the host's memory, as another version of the plugin left it.
    pub fn kept(arena: &mut Arena<'m>, plan: &ShardPlan) -> Self {
        let ShardPlan { size, share, seed, filtering } = *plan;
        let (sessions, bindings) = (size.sessions as usize, size.bindings as usize);
        let is_strict = filtering == Filtering::AddressDependent;
        Self {
            seed,
            share,
            sessions6: HashIndex::kept(arena, sessions),
            sessions4: HashIndex::kept(arena, sessions),
            sessions: Slab::kept(arena, size.sessions),
            timers: TimerWheel::kept(arena, 1, size.sessions),
            bindings6: HashIndex::kept(arena, bindings),
            bindings4: HashIndex::kept(arena, bindings),
            bindings: Slab::kept(arena, size.bindings),
            subscribers_by_address: HashIndex::kept(arena, bindings),
            subscribers: Slab::kept(arena, size.bindings),
            blocks: Slab::kept(arena, size.bindings),
            ports: Ports::kept(arena, seed),
            permits: is_strict.then(|| Permits::kept(arena, size.sessions, seed)),
            random: arena.array(1),
            figures: arena.array(1),
        }
    }
}

impl<M: Memory> Shard<M> {
    /// The sessions whose numbers are in a range, for who looks at them in portions: numbers are below
    /// [`Self::session_numbers`].
    pub fn session_page(&self, numbers: Range<u32>) -> impl Iterator<Item = (u32, &Session)> {
        numbers.filter_map(|number| self.sessions.get(number).map(|session| (number, session)))
    }

    /// All sessions have numbers below this one.
    pub fn session_numbers(&self) -> u32 {
        self.sessions.numbers()
    }

    /// As [`Self::session_page`], of bindings.
    pub fn binding_page(&self, numbers: Range<u32>) -> impl Iterator<Item = &Binding> {
        numbers.filter_map(|number| self.bindings.get(number))
    }

    /// All bindings have numbers below this one.
    pub fn binding_numbers(&self) -> u32 {
        self.bindings.numbers()
    }

    /// As [`Self::session_page`], of subscribers.
    pub fn subscriber_page(&self, numbers: Range<u32>) -> impl Iterator<Item = &Subscriber> {
        numbers.filter_map(|number| self.subscribers.get(number))
    }

    /// All subscribers have numbers below this one.
    pub fn subscriber_numbers(&self) -> u32 {
        self.subscribers.numbers()
    }

    /// All sessions, with their numbers.
    pub fn sessions(&self) -> impl Iterator<Item = (u32, &Session)> {
        self.sessions.iter()
    }

    /// All bindings.
    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.iter().map(|(_, binding)| binding)
    }

    /// All subscribers.
    pub fn subscribers(&self) -> impl Iterator<Item = &Subscriber> {
        self.subscribers.iter().map(|(_, subscriber)| subscriber)
    }

    /// As [`Self::session_page`], of pool addresses that have ever been in use, and how much of them is.
    pub fn pool_page(
        &self,
        numbers: Range<u32>,
        rules: &Rules,
        now: Ticks,
    ) -> impl Iterator<Item = (Ip4Address, PoolUse)> {
        self.ports.page(numbers, (now, self.reuse(rules, Protocol::Udp)))
    }

    /// All pool addresses have numbers below this one.
    pub fn pool_numbers(&self) -> u32 {
        self.ports.numbers()
    }

    /// Figures.
    pub fn figures(&self) -> Figures {
        let figures = self.figures.first().copied().unwrap_or_default();
        Figures { subscribers: self.subscribers.len() as u32, ..figures }
    }

    pub(super) fn count(&mut self, change: impl FnOnce(&mut Figures)) {
        if let Some(figures) = self.figures.first_mut() {
            change(figures);
        }
    }

    /// What must hold at any time.
    #[cfg(test)]
    pub(super) fn check(&self) {
        use std::collections::{HashMap, HashSet};

        use super::port_hold::Reuse;
        let mut sessions_of: HashMap<u32, u32> = HashMap::new();
        for (number, session) in self.sessions.iter() {
            if session.is_asked() {
                // No packet finds it.
                assert_eq!(self.find6(self.hash(&session.flow6()), &session.flow6()), None);
                assert_eq!(self.find4(self.hash(&session.flow4()), &session.flow4()), None);
                *sessions_of.entry(session.binding).or_default() += 1;
                continue;
            }
            assert_eq!(self.find6(self.hash(&session.flow6()), &session.flow6()), Some(number));
            assert_eq!(self.find4(self.hash(&session.flow4()), &session.flow4()), Some(number));
            *sessions_of.entry(session.binding).or_default() += 1;
        }
        let mut outside = HashSet::new();
        let mut per_subscriber: HashMap<u32, (u32, u32)> = HashMap::new();
        for (number, binding) in self.bindings.iter() {
            assert_eq!(self.find_binding6(&binding.key6()), Some(number));
            assert_eq!(self.find_binding4(&binding.key4()), Some(number));
            assert!(outside.insert((binding.outside, binding.outside_port, binding.protocol())));
            assert_eq!(binding.sessions, sessions_of.remove(&number).unwrap_or(0));
            assert!(binding.sessions > 0, "a binding is there for its sessions");
            let of = per_subscriber.entry(binding.subscriber).or_default();
            *of = (of.0 + binding.sessions, of.1 + 1);
            let taken = self.ports.is_taken(binding.outside, binding.protocol(), binding.outside_port);
            assert_eq!(taken, !binding.is_static());
            if !binding.is_static() {
                assert_eq!(self.share.place_of(binding.outside_port), self.share.index);
            }
        }
        assert!(sessions_of.is_empty(), "every session has a binding");
        for (number, subscriber) in self.subscribers.iter() {
            let found = per_subscriber.remove(&number).unwrap_or_default();
            assert_eq!((subscriber.sessions, subscriber.bindings), found);
        }
        assert!(per_subscriber.is_empty());
        let used = self.ports.page(0..self.ports.numbers(), (0, Reuse::AT_ONCE));
        let ports: u32 = used.flat_map(|(_, used)| used.ports).sum();
        let dynamic = self.bindings.iter().filter(|(_, binding)| !binding.is_static()).count();
        let blocks: u32 = self.subscribers.iter().map(|(_, subscriber)| subscriber.blocks).sum();
        assert_eq!(blocks as usize, self.blocks.len());
        assert_eq!(ports as usize, dynamic);
        assert_eq!(self.sessions6.len(), self.sessions.len());
        assert_eq!(self.sessions4.len(), self.sessions.len());
        assert_eq!(self.timers.len(), self.sessions.len());
    }
}
