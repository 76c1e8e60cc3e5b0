//! What becomes of a packet: by its session, or by the rules.

use raddle_plugin_api::table::HashSeed;
use raddle_plugin_api::{InterfaceIndex, Worker};

use crate::acl::Acl;
use crate::direction::Direction;
use crate::family::Family;
use crate::key::{Kind, Seen};
use crate::policy::{Attachment, Policy};
use crate::rule::Action;
use crate::session::{Counts, Flow, Sessions, Side, Timeouts};

/// What becomes of a packet, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Judgement {
    /// It passes: nothing is applied in its direction.
    #[default]
    NoLists,
    /// It passes: it is of a session.
    Session,
    /// It passes: it is an ICMP error that belongs to a session.
    Related,
    /// It passes by the rule at this place.
    Permit(u32),
    /// It passes by the rule at this place, and a session has begun.
    Reflect(u32),
    /// It is dropped by the rule at this place.
    Deny(u32),
    /// It is dropped: no rule matches.
    NoMatch,
    /// It is dropped: the interface has as many sessions as it may.
    Limit,
    /// It is dropped: there is no room for one more session.
    Full,
    /// It is dropped: its session was judged again, and is over.
    Ended,
    /// It is dropped: its headers are malformed.
    Malformed,
    /// Another thread has its session.
    HandOff(u32),
}

/// A packet, as far as it is judged.
pub struct Subject<'s, const W: usize> {
    /// What was read of it.
    pub seen: &'s Seen<W>,
    /// The interface.
    pub interface: InterfaceIndex,
    /// Which way it goes there.
    pub direction: Direction,
    /// Its length, from the IP header on.
    pub bytes: u64,
    /// The place of the first rule that matches it, if that was looked for.
    pub place: Option<u32>,
}

/// A packet's session: its key, whether the packet is from the lower end, and the key's hash.
#[derive(Clone, Copy, Default)]
pub struct FlowLook<K> {
    /// The key.
    pub key: K,
    /// Whether the packet comes from the lower end.
    pub is_low: bool,
    /// The key's hash.
    pub hash: u64,
}

impl<K: raddle_plugin_api::table::TableKey> FlowLook<K> {
    /// The look of a packet, whose key and end are these.
    #[inline(always)]
    pub fn new((key, is_low): (K, bool), seed: &HashSeed) -> Self {
        Self { key, is_low, hash: key.hash(seed) }
    }
}

/// The look of the packet at the front of `bytes`; `None` if it can be of no session. An ICMP error is of that of the packet
/// that it quotes.
#[inline(always)]
pub fn flow_look<F: Family<W>, const W: usize>(
    acl: &Acl,
    bytes: &[u8],
    interface: InterfaceIndex,
    seen: &Seen<W>,
) -> Option<FlowLook<F::FlowKey>> {
    match seen.kind {
        Kind::None => None,
        Kind::Error => {
            let quoted = bytes.get(usize::from(seen.transport_at)..).and_then(F::quoted)?;
            // It is an answer to who sent the packet that it quotes.
            let is_answer = F::addresses(&quoted.key)[0] == F::addresses(&seen.key)[1];
            is_answer.then(|| FlowLook::new(F::flow_key(interface, &quoted), &acl.seed))
        }
        _ => Some(FlowLook::new(F::flow_key(interface, seen), &acl.seed)),
    }
}

/// The thread that has the sessions of a hash.
#[inline(always)]
pub fn owner(worker: &Worker<'_>, hash: u64) -> u32 {
    // Not the bits that choose an index's bucket, nor those of its tags.
    worker.thread_of((hash >> 17) as u32)
}

/// What a thread judges by.
pub struct Judge<'j, 'm> {
    /// The thread.
    pub worker: &'j Worker<'j>,
    /// Its sessions.
    pub sessions: &'j mut Sessions<'m>,
    /// How many there are.
    pub counts: &'j Counts,
    /// How long they last.
    pub timeouts: &'j Timeouts,
    /// Now.
    pub now_ns: u64,
    /// Whether a session has begun.
    pub began: bool,
}

impl<'j, 'm> Judge<'j, 'm> {
    /// Judges with sessions that last as long as `timeouts` says.
    pub fn new(
        acl: &'j Acl,
        timeouts: &'j Timeouts,
        worker: &'j Worker<'j>,
        sessions: &'j mut Sessions<'m>,
        now_ns: u64,
    ) -> Self {
        Self { worker, sessions, counts: &acl.counts, timeouts, now_ns, began: false }
    }

    /// Judges a packet. `look` is there if it can be of a session.
    #[inline(always)]
    pub fn judge<F: Family<W>, const W: usize>(
        &mut self,
        attachment: &Attachment,
        subject: &Subject<'_, W>,
        look: Option<&FlowLook<F::FlowKey>>,
    ) -> Judgement {
        if let Some(look) = look {
            if owner(self.worker, look.hash) != self.worker.thread_index() {
                return Judgement::HandOff(owner(self.worker, look.hash));
            }
            if let Some(judgement) = self.by_session::<F, W>(attachment, subject, look) {
                return judgement;
            }
        }
        let Some(policy) = attachment.policy(subject.direction) else { return Judgement::NoLists };
        let place = subject.place.unwrap_or_else(|| F::find(policy, &subject.seen.key));
        let Some(rule) = policy.rule(place) else { return Judgement::NoMatch };
        policy.count(rule, self.worker.thread_index() as usize, 1, subject.bytes);
        match rule.action {
            Action::Permit => Judgement::Permit(place),
            Action::Deny => Judgement::Deny(place),
            Action::Reflect => self.reflect::<F, W>(attachment, policy, place, subject, look),
        }
    }

    #[inline(always)]
    fn by_session<F: Family<W>, const W: usize>(
        &mut self,
        attachment: &Attachment,
        subject: &Subject<'_, W>,
        look: &FlowLook<F::FlowKey>,
    ) -> Option<Judgement> {
        let table = F::sessions(self.sessions);
        let number = table.find(look.hash, &look.key)?;
        if subject.seen.kind == Kind::Error {
            // The quoted packet went the other way.
            let side = table.get(number)?.value.side(subject.direction.reverse(), look.is_low);
            return side.map(|_| Judgement::Related);
        }
        let session = table.get_mut(number)?;
        let side = session.value.side(subject.direction, look.is_low)?;
        let answers = match subject.seen.kind {
            Kind::Request => side == Side::Initiator,
            Kind::Reply => side == Side::Responder,
            _ => true,
        };
        if !answers {
            return None;
        }
        let words = subject.seen.key.words;
        let flags = (words[F::META] >> 16) as u8;
        if session.value.epoch != attachment.epoch || session.value.begins_anew(side, flags) {
            return self.again::<F, W>(attachment, subject, number, side, flags);
        }
        let is_other_state = session.value.see(side, flags, subject.bytes);
        let timeout = self.timeouts.of(session.value.lifetime());
        let ends_ns = self.now_ns + timeout;
        if is_other_state {
            table.expedite(number, ends_ns);
        } else {
            session.keep_until(ends_ns);
        }
        Some(Judgement::Session)
    }

    /// Judges a session again, or ends it since a new one is to take its place. `None`: the packet is judged by the rules.
    #[cold]
    fn again<F: Family<W>, const W: usize>(
        &mut self,
        attachment: &Attachment,
        subject: &Subject<'_, W>,
        number: u32,
        side: Side,
        flags: u8,
    ) -> Option<Judgement> {
        let table = F::sessions(self.sessions);
        let session = table.get_mut(number)?;
        let is_over = session.value.begins_anew(side, flags);
        let policy = attachment.policy(session.value.direction()).filter(|_| !is_over);
        let rule = policy
            .and_then(|policy| policy.rule(F::find(policy, &F::first_key(&session.key, &session.value))));
        if let Some((rule, policy)) = rule.filter(|rule| rule.action != Action::Deny).zip(policy) {
            session.value.epoch = attachment.epoch;
            (session.value.list, session.value.rule) = (policy.list_number(rule), rule.rule as u16);
            session.value.see(side, flags, subject.bytes);
            let timeout = self.timeouts.of(session.value.lifetime());
            let ends_ns = self.now_ns + timeout;
            table.expedite(number, ends_ns);
            return Some(Judgement::Session);
        }
        table.remove(number);
        self.sessions.count(self.worker.thread_index(), self.counts, subject.interface, -1);
        // Its initiator is judged by the rules as they are now.
        (side == Side::Responder).then_some(Judgement::Ended)
    }

    /// Begins a session.
    fn reflect<F: Family<W>, const W: usize>(
        &mut self,
        attachment: &Attachment,
        policy: &Policy,
        place: u32,
        subject: &Subject<'_, W>,
        look: Option<&FlowLook<F::FlowKey>>,
    ) -> Judgement {
        let Some(look) = look.filter(|_| matches!(subject.seen.kind, Kind::Flow | Kind::Request)) else {
            // What nobody answers needs no session.
            return Judgement::Permit(place);
        };
        let Some(rule) = policy.rule(place) else { return Judgement::NoMatch };
        self.sessions.tell(self.worker.thread_index(), self.counts);
        if self.counts.of(subject.interface) >= attachment.most_sessions {
            return Judgement::Limit;
        }
        let words = &subject.seen.key.words;
        let (protocol, flags) = ((words[F::META] >> 24) as u8, (words[F::META] >> 16) as u8);
        let mut flow = Flow::new(subject.direction, look.is_low, protocol);
        flow.epoch = attachment.epoch;
        flow.list = policy.list_number(rule);
        flow.rule = rule.rule as u16;
        flow.dscp = (words[F::META] >> 8) as u8 & 0x3f;
        flow.first = if subject.seen.kind == Kind::Request { (words[W - 1] >> 16) as u8 } else { flags };
        flow.see(Side::Initiator, flags, subject.bytes);
        let ends_ns = self.now_ns + self.timeouts.of(flow.lifetime());
        let table = F::sessions(self.sessions);
        // A session of the same ends that goes the other way round stays, whoever sends this.
        if table.find(look.hash, &look.key).is_some() {
            return Judgement::Permit(place);
        }
        if table.insert(look.hash, look.key, flow, ends_ns).is_err() {
            return Judgement::Full;
        }
        self.sessions.count(self.worker.thread_index(), self.counts, subject.interface, 1);
        self.began = true;
        Judgement::Reflect(place)
    }
}
