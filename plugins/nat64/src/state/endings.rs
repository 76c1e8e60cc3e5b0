//! Ending sessions, and the bindings and subscribers that had no other.

use raddle_plugin_api::table::Memory;

use super::bib::{Binding, IS_ASKED};
use super::port_hold::Reuse;
use super::rules::Rules;
use super::session::Session;
use super::shard::{Shard, Ticks};
use super::subscriber::SubscriberKey;

/// A session that is over.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// As it was.
    pub session: Session,
    /// Its binding, if that is over too.
    pub binding: Option<Binding>,
    /// First port of the subscriber's block that came back with that.
    pub block: Option<u16>,
}

impl<M: Memory> Shard<M> {
    /// Ends a session whose time is over, one a call.
    pub fn expire(&mut self, rules: &Rules, now: Ticks) -> Option<Ended> {
        while let Some(number) = self.timers.expire(now.into()) {
            let Some(session) = self.sessions.get_mut(number) else { continue };
            if session.ends <= now {
                return self.end(number, rules, now);
            }
            // It was used since.
            session.timer = self.timers.start(session.ends.into(), number);
        }
        None
    }

    /// When [`Self::expire`] is worth a call.
    pub fn next_expiry(&self) -> Option<Ticks> {
        self.timers.next_ns().map(|tick| tick.min(Ticks::MAX.into()) as Ticks)
    }

    /// Ends a session at once.
    pub fn end(&mut self, number: u32, rules: &Rules, now: Ticks) -> Option<Ended> {
        let session = self.sessions.remove(number)?;
        self.timers.stop(session.timer);
        let (hash6, hash4) = (self.hash(&session.flow6()), self.hash(&session.flow4()));
        self.sessions6.remove(hash6, |found| found == number);
        self.sessions4.remove(hash4, |found| found == number);
        self.count(|figures| figures.sessions[session.protocol() as usize] -= 1);
        if let Some(permits) = &mut self.permits {
            permits.take_back(session.binding, session.remote);
        }
        let Some(binding) = self.bindings.get_mut(session.binding) else {
            return Some(Ended { session, binding: None, block: None });
        };
        binding.sessions -= 1;
        if session.is_asked() {
            binding.flags &= !IS_ASKED;
        }
        let is_over = binding.sessions == 0;
        if let Some(subscriber) = self.subscribers.get_mut(binding.subscriber) {
            subscriber.sessions -= 1;
        }
        let time = (now, self.reuse(rules, session.protocol()));
        let over = if is_over { self.unbind(session.binding, time) } else { None };
        let (binding, block) = over.map_or((None, None), |(binding, block)| (Some(binding), block));
        Some(Ended { session, binding, block })
    }

    /// Takes a binding away that no session uses; returns it, and the block that came back with it. Its port comes into use again
    /// as `time` says.
    pub(super) fn unbind(&mut self, number: u32, time: (Ticks, Reuse)) -> Option<(Binding, Option<u16>)> {
        let binding = self.bindings.remove(number)?;
        let (hash6, hash4) = (self.hash(&binding.key6()), self.hash(&binding.key4()));
        self.bindings6.remove(hash6, |found| found == number);
        self.bindings4.remove(hash4, |found| found == number);
        self.count(|figures| figures.bindings[binding.protocol() as usize] -= 1);
        let mut block = None;
        if !binding.is_static() {
            self.ports.release(binding.outside, binding.protocol(), binding.outside_port, time);
            let size = 1 << self.share.size_bits;
            let first = binding.outside_port & !((size - 1) as u16);
            if self.has_block(binding.subscriber, first)
                && self.ports.release_block_if_idle(binding.outside, first, size)
            {
                self.remove_block(binding.subscriber, first);
                block = Some(first);
            }
        }
        if let Some(subscriber) = self.subscribers.get_mut(binding.subscriber) {
            subscriber.bindings -= 1;
        }
        self.forget_idle_subscriber(binding.subscriber);
        Some((binding, block))
    }

    pub(super) fn forget_idle_subscriber(&mut self, number: u32) {
        if let Some(subscriber) = self.subscribers.get(number)
            && subscriber.bindings == 0
        {
            let hash = self.hash(&SubscriberKey(subscriber.address, subscriber.tenant));
            self.subscribers_by_address.remove(hash, |found| found == number);
            self.subscribers.remove(number);
        }
    }
}
