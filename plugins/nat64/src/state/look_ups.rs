//! Finding sessions and bindings, and using them: what each packet does.

use raddle_plugin_api::table::{Memory, TableKey};
use raddle_plugin_api::timer::TimerWheel;
use raddle_plugin_api::wire::TcpFlags;

use super::bib::{Key4, Key6};
use super::rules::{Rules, Timeouts};
use super::session::{Flow4, Flow6, Protocol, Session};
use super::shard::{Shard, Ticks};
use super::subscriber::Subscriber;
use super::tcp::{Lifetime, Side, TcpState};

impl<M: Memory> Shard<M> {
    /// The hash of a flow.
    #[inline(always)]
    pub fn hash<K: TableKey>(&self, flow: &K) -> u64 {
        flow.hash(&self.seed)
    }

    /// First pass over a frame, of packets from inside: has the line of the index fetched.
    #[inline(always)]
    pub fn prefetch6(&self, hash: u64) {
        self.sessions6.prefetch(hash);
    }

    /// As [`Self::prefetch6`], of packets from outside.
    #[inline(always)]
    pub fn prefetch4(&self, hash: u64) {
        self.sessions4.prefetch(hash);
    }

    /// The session of a packet from inside.
    #[inline(always)]
    pub fn find6(&self, hash: u64, flow: &Flow6) -> Option<u32> {
        self.sessions6.find(
            hash,
            #[inline(always)]
            |number| self.sessions.get(number).is_some_and(|session| session.is6(flow)),
        )
    }

    /// The session of a packet from outside.
    #[inline(always)]
    pub fn find4(&self, hash: u64, flow: &Flow4) -> Option<u32> {
        self.sessions4.find(
            hash,
            #[inline(always)]
            |number| self.sessions.get(number).is_some_and(|session| session.is4(flow)),
        )
    }

    /// The tenant whose a port outside is, if it is anybody's.
    pub fn tenant_of_outside(&self, rules: &Rules, flow: &Flow4) -> Option<u8> {
        let key = Key4 { outside: flow.outside, port: flow.outside_port, protocol: flow.protocol };
        let bound = self.find_binding4(&key).and_then(|number| self.bindings.get(number));
        let given = || rules.statics.inside(flow.outside, flow.outside_port, flow.protocol);
        bound.map(|binding| binding.tenant).or_else(|| given().map(|inside| inside.tenant))
    }

    /// A session.
    #[inline(always)]
    pub fn session(&self, number: u32) -> Option<&Session> {
        self.sessions.get(number)
    }

    /// The subscriber whose a session is.
    pub fn subscriber_of_session(&self, number: u32) -> Option<&Subscriber> {
        let binding = self.bindings.get(self.sessions.get(number)?.binding)?;
        self.subscribers.get(binding.subscriber)
    }

    /// The number that the session of a packet from inside most probably has: whatever it names is to be looked at. Its line
    /// is fetched.
    #[inline(always)]
    pub fn likely6(&self, hash: u64) -> Option<u32> {
        let number = self.sessions6.likely(hash);
        if let Some(number) = number {
            self.sessions.prefetch(number);
        }
        number
    }

    /// As [`Self::likely6`], of packets from outside.
    #[inline(always)]
    pub fn likely4(&self, hash: u64) -> Option<u32> {
        let number = self.sessions4.likely(hash);
        if let Some(number) = number {
            self.sessions.prefetch(number);
        }
        number
    }

    /// Notes a packet from inside and returns its session, if this is its number.
    #[inline(always)]
    pub fn use_if6(
        &mut self,
        number: u32,
        flow: &Flow6,
        flags: TcpFlags,
        now: Ticks,
        timeouts: &Timeouts,
    ) -> Option<&Session> {
        let session = self.sessions.get_mut(number).filter(|session| session.is6(flow))?;
        note(session, &mut self.timers, Side::Six, flags, now, timeouts);
        Some(session)
    }

    /// As [`Self::use_if6`], of packets from outside.
    #[inline(always)]
    pub fn use_if4(
        &mut self,
        number: u32,
        flow: &Flow4,
        flags: TcpFlags,
        now: Ticks,
        timeouts: &Timeouts,
    ) -> Option<&Session> {
        let session = self.sessions.get_mut(number).filter(|session| session.is4(flow))?;
        note(session, &mut self.timers, Side::Four, flags, now, timeouts);
        Some(session)
    }

    /// Notes a packet of a session and returns the session.
    pub fn use_session(
        &mut self,
        number: u32,
        side: Side,
        flags: TcpFlags,
        now: Ticks,
        timeouts: &Timeouts,
    ) -> Option<&Session> {
        let session = self.sessions.get_mut(number)?;
        note(session, &mut self.timers, side, flags, now, timeouts);
        Some(session)
    }

    /// Has a TCP session count as one that both sides began (RFC 6146 §3.5.2.2: simultaneous open).
    pub fn establish(&mut self, number: u32, now: Ticks, timeouts: &Timeouts) {
        if let Some(session) = self.sessions.get_mut(number) {
            session.state = TcpState::Established as u8;
            session.ends = now.wrapping_add(timeouts.tcp_established);
        }
    }

    pub(super) fn find_binding6(&self, key: &Key6) -> Option<u32> {
        let is_it = |number| self.bindings.get(number).is_some_and(|binding| binding.key6() == *key);
        self.bindings6.find(self.hash(key), is_it)
    }

    pub(super) fn find_binding4(&self, key: &Key4) -> Option<u32> {
        let is_it = |number| self.bindings.get(number).is_some_and(|binding| binding.key4() == *key);
        self.bindings4.find(self.hash(key), is_it)
    }
}

/// What a packet does to its session's state and time. The timer is not touched unless the time gets shorter: it looks at the
/// session when it expires.
#[inline(always)]
fn note(
    session: &mut Session,
    timers: &mut TimerWheel<u32, impl Memory>,
    side: Side,
    flags: TcpFlags,
    now: Ticks,
    timeouts: &Timeouts,
) {
    const UDP: u8 = Protocol::Udp as u8;
    const TCP: u8 = Protocol::Tcp as u8;
    const ESTABLISHED: u8 = TcpState::Established as u8;
    match session.protocol {
        UDP => session.keep_until(now.wrapping_add(timeouts.udp)),
        TCP if session.state == ESTABLISHED && TcpState::Established.after_usual(flags) => {
            session.keep_until(now.wrapping_add(timeouts.tcp_established));
        }
        TCP => note_rare(session, timers, side, flags, now, timeouts),
        _ => session.keep_until(now.wrapping_add(timeouts.icmp)),
    }
}

#[inline(never)]
fn note_rare(
    session: &mut Session,
    timers: &mut TimerWheel<u32, impl Memory>,
    side: Side,
    flags: TcpFlags,
    now: Ticks,
    timeouts: &Timeouts,
) {
    let (state, lifetime) = session.state().after(side, flags);
    session.state = state as u8;
    match lifetime {
        Lifetime::Keep => {}
        Lifetime::Established => session.keep_until(now.wrapping_add(timeouts.tcp_established)),
        Lifetime::Transitory => {
            session.keep_until(now.wrapping_add(timeouts.tcp_transitory));
            timers.restart(session.timer, session.ends.into());
        }
    }
}
