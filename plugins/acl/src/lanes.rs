//! The short way of a frame: its packets' sessions, and the rules for those without, each found for all packets at once.
//!
//! A pass over the packets reads them and has fetched what the next one looks at, so that a frame's cache misses overlap:
//! first the index's lines, then the sessions, then it is seen whose they are. What these passes leave open is
//! [`judged`](crate::judge) one by one.

use raddle_plugin_api::abi::FRAME_SIZE;
use raddle_plugin_api::prelude::*;
use raddle_plugin_api::table::TableKey;
use raddle_plugin_api::{InterfaceIndex, L4Ports, Worker};

use crate::acl::Acl;
use crate::compile::{Key, Walk};
use crate::direction::Direction;
use crate::family::Family;
use crate::judge::owner;
use crate::policy::{Attachment, Policy, RuleTally};
use crate::rule::Action;
use crate::session::{Passing, Timeouts};
use crate::verdict::AclError;

/// What becomes of a packet, as far as the passes over its frame can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It has to be judged by itself.
    #[default]
    Open,
    /// It passes.
    Pass,
    /// It is dropped, by a rule.
    Deny,
    /// It is dropped, since no rule matches.
    NoMatch,
}

/// What is the same for all packets of a frame that goes the short way.
pub struct Scope<'s> {
    /// What nodes and commands share.
    pub acl: &'s Acl,
    /// The thread.
    pub worker: &'s Worker<'s>,
    /// Packets of other interfaces are left open.
    pub interface: InterfaceIndex,
    /// Which way packets go there.
    pub direction: Direction,
    /// What is applied to it.
    pub attachment: &'s Attachment,
    /// How long sessions last.
    pub timeouts: &'s Timeouts,
    /// Now.
    pub now_ns: u64,
}

/// A packet's flow, between two passes.
#[derive(Clone, Copy, Default)]
struct Lane<K> {
    key: K,
    hash: u64,
    passing: Passing,
    /// The session that it probably has.
    number: u32,
    /// It is not for these passes.
    is_open: bool,
}

/// No rule was looked for.
const UNKNOWN: u32 = u32::MAX - 1;
/// No session has this number.
const NO_SESSION: u32 = u32::MAX;

/// What is noted of a frame's packets.
pub struct Lanes<F: Family<W>, const W: usize> {
    flows: Box<[Lane<F::FlowKey>; FRAME_SIZE]>,
    /// Of the packets that are classified, one behind the other: their keys, positions, lengths, and the rules found.
    keys: Box<[Key<W>; FRAME_SIZE]>,
    positions: [u8; FRAME_SIZE],
    lengths: [u32; FRAME_SIZE],
    found: [u32; FRAME_SIZE],
    /// By position in the frame.
    outcomes: [Outcome; FRAME_SIZE],
    places: [u32; FRAME_SIZE],
    walk: Walk,
}

impl<F: Family<W>, const W: usize> Default for Lanes<F, W>
where
    F::FlowKey: Copy,
{
    fn default() -> Self {
        const { assert!(FRAME_SIZE <= 1 << u8::BITS) };
        Self {
            flows: Box::new([Lane::default(); FRAME_SIZE]),
            keys: Box::new([Key::default(); FRAME_SIZE]),
            positions: [0; FRAME_SIZE],
            lengths: [0; FRAME_SIZE],
            found: [0; FRAME_SIZE],
            outcomes: [Outcome::Open; FRAME_SIZE],
            places: [UNKNOWN; FRAME_SIZE],
            walk: Walk::default(),
        }
    }
}

/// A packet from its IP header on, and the interface by whose lists it goes.
#[inline(always)]
pub fn view<'p>(packet: &'p Packet<'_>, direction: Direction) -> (&'p [u8], InterfaceIndex, u32) {
    if direction == Direction::In {
        return (packet.bytes(), packet.rx_interface(), packet.len() as u32);
    }
    // The link-layer header is in front already.
    let skip = usize::try_from(-packet.l3_distance()).unwrap_or(0);
    let length = packet.len() - skip.min(packet.len());
    (packet.bytes().get(skip..).unwrap_or_default(), packet.tx_interface(), length as u32)
}

impl<F: Family<W>, const W: usize> Lanes<F, W> {
    /// Finds out what becomes of a frame's packets; returns how many do not simply pass.
    #[inline(always)]
    pub fn pass<N: Node>(
        &mut self,
        vector: &mut Vector<'_, N>,
        scope: &Scope<'_>,
        ports: &Field<L4Ports>,
    ) -> usize {
        let policy = scope.attachment.policy(scope.direction);
        if !scope.attachment.stateful {
            return match policy {
                Some(policy) => self.stateless(vector, scope, policy, ports),
                None => self.leave_open(vector.len()),
            };
        }
        let open = self.sessions(vector, scope);
        if open > 0 {
            let count = vector.len().min(FRAME_SIZE);
            self.places[..count].fill(UNKNOWN);
            if let Some(policy) = policy {
                let classified = self.classify(vector, scope, policy, ports);
                for (&at, &place) in self.positions.iter().zip(&self.found).take(classified) {
                    self.places[usize::from(at)] = place;
                }
            }
        }
        open
    }

    /// What becomes of the packet at a position.
    #[inline(always)]
    pub fn outcome(&self, position: usize) -> Outcome {
        self.outcomes[position % FRAME_SIZE]
    }

    /// The place of the first rule that matches a packet that is open, if it was looked for.
    pub fn place(&self, position: usize) -> Option<u32> {
        Some(self.places[position % FRAME_SIZE]).filter(|&place| place != UNKNOWN)
    }

    #[cold]
    fn leave_open(&mut self, count: usize) -> usize {
        let count = count.min(FRAME_SIZE);
        self.outcomes[..count].fill(Outcome::Open);
        self.places[..count].fill(UNKNOWN);
        count
    }

    /// Lets pass what is of a session that takes no more than counting; returns how many packets are left open.
    #[inline(always)]
    fn sessions<N: Node>(&mut self, vector: &mut Vector<'_, N>, scope: &Scope<'_>) -> usize {
        let Self { flows, outcomes, .. } = self;
        let Scope { acl, worker, interface, direction, attachment, timeouts, now_ns } = *scope;
        let (seed, own) = (acl.seed, worker.thread_index());
        let is_shared_out = worker.thread_count() > 2;
        let count = vector.len().min(FRAME_SIZE);
        acl.sessions.with(worker, |sessions| {
            let table = F::sessions(sessions);
            vector.scan(
                #[inline(always)]
                |position, packet| {
                    let lane = &mut flows[position % FRAME_SIZE];
                    let (bytes, of, length) = view(packet, direction);
                    lane.is_open = true;
                    if let Some((key, is_low, flags)) = F::flow(bytes, interface)
                        && of == interface
                    {
                        lane.hash = key.hash(&seed);
                        table.prefetch(lane.hash);
                        lane.key = key;
                        lane.passing = Passing::new(direction, is_low, flags, length);
                        lane.is_open = is_shared_out && owner(worker, lane.hash) != own;
                    }
                },
            );
            for lane in &mut flows[..count] {
                lane.number = table.prefetch_session(lane.hash).unwrap_or(NO_SESSION);
            }
            let mut open = 0;
            for (lane, outcome) in flows[..count].iter().zip(outcomes) {
                let session = table.get_likely(lane.number, &lane.key).filter(|_| !lane.is_open);
                let is_counted = session.is_some_and(|session| {
                    let is_counted = session.value.count(lane.passing, attachment.epoch);
                    if is_counted {
                        session.keep_until(now_ns + timeouts.of(session.value.lifetime()));
                    }
                    is_counted
                });
                *outcome = if is_counted { Outcome::Pass } else { Outcome::Open };
                open += usize::from(!is_counted);
            }
            open
        })
    }

    /// Finds the rules of all packets; returns how many do not simply pass.
    #[inline(always)]
    fn stateless<N: Node>(
        &mut self,
        vector: &mut Vector<'_, N>,
        scope: &Scope<'_>,
        policy: &Policy,
        ports: &Field<L4Ports>,
    ) -> usize {
        let count = vector.len().min(FRAME_SIZE);
        self.outcomes[..count].fill(Outcome::Open);
        self.places[..count].fill(UNKNOWN);
        let classified = self.classify(vector, scope, policy, ports);
        let mut tally = RuleTally::new(policy, scope.worker.thread_index() as usize);
        let (mut passed, mut last, mut outcome) = (0, UNKNOWN, Outcome::Open);
        for at in 0..classified.min(FRAME_SIZE) {
            let (place, position) = (self.found[at], usize::from(self.positions[at]));
            if place != last {
                last = place;
                outcome = match policy.rule(place) {
                    None => Outcome::NoMatch,
                    // One that is logged is counted when it is judged.
                    Some(rule) if rule.log => Outcome::Open,
                    Some(rule) if rule.action == Action::Deny => Outcome::Deny,
                    Some(_) => Outcome::Pass,
                };
                tally.turn_to(if outcome == Outcome::Open { None } else { policy.rule(place) });
            }
            tally.add(self.lengths[at]);
            self.outcomes[position] = outcome;
            self.places[position] = place;
            passed += usize::from(outcome == Outcome::Pass);
        }
        tally.turn_to(None);
        count - passed
    }

    /// Finds the rules of the packets that are open; returns how many were looked for.
    #[inline(always)]
    fn classify<N: Node>(
        &mut self,
        vector: &mut Vector<'_, N>,
        scope: &Scope<'_>,
        policy: &Policy,
        ports: &Field<L4Ports>,
    ) -> usize {
        let Self { keys, positions, lengths, found, outcomes, walk, .. } = self;
        let mut classified = 0;
        vector.scan(
            #[inline(always)]
            |position, packet| {
                let (bytes, of, length) = view(packet, scope.direction);
                if outcomes[position % FRAME_SIZE] != Outcome::Open || of != scope.interface {
                    return;
                }
                let noted = || Some(L4Ports::of(packet, ports));
                let at = classified % FRAME_SIZE;
                (positions[at], lengths[at]) = (position as u8, length);
                classified += usize::from(F::write_key(bytes, noted, &mut keys[at]).is_ok());
            },
        );
        let classified = classified.min(FRAME_SIZE);
        F::find_frame(policy, &keys[..classified], &mut found[..classified], walk);
        classified
    }
}

impl Outcome {
    /// The packet's verdict; `None` where it is open.
    #[inline(always)]
    pub fn verdict<X>(self) -> Option<Verdict<X, AclError>> {
        match self {
            Self::Open => None,
            Self::Pass => Some(Verdict::Continue),
            Self::Deny => Some(Verdict::Drop(AclError::Denied)),
            Self::NoMatch => Some(Verdict::Drop(AclError::NoMatch)),
        }
    }
}
